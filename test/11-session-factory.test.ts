import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { makeServer } from '../src/01-server.ts';
import { parseRequest, text, toListener } from '../src/02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { MAX_COOKIE_SIZE } from '../src/07-cookie.ts';
import { Browser } from '../src/08-browser.ts';
import { Signer } from '../src/09-signer.ts';
import { MAX_DEPTH, Session } from '../src/10-session.ts';
import type { Json } from '../src/10-session.ts';
import { SignedCookieSessionFactory, site, withSession } from '../src/11-session-factory.ts';
import type { CookieSessionOptions } from '../src/11-session-factory.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000;
const ORIGIN = 'http://localhost:6543';
const SECRETS = ['itsaseekreet'];

type Page = Handler<HttpRequest & { session: Session }>;

function makeFactory(options: Partial<CookieSessionOptions> = {}): SignedCookieSessionFactory {
  return new SignedCookieSessionFactory({ secrets: SECRETS, now: () => NOW, ...options });
}

/** A tutorial site whose clock stands where `clock.now` says, and a browser that is there. */
function tutorial(options: Partial<CookieSessionOptions> = {}) {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const { handle } = site(new SignedCookieSessionFactory({ secrets: SECRETS, now, ...options }));
  return { clock, handle, browser: new Browser(handle, ORIGIN, now) };
}

/** A browser at a site of one page, which has a session. */
function onePage(page: Page, options: Partial<CookieSessionOptions> = {}) {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const handler = withSession(makeFactory({ now, ...options }), page);
  return { clock, browser: new Browser(handler, ORIGIN, now) };
}

function count(response: HttpResponse): number {
  return Number(/<p>Count: (\d+)<\/p>/.exec(String(response.body))?.[1]);
}

function request(cookie?: string, method = 'GET'): HttpRequest {
  return parseRequest(method, '/', cookie === undefined ? {} : { cookie }) as HttpRequest;
}

function setCookie(response: HttpResponse): string | undefined {
  const lines = [response.headers['set-cookie'] ?? []].flat();
  assert.ok(lines.length < 2, `one Set-Cookie at most was expected, not ${lines.length}`);
  return lines[0];
}

/** The cookie's value for some data, made at NOW. */
function cookieFor(factory: SignedCookieSessionFactory, data: Record<string, Json>): string {
  const session = new Session(NOW);
  session.update(data);
  return factory.write(session);
}

describe('11-session-factory: the tutorial', () => {
  it('site() shows the title, the heading and the count of the original', async () => {
    const { browser } = tutorial();
    const pages = [
      ['/', 'Home View', 1],
      ['/howdy', 'Hello View', 2],
    ] as const;
    for (const [path, name, visits] of pages) {
      const { body, status } = await browser.get(path);
      assert.equal(status, 200);
      assert.match(String(body), new RegExp(`<title>Quick Tutorial: ${name}</title>`));
      assert.match(String(body), new RegExp(`<h1>Hi ${name}</h1>\n<p>Count: ${visits}</p>`));
    }
  });

  it('site() of step 11 gives its routes the names that the original gives them', () => {
    const routes = ['home', 'hello'].map((name) => site().pathFor(name));
    assert.deepEqual(routes, ['/', '/howdy']);
  });

  it('site() shares one count between / and /howdy', async () => {
    const { browser } = tutorial();
    for (const [i, path] of ['/', '/', '/howdy', '/', '/howdy'].entries()) {
      assert.equal(count(await browser.get(path)), i + 1, `visit ${i + 1}, to ${path}`);
    }
  });

  it('site() counts for each browser by itself', async () => {
    const { browser, handle } = tutorial();
    await browser.get('/');
    await browser.get('/');
    const other = new Browser(handle, ORIGIN, () => NOW);
    assert.equal(count(await other.get('/')), 1, 'the second browser has not been here');
    assert.equal(count(await browser.get('/')), 3);
  });

  /** Counts twice at one site, and goes on at another that has nothing but its own secret. */
  async function countAfterRestart(secret: string): Promise<number> {
    const router = { handle: tutorial().handle };
    const browser = new Browser((r) => router.handle(r), ORIGIN, () => NOW);
    await browser.get('/');
    await browser.get('/howdy');
    router.handle = tutorial({ secrets: [secret] }).handle;
    return count(await browser.get('/'));
  }

  it('site() goes on counting after a restart', async () => {
    assert.equal(await countAfterRestart('itsaseekreet'), 3, 'the cookie holds all that is needed');
  });

  it('site() begins anew after a restart with another secret', async () => {
    assert.equal(await countAfterRestart('another'), 1, 'what another secret signed is not ours');
  });

  it('site() opens no session for files, for a 404 and for a 405', async () => {
    let opened = 0;
    const { handle } = site({
      open: () => (opened++, new Session<{ counter: number }>(NOW)),
      save: (_session, _request, response) => response,
    });
    const browser = new Browser(handle);
    for (const path of ['/style.css', '/favicon.svg', '/favicon.ico', '/nowhere']) {
      const { headers } = await browser.get(path);
      assert.equal(headers['set-cookie'], undefined, path);
      assert.equal(headers.vary, undefined, `${path} does not depend on the cookie`);
    }
    assert.equal((await browser.request('DELETE', '/')).status, 405);
    assert.equal(opened, 0);
  });

  it('withSession() is needed: a page that reads a session cannot be mounted without', () => {
    const page: Page = ({ session }) => text(String(session.size));
    const router = new Router().get('/with', withSession(makeFactory(), page));
    // @ts-expect-error: the request of a bare route has no session
    router.get('/without', page);
    assert.ok(router.find('/with'));
  });
});

