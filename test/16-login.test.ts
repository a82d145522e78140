import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { scryptSync } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { makeServer } from '../src/01-server.ts';
import { toListener } from '../src/02-http.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { html, page } from '../src/04-template.ts';
import { Browser } from '../src/08-browser.ts';
import { Session } from '../src/10-session.ts';
import { SignedCookieSessionFactory, withSession } from '../src/11-session-factory.ts';
import type { Mount, SessionRequest } from '../src/11-session-factory.ts';
import { seeOther } from '../src/13-flash.ts';
import { withCsrf } from '../src/14-csrf.ts';
import { withRoom } from '../src/15-cart.ts';
import { addLogin, failureLog, hashPassword, isPassword, localPath } from '../src/16-login.ts';
import { site, USERS, withLogin, withUser } from '../src/16-login.ts';
import type { SiteData } from '../src/16-login.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000;
const SAME = { 'sec-fetch-site': 'same-origin' };
const CHEAP = 4; // N = 2^4: nothing for a real site, and enough for a test

const users = Promise.all(
  ['editor', 'viewer'].map(async (name) => [name, await hashPassword(name, CHEAP)] as const),
).then((entries) => new Map(entries));

/** A browser at the site, with a clock to set. */
async function visit(clock = { now: NOW }) {
  const now = (): number => clock.now;
  const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'], now });
  const { handle } = site(factory, undefined, await users);
  const browser = new Browser(handle, ORIGIN, now);
  const send = (path: string, body = '', headers = {}): Promise<HttpResponse> =>
    browser.request('POST', path, body, { ...SAME, ...headers });
  const login = (name: string, password = name, next = ''): Promise<HttpResponse> =>
    send('/login', new URLSearchParams({ name, password, next }).toString());
  const cookie = (): string => browser.jar.headerFor(new URL(ORIGIN), clock.now) ?? '';
  const state = () => factory.read(cookie().slice('session='.length));
  const data = () => {
    const { _csrft_: _, ...rest } = state()?.data as { [key: string]: unknown };
    return rest;
  };
  return { browser, send, login, cookie, state, data, clock, handle, factory };
}

/** Runs `work`, and counts the hashes that it made: all of them, and the most at one time. */
async function countHashes(work: () => Promise<unknown>): Promise<{ made: number; most: number }> {
  const running = new Set<number>();
  let [made, most] = [0, 0];
  const hook = createHook({
    init(id, type) {
      if (type !== 'SCRYPTREQUEST') return;
      running.add(id);
      made += 1;
      most = Math.max(most, running.size);
    },
    before: (id) => void running.delete(id), // the thread is done, and its memory free
  }).enable();
  try {
    await work();
  } finally {
    hook.disable();
  }
  return { made, most };
}

function faultOf({ body }: HttpResponse): string | undefined {
  return /<p class="flash error" role="alert">([^<]*)/.exec(String(body))?.[1];
}

describe('16-login: passwords', () => {
  it('USERS are editor and viewer, each with its name for a password', async () => {
    assert.deepEqual([...USERS.keys()], ['editor', 'viewer']);
    const checks = [...USERS].map(([name, hashed]) => isPassword(name, hashed));
    assert.deepEqual(await Promise.all(checks), [true, true]);
  });

  it("hashPassword() is scrypt with OWASP's N = 2^17, r = 8, p = 1, and 128 MiB", () => {
    const [logN, salt = '', hash] = USERS.get('editor')?.split(':') ?? [];
    const options = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 2 ** 20 };
    const made = scryptSync('editor', salt, 32, options).toString('base64url');
    assert.deepEqual([logN, made], ['17', hash]);
  });

  it('hashPassword() takes that cost by itself', async () => {
    assert.match(await hashPassword('a'), /^17:/);
  });

  it('hashPassword() allows the memory that scrypt takes: a byte less, and it fails', async () => {
    const [N, r, p] = [2 ** 17, 8, 1];
    const maxmem = 128 * r * (N + 3) - 1;
    assert.throws(() => scryptSync('a', 'salt', 32, { N, r, p, maxmem }), /memory limit exceeded/i);
    const small = { N: 2 ** CHEAP, r, p, maxmem: 128 * r * (2 ** CHEAP + 3) };
    assert.equal(scryptSync('a', 'salt', 32, small).length, 32, 'and with that byte it does not');
  });

  it('hashPassword() makes two hashes at once and no more, in their turn', async () => {
    const order: number[] = [];
    const hash = (_: unknown, i: number) => hashPassword('a', CHEAP).then(() => order.push(i));
    const counted = await countHashes(() => Promise.all(Array.from({ length: 20 }, hash)));
    assert.deepEqual(counted, { made: 20, most: 2 });
    assert.equal(order.length, 20, 'and nobody is left in the queue');
  });

  it('hashPassword() salts: one password never has the same hash twice', async () => {
    const [one, two] = await Promise.all([hashPassword('a', CHEAP), hashPassword('a', CHEAP)]);
    assert.notEqual(one, two);
    assert.match(one, /^4:[\w-]{22}:[\w-]{43}$/);
    assert.deepEqual([await isPassword('a', one), await isPassword('a', two)], [true, true]);
  });

  it('isPassword() takes a letter with an accent however it was typed', async () => {
    const hashed = await hashPassword('caf\u00e9', CHEAP);
    assert.equal(await isPassword('cafe\u0301', hashed), true);
    assert.equal(await isPassword('cafe', hashed), false);
    assert.equal(await isPassword('caf\u00e9 ', hashed), false, 'with a space more');
  });

  it('isPassword() is false for a hash that is damaged, or cut short', async () => {
    const hashed = await hashPassword('a', CHEAP);
    assert.equal(await isPassword('a', hashed.slice(0, -1)), false);
    assert.equal(await isPassword('a', `${hashed}A`), false);
    assert.equal(await isPassword('', hashed), false);
  });
});

