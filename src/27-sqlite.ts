// Step 27 · A database: sessions in a file that several processes share.
//
//   sessions: key TEXT PRIMARY KEY, version INTEGER, expires REAL, text TEXT
//
// A restart ended all sessions. Node contains SQLite (node:sqlite, since 22.13). Compare-and-set is
// one UPDATE with the version in its WHERE. WAL (sqlite.org/wal.html) lets other processes read
// during a write. What the site has promised is in the file, even after `kill -9`.
import { closeSync, openSync } from 'node:fs';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, type HttpResponse, problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle } from './06-template.ts';
import { withTimeouts } from './11-timeouts.ts';
import { rescue } from './19-rescue.ts';
import { type SiteData, UserSession } from './22-login.ts';
import { type Entry, type SessionStore, StoreUnavailable, type VersionedEntry } from './25-store.ts';
import { addStoredSite } from './25-store.ts';
import { VersionedSessionFactory } from './26-versions.ts';

const SCHEMA_VERSION = 2; // stored in the file as user_version; 0 is a new file
const BUSY_TIMEOUT = 250; // milliseconds to wait for another process; this process waits too
const SWEEP_INTERVAL = 100; // writes; a sweep deletes at most as many rows

const SCHEMA = `
  CREATE TABLE sessions (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, expires REAL NOT NULL, text TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX sessions_by_expiry ON sessions (expires);
  PRAGMA user_version = ${SCHEMA_VERSION};`;

/** A store in a file. Several processes can have it open. */
export class SqliteStore implements SessionStore {
  readonly #database: Database;
  readonly #now: () => number;
  readonly #statements: Record<keyof typeof STATEMENTS, Statement>;
  #writes = 0;

  /** Throws a `RangeError` with an explanation if Node has no SQLite, or the file is not usable. */
  constructor(file: string, now = () => Date.now() / 1000) {
    this.#now = now;
    this.#database = openDatabase(file);
    const prepare = (sql: string): Statement => this.#database.prepare(sql);
    const entries = Object.entries(STATEMENTS).map(([name, sql]) => [name, prepare(sql)]);
    this.#statements = Object.fromEntries(entries);
  }

  get(key: string): VersionedEntry | undefined {
    const row = attempt(() => this.#statements.get.get(key, this.#now()));
    return row && ({ ...row } as VersionedEntry);
  }

  put(key: string, { text, expires }: Entry, version: number): boolean {
    const { insert, update, sweep } = this.#statements;
    const now = this.#now();
    return attempt(() => {
      if (++this.#writes % SWEEP_INTERVAL === 0) sweep.run(now, SWEEP_INTERVAL);
      const { changes } = version === 0
        ? insert.run(key, expires, text, now)
        : update.run(expires, text, key, version, now);
      return Number(changes) === 1;
    });
  }

  delete(key: string): void {
    attempt(() => this.#statements.delete.run(key));
  }

  close(): void {
    this.#database.close();
  }
}

/** Returns the result, or throws `StoreUnavailable` for an error of SQLite: locked, full, … */
function attempt<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === 'ERR_SQLITE_ERROR' ? new StoreUnavailable(message) : error;
  }
}

/** Values are bound, never inserted into the SQL (OWASP: SQL Injection Prevention). */
const STATEMENTS = {
  get: 'SELECT text, expires, version FROM sessions WHERE key = ? AND expires > ?',
  insert: `INSERT INTO sessions (key, version, expires, text) VALUES (?, 1, ?, ?)
    ON CONFLICT (key) DO UPDATE SET version = 1, expires = excluded.expires, text = excluded.text
      WHERE sessions.expires <= ?`,
  update: `UPDATE sessions SET version = version + 1, expires = ?, text = ?
    WHERE key = ? AND version = ? AND expires > ?`,
  delete: 'DELETE FROM sessions WHERE key = ?',
  sweep: 'DELETE FROM sessions WHERE key IN (SELECT key FROM sessions WHERE expires <= ? LIMIT ?)',
};

/** The part of node:sqlite that this step uses. Older Nodes do not have it. */
type Row = Record<string, unknown>;
type Statement = {
  get(...values: unknown[]): Row | undefined;
  run(...values: unknown[]): { changes: number | bigint };
};
type Database = { exec(sql: string): void; prepare(sql: string): Statement; close(): void };
type Sqlite = { DatabaseSync: new (file: string) => Database };

function openDatabase(file: string, tries = OPEN_TRIES): Database {
  const sqlite = process.getBuiltinModule?.('node:sqlite') as Sqlite | undefined;
  const reject = (reason: string): RangeError => new RangeError(`Cannot open ${file}: ${reason}`);
  if (!sqlite) throw reject(`SQLite needs Node 22.13 or newer, and this is ${process.version}`);
  let database: Database | undefined;
  try {
    if (file !== ':memory:') closeSync(openSync(file, 'a', 0o600)); // for this user only
    database = new sqlite.DatabaseSync(file);
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    database.exec('BEGIN IMMEDIATE'); // of several processes that start, one creates the table
    const version = database.prepare('PRAGMA user_version').get()?.user_version;
    if (version === 0) database.exec(SCHEMA);
    database.exec(`COMMIT; PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
    if (version === 0 || version === SCHEMA_VERSION) return database;
    throw new Error(`its version is ${version}, and this program needs ${SCHEMA_VERSION}`);
  } catch (error) {
    database?.close();
    const isLocked = ((error as { errcode?: number }).errcode ?? 0) % 256 === SQLITE_BUSY;
    if (isLocked && tries > 0) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10); // milliseconds
      return openDatabase(file, tries - 1);
    }
    throw reject(error instanceof Error ? error.message : String(error));
  }
}

const OPEN_TRIES = 500; // a change to WAL fails immediately if another process has a lock
const SQLITE_BUSY = 5;

/** The response if the store does not work. */
export function onUnavailable({ method, path }: HttpRequest, { message }: Error): HttpResponse {
  console.error(`503 ${method} ${path}: ${message}`);
  const detail = 'The site cannot read your session now. Please try again in a moment.';
  return problem(503, detail, { 'retry-after': '1' });
}

/** Middleware for a store that can fail. */
export const rescueStore = rescue(StoreUnavailable, onUnavailable);

/** The site of this step. */
export function site(file = process.env.SQLITE_FILE || 'sessions.sqlite'): Handler {
  const options = { sessionClass: UserSession<SiteData> };
  const factory = withTimeouts(new VersionedSessionFactory(new SqliteStore(file), options));
  return addStoredSite(addStyle(new Router()), { factory, rescues: [rescueStore] }).handle;
}

if (isMain(import.meta.url)) {
  try {
    serve(toListener(site()), 'Step 27', ['/', '/cart', '/login']);
  } catch (error) {
    console.error(error instanceof RangeError ? error.message : error);
    process.exitCode = 1;
  }
}
