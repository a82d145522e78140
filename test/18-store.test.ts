import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { seeOther } from '../src/13-flash.ts';
import { parseRequest, text } from '../src/02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { Browser } from '../src/08-browser.ts';
import { MAX_DEPTH } from '../src/10-session.ts';
import { SessionTooLarge, withSession } from '../src/11-session-factory.ts';
import type { SessionRequest } from '../src/11-session-factory.ts';
import { hashPassword } from '../src/16-login.ts';
import { keyOf, MAX_STORED_SIZE, MemoryStore, site, storedLens } from '../src/18-store.ts';
import { ownerOf, stateOf, StoredSession, StoredSessionFactory } from '../src/18-store.ts';
import type { SessionStore, StoredSessionOptions } from '../src/18-store.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000;
const SAME = { 'sec-fetch-site': 'same-origin' };

type Data = { counter: number; words: string; list: string[]; user: string };

/** A store that counts what it is asked for, and a factory over it, with a clock to set. */
function setUp(options: StoredSessionOptions = {}) {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const store = new MemoryStore({ now });
  const factory = new StoredSessionFactory<Data>(store, {
    ownerOf: ({ user }) => user as string | undefined,
    now,
    ...options,
  });
  const browser = (page: Handler<SessionRequest<Data>>): Browser =>
    new Browser(withSession(factory, page), ORIGIN, now);
  const put = countPuts(store);
  return { clock, store, factory, browser, put };
}

/** How often the store was written to. */
function countPuts(store: MemoryStore): { count: number } {
  const spy = { count: 0 };
  const put = store.put.bind(store);
  store.put = (...args) => ((spy.count += 1), put(...args));
  return spy;
}

function idOf(browser: Browser): string {
  return browser.jar.headerFor(new URL(ORIGIN), NOW)?.slice('session='.length) ?? '';
}

/** Holds back what waits for it until `open` is called. */
function makeGate(): { passed: Promise<void>; open: () => void } {
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { passed, open };
}

const countUp: Handler<SessionRequest<Data>> = ({ session }) => {
  session.update('counter', (counter = 0) => counter + 1);
  return text(`${session.get('counter')}`);
};

/** The same page; at /login the session gets a new id, and nothing else. */
const countUpAndLogIn: Handler<SessionRequest<Data>> = (request) => {
  if (request.path === '/login') request.session.regenerateId();
  return countUp(request);
};

