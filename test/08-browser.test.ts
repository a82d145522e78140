import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { parseForm, text, withForm } from '../src/02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { MAX_COOKIE_AGE, MAX_COOKIE_SIZE, serializeCookie, site } from '../src/07-cookie.ts';
import {
  Browser,
  CookieJar,
  domainMatches,
  KEEPING_RULES,
  parseSetCookie,
  pathMatches,
} from '../src/08-browser.ts';
import type { StoredCookie } from '../src/08-browser.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // Tue, 14 Nov 2023 22:13:20 GMT
const ORIGIN = 'http://localhost:6543';
const MAX_REDIRECTS = 20; // the Fetch standard's number

/** A jar that was given these lines by the page at `url`. */
function jarWith(url: string, ...lines: string[]): CookieJar {
  const jar = new CookieJar();
  for (const line of lines) assert.ok(jar.store(line, new URL(url), NOW), `refused: ${line}`);
  return jar;
}

function sentTo(jar: CookieJar, url: string, now = NOW): string | undefined {
  return jar.headerFor(new URL(url), now);
}

function isKept(line: string, url: string): boolean {
  return new CookieJar().store(line, new URL(url), NOW);
}

function redirect(location: string, status = 303, cookies: string[] = []): HttpResponse {
  return { status, headers: { location, 'set-cookie': cookies }, body: '' };
}

/** A page that says what it was asked: method, path, body and cookies. */
const mirror: Handler = ({ method, path, search, headers, body }: HttpRequest) =>
  text([method, path + search, Buffer.from(body).toString(), headers.cookie ?? '-'].join(' | '));

