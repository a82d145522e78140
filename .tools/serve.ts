// Real servers and processes for a test.
//
// `startServer` serves a listener on a free port until the test ends. Each request has a time
// limit, so a listener that never responds fails the test with a message. `startProgram` starts a
// module in a process of its own. The requests appear in the message of a failing test.
import assert from 'node:assert/strict';
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { noteBytes, noteProgram, waitingFor } from './explain.ts';
import { TimeLimitError } from './limit.ts';

const TIME_LIMIT = 4_000; // milliseconds for one response
const PROGRAM_TIME_LIMIT = 10_000; // milliseconds for a process to print or to end
const { setTimeout, clearTimeout } = globalThis; // the real ones, also if a test replaces them

/** The folder of the project. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** A response that arrived completely. */
export type Reply = {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
  readonly cookie: string; // 'count=7': what a browser sends back
};

export type TestServer = {
  readonly server: Server;
  readonly port: number;
  readonly origin: string; // 'http://127.0.0.1:49152'
  /** Sends a GET request. */
  get(path?: string, headers?: Record<string, string>): Promise<Reply>;
  /** Sends a request with any method. */
  request(method: string, path: string, headers?: Record<string, string>): Promise<Reply>;
  /** Sends bytes on a socket. Returns everything that arrives until the server closes it. */
  exchange(sent: string): Promise<string>;
  /** Opens a socket and sends bytes. The test decides what happens next. */
  open(sent: string): Socket;
  /** Waits until the listener has finished each request. Throws what the listener threw. */
  settled(): Promise<void>;
};

/** Serves `listener` on a free port until the test ends. */
export async function startServer(
  t: TestContext,
  listener: RequestListener,
  make: (listener: RequestListener) => Server = createServer,
): Promise<TestServer> {
  const errors: unknown[] = []; // errors of the listener
  const running: Promise<void>[] = [];
  const server = make((request, response) => {
    const run = async (): Promise<void> => listener(request, response);
    const failed = (error: unknown): void => {
      errors.push(error);
      request.socket.destroy(); // the client does not wait until the time limit
    };
    running.push(run().catch(failed));
  });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;

  const throwFirst = (): void => {
    if (errors.length > 0) throw errors[0];
  };
  const open: TestServer['open'] = (sent) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(sent));
    t.after(() => socket.destroy());
    return socket.setEncoding('latin1').on('error', () => {}); // a reset: less has arrived
  };
  const request: TestServer['request'] = async (method, path, headers) => {
    try {
      const reply = await fetchReply(origin + path, headers, method);
      throwFirst(); // an error after `response.end()`
      return reply;
    } catch (error) {
      throwFirst();
      throw error;
    }
  };
  return {
    server,
    port,
    origin,
    open,
    request,
    get: (path = '/', headers) => request('GET', path, headers),
    async exchange(sent) {
      const socket = open(sent);
      let received = '';
      noteBytes(sent, () => received);
      socket.on('data', (chunk) => (received += chunk));
      const closed = new Promise((resolve) => socket.on('close', resolve));
      const what = 'The connection stays open';
      try {
        await waitingFor(withTimeLimit(closed, what), () => what);
      } finally {
        throwFirst();
      }
      return received;
    },
    async settled() {
      await withTimeLimit(Promise.all(running), 'The listener');
      throwFirst();
    },
  };
}

/** Returns the bytes of a request that closes its connection. `headers` end with CR LF. */
export function requestBytes(method: string, target = '/', headers = '', body = ''): string {
  const required = 'Host: localhost\r\nConnection: close\r\n';
  return `${method} ${target} HTTP/1.1\r\n${required}${headers}\r\n${body}`;
}

/** Returns the bytes of a POST with more than one chunk. Its connection stays open. */
export function largePost(): string {
  const body = 'x'.repeat(200_000);
  const close = requestBytes('POST', '/', `Content-Length: ${body.length}\r\n`, body);
  return close.replace('Connection: close\r\n', '');
}

