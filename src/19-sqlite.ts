// Step 19 · A database: sessions that outlive the server, and can be listed.
//
//   sessions: key TEXT PRIMARY KEY, version INTEGER, owner TEXT, expires REAL, text TEXT
//
// Node has SQLite built in (node:sqlite, since 22.13). One file, many processes: a write locks it
// for a moment, in which the others wait. Compare and set is one UPDATE with the version in its
// WHERE: the database itself decides who was first. WAL (sqlite.org/wal.html) lets readers go on
// while somebody writes, and what was acknowledged is in the file, whatever kills the process. A
// disk that is full or may not be written is a 503: nothing was saved, and the visitor is told.
import { isMain, serve } from './01-server.ts';
import { problem, toListener, withForm } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';
import type { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import type { Html } from './04-template.ts';
import type { Session } from './10-session.ts';
import type { Mount, SessionRequest } from './11-session-factory.ts';
import { fieldOf, seeOther } from './13-flash.ts';
import { USERS, withLogin } from './16-login.ts';
import type { SiteData } from './16-login.ts';
import { keyOf, site as storedSite, stateOf, StoredSession, StoreDown } from './18-store.ts';
import type { Awaitable, Entry, SessionStore, VersionedEntry } from './18-store.ts';
import type { StoredSessionFactory } from './18-store.ts';

const SCHEMA_VERSION = 1; // kept in the file as user_version; 0 is a new file
const LOCK_TIMEOUT = 2_000; // milliseconds to wait for another process that writes
const RETRY_TIME = 10; // milliseconds between two looks whether it has done, on average
const SWEEP_EVERY = 100; // writes; each sweep takes out as many rows, so that none takes long

const MAX_LISTED = 100; // sessions on one page

const SCHEMA = `
  CREATE TABLE sessions (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, owner TEXT NOT NULL,
    expires REAL NOT NULL, text TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX sessions_by_owner ON sessions (owner) WHERE owner <> '';
  CREATE INDEX sessions_by_expiry ON sessions (expires);
  PRAGMA user_version = ${SCHEMA_VERSION};`;

/** A store in a file. Any number of processes may have it open. */
export class SqliteStore implements SessionStore {
  readonly #database: Database;
  readonly #now: () => number;
  readonly #statements: Readonly<Record<keyof typeof STATEMENTS, Statement>>;
  #writes = 0;

  /** Throws an `Error` in words for a Node without SQLite, and for a file that is not ours. */
  constructor(file: string, now = () => Date.now() / 1000) {
    this.#now = now;
    this.#database = openDatabase(file);
    const entries = Object.entries(STATEMENTS).map(([name, sql]) => [
      name,
      this.#database.prepare(sql),
    ]);
    this.#statements = Object.fromEntries(entries);
  }

  get(key: string): Awaitable<VersionedEntry | undefined> {
    return inTurn(() => {
      const row = this.#statements.get.get(key, this.#now());
      return row && ({ ...row } as VersionedEntry);
    });
  }

  put(key: string, { text, owner, expires }: Entry, version: number): Awaitable<boolean> {
    return inTurn(() => {
      const { insert, update, sweep } = this.#statements;
      const now = this.#now();
      if (++this.#writes % SWEEP_EVERY === 0) sweep.run(now, SWEEP_EVERY);
      const { changes } =
        version === 0
          ? insert.run(key, owner, expires, text, now)
          : update.run(owner, expires, text, key, version, now);
      return Number(changes) === 1;
    });
  }

  delete(key: string): Awaitable<void> {
    return inTurn(() => void this.#statements.delete.run(key));
  }

  keysOf(owner: string): Awaitable<string[]> {
    return inTurn(() =>
      this.#statements.keysOf.all(owner, this.#now()).map(({ key }) => String(key)),
    );
  }

  close(): void {
    this.#database.close();
  }
}

/**
 * Does it at once, or as soon as the process that writes has done. Throws `StoreDown`. SQLite can
 * wait for a lock by itself, but it stops the whole process while it does.
 */
function inTurn<T>(work: () => T, waited = 0): Awaitable<T> {
  try {
    return work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (isLocked(error) && waited < LOCK_TIMEOUT) {
      const time = Math.ceil(2 * RETRY_TIME * Math.random()); // two who wait do not meet again
      const pause = new Promise((resolve) => setTimeout(resolve, time));
      return pause.then(() => inTurn(work, waited + time));
    }
    throw code === 'ERR_SQLITE_ERROR' ? new StoreDown(message) : error; // or a bug of ours
  }
}

function isLocked(error: unknown): boolean {
  return ((error as { errcode?: number }).errcode ?? 0) % 256 === 5; // SQLITE_BUSY, of any kind
}

/** Values are bound, never pasted into SQL (OWASP: SQL Injection Prevention). */
const STATEMENTS = {
  get: 'SELECT text, owner, expires, version FROM sessions WHERE key = ? AND expires > ?',
  insert: `INSERT INTO sessions (key, version, owner, expires, text) VALUES (?, 1, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET version = 1, owner = excluded.owner,
      expires = excluded.expires, text = excluded.text WHERE sessions.expires <= ?`,
  update: `UPDATE sessions SET version = version + 1, owner = ?, expires = ?, text = ?
    WHERE key = ? AND version = ? AND expires > ?`,
  delete: 'DELETE FROM sessions WHERE key = ?',
  keysOf: "SELECT key FROM sessions WHERE owner = ? AND owner <> '' AND expires > ?",
  sweep: 'DELETE FROM sessions WHERE key IN (SELECT key FROM sessions WHERE expires <= ? LIMIT ?)',
};

/** What we use of node:sqlite. It is asked for when it is needed: older Nodes do not have it. */
type Row = Record<string, unknown>;
type Statement = {
  get(...values: unknown[]): Row | undefined;
  all(...values: unknown[]): Row[];
  run(...values: unknown[]): { changes: number | bigint };
};
type Database = { exec(sql: string): void; prepare(sql: string): Statement; close(): void };
type Sqlite = { DatabaseSync: new (file: string) => Database };

/** Opens it, once others have done: on a new file SQLite itself does not always wait for them. */
function openDatabase(file: string, waited = 0): Database {
  const sqlite = process.getBuiltinModule?.('node:sqlite') as Sqlite | undefined;
  const refuse = (why: string): RangeError => new RangeError(`Cannot open ${file}: ${why}`);
  if (!sqlite) throw refuse(`SQLite needs Node 22.13 or newer, and this is ${process.version}`);
  let database: Database | undefined;
  try {
    database = new sqlite.DatabaseSync(file);
    database.exec(`PRAGMA busy_timeout = ${LOCK_TIMEOUT}; PRAGMA journal_mode = WAL;`);
    database.exec('PRAGMA synchronous = NORMAL;'); // a kill loses nothing; a power cut may
    database.exec('BEGIN IMMEDIATE'); // of several processes that start, one makes the table
    const version = database.prepare('PRAGMA user_version').get()?.user_version;
    if (version === 0) database.exec(SCHEMA);
    database.exec('COMMIT');
    database.exec('PRAGMA busy_timeout = 0'); // from here on we do the waiting
    if (version === 0 || version === SCHEMA_VERSION) return database;
    throw new Error(`its version is ${version}, and we know ${SCHEMA_VERSION}`);
  } catch (error) {
    database?.close();
    if (isLocked(error) && waited < LOCK_TIMEOUT) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_TIME); // for nobody yet
      return openDatabase(file, waited + RETRY_TIME);
    }
    throw refuse(error instanceof Error ? error.message : String(error));
  }
}

/** Answers 503 where the store is down. What needs no session never asks it. */
export function withStoreDown<R extends HttpRequest>(inner: Handler<R>): Handler<R> {
  return async (request) => {
    try {
      return await inner(request);
    } catch (error) {
      if (!(error instanceof StoreDown)) throw error;
      console.error(`503 ${request.method} ${request.path}: ${error.message}`);
      const response = problem(503, 'We cannot get at your session. Please try again in a moment.');
      return { ...response, headers: { ...response.headers, 'retry-after': '1' } };
    }
  };
}

/** Adds `/sessions`, where you see all of yours, and end one, or all but the one you are in. */
export function addSessions(
  router: Router,
  mount: Mount<SiteData>,
  factory: StoredSessionFactory<SiteData>,
  users = USERS,
): Router {
  const { store } = factory;
  const list = async ({ session, user }: OwnerRequest): Promise<HttpResponse> => {
    const own = keyOf(idOf(session));
    const keys = await store.keysOf(user);
    const lines = keys.slice(0, MAX_LISTED).map(async (key) => {
      const entry = await store.get(key);
      return entry && lineOf(key, entry, key === own);
    });
    const more = keys.length - lines.length;
    return page('Sessions', html`<main>
<h1>Your sessions</h1>
<ul class="lines">${await Promise.all(lines)}</ul>
${more > 0 && html`<p>And ${more} more.</p>`}
<form method="post" action="/sessions/end-others"><button>End all but this one</button></form>
</main>`);
  };
  const end = async ({ form, user }: OwnerRequest & { form: URLSearchParams }) => {
    const key = fieldOf(form, 'key');
    if ((await store.keysOf(user)).includes(key)) await store.delete(key); // yours, or nobody's
    return seeOther('/sessions');
  };
  const endOthers = async ({ session, user }: OwnerRequest): Promise<HttpResponse> => {
    await factory.destroyAllFor(user, idOf(session));
    return seeOther('/sessions');
  };
  // They ask the store themselves, and a session that was opened does not mean that it is there.
  const put = (page: Handler<SessionRequest<SiteData>>): Handler => mount(withStoreDown(page));
  return router
    .get('/sessions', put(withLogin(users, list)))
    .post('/sessions/end', put(withForm(withLogin(users, end))))
    .post('/sessions/end-others', put(withLogin(users, endOthers)));
}

type OwnerRequest = SessionRequest<SiteData> & { user: string };

function idOf(session: Session<SiteData>): string {
  return session instanceof StoredSession ? (session.found?.id ?? '') : '';
}

function lineOf(key: string, entry: Entry, isOwn: boolean): Html | undefined {
  const state = stateOf(entry);
  if (!state) return undefined;
  const { accessed, created, agent } = state;
  const name = agent || 'No name';
  const dateOf = (time: number): string => new Date(time * 1000).toUTCString();
  return html`<li><strong>${name}</strong> ${isOwn && 'This browser.'}
Since ${dateOf(created)}, last seen ${dateOf(accessed)}
<form method="post" action="/sessions/end"><input type="hidden" name="key" value="${key}">
<button class="quiet" aria-label="End: ${name}">End</button></form></li>
`;
}

/** The site of this step: step 18's, in a file, and with the list. */
export function site(
  file = process.env.SQLITE_FILE || 'sessions.sqlite',
  users = USERS,
): { router: Router; handle: Handler; store: SqliteStore } {
  const store = new SqliteStore(file);
  const { router, handle, factory, mount } = storedSite(store, users);
  addSessions(router, mount, factory, users);
  return { router, handle: withStoreDown(handle), store };
}

if (isMain(import.meta.url)) {
  try {
    serve(toListener(site().handle), 'Step 19', '/', '/login', '/sessions');
  } catch (error) {
    console.error(error instanceof RangeError ? error.message : error);
    process.exitCode = 1;
  }
}