describe('08-browser: parseSetCookie()', () => {
  const bare: StoredCookie = {
    name: 'a',
    value: '1',
    expires: Infinity,
    domain: undefined,
    path: undefined,
    secure: false,
    sameSite: undefined,
  };
  const READ: [line: string, expected: Partial<StoredCookie>][] = [
    ['a=1', {}],
    [' a = 1 ', {}],
    ['a=1;', {}],
    ['a=1; ; ;;', {}],
    ['a=', { value: '' }],
    ['a=b=c==', { value: 'b=c==' }],
    ['a="1"', { value: '"1"' }], // quotes belong to the value, as in browsers
    ['a=1, b=2', { value: '1, b=2' }],
    ['a=\t1', {}],
    ['a=%3B%20%31', { value: '%3B%20%31' }], // nothing is decoded
    ['__proto__=1', { name: '__proto__' }],
    ['a=1; __proto__=x; constructor; toString=1', {}],
    ['a=1; HttpOnly; Priority=High; Nonsense', {}],
    ['a=1; Path=/app', { path: '/app' }],
    ['a=1;pAtH=/app', { path: '/app' }],
    ['a=1; Path=app', {}],
    ['a=1; Path=', {}],
    ['a=1; Path=/app; Path=/', { path: '/' }], // the last counts
    ['a=1; Path=/app; Path=x', {}], // even where it is no path
    ['a=1; Path=/a=b', { path: '/a=b' }],
    ['a=1;\tPath\t=\t/app\t', { path: '/app' }],
    ['a=1; Secure ', { secure: true }],
    ['a=1; Domain=example.com', { domain: 'example.com' }],
    ['a=1; Domain=.Example.COM', { domain: 'example.com' }],
    ['a=1; Domain=', {}],
    ['a=1; Domain', {}],
    ['a=1; Secure', { secure: true }],
    ['a=1; SECURE=no', { secure: true }], // it is its being there that counts
    ['a=1; SameSite=Strict', { sameSite: 'Strict' }],
    ['a=1; samesite=none', { sameSite: 'None' }],
    ['a=1; SameSite=Often', {}],
    ['a=1; SameSite', {}],
    ['a=1; Max-Age=60', { expires: NOW + 60 }],
    ['a=1; Max-Age=0', { expires: NOW }],
    ['a=1; Max-Age=-5', { expires: NOW - 5 }],
    ['a=1; Max-Age=1.5', {}],
    ['a=1; Max-Age=1e3', {}],
    ['a=1; Max-Age=+60', {}],
    ['a=1; Max-Age=soon', {}],
    ['a=1; Max-Age=', {}],
    ['a=1; Expires=Tue, 14 Nov 2023 22:14:20 GMT', { expires: NOW + 60 }],
    ['a=1; expires=Tue, 14-Nov-2023 22:14:20 GMT', { expires: NOW + 60 }], // as Pyramid writes it
    ['a=1; Expires=Tuesday, 14-Nov-23 22:14:20 GMT', { expires: NOW + 60 }],
    ['a=1; Expires=Tue Nov 14 22:14:20 2023', { expires: NOW + 60 }], // GMT, unsaid
    ['a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT', { expires: 0 }],
    ['a=1; Expires=0', {}], // no date, though some sites write it and mean one
    ['a=1; Expires=-1', {}],
    ['a=1; Expires=never', {}],
    ['a=1; Max-Age=60; Max-Age=30', { expires: NOW + 30 }],
    ['a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT', { expires: NOW + 60 }],
    ['a=1; Expires=Tue, 14 Nov 2023 22:14:20 GMT; Max-Age=0', { expires: NOW }],
  ];

  it('parseSetCookie() reads a line as a browser does', () => {
    for (const [line, expected] of READ) {
      assert.deepEqual(parseSetCookie(line, NOW), { ...bare, ...expected }, `Set-Cookie: ${line}`);
    }
  });

  it('parseSetCookie() passes over a bad Max-Age or Expires, behind a good one too', () => {
    const good = 'Tue, 14 Nov 2023 22:14:20 GMT';
    const table: [attributes: string, expires: number][] = [
      ['Max-Age=60; Max-Age=soon', NOW + 60],
      ['Max-Age=60; Max-Age=', NOW + 60],
      ['Max-Age=60; Max-Age', NOW + 60],
      ['max-age=60; MAX-AGE=1.5; Max-Age=--1', NOW + 60],
      ['Max-Age=soon; Max-Age=60', NOW + 60],
      [`Expires=${good}; Expires=never`, NOW + 60],
      [`Expires=${good}; Expires=`, NOW + 60],
      [`Expires=${good}; Expires`, NOW + 60],
      [`Expires=${good}; Expires=Wed, 31 Feb 2024 22:14:20 GMT`, NOW + 60],
      [`Expires=${good}; Max-Age=soon`, NOW + 60],
      ['Max-Age=60; Expires=never', NOW + 60],
      ['Max-Age=soon; Expires=never', Infinity],
    ];
    for (const [attributes, expires] of table) {
      assert.equal(parseSetCookie(`a=1; ${attributes}`, NOW)?.expires, expires, attributes);
    }
  });

  it('parseSetCookie() takes no Expires that no calendar has', () => {
    const bad = [
      '31 Feb 2024', '30 Feb 2024', '29 Feb 2023', '31 Apr 2024', '31-Jun-24', '31-Sep-2024',
      '0 Jan 2024', '32 Jan 2024', 'Feb 31 2024',
    ];
    for (const day of bad) {
      assert.equal(parseSetCookie(`a=1; Expires=${day} 10:00:00 GMT`, NOW)?.expires, Infinity, day);
    }
    for (const time of ['24:00:00', '23:60:00']) {
      const line = `a=1; Expires=Wed, 31 Jan 2024 ${time} GMT`;
      assert.equal(parseSetCookie(line, NOW)?.expires, Infinity, line);
    }
    const leap = parseSetCookie('a=1; Expires=Thu, 29 Feb 2024 10:00:00 GMT', NOW);
    assert.equal(leap?.expires, Date.UTC(2024, 1, 29, 10) / 1000);
    const asctime = parseSetCookie('a=1; Expires=Thu Feb 29 10:00:00 2024', NOW);
    assert.equal(asctime?.expires, leap?.expires);
  });

  it('parseSetCookie() gives undefined for what is no cookie', () => {
    for (const line of ['', ';', '=', '=1', ' = 1', 'a', 'a; Path=/', '; a=1', '=__Host-a=1']) {
      assert.equal(parseSetCookie(line, NOW), undefined, `Set-Cookie: ${line}`);
    }
  });

  it('parseSetCookie() refuses every control character but the tab, wherever it is', () => {
    for (const code of [...Array(32).keys(), 127]) {
      const control = String.fromCharCode(code);
      for (const line of [`a${control}b=1`, `a=1${control}2`, `a=1; Path=/${control}x`]) {
        const isCookie = parseSetCookie(line, NOW) !== undefined;
        assert.equal(isCookie, control === '\t', `Set-Cookie: ${JSON.stringify(line)}`);
      }
    }
  });

  it('parseSetCookie() takes 4096 bytes of name and value, and not one more', () => {
    const largest = 'x'.repeat(MAX_COOKIE_SIZE - 'name'.length);
    assert.equal(parseSetCookie(`name=${largest}; Path=/`, NOW)?.value, largest);
    assert.equal(parseSetCookie(`name=${largest}x; Path=/`, NOW), undefined);
    const half = 'é'.repeat(MAX_COOKIE_SIZE / 2); // two bytes each
    assert.equal(parseSetCookie(`n=${half}`, NOW), undefined, 'bytes count, not characters');
  });

  it('parseSetCookie() cuts every lifetime at 400 days', () => {
    const end = NOW + MAX_COOKIE_AGE;
    const far = 'Fri, 31 Dec 9999 23:59:59 GMT';
    assert.equal(parseSetCookie(`a=1; Max-Age=${MAX_COOKIE_AGE}`, NOW)?.expires, end);
    assert.equal(parseSetCookie(`a=1; Max-Age=${MAX_COOKIE_AGE + 1}`, NOW)?.expires, end);
    assert.equal(parseSetCookie(`a=1; Max-Age=${'9'.repeat(400)}`, NOW)?.expires, end);
    assert.equal(parseSetCookie(`a=1; Expires=${far}`, NOW)?.expires, end);
  });
});

