// Starts a server in its own process, and sends requests to it.
//
// If the machine has `taskset` and two cores, the server runs on core 0 and the load on core 1.
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism } from 'node:os';

const has = (program) => spawnSync('which', [program]).status === 0;
export const isPinned = availableParallelism() > 1 && has('taskset');
export const hasRedis = has('redis-server');
const ALL_CORES = `0-${availableParallelism() - 1}`;
const [, TICKS] = /(\d+)/.exec(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) ?? [, 100];

/** Moves this process to core 1, or back to all cores. */
export function pinLoad(isAlone = true) {
  if (isPinned) spawnSync('taskset', ['-acp', isAlone ? '1' : ALL_CORES, String(process.pid)]);
}

export function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
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
 * Sends GET requests. Each connection waits for a response before it sends its next request. Resolves
 * with the requests per second and the latencies in milliseconds. Rejects if a status is not 200.
 */
export function load(url, cookie, requests, { connections = 64 } = {}) {
  const { host, hostname, port, pathname } = new URL(url);
  const request = Buffer.from(
    `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n${cookie ? `Cookie: ${cookie}\r\n` : ''}\r\n`,
  );
  const latencies = new Float64Array(requests);
  const sockets = [];
  let [sent, received] = [0, 0];
  const began = performance.now();
  const done = new Promise((resolve, reject) => {
    const open = () => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      let [asked, text] = [0, ''];
      const send = () => {
        if (sent === requests) return;
        sent++;
        asked = performance.now();
        socket.write(request);
      };
      socket.on('connect', send).on('error', reject);
      socket.on('close', () => reject(new Error(`${url} closed a connection`)));
      socket.on('data', (chunk) => {
        text += chunk.latin1Slice();
        if (!isComplete(text)) return;
        if (!text.startsWith('HTTP/1.1 200 ')) return reject(new Error(`${url} sent: ${text}`));
        text = '';
        latencies[received++] = performance.now() - asked;
        if (received === requests) resolve();
        else send();
      });
      sockets.push(socket);
    };
    for (let i = 0; i < connections; i++) open();
  });
  const report = () => {
    const seconds = (performance.now() - began) / 1000;
    latencies.sort();
    const at = (part) => latencies[Math.floor((requests - 1) * part)];
    return { rps: requests / seconds, p50: at(0.5), p99: at(0.99) };
  };
  return done.then(report).finally(() => sockets.forEach((socket) => socket.destroy()));
}

/** Says whether a text contains a whole response. */
function isComplete(text) {
  const end = text.indexOf('\r\n\r\n') + 4;
  if (end < 4) return false;
  const size = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
  return size === undefined ? text.endsWith('\r\n0\r\n\r\n') : text.length >= end + Number(size);
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
