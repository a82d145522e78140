// Step 32 · A Redis client that fails fast and recovers.
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { isMain, serve } from './01-server.ts';
import { type Handler, text, toListener } from './04-http.ts';
import { StoreUnavailable } from './25-store.ts';
import { rescueStore } from './27-sqlite.ts';
import { type Reply, RespConnection } from './31-resp.ts';

/** What a store needs. node-redis: `{ command: (...args) => client.sendCommand(args) }`. */
export type Commander = { command(...args: string[]): Promise<unknown> };

const CONNECT_TIMEOUT = 2_000; // milliseconds: a distant Redis needs several round trips
const COMMAND_TIMEOUT = 500; // milliseconds to wait for a connection, and then for the reply
const MAX_QUEUE = 10_000; // commands without a reply; more are rejected
const WRONG_URL = 'A Redis URL looks like redis://localhost:6379. Write %40 for @ in a password';
const MAX_BACKOFF = 1_000; // milliseconds between two attempts to connect; the first wait is 50

/** This program sent a wrong command. Any other error means that Redis cannot do its work now. */
export const CLIENT_ERRORS = /^(ERR (?!max |Connection )|WRONGTYPE|NOSCRIPT)/;
/** This server cannot work for a long time. Another server can do its work, so connect again. */
const STALE_ERRORS = /^(READONLY|MASTERDOWN|LOADING|CLUSTERDOWN)/;

/** A client for one Redis. It connects when a command needs a connection. */
export class RedisClient implements Commander {
  readonly #url: URL;
  readonly #login: string[][]; // the commands that each connection begins with
  #connection: RespConnection | undefined;
  #ready: Promise<unknown> = Promise.resolve(); // the replies to these commands
  #waiting = 0; // commands without a reply
  #failures = 0; // since the last reply
  #isDown = false; // true during the wait after a failure, and after close()
  #retry: NodeJS.Timeout | undefined; // ends the wait

  /** Throws a `TypeError` unless `url` looks like `redis://user:password@host:6379/0`. */
  constructor(url: string) {
    try {
      this.#url = new URL(/^rediss?:\/\/./.test(url) ? url : '');
      this.#login = loginCommands(this.#url);
    } catch {
      // The message does not contain the value, because it can contain a password.
      throw new TypeError(WRONG_URL);
    }
  }

  /**
   * Returns the reply. Throws the error of Redis for a wrong command. For any other failure, throws
   * `StoreUnavailable`, for example 'Redis is down' or 'Too many commands wait for Redis'.
   */
  async command(...args: string[]): Promise<Reply> {
    if (this.#isDown) throw new StoreUnavailable('Redis is down');
    const limit = this.#failures > 0 ? 1 : MAX_QUEUE; // after a failure, one command tries alone
    if (this.#waiting >= limit) throw new StoreUnavailable('Too many commands wait for Redis');
    const connection = (this.#connection ??= this.#connect());
    this.#waiting += 1;
    let isReady = false;
    try {
      await within(COMMAND_TIMEOUT, this.#ready); // the connection itself may need more time
      isReady = true; // the login is complete
      const reply = await within(COMMAND_TIMEOUT, connection.command(...args));
      this.#failures = 0;
      return reply;
    } catch (error) {
      const reason = reasonOf(error as Error);
      const isLate = isReady && error instanceof StoreUnavailable;
      if (isLate || STALE_ERRORS.test(reason)) connection.close(reason);
      throw isReady && CLIENT_ERRORS.test(reason) ? error : new StoreUnavailable(reason);
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Closes the connection forever, with the reason 'The client was closed'. */
  close(): void {
    this.#connection?.close('The client was closed');
    clearTimeout(this.#retry);
    this.#isDown = true;
  }

  #connect(): RespConnection {
    const connection = new RespConnection(openSocket(this.#url), () => this.#backOff());
    const replies = Promise.all(this.#login.map((args) => connection.command(...args)));
    this.#ready = within(CONNECT_TIMEOUT, replies);
    this.#ready.catch((error: Error) => connection.close(reasonOf(error)));
    return connection;
  }

  /** Waits longer after each failure. Half of the wait is random. */
  #backOff(): void {
    this.#connection = undefined;
    this.#isDown = true;
    const wait = (0.5 + Math.random() / 2) * Math.min(50 * 2 ** this.#failures++, MAX_BACKOFF);
    this.#retry = setTimeout(() => (this.#isDown = false), wait).unref();
  }
}

/** Returns the result, or throws `StoreUnavailable` after the limit: 'No reply after 500 ms'. */
async function within<T>(limit: number, result: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(new StoreUnavailable(`No reply after ${limit} ms`));
    // If this process was busy, Node first reads a reply that has already arrived.
    timer = setTimeout(() => setImmediate(fail), limit);
    if (limit === CONNECT_TIMEOUT) timer.unref(); // a server that stops does not wait for Redis
  });
  return Promise.race([result, late]).finally(() => clearTimeout(timer));
}

function openSocket({ protocol, hostname, port }: URL): Socket {
  const host = hostname.replace(/^\[|\]$/g, ''); // a URL has brackets around an IPv6 address
  const options = { host, port: Number(port || 6379), ...(!isIP(host) && { servername: host }) };
  return (protocol === 'rediss:' ? connectTls(options) : connect(options)).setNoDelay().unref();
}

/** Returns the commands for the user, the password and the database number in the URL. */
function loginCommands({ username, password, pathname }: URL): string[][] {
  const words = [username, password].filter(Boolean).map(decodeURIComponent);
  const commands = [['AUTH', ...words], ['SELECT', pathname.slice(1)], ['PING']];
  return commands.filter(([name, word]) => name === 'PING' || word);
}

/** Returns the reason of an error. Redis 6 puts words about a script before it. */
export function reasonOf({ message }: Error): string {
  // The arguments of an unknown command could be a password.
  return message.replace(/^ERR Error running script .*?: -/, '').replace(/, with args.*/s, '');
}

/** The site of this step: it counts in Redis. While Redis is down, it responds immediately. */
export function site(commander?: Commander): Handler {
  const redis = commander ?? new RedisClient(process.env.REDIS_URL || 'redis://localhost:6379');
  return rescueStore(async () => text(`Count: ${String(await redis.command('INCR', 'visits'))}\n`));
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 32', ['/']);
