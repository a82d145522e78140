import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { assertCookie, bodyText, setCookies } from '../.tools/request.ts';
import { countVisits, type Data, idOf, makeGate, NOW, ORIGIN } from '../.tools/stored.ts';
import { type Page, setUp, slowVisits, SpyStore } from '../.tools/stored.ts';
import { Cookie } from '../src/02-cookie.ts';
import { text } from '../src/04-http.ts';
import { SessionTooLarge } from '../src/08-session-factory.ts';
import { SessionCookie } from '../src/11-timeouts.ts';
import { Browser } from '../src/16-browser.ts';
import { UserSession } from '../src/22-login.ts';
import { explainStored, hashId, MAX_STORED_SIZE, MemoryStore, site } from '../src/25-store.ts';
import { StoredSessionFactory } from '../src/25-store.ts';

const it = explainedIt(import.meta.url);
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' };
const MADE_UP = 'A'.repeat(43); // it looks like an id

const Factory = StoredSessionFactory<UserSession<Data>>;

/** Returns the keys of these entries that the store still has. */
function keysIn(store: MemoryStore, keys: string): string {
  return [...keys].filter((key) => store.get(key)).join('');
}

describe('25-store: MemoryStore', () => {
  const entry = { text: '[]', expires: NOW + 10 };

  it('new MemoryStore() has the clock of the machine by default, in seconds', (t) => {
    t.mock.method(Date, 'now', () => NOW * 1000);
    const textsIn = (store: MemoryStore): unknown[] =>
      [NOW - 1, NOW, NOW + 10].map((expires) => {
        store.put(`${expires}`, { text: 'x', expires }, 0);
        return store.get(`${expires}`)?.text;
      });
    const expected = textsIn(new MemoryStore({ now: () => NOW }));
    assert.deepEqual(textsIn(new MemoryStore()), expected, 'three times of expiry');
  });

  it('MemoryStore.#keep() makes the young map the old map at half of maxEntries', () => {
    const store = new MemoryStore({ maxEntries: 6, now: () => NOW });
    for (const key of 'abcdef') store.put(key, entry, 0);
    const kept = keysIn(store, 'abcdef');
    // If even f is missing, MemoryStore.get() is wrong. It has its own tests.
    if (kept.includes('f')) assert.equal(kept, 'def', 'def is the newest half of six');
  });

  it('MemoryStore.#keep() makes the young map the old map at half of maxSize', () => {
    const store = new MemoryStore({ maxSize: 100, now: () => NOW });
    for (const key of 'abcd') store.put(key, { ...entry, text: 'x'.repeat(25) }, 0);
    const kept = keysIn(store, 'abcd');
    if (kept.includes('d')) assert.equal(kept, 'cd', 'after 50 characters, the size is 0 again, and 50 more evict a and b');
  });

  it('MemoryStore.#keep() does not count a text that was replaced', () => {
    const store = new MemoryStore({ maxSize: 100, now: () => NOW });
    store.put('a', { ...entry, text: 'x'.repeat(25) }, 0);
    for (let i = 0; i < 20; i++) {
      store.put('c', { ...entry, text: 'x'.repeat(20) }, store.get('c')?.version ?? 0);
    }
    assert.equal(store.get('a')?.text.length, 25, 'only 45 characters are in use');
  });

  it('MemoryStore.put() stores an entry, and get() returns it with its version', () => {
    const store = new MemoryStore({ now: () => NOW });
    assert.equal(store.get('a'), undefined, 'there is no entry yet');
    assert.equal(store.put('a', entry, 0), true, 'put() has stored a new entry');
    assert.deepEqual(store.get('a'), { ...entry, version: 1 });
    assert.equal(store.put('a', { ...entry, text: '[1]' }, 1), true, 'put() has replaced version 1');
    assert.deepEqual(store.get('a'), { ...entry, text: '[1]', version: 2 });
    assert.equal(store.put('b', { text: '[]', expires: Infinity }, 0), true, 'put() has stored b');
    assert.equal(store.get('b')?.expires, Infinity, 'an entry that never expires');
  });

  it('MemoryStore.put() begins with version 1 after an entry that has expired', () => {
    const clock = { now: NOW };
    const store = new MemoryStore({ now: () => clock.now });
    store.put('a', entry, 0);
    clock.now = entry.expires;
    assert.equal(store.put('a', { ...entry, expires: NOW + 20 }, 0), true);
    assert.equal(store.get('a')?.version, 1);
  });

  it('MemoryStore.put() returns false if the entry has another version', () => {
    const store = new MemoryStore({ now: () => NOW });
    assert.equal(store.put('a', entry, 1), false, 'there is no version 1');
    store.put('a', entry, 0);
    store.put('a', { ...entry, text: 'new' }, 1);
    for (const version of [0, 1, 3]) {
      assert.equal(store.put('a', entry, version), false, `version ${version}`);
    }
    assert.equal(store.get('a')?.text, 'new', 'the entry that was stored with version 1');
  });

  it('MemoryStore.get() returns no entry that has expired', () => {
    const clock = { now: NOW };
    const store = new MemoryStore({ now: () => clock.now });
    store.put('a', entry, 0);
    clock.now = NOW + 9.999;
    assert.equal(store.get('a')?.text, '[]', 'a millisecond before the end');
    clock.now = NOW + 10;
    assert.equal(store.get('a'), undefined, 'at the time in `expires`');
    const next = { ...entry, expires: NOW + 20 };
    assert.notEqual(store.put('a', next, 0), false, 'put() accepts version 0: the entry is gone');
    assert.equal(store.get('a')?.expires, next.expires, 'get() returns the new entry');
  });

  it('MemoryStore.delete() removes an entry, and ignores a key without an entry', () => {
    const store = new MemoryStore({ now: () => NOW });
    store.put('a', entry, 0);
    store.delete('b');
    assert.ok(store.get('a'), 'another entry is still there');
    store.delete('a');
    assert.equal(store.get('a'), undefined, 'the entry was deleted');
  });

  it('MemoryStore.get() keeps an entry that is in use', () => {
    const store = new MemoryStore({ maxEntries: 6, now: () => NOW });
    for (const key of 'defg') store.put(key, entry, 0);
    assert.ok(store.get('d'), 'a request reads d');
    store.put('h', entry, 0);
    assert.equal(keysIn(store, 'defgh'), 'dgh', 'e and f were not used again');
  });

  it('MemoryStore.delete() removes an entry from the old map', () => {
    const store = new MemoryStore({ maxEntries: 4, now: () => NOW });
    for (const key of 'ab') store.put(key, entry, 0); // a and b are now in the old map
    store.delete('b');
    assert.equal(store.get('b'), undefined, 'b was in the old map');
  });

  it('MemoryStore.delete() does not count the text any more', () => {
    const store = new MemoryStore({ maxSize: 100, now: () => NOW });
    const put = (key: string, length: number): boolean =>
      store.put(key, { text: 'x'.repeat(length), expires: NOW + 10 }, 0);
    put('a', 60); // a is now in the old map
    put('c', 40);
    store.delete('c');
    put('d', 40);
    assert.ok(store.get('a'), 'the text of c is deleted, so only 40 characters are new');
  });
});