describe('18-store: the id', () => {
  it('save() gives an id of 256 random bits, and the store knows only its SHA-256', async () => {
    const { browser, store } = setUp();
    const ids = new Set<string>();
    for (let i = 0; i < 20; i++) {
      const visitor = browser(countUp);
      const { headers } = await visitor.get('/');
      const line = String(headers['set-cookie']);
      assert.match(line, /^session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax$/);
      const id = idOf(visitor);
      const key = createHash('sha256').update(id).digest('base64url');
      assert.equal(keyOf(id), key);
      assert.match(store.get(key)?.text ?? '', /"counter":1/);
      assert.equal(store.get(key)?.owner, '', 'nobody has logged in');
      assert.equal(store.get(id), undefined);
      ids.add(id);
    }
    assert.equal(ids.size, 20);
  });

  it('open() never adopts an id that we have not given out', async () => {
    const { browser, store } = setUp();
    const made = 'A'.repeat(43);
    for (const sent of [made, '', 'x', '__proto__', `${made}=`, 'é', keyOf(made), '<script>']) {
      const visitor = browser(countUp);
      const response = await visitor.request('GET', '/', '', { cookie: `session=${sent}` });
      assert.equal(response.body, '1', sent);
      assert.notEqual(idOf(visitor), sent, 'an id that the visitor made up is now their session');
      assert.equal(store.get(keyOf(sent)), undefined, `nothing under ${sent}`);
    }
  });

  it('open() takes an id from the cookie alone: no URL, no form, no other header', async () => {
    const { browser } = setUp();
    const owner = browser(countUp);
    await owner.get('/');
    const sent = `session=${idOf(owner)}`;
    const ask = async (method: string, path: string, body = '', headers = {}) =>
      (await browser(countUp).request(method, path, body, headers)).body;
    assert.equal(await ask('GET', '/', '', { cookie: sent }), '2', 'a good id, in its place');
    assert.equal(await ask('GET', `/?${sent}`), '1');
    assert.equal(await ask('GET', `/;${sent}`), '1');
    assert.equal(await ask('POST', '/', sent), '1');
    for (const name of ['session', 'x-session', 'authorization', 'cookie2']) {
      assert.equal(await ask('GET', '/', '', { [name]: idOf(owner) }), '1', name);
    }
  });

  it('read() asks the store for nothing that is no id', async () => {
    const { factory, store } = setUp();
    const made = 'A'.repeat(43);
    store.get = () => assert.fail('a request of the store for every junk that is sent');
    for (const id of ['', made.slice(1), `${made}A`, `${made}=`, `=${made}`, ` ${made}`]) {
      assert.equal(await factory.read(id), undefined, id);
    }
  });

  it('stateOf() tells the parts of an entry, and takes one without an agent', () => {
    const entry = { owner: '', expires: NOW };
    const state = { accessed: 2, created: 1, data: { a: 1 }, agent: 'curl' };
    assert.deepEqual(stateOf({ ...entry, text: '[2,1,{"a":1},"curl"]' }), state);
    assert.deepEqual(stateOf({ ...entry, text: '[2,1,{"a":1}]' }), { ...state, agent: '' });
  });

  it('open() takes a damaged entry for none, and the visitor gets another id', async () => {
    const { browser, store } = setUp();
    const DAMAGED = [
      '', '[', '[1,2]', '{}', 'null', '[null,null,{}]', `[${NOW},${NOW},[]]`, `[${NOW},${NOW},null]`,
      `["${NOW}",${NOW},{}]`, `[${NOW},${NOW},{"counter":1e999}]`, `[${NOW},null,{}]`, `[${NOW},${NOW},"x"]`,
    ];
    for (const damaged of DAMAGED) {
      const visitor = browser(countUp);
      await visitor.get('/');
      const before = idOf(visitor);
      store.put(keyOf(before), { text: damaged, owner: '', expires: NOW + 100 }, 1);
      assert.equal((await visitor.get('/')).body, '1', damaged);
      assert.notEqual(idOf(visitor), before, damaged);
      assert.equal((await visitor.get('/')).body, '2', damaged);
    }
  });

  it('save() does not put its changes over an entry that was damaged meanwhile', async () => {
    const { browser, store } = setUp();
    const entry = { text: 'damaged', owner: '', expires: NOW + 100 };
    const visitor: Browser = browser((request) => {
      if (request.path === '/late') store.put(keyOf(idOf(visitor)), entry, 1);
      return countUp(request);
    });
    await visitor.get('/');
    const { headers } = await visitor.request('GET', '/late');
    assert.equal(headers.location, '/late', 'put() took a version that was not read: look again');
    assert.equal(store.get(keyOf(idOf(visitor)))?.text, 'damaged');
    assert.equal((await visitor.get('/')).body, '1');
  });

  it('save() makes nothing for a visitor who keeps nothing', async () => {
    const { browser, put } = setUp();
    const visitor = browser(({ session }) => text(`${session.get('counter')}`));
    const { headers } = await visitor.get('/');
    assert.equal(headers['set-cookie'], undefined);
    assert.equal(put.count, 0);
  });

  it('save() sends the cookie once, and writes only what has changed', async () => {
    const { browser, put, clock } = setUp();
    const visitor = browser((request) => (request.path === '/' ? countUp(request) : text('read')));
    await visitor.get('/');
    assert.equal((await visitor.get('/')).headers['set-cookie'], undefined, 'it has the id');
    assert.equal(put.count, 2);
    await visitor.get('/read');
    assert.equal(put.count, 2, 'nothing changed');
    clock.now += 120;
    await visitor.get('/read');
    assert.equal(put.count, 2, 'nor is it due');
    clock.now += 1;
    await visitor.get('/read');
    assert.equal(put.count, 3, 'noted down as seen, every idleTimeout / 10');
  });

  it('save() sends a cookie that has an end of its own whenever it writes', async () => {
    const visitor = setUp({ maxAge: 60 }).browser(countUp);
    for (let visit = 0; visit < 2; visit++) {
      const { headers } = await visitor.get('/');
      assert.match(String(headers['set-cookie']), /^session=[\w-]{43}; Max-Age=60;/);
    }
  });

  it('save() leaves alone the session for HEAD and for a page that failed', async () => {
    const { browser, put } = setUp();
    const visitor = browser((request) => ({ ...(countUp(request) as HttpResponse), status: 500 }));
    await visitor.request('HEAD', '/');
    await visitor.get('/');
    assert.equal(put.count, 0);
  });

  it('read() keeps idle and absolute time by the clock of the server', async () => {
    const { browser, clock } = setUp({ absoluteTimeout: 3000 });
    const visitor = browser(countUp);
    await visitor.get('/');
    clock.now += 1201;
    assert.equal((await visitor.get('/')).body, '1', 'idle for longer than 20 minutes');
    for (let i = 2; i <= 4; i++) {
      clock.now += 999;
      assert.equal((await visitor.get('/')).body, `${i}`);
    }
    clock.now += 4;
    assert.equal((await visitor.get('/')).body, '1', 'older than 3000 seconds, however busy');
  });

  it('read() keeps both times to the second, though a store should keep an entry longer', async () => {
    const { factory, store, clock } = setUp({ idleTimeout: 1000, absoluteTimeout: 3000 });
    const id = 'A'.repeat(43);
    const table: [accessed: number, created: number, isAlive: boolean][] = [
      [NOW - 1000, NOW - 1000, true],
      [NOW - 1001, NOW - 1001, false],
      [NOW, NOW - 3000, true],
      [NOW, NOW - 3001, false],
    ];
    for (const [version, [accessed, created, isAlive]] of table.entries()) {
      const text = JSON.stringify([accessed, created, {}, '']);
      store.put(keyOf(id), { text, owner: '', expires: NOW + 1e6 }, version);
      const found = await factory.read(id);
      assert.equal(found !== undefined, isAlive, `${clock.now - accessed} ${clock.now - created}`);
    }
  });
});

