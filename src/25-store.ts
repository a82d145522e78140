// Step 25 · A store: the cookie holds an id, and the server holds the session.
//
// A copied cookie works after the logout, because the server cannot delete it. Now the cookie is a
// random id of 256 bits (OWASP Session Management), and logout deletes the session. The store knows
// only the hash of the id, so a stolen store contains no usable cookie. An id that this site did not
// create is never accepted.
import { createHash, randomBytes } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { Cookie } from './02-cookie.ts';
import { type Awaitable, type HttpRequest, type HttpResponse, problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle } from './06-template.ts';
import { decodePayload, encodePayload, type Session, type SessionState } from './07-session.ts';
import { type FactoryOptions, type SessionFactory, SessionTooLarge } from './08-session-factory.ts';
import type { Explain } from './10-inspector.ts';
import { withTimeouts } from './11-timeouts.ts';
import { seeOther } from './12-forms.ts';
import { rescue } from './19-rescue.ts';
import { safeRedirectPath, type SiteData, UserSession } from './22-login.ts';
import { addSite, type SiteOptions } from './23-throttle.ts';

/** What a store keeps under a key. `version` counts the writes from 1. */
export type Entry = { readonly text: string; readonly expires: number }; // seconds since 1970
export type VersionedEntry = Entry & { readonly version: number };

/** Where entries are kept. A method throws `StoreUnavailable` if the store does not work. */
export interface SessionStore {
  /** Returns the entry, or `undefined` if it does not exist or has expired. */
  get(key: string): Awaitable<VersionedEntry | undefined>;
  /** Stores the entry if the current version is `version`; 0 means: no entry. Returns whether. */
  put(key: string, entry: Entry, version: number): Awaitable<boolean>;
  delete(key: string): Awaitable<void>;
}

/** The store does not respond in time, or cannot write. Nothing was promised to the visitor. */
export class StoreUnavailable extends Error {}

/** The session ended while the request was handled. */
export class SessionEnded extends Error {}

/** A store in the memory of one process. If it is full, the oldest entries are evicted. */
export class MemoryStore implements SessionStore {
  readonly #entries = new Map<string, VersionedEntry>(); // the oldest write is the first
  readonly #options: { maxEntries: number; maxSize: number; now: () => number };
  #size = 0; // characters of all texts
  #writes = 0;

  constructor({ maxEntries = 100_000, maxSize = 2 ** 26, now = () => Date.now() / 1000 } = {}) {
    this.#options = { maxEntries, maxSize, now };
  }

  get(key: string): VersionedEntry | undefined {
    const entry = this.#entries.get(key);
    return entry && entry.expires > this.#options.now() ? entry : undefined;
  }

  put(key: string, { text, expires }: Entry, version: number): boolean {
    if ((this.get(key)?.version ?? 0) !== version) return false;
    this.delete(key);
    this.#entries.set(key, { text, expires, version: version + 1 });
    this.#size += text.length;
    const { maxEntries, maxSize } = this.#options;
    const isFull = this.#entries.size > maxEntries || this.#size > maxSize;
    if (isFull || ++this.#writes % SWEEP_INTERVAL === 0) this.#sweep();
    return true;
  }

  delete(key: string): void {
    this.#size -= this.#entries.get(key)?.text.length ?? 0;
    this.#entries.delete(key);
  }

  /** Removes expired entries, and then the oldest ones until 1 % of the space is free. */
  #sweep(): void {
    const { maxEntries, maxSize, now } = this.#options;
    for (const [key, { expires }] of this.#entries) if (expires <= now()) this.delete(key);
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= maxEntries * 0.99 && this.#size <= maxSize * 0.99) break;
      this.delete(key);
    }
  }
}

const SWEEP_INTERVAL = 1_000; // writes: one sweep reads all entries
export const MAX_STORED_SIZE = 64 * 1024; // characters of one session
const ID = /^[\w-]{43}$/; // 32 bytes in base64url

/** What the store had when the session was opened. */
export type LoadedSession = { id: string; version: number; text: string };

