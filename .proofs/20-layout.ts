// Further proofs of step 20: the layout and the error pages of the finished site.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { tokenOf } from '../.tools/forms.ts';
import { bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { startServer } from '../.tools/serve.ts';
import { Cookie } from '../src/02-cookie.ts';
import { type HttpResponse, problem, text, toListener } from '../src/04-http.ts';
import { Session } from '../src/07-session.ts';
import type { SessionFactory } from '../src/08-session-factory.ts';
import type { TutorialData } from '../src/09-tutorial.ts';
import { Browser } from '../src/16-browser.ts';
import type { CsrfSession } from '../src/17-csrf.ts';
import type { CartData } from '../src/18-cart.ts';
import { makeSite, site as layoutSite, withErrorPages, withLayout } from '../src/20-layout.ts';
import { hashPassword } from '../src/21-password.ts';
import { site } from '../src/main.ts';

const it = explainedIt(import.meta.url);
const HTML = { accept: 'text/html,application/xhtml+xml' };
const SAME = { 'sec-fetch-site': 'same-origin' };
const PRODUCTION = { NODE_ENV: 'production', SESSION_SECRET: '0123456789abcdef0123456789abcdef' };
const users = hashPassword('secret', 4).then((hash) => new Map([['ada', hash]]));

/** A browser on the finished site that is logged in and has a teapot. */
async function openAsUser(): Promise<Browser> {
  const browser = new Browser(site({}, undefined, await users));
  await browser.request('POST', '/cart/add', 'item=pot', SAME);
  const { status } = await browser.request('POST', '/login', 'username=ada&password=secret', SAME);
  assert.equal(status, 303, 'POST /login with the right password');
  return browser;
}

function linksOf(response: HttpResponse): string[] {
  const [nav = ''] = /<nav[^]*<\/nav>/.exec(bodyText(response)) ?? [];
  const links = nav.matchAll(/href="([^"]*)"[^>]*>([^<]*)/g);
  return [...links].map(([, path, name]) => `${name} ${path}`);
}

describe('20-layout: the pages of the finished site', () => {
  const PAGES = ['/', '/howdy', '/articles', '/cart', '/login', '/inspect', '/nowhere'];

  it('withLayout() marks the current page on each page of the finished site', async () => {
    const browser = new Browser(site());
    for (const path of PAGES.slice(0, -1)) {
      const body = bodyText(await browser.get(path));
      const marked = [...body.matchAll(/<a href="([^"]*)" aria-current="page">/g)];
      assert.deepEqual(marked.map(([, href]) => href), [path]);
    }
  });

  it('withLayout() shows the links that this visitor can use', async () => {
    const first = ['Home /', 'Howdy /howdy', 'Articles /articles', 'Cart /cart'];
    const [login, sessions] = ['Login /login', 'Sessions /sessions'];
    const tools = ['Inspector /inspect', 'Cookies /inspect/cookie'];
    const rows: [env: Record<string, string>, links: string[]][] = [
      [{}, [...first, login, ...tools]],
      [{ SESSIONS: 'memory' }, [...first, login, sessions, ...tools]],
      [PRODUCTION, [...first, login]],
    ];
    for (const [env, links] of rows) {
      assert.deepEqual(linksOf(await new Browser(site(env)).get('/')), links, JSON.stringify(env));
    }
    const home = await (await openAsUser()).get('/');
    assert.deepEqual(linksOf(home), [
      ...first.with(3, 'Cart (1) /cart'), 'Dashboard /dashboard', ...tools,
    ]);
  });

  it('withLayout() shows the user and the cart on each page, and on error pages', async () => {
    const browser = await openAsUser();
    const pages = [...PAGES, '/dashboard'];
    for (const path of pages) {
      const response = await browser.request('GET', path, '', HTML);
      const body = bodyText(response);
      assert.match(body, /Logged in as <strong>ada<\/strong>/, path);
      assert.match(body, /Cart \(1\)<\/a>/, path);
      assert.match(body, /<form method="post" action="\/logout">/, path);
      assert.equal(response.headers['cache-control'], 'no-store', path);
    }
  });
});

