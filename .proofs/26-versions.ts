// Further proofs for step 26: many requests, several processes, kills, and damaged entries.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { bodyText } from '../.tools/request.ts';
import { countVisits, type Data, idOf, NOW, type Page, setUp, SpyStore } from '../.tools/stored.ts';
import { text } from '../src/04-http.ts';
import { SessionTooLarge } from '../src/08-session-factory.ts';
import { Browser } from '../src/16-browser.ts';
import { UserSession } from '../src/22-login.ts';
import { hashId, MAX_STORED_SIZE, MemoryStore, StoreUnavailable } from '../src/25-store.ts';
import { SessionEnded, site, VersionedSessionFactory } from '../src/26-versions.ts';

const it = explainedIt(import.meta.url);
const Factory = VersionedSessionFactory<UserSession<Data>>;
const LIMIT = { timeout: 10_000 }; // milliseconds: a loop without an end fails

/** Counts visits. At /login, the session also gets a new id. */
const pages: Page = (request) => {
  if (request.path === '/login') request.session.regenerateId();
  return countVisits(request);
};

/** A browser with a session, and the key of its entry. */
async function visitor(page: Page = pages) {
  const all = setUp(Factory);
  const browser = all.browse(page);
  await browser.get('/');
  return { ...all, browser, key: hashId(idOf(browser)) };
}

/** Returns the data that the store has under a key, without the token. */
function dataIn(store: MemoryStore, key: string): object | undefined {
  const entry = store.get(key);
  if (!entry) return undefined;
  const { _csrft_, ...data } = JSON.parse(entry.text)[2];
  return data;
}

/** Writes another value of `words` into an entry, as another process does. */
function changeWords(store: MemoryStore, key: string, words: string): void {
  const { text: old = '', version = 0 } = store.get(key) ?? {};
  const [accessed, created, data] = JSON.parse(old);
  const changed = JSON.stringify([accessed, created, { ...data, words }]);
  assert.ok(store.put(key, { text: changed, expires: NOW + 100 }, version));
}

