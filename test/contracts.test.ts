// The two contracts of this course. Each is a function that tests one implementation, and it runs
// for all of them: a SessionFactory (step 8) keeps sessions, and a SessionStore (step 25) keeps
// entries.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { type Redis, skipRedis, startRedis } from '../.tools/redis.ts';
import { setCookies } from '../.tools/request.ts';
import { type Handler, type HttpRequest, type HttpResponse, text } from '../src/04-http.ts';
import { type SessionFactory, SessionTooLarge } from '../src/08-session-factory.ts';
import { SignedCookieSessionFactory, withSession } from '../src/08-session-factory.ts';
import { SessionCookie, type TimeoutOptions, withTimeouts } from '../src/11-timeouts.ts';
import { seeOther } from '../src/12-forms.ts';
import { Browser } from '../src/16-browser.ts';
import { type SiteData, UserSession } from '../src/22-login.ts';
import { EncryptedCookieSessionFactory } from '../src/24-encryption.ts';
import { MemoryStore, type SessionStore, StoredSessionFactory } from '../src/25-store.ts';
import { VersionedSessionFactory } from '../src/26-versions.ts';
import { SqliteStore } from '../src/27-sqlite.ts';
import { DeviceSessionFactory } from '../src/28-devices.ts';
import { type Commander, RedisClient } from '../src/32-redis-client.ts';
import { RedisStore } from '../src/33-redis-store.ts';
import { FastSessionFactory } from '../src/39-fast.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // years ago: a store that uses the clock of the machine fails
const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;

type Data = SiteData & { words: string; list: unknown[]; any: { [key: string]: unknown } };
type S = UserSession<Data>;
type Options = {
  readonly now: () => number;
  readonly cookie: SessionCookie;
  readonly sessionClass: typeof UserSession<Data>;
};
type Page = Handler<HttpRequest & { session: S }>;
type Make = (options: Options, secret: string) => SessionFactory<S>;

