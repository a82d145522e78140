import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, ofStep } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { countVisits, type Data, idOf, makeGate, NOW, ORIGIN } from '../.tools/stored.ts';
import { type Page, setUp, slowVisits, SpyStore } from '../.tools/stored.ts';
import { text } from '../src/04-http.ts';
import type { SessionFactory } from '../src/08-session-factory.ts';
import { seeOther } from '../src/12-forms.ts';
import { Browser } from '../src/16-browser.ts';
import { rescue } from '../src/19-rescue.ts';
import { type SiteData, UserSession } from '../src/22-login.ts';
import { hashId, MemoryStore } from '../src/25-store.ts';
import { makeStoredSite, onEnded, SessionEnded, site } from '../src/26-versions.ts';
import { VersionedSessionFactory } from '../src/26-versions.ts';

const it = explainedIt(import.meta.url);
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' };
const Factory = VersionedSessionFactory<UserSession<Data>>;

type Change = (session: UserSession<Data>) => unknown;

/** A session in a store, opened by two requests at the same time. */
async function openTwice(start: Partial<Data>) {
  const { factory, memory, store } = setUp(Factory);
  const id = 'A'.repeat(43);
  memory.put(hashId(id), { text: JSON.stringify([NOW, NOW, start]), expires: Infinity }, 0);
  const [one, two] = [await factory.open(id), await factory.open(id)];
  assert.ok(one && two);
  return { factory, memory, store, id, sessions: [one, two] as const };
}

/** Returns the data that the store has under an id. */
async function dataOf(
  factory: SessionFactory<UserSession<Data>>,
  id = '',
): Promise<Record<string, unknown>> {
  return { ...(await factory.open(id))?.toJSON() };
}

/** Two requests open a session, change it, and save it one after the other. Returns the data. */
async function race(start: Partial<Data>, first: Change, second: Change): Promise<object> {
  const { factory, id, sessions: [one, two] } = await openTwice(start);
  first(one);
  second(two);
  await factory.save(one);
  await factory.save(two);
  return dataOf(factory, id);
}

const up: Change = (session) => session.update('counter', (counter = 0) => counter + 1);

describe('26-versions: no change is lost', () => {
  it('VersionedSessionFactory.writeNew() stores a new session under its key', async () => {
    class DirectFactory extends Factory {
      writeDirectly(session: UserSession<Data>, key: string): Promise<void> {
        return this.writeNew(session, key);
      }

      protected override async write(): Promise<void> {
        assert.fail('writeNew() must call super.write(): this.write() calls writeNew() again');
      }
    }
    const { factory, memory } = setUp(DirectFactory);
    const session = factory.create().set('counter', 1);
    await (factory as DirectFactory).writeDirectly(session, 'the key');
    const text = `[${NOW},${NOW},{"counter":1}]`;
    assert.equal(memory.get('the key')?.text, text, 'the entry under the key');
  });

  it('VersionedSessionFactory.write() uses the version that open() has read', async () => {
    const { factory, store, sessions: [session] } = await openTwice({ counter: 1 });
    store.calls.length = 0;
    await factory.save(session.set('counter', 2));
    const isRead = store.calls[0]?.method === 'get';
    assert.ok(!isRead, '`loaded` has the version, so the first call of the store must not be get()');
  });

  it('VersionedSessionFactory.#replace() stores a session that no other request has changed', async () => {
    const { factory, memory, id, sessions: [session] } = await openTwice({ counter: 1 });
    up(session);
    assert.equal(await factory.save(session), undefined, 'the browser has the id already');
    assert.equal(memory.get(hashId(id))?.version, 2, 'the version after one more write');
    assert.deepEqual(await dataOf(factory, id), { counter: 2 });
  });

  it('VersionedSessionFactory.#replace() keeps an update that step 25 loses', async () => {
    const { browse } = setUp(Factory);
    const gate = makeGate();
    const browser = browse(slowVisits(gate));
    await browser.get('/');
    const slow = browser.request('GET', '/slow');
    assert.equal((await browser.get('/')).body, '2', 'the second visit');
    gate.open();
    assert.equal((await slow).body, '2', 'this page was rendered before the conflict');
    assert.equal((await browser.get('/')).body, '4', 'the fourth visit');
  });

  it('VersionedSessionFactory.#inOrder() lets 20 parallel visits save one after the other', async () => {
    const { browse, store } = setUp(Factory);
    const browser = browse(countVisits);
    await browser.get('/');
    await Promise.all(Array.from({ length: 20 }, () => browser.request('GET', '/')));
    assert.equal((await browser.get('/')).body, '22', 'the count after 22 visits');
    assert.ok(store.count('put') <= 42, `${store.count('put')} writes: at most two for each visit`);
  });
});