describe('18-store: an end', () => {
  const pages = (gate = Promise.resolve()): Handler<SessionRequest<Data>> => async (request) => {
    const { session, path } = request;
    if (path === '/end') session.invalidate();
    if (path === '/renew') session.regenerateId();
    if (path === '/login') session.set('user', 'ada');
    if (path === '/slow') await gate;
    return path === '/end' ? text('ended') : countUp(request);
  };

  it('regenerateId() ends the old id at once, and keeps the data', async () => {
    const { browser, store } = setUp();
    const visitor = browser(pages());
    await visitor.get('/');
    const old = idOf(visitor);
    const put = store.put.bind(store);
    const entries = new Map<string, object>();
    store.put = (key, entry, version) => (entries.set(key, entry), put(key, entry, version));
    assert.equal((await visitor.get('/renew')).body, '2');
    assert.notEqual(idOf(visitor), old);
    const ended = { text: '', owner: '', expires: NOW };
    assert.deepEqual(entries.get(keyOf(old)), ended, 'nothing of it is left to read');
    assert.equal(store.get(keyOf(old)), undefined);
    assert.equal((await visitor.get('/')).body, '3');
    const thief = await visitor.request('GET', '/', '', { cookie: `session=${old}` });
    assert.equal(thief.body, '1', 'a stranger');
  });

  it('invalidate() deletes the session and the cookie', async () => {
    const { browser, store } = setUp();
    const visitor = browser(pages());
    await visitor.get('/');
    const id = idOf(visitor);
    const { headers } = await visitor.get('/end');
    assert.match(String(headers['set-cookie']), /^session=; Max-Age=0/);
    assert.equal(store.get(keyOf(id)), undefined);
    assert.equal((await visitor.get('/')).body, '1');
  });

  it('save() never brings back a session that was ended while a slow page was at work', async () => {
    const { browser, store } = setUp();
    const gate = makeGate();
    const visitor = browser(pages(gate.passed));
    await visitor.get('/');
    const id = idOf(visitor);
    const slow = visitor.request('GET', '/slow'); // has opened the session, and counts up later
    await visitor.get('/end');
    gate.open();
    const late = await slow;
    assert.equal(late.headers['set-cookie'], undefined, 'and it sets no cookie');
    assert.equal(store.get(keyOf(id)), undefined, 'what was ended is in the store again');
    assert.equal((await visitor.get('/')).body, '1');
  });

  it('regenerateId() brings back nothing that was ended meanwhile', async () => {
    const { browser, store } = setUp();
    const gate = makeGate();
    const visitor = browser(async (request) => {
      if (request.path !== '/renew') return pages()(request);
      await gate.passed;
      request.session.regenerateId();
      return countUp(request);
    });
    await visitor.get('/login');
    const slow = visitor.request('GET', '/renew');
    await visitor.get('/end');
    gate.open();
    assert.equal((await slow).headers['set-cookie'], undefined);
    assert.deepEqual(store.keysOf('ada'), []);
  });

  it('save() tells nobody that it was done where the session ended meanwhile', async () => {
    for (const [method, path, status, where] of [
      ['POST', '/slow', 409, undefined],
      ['GET', '/slow?a=1', 303, '/slow?a=1'],
      ['GET', '//evil', 303, '/dashboard'],
    ] as const) {
      const { browser, factory, store } = setUp();
      const gate = makeGate();
      const visitor = browser(async (request) => {
        if (request.path !== '/') await gate.passed;
        return countUp(request);
      });
      await visitor.get('/');
      const request = { method, path: path.split('?')[0] ?? '', search: path.includes('?') ? '?a=1' : '' };
      const cookie = `session=${idOf(visitor)}`;
      const rest = { headers: { cookie }, body: new Uint8Array(), address: undefined };
      const slow = withSession(factory, async (one: SessionRequest<Data>) => {
        await gate.passed;
        return countUp(one);
      })({ ...request, ...rest });
      await new Promise(setImmediate);
      store.delete(keyOf(idOf(visitor)));
      gate.open();
      const response = await slow;
      assert.deepEqual([response.status, response.headers.location], [status, where], path);
      if (status === 409) assert.match(String(response.body), /Nothing was done/);
    }
  });

  it('save() tries the next one where one could not be kept', async () => {
    const { browser } = setUp();
    const gate = makeGate();
    const visitor = browser(async (request) => {
      if (request.path === '/') return countUp(request);
      await gate.passed;
      if (request.path === '/large') request.session.set('words', 'x'.repeat(MAX_STORED_SIZE));
      return countUp(request);
    });
    await visitor.get('/');
    const [large, small] = [visitor.request('GET', '/large'), visitor.request('GET', '/small')];
    gate.open();
    await assert.rejects(async () => large, SessionTooLarge);
    assert.equal((await small).body, '2');
    assert.equal((await visitor.get('/')).body, '3');
  });

  it('save() keeps the agent, cut to 200, and no entry beyond absoluteTimeout', async () => {
    const { browser, store, clock } = setUp({ idleTimeout: 1000, absoluteTimeout: 1500 });
    const visitor = browser(countUp);
    await visitor.request('GET', '/', '', { 'user-agent': 'x'.repeat(500) });
    const entry = () => store.get(keyOf(idOf(visitor)));
    assert.equal(entry()?.expires, NOW + 1000);
    assert.equal(JSON.parse(entry()?.text ?? '')[3], 'x'.repeat(200));
    clock.now += 900;
    await visitor.get('/');
    assert.equal(entry()?.expires, NOW + 1500);
  });

  it('save() refuses a value that was spoilt after it was set', async () => {
    const { browser } = setUp();
    const visitor = browser(({ session }) => {
      const list: string[] = ['fine'];
      session.set('list', list);
      list.push(undefined as unknown as string);
      return text('');
    });
    const message = /^TypeError: Cannot keep the session\["list"\]\[1\]: .* it is undefined$/;
    await assert.rejects(async () => visitor.get('/'), message);
    const { factory } = setUp();
    const request = parseRequest('GET', '/') as HttpRequest;
    const session = await factory.open(request);
    session.set('list', ['fine']);
    const saving = factory.save(session, request, text(''));
    session.get('list')?.splice(0, 2, 'fine', undefined as unknown as string); // while it waits
    await assert.rejects(saving, message);
  });

  it('save() keeps the session of a page that failed where setOnException says so', async () => {
    const { browser } = setUp({ setOnException: true });
    const visitor = browser((request) => ({ ...countUp(request), status: 500 }) as HttpResponse);
    await visitor.get('/');
    assert.equal((await visitor.get('/')).body, '2');
  });

  it('regenerateId() takes along what others have changed meanwhile', async () => {
    const { browser, store } = setUp();
    const gate = makeGate();
    const visitor = browser(async (request) => {
      const { session, path } = request;
      if (path === '/add') session.set('words', 'added');
      if (path !== '/login') return countUp(request);
      await gate.passed;
      session.regenerateId();
      session.set('user', 'ada');
      return text('');
    });
    await visitor.get('/');
    const slow = visitor.request('GET', '/login');
    const old = idOf(visitor);
    await visitor.get('/add');
    gate.open();
    await slow;
    assert.notEqual(idOf(visitor), old);
    const { text: kept = '' } = store.get(keyOf(idOf(visitor))) ?? {};
    assert.deepEqual(JSON.parse(kept)[2], { counter: 2, words: 'added', user: 'ada' });
    assert.equal(store.get(keyOf(old)), undefined);
  });

  it('regenerateId() loses no change that comes between its two writes, nor the session', async () => {
    const { browser, store, factory } = setUp();
    const put = store.put.bind(store);
    const visitor = browser(countUpAndLogIn);
    await visitor.get('/');
    const old = keyOf(idOf(visitor));
    let between: (() => unknown) | undefined = () => {
      const { text: was = '', version = 0 } = store.get(old) ?? {};
      const [accessed, created, data, agent] = JSON.parse(was);
      const changed = JSON.stringify([accessed, created, { ...data, words: 'late' }, agent]);
      return put(old, { text: changed, owner: '', expires: NOW + 100 }, version);
    };
    store.put = (key, entry, version) => {
      if (key !== old || version === 0) return put(key, entry, version);
      assert.ok(store.get(old), 'till the new one is there');
      const change = between;
      between = undefined;
      assert.ok(change === undefined || change(), 'somebody else was first');
      return put(key, entry, version);
    };
    await visitor.get('/login');
    const id = idOf(visitor);
    assert.deepEqual((await factory.read(id))?.data, { counter: 2, words: 'late' });
    assert.equal(store.get(old), undefined);
    between = () => (store.delete(keyOf(id)), true); // a logout
    const again = keyOf(id);
    store.put = (key, entry, version) => {
      if (key === again) store.delete(again);
      return put(key, entry, version);
    };
    const { status, headers } = await visitor.request('GET', '/login');
    assert.deepEqual([status, headers['set-cookie']], [303, undefined], 'what has ended stays ended');
    assert.deepEqual(await factory.read(idOf(visitor)), undefined);
  });

  it('regenerateId() gives up where the new session is ended between its two writes', async () => {
    const { browser, store } = setUp();
    const put = store.put.bind(store);
    const visitor = browser(countUpAndLogIn);
    await visitor.get('/');
    const old = keyOf(idOf(visitor));
    const keys: string[] = [];
    store.put = (key, entry, version) => {
      keys.push(key);
      if (keys.length === 2) { // somebody changes the old one, and ends the new one
        put(old, { text: store.get(old)?.text ?? '', owner: '', expires: NOW + 100 }, version);
        store.delete(keys[0] ?? '');
      }
      return put(key, entry, version);
    };
    const { status, headers } = await visitor.request('GET', '/login');
    assert.deepEqual([status, headers.location], [303, '/login'], 'look again');
    assert.equal(headers['set-cookie'], undefined);
    assert.deepEqual(keys, [keys[0], old, keys[0]], 'it was tried once more, and no oftener');
  });

  it('regenerateId() leaves the old session where the new one does not fit', async () => {
    const { browser } = setUp();
    const visitor = browser((request) => {
      if (request.path === '/') return countUp(request);
      request.session.regenerateId();
      request.session.set('words', 'x'.repeat(MAX_STORED_SIZE));
      return text('');
    });
    await visitor.get('/');
    await assert.rejects(async () => visitor.get('/large'), SessionTooLarge);
    assert.equal((await visitor.get('/')).body, '2');
  });

  it('destroyAllFor() ends all sessions of one owner, but for one', async () => {
    const { browser, factory, store } = setUp();
    const visitors = [0, 1, 2].map(() => browser(pages()));
    for (const visitor of visitors) await visitor.get('/login');
    const other = browser(pages());
    await other.get('/');
    const [first, second] = visitors.map(idOf);
    assert.equal(store.keysOf('ada').length, 3);
    await factory.destroyAllFor('ada', first);
    assert.deepEqual(store.keysOf('ada'), [keyOf(first ?? '')]);
    assert.equal(store.get(keyOf(second ?? '')), undefined);
    await factory.destroyAllFor('ada');
    assert.deepEqual(store.keysOf('ada'), []);
    assert.equal((await other.get('/')).body, '2', 'somebody else');
  });
});

