// Ports for a server that must not move. The system may give the port of `listen(0)` to another
// program as soon as the server is closed.
import { randomInt } from 'node:crypto';

/** Calls `listen` with ports that the system never selects itself, until one is free. */
export async function onFreePort<T>(listen: (port: number) => Promise<T>): Promise<T> {
  for (let tries = 10; ; tries--) {
    try {
      return await listen(randomInt(10_000, 30_000));
    } catch (error) {
      if (tries === 0 || !/address (already )?in use/i.test(String(error))) throw error;
    }
  }
}
