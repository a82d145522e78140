// Step 19 · A database: sessions that outlive the server, and can be listed.
//
//   sessions: key TEXT PRIMARY KEY, version INTEGER, owner TEXT, expires REAL, text TEXT
//
// Node has SQLite built in (node:sqlite, since 22.13). One file, many processes: a write locks it
// for a moment, in which the others wait. Compare and set is one UPDATE with the version in its
// WHERE: the database itself decides who was first. WAL (sqlite.org/wal.html) lets readers go on
// while somebody writes, and what was acknowledged is in the file, whatever kills the process.
import { isMain, serve } from './01-server.ts';
import { toListener, withForm } from './02-http.ts';
import type { Handler, HttpResponse } from './02-http.ts';
import type { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import type { Html } from './04-template.ts';
import type { Session } from './10-session.ts';
import type { Mount, SessionRequest } from './11-session-factory.ts';
import { fieldOf, seeOther } from './13-flash.ts';
import { USERS, withLogin } from './16-login.ts';
import type { SiteData } from './16-login.ts';
import { keyOf, site as storedSite, StoredSession } from './18-store.ts';
import type { Entry, SessionStore, StoredSessionFactory, VersionedEntry } from './18-store.ts';

const SCHEMA_VERSION = 1; // kept in the file as user_version; 0 is a new file
const LOCK_TIMEOUT = 2_000; // milliseconds to wait for another process that writes
const SWEEP_EVERY = 100; // writes; each sweep takes out as many rows, so that none takes long

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

  get(key: string): VersionedEntry | undefined {
    const row = this.#statements.get.get(key, this.#now());
    return row && ({ ...row } as VersionedEntry);
  }

  put(key: string, { text, owner, expires }: Entry, version: number): boolean {
    if (++this.#writes % SWEEP_EVERY === 0) this.#statements.sweep.run(this.#now(), SWEEP_EVERY);
    const { insert, update } = this.#statements;
    const now = this.#now();
    const { changes } =
      version === 0
        ? insert.run(key, owner, expires, text, now)
        : update.run(owner, expires, text, key, version, now);
    return Number(changes) === 1;
  }

  delete(key: string): void {
    this.#statements.delete.run(key);
  }

  keysOf(owner: string): string[] {
    return this.#statements.keysOf.all(owner, this.#now()).map(({ key }) => String(key));
  }

  close(): void {
    this.#database.close();
  }
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

function openDatabase(file: string): Database {
  const sqlite = process.getBuiltinModule?.('node:sqlite') as Sqlite | undefined;
  const refuse = (why: string): RangeError => new RangeError(`Cannot open ${file}: ${why}`);
  if (!sqlite) throw refuse(`SQLite needs Node 22.13 or newer, and this is ${process.version}`);
  try {
    const database = new sqlite.DatabaseSync(file);
    database.exec(`PRAGMA busy_timeout = ${LOCK_TIMEOUT}; PRAGMA journal_mode = WAL;`);
    database.exec('PRAGMA synchronous = NORMAL;'); // a kill loses nothing; a power cut may
    database.exec('BEGIN IMMEDIATE'); // of several processes that start, one makes the table
    const version = database.prepare('PRAGMA user_version').get()?.user_version;
    if (version === 0) database.exec(SCHEMA);
    database.exec('COMMIT');
    if (version === 0 || version === SCHEMA_VERSION) return database;
    database.close();
    throw new Error(`its version is ${version}, and we know ${SCHEMA_VERSION}`);
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error));
  }
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
    const lines = (await store.keysOf(user)).map(async (key) => {
      const entry = await store.get(key);
      return entry && lineOf(key, entry, key === own);
    });
    return page('Sessions', html`<main>
<h1>Your sessions</h1>
<ul class="lines">${await Promise.all(lines)}</ul>
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
  return router
    .get('/sessions', mount(withLogin(users, list)))
    .post('/sessions/end', mount(withForm(withLogin(users, end))))
    .post('/sessions/end-others', mount(withLogin(users, endOthers)));
}

type OwnerRequest = SessionRequest<SiteData> & { user: string };

function idOf(session: Session<SiteData>): string {
  return session instanceof StoredSession ? (session.found?.id ?? '') : '';
}

function lineOf(key: string, { text }: Entry, isOwn: boolean): Html {
  const [accessed, created, , agent] = JSON.parse(text);
  const dateOf = (time: number): string => new Date(time * 1000).toUTCString();
  return html`<li><strong>${agent || 'No name'}</strong> ${isOwn && 'This browser.'}
Since ${dateOf(created)}, last seen ${dateOf(accessed)}
<form method="post" action="/sessions/end"><input type="hidden" name="key" value="${key}">
<button class="quiet">End</button></form></li>
`;
}

/** The site of this step: step 18's, in a file, and with the list. */
export function site(
  file = process.env.SQLITE_FILE || 'sessions.sqlite',
  users = USERS,
): { router: Router; handle: Handler; store: SqliteStore } {
  const store = new SqliteStore(file);
  const { router, handle, factory, mount } = storedSite(store, users);
  return { router: addSessions(router, mount, factory, users), handle, store };
}

if (isMain(import.meta.url)) {
  try {
    serve(toListener(site().handle), 'Step 19', '/', '/login', '/sessions');
  } catch (error) {
    console.error(error instanceof RangeError ? error.message : error);
    process.exitCode = 1;
  }
}