describe('08-browser: CookieJar', () => {
  const [HTTP, HTTPS] = ['http://www.example.com/', 'https://www.example.com/'];
  const [FOREIGN, TOP, PLAIN, NONE, PREFIX, HOME] = Object.keys(KEEPING_RULES);
  const KEPT: [line: string, url: string, broken?: string | undefined][] = [
    ['a=1', HTTP],
    ['a=1; Domain=www.example.com', HTTP],
    ['a=1; Domain=example.com', HTTP],
    ['a=1; Domain=.EXAMPLE.com', HTTP],
    ['a=1; Domain=other.example', HTTP, FOREIGN],
    ['a=1; Domain=sub.www.example.com', HTTP, FOREIGN], // below this host, not above
    ['a=1; Domain=ample.com', HTTP, FOREIGN], // an end of the name, and another's domain
    ['a=1; Domain=com', HTTP, TOP],
    ['a=1; Domain=xn--exmple-cua.org', 'https://www.exämple.org/'],
    ['a=1; Domain=exämple.org', 'https://www.exämple.org/', FOREIGN], // ASCII alone is a Domain
    ['a=1; Domain=localhost', ORIGIN],
    ['a=1; Domain=127.0.0.1', 'http://127.0.0.1/'],
    ['a=1; Domain=0.0.1', 'http://127.0.0.1/', FOREIGN], // an address has no domain above it
    ['a=1; Secure', HTTPS],
    ['a=1; Secure', HTTP, PLAIN],
    ['a=1; Secure', ORIGIN], // this machine itself
    ['a=1; Secure', 'http://127.0.0.1:6543/'],
    ['a=1; Secure', 'http://[::1]:6543/'],
    ['a=1; Secure', 'http://localhost.example.com/', PLAIN],
    ['a=1; Secure', 'http://notlocalhost/', PLAIN],
    ['a=1; SameSite=None; Secure', HTTPS],
    ['a=1; SameSite=None', HTTPS, NONE],
    ['a=1; SameSite=Lax', HTTP],
    ['__Secure-a=1; Secure; Domain=example.com', HTTPS],
    ['__Secure-a=1', HTTPS, PREFIX],
    ['__SECURE-a=1', HTTPS, PREFIX],
    ['__Host-a=1; Secure; Path=/', HTTPS],
    ['__Host-a=1; Path=/', HTTPS, PREFIX],
    ['__Host-a=1; Secure', HTTPS, HOME], // Path=/ must be said
    ['__Host-a=1; Secure; Path=/app', HTTPS, HOME],
    ['__hOsT-a=1; Secure; Path=/; Domain=www.example.com', HTTPS, HOME],
    ['__Hosta=1', HTTP],
    ['a__Secure-b=1', HTTP],
    ['a__Host-b=1; Path=/app', HTTP],
  ];

  it('store() keeps what a browser keeps, and refuses what breaks a rule', () => {
    for (const [line, url, broken] of KEPT) {
      const row = `Set-Cookie: ${line} from ${url}`;
      assert.equal(isKept(line, url), broken === undefined, row);
      const cookie = parseSetCookie(line, NOW) ?? assert.fail(row);
      const from = new URL(url);
      const rules = Object.keys(KEEPING_RULES).filter((r) => !KEEPING_RULES[r]?.(cookie, from));
      assert.deepEqual(rules, broken === undefined ? [] : [broken], row);
    }
  });

  it('store() leaves the old cookie where the new one is refused', () => {
    const jar = jarWith(HTTPS, 'a=1; Path=/');
    for (const line of ['a=2; Path=/; SameSite=None', 'a=2; Domain=other.example', 'a=\0', '=2']) {
      assert.equal(jar.store(line, new URL(HTTPS), NOW), false, line);
    }
    assert.equal(sentTo(jar, HTTPS), 'a=1');
  });

  it('store() replaces a cookie of the same name, domain and path, and no other', () => {
    const jar = jarWith(HTTP, 'a=1', 'a=2');
    assert.equal(sentTo(jar, HTTP), 'a=2');
    jar.store('a=3; Domain=www.example.com', new URL(HTTP), NOW); // for the hosts below as well
    jar.store('a=4; Path=/app', new URL(HTTP), NOW);
    jar.store('A=5', new URL(HTTP), NOW);
    assert.equal(sentTo(jar, `${HTTP}app`), 'a=4; a=2; a=3; A=5');
  });

  it('store() deletes with Max-Age=0 or a date gone by, if path and domain are the same', () => {
    const gone = 'Expires=Thu, 01 Jan 1970 00:00:00 GMT';
    for (const how of ['Max-Age=0', 'Max-Age=-1', gone]) {
      const jar = jarWith(HTTP, 'a=1; Path=/', 'b=1; Path=/', `a=; Path=/; ${how}`);
      assert.equal(sentTo(jar, HTTP), 'b=1', how);
      const other = jarWith(HTTP, 'a=1; Path=/', `a=; Path=/app; ${how}`);
      assert.equal(sentTo(other, HTTP), 'a=1', `${how} for another path`);
    }
  });

  it('store() has room for 3,000 cookies, 60 of them for one host', () => {
    const jar = new CookieJar();
    const hosts = Array.from({ length: 50 }, (_, i) => `http://h${i}.example/`);
    const names = Array.from({ length: 60 }, (_, i) => `a${i}=1`);
    for (const name of names) for (const host of hosts) jar.store(name, new URL(host), NOW);
    for (const host of hosts) assert.equal(sentTo(jar, host), names.join('; '), host);
  });

  it('store() has forgotten what it deleted: set again, the cookie is the youngest', () => {
    for (const how of ['Max-Age=0', 'Max-Age=-1']) {
      const jar = jarWith(HTTP, 'a=1', 'b=2', `a=; ${how}`, 'a=3');
      assert.equal(sentTo(jar, HTTP), 'b=2; a=3', how);
    }
  });

  it('headerFor() sends a cookie until its end, and one without an end for ever', () => {
    const jar = jarWith(HTTP, 'a=1; Max-Age=60', 'b=2');
    assert.equal(sentTo(jar, HTTP, NOW + 59.9), 'a=1; b=2');
    assert.equal(sentTo(jar, HTTP, NOW + 60), 'b=2');
    assert.equal(sentTo(jar, HTTP, NOW + 1e9), 'b=2');
  });

  it('headerFor() sends a host cookie to that host, and a Domain cookie below as well', () => {
    const rows: [attributes: string, url: string, isSent: boolean][] = [
      ['', 'http://www.example.com/', true],
      ['', 'http://www.example.com:8080/', true], // ports do not tell cookies apart
      ['', 'http://WWW.example.com/', true],
      ['', 'http://example.com/', false],
      ['', 'http://sub.www.example.com/', false],
      ['; Domain=example.com', 'http://example.com/', true],
      ['; Domain=example.com', 'http://a.b.example.com/', true],
      ['; Domain=example.com', 'http://badexample.com/', false],
      ['; Domain=example.com', 'http://example.com.evil.example/', false],
    ];
    for (const [attributes, url, isSent] of rows) {
      const sent = sentTo(jarWith(HTTP, `a=1${attributes}`), url);
      assert.equal(sent, isSent ? 'a=1' : undefined, `a=1${attributes} to ${url}`);
    }
  });

  it('headerFor() sends a Secure cookie over https, and over http to this machine alone', () => {
    const jar = jarWith(HTTPS, 'a=1; Secure', 'b=2');
    assert.equal(sentTo(jar, HTTPS), 'a=1; b=2');
    assert.equal(sentTo(jar, HTTP), 'b=2');
    assert.equal(sentTo(jarWith(ORIGIN, 'a=1; Secure'), ORIGIN), 'a=1');
  });

  it('headerFor() sends a cookie without Path below the folder of the page that set it', () => {
    const rows: [page: string, folder: string][] = [
      ['/', '/'],
      ['/app', '/'],
      ['/app/', '/app'],
      ['/app/page', '/app'],
      ['/a/b/c?d=/e/f', '/a/b'],
    ];
    for (const [page, folder] of rows) {
      const jar = jarWith(ORIGIN + page, 'a=1');
      assert.equal(sentTo(jar, `${ORIGIN}${folder}`), 'a=1', `set at ${page}, sent to ${folder}`);
      const outside = folder === '/' ? 'http://other.example/' : `${ORIGIN}/`;
      assert.equal(sentTo(jar, outside), undefined, `set at ${page}, not sent to ${outside}`);
    }
  });

  it('headerFor() sends the longest path first, and of equal ones the oldest', () => {
    const jar = jarWith(ORIGIN, 'a=root; Path=/', 'b=2; Path=/', 'a=app; Path=/app', 'c=3; Path=/');
    assert.equal(sentTo(jar, `${ORIGIN}/app/x`), 'a=app; a=root; b=2; c=3');
    jar.store('a=new; Path=/', new URL(ORIGIN), NOW); // keeps its place: created when it first was
    assert.equal(sentTo(jar, `${ORIGIN}/`), 'a=new; b=2; c=3');
  });

  it('domainMatches() takes a host for its own domain or for one above, addresses apart', () => {
    const rows: [host: string, domain: string, expected: boolean][] = [
      ['example.com', 'example.com', true],
      ['www.example.com', 'example.com', true],
      ['example.com', 'www.example.com', false],
      ['badexample.com', 'example.com', false],
      ['example.com', 'xample.com', false],
      ['127.0.0.1', '127.0.0.1', true],
      ['127.0.0.1', '0.0.1', false],
      ['127.0.0.1', '1', false],
      ['[::1]', '[::1]', true],
      ['[::ffff:1.2.3.4]', '3.4]', false],
      ['1.example.com', 'example.com', true],
      ['www.example1', 'example1', true],
    ];
    for (const [host, domain, expected] of rows) {
      assert.equal(domainMatches(host, domain), expected, `${host} for Domain=${domain}`);
    }
  });

  it('pathMatches() takes /app for /app/x and not for /apple', () => {
    const rows: [path: string, folder: string, expected: boolean][] = [
      ['/app', '/app', true],
      ['/app/', '/app', true],
      ['/app/x', '/app', true],
      ['/app/x', '/app/', true],
      ['/apple', '/app', false],
      ['/app', '/app/', false],
      ['/', '/app', false],
      ['/App', '/app', false],
      ['/anything', '/', true],
      ['/', '/', true],
    ];
    for (const [path, folder, expected] of rows) {
      const outcome = pathMatches(path, folder) ? 'sent' : 'kept back';
      assert.equal(outcome, expected ? 'sent' : 'kept back', `Path=${folder}, asked for ${path}`);
    }
  });
});

