// Step 27 · A database: sessions in a file that several processes share.
//
// Node contains SQLite (node:sqlite, since 22.13). Compare-and-set is one UPDATE with the version
// in its WHERE. The mode of the file is WAL (sqlite.org/wal.html).
import { closeSync, openSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { isMain, serve } from './01-server.ts';
import { type Handler, problem, toListener } from './04-http.ts';
import { withTimeouts } from './11-timeouts.ts';
import { rescue } from './19-rescue.ts';
import { type SiteData, UserSession } from './22-login.ts';
import type { Entry, SessionStore, VersionedEntry } from './25-store.ts';
import { StoreUnavailable } from './25-store.ts';
import { makeStoredSite, VersionedSessionFactory } from './26-versions.ts';

/** A store in a file. Several processes can have it open. */
export class SqliteStore implements SessionStore {
  readonly #database: DatabaseSync;
  readonly #statements: Statements;
  readonly #now: () => number;
  #hasFailed = false; // the last write

  /** Throws a `RangeError` with an explanation if Node has no SQLite or the file is not usable. */
  constructor(file: string, now = () => Date.now() / 1000) {
    [this.#database, this.#statements] = openDatabase(file);
    this.#now = now;
  }

  get(key: string): VersionedEntry | undefined {
    const row = attempt(() => this.#statements.get.get(key, this.#now()));
    return row && ({ ...row } as VersionedEntry);
  }

  put(key: string, { text, expires }: Entry, version: number): boolean {
    const now = this.#now();
    if (version > 0) return this.#write('update', expires, text, key, version, now);
    this.#write('sweep', now); // each new entry removes two expired entries
    return this.#write('insert', key, expires, text, now);
  }

  delete(key: string): void {
    this.#write('delete', key);
  }

  close(): void {
    this.#database.close();
  }

  /** Returns whether a row has changed. Does not wait after a failed write: it may fail again. */
  #write(name: keyof Statements, ...values: (string | number)[]): boolean {
    this.#database.exec(`PRAGMA busy_timeout = ${this.#hasFailed ? 0 : BUSY_TIMEOUT}`);
    this.#hasFailed = true; // until the statement has succeeded
    const { changes } = attempt(() => this.#statements[name].run(...values));
    this.#hasFailed = false;
    return changes > 0;
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

/** Values are never inserted into the SQL (OWASP: SQL Injection Prevention). */
const prepareAll = (db: DatabaseSync) => ({
  get: db.prepare('SELECT text, expires, version FROM sessions WHERE key = ? AND expires > ?'),
  insert: db.prepare(`INSERT INTO sessions VALUES (?1, 1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET version = 1, expires = ?2, text = ?3 WHERE expires <= ?4`),
  update: db.prepare(`UPDATE sessions SET version = version + 1, expires = ?, text = ?
    WHERE key = ? AND version = ? AND expires > ?`),
  delete: db.prepare('DELETE FROM sessions WHERE key = ?'),
  sweep: db.prepare(`DELETE FROM sessions
    WHERE key IN (SELECT key FROM sessions WHERE expires <= ? LIMIT 2)`),
});

const SETUP = `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
  CREATE TABLE IF NOT EXISTS sessions (key TEXT PRIMARY KEY, version INT, expires REAL, text TEXT);
  CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires);`;
const BUSY_TIMEOUT = 250; // milliseconds

type Statements = ReturnType<typeof prepareAll>;

/** Retries, because a change to WAL fails immediately if another process has a lock. */
function openDatabase(file: string, tries = 500): [DatabaseSync, Statements] {
  const sqlite = process.getBuiltinModule?.('node:sqlite');
  let database: DatabaseSync | undefined;
  try {
    if (!sqlite) throw new Error(`SQLite needs Node 22.13 or newer, not ${process.version}`);
    if (file !== ':memory:') closeSync(openSync(file, 'a', 0o600)); // only this user can read it
    database = new sqlite.DatabaseSync(file);
    database.exec(SETUP);
    return [database, prepareAll(database)]; // fails if the table in the file has other columns
  } catch (error) {
    database?.close();
    const reason = (error as Error).message;
    if (tries < 1 || !/locked/.test(reason)) throw new RangeError(`Cannot open ${file}: ${reason}`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10); // sleeps for 10 milliseconds
    return openDatabase(file, tries - 1);
  }
}

/** Middleware: if the store does not work, the response is 503. */
export const rescueStore = rescue(StoreUnavailable, ({ method, path }, { message }) => {
  console.error(`503 ${method} ${path}: ${message}`);
  return problem(503, 'Your session is not available. Please try again.', { 'retry-after': '1' });
});

/** The site of this step. */
export function site(file = process.env.SQLITE_FILE || 'sessions.sqlite'): Handler {
  const options = { sessionClass: UserSession<SiteData> };
  const factory = withTimeouts(new VersionedSessionFactory(new SqliteStore(file), options));
  return makeStoredSite({ factory, rescues: [rescueStore] }).handle;
}

if (isMain(import.meta.url)) {
  try {
    serve(toListener(site()), 'Step 27', ['/', '/cart', '/login']);
  } catch (error) {
    console.error(error instanceof RangeError ? error.message : error);
    process.exitCode = 1;
  }
}