describe('26-versions: many requests', () => {
  it('VersionedSessionFactory.#inOrder() counts 1,000 parallel visits', LIMIT, async () => {
    const { browser } = await visitor();
    await Promise.all(Array.from({ length: 999 }, () => browser.request('GET', '/')));
    assert.equal((await browser.get('/')).body, '1001');
  });

  it('VersionedSessionFactory.#replace() loses no visit of two processes with one store', LIMIT, async () => {
    const memory = new MemoryStore({ now: () => NOW });
    const slow = new SpyStore(memory); // each call takes a while, so the processes compete
    slow.before = () => new Promise((resolve) => setImmediate(resolve));
    const options = { sessionClass: UserSession<Data>, now: () => NOW };
    const processes = [new Factory(slow, options), new Factory(slow, options)];
    const id = await processes[0]?.save(processes[0].create().set('counter', 0));
    const visit = async (_: unknown, i: number): Promise<void> => {
      const factory = processes[i % 2];
      const session = await factory?.open(id ?? '');
      session?.update('counter', (counter = 0) => counter + 1);
      await factory?.save(session ?? assert.fail());
    };
    await Promise.all(Array.from({ length: 100 }, visit));
    assert.deepEqual(dataIn(memory, hashId(id ?? '')), { counter: 100 });
  });

  it('VersionedSessionFactory.#inOrder() saves a session in one process without overlaps', LIMIT, async () => {
    const { factory, store, browser } = await visitor();
    const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    let [running, most] = [0, 0];
    const put = store.put.bind(store);
    store.put = async (...args) => {
      most = Math.max(most, ++running);
      await pause();
      const isStored = await put(...args);
      running -= 1;
      return isStored;
    };
    const visits: Promise<unknown>[] = [];
    for (let i = 0; i < 20; i++) {
      const session = await factory.open(idOf(browser));
      session?.update('counter', (counter = 0) => counter + 1);
      visits.push(factory.save(session ?? assert.fail()));
      if (i % 3 === 0) await pause(); // some saves begin while others are waiting
    }
    await Promise.all(visits);
    assert.equal(most, 1, 'the most saves of one session that ran at the same time');
    assert.equal((await factory.open(idOf(browser)))?.get('counter'), 21);
  });

  it('VersionedSessionFactory.#replace() keeps the changes of 50 keys in parallel requests', LIMIT, async () => {
    const { browser, memory, key } = await visitor(({ session, path }) => {
      (session as unknown as Map<string, unknown>).set(path, path.length);
      return text('');
    });
    const paths = Array.from({ length: 50 }, (_, i) => `/${'x'.repeat(i)}`);
    await Promise.all(paths.map((path) => browser.request('GET', path)));
    const expected = Object.fromEntries(paths.map((path) => [path, path.length]));
    assert.deepEqual(dataIn(memory, key), expected);
  });

  it('site() of step 26 keeps the cart and the count of 200 parallel requests', LIMIT, async () => {
    const browser = new Browser(site());
    await browser.get('/cart');
    const sameOrigin = { 'sec-fetch-site': 'same-origin' };
    const send = async (_: unknown, i: number) => {
      const item = ['tea', 'honey', 'mug', 'pot'][i % 4];
      if (i % 5 === 4) return browser.request('GET', '/');
      return browser.request('POST', '/cart/add', `item=${item}`, sameOrigin);
    };
    const responses = await Promise.all(Array.from({ length: 200 }, send));
    assert.deepEqual([...new Set(responses.map(({ status }) => status))].sort(), [200, 303]);
    const cart = bodyText(await browser.get('/cart'));
    const quantities = [...cart.matchAll(/(\d+) for €/g)].map(([, n]) => n);
    assert.deepEqual(quantities, ['40', '40', '40', '40']);
    assert.match(bodyText(await browser.get('/')), /Count: 41</);
  });

  it('VersionedSessionFactory.#replace() fails after 100 attempts, and never hangs', LIMIT, async () => {
    const { factory, memory, store, browser } = await visitor();
    const session = await factory.open(idOf(browser));
    session?.set('words', 'x');
    store.calls.length = 0;
    memory.put = () => false; // another request is always faster
    const message = '100 attempts to save one session failed';
    await assert.rejects(factory.save(session ?? assert.fail()), new StoreUnavailable(message));
    assert.equal(store.count('put'), 100);
  });

  it('VersionedSessionFactory.#inOrder() saves the next request after one that failed', async () => {
    const { factory, browser } = await visitor();
    const [large, small] = [await factory.open(idOf(browser)), await factory.open(idOf(browser))];
    large?.set('words', 'x'.repeat(MAX_STORED_SIZE));
    small?.set('words', 'small');
    const saves = [large, small].map((session) => factory.save(session ?? assert.fail()));
    const results = await Promise.allSettled(saves);
    assert.deepEqual(results.map(({ status }) => status), ['rejected', 'fulfilled']);
    assert.equal((await factory.open(idOf(browser)))?.get('words'), 'small');
  });
});