describe('25-store: the id', () => {
  it('hashId() returns the SHA-256 hash in base64url', () => {
    assert.equal(
      hashId(given('x')),
      'LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE',
      'sha256sum says so',
    );
  });

  it('explainStored() shows the id, and its key in the store', () => {
    const meaning = `A random number. The key in the store is ${hashId('x')}.`;
    assert.deepEqual(explainStored('x'), [{ name: 'id', text: 'x', meaning }]);
  });

  it('new StoredSessionFactory() has a cookie and the clock of the machine by default', (t) => {
    t.mock.method(Date, 'now', () => NOW * 1000);
    const times: unknown[] = [];
    class TimedSession extends UserSession<Data> {
      constructor(now: number) {
        super(now);
        if (now !== undefined) times.push(now); // StoredSessionFactory.create() has its own test
      }
    }
    const options = { sessionClass: TimedSession };
    const factory = new StoredSessionFactory(new MemoryStore(), options);
    assert.equal(factory.cookie?.name, 'session');
    factory.create();
    const other = { cookie: new Cookie('id'), now: () => 5 };
    const changed = new StoredSessionFactory(new MemoryStore(), { ...options, ...other });
    assert.equal(changed.cookie?.name, 'id', 'the cookie of the options');
    changed.create();
    const expected = times.length === 0 ? [] : [NOW, 5];
    assert.deepEqual(times, expected, 'the time of the machine, and of the clock in the options');
  });

  it('StoredSessionFactory.entryOf() accepts 65,536 characters, and rejects one more', async () => {
    const { factory } = setUp(Factory);
    const around = JSON.stringify([NOW, NOW, { words: '' }]).length;
    const sessionWith = (length: number): UserSession<Data> =>
      factory.create().set('words', 'x'.repeat(length - around));
    await factory.save(sessionWith(MAX_STORED_SIZE));
    const message = '65537 characters, and the limit is 65536';
    const save = async () => factory.save(sessionWith(MAX_STORED_SIZE + 1));
    await assert.rejects(save, new SessionTooLarge(message));
    const saveEuros = async () => factory.save(factory.create().set('words', '€'.repeat(30_000)));
    await assert.doesNotReject(saveEuros, '30,000 euro signs are 90,000 bytes, but 30,000 characters');
  });

  it('StoredSessionFactory.entryOf() stores the payload and the time of expiry', async () => {
    const { factory, store } = setUp(Factory);
    const session = factory.create().set('counter', 1);
    session.expires = NOW + 60;
    await factory.save(session);
    const written = store.calls.find(({ method }) => method === 'put');
    const entry = { text: `[${NOW},${NOW},{"counter":1}]`, expires: NOW + 60 };
    // StoredSessionFactory.write() has its own test.
    if (written) assert.deepEqual(written.entry, entry);
  });

  it('StoredSessionFactory.write() replaces an entry of any version', async () => {
    const { factory, memory, store } = setUp(Factory);
    const id = await factory.save(factory.create().set('counter', 1));
    const key = store.calls.find(({ method }) => method === 'put')?.key ?? '';
    assert.notEqual(key, '', 'no call of put()');
    memory.put(key, { text: `[${NOW},${NOW},{"counter":2}]`, expires: Infinity }, 1);
    const session = await factory.open(id ?? '');
    session?.set('counter', 3);
    await (session && factory.save(session));
    const last = store.calls.findLast(({ method }) => method === 'put');
    // Without a second put() for this key, open() is wrong. It has its own tests.
    if (store.count('put') > 1 && last?.key === key) assert.equal(last.version, 2, 'the version');
  });

  it('StoredSessionFactory.open() returns a saved session', async () => {
    const { factory, memory } = setUp(Factory);
    const text = '[9,8,{"counter":7}]';
    memory.put(hashId(MADE_UP), { text, expires: Infinity }, 0);
    const session = await factory.open(given(MADE_UP));
    assert.ok(session, 'the entry under hashId(id) exists, and `id` has 43 characters of base64url');
    const state = { isNew: session.isNew, created: session.created, counter: session.get('counter') };
    assert.deepEqual(state, { isNew: false, created: 8, counter: 7 }, 'the session in the entry');
    const saved = session && (await factory.save(session.set('counter', 8)));
    if (saved) assert.equal(saved, MADE_UP, 'open() must remember the id for save()');
  });

  it('StoredSessionFactory.open() returns undefined for a damaged entry', async () => {
    const { factory, memory } = setUp(Factory);
    for (const [index, text] of ['', '[', 'null', '[1,2]', '[1,1,[]]'].entries()) {
      memory.put(hashId(MADE_UP), { text, expires: Infinity }, index);
      assert.equal(await factory.open(given(MADE_UP)), undefined, `'${text}'`);
    }
  });

  it('StoredSessionFactory.create() returns a new session, or one with a saved state', () => {
    const { factory } = setUp(Factory);
    const session = factory.create();
    assert.deepEqual([session?.isNew, session?.created, session?.size], [true, NOW, 0]);
    const saved = factory.create({ accessed: 9, created: 8, data: { counter: 7 } });
    assert.deepEqual([saved.isNew, saved.created, saved.get('counter')], [false, 8, 7]);
  });

  it('StoredSessionFactory.open() asks the store only about a value that can be an id', async () => {
    const { factory, store } = setUp(Factory);
    const values = [
      '', MADE_UP.slice(1), `${MADE_UP}A`, `${MADE_UP}=`, ` ${MADE_UP}`, `${MADE_UP}\n`,
      `é${MADE_UP.slice(1)}`,
    ];
    for (const value of values) {
      assert.equal(await factory.open(given(value)), undefined, `'${value}'`);
    }
    assert.equal(store.count('get'), 0, 'calls of get() for values that cannot be an id');
    assert.equal(
      await factory.open(given(MADE_UP)),
      undefined,
      'an id that the store does not have',
    );
    assert.equal(store.count('get'), 1, 'calls of get() for a value that can be an id');
  });

  it('StoredSessionFactory.save() keeps the session of each browser in the store', async () => {
    const { browse } = setUp(Factory);
    const [ada, bob] = [browse(countVisits), browse(countVisits)];
    for (const count of ['1', '2', '3']) {
      assert.equal((await ada.get('/')).body, count, `the count of Ada at visit ${count}`);
    }
    assert.equal((await bob.get('/')).body, '1', 'Bob has a session of his own');
    assert.equal((await ada.get('/')).body, '4', 'the visit of Bob does not change the session of Ada');
  });

  it('StoredSessionFactory.open() accepts no id that the visitor made up', async () => {
    const { browse, memory } = setUp(Factory);
    for (const sent of [MADE_UP, hashId(given(MADE_UP)), 'x', '__proto__', `${MADE_UP}=`, '']) {
      const browser = browse(countVisits);
      const response = await browser.request('GET', '/', '', { cookie: `session=${sent}` });
      assert.equal(response.body, '1', sent);
      assert.notEqual(idOf(browser), sent, 'the site uses an id that the visitor made up');
      assert.equal(memory.get(hashId(given(sent))), undefined, 'no entry under this id');
    }
  });

  it('StoredSessionFactory.save() creates an id of 256 bits, and stores only its hash', async () => {
    const { browse, memory, store } = setUp(Factory);
    const ids = new Set<string>();
    for (let i = 0; i < 20; i++) {
      const browser = browse(countVisits);
      const [header] = setCookies(await browser.get('/'));
      const withoutId = header?.replace(/^session=[\w-]{43}(?=;)/, 'session=x');
      assertCookie(withoutId, 'session=x; Path=/; HttpOnly; SameSite=Lax');
      const id = idOf(browser);
      assert.equal(Buffer.from(id, 'base64url').length, 32, '32 bytes are 256 bits');
      const key = createHash('sha256').update(id).digest('base64url');
      assert.match(memory.get(key)?.text ?? '', /"counter":1/);
      assert.equal(memory.get(id), undefined, 'the id itself is no key');
      ids.add(id);
    }
    assert.equal(ids.size, 20, 'different ids of 20 sessions');
    const everything = JSON.stringify(store.calls);
    for (const id of ids) assert.ok(!everything.includes(id), 'the store never sees an id');
  });

  it('StoredSessionFactory.save() writes only changes, and sends the id only once', async () => {
    const { browse, store } = setUp(Factory);
    const page: Page = (request) => (request.path === '/' ? countVisits(request) : text('read'));
    const browser = browse(page);
    assert.equal(setCookies(await browser.get('/')).length, 1, 'cookies with a new id');
    assert.equal(store.count('put'), 1, 'writes for a new session');
    assert.deepEqual(setCookies(await browser.get('/')), [], 'the browser has the id');
    assert.equal(store.count('put'), 2, 'writes for a new and a changed session');
    assert.deepEqual(setCookies(await browser.get('/read')), [], 'the page only reads');
    assert.equal(store.count('put'), 2, 'writes after a page that only reads');
  });

  it('StoredSessionFactory.save() renews a cookie with Max-Age', async () => {
    const { browse } = setUp(Factory, { cookie: new SessionCookie({ maxAge: 60 }) });
    const browser = browse(countVisits);
    const headers = [];
    for (let visit = 0; visit < 3; visit++) headers.push(...setCookies(await browser.get('/')));
    assert.equal(headers.length, 3, 'a Set-Cookie for each of three changes: Max-Age begins again');
    assert.match(headers[0] ?? '', /^session=[\w-]{43};.* Max-Age=60(?:;|$)/);
    assert.equal(new Set(headers).size, 1, 'the same id');
  });
});

