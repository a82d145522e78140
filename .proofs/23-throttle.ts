// Further proofs for step 23: the chain of the whole site, and a real server under load.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { countHashes } from '../.tools/hashes.ts';
import { bodyText, setCookies } from '../.tools/request.ts';
import { startServer, withTimeLimit } from '../.tools/serve.ts';
import { type HttpResponse, problem, text, toListener } from '../src/04-http.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { DEMO } from '../src/09-tutorial.ts';
import { explainSigned } from '../src/10-inspector.ts';
import { withTimeouts } from '../src/11-timeouts.ts';
import type { Middleware } from '../src/13-middleware.ts';
import { Browser } from '../src/16-browser.ts';
import { rescue } from '../src/19-rescue.ts';
import type { Links } from '../src/20-layout.ts';
import { authenticator, hashPassword, RetryLater } from '../src/21-password.ts';
import { type SiteData, type UserRequest, UserSession } from '../src/22-login.ts';
import { makeUserSite, loginThrottle, type SiteOptions, throttled } from '../src/23-throttle.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // seconds since 1970
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' };
const HTML = { accept: 'text/html' };

// The cheap hashes of N = 2^4 are enough for a test. The password is the name.
const users = Promise.all(
  ['editor', 'viewer'].map(async (name) => [name, await hashPassword(name, 4)] as const),
).then((entries) => new Map(entries));

/** A browser at the site of this step. */
async function visit(more: Partial<SiteOptions> = {}) {
  const now = (): number => NOW;
  const options = { ...DEMO, now, sessionClass: UserSession<SiteData> };
  const factory = withTimeouts(new SignedCookieSessionFactory(options), { now });
  const common = { factory, explain: explainSigned(), users: await users, now };
  const { handle, pages } = makeUserSite({ ...common, ...more });
  let logins = 0; // each has an address of its own
  const fromAnywhere: typeof handle = (request) => handle({ ...request, address: `${logins++}` });
  const browser = new Browser(fromAnywhere, ORIGIN, now);
  const send = (path: string, body = '', headers = {}): Promise<HttpResponse> =>
    browser.request('POST', path, body, { ...SAME_ORIGIN, ...headers });
  const login = (name: string, password = name): Promise<HttpResponse> =>
    send('/login', `username=${name}&password=${password}`);
  return { browser, send, login, handle, pages };
}

function linksIn(response: HttpResponse): string[] {
  const links = bodyText(response).matchAll(/<a href="(\/[^"]*)"[^>]*>([^<]*)<\/a>/g);
  return [...links].map(([, path, name]) => `${name} ${path}`);
}