describe('16-login: next', () => {
  const STAY = ['/', '/cart', '/dashboard?tab=2&x=%2F', '/%5cevil', '/a//b', '/.//evil.example'];
  const LEAVE = [
    '//evil.example', '///evil.example', '/\\evil.example', '\\\\evil.example', 'evil.example',
    'https://evil.example', 'https:evil.example', 'javascript:alert(1)', '', ' /cart', '/ x', '?x',
    '/\t/evil.example', '/\n/evil.example', '/\r\nSet-Cookie: x=1', '/\0', '/caf\u00e9', '/\u2028',
    '#x', './x', `/${'a'.repeat(2001)}`, '@evil.example', '/\\/evil.example', '%2f%2fevil.example',
  ];

  it('localPath() gives back a path of this site', () => {
    for (const next of STAY) assert.equal(localPath(next), next);
  });

  it('localPath() gives the dashboard instead of every way out', () => {
    for (const next of [...LEAVE, null]) {
      assert.equal(localPath(next), '/dashboard', JSON.stringify(next)?.slice(0, 40));
    }
  });

  it('localPath() keeps a browser at home: the URL standard agrees', () => {
    for (const next of [...STAY, ...LEAVE]) {
      const { origin } = new URL(localPath(next), ORIGIN);
      assert.equal(origin, ORIGIN, `next=${JSON.stringify(next).slice(0, 40)} leads elsewhere`);
    }
  });

  it('addLogin() checks next in the form and again when it is used', async () => {
    const { browser, login } = await visit();
    const { body } = await browser.get('/login?next=//evil.example');
    assert.match(String(body), /name="next" value="\/dashboard"/);
    const response = await login('editor', 'editor', '//evil.example');
    assert.equal(response.headers.location, '/dashboard');
  });
});

