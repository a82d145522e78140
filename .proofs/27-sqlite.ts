// Further proofs for step 27: opening a file, several threads, and the program.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { explainedIt } from '../.tools/explain.ts';
import { startProgram } from '../.tools/serve.ts';
import { makeFile, openFile, sqlite } from '../.tools/sqlite.ts';
import { Browser } from '../src/16-browser.ts';
import { StoreUnavailable } from '../src/25-store.ts';
import { site, SqliteStore } from '../src/27-sqlite.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const entry = { text: '{}', expires: NOW + 10 };
const timeout = 30_000; // milliseconds

/** Runs the code in three threads at the same time. It has `SqliteStore`, `file` and `thread`. */
async function inThreads(file: string, code: string): Promise<void> {
  const count = 3;
  const source = `
    const { workerData } = require('node:worker_threads');
    const { module, file, barrier, count, thread } = workerData;
    import(module).then(({ SqliteStore }) => {
      Atomics.add(barrier, 0, 1);
      while (Atomics.load(barrier, 0) < count); // all threads begin at the same time
      ${code}
    });`;
  const module = new URL('../src/27-sqlite.ts', import.meta.url).href;
  const barrier = new Int32Array(new SharedArrayBuffer(4));
  const workers = [...Array(count).keys()].map((thread) => {
    const workerData = { module, file, barrier, count, thread };
    return new Worker(source, { eval: true, workerData });
  });
  const codes = await Promise.all(workers.map((worker) => once(worker, 'exit')));
  assert.deepEqual(codes.flat(), Array(count).fill(0));
}

/** Replaces SQLite: `exec` fails until it was called `failures` times. `run` calls `onRun`. */
function fakeSqlite(t: TestContext, failures: number, onRun = () => {}) {
  const counts = { opened: 0, closed: 0, waited: 0, left: failures };
  const executed: string[] = [];
  class DatabaseSync {
    constructor() {
      counts.opened += 1;
    }
    exec(sql: string): void {
      if (counts.left-- > 0) throw new Error('database is locked');
      executed.push(sql);
    }
    prepare(): object {
      return {
        run: () => {
          onRun();
          return { changes: 1 };
        },
      };
    }
    close(): void {
      counts.closed += 1;
    }
  }
  t.mock.method(process, 'getBuiltinModule', () => ({ DatabaseSync }));
  t.mock.method(Atomics, 'wait', (_array: unknown, _i: unknown, _value: unknown, time: number) => {
    counts.waited += time;
    return 'timed-out';
  });
  return { counts, executed };
}

describe('27-sqlite: more about opening a file', () => {
  it('SqliteStore() opens a file that another process locks for a moment', (t) => {
    const { counts } = fakeSqlite(t, 3);
    assert.ok(new SqliteStore(makeFile(t)));
    assert.deepEqual(counts, { opened: 4, closed: 3, waited: 30, left: -1 });
  });

  it('SqliteStore() stops after 5 seconds if the file stays locked', (t) => {
    const { counts } = fakeSqlite(t, Infinity);
    const file = makeFile(t);
    const message = `Cannot open ${file}: database is locked`;
    assert.throws(() => new SqliteStore(file), { name: 'RangeError', message });
    assert.deepEqual(counts, { opened: 501, closed: 501, waited: 5000, left: Infinity });
  });

  it('SqliteStore() lets SQLite wait 250 milliseconds for another process', (t) => {
    const { executed } = fakeSqlite(t, 0);
    new SqliteStore(makeFile(t)).delete('a');
    assert.equal(executed.at(-1), 'PRAGMA busy_timeout = 250');
  });

  it('SqliteStore waits for the lock only once, until a write succeeds', (t) => {
    let isLocked = true;
    const { executed } = fakeSqlite(t, 0, () => {
      if (isLocked) throw Object.assign(new Error('locked'), { code: 'ERR_SQLITE_ERROR' });
    });
    const store = new SqliteStore(makeFile(t));
    executed.length = 0;
    for (let i = 0; i < 3; i++) assert.throws(() => store.delete('a'), StoreUnavailable);
    isLocked = false;
    for (let i = 0; i < 2; i++) store.delete('a');
    const waits = executed.map((sql) => sql.replace('PRAGMA busy_timeout = ', ''));
    assert.deepEqual(waits, ['250', '0', '0', '0', '250']);
  });

  it('site() of step 27 names the file that it cannot open', (t) => {
    t.mock.method(process, 'getBuiltinModule', () => undefined);
    const { SQLITE_FILE } = process.env;
    t.after(() => {
      if (SQLITE_FILE === undefined) delete process.env.SQLITE_FILE;
      else process.env.SQLITE_FILE = SQLITE_FILE;
    });
    for (const [given, file] of [['', 'sessions.sqlite'], ['my.db', 'my.db']]) {
      process.env.SQLITE_FILE = given;
      assert.throws(() => site(), { name: 'RangeError', message: new RegExp(`^Cannot open ${file}: `) });
    }
  });

  it('27-sqlite.ts prints one line and ends with code 1 if it cannot open its file', async (t) => {
    const SQLITE_FILE = join(makeFile(t), 'x');
    const program = startProgram(t, ['src/27-sqlite.ts'], { SQLITE_FILE });
    const { code, stderr } = await program.ended();
    assert.equal(code, 1);
    const reason = sqlite ? 'ENOENT: .*' : 'SQLite needs Node 22\\.13 or newer, not v\\d.*';
    assert.match(stderr, new RegExp(`^Cannot open .*x: ${reason}\n$`));
  });
});