describe('23-throttle: more about guesses', () => {
  it('throttled() uses the clock of the computer, in seconds', async (t) => {
    const clock = t.mock.method(Date, 'now', () => NOW * 1000);
    const guess = throttled(async () => false);
    for (let i = 0; i < 5; i++) assert.equal(await guess('editor', 'x', ''), false);
    const isEarly = { status: 429, seconds: 1 };
    await assert.rejects(guess('editor', 'x', ''), isEarly);
    clock.mock.mockImplementation(() => NOW * 1000 + 500);
    await assert.rejects(guess('editor', 'x', ''), isEarly, 'after half a second');
    clock.mock.mockImplementation(() => NOW * 1000 + 1000);
    assert.equal(await guess('editor', 'x', ''), false, 'after a second');
  });

  it('throttled() counts an attempt for which the server was too busy', async () => {
    const guess = throttled(
      async () => {
        throw new RetryLater(503, 10, 'Busy.');
      },
      () => NOW,
    );
    for (let i = 0; i < 5; i++) await assert.rejects(guess('editor', 'x', ''), { status: 503 });
    await assert.rejects(guess('editor', 'x', ''), { status: 429 }, 'a busy server gives no guesses');
  });

  it('throttled() passes the name, the password and the address on', async () => {
    const calls: string[][] = [];
    const guess = throttled(async (...words) => calls.push(words) === 1, () => NOW);
    assert.equal(await guess('editor', 'secret', '192.0.2.1'), true);
    assert.deepEqual(calls, [['editor', 'secret', '192.0.2.1']]);
  });

  it('throttled() does the same work for an unknown name, and no work for a guess too soon', async () => {
    const guess = throttled(authenticator(await users), () => NOW);
    const guessSafely = (name: string) => guess(name, 'x', '').catch(() => false);
    const started: number[] = [];
    for (const name of ['editor', 'editor', 'editor', 'editor', 'editor', 'editor', 'unknown']) {
      started.push((await countHashes(() => guessSafely(name))).started);
    }
    assert.deepEqual(started, [1, 1, 1, 1, 1, 0, 1], 'the sixth guess comes too soon');
  });

  it('loginThrottle() lets about 100 guesses through on one day, also with long rests', () => {
    for (const rest of [0, 901, 3600]) {
      const clock = { now: NOW };
      const throttle = loginThrottle(5, () => clock.now);
      let guesses = 0;
      while (clock.now < NOW + 86_400) {
        const wait = throttle.waitFor('editor');
        clock.now += wait === 0 ? 0 : wait + rest;
        throttle.add('editor');
        guesses += 1;
      }
      assert.ok(guesses <= 110, `${guesses} guesses with rests of ${rest} seconds`);
    }
  });

  it('loginThrottle() keeps its table bounded, whatever an attacker sends', () => {
    const throttle = loginThrottle(1, () => NOW);
    for (let i = 0; i < 25_000; i++) throttle.add(`name ${i}`);
    const isKnown = (i: number): boolean => throttle.waitFor(`name ${i}`) > 0;
    assert.deepEqual([14_999, 15_000, 24_999].map(isKnown), [false, true, true]);
  });

  it('makeUserSite() responds 503 if 52 logins are in work, and hashes unknown names too', async () => {
    const { login } = await visit();
    const guesses = Array.from({ length: 60 }, (_, i) => login(`name ${i}`, 'x'));
    const responses = await Promise.all(guesses);
    const statuses = responses.map(({ status }) => status);
    const count = (wanted: number): number => statuses.filter((one) => one === wanted).length;
    assert.deepEqual([count(422), count(503)], [52, 8], 'two are hashed, and fifty wait');
    const busy = responses.find(({ status }) => status === 503);
    assert.equal(busy?.headers['retry-after'], '10');
  });

  it('makeUserSite() counts a visit while fifty logins wait for their hash', async () => {
    const { browser, login } = await visit();
    const order: string[] = [];
    const guesses = Array.from({ length: 52 }, async (_, i) => {
      order.push(`login ${(await login(`name ${i}`, 'x')).status}`);
    });
    // The visit needs no turn of the event loop, and a hash ends in a later turn.
    order.push(bodyText(await browser.get('/')).includes('Count: 1') ? 'visit' : 'failure');
    await Promise.all(guesses);
    assert.deepEqual(order, ['visit', ...guesses.map(() => 'login 422')]);
  });

  it('makeUserSite() survives 200 logins at the same time on a real server', async (t) => {
    const { handle } = await visit();
    const { origin, get } = await startServer(t, toListener(handle));
    const body = new URLSearchParams({ username: 'editor', password: 'x' });
    const attempts = Array.from({ length: 200 }, async () => {
      const response = await fetch(`${origin}/login`, { method: 'POST', body, headers: SAME_ORIGIN });
      await response.text();
      return response.status;
    });
    const statuses = await withTimeLimit(Promise.all(attempts), '200 logins', 10_000);
    const count = (wanted: number): number => statuses.filter((one) => one === wanted).length;
    assert.deepEqual([count(422), count(429)], [5, 195]);
    assert.match((await get('/')).body, /Count: 1/);
  });
});

