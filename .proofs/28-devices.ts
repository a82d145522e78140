// Further proofs for step 28: users with odd names, the list as an entry, races, new passwords.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { cookieOf, logIn, makeUsers, send, visitWith } from '../.tools/login.ts';
import { skipSlow } from '../.tools/quick.ts';
import { bodyText } from '../.tools/request.ts';
import { makeFile, sqlite } from '../.tools/sqlite.ts';
import { SpyStore } from '../.tools/stored.ts';
import { type Handler, problem } from '../src/04-http.ts';
import { seeOther, withForm } from '../src/12-forms.ts';
import { Browser } from '../src/16-browser.ts';
import { authenticator, hashPassword, withRetryLater } from '../src/21-password.ts';
import { type SiteData, UserSession, withLogin } from '../src/22-login.ts';
import { throttled } from '../src/23-throttle.ts';
import { hashId, MemoryStore, type SessionStore, StoreUnavailable } from '../src/25-store.ts';
import { SqliteStore } from '../src/27-sqlite.ts';
import { makeDeviceSite, DeviceSessionFactory, endSessions, keysOf } from '../src/28-devices.ts';
import { MAX_DEVICES } from '../src/28-devices.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const ORIGIN = 'http://localhost:6543';
const now = (): number => NOW;

/** A site without the inspector, over a store that records its calls. */
async function setUp(...names: string[]) {
  const store = new SpyStore(new MemoryStore({ now }));
  const users = await makeUsers(...names);
  const options = { users, now, explain: undefined };
  const { handle } = makeDeviceSite(store, options);
  const visit = (name: string, agent?: string): Promise<Browser> => logIn(handle, name, agent, now);
  return { store, users, handle, visit };
}

/** Returns whether the browser is still logged in. */
async function isIn(browser: Browser): Promise<boolean> {
  return (await browser.request('GET', '/dashboard')).status === 200;
}

/** A factory without a site, whose users need no password. */
function makeFactory() {
  const store = new SpyStore(new MemoryStore({ now }));
  const sessionClass = UserSession<SiteData>;
  return { store, factory: new DeviceSessionFactory(store, { sessionClass, now }) };
}

