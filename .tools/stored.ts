// Sessions in a store, for the tests of steps 25 and 26: a clock, a store that records its calls,
// and browsers whose requests can overlap.
import type { Awaitable, Handler, HttpRequest } from '../src/04-http.ts';
import { text } from '../src/04-http.ts';
import { type FactoryOptions, withSession } from '../src/08-session-factory.ts';
import { Browser } from '../src/16-browser.ts';
import { UserSession } from '../src/22-login.ts';
import { type Entry, MemoryStore, type SessionStore } from '../src/25-store.ts';
import type { StoredSessionFactory, VersionedEntry } from '../src/25-store.ts';

export const NOW = 1_700_000_000; // seconds since 1970
export const ORIGIN = 'http://localhost:6543';

export type Data = { counter: number; words: string; list: string[]; user: string };
export type Page = Handler<HttpRequest & { session: UserSession<Data> }>;

type Call = { method: 'get' | 'put' | 'delete'; key: string; entry?: Entry; version?: number };

/** A store that records its calls. `before` runs before each call, and can call `inner`. */
export class SpyStore implements SessionStore {
  readonly inner: SessionStore;
  readonly calls: Call[] = [];
  before: (call: Call) => Awaitable<void> = () => {};

  constructor(inner: SessionStore) {
    this.inner = inner;
  }

  async get(key: string): Promise<VersionedEntry | undefined> {
    await this.#note({ method: 'get', key });
    return this.inner.get(key);
  }

  async put(key: string, entry: Entry, version: number): Promise<boolean> {
    await this.#note({ method: 'put', key, entry, version });
    return this.inner.put(key, entry, version);
  }

  async delete(key: string): Promise<void> {
    await this.#note({ method: 'delete', key });
    return this.inner.delete(key);
  }

  /** Returns how often a method was called. */
  count(method: Call['method']): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  async #note(call: Call): Promise<void> {
    this.calls.push(call);
    await this.before(call);
  }
}

type Options = FactoryOptions<UserSession<Data>>;
type Factory = new (store: SessionStore, options: Options) => StoredSessionFactory<UserSession<Data>>;

/** A factory over a store in memory. `browse` returns a new browser that visits one page. */
export function setUp(Factory: Factory, options: Partial<Options> = {}) {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const memory = new MemoryStore({ now });
  const store = new SpyStore(memory);
  const factory = new Factory(store, { sessionClass: UserSession<Data>, now, ...options });
  const browse = (page: Page): Browser => new Browser(withSession(factory)(page), ORIGIN, now);
  return { clock, memory, store, factory, browse };
}

/** Returns the value of the cookie `session`, or `''`. */
export function idOf(browser: Browser, now = NOW): string {
  return browser.jar.headerFor(new URL(ORIGIN), now)?.slice('session='.length) ?? '';
}

/** A page that counts its visits. */
export const countVisits: Page = ({ session }) => {
  session.update('counter', (counter = 0) => counter + 1);
  return text(`${session.get('counter')}`);
};

/** `passed` is pending until `open` is called. */
export function makeGate(): { readonly passed: Promise<void>; open: () => void } {
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { passed, open };
}

/** A page that counts. At `/slow`, it opens the session, and then waits for the gate. */
export const slowVisits = (gate: { readonly passed: Promise<void> }): Page => async (request) => {
  if (request.path === '/slow') await gate.passed;
  return countVisits(request);
};