/** Tests a kind of sessions. `isUser`: each new session is the session of a user. */
function describeSessionFactory(
  name: string,
  make: Make,
  { skip = false, isUser = false }: { skip?: string | false; isUser?: boolean } = {},
): void {
  const setUp = (isSecure = false, timeouts?: TimeoutOptions) => {
    const clock = { now: NOW };
    const now = (): number => clock.now;
    const cookie = new SessionCookie({ secure: isSecure });
    const create = (secret = 'a secret'): SessionFactory<S> => {
      const factory = make({ now, cookie, sessionClass: UserSession<Data> }, secret);
      return timeouts ? withTimeouts(factory, { now, ...timeouts }) : factory;
    };
    const factory = create();
    const visit = (page: Page, visited = factory): Browser => {
      const asUser: Page = (request) => {
        const { session } = request;
        if (isUser && session.isNew) session.regenerateId();
        if (isUser && session.isNew) session.set('user', 'ada');
        return page(request);
      };
      const origin = isSecure ? 'https://localhost' : ORIGIN;
      return new Browser(withSession(visited)(asUser), origin, now);
    };
    return { clock, now, factory, create, visit };
  };
  const count: Page = ({ session }) => {
    session.update('counter', (counter = 0) => counter + 1);
    return text(`${session.get('counter')}`);
  };
  /** Returns the data as JSON, without the user and the token. */
  const jsonOf = (session: S): string =>
    JSON.stringify(Object.fromEntries([...session].filter(([key]) => !SITE_KEYS.includes(key))));
  const SITE_KEYS = isUser ? ['user', '_csrft_'] : [];
  const cookieOf = (browser: Browser): string | undefined =>
    browser.jar.headerFor(new URL(ORIGIN), NOW);
  const valueOf = (browser: Browser): string => cookieOf(browser)?.slice('session='.length) ?? '';

  describe(`SessionFactory: ${name}`, { skip }, () => {
    it(`${name}: save() sets no cookie for a visitor whose session stays empty`, async () => {
      const { factory } = setUp();
      const page: Page = ({ session }) => text(`${session.isNew} ${session.size}`);
      const response = await new Browser(withSession(factory)(page)).get('/');
      assert.equal(response.body, 'true 0');
      assert.deepEqual(setCookies(response), []);
    });

    it(`${name}: open() returns the values exactly as they were saved`, async () => {
      const any = JSON.parse(
        '{"__proto__":{"a":1},"constructor":null,"é😀":[0.1,-1e-21,true,"",[]],"\\u0000":"\\u2028"}',
      );
      const { visit } = setUp();
      const seen: unknown[] = [];
      const browser = visit(({ session, path }) => {
        if (path === '/') session.set('any', any);
        seen.push(session.isNew, session.get('any'));
        return text('');
      });
      await browser.get('/');
      await browser.get('/again');
      assert.deepEqual(seen, [true, any, false, any]);
      assert.equal(({} as { a?: number }).a, undefined);
    });

    it(`${name}: open() returns each key, also __proto__ and the keys of the site`, async () => {
      const json =
        '{"__proto__":{"a":1},"constructor":1.5,"toString":"","":null,"_f_":["x"],"_f_info":"y",' +
        '"\\ud800":{},"é😀":[[],{"__proto__":null}],"length":-1e-7,"accessed":false}';
      const { visit } = setUp();
      const browser = visit(({ session, path }) => {
        const all: Map<string, unknown> = session;
        const start = path === '/' ? Object.entries(JSON.parse(json)) : [];
        for (const [key, value] of start) all.set(key, value);
        if (path === '/more') session.set('counter', 1);
        return text(jsonOf(session));
      });
      for (const path of ['/', '/again']) assert.equal((await browser.get(path)).body, json, path);
      const more = json.replace(/}$/, ',"counter":1}');
      for (const path of ['/more', '/x']) assert.equal((await browser.get(path)).body, more, path);
      assert.equal(({} as { a?: number }).a, undefined, 'no other object has the key');
    });

    it(`${name}: two browsers share neither data nor a token`, async () => {
      const { visit } = setUp();
      const tokens = new Set<string>();
      const page: Page = (request) => {
        tokens.add(request.session.csrfToken());
        return count(request);
      };
      const [one, two] = [visit(page), visit(page)];
      for (const expected of ['1', '2', '3']) assert.equal((await one.get('/')).body, expected);
      assert.equal((await two.get('/')).body, '1');
      assert.equal((await one.get('/')).body, '4');
      assert.equal(tokens.size, 2, 'each browser has one token and keeps it');
      assert.notEqual(cookieOf(one), cookieOf(two));
    });

    it(`${name}: newCsrfToken() replaces the token`, async () => {
      const { visit } = setUp();
      const tokens: string[] = [];
      const browser = visit(({ session, path }) => {
        tokens.push(path === '/new' ? session.newCsrfToken() : session.csrfToken());
        return text('');
      });
      for (const path of ['/', '/new', '/']) await browser.get(path);
      assert.match(String(tokens[0]), /^[0-9a-f]{40}$/, '160 bits');
      assert.notEqual(tokens[0], tokens[1]);
      assert.equal(tokens[1], tokens[2]);
    });

    it(`${name}: open() returns when the session was created and last saved`, async () => {
      const { visit, clock } = setUp();
      const browser = visit((request) => {
        const { created, accessed } = request.session;
        count(request);
        return text(`${created - NOW} ${accessed - NOW}`);
      });
      const bodies = [];
      for (const seconds of [0, 10, 10]) {
        clock.now += seconds;
        bodies.push((await browser.get('/')).body);
      }
      assert.deepEqual(bodies, ['0 0', '0 0', '0 10']);
    });

    it(`${name}: save() notices a change inside a value`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session }) => {
        if (!session.has('list')) session.set('list', [[]]);
        (session.get('list')?.[0] as string[]).push('a');
        return text(JSON.stringify(session.get('list')));
      });
      await browser.get('/');
      assert.equal((await browser.get('/')).body, '[["a","a"]]');
    });

    it(`${name}: a flash message stays after a redirect, HEAD and a failure`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session, path }) => {
        if (path === '/leave') session.flash('hello', 'info');
        if (path === '/leave' || path === '/on') return seeOther('/');
        return { ...text(session.popFlash('info').join()), status: path === '/fails' ? 500 : 200 };
      });
      for (const line of ['GET /leave', 'GET /on', 'HEAD /', 'GET /fails']) {
        const [method = '', path = ''] = line.split(' ');
        await browser.request(method, path);
      }
      assert.equal((await browser.get('/')).body, 'hello');
      assert.equal((await browser.get('/')).body, '', 'it is shown once');
    });

    it(`${name}: flash queues are separate`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session, path }) => {
        if (path !== '/leave') return text(`${session.popFlash()}|${session.popFlash('info')}`);
        for (const word of ['a', 'b', 'a']) session.flash(word);
        session.flash('c', 'info');
        return seeOther('/');
      });
      assert.equal((await browser.get('/leave')).body, 'a,b,a|c', 'after the redirect');
      assert.equal((await browser.get('/')).body, '|');
    });

    it(`${name}: a page that throws saves nothing`, async () => {
      const { visit } = setUp();
      const browser = visit((request) => {
        const response = count(request);
        if (request.path === '/throws') throw new Error('This page has a bug');
        return response;
      });
      for (const expected of ['1', '2']) {
        await assert.rejects(async () => browser.get('/throws'), /This page has a bug/);
        assert.equal((await browser.get('/')).body, expected);
      }
    });

    it(`${name}: HEAD and a failed page save nothing`, async () => {
      const { visit } = setUp();
      const browser = visit((request) => {
        const response = count(request) as HttpResponse;
        return { ...response, status: request.path === '/fails' ? 500 : 200 };
      });
      for (const expected of ['1', '2']) {
        for (const line of ['HEAD /', 'GET /fails', 'HEAD /fails']) {
          const [method = '', path = ''] = line.split(' ');
          assert.deepEqual(setCookies(await browser.request(method, path)), [], line);
        }
        assert.equal((await browser.get('/')).body, expected);
      }
    });

    it(`${name}: no shared cache may keep a page, whatever its response is`, async () => {
      const { visit } = setUp();
      const browser = visit((request) => {
        const { path, session } = request;
        if (path === '/end') session.invalidate();
        return path === '/' ? count(request) : path === '/end' ? text('') : seeOther('/');
      });
      for (const path of ['/', '/on', '/', '/end']) {
        const { headers } = await browser.request('GET', path);
        const found = [headers.vary, headers['cache-control']];
        assert.deepEqual(found, ['Cookie', 'private, no-cache'], path);
      }
    });

    it(`${name}: regenerateId() keeps the data, and changes created, token and cookie`, async () => {
      const { visit, clock } = setUp();
      const tokens: string[] = [];
      const browser = visit((request) => {
        if (request.path === '/renew') request.session.regenerateId();
        tokens.push(request.session.csrfToken());
        count(request);
        return text(`${request.session.created - NOW} ${request.session.get('counter')}`);
      });
      await browser.get('/');
      const cookie = cookieOf(browser);
      clock.now += 10;
      assert.equal((await browser.get('/')).body, '0 2');
      assert.equal((await browser.get('/renew')).body, '10 3');
      assert.equal((await browser.get('/')).body, '10 4');
      assert.notEqual(cookieOf(browser), cookie);
      const [first, second, third, fourth] = tokens;
      assert.deepEqual([first === second, second === third, third === fourth], [true, false, true]);
    });

    it(`${name}: regenerateId() succeeds in two parallel requests with one cookie`, async () => {
      const { visit } = setUp();
      const page: Page = (request) => {
        if (request.path === '/login') request.session.regenerateId();
        if (request.path === '/login') request.session.set('user', 'ada');
        return count(request);
      };
      const browser = visit(page);
      await browser.get('/');
      const sent = { cookie: cookieOf(browser) };
      const tabs = [visit(page), visit(page)];
      await Promise.all(tabs.map((tab) => tab.request('GET', '/login', '', sent)));
      for (const tab of tabs) assert.equal((await tab.get('/')).body, '3', 'each tab is logged in');
    });

    it(`${name}: invalidate() deletes the cookie, and data that is set later is new`, async () => {
      const { visit } = setUp();
      const browser = visit((request) => {
        if (request.path !== '/') request.session.invalidate();
        if (request.path === '/end') return text('ended');
        if (request.path === '/again') assert.equal(request.session.size, 0);
        return count(request);
      });
      await browser.get('/');
      const [header] = setCookies(await browser.get('/end'));
      assert.equal(header, 'session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0');
      assert.equal(cookieOf(browser), undefined);
      await browser.get('/');
      assert.equal((await browser.get('/again')).body, '1');
      assert.equal((await browser.get('/')).body, '2');
    });

    it(`${name}: open() returns no session for a value that is made up or changed`, async () => {
      const { visit } = setUp();
      const browser = visit(count);
      await browser.get('/');
      const cookie = valueOf(browser);
      const values = [
        '', 'x', cookie.slice(0, -1), cookie.slice(1), `${cookie}A`, `${cookie}=`, '__proto__',
        'A'.repeat(43), 'A'.repeat(4000), '%00', '"', 'null', '[1,2,{}]', 'é', cookie.toUpperCase(),
      ];
      for (const value of values) {
        const request = { cookie: `session=${value}` };
        const { status, body } = await visit(count).request('GET', '/', '', request);
        assert.deepEqual([status, body], [200, '1'], value.slice(0, 50));
      }
      assert.equal((await browser.get('/')).body, '2', 'the cookie itself is valid');
    });

    it(`${name}: open() returns no session if one character of the value is changed`, async () => {
      const { visit, factory } = setUp();
      const browser = visit(count);
      await browser.get('/');
      const cookie = valueOf(browser);
      for (const [at, character] of [...cookie].entries()) {
        const other = character === 'A' ? 'B' : 'A';
        const value = `${cookie.slice(0, at)}${other}${cookie.slice(at + 1)}`;
        assert.equal(await factory.open(value), undefined, `character ${at} of ${cookie.length}`);
      }
      assert.equal((await browser.get('/')).body, '2', 'the cookie itself is valid');
    });

    it(`${name}: open() returns no session for the cookie of another site or purpose`, async () => {
      const { visit, create, now } = setUp();
      const secret = { secrets: ['a secret'], salt: 'another purpose' };
      const other = { ...secret, now, sessionClass: UserSession<Data> };
      const others: SessionFactory<S>[] = [
        create('another secret'),
        new SignedCookieSessionFactory(other),
        new EncryptedCookieSessionFactory(other),
      ];
      for (const [index, factory] of others.entries()) {
        const stranger = visit(count, factory);
        for (const expected of ['1', '2']) assert.equal((await stranger.get('/')).body, expected);
        const browser = visit(count);
        const request = { cookie: cookieOf(stranger) };
        assert.equal((await browser.request('GET', '/', '', request)).body, '1', `factory ${index}`);
        assert.notEqual(cookieOf(browser), cookieOf(stranger));
        assert.equal((await browser.get('/')).body, '2', 'the browser has its own session now');
      }
    });

    it(`${name}: withSession() finds the valid cookie after the cookie of another program`, async () => {
      const { visit } = setUp();
      const browser = visit(count);
      await browser.get('/');
      for (const expected of ['2', '3']) {
        const request = { cookie: `session=from-flask; ${cookieOf(browser)}` };
        assert.equal((await browser.request('GET', '/', '', request)).body, expected);
      }
    });

    it(`${name}: the cookie has the attributes of the options, also when it is deleted`, async () => {
      for (const isSecure of [false, true]) {
        const { visit } = setUp(isSecure);
        const browser = visit((request) => {
          if (request.path === '/') return count(request);
          request.session.invalidate();
          return text('');
        });
        const attributes = `Path=/; ${isSecure ? 'Secure; ' : ''}HttpOnly; SameSite=Lax`;
        const [header] = setCookies(await browser.get('/'));
        assert.match(header ?? '', new RegExp(`^session=[\\w-]+; ${attributes}$`));
        const [deletion] = setCookies(await browser.get('/end'));
        assert.equal(deletion, `session=; ${attributes}; Max-Age=0`);
      }
    });

    it(`${name}: save() throws for a session that is too large, and the old one stays`, async () => {
      const { visit } = setUp();
      const browser = visit((request) => {
        if (request.path === '/') return count(request);
        request.session.set('words', 'x'.repeat(70_000));
        return text('');
      });
      await browser.get('/');
      await assert.rejects(async () => browser.get('/large'), SessionTooLarge);
      assert.equal((await browser.get('/')).body, '2');
    });

    it(`${name}: save() throws for a value that JSON would change, and the old one stays`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session, path }) => {
        session.update('counter', (counter = 0) => counter + 1);
        const list: unknown[] = [];
        if (path === '/map') session.set('list', list);
        list.push(new Map());
        return text(jsonOf(session));
      });
      await browser.get('/');
      await assert.rejects(async () => browser.get('/map'), /JSON would lose or change its value/);
      assert.equal((await browser.get('/')).body, '{"counter":2}');
    });
  });

  describe(`SessionFactory: ${name} with timeouts`, { skip }, () => {
    it(`${name}: withTimeouts() ends a session that is idle for 20 minutes`, async () => {
      const { visit, clock } = setUp(false, {});
      const browser = visit((request) => {
        const { isNew, created } = request.session;
        count(request);
        return text(`${isNew} ${created - NOW} ${request.session.get('counter')}`);
      });
      await browser.get('/');
      clock.now += 1199;
      assert.equal((await browser.get('/')).body, 'false 0 2');
      clock.now += 1201;
      assert.equal((await browser.get('/')).body, 'true 2400 1', 'it is new in every way');
    });

    it(`${name}: withTimeouts() ends a busy session at the absolute timeout`, async () => {
      const { visit, clock } = setUp(false, { absoluteTimeout: 3000 });
      const browser = visit(count);
      for (const expected of ['1', '2', '3']) {
        assert.equal((await browser.get('/')).body, expected);
        clock.now += 999;
      }
      clock.now += 4;
      assert.equal((await browser.get('/')).body, '1');
    });

    it(`${name}: withTimeouts() keeps a session alive that is only read`, async () => {
      const { visit, clock } = setUp(false, {});
      const read: Page = ({ session }) => text(`${session.get('counter')}`);
      const browser = visit((request) => (request.path === '/' ? count : read)(request));
      await browser.get('/');
      for (let i = 0; i < 4; i++) {
        clock.now += 1000;
        assert.equal((await browser.get('/read')).body, '1');
      }
    });

    it(`${name}: a clock that is set back ends no session`, async () => {
      const { visit, clock } = setUp(false, {});
      const browser = visit(count);
      const bodies = [];
      for (const seconds of [0, 10, -86_400, 10, 86_400]) {
        clock.now += seconds;
        bodies.push((await browser.get('/')).body);
      }
      assert.deepEqual(bodies, ['1', '2', '3', '4', '1'], 'the right time: a day without requests');
      assert.equal((await browser.get('/')).body, '2');
    });

    it(`${name}: a clock that jumps ahead ends sessions, and new sessions work`, async () => {
      const { visit, clock } = setUp(false, {});
      const browser = visit(count);
      const bodies = [];
      for (const seconds of [0, 1e9, 10, -1e9, 10]) {
        clock.now += seconds;
        bodies.push((await browser.get('/')).body);
      }
      assert.deepEqual(bodies, ['1', '1', '2', '3', '4']);
    });
  });
}

