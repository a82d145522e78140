import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { cookieOf, logIn, makeUsers, send, visitWith } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import { makeGate, SpyStore } from '../.tools/stored.ts';
import type { HttpResponse } from '../src/04-http.ts';
import { Browser } from '../src/16-browser.ts';
import { type SiteData, UserSession } from '../src/22-login.ts';
import { hashId, MemoryStore, StoreUnavailable } from '../src/25-store.ts';
import { makeDeviceSite, DeviceSessionFactory, endSessions, keysOf } from '../src/28-devices.ts';
import { MAX_DEVICES } from '../src/28-devices.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // 2023-11-14T22:13:20Z
const ORIGIN = 'http://localhost:6543';

/** A site with the users ada and bob, a clock, and a store that records its calls. No inspector. */
async function setUp() {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const store = new SpyStore(new MemoryStore({ now }));
  const users = await makeUsers('ada', 'bob');
  const { handle } = makeDeviceSite(store, { users, now, explain: undefined });
  return {
    clock, store, users, handle,
    visit: (name: string, agent?: string): Promise<Browser> => logIn(handle, name, agent, now),
    /** Returns whether the browser is still logged in. */
    isIn: async (browser: Browser): Promise<boolean> =>
      (await browser.request('GET', '/dashboard')).status === 200,
    keyOf: (browser: Browser): string => hashId(cookieOf(browser, clock.now).slice('session='.length)),
  };
}

/** A factory, and `save`, which saves a new session of ada and returns its id. */
function makeFactory() {
  const store = new SpyStore(new MemoryStore({ now: () => NOW }));
  const sessionClass = UserSession<SiteData>;
  const factory = new DeviceSessionFactory(store, { sessionClass, now: () => NOW });
  const save = async (): Promise<string> =>
    (await factory.save(factory.create().set('user', 'ada'))) ?? '';
  return { store, factory, save };
}

/** Returns the items of the list, without their forms. */
function itemsOf(response: HttpResponse): string[] {
  const items = bodyText(response).matchAll(/<li>([^]*?)(?:<form[^]*?)?<\/li>/g);
  return [...items].map(([, item = '']) => item.trim());
}

const begin = 'Tue, 14 Nov 2023 22:13:20 GMT';
const later = 'Tue, 14 Nov 2023 22:14:20 GMT';

describe('28-devices: the list', () => {
  it('addDevices() lists the sessions of a user, and marks the session of this browser', async () => {
    const { visit, clock } = await setUp();
    const phone = await visit('ada', 'Phone');
    await visit('ada', 'Desk');
    await visit('bob', 'Other');
    clock.now += 60;
    await phone.get('/');
    assert.deepEqual(itemsOf(await phone.get('/sessions')), [
      `<strong>Phone</strong>\nSince ${begin}, last seen ${later}\nThis browser.`,
      `<strong>Desk</strong>\nSince ${begin}, last seen ${begin}`,
    ]);
  });

  it('addDevices() shows neither an id nor the markup in the name of a browser', async () => {
    const { visit } = await setUp();
    const phone = await visit('ada', '<b>Phone</b>');
    const desk = await visit('ada', '');
    const page = bodyText(await desk.get('/sessions'));
    assert.match(page, /<strong>&lt;b&gt;Phone&lt;\/b&gt;<\/strong>/);
    assert.match(page, /<strong>Unknown browser<\/strong>/);
    for (const browser of [phone, desk]) {
      const id = cookieOf(browser, NOW).slice('session='.length);
      assert.ok(!page.includes(id), 'who reads this page must not be able to log in with it');
    }
  });

  it('addDevices() lists no session that has ended or expired', async () => {
    const { visit, clock } = await setUp();
    const phone = await visit('ada', 'Phone');
    await send(phone, '/logout');
    await visit('ada', 'Library');
    clock.now += 1201; // the idle timeout
    const desk = await visit('ada', 'Desk');
    assert.deepEqual(itemsOf(await desk.get('/sessions')).map((item) => item.slice(8, 12)), ['Desk']);
  });

  it('addDevices() sends a visitor to the login, and rejects a form of another site', async () => {
    const { visit, handle, isIn } = await setUp();
    const visitor = new Browser(handle, ORIGIN, () => NOW);
    const { status, headers } = await visitor.request('GET', '/sessions');
    assert.deepEqual([status, headers.location], [303, '/login?next=%2Fsessions']);
    const [ada, other] = [await visit('ada'), await visit('ada')];
    const crossSite = { 'sec-fetch-site': 'cross-site' };
    for (const path of ['/sessions/end', '/sessions/end-others']) {
      assert.equal((await send(visitor, path)).headers.location, '/login?next=%2Fdashboard');
      assert.equal((await send(ada, path, {}, crossSite)).status, 403);
    }
    assert.equal(await isIn(other), true);
  });
});