describe('08-browser: Browser', () => {
  it('get() brings back what the site of step 7 set: Count: 1, 2, 3', async () => {
    const { handle } = site();
    const [ada, bob] = [new Browser(handle), new Browser(handle)];
    const count = async (who: Browser, path: string): Promise<string | undefined> =>
      /Count: (\d+)/.exec(String((await who.get(path)).body))?.[1];
    assert.equal(await count(ada, '/'), '1');
    assert.equal(await count(ada, '/howdy'), '2');
    assert.equal(await count(bob, '/'), '1', 'another browser has another jar');
    assert.equal(await count(ada, '/'), '3');
  });

  it('get() forgets a cookie when its clock has passed the end of it', async () => {
    const clock = { now: NOW };
    const page: Handler = ({ headers }) => {
      const response = text(headers.cookie ?? 'none');
      const line = serializeCookie('a', '1', { maxAge: 3600 });
      return headers.cookie ? response : { ...response, headers: { 'set-cookie': line } };
    };
    const browser = new Browser(page, ORIGIN, () => clock.now);
    const seen: string[] = [];
    for (const hours of [0, 0.5, 0.999, 1, 1.5]) {
      clock.now = NOW + hours * 3600;
      seen.push(String((await browser.get('/')).body));
    }
    assert.deepEqual(seen, ['none', 'a=1', 'a=1', 'none', 'a=1']);
  });

  it('get() keeps each of several Set-Cookie lines', async () => {
    const lines = ['a=1', 'b=2; Path=/', 'bad', 'c=3'];
    const page: Handler = (request) => {
      const response = text(request.headers.cookie ?? 'none');
      return { ...response, headers: { 'set-cookie': lines } };
    };
    const browser = new Browser(page);
    await browser.get('/');
    assert.equal((await browser.get('/')).body, 'a=1; b=2; c=3');
  });

  it('get() keeps the cookies of a refusal and of a failure too', async () => {
    for (const status of [404, 500]) {
      const page: Handler = ({ headers }) => ({
        status,
        headers: { 'set-cookie': 'a=1' },
        body: headers.cookie ?? 'none',
      });
      const browser = new Browser(page);
      const bodies = [(await browser.get('/')).body, (await browser.get('/')).body];
      assert.deepEqual(bodies, ['none', 'a=1'], `${status}`);
    }
  });

  it('Browser has the clock of the machine by default, in seconds', async (t) => {
    const clock = t.mock.method(Date, 'now', () => NOW * 1000);
    const browser = new Browser(() => redirect('/', 200, ['a=1; Max-Age=60']));
    await browser.get('/');
    clock.mock.mockImplementation(() => NOW * 1000 + 59_000);
    assert.equal(sentTo(browser.jar, ORIGIN, Date.now() / 1000), 'a=1');
    assert.equal(sentTo(browser.jar, ORIGIN, NOW + 60), undefined);
  });

  it('get() sends no body of its own, and stays where there is no Location', async () => {
    const browser = new Browser(mirror);
    for (const response of [await browser.get('/'), await browser.request('GET', '/')]) {
      assert.equal(response.body, 'GET | / |  | -');
    }
    const lost = { status: 303, headers: {}, body: 'nowhere' };
    assert.equal(await new Browser(() => lost).get('/'), lost);
  });

  it('get() throws what a page throws', async () => {
    const browser = new Browser(() => {
      throw new RangeError('in the page');
    });
    await assert.rejects(browser.get('/'), /^RangeError: in the page$/);
  });

  it('request() sends the host, the path, the query and no fragment', async () => {
    const seen: HttpRequest[] = [];
    const page: Handler = (request) => (seen.push(request), text('ok'));
    await new Browser(page, 'https://shop.example').request('GET', '/caf%C3%A9?a=1#top');
    assert.deepEqual(
      seen.map(({ method, path, search, headers }) => ({ method, path, search, headers })),
      [{ method: 'GET', path: '/caf%C3%A9', search: '?a=1', headers: { host: 'shop.example' } }],
    );
  });

  it('request() follows no redirect, and lets a header be set by hand', async () => {
    const browser = new Browser(({ headers }) => redirect('/next', 303, [`seen=${headers.dnt}`]));
    const response = await browser.request('GET', '/', '', { dnt: '1' });
    assert.equal(response.status, 303);
    assert.equal(sentTo(browser.jar, ORIGIN), 'seen=1');
  });

  it('request() gives the 400 that a malformed URL gets, and the page never sees it', async () => {
    const page: Handler = () => assert.fail('the page was asked');
    assert.equal((await new Browser(page).request('GET', '/%zz')).status, 400);
  });

  it('post() sends a form, and the empty one is a form too', async () => {
    const page = withForm(({ method, form }) => text(`${method} ${form.toString()}`));
    const browser = new Browser(page);
    const fields = { name: 'Zoë & Ada', sign: 'a=b', empty: '' };
    const { status, body } = await browser.post('/', fields);
    const [method, sent = ''] = String(body).split(' ');
    assert.deepEqual([status, method], [200, 'POST']);
    assert.deepEqual(Object.fromEntries(parseForm(Buffer.from(sent)) ?? []), fields);
    assert.equal((await browser.post('/', {})).status, 200, 'a button alone, as for logging out');
  });

  it('post() follows a 303 with GET, and carries no body on', async () => {
    for (const status of [301, 302, 303]) {
      const router = new Router().post('/save', () => redirect('/saved?id=1', status));
      const browser = new Browser(router.get('/saved', mirror).handle);
      const { body } = await browser.post('/save', { a: '1' });
      assert.equal(body, 'GET | /saved?id=1 |  | -', `after ${status}`);
    }
  });

  it('post() repeats itself, body and all, after 307 and 308', async () => {
    for (const status of [307, 308]) {
      const router = new Router().post('/old', () => redirect('/new', status)).post('/new', mirror);
      const { body } = await new Browser(router.handle).post('/old', { a: '1' });
      assert.equal(body, 'POST | /new | a=1 | -', `after ${status}`);
    }
  });

  it('get() keeps the cookies that a redirect sets, and sends them to where it leads', async () => {
    const cookies = ['id=7; Path=/', 'flash=hello; Path=/welcome'];
    const router = new Router()
      .get('/login', () => redirect('/welcome', 303, cookies))
      .get('/welcome', mirror);
    const { body } = await new Browser(router.handle).get('/login');
    const story = 'method | path | body | Cookie, as the page saw them that /login led to';
    assert.equal(body, 'GET | /welcome |  | flash=hello; id=7', story);
  });

  it('get() takes a Location relative to the page that sent it', async () => {
    const rows: [from: string, location: string, to: string][] = [
      ['/a/b', 'c', '/a/c'],
      ['/a/b', '../c', '/c'],
      ['/a/b', '?d=1', '/a/b?d=1'],
      ['/a/b', `${ORIGIN}/c`, '/c'],
    ];
    for (const [from, location, to] of rows) {
      let isFirst = true;
      const page: Handler = (request) => {
        if (!isFirst) return mirror(request);
        isFirst = false;
        return redirect(location);
      };
      const { body } = await new Browser(page, ORIGIN).get(from);
      assert.equal(body, `GET | ${to} |  | -`, `Location: ${location} at ${from}`);
    }
  });

  it('get() sends a cookie no further than its host when a redirect leads elsewhere', async () => {
    const hosts: string[] = [];
    const page: Handler = ({ headers }) => {
      hosts.push(`${headers.host} ${headers.cookie ?? '-'}`);
      return hosts.length === 1 ? redirect('http://other.example/', 302, ['id=7']) : text('ok');
    };
    await new Browser(page).get('/');
    assert.deepEqual(hosts, ['localhost:6543 -', 'other.example -']);
  });

  it('get() follows Location only where the status is a redirect', async () => {
    for (const status of [200, 201, 304, 404, 500]) {
      const browser = new Browser(() => redirect('/elsewhere', status));
      assert.equal((await browser.get('/')).status, status);
    }
  });

  it('get() follows 20 redirects, and calls one more a circle', async () => {
    let asked = 0;
    const chain = (length: number): Browser => {
      asked = 0;
      return new Browser(() => (asked++ < length ? redirect(`/${asked}`) : text('arrived')));
    };
    assert.equal((await chain(MAX_REDIRECTS).get('/')).body, 'arrived');
    await assert.rejects(chain(MAX_REDIRECTS + 1).get('/'), RangeError);
    assert.equal(asked, MAX_REDIRECTS + 1);
    const circle = new Browser(() => redirect('/'));
    await assert.rejects(circle.get('/'), /^RangeError: Cannot open .*: it goes in circles$/);
  });
});