describe('26-versions: the merge', () => {
  it('repeatChanges() keeps changes of different keys', async () => {
    const data = await race(
      { counter: 1 },
      (session) => session.set('words', 'one'),
      (session) => session.set('user', 'ada'),
    );
    assert.deepEqual(data, { counter: 1, words: 'one', user: 'ada' });
  });

  it('repeatChanges() applies update() to the new value again', async () => {
    assert.deepEqual(await race({ counter: 1 }, up, up), { counter: 3 });
    assert.deepEqual(await race({ words: 'x' }, up, up), { words: 'x', counter: 2 }, 'a new key');
    const twice: Change = (session) => [up(session), up(session)];
    assert.deepEqual(await race({ counter: 1 }, twice, twice), { counter: 5 });
  });

  it('repeatChanges() applies update() again also inside a value', async () => {
    const append = (word: string): Change => (session) =>
      session.update('list', (list = []) => [...list, word]);
    const push = (word: string): Change => (session) =>
      session.update('list', (list = []) => {
        list.push(word); // changes the value in place
        return list;
      });
    const expected = { list: ['a', 'b', 'c'] };
    assert.deepEqual(await race({ list: ['a'] }, append('b'), append('c')), expected);
    assert.deepEqual(await race({ list: ['a'] }, push('b'), push('c')), expected);
    assert.deepEqual(await race({ list: ['a'] }, append('b'), push('c')), expected);
  });

  it('repeatChanges() keeps the later value if both requests set a key', async () => {
    const one: Change = (session) => session.set('words', 'one').set('list', ['one']);
    const two: Change = (session) => session.set('words', 'two');
    assert.deepEqual(await race({ words: 'x' }, one, two), { words: 'two', list: ['one'] });
    const inPlace: Change = (session) => session.get('list')?.push('b');
    const set: Change = (session) => session.set('list', ['c']);
    assert.deepEqual(await race({ list: ['a'] }, set, inPlace), { list: ['a', 'b'] });
  });

  it('repeatChanges() keeps a set() that was made before an update()', async () => {
    const reset: Change = (session) => [session.set('counter', 100), up(session)];
    assert.deepEqual(await race({ counter: 1 }, up, reset), { counter: 101 });
    assert.deepEqual(await race({ counter: 1 }, reset, up), { counter: 102 });
  });

  it('repeatChanges() deletes only what its own request deleted', async () => {
    const set: Change = (session) => session.set('user', 'ada');
    const remove: Change = (session) => session.delete('words');
    const start = { words: 'x', counter: 1 };
    assert.deepEqual(await race(start, set, remove), { counter: 1, user: 'ada' });
    assert.deepEqual(await race(start, remove, set), { counter: 1, user: 'ada' });
    const removeCounter: Change = (session) => session.delete('counter');
    assert.deepEqual(await race(start, removeCounter, up), { words: 'x', counter: 1 });
  });
});

describe('26-versions: an ended session stays ended', () => {
  const pages = (gate: Promise<void>): Page => async (request) => {
    if (request.path === '/slow') await gate;
    if (request.path !== '/logout') return countVisits(request);
    request.session.invalidate();
    return text('logged out');
  };

  it('VersionedSessionFactory.#replace() does not bring back a session that has ended', async () => {
    const { browse, memory } = setUp(Factory);
    const gate = makeGate();
    const browser = browse(pages(gate.passed));
    await browser.get('/');
    const key = hashId(idOf(browser));
    const slow = browser.request('GET', '/slow');
    await browser.get('/logout');
    gate.open();
    await assert.rejects(slow, SessionEnded);
    assert.equal(memory.get(key), undefined, 'the late save has created the session again');
    assert.equal((await browser.get('/')).body, '1', 'the count of a new session');
  });
});

describe('26-versions: a new id', () => {
  it('VersionedSessionFactory.#replace() adds what another request saved before a login', async () => {
    const { factory, memory, id, sessions: [login, other] } = await openTwice({ counter: 1 });
    other.set('words', 'added');
    await factory.save(other);
    login.regenerateId();
    login.set('user', 'ada');
    const newId = await factory.save(login);
    const { _csrft_, ...data } = await dataOf(factory, newId);
    assert.deepEqual(data, { counter: 1, words: 'added', user: 'ada' });
    assert.notEqual(newId, id, 'the id must change');
    assert.equal(memory.get(hashId(id)), undefined, 'the old session has ended');
  });

  it('VersionedSessionFactory.#replace() accepts two logins in parallel with one cookie', async () => {
    const { factory, memory, id, sessions } = await openTwice({ counter: 1 });
    for (const session of sessions) {
      session.regenerateId();
      session.set('user', 'ada');
    }
    const ids = await Promise.all(sessions.map((session) => factory.save(session)));
    assert.equal(new Set([...ids, id]).size, 3, 'each login has an id of its own');
    for (const newId of ids) {
      const { _csrft_, ...data } = await dataOf(factory, newId);
      assert.deepEqual(data, { counter: 1, user: 'ada' });
    }
    assert.equal(memory.get(hashId(id)), undefined, 'the old session has ended');
  });

  it('VersionedSessionFactory.#replace() ends the old session at a login, also for a late request', async () => {
    const { factory, sessions: [login, other] } = await openTwice({ counter: 1 });
    login.regenerateId();
    const newId = await factory.save(login);
    other.set('words', 'late');
    await assert.rejects(factory.save(other), SessionEnded);
    const { _csrft_, ...data } = await dataOf(factory, newId);
    assert.deepEqual(data, { counter: 1 }, 'the request was told that nothing was done');
  });

  it('VersionedSessionFactory.write() leaves nothing of a user to the next session', async () => {
    const leave: Record<string, (session: UserSession<Data>) => unknown> = {
      logout: (session) => [session.invalidate(), session.set('list', ['You are logged out.'])],
      'the login of another user': (session) =>
        [session.clear(), session.regenerateId(), session.set('user', 'bob')],
    };
    for (const [story, end] of Object.entries(leave)) {
      const start = { user: 'ada', counter: 1 };
      const { factory, memory, id, sessions: [last] } = await openTwice(start);
      const other = JSON.stringify([NOW, NOW, { ...start, words: 'private' }]);
      memory.put(hashId(id), { text: other, expires: Infinity }, 1); // another request saves first
      end(last);
      const data = await dataOf(factory, await factory.save(last));
      assert.deepEqual(data, last.toJSON(), story);
      assert.equal(JSON.stringify(data).includes('private'), false, story);
      assert.equal(memory.get(hashId(id)), undefined, story);
    }
  });
});

