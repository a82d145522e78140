import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given } from '../.tools/explain.ts';
import { jarWith, NOW, sentTo } from '../.tools/jar.ts';
import { bodyText } from '../.tools/request.ts';
import { type Handler, type HttpResponse, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { site as tutorial } from '../src/09-tutorial.ts';
import { site as flashSite } from '../src/14-flash.ts';
import { Browser, pathMatches } from '../src/16-browser.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const HTTP = 'http://www.example.org/';
const HTTPS = 'https://www.example.org/';
const MAX_REDIRECTS = 20; // the limit of the Fetch standard

function redirect(location: string, status = 303, cookies: string[] = []): HttpResponse {
  return { status, headers: { location, 'set-cookie': cookies }, body: '' };
}

/** A page that shows its request: the method, the path, the body and the cookies. */
const mirror: Handler = async ({ method, path, search, headers, body }) => {
  let received = '';
  for await (const chunk of body) received += Buffer.from(chunk).toString();
  return text([method, path + search, received, headers.cookie ?? 'no cookie'].join(' | '));
};

describe('16-browser: CookieJar', () => {
  it('pathMatches() accepts /app/x for /app, but not /apple', () => {
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
      assert.equal(
        pathMatches(given(path), folder),
        expected,
        `Path=${folder}, request for ${path}`,
      );
    }
  });

  it('CookieJar.headerFor() returns the cookies that store() has kept', () => {
    const jar = jarWith(ORIGIN, 'session=abc; Path=/; HttpOnly', 'theme=dark; Path=/');
    assert.equal(sentTo(jar, ORIGIN), 'session=abc; theme=dark');
    assert.equal(sentTo(jar, `${ORIGIN}/howdy?a=1`), 'session=abc; theme=dark');
    assert.equal(sentTo(jar, 'http://localhost:7000/'), 'session=abc; theme=dark', 'another port');
    assert.equal(sentTo(jar, 'http://other.example/'), undefined);
  });

  it('CookieJar.store() returns false for a cookie that a browser drops', () => {
    const jar = jarWith(HTTPS, 'a=1; Path=/');
    const bad = ['a=2; Path=/; SameSite=None', 'a=2; Domain=evil.example', 'a=\0', '__Host-a=2'];
    for (const header of ['', ...bad]) {
      assert.equal(jar.store(header, new URL(HTTPS), NOW), false, header);
    }
    assert.equal(sentTo(jar, HTTPS), 'a=1', 'the old cookie is still there');
  });

  it('CookieJar.headerFor() sends a Domain cookie to hosts below, and others to one host', () => {
    const rows: [attributes: string, url: string, isSent: boolean][] = [
      ['', HTTP, true],
      ['', 'http://WWW.example.org:8080/', true], // ports share cookies
      ['', 'http://example.org/', false],
      ['', 'http://sub.www.example.org/', false],
      ['; Domain=example.org', 'http://example.org/', true],
      ['; Domain=example.org', 'http://a.b.example.org/', true],
      ['; Domain=example.org', 'http://badexample.org/', false],
      ['; Domain=example.org', 'http://example.org.evil.example/', false],
    ];
    for (const [attributes, url, isSent] of rows) {
      const sent = sentTo(jarWith(HTTP, `a=1${attributes}`), url);
      assert.equal(sent, isSent ? 'a=1' : undefined, `a=1${attributes} to ${url}`);
    }
    const jar = jarWith('http://localhost/', 'a=1; Domain=localhost');
    assert.equal(sentTo(jar, 'http://app.localhost/'), undefined, 'a top-level domain is one host');
  });

  it('CookieJar.headerFor() sends a Secure cookie over https, or to this machine', () => {
    const jar = jarWith(HTTPS, 'a=1; Secure', 'b=2');
    assert.equal(sentTo(jar, HTTPS), 'a=1; b=2');
    assert.equal(sentTo(jar, HTTP), 'b=2');
    assert.equal(sentTo(jarWith(ORIGIN, 'a=1; Secure'), ORIGIN), 'a=1');
  });

  it('CookieJar.headerFor() returns the longest path first, and then the oldest cookie', () => {
    const jar = jarWith(ORIGIN, 'a=root; Path=/', 'b=2; Path=/', 'a=app; Path=/app', 'c=3; Path=/');
    assert.equal(sentTo(jar, `${ORIGIN}/app/x`), 'a=app; a=root; b=2; c=3');
    jar.store('a=new; Path=/', new URL(ORIGIN), NOW);
    assert.equal(sentTo(jar, `${ORIGIN}/`), 'a=new; b=2; c=3', 'it keeps its place');
  });

  it('CookieJar.store() replaces a cookie with the same name, domain and path', () => {
    const jar = jarWith(HTTP, 'a=1', 'a=2');
    assert.equal(sentTo(jar, HTTP), 'a=2');
    jar.store('a=3; Domain=www.example.org', new URL(HTTP), NOW); // also for the hosts below
    jar.store('a=4; Path=/app', new URL(HTTP), NOW);
    jar.store('A=5', new URL(HTTP), NOW);
    assert.equal(sentTo(jar, `${HTTP}app`), 'a=4; a=2; a=3; A=5');
  });

  it('CookieJar.headerFor() returns a cookie until it expires', () => {
    const jar = jarWith(HTTP, 'a=1; Max-Age=60', 'b=2');
    assert.equal(sentTo(jar, HTTP, NOW + 59.9), 'a=1; b=2');
    assert.equal(sentTo(jar, HTTP, NOW + 60), 'b=2');
    assert.equal(sentTo(jar, HTTP, NOW + 1e9), 'b=2', 'without an end, until the browser closes');
  });

  it('CookieJar.store() deletes a cookie only if the path and the domain are the same', () => {
    for (const end of ['Max-Age=0', 'Max-Age=-1', 'Expires=Thu, 01 Jan 1970 00:00:00 GMT']) {
      const jar = jarWith(HTTP, 'a=1; Path=/', 'b=1; Path=/', `a=; Path=/; ${end}`);
      assert.equal(sentTo(jar, HTTP), 'b=1', end);
      const other = jarWith(HTTP, 'a=1; Path=/', `a=; Path=/app; ${end}`);
      assert.equal(sentTo(other, HTTP), 'a=1', `${end} for another path`);
    }
  });

  it('CookieJar.store() lets no response over http replace or hide a Secure cookie', () => {
    const jar = jarWith(HTTPS, 'id=secret; Secure; Path=/login', 'theme=dark; Path=/');
    const rows: [header: string, url: string, isKept: boolean][] = [
      ['id=forged; Path=/login', HTTP, false],
      ['id=forged; Path=/login/form', HTTP, false], // the longer path would come first
      ['id=forged; Path=/login; Domain=example.org', 'http://evil.example.org/', false],
      ['id=1; Path=/', HTTP, true], // it comes after the Secure cookie
      ['theme=light; Path=/', HTTP, true],
      ['id=2; Path=/login', 'http://other.example/', true],
      ['id=new; Path=/login; Secure', HTTPS, true],
    ];
    for (const [header, url, isKept] of rows) {
      assert.equal(jar.store(header, new URL(url), NOW), isKept, `${header} from ${url}`);
    }
    assert.equal(sentTo(jar, `${HTTPS}login`), 'id=new; theme=light; id=1');
  });
});

