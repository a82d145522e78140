// Files of SQLite for tests. Node 20 has no SQLite: there, the tests of the store do not exist.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';

/** `node:sqlite`, or `undefined` if this Node does not have it. */
export const sqlite = process.getBuiltinModule?.('node:sqlite');

/** Returns a path in a new folder, which is deleted when the test ends. */
export function makeFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sqlite-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'sessions.sqlite');
}

/** Opens a file as another program does. It is closed when the test ends. */
export function openFile(t: TestContext, file: string): DatabaseSync {
  if (!sqlite) throw new Error('This Node has no SQLite');
  const database = new sqlite.DatabaseSync(file);
  t.after(() => database.close());
  return database;
}