describe('11-session-factory: the wire', () => {
  it('write() makes base64url of signature and [accessed, created, data], as Pyramid', () => {
    const session = new Session(NOW + 0.25);
    session.set('counter', 1);
    const payload = '[1700000000,1700000000.25,{"counter":1}]';
    const key = 'pyramid.session.' + 'itsaseekreet';
    const signature = createHmac('sha512', key).update(payload).digest();
    const expected = Buffer.concat([signature, Buffer.from(payload)]).toString('base64url');
    const made = makeFactory({ now: () => NOW + 0.25 }).write(session);
    assert.equal(Buffer.from(made, 'base64url').subarray(64).toString(), payload, 'the payload');
    assert.equal(made, expected);
  });

  it('write() makes the very cookie of real Pyramid, given Python\'s spaces', () => {
    const session = new Session(NOW + 0.25);
    session.set('counter', 1);
    const serializer = {
      dumps: (value: Json) => JSON.stringify(value).replaceAll(',', ', ').replaceAll(':', ': '),
      loads: (words: string): unknown => JSON.parse(words),
    };
    const theirs = vectors.good.find(({ name }) => name === 'counter 1')?.cookie;
    assert.equal(makeFactory({ now: () => NOW + 0.25, serializer }).write(session), theirs);
  });

  it('read() refuses a cookie with any one bit changed', () => {
    const factory = makeFactory();
    const cookie = cookieFor(factory, { counter: 1 });
    assert.ok(factory.read(cookie), 'the cookie itself is good');
    const bytes = Buffer.from(cookie, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const { isNew, size } = factory.open(request(`session=${changed.toString('base64url')}`));
      assert.ok(isNew && size === 0, `bit ${bit} was flipped, and the session was still taken`);
    }
  });

  it('read() refuses a cookie cut anywhere, and one with anything added', () => {
    const factory = makeFactory();
    const cookie = cookieFor(factory, { counter: 1 });
    for (let end = 0; end < cookie.length; end++) {
      assert.equal(factory.read(cookie.slice(0, end)), undefined, `cut to ${end} characters`);
    }
    for (const more of ['A', 'AA', 'AAAA', '=', '==', '.', '%00', ' x', cookie]) {
      assert.equal(factory.read(cookie + more), undefined, `with ${more} at its end`);
      assert.equal(factory.read(more + cookie), undefined, `with ${more} in front`);
    }
  });

  it('read() gives a serializer nothing to load that was not signed', () => {
    const serializer = { dumps: () => '', loads: () => [NOW, NOW, { admin: true }] };
    const factory = makeFactory({ serializer });
    assert.deepEqual(factory.read(factory.signer.sign('')), {
      accessed: NOW,
      created: NOW,
      data: { admin: true },
    });
    for (const cookie of ['', 'forged']) assert.equal(factory.read(cookie), undefined, cookie);
  });

  it('read() takes a session as deep as one can be written', () => {
    const deepest = JSON.parse('['.repeat(MAX_DEPTH - 1) + ']'.repeat(MAX_DEPTH - 1)) as Json;
    const factory = makeFactory();
    assert.deepEqual(factory.read(cookieFor(factory, { deepest }))?.data, { deepest });
  });

  it('read() shows a serializer nothing that we have not signed', () => {
    const seen: string[] = [];
    const loads = (words: string): unknown => (seen.push(words), JSON.parse(words));
    const factory = makeFactory({ serializer: { dumps: JSON.stringify, loads } });
    const payload = `[${NOW},${NOW},{"user":"ada"}]`;
    const forged = Buffer.concat([Buffer.alloc(64), Buffer.from(payload)]).toString('base64url');
    assert.equal(factory.read(forged), undefined, 'a signature of zeros');
    assert.deepEqual(seen, [], 'what was parsed before its signature was found good');
    assert.deepEqual(factory.read(cookieFor(factory, { a: 1 }))?.data, { a: 1 });
    assert.equal(seen.length, 1, 'and what is ours is parsed');
  });

  it('open() makes a new session of a signed payload that is none', () => {
    const factory = makeFactory();
    const signer = new Signer({ secrets: SECRETS, salt: 'pyramid.session.' });
    const deep = '['.repeat(MAX_DEPTH + 1) + ']'.repeat(MAX_DEPTH + 1);
    const payloads = [
      '',
      '{}',
      'null',
      '7',
      '"abc"',
      '[]',
      `[${NOW}, ${NOW}]`,
      `[${NOW}, ${NOW}, {}, {}]`,
      `[${NOW}, ${NOW}, null]`,
      `[${NOW}, ${NOW}, 7]`,
      `[${NOW}, ${NOW}, ""]`,
      `[${NOW}, ${NOW}, [["counter", 7]]]`,
      `["${NOW}", ${NOW}, {}]`,
      `[${NOW}, null, {}]`,
      `[1e999, ${NOW}, {}]`,
      `[${NOW}, -1e999, {}]`,
      `[${NOW}, ${NOW}, {"a": NaN}]`,
      `[${NOW}, ${NOW}, {"a": 1e999}]`, // could be read, but never written again
      `[${NOW}, ${NOW}, {"a": ${deep}}]`, // likewise
      `[${NOW}, ${NOW}, {}] more`,
    ];
    for (const payload of payloads) {
      const session = factory.open(request(`session=${signer.sign(payload)}`));
      assert.ok(session.isNew && session.size === 0, `signed by us: ${payload.slice(0, 60)}`);
    }
  });

  it('open() answers hostile cookies with a new session, and never with an error', async () => {
    const { handle } = tutorial();
    const cookie = cookieFor(makeFactory(), { counter: 7 });
    const headers = [
      'session',
      'session=',
      'session="',
      'session=""',
      `session="${cookie}`,
      'session=%E0%A4%A',
      'session=\0',
      `session=${'A'.repeat(10_000)}`,
      '__proto__=x; session=__proto__',
      `SESSION=${cookie}`,
      `xsession=${cookie}`,
      `session=bad; session=${cookie}`,
      `a="x; y=1, session=${cookie}`,
    ];
    for (const header of headers) {
      const response = await witness(handle)(request(header));
      assert.equal(response.status, 200, `Cookie: ${header.slice(0, 60)}`);
      assert.equal(count(response), 1, `Cookie: ${header.slice(0, 60)}`);
    }
  });
});

