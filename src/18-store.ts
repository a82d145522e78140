// Step 18 · Sessions on the server: the cookie has an id, and the store has the session.
//
//   Set-Cookie: session=<256 random bits>          store: SHA-256 of them → the session, version 7
//
// Now a session can be ended, at once and for good, and may be as large as it must be. The price is
// a store, and requests at the same time that write one entry. So each entry has a version, and is
// put only where it is still the one that was read (compare and set). Who comes too late reads anew
// and makes its changes on that. An entry that is gone stays gone: no late request brings it back.
// Ids are only ever ours (OWASP Session Management): what a visitor made up is never adopted.
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { problem, toListener } from './02-http.ts';
import type { HttpRequest, HttpResponse } from './02-http.ts';
import { findCookie, serializeCookie, withCookie } from './07-cookie.ts';
import { requireJson, Session } from './10-session.ts';
import type { SessionState } from './10-session.ts';
import { SessionTooLarge, withDefaults } from './11-session-factory.ts';
import type { CookieSessionOptions, SessionFactory } from './11-session-factory.ts';
import type { SessionOptions } from './11-session-factory.ts';
import type { Lens } from './12-inspector.ts';
import { seeOther } from './13-flash.ts';
import { localPath, USERS } from './16-login.ts';
import type { SiteData } from './16-login.ts';
import { wholeSite } from './17-encryption.ts';

/** What a store keeps under a key, and may not look into. */
export type Entry = {
  text: string; // JSON, in which there is no NUL: Node 22's SQLite would cut it there
  owner: string; // whose it is, or ''
  expires: number; // seconds since 1970; then it is as good as gone
};

export type VersionedEntry = Entry & { version: number }; // 1, 2, 3, …

export type Awaitable<T> = T | Promise<T>;

/** The store cannot be reached, or not in time, or cannot write. Then nothing was acknowledged. */
export class StoreDown extends Error {}

/** Where entries are kept. Each method throws `StoreDown` where it cannot do what it should. */
export interface SessionStore {
  /** The entry, or `undefined` where there is none, or none any more. */
  get(key: string): Awaitable<VersionedEntry | undefined>;
  /** Puts it as version + 1 if the version there is `version`; 0: none is there. Tells whether. */
  put(key: string, entry: Entry, version: number): Awaitable<boolean>;
  delete(key: string): Awaitable<void>;
  /** The keys of all that belong to an owner; none for '', which is nobody. */
  keysOf(owner: string): Awaitable<string[]>;
}

/** An entry between the one that was put before it and the one that was put after it. */
type Linked = VersionedEntry & { key: string; older: Link; newer?: Link };
type Link = Linked | undefined;

/** A store for one process, which its end forgets. Beyond its two limits the least recent go. */
export class MemoryStore implements SessionStore {
  readonly #entries = new Map<string, Linked>();
  readonly #options: { maxEntries: number; maxSize: number; now: () => number };
  #oldest: Link;
  #newest: Link;
  #size = 0; // characters of all texts together, as maxSize

  constructor({ maxEntries = 1e5, maxSize = 2 ** 26, now = () => Date.now() / 1000 } = {}) {
    this.#options = { maxEntries, maxSize, now };
  }

  get(key: string): VersionedEntry | undefined {
    const { text = '', owner = '', expires = 0, version = 0 } = this.#entries.get(key) ?? {};
    return expires > this.#options.now() ? { text, owner, expires, version } : undefined;
  }

