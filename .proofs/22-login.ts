// Further proofs for step 22: each kind of session, hostile forms, and the types.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { assertCookie, bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { type Handler, type HttpResponse, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { html, page } from '../src/06-template.ts';
import { type SessionFactory, SessionTooLarge } from '../src/08-session-factory.ts';
import { SignedCookieSessionFactory, withSession } from '../src/08-session-factory.ts';
import { DEMO } from '../src/09-tutorial.ts';
import { SessionCookie, withTimeouts } from '../src/11-timeouts.ts';
import { RouteGroup, sessionFrom } from '../src/13-middleware.ts';
import { withFlash } from '../src/14-flash.ts';
import { Browser } from '../src/16-browser.ts';
import { withCsrf } from '../src/17-csrf.ts';
import { addCart } from '../src/18-cart.ts';
import { rescue } from '../src/19-rescue.ts';
import { hashPassword, RetryLater } from '../src/21-password.ts';
import { addLogin, type SiteData, type UserRequest, UserSession } from '../src/22-login.ts';
import { safeRedirectPath, withLogin, withUser } from '../src/22-login.ts';
import { EncryptedCookieSessionFactory } from '../src/24-encryption.ts';
import { MemoryStore, StoredSessionFactory } from '../src/25-store.ts';
import { onEnded, SessionEnded, VersionedSessionFactory } from '../src/26-versions.ts';
import { site as apiSite } from '../src/30-api.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // seconds since 1970
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' };

type Factory = SessionFactory<UserSession<SiteData>>;
type Clock = { now: number };

const users = Promise.all(
  ['editor', 'viewer', 'jos\u00e9'].map(async (name) => [name, await hashPassword(name, 4)] as const),
).then((entries) => new Map(entries));

/** Each kind of session, with its store if it has one. */
const KINDS: Record<string, (clock: Clock) => Factory> = {
  signed: (clock) => new SignedCookieSessionFactory({ ...DEMO, ...options(clock) }),
  encrypted: (clock) => new EncryptedCookieSessionFactory({ ...DEMO, ...options(clock) }),
  stored: (clock) => new StoredSessionFactory(new MemoryStore(options(clock)), options(clock)),
  versioned: (clock) => new VersionedSessionFactory(new MemoryStore(options(clock)), options(clock)),
};
const IN_A_STORE = ['stored', 'versioned'];

function options(clock: Clock) {
  return { now: () => clock.now, sessionClass: UserSession<SiteData> };
}

/** A browser at a site with a login and a cart. */
async function visit(kind = 'signed', clock = { now: NOW }, newFactory = KINDS[kind]) {
  const factory = withTimeouts(newFactory?.(clock) ?? assert.fail(kind), options(clock));
  const router = new Router();
  const full = rescue(SessionTooLarge, () => page('Full', html`<h1>Full</h1>`, 422));
  const rescued = RouteGroup.of(router).with(rescue(SessionEnded, onEnded)).with(full);
  const pages = rescued.with(sessionFrom(factory)).with(withCsrf()).with(withUser).with(withFlash);
  addCart(pages);
  addLogin({ pages, handle: router.handle }, await users);
  pages.get('/', () => page('Home', html`<h1>Home</h1>`));
  const browser = new Browser(router.handle, ORIGIN, () => clock.now);
  const send = (path: string, body = '', headers = {}): Promise<HttpResponse> =>
    browser.request('POST', path, body, { ...SAME_ORIGIN, ...headers });
  const login = (username: string, password = username, next = ''): Promise<HttpResponse> =>
    send('/login', new URLSearchParams({ username, password, next }).toString());
  const cookie = (): string => browser.jar.headerFor(new URL(ORIGIN), clock.now) ?? '';
  return { browser, send, login, cookie, clock, factory, handle: router.handle };
}

/** Requests a page with this cookie only. */
function getWith(handle: Handler, path: string, cookie: string): Promise<HttpResponse> {
  return new Browser(handle, ORIGIN, () => NOW).request('GET', path, '', { cookie });
}

