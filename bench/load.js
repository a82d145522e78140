// A server in a process of its own, and load upon it. Where the machine has taskset and two cores,
// the server has one and the load the other. The load is wrk where there is one, else autocannon.
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';

const has = (program) => spawnSync('which', [program]).status === 0;
const isPinned = availableParallelism() > 1 && has('taskset');
export const hasWrk = has('wrk');
export const hasRedis = has('redis-server');

const onCore = (core, command, args) =>
  isPinned && core !== null // null: wherever there is room
    ? ['taskset', ['-c', String(core), command, ...args]]
    : [command, args];

export function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Starts a server; resolves when it answers, with the milliseconds that took. */
export async function start({ name, command, args, settings = {}, core = 0, stderr = 'inherit' }) {
  const port = await freePort();
  const plain = { PORT: String(port), HOST: '127.0.0.1', NODE_ENV: '', SESSIONS: '' };
  const env = { ...process.env, ...plain, ...settings };
  const began = performance.now();
  const child = spawn(...onCore(core, command, args), { env, stdio: ['ignore', 'ignore', stderr] });
  const url = `http://127.0.0.1:${port}/`;
  for (let tries = 0; ; tries++) {
    try {
      await (await fetch(url)).arrayBuffer();
      return { child, url, startup: performance.now() - began };
    } catch {
      if (tries === 500 || child.exitCode !== null) throw new Error(`${name} does not answer`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** What a response sets, as the next request sends it. */
export const cookieOf = (response) =>
  response.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ');

/** Requests per second and latencies in milliseconds. Throws where anything but 2xx came back. */
export async function load(url, cookie, seconds, { connections = 64, core = 1 } = {}) {
  if (hasWrk) {
    const words = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency'];
    if (cookie) words.push('-H', `Cookie: ${cookie}`);
    const child = spawn(...onCore(core, 'wrk', [...words, url]));
    let text = '';
    for await (const chunk of child.stdout) text += chunk;
    if (/Non-2xx|connect [1-9]/.test(text)) throw new Error(`${url}: errors under load: ${text}`);
    const ms = (percent) => {
      const [, value, unit] = new RegExp(`${percent}%\\s+([\\d.]+)(us|ms|s)`).exec(text) ?? [];
      return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit];
    };
    return { rps: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]), p50: ms(50), p99: ms(99) };
  }
  const { default: autocannon } = await import('autocannon');
  const headers = cookie ? { cookie } : {};
  const result = await autocannon({ url, connections, duration: seconds, headers });
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${url}: errors under load`);
  return { rps: result.requests.average, p50: result.latency.p50, p99: result.latency.p99 };
}
