// The thread that `limit.ts` starts. It ends the process if an endless loop blocks the other thread.
// On a busy computer, code that ends can block it too. So only a thread that has computed for a
// quarter of the limit is a loop, and another one has more time.
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

const { beat, limit, longLimit } = workerData; // the other thread counts in `beat`, unless it is blocked
let message = '';
let last = 0;
let missed = 0;
let used = usage(); // microseconds of the processor, at the last beat

function usage() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

parentPort?.on('message', (text) => (message = text));
setInterval(() => {
  const count = Atomics.load(beat, 0);
  if (count !== last) used = usage();
  missed = count === last ? missed + 1 : 0;
  last = count;
  const isLoop = usage() - used > limit * 250_000; // `spawnSync` waits, and computes nothing
  if (missed < (isLoop ? limit : longLimit)) return;
  const reason = isLoop ? 'A loop never ends.'
    : 'A loop, another process or a busy computer blocks it.';
  writeSync(2, `${message} within ${missed} seconds. ${reason}\n`);
  process.kill(process.pid, 'SIGKILL');
}, 1000);
