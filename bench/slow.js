// A thousand slow connections, held open by slowhttptest: is everybody else served meanwhile?
//
//   npm run bench -- --slow           a minute and a half; needs slowhttptest, and Linux to look
//   node bench/slow.js --connections=1000
//
// Three ways to be slow: a header that never ends, a body that never ends, an answer that is never
// read. Beside them an ordinary visitor asks for the counter page, one request after the other.
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
  ['a header that never ends', '/', ['-H', '-i', '2']],
  ['a body that never ends', '/cart/note', ['-B', '-i', '2', '-s', '8192']],
  ['an answer that is never read', '/screenshot.png', ['-X', '-n', '30', '-w', '1', '-y', '8', '-z', '1']],
];
const at = (sorted, part) => sorted[Math.floor((sorted.length - 1) * part)];
const rows = [];

for (const [what, path, words] of MODES) {
  const { child, url } = await start({
    name: 'the site',
    command: process.execPath,
    args: [...tsx, `${ROOT}src/main.ts`],
    settings: { NODE_ENV: 'production', SESSION_SECRET: 'a secret of thirty-two characters' },
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
    const answer = await fetch(url, { headers: { cookie } });
    await answer.arrayBuffer();
    assert.equal(answer.status, 200, `an ordinary visitor, during ${what}`);
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
  assert.ok(most > Number(values.connections) / 2, `${what}: there were only ${most}`);
  assert.ok(!Number.isNaN(free), `${what}: they were not ended`);
  latencies.sort((a, b) => a - b);
  const [p50, p99] = [at(latencies, 0.5), at(latencies, 0.99)].map((ms) => ms.toFixed(1));
  rows.push([what, most, `${free.toFixed(1)} s`, latencies.length, p50, p99, latencies.at(-1).toFixed(1)]);
}
const HEAD = ['slow are', 'most at once', 'all ended after', 'served beside them', 'p50 ms', 'p99 ms', 'longest ms'];
console.log(`${table(HEAD, rows)}\n\nNode ${process.version}`);
