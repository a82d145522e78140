// Step 32 · A Redis client that fails fast and recovers.
//
// A network fails in more ways than a file: slowly, halfway, and for ten minutes. So each command
// has a time limit, the queue has a limit, and while Redis is down, a command fails immediately and
// no page hangs. A command that may have run is never sent again. The client reconnects by itself,
// with backoff and jitter: a hundred servers must not return in the same moment.
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { isMain, serve } from './01-server.ts';
import { type Handler, problem, text, toListener } from './04-http.ts';
import { StoreUnavailable } from './25-store.ts';
import { encodeCommand, MAX_REPLY_SIZE, parseReply, type Reply } from './31-resp.ts';

/** What a store needs. node-redis: `{ command: (...args) => client.sendCommand(args) }`. */
export type Commander = { command(...args: string[]): Promise<unknown> };

const CONNECT_TIMEOUT = 2_000; // milliseconds: a distant Redis needs several round trips
const COMMAND_TIMEOUT = 500; // milliseconds
const MAX_QUEUE = 10_000; // commands without a reply; more are rejected
const BACKOFF = { first: 50, last: 2_000 }; // milliseconds between two attempts to connect

/** Errors of this program. After each other error, Redis cannot do its work now. */
const CLIENT_ERRORS = /^(ERR (?!max |Error running script.* -(OOM|READONLY))|WRONGTYPE|NOSCRIPT)/;
/** Errors after which the connection leads to the wrong server, for example a former primary. */
const STALE_ERRORS = /\b(READONLY|MASTERDOWN|LOADING|CLUSTERDOWN)\b/;

type PendingCommand = {
  resolve(reply: Reply): void;
  reject(error: Error): void;
  timer?: NodeJS.Timeout;
};

/** One connection. Commands are sent immediately, and the replies arrive in the same order. */
export class RedisClient implements Commander {
  readonly #url: URL;
  readonly #authCommands: string[][]; // each connection begins with them
  #socket: Socket | undefined;
  #isReady = false;
  #pending: PendingCommand[] = []; // the oldest first
  #received = Buffer.alloc(0);
  #failures = 0;
  #retry: NodeJS.Timeout | undefined; // set while the client waits before it reconnects

  /** `redis://user:password@host:6379/0`, or `rediss:` for TLS. Throws a `TypeError` otherwise. */
  constructor(url: string) {
    if (!URL.canParse(url) || !/^rediss?:\/\//.test(url)) {
      throw new TypeError('The URL of Redis looks like redis://localhost:6379'); // it may have a password
    }
    this.#url = new URL(url);
    this.#authCommands = authCommands(this.#url);
  }

  /** Sends a command and returns its reply. Throws `StoreUnavailable`, or an error of Redis. */
  command(...args: string[]): Promise<Reply> {
    if (this.#retry) return Promise.reject(new StoreUnavailable('Redis is down'));
    if (this.#pending.length >= MAX_QUEUE) {
      return Promise.reject(new StoreUnavailable('Too many commands wait for Redis'));
    }
    this.#socket ??= this.#connect();
    this.#socket.write(encodeCommand(args)); // the socket keeps it until the connection exists
    return this.#reply();
  }

  /** Closes the connection. Commands without a reply fail. */
  close(): void {
    this.#fail('the client was closed');
    clearTimeout(this.#retry);
  }

  #reply(): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const pending: PendingCommand = { resolve, reject };
      this.#pending.push(pending);
      if (this.#isReady) this.#limit(pending);
    });
  }

  #limit(pending: PendingCommand, timeout = COMMAND_TIMEOUT): void {
    const giveUp = (): void => {
      if (this.#pending.includes(pending)) this.#fail(`no reply after ${timeout} ms`);
    };
    // If this process was busy, the reply is here already, and is read before `giveUp` runs.
    pending.timer = setTimeout(() => setImmediate(giveUp), timeout);
  }

  #connect(): Socket {
    const { protocol, hostname, port } = this.#url;
    const host = hostname.replace(/^\[|\]$/g, ''); // a URL has brackets around an IPv6 address
    const options = { host, port: Number(port || 6379), ...(!isIP(host) && { servername: host }) };
    const socket = protocol === 'rediss:' ? connectTls(options) : connect(options);
    socket.setNoDelay(true).unref(); // a server that stops does not wait for Redis
    socket.on('data', (bytes) => this.#receive(bytes));
    const end = (reason: string): void => {
      if (this.#socket === socket) this.#fail(reason);
    };
    socket.on('error', (error) => end(error.message));
    socket.on('close', () => end('Redis closed the connection'));
    const timer = setTimeout(() => end(`no connection after ${CONNECT_TIMEOUT} ms`), CONNECT_TIMEOUT);
    socket.on('close', () => clearTimeout(timer));
    const logins = [...this.#authCommands, ['PING']];
    socket.write(logins.map(encodeCommand).join(''));
    socket.cork(); // later commands wait: before SELECT they would use the wrong database
    const ready = (): void => {
      clearTimeout(timer);
      this.#isReady = true;
      for (const pending of this.#pending) this.#limit(pending);
      socket.uncork();
    };
    Promise.all(logins.map(() => this.#reply())).then(ready, ({ message }) => end(`login: ${message}`));
    return socket;
  }

  #receive(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    try {
      let start = 0;
      for (let reply; (reply = parseReply(this.#received, start)); start = reply.end) {
        this.#settle(reply.value);
      }
      this.#received = this.#received.subarray(start);
      if (this.#received.length > MAX_REPLY_SIZE) throw new RangeError('The reply is too long');
    } catch (error) {
      this.#fail(String(error)); // the start of the next reply is unknown
    }
  }

  #settle(value: Reply): void {
    const pending = this.#pending.shift();
    clearTimeout(pending?.timer);
    if (!(value instanceof Error)) {
      if (this.#isReady) this.#failures = 0;
      return pending?.resolve(value);
    }
    const { message } = value;
    pending?.reject(CLIENT_ERRORS.test(message) ? value : new StoreUnavailable(message));
    if (STALE_ERRORS.test(message)) this.#fail(message);
  }

  /** Drops the connection. A command that was sent may have run, so it is not sent again. */
  #fail(reason: string): void {
    this.#socket?.destroy();
    this.#socket = undefined;
    this.#isReady = false;
    this.#received = Buffer.alloc(0);
    for (const { reject, timer } of this.#pending.splice(0)) {
      clearTimeout(timer);
      reject(new StoreUnavailable(reason));
    }
    const wait = Math.min(BACKOFF.first * 2 ** this.#failures++, BACKOFF.last);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => (this.#retry = undefined), wait * (0.5 + Math.random() / 2));
    this.#retry.unref();
  }
}

function authCommands({ username, password, pathname }: URL): string[][] {
  const words = [username, password].filter(Boolean).map(decodeURIComponent);
  const auth = words.length > 0 ? [['AUTH', ...words]] : [];
  return pathname.length > 1 ? [...auth, ['SELECT', pathname.slice(1)]] : auth;
}

const DEFAULT_URL = 'redis://localhost:6379';

/** The site of this step: it counts in Redis. While Redis is down, it responds immediately. */
export function site(redis: Commander = new RedisClient(process.env.REDIS_URL || DEFAULT_URL)): Handler {
  return async () => {
    try {
      return text(`Count: ${String(await redis.command('INCR', 'sessions-from-scratch'))}\n`);
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      return problem(503, `Redis: ${error.message}`, { 'retry-after': '1' });
    }
  };
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 32', ['/']);