describe('11-session-factory: what is saved, and when', () => {
  it('save() sets no cookie for 50 parallel requests that change nothing', async () => {
    const { browser } = onePage(({ path, session }) => {
      if (path === '/set') session.set('name', 'Ada');
      return text(String(session.get('name')));
    });
    await browser.get('/set');
    const all = Array.from({ length: 50 }, () => browser.request('GET', '/look'));
    for (const response of await Promise.all(all)) {
      assert.equal(response.body, 'Ada');
      assert.equal(setCookie(response), undefined, 'an old cookie could overwrite a newer one');
    }
  });

  it('save() sets no cookie for a new visitor of whom nothing is kept', async () => {
    const { browser } = onePage(({ session }) => text(String(session.get('name'))));
    assert.equal(setCookie(await browser.get('/')), undefined);
  });

  it('save() notices a change deep inside a value, with no call of changed()', async () => {
    const { browser } = onePage(({ path, session }) => {
      const cart = session.setDefault('cart', { lines: [] }) as { lines: string[] };
      if (path === '/add') cart.lines.push('tea');
      return text(String(cart.lines.length));
    });
    await browser.get('/');
    await browser.get('/add');
    await browser.get('/add');
    assert.equal((await browser.get('/')).body, '2');
  });

  it('save() sets a cookie where changed() was called and nothing else happened', async () => {
    const { browser } = onePage(({ session }) => (session.changed(), text('')));
    assert.match(setCookie(await browser.get('/')) ?? '', /^session=\w/);
  });

  it('save() refuses a value that became no JSON after it was set', () => {
    const factory = makeFactory();
    const session = factory.open(request());
    const list: Json[] = [];
    session.set('list', list);
    list.push(Number.NaN);
    assert.throws(() => factory.save(session, request(), text('')), {
      name: 'TypeError',
      message: /^Cannot keep the session\["list"\]\[0\]: .*it is NaN$/,
    });
  });

  it('save() writes an unchanged cookie anew when it is older than reissueTime', async () => {
    const { browser, clock } = onePage(({ path, session }) => {
      if (path === '/set') session.set('name', 'Ada');
      return text(String(session.get('name')));
    });
    await browser.get('/set');
    clock.now = NOW + 120.9; // 1200 / 10, and time in a cookie is whole seconds
    assert.equal(setCookie(await browser.get('/')), undefined, '120 s old: not yet');
    clock.now = NOW + 121;
    assert.match(setCookie(await browser.get('/')) ?? '', /^session=/, '121 s old: due');
    clock.now = NOW + 121 + 1200;
    assert.equal((await browser.get('/')).body, 'Ada', 'the idle time began anew with that cookie');
  });

  it('save() never reissues with reissueTime Infinity, and with 0 after a second', async () => {
    for (const [reissueTime, isSent] of [
      [Infinity, false],
      [0, true],
    ] as const) {
      const { browser, clock } = onePage(
        ({ path, session }) => (path === '/set' && session.set('a', 1), text('')),
        { reissueTime },
      );
      await browser.get('/set');
      assert.equal(setCookie(await browser.get('/')), undefined, 'in the same second: never');
      clock.now += 1;
      assert.equal(setCookie(await browser.get('/')) !== undefined, isSent, `${reissueTime}`);
    }
  });

  it('save() deletes the cookie of a session that invalidate() ended', async () => {
    const { browser } = onePage(
      ({ path, session }) => {
        if (path === '/end') session.invalidate();
        else session.set('a', 1);
        return text('');
      },
      { path: '/', secure: true },
    );
    await browser.get('/');
    assert.match(browser.jar.headerFor(new URL(ORIGIN), NOW) ?? '', /^session=/);
    const line = setCookie(await browser.get('/end'));
    assert.equal(line, 'session=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax');
    assert.equal(browser.jar.headerFor(new URL(ORIGIN), NOW), undefined);
  });

  it('save() keeps what is set after invalidate() in a session with no past', async () => {
    const { browser, clock } = onePage(({ path, session }) => {
      if (path === '/renew') session.invalidate();
      session.update('visits', (visits) => Number(visits ?? 0) + 1);
      return text(`${session.get('visits')} ${session.created - NOW} ${session.isNew}`);
    });
    await browser.get('/');
    clock.now += 60;
    assert.equal((await browser.get('/')).body, '2 0 false');
    assert.equal((await browser.get('/renew')).body, '1 60 true');
    assert.equal((await browser.get('/')).body, '2 60 false');
  });

  it('save() never saves for HEAD: a look at the headers is no visit', async () => {
    const { browser } = tutorial();
    await browser.get('/');
    for (let i = 0; i < 3; i++) {
      const response = await browser.request('HEAD', '/');
      assert.equal(setCookie(response), undefined);
      assert.equal(response.headers.vary, 'Cookie', 'the other headers are those of GET');
    }
    assert.equal(count(await browser.get('/')), 2);
  });

  for (const setOnException of [false, true]) {
    const what = setOnException ? 'saves with setOnException' : 'saves nothing';
    it(`withSession() answers an error in a page with 500, and ${what}`, async (t) => {
      const log = t.mock.method(console, 'error', () => {});
      const { browser } = onePage(
        ({ path, session }) => {
          if (path === '/look') return text(session.popFlash().join());
          session.flash('kept');
          if (path === '/throw') throw new Error('the page is broken');
          return text('', 503);
        },
        { setOnException },
      );
      const thrown = await browser.get('/throw');
      assert.equal(thrown.status, 500);
      assert.doesNotMatch(String(thrown.body), /broken/, 'the visitor is told nothing');
      assert.match(String(log.mock.calls[0]?.arguments[0]), /^500 GET \/throw .* is broken/);
      assert.equal((await browser.get('/look')).body, setOnException ? 'kept' : '');
      assert.equal((await browser.get('/503')).status, 503);
      assert.equal((await browser.get('/look')).body, setOnException ? 'kept' : '');
    });
  }

  it('save() adds Vary and Cache-Control, but leaves what the page said', async () => {
    const { browser } = onePage(({ path }) => {
      const headers = { vary: 'Accept', 'cache-control': 'no-store' };
      return path === '/own' ? { status: 200, headers, body: '' } : text('');
    });
    const { headers } = await browser.get('/');
    assert.equal(headers.vary, 'Cookie');
    assert.equal(headers['cache-control'], 'private, no-cache');
    const own = (await browser.get('/own')).headers;
    assert.equal(own.vary, 'Accept, Cookie');
    assert.equal(own['cache-control'], 'no-store');
  });

  it('save() adds its cookie to those of the page', async () => {
    const handler = withSession(makeFactory(), ({ session }) => {
      session.set('a', 1);
      return { status: 200, headers: { 'set-cookie': 'theme=dark' }, body: '' };
    });
    const lines = (await witness(handler)(request())).headers['set-cookie'];
    assert.ok(Array.isArray(lines) && lines.length === 2, String(lines));
    assert.equal(lines[0], 'theme=dark');
  });
});

