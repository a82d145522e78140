// The two contracts of this course, each a function that runs on every implementation: what keeps
// sessions is a SessionFactory (step 11), and what keeps entries is a SessionStore (step 18).
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { text } from '../src/02-http.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import { Browser } from '../src/08-browser.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from '../src/11-session-factory.ts';
import { withSession } from '../src/11-session-factory.ts';
import type { SessionFactory, SessionRequest } from '../src/11-session-factory.ts';
import { seeOther } from '../src/13-flash.ts';
import { EncryptedCookieSessionFactory } from '../src/17-encryption.ts';
import { MemoryStore, StoredSessionFactory } from '../src/18-store.ts';
import type { SessionStore } from '../src/18-store.ts';
import { SqliteStore } from '../src/19-sqlite.ts';
import { RedisClient, RedisStore } from '../src/20-redis.ts';
import type { Commander } from '../src/20-redis.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // years ago: a store that looks at the machine's own clock would show
const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;
const hasRedis = spawnSync('redis-server', ['--version']).status === 0;
const skipRedis =
  !hasRedis && !process.env.CI
    ? 'needs Redis: on Debian or Ubuntu, apt-get install redis-server'
    : false;

const MAX_DATABASES = 500; // of one Redis: each store of a test has one to itself
const secrets = ['a secret'];
const others = ['a foreign secret'];

type Data = { counter: number; words: string; list: unknown[]; any: { [key: string]: unknown } };
type Options = { now: () => number; secure?: boolean; absoluteTimeout?: number };
type Page = Handler<SessionRequest<Data>>;

