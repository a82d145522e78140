import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { cookieOf, logIn, makeUsers, send, visitWith } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import { makeGate, SpyStore } from '../.tools/stored.ts';
import type { HttpResponse } from '../src/04-http.ts';
import { SessionCookie } from '../src/11-timeouts.ts';
import { Browser } from '../src/16-browser.ts';
import { type SiteData, UserSession } from '../src/22-login.ts';
import { hashId, MemoryStore, StoreUnavailable } from '../src/25-store.ts';
import { makeDeviceSite, DeviceSessionFactory, endSessions, keysOf } from '../src/28-devices.ts';
import { MAX_DEVICES, site } from '../src/28-devices.ts';

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
    keyOf: (browser: Browser): string =>
      hashId(cookieOf(browser, clock.now).slice('session='.length)),
  };
}

/** A factory, and `save`, which saves a new session of a user and returns its id. */
function makeFactory(cookie = new SessionCookie()) {
  const store = new SpyStore(new MemoryStore({ now: () => NOW }));
  const sessionClass = UserSession<SiteData>;
  const factory = new DeviceSessionFactory(store, { sessionClass, cookie, now: () => NOW });
  const save = async (user = 'ada'): Promise<string> =>
    (await factory.save(factory.create().set('user', user))) ?? '';
  return { store, factory, save };
}

/** Returns the items of the list, without their forms. Each white space becomes one space. */
function itemsOf(response: HttpResponse): string[] {
  const items = bodyText(response).matchAll(/<li>([^]*?)(?:<form[^]*?)?<\/li>/g);
  return [...items].map(([, item = '']) => item.trim().replace(/\s+/g, ' '));
}

const begin = 'Tue, 14 Nov 2023 22:13:20 GMT';
const later = 'Tue, 14 Nov 2023 22:14:20 GMT';

