export function pinTo(cores?: string): void;
export const hasRedis: boolean;
export function freePort(): Promise<number>;