describe('16-login: login and logout', () => {
  it('addLogin() sends strangers from /dashboard to /login, and from there back', async () => {
    const { browser, login } = await visit();
    const refused = await browser.request('GET', '/dashboard?tab=2');
    assert.equal(refused.status, 303);
    assert.equal(refused.headers.location, '/login?next=%2Fdashboard%3Ftab%3D2');
    const { body } = await browser.get('/dashboard?tab=2');
    assert.match(String(body), /<input type="hidden" name="next" value="\/dashboard\?tab=2">/);
    const response = await login('editor', 'editor', '/dashboard?tab=2');
    assert.equal(response.headers.location, '/dashboard?tab=2');
    assert.match(String((await browser.get('/dashboard')).body), /<h1>Hello, editor<\/h1>/);
  });

  it('addLogin() begins the session anew: created, token; and keeps the cart', async () => {
    const { browser, send, login, state, clock } = await visit();
    await send('/cart/add', 'item=tea');
    await browser.get('/cart');
    const before = state();
    clock.now += 60;
    await login('viewer');
    const after = state();
    assert.equal(before?.created, NOW);
    assert.equal(after?.created, NOW + 60, 'at its login, 60 s later, the session begins anew');
    const { _csrft_: oldToken } = before?.data as { _csrft_?: string };
    const { _csrft_: newToken, ...rest } = after?.data as { _csrft_?: string };
    assert.ok(oldToken && newToken && oldToken !== newToken);
    assert.deepEqual(rest, { cart: { items: { tea: 1 }, note: '' }, user: 'viewer' });
  });

  it('addLogin() gives no rights to a cookie from before the login: no fixation', async () => {
    const { browser, cookie, login, handle } = await visit();
    await browser.get('/login');
    const planted = cookie(); // an attacker had it first, and put it into this browser
    await login('editor');
    const attacker = new Browser(handle, ORIGIN);
    const { status } = await attacker.request('GET', '/dashboard', '', { cookie: planted });
    assert.equal(status, 303, 'to /login');
  });

  it('addLogin() refuses after login the token from before it', async () => {
    const { browser, login } = await visit();
    const body = String((await browser.get('/login')).body);
    const token = /name="csrf_token" value="(\w+)"/.exec(body)?.[1] ?? '';
    await login('editor');
    const again = await browser.request('POST', '/cart/empty', `csrf_token=${token}`);
    assert.equal(again.status, 403);
    const page = String((await browser.get('/cart')).body);
    const renewed = /name="csrf_token" value="(\w+)"/.exec(page)?.[1] ?? '';
    const good = await browser.request('POST', '/cart/empty', `csrf_token=${renewed}`);
    assert.equal(good.status, 303);
  });

  it('addLogin() says the same for a wrong password and for an unknown name', async () => {
    const { login, state } = await visit();
    for (const name of ['editor', 'nobody', '', '__proto__', 'constructor', '<b>ed</b>']) {
      const response = await login(name, 'wrong');
      assert.equal(response.status, 422, name);
      assert.equal(faultOf(response), 'The name or the password is wrong.', name);
      assert.ok(!('user' in (state()?.data ?? {})), 'and nobody is logged in');
    }
    const { body } = await login('<b>"ed"</b>', 'hunter2');
    assert.match(String(body), /name="name" value="&lt;b&gt;&quot;ed&quot;&lt;\/b&gt;"/);
    assert.doesNotMatch(String(body), /hunter2/, 'and never the password');
  });

  it('addLogin() lets nobody in under a name that nobody has, whatever the password', async () => {
    const { login } = await visit();
    for (const password of ['editor', 'viewer', '', 'nobody']) { // one of them is the decoy's
      assert.equal((await login('nobody', password)).status, 422, password);
    }
  });

  it('addLogin() refuses everybody in words where there are no users', async () => {
    const browser = new Browser(site(undefined, undefined, new Map()).handle, ORIGIN);
    const { status } = await browser.request('POST', '/login', 'name=editor&password=', SAME);
    assert.equal(status, 422);
  });

  it("addLogin() gives a second user none of the first one's cart", async () => {
    const { send, login, state, data, clock } = await visit();
    await send('/cart/add', 'item=tea');
    await login('editor');
    await login('editor'); // once more the same: what was kept is kept
    assert.deepEqual(data(), { cart: { items: { tea: 1 }, note: '' }, user: 'editor' });
    clock.now += 60;
    await login('viewer'); // on a shared computer, and editor forgot to log out
    assert.deepEqual(data(), { user: 'viewer' });
    assert.equal(state()?.created, NOW + 60);
  });

  it('addLogin() refuses a login that would leave no room for the token of its forms', async () => {
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const mount: Mount<SiteData> = (p) => withSession(factory, withCsrf(withUser(p)));
    const full = page('Full', html`<main>Full</main>`, 422);
    const { handle } = site(factory, withRoom(mount, () => full), await users);
    const outcomes = new Set<number>();
    for (let length = 945; length < 970; length++) { // of '€', three bytes each: 4096, nearly
      const browser = new Browser(handle, ORIGIN);
      await browser.get('/cart');
      await browser.request('POST', '/cart/note', `note=${'%E2%82%AC'.repeat(length)}`, SAME);
      const form = 'name=editor&password=editor';
      const { status } = await browser.request('POST', '/login', form, SAME);
      outcomes.add(status);
      for (const path of ['/cart', '/dashboard', '/login']) {
        const then = await browser.request('GET', path);
        assert.ok(then.status < 400, `after ${status}, with ${length}: ${path} ${then.status}`);
      }
    }
    assert.deepEqual([...outcomes].sort(), [303, 422], 'some had room, and some had not');
  });

  it('addLogin() ends the session at logout, by POST and not by GET', async () => {
    const { browser, send, login, state } = await visit();
    await send('/cart/add', 'item=tea');
    await login('editor');
    const byGet = await browser.request('GET', '/logout');
    assert.equal(byGet.status, 405, 'GET /logout, which the image of any page can ask for');
    assert.equal((await browser.request('GET', '/dashboard')).status, 200);
    const response = await send('/logout');
    assert.deepEqual([response.status, response.headers.location], [303, '/']);
    assert.equal(response.headers['clear-site-data'], '"cache", "storage"');
    assert.equal(response.body, '');
    assert.deepEqual(state()?.data, { _f_info: ['You are logged out.'] }, 'and no cart, no user');
    assert.equal((await browser.request('GET', '/dashboard')).status, 303);
    assert.match(String((await browser.get('/')).body), /You are logged out\./);
    assert.equal((await send('/logout')).status, 303, 'twice does no harm');
  });

  it('addLogin() cannot take back a copy of the cookie: that is what step 18 is for', async () => {
    const { cookie, login, send, handle, clock } = await visit();
    await login('editor');
    const copy = { cookie: cookie() };
    await send('/logout');
    const thief = new Browser(handle, ORIGIN);
    assert.equal((await thief.request('GET', '/dashboard', '', copy)).status, 200, 'still good');
    clock.now += 1201;
    assert.equal((await thief.request('GET', '/dashboard', '', copy)).status, 303, 'timed out');
  });

  it('addLogin() shows the door to a user who is no more', async () => {
    const { browser, factory } = await visit();
    const session = new Session<SiteData>(NOW);
    session.set('user', 'fired');
    const cookie = `session=${factory.write(session)}`;
    const { status } = await browser.request('GET', '/dashboard', '', { cookie });
    assert.equal(status, 303);
  });

  it('withUser() names the user on every page, and lets no cache keep it', async () => {
    const { browser, send, login } = await visit();
    const paths = ['/', '/howdy', '/articles', '/cart', '/login', '/dashboard', '/inspect'];
    for (const path of paths) {
      const { headers, body } = await browser.get(path);
      assert.equal(headers['cache-control'], 'private, no-cache', `${path}, for a stranger`);
      assert.doesNotMatch(String(body), /Logged in/, path);
    }
    await login('editor');
    for (const path of paths) {
      const { headers, body } = await browser.get(path);
      assert.equal(headers['cache-control'], 'no-store', `${path}, for who is logged in`);
      assert.match(String(body), /Logged in as <strong>editor<\/strong>/, path);
      assert.match(String(body), /<form method="post" action="\/logout">/, path);
      assert.equal(String(body).split('<main>').length, 2, `${path} has one main part`);
    }
    assert.equal((await send('/cart/add', 'item=tea')).headers['cache-control'], 'no-store');
  });

  it('withUser() leaves bytes as they are: a picture says nothing of its user', async () => {
    const picture = { status: 200, headers: {}, body: Buffer.from('<main>') };
    const session = new Session<SiteData>(NOW).set('user', 'editor');
    const handler = withUser<SessionRequest<SiteData>>(() => picture);
    assert.equal(await handler({ session } as SessionRequest<SiteData>), picture);
  });

  it('addLogin() shows an empty form, and then a dashboard with counter and cart', async () => {
    const { browser, send, login } = await visit();
    const form = String((await browser.get('/login')).body);
    assert.match(form, /<title>Login<\/title>/);
    assert.match(form, /<input name="name" value="" autocomplete="username">/);
    await login('editor');
    const first = String((await browser.get('/dashboard')).body);
    assert.match(first, /<title>Dashboard<\/title>/);
    assert.match(first, /to the home page or to Howdy 0 times\.<[^]*>cart<\/a>: 0\./);
    await browser.get('/');
    await browser.get('/howdy');
    await send('/cart/add', 'item=tea');
    const second = String((await browser.get('/dashboard')).body);
    assert.match(second, /to the home page or to Howdy 2 times\.<[^]*>cart<\/a>: 1\./);
  });

  it('addLogin() answers hostile forms with words: never a 5xx', async () => {
    const { send } = await visit();
    const bodies = [
      'name=%00&password=%00', 'name=a%0d%0aSet-Cookie:+x=1&password=b', 'name=%ED%A0%80',
      '__proto__=editor&password=editor', 'name=editor&name=viewer&password=x',
      'name[]=editor&password[]=editor', `name=${'n'.repeat(3e4)}&password=${'p'.repeat(3e4)}`,
      'next=//evil.example&name=x&password=y', '',
    ];
    for (const body of bodies) {
      const { status } = await send('/login', body);
      assert.ok([400, 422, 429].includes(status), `${body.slice(0, 60)}: ${status}`);
    }
    const form = { 'content-type': 'multipart/form-data; boundary=x' };
    assert.equal((await send('/login', '', form)).status, 415);
  });

  it('addLogin() shows a hostile name and next as text, and 64 characters of a name', async () => {
    const { browser, login } = await visit();
    const script = '"><script>alert(1)</script>';
    const shown = '&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;';
    const { body } = await browser.get(`/login?next=${encodeURIComponent(`/${script}`)}`);
    assert.ok(String(body).includes(`name="next" value="/${shown}"`), String(body));
    const again = String((await login(script + 'n'.repeat(3e4), 'x', `/${script}`)).body);
    assert.ok(again.includes(`name="next" value="/${shown}"`), again);
    const name = shown + 'n'.repeat(64 - script.length);
    assert.ok(again.includes(`name="name" value="${name}"`), again);
    assert.doesNotMatch(again, /<script/);
  });
});

