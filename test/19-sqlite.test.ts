import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { explainedIt } from '../.tools/explain.ts';
import { text } from '../src/02-http.ts';
import type { HttpResponse } from '../src/02-http.ts';
import { Browser } from '../src/08-browser.ts';
import { hashPassword } from '../src/16-login.ts';
import { keyOf, MemoryStore, site as storedSite, StoreDown } from '../src/18-store.ts';
import { addSessions, site, SqliteStore, withStoreDown } from '../src/19-sqlite.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000;
const SAME = { 'sec-fetch-site': 'same-origin' };
const tsx = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];
const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;

/** A file for a database in a folder of its own, which goes with the test. */
function makeFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sqlite-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'sessions.sqlite');
}

const users = hashPassword('secret', 4).then((hash) => new Map([['ada', hash], ['bob', hash]]));

describe('19-sqlite: your sessions', () => {
  /** A site over memory, with the list: what step 19 adds for any store. */
  async function setUp() {
    const { router, handle, factory, mount } = storedSite(new MemoryStore(), await users);
    addSessions(router, mount, factory, await users);
    const visit = async (name: string, agent: string): Promise<Browser> => {
      const browser = new Browser(handle, ORIGIN);
      const headers = { ...SAME, 'user-agent': agent };
      await browser.request('POST', '/login', `name=${name}&password=secret`, headers);
      return browser;
    };
    return { visit, handle, store: factory.store };
  }

  const idOf = (browser: Browser): string =>
    browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000)?.slice(8) ?? '';
  const linesOf = ({ body }: HttpResponse): string[] =>
    [...String(body).matchAll(/<li>([^]*?)<\/li>/g)].map(([, line = '']) => line);
  const statusOf = async (browser: Browser): Promise<number> =>
    (await browser.request('GET', '/dashboard')).status;

  it('addSessions() lists your browsers, since when and last seen, and marks this one', async () => {
    const { visit } = await setUp();
    const phone = await visit('ada', 'Phone <b>1</b>');
    await visit('ada', 'Desk');
    await visit('bob', 'Other');
    const page = await phone.get('/sessions');
    assert.match(String(page.body), /<title>Sessions<\/title>/);
    const lines = linesOf(page);
    assert.equal(lines.length, 2, 'and not the one of bob');
    assert.match(lines.join(), /<strong>Phone &lt;b&gt;1&lt;\/b&gt;<\/strong> This browser\./);
    assert.match(lines.join(), /<strong>Desk<\/strong>\s+Since \w{3}, \d\d .* GMT, last seen/);
    assert.ok(!lines.join().includes(idOf(phone)), 'no id, only its hash');
  });

  it('addSessions() ends one, and that browser is a stranger from the next request on', async () => {
    const { visit } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    const response = await phone.request('POST', '/sessions/end', `key=${keyOf(idOf(desk))}`, SAME);
    assert.deepEqual([response.status, response.headers.location], [303, '/sessions']);
    assert.deepEqual([await statusOf(phone), await statusOf(desk)], [200, 303]);
    assert.equal(linesOf(await phone.get('/sessions')).length, 1);
  });

  it('addSessions() ends all but this one', async () => {
    const { visit } = await setUp();
    const mine = await Promise.all(['a', 'b', 'c'].map((agent) => visit('ada', agent)));
    const bob = await visit('bob', 'Other');
    const response = await mine[1]?.request('POST', '/sessions/end-others', '', SAME);
    assert.deepEqual([response?.status, response?.headers.location], [303, '/sessions']);
    assert.deepEqual(await Promise.all([...mine, bob].map(statusOf)), [303, 200, 303, 200]);
  });

  it('addSessions() ends nobody else’s, whatever key is sent', async () => {
    const { visit, store } = await setUp();
    const [ada, bob] = [await visit('ada', 'Desk'), await visit('bob', 'Other')];
    for (const key of [keyOf(idOf(bob)), '', '__proto__', '%00', '<b>', 'x'.repeat(5000)]) {
      assert.equal((await ada.request('POST', '/sessions/end', `key=${key}`, SAME)).status, 303);
    }
    assert.equal(await statusOf(bob), 200, 'bob is logged in still, whose key ada has sent');
    assert.ok(await store.get(keyOf(idOf(bob))));
  });

  it('addSessions() lists a hundred at most, says how many more, and ends them all', async () => {
    const { visit, store } = await setUp();
    const ada = await visit('ada', 'Desk');
    const expires = Date.now() / 1000 + 100;
    const put = (key: string, text: string): unknown =>
      store.put(key, { text, owner: 'ada', expires }, 0);
    for (let i = 0; i < 110; i++) put(`k${i}`, JSON.stringify([NOW, NOW, { user: 'ada' }, 'x']));
    put('k110', 'no session');
    const page = await ada.get('/sessions');
    assert.equal(linesOf(page).length, 100);
    assert.match(String(page.body), /<p>And 12 more\.<\/p>/);
    await ada.request('POST', '/sessions/end-others', '', SAME);
    const left = await ada.get('/sessions');
    assert.equal(linesOf(left).length, 1);
    assert.doesNotMatch(String(left.body), / more\./);
  });

  it('addSessions() says when a session began and was seen, and which has no name', async () => {
    const { visit, store } = await setUp();
    const ada = await visit('ada', 'Desk');
    const text = JSON.stringify([NOW + 60, NOW, { user: 'ada' }, '']);
    await store.put('old', { text, owner: 'ada', expires: Date.now() / 1000 + 100 }, 0);
    const shown = linesOf(await ada.get('/sessions')).join();
    const [began, seen] = ['22:13:20', '22:14:20'].map((time) => `Tue, 14 Nov 2023 ${time} GMT`);
    assert.match(shown, new RegExp(`No name</strong> \\nSince ${began}, last seen ${seen}\\n`));
  });

  it('addSessions() passes over an entry that is no session', async () => {
    const { visit, store } = await setUp();
    const ada = await visit('ada', 'Desk');
    const expires = Date.now() / 1000 + 100;
    await store.put('damaged', { text: '[1,', owner: 'ada', expires }, 0);
    const page = await ada.get('/sessions');
    assert.deepEqual([page.status, linesOf(page).length], [200, 1]);
  });

  it('addSessions() shows nothing to a stranger, and is no business of another site', async () => {
    const { visit, handle } = await setUp();
    const stranger = new Browser(handle, ORIGIN);
    const { status, headers } = await stranger.request('GET', '/sessions');
    assert.deepEqual([status, headers.location], [303, '/login?next=%2Fsessions']);
    const ada = await visit('ada', 'Desk');
    const cross = { 'sec-fetch-site': 'cross-site' };
    assert.equal((await ada.request('POST', '/sessions/end-others', '', cross)).status, 403);
  });
});

