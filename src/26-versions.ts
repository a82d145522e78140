// Step 26 · Versions: two requests change one session, and no change is lost.
//
// If another request saved a session first, the factory repeats the changes on the new session.

import { isDeepStrictEqual } from 'node:util';
import { isMain, serve } from './01-server.ts';
import type { Handler, HttpRequest, HttpResponse } from './04-http.ts';
import { problem, toListener } from './04-http.ts';
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

  /** Stores a new session, or replaces the entry that `open` has read. */
  protected override async write(session: S, key: string): Promise<void> {
    const loaded = this.loaded.get(session);
    if (!loaded) return this.writeNew(session, key); // no other request knows its id
    const oldKey = hashId(loaded.id);
    const isOtherUser = key !== oldKey && !mayInherit(dataOf(loaded.text), session);
    if (isOtherUser) return this.writeNew(session, key);
    await this.#inOrder(oldKey, () => this.#replace(session, loaded, oldKey, key));
  }

  /** Stores a session under a new key. Step 28 also adds the key to a list. */
  protected async writeNew(session: S, key: string): Promise<void> {
    await super.write(session, key);
  }

  /**
   * Replaces the entry under `oldKey`. Throws `SessionEnded` if this entry does not exist any more,
   * or belongs to another user.
   */
  async #replace(session: S, loaded: VersionedEntry, oldKey: string, key: string): Promise<void> {
    let [merged, version] = [session, loaded.version];
    for (let count = 0; count < MAX_ATTEMPTS; count++) {
      if (key !== oldKey) await this.writeNew(merged, key); // first, so a crash loses no session
      const entry = key === oldKey ? this.entryOf(merged) : EXPIRED;
      if (await this.store.put(oldKey, entry, version)) return;
      const current = await this.store.get(oldKey);
      const state = decodePayload(current?.text);
      if (!current || !state || !mayInherit(dataOf(loaded.text), dataOf(current.text))) {
        if (key !== oldKey) return; // another login ended the old session: this login succeeds too
        throw new SessionEnded('Another request ended the session');
      }
      [merged, version] = [this.create(state), current.version];
      merged.created = session.created;
      merged.expires = session.expires;
      repeatChanges(session, dataOf(loaded.text), merged);
    }
    throw new StoreUnavailable(`${MAX_ATTEMPTS} attempts to save one session failed`);
  }

  /** Runs `save` after the last save under this key. A failed save does not stop the next one. */
  #inOrder(key: string, save: () => Promise<void>): Promise<void> {
    const last = this.#queues.get(key) ?? Promise.resolve();
    const result: Promise<void> = last.then(save, save).finally(() => {
      if (this.#queues.get(key) === result) this.#queues.delete(key);
    });
    this.#queues.set(key, result);
    return result;
  }
}

type Values = Map<string, unknown>;

const MAX_ATTEMPTS = 100; // each failure means that another request has saved the session
const EXPIRED = { text: '', expires: 0 }; // `put` of an expired entry deletes the entry

const dataOf = (text: string): Values => new Map(Object.entries(decodePayload(text)?.data ?? {}));

/** Returns whether late changes of the old session may go into the new session. */
function mayInherit(before: Values, after: Values): boolean {
  const user = before.get('user');
  return user === undefined || user === after.get('user');
}

/** Repeats the changes of `session` on `target`. `before`: the values when `session` was opened. */
function repeatChanges(session: Session<object>, before: Values, target: Values): void {
  const after: Values = new Map(session);
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

/** Returns the response if another request ended the session: for GET, a redirect to its path. */
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
