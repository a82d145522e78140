import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, ofStep } from '../.tools/explain.ts';
import { countHashes } from '../.tools/hashes.ts';
import { bodyText } from '../.tools/request.ts';
import type { HttpResponse } from '../src/04-http.ts';
import { html } from '../src/06-template.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { DEMO } from '../src/09-tutorial.ts';
import { explainSigned, fillSlot } from '../src/10-inspector.ts';
import { withTimeouts } from '../src/11-timeouts.ts';
import type { Middleware } from '../src/13-middleware.ts';
import { Browser } from '../src/16-browser.ts';
import type { Links } from '../src/20-layout.ts';
import { authenticator, hashPassword, RetryLater } from '../src/21-password.ts';
import { type SiteData, UserSession } from '../src/22-login.ts';
import { makeUserSite, loginThrottle, site, throttled } from '../src/23-throttle.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // seconds since 1970
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' };

// The cheap hashes of N = 2^4 are enough for a test. The password is the name.
const users = Promise.all(
  ['editor', 'viewer'].map(async (name) => [name, await hashPassword(name, 4)] as const),
).then((entries) => new Map(entries));

/** A browser at the site of this step, with cheap passwords and a clock that the test can set. */
async function visit({ isProduction = false } = {}) {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const options = { ...DEMO, now, sessionClass: UserSession<SiteData> };
  const { handle } = makeUserSite({
    factory: withTimeouts(new SignedCookieSessionFactory(options), { now }),
    explain: isProduction ? undefined : explainSigned(),
    users: await users,
    now,
  });
  const address = { current: '192.0.2.1' };
  const withAddress = (request: Parameters<typeof handle>[0]) =>
    handle({ ...request, address: address.current });
  const browser = new Browser(withAddress, ORIGIN, now);
  const login = (username: string, password = username, headers = {}): Promise<HttpResponse> => {
    const body = new URLSearchParams({ username, password }).toString();
    return browser.request('POST', '/login', body, { ...SAME_ORIGIN, ...headers });
  };
  return { browser, login, clock, address };
}

/** Tries a password. Returns the result, or the seconds to wait. */
async function attempt(result: Promise<boolean>): Promise<boolean | number> {
  return result.catch((error: unknown) => {
    if (error instanceof RetryLater) return error.seconds;
    throw error;
  });
}