describe('19-sqlite: a store that is down', () => {
  it('withStoreDown() answers 503 with Retry-After, and logs no query', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const down = withStoreDown(() => Promise.reject(new StoreDown('no disk')));
    const { status, headers, body } = await new Browser(down).get('/page?token=secret');
    assert.deepEqual([status, headers['retry-after']], [503, '1']);
    assert.match(String(body), /We cannot get at your session\. Please try again in a moment\./);
    assert.deepEqual(log.mock.calls.map(({ arguments: [line] }) => line), ['503 GET /page: no disk']);
  });

  it('withStoreDown() hides no other error', async () => {
    const broken = withStoreDown(() => Promise.reject(new TypeError('a bug')));
    await assert.rejects(async () => new Browser(broken).get('/'), /a bug/);
    const fine = withStoreDown(() => text('fine'));
    assert.equal((await new Browser(fine).get('/')).body, 'fine');
  });
});

// On such a Node the store has no tests: they are not there, and not skipped.
if (!hasSqlite) {
  describe('19-sqlite: on a Node without SQLite', () => {
    it('SqliteStore() says which Node it needs', (t) => {
      const make = (): unknown => new SqliteStore(makeFile(t));
      assert.throws(make, /^RangeError: Cannot open .*: SQLite needs Node 22\.13 or newer, and this/);
    });

    it('19-sqlite.ts ends with one line and code 1', () => {
      const file = fileURLToPath(new URL('../src/19-sqlite.ts', import.meta.url));
      const { status, stderr } = spawnSync(process.execPath, [...tsx, file], { encoding: 'utf8' });
      assert.equal(status, 1);
      assert.match(stderr, /^Cannot open sessions\.sqlite: SQLite needs Node 22\.13 .*\n$/);
    });
  });
} else {
  describe('19-sqlite: SqliteStore', () => {
    const entry = { text: '{}', owner: 'ada', expires: NOW + 10 };

    /** The file of a store, as another program opens it. */
    function openFile(file: string): {
      exec(sql: string): void;
      prepare(sql: string): { get(): { count: number } };
      close(): void;
    } {
      const { DatabaseSync } = process.getBuiltinModule('node:sqlite' as 'node:fs') as unknown as {
        DatabaseSync: new (file: string) => ReturnType<typeof openFile>;
      };
      return new DatabaseSync(file);
    }

    it('put() compares and sets, also between two who have the file open', async (t) => {
      const file = makeFile(t);
      const [one, two] = [new SqliteStore(file, () => NOW), new SqliteStore(file, () => NOW)];
      assert.equal(one.put('a', entry, 0), true);
      assert.equal(two.put('a', entry, 0), false, 'it is there already');
      assert.equal(two.put('a', { ...entry, text: 'two' }, 1), true);
      const late = one.put('a', { ...entry, text: 'one' }, 1);
      const found = { ...entry, text: 'two', version: 2 };
      assert.deepEqual(one.get('a'), found, 'who comes too late overwrites nothing');
      assert.equal(late, false, 'who comes too late is told so');
      one.delete('a');
      assert.equal(two.put('a', entry, 2), false, 'what is gone stays gone');
      for (const store of [one, two]) store.close();
    });

    it('keysOf() takes a name for a name, whatever SQL is in it', (t) => {
      const store = new SqliteStore(makeFile(t), () => NOW);
      store.put('a', entry, 0);
      for (const owner of ["x' OR 'a' = 'a", "ada' --"]) {
        assert.deepEqual(store.keysOf(owner), [], `the sessions of somebody called ${owner}`);
      }
      assert.deepEqual(store.keysOf('ada'), ['a']);
      store.close();
    });

    it('SqliteStore() finds everything again when the file is opened anew', async (t) => {
      const file = makeFile(t);
      const before = new SqliteStore(file, () => NOW);
      before.put('a', entry, 0);
      before.close();
      const after = new SqliteStore(file, () => NOW);
      assert.equal((await after.get('a'))?.version, 1);
      assert.deepEqual(after.keysOf('ada'), ['a']);
      after.close();
    });

    it('SqliteStore() keeps its file with a write-ahead log, for whoever opens it', (t) => {
      const file = makeFile(t);
      new SqliteStore(file).close();
      const other = openFile(file);
      assert.deepEqual({ ...other.prepare('PRAGMA journal_mode').get() }, { journal_mode: 'wal' });
      other.close();
    });

    it('SqliteStore() opens a file that is locked at first, and gives up after 2 seconds', (t) => {
      const outcomes = { opened: 0, closed: 0, waited: 0 };
      let locked = 3;
      class DatabaseSync {
        constructor() {
          outcomes.opened += 1;
        }
        exec(): void {
          if (locked-- > 0) throw Object.assign(new Error('database is locked'), { errcode: 261 });
        }
        prepare(): object {
          return { get: () => ({ user_version: 1 }) };
        }
        close(): void {
          outcomes.closed += 1;
        }
      }
      t.mock.method(process, 'getBuiltinModule', () => ({ DatabaseSync }));
      const sleep = (_: unknown, __: unknown, ___: unknown, time: number): string =>
        ((outcomes.waited += time), 'timed-out');
      t.mock.method(Atomics, 'wait', sleep);
      assert.ok(new SqliteStore('a file'));
      assert.deepEqual(outcomes, { opened: 4, closed: 3, waited: 30 });
      locked = Infinity;
      const message = 'Cannot open a file: database is locked';
      assert.throws(() => new SqliteStore('a file'), { name: 'RangeError', message });
      assert.deepEqual(outcomes, { opened: 4 + 201, closed: 3 + 201, waited: 30 + 2000 });
    });

    it('site() of step 19 says which Node it needs, and which file it would open', (t) => {
      t.mock.method(process, 'getBuiltinModule', () => undefined);
      const { SQLITE_FILE } = process.env;
      t.after(() => {
        if (SQLITE_FILE === undefined) delete process.env.SQLITE_FILE;
        else process.env.SQLITE_FILE = SQLITE_FILE;
      });
      for (const [given, file] of [['', 'sessions.sqlite'], ['my.db', 'my.db']]) {
        process.env.SQLITE_FILE = given;
        const why = `SQLite needs Node 22.13 or newer, and this is ${process.version}`;
        assert.throws(() => site(), { name: 'RangeError', message: `Cannot open ${file}: ${why}` });
      }
    });

    it('19-sqlite.ts ends with one line and code 1 where it cannot open its file', (t) => {
      const program = fileURLToPath(new URL('../src/19-sqlite.ts', import.meta.url));
      const env = { ...process.env, SQLITE_FILE: join(makeFile(t), 'x'), NODE_NO_WARNINGS: '1' };
      const run = spawnSync(process.execPath, [...tsx, program], { encoding: 'utf8', env });
      assert.equal(run.status, 1);
      assert.match(run.stderr, /^Cannot open .*x: unable to open database file\n$/);
    });

    it('put() sweeps what is past its time, a hundred rows for a hundred writes', (t) => {
      const clock = { now: NOW };
      const file = makeFile(t);
      const store = new SqliteStore(file, () => clock.now);
      const rowsOf = (): unknown => {
        const other = openFile(file);
        const { count } = other.prepare('SELECT count(*) AS count FROM sessions').get();
        other.close();
        return count;
      };
      for (let i = 0; i < 199; i++) store.put(`old ${i}`, entry, 0);
      clock.now += 10;
      store.put('new', { ...entry, expires: NOW + 1000 }, 0); // the two hundredth
      assert.deepEqual(store.keysOf('ada'), ['new']);
      assert.equal(rowsOf(), 100, '199 old ones less 100, and the new one');
      const again = (i: number) => store.put('new', { ...entry, expires: NOW + 1000 }, i + 1);
      for (let i = 0; i < 99; i++) again(i);
      assert.equal(rowsOf(), 100, 'a sweep takes time, so most writes go without');
      again(99);
      assert.equal(rowsOf(), 1);
      store.close();
      assert.ok(readFileSync(file, 'latin1').startsWith('SQLite format 3'));
    });

    it('get() and put() bind their values: a key is never SQL', async (t) => {
      const store = new SqliteStore(makeFile(t), () => NOW);
      const keys = ["'; DROP TABLE sessions; --", '" OR 1=1', '?1', 'é😀', '%', ''];
      for (const key of keys) assert.ok(store.put(key, { ...entry, owner: key, text: key }, 0));
      for (const key of keys) {
        assert.equal((await store.get(key))?.text, key);
        assert.deepEqual(store.keysOf(key), key === '' ? [] : [key]);
      }
      assert.equal(store.get("x' OR '1'='1"), undefined);
      store.close();
    });

    it('SqliteStore() refuses in words a file that is none of ours', (t) => {
      const file = makeFile(t);
      writeFileSync(file, 'Dear diary, '.repeat(1000));
      assert.throws(() => new SqliteStore(file), /^RangeError: Cannot open .* not a database/);
      assert.throws(() => new SqliteStore(join(file, 'x')), /^RangeError: Cannot open .*: unable/);
    });

    it('SqliteStore() refuses a file of a later version, and leaves it as it is', async (t) => {
      const file = makeFile(t);
      new SqliteStore(file).close();
      const database = openFile(file);
      database.exec('PRAGMA user_version = 2');
      database.close();
      const message = `Cannot open ${file}: its version is 2, and we know 1`;
      assert.throws(() => new SqliteStore(file), { name: 'RangeError', message });
    });

    it('SqliteStore() opens new files in the same moment as others do', async (t) => {
      const file = makeFile(t);
      const barrier = new Int32Array(new SharedArrayBuffer(4));
      const count = 3;
      const code = `
        const { workerData, parentPort } = require('node:worker_threads');
        const { module, file, barrier, count } = workerData;
        import(module).then(({ SqliteStore }) => {
          Atomics.add(barrier, 0, 1);
          while (Atomics.load(barrier, 0) < count); // all begin at once
          for (let i = 0; i < 30; i++) new SqliteStore(file + i).close();
        });`;
      const module = new URL('../src/19-sqlite.ts', import.meta.url).href;
      const workerData = { module, file, barrier, count };
      const workers = Array.from({ length: count }, () => new Worker(code, { eval: true, workerData }));
      const codes = await Promise.all(workers.map((worker) => once(worker, 'exit')));
      assert.deepEqual(codes.flat(), [0, 0, 0]);
    });

    it('put() waits for another process that writes, and nothing stands still', async (t) => {
      const file = makeFile(t);
      const store = new SqliteStore(file, () => NOW);
      store.put('a', entry, 0);
      t.mock.timers.enable({ apis: ['setTimeout'] });
      t.mock.method(Math, 'random', () => 0.5);
      const other = openFile(file);
      other.exec('BEGIN IMMEDIATE');
      const put = store.put('b', entry, 0);
      const gone = store.delete('a');
      assert.ok(put instanceof Promise && gone instanceof Promise, 'it comes back at once');
      assert.deepEqual(await store.get('a'), { ...entry, version: 1 }, 'reading waits for nobody');
      other.exec('COMMIT');
      t.mock.timers.tick(9);
      await new Promise(setImmediate);
      assert.equal(await store.get('b'), undefined, 'it looks again after 10 milliseconds');
      t.mock.timers.tick(1);
      assert.equal(await put, true);
      await gone;
      assert.deepEqual(await store.keysOf('ada'), ['b']);
      other.close();
      store.close();
    });

    it('put() is StoreDown after two seconds of waiting, and works as soon as it can', async (t) => {
      const file = makeFile(t);
      const store = new SqliteStore(file, () => NOW);
      t.mock.timers.enable({ apis: ['setTimeout'] });
      const other = openFile(file);
      other.exec('BEGIN IMMEDIATE');
      let error: unknown;
      const put = Promise.resolve(store.put('a', entry, 0)).catch((reason) => (error = reason));
      let waited = 0;
      for (; error === undefined && waited < 2500; waited++) {
        t.mock.timers.tick(1);
        await new Promise(setImmediate);
      }
      await put;
      assert.ok(error instanceof StoreDown, String(error));
      assert.equal(error.message, 'database is locked');
      assert.ok(waited >= 2000 && waited <= 2020, `after ${waited} milliseconds`);
      other.exec('COMMIT');
      assert.equal(store.put('a', entry, 0), true);
      other.close();
      store.close();
    });

    it('get() is StoreDown, in SQLite’s words, where the file is no longer what it was', (t) => {
      const file = makeFile(t);
      const store = new SqliteStore(file, () => NOW);
      const other = openFile(file);
      other.exec('DROP TABLE sessions');
      other.close();
      const isDown = (error: unknown): boolean =>
        error instanceof StoreDown && /no such table/.test(error.message);
      assert.throws(() => store.get('a'), isDown);
      assert.throws(() => store.put('a', entry, 0), isDown);
      store.close();
      assert.throws(() => store.get('a'), (error) => !(error instanceof StoreDown), 'our own bug');
    });

    it('site() of step 19 answers 503 where it cannot write, and 200 where it need not', async (t) => {
      const log = t.mock.method(console, 'error', () => {});
      const file = makeFile(t);
      const { handle, store } = site(file, await users);
      const browser = new Browser(handle, ORIGIN);
      await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
      const other = openFile(file);
      other.exec("CREATE TRIGGER stop BEFORE DELETE ON sessions BEGIN SELECT RAISE(FAIL, 'x'); END");
      for (const path of ['/logout', '/sessions/end-others']) {
        const extra = await new Browser(handle, ORIGIN);
        await extra.request('POST', '/login', 'name=ada&password=secret', SAME);
        const { status, headers } = await browser.request('POST', path, '', SAME);
        assert.deepEqual([status, headers['retry-after']], [503, '1'], path);
      }
      assert.equal((await browser.get('/dashboard')).status, 200, 'nothing was done');
      assert.match(String(log.mock.calls[0]?.arguments[0]), /^503 POST \/logout: x$/);
      other.exec('DROP TRIGGER stop');
      other.close();
      assert.equal((await browser.request('POST', '/logout', '', SAME)).status, 303);
      store.close();
    });

    it('site() of step 19 keeps a login over a restart, and the list with it', async (t) => {
      const file = makeFile(t);
      let { handle, store } = site(file, await users);
      const browser = new Browser((request) => handle(request), ORIGIN);
      await browser.get('/');
      await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
      store.close();
      ({ handle, store } = site(file, await users));
      assert.match(String((await browser.get('/dashboard')).body), /Hello, ada/);
      assert.match(String((await browser.get('/howdy')).body), /Count: 2/);
      assert.match(String((await browser.get('/sessions')).body), /This browser\./);
      store.close();
    });
  });
}