for (const kind of Object.keys(KINDS)) {
  const isStored = IN_A_STORE.includes(kind);

  describe(`22-login: ${kind} sessions`, () => {
    it(`addLogin() with ${kind} sessions gives no rights to a planted cookie`, async () => {
      const { browser, send, cookie, login, handle } = await visit(kind);
      await browser.get('/login');
      await send('/cart/add', 'item=tea');
      const planted = cookie();
      assert.equal((await login('editor')).status, 303);
      const response = await getWith(handle, '/dashboard', planted);
      assert.deepEqual([response.status, response.headers.location], [303, '/login?next=%2Fdashboard']);
      const cart = bodyText(await getWith(handle, '/cart', planted));
      assert.equal(cart.includes('Your cart is empty.'), isStored, 'a store ends the old session');
      assert.match(bodyText(await browser.get('/cart')), /Tea, a tin<\/strong> 1 for/);
    });

    it(`addLogin() with ${kind} sessions ends a copy at logout only in a store`, async () => {
      const { browser, send, cookie, login, handle, clock } = await visit(kind);
      await login('editor');
      const copy = cookie();
      assert.equal((await send('/logout')).status, 303);
      assert.equal((await browser.request('GET', '/dashboard')).status, 303);
      const statusOfCopy = async () => (await getWith(handle, '/dashboard', copy)).status;
      assert.equal(await statusOfCopy(), isStored ? 303 : 200);
      clock.now += 1201;
      assert.equal(await statusOfCopy(), 303, 'a timeout ends every session');
    });

    it(`addLogin() with ${kind} sessions accepts parallel logins with one cookie`, async () => {
      for (const count of [2, 4]) {
        const { browser, send, login, cookie, handle } = await visit(kind);
        await browser.get('/login');
        await send('/cart/add', 'item=tea');
        const cookies: string[] = [];
        const tab = async (): Promise<unknown> => {
          const { status, headers } = await login('editor');
          cookies.push(cookie());
          return [status, headers.location];
        };
        const results = await Promise.all(Array.from({ length: count }, tab));
        assert.deepEqual(results, results.map(() => [303, '/dashboard']));
        for (const one of cookies) {
          const response = await getWith(handle, '/dashboard', one);
          assert.equal(response.status, 200);
          assert.match(bodyText(response), /cart<\/a>: 1</, 'each tab has the cart');
        }
      }
    });

    it(`UserSession.invalidate() with ${kind} sessions deletes the cookie`, async () => {
      const clock = { now: NOW };
      const factory = KINDS[kind]?.(clock) ?? assert.fail(kind);
      const handle = withSession(factory)(({ path, session }) => {
        if (path === '/end') session.invalidate();
        else session.set('counter', 1);
        return text('');
      });
      const browser = new Browser(handle, ORIGIN, () => clock.now);
      const cookie = () => browser.jar.headerFor(new URL(ORIGIN), clock.now);
      await browser.get('/');
      assert.match(cookie() ?? '', /^session=./);
      const [header] = setCookies(await browser.get('/end'));
      assertCookie(header, 'session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0');
      assert.equal(cookie(), undefined);
    });

    it(`UserSession.invalidate() with ${kind} sessions lets the page begin a new one`, async () => {
      const clock = { now: NOW };
      const factory = KINDS[kind]?.(clock) ?? assert.fail(kind);
      const handle = withSession(factory)(({ path, session }) => {
        if (path === '/renew') session.invalidate();
        session.update('counter', (counter = 0) => counter + 1);
        return text(`${session.get('counter')} ${session.created - NOW}`);
      });
      const browser = new Browser(handle, ORIGIN, () => clock.now);
      const visits: string[] = [];
      for (const path of ['/', '/', '/renew', '/']) {
        visits.push(bodyText(await browser.get(path)));
        clock.now += 60;
      }
      assert.deepEqual(visits, ['1 0', '2 0', '1 120', '2 120'], 'the count, and the age');
    });
  });
}