describe('25-store: the end of a session', () => {
  const page: Page = (request) => {
    if (request.path === '/login') request.session.regenerateId();
    if (request.path !== '/logout') return countVisits(request);
    request.session.invalidate();
    return text('logged out');
  };

  it('StoredSessionFactory.save() deletes the session of invalidate(), so a copied cookie fails', async () => {
    const { browse, memory } = setUp(Factory);
    const browser = browse(page);
    await browser.get('/');
    const copy = { cookie: `session=${idOf(browser)}` };
    const key = hashId(given(idOf(browser)));
    assert.equal((await browse(page).request('GET', '/', '', copy)).body, '2', 'the copy works');
    const response = await browser.get('/logout');
    assert.match(setCookies(response)[0] ?? '', /^session=;.*; Max-Age=0$/);
    assert.equal(memory.get(key), undefined, 'the store still has the session');
    assert.equal((await browse(page).request('GET', '/', '', copy)).body, '1', 'a new session');
  });

  it('StoredSessionFactory.save() keeps the data of regenerateId() under a new id', async () => {
    const { browse, memory, store } = setUp(Factory);
    const browser = browse(page);
    await browser.get('/');
    const old = idOf(browser);
    assert.equal((await browser.get('/login')).body, '2');
    assert.notEqual(idOf(browser), old, 'the id must change');
    assert.equal(memory.get(hashId(given(old))), undefined, 'the store still has the old id');
    assert.equal((await browser.get('/')).body, '3');
    const attack = { cookie: `session=${old}` };
    assert.equal((await browse(page).request('GET', '/', '', attack)).body, '1', 'a planted cookie');
    const calls = store.calls.map(({ method, key }) => `${method} ${key}`);
    const [put, end] = [`put ${hashId(idOf(browser))}`, `delete ${hashId(old)}`];
    assert.ok(calls.indexOf(put) < calls.indexOf(end), 'the new one is stored first');
  });

  it('StoredSessionFactory.save() deletes a session that a page has cleared', async () => {
    const { factory, memory } = setUp(Factory);
    const id = (await factory.save(factory.create().set('counter', 1))) ?? '';
    const session = await factory.open(id);
    session?.clear();
    assert.equal(session && (await factory.save(given(session))), '', 'the cookie is deleted');
    assert.equal(memory.get(hashId(id)), undefined, 'the store still has the session');
  });

  it('StoredSessionFactory.save() creates a new id for data set after invalidate()', async () => {
    const { browse, memory } = setUp(Factory);
    const browser = browse((request) => {
      if (request.path === '/end') request.session.invalidate();
      return countVisits(request);
    });
    assert.equal((await browser.get('/')).body, '1');
    const old = idOf(browser);
    assert.equal((await browser.get('/end')).body, '1', 'the new session has the same data');
    assert.notEqual(idOf(browser), old, 'the id must change');
    assert.equal(memory.get(hashId(old)), undefined, 'the store still has the old id');
    assert.equal((await browser.get('/')).body, '2');
  });

  it('StoredSessionFactory.save() throws if a session is too large, and the old one stays', async () => {
    const { browse } = setUp(Factory);
    const browser = browse((request) => {
      const { session, path } = request;
      if (path === '/') return countVisits(request);
      if (path === '/login') session.regenerateId();
      session.set('words', 'x'.repeat(MAX_STORED_SIZE));
      return text('');
    });
    await browser.get('/');
    for (const path of ['/large', '/login']) {
      await assert.rejects(async () => browser.get(path), SessionTooLarge);
    }
    assert.equal((await browser.get('/')).body, '2', 'the session is as it was before');
  });

  it('StoredSessionFactory.save() loses an update: of two requests, the later one wins', async () => {
    const { browse } = setUp(Factory);
    const gate = makeGate();
    const browser = browse(slowVisits(gate));
    await browser.get('/');
    const slow = browser.request('GET', '/slow');
    assert.equal((await browser.get('/')).body, '2');
    gate.open();
    assert.equal((await slow).body, '2', 'both requests read 1');
    assert.equal((await browser.get('/')).body, '3', 'the fourth visit, and one is lost');
  });

  it('site() of step 25 gives each session a time of expiry', async () => {
    const store = new SpyStore(new MemoryStore());
    await new Browser(site(store), ORIGIN).get('/');
    const expires = store.calls.find(({ method }) => method === 'put')?.entry?.expires;
    assert.ok(Number.isFinite(expires), 'the session never expires: site() must use withTimeouts()');
  });

  it('site() of step 25 ends the session at logout, also for each copy of its cookie', async () => {
    const browser = new Browser(ofStep(site()), ORIGIN);
    const send = (path: string, form: string) => browser.request('POST', path, form, SAME_ORIGIN);
    const cookie = (): string => browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000) ?? '';
    await send('/cart/add', 'item=tea');
    const before = cookie();
    assert.equal((await send('/login', 'username=editor&password=editor')).status, 303);
    const during = cookie();
    assert.notEqual(before, during, 'the login changes the id');
    const dashboard = bodyText(await browser.get('/dashboard'));
    assert.match(dashboard, /Hello, editor/);
    assert.match(dashboard, /cart<\/a>: 1/, 'the cart of the visitor is kept');
    assert.match(bodyText(await browser.get('/inspect')), /The key in the store is/);
    await send('/logout', '');
    for (const copy of [before, during]) {
      const { status } = await browser.request('GET', '/dashboard', '', { cookie: copy });
      assert.equal(status, 303, 'a copied cookie');
    }
  });
});