/** What every kind of session does, whatever it is kept in. */
function describeSessionFactory(
  name: string,
  make: (options: Options, isForeign?: boolean) => SessionFactory<Data>, // foreign: not ours
  skip: string | false = false,
): void {
  describe(`SessionFactory: ${name}`, { skip }, () => {
    const setUp = (options: Partial<Options> = {}) => {
      const clock = { now: NOW };
      const now = (): number => clock.now;
      const factory = make({ now, ...options });
      const origin = options.secure ? 'https://localhost' : ORIGIN;
      const visit = (page: Page): Browser => new Browser(withSession(factory, page), origin, now);
      return { clock, factory, visit };
    };
    const count: Page = ({ session }) => {
      session.update('counter', (counter = 0) => counter + 1);
      return text(`${session.get('counter')}`);
    };
    const cookieOf = (browser: Browser): string | undefined =>
      browser.jar.headerFor(new URL(ORIGIN), NOW);
    const valueOf = (browser: Browser): string => cookieOf(browser)?.slice('session='.length) ?? '';

    it(`${name}: nothing is set for a visitor who keeps nothing`, async () => {
      const browser = setUp().visit(({ session }) => text(`${session.isNew} ${session.size}`));
      const { body, headers } = await browser.get('/');
      assert.equal(body, 'true 0');
      assert.equal(headers['set-cookie'], undefined);
      assert.equal(headers.vary, 'Cookie');
      assert.equal(headers['cache-control'], 'private, no-cache');
    });

    it(`${name}: data come back as they were written`, async () => {
      const any = JSON.parse(
        '{"__proto__":{"a":1},"constructor":null,"é😀":[0.1,-1e21,true,"",[]],"\\u0000":"\\u2028"}',
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

    it(`${name}: any key is a key, the names of our own among them`, async () => {
      const json =
        '{"__proto__":{"a":1},"constructor":1.5,"toString":"","":null,"_f_":["x"],"_f_info":"y",' +
        '"_csrft_":7,"\\ud800":{},"é😀":[[],{"__proto__":null}],"length":-1e-7,"user":false}';
      const { visit } = setUp();
      const browser = visit(({ session, path }) => {
        if (path === '/') session.update(JSON.parse(json)); // own keys, as JSON.parse makes them
        if (path === '/more') session.set('counter', 1);
        return text(JSON.stringify(session));
      });
      for (const path of ['/', '/again']) assert.equal((await browser.get(path)).body, json, path);
      const more = json.replace(/}$/, ',"counter":1}');
      for (const path of ['/more', '/']) assert.equal((await browser.get(path)).body, more, path);
      assert.equal(({} as { a?: number }).a, undefined, 'nobody else has got it');
    });

    it(`${name}: two visitors share nothing, not even a token`, async () => {
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
      assert.equal(tokens.size, 2, 'each has one, and keeps it');
      assert.notEqual(cookieOf(one), cookieOf(two));
    });

    it(`${name}: newCsrfToken() makes another, which stays`, async () => {
      const { visit } = setUp();
      const tokens: string[] = [];
      const browser = visit(({ session, path }) => {
        tokens.push(path === '/new' ? session.newCsrfToken() : session.csrfToken());
        return text('');
      });
      for (const path of ['/', '/new', '/']) await browser.get(path);
      assert.match(String(tokens[0]), /^([0-9a-f]{2}){20,}$/, '160 bits or more');
      assert.notEqual(tokens[0], tokens[1]);
      assert.equal(tokens[1], tokens[2]);
    });

    it(`${name}: it knows when it began and when it was last used`, async () => {
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

    it(`${name}: a change deep inside is noticed`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session }) => {
        session.setDefault('list', [[]]);
        (session.get('list')?.[0] as string[]).push('a');
        return text(JSON.stringify(session.get('list')));
      });
      await browser.get('/');
      assert.equal((await browser.get('/')).body, '[["a","a"]]');
    });

    it(`${name}: a message outlives redirects, HEAD and failures until it is popped`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session, path, method }) => {
        if (path === '/leave') session.flash('hello', 'info');
        if (path === '/leave' || path === '/on') return seeOther('/');
        const messages = session.popFlash('info');
        return { ...text(messages.join()), status: path === '/fail' ? 500 : method ? 200 : 0 };
      });
      await browser.request('GET', '/leave');
      await browser.request('GET', '/on');
      await browser.request('HEAD', '/');
      await browser.request('GET', '/fail');
      assert.equal((await browser.get('/')).body, 'hello');
      assert.equal((await browser.get('/')).body, '');
    });

    it(`${name}: flash queues are apart, in order, and popped once`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session, path }) => {
        if (path !== '/leave') return text(`${session.popFlash()}|${session.popFlash('info')}`);
        for (const word of ['a', 'b', 'a']) session.flash(word);
        for (const word of ['c', 'c']) session.flash(word, 'info', false);
        return seeOther('/');
      });
      assert.equal((await browser.get('/leave')).body, 'a,b,a|c', 'after the redirect');
      assert.equal((await browser.get('/')).body, '|');
    });

    it(`${name}: a page that throws saves nothing, and is a 500`, async (t) => {
      t.mock.method(console, 'error', () => {});
      const { visit } = setUp();
      const browser = visit((request) => {
        const response = count(request);
        if (request.path === '/throw') throw new Error('the page is broken');
        return response;
      });
      for (const expected of ['1', '2']) {
        const { status, headers } = await browser.get('/throw');
        assert.deepEqual([status, headers['set-cookie']], [500, undefined]);
        assert.equal((await browser.get('/')).body, expected);
      }
    });

    it(`${name}: a page with a session is nobody else's to keep, whatever it answers`, async () => {
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

    it(`${name}: HEAD and a page that failed save nothing`, async () => {
      const { visit } = setUp();
      const page: Page = (request) => {
        const response = count(request) as HttpResponse;
        return { ...response, status: request.path === '/fail' ? 500 : 200 };
      };
      const browser = visit(page);
      for (const [method, path] of [['HEAD', '/'], ['GET', '/fail'], ['HEAD', '/fail']] as const) {
        assert.equal((await browser.request(method, path)).headers['set-cookie'], undefined);
      }
      assert.equal((await browser.get('/')).body, '1');
      await browser.request('HEAD', '/');
      await browser.request('GET', '/fail');
      assert.equal((await browser.get('/')).body, '2');
    });

    it(`${name}: it ends when it was idle for 20 minutes, and is new in every way`, async () => {
      const { visit, clock } = setUp();
      const browser = visit((request) => {
        const { isNew, created } = request.session;
        count(request);
        return text(`${isNew} ${created - NOW} ${request.session.get('counter')}`);
      });
      await browser.get('/');
      clock.now += 1199;
      assert.equal((await browser.get('/')).body, 'false 0 2');
      clock.now += 1201;
      assert.equal((await browser.get('/')).body, 'true 2400 1');
    });

    it(`${name}: a clock set back loses nothing; set right, it ends who looks idle`, async () => {
      const { visit, clock } = setUp();
      const browser = visit(count);
      const bodies = [];
      for (const seconds of [0, 10, -86_400, 10, 86_400]) {
        clock.now += seconds;
        bodies.push((await browser.get('/')).body);
      }
      assert.deepEqual(bodies, ['1', '2', '3', '4', '1'], 'seen a day ago, says the clock');
      assert.equal((await browser.get('/')).body, '2');
    });

    it(`${name}: a clock that jumps ahead ends sessions, and new ones work`, async () => {
      const { visit, clock } = setUp();
      const browser = visit(count);
      const bodies = [];
      for (const seconds of [0, 1e9, 10, -1e9, 10]) {
        clock.now += seconds;
        bodies.push((await browser.get('/')).body);
      }
      assert.deepEqual(bodies, ['1', '1', '2', '3', '4']);
    });

    it(`${name}: it ends at absoluteTimeout, however busy`, async () => {
      const { visit, clock } = setUp({ absoluteTimeout: 3000 });
      const browser = visit(count);
      for (const expected of ['1', '2', '3']) {
        assert.equal((await browser.get('/')).body, expected);
        clock.now += 999;
      }
      clock.now += 4;
      assert.equal((await browser.get('/')).body, '1');
    });

    it(`${name}: reading alone keeps it alive`, async () => {
      const { visit, clock } = setUp();
      const read: Page = ({ session }) => text(`${session.get('counter')}`);
      const browser = visit((request) => (request.path === '/' ? count : read)(request));
      await browser.get('/');
      for (let i = 0; i < 4; i++) {
        clock.now += 1000;
        assert.equal((await browser.get('/read')).body, '1');
      }
    });

    it(`${name}: regenerateId() keeps the data; created, token and cookie are others`, async () => {
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
      assert.deepEqual([tokens[0] === tokens[1], tokens[1] === tokens[2]], [true, false]);
      assert.equal(tokens[2], tokens[3]);
    });

    it(`${name}: invalidate() deletes the cookie; what is set after it is a new one`, async () => {
      const { visit } = setUp();
      const browser = visit((request) => {
        if (request.path !== '/') request.session.invalidate();
        if (request.path === '/end') return text('ended');
        if (request.path === '/anew') assert.deepEqual([...request.session], []);
        return count(request);
      });
      await browser.get('/');
      const { headers } = await browser.get('/end');
      assert.match(String(headers['set-cookie']), /^session=; Max-Age=0; Path=\/; HttpOnly/);
      assert.equal(cookieOf(browser), undefined);
      await browser.get('/');
      assert.equal((await browser.get('/anew')).body, '1');
      assert.equal((await browser.get('/')).body, '2');
    });

    it(`${name}: a cookie that is made up, cut or foreign is a new session`, async () => {
      const { visit } = setUp();
      const browser = visit(count);
      await browser.get('/');
      const cookie = valueOf(browser);
      const odd = [
        '', 'x', cookie.slice(0, -1), cookie.slice(1), `${cookie}A`, `${cookie}=`, '__proto__',
        'A'.repeat(43), 'A'.repeat(4000), '%00', '"', 'null', '[1,2,{}]', 'é', cookie.toUpperCase(),
      ];
      for (const value of odd) {
        const request = { cookie: `session=${value}` };
        const { status, body } = await visit(count).request('GET', '/', '', request);
        assert.deepEqual([status, body], [200, '1'], value.slice(0, 50));
      }
      assert.equal((await browser.get('/')).body, '2', 'the cookie itself was good');
    });

    it(`${name}: a cookie with any one character changed is a new session`, async () => {
      const { visit } = setUp();
      const browser = visit(count);
      await browser.get('/');
      const cookie = valueOf(browser);
      for (const [at, character] of [...cookie].entries()) {
        const other = character === 'A' ? 'B' : 'A';
        const value = `${cookie.slice(0, at)}${other}${cookie.slice(at + 1)}`;
        const request = { cookie: `session=${value}` };
        const { status, body } = await visit(count).request('GET', '/', '', request);
        assert.deepEqual([status, body], [200, '1'], `character ${at} of ${cookie.length}`);
      }
      assert.equal((await browser.get('/')).body, '2', 'the cookie itself was good');
    });

    it(`${name}: a good cookie from somewhere else is not adopted`, async () => {
      const { visit, clock } = setUp();
      const now = (): number => clock.now;
      const factories: SessionFactory<Data>[] = [
        make({ now }, true),
        new SignedCookieSessionFactory<Data>({ secrets, now, salt: 'another purpose' }),
        new EncryptedCookieSessionFactory<Data>({ secrets, now, salt: 'another purpose' }),
      ];
      for (const [index, factory] of factories.entries()) {
        const foreigner = new Browser(withSession(factory, count), ORIGIN, now);
        for (const expected of ['1', '2']) assert.equal((await foreigner.get('/')).body, expected);
        const browser = visit(count);
        const request = { cookie: cookieOf(foreigner) };
        const { body } = await browser.request('GET', '/', '', request);
        assert.equal(body, '1', `factory ${index}`);
        assert.notEqual(cookieOf(browser), cookieOf(foreigner));
        assert.equal((await browser.get('/')).body, '2', 'one of its own');
      }
    });

    it(`${name}: the cookie is HttpOnly, Lax, and Secure where it is told`, async () => {
      const line = async (secure: boolean): Promise<string> =>
        String((await setUp({ secure }).visit(count).get('/')).headers['set-cookie']);
      assert.match(await line(false), /^session=[\w-]+; Path=\/; HttpOnly; SameSite=Lax$/);
      assert.match(await line(true), /^session=[\w-]+; Path=\/; Secure; HttpOnly; SameSite=Lax$/);
    });

    it(`${name}: a cookie that was Secure is deleted with the same attributes`, async () => {
      const { visit } = setUp({ secure: true });
      const browser = visit((request) => {
        if (request.path === '/') return count(request);
        request.session.invalidate();
        return text('');
      });
      await browser.get('/');
      const { headers } = await browser.get('/end');
      const line = 'session=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax';
      assert.deepEqual(headers['set-cookie'], [line]);
    });

    it(`${name}: what is too large is refused, and what there was is still there`, async () => {
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

    it(`${name}: a value that JSON would change is refused`, async () => {
      const { visit } = setUp();
      const browser = visit(({ session, path }) => {
        session.update('counter', (counter = 0) => counter + 1);
        if (path === '/map') session.setDefault('list', []).push(new Map());
        return text(JSON.stringify(session));
      });
      await browser.get('/');
      await assert.rejects(async () => browser.get('/map'), /a session keeps JSON values only/);
      assert.equal((await browser.get('/')).body, '{"counter":2}', 'what there was is still there');
    });
  });
}

/** What every store does, whatever it is made of. */
function describeStore(
  name: string,
  make: (now: () => number) => SessionStore,
  skip: string | false = false,
): void {
  describe(`SessionStore: ${name}`, { skip }, () => {
    const clock = { now: NOW };
    let store: SessionStore;
    let unique = 0;
    const key = (): string => `${name} ${unique++}`; // the tests share a store, and no key
    const entry = { text: '{}', owner: '', expires: NOW + 1000 };

    before(() => {
      store = make(() => clock.now);
    });

    it(`${name}: put() takes version after version, and none twice`, async () => {
      const a = key();
      assert.equal(await store.get(a), undefined);
      assert.equal(await store.put(a, entry, 1), false, 'nothing is there yet');
      assert.equal(await store.put(a, { ...entry, text: 'one' }, 0), true);
      assert.deepEqual(await store.get(a), { ...entry, text: 'one', version: 1 });
      assert.equal(await store.put(a, entry, 0), false);
      assert.equal(await store.put(a, { ...entry, text: 'two' }, 1), true);
      for (const stale of [0, 1, 3]) assert.equal(await store.put(a, entry, stale), false);
      assert.deepEqual(await store.get(a), { ...entry, text: 'two', version: 2 });
    });

    it(`${name}: what was deleted is not brought back`, async () => {
      const a = key();
      await store.put(a, entry, 0);
      await store.delete(a);
      await store.delete(a);
      assert.equal(await store.get(a), undefined);
      for (const stale of [1, 2]) assert.equal(await store.put(a, entry, stale), false);
      assert.equal(await store.get(a), undefined);
      assert.equal(await store.put(a, { ...entry, text: 'anew' }, 0), true, 'only as a new one');
      assert.deepEqual(await store.get(a), { ...entry, text: 'anew', version: 1 });
    });

    it(`${name}: a delete in the midst of 50 who put wins over them all`, async () => {
      const [a, owner] = [key(), key()];
      await store.put(a, { ...entry, owner }, 0);
      const work = Array.from({ length: 50 }, async (_, i): Promise<unknown> =>
        i === 25 ? store.delete(a) : store.put(a, { ...entry, owner }, 1),
      );
      await Promise.all(work);
      assert.equal(await store.get(a), undefined);
      assert.deepEqual(await store.keysOf(owner), []);
    });

    it(`${name}: delete() leaves the neighbours, and keys differ by case`, async () => {
      const [a, b, c] = [`${key()} aB`, `${key()} ab`, `${key()} aB`];
      const keys = [a, a.toUpperCase(), a.toLowerCase(), b, c, `${a} `, `${a}%`];
      for (const one of keys) {
        assert.equal(await store.put(one, { ...entry, text: one }, 0), true, one);
      }
      for (const one of keys) assert.equal((await store.get(one))?.text, one);
      await store.delete(a);
      assert.equal(await store.get(a), undefined);
      for (const one of keys.slice(1)) assert.equal((await store.get(one))?.text, one);
    });

    it(`${name}: of 50 who put a new one at once one is the first`, async () => {
      const a = key();
      const puts = Array.from({ length: 50 }, (_, i) => {
        return store.put(a, { ...entry, text: `${i}` }, 0);
      });
      const winners = (await Promise.all(puts)).flatMap((isFirst, i) => (isFirst ? [`${i}`] : []));
      assert.equal(winners.length, 1);
      assert.deepEqual(await store.get(a), { ...entry, text: winners[0], version: 1 });
    });

    it(`${name}: of 50 who put at once one is the first`, async () => {
      const a = key();
      await store.put(a, entry, 0);
      const puts = Array.from({ length: 50 }, (_, i) => {
        return store.put(a, { ...entry, text: `${i}` }, 1);
      });
      const winners = (await Promise.all(puts)).flatMap((isFirst, i) => (isFirst ? [`${i}`] : []));
      assert.equal(winners.length, 1);
      assert.deepEqual((await store.get(a))?.text, winners[0]);
    });

    it(`${name}: at its time an entry is gone, and may be put anew`, async () => {
      const [a, owner] = [key(), key()];
      await store.put(a, { ...entry, owner, expires: clock.now + 10 }, 0);
      clock.now += 9;
      assert.equal((await store.get(a))?.version, 1);
      clock.now += 1;
      assert.equal(await store.get(a), undefined);
      assert.deepEqual(await store.keysOf(owner), []);
      assert.equal(await store.put(a, entry, 1), false);
      const anew = { text: 'anew', owner, expires: clock.now + 10.25 };
      assert.equal(await store.put(a, anew, 0), true);
      assert.equal(await store.put(a, anew, 0), false, 'it is alive again');
      assert.deepEqual(await store.get(a), { ...anew, version: 1 });
      assert.deepEqual(await store.keysOf(owner), [a]);
    });

    it(`${name}: the last put says how long it lives, to the fraction of a second`, async () => {
      const [a, b] = [key(), key()];
      const start = clock.now;
      for (const one of [a, b]) await store.put(one, { ...entry, expires: start + 10 }, 0);
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

    it(`${name}: texts come back to the byte`, async () => {
      const texts = [
        '', '\x7f', '"\'\\', 'é😀\r\n', '$5\r\nhello\r\n', '\u2028\ufeff\ufffd',
        "'); DROP TABLE sessions", JSON.stringify('\0\ud800'), 'x'.repeat(65_536),
        '€'.repeat(65_536), '😀'.repeat(32_768),
      ];
      for (const words of texts) {
        const a = key();
        await store.put(a, { ...entry, text: words }, 0);
        const found = (await store.get(a))?.text;
        assert.ok(found === words, `${words.slice(0, 20)} came back as ${found?.slice(0, 20)}`);
      }
    });

    it(`${name}: keysOf() has the living of one owner, whatever their name`, async () => {
      const names = [
        'ada', 'Ada', 'ada ', 'a%', 'a_a', 'a b', "'; DROP TABLE sessions; --", '"',
        '\r\nDEL x\r\n', '*', '__proto__', 'constructor', 'é😀', 'e\u0301', 'x'.repeat(1000),
      ];
      const living = new Map<string, string[]>();
      for (const owner of names) {
        const [a, b, c, d] = [key(), key(), key(), key()];
        for (const one of [a, b, c]) await store.put(one, { ...entry, owner }, 0);
        await store.put(d, { ...entry, owner, expires: clock.now }, 0);
        await store.put(b, { ...entry, owner }, 1);
        await store.delete(c);
        living.set(owner, [a, b].toSorted());
      }
      for (const [owner, keys] of living) {
        assert.deepEqual((await store.keysOf(owner)).toSorted(), keys, JSON.stringify(owner));
      }
      for (const owner of ['nobody', 'ad', 'adaa', '%']) {
        assert.deepEqual(await store.keysOf(owner), [], owner);
      }
    });

    it(`${name}: keysOf() has all of them, however many`, async () => {
      const [owner, other] = [key(), key()];
      const keys = Array.from({ length: 1_500 }, key);
      await Promise.all(keys.map((one) => store.put(one, { ...entry, owner }, 0)));
      const moved = keys.splice(0, 500); // so there is something to be passed over
      await Promise.all(moved.map((one) => store.put(one, { ...entry, owner: other }, 1)));
      assert.deepEqual((await store.keysOf(owner)).toSorted(), keys.toSorted());
    });

    it(`${name}: keysOf() follows a session from one owner to another`, async () => {
      const [a, ada, bob] = [key(), key(), key()];
      await store.put(a, entry, 0);
      await store.put(a, { ...entry, owner: ada }, 1);
      assert.deepEqual([await store.keysOf(ada), await store.keysOf(bob)], [[a], []]);
      await store.put(a, { ...entry, owner: bob }, 2);
      assert.deepEqual([await store.keysOf(ada), await store.keysOf(bob)], [[], [a]]);
      await store.put(a, entry, 3);
      assert.deepEqual([await store.keysOf(ada), await store.keysOf(bob)], [[], []]);
    });

    it(`${name}: an entry may have no end`, async () => {
      const a = key();
      assert.equal(await store.put(a, { ...entry, expires: Infinity }, 0), true);
      assert.equal(await store.put(a, { ...entry, expires: Infinity }, 1), true);
      assert.equal((await store.get(a))?.expires, Infinity);
    });

    it(`${name}: keysOf('') has nobody's`, async () => {
      await store.put(key(), entry, 0);
      assert.deepEqual(await store.keysOf(''), []);
    });

    it(`${name}: what it gives and takes are copies`, async () => {
      const a = key();
      const mine = { ...entry };
      await store.put(a, mine, 0);
      mine.text = 'changed';
      const got = await store.get(a);
      if (got) got.text = 'changed';
      assert.equal((await store.get(a))?.text, '{}');
      const owner = key();
      await store.put(key(), { ...entry, owner }, 0);
      (await store.keysOf(owner)).push('changed');
      assert.equal((await store.keysOf(owner)).length, 1);
    });
  });
}

describe('the contracts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'contracts-'));
  let redis: ChildProcess | undefined;
  let url = '';
  const closing: (() => unknown)[] = [];

  before(async () => {
    if (!hasRedis) return;
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    probe.close();
    const words = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder];
    const more = ['--databases', `${MAX_DATABASES}`];
    redis = spawn('redis-server', [...words, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
    let printed = '';
    for await (const chunk of redis.stdout?.iterator({ destroyOnReturn: false }) ?? []) {
      if ((printed += chunk).includes('Ready to accept connections')) break;
    }
    redis.stdout?.resume();
    assert.match(printed, /Ready to accept connections/, printed);
    url = `redis://127.0.0.1:${port}`;
  }, { timeout: 10_000 });

  after(async () => {
    for (const close of closing) await close();
    redis?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  let files = 0;
  const makeSqlite = (now: () => number): SessionStore => {
    const store = new SqliteStore(join(folder, `${files++}.sqlite`), now);
    closing.push(() => store.close());
    return store;
  };
  let databases = 0;
  const nextDatabase = (): string => {
    assert.ok(hasRedis, 'where CI is set nothing is skipped: install redis-server');
    return `${url}/${databases++}`; // as empty as a new file
  };
  const makeRedis = (now: () => number): SessionStore => {
    const client = new RedisClient(nextDatabase());
    closing.push(() => client.close());
    return new RedisStore(client, now);
  };

  describeStore('MemoryStore', (now) => new MemoryStore({ now }));
  if (hasSqlite) describeStore('SqliteStore', makeSqlite);
  describeStore('RedisStore', makeRedis, skipRedis);

  describeSessionFactory('signed', (options, isForeign) => {
    const own = isForeign ? others : secrets;
    return new SignedCookieSessionFactory<Data>({ ...options, secrets: own });
  });
  describeSessionFactory('encrypted', (options, isForeign) => {
    const own = isForeign ? others : secrets;
    return new EncryptedCookieSessionFactory<Data>({ ...options, secrets: own });
  });
  const stored = (store: SessionStore, options: Options): SessionFactory<Data> =>
    new StoredSessionFactory<Data>(store, options);
  describeSessionFactory('memory', (o) => stored(new MemoryStore({ now: o.now }), o));
  if (hasSqlite) describeSessionFactory('SQLite', (o) => stored(makeSqlite(o.now), o));
  describeSessionFactory('Redis', (o) => stored(makeRedis(o.now), o), skipRedis);

  it('RedisStore lets Redis throw out what is past its time', { skip: skipRedis }, async () => {
    const client = new RedisClient(nextDatabase());
    closing.push(() => client.close());
    const store = new RedisStore(client, () => NOW);
    await store.put('a', { text: '{}', owner: '', expires: NOW + 60.5 }, 0);
    const left = Number(await client.command('PTTL', 'session:a'));
    assert.ok(left > 50_000 && left <= 60_500, `${left} milliseconds`);
  });

  it('RedisClient takes an answer that was there in time', { skip: skipRedis }, async () => {
    const client = new RedisClient(nextDatabase());
    closing.push(() => client.close());
    await client.command('PING');
    const answer = client.command('PING');
    const end = performance.now() + 600; // the server is quick, and we are busy beyond the limit
    while (performance.now() < end);
    assert.equal(await answer, 'PONG');
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.equal(await client.command('PING'), 'PONG', 'and the connection is kept');
  });

  it('SessionFactory<Data> knows its keys: a misspelt one does not compile', async () => {
    const factory: SessionFactory<Data> = new SignedCookieSessionFactory<Data>({ secrets });
    const page = withSession(factory, ({ session }) => {
      // @ts-expect-error a misspelt key
      session.get('conter');
      // @ts-expect-error a value of another type
      session.set('counter', '1');
      return text(`${session.get('counter')}`);
    });
    assert.equal((await new Browser(page).get('/')).body, '1', 'and it is the compiler who minds');
  });

  // A client of somebody else's, where one is installed: bench/ has it, and the lesson's one line.
  const library = process.env.NODE_REDIS;
  if (library) {
    describeStore('node-redis', (now) => {
      const connected = import(library).then(async ({ createClient }) => {
        const client = await createClient({ url: nextDatabase() }).connect();
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

