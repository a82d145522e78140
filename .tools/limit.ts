// Each test of a step has a time limit, so a wrong attempt fails instead of hanging.
//
//   TIME_LIMIT=4 node --test test/03-signer.test.ts     seconds for a test that waits
//
// `npm run try` sets this variable. Then the first test that does not end also stops the others of
// its file, which would wait too, and the process ends even if a socket is still open. Without the
// variable, the limit is long, so that a busy machine does not fail a correct test.
import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

// A test can replace the global ones.
const { setTimeout, clearTimeout, setInterval, setImmediate } = globalThis;

const variable = Number(process.env.TIME_LIMIT);
const LIMIT = variable > 0 ? variable : 60; // seconds
// A slow machine needs time to start a process, or to compute the hash of a password.
const LONG_LIMIT = 2 * LIMIT;
const IDLE_LIMIT = 2_000; // milliseconds without a test, until an open socket does not matter

let isLate = false; // something in a test of this process did not end
let running = 0; // tests: after an error outside its function, Node starts the next one earlier

/** Something did not end in time. */
export class TimeLimitError extends Error {
  constructor(message: string) {
    super(message);
    isLate = true;
  }
}

let idle: NodeJS.Timeout | undefined;
let watchdog: Worker | undefined;

/** Whether a test must not start, because a test before it did not end. */
export const mustSkip = (): boolean => isLate && variable > 0;

/**
 * Runs a test, such as `Step 3: Signer.decode()`. After the limit, throws a `TimeLimitError` that
 * begins with this name. `whatWaits` returns what the test waits for. A test that computes or that
 * has started a process gets twice the time.
 */
export async function withinLimit(
  name: string,
  run: () => unknown,
  whatWaits: () => string,
): Promise<void> {
  if (variable > 0) watch(name);
  running++;
  const start = process.cpuUsage();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const wait = (seconds: number): void => {
      timer = setTimeout(() => {
        const { user, system } = process.cpuUsage(start); // microseconds
        const isComputing = (user + system) / 1e6 > LIMIT / 10;
        const hasProcess = process.getActiveResourcesInfo().includes('ProcessWrap');
        if ((isComputing || hasProcess) && seconds === LIMIT) return wait(LONG_LIMIT);
        const message = `${name} did not end within ${seconds} seconds. ${whatWaits()}`;
        // Node first reads what has arrived.
        setImmediate(() => reject(new TimeLimitError(message)));
      }, LIMIT * 1000);
      if (!(variable > 0)) timer.unref(); // Node itself fails a test that waits for nothing
    };
    wait(LIMIT);
  });
  try {
    await Promise.race([Promise.resolve().then(run), late]);
  } finally {
    clearTimeout(timer);
    running--;
    if (variable > 0 && running === 0) endSoon(name);
  }
}

/** A timer cannot stop an endless loop. The watchdog is a thread of its own, and can. */
function watch(name: string): void {
  clearTimeout(idle);
  watchdog ??= startWatchdog();
  watchdog.postMessage(`${name} did not end`);
}

function startWatchdog(): Worker {
  const beat = new Int32Array(new SharedArrayBuffer(4));
  setInterval(() => Atomics.add(beat, 0, 1), 200).unref();
  const workerData = { beat, limit: LIMIT, longLimit: LONG_LIMIT };
  // Without the options of this process, which can load tsx, the thread starts faster.
  const worker = new Worker(new URL('watchdog.js', import.meta.url), { workerData, execArgv: [] });
  worker.unref();
  return worker;
}

/** Ends the process if no other test starts, and a socket, a server or a timer keeps it alive. */
function endSoon(name: string): void {
  idle = setTimeout(() => {
    writeSync(2, `${name} has ended, but a socket, a server or a timer is still open.\n`);
    process.exit(1);
  }, IDLE_LIMIT).unref();
}