describe('23-throttle: the chain of the site', () => {
  it('makeUserSite() has no inspector and no cookie page if `explain` is absent', async () => {
    const { browser } = await visit({ explain: undefined });
    const home = await browser.get('/');
    assert.doesNotMatch(bodyText(home), /inspect/i);
    for (const path of ['/inspect', '/inspect/cookie']) {
      assert.equal((await browser.get(path)).status, 404, path);
    }
  });

  it('makeUserSite() adds links and middleware of later steps', async () => {
    const seen: string[] = [];
    const wrapper: Middleware<object, UserRequest> = (page) => (request) => {
      seen.push(`${request.path} ${request.session.get('user')}`);
      return page(request);
    };
    class Broken extends Error {}
    const rescues = [rescue(Broken, () => problem(503, 'The store does not respond.'))];
    const links = (): Links => [['/sessions', 'Sessions']];
    const { browser, login, pages } = await visit({ links, rescues, wrappers: [wrapper] });
    pages.get('/sessions', () => text('sessions')).get('/broken', () => {
      throw new Broken();
    });
    await login('editor');
    assert.deepEqual(linksIn(await browser.get('/dashboard')).slice(3, 8), [
      'Cart /cart', 'Dashboard /dashboard', 'Sessions /sessions', 'Inspector /inspect',
      'Cookies /inspect/cookie',
    ]);
    assert.deepEqual(seen, ['/login undefined', '/dashboard editor']);
    const broken = await browser.request('GET', '/broken', '', HTML);
    assert.equal(broken.status, 503);
    assert.match(bodyText(broken), /The store does not respond\./);
    assert.deepEqual(setCookies(broken), []);
  });

  it('makeUserSite() counts nothing and shows no message for a page that is loaded in advance', async () => {
    const { browser, send } = await visit();
    await send('/articles', 'title=a&body=b');
    const prefetch = { 'sec-purpose': 'prefetch' };
    const early = await browser.request('GET', '/', '', prefetch);
    assert.deepEqual([early.status, setCookies(early)], [503, []]);
    const home = bodyText(await browser.get('/'));
    assert.match(home, /Count: 1/);
    assert.match(home, /Article saved/);
  });

  it('makeUserSite() explains a full session on a page with the user and the navigation', async () => {
    const { browser, send, login } = await visit();
    await send('/cart/add', 'item=tea');
    await login('editor');
    const response = await send('/cart/note', `note=${'%E2%82%AC'.repeat(1500)}`, HTML);
    assert.equal(response.status, 422);
    const body = bodyText(response);
    assert.match(body, /<h1>The session is full<\/h1>/);
    assert.match(body, /Logged in as <strong>editor<\/strong>/);
    assert.ok(linksIn(response).includes('Cart (1) /cart'), 'the session is as it was before');
    const [, token = ''] = /name="csrf_token" value="(\w+)"/.exec(body) ?? [];
    const logout = await browser.request('POST', '/logout', `csrf_token=${token}`);
    assert.equal(logout.status, 303, 'the button of this page works');
  });

  it('makeUserSite() lets no cache keep a page of a user, also an error page', async () => {
    const { browser, send, login } = await visit();
    await login('editor');
    const paths = [
      '/', '/howdy', '/articles', '/cart', '/login', '/dashboard', '/inspect', '/inspect/cookie',
      '/nonsense', '/logout',
    ];
    for (const path of paths) {
      const response = await browser.request('GET', path, '', HTML);
      assert.equal(response.headers['cache-control'], 'no-store', `${path} ${response.status}`);
      assert.match(bodyText(response), /Logged in as <strong>editor<\/strong>/, path);
    }
    for (const path of ['/cart/add', '/articles', '/login']) {
      const { status, headers } = await send(path, '', HTML);
      assert.equal(headers['cache-control'], 'no-store', `POST ${path} ${status}`);
    }
  });

  it('makeUserSite() has a working logout button on an error page', async () => {
    const { browser, login } = await visit();
    await login('editor');
    const missing = await browser.request('GET', '/nonsense', '', HTML);
    assert.deepEqual([missing.status, setCookies(missing)], [404, []], 'it does not save');
    const [, token = ''] = /name="csrf_token" value="(\w+)"/.exec(bodyText(missing)) ?? [];
    const { status } = await browser.request('POST', '/logout', `csrf_token=${token}`);
    assert.equal(status, 303);
  });

  it('makeUserSite() puts the token into each form with POST', async () => {
    const { browser, send, login } = await visit();
    await login('editor');
    await send('/cart/add', 'item=tea');
    for (const path of ['/', '/articles', '/cart', '/login', '/dashboard', '/inspect']) {
      const body = bodyText(await browser.get(path));
      const forms = body.match(/<form method="post"[^]*?<\/form>/g) ?? [];
      assert.ok(forms.length >= 1, path);
      for (const form of forms) assert.match(form, /name="csrf_token" value="\w{40}"/, path);
    }
  });

  it('makeUserSite() accepts forms from a trusted origin, and from no other', async () => {
    const trustedOrigins = ['https://shop.example'];
    const { browser } = await visit({ trustedOrigins });
    const statusFrom = async (origin: string) =>
      (await browser.request('POST', '/cart/add', 'item=tea', { origin })).status;
    assert.equal(await statusFrom('https://shop.example'), 303);
    assert.equal(await statusFrom('https://evil.example'), 403);
  });
});