/** Keeps the sessions in a store. If two requests save one session, the last one wins. */
export class StoredSessionFactory<S extends Session<object>> implements SessionFactory<S> {
  readonly cookie: Cookie;
  readonly store: SessionStore;
  readonly #options: FactoryOptions<S>;
  readonly #now: () => number;
  readonly #loaded = new WeakMap<S, LoadedSession>();
  readonly #ids = new WeakMap<S, string>();

  constructor(store: SessionStore, options: FactoryOptions<S>) {
    this.store = store;
    this.cookie = options.cookie ?? new Cookie('session');
    this.#options = options;
    this.#now = options.now ?? (() => Date.now() / 1000);
  }

  async open(id: string): Promise<S | undefined> {
    const entry = ID.test(id) ? await this.store.get(hashId(id)) : undefined;
    const state = decodePayload(entry?.text);
    if (!entry || !state) return undefined;
    const session = this.create(state);
    this.#loaded.set(session, { id, version: entry.version, text: entry.text });
    this.#ids.set(session, id);
    return session;
  }

  create(state?: SessionState): S {
    return new this.#options.sessionClass(this.#now(), state);
  }

  /** Throws `SessionTooLarge`, or `SessionEnded` if the session ended in another request. */
  async save(session: S): Promise<string | undefined> {
    if (!session.isChanged) return undefined;
    const old = this.#loaded.get(session);
    const isEnded = session instanceof UserSession && session.isEnded;
    if (session.size === 0) {
      if (old) await this.store.delete(hashId(old.id));
      return '';
    }
    const id = old && !isEnded ? old.id : randomBytes(32).toString('base64url');
    await this.write(session, hashId(id), id === old?.id ? old : undefined);
    if (old && isEnded) await this.end(session, hashId(id), old);
    this.#ids.set(session, id);
    return id;
  }

  /** Returns the key of the session in the store, or `undefined` if it was never saved. */
  keyOf(session: S): string | undefined {
    const id = this.#ids.get(session);
    return id === undefined ? undefined : hashId(id);
  }

  /** Deletes the old session. The new one has the key `_newKey`. */
  protected async end(_session: S, _newKey: string, old: LoadedSession): Promise<void> {
    await this.store.delete(hashId(old.id));
  }

  /** Writes the session under a key, again and again until no other request is in between. */
  protected async write(session: S, key: string, old?: LoadedSession): Promise<void> {
    let text = encodePayload(session, this.#now());
    for (let version = old?.version ?? 0; ; ) {
      if (text.length > MAX_STORED_SIZE) throw new SessionTooLarge(`${text.length} characters`);
      if (await this.store.put(key, { text, expires: session.expires }, version)) return;
      const current = await this.store.get(key);
      if (!current) throw new SessionEnded('The session ended in another request');
      version = current.version;
      text = this.merge(session, text, current.text, old?.text ?? '');
    }
  }

  /** Returns the text to write over `current`. Here, the changes of the other request are lost. */
  protected merge(_session: S, text: string, _current: string, _before: string): string {
    return text;
  }
}

/** Returns the key of an id in the store. The id cannot be computed from it. */
export function hashId(id: string): string {
  return createHash('sha256').update(id).digest('base64url');
}

/** The response if a session ended during the request: GET looks again, others do nothing. */
export function onEnded({ method, path, search }: HttpRequest): HttpResponse {
  if (method === 'GET') return seeOther(safeRedirectPath(path + search));
  return problem(409, 'Your session ended in another request. Nothing was done. Please try again.');
}

/** Explains an id: it means nothing outside the store. */
export const explainStored: Explain = (id) => [
  { name: 'id', text: id, meaning: `A random number. The key in the store is ${hashId(id)}.` },
];

/** Adds all pages over sessions in a store. */
export function addStoredSite(router: Router, options: SiteOptions) {
  const rescues = [rescue(SessionEnded, onEnded), ...(options.rescues ?? [])];
  return addSite(router, { explain: explainStored, ...options, rescues });
}

/** The site of this step. */
export function site(store: SessionStore = new MemoryStore()) {
  const factory = new StoredSessionFactory(store, { sessionClass: UserSession<SiteData> });
  return addStoredSite(addStyle(new Router()), { factory: withTimeouts(factory) }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 25', ['/', '/cart', '/login']);
