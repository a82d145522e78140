// Step 33 · A store in Redis: any server can handle any request.
// It also works with Valkey, and with any client that can send a command.
import { isMain, serve } from './01-server.ts';
import { type Handler, toListener } from './04-http.ts';
import type { Entry, SessionStore, VersionedEntry } from './25-store.ts';
import { StoreUnavailable } from './25-store.ts';
import { makeDeviceSite } from './28-devices.ts';
import { CLIENT_ERRORS, type Commander, reasonOf, RedisClient } from './32-redis-client.ts';

/** A store for any number of servers. */
export class RedisStore implements SessionStore {
  readonly #redis: Commander;
  readonly #now: () => number;

  constructor(redis: Commander, now = () => Date.now() / 1000) {
    this.#redis = redis;
    this.#now = now;
  }

  /** Reads three fields of `session:KEY`. A damaged entry is ignored. */
  async get(key: string): Promise<VersionedEntry | undefined> {
    const values = await this.#send('HMGET', `session:${key}`, 'version', 'expires', 'text');
    if (!Array.isArray(values)) throw new StoreUnavailable('Redis sent a wrong reply');
    const [version, expires] = values.map(Number); // NaN if the entry is damaged
    if (!version || !expires || expires <= this.#now()) return undefined;
    return { version, expires, text: values[2] ?? '' };
  }

  /** Runs the script `PUT`, and returns whether it has stored the entry. */
  async put(key: string, { text, expires }: Entry, version: number): Promise<boolean> {
    const now = this.#now();
    // A duration: the clock of Redis can differ from the clock of this server.
    const milliseconds = Math.min(Math.ceil((expires - now) * 1000), MAX_TIME);
    const values = [version, expires, text, milliseconds, now].map(String);
    return (await this.#send('EVAL', PUT, '1', `session:${key}`, ...values)) === 1;
  }

  async delete(key: string): Promise<void> {
    await this.#send('DEL', `session:${key}`);
  }

  /** Sends a command. Throws `StoreUnavailable`, unless the command is wrong. */
  async #send(...args: string[]): Promise<unknown> {
    try {
      return await this.#redis.command(...args);
    } catch (error) {
      const reason = reasonOf(error as Error);
      throw CLIENT_ERRORS.test(reason) ? error : new StoreUnavailable(reason);
    }
  }
}

const MAX_TIME = 8.64e15; // milliseconds: the last date in JavaScript. Redis rejects Infinity.

/** KEYS: `session:KEY`. ARGV: version, expires, text, milliseconds to live, now. */
const PUT = `
local version, expires = unpack(redis.call('HMGET', KEYS[1], 'version', 'expires'))
local isValid = tonumber(version) and (tonumber(expires) or 0) > tonumber(ARGV[5])
if tonumber(ARGV[1]) ~= (isValid and tonumber(version) or 0) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1] + 1, 'expires', ARGV[2], 'text', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`;

/** The site of this step. */
export function site(redis?: Commander): Handler {
  const client = redis ?? new RedisClient(process.env.REDIS_URL || 'redis://localhost:6379');
  return makeDeviceSite(new RedisStore(client)).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 33', ['/', '/login', '/sessions']);
