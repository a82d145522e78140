import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, ofStep, witness } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { type Handler, type HttpResponse, problem, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { html, page } from '../src/06-template.ts';
import { Session } from '../src/07-session.ts';
import { type SessionFactory, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import type { TutorialData } from '../src/09-tutorial.ts';
import { fillSlot } from '../src/10-inspector.ts';
import { type Middleware, RouteGroup, sessionFrom } from '../src/13-middleware.ts';
import { Browser } from '../src/16-browser.ts';
import { CsrfSession } from '../src/17-csrf.ts';
import type { CartData } from '../src/18-cart.ts';
import { makeSite, type Links, site, withErrorPages, withLayout } from '../src/20-layout.ts';

const it = explainedIt(import.meta.url);
const HTML = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }; // as a browser sends it
const SAME = { 'sec-fetch-site': 'same-origin' };

type Factory = SessionFactory<Session<CartData>>;

const factory: Factory = new SignedCookieSessionFactory({
  secrets: ['x'], sessionClass: Session<CartData>,
});

/** A factory for the whole site. */
const shopFactory = new SignedCookieSessionFactory({
  secrets: ['x'], sessionClass: CsrfSession<TutorialData & CartData>,
});

/** A factory that cannot open, create or save a session. */
const fail = (): never => assert.fail('the store is down');
const broken: Factory = { cookie: factory.cookie, open: fail, create: fail, save: fail };

/** Returns a function that adds the session and the layout to a page. */
function layoutWith(sessions: Factory, more?: (session: Session<CartData>) => Links) {
  const group = RouteGroup.of(new Router()).with(sessionFrom(sessions)).with(withLayout(more));
  return (inner: Handler): Handler => group.wrap(inner);
}

/** Returns what a browser receives if the site responds with `response`. */
async function receive(response: HttpResponse, headers = {}, sessions = factory) {
  const handle = witness(withErrorPages(() => response, layoutWith(sessions)));
  return handle(makeRequest('GET', '/here', { ...HTML, ...headers }));
}

/** Returns the cookie of a visitor with things in the cart. */
function cookieWith(items: CartData['cart']['items']): string {
  const session = factory.create().set('cart', { items, note: '' });
  return `session=${String(factory.save(session))}`;
}

/** Returns the links of the navigation: ['Home /', 'Howdy /howdy']. */
function linksOf(response: HttpResponse): string[] {
  const [nav = ''] = /<nav[^]*<\/nav>/.exec(bodyText(response)) ?? [];
  const links = nav.matchAll(/href="([^"]*)"[^>]*>([^<]*)/g);
  return [...links].map(([, path, name]) => `${name} ${path}`);
}

const LINKS = ['Home /', 'Howdy /howdy', 'Articles /articles', 'Cart /cart'];

describe('20-layout: the layout', () => {
  const show: Handler = () => page('A page', html`<h1>A page</h1>`);

  it('withLayout() adds the navigation in front of the page', async () => {
    const response = await layoutWith(factory)(show)(makeRequest());
    assert.deepEqual(linksOf(response), LINKS);
    assert.match(bodyText(response), /<body>\n<header>[^]*<\/header>\n<main [^]*<h1>A page<\/h1>/);
    assert.match(bodyText(response), /<a class="skip" href="#content">/);
  });

  it('withLayout() shows the number of things in the cart', async () => {
    const handle = layoutWith(factory)(show);
    const names: [items: CartData['cart']['items'], link: string][] = [
      [{}, 'Cart /cart'], [{ tea: 1 }, 'Cart (1) /cart'], [{ tea: 2, mug: 3 }, 'Cart (5) /cart'],
    ];
    for (const [items, link] of names) {
      const response = await handle(makeRequest('GET', '/', { cookie: cookieWith(items) }));
      assert.equal(linksOf(response)[3], link);
    }
  });

  it('withLayout() shows the cart as it is after the page has changed it', async () => {
    const group = RouteGroup.of(new Router()).with(sessionFrom(factory)).with(withLayout());
    const handle = group.wrap((request) => {
      request.session.set('cart', { items: { mug: 2 }, note: '' });
      return show(request);
    });
    assert.equal(linksOf(await handle(makeRequest()))[3], 'Cart (2) /cart');
  });

  it('withLayout() marks the link to the current page', async () => {
    for (const [path, marked] of [['/howdy', '/howdy'], ['/cart', '/cart'], ['/other', '']]) {
      const response = await layoutWith(factory)(show)(makeRequest('GET', path));
      const links = bodyText(response).matchAll(/<a href="([^"]*)" aria-current="page">/g);
      assert.equal([...links].map(([, link]) => link).join(), marked, path);
    }
  });

  it('withLayout() adds the links that depend on the session', async () => {
    const more = (session: Session<CartData>): Links =>
      session.has('cart') ? [['/pay', 'Pay']] : [['/login', 'Log in']];
    const handle = layoutWith(factory, more)(show);
    assert.deepEqual(linksOf(await handle(makeRequest())), [...LINKS, 'Log in /login']);
    const response = await handle(makeRequest('GET', '/', { cookie: cookieWith({}) }));
    assert.deepEqual(linksOf(response), [...LINKS, 'Pay /pay']);
  });
});