describe('18-store: at the same moment', () => {
  /** Two visits that have both read before either writes. */
  async function race(
    one: (session: StoredSession<Data>) => void,
    two: (session: StoredSession<Data>) => void,
    start: Partial<Data> = {},
  ): Promise<Partial<Data>> {
    const { factory, browser } = setUp();
    const visitor = browser(({ session }) => (session.update(start), session.changed(), text('')));
    await visitor.get('/');
    const id = idOf(visitor);
    const headers = { cookie: `session=${id}` };
    const body = Buffer.of();
    const request = { method: 'GET', path: '/', search: '', headers, body, address: '' };
    const [a, b] = [await factory.open(request), await factory.open(request)];
    one(a);
    two(b);
    await factory.save(a, request, text(''));
    await factory.save(b, request, text(''));
    return ((await factory.read(id))?.data ?? {}) as Partial<Data>;
  }

  it('save() keeps changes of different keys', async () => {
    const data = await race(
      (session) => session.set('words', 'one'),
      (session) => session.set('user', 'ada'),
      { counter: 1 },
    );
    const story = 'one visit set words, the other user, and neither takes away the other';
    assert.deepEqual(data, { counter: 1, words: 'one', user: 'ada' }, story);
  });

  it('save() lets the later one win where both set one key', async () => {
    const data = await race(
      (session) => session.set('words', 'one'),
      (session) => session.set('words', 'two'),
    );
    assert.deepEqual(data, { words: 'two' });
  });

  it('save() does again what update() did: nothing is lost', async () => {
    const add = (word: string) => (session: StoredSession<Data>) =>
      session.update('list', (list = []) => [...list, word]);
    assert.deepEqual(await race(add('b'), add('c'), { list: ['a'] }), { list: ['a', 'b', 'c'] });
    const push = (word: string) => (session: StoredSession<Data>) =>
      session.update('list', (list = []) => (list.push(word), list)); // where it is
    assert.deepEqual(await race(push('b'), push('c'), { list: ['a'] }), { list: ['a', 'b', 'c'] });
    const twice = (session: StoredSession<Data>): void => {
      for (let i = 0; i < 2; i++) session.update('counter', (counter = 0) => counter + 1);
    };
    assert.deepEqual(await race(twice, twice, { counter: 1 }), { counter: 5 });
    const both = (session: StoredSession<Data>): void => (add('x')(session), twice(session));
    const start = { list: [], counter: 1 };
    assert.deepEqual(await race(both, both, start), { list: ['x', 'x'], counter: 5 }, 'each its own');
  });

  it('save() sets what was set, or changed in place, beside an update()', async () => {
    const up = (session: StoredSession<Data>): void =>
      session.update('counter', (counter = 0) => counter + 1);
    const reset = (session: StoredSession<Data>): void => {
      session.set('counter', 100);
      up(session);
    };
    assert.deepEqual(await race(up, reset, { counter: 1 }), { counter: 101 });
    const inPlace = (session: StoredSession<Data>): void => void session.get('list')?.push('c');
    const data = await race((session) => session.set('words', 'x'), inPlace, { list: ['a'] });
    assert.deepEqual(data, { words: 'x', list: ['a', 'c'] });
  });

  it('save() deletes what was deleted, and keeps what somebody else has put', async () => {
    const data = await race(
      (session) => session.set('user', 'ada'),
      (session) => session.delete('words'),
      { words: 'old', counter: 1 },
    );
    assert.deepEqual(data, { counter: 1, user: 'ada' });
  });

  it('save() counts 1,000 visits at the same moment as 1,000', async () => {
    const { browser } = setUp();
    const visitor = browser(countUp);
    await visitor.get('/');
    await Promise.all(Array.from({ length: 999 }, () => visitor.request('GET', '/')));
    assert.equal((await visitor.get('/')).body, '1001');
  });

  it('save() gives up after 100 tries with an error, and hangs for nobody', async (t) => {
    t.mock.method(console, 'error', () => {});
    const { store, browser } = setUp();
    const visitor = browser(countUp);
    await visitor.get('/');
    let tries = 0;
    store.put = () => ((tries += 1), false); // whoever asks, somebody else was first
    await assert.rejects(async () => visitor.get('/'), /Cannot save the session: of 100 tries/);
    assert.equal(tries, 100);
  });

  it('save() of the cart loses none of 200 additions at once', async () => {
    const browser = new Browser(site().handle, ORIGIN);
    await browser.get('/cart');
    const adds = Array.from({ length: 200 }, (_, i) => {
      const item = ['tea', 'honey', 'mug', 'pot'][i % 4];
      return browser.request('POST', '/cart/add', `item=${item}`, SAME);
    });
    for (const { status } of await Promise.all(adds)) assert.equal(status, 303);
    const body = String((await browser.get('/cart')).body);
    const quantities = [...body.matchAll(/(\d+) for €/g)].map(([, quantity]) => quantity);
    assert.deepEqual(quantities, ['50', '50', '50', '50']);
  });
});

