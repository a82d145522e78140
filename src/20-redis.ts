// Step 20 · Many servers: sessions in Redis or Valkey, over a client of our own.
//
//   *2\r\n$3\r\nGET\r\n$1\r\na\r\n  →  $5\r\nhello\r\n   RESP2 (redis.io, serialization protocol)
//
// Any server can now answer any visitor. But a network lies between, and it fails in more ways than
// a file does: slowly, half-way, and for ten minutes. So each command has a time limit, what waits
// is bounded, and a store that is down is a 503 at once, not a page that hangs. A command that may
// have run is never sent again. The connection comes back by itself, at random moments: a hundred
// servers that return in the same instant would be the next outage.
import { createHash } from 'node:crypto';
import { connect, isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { Handler } from './02-http.ts';
import type { Router } from './03-router.ts';
import { MAX_COOKIE_AGE } from './07-cookie.ts';
import { USERS } from './16-login.ts';
import { site as storedSite, StoreDown } from './18-store.ts';
import type { Entry, SessionStore, VersionedEntry } from './18-store.ts';
import { addSessions, withStoreDown } from './19-sqlite.ts';

export type Reply = string | number | null | Reply[];

/** The one method that a store needs. node-redis: `(...args) => client.sendCommand(args)`. */
export type Commander = { command(...args: string[]): Promise<unknown> };

const COMMAND_TIMEOUT = 500; // milliseconds, with the connection that it may need
const MAX_QUEUE = 10_000; // commands that have no reply yet; more are refused
const MAX_REPLY_SIZE = 1024 * 1024; // bytes: a session has 64 KiB at most
const BACKOFF = { first: 50, last: 2_000 }; // milliseconds between two attempts to connect

type Call = { resolve(reply: Reply): void; reject(error: Error): void; timer: NodeJS.Timeout };

/** One connection to a server. Commands go out at once, and replies come back in their order. */
export class RedisClient implements Commander {
  readonly #url: URL;
  readonly #login: string[][]; // the commands that a connection begins with
  #socket: Socket | undefined;
  #calls: Call[] = []; // sent, the oldest first
  #received = Buffer.alloc(0);
  #failures = 0;
  #retry: NodeJS.Timeout | undefined; // set while the server is known to be down

  /** `redis://user:password@host:6379/0`, or `rediss:` for TLS. Throws a `TypeError` otherwise. */
  constructor(url: string) {
    try {
      this.#url = new URL(url);
      this.#login = loginOf(this.#url);
    } catch {
      throw new TypeError('Cannot make a Redis client: its URL looks like redis://localhost:6379');
    }
  }

  /** Sends a command, and gives its reply. Throws `StoreDown`, or what the server refused. */
  command(...args: string[]): Promise<Reply> {
    if (this.#retry) return Promise.reject(new StoreDown('Redis is down'));
    if (this.#calls.length >= MAX_QUEUE) return Promise.reject(new StoreDown('Redis is too slow'));
    this.#socket ??= this.#connect();
    this.#socket.write(encode(args)); // kept till there is a connection
    return this.#reply();
  }

  /** Ends the connection, and with it what has no reply yet. */
  close(): void {
    this.#fail(new StoreDown('the client was closed'));
    clearTimeout(this.#retry);
  }

  /** The next reply that has no owner yet. */
  #reply(): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        if (!this.#calls.includes(call)) return;
        this.#fail(new StoreDown(`no answer in ${COMMAND_TIMEOUT} milliseconds`));
      };
      // If it was us who were busy, the answer is there, and is read before this is looked at.
      const late = () => setImmediate(giveUp);
      const call = { resolve, reject, timer: setTimeout(late, COMMAND_TIMEOUT) };
      this.#calls.push(call);
    });
  }

  #connect(): Socket {
    const { protocol, hostname, port } = this.#url;
    const host = hostname.replace(/^\[|\]$/g, ''); // a URL has IPv6 addresses in brackets
    const options = { host, port: Number(port || 6379), ...(!isIP(host) && { servername: host }) };
    const socket = protocol === 'rediss:' ? connectTls(options) : connect(options);
    socket.setNoDelay(true).unref(); // a server that is to stop need not wait for Redis
    socket.on('data', (bytes) => this.#receive(bytes));
    const end = (why: string): void => {
      if (this.#socket === socket) this.#fail(new StoreDown(why));
    };
    socket.on('error', (error) => end(error.message));
    socket.on('close', () => end('Redis hung up'));
    socket.write(this.#login.map(encode).join(''));
    socket.cork(); // till it is let in, or what comes next would go to the wrong place
    Promise.all(this.#login.map(() => this.#reply())).then(
      () => socket.uncork(),
      ({ message }) => end(`the login failed: ${message.replace(/(says: \w+).*/s, '$1')}`),
    );
    return socket;
  }

  #receive(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    try {
      let at = 0;
      for (let reply; (reply = parseReply(this.#received, at)); at = reply.end) {
        const call = this.#calls.shift();
        clearTimeout(call?.timer);
        const { value } = reply;
        const isRefused = value instanceof Error;
        if (!isRefused) this.#failures = 0; // who is not let in waits longer each time
        if (!isRefused) call?.resolve(value);
        else call?.reject(BUG.test(value.message) ? value : new StoreDown(value.message));
      }
      this.#received = this.#received.subarray(at);
      if (this.#received.length > MAX_REPLY_SIZE) throw new RangeError('the reply is too long');
    } catch (error) {
      this.#fail(new StoreDown(String(error))); // what comes next cannot be told from this
    }
  }

  /** Drops the connection. What was sent may have run, and is not sent again. */
  #fail(error: StoreDown): void {
    this.#socket?.destroy();
    this.#socket = undefined;
    this.#received = Buffer.alloc(0);
    for (const { reject, timer } of this.#calls.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
    const wait = Math.min(BACKOFF.first * 2 ** this.#failures++, BACKOFF.last);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => (this.#retry = undefined), wait * (0.5 + Math.random() / 2));
    this.#retry.unref();
  }
}

/**
 * The reply that begins at `at`, and where it ends; `undefined` while it is not all there. Throws a
 * `RangeError` for what is no RESP2. An error of the server's is a value: it may stand in a list.
 */
export function parseReply(
  bytes: Buffer,
  at = 0,
): { value: Reply | Error; end: number } | undefined {
  const lineEnd = bytes.indexOf('\r\n', at);
  if (lineEnd === -1) return undefined;
  const type = bytes.toString('latin1', at, at + 1);
  const text = bytes.toString('utf8', at + 1, lineEnd);
  let end = lineEnd + 2;
  if (type === '+') return { value: text, end };
  if (type === '-') return { value: new Error(`Redis says: ${text}`), end };
  const number = Number(text);
  if (!/^-?\d{1,15}$/.test(text) || !/[:$*]/.test(type)) throw new RangeError(NOT_RESP2);
  if (type === ':') return { value: number, end };
  if (number === -1) return { value: null, end };
  if (number < 0 || number > MAX_REPLY_SIZE) throw new RangeError('the reply is too long');
  if (type === '$') {
    const [start, stop] = [end, end + number];
    if (bytes.length < stop + 2) return undefined;
    if (bytes.toString('latin1', stop, stop + 2) !== '\r\n') throw new RangeError(NOT_RESP2);
    return { value: bytes.toString('utf8', start, stop), end: stop + 2 };
  }
  const list: Reply[] = [];
  while (list.length < number) {
    const item = parseReply(bytes, end);
    if (!item) return undefined;
    list.push(item.value instanceof Error ? item.value.message : item.value);
    end = item.end;
  }
  return { value: list, end };
}

function encode(args: string[]): string {
  const parts = args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`);
  return `*${args.length}\r\n${parts.join('')}`;
}

const NOT_RESP2 = 'this is not RESP2';
const BUG = /^Redis says: (ERR (?!max )|WRONGTYPE|NOSCRIPT)/; // of ours; all else is its trouble

/** Who we are, and which database. Throws for what is no URL of Redis. */
function loginOf({ protocol, username, password, pathname }: URL): string[][] {
  if (!/^rediss?:$/.test(protocol)) throw new TypeError(protocol);
  const words = [username, password].filter(Boolean).map(decodeURIComponent);
  const auth = words.length > 0 ? [['AUTH', ...words]] : [];
  return pathname.length > 1 ? [...auth, ['SELECT', pathname.slice(1)]] : auth;
}

/** A store in Redis. Expiry is Redis' own, and compare-and-set is a script, which runs alone. */
export class RedisStore implements SessionStore {
  readonly #redis: Commander;
  readonly #now: () => number;

  constructor(redis: Commander, now = () => Date.now() / 1000) {
    this.#redis = redis;
    this.#now = now;
  }

  async get(key: string): Promise<VersionedEntry | undefined> {
    const fields = ['version', 'owner', 'expires', 'text'];
    const values = (await this.#redis.command('HMGET', `session:${key}`, ...fields)) as string[];
    const [version, owner = '', expires, text = ''] = values;
    if (!version || Number(expires) <= this.#now()) return undefined;
    return { version: Number(version), owner, expires: Number(expires), text };
  }

  async put(key: string, { text, owner, expires }: Entry, version: number): Promise<boolean> {
    const now = this.#now();
    // Milliseconds from now, and no instant: the clock of Redis may be another than ours.
    const time = `${Math.min(Math.ceil((expires - now) * 1000), END_OF_TIME)}`;
    const values = [`${version}`, owner, `${expires}`, text, time, `${now}`];
    const [isPut] = await Promise.all([
      this.#redis.command('EVAL', PUT, '1', `session:${key}`, ...values),
      owner && this.#redis.command('SADD', ownerKey(owner), key), // too many there do no harm
      owner && this.#redis.command('EXPIRE', ownerKey(owner), `${MAX_COOKIE_AGE}`),
    ]);
    return isPut === 1;
  }

  async delete(key: string): Promise<void> {
    await this.#redis.command('DEL', `session:${key}`);
  }

  async keysOf(owner: string): Promise<string[]> {
    const theirs = new Set<string>(); // a key may come twice
    for (let cursor: string | undefined; cursor !== '0'; ) {
      const scan = ['SSCAN', ownerKey(owner), cursor ?? '0', 'COUNT', '100']; // however many it has
      const [next = '0', keys] = (await this.#redis.command(...scan)) as [string, string[]];
      const entries = await Promise.all(keys.map((key) => this.get(key)));
      const others = keys.filter((_, i) => entries[i]?.owner !== owner); // gone, or another's now
      if (others.length > 0) await this.#redis.command('SREM', ownerKey(owner), ...others);
      for (const key of keys) if (!others.includes(key)) theirs.add(key);
      cursor = next;
    }
    return [...theirs];
  }
}

const END_OF_TIME = 8.64e15; // milliseconds, JavaScript's own: Redis knows no Infinity

/** KEYS: the session. ARGV: version, owner, expires, text, milliseconds to live, now. */
const PUT = `
local version, expires = unpack(redis.call('HMGET', KEYS[1], 'version', 'expires'))
if not version or (tonumber(expires) or math.huge) <= tonumber(ARGV[6]) then version = '0' end
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', version + 1, 'owner', ARGV[2], 'expires', ARGV[3],
  'text', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1`;

function ownerKey(owner: string): string {
  return `owner:${createHash('sha256').update(owner).digest('base64url')}`; // any name is a key
}

/** The site of this step: step 19's, on any number of servers. */
export function site(
  redis: Commander = new RedisClient(process.env.REDIS_URL || 'redis://localhost:6379'),
  users = USERS,
): { router: Router; handle: Handler } {
  const { router, handle, factory, mount } = storedSite(new RedisStore(redis), users);
  return { router: addSessions(router, mount, factory, users), handle: withStoreDown(handle) };
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 20', '/', '/sessions');