describe('28-devices: the list and the factory', () => {
  it('keysOf() returns the keys in the list of a user, or no key without a list', async () => {
    const store = new MemoryStore({ now: () => NOW });
    assert.deepEqual(await keysOf(store, 'ada'), [], 'ada has no list');
    const keys = [hashId('one'), hashId('two')];
    store.put(hashId('devices of ada'), { text: keys.join(' '), expires: Infinity }, 0);
    assert.deepEqual(await keysOf(store, 'ada'), keys, 'in the order of the list');
    assert.deepEqual(await keysOf(store, 'bob'), [], 'this is the list of ada');
  });

  it('DeviceSessionFactory.writeNew() adds a new session of a user to the list', async () => {
    const { store, save } = makeFactory();
    const ids = [await save(), await save()];
    assert.deepEqual(await keysOf(store, 'ada'), ids.map(hashId), 'the list has keys, and no ids');
    for (const id of ids) assert.ok(await store.get(hashId(id)), 'the session is in the store');
  });

  it('DeviceSessionFactory.writeNew() needs no list for a visitor without a login', async () => {
    const { store, factory } = makeFactory();
    const id = await factory.save(factory.create().set('counter', 1));
    const keys = [...new Set(store.calls.map(({ key }) => key))];
    assert.deepEqual(keys, [hashId(id ?? '')], 'the keys that save() uses in the store');
  });

  it('DeviceSessionFactory.writeNew() stores the session before the list', async () => {
    const { store, save } = makeFactory();
    await save();
    const [first] = store.calls.filter(({ method }) => method === 'put');
    assert.ok(first?.key !== hashId('devices of ada'), 'the list has a key without a session');
  });

  it('DeviceSessionFactory.writeNew() adds a key only once', async () => {
    class DirectFactory extends DeviceSessionFactory {
      writeDirectly(session: UserSession<SiteData>, key: string): Promise<void> {
        return this.writeNew(session, key);
      }
    }
    const store = new MemoryStore({ now: () => NOW });
    const options = { sessionClass: UserSession<SiteData>, now: () => NOW };
    const factory = new DirectFactory(store, options);
    const session = factory.create().set('user', 'ada');
    const keys = [hashId('phone'), hashId('desk')];
    for (const key of [...keys, ...keys]) await factory.writeDirectly(session, key);
    const list = await keysOf(store, 'ada');
    assert.deepEqual(list, keys, 'a login with a conflict calls writeNew() twice with one key');
  });

  it('DeviceSessionFactory.writeNew() lists a user whose name is an empty string', async () => {
    const { store, save } = makeFactory();
    const key = hashId(await save(''));
    assert.deepEqual(await keysOf(store, ''), [key], "the list of the user ''");
  });

  it('DeviceSessionFactory.open() returns a session that the list contains', async () => {
    const { factory, save } = makeFactory();
    const ids = [await save(), await save()];
    for (const id of ids) {
      assert.equal((await factory.open(id))?.get('user'), 'ada', 'a listed session opens');
    }
  });

  it('DeviceSessionFactory.open() rejects the sessions of a user whose list is lost', async () => {
    const { store, factory, save } = makeFactory();
    for (const user of ['ada', '']) {
      const [phone, desk, bob] = [await save(user), await save(user), await save('bob')];
      const openAll = async () => {
        const sessions = await Promise.all([phone, desk, bob].map((id) => factory.open(id)));
        return sessions.map((session) => session !== undefined);
      };
      await store.delete(hashId(`devices of ${user}`)); // for example, a full store evicts it
      assert.deepEqual(await openAll(), [false, false, true], `the list of '${user}' is lost`);
      await save(user);
      assert.deepEqual(await openAll(), [false, false, true], `'${user}' has logged in again`);
    }
  });

  it('DeviceSessionFactory.open() needs no list for a visitor without a login', async () => {
    const { store, factory } = makeFactory();
    const id = (await factory.save(factory.create().set('counter', 1))) ?? '';
    store.calls.length = 0;
    assert.equal((await factory.open(id))?.get('counter'), 1, 'the session of the visitor');
    const keys = store.calls.map(({ key }) => key);
    assert.deepEqual(keys, [hashId(id)], 'the keys that open() reads in the store');
  });

  it('endSessions() ends the chosen sessions, and no other', async () => {
    const { store, factory, save } = makeFactory();
    const [phone, desk, bob] = [await save(), await save(), await save('bob')];
    await endSessions(store, 'ada', (key) => key === hashId(phone));
    assert.deepEqual(await keysOf(store, 'ada'), [hashId(desk)], 'the key of the phone is gone');
    assert.equal(await store.get(hashId(phone)), undefined, 'the entry of the phone is gone');
    assert.equal(await factory.open(phone), undefined, 'the session of the phone');
    assert.equal((await factory.open(desk))?.get('user'), 'ada', 'the desk was not chosen');
    await endSessions(store, 'ada', () => true);
    assert.equal(await factory.open(desk), undefined, 'all sessions of ada were chosen');
    assert.equal((await factory.open(bob))?.get('user'), 'bob', 'bob is another user');
  });

  it('endSessions() keeps a session that logs in between two reads of the list', async () => {
    const { store, factory, save } = makeFactory();
    const phone = await save();
    const ids: string[] = [];
    let count = 0;
    store.before = async ({ method, key }) => {
      if (method !== 'get' || key !== hashId('devices of ada') || ++count !== 2) return;
      ids.push(await save()); // a browser logs in before the second read
    };
    await endSessions(store, 'ada', () => true);
    assert.equal(await factory.open(phone), undefined, 'the phone was in the list at the first read');
    const [late] = ids;
    if (late) assert.deepEqual(await keysOf(store, 'ada'), [hashId(late)], 'isChosen has not seen it');
  });

  it('DeviceSessionFactory.save() lists a session once if each save sends a cookie', async () => {
    const { store, factory, save } = makeFactory(new SessionCookie({ maxAge: 60 }));
    const [phone, desk] = [await save(), await save()];
    for (let i = 0; i < MAX_DEVICES; i++) {
      const session = await factory.open(desk);
      assert.ok(session, `the session must still open after ${i} saves`);
      assert.equal(await factory.save(session.set('counter', i)), desk, 'the cookie is renewed');
    }
    assert.deepEqual(await keysOf(store, 'ada'), [phone, desk].map(hashId));
    assert.ok(await factory.open(phone), 'the saves at the desk must not push out the phone');
  });

  it('makeDeviceSite() keeps its sessions in the store', async () => {
    const { store, handle } = await setUp();
    await new Browser(handle, ORIGIN).get('/');
    assert.equal(store.count('put'), 1, 'the session of one visitor');
  });

  it('makeDeviceSite() adds a link to the list to each page', async () => {
    const { handle } = await setUp();
    const browser = new Browser(handle, ORIGIN);
    for (const path of ['/', '/cart', '/login']) {
      assert.match(bodyText(await browser.get(path)), /<a href="\/sessions">Sessions<\/a>/, path);
    }
  });
});

