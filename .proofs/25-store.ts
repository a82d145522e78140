// Further proofs for step 25: where an id is read, what is written when, limits, and failures.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { setCookies } from '../.tools/request.ts';
import { countVisits, type Data, idOf, NOW, ORIGIN, type Page, setUp } from '../.tools/stored.ts';
import { type HttpResponse, text } from '../src/04-http.ts';
import { SessionTooLarge, withSession } from '../src/08-session-factory.ts';
import { withTimeouts } from '../src/11-timeouts.ts';
import { Browser } from '../src/16-browser.ts';
import { UserSession } from '../src/22-login.ts';
import { hashId, MAX_STORED_SIZE, MemoryStore, StoredSessionFactory } from '../src/25-store.ts';
import { StoreUnavailable } from '../src/25-store.ts';

const it = explainedIt(import.meta.url);
const Factory = StoredSessionFactory<UserSession<Data>>;

/** Pages that fail the store at one call. */
const pages: Page = (request) => {
  if (request.path === '/login') request.session.regenerateId();
  if (request.path !== '/logout') return countVisits(request);
  request.session.invalidate();
  return text('logged out');
};

describe('25-store: MemoryStore under load', () => {
  it('MemoryStore never keeps more than maxEntries entries or maxSize characters', () => {
    const [maxEntries, maxSize, maxLength] = [50, 2_000, 100];
    for (let seed = 1; seed <= 20; seed++) {
      const store = new MemoryStore({ maxEntries, maxSize, now: () => NOW });
      const keys = new Set<string>();
      let state = seed;
      const random = (limit: number): number => (state = (state * 48_271) % 2_147_483_647) % limit;
      for (let i = 0; i < 500; i++) {
        const key = `key${random(150)}`;
        keys.add(key);
        const entry = { text: 'x'.repeat(random(maxLength)), expires: NOW + 10 };
        if (random(10) === 0) store.delete(key);
        else assert.ok(store.put(key, entry, store.get(key)?.version ?? 0));
        const kept = [...keys].flatMap((one) => store.get(one) ?? []);
        const size = kept.reduce((sum, one) => sum + one.text.length, 0);
        assert.ok(kept.length <= maxEntries, `${kept.length} entries`);
        assert.ok(size <= maxSize + maxLength, `${size} characters`);
      }
    }
  });

  it('MemoryStore works with limits for one entry, and without limits', () => {
    const entry = { text: 'x'.repeat(1000), expires: NOW + 10 };
    for (const limits of [{ maxEntries: 1 }, { maxSize: 1 }]) {
      const store = new MemoryStore({ ...limits, now: () => NOW });
      for (const key of ['a', 'b', 'c']) {
        assert.ok(store.put(key, entry, 0));
        assert.equal(store.get(key)?.version, 1, 'the newest entry stays');
        assert.ok(store.put(key, entry, 1));
      }
      assert.equal(store.get('a'), undefined);
    }
    const store = new MemoryStore({ maxEntries: Infinity, maxSize: Infinity, now: () => NOW });
    for (let i = 0; i < 1000; i++) store.put(`${i}`, entry, 0);
    assert.equal(store.get('0')?.version, 1);
  });

  it('MemoryStore keeps an entry that is only read, while 1,000 new entries arrive', () => {
    const store = new MemoryStore({ maxEntries: 100, now: () => NOW });
    for (const key of ['read', 'unread']) store.put(key, { text: '', expires: NOW + 10 }, 0);
    for (let i = 0; i < 1000; i++) {
      store.put(`${i}`, { text: '', expires: NOW + 10 }, 0);
      if (i % 40 === 0) assert.equal(store.get('read')?.version, 1, `after ${i} entries`);
    }
    assert.equal(store.get('unread'), undefined);
  });

  it('MemoryStore has a default limit of 100,000 entries', () => {
    const store = new MemoryStore({ now: () => NOW });
    for (let i = 0; i < 150_000; i++) store.put(`${i}`, { text: '', expires: NOW + 10 }, 0);
    const kept = Array.from({ length: 150_000 }, (_, i) => store.get(`${i}`)).filter(Boolean);
    assert.ok(kept.length >= 50_000 && kept.length <= 100_000, `${kept.length} entries`);
    assert.ok(store.get('149999'));
  });
});