/** Sends a request. Returns the complete response, or throws after the time limit. */
export async function fetchReply(
  url: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<Reply> {
  const fetched = async (): Promise<Reply> => {
    const response = await fetch(url, { method, headers, redirect: 'manual' }).catch((error) => {
      // The message of fetch is only `fetch failed`.
      const reason = error.cause?.code ?? error.cause?.message ?? error.message;
      throw new Error(`${method} ${url} had no response: ${reason}`, { cause: error });
    });
    const body = await response.text();
    const cookies = response.headers.getSetCookie().map((header) => header.split(';')[0]);
    return { status: response.status, headers: response.headers, body, cookie: cookies.join('; ') };
  };
  return withTimeLimit(fetched(), `${method} ${new URL(url).pathname}`);
}

/** Returns the value of the promise. Throws if the promise is pending after the time limit. */
export async function withTimeLimit<T>(
  promise: Promise<T>,
  what: string,
  limit = TIME_LIMIT,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    const message = `${what}: no complete response within ${limit / 1000} seconds`;
    timer = setTimeout(() => reject(new TimeLimitError(message)), limit);
  });
  promise.catch(() => {}); // a late error is not reported twice
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

export type Program = {
  /** The process. A test can close a pipe of it, as a reader that ends does. */
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  kill(signal?: NodeJS.Signals): void;
  /** Waits until the output matches. Returns the first group of the pattern. */
  printed(pattern: RegExp): Promise<string>;
  /** Waits until the process prints its address. Returns it with the IP address of localhost. */
  origin(): Promise<string>;
  /** Waits until the process has ended. */
  ended(): Promise<{ code: number; signal: string | null; stdout: string; stderr: string }>;
};

/** Node 20 runs TypeScript with tsx. Newer versions run it by themselves. */
export const NODE_ARGS = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];

const children = new Set<ChildProcess>();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL'))); // also if no test ends

/** Starts `node` with these arguments in the folder of the project. `PORT` is 0: any free port. */
export function startProgram(
  t: TestContext,
  args: readonly string[],
  env: Record<string, string> = {},
  nodeArgs: readonly string[] = NODE_ARGS,
): Program {
  const child = spawn(process.execPath, [...nodeArgs, ...args], {
    cwd: ROOT,
    env: { ...process.env, NODE_NO_WARNINGS: '1', HOST: '', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  t.after(() => child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (stderr += chunk));
  const closed = once(child, 'close');
  closed.catch(() => {}); // `ended` reports the error
  const what = `node ${args.join(' ')}`;
  const printed: Program['printed'] = async (pattern) => {
    const wait = async (): Promise<void> => {
      for (let isOver = false; !isOver && !pattern.test(stdout); ) {
        const more = once(child.stdout, 'data').then(() => false);
        isOver = await Promise.race([more, closed.then(() => true)]);
      }
    };
    const waits = (): string => `${what} printed ${stdout ? JSON.stringify(stdout) : 'nothing'}`;
    await waitingFor(withTimeLimit(wait(), what, PROGRAM_TIME_LIMIT), waits);
    assert.match(stdout, pattern, `The process ended. It had printed: ${stdout}${stderr}`);
    return pattern.exec(stdout)?.[1] ?? '';
  };
  return {
    child,
    kill: (signal = 'SIGTERM') => void child.kill(signal),
    printed,
    async origin() {
      const url = await printed(/(http:\/\/\S+)\n/); // also a wrong one, so that no test waits
      assert.match(url, /^http:\/\/localhost:[1-9]\d*$/, `${what} printed the address ${url}`);
      const origin = url.replace('localhost', '127.0.0.1');
      const isOfStep = args.length === 1 && /^src\/\d\d-/.test(args[0] ?? '');
      if (isOfStep && Object.keys(env).length === 0) noteProgram(origin);
      return origin;
    },
    async ended() {
      const ended = withTimeLimit(closed, what, PROGRAM_TIME_LIMIT);
      const [code, signal] = await waitingFor(ended, () => `${what} is still running`);
      return { code, signal, stdout, stderr };
    },
  };
}