describe('28-devices: the page', () => {
  it('addDevices() lists the sessions of a user, and marks the session of this browser', async () => {
    const { visit, clock } = await setUp();
    const phone = await visit('ada', 'Phone');
    await visit('ada', 'Desk');
    await visit('bob', 'Other');
    clock.now += 60;
    await phone.get('/'); // it counts the visit, so it saves the session
    assert.deepEqual(itemsOf(await phone.get('/sessions')), [
      `<strong>Phone</strong> Since ${begin}, last saved ${later} This browser.`,
      `<strong>Desk</strong> Since ${begin}, last saved ${begin}`,
    ], 'two sessions of ada, the oldest first; open() notes in openKeys which one is own');
  });

  it('addDevices() shows neither an id nor the markup in the name of a browser', async () => {
    const { visit } = await setUp();
    const phone = await visit('ada', '<b>Phone</b>');
    const desk = await visit('ada', '');
    const page = bodyText(await desk.get('/sessions'));
    assert.match(page, /<strong>&lt;b&gt;Phone&lt;\/b&gt;<\/strong>/, 'the name must be escaped');
    assert.match(page, /<strong>Unknown browser<\/strong>/, 'the desk sends an empty name');
    for (const browser of [phone, desk]) {
      const id = cookieOf(browser, NOW).slice('session='.length);
      assert.ok(!page.includes(id), 'a reader of this page must not be able to log in with it');
    }
  });

  it('addDevices() lists no session that has ended or expired', async () => {
    const { visit, clock } = await setUp();
    const phone = await visit('ada', 'Phone');
    await send(phone, '/logout');
    await visit('ada', 'Library');
    clock.now += 1201; // the idle timeout
    const desk = await visit('ada', 'Desk');
    const items = itemsOf(await desk.get('/sessions'));
    const names = items.map((item) => /<strong>(.*)<\/strong>/.exec(item)?.[1]);
    assert.deepEqual(names, ['Desk'], 'the phone is logged out, and the library has expired');
  });

  it('addDevices() sends a visitor to the login, and rejects a form of another site', async () => {
    const { visit, handle, isIn } = await setUp();
    const visitor = new Browser(handle, ORIGIN, () => NOW);
    const { status, headers } = await visitor.request('GET', '/sessions');
    const toLogin = [303, '/login?next=%2Fsessions'];
    assert.deepEqual([status, headers.location], toLogin, 'a visitor must log in first');
    const [ada, other] = [await visit('ada'), await visit('ada')];
    const crossSite = { 'sec-fetch-site': 'cross-site' };
    for (const path of ['/sessions/end', '/sessions/end-others']) {
      assert.equal((await send(visitor, path)).headers.location, '/login?next=%2Fdashboard');
      assert.equal((await send(ada, path, {}, crossSite)).status, 403, 'a form of another site');
    }
    assert.equal(await isIn(other), true, 'the forged form must end no session');
  });
});