describe('20-layout: the error pages of the finished site', () => {
  it('withErrorPages() shows a 403 and a 422 with the user', async () => {
    const browser = await openAsUser();
    const forged = { ...HTML, 'sec-fetch-site': 'cross-site' };
    const rejected = await browser.request('POST', '/cart/empty', '', forged);
    assert.equal(rejected.status, 403);
    assert.match(bodyText(rejected), /<h1>403 Forbidden<\/h1>\n<p>[^<]+ Nothing was done\./);
    assert.match(bodyText(rejected), /Logged in as <strong>ada/);
    const wrong = await browser.request('POST', '/articles', 'title=', { ...HTML, ...SAME });
    assert.equal(wrong.status, 422);
    assert.match(bodyText(wrong), /<nav [^]*<p class="flash error" role="alert">The title/);
  });

  it('withErrorPages() shows the logout form with the token of the session', async () => {
    const browser = await openAsUser();
    const token = tokenOf(bodyText(await browser.get('/cart')));
    const missing = await browser.request('GET', '/nowhere', '', HTML);
    assert.equal(tokenOf(bodyText(missing)), token);
    const { status } = await browser.request('POST', '/logout', `csrf_token=${token}`);
    assert.equal(status, 303);
  });

  it('onTooLarge() shows the user, and loses nothing of the session', async () => {
    const browser = await openAsUser();
    const save = (length: number): Promise<HttpResponse> => {
      const form = `note=${encodeURIComponent('€'.repeat(length))}`;
      return browser.request('POST', '/cart/note', form, SAME);
    };
    let length = 1000;
    while ((await save(length)).status === 422) length -= 1; // until it fits, to the last byte
    const before = bodyText(await browser.get('/cart'));
    const full = await save(1500);
    assert.equal(full.status, 422);
    assert.match(bodyText(full), /<h1>The session is full<\/h1>/);
    assert.ok(bodyText(full).includes('€'.repeat(1500)), 'the note can be copied');
    assert.match(bodyText(full), /Logged in as <strong>ada/);
    const article = await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    assert.equal(article.status, 422, 'the message "Article saved" does not fit');
    assert.equal(bodyText(await browser.get('/cart')), before);
    assert.equal((await save(10)).status, 303);
    const added = await browser.post('/cart/add', { item: 'tea', csrf_token: tokenOf(before) });
    assert.match(bodyText(added), /Cart \(2\)/);
  });

  it('withErrorPages() sends a 405 with Allow, and the page in HTML or as text', async () => {
    const browser = new Browser(site());
    const page = await browser.request('DELETE', '/', '', HTML);
    assert.deepEqual([page.status, page.headers.allow], [405, 'GET, HEAD']);
    assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
    assert.match(bodyText(page), /<h1>405 Method Not Allowed<\/h1>\n<p>\/ allows GET, HEAD, not/);
    const plain = await browser.request('DELETE', '/');
    assert.equal(plain.headers['content-type'], 'text/plain; charset=utf-8');
    assert.match(bodyText(plain), /^405 Method Not Allowed\n\n\/ allows GET, HEAD, not DELETE\./);
    const missing = await browser.request('GET', '/<b>&', '', HTML);
    assert.equal(missing.status, 404);
    assert.match(bodyText(missing), /<title>404 Not Found<\/title>/);
    assert.doesNotMatch(bodyText(missing), /<b>/);
  });

  it('withErrorPages() asks for no session if the response is a 500 or 503', async () => {
    const wrap = (): never => assert.fail('the session was opened');
    for (const status of [500, 503]) {
      const handle = withErrorPages(() => problem(status, 'Later.'), wrap);
      const response = await handle(makeRequest('GET', '/', HTML));
      assert.equal(response.status, status);
      assert.match(bodyText(response), /<p>Later\./);
    }
  });

  it('withErrorPages() logs the method of the request, not HEAD', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const wrap = () => (): never => assert.fail('the store is down');
    const handle = withErrorPages(() => problem(404, 'Not here.'), wrap);
    assert.equal((await handle(makeRequest('POST', '/here', HTML))).status, 404);
    const [line = ''] = log.mock.calls.map(({ arguments: [text] }) => String(text));
    assert.match(line, /^500 POST \/here .*the store is down/);
  });

  it('site() of step 20 does not use up a message on an error page', async () => {
    const browser = new Browser(layoutSite());
    const token = tokenOf(bodyText(await browser.get('/articles')));
    const form = new URLSearchParams({ csrf_token: token, title: 'a', body: 'b' }).toString();
    assert.equal((await browser.request('POST', '/articles', form)).status, 303);
    for (const method of ['GET', 'HEAD']) await browser.request(method, '/none', '', HTML);
    assert.match(bodyText(await browser.get('/')), /Article saved/);
    assert.doesNotMatch(bodyText(await browser.get('/')), /Article saved/);
  });

  it('addStyle() serves its files without opening a session', async () => {
    const fail = (): never => assert.fail('a session was opened');
    const factory: SessionFactory<CsrfSession<TutorialData & CartData>> = {
      cookie: new Cookie('session'), open: fail, create: fail, save: fail,
    };
    const { handle } = makeSite({ factory });
    for (const path of ['/style.css', '/favicon.svg']) {
      const response = await handle(makeRequest('GET', path, { ...HTML, cookie: 'session=a' }));
      assert.deepEqual([response.status, setCookies(response)], [200, []], path);
    }
  });

  it('withLayout() does not change the body of a response that is not a page', async () => {
    for (const body of ['a text with <body>', Buffer.from('<!doctype html><body>')]) {
      const request = { ...makeRequest(), session: new Session<CartData>(0) };
      const response = await withLayout()(() => text(body))(request);
      assert.equal(response.body, body);
    }
  });

  it('withErrorPages() shows a hostile text as text', async () => {
    const handle = withErrorPages(() => problem(429, 'Wait, <b>please</b>.'), (page) => page);
    const response = await handle(makeRequest('GET', '/', HTML));
    assert.match(bodyText(response), /<p>Wait, &lt;b&gt;please&lt;\/b&gt;\./);
  });

  it('withErrorPages() still responds with a page if Redis is down', async (t) => {
    t.mock.method(console, 'error', () => {});
    const browser = new Browser(site({ SESSIONS: 'redis://127.0.0.1:1' }));
    const page = await browser.request('GET', '/', '', HTML);
    assert.deepEqual([page.status, page.headers['retry-after']], [503, '1']);
    assert.match(bodyText(page), /<h1>503 Service Unavailable<\/h1>\n<p>\S/);
    assert.equal((await browser.get('/style.css')).status, 200);
    const known = { ...HTML, cookie: `session=${'A'.repeat(43)}` };
    for (const headers of [HTML, known, {}]) {
      const missing = await browser.request('GET', '/nowhere', '', headers);
      assert.equal(missing.status, 404, JSON.stringify(headers));
    }
  });

  it('withErrorPages() sends HEAD the headers of GET and no body', async (t) => {
    const server = await startServer(t, toListener(layoutSite()));
    for (const path of ['/articles', '/none']) {
      const [head, get] = [await server.request('HEAD', path, HTML), await server.get(path, HTML)];
      assert.equal(head.body, '', path);
      assert.equal(head.status, get.status, path);
      for (const name of ['content-type', 'vary', 'content-security-policy']) {
        assert.equal(head.headers.get(name), get.headers.get(name), `${path} ${name}`);
      }
    }
  });

  it('withErrorPages() sets no cookie for HEAD, and a message stays for GET', async () => {
    const browser = new Browser(site());
    await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    for (const path of ['/', '/articles', '/cart', '/login', '/none']) {
      const head = await browser.request('HEAD', path, '', HTML);
      assert.deepEqual(setCookies(head), [], path);
    }
    assert.match(bodyText(await browser.get('/cart')), /Article saved/);
  });
});
