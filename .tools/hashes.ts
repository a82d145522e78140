// Counts the scrypt hashes that Node really starts. A test can prove without a clock that a login
// does the same work for two user names, or no work at all.
import { createHook } from 'node:async_hooks';

export type HashCount = {
  readonly started: number;
  readonly parallel: number; // the most hashes that ran at the same time
};

/** Runs `work` and returns the number of hashes that it started. */
export async function countHashes(work: () => Promise<unknown>): Promise<HashCount> {
  const running = new Set<number>();
  let [started, parallel] = [0, 0];
  const hook = createHook({
    init(id, type) {
      if (type !== 'SCRYPTREQUEST') return;
      running.add(id);
      started += 1;
      parallel = Math.max(parallel, running.size);
    },
    before: (id) => void running.delete(id), // the thread has finished, and its memory is free
  }).enable();
  try {
    await work();
  } finally {
    hook.disable();
  }
  return { started, parallel };
}