describe('20-layout: error pages', () => {
  it('withErrorPages() turns a problem into a page with the layout', async () => {
    const response = await receive(problem(404, 'There is no page at /here.'));
    assert.equal(response.status, 404);
    assert.equal(response.headers['content-type'], 'text/html; charset=utf-8');
    assert.match(bodyText(response), /<title>404 Not Found<\/title>/);
    assert.match(bodyText(response), /<h1>404 Not Found<\/h1>\n<p>There is no page at \/here\./);
    assert.deepEqual(linksOf(response), LINKS);
  });

  it('withErrorPages() sends plain text to a client that does not accept HTML', async () => {
    for (const accept of ['*/*', 'application/json', '']) { // curl sends */*
      const response = await receive(problem(404, 'Not here.'), { accept });
      assert.equal(bodyText(response), '404 Not Found\n\nNot here.\n', accept);
      assert.equal(response.headers['content-type'], 'text/plain; charset=utf-8', accept);
    }
  });

  it('withErrorPages() does not change any other response', async () => {
    const others = [text('', 404), { status: 303, headers: { location: '/' }, body: '' }];
    for (const response of [...others, page('Wrong', html`<h1>Wrong</h1>`, 422)]) {
      assert.equal(await receive(response), response);
    }
  });

  it('withErrorPages() keeps Allow, Retry-After and WWW-Authenticate', async () => {
    const rows: [status: number, name: string, value: string][] = [
      [405, 'allow', 'GET, HEAD'], [429, 'retry-after', '60'], [503, 'retry-after', '1'],
      [401, 'www-authenticate', 'Bearer'],
    ];
    for (const [status, name, value] of rows) {
      for (const accept of [HTML.accept, '*/*']) {
        const response = await receive(problem(status, 'No.', { [name]: value }), { accept });
        assert.deepEqual([response.status, response.headers[name]], [status, value], accept);
      }
    }
  });

  it('withErrorPages() responds to OPTIONS with 204 and the allowed methods', async () => {
    const router = new Router().get('/', () => text('')).post('/save', () => text(''));
    const handle = withErrorPages(router.handle, layoutWith(factory));
    for (const [path, allow] of [['/', 'GET, HEAD'], ['/save', 'POST']]) {
      const response = await handle(makeRequest('OPTIONS', path, HTML));
      assert.deepEqual([response.status, response.headers.allow], [204, allow], path);
      assert.equal(response.body, '');
    }
    assert.equal((await handle(makeRequest('OPTIONS', '/none', HTML))).status, 404);
  });

  it('withErrorPages() turns an error of a page into a 500 that reveals nothing', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const inner: Handler = () => {
      throw new Error('the password is hunter2');
    };
    for (const accept of [HTML.accept, '*/*']) {
      const handle = withErrorPages(inner, layoutWith(broken));
      const response = await handle(makeRequest('GET', '/here', { accept }));
      assert.equal(response.status, 500);
      assert.match(bodyText(response), /500 Internal Server Error/);
      assert.doesNotMatch(bodyText(response), /hunter2/);
    }
    const lines = log.mock.calls.map(({ arguments: [line] }) => String(line));
    assert.equal(lines.length, 2, 'one line for each error');
    for (const line of lines) assert.match(line, /^500 GET \/here "Error: the password is hunter2/);
  });

  it('withErrorPages() opens the session and does not save it', async () => {
    const headers = { ...HTML, cookie: cookieWith({ tea: 2 }) };
    const group = RouteGroup.of(new Router()).with(sessionFrom(factory)).with(withLayout());
    const wrap = (inner: Handler): Handler =>
      group.wrap((request) => {
        request.session.set('cart', { items: { tea: 3 }, note: '' }); // it must not be saved
        return inner(request);
      });
    const handle = withErrorPages(() => problem(404, 'Not here.'), wrap);
    const response = await handle(makeRequest('GET', '/here', headers));
    assert.equal(linksOf(response)[3], 'Cart (3) /cart', 'the session is open');
    assert.deepEqual(setCookies(response), []);
  });

  it('withErrorPages() tells caches that the response depends on Accept', async () => {
    const page = await receive(problem(404, 'Not here.'));
    assert.equal(page.headers.vary, 'Cookie, Accept');
    const plain = await receive(problem(404, 'Not here.'), { accept: '*/*' });
    assert.equal(plain.headers.vary, 'Accept');
  });

  it('withErrorPages() opens no session after a 500 or 503', async () => {
    const cookie = cookieWith({ tea: 2 });
    for (const status of [500, 503]) {
      const response = await receive(problem(status, 'Later.'), { cookie }, broken);
      assert.equal(response.status, status);
      assert.match(bodyText(response), /<p>Later\.<\/p>/);
      assert.deepEqual(linksOf(response), LINKS, 'the navigation without the cart');
    }
  });

  it('withErrorPages() shows the error without a session if it cannot be opened', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const cookie = cookieWith({ tea: 2 });
    const response = await receive(problem(404, 'Not here.'), { cookie }, broken);
    assert.equal(response.status, 404);
    assert.match(bodyText(response), /<p>Not here\.<\/p>/);
    assert.deepEqual(linksOf(response), LINKS);
    const [line = ''] = log.mock.calls.map(({ arguments: [text] }) => String(text));
    assert.match(line, /^500 \w+ \/here .*the store is down/);
  });
});

