// The thread that `limit.ts` starts. It ends the process if an endless loop blocks the other thread.
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

const { beat, limit } = workerData; // the other thread counts in `beat`, unless it is blocked
let message = '';
let last = 0;
let missed = 0;

parentPort?.on('message', (text) => (message = text));
setInterval(() => {
  const count = Atomics.load(beat, 0);
  missed = count === last ? missed + 1 : 0;
  last = count;
  if (missed < limit) return;
  writeSync(2, message);
  process.kill(process.pid, 'SIGKILL');
}, 1000);