describe('22-login: further proofs', () => {
  it('UserSession.invalidate() deletes a cookie with other attributes', async () => {
    const cookie = new SessionCookie({ secure: true, path: '/' });
    const factory = new SignedCookieSessionFactory({ ...DEMO, ...options({ now: NOW }), cookie });
    const handle = withSession(factory)(({ path, session }) => {
      if (path === '/end') session.invalidate();
      else session.set('counter', 1);
      return text('');
    });
    const browser = new Browser(handle, ORIGIN, () => NOW);
    await browser.get('/');
    const [header] = setCookies(await browser.get('/end'));
    assertCookie(header, 'session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0');
    assert.equal(browser.jar.headerFor(new URL(ORIGIN), NOW), undefined);
  });

  it('UserSession.regenerateId() of an empty session sets no cookie', async () => {
    const factory = new SignedCookieSessionFactory({ ...DEMO, ...options({ now: NOW }) });
    const handle = withSession(factory)(({ session }) => {
      session.regenerateId();
      return text('');
    });
    assert.deepEqual(setCookies(await handle(makeRequest())), []);
  });

  it('addLogin() creates the token at login, so that a full cookie fails there', async () => {
    const outcomes = new Set<number>();
    for (let length = 945; length < 970; length++) { // of €, three bytes each: nearly 4096 bytes
      const { browser, send, login } = await visit();
      await browser.get('/cart');
      await send('/cart/note', `note=${'%E2%82%AC'.repeat(length)}`);
      const { status } = await login('editor');
      outcomes.add(status);
      for (const path of ['/cart', '/dashboard', '/login']) {
        const response = await browser.request('GET', path);
        assert.ok(response.status < 400, `${path} after ${status}, with ${length} characters`);
      }
    }
    assert.deepEqual([...outcomes].sort(), [303, 422], 'some cookies had space, and some had not');
  });

  it('addLogin() shows the typed name again as text, and never the password', async () => {
    const { login } = await visit();
    const body = bodyText(await login('<b>"ed"</b>', 'hunter2'));
    assert.match(body, /name="username" value="&lt;b&gt;&quot;ed&quot;&lt;\/b&gt;"/);
    assert.doesNotMatch(body, /hunter2/);
  });

  it('addLogin() tells the keyboard of a phone not to change the user name', async () => {
    const { browser } = await visit();
    const body = bodyText(await browser.get('/login'));
    const [field = ''] = /<input name="username"[^>]*>/.exec(body) ?? [];
    for (const attribute of ['autocapitalize="none"', 'autocorrect="off"', 'spellcheck="false"']) {
      assert.ok(field.includes(attribute), `${attribute}: 'Editor' is not 'editor'`);
    }
    assert.ok(field.includes('autocomplete="username"'), 'for password managers');
  });

  it('addLogin() accepts a user name, however the keyboard writes its accent', async () => {
    const { browser, login } = await visit();
    assert.equal((await login('jose\u0301', 'jose\u0301')).status, 303, 'e and a combining accent');
    const dashboard = bodyText(await browser.get('/dashboard'));
    assert.ok(dashboard.includes('Hello, jos\u00e9'), 'é as one character, as in the user list');
  });

  it('addLogin() leads only to a page that GET can show, on the site with all pages', async () => {
    const handle = apiSite(await users);
    const login = async (next: string): Promise<string> => {
      const browser = new Browser(handle, ORIGIN);
      const fields = new URLSearchParams({ username: 'editor', password: 'editor', next });
      const { headers } = await browser.request('POST', '/login', fields.toString(), SAME_ORIGIN);
      const location = String(headers.location);
      const page = await browser.request('GET', location, '', { accept: 'text/html' });
      assert.equal(page.status, 200, `GET ${location} after the login with next=${next}`);
      return location;
    };
    for (const next of ['/', '/cart', '/sessions', '/dashboard?x=1', '/inspect', '/howdy?a=/b']) {
      assert.equal(await login(next), next);
    }
    const paths = [
      '/logout', '/cart/add', '/cart/empty?x', '/sessions/end', '/sessions/end-others', '/api/token',
      '/api/logout', '/nonsense', '/login', '/login?next=/logout', '/./login', '/cart/../logout',
      '/%2E%2e/logout', '/cart/', '//localhost:6543/cart', '/cart#/../logout/..', '/.//evil.example',
    ];
    for (const next of paths) {
      const location = await login(next);
      assert.ok(['/dashboard', next].includes(location), `${next} leads to ${location}`);
      assert.equal(location === next, next.startsWith('/cart#'), next);
    }
  });

  it('addLogin() has a limit of 64 characters for a name, and shows it as text', async () => {
    const { browser, login } = await visit();
    const script = '"><script>alert(1)</script>';
    const shown = '&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;';
    const form = bodyText(await browser.get(`/login?next=${encodeURIComponent(`/${script}`)}`));
    assert.ok(form.includes(`name="next" value="/${shown}"`), form);
    const again = bodyText(await login(script + 'n'.repeat(3e4), 'x', `/${script}`));
    assert.ok(again.includes(`name="next" value="/${shown}"`), again);
    const name = shown + 'n'.repeat(64 - script.length);
    assert.ok(again.includes(`name="username" value="${name}"`), again);
    assert.doesNotMatch(again, /<script/);
  });

  it('addLogin() rejects hostile forms with a 4xx', async () => {
    const { browser, send } = await visit();
    const bodies = [
      'username=%00&password=%00', 'username=a%0d%0aSet-Cookie:+x=1&password=b',
      'username=%ED%A0%80', '__proto__=editor&password=editor',
      'username=editor&username=viewer&password=x', 'username[]=editor&password[]=editor',
      `username=${'n'.repeat(3e4)}&password=${'p'.repeat(3e4)}`,
      'next=//evil.example&username=x&password=y', 'username=%F0%9F%98%80&password=%F0%9F%98%80', '',
    ];
    for (const body of bodies) {
      const { status } = await send('/login', body);
      assert.ok([400, 422].includes(status), `${body.slice(0, 60)}: ${status}`);
    }
    const form = { 'content-type': 'multipart/form-data; boundary=x' };
    assert.equal((await send('/login', '', form)).status, 415);
    assert.equal((await browser.request('GET', '/dashboard')).status, 303, 'no one is logged in');
  });

  it('addLogin() rejects a login form that another site sends', async () => {
    const { browser } = await visit();
    await browser.get('/login');
    const crossSite = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' };
    const body = 'username=editor&password=editor';
    const { status } = await browser.request('POST', '/login', body, crossSite);
    assert.equal(status, 403, 'the visitor would use the account of the attacker');
    assert.equal((await browser.request('POST', '/login', body)).status, 403, 'without a token');
    assert.equal((await browser.request('GET', '/dashboard')).status, 303);
  });

  it('addLogin() responds with the time to wait if the check throws RetryLater', async () => {
    const router = new Router();
    const factory = new SignedCookieSessionFactory({ ...DEMO, ...options({ now: NOW }) });
    const pages = RouteGroup.of(router).with(sessionFrom(factory)).with(withCsrf());
    addLogin({ pages, handle: router.handle }, await users, async () => {
      throw new RetryLater(503, 10, 'Many visitors log in now.');
    });
    const browser = new Browser(router.handle, ORIGIN, () => NOW);
    const body = 'username=editor&password=editor';
    const response = await browser.request('POST', '/login', body, SAME_ORIGIN);
    assert.deepEqual([response.status, response.headers['retry-after']], [503, '10']);
  });

  it('withLogin() rejects a user who was removed', async () => {
    const { factory, handle } = await visit();
    const value = await factory.save(factory.create().set('user', 'removed'));
    const response = await getWith(handle, '/dashboard', `session=${value}`);
    assert.deepEqual([response.status, response.headers.location], [303, '/login?next=%2Fdashboard']);
  });

  it('withLogin() gives its page the name of the user', async () => {
    const { factory } = await visit();
    const secret: Handler<UserRequest & { user: string }> = ({ user }) => text(`Hello, ${user}`);
    const handle = RouteGroup.of(new Router()).with(sessionFrom(factory))
      .with(withLogin(await users)).wrap(secret);
    const value = await factory.save(factory.create().set('user', 'viewer'));
    const response = await getWith(handle, '/secret', `session=${value}`);
    assert.equal(bodyText(response), 'Hello, viewer');
  });

  it('addLogin() tells the browser at logout to delete storage, but not its cache', async () => {
    const { login, send } = await visit();
    await login('editor');
    const { headers, body } = await send('/logout');
    // "cache" takes 1.5 seconds in Chromium, and `no-store` pages are in no cache.
    assert.equal(headers['clear-site-data'], '"storage"');
    assert.equal(body, '');
  });

  it('withUser shows the user on each page, and no cache keeps the page', async () => {
    const { browser, send, login } = await visit();
    const paths = ['/', '/cart', '/login', '/dashboard'];
    for (const path of paths) {
      const response = await browser.get(path);
      assert.equal(response.headers['cache-control'], 'private, no-cache', `${path} of a visitor`);
      assert.doesNotMatch(bodyText(response), /Logged in/, path);
    }
    await login('editor');
    for (const path of paths) {
      const response = await browser.get(path);
      assert.equal(response.headers['cache-control'], 'no-store', `${path} of a user`);
      assert.match(bodyText(response), /Logged in as <strong>editor<\/strong>/, path);
      assert.match(bodyText(response), /<form method="post" action="\/logout">/, path);
    }
    const added = await send('/cart/add', 'item=tea');
    assert.equal(added.headers['cache-control'], 'no-store', 'a redirect');
  });

  it('withUser leaves a response without a page as it is, except for no-store', async () => {
    const picture = { status: 200, headers: { etag: '"1"' }, body: Buffer.from('<main>') };
    const session = new UserSession<SiteData>(NOW);
    const handler = withUser<UserRequest>(() => picture);
    const request = { ...makeRequest(), session };
    assert.equal(await handler(request), picture, 'a visitor who is not logged in');
    session.set('user', 'editor');
    const { headers, body } = await handler(request);
    assert.equal(body, picture.body);
    assert.deepEqual(headers, { etag: '"1"', 'cache-control': 'no-store' });
  });

  it('safeRedirectPath() returns a text that the Location header can hold, for any character', () => {
    for (let code = 0; code < 0x300; code++) {
      for (const next of [`/${String.fromCharCode(code)}`, `/a${String.fromCharCode(code)}b`]) {
        const path = safeRedirectPath(next);
        assert.match(path, /^\/[!-~]*$/, `U+${code.toString(16)}`);
        assert.equal(new URL(path, ORIGIN).origin, ORIGIN, `U+${code.toString(16)}`);
      }
    }
  });

  it('withLogin() and withUser do not compile without a session', () => {
    const group = RouteGroup.of(new Router());
    // @ts-expect-error: the request has no session
    const wrong = () => group.with(withLogin());
    // @ts-expect-error: the request has no session
    const alsoWrong = () => group.with(withUser);
    const needsUser: Handler<UserRequest & { user: string }> = ({ user }) => text(user);
    const factory = new SignedCookieSessionFactory({ ...DEMO, ...options({ now: NOW }) });
    const visitors = group.with(sessionFrom(factory));
    // @ts-expect-error: withUser does not add `user` to the request
    const noUser = () => visitors.with(withUser).get('/a', needsUser);
    const right = () => visitors.with(withLogin()).get('/b', needsUser);
    assert.ok([wrong, alsoWrong, noUser, right]);
  });
});
