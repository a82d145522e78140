// Further proofs of step 16: the default path, many cookies, and what a browser does with Location.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { jarWith, NOW, sentTo } from '../.tools/jar.ts';
import { bodyText } from '../.tools/request.ts';
import { startProgram } from '../.tools/serve.ts';
import { type Handler, type HttpRequest, type HttpResponse, text } from '../src/04-http.ts';
import { withForm } from '../src/12-forms.ts';
import { explainCookie } from '../src/15-jar.ts';
import { Browser, CookieJar } from '../src/16-browser.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const HTTP = 'http://www.example.org/';
const HTTPS = 'https://www.example.org/';
const SLOW = { timeout: 20_000 }; // milliseconds: a process starts

const redirect = (location: string, status = 303): HttpResponse =>
  ({ status, headers: { location }, body: '' });

describe('16-browser: proofs', () => {
  it('CookieJar.store() keeps exactly the cookies for which explainCookie() has no reason', () => {
    const headers = [
      'a=1', 'a', '=a', '', '=__Host-a', 'a=\t1', 'a=\n', 'a=1; Secure', 'a=1; SameSite=None',
      'a=1; SameSite=None; Secure', 'a=1; Partitioned', 'a=1; Domain=example.org',
      'a=1; Domain=org', 'a=1; Domain=localhost', '__Secure-a=1', '__Host-a=1; Secure; Path=/',
      '__Host-a=1; Secure',
      `a=${'x'.repeat(4095)}`, `a=${'x'.repeat(4096)}`, 'a=; Max-Age=0', 'a=1; Expires=never',
    ];
    const local = ['http://localhost/', 'http://app.localhost/', 'http://127.0.0.1/'];
    for (const url of [HTTP, HTTPS, ...local]) {
      for (const header of headers) {
        const { reasons } = explainCookie(header, { url: new URL(url), now: NOW });
        const isStored = new CookieJar().store(header, new URL(url), NOW);
        assert.equal(isStored, reasons.length === 0, `${header.slice(0, 60)} from ${url}`);
      }
    }
  });

  it('CookieJar.headerFor() sends a cookie without Path below the folder of its page', () => {
    const rows: [page: string, folder: string][] = [
      ['/', '/'],
      ['/app', '/'],
      ['/app/', '/app'],
      ['/app/page', '/app'],
      ['/a/b/c?d=/e/f', '/a/b'],
    ];
    for (const [page, folder] of rows) {
      const jar = jarWith(ORIGIN + page, 'a=1');
      assert.equal(sentTo(jar, ORIGIN + folder), 'a=1', `${page} sets it for ${folder}`);
      const outside = folder === '/' ? 'http://other.example/' : `${ORIGIN}/`;
      assert.equal(sentTo(jar, outside), undefined, `${page} does not set it for ${outside}`);
    }
  });

  it('CookieJar.headerFor() sends a cookie without a name as its value', () => {
    const jar = jarWith(ORIGIN, 'a=1', 'token', 'b=');
    assert.equal(sentTo(jar, ORIGIN), 'a=1; token; b=');
    jar.store('=other', new URL(ORIGIN), NOW);
    assert.equal(sentTo(jar, ORIGIN), 'a=1; other; b=', 'a site has one cookie without a name');
  });

  it('CookieJar.store() keeps 3,000 cookies, 60 of them for each host', () => {
    const jar = new CookieJar();
    const hosts = Array.from({ length: 50 }, (_, i) => `http://h${i}.example/`);
    const headers = Array.from({ length: 60 }, (_, i) => `a${i}=1`);
    for (const header of headers) {
      for (const host of hosts) jar.store(header, new URL(host), NOW);
    }
    for (const host of hosts) assert.equal(sentTo(jar, host), headers.join('; '), host);
  });

  it('CookieJar.store() puts a cookie that was deleted and set again at the end', () => {
    for (const url of [HTTP, HTTPS, ORIGIN]) {
      const jar = jarWith(url, 'a=1', 'b=2', 'a=; Max-Age=0', 'a=3');
      assert.equal(sentTo(jar, url), 'b=2; a=3', url);
    }
  });

  it('CookieJar.store() forgets an expired cookie: its place, and its protection', () => {
    const jar = jarWith(HTTPS, 'id=1; Secure; Max-Age=60', 'b=2', 'c=3; Max-Age=60');
    const later = NOW + 60;
    assert.equal(jar.store('id=http', new URL(HTTP), NOW), false, 'the Secure cookie is there');
    assert.ok(jar.store('c=4', new URL(HTTPS), later));
    assert.ok(jar.store('id=http', new URL(HTTP), later), 'the Secure cookie has expired');
    assert.equal(sentTo(jar, HTTPS, later), 'b=2; c=4; id=http');
  });

  it('CookieJar.headerFor() compares paths as they are written', () => {
    const jar = jarWith(ORIGIN, 'a=1; Path=/a%62', 'b=2; Path=/ab');
    assert.equal(sentTo(jar, `${ORIGIN}/a%62`), 'a=1');
    assert.equal(sentTo(jar, `${ORIGIN}/ab`), 'b=2', 'no encoding is decoded (§5.1.4)');
  });

  it('CookieJar.store() keeps cookies with names such as __proto__', () => {
    const jar = jarWith(ORIGIN, '__proto__=1', 'constructor=2', '"=3', '["a"]=4');
    assert.equal(sentTo(jar, ORIGIN), '__proto__=1; constructor=2; "=3; ["a"]=4');
  });

  it('Browser.post() sends a form, also if the form has no fields', async () => {
    const browser = new Browser(withForm(({ method, form }) => text(`${method} ${form}`)));
    const fields = { name: 'Zoë & Ada', sum: 'a=b+c', empty: '' };
    const [method, sent] = bodyText(await browser.post('/', fields)).split(' ');
    assert.equal(method, 'POST');
    assert.deepEqual(Object.fromEntries(new URLSearchParams(sent)), fields);
    assert.equal(bodyText(await browser.post('/', {})), 'POST ');
  });

  it('Browser.get() forgets a cookie when the clock passes its end', async () => {
    const clock = { now: NOW };
    const page: Handler = ({ headers }) => {
      const response = text(headers.cookie ?? 'no cookie');
      if (headers.cookie !== undefined) return response;
      return { ...response, headers: { 'set-cookie': 'a=1; Max-Age=3600' } };
    };
    const browser = new Browser(page, ORIGIN, () => clock.now);
    const bodies: string[] = [];
    for (const hours of [0, 0.5, 0.999, 1, 1.5]) {
      clock.now = NOW + hours * 3600;
      bodies.push(bodyText(await browser.get('/')));
    }
    assert.deepEqual(bodies, ['no cookie', 'a=1', 'a=1', 'no cookie', 'a=1']);
  });

  it('Browser.get() keeps each of several Set-Cookie headers, and ignores a bad one', async () => {
    const page: Handler = ({ headers }) => {
      const setCookies = ['a=1', 'b=2; Path=/', 'bad=1; SameSite=None', 'c=3'];
      return { ...text(headers.cookie ?? ''), headers: { 'set-cookie': setCookies } };
    };
    const browser = new Browser(page);
    await browser.get('/');
    assert.equal((await browser.get('/')).body, 'a=1; b=2; c=3');
  });

  it('Browser.get() keeps the cookies of an error response', async () => {
    for (const status of [404, 500]) {
      const page: Handler = ({ headers }) =>
        ({ status, headers: { 'set-cookie': 'a=1' }, body: headers.cookie ?? 'no cookie' });
      const browser = new Browser(page);
      const bodies = [(await browser.get('/')).body, (await browser.get('/')).body];
      assert.deepEqual(bodies, ['no cookie', 'a=1'], `${status}`);
    }
  });

  it('Browser uses the clock of the machine by default, in seconds', async (t) => {
    const clock = t.mock.method(Date, 'now', () => NOW * 1000);
    const cookie = { 'set-cookie': 'a=1; Max-Age=60' };
    const browser = new Browser(() => ({ status: 200, headers: cookie, body: '' }));
    await browser.get('/');
    clock.mock.mockImplementation(() => NOW * 1000 + 59_000);
    assert.equal(sentTo(browser.jar, ORIGIN, Date.now() / 1000), 'a=1');
    assert.equal(sentTo(browser.jar, ORIGIN, NOW + 60), undefined);
  });

  it('Browser.get() sends no body, and stays on a page without Location', async () => {
    const browser = new Browser(async ({ body }) => {
      let length = 0;
      for await (const chunk of body) length += chunk.length;
      return text(`${length} bytes`);
    });
    for (const response of [await browser.get('/'), await browser.request('GET', '/')]) {
      assert.equal(response.body, '0 bytes');
    }
    const lost = { status: 303, headers: {}, body: 'no Location' };
    assert.equal(await new Browser(() => lost).get('/'), lost);
  });

  it('Browser.get() throws the error of the page', async () => {
    const browser = new Browser(() => {
      throw new RangeError('in the page');
    });
    await assert.rejects(browser.get('/'), /^RangeError: in the page$/);
  });

  it('Browser.request() sends the host, the path and the query, and no fragment', async () => {
    const requests: HttpRequest[] = [];
    const page: Handler = (request) => {
      requests.push(request);
      return text('ok');
    };
    await new Browser(page, 'https://shop.example').request('GET', '/caf%C3%A9?a=1#top');
    assert.deepEqual(
      requests.map(({ method, path, search, headers }) => ({ method, path, search, headers })),
      [{ method: 'GET', path: '/caf%C3%A9', search: '?a=1', headers: { host: 'shop.example' } }],
    );
  });

  it('Browser.get() resolves Location against the page that sent it', async () => {
    const rows: [from: string, location: string, to: string][] = [
      ['/a/b', 'c', '/a/c'],
      ['/a/b', '../c', '/c'],
      ['/a/b', '?d=1', '/a/b?d=1'],
      ['/a/b', `${ORIGIN}/c`, '/c'],
    ];
    for (const [from, location, to] of rows) {
      let visits = 0;
      const page: Handler = ({ path, search }) =>
        visits++ === 0 ? redirect(location) : text(path + search);
      const browser = new Browser(page, ORIGIN);
      assert.equal((await browser.get(from)).body, to, `Location: ${location} at ${from}`);
      assert.deepEqual(browser.log, [`GET ${from} → 303 ${location}`, `GET ${to} → 200`]);
    }
  });

  it('Browser.get() sends a cookie to its own host only, also after a redirect', async () => {
    const requests: string[] = [];
    const page: Handler = ({ headers }) => {
      requests.push(`${headers.host} ${headers.cookie ?? 'no cookie'}`);
      if (requests.length > 1) return text('ok');
      const cookieAndPlace = { location: 'http://other.example/', 'set-cookie': 'id=7' };
      return { status: 303, headers: cookieAndPlace, body: '' };
    };
    const browser = new Browser(page);
    await browser.get('/');
    assert.deepEqual(requests, ['localhost:6543 no cookie', 'other.example no cookie']);
    const log = ['GET / → 303 http://other.example/', 'GET http://other.example/ → 200'];
    assert.deepEqual(browser.log, log);
  });

  it('Browser.get() ignores Location if the status is not a redirect', async () => {
    for (const status of [200, 201, 304, 404, 500]) {
      const browser = new Browser(() => redirect('/elsewhere', status));
      assert.equal((await browser.get('/')).status, status);
      assert.equal(browser.log.length, 1);
    }
  });

  it('Browser visits the site of step 14 before step 16 starts', SLOW, async (t) => {
    const program = startProgram(t, ['src/16-browser.ts']);
    const log = /^(POST \/articles → 303 \/articles\nGET \/articles → 200\n)/;
    assert.match(await program.printed(log), /303/);
    const port = await program.printed(/Step 16 · http:\/\/localhost:(\d+)/);
    const url = `http://127.0.0.1:${port}/articles`;
    const response = await fetch(url, { headers: { connection: 'close' } });
    assert.doesNotMatch(await response.text(), /From memory/, 'that visitor used another site');
  });
});
