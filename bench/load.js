// Starts a server in its own process, and sends requests to it.
//
// If the machine has `wrk`, `taskset`, `chrt` and two cores, the server and `wrk` share core 0, and this
// program runs on core 1. On another core, `wrk` sleeps until a response wakes it. The system counts the
// time of this wake-up as time of the server: on a virtual machine, up to 20 µs for each response. A slow
// server pays this more often than a fast one. With SCHED_BATCH, a response that wakes `wrk` does not
// interrupt the server.
import { spawn, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';

const has = (program) => spawnSync('which', [program]).status === 0;
export const isPinned = availableParallelism() > 1 && has('taskset');
export const hasWrk = has('wrk');
export const hasRedis = has('redis-server');
const ALL_CORES = `0-${availableParallelism() - 1}`;
const [, TICKS] = /(\d+)/.exec(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) ?? [, 100];

/** Whether the server and the load share core 0. Without this, figures are not reliable. */
export const isBeside = hasWrk && isPinned && has('chrt');
const BESIDE_SERVER = isBeside ? ['chrt', '--batch', '0', 'taskset', '-c', '0', 'wrk'] : ['wrk'];

/** Moves this process, and each program that it starts later, to these cores: '1', or '0-3' for all. */
export function pinTo(cores = ALL_CORES) {
  if (isPinned) spawnSync('taskset', ['-acp', cores, String(process.pid)]);
}

const children = new Set(); // the servers
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/** Returns a free port. The system never selects such a port itself, so it stays free. */
export function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().on('error', () => resolve(freePort()));
    const port = randomInt(10_000, 30_000);
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(port)));
  });
}

/**
 * Starts a server. When it has sent its first response, resolves with the milliseconds of the start.
 * With `core: null`, the server may use all cores.
 */
export async function start({ name, command, args, settings = {}, core = 0, stderr = 'inherit' }) {
  const port = await freePort();
  const plain = { PORT: String(port), HOST: '127.0.0.1', NODE_ENV: '', SESSIONS: '' };
  const env = { ...process.env, ...plain, ...settings };
  const words = isPinned ? ['taskset', '-c', String(core ?? ALL_CORES), command, ...args] : [command, ...args];
  const began = performance.now();
  const child = spawn(words[0], words.slice(1), { env, stdio: ['ignore', 'ignore', stderr] });
  children.add(child);
  const url = `http://127.0.0.1:${port}/`;
  for (let tries = 0; ; tries++) {
    try {
      await (await fetch(url)).arrayBuffer();
      return { child, url, startup: performance.now() - began };
    } catch {
      if (tries === 500 || child.exitCode !== null) throw new Error(`${name} does not respond`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** Returns the `Cookie` header that sends back the cookies of a response. */
export const cookieOf = (response) =>
  response.headers.getSetCookie().map((header) => header.split(';')[0]).join('; ');

/**
 * Sends GET requests for some seconds, with wrk if it is installed, and with autocannon otherwise. Each
 * connection waits for a response before it sends its next request. Resolves with the number of
 * requests, the requests per second, and two latencies in milliseconds. Rejects after an error, and if
 * no response arrived. With `isNear: false`, wrk runs where this program runs.
 */
export async function load(url, cookie, seconds, options) {
  const result = await (hasWrk ? loadWithWrk : loadWithAutocannon)(url, cookie, seconds, options);
  if (!(result.requests > 0)) throw new Error(`${url} sent no response in ${seconds} s`);
  return result;
}

async function loadWithAutocannon(url, cookie, seconds, { connections = 64 } = {}) {
  const { default: autocannon } = await import('autocannon');
  const headers = cookie ? { cookie } : {};
  const result = await autocannon({ url, connections, duration: seconds, headers });
  if (result.non2xx + result.errors > 0) throw new Error(`${url}: errors under load`);
  const { requests, latency } = result;
  return { requests: requests.total, rps: requests.average, p50: latency.p50, p99: latency.p99 };
}

async function loadWithWrk(url, cookie, seconds, { connections = 64, isNear = true } = {}) {
  const header = cookie ? ['-H', `Cookie: ${cookie}`] : [];
  const [program, ...words] = isNear ? BESIDE_SERVER : ['wrk'];
  words.push('-t1', `-c${connections}`, `-d${seconds}s`, '--latency', ...header, url);
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const chunk of child.stdout) text += chunk;
  // wrk counts a response after two seconds as a timeout, but it still waits for it.
  const isWrong = /Non-2xx|Socket errors: (?!connect 0, read 0, write 0,)/.test(text);
  if (isWrong || !/Requests\/sec/.test(text)) throw new Error(`${url}: ${text}`);
  const number = (pattern) => Number(pattern.exec(text)?.[1]);
  const milliseconds = (percent) => {
    const [, value, unit] = new RegExp(`${percent}%\\s+([\\d.]+)(us|ms|s)`).exec(text) ?? [];
    return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit];
  };
  return {
    requests: number(/(\d+) requests in/), rps: number(/Requests\/sec:\s+([\d.]+)/),
    p50: milliseconds(50), p99: milliseconds(99),
  };
}

/** Returns the seconds of processor time of a process with all its threads. The unit is often 10 ms. */
export function processorTime(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
    return (Number(fields[11]) + Number(fields[12])) / Number(TICKS); // utime and stime
  } catch {
    return NaN; // not Linux
  }
}

/** Returns the memory of a process in MB. */
export function memoryOf(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
  } catch {
    return NaN; // not Linux
  }
}

const COUNTER = process.env.PERF_EVENT ?? 'instructions:u';
const probe = spawnSync('perf', ['stat', '-x,', '-e', COUNTER, 'true'], { encoding: 'utf8' });
export const canCount = probe.status === 0 && /^\d/m.test(probe.stderr);

/** Starts to count the instructions of a process. The returned function resolves with their number. */
export async function countInstructions(pid) {
  if (!canCount) return async () => NaN;
  const perf = spawn('perf', ['stat', '-x,', '-e', COUNTER, '-p', String(pid)]);
  let text = '';
  perf.stderr.on('data', (chunk) => { text += chunk; });
  await new Promise((resolve) => setTimeout(resolve, 100)); // until perf has opened the counters
  return async () => {
    const closed = new Promise((resolve) => perf.on('close', resolve));
    perf.kill('SIGINT');
    await closed;
    return Number(/^(\d+)/m.exec(text)?.[1]);
  };
}
