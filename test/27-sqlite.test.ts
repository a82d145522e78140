import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { cookieOf, logIn, makeUsers, send, visitWith } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import { makeFile, openFile, sqlite } from '../.tools/sqlite.ts';
import { type Handler, text } from '../src/04-http.ts';
import { withTimeouts } from '../src/11-timeouts.ts';
import { Browser } from '../src/16-browser.ts';
import { type SiteData, UserSession } from '../src/22-login.ts';
import { type SessionStore, StoreUnavailable } from '../src/25-store.ts';
import { makeStoredSite, VersionedSessionFactory } from '../src/26-versions.ts';
import { rescueStore, site, SqliteStore } from '../src/27-sqlite.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const entry = { text: '{}', expires: NOW + 10 };
const users = await makeUsers('ada');

/** A store in a file. It is closed when the test ends. */
function makeStore(t: TestContext, file = makeFile(t), now = () => NOW): SqliteStore {
  const store = new SqliteStore(file, now);
  t.after(() => store.close());
  return store;
}

/** The site of this step, for a user whose password has a cheap hash. */
function makeSite(store: SessionStore): Handler {
  const options = { sessionClass: UserSession<SiteData> };
  const factory = withTimeouts(new VersionedSessionFactory(store, options));
  return makeStoredSite({ factory, users, rescues: [rescueStore] }).handle;
}

describe('27-sqlite: a store that does not work', () => {
  it('rescueStore responds 503 with Retry-After, and logs no query', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const page = rescueStore(() => Promise.reject(new StoreUnavailable('the disk is full')));
    const response = await new Browser(page).get('/page?token=secret');
    assert.deepEqual([response.status, response.headers['retry-after']], [503, '1']);
    assert.match(bodyText(response), /Your session is not available\. Please try again\./);
    const lines = log.mock.calls.map((call) => call.arguments[0]);
    assert.deepEqual(lines, ['503 GET /page: the disk is full']);
  });

  it('rescueStore throws every other error again', async () => {
    const broken = rescueStore(() => Promise.reject(new TypeError('This page has a bug')));
    await assert.rejects(async () => new Browser(broken).get('/'), /This page has a bug/);
    assert.equal((await new Browser(rescueStore(() => text('fine'))).get('/')).body, 'fine');
  });

  it('SqliteStore() names the Node version that it needs', (t) => {
    t.mock.method(process, 'getBuiltinModule', () => undefined);
    const message = `Cannot open a.db: SQLite needs Node 22.13 or newer, not ${process.version}`;
    assert.throws(() => new SqliteStore('a.db'), { name: 'RangeError', message });
  });
});