describe('26-versions: the site', () => {
  it('onEnded() sends a GET to its page again, and rejects other methods with 409', () => {
    const table: [method: string, target: string, status: number, location?: string][] = [
      ['GET', '/cart', 303, '/cart'],
      ['GET', '/login?next=%2Fcart', 303, '/login?next=%2Fcart'],
      ['GET', '//evil.example/', 303, '/dashboard'], // a host, not a path
      ['POST', '/cart/add', 409],
      ['DELETE', '/cart', 409],
    ];
    for (const [method, target, status, location] of table) {
      const response = onEnded(makeRequest(method, target));
      const row = `${method} ${target}`;
      assert.deepEqual([response.status, response.headers.location], [status, location], row);
      assert.deepEqual(setCookies(response), [], row);
      if (status === 409) assert.match(bodyText(response), /Look at the page before you try again\./);
    }
  });

  it('makeStoredSite() adds its rescue to the rescues in the options', async (t) => {
    t.mock.method(console, 'error', () => {});
    const factory = new VersionedSessionFactory(new MemoryStore(), { sessionClass: UserSession<SiteData> });
    const rescues = [rescue(RangeError, () => text('rescued'))];
    const { pages: group, handle } = makeStoredSite({ factory, rescues });
    const errors = { '/ended': new SessionEnded('ended'), '/range': new RangeError('too far') };
    for (const [path, error] of Object.entries(errors)) {
      group.get(path, () => {
        throw error;
      });
    }
    const get = (path: string) => new Browser(handle, ORIGIN).request('GET', path);
    assert.equal((await get('/ended')).status, 303, 'onEnded() responds to SessionEnded');
    assert.equal(bodyText(await get('/range')), 'rescued', '`options.rescues` has a rescue of RangeError');
  });

  it('makeStoredSite() responds to a late request after a logout, and saves nothing', async () => {
    const store = new MemoryStore();
    const gate = makeGate();
    const factory = new VersionedSessionFactory(store, { sessionClass: UserSession<SiteData> });
    const { pages: group, handle } = makeStoredSite({ factory });
    group.get('/slow', async (request) => {
      await gate.passed;
      request.session.set('counter', 100);
      return text('slow');
    });
    group.post('/slow', async ({ session }) => {
      await gate.passed;
      session.set('counter', 100);
      return seeOther('/');
    });
    const browser = new Browser(handle, ORIGIN);
    await browser.get('/');
    const late = [
      browser.request('GET', '/slow?a=1'),
      browser.request('POST', '/slow', '', SAME_ORIGIN),
    ];
    await browser.request('POST', '/logout', '', SAME_ORIGIN);
    gate.open();
    const [get, post] = await Promise.all(late);
    const sent = [get?.status, get?.headers.location];
    assert.deepEqual(sent, [303, '/slow?a=1'], 'the response to the late GET');
    assert.equal(post?.status, 409, 'the status of the late POST');
    assert.match(bodyText(await browser.get('/')), /Count: 1</);
  });

  it('site() of step 26 gives each session a time of expiry', async () => {
    const store = new SpyStore(new MemoryStore());
    await new Browser(site(store), ORIGIN).get('/');
    const expires = store.calls.find(({ method }) => method === 'put')?.entry?.expires;
    assert.ok(Number.isFinite(expires), 'the session never expires: site() must use withTimeouts()');
  });

  it('site() of step 26 loses no product of 20 parallel additions to the cart', async () => {
    const browser = new Browser(ofStep(site()), ORIGIN);
    await browser.get('/cart');
    const add = (_: unknown, i: number) =>
      browser.request('POST', '/cart/add', `item=${i % 2 ? 'tea' : 'mug'}`, SAME_ORIGIN);
    for (const { status } of await Promise.all(Array.from({ length: 20 }, add))) {
      assert.equal(status, 303);
    }
    const cart = bodyText(await browser.get('/cart'));
    assert.deepEqual([...cart.matchAll(/(\d+) for €/g)].map(([, n]) => n), ['10', '10']);
  });
});