// On a Node without SQLite, these tests do not exist.
if (sqlite) {
  describe('27-sqlite: more about SqliteStore', () => {
    it('SqliteStore() opens new files at the same time as other threads', { timeout }, async (t) => {
      const file = makeFile(t);
      await inThreads(file, 'for (let i = 0; i < 30; i++) new SqliteStore(file + i).close();');
    });

    it('SqliteStore.put() loses nothing if three threads write', { timeout }, async (t) => {
      const file = makeFile(t);
      await inThreads(file, `
        const store = new SqliteStore(file, () => ${NOW});
        const add = (key) => {
          const { text = '0', version = 0 } = store.get(key) ?? {};
          return store.put(key, { text: String(Number(text) + 1), expires: Infinity }, version);
        };
        for (let left = 40; left > 0; ) {
          try {
            if (add('count')) left--;
          } catch (error) {
            if (error.message !== 'database is locked') throw error; // a visitor tries again
          }
        }`);
      const store = new SqliteStore(file, () => NOW);
      t.after(() => store.close());
      assert.deepEqual(store.get('count'), { text: '120', expires: Infinity, version: 120 });
    });

    it('SqliteStore() keeps its file with a write-ahead log', (t) => {
      const file = makeFile(t);
      new SqliteStore(file).close();
      const database = openFile(t, file);
      assert.deepEqual({ ...database.prepare('PRAGMA journal_mode').get() }, { journal_mode: 'wal' });
    });

    it('SqliteStore.get() throws StoreUnavailable for errors of SQLite only', (t) => {
      const file = makeFile(t);
      const store = new SqliteStore(file, () => NOW);
      openFile(t, file).exec('DROP TABLE sessions');
      const isUnavailable = { constructor: StoreUnavailable, message: /no such table/ };
      assert.throws(() => store.get('a'), isUnavailable);
      assert.throws(() => store.put('a', entry, 0), isUnavailable);
      store.close();
      const isBug = (error: unknown): boolean => !(error instanceof StoreUnavailable);
      assert.throws(() => store.get('a'), isBug, 'a store that was closed is a bug of the program');
    });

    it('SqliteStore() creates no file for a database in memory', (t) => {
      const store = new SqliteStore(':memory:', () => NOW);
      t.after(() => store.close());
      store.put('a', entry, 0);
      assert.equal(store.get('a')?.version, 1);
      assert.equal(existsSync(':memory:'), false);
    });

    it('SqliteStore() rejects a table with other columns, and does not change it', (t) => {
      const file = makeFile(t);
      const other = openFile(t, file);
      other.exec(`CREATE TABLE sessions (key TEXT, owner TEXT, version INT, expires REAL, text TEXT);
        INSERT INTO sessions VALUES ('a', 'ada', 1, 0, '{}')`);
      const message = `Cannot open ${file}: table sessions has 5 columns but 4 values were supplied`;
      assert.throws(() => new SqliteStore(file), { name: 'RangeError', message });
      const rows = other.prepare('SELECT * FROM sessions').all().map((row) => ({ ...row }));
      assert.deepEqual(rows, [{ key: 'a', owner: 'ada', version: 1, expires: 0, text: '{}' }]);
    });

    it('site() opens the file in SQLITE_FILE', async (t) => {
      const { SQLITE_FILE } = process.env;
      t.after(() => {
        if (SQLITE_FILE === undefined) delete process.env.SQLITE_FILE;
        else process.env.SQLITE_FILE = SQLITE_FILE;
      });
      process.env.SQLITE_FILE = makeFile(t);
      await new Browser(site()).get('/');
      const database = openFile(t, process.env.SQLITE_FILE);
      assert.equal(database.prepare('SELECT count(*) AS count FROM sessions').get()?.count, 1);
    });
  });
}