describe('28-devices: more about the list', () => {
  it('DeviceSessionFactory.writeNew() keeps a list for each user, whatever the name is', async () => {
    const { store, factory } = makeFactory();
    const names = ['ada', 'Ada', 'ada ', '', '__proto__', 'devices of ada', "x' OR 'a'='a", 'é😀'];
    const expected = new Map<string, string[]>();
    for (let i = 0; i < 3; i++) {
      for (const user of names) {
        const id = (await factory.save(factory.create().set('user', user))) ?? '';
        expected.set(user, [...(expected.get(user) ?? []), hashId(id)]);
      }
    }
    for (const user of names) {
      assert.deepEqual(await keysOf(store, user), expected.get(user), `the list of the user '${user}'`);
    }
    assert.deepEqual(await keysOf(store, 'eve'), [], 'eve has no list');
  });

  it('keysOf() reads an ordinary entry, which no cookie can open', async () => {
    const { store, handle, visit } = await setUp('ada');
    await visit('ada');
    const list = await store.get(hashId('devices of ada'));
    assert.equal(list?.expires, Infinity);
    assert.deepEqual(list?.text, (await keysOf(store, 'ada')).join(' '));
    for (const id of ['devices of ada', 'devices%20of%20ada', hashId('devices of ada')]) {
      const visitor = new Browser(handle, ORIGIN, now);
      const { status } = await visitor.request('GET', '/sessions', '', { cookie: `session=${id}` });
      assert.equal(status, 303, `the cookie ${id}`);
    }
  });

  it('DeviceSessionFactory.open() ends the sessions of a damaged list, until the next login', async () => {
    for (const text of ['', 'null', '{}', '[1,', '"', ' ', '\0', `["${'A'.repeat(43)}"]`]) {
      const { store, visit } = await setUp('ada');
      const phone = await visit('ada', 'Phone');
      const version = (await store.get(hashId('devices of ada')))?.version ?? 0;
      await store.put(hashId('devices of ada'), { text, expires: Infinity }, version);
      assert.equal(await isIn(phone), false, `the list is ${JSON.stringify(text)}`);
      const desk = await visit('ada', 'Desk');
      assert.equal(await isIn(desk), true, `a login after ${JSON.stringify(text)}`);
      assert.equal((await keysOf(store, 'ada')).length, 1, 'the list has the new session only');
    }
  });

  it('addDevices() stores at most 200 characters of the name of a browser', async () => {
    const { visit } = await setUp('ada');
    const browser = await visit('ada', 'x'.repeat(500));
    const name = /<strong>(x+)<\/strong>/.exec(bodyText(await browser.get('/sessions')))?.[1];
    assert.equal(name?.length, 200);
  });

  it('addDevices() shows the browser that used a session last', async () => {
    const { visit } = await setUp('ada');
    const browser = await visit('ada', 'Phone');
    await browser.request('GET', '/', '', { 'user-agent': 'Thief' });
    assert.match(bodyText(await browser.get('/sessions')), /<strong>Thief<\/strong>/);
  });

  it('addDevices() passes over an entry that is damaged', async () => {
    const { visit, store } = await setUp('ada');
    const [phone, desk] = [await visit('ada', 'Phone'), await visit('ada', 'Desk')];
    const key = hashId(cookieOf(phone, NOW).slice('session='.length));
    const version = (await store.get(key))?.version ?? 0;
    await store.put(key, { text: '[1,', expires: Infinity }, version);
    const response = await desk.get('/sessions');
    assert.equal(response.status, 200);
    assert.doesNotMatch(bodyText(response), /Phone/);
  });

  it('addDevices() lets a user end the other sessions again and again', async () => {
    const { visit } = await setUp('ada');
    const browser = await visit('ada');
    for (let i = 0; i < 3; i++) assert.equal((await send(browser, '/sessions/end-others')).status, 303);
    assert.match(bodyText(await browser.get('/sessions')), /This browser\./);
  });

  it('addDevices() ends nothing for a user who was removed, and lets no session in', async () => {
    const { visit, users } = await setUp('ada', 'bob');
    const [phone, bob] = [await visit('ada'), await visit('bob')];
    users.delete('ada');
    const { headers } = await phone.request('GET', '/sessions');
    assert.equal(headers.location, '/login?next=%2Fsessions');
    assert.equal((await send(phone, '/sessions/end-others')).status, 303);
    assert.deepEqual([await isIn(phone), await isIn(bob)], [false, true]);
  });
});