describe('11-session-factory: time', () => {
  it('read() keeps a session idle for exactly idleTimeout, and not a moment longer', async () => {
    const { browser, clock } = tutorial();
    await browser.get('/');
    clock.now += 1200;
    assert.equal(count(await browser.get('/')), 2, 'after 1200 s');
    clock.now += 1200.001;
    assert.equal(count(await browser.get('/')), 1, 'after 1200.001 s');
  });

  it('read() ends a session at absoluteTimeout, however busy it was', async () => {
    const { browser, clock } = tutorial();
    for (let visit = 1; visit <= 37; visit++, clock.now += 1200) {
      assert.equal(count(await browser.get('/')), visit, `${clock.now - NOW} s after it began`);
    }
    const later = tutorial({ absoluteTimeout: 100 });
    await later.browser.get('/');
    later.clock.now = NOW + 100;
    assert.equal(count(await later.browser.get('/')), 2, 'at 100 s of 100');
    later.clock.now = NOW + 100.001;
    const story = 'at 100.001 s of 100 a new session counts from 1, though the old was just seen';
    assert.equal(count(await later.browser.get('/')), 1, story);
    assert.equal(count(await browser.get('/')), 1, '12 hours and 20 minutes after it began');
  });

  it('read() ends a session by the clock of the server: a thief obeys no Max-Age', async () => {
    const { browser, clock, handle } = tutorial({ maxAge: 1200 });
    const url = new URL(ORIGIN);
    await browser.get('/');
    const copy = browser.jar.headerFor(url, NOW);
    clock.now += 1200;
    assert.equal(browser.jar.headerFor(url, clock.now), undefined, 'the browser has dropped its own');
    assert.equal(count(await witness(handle)(request(copy))), 2, 'a copy, in time');
    clock.now += 1;
    const late = count(await witness(handle)(request(copy)));
    assert.equal(late, 1, 'a copy that is 1201 s old begins a new session, which counts from 1');
  });

  it('read() gives a timed-out session no past: isNew, created and data', () => {
    const factory = makeFactory();
    const cookie = cookieFor(factory, { counter: 7 });
    const session = makeFactory({ now: () => NOW + 1201 }).open(request(`session=${cookie}`));
    assert.equal(session.isNew, true);
    assert.equal(session.created, NOW + 1201);
    assert.equal(session.size, 0);
  });

  it('read() keeps a session for ever with Infinity', () => {
    const forever = { idleTimeout: Infinity, absoluteTimeout: Infinity, now: () => 2 * NOW };
    const cookie = cookieFor(makeFactory(), { counter: 7 });
    assert.equal(makeFactory(forever).open(request(`session=${cookie}`)).get('counter'), 7);
  });

  it('read() bears a clock that was set back', async () => {
    const { browser, clock } = tutorial();
    await browser.get('/');
    clock.now = NOW - 3600;
    assert.equal(count(await browser.get('/')), 2, 'the cookie is from the future, yet it is ours');
  });
});

