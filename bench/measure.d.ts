type Options = { rounds?: number; milliseconds?: number };
type Bar = { name: string; value: number; range?: [number, number]; isOwn?: boolean };
export function median(values: number[]): number;
export function processorTime(): number;
export function time(
  calls: Record<string, (i: number) => unknown>,
  options?: Options,
): Promise<Map<string, number>>;
export function table(head: string[], rows: unknown[][]): string;
export function digits(value: number): string;
export function drawing(title: string, size: [number, number], content: string): string;
export function barChart(title: string, bars: Bar[]): string;