  put(key: string, { text, owner, expires }: Entry, version: number): boolean {
    if ((this.get(key)?.version ?? 0) !== version) return false;
    this.#unlink(this.#entries.get(key));
    const entry: Linked = { text, owner, expires, version: version + 1, key, older: this.#newest };
    if (this.#newest) this.#newest.newer = entry;
    this.#newest = entry;
    this.#oldest ??= entry;
    this.#entries.set(key, entry); // in its place: a Map whose keys come and go gets slow
    this.#size += text.length;
    const { maxEntries, maxSize, now } = this.#options;
    // The oldest has waited longest: where nothing is to be swept, one look is enough.
    while (this.#oldest) {
      const hasRoom = this.#entries.size <= maxEntries && this.#size <= maxSize;
      if (this.#oldest.expires > now() && hasRoom) break;
      this.delete(this.#oldest.key);
    }
    return true;
  }

  delete(key: string): void {
    this.#unlink(this.#entries.get(key));
    this.#entries.delete(key);
  }

  keysOf(owner: string): string[] {
    const isTheirs = (entry: Linked) => entry.owner === owner && this.get(entry.key);
    return owner === '' ? [] : [...this.#entries.values()].filter(isTheirs).map(({ key }) => key);
  }

  #unlink(entry: Link): void {
    if (!entry) return;
    const { older, newer, text } = entry;
    if (older) older.newer = newer;
    else this.#oldest = newer;
    if (newer) newer.older = older;
    else this.#newest = older;
    this.#size -= text.length;
  }
}

/** What the store had of a session when it was opened. */
type Found = SessionState & { id: string; version: number; text: string };

export class StoredSession<Data extends object> extends Session<Data> {
  readonly found: Found | undefined;
  /** What the cookie says, or will say once there is something to keep. */
  id: string;

  constructor(now: number, found?: Found) {
    super(now, found);
    this.found = found;
    this.id = found?.id ?? newId();
  }

  override regenerateId(): void {
    super.regenerateId();
    this.id = newId();
  }

  /** The store has a random number, and the token is made of it with the id: no store knows it. */
  override csrfToken(): string {
    const kept = this.toJSON()._csrft_;
    return typeof kept === 'string' ? this.#tokenOf(kept) : this.newCsrfToken();
  }

  override newCsrfToken(): string {
    return this.#tokenOf(super.newCsrfToken());
  }

  #tokenOf(kept: string): string {
    return createHmac('sha256', this.id).update(kept).digest('hex');
  }
}

export type StoredSessionOptions = Omit<CookieSessionOptions, 'secrets'> & {
  /** Whose session it is, so that all of one owner can be found; `undefined`: nobody's. */
  ownerOf?: (data: Readonly<Record<string, unknown>>) => string | undefined;
};

export const MAX_STORED_SIZE = 64 * 1024; // characters of JSON, for one session
const MAX_TRIES = 100; // to be first: each time somebody else was, so something is done

export class StoredSessionFactory<Data extends object> implements SessionFactory<Data> {
  readonly store: SessionStore;
  readonly options: SessionOptions & StoredSessionOptions;
  readonly #saving = new Map<string, Promise<unknown>>();

  /** Throws as step 11's factory does. */
  constructor(store: SessionStore, options: StoredSessionOptions = {}) {
    this.store = store;
    this.options = { ...options, ...withDefaults({ ...options, secrets: [] }) };
  }

  async open(request: HttpRequest): Promise<StoredSession<Data>> {
    const id = findCookie(request.headers.cookie, this.options.cookieName) ?? '';
    return new StoredSession<Data>(this.options.now(), await this.read(id));
  }

  /** The session of an id, or `undefined`: never given out by us, ended, or out of time. */
  async read(id: string): Promise<Found | undefined> {
    const { idleTimeout, absoluteTimeout, now } = this.options;
    const entry = ID.test(id) ? await this.store.get(keyOf(id)) : undefined;
    const state = entry && stateOf(entry);
    if (!state) return undefined;
    const { accessed, created } = state;
    const isAlive = now() - accessed <= idleTimeout && now() - created <= absoluteTimeout;
    return isAlive ? { ...state, id, version: entry.version, text: entry.text } : undefined;
  }

  async save(session: StoredSession<Data>, request: HttpRequest, response: HttpResponse) {
    const { cookieName, reissueTime, setOnException, maxAge, now } = this.options;
    if (request.method === 'HEAD' || (response.status >= 500 && !setOnException)) return response;
    const { found, id } = session;
    if (found && session.isEnded) await this.store.delete(keyOf(found.id)); // at once, for good
    if (session.isEnded && session.size === 0) {
      return withCookie(response, serializeCookie(cookieName, '', { ...this.options, maxAge: 0 }));
    }
    const isDue = found !== undefined && now() - found.accessed > reissueTime;
    if (!session.isChanged && !isDue) return response; // who keeps nothing here gets no id
    const agent = request.headers['user-agent']?.slice(0, 200) ?? '';
    const isKept = await this.#inTurn(found?.id ?? id, () => this.#put(session, agent));
    if (!isKept) return endedMeanwhile(request);
    if (found?.id === id && maxAge === undefined) return response; // it has the cookie
    return withCookie(response, serializeCookie(cookieName, id, this.options));
  }

  /**
   * Puts it, if need be over what others have put meanwhile. False: meanwhile it was ended. Under a
   * new id it is put first and then the old one ends: killed in between, nothing is lost.
   */
  async #put(session: StoredSession<Data>, agent: string): Promise<boolean> {
    const { absoluteTimeout, idleTimeout, ownerOf, now } = this.options;
    let data: Record<string, unknown> = session.toJSON();
    requireJson(data, 'the session', []); // a value may have been changed after it was set
    const { found, id, isEnded } = session;
    const key = keyOf(id);
    const oldKey = found && found.id !== id && !isEnded ? keyOf(found.id) : undefined;
    let version = found?.id === id ? found.version : 0;
    let oldVersion = found?.version ?? 0;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const text = JSON.stringify([now(), session.created, data, agent]);
      if (text.length > MAX_STORED_SIZE) throw new SessionTooLarge(TOO_LARGE);
      const expires = Math.min(now() + idleTimeout, session.created + absoluteTimeout);
      const entry = { text, owner: ownerOf?.(data) ?? '', expires };
      if (await this.store.put(key, entry, version)) {
        version += 1; // should it be put once more
        // The old one ends as we know it, or not yet: others may have changed it, and were told so.
        const ended = { text: '', owner: '', expires: now() };
        if (!oldKey || (await this.store.put(oldKey, ended, oldVersion))) return true;
      } else if (oldKey) return false; // its owner was signed out everywhere, and this with it
      const theirs = await this.store.get(oldKey ?? key);
      const state = theirs && stateOf(theirs);
      if (!state && oldKey) await this.store.delete(key);
      if (!state) return false; // a new id does not bring it back either
      if (oldKey) oldVersion = theirs.version;
      else version = theirs.version;
      data = merge(session, { ...state.data });
    }
    throw new Error(`Cannot save the session: of ${MAX_TRIES} tries none was the first`);
  }

  /** In one process the requests of one session go one after the other, and need not race. */
  async #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.#saving.get(id) ?? Promise.resolve()).then(work, work);
    this.#saving.set(id, mine);
    return mine.finally(() => this.#saving.get(id) === mine && this.#saving.delete(id));
  }

  /** Signs an owner out everywhere, but for the session with one id. */
  async destroyAllFor(owner: string, exceptId = ''): Promise<void> {
    for (const key of await this.store.keysOf(owner)) {
      if (key !== keyOf(exceptId)) await this.store.delete(key);
    }
  }
}

/** What was to be saved is nowhere, so nobody may be told that it is: who looked, looks again. */
function endedMeanwhile({ method, path, search }: HttpRequest): HttpResponse {
  if (method === 'GET') return seeOther(localPath(path + search));
  return problem(409, 'Your session ended meanwhile. Nothing was done: please do it once more.');
}

const TOO_LARGE = `Cannot keep the session: more than ${MAX_STORED_SIZE} characters of JSON`;
const newId = (): string => randomBytes(32).toString('base64url'); // 256 bits: no guess will hit
const ID = /^[\w-]{43}$/; // 32 bytes in base64url

/** What the store is asked for: who reads the store has no id, and can be nobody. */
export function keyOf(id: string): string {
  return createHash('sha256').update(id).digest('base64url');
}

/** What an entry says, or `undefined` for what is no session: damaged, or another program's. */
export function stateOf({ text }: Entry): (SessionState & { agent: string }) | undefined {
  try {
    const [accessed, created, data, agent] = JSON.parse(text);
    const isObject = typeof data === 'object' && data !== null && !Array.isArray(data);
    requireJson(data, 'the session', []); // such as 1e999, which no session could keep
    if (!isObject || !Number.isFinite(accessed) || !Number.isFinite(created)) return undefined;
    return { accessed, created, data, agent: String(agent ?? '') };
  } catch {
    return undefined;
  }
}

/** Their data with our changes: what `update` did is done again, all else that we set is set. */
function merge<D extends object>(session: StoredSession<D>, theirs: Record<string, unknown>) {
  const [, , data = {}] = JSON.parse(session.found?.text ?? '[]'); // as they were, untouched since
  const before = new Map<string, unknown>(Object.entries(data));
  const [mine, merged] = [new Map<string, unknown>(session), new Map(Object.entries(theirs))];
  const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
  for (const key of new Map([...before, ...mine]).keys()) {
    if (isSame(before.get(key), mine.get(key))) continue;
    const changes = session.updates.filter(([updated]) => updated === key);
    const redo = (value: unknown): unknown =>
      changes.reduce((v, [, change]) => change(v as never), structuredClone(value));
    const isUpdated = isSame(redo(before.get(key)), mine.get(key)); // by `update`, and no other way
    merged.set(key, isUpdated ? redo(merged.get(key)) : mine.get(key));
  }
  return Object.fromEntries(merged);
}

/** The lens of step 12 for stored sessions: the cookie says nothing at all. */
export function storedLens<D extends object>(factory: StoredSessionFactory<D>): Lens {
  const parts: Lens['parts'] = (cookie) => [
    ['id', cookie, `Nothing can be read from it. In the store it is ${keyOf(cookie)}.`],
  ];
  return { options: factory.options, read: (cookie) => factory.read(cookie), parts };
}

/** Whose session it is on our site: the user's that step 16 has put in. */
export function ownerOf({ user }: Readonly<Record<string, unknown>>): string | undefined {
  return typeof user === 'string' ? user : undefined;
}

/** The site of this step: step 16's, over any store. */
export function site(
  store: SessionStore = new MemoryStore(),
  users = USERS,
  options: StoredSessionOptions = {},
): ReturnType<typeof wholeSite> & { factory: StoredSessionFactory<SiteData> } {
  const factory = new StoredSessionFactory<SiteData>(store, { ownerOf, ...options });
  return { ...wholeSite(factory, storedLens(factory), users), factory };
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 18', '/', '/cart', '/login');