describe('28-devices: the end of a session', () => {
  it('addDevices() ends all other sessions of a user', async () => {
    const { visit, isIn } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    const [library, bob] = [await visit('ada', 'Library'), await visit('bob')];
    const response = await send(desk, '/sessions/end-others');
    assert.deepEqual([response.status, response.headers.location], [303, '/sessions']);
    const browsers = [phone, desk, library, bob];
    const states = await Promise.all(browsers.map(isIn));
    const message = 'the desk and bob stay logged in: openKeys has the key of the desk';
    assert.deepEqual(states, [false, true, false, true], message);
  });

  it('addDevices() ends one session, and a copy of its cookie fails immediately', async () => {
    const { visit, isIn, keyOf, handle } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    const copy = cookieOf(phone, NOW);
    const response = await send(desk, '/sessions/end', { key: keyOf(phone) });
    assert.deepEqual([response.status, response.headers.location], [303, '/sessions']);
    assert.deepEqual([await isIn(phone), await isIn(desk)], [false, true], 'only the phone ends');
    assert.equal(await visitWith(handle, copy, '/dashboard'), 303, 'the copied cookie is invalid');
    assert.equal(itemsOf(await desk.get('/sessions')).length, 1);
  });

  it('addDevices() never ends a session of another user', async () => {
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
});

describe('28-devices: the list decides', () => {
  it('makeDeviceSite() shows each valid session after a list was lost', async () => {
    const { visit, isIn, store } = await setUp();
    const [phone, desk, bob] = [await visit('ada'), await visit('ada'), await visit('bob')];
    await store.delete(hashId('devices of ada'));
    const states = await Promise.all([phone, desk, bob].map(isIn));
    assert.deepEqual(states, [false, false, true], 'without a list, no session of ada is valid');
    const again = await visit('ada', 'Again');
    assert.equal(itemsOf(await again.get('/sessions')).length, 1, 'no session is invisible');
    assert.deepEqual([await isIn(phone), await isIn(desk)], [false, false]);
  });

  it('DeviceSessionFactory.writeNew() keeps the newest sessions if a user has too many', async () => {
    const { store, save } = makeFactory();
    const ids: string[] = [];
    for (let i = 0; i < MAX_DEVICES + 1; i++) ids.push(await save());
    const keys = ids.slice(1).map(hashId);
    assert.deepEqual(await keysOf(store, 'ada'), keys, 'the list has no key of the oldest session');
  });

  it('DeviceSessionFactory.open() ends the oldest session if a user has too many', async () => {
    const { factory, save } = makeFactory();
    const ids: string[] = [];
    for (let i = 0; i < MAX_DEVICES + 1; i++) ids.push(await save());
    const [oldest = '', second = '', newest = ''] = [ids[0], ids[1], ids.at(-1)];
    const sessions = await Promise.all([oldest, second, newest].map((id) => factory.open(id)));
    const states = sessions.map((session) => session !== undefined);
    assert.deepEqual(states, [false, true, true], 'only the oldest one ends');
  });

  it('DeviceSessionFactory.writeNew() loses no session if 20 browsers log in in parallel', async () => {
    const { store, save } = makeFactory();
    const ids = await Promise.all(Array.from({ length: 20 }, () => save()));
    const listed = (await keysOf(store, 'ada')).toSorted();
    assert.deepEqual(listed, ids.map(hashId).toSorted(), 'each login must be in the list');
    const entries = await Promise.all(ids.map((id) => store.get(hashId(id))));
    assert.ok(entries.every((entry) => entry?.text.includes('"user":"ada"')), 'each one is stored');
  });

  it('endSessions() changes the list first, so an error of the store keeps no session', async () => {
    const { store, factory, save } = makeFactory();
    const [phone, desk] = [await save(), await save()];
    store.before = ({ method }) => {
      if (method === 'delete') throw new StoreUnavailable('no connection');
    };
    const end = () => endSessions(store, 'ada', (key) => key === hashId(phone));
    await assert.rejects(end, StoreUnavailable, 'the caller must learn that `delete` has failed');
    assert.equal(await factory.open(phone), undefined, 'the list must change before `delete` fails');
    assert.ok(await factory.open(desk), 'the desk was not chosen');
  });

  it('makeDeviceSite() responds with 503 if the store cannot end a session', async (t) => {
    const { visit, keyOf, store } = await setUp();
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    t.mock.method(console, 'error', () => {});
    store.before = ({ method }) => {
      if (method === 'delete') throw new StoreUnavailable('no connection');
    };
    const { status } = await send(desk, '/sessions/end', { key: keyOf(phone) });
    assert.equal(status, 503, 'rescueStore of step 27 responds to StoreUnavailable');
  });

  it('makeDeviceSite() stops a request that has opened an ended session before', async () => {
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

  it('site() of step 28 asks a visitor without a login to log in', async () => {
    const { status, headers } = await new Browser(site(), ORIGIN).request('GET', '/sessions');
    assert.deepEqual([status, headers.location], [303, '/login?next=%2Fsessions']);
  });
});
