// A promise that never settles would hang a test. With `soon`, the test fails with a sentence.
import { TimeLimitError } from './limit.ts';

const { setTimeout, clearTimeout, setImmediate } = globalThis; // a test can replace the global ones

const LIMIT = 2_000; // milliseconds: on one machine, a reply needs only a few

/** Returns what the promise returns. After the limit, it throws an error with this message. */
export async function soon<T>(promise: Promise<T>, message: string, limit = LIMIT): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const end = new Promise<never>((_, reject) => {
    // If this process was busy, Node first reads what has arrived.
    timer = setTimeout(() => setImmediate(() => reject(new TimeLimitError(message))), limit);
  });
  return Promise.race([promise, end]).finally(() => clearTimeout(timer));
}