describe('16-login: guesses', () => {
  it('failureLog() lets five pass, then doubles the wait: 1, 2, 4, … to a quarter hour', () => {
    const clock = { now: NOW };
    const log = failureLog(5, () => clock.now);
    const waits = [];
    for (let i = 0; i < 18; i++) {
      waits.push(log.waitFor('ada'));
      clock.now += log.waitFor('ada');
      log.add('ada');
    }
    assert.deepEqual(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
    assert.equal(log.waitFor('grace'), 0, 'of somebody else');
    clock.now += 900 + 900;
    log.add('ada');
    assert.equal(log.waitFor('ada'), 900, 'a quarter hour after the wait still counts');
    clock.now += 900 + 901;
    log.add('ada');
    assert.equal(log.waitFor('ada'), 0, 'long ago is forgotten');
  });

  it('failureLog() makes nobody wait for a clock that was set back', () => {
    const clock = { now: NOW };
    const log = failureLog(1, () => clock.now);
    for (let i = 0; i < 12; i++) log.add('ada');
    assert.equal(log.waitFor('ada'), 900, 'the longest there is');
    clock.now -= 1;
    assert.equal(log.waitFor('ada'), 0);
    log.add('ada');
    assert.equal(log.waitFor('ada'), 900, 'the next failure counts as ever');
  });

  it('failureLog() forgets who got it right', () => {
    const log = failureLog(1, () => NOW);
    log.add('ada');
    assert.equal(log.waitFor('ada'), 1);
    log.forget('ada');
    assert.equal(log.waitFor('ada'), 0);
  });

  it('failureLog() remembers 10,000, and the least recent goes', () => {
    const log = failureLog(1, () => NOW);
    for (let i = 0; i < 10_000; i++) log.add(`name ${i}`);
    log.add('name 0'); // now name 1 is the least recent
    assert.equal(log.waitFor('name 1'), 1);
    log.add('one more');
    assert.deepEqual([log.waitFor('name 1'), log.waitFor('name 0')], [0, 2]);
  });

  it('addLogin() makes a name wait after five failures, even with the right password', async () => {
    const { login, clock } = await visit();
    for (let i = 0; i < 5; i++) assert.equal((await login('editor', 'wrong')).status, 422);
    const refused = await login('editor');
    assert.equal(refused.status, 429);
    assert.equal(refused.headers['retry-after'], '1');
    const words = '429 Too Many Requests\n\nToo many attempts to log in. Try again in 1 s.\n';
    assert.equal(refused.body, words, 'and neither name nor password');
    assert.equal((await login('viewer')).status, 303, 'somebody else');
    clock.now += 1;
    assert.equal((await login('editor')).status, 303);
    clock.now += 1;
    assert.equal((await login('editor', 'wrong')).status, 422, 'five are free again');
  });

  it('addLogin() has the clock of the machine by default, in seconds', async (t) => {
    const clock = t.mock.method(Date, 'now', () => NOW * 1000);
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const { handle } = addLogin(new Router(), (p) => withSession(factory, p), await users);
    const browser = new Browser(handle, ORIGIN);
    const guess = () => browser.request('POST', '/login', 'name=editor&password=wrong');
    for (let i = 0; i < 5; i++) assert.equal((await guess()).status, 422);
    assert.equal((await guess()).headers['retry-after'], '1');
    clock.mock.mockImplementation(() => NOW * 1000 + 500);
    assert.equal((await guess()).status, 429, 'half a second later');
    clock.mock.mockImplementation(() => NOW * 1000 + 1000);
    assert.equal((await guess()).status, 422, 'a second later');
  });

  it('addLogin() lets of 200 guesses at once five through', async () => {
    const { login } = await visit();
    const guesses = Array.from({ length: 200 }, (_, i) => login('editor', `guess ${i}`));
    const statuses = (await Promise.all(guesses)).map(({ status }) => status);
    const count = (wanted: number) => statuses.filter((status) => status === wanted).length;
    assert.deepEqual([count(422), count(429)], [5, 195]);
  });

  it('addLogin() works once for a guess, and not at all for one that comes too soon', async () => {
    const { login } = await visit();
    const made: number[] = [];
    for (const name of [...Array<string>(6).fill('editor'), 'nobody']) {
      made.push((await countHashes(() => login(name, 'wrong'))).made);
    }
    assert.deepEqual(made, [1, 1, 1, 1, 1, 0, 1], 'five guesses, one too soon, an unknown name');
  });

  it('addLogin() makes an address wait that fails under many names', async () => {
    const { login } = await visit();
    for (let i = 0; i < 20; i++) assert.equal((await login(`name ${i}`, 'x')).status, 422);
    assert.equal((await login('one more', 'x')).status, 429);
  });

  it('addLogin() works as hard for unknown names, and answers 503 to the 53rd at once', async () => {
    const { login } = await visit();
    const guesses = Array.from({ length: 60 }, (_, i) => login(`name ${i}`, 'x'));
    const responses = await Promise.all(guesses);
    const busy = responses.filter(({ status }) => status === 503);
    const story = 'of 60 names that nobody has, two are hashed, fifty wait, and the others get 503';
    assert.equal(busy.length, 60 - 50 - 2, story);
    assert.equal(busy[0]?.headers['retry-after'], '10');
    const { status, headers } = await login('editor');
    assert.deepEqual([status, headers['retry-after']], [429, '900'], 'and then the address waits');
  });

  it('addLogin() lets the counter answer while 200 logins are at work', async (t) => {
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'], now: () => NOW });
    const theirs = new Map([['editor', await hashPassword('editor', 15)]]); // 40 ms: others' time
    const { handle } = site(factory, undefined, theirs); // five hashes, and 195 that come too soon
    const order: string[] = [];
    const arrivals = new EventEmitter();
    let arrived = 0;
    const server = makeServer(
      toListener(async (request) => {
        if (request.path === '/login' && ++arrived === 200) arrivals.emit('all');
        const response = await handle(request);
        order.push(`${request.path} ${response.status}`);
        return response;
      }),
    ).listen(0, '127.0.0.1');
    t.after(() => server.closeAllConnections());
    t.after(() => server.close());
    await once(server, 'listening');
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const body = new URLSearchParams({ name: 'editor', password: 'x' });
    const all = once(arrivals, 'all');
    const attempts = Array.from({ length: 200 }, () =>
      fetch(`${origin}/login`, { method: 'POST', body, headers: SAME }),
    );
    await all;
    assert.match(await (await fetch(`${origin}/`)).text(), /Count: 1/);
    await Promise.all(attempts);
    const hashed = order.filter((line) => line === '/login 422').length;
    assert.equal(hashed, 5, 'by the clock of the factory, which stands still');
    const isBefore = order.indexOf('/ 200') < order.lastIndexOf('/login 422');
    assert.ok(isBefore, `the counter had to wait for every hash: ${order.slice(-3).join(', ')}`);
  });
});

describe('16-login: types', () => {
  it('withLogin() gives its page a user, and does not compile without a session', () => {
    const page: Handler<SessionRequest<{ user: string }> & { user: string }> = ({ user }) =>
      seeOther(`/${user.length}`);
    // @ts-expect-error no session, nobody to be logged in
    const wrong: Handler = withLogin(USERS, page);
    // @ts-expect-error a page that wants a user is not given one by withUser
    const none: Handler<SessionRequest<{ user: string }>> = withUser(page);
    assert.deepEqual([typeof wrong, typeof none], ['function', 'function']);
  });
});
