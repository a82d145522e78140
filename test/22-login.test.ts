import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { bodyText, makeRequest } from '../.tools/request.ts';
import { type Handler, type HttpResponse, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { html, page } from '../src/06-template.ts';
import { decodePayload, encodePayload } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { addTutorial, DEMO } from '../src/09-tutorial.ts';
import { addArticles, seeOther } from '../src/12-forms.ts';
import { RouteGroup, sessionFrom } from '../src/13-middleware.ts';
import { withFlash } from '../src/14-flash.ts';
import { Browser } from '../src/16-browser.ts';
import { withCsrf } from '../src/17-csrf.ts';
import { addCart } from '../src/18-cart.ts';
import { hashPassword } from '../src/21-password.ts';
import { addLogin, safeRedirectPath, type SiteData, site } from '../src/22-login.ts';
import { userLinks, type UserRequest, UserSession, withLogin, withUser } from '../src/22-login.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // seconds since 1970
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' }; // what a browser sends with a form

// The cheap hashes of N = 2^4 are enough for a test. The password is the name.
const NAMES = ['editor', 'viewer'];
const users = Promise.all(
  NAMES.map(async (name) => [name, await hashPassword(name, 4)] as const),
).then((entries) => new Map(entries));

/** A browser at a site with a login, a cart and a clock that the test can set. */
async function visit(clock = { now: NOW }) {
  const options = { ...DEMO, now: () => clock.now, sessionClass: UserSession<SiteData> };
  const factory = new SignedCookieSessionFactory(options);
  const router = new Router();
  const chain = RouteGroup.of(router).with(sessionFrom(factory)).with(withCsrf()).with(withUser);
  const pages = chain.with(withFlash);
  addTutorial(pages);
  addArticles(pages);
  addCart(pages);
  addLogin({ pages, handle: router.handle }, await users);
  const browser = new Browser(router.handle, ORIGIN, () => clock.now);
  const send = (path: string, fields: Record<string, string> = {}): Promise<HttpResponse> =>
    browser.request('POST', path, new URLSearchParams(fields).toString(), SAME_ORIGIN);
  const login = (username: string, password = username, next = ''): Promise<HttpResponse> =>
    send('/login', { username, password, next });
  const cookie = (): string => browser.jar.headerFor(new URL(ORIGIN), clock.now) ?? '';
  const session = () => factory.open(cookie().slice('session='.length));
  return { browser, send, login, cookie, session, clock, handle: router.handle };
}

/** Requests a page with a cookie, as an attacker does who has a copy of the cookie. */
function getWith(handle: Handler, path: string, cookie: string): Promise<HttpResponse> {
  return new Browser(handle, ORIGIN, () => NOW).request('GET', path, '', { cookie });
}

/** Returns the data of a session without the token. */
function dataOf(session: UserSession<SiteData> | undefined): object {
  const { _csrft_: _, ...data } = (session?.toJSON() ?? {}) as { _csrft_?: string };
  return data;
}

function tokenIn(response: HttpResponse): string {
  return /name="csrf_token" value="(\w+)"/.exec(bodyText(response))?.[1] ?? '';
}

/** Saves a session, and opens it in the next request. */
function nextRequest(session: UserSession<SiteData>, now: number): UserSession<SiteData> {
  return new UserSession<SiteData>(now, decodePayload(encodePayload(session, now)));
}

describe('22-login: the page after the login', () => {
  const INSIDE = ['/', '/cart', '/dashboard?tab=2&x=%2F', '/%5cevil', '/a//b', '/.//evil.example'];
  const OUTSIDE = [
    '//evil.example', '///evil.example', '/\\evil.example', '\\\\evil.example', 'evil.example',
    'https://evil.example', 'https:evil.example', 'javascript:alert(1)', '', ' /cart', '/ x', '?x',
    '/\t/evil.example', '/\n/evil.example', '/\r\nSet-Cookie: x=1', '/\0', '/caf\u00e9', '/\u2028',
    '#x', './x', `/${'a'.repeat(2001)}`, '@evil.example', '/\\/evil.example', '%2f%2fevil.example',
    '/a\\b',
  ];

  it('safeRedirectPath() returns a path of this site', () => {
    for (const next of INSIDE) assert.equal(safeRedirectPath(given(next)), next);
  });

  it('safeRedirectPath() returns the dashboard for everything else', () => {
    for (const next of [...OUTSIDE, null]) {
      assert.equal(safeRedirectPath(given(next)), '/dashboard', JSON.stringify(next)?.slice(0, 40));
    }
  });

  it('safeRedirectPath() never leads to another site, according to the URL standard', () => {
    for (const next of [...INSIDE, ...OUTSIDE]) {
      const { origin } = new URL(safeRedirectPath(given(next)), ORIGIN);
      assert.equal(origin, ORIGIN, `next=${JSON.stringify(next).slice(0, 40)}`);
    }
  });
});

describe('22-login: a session that can end', () => {
  it('UserSession.regenerateId() keeps the data, with a new token and a new age', () => {
    const session = nextRequest(new UserSession<SiteData>(NOW).set('counter', 7), NOW + 60);
    const token = session.csrfToken();
    session.regenerateId();
    assert.equal(session.get('counter'), 7, 'the data stays');
    assert.notEqual(session.csrfToken(), token, 'the token is new');
    assert.equal(session.created - NOW, 60, 'the session begins now');
    assert.equal(session.isEnded, true, 'isEnded tells a store to delete the old session');
  });

  it('UserSession.regenerateId() of an empty session creates no token', () => {
    const session = new UserSession<SiteData>(NOW);
    session.regenerateId();
    assert.equal(session.size, 0, 'a token would need a cookie');
  });

  it('UserSession.invalidate() removes the data, and what is set later is a new session', () => {
    const session = nextRequest(new UserSession<SiteData>(NOW).set('counter', 7), NOW + 60);
    const token = session.csrfToken();
    session.flash('hello');
    session.invalidate();
    assert.equal(session.size, 0, 'all data is removed, also messages and the token');
    assert.equal(session.isEnded, true, 'isEnded tells a store to delete the old session');
    assert.equal(session.created - NOW, 60, 'the session begins now');
    assert.notEqual(session.csrfToken(), token, 'the token is new');
  });

  it('UserSession.invalidate() changes a session that gets the same data again', () => {
    const session = nextRequest(new UserSession<SiteData>(NOW).set('counter', 7), NOW + 60);
    session.invalidate();
    session.set('counter', 7);
    assert.equal(session.isChanged, true, 'without a save, the old session would stay');
  });
});

describe('22-login: pages for users', () => {
  it('withLogin() lets a user in, and sends others to the login', async () => {
    const page = withLogin(await users)<UserRequest>(({ user }) => text(`Hello, ${user}`));
    const session = new UserSession<SiteData>(NOW);
    const visitor = await page({ ...makeRequest('GET', '/secret?x=1&y='), session });
    assert.deepEqual(visitor, seeOther('/login?next=%2Fsecret%3Fx%3D1%26y%3D'));
    session.set('user', 'removed'); // from the user file
    assert.equal((await page({ ...makeRequest(), session })).status, 303, 'a removed user');
    session.set('user', 'editor');
    assert.equal(bodyText(await page({ ...makeRequest(), session })), 'Hello, editor');
  });

  it('withLogin() sends a POST to the login without its path, which GET may not show', async () => {
    const page = withLogin(await users)<UserRequest>(() => text('deleted'));
    const session = new UserSession<SiteData>(NOW);
    const response = await page({ ...makeRequest('POST', '/secret/delete'), session });
    assert.deepEqual(response, seeOther('/login?next=%2Fdashboard'));
  });
});

describe('22-login: the name of the user', () => {
  it('withUser adds the name and a logout button, and no cache keeps the page', async () => {
    const handler = withUser<UserRequest>(() => page('A', html`<h1>A</h1>`));
    const session = new UserSession<SiteData>(NOW);
    const visitor = await handler({ ...makeRequest(), session });
    assert.equal(visitor.headers['cache-control'], undefined, 'a visitor who is not logged in');
    assert.doesNotMatch(bodyText(visitor), /Logged in/);
    session.set('user', '<editor>');
    const response = await handler({ ...makeRequest(), session });
    assert.equal(response.headers['cache-control'], 'no-store');
    assert.match(bodyText(response), /Logged in as <strong>&lt;editor&gt;<\/strong>/);
    assert.match(bodyText(response), /<form method="post" action="\/logout">/);
  });
});

describe('22-login: login', () => {
  it('addLogin() responds the same to a wrong password and to an unknown name', async () => {
    const { login, session } = await visit();
    for (const name of ['editor', 'unknown', '', '__proto__', 'constructor']) {
      const response = await login(name, 'wrong');
      assert.equal(response.status, 422, name);
      assert.match(bodyText(response), /<title>Login<\/title>/);
      const [, error] = /role="alert">([^<]*)/.exec(bodyText(response)) ?? [];
      assert.equal(error, 'The name or the password is wrong.', name);
      assert.equal(session()?.has('user'), false, name);
    }
  });

  it('addLogin() starts a new session at login, and keeps the cart', async () => {
    const { send, login, session, clock } = await visit();
    await send('/cart/add', { item: 'tea' });
    const before = session();
    clock.now += 60;
    await login('viewer');
    const after = session();
    assert.equal(before?.created, NOW);
    assert.equal(after?.created, NOW + 60, 'the session is as old as the login');
    assert.notEqual(after?.csrfToken(), before?.csrfToken());
    assert.deepEqual(dataOf(after), { cart: { items: { tea: 1 }, note: '' }, user: 'viewer' });
  });

  it('addLogin() leads back to the page that needed the login', async () => {
    const { browser, login } = await visit();
    const form = bodyText(await browser.get('/dashboard?tab=2'));
    assert.match(form, /<input type="hidden" name="next" value="\/dashboard\?tab=2">/);
    const { headers } = await login('editor', 'editor', '/dashboard?tab=2');
    assert.equal(headers.location, '/dashboard?tab=2');
    assert.match(bodyText(await browser.get('/dashboard')), /<h1>Hello, editor<\/h1>/);
  });

  it('addLogin() leads only to a page of this site that GET can show', async () => {
    const { login } = await visit();
    const rows: [next: string, location: string][] = [
      ['/cart', '/cart'], ['/articles?page=2', '/articles?page=2'], ['/howdy', '/howdy'],
      ['//evil.example', '/dashboard'], ['', '/dashboard'], // the visitor can change a hidden field
      ['/logout', '/dashboard'], ['/cart/add?item=tea', '/dashboard'], // only POST
      ['/x/../logout', '/dashboard'], ['/%2e/cart/add', '/dashboard'], // a browser removes the dots
      ['/nonsense', '/dashboard'], ['/login', '/dashboard'], ['/login?next=/cart', '/dashboard'],
    ];
    for (const [next, location] of rows) {
      const { headers } = await login('editor', 'editor', next);
      assert.equal(headers.location, location, `the login with next=${next}`);
    }
  });

  it('addLogin() makes the token from before the login invalid', async () => {
    const { browser, login } = await visit();
    const old = tokenIn(await browser.get('/cart'));
    await login('editor');
    const empty = (token: string): Promise<HttpResponse> =>
      browser.request('POST', '/cart/empty', `csrf_token=${token}`);
    assert.equal((await empty(old)).status, 403, 'the attacker planted the cookie and knows it');
    const current = tokenIn(await browser.get('/cart'));
    assert.equal((await empty(current)).status, 303, 'the token of the new session');
  });

  it('addLogin() does not give the cart of one user to another user', async () => {
    const { send, login, session, clock } = await visit();
    await send('/cart/add', { item: 'tea' });
    await login('editor');
    await login('editor'); // the same user again keeps the cart
    const cart = { items: { tea: 1 }, note: '' };
    assert.deepEqual(dataOf(session()), { cart, user: 'editor' });
    clock.now += 60;
    await login('viewer'); // on a shared computer, and the editor has not logged out
    assert.deepEqual(dataOf(session()), { user: 'viewer' });
    assert.equal(session()?.created, NOW + 60);
  });

});

describe('22-login: logout, and the site', () => {
  it('addLogin() ends the session at logout, with POST only', async () => {
    const { browser, send, login, session } = await visit();
    await send('/cart/add', { item: 'tea' });
    await login('editor');
    const byGet = await browser.request('GET', '/logout');
    assert.equal(byGet.status, 405, 'an image on another site can send GET /logout');
    assert.equal((await browser.request('GET', '/dashboard')).status, 200);
    const response = await send('/logout');
    assert.deepEqual([response.status, response.headers.location], [303, '/']);
    const left = JSON.stringify(session());
    assert.equal(left, '{"_f_info":["You are logged out."]}', 'only a message in the queue info');
    assert.equal((await browser.request('GET', '/dashboard')).status, 303);
    assert.match(bodyText(await browser.get('/')), /You are logged out\./);
    assert.equal((await send('/logout')).status, 303, 'a second logout does no harm');
  });

  it('addLogin() cannot end a copy of a signed cookie: that needs a store', async () => {
    const { cookie, login, send, handle } = await visit();
    await login('editor');
    const copy = cookie();
    await send('/logout');
    const response = await getWith(handle, '/dashboard', copy);
    assert.equal(response.status, 200, 'the logout deleted the cookie in one browser only');
  });

  it('userLinks() returns the dashboard for a user, and the login for another visitor', () => {
    const session = new UserSession<SiteData>(NOW);
    assert.deepEqual(userLinks(session), [['/login', 'Login']]);
    session.set('user', 'editor');
    assert.deepEqual(userLinks(session), [['/dashboard', 'Dashboard']]);
  });

  it('site() of step 22 has a login, a dashboard and a cart', async () => {
    const browser = new Browser(ofStep(site()), ORIGIN);
    assert.match(bodyText(await browser.get('/')), /<a href="\/login">Login<\/a>/);
    const fields = { username: 'viewer', password: 'viewer' };
    const body = new URLSearchParams(fields).toString();
    const response = await browser.request('POST', '/login', body, SAME_ORIGIN);
    assert.deepEqual([response.status, response.headers.location], [303, '/dashboard']);
    await browser.request('POST', '/cart/add', 'item=tea', SAME_ORIGIN);
    const dashboard = bodyText(await browser.get('/dashboard'));
    assert.match(dashboard, /<h1>Hello, viewer<\/h1>/);
    assert.match(dashboard, /cart<\/a>: 1</);
    assert.match(bodyText(await browser.get('/')), /<a href="\/dashboard">Dashboard<\/a>/);
  });
});