describe('23-throttle: a table of failures', () => {
  it('loginThrottle() lets five attempts through, and then doubles the wait to 15 minutes', () => {
    const clock = { now: NOW };
    const throttle = loginThrottle(5, () => clock.now);
    const waits: number[] = [];
    for (let i = 0; i < 18; i++) {
      const wait = throttle.waitFor('ada');
      waits.push(wait);
      clock.now += wait;
      throttle.add('ada');
    }
    assert.deepEqual(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
    assert.equal(throttle.waitFor('grace'), 0, 'another key');
  });

  it('loginThrottle() counts from the beginning after a day without a failure', () => {
    const clock = { now: NOW };
    const throttle = loginThrottle(5, () => clock.now);
    for (let i = 0; i < 20; i++) throttle.add('ada');
    assert.equal(throttle.waitFor('ada'), 900);
    clock.now += 900 + 86_400; // the wait, and then exactly a day
    throttle.add('ada');
    assert.equal(throttle.waitFor('ada'), 900, 'after exactly a day, the old ones must count');
    clock.now += 900 + 86_401;
    throttle.add('ada');
    assert.equal(throttle.waitFor('ada'), 0, 'after more than a day, the count must begin again');
  });

  it('loginThrottle() does not lock a user out if the clock is set back', () => {
    const clock = { now: NOW };
    const throttle = loginThrottle(1, () => clock.now);
    for (let i = 0; i < 12; i++) throttle.add('ada');
    assert.equal(throttle.waitFor('ada'), 900, 'the longest wait');
    clock.now -= 86_400;
    assert.equal(throttle.waitFor('ada'), 0, 'a wait of more than 1800 seconds must not count');
    throttle.add('ada');
    assert.equal(throttle.waitFor('ada'), 900, 'the next failure must count');
    clock.now -= 5;
    assert.equal(throttle.waitFor('ada'), 905, 'a correction by 5 seconds must not end the wait');
  });

  it('loginThrottle() removes some failures of a key, or all', () => {
    const throttle = loginThrottle(1, () => NOW);
    for (const key of ['ada', 'grace', 'ada', 'grace']) throttle.add(key);
    throttle.remove('ada');
    throttle.remove('grace', 1);
    throttle.remove('unknown');
    assert.deepEqual(['ada', 'grace', 'unknown'].map(throttle.waitFor), [0, 1, 0]);
  });

  it('loginThrottle() keeps 10,000 keys, and evicts the oldest', () => {
    const throttle = loginThrottle(1, () => NOW);
    for (let i = 0; i < 10_000; i++) throttle.add(`name ${i}`);
    throttle.add('name 0'); // now `name 1` is the oldest
    assert.equal(throttle.waitFor('name 1'), 1);
    throttle.add('one more');
    const waits = ['name 0', 'name 1', 'name 2'].map((name) => throttle.waitFor(name));
    assert.deepEqual(waits, [2, 0, 1]);
  });
});

describe('23-throttle: guesses', () => {
  it('throttled() makes a user name wait after five failures, known or unknown', async () => {
    for (const name of ['editor', 'unknown', '__proto__']) {
      const clock = { now: NOW };
      const guess = throttled(authenticator(await users), () => clock.now);
      const results: (boolean | number)[] = [];
      for (let i = 0; i < 7; i++) results.push(await attempt(guess(name, 'wrong', '')));
      clock.now += 1;
      for (let i = 0; i < 2; i++) results.push(await attempt(guess(name, 'wrong', '')));
      assert.deepEqual(results, [false, false, false, false, false, 1, 1, false, 2], name);
    }
  });

  it('throttled() makes an address wait after twenty failures under many names', async () => {
    const guess = throttled(authenticator(await users), () => NOW);
    for (let i = 0; i < 20; i++) {
      assert.equal(await attempt(guess(`name ${i}`, 'x', '192.0.2.1')), false, `failure ${i + 1}`);
    }
    assert.equal(await attempt(guess('editor', 'editor', '192.0.2.1')), 1, 'the same address');
    assert.equal(await attempt(guess('editor', 'editor', '192.0.2.2')), true, 'another address');
  });

  it('throttled() forgets the failures of a name after the right password', async () => {
    const guess = throttled(authenticator(await users), () => NOW);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 4; i++) assert.equal(await attempt(guess('editor', 'x', '')), false);
      assert.equal(await attempt(guess('editor', 'editor', '')), true);
    }
    for (let i = 0; i < 8; i++) await attempt(guess(`name ${i}`, 'x', ''));
    assert.equal(await attempt(guess('viewer', 'viewer', '')), 1, 'the address has 20 failures');
  });

  it('throttled() rejects 195 of 200 parallel guesses before it computes a hash', async () => {
    const guess = throttled(authenticator(await users), () => NOW);
    let results: (boolean | number)[] = [];
    const { started } = await countHashes(async () => {
      const guesses = Array.from({ length: 200 }, (_, i) => attempt(guess('editor', `${i}`, '')));
      results = await Promise.all(guesses);
    });
    assert.equal(started, 5, `${started} of 200 guesses were checked`);
    const rejected = results.filter((result) => typeof result === 'number');
    assert.deepEqual([rejected.length, results.length], [195, 200]);
  });

  it('throttled() checks 20 of 60 parallel guesses with other names from one address', async () => {
    const guess = throttled(authenticator(await users), () => NOW);
    const { started } = await countHashes(async () => {
      await Promise.all(Array.from({ length: 60 }, (_, i) => attempt(guess(`name ${i}`, 'x', ''))));
    });
    assert.equal(started, 20, `${started} of 60 guesses were checked`);
  });

  it('throttled() does not count a right password against the address', async () => {
    const guess = throttled(authenticator(await users), () => NOW);
    for (let i = 0; i < 30; i++) assert.equal(await attempt(guess('editor', 'editor', '')), true);
  });
});