describe('11-session-factory: size', () => {
  /** A factory whose payload has so many bytes that the cookie's value has `length` characters. */
  function fill(cookieName: string, length: number): SignedCookieSessionFactory {
    const payload = 'x'.repeat(Math.floor((length * 3) / 4) - 64);
    return makeFactory({ cookieName, serializer: { dumps: () => payload, loads: JSON.parse } });
  }

  it('write() fills a cookie to 4096 bytes of name and value, and no further', () => {
    const session = new Session(NOW);
    assert.equal(fill('sessions', 4088).write(session).length, MAX_COOKIE_SIZE - 8);
    assert.throws(() => fill('sessionss', 4088).write(session), {
      name: 'RangeError',
      message: /^Cannot keep the session in a cookie: 4096 bytes at most: it has 4097\. /,
    });
  });

  it('write() names the bytes of each key where the session is too large', () => {
    const data = { small: 1, big: 'x'.repeat(3000), accents: 'é'.repeat(100) };
    assert.throws(() => cookieFor(makeFactory(), data), {
      name: 'RangeError',
      message: /: small 1, big 3002, accents 202\. Keep less, or on the server \(step 18\)$/,
    });
  });

  it('save() leaves the old cookie where the new one is too large: 500, in words', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const handler = withSession(makeFactory(), ({ session, search }) => {
      session.set('words', 'x'.repeat(Number(search.slice(1))));
      return text('saved');
    });
    const server = makeServer(toListener(handler)).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const headers = { connection: 'close' };
    const small = await fetch(`${url}?10`, { headers });
    assert.match(small.headers.get('set-cookie') ?? '', /^session=/);
    const large = await fetch(`${url}?4000`, { headers });
    assert.equal(large.status, 500);
    assert.match(await large.text(), /^500 Internal Server Error\n\nSomething went wrong/);
    assert.equal(large.headers.get('set-cookie'), null, 'so the browser still has the old one');
    assert.match(String(log.mock.calls[0]?.arguments[0]), /SessionTooLarge.*: .* words 4002\./);
  });
});

describe('11-session-factory: options', () => {
  it('SignedCookieSessionFactory() has safe attributes by default', async () => {
    assert.match(await lineWith({}), /^session=[\w-]+; Path=\/; HttpOnly; SameSite=Lax$/);
  });

  async function lineWith(options: Partial<CookieSessionOptions>): Promise<string> {
    const handler = withSession(makeFactory(options), ({ session }) => {
      session.set('a', 1);
      return text('');
    });
    return setCookie(await witness(handler)(request())) ?? '';
  }

  it('SignedCookieSessionFactory() has the clock of the machine by default, in seconds', (t) => {
    t.mock.method(Date, 'now', () => NOW * 1000 + 250);
    const { options } = new SignedCookieSessionFactory({ secrets: SECRETS });
    assert.equal(options.now(), NOW + 0.25);
  });

  const ATTRIBUTES: [string, Partial<CookieSessionOptions>, RegExp][] = [
    ['cookieName', { cookieName: 'sid' }, /^sid=[\w-]+; Path=\/; HttpOnly; SameSite=Lax$/],
    ['maxAge', { maxAge: 3600 }, /=[\w-]+; Max-Age=3600; Path=/],
    ['path', { path: '/app' }, /; Path=\/app; HttpOnly/],
    ['domain', { domain: 'example.com' }, /; Domain=example\.com; Path/],
    ['secure', { secure: true }, /; Path=\/; Secure; HttpOnly/],
    ['httpOnly', { httpOnly: false }, /; Path=\/; SameSite=Lax$/],
    ['sameSite', { sameSite: 'Strict' }, /; SameSite=Strict$/],
    ['__Host-', { cookieName: '__Host-s', secure: true }, /^__Host-s=[\w-]+; Path=\/; Secure; /],
  ];
  for (const [name, options, expected] of ATTRIBUTES) {
    it(`SignedCookieSessionFactory() takes ${name}`, async () => {
      assert.match(await lineWith(options), expected);
    });
  }

  it('SignedCookieSessionFactory() reads the cookie of its own cookieName alone', () => {
    const factory = makeFactory({ cookieName: 'sid' });
    const cookie = cookieFor(factory, { counter: 7 });
    assert.equal(factory.open(request(`session=${cookie}`)).isNew, true);
    assert.equal(factory.open(request(`sid=${cookie}`)).get('counter'), 7);
  });

  it('SignedCookieSessionFactory() refuses what another salt or hashAlg signed', () => {
    for (const options of [{ salt: 'other.' }, { hashAlg: 'sha256' }]) {
      const cookie = cookieFor(makeFactory(options), { counter: 7 });
      assert.ok(makeFactory(options).read(cookie), 'its own');
      assert.equal(makeFactory().read(cookie), undefined, JSON.stringify(options));
    }
  });

  it('SignedCookieSessionFactory() keeps visitors over a rotation of secrets', () => {
    const old = makeFactory({ secrets: ['old'] });
    const both = makeFactory({ secrets: ['new', 'old'] });
    const fresh = makeFactory({ secrets: ['new'] });
    const first = cookieFor(old, { counter: 7 });
    assert.equal(both.open(request(`session=${first}`)).get('counter'), 7, 'still verified');
    assert.ok(fresh.read(cookieFor(both, { counter: 8 })), 'the newest secret signs');
    assert.equal(fresh.read(first), undefined, 'the old one has been dropped');
  });

  it('SignedCookieSessionFactory() takes a serializer, and bears one that throws', () => {
    const serializer = {
      dumps: (value: Json) => Buffer.from(JSON.stringify(value)).toString('hex'),
      loads: (hex: string): unknown => JSON.parse(Buffer.from(hex, 'hex').toString()),
    };
    const factory = makeFactory({ serializer });
    const cookie = cookieFor(factory, { counter: 7 });
    assert.match(factory.signer.unsign(cookie) ?? '', /^[0-9a-f]+$/);
    assert.equal(factory.open(request(`session=${cookie}`)).get('counter'), 7);
    const plain = cookieFor(makeFactory(), { counter: 7 });
    assert.equal(factory.open(request(`session=${plain}`)).isNew, true);
  });

  const TIMES: [Partial<CookieSessionOptions>, string][] = [
    [{ idleTimeout: -1 }, 'idleTimeout must be 0 or more seconds: it is -1'],
    [{ idleTimeout: NaN }, 'idleTimeout must be 0 or more seconds: it is NaN'],
    [{ absoluteTimeout: -0.5 }, 'absoluteTimeout must be 0 or more seconds: it is -0.5'],
    [{ reissueTime: -1 }, 'reissueTime must be 0 or more seconds: it is -1'],
    [
      { reissueTime: 1200 },
      'reissueTime must be less than idleTimeout: it is 1200, and idleTimeout is 1200',
    ],
    [
      { idleTimeout: 60, reissueTime: 61 },
      'reissueTime must be less than idleTimeout: it is 61, and idleTimeout is 60',
    ],
  ];
  for (const [options, message] of TIMES) {
    it(`SignedCookieSessionFactory() refuses ${Object.entries(options).join(' ')}`, () => {
      assert.throws(() => makeFactory(options), {
        name: 'RangeError',
        message: `Cannot make a cookie session: ${message}`,
      });
    });
  }

  it('SignedCookieSessionFactory() refuses a bad attribute when it is made, not later', () => {
    const bad: [object, RegExp][] = [
      [{ secrets: [] }, /TypeError: Cannot make a signer: it needs a secret/],
      [{ secrets: ['good', ''] }, /TypeError: Cannot make a signer: .* none may be empty/],
      [{ hashAlg: 'sha7' }, /TypeError: .*this Node has no hash 'sha7'/],
      [{ cookieName: 'a b' }, /TypeError: .*name is "a b"/],
      [{ cookieName: '__Host-s' }, /TypeError: .*secure is false/],
      [{ sameSite: 'None' }, /TypeError: .*secure is false/],
      [{ sameSite: 'lax' }, /TypeError: .*sameSite is "lax"/],
      [{ path: 'app' }, /TypeError: .*path is "app"/],
      [{ domain: 'a;b' }, /TypeError: .*domain is "a;b"/],
      [{ maxAge: 1.5 }, /RangeError: .*maxAge is 1\.5/],
    ];
    for (const [options, expected] of bad) {
      assert.throws(() => makeFactory(options), expected, JSON.stringify(options));
    }
  });
});