describe('28-devices: more about the factory', () => {
  it('DeviceSessionFactory.writeNew() changes the list only at a login', async () => {
    const { visit, store } = await setUp('ada');
    const browser = await visit('ada');
    const listPuts = (): number =>
      store.calls.filter((call) => call.method === 'put' && call.key === hashId('devices of ada')).length;
    assert.equal(listPuts(), 1);
    for (let i = 0; i < 5; i++) await browser.get('/');
    assert.equal(listPuts(), 1, 'five visits');
  });

  it('DeviceSessionFactory.writeNew() does not count a session that has ended', async () => {
    const { visit, store } = await setUp('ada');
    const desk = await visit('ada', 'Desk');
    for (let i = 0; i < MAX_DEVICES + 1; i++) await send(await visit('ada', 'Phone'), '/logout');
    assert.equal(await isIn(desk), true, 'after 51 logins and logouts on the phone');
    assert.ok((await keysOf(store, 'ada')).length <= 2);
  });

  it('DeviceSessionFactory.writeNew() accepts two logins in parallel from one browser', async () => {
    const { handle, store } = await setUp('ada');
    const browser = new Browser(handle, ORIGIN, now);
    await browser.get('/');
    const fields = { username: 'ada', password: 'ada' };
    const cookie = cookieOf(browser, NOW);
    const responses = await Promise.all([0, 1].map(() => send(browser, '/login', fields, { cookie })));
    for (const { status, headers } of responses) {
      assert.deepEqual([status, headers.location], [303, '/dashboard']);
    }
    assert.match(bodyText(await browser.get('/dashboard')), /Hello, ada/);
    assert.ok((await keysOf(store, 'ada')).length >= 1);
  });

  it('DeviceSessionFactory.writeNew() moves a browser to the list of its new user', async () => {
    const { visit, store } = await setUp('ada', 'bob');
    const browser = await visit('ada');
    await send(browser, '/login', { username: 'bob', password: 'bob' });
    assert.match(bodyText(await browser.get('/dashboard')), /Hello, bob/);
    assert.equal((await keysOf(store, 'bob')).length, 1);
    const [old = ''] = await keysOf(store, 'ada');
    assert.equal(await store.get(old), undefined, 'the session of ada has ended');
  });

  it('endSessions() keeps a session that logs in while the list changes', async () => {
    const { store, factory } = makeFactory();
    const first = (await factory.save(factory.create().set('user', 'ada'))) ?? '';
    const ids: string[] = [];
    let isFirst = true;
    store.before = async ({ method, key }) => {
      if (method !== 'put' || key !== hashId('devices of ada') || !isFirst) return;
      isFirst = false; // between the read and the write of the list, ada logs in
      ids.push((await factory.save(factory.create().set('user', 'ada'))) ?? '');
    };
    await endSessions(store, 'ada', (key) => key === hashId(first));
    assert.deepEqual(await keysOf(store, 'ada'), ids.map(hashId), 'the login is not lost');
    assert.equal(await factory.open(first), undefined);
  });

  it('endSessions() ends 10 of 20 sessions in parallel, and no other session', async () => {
    const { store, factory } = makeFactory();
    const save = async (): Promise<string> =>
      (await factory.save(factory.create().set('user', 'ada'))) ?? '';
    const ids = await Promise.all(Array.from({ length: 20 }, save));
    const isEnded = ids.map((_id, i) => i % 2 === 0);
    const ended = ids.filter((_id, i) => isEnded[i]).map(hashId);
    await Promise.all(ended.map((key) => endSessions(store, 'ada', (other) => other === key)));
    const sessions = await Promise.all(ids.map((id) => factory.open(id)));
    assert.deepEqual(sessions.map((session) => session === undefined), isEnded);
    assert.equal((await keysOf(store, 'ada')).length, 10);
  });

  it('endSessions() of a user without sessions does nothing', async () => {
    const { store, factory } = makeFactory();
    const id = (await factory.save(factory.create().set('user', 'ada'))) ?? '';
    await endSessions(store, 'eve', () => true);
    assert.equal((await factory.open(id))?.get('user'), 'ada');
  });
});

// 28-devices.hints.md shows this function: it is the solution of "Your turn".
function passwordSite(store: SessionStore, users: Map<string, string>): Handler {
  const { pages, handle } = makeDeviceSite(store, { users });
  const check = throttled(authenticator(users)); // slows down a thief who guesses `old`
  const group = pages.with(withLogin(users)).with(withRetryLater);
  group.post('/password', withForm(async ({ session, user, form, address = '' }) => {
    const isRight = await check(user, form.get('old') ?? '', address);
    if (!isRight) return problem(422, 'The old password is wrong.');
    users.set(user, await hashPassword(form.get('new') ?? ''));
    await endSessions(store, user, () => true);
    session.regenerateId(); // this browser gets a new session, as at a login
    return seeOther('/sessions');
  }));
  return handle;
}

describe('28-devices: a login that fails halfway', () => {
  it('DeviceSessionFactory.writeNew() keeps the old session until the new one is complete', async () => {
    const { store, factory } = makeFactory();
    const visitor = factory.create().set('cart', { items: { tea: 2 }, note: '' });
    const id = (await factory.save(visitor)) ?? '';
    for (let writes = 0; writes < 3; writes++) {
      const session = (await factory.open(id)) ?? assert.fail(`lost after ${writes} writes`);
      session.regenerateId();
      session.set('user', 'editor');
      let left = writes; // then the store fails, as it does for a process that is killed
      const put = store.put.bind(store);
      store.put = async (...args) => {
        if (left-- === 0) throw new StoreUnavailable('killed');
        return put(...args);
      };
      await assert.rejects(async () => factory.save(session), StoreUnavailable);
      store.put = put;
    }
    assert.deepEqual((await factory.open(id))?.get('cart'), { items: { tea: 2 }, note: '' });
  });
});