describe('26-versions: what is merged', () => {
  it('VersionedSessionFactory.#replace() repeats several updates in order', async () => {
    const { factory, browser, memory, key } = await visitor();
    const sessions = [await factory.open(idOf(browser)), await factory.open(idOf(browser))];
    for (const session of sessions) {
      session?.update('words', (words = '') => `${words}a`);
      session?.update('counter', (counter = 0) => counter * 10);
      session?.update('words', (words = '') => `${words}b`);
      session?.update('counter', (counter = 0) => counter + 1);
    }
    for (const session of sessions) await factory.save(session ?? assert.fail());
    assert.deepEqual(dataIn(memory, key), { words: 'abab', counter: 111 });
  });

  it('VersionedSessionFactory.#replace() sets a value that update() does not explain', async () => {
    const { factory, browser, memory, key } = await visitor();
    const [one, two] = [await factory.open(idOf(browser)), await factory.open(idOf(browser))];
    one?.update('list', (list = []) => [...list, 'one']);
    two?.update('list', (list = []) => [...list, 'two']);
    two?.get('list')?.push('by hand');
    await factory.save(one ?? assert.fail());
    await factory.save(two ?? assert.fail());
    assert.deepEqual(dataIn(memory, key), { counter: 1, list: ['two', 'by hand'] });
  });

  it('VersionedSessionFactory.#replace() renews a session without other changes', async () => {
    const { factory, browser, memory, key, clock } = await visitor();
    const session = await factory.open(idOf(browser));
    session?.changed(); // as withTimeouts does when renewal is due
    changeWords(memory, key, 'other');
    clock.now += 50;
    await factory.save(session ?? assert.fail());
    assert.deepEqual(dataIn(memory, key), { counter: 1, words: 'other' });
    assert.deepEqual(JSON.parse(memory.get(key)?.text ?? '').slice(0, 2), [NOW + 50, NOW]);
  });

  it('VersionedSessionFactory.#replace() stores its own time of expiry after a conflict', async () => {
    const { factory, browser, memory, key } = await visitor();
    const session = await factory.open(idOf(browser));
    session?.set('list', ['x']);
    Object.assign(session ?? assert.fail(), { expires: NOW + 77 }); // as withTimeouts does
    changeWords(memory, key, 'other');
    await factory.save(session ?? assert.fail());
    assert.equal(memory.get(key)?.expires, NOW + 77);
  });

  it('VersionedSessionFactory.#replace() merges a key with the name __proto__ as data', async () => {
    const { factory, browser, memory, key } = await visitor();
    const session = await factory.open(idOf(browser));
    (session as unknown as Map<string, unknown>).set('__proto__', { polluted: true });
    changeWords(memory, key, 'other');
    await factory.save(session ?? assert.fail());
    const data = JSON.parse(memory.get(key)?.text ?? '')[2];
    assert.deepEqual(Object.keys(data).sort(), ['__proto__', 'counter', 'words']);
    assert.equal(({} as { polluted?: boolean }).polluted, undefined);
  });

  it('VersionedSessionFactory.#replace() rejects a merged session that is too large', async () => {
    const { factory, browser, memory, key } = await visitor();
    const session = await factory.open(idOf(browser));
    session?.set('list', ['x'.repeat(40_000)]);
    changeWords(memory, key, 'y'.repeat(40_000));
    await assert.rejects(factory.save(session ?? assert.fail()), SessionTooLarge);
    assert.equal((await factory.open(idOf(browser)))?.get('list'), undefined);
  });
});

