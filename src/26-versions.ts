// Step 26 · Versions: two requests change one session, and no change is lost.
//
// Two tabs read the cart, both add a product, and both save: the second save overwrites the first.
// This is a lost update. Now `put` stores an entry only if the store still has the version that was
// read (compare-and-set, optimistic locking). If another request saved first, this factory reads
// the session again, repeats its changes on it, and tries again. A session that another request
// ended stays ended: a late save does not bring it back.
import { isDeepStrictEqual } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, type HttpResponse, problem } from './04-http.ts';
import { toListener } from './04-http.ts';
import { decodePayload, type Session } from './07-session.ts';
import { withTimeouts } from './11-timeouts.ts';
import { seeOther } from './12-forms.ts';
import { rescue } from './19-rescue.ts';
import { safeRedirectPath, type SiteData, UserSession } from './22-login.ts';
import { makeUserSite, type SiteOptions } from './23-throttle.ts';
import { explainStored, hashId, MemoryStore, type SessionStore } from './25-store.ts';
import { StoredSessionFactory, StoreUnavailable, type VersionedEntry } from './25-store.ts';

/** Another request ended the session, so nothing was saved. */
export class SessionEnded extends Error {}

/** Keeps the changes of all requests that save one session at the same time. */
export class VersionedSessionFactory<S extends Session<object>> extends StoredSessionFactory<S> {
  readonly #queues = new Map<string, Promise<void>>(); // the last save under each key

  protected override async write(session: S, key: string): Promise<void> {
    const loaded = this.loaded.get(session);
    if (!loaded) return super.write(session, key); // a new session: no other request knows its id
    const oldKey = hashId(loaded.id);
    const isMoved = key !== oldKey;
    const save = (): Promise<void> =>
      isMoved ? this.#move(session, loaded, oldKey, key) : this.#update(session, loaded, key);
    // In one process, the saves of one session run in order. So they need few attempts.
    const result = (this.#queues.get(oldKey) ?? Promise.resolve()).then(save, save);
    this.#queues.set(oldKey, result);
    try {
      await result;
    } finally {
      if (this.#queues.get(oldKey) === result) this.#queues.delete(oldKey);
    }
  }

  async #update(session: S, loaded: VersionedEntry, key: string): Promise<void> {
    for await (const { merged, version } of this.#attempts(session, loaded, key)) {
      if (await this.store.put(key, this.entryOf(merged), version)) return;
    }
    throw new SessionEnded('Another request ended the session');
  }

  /** Stores the session under a new key, and then ends the old one. A kill in between is safe. */
  async #move(session: S, loaded: VersionedEntry, oldKey: string, key: string): Promise<void> {
    if (!mayInherit(dataOf(loaded.text), session)) return super.write(session, key);
    let newVersion = 0;
    for await (const { merged, version } of this.#attempts(session, loaded, oldKey)) {
      const isStored = await this.store.put(key, this.entryOf(merged), newVersion++);
      if (!isStored) throw new SessionEnded('The store has lost the new session');
      if (await this.store.put(oldKey, EXPIRED, version)) return;
    }
  }

  /**
   * Yields the session and the version to compare. After each conflict, yields the session that the
   * other request saved, with the changes of `session`. Stops if the session has ended.
   */
  async *#attempts(session: S, loaded: VersionedEntry, key: string) {
    yield { merged: session, version: loaded.version };
    for (let attempt = 2; attempt <= MAX_ATTEMPTS; attempt++) {
      const current = await this.store.get(key);
      const state = decodePayload(current?.text);
      if (!current || !state) return;
      const merged = this.create(state);
      merged.created = session.created;
      merged.expires = session.expires;
      repeatChanges(session, dataOf(loaded.text), merged);
      yield { merged, version: current.version };
    }
    throw new StoreUnavailable(`${MAX_ATTEMPTS} attempts to save one session failed`);
  }
}

const MAX_ATTEMPTS = 100; // each failure means that another request has saved the session
const EXPIRED = { text: '', expires: 0 }; // `put` with this entry is a `delete` that compares

const dataOf = (text: string): Map<string, unknown> =>
  new Map(Object.entries(decodePayload(text)?.data ?? {}));

/** Whether a new session may get late changes of the old one. No data of a user goes to others. */
function mayInherit(before: Map<string, unknown>, after: Map<string, unknown>): boolean {
  const user = before.get('user');
  return user === undefined || user === after.get('user');
}

/**
 * Repeats the changes of `session` on `target`. `before` is what `session` was opened with. If only
 * `update` changed a key, it is updated again. For every other changed key, `session` wins.
 */
function repeatChanges(
  session: Session<object>,
  before: Map<string, unknown>,
  target: Map<string, unknown>,
): void {
  const after = new Map<string, unknown>(session);
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    if (isDeepStrictEqual(before.get(key), after.get(key))) continue;
    const updates = session.updates.filter(([name]) => name === key);
    const redo = (value: unknown): unknown =>
      updates.reduce((result, [, fn]) => fn(result as never), value);
    const isOnlyUpdated = isDeepStrictEqual(redo(before.get(key)), after.get(key));
    if (isOnlyUpdated) target.set(key, redo(target.get(key)));
    else if (after.has(key)) target.set(key, after.get(key));
    else target.delete(key);
  }
}

/** The response if a session ended during the request: GET looks again, others do nothing. */
export function onEnded({ method, path, search }: HttpRequest): HttpResponse {
  if (method === 'GET') return seeOther(safeRedirectPath(path + search));
  return problem(409, 'Another request ended your session. Look at the page before you try again.');
}

/** Adds all pages over sessions in a store. */
export function makeStoredSite(options: SiteOptions) {
  const rescues = [rescue(SessionEnded, onEnded), ...(options.rescues ?? [])];
  return makeUserSite({ explain: explainStored, ...options, rescues });
}

/** The site of this step. */
export function site(store: SessionStore = new MemoryStore()): Handler {
  const factory = new VersionedSessionFactory(store, { sessionClass: UserSession<SiteData> });
  return makeStoredSite({ factory: withTimeouts(factory) }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 26', ['/', '/cart', '/login']);