describe('28-devices: a new password', () => {
  /** The phone and the desk of ada, and the browser of bob. `change` sends the form of the desk. */
  async function setUpPassword() {
    const users = await makeUsers('ada', 'bob');
    const store = new MemoryStore();
    const handle = passwordSite(store, users);
    const visit = (name: string): Promise<Browser> => logIn(handle, name);
    const browsers = [await visit('ada'), await visit('ada'), await visit('bob')] as const;
    const change = (fields: Record<string, string>, headers = {}) =>
      send(browsers[1], '/password', fields, headers);
    return { users, store, handle, browsers, change };
  }
  const fields = { old: 'ada', new: 'correct horse' };

  const skip = skipSlow('.proofs/28-devices.ts'); // scrypt needs much processor time
  it('endSessions() ends the other sessions after a password change', { skip }, async () => {
    const { store, handle, browsers, change } = await setUpPassword();
    const copies = browsers.map((browser) => cookieOf(browser));
    const { status, headers } = await change(fields);
    assert.deepEqual([status, headers.location], [303, '/sessions']);
    assert.deepEqual(await Promise.all(browsers.map(isIn)), [false, true, true]);
    const statuses = copies.map((copy) => visitWith(handle, copy, '/dashboard'));
    assert.deepEqual(await Promise.all(statuses), [303, 303, 200], 'the desk has a new id');
    const key = hashId(cookieOf(browsers[1]).slice('session='.length));
    assert.deepEqual(await keysOf(store, 'ada'), [key]);
    const logInWith = async (password: string): Promise<number> => {
      const visitor = new Browser(handle);
      return (await send(visitor, '/login', { username: 'ada', password })).status;
    };
    assert.deepEqual([await logInWith('ada'), await logInWith('correct horse')], [422, 303]);
  });

  it('endSessions() ends no session if the password does not change', async () => {
    const { users, browsers, change } = await setUpPassword();
    const hashed = users.get('ada');
    assert.equal((await change({ ...fields, old: 'wrong' })).status, 422);
    assert.equal((await change({})).status, 422);
    assert.equal((await change(fields, { 'sec-fetch-site': 'cross-site' })).status, 403);
    for (let i = 0; i < 3; i++) await change({ ...fields, old: 'wrong' });
    assert.equal((await change(fields)).status, 429, 'a thief must not guess the old password');
    assert.equal(users.get('ada'), hashed);
    assert.deepEqual(await Promise.all(browsers.map(isIn)), [true, true, true]);
  });

  it('endSessions() ends the other sessions after two password changes in parallel', { skip }, async () => {
    const { browsers, change } = await setUpPassword();
    await Promise.all([change(fields), change({ ...fields, new: 'battery staple' })]);
    const [phone, , bob] = await Promise.all(browsers.map(isIn));
    assert.deepEqual([phone, bob], [false, true]);
  });
});

// On a Node without SQLite, this test does not exist.
if (sqlite) {
  describe('28-devices: in a file', () => {
    it('makeDeviceSite() keeps the logins and their list over a restart', async (t) => {
      const file = makeFile(t);
      const users = await makeUsers('ada');
      const before = new SqliteStore(file, now);
      let { handle } = makeDeviceSite(before, { users, now });
      const phone = await logIn((request) => handle(request), 'ada', 'Phone', now);
      const desk = await logIn((request) => handle(request), 'ada', 'Desk', now);
      before.close();
      const after = new SqliteStore(file, now);
      t.after(() => after.close());
      ({ handle } = makeDeviceSite(after, { users, now }));
      assert.match(bodyText(await desk.get('/sessions')), /Phone[^]*Desk[^]*This browser\./);
      assert.equal((await send(desk, '/sessions/end-others')).status, 303);
      assert.equal((await phone.request('GET', '/dashboard')).status, 303);
      assert.equal((await desk.request('GET', '/dashboard')).status, 200);
    });
  });
}