describe('26-versions: ends in between', () => {
  it('VersionedSessionFactory.#replace() does not overwrite an entry that was damaged', async () => {
    const { factory, browser, memory, key } = await visitor();
    const session = await factory.open(idOf(browser));
    memory.put(key, { text: 'damaged', expires: NOW + 100 }, 1);
    session?.set('words', 'x');
    await assert.rejects(factory.save(session ?? assert.fail()), SessionEnded);
    assert.equal(memory.get(key)?.text, 'damaged');
    assert.equal((await browser.get('/')).body, '1', 'the next request has a new session');
  });

  it('VersionedSessionFactory.#replace() gives no data to the next user of a session', async () => {
    const { factory, memory } = setUp(Factory);
    const id = (await factory.save(factory.create().set('user', 'ada'))) ?? '';
    const [page, late] = [await factory.open(id), await factory.open(id)];
    page?.set('user', 'bob'); // a page that forgets regenerateId()
    await factory.save(page ?? assert.fail());
    late?.set('words', 'of ada');
    await assert.rejects(factory.save(late ?? assert.fail()), SessionEnded);
    assert.deepEqual(dataIn(memory, hashId(id)), { user: 'bob' });
  });

  it('VersionedSessionFactory.#replace() throws SessionEnded for a session that has expired', async () => {
    const { factory, clock } = setUp(Factory);
    const first = factory.create().set('counter', 1);
    first.expires = NOW + 10;
    const session = await factory.open((await factory.save(first)) ?? '');
    clock.now += 10;
    session?.set('words', 'late');
    await assert.rejects(factory.save(session ?? assert.fail()), SessionEnded);
  });

  it('VersionedSessionFactory.#replace() at a login takes along a change between its two writes', async () => {
    const { browser, memory, store, key } = await visitor();
    const changes = ['first', 'second'];
    store.before = (call) => {
      if (call.method !== 'put' || call.key !== key) return;
      assert.ok(memory.get(key), 'the old session exists until the new one is stored');
      const words = changes.shift(); // two other requests save the old session
      if (words) changeWords(memory, key, words);
    };
    await browser.get('/login');
    assert.deepEqual(dataIn(memory, hashId(idOf(browser))), { counter: 2, words: 'second' });
    assert.equal(memory.get(key), undefined);
  });

  it('VersionedSessionFactory.#replace() at a login begins a new age, also after a conflict', async () => {
    const { browser, memory, store, key, clock } = await visitor();
    clock.now += 50;
    store.before = (call) => {
      if (call.key === key && call.version === 1) changeWords(memory, key, 'other');
    };
    await browser.get('/login');
    const entry = memory.get(hashId(idOf(browser)));
    assert.deepEqual(JSON.parse(entry?.text ?? '').slice(0, 2), [NOW + 50, NOW + 50]);
    assert.match(entry?.text ?? '', /"words":"other"/);
  });

  it('VersionedSessionFactory.#replace() at a login leaves nothing to read under the old id', async () => {
    const { browser, store, key } = await visitor();
    await browser.get('/login');
    const writes = store.calls.filter((call) => call.key === key && call.method !== 'get');
    assert.deepEqual(writes.map(({ method }) => method), ['put', 'put', 'delete']);
    assert.deepEqual([writes[1]?.entry?.text, writes[1]?.version], ['', 1], 'the version it read');
  });

  it('VersionedSessionFactory.#replace() at a login stores the new session again if the store has lost it', async () => {
    const { browser, memory, store, key } = await visitor();
    let newKey = '';
    store.before = (call) => {
      if (call.method !== 'put') return;
      if (call.key !== key) newKey = call.key;
      else if (memory.get(newKey) && call.version === 1) {
        changeWords(memory, key, 'other'); // so the new session must be written again
        memory.delete(newKey); // for example evicted
      }
    };
    await browser.get('/login');
    assert.equal(hashId(idOf(browser)), newKey, 'the browser has the id of the new session');
    assert.deepEqual(dataIn(memory, newKey), { counter: 2, words: 'other' });
    assert.equal(memory.get(key), undefined);
  });

  it('VersionedSessionFactory.#replace() at a login leaves the old session if the new one is too large', async () => {
    const { browser } = await visitor((request) => {
      if (request.path === '/') return countVisits(request);
      request.session.regenerateId();
      request.session.set('words', 'x'.repeat(MAX_STORED_SIZE));
      return text('');
    });
    await assert.rejects(async () => browser.get('/large'), SessionTooLarge);
    assert.equal((await browser.get('/')).body, '2');
  });

  it('VersionedSessionFactory.#replace() at a login loses nothing if the server is killed at any write', async () => {
    for (let survived = 0; survived < 3; survived++) {
      const { browser, memory, store, key } = await visitor();
      const before = memory.get(key)?.text;
      let writes = 0;
      store.before = ({ method }) => {
        if (method !== 'get' && writes++ === survived) throw new StoreUnavailable('killed');
      };
      await assert.rejects(async () => browser.get('/login'), StoreUnavailable);
      store.before = () => {};
      const keys = store.calls.map((call) => call.key);
      const texts = [...new Set(keys)].flatMap((one) => memory.get(one)?.text ?? []);
      assert.ok(texts.length > 0, `${survived} writes: the session is in the store`);
      const isOld = texts.includes(before ?? '');
      const isNew = texts.some((one) => one.includes('"counter":2'));
      assert.ok(isOld || isNew, texts.join());
      if (survived < 2) assert.equal((await browser.get('/')).body, '2', 'the old cookie works');
    }
  });
});
