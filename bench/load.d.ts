export const hasRedis: boolean;
export function freePort(): Promise<number>;