describe('16-browser: Browser', () => {
  it('Browser.request() follows no redirect, and sends the headers that a test adds', async () => {
    const browser = new Browser(({ headers }) => redirect('/next', 303, [`dnt=${headers.dnt}`]));
    const response = await browser.request('GET', '/', '', { dnt: '1' });
    assert.equal(response.status, 303);
    assert.equal(sentTo(browser.jar, ORIGIN), 'dnt=1');
    assert.deepEqual(browser.log, ['GET / → 303 /next']);
  });

  it('Browser.get() returns the cookie to the site: Count: 1, 2, 3', async () => {
    const { handle } = tutorial();
    const [ada, bob] = [new Browser(handle), new Browser(handle)];
    const visits: [Browser, path: string, count: string][] = [
      [ada, '/', '1'], [ada, '/howdy', '2'], [bob, '/', '1'], [ada, '/', '3'],
    ];
    for (const [browser, path, count] of visits) {
      assert.match(bodyText(await browser.get(path)), new RegExp(`Count: ${count}<`), path);
    }
  });

  it('Browser.get() keeps the cookies of a redirect, and sends them to the next page', async () => {
    const cookies = ['id=7; Path=/', 'flash=hello; Path=/welcome'];
    const router = new Router()
      .get('/login', () => redirect('/welcome', 303, cookies))
      .get('/welcome', mirror);
    const { body } = await new Browser(router.handle).get('/login');
    assert.equal(body, 'GET | /welcome |  | flash=hello; id=7');
  });

  it('Browser.post() follows the redirect, and the page shows the flash message', async () => {
    const browser = new Browser(flashSite());
    const response = await browser.post('/articles', { title: 'On tea', body: 'It is hot.' });
    assert.match(bodyText(response), /role="status">Article saved<[^]*On tea/);
    assert.deepEqual(browser.log, ['POST /articles → 303 /articles', 'GET /articles → 200']);
  });

  it('Browser.post() continues with GET after 303, and with POST after 307', async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      const router = new Router().post('/old', () => redirect('/new?id=1', status));
      const { handle } = router.get('/new', mirror).post('/new', mirror);
      const { body } = await new Browser(handle).post('/old', { a: '1' });
      const isRepeated = status >= 307;
      const expected = isRepeated ? 'POST | /new?id=1 | a=1' : 'GET | /new?id=1 | ';
      assert.equal(body, `${expected} | no cookie`, `after ${status}`);
    }
  });

  it('Browser.get() follows 20 redirects, and throws for one more', async () => {
    let visits = 0;
    const chain = (length: number): Browser => {
      visits = 0;
      return new Browser(() => (visits++ < length ? redirect(`/${visits}`) : text('the end')));
    };
    assert.equal((await chain(MAX_REDIRECTS).get('/')).body, 'the end');
    await assert.rejects(chain(MAX_REDIRECTS + 1).get('/'), RangeError);
    assert.equal(visits, MAX_REDIRECTS + 1);
    const circle = new Browser(() => redirect('/'));
    await assert.rejects(circle.get('/'), /^RangeError: The redirects do not end/);
  });
});
