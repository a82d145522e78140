type Options = { rounds?: number; milliseconds?: number };
export function median(values: number[]): number;
export function time(
  calls: Record<string, (i: number) => unknown>,
  options?: Options,
): Promise<Map<string, number>>;
export function table(head: string[], rows: unknown[][]): string;
export function digits(value: number): string;