describe('18-store: MemoryStore', () => {
  const entry = { text: '{}', owner: '', expires: NOW + 10 };

  it('put() compares the version: who comes too late is told so', () => {
    const store: SessionStore = new MemoryStore({ now: () => NOW });
    assert.equal(store.put('a', entry, 1), false, 'nothing is there to be version 1');
    assert.equal(store.put('a', entry, 0), true);
    assert.equal(store.put('a', entry, 0), false, 'it is there already');
    assert.equal(store.put('a', entry, 1), true);
    assert.equal(store.put('a', entry, 1), false);
  });

  it('get() copies out, and put() copies in', () => {
    const store = new MemoryStore({ now: () => NOW });
    const mine = { ...entry };
    store.put('a', mine, 0);
    mine.text = 'changed';
    const got = store.get('a');
    assert.equal(got?.text, '{}');
    if (got) got.text = 'changed';
    assert.equal(store.get('a')?.text, '{}');
  });

  it('get() forgets at its time, and the next put() sweeps', () => {
    const clock = { now: NOW };
    const store = new MemoryStore({ now: () => clock.now });
    for (const key of ['a', 'b']) store.put(key, { ...entry, owner: 'ada' }, 0);
    clock.now += 10;
    assert.equal(store.get('a'), undefined);
    assert.deepEqual(store.keysOf('ada'), []);
    store.put('c', { ...entry, owner: 'ada', expires: NOW + 20 }, 0);
    assert.deepEqual(store.keysOf('ada'), ['c']);
  });

  it('put() keeps maxEntries, and the least recently put goes', () => {
    const store = new MemoryStore({ maxEntries: 3, now: () => NOW });
    for (const key of ['a', 'b', 'c']) store.put(key, entry, 0);
    store.put('a', entry, 1);
    store.put('d', entry, 0);
    assert.deepEqual(['a', 'b', 'c', 'd'].filter((key) => store.get(key)), ['a', 'c', 'd']);
    store.delete('a'); // which stood between two others: c, a, d
    for (const key of ['e', 'f']) store.put(key, entry, 0);
    assert.deepEqual(['c', 'd', 'e', 'f'].filter((key) => store.get(key)), ['d', 'e', 'f']);
  });
});