/** Tests a store. */
function describeStore(
  name: string,
  make: (now: () => number) => SessionStore,
  skip: string | false = false,
): void {
  describe(`SessionStore: ${name}`, { skip }, () => {
    const clock = { now: NOW };
    let store: SessionStore;
    let unique = 0;
    const newKey = (): string => `${name} ${unique++}`; // the tests share a store, and no key
    const entry = { text: '{}', expires: NOW + 1000 };

    before(() => {
      store = make(() => clock.now);
    });

    it(`${name}: put() counts the versions, and rejects an old version`, async () => {
      const key = newKey();
      assert.equal(await store.get(key), undefined, 'there is no entry yet');
      assert.equal(await store.put(key, entry, 1), false, 'there is no version 1');
      assert.equal(await store.put(key, { ...entry, text: 'one' }, 0), true, 'a new entry is stored');
      assert.deepEqual(await store.get(key), { ...entry, text: 'one', version: 1 });
      assert.equal(await store.put(key, entry, 0), false, 'version 0 of an entry that exists');
      assert.equal(await store.put(key, { ...entry, text: 'two' }, 1), true, 'version 1 is replaced');
      for (const version of [0, 1, 3]) {
        const what = `put() rejects version ${version} of an entry with version 2`;
        assert.equal(await store.put(key, entry, version), false, what);
      }
      assert.deepEqual(await store.get(key), { ...entry, text: 'two', version: 2 });
    });

    it(`${name}: put() does not bring back an entry that was deleted`, async () => {
      const key = newKey();
      await store.put(key, entry, 0);
      await store.delete(key);
      await store.delete(key);
      assert.equal(await store.get(key), undefined);
      for (const version of [1, 2]) assert.equal(await store.put(key, entry, version), false);
      assert.equal(await store.get(key), undefined);
      assert.equal(await store.put(key, { ...entry, text: 'new' }, 0), true, 'only a new entry');
      assert.deepEqual(await store.get(key), { ...entry, text: 'new', version: 1 });
    });

    it(`${name}: delete() wins over 50 parallel calls of put()`, async () => {
      const key = newKey();
      await store.put(key, entry, 0);
      const work = Array.from({ length: 50 }, async (_, i): Promise<unknown> =>
        i === 25 ? store.delete(key) : store.put(key, entry, 1),
      );
      await Promise.all(work);
      assert.equal(await store.get(key), undefined);
    });

    it(`${name}: put() compares and deletes with an entry that has expired`, async () => {
      const key = newKey();
      await store.put(key, entry, 0);
      const expired = { text: '', expires: 0 };
      assert.equal(await store.put(key, expired, 0), false);
      assert.equal((await store.get(key))?.version, 1);
      assert.equal(await store.put(key, expired, 1), true);
      assert.equal(await store.get(key), undefined);
      for (const version of [1, 2]) assert.equal(await store.put(key, entry, version), false);
      await store.delete(key);
    });

    it(`${name}: delete() deletes only one key, and keys differ by case and spaces`, async () => {
      const [a, b, c] = [`${newKey()} aB`, `${newKey()} ab`, `${newKey()} aB`];
      const keys = [a, a.toUpperCase(), a.toLowerCase(), b, c, `${a} `, `${a}%`];
      for (const key of keys) {
        assert.equal(await store.put(key, { ...entry, text: key }, 0), true, key);
      }
      for (const key of keys) assert.equal((await store.get(key))?.text, key);
      await store.delete(a);
      assert.equal(await store.get(a), undefined);
      for (const key of keys.slice(1)) assert.equal((await store.get(key))?.text, key);
    });

    for (const version of [0, 1]) {
      const what = version === 0 ? 'a new entry' : 'an entry';
      it(`${name}: put() succeeds once in 50 parallel calls for ${what}`, async () => {
        const key = newKey();
        if (version === 1) await store.put(key, entry, 0);
        const puts = Array.from({ length: 50 }, (_, i) =>
          store.put(key, { ...entry, text: `${i}` }, version),
        );
        const results = await Promise.all(puts);
        assert.equal(results.filter(Boolean).length, 1);
        const text = `${results.indexOf(true)}`;
        assert.deepEqual(await store.get(key), { ...entry, text, version: version + 1 });
      });
    }

    it(`${name}: get() returns no expired entry, and put() replaces it`, async () => {
      const key = newKey();
      await store.put(key, { ...entry, expires: clock.now + 10 }, 0);
      clock.now += 9;
      assert.equal((await store.get(key))?.version, 1);
      clock.now += 1;
      assert.equal(await store.get(key), undefined);
      assert.equal(await store.put(key, entry, 1), false);
      const next = { text: 'new', expires: clock.now + 10.25 };
      assert.equal(await store.put(key, next, 0), true);
      assert.equal(await store.put(key, next, 0), false, 'it exists again');
      assert.deepEqual(await store.get(key), { ...next, version: 1 });
    });

    it(`${name}: the last put() sets the time of expiry, to a fraction of a second`, async () => {
      const [a, b] = [newKey(), newKey()];
      const start = clock.now;
      for (const key of [a, b]) await store.put(key, { ...entry, expires: start + 10 }, 0);
      await store.put(a, { ...entry, expires: start + 20.5 }, 1);
      await store.put(b, { ...entry, expires: start + 5.5 }, 1);
      clock.now = start + 5.25;
      assert.equal((await store.get(b))?.expires, start + 5.5);
      clock.now = start + 5.5;
      assert.equal(await store.get(b), undefined);
      clock.now = start + 20.25;
      assert.equal((await store.get(a))?.version, 2);
      clock.now = start + 20.5;
      assert.equal(await store.get(a), undefined);
    });

    it(`${name}: an entry can live forever`, async () => {
      const key = newKey();
      const forever = { ...entry, expires: Infinity }; // JSON.stringify writes Infinity as null
      assert.equal(await store.put(key, forever, 0), true, 'put() has stored a new entry');
      assert.equal((await store.get(key))?.expires, Infinity, 'get() returns the new entry');
      assert.equal(await store.put(key, forever, 1), true, 'put() has replaced version 1');
      assert.equal((await store.get(key))?.expires, Infinity, 'get() returns the replaced entry');
    });

    it(`${name}: get() returns each text to the byte`, async () => {
      const texts = [
        '', '\x7f', '"\'\\', 'é😀\r\n', '$5\r\nhello\r\n', '\u2028\ufeff\ufffd',
        "'); DROP TABLE sessions", JSON.stringify('\0\ud800'), 'x'.repeat(65_536),
        '€'.repeat(65_536), '😀'.repeat(32_768),
      ];
      for (const words of texts) {
        const key = newKey();
        await store.put(key, { text: words, expires: clock.now + 10 }, 0);
        const found = (await store.get(key))?.text;
        assert.ok(found === words, `${words.slice(0, 20)} became ${found?.slice(0, 20)}`);
      }
    });

    it(`${name}: put() copies the entry, and the compiler protects what get() returns`, async () => {
      const key = newKey();
      const own = { text: '{}', expires: clock.now + 10 };
      await store.put(key, own, 0);
      own.text = 'changed';
      assert.equal((await store.get(key))?.text, '{}');
      const change = async (): Promise<void> => {
        const found = (await store.get(key)) ?? assert.fail();
        // @ts-expect-error: an entry is read-only
        found.text = 'changed';
      };
      assert.ok(change, 'the function is not called: it must not compile without the comment');
    });
  });
}