describe('28-devices: the end of a session', () => {
  it('endSessions() ends one session, and a copy of its cookie fails immediately', async () => {
    const { visit, isIn, keyOf, handle } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    const copy = cookieOf(phone, NOW);
    const response = await send(desk, '/sessions/end', { key: keyOf(phone) });
    assert.deepEqual([response.status, response.headers.location], [303, '/sessions']);
    assert.deepEqual([await isIn(phone), await isIn(desk)], [false, true]);
    assert.equal(await visitWith(handle, copy, '/dashboard'), 303);
    assert.equal(itemsOf(await desk.get('/sessions')).length, 1);
  });

  it('endSessions() ends all other sessions of a user', async () => {
    const { visit, isIn } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    const [library, bob] = [await visit('ada', 'Library'), await visit('bob')];
    const response = await send(desk, '/sessions/end-others');
    assert.deepEqual([response.status, response.headers.location], [303, '/sessions']);
    const browsers = [phone, desk, library, bob];
    assert.deepEqual(await Promise.all(browsers.map(isIn)), [false, true, false, true]);
  });

  it('endSessions() never ends a session of another user', async () => {
    const { visit, isIn, keyOf, store } = await setUp();
    const [ada, bob] = [await visit('ada'), await visit('bob')];
    const keys = [keyOf(bob), hashId('devices of bob'), '', '__proto__', '%00', 'x'.repeat(5000)];
    for (const key of keys) {
      assert.equal((await send(ada, '/sessions/end', { key })).status, 303, key);
    }
    assert.equal((await send(ada, '/sessions/end')).status, 303, 'without a key');
    assert.equal(await isIn(bob), true, 'ada has sent the key of the session of bob');
    await endSessions(store, 'ada', () => true);
    assert.deepEqual([await isIn(ada), await isIn(bob)], [false, true]);
  });

  it('endSessions() changes the list first, so an error of the store cannot keep a session', async (t) => {
    const { visit, isIn, keyOf, store } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    t.mock.method(console, 'error', () => {});
    store.before = ({ method }) => {
      if (method === 'delete') throw new StoreUnavailable('no connection');
    };
    assert.equal((await send(desk, '/sessions/end', { key: keyOf(phone) })).status, 503);
    assert.deepEqual([await isIn(phone), await isIn(desk)], [false, true]);
  });

  it('endSessions() stops a request that has opened the session before', async () => {
    const { visit, isIn, keyOf, store } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    const key = keyOf(phone);
    const gate = makeGate();
    store.before = (call) => (call.method === 'put' && call.key === key ? gate.passed : undefined);
    const slow = phone.request('GET', '/'); // it counts, and then it waits for the store
    await send(desk, '/sessions/end', { key });
    gate.open();
    const { status, headers } = await slow;
    assert.deepEqual([status, headers.location, headers['set-cookie']], [303, '/', undefined]);
    assert.deepEqual([await isIn(phone), await isIn(desk)], [false, true]);
    assert.equal(await store.get(key), undefined, 'the late request must not store it again');
  });
});