describe('18-store: the memory of MemoryStore', () => {
  it('put() keeps maxSize characters, whatever is put over what', () => {
    const store = new MemoryStore({ maxSize: 100, now: () => NOW });
    const put = (key: string, length: number, version = 0): boolean =>
      store.put(key, { text: 'x'.repeat(length), owner: '', expires: NOW + 10 }, version);
    const keys = (): string => ['a', 'b', 'c'].filter((key) => store.get(key)).join('');
    for (const key of ['a', 'b']) put(key, 40);
    assert.equal(keys(), 'ab');
    put('a', 50, 1);
    assert.equal(keys(), 'ab', '90');
    put('c', 20);
    assert.equal(keys(), 'ac', '110 were too many, and b was the least recent');
    for (let version = 1; version < 20; version++) put('c', 20, version);
    store.delete('a');
    put('b', 80);
    assert.equal(keys(), 'bc', 'what is gone counts no more');
  });
});

describe('18-store: the rest', () => {
  it('save() refuses a session of more than 64 KiB, and a value that is no JSON', async () => {
    const { browser } = setUp();
    const around = JSON.stringify([NOW, NOW, { words: '' }, '']).length;
    const large = browser(({ session, path }) => {
      session.set('words', 'x'.repeat(MAX_STORED_SIZE - around + Number(path === '/more')));
      return text('');
    });
    assert.equal((await large.get('/')).status, 200, '64 KiB to the character');
    const message = 'Cannot keep the session: more than 65536 characters of JSON';
    await assert.rejects(async () => large.get('/more'), new SessionTooLarge(message));
    const dated = browser(({ session }) => {
      session.setDefault('list', []).push(new Date() as unknown as string);
      return text('');
    });
    await assert.rejects(async () => dated.get('/'), /a session keeps JSON values only/);
  });

  it('read() takes a stored session as deep as one can be written', async () => {
    const { factory, browser } = setUp();
    const deepest = JSON.parse('['.repeat(MAX_DEPTH - 1) + ']'.repeat(MAX_DEPTH - 1)) as string[];
    const visitor = browser(({ session }) => (session.set('list', deepest), text('')));
    await visitor.get('/');
    assert.deepEqual((await factory.read(idOf(visitor)))?.data, { list: deepest });
  });

  it('ownerOf() is the name that the login has put in, and nobody without one', () => {
    const owners = [{ user: 'ada' }, { user: 7 }, {}].map(ownerOf);
    assert.deepEqual(owners, ['ada', undefined, undefined]);
  });

  it('csrfToken() is made of the id: who reads the store does not know it', async () => {
    const { browser, store, factory } = setUp();
    const tokens: string[] = [];
    const visitor = browser(({ session, path }) => {
      if (path === '/renew') session.regenerateId();
      tokens.push(path === '/new' ? session.newCsrfToken() : session.csrfToken());
      return text('');
    });
    for (const path of ['/', '/', '/new', '/', '/renew']) await visitor.get(path);
    const [first, again, renewed, kept, other] = tokens;
    assert.match(String(first), /^[0-9a-f]{64}$/);
    assert.equal(again, first, 'the same at each asking');
    assert.equal(kept, renewed, 'and so is the one of newCsrfToken()');
    assert.equal(new Set([first, renewed, other]).size, 3);
    const entry = store.get(keyOf(idOf(visitor)));
    assert.match(String(entry?.text), /_csrft_/);
    for (const token of tokens) assert.ok(!entry?.text.includes(token));
    assert.ok(!entry?.text.includes(idOf(visitor)) && factory !== undefined);
  });

  it('StoredSessionFactory() refuses the options that step 11 refuses', () => {
    const make = (options: StoredSessionOptions) => () =>
      new StoredSessionFactory(new MemoryStore(), options);
    assert.throws(make({ idleTimeout: -1 }), RangeError);
    assert.throws(make({ idleTimeout: 10, reissueTime: 10 }), RangeError);
    assert.throws(make({ cookieName: 'a b' }), TypeError);
  });

  it('storedLens() shows the id, and what the store has under its hash', async () => {
    const { handle, factory } = site();
    const browser = new Browser(handle, ORIGIN);
    await browser.get('/');
    const { body } = await browser.get('/inspect');
    const id = browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000)?.slice(8) ?? '';
    assert.ok(String(body).includes(`In the store it is ${keyOf(id)}.`));
    assert.match(String(body), /Ours, and alive\.[^]*&quot;counter&quot;: 1/);
    assert.deepEqual(storedLens(factory).parts('x')[0]?.slice(0, 2), ['id', 'x']);
  });

  it('site() of step 18 logs in under a new id, and logs out for good', async () => {
    const users = new Map([['ada', await hashPassword('secret', 4)]]);
    const { handle, factory } = site(new MemoryStore(), users);
    const browser = new Browser(handle, ORIGIN);
    await browser.request('POST', '/cart/add', 'item=tea', SAME);
    const jar = (): string => browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000) ?? '';
    const before = jar();
    await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    const during = jar();
    assert.notEqual(before, during);
    assert.match(String((await browser.get('/dashboard')).body), /cart<\/a>: 1\./);
    assert.equal((await factory.store.keysOf('ada')).length, 1);
    await browser.request('POST', '/logout', '', SAME);
    for (const cookie of [before, during]) {
      const { status } = await new Browser(handle).request('GET', '/dashboard', '', { cookie });
      assert.equal(status, 303, 'no copy of a cookie is worth anything now');
    }
  });

  it('StoredSession is what a page is given, typed as any other', async () => {
    const { factory } = setUp();
    const router = new Router().get('/', withSession(factory, ({ session }) => {
      // @ts-expect-error a misspelt key
      session.get('conter');
      assert.ok(session instanceof StoredSession);
      return seeOther('/');
    }));
    assert.equal((await new Browser(router.handle).request('GET', '/')).status, 303);
  });
});
