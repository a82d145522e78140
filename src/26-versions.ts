// Step 26 · Versions: two requests change one session, and no change is lost.
//
// Two tabs read the cart, both add an item, both save: the second save overwrites the first. This is
// a lost update. `put` stores an entry only if its version is still the version that was read
// (compare-and-set, optimistic locking). If another request saved first, this factory reads again,
// applies the calls of `update` again, and retries.
import { isDeepStrictEqual } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { type Handler, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle } from './06-template.ts';
import { decodePayload, type Session } from './07-session.ts';
import { withTimeouts } from './11-timeouts.ts';
import { type SiteData, UserSession } from './22-login.ts';
import { hashId, type LoadedSession, MemoryStore, type SessionStore } from './25-store.ts';
import { addStoredSite, StoredSessionFactory } from './25-store.ts';

/** Keeps the changes of all requests. An ended session stays ended. */
export class VersionedSessionFactory<S extends Session<object>> extends StoredSessionFactory<S> {
  readonly #queues = new Map<string, Promise<unknown>>();

  /** In one process, the requests of one session save one after the other, so they never retry. */
  protected override async write(session: S, key: string, old?: LoadedSession): Promise<void> {
    const save = (): Promise<void> => super.write(session, key, old);
    const result = (this.#queues.get(key) ?? Promise.resolve()).then(save, save);
    this.#queues.set(key, result);
    try {
      await result;
    } finally {
      if (this.#queues.get(key) === result) this.#queues.delete(key);
    }
  }

  /** Ends the old session. If another request saved it first, the new one gets these changes. */
  protected override async end(session: S, newKey: string, old: LoadedSession): Promise<void> {
    const key = hashId(old.id);
    let { version } = old;
    while (!(await this.store.put(key, { text: '', expires: 0 }, version))) {
      const current = await this.store.get(key);
      const moved = await this.store.get(newKey);
      if (!current || !moved) return; // another request ended it: nothing is left to merge
      version = current.version;
      const text = this.merge(session, moved.text, current.text, old.text);
      await this.store.put(newKey, { text, expires: session.expires }, moved.version);
    }
  }

  /**
   * Returns `current` with the changes of this session. A key that only `update` changed is updated
   * again. For another changed key, this session wins. `before` is what this session has read.
   */
  protected override merge(session: S, text: string, current: string, before: string): string {
    const [accessed, created] = JSON.parse(text) as [number, number];
    const [mine, theirs] = [new Map<string, unknown>(session), dataOf(current)];
    const base = dataOf(before);
    for (const key of new Set([...base.keys(), ...mine.keys()])) {
      if (isDeepStrictEqual(base.get(key), mine.get(key))) continue;
      const updates = session.updates.filter(([name]) => name === key);
      const redo = (value: unknown): unknown =>
        updates.reduce((result, [, fn]) => fn(result as never), structuredClone(value));
      const isOnlyUpdated = isDeepStrictEqual(redo(base.get(key)), mine.get(key));
      if (isOnlyUpdated) theirs.set(key, redo(theirs.get(key)));
      else if (mine.has(key)) theirs.set(key, mine.get(key));
      else theirs.delete(key);
    }
    return JSON.stringify([accessed, created, Object.fromEntries(theirs)]);
  }
}

function dataOf(text: string): Map<string, unknown> {
  return new Map(Object.entries(decodePayload(text)?.data ?? {}));
}

/** The site of this step. */
export function site(store: SessionStore = new MemoryStore()): Handler {
  const factory = new VersionedSessionFactory(store, { sessionClass: UserSession<SiteData> });
  return addStoredSite(addStyle(new Router()), { factory: withTimeouts(factory) }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 26', ['/', '/cart', '/login']);