describe('20-layout: the site', () => {
  it('makeSite() adds the inspector and its links only with `explain`', async () => {
    const { handle } = makeSite({ factory: shopFactory });
    const browser = new Browser(handle);
    assert.deepEqual(linksOf(await browser.get('/')), LINKS);
    for (const path of ['/inspect', '/inspect/cookie']) {
      assert.equal((await browser.get(path)).status, 404, path);
    }
    assert.doesNotMatch(bodyText(await browser.get('/')), /Look inside the session/);
  });

  it('makeSite() runs a wrapper after csrf, and the layout before the wrapper', async () => {
    const seen: string[] = [];
    const wrapper: Middleware<object> = (inner) => async (request) => {
      seen.push(`${request.method} ${request.path}`);
      return fillSlot(await inner(request), 'header', html`<p>The wrapper</p>`);
    };
    const { handle } = makeSite({ factory: shopFactory, wrappers: [wrapper] });
    const browser = new Browser(handle);
    assert.match(bodyText(await browser.get('/cart')), /<\/header>\n<p>The wrapper<\/p><main/);
    const forged = { 'sec-fetch-site': 'cross-site' };
    assert.equal((await browser.request('POST', '/cart/empty', '', forged)).status, 403);
    assert.deepEqual(seen, ['GET /cart'], 'the forged form did not reach the wrapper');
  });

  it('makeSite() shows a full session with the layout', async () => {
    const browser = new Browser(makeSite({ factory: shopFactory }).handle);
    await browser.request('POST', '/cart/add', 'item=pot', SAME);
    const note = `note=${encodeURIComponent('€'.repeat(1500))}`;
    const response = await browser.request('POST', '/cart/note', note, SAME);
    assert.equal(response.status, 422);
    assert.match(bodyText(response), /<h1>The session is full<\/h1>/);
    assert.equal(linksOf(response)[3], 'Cart (1) /cart');
  });

  it('site() of step 20 shows the navigation and the cart on each page', async () => {
    const browser = new Browser(ofStep(site()));
    await browser.request('POST', '/cart/add', 'item=pot', SAME);
    const pages = ['/', '/howdy', '/articles', '/cart', '/inspect', '/inspect/cookie', '/none'];
    for (const path of pages) {
      const response = await browser.request('GET', path, '', HTML);
      assert.ok(linksOf(response).includes('Cart (1) /cart'), path);
    }
    const wrong = await browser.request('POST', '/articles', 'title=', { ...HTML, ...SAME });
    assert.equal(wrong.status, 422);
    assert.ok(linksOf(wrong).includes('Cart (1) /cart'), 'a form with an error');
  });

  it('site() of step 20 shows a forged form as an error page, and keeps the cart', async () => {
    const browser = new Browser(ofStep(site()));
    await browser.request('POST', '/cart/add', 'item=pot', SAME);
    const headers = { ...HTML, 'sec-fetch-site': 'cross-site' };
    const response = await browser.request('POST', '/cart/empty', '', headers);
    assert.equal(response.status, 403);
    assert.match(bodyText(response), /<h1>403 Forbidden<\/h1>\n<p>[^<]+ Nothing was done\./);
    assert.ok(linksOf(response).includes('Cart (1) /cart'));
    assert.deepEqual(setCookies(response), []);
  });
});