describe('the contracts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'contracts-'));
  const closing: (() => unknown)[] = [];
  let redis: Redis | undefined;
  let files = 0;

  before(async () => {
    if (skipRedis === false) redis = await startRedis();
  }, { timeout: 10_000 });

  after(async () => {
    for (const close of closing) await close();
    redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const makeSqlite = (now: () => number): SessionStore => {
    const store = new SqliteStore(join(folder, `${files++}.sqlite`), now);
    closing.push(() => store.close());
    return store;
  };
  const redisUrl = (): string => redis?.nextUrl() ?? assert.fail('Redis does not run');
  const makeRedis = (now: () => number): SessionStore => {
    const client = new RedisClient(redisUrl());
    closing.push(() => client.close());
    return new RedisStore(client, now);
  };

  describeStore('MemoryStore', (now) => new MemoryStore({ now }));
  if (hasSqlite) describeStore('SqliteStore', makeSqlite);
  describeStore('RedisStore', makeRedis, skipRedis);

  describeSessionFactory('SignedCookieSessionFactory', (options, secret) =>
    new SignedCookieSessionFactory({ ...options, secrets: [secret] }));
  describeSessionFactory('FastSessionFactory', (options, secret) =>
    new FastSessionFactory({ ...options, secrets: [secret] }));
  describeSessionFactory('EncryptedCookieSessionFactory', (options, secret) =>
    new EncryptedCookieSessionFactory({ ...options, secrets: [secret] }));
  describeSessionFactory('StoredSessionFactory', (options) =>
    new StoredSessionFactory(new MemoryStore(options), options));
  describeSessionFactory('VersionedSessionFactory', (options) =>
    new VersionedSessionFactory(new MemoryStore(options), options));
  if (hasSqlite) {
    describeSessionFactory('VersionedSessionFactory in SQLite', (options) =>
      new VersionedSessionFactory(makeSqlite(options.now), options));
  }
  describeSessionFactory('VersionedSessionFactory in Redis', (options) =>
    new VersionedSessionFactory(makeRedis(options.now), options), { skip: skipRedis });
  describeSessionFactory('withTimeouts', (options, secret) =>
    withTimeouts(new SignedCookieSessionFactory({ ...options, secrets: [secret] }), options));
  describeSessionFactory('DeviceSessionFactory', (options) => {
    const factory: unknown = new DeviceSessionFactory(new MemoryStore(options), options);
    return factory as SessionFactory<S>; // its sessions can have more keys than the site uses
  }, { isUser: true });

  it('RedisStore lets Redis delete an entry that has expired', { skip: skipRedis }, async () => {
    const client = new RedisClient(redisUrl());
    closing.push(() => client.close());
    const store = new RedisStore(client, () => NOW);
    await store.put('a', { text: '{}', expires: NOW + 60.5 }, 0);
    const left = Number(await client.command('PTTL', 'session:a'));
    assert.ok(left > 50_000 && left <= 60_500, `${left} milliseconds`);
  });

  it('SessionFactory<S> knows its keys: a misspelled key does not compile', async () => {
    const options = { secrets: ['x'], sessionClass: UserSession<Data> };
    const factory = new SignedCookieSessionFactory(options);
    const page = withSession(factory)(({ session }) => {
      // @ts-expect-error: a misspelled key
      session.get('conter');
      // @ts-expect-error: a value of another type
      session.set('counter', '1');
      return text(`${session.get('counter')}`);
    });
    assert.equal((await new Browser(page).get('/')).body, '1', 'only the compiler knows the types');
  });

  // The client of another project, if NODE_REDIS names it: NODE_REDIS=redis, after npm install redis
  const library = process.env.NODE_REDIS;
  if (library) {
    describeStore('RedisStore with node-redis', (now) => {
      const connected = import(library).then(async ({ createClient }) => {
        const client = createClient({ url: redisUrl() }).on('error', () => {}); // a failed command throws
        await client.connect();
        closing.push(() => client.destroy());
        return client as { sendCommand(args: string[]): Promise<unknown> };
      });
      const commander: Commander = {
        command: async (...args) => (await connected).sendCommand(args),
      };
      return new RedisStore(commander, now);
    });
  }
});
