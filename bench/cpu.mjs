// The processor time of a server per request, for rows of one or more work trees.
//
//   node bench/cpu.mjs ROOT[,ROOT…] [rounds] [rows…]     --requests=40000 --warm=8000
//
// ROOT is a folder with `src`. With two folders, the rows of both are measured in turn. Each sample uses
// a new process of the server on core 0. The load runs on core 1: 64 connections, one cookie.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename, resolve } from 'node:path';

const BENCH = process.env.BENCH ?? '/work/wt-bench/bench';
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const flags = Object.fromEntries(
  process.argv.slice(2).filter((word) => word.startsWith('--')).map((word) => word.slice(2).split('=')),
);
const [roots = '.', rounds = '5', ...keys] = words;
const requests = Number(flags.requests ?? 40_000);
const warmUp = Number(flags.warm ?? 8_000);
const OWN = {
  step9: ['src/09-tutorial.ts', {}],
  step39: ['src/39-fast.ts', {}],
  site: ['src/main.ts', { NODE_ENV: 'production', SESSION_SECRET: 'a secret of thirty-two characters' }],
};
const folders = roots.split(',').map((root) => resolve(root));
const wanted = keys.length > 0 ? keys : [
  'floor', ...Object.keys(OWN), 'fastify-cookie', 'fastify-secure-session', 'hono',
];
const tsxOf = (root) => process.features.typescript ? [] : ['--import', [root, `${BENCH}/..`]
  .map((folder) => `${folder}/node_modules/tsx/dist/loader.mjs`).find((file) => existsSync(file))];
const rows = wanted.flatMap((key) => {
  if (!OWN[key]) {
    return [{ name: key, args: [`${BENCH}/servers/${key}.js`], env: { NODE_ENV: 'production' } }];
  }
  const [file, env] = OWN[key];
  return folders.map((root) => ({
    name: folders.length > 1 ? `${key} ${basename(root)}` : key,
    args: [...tsxOf(root), `${root}/${file}`],
    env: { NODE_ENV: '', ...env },
  }));
});
spawnSync('taskset', ['-cp', '1', String(process.pid)]);

/** Returns a port that is free now. */
function freePort() {
  return new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

/** Sends `count` requests over `connections` connections. Returns the latencies in milliseconds, sorted. */
function load(port, cookie, count, connections = 64) {
  return new Promise((done, fail) => {
    const request = Buffer.from(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n` +
      (cookie && `Cookie: ${cookie}\r\n`) + '\r\n');
    const latencies = new Float64Array(count);
    let [sent, received] = [0, 0];
    for (let i = 0; i < connections; i++) {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      let [start, text] = [0, ''];
      const send = () => {
        if (sent >= count) return void socket.destroy();
        sent++;
        start = performance.now();
        socket.write(request);
      };
      socket.on('connect', send).on('error', fail);
      socket.on('close', () => { if (received < count && sent < count) fail(new Error('closed')); });
      socket.on('data', (chunk) => {
        text += chunk.latin1Slice();
        const end = text.indexOf('\r\n\r\n');
        if (end < 0) return;
        const [, size] = /\r\ncontent-length: *(\d+)/i.exec(text) ?? [];
        if (size ? text.length < end + 4 + Number(size) : !text.endsWith('\r\n0\r\n\r\n')) return;
        if (!text.startsWith('HTTP/1.1 200')) return void fail(new Error(text));
        latencies[received++] = performance.now() - start;
        text = '';
        if (received === count) done(latencies.sort());
        send();
      });
    }
  });
}

/** Returns the seconds of processor time that a process has used, in steps of 10 ms. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function sample({ name, args, env }) {
  const port = await freePort();
  const child = spawn('taskset', ['-c', '0', process.execPath, ...args], {
    env: { ...process.env, PORT: String(port), HOST: '127.0.0.1', SESSIONS: '', ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  try {
    let response;
    for (let tries = 0; !response; tries++) {
      response = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
      if (tries === 1000 || child.exitCode !== null) throw new Error(`${name} does not start`);
      if (!response) await new Promise((done) => setTimeout(done, 10));
    }
    const cookie = response.headers.getSetCookie().map((one) => one.split(';')[0]).join('; ');
    const text = await (await fetch(response.url, { headers: { cookie } })).text();
    if (name !== 'bare' && !text.includes('Count: 2')) throw new Error(`${name} does not count: ${text}`);
    await load(port, cookie, warmUp);
    const [cpu, start] = [cpuOf(child.pid), performance.now()];
    const latencies = await load(port, cookie, requests);
    const seconds = (performance.now() - start) / 1000;
    const memory = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024;
    return {
      cpu: (cpuOf(child.pid) - cpu) * 1e6 / requests, // µs per request
      rps: requests / seconds,
      p50: latencies[Math.floor(requests * 0.5)],
      p99: latencies[Math.floor(requests * 0.99)],
      memory,
    };
  } finally {
    child.kill('SIGKILL');
  }
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const results = rows.map(() => []);
for (let round = 0; round < Number(rounds); round++) {
  for (let k = 0; k < rows.length; k++) {
    const i = (k + round * 3) % rows.length;
    results[i].push(await sample(rows[i]));
  }
  process.stderr.write(`round ${round + 1} of ${rounds}\n`);
}
const of = (i, what) => median(results[i].map((one) => one[what]));
const floor = rows.findIndex(({ name }) => name === 'floor');
console.log(`Node ${process.versions.node}, ${rounds} rounds of ${requests} requests after ${warmUp}`);
console.log('row                          µs/request  (lowest – highest)  x FLOOR B   req/s    p50    p99  memory MB');
rows.forEach(({ name }, i) => {
  const all = results[i].map(({ cpu }) => cpu);
  const range = `${Math.min(...all).toFixed(1)} – ${Math.max(...all).toFixed(1)}`;
  const ratio = floor < 0 ? '' : (of(floor, 'cpu') / of(i, 'cpu')).toFixed(3);
  console.log([name.padEnd(28), of(i, 'cpu').toFixed(1).padStart(10), range.padStart(19), ratio.padStart(10),
    of(i, 'rps').toFixed(0).padStart(8), of(i, 'p50').toFixed(2).padStart(6), of(i, 'p99').toFixed(2).padStart(6),
    of(i, 'memory').toFixed(0).padStart(6)].join(' '));
});
process.exit();