// Vectors made by real Pyramid 2.0 (test/pyramid): what it does, and where we chose otherwise.

type Vector = {
  name: string;
  options: { secret: string; salt: string | null; hashalg: string; timeout: number | null };
  cookie: string;
  cookie_header?: string;
  now: number;
  outcome: 'new' | 'kept' | 'empty' | 'error';
  created: number;
  accessed: number;
  dict: Record<string, Json>;
};
type Reissue = {
  reissue_time: number | null;
  cookie: string;
  now: number;
  op: 'none' | 'read';
  sent: boolean;
  payload_json: string | null;
};
type CookieVector = { options: Record<string, unknown>; attributes?: string[]; error?: string };
type Limit = { signed_bytes?: number; cookie_chars?: number; case?: string; ok: boolean };

const vectors = JSON.parse(
  readFileSync(new URL('./pyramid/vectors.json', import.meta.url), 'utf8'),
) as {
  good: Vector[];
  special: Vector[];
  reissue: Reissue[];
  set_cookie: CookieVector[];
  limits: Limit[];
};

const STRICT = 'one value has one spelling here: what is not canonical base64url is not ours';
const TIMES_ARE_NUMBERS = 'a time is a finite JSON number; Python\'s float() takes far more';
const STATE_IS_OBJECT = 'a state that is no object is no session; dict() takes pairs, or raises';
const NO_500 = 'input never makes a 500; Pyramid raises here';
const NO_PAST = 'what timed out is new in every way; Pyramid keeps created, and new is false';
const FIRST_COUNTS = 'of one name the longest path comes first, and is meant; WebOb takes the last';

/** Where we differ on purpose: what ours is, and why. */
const DIFFERENCES: Record<string, readonly ['new' | 'kept', string]> = {
  'NaN and Infinity (not JSON)': ['new', 'JSON has no such words; Python writes them all the same'],
  'last character, unused bits changed': ['new', STRICT],
  'with its = padding': ['new', STRICT],
  'with one = too many': ['new', STRICT],
  'two junk characters inside': ['new', STRICT],
  'four junk characters inside': ['new', STRICT],
  'junk characters in front': ['new', STRICT],
  '==== in front': ['new', STRICT],
  'escape in an unquoted value': ['new', 'octal escapes are of RFC 2109, which browsers never did'],
  'quoted, four utf-8 encoded characters inside': ['new', STRICT],
  'quoted, invalid utf-8 byte': ['new', NO_500],
  'signed: a 3-character string': ['new', 'a string is no list; Python unpacks it as one'],
  'signed: state is null': ['new', STATE_IS_OBJECT],
  'signed: state is a number': ['new', STATE_IS_OBJECT],
  'signed: state is an empty string': ['new', STATE_IS_OBJECT],
  'signed: state is a string of pairs': ['new', STATE_IS_OBJECT],
  'signed: state is a list of pairs': ['new', STATE_IS_OBJECT],
  'signed: state is a list of numbers': ['new', STATE_IS_OBJECT],
  'signed: state is a list with an unhashable key': ['new', STATE_IS_OBJECT],
  'signed: state is false': ['new', STATE_IS_OBJECT],
  'signed: renewed is a numeric string with spaces': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is a numeric string with _': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is a string in exponent form': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is Arabic-Indic digits': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is NaN': ['new', 'such a session would never end'],
  'signed: renewed is Infinity': ['new', 'such a session would never end'],
  'signed: renewed is "inf"': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is 1e999 (inf)': ['new', 'such a session would never end'],
  'signed: renewed is negative': ['new', NO_PAST],
  'signed: created is NaN': ['new', 'such a session would never end'],
  'signed: created is an int of 400 digits': ['new', NO_500],
  'signed: nesting of 1400': ['new', NO_500],
  'expired: 1200 s + 1 us after renewed': ['new', NO_PAST],
  'expired long ago': ['new', NO_PAST],
  'timeout "1200" (string, int() is applied)': ['new', NO_PAST],
  'expired and state not a dict': ['new', NO_PAST],
  'header: two cookies of the name: good then bad': ['kept', FIRST_COUNTS],
  'header: two cookies of the name: bad then good': ['new', FIRST_COUNTS],
  'header: comma between cookies': ['new', 'RFC 6265 has semicolons only, and so have browsers'],
};

