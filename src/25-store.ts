// Step 25 · A store: the cookie contains an id, and the server keeps the session.
//
// The site accepts only its own ids (OWASP Session Management).

import { hash, randomBytes } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { Cookie } from './02-cookie.ts';
import { type Awaitable, type Handler, toListener } from './04-http.ts';
import { decodePayload, encodePayload, type Session, type SessionState } from './07-session.ts';
import { type FactoryOptions, type SessionFactory, SessionTooLarge } from './08-session-factory.ts';
import type { Explain } from './10-inspector.ts';
import { withTimeouts } from './11-timeouts.ts';
import { type SiteData, UserSession } from './22-login.ts';
import { makeUserSite } from './23-throttle.ts';

/** What a store keeps under a key. `expires` is in seconds since 1970. */
export type Entry = { readonly text: string; readonly expires: number };

/** An entry with its version: the number of its writes, from 1. */
export type VersionedEntry = Entry & { readonly version: number };

/** Where entries are kept. A method throws `StoreUnavailable` if the store does not work now. */
export interface SessionStore {
  /** Returns the entry, or `undefined` if it does not exist or has expired. */
  get(key: string): Awaitable<VersionedEntry | undefined>;
  /**
   * If the entry under the key has this version, stores the new entry and returns true. Otherwise,
   * returns false. Version 0 means that there is no entry yet.
   */
  put(key: string, entry: Entry, version: number): Awaitable<boolean>;
  delete(key: string): Awaitable<void>;
}

/** The store does not respond in time, or it cannot write. Step 27 responds with 503. */
export class StoreUnavailable extends Error {}

/**
 * A store in the memory of this process. `maxSize` is a number of characters. When the young map
 * reaches half of a limit, the old map is evicted.
 */
export class MemoryStore implements SessionStore {
  readonly #options: { maxEntries: number; maxSize: number; now: () => number };
  #young = new Map<string, VersionedEntry>();
  #old = new Map<string, VersionedEntry>();
  #size = 0; // the characters of all texts in the young map

  constructor({ maxEntries = 100_000, maxSize = 2 ** 26, now = () => Date.now() / 1000 } = {}) {
    this.#options = { maxEntries, maxSize, now };
  }

  get(key: string): VersionedEntry | undefined {
    const entry = this.#young.get(key) ?? this.#old.get(key);
    if (entry && !this.#young.has(key)) this.#keep(key, entry);
    return entry && entry.expires > this.#options.now() ? entry : undefined;
  }

  put(key: string, { text, expires }: Entry, version: number): boolean {
    if ((this.get(key)?.version ?? 0) !== version) return false;
    this.#keep(key, { text, expires, version: version + 1 });
    return true;
  }


  /** Puts an entry into the young map. If this map is full, it becomes the old map. */
  #keep(key: string, entry: VersionedEntry): void {
    this.#size += entry.text.length - (this.#young.get(key)?.text.length ?? 0);
    this.#young.set(key, entry);
    const { maxEntries, maxSize } = this.#options;
    const isFull = this.#young.size >= maxEntries / 2 || this.#size >= maxSize / 2;
    if (isFull) [this.#old, this.#young, this.#size] = [this.#young, new Map(), 0];
  }

  delete(key: string): void {
    this.#size -= this.#young.get(key)?.text.length ?? 0;
    this.#young.delete(key);
    this.#old.delete(key);
  }
}

export const MAX_STORED_SIZE = 64 * 1024; // characters of one session

/** Keeps the sessions in a store. If two requests save one session, a change can be lost. */
export class StoredSessionFactory<S extends Session<object>> implements SessionFactory<S> {
  readonly cookie: Cookie;
  protected readonly store: SessionStore;

  protected readonly loaded = new WeakMap<S, VersionedEntry & { readonly id: string }>();
  readonly #options: Required<FactoryOptions<S>>;

  constructor(store: SessionStore, options: FactoryOptions<S>) {
    this.#options = { cookie: new Cookie('session'), now: () => Date.now() / 1000, ...options };
    this.cookie = this.#options.cookie;
    this.store = store;
  }

  /** Returns `undefined` for an id that this site did not create. Never creates an entry. */
  async open(id: string): Promise<S | undefined> {
    // An id has 32 bytes: 43 characters in base64url.
    const entry = /^[\w-]{43}$/.test(id) ? await this.store.get(hashId(id)) : undefined;
    const state = decodePayload(entry?.text);
    if (!entry || !state) return undefined;
    const session = this.create(state);
    this.loaded.set(session, { ...entry, id });
    return session;
  }

  create(state?: SessionState): S {
    return new this.#options.sessionClass(this.#options.now(), state);
  }

  /**
   * Stores a changed session. Returns `''` for an empty session, and a new id for a session that is
   * new or has ended. Any other session keeps its id: if the cookie has a `Max-Age`, returns this
   * id, to renew the cookie, and otherwise `undefined`. Throws `SessionTooLarge` as `entryOf` does.
   */
  async save(session: S): Promise<string | undefined> {
    if (!session.isChanged) return undefined;
    const oldId = this.loaded.get(session)?.id;
    const isEnded = session.size === 0 || (session instanceof UserSession && session.isEnded);
    const id = oldId && !isEnded ? oldId : randomBytes(32).toString('base64url');
    if (session.size > 0) await this.write(session, hashId(id));
    if (oldId && isEnded) await this.store.delete(hashId(oldId));
    if (session.size === 0) return '';
    return id === oldId && !this.cookie.attributes.includes('Max-Age') ? undefined : id;
  }


  protected async write(session: S, key: string): Promise<void> {
    const current = await this.store.get(key);
    await this.store.put(key, this.entryOf(session), current?.version ?? 0);
  }

  /** Throws `SessionTooLarge` if the text has more than `MAX_STORED_SIZE` characters. */
  protected entryOf(session: S): Entry {
    const text = encodePayload(session, this.#options.now());
    if (text.length <= MAX_STORED_SIZE) return { text, expires: session.expires };
    throw new SessionTooLarge(`${text.length} characters, and the limit is ${MAX_STORED_SIZE}`);
  }
}

/** Returns the key of an id in the store: its SHA-256 hash in base64url. */
export const hashId = (id: string): string => hash('sha256', id, 'base64url');

/** Returns one part, 'id', with the meaning 'A random number. The key in the store is 9fQx…2A.' */
export const explainStored: Explain = (id) => [
  { name: 'id', text: id, meaning: `A random number. The key in the store is ${hashId(id)}.` },
];

/** The site of this step. */
export function site(store: SessionStore = new MemoryStore()): Handler {
  const factory = new StoredSessionFactory(store, { sessionClass: UserSession<SiteData> });
  return makeUserSite({ factory: withTimeouts(factory), explain: explainStored }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 25', ['/', '/cart', '/login']);