describe('28-devices: the list decides', () => {
  it('DeviceSessionFactory.open() rejects the sessions of a user whose list is lost', async () => {
    const { visit, isIn, store } = await setUp();
    const [phone, desk, bob] = [await visit('ada'), await visit('ada'), await visit('bob')];
    await store.delete(hashId('devices of ada')); // for example, a full store evicts it
    assert.deepEqual(await Promise.all([phone, desk, bob].map(isIn)), [false, false, true]);
    const again = await visit('ada', 'Again');
    assert.equal(itemsOf(await again.get('/sessions')).length, 1, 'no session is invisible');
    assert.deepEqual([await isIn(phone), await isIn(desk)], [false, false]);
  });

  it('DeviceSessionFactory.open() needs no list for a visitor without a login', async () => {
    const { handle, store } = await setUp();
    const visitor = new Browser(handle, ORIGIN, () => NOW);
    await visitor.get('/');
    assert.match(bodyText(await visitor.get('/')), /Count: 2/);
    assert.deepEqual(new Set(store.calls.map(({ key }) => key)).size, 1, 'only the session');
  });

  it('DeviceSessionFactory.save() ends the oldest session if a user has too many', async () => {
    const { visit, isIn, store } = await setUp();
    const browsers: Browser[] = [];
    for (let i = 0; i < MAX_DEVICES + 1; i++) browsers.push(await visit('ada', `Browser ${i}`));
    assert.equal((await keysOf(store, 'ada')).length, MAX_DEVICES);
    const [oldest, second, newest] = [browsers[0], browsers[1], browsers.at(-1)] as Browser[];
    const states = [oldest, second, newest].map((browser) => isIn(browser as Browser));
    assert.deepEqual(await Promise.all(states), [false, true, true]);
  });

  it('DeviceSessionFactory.save() does not count a session that has ended', async () => {
    const { visit, isIn, store } = await setUp();
    const desk = await visit('ada', 'Desk');
    for (let i = 0; i < MAX_DEVICES + 1; i++) await send(await visit('ada', 'Phone'), '/logout');
    assert.equal(await isIn(desk), true, 'after 51 logins and logouts on the phone');
    assert.ok((await keysOf(store, 'ada')).length <= 2);
  });

  it('DeviceSessionFactory.save() loses no session if 20 browsers log in in parallel', async () => {
    const { store, factory, save } = makeFactory();
    const ids = await Promise.all(Array.from({ length: 20 }, save));
    assert.equal((await keysOf(store, 'ada')).length, 20);
    const sessions = await Promise.all(ids.map((id) => factory.open(id)));
    assert.ok(sessions.every((session) => session?.get('user') === 'ada'));
  });

  it('endSessions() ends 10 of 20 sessions in parallel, and no other session', async () => {
    const { store, factory, save } = makeFactory();
    const ids = await Promise.all(Array.from({ length: 20 }, save));
    const isEnded = ids.map((_id, i) => i % 2 === 0);
    const ended = ids.filter((_id, i) => isEnded[i]).map(hashId);
    await Promise.all(ended.map((key) => endSessions(store, 'ada', (other) => other === key)));
    const sessions = await Promise.all(ids.map((id) => factory.open(id)));
    assert.deepEqual(sessions.map((session) => session === undefined), isEnded);
    assert.equal((await keysOf(store, 'ada')).length, 10);
  });

  it('addDevices() ends nothing for a user who was removed, and lets no session in', async () => {
    const { visit, isIn, users } = await setUp();
    const [phone, bob] = [await visit('ada'), await visit('bob')];
    users.delete('ada');
    assert.equal((await phone.request('GET', '/sessions')).headers.location, '/login?next=%2Fsessions');
    assert.equal((await send(phone, '/sessions/end-others')).status, 303);
    assert.deepEqual([await isIn(phone), await isIn(bob)], [false, true]);
  });
});