/** Vectors whose data we read with a loss, and what becomes of it. */
const LOSSES: Record<string, string> = {
  'big ints': 'a JavaScript number is exact up to 2 ** 53, so larger whole numbers are rounded',
};

/** A factory with Pyramid's options of a vector; no absolute time-out, since Pyramid has none. */
function likePyramid({ options, now }: Vector): SignedCookieSessionFactory {
  const idleTimeout = options.timeout === null ? Infinity : Number(options.timeout);
  return new SignedCookieSessionFactory({
    secrets: [options.secret],
    salt: options.salt ?? '',
    hashAlg: options.hashalg,
    idleTimeout,
    absoluteTimeout: Infinity,
    reissueTime: Infinity,
    now: () => now,
  });
}

describe('11-session-factory: vectors of real Pyramid', () => {
  it('open() makes of each cookie what Pyramid does, or what our table of differences says', () => {
    const unseen = new Set(Object.keys(DIFFERENCES));
    for (const vector of [...vectors.good, ...vectors.special]) {
      if (Number(vector.options.timeout) < 0) continue; // see the test below
      const factory = likePyramid(vector);
      const header = vector.cookie_header ?? `session=${vector.cookie}`;
      const session = factory.open(request(header));
      const ours = session.isNew ? 'new' : session.size === 0 ? 'empty' : 'kept';
      const [expected, why] = DIFFERENCES[vector.name] ?? [vector.outcome, 'as Pyramid'];
      assert.equal(ours, expected, `${vector.name}: ${why}`);
      const isDifferent = unseen.delete(vector.name);
      if (isDifferent) assert.notEqual(ours, vector.outcome, `${vector.name} is no difference`);
      if (isDifferent || ours === 'new') continue;
      assert.equal(session.created, vector.created, vector.name);
      assert.equal(session.accessed, vector.accessed, vector.name);
      assert.deepEqual(session.toJSON(), vector.dict, vector.name);
    }
    assert.deepEqual([...unseen], [], 'differences that no vector shows');
    assert.equal(vectors.good.length + vectors.special.length, 154);
  });

  it('open() rounds whole numbers beyond 2 ** 53, which JavaScript cannot hold', () => {
    const vector = vectors.good.find(({ name }) => name === 'big ints');
    assert.ok(vector);
    const { i } = likePyramid(vector).open(request(`session=${vector.cookie}`)).toJSON();
    assert.ok(Array.isArray(i) && i.some((n) => !Number.isSafeInteger(n)), LOSSES['big ints']);
  });

  it('open() gives __proto__ as a key like any other', () => {
    const vector = vectors.special.find(({ name }) => name === 'signed: __proto__ key');
    assert.ok(vector);
    const session = likePyramid(vector).open(request(`session=${vector.cookie}`));
    assert.deepEqual([...session.keys()], ['__proto__']);
    assert.equal(Reflect.get({}, 'admin'), undefined, 'no prototype was touched');
  });

  it('SignedCookieSessionFactory() refuses the negative times that Pyramid takes', () => {
    const negative = vectors.special.filter(({ options }) => Number(options.timeout) < 0);
    assert.equal(negative.length, 1);
    for (const vector of negative) assert.throws(() => likePyramid(vector), RangeError);
    assert.throws(() => makeFactory({ reissueTime: -1 }), RangeError);
  });

  it('save() reissues when Pyramid does, but for what timed out', async () => {
    for (const { reissue_time, cookie, now, op, sent, payload_json } of vectors.reissue) {
      if (reissue_time === -1) continue; // no negative times: the test above
      const reissueTime = reissue_time ?? Infinity;
      const factory = makeFactory({ reissueTime, now: () => now });
      const page: Handler = () => text('');
      // There is no session that a page has but did not read: who wraps a page opens it.
      const handler = op === 'read' ? withSession(factory, page) : page;
      const line = setCookie(await witness(handler)(request(`session=${cookie}`)));
      const isOver = now - NOW > 1200; // then there is nothing to keep; Pyramid sends an empty one
      const what = `reissueTime ${reissueTime}, ${now - NOW} s, ${op}`;
      assert.equal(line !== undefined, sent && !isOver, what);
      if (line === undefined) continue;
      const payload = factory.signer.unsign(/=([\w-]+)/.exec(line)?.[1] ?? '');
      assert.deepEqual(JSON.parse(payload ?? ''), JSON.parse(payload_json ?? ''), what);
    }
    assert.equal(vectors.reissue.length, 70);
  });

  it('save() writes the attributes that Pyramid does, or what our table says', async () => {
    const unseen = new Set(Object.keys(ATTRIBUTE_DIFFERENCES));
    for (const { options, attributes } of vectors.set_cookie) {
      const key = JSON.stringify(options);
      let ours: string[] | undefined;
      try {
        ours = (await lineOf(options)).split('; ').slice(1).sort();
      } catch (error) {
        assert.match(String(error), /^(Type|Range)Error: Cannot make the cookie/, key);
      }
      const [expected, why] = ATTRIBUTE_DIFFERENCES[key] ?? [attributes, 'as Pyramid'];
      const theirs = attributes?.filter((a) => !a.startsWith('expires=')); // Max-Age beats it
      const sought = unseen.delete(key) ? expected : theirs?.map(capital);
      assert.deepEqual(ours, sought?.toSorted(), `${key}: ${why}`);
    }
    assert.deepEqual([...unseen], [], 'differences that no vector shows');
    assert.equal(vectors.set_cookie.length, 54);
  });

  it('write() takes what Pyramid takes, and up to what browsers take', () => {
    for (const { signed_bytes, cookie_chars, ok } of vectors.limits) {
      if (signed_bytes === undefined) continue;
      const payload = 'x'.repeat(signed_bytes - 64);
      const factory = makeFactory({ serializer: { dumps: () => payload, loads: JSON.parse } });
      // Pyramid stops at 4064 characters, whatever the name; a browser counts name and value.
      assert.equal(factory.write(new Session(NOW)).length, cookie_chars, `Pyramid: ${ok}`);
    }
  });

  it('Session.set() refuses what Pyramid cannot write either: bytes, a set, odd keys', () => {
    const values = {
      'bytes value': Buffer.from('x'),
      'set value': new Set(),
      'tuple key': new Map([[['a', 1], 2]]), // what in Python is a dict, with a tuple as its key
    };
    for (const [name, value] of Object.entries(values)) {
      assert.equal(vectors.limits.find((limit) => limit.case === name)?.ok, false, name);
      const session: Session<Record<string, unknown>> = new Session(NOW);
      assert.throws(() => session.set('a', value), TypeError, name);
    }
  });
});