describe('23-throttle: the site', () => {
  it('makeUserSite() responds 429 after five failures, even to the right password', async () => {
    const { login, clock } = await visit();
    for (let i = 0; i < 5; i++) assert.equal((await login('editor', 'wrong')).status, 422);
    const response = await login('editor');
    assert.deepEqual([response.status, response.headers['retry-after']], [429, '1']);
    const detail = 'Too many attempts to log in. Try again in 1 second.';
    assert.equal(bodyText(response), `429 Too Many Requests\n\n${detail}\n`);
    assert.equal((await login('viewer')).status, 303, 'another user');
    clock.now += 1;
    assert.equal((await login('editor')).status, 303);
    assert.equal((await login('editor', 'wrong')).status, 422, 'five attempts are free again');
  });

  it('makeUserSite() shows the 429 to a browser as a page with the navigation', async () => {
    const { login } = await visit();
    for (let i = 0; i < 5; i++) await login('editor', 'wrong');
    const response = await login('editor', 'wrong', { accept: 'text/html' });
    assert.deepEqual([response.status, response.headers['retry-after']], [429, '1']);
    assert.match(bodyText(response), /<h1>429 Too Many Requests<\/h1>/);
    assert.match(bodyText(response), /<nav aria-label="Pages">/);
  });

  it('makeUserSite() counts the failures of each address', async () => {
    const { login, address } = await visit();
    for (let i = 0; i < 20; i++) await login(`name ${i}`, 'x');
    assert.equal((await login('editor')).status, 429);
    address.current = '192.0.2.2';
    assert.equal((await login('editor')).status, 303);
  });

  it('makeUserSite() adds the links and the wrappers of its options', async () => {
    const factory = new SignedCookieSessionFactory({
      secrets: ['x'], sessionClass: UserSession<SiteData>,
    });
    const wrapper: Middleware<object> = (page) => async (request) =>
      fillSlot(await page(request), 'footer', html`<footer>The wrapper</footer>`);
    const links = (): Links => [['/sessions', 'Sessions']];
    const { handle } = makeUserSite({ factory, links, wrappers: [wrapper] });
    const home = bodyText(await new Browser(handle, ORIGIN).get('/'));
    assert.match(home, /<a href="\/login">Login<\/a>\n<a href="\/sessions">Sessions<\/a>/);
    assert.match(home, /<footer>The wrapper<\/footer>/);
  });

  it('site() of step 23 has all pages of parts I and II', async () => {
    const browser = new Browser(ofStep(site()), ORIGIN);
    const home = bodyText(await browser.get('/'));
    const links = [...home.matchAll(/<a href="(\/[^"]*)"[^>]*>([^<]*)<\/a>/g)];
    assert.deepEqual(links.map(([, path, name]) => `${name} ${path}`), [
      'Home /', 'Howdy /howdy', 'Articles /articles', 'Cart /cart', 'Login /login',
      'Inspector /inspect', 'Cookies /inspect/cookie',
    ]);
    for (const [, path = ''] of links) {
      const response = await browser.get(path);
      assert.equal(response.status, 200, path);
      assert.match(bodyText(response), /<nav aria-label="Pages">/, path);
    }
    assert.match(bodyText(await browser.get('/')), /<p>Count: 4<\/p>/, 'four visits of two pages');
    const missing = await browser.request('GET', '/nonsense', '', { accept: 'text/html' });
    assert.match(bodyText(missing), /<h1>404 Not Found<\/h1>/);
  });
});