// On a Node without SQLite, these tests do not exist.
if (sqlite) {
  describe('27-sqlite: SqliteStore', () => {
    it('SqliteStore.put() stores an entry, and get() returns it with its version', (t) => {
      const store = makeStore(t);
      assert.equal(store.get('a'), undefined, 'the new file is empty');
      assert.equal(store.put('a', entry, 0), true, 'version 0: there is no such entry yet');
      assert.deepEqual(store.get('a'), { ...entry, version: 1 }, 'the first write is version 1');
      const other = { text: '{"é":"😀"}', expires: Infinity };
      assert.equal(store.put('a', other, 1), true, 'the entry still has version 1');
      assert.deepEqual(store.get('a'), { ...other, version: 2 }, 'each write adds 1');
    });

    it('SqliteStore.delete() removes an entry, and ignores a key without an entry', (t) => {
      const store = makeStore(t);
      store.put('a', entry, 0);
      store.delete('b');
      assert.ok(store.get('a'), 'another entry is still there');
      store.delete('a');
      assert.equal(store.get('a'), undefined, 'the entry was deleted');
    });

    it('SqliteStore.close() closes the file', (t) => {
      const store = new SqliteStore(makeFile(t), () => NOW);
      store.close();
      assert.throws(() => store.close(), { code: 'ERR_INVALID_STATE' }, 'it is not open');
    });

    it('SqliteStore.put() compares the version, also between two stores with one file', (t) => {
      const file = makeFile(t);
      const [one, two] = [makeStore(t, file), makeStore(t, file)];
      assert.equal(one.put('a', entry, 0), true, 'the first store creates the entry');
      assert.equal(two.put('a', entry, 0), false, 'the other store has put version 1');
      assert.equal(two.put('a', { ...entry, text: 'two' }, 1), true, 'version 1 is the newest');
      assert.equal(one.put('a', { ...entry, text: 'one' }, 1), false, 'version 1 is too old');
      assert.deepEqual(one.get('a'), { ...entry, text: 'two', version: 2 }, 'nothing is lost');
      one.delete('a');
      assert.equal(two.put('a', entry, 2), false, 'an ended session stays ended');
      assert.equal(two.get('a'), undefined);
    });

    it('SqliteStore.get() returns no entry that has expired', (t) => {
      const clock = { now: NOW };
      const store = makeStore(t, makeFile(t), () => clock.now);
      store.put('a', entry, 0);
      clock.now = NOW + 9.999;
      assert.equal(store.get('a')?.version, 1, 'a moment before `expires`');
      clock.now = NOW + 10;
      assert.equal(store.get('a'), undefined, 'at `expires`, the entry has expired');
      assert.equal(store.put('a', { ...entry, expires: NOW + 20 }, 1), false, 'version 1 is gone');
      assert.equal(store.put('a', { ...entry, expires: NOW + 20 }, 0), true, 'as a new entry');
      assert.equal(store.get('a')?.version, 1, 'the versions of a new entry begin with 1');
    });

    it('SqliteStore finds the entries again after a restart', (t) => {
      const file = makeFile(t);
      const before = new SqliteStore(file, () => NOW);
      before.put('a', entry, 0);
      before.close();
      assert.deepEqual(makeStore(t, file).get('a'), { ...entry, version: 1 }, 'it is in the file');
    });

    it('SqliteStore binds its values, so no key is read as SQL', (t) => {
      const store = makeStore(t);
      const keys = ["'; DROP TABLE sessions; --", '" OR 1=1', "' OR '1'='1", '?1', 'é😀', '%', ''];
      for (const key of keys) assert.ok(store.put(key, { ...entry, text: key }, 0), key);
      for (const key of keys) assert.equal(store.get(key)?.text, key, 'each key has its entry');
      assert.equal(store.get("x' OR 'a' = 'a"), undefined, 'this key has no entry');
      store.delete("' OR ''='");
      const found = keys.filter((key) => store.get(key));
      assert.equal(found.length, keys.length, 'a key without an entry must delete nothing');
    });

    it('SqliteStore.put() removes two expired entries for each new entry', (t) => {
      const clock = { now: NOW };
      const file = makeFile(t);
      const store = makeStore(t, file, () => clock.now);
      const database = openFile(t, file);
      const count = (): unknown =>
        database.prepare('SELECT count(*) AS count FROM sessions').get()?.count;
      for (let i = 0; i < 5; i++) store.put(`old ${i}`, entry, 0);
      clock.now += 10;
      const later = { text: '{}', expires: NOW + 1000 };
      const counts = ['a', 'b', 'c'].map((key) => (store.put(key, later, 0), count()));
      assert.deepEqual(counts, [5 - 2 + 1, 4 - 2 + 1, 3 - 1 + 1], 'minus two, plus the new one');
      store.put('a', later, 1);
      assert.equal(count(), 3, 'the entries a, b and c');
    });

    it('SqliteStore creates files that only this user can read', (t) => {
      const umask = process.umask(0o022); // the default of most systems: everyone can read
      t.after(() => process.umask(umask));
      const file = makeFile(t);
      makeStore(t, file).put('a', entry, 0);
      for (const name of [file, `${file}-wal`, `${file}-shm`]) {
        assert.equal((statSync(name).mode & 0o777).toString(8), '600', name);
      }
    });

    it('SqliteStore.put() throws StoreUnavailable while another process writes', (t) => {
      const file = makeFile(t);
      const store = makeStore(t, file);
      store.put('a', entry, 0);
      const other = openFile(t, file);
      other.exec('BEGIN IMMEDIATE');
      const isLocked = { constructor: StoreUnavailable, message: 'database is locked' };
      assert.throws(() => store.put('b', entry, 0), isLocked);
      assert.throws(() => store.put('a', entry, 1), isLocked);
      assert.throws(() => store.delete('a'), isLocked);
      assert.deepEqual(store.get('a'), { ...entry, version: 1 }, 'a reader does not wait');
      other.exec('COMMIT');
      assert.equal(store.put('b', entry, 0), true, 'the lock is gone');
    });

    it('SqliteStore() rejects a file that it cannot use', (t) => {
      const file = makeFile(t);
      writeFileSync(file, 'Dear diary, '.repeat(1000));
      const isNoDatabase = { name: 'RangeError', message: /^Cannot open .*: file is not a database$/ };
      assert.throws(() => new SqliteStore(file), isNoDatabase);
      const isNoFolder = { name: 'RangeError', message: /^Cannot open .*: ENOTDIR/ };
      assert.throws(() => new SqliteStore(join(file, 'x')), isNoFolder);
    });
  });

  describe('27-sqlite: the site', () => {
    it('SqliteStore keeps a login and a count over a restart', async (t) => {
      const file = makeFile(t);
      const before = new SqliteStore(file);
      let handle = makeSite(before);
      const browser = await logIn((request) => handle(request), 'ada');
      await browser.get('/');
      before.close();
      handle = makeSite(makeStore(t, file, () => Date.now() / 1000));
      assert.match(bodyText(await browser.get('/dashboard')), /Hello, ada/, 'still logged in');
      assert.match(bodyText(await browser.get('/howdy')), /Count: 2/, 'the second visit');
    });

    it('SqliteStore counts the visits of two sites with one file', async (t) => {
      const file = makeFile(t);
      const handles = [0, 1].map(() => makeSite(makeStore(t, file, () => Date.now() / 1000)));
      const first = new Browser(handles[0] as Handler);
      await first.get('/');
      const cookie = cookieOf(first);
      const visit = (i: number) => visitWith(handles[i % 2] as Handler, cookie, '/');
      const statuses = await Promise.all(Array.from({ length: 20 }, (_, i) => visit(i)));
      assert.deepEqual(new Set(statuses), new Set([200]), 'each of the 20 visits gets its page');
      assert.match(bodyText(await first.get('/')), /Count: 22/, 'no visit is lost');
    });

    it('rescueStore responds 503 if a page cannot save, and other pages work', async (t) => {
      const log = t.mock.method(console, 'error', () => {});
      const file = makeFile(t);
      const handle = makeSite(makeStore(t, file, () => Date.now() / 1000));
      const browser = await logIn(handle, 'ada');
      const other = openFile(t, file);
      for (const action of ['INSERT', 'UPDATE', 'DELETE']) {
        const fail = "BEGIN SELECT RAISE(FAIL, 'the disk is full'); END";
        other.exec(`CREATE TRIGGER stop_${action} BEFORE ${action} ON sessions ${fail}`);
      }
      const response = await send(browser, '/logout');
      assert.deepEqual([response.status, response.headers['retry-after']], [503, '1']);
      const [line] = log.mock.calls[0]?.arguments ?? [];
      assert.equal(line, '503 POST /logout: the disk is full');
      assert.equal((await browser.get('/dashboard')).status, 200, 'the user is still logged in');
      for (const action of ['INSERT', 'UPDATE', 'DELETE']) other.exec(`DROP TRIGGER stop_${action}`);
      const cookie = cookieOf(browser);
      assert.equal((await send(browser, '/logout')).status, 303);
      assert.equal(await visitWith(handle, cookie, '/dashboard'), 303, 'the copied cookie fails');
    });

    it('site() of step 27 counts the visits of a browser', async () => {
      const browser = new Browser(site(':memory:'));
      for (const count of [1, 2]) {
        assert.match(bodyText(await browser.get('/')), new RegExp(`<p>Count: ${count}</p>`));
      }
    });
  });
}