const PYTHON_NAMES: Record<string, string> = {
  cookie_name: 'cookieName',
  max_age: 'maxAge',
  httponly: 'httpOnly',
  samesite: 'sameSite',
};

/** A Set-Cookie with Pyramid's options, and its default of no HttpOnly. */
async function lineOf(options: Record<string, unknown>): Promise<string> {
  const ours = Object.entries(options).map(([key, value]) => [PYTHON_NAMES[key] ?? key, value]);
  const given = ours.filter(([, value]) => value !== null); // None is absence
  const factory = makeFactory({ httpOnly: false, ...Object.fromEntries(given) });
  const handler = withSession(factory, ({ session }) => (session.set('counter', 1), text('')));
  return setCookie(await witness(handler)(request())) ?? '';
}

function capital(attribute: string): string {
  return attribute === 'secure' ? 'Secure' : attribute;
}

const EXACT = 'SameSite is spelled as in the RFC: one spelling to look for';
const AS_IT_IS = 'a path is sent as it is: browsers know no octal escapes';
const SAID = 'SameSite is always said: without it browsers differ';

/** Pyramid's options, our attributes (undefined: refused), and why they differ. */
const ATTRIBUTE_DIFFERENCES: Record<string, readonly [string[] | undefined, string]> = {
  '{"max_age":"3600"}': [undefined, 'a number is a number'],
  '{"max_age":false}': [undefined, 'a number is a number'],
  '{"max_age":-1}': [undefined, 'who would delete a cookie says 0'],
  '{"path":"/a b"}': [undefined, 'a URL has no space, so such a path would match nothing'],
  '{"path":"/a,b"}': [['Path=/a,b', 'SameSite=Lax'], AS_IT_IS],
  '{"path":"/a\\"b"}': [['Path=/a"b', 'SameSite=Lax'], AS_IT_IS],
  '{"path":"/a\\\\b"}': [['Path=/a\\b', 'SameSite=Lax'], AS_IT_IS],
  '{"path":null}': [['Path=/', 'SameSite=Lax'], 'without Path it depends on the page that set it'],
  '{"domain":""}': [undefined, 'no domain is absence, not an empty one'],
  '{"domain":"a;b"}': [undefined, 'that is no host; Pyramid escapes it, for nobody to match'],
  '{"samesite":"lax","secure":true}': [undefined, EXACT],
  '{"samesite":"STRICT"}': [undefined, EXACT],
  '{"samesite":"STRICT","secure":true}': [undefined, EXACT],
  '{"samesite":null}': [['Path=/', 'SameSite=Lax'], SAID],
  '{"samesite":null,"secure":true}': [['Path=/', 'SameSite=Lax', 'Secure'], SAID],
  '{"secure":true,"httponly":true,"samesite":null}': [
    ['HttpOnly', 'Path=/', 'SameSite=Lax', 'Secure'],
    SAID,
  ],
  '{"cookie_name":"__Secure-x"}': [undefined, 'a browser drops that prefix without Secure'],
  '{"cookie_name":"$x"}': [['Path=/', 'SameSite=Lax'], '$ is of RFC 2109; today a name like any'],
  '{"cookie_name":"path"}': [['Path=/', 'SameSite=Lax'], 'a name stands first: no attribute is'],
};
