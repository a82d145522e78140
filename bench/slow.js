// slowhttptest opens 1,000 slow connections. Does the server still respond to other visitors?
//
//   npm run bench -- --slow           90 seconds; needs Linux and slowhttptest
//   node bench/slow.js --connections=1000
//
// There are three kinds of slow clients: the headers never end, the body never ends, or the client never
// reads the response. At the same time, a normal visitor requests the counter page again and again.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cookieOf, start } from './load.js';
import { table } from './measure.js';

const { values } = parseArgs({ options: { connections: { type: 'string', default: '1000' }, quick: { type: 'boolean' } } });
if (spawnSync('slowhttptest', ['-h']).error || !existsSync('/proc/self/fd')) {
  console.log('This needs slowhttptest: on Debian or Ubuntu, apt-get install slowhttptest');
  process.exit();
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const tsx = process.features.typescript ? [] : ['--import', `${ROOT}node_modules/tsx/dist/loader.mjs`];
const MODES = [
  ['headers that never end', '/', ['-H', '-i', '2']],
  ['a body that never ends', '/cart/note', ['-B', '-i', '2', '-s', '8192']],
  ['a response that is never read', '/screenshot.png', ['-X', '-n', '30', '-w', '1', '-y', '8', '-z', '1']],
];
const at = (sorted, part) => sorted[Math.floor((sorted.length - 1) * part)];
const rows = [];

for (const [what, path, words] of MODES) {
  const { child, url } = await start({
    name: 'the site',
    command: process.execPath,
    args: [...tsx, `${ROOT}src/main.ts`],
    settings: { NODE_ENV: 'production', SESSION_SECRET: 'this secret has 32 characters...' },
  });
  const cookie = cookieOf(await fetch(url));
  const open = () => readdirSync(`/proc/${child.pid}/fd`).length;
  const before = open();
  const gone = once(child, 'exit');
  const attack = spawn('slowhttptest', [
    ...words, '-c', values.connections, '-r', '500', '-l', '60', '-p', '5', '-v', '0',
    '-u', new URL(path, url).href,
  ], { stdio: 'ignore' });
  const ended = once(attack, 'exit');
  const began = performance.now();
  const latencies = [];
  let [most, free] = [0, NaN];
  while (Number.isNaN(free) && performance.now() - began < 90_000) {
    const asked = performance.now();
    const response = await fetch(url, { headers: { cookie } });
    await response.arrayBuffer();
    assert.equal(response.status, 200, `A normal visitor, during ${what}`);
    latencies.push(performance.now() - asked);
    const held = open() - before;
    most = Math.max(most, held);
    if (most > 10 && held < most / 100) free = (performance.now() - began) / 1000;
    await pause(20);
  }
  attack.kill();
  await ended;
  child.kill('SIGTERM');
  const [code] = await gone;
  assert.equal(code, 0);
  assert.ok(most > Number(values.connections) / 2, `${what}: only ${most} connections were open`);
  assert.ok(!Number.isNaN(free), `${what}: the server did not close the connections`);
  latencies.sort((a, b) => a - b);
  const [p50, p99] = [at(latencies, 0.5), at(latencies, 0.99)].map((ms) => ms.toFixed(1));
  rows.push([what, most, `${free.toFixed(1)} s`, latencies.length, p50, p99, latencies.at(-1).toFixed(1)]);
}
const HEAD = ['slow clients send or read', 'connections at the same time', 'all closed after', 'other visits', 'p50 ms', 'p99 ms', 'longest ms'];
console.log(`${table(HEAD, rows)}\n\nNode ${process.version}`);