describe('25-store: which requests read and write', () => {
  it('withSession() reads an id only from the cookie with the right name', async () => {
    const { browse } = setUp(Factory);
    const browser = browse(countVisits);
    await browser.get('/');
    const sent = `session=${idOf(browser)}`;
    const ask = async (method: string, path: string, body = '', headers = {}) =>
      (await browse(countVisits).request(method, path, body, headers)).body;
    assert.equal(await ask('GET', '/', '', { cookie: sent }), '2', 'the cookie');
    assert.equal(await ask('GET', `/?${sent}`), '1', 'the query');
    assert.equal(await ask('GET', `/;${sent}`), '1', 'the path');
    assert.equal(await ask('POST', '/', sent), '1', 'the body');
    for (const name of ['session', 'x-session', 'authorization', 'cookie2']) {
      assert.equal(await ask('GET', '/', '', { [name]: idOf(browser) }), '1', name);
    }
    assert.equal(await ask('GET', '/', '', { cookie: `Session=${idOf(browser)}` }), '1');
  });

  it('StoredSessionFactory does not use the store while a session stays empty', async () => {
    const { browse, store } = setUp(Factory);
    const browser = browse(({ session }) => text(`${session.isNew}`));
    for (let visit = 0; visit < 2; visit++) {
      const response = await browser.get('/');
      assert.deepEqual([response.body, setCookies(response)], ['true', []]);
    }
    assert.deepEqual(store.calls, []);
  });

  it('StoredSessionFactory writes nothing after HEAD or a failed page', async () => {
    const { browse, store } = setUp(Factory);
    const browser = browse((request) => {
      const response = countVisits(request) as HttpResponse;
      return { ...response, status: request.path === '/fails' ? 500 : 200 };
    });
    await browser.request('HEAD', '/');
    await browser.request('GET', '/fails');
    assert.deepEqual(store.calls, []);
    await browser.get('/');
    assert.equal(store.count('put'), 1);
    await browser.request('HEAD', '/');
    await browser.request('GET', '/fails');
    assert.equal(store.count('put'), 1);
  });
});

describe('25-store: times and limits', () => {
  it('withTimeouts() tells the store when a session expires', async () => {
    const { factory, memory, clock } = setUp(Factory);
    const now = (): number => clock.now;
    const times = { idleTimeout: 1000, absoluteTimeout: 1500, now };
    const handle = withSession(withTimeouts(factory, times))(countVisits);
    const browser = new Browser(handle, ORIGIN, now);
    const entry = () => memory.get(hashId(idOf(browser)));
    await browser.get('/');
    assert.equal(entry()?.expires, NOW + 1000);
    clock.now += 900;
    await browser.get('/');
    assert.equal(entry()?.expires, NOW + 1500);
    clock.now += 600;
    assert.equal((await browser.get('/')).body, '1');
  });

  it('withTimeouts() ends a session on time, also if the store keeps its entry longer', async () => {
    const { factory, memory } = setUp(Factory);
    const times = { idleTimeout: 1000, absoluteTimeout: 3000, now: () => NOW };
    const timed = withTimeouts(factory, times);
    const id = 'A'.repeat(43);
    const table: [accessed: number, created: number, isOpened: boolean][] = [
      [NOW - 1000, NOW - 1000, true],
      [NOW - 1001, NOW - 1001, false],
      [NOW, NOW - 3000, true],
      [NOW, NOW - 3001, false],
    ];
    for (const [version, [accessed, created, isOpened]] of table.entries()) {
      const entry = { text: JSON.stringify([accessed, created, {}]), expires: Infinity };
      memory.put(hashId(id), entry, version);
      assert.equal((await timed.open(id)) !== undefined, isOpened, `row ${version}`);
    }
  });

  it('StoredSessionFactory.save() rejects a list with a value that is not JSON', async () => {
    const { browse } = setUp(Factory);
    const message = /Cannot keep 'list' in a session: JSON would lose or change its value/;
    const browser = browse((request) => {
      const { session, path } = request;
      if (path === '/') return countVisits(request);
      const list: string[] = ['fine'];
      session.set('list', list);
      list.push(undefined as unknown as string);
      return text('');
    });
    await browser.get('/');
    await assert.rejects(async () => browser.get('/broken'), message);
    assert.equal((await browser.get('/')).body, '2', 'the session is as it was before');
  });

  it('StoredSessionFactory.open() returns nested values exactly as they were saved', async () => {
    const { factory } = setUp(Factory);
    const nested = JSON.parse('['.repeat(500) + ']'.repeat(500)) as string[];
    const id = await factory.save(factory.create().set('list', nested));
    assert.deepEqual((await factory.open(id ?? ''))?.get('list'), nested);
  });
});

describe('25-store: a store that fails', () => {
  const fail = (): never => {
    throw new StoreUnavailable('the store is down');
  };

  it('UserSession.regenerateId() loses no session if a kill comes between two writes', async () => {
    const { browse, store, memory } = setUp(Factory);
    const browser = browse(pages);
    await browser.get('/');
    const id = idOf(browser);
    store.before = ({ method }) => (method === 'delete' ? fail() : undefined); // the second write
    await assert.rejects(async () => browser.get('/login'), StoreUnavailable);
    store.before = () => {};
    assert.equal(idOf(browser), id, 'the browser has no new cookie');
    assert.match(memory.get(hashId(id))?.text ?? '', /"counter":1/);
    assert.equal((await browser.get('/')).body, '2');
  });

  it('UserSession.invalidate() promises nothing if the store cannot delete', async () => {
    const { browse, store } = setUp(Factory);
    const browser = browse(pages);
    await browser.get('/');
    store.before = ({ method }) => (method === 'delete' ? fail() : undefined);
    await assert.rejects(async () => browser.get('/logout'), StoreUnavailable);
    store.before = () => {};
    assert.equal((await browser.get('/')).body, '2', 'the logout has failed');
  });

  it('StoredSessionFactory.open() throws if the store cannot read', async () => {
    const { browse, store } = setUp(Factory);
    const browser = browse(pages);
    await browser.get('/');
    store.before = fail;
    await assert.rejects(async () => browser.get('/'), StoreUnavailable);
    store.before = () => {};
    assert.equal((await browser.get('/')).body, '2', 'the session is not replaced by a new one');
  });
});
