// The finished site: its environment variables, its pages and its process.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { bodyText, setCookies } from '../.tools/request.ts';
import { ROOT, startProgram, startServer } from '../.tools/serve.ts';
import { type Handler, type HttpResponse, toListener } from '../src/04-http.ts';
import { Browser } from '../src/16-browser.ts';
import { hashPassword } from '../src/21-password.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { strict } from '../src/37-strict.ts';
import { sendFast } from '../src/39-fast.ts';
import { DEMO_SECRET, site } from '../src/main.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000;
const ORIGIN = 'http://localhost:6543';
const HTTPS = 'https://example.org';
const LONG = '0123456789abcdef0123456789abcdef'; // 32 characters: the minimum in production
const PRODUCTION = { NODE_ENV: 'production', SESSION_SECRET: LONG };
const HTML = { accept: 'text/html,application/xhtml+xml' }; // as a browser sends it
const SAME = { 'sec-fetch-site': 'same-origin' };
const hasSqlite = process.getBuiltinModule?.('node:sqlite' as 'node:fs') !== undefined;
const users = hashPassword('secret', 4).then((hash) => new Map([['ada', hash]]));

/** The count on a page. */
function count(response: HttpResponse): number {
  return Number(/<p>Count: (\d+)<\/p>/.exec(bodyText(response))?.[1]);
}

async function countAt(browser: Browser, path = '/'): Promise<number> {
  return count(await browser.get(path));
}

function login(browser: Browser, password = 'secret'): Promise<HttpResponse> {
  return browser.request('POST', '/login', `username=ada&password=${password}`, SAME);
}

/** A browser on the finished site whose visitor is logged in and has a teapot in the cart. */
async function loggedIn(env: Record<string, string> = {}): Promise<Browser> {
  const browser = new Browser(site(env, undefined, await users));
  await browser.request('POST', '/cart/add', 'item=pot', SAME);
  assert.equal((await login(browser)).status, 303, 'POST /login with the right password');
  return browser;
}

describe('main: the environment', () => {
  const weak = 'Cannot start: in production, each part of SESSION_SECRET needs 32 characters';
  const kind = 'Cannot start: SESSIONS must be ';
  const REJECTED: [string, Record<string, string>, string][] = [
    ['production without a secret', { SESSION_SECRET: '' }, weak],
    ['production with the secret of the tutorial', { SESSION_SECRET: DEMO_SECRET }, weak],
    ['production with 31 characters', { SESSION_SECRET: LONG.slice(1) }, weak],
    ['production with a short old secret', { SESSION_SECRET: `${LONG},short` }, weak],
    ['production with a secret of spaces', { SESSION_SECRET: ` short${' '.repeat(40)}` }, weak],
    ['a secret with an empty part', { SESSION_SECRET: `${LONG},` }, 'Cannot start: SESSION_SECRET has'],
    ['an unknown kind of session', { ...PRODUCTION, SESSIONS: 'x' }, kind],
    ['a name of Object.prototype', { ...PRODUCTION, SESSIONS: 'toString' }, kind],
    ['a kind of two lines', { ...PRODUCTION, SESSIONS: 'a\nb' }, kind],
    ['sqlite: without a file', { ...PRODUCTION, SESSIONS: 'sqlite:' }, kind],
    ['sqlite without a colon', { ...PRODUCTION, SESSIONS: 'sqlite' }, kind],
    ['redis without a host', { ...PRODUCTION, SESSIONS: 'redis:h' }, kind],
    ['a file in a folder that does not exist', { ...PRODUCTION, SESSIONS: 'sqlite:/no/no' }, 'Cannot open /no/no: '],
    ['half a URL of Redis', { ...PRODUCTION, SESSIONS: 'redis://[' }, kind],
    ['a wrong encoding in the URL of Redis', { ...PRODUCTION, SESSIONS: 'redis://:p%zz@h' }, kind],
    ['the URL of another protocol', { ...PRODUCTION, SESSIONS: 'http://localhost' }, kind],
    ['an unknown NODE_ENV', { NODE_ENV: 'prod' }, 'Cannot start: NODE_ENV must be '],
  ];
  for (const [name, env, message] of REJECTED) {
    it(`site() rejects ${name} with one line`, () => {
      const create = (): unknown => site({ NODE_ENV: 'production', ...env });
      assert.throws(create, (error) => {
        assert.ok(error instanceof RangeError, String(error));
        assert.ok(error.message.startsWith(message), error.message);
        assert.doesNotMatch(error.message, /\n/);
        assert.ok(!error.message.includes(LONG), 'the message contains no secret');
        return true;
      });
    });
  }

  it('site() shows only the scheme of SESSIONS, because a password can follow it', () => {
    for (const SESSIONS of ['redis://u:hunter2@[', 'rediz://u:hunter2@h', 'x:hunter2']) {
      const isSafe = (error: unknown): boolean =>
        error instanceof RangeError && !error.message.includes('hunter2');
      assert.throws(() => site({ SESSIONS }), isSafe, SESSIONS);
    }
  });

  it('site() names the kinds of session in its message', () => {
    const message =
      'Cannot start: SESSIONS must be signed, encrypted, memory, sqlite:FILE or redis://HOST, not "other"';
    assert.throws(() => site({ SESSIONS: 'other:x' }), { name: 'RangeError', message });
  });

  it('site() ignores spaces and line ends around NODE_ENV, and then it is production', () => {
    for (const NODE_ENV of ['production ', 'production\r', ' production']) {
      assert.throws(() => site({ NODE_ENV }), /in production/, JSON.stringify(NODE_ENV));
    }
    assert.throws(() => site({ NODE_ENV: 'Production' }), /not "Production"/);
  });

  it('site() ignores spaces around each variable', async () => {
    const env = {
      NODE_ENV: 'production\r', SESSION_SECRET: ` ${LONG}\r`, SESSIONS: 'memory ',
      SESSION_COOKIE: ' sid', TRUSTED_ORIGINS: ' https://a.example , https://b.example\r',
    };
    const browser = new Browser(site(env), HTTPS);
    assert.match(String(setCookies(await browser.get('/'))), /^sid=[\w-]{43};/);
  });

  it('npm run secret prints a secret that production accepts, and another one each time', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const secrets = [1, 2].map(() =>
      spawnSync(scripts.secret, { shell: true, encoding: 'utf8' }).stdout.trim());
    assert.equal(new Set(secrets).size, 2);
    for (const SESSION_SECRET of secrets) {
      assert.match(SESSION_SECRET, /^[\w-]{43}$/, '256 bits, in characters that each shell accepts');
      site({ NODE_ENV: 'production', SESSION_SECRET });
    }
  });

  it('site() needs no variable for development', async () => {
    for (const env of [{}, { SESSION_SECRET: 'short' }, { SESSIONS: 'signed' }, { SESSIONS: '' }]) {
      assert.equal(await countAt(new Browser(site(env))), 1);
    }
  });

  it('site() sets Secure cookies in production, and has no inspector there', async () => {
    const browser = new Browser(site(PRODUCTION), HTTPS);
    const response = await browser.get('/');
    assert.match(String(setCookies(response)), /; Secure; HttpOnly; SameSite=Lax$/);
    assert.doesNotMatch(bodyText(response), /inspect/i);
    assert.equal((await browser.get('/inspect')).status, 404);
    assert.equal(await countAt(browser, '/howdy'), 2);
  });

  it('site() sets cookies without Secure in development, because http is used there', async () => {
    assert.doesNotMatch(String(setCookies(await new Browser(site()).get('/'))), /Secure/);
  });

  it('site() keeps the sessions where SESSIONS says, and has /sessions for a store', async () => {
    const KINDS: [kind: string, setCookie: RegExp, status: number][] = [
      ['signed', /^__Host-session=[\w-]{120,};/, 404],
      ['encrypted', /^__Host-session=A[\w-]{80,};/, 404],
      ['memory', /^__Host-session=[\w-]{43};/, 303],
      ...(hasSqlite ? [['sqlite::memory:', /^__Host-session=[\w-]{43};/, 303] as [string, RegExp, number]] : []),
    ];
    for (const [SESSIONS, setCookie, status] of KINDS) {
      const browser = new Browser(site({ ...PRODUCTION, SESSIONS }), HTTPS);
      const response = await browser.get('/');
      assert.match(String(setCookies(response)), setCookie, SESSIONS);
      assert.deepEqual([count(response), await countAt(browser, '/howdy')], [1, 2], SESSIONS);
      assert.equal((await browser.request('GET', '/sessions')).status, status, SESSIONS);
    }
  });

  it('site() uses the cookie __Host-session in production, from login to logout', async () => {
    for (const SESSIONS of ['signed', 'encrypted', 'memory']) {
      const handle = site({ ...PRODUCTION, SESSIONS }, undefined, await users);
      const browser = new Browser(handle, HTTPS);
      const sent = (): string => browser.jar.headerFor(new URL(HTTPS), Date.now() / 1000) ?? '';
      await browser.get('/');
      const before = sent();
      assert.match(before, /^__Host-session=[\w-]+$/, SESSIONS);
      assert.equal((await login(browser)).status, 303, SESSIONS);
      assert.match(bodyText(await browser.get('/dashboard')), /Hello, ada/, SESSIONS);
      assert.match(sent(), /^__Host-session=[\w-]+$/, `${SESSIONS}: exactly one cookie`);
      assert.notEqual(sent(), before, SESSIONS);
      await browser.request('POST', '/logout', '', SAME);
      assert.equal((await browser.request('GET', '/dashboard')).status, 303, SESSIONS);
      const cookie = before.replace('__Host-', ''); // a subdomain can set a cookie with this name
      const response = await new Browser(handle, HTTPS).request('GET', '/', '', { cookie });
      assert.equal(count(response), 1, SESSIONS);
    }
  });

  it('SESSION_COOKIE lets two sites share a host, and none ends the sessions of the other', async () => {
    const sites = [site({ SESSION_COOKIE: 'one' }), site({ SESSION_COOKIE: 'two', SESSION_SECRET: 'b' })];
    let current = sites[0] as Handler;
    const browser = new Browser((request) => current(request));
    const counts = [];
    for (const handle of [...sites, ...sites]) {
      current = handle;
      counts.push(await countAt(browser));
    }
    assert.deepEqual(counts, [1, 1, 2, 2]);
  });

  it('SESSION_COOKIE must be a name that a browser keeps', () => {
    assert.throws(() => site({ SESSION_COOKIE: 'a b' }), /cookie/i);
    assert.throws(() => site({ SESSION_COOKIE: '__Host-sid' }), /__Host-/, 'http has no Secure');
  });

  it('TRUSTED_ORIGINS lets pages of other origins send forms', async () => {
    const host = { host: '127.0.0.1:6543', origin: 'http://192.168.1.5' };
    const statusOf = async (env: Record<string, string>): Promise<number> =>
      (await new Browser(site(env)).request('POST', '/cart/empty', '', host)).status;
    assert.equal(await statusOf({}), 403);
    assert.equal(await statusOf({ TRUSTED_ORIGINS: 'https://a.example,http://192.168.1.5' }), 303);
    assert.throws(() => site({ TRUSTED_ORIGINS: 'example.org' }), /example\.org/);
  });

  for (const env of [{}, { NODE_ENV: 'production' }]) {
    const origin = 'NODE_ENV' in env ? HTTPS : ORIGIN;
    it(`site() accepts old secrets, ${origin}: the newest signs, all verify`, async () => {
      const [old, newest] = [LONG, LONG.toUpperCase()];
      let handle = site({ ...env, SESSION_SECRET: old });
      const browser = new Browser((request) => handle(request), origin);
      assert.equal(await countAt(browser), 1);
      handle = site({ ...env, SESSION_SECRET: ` ${newest} , ${old} ` });
      assert.equal(await countAt(browser), 2, 'verified with the old secret');
      handle = site({ ...env, SESSION_SECRET: newest });
      assert.equal(await countAt(browser), 3, 'signed with the new secret');
      handle = site({ ...env, SESSION_SECRET: 'x'.repeat(32) });
      assert.equal(await countAt(browser), 1, 'an unknown secret');
    });
  }

  it('site() responds 503 if Redis is down, and pages without a session work', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const browser = new Browser(site({ SESSIONS: 'redis://127.0.0.1:1' }));
    const page = await browser.request('GET', '/', '', HTML);
    assert.deepEqual([page.status, page.headers['retry-after']], [503, '1']);
    assert.match(bodyText(page), /<h1>503 Service Unavailable<\/h1>/);
    assert.equal((await browser.get('/style.css')).status, 200);
    assert.equal((await browser.request('GET', '/nowhere', '', HTML)).status, 404, 'a new visitor');
    const known = { ...HTML, cookie: `session=${'A'.repeat(43)}` };
    assert.equal((await browser.request('GET', '/nowhere', '', known)).status, 404, 'a page without session');
    assert.equal((await browser.get('/api/counter')).status, 401);
    const lines = log.mock.calls.map(({ arguments: [line] }) => String(line));
    assert.ok(lines.some((line) => line.startsWith('503 GET /: ')), lines.join('\n'));
  });

  it('site() passes its clock to each part that needs one', async () => {
    for (const SESSIONS of ['signed', 'encrypted', 'memory', ...(hasSqlite ? ['sqlite::memory:'] : [])]) {
      const clock = { now: NOW };
      const now = (): number => clock.now;
      const browser = new Browser(site({ SESSIONS }, now, await users), ORIGIN, now);
      for (let i = 0; i < 5; i++) assert.equal((await login(browser, 'wrong')).status, 422, SESSIONS);
      assert.equal((await login(browser)).status, 429, SESSIONS);
      clock.now += 2;
      assert.equal((await login(browser)).status, 303, SESSIONS);
      const token = await browser.request('POST', '/api/token', '', SAME);
      const authorization = `Bearer ${JSON.parse(bodyText(token)).token}`;
      const ask = async (): Promise<number> =>
        (await browser.request('GET', '/api/counter', '', { authorization })).status;
      assert.equal(await ask(), 200, SESSIONS);
      clock.now += 1000;
      assert.equal(await ask(), 401, SESSIONS);
      assert.equal((await browser.get('/dashboard')).status, 200, SESSIONS);
      clock.now += 1201;
      assert.equal((await browser.request('GET', '/dashboard')).status, 303, SESSIONS);
    }
  });
});

describe('main: what the visitor sees', () => {
  const PAGES = ['/', '/howdy', '/articles', '/cart', '/login', '/inspect', '/inspect/cookie', '/nowhere'];

  it('site() shows the user and the cart on each page and on error pages', async () => {
    const browser = await loggedIn();
    for (const path of [...PAGES, '/dashboard']) {
      const response = await browser.request('GET', path, '', HTML);
      const page = bodyText(response);
      assert.match(page, /Logged in as <strong>ada<\/strong>/, path);
      assert.match(page, /Cart \(1\)<\/a>/, path);
      assert.match(page, /<form method="post" action="\/logout">/, path);
      assert.equal(response.headers['cache-control'], 'no-store', path);
    }
  });

  it('site() makes complete pages: language, title, one h1, navigation and a link past it', async () => {
    const browser = new Browser(site());
    for (const path of PAGES) {
      const page = bodyText(await browser.request('GET', path, '', HTML));
      const once = (pattern: RegExp): void =>
        assert.equal([...page.matchAll(pattern)].length, 1, `${path}: once ${pattern}`);
      for (const tag of ['h1', 'title', 'main', 'nav', 'header', 'body']) {
        once(new RegExp(`<${tag}[ >]`, 'g'));
        once(new RegExp(`</${tag}>`, 'g'));
      }
      once(/^<!doctype html>\n<html lang="en">/g);
      once(/<a class="skip" href="#content">/g);
      once(/<main id="content"/g);
      once(/<meta name="viewport"/g);
    }
  });

  it('site() links to the pages that exist for this visitor', async () => {
    const linksOf = (response: HttpResponse): string[] => {
      const [nav = ''] = /<nav[^]*?<\/nav>/.exec(bodyText(response)) ?? [];
      return [...nav.matchAll(/href="([^"]*)"[^>]*>([^<]*)/g)].map(([, path, name]) => `${name} ${path}`);
    };
    const first = ['Home /', 'Howdy /howdy', 'Articles /articles', 'Cart /cart'];
    const sessions = 'Sessions /sessions';
    const inspector = ['Inspector /inspect', 'Cookies /inspect/cookie'];
    const table: [env: Record<string, string>, links: string[]][] = [
      [{}, [...first, 'Login /login', ...inspector]],
      [{ SESSIONS: 'memory' }, [...first, 'Login /login', sessions, ...inspector]],
      [PRODUCTION, [...first, 'Login /login']],
    ];
    for (const [env, links] of table) {
      assert.deepEqual(linksOf(await new Browser(site(env)).get('/')), links);
    }
    const home = await (await loggedIn()).get('/');
    const cart = first.with(3, 'Cart (1) /cart');
    assert.deepEqual(linksOf(home), [...cart, 'Dashboard /dashboard', ...inspector]);
  });

  it('site() marks the current page in the navigation', async () => {
    const browser = new Browser(site());
    for (const path of PAGES.filter((page) => !/nowhere|cookie/.test(page))) {
      const page = bodyText(await browser.get(path));
      const marked = [...page.matchAll(/<a href="([^"]*)" aria-current="page">/g)];
      assert.deepEqual(marked.map(([, href]) => href), [path]);
    }
  });

  it('site() shows the message, the token and the cart in the inspector', async () => {
    const browser = new Browser(site());
    const panel = async (path: string): Promise<string> =>
      bodyText(await browser.get(path)).replace(/^[^]*<details/, '').replaceAll('&quot;', '"');
    assert.match(await panel('/articles'), /"_csrft_": "/);
    await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    assert.match(bodyText(await browser.get('/inspect')), /_f_success/, 'the message waits');
    await browser.request('POST', '/cart/add', 'item=pot', SAME);
    assert.match(await panel('/cart'), /"cart": \{\s+"items": \{\s+"pot": 1/);
  });

  it('site() keeps a message for the page that the visitor sees', async () => {
    const browser = new Browser(site());
    await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    await browser.request('HEAD', '/cart');
    await browser.request('GET', '/cart', '', { 'sec-purpose': 'prefetch' });
    await browser.request('GET', '/nowhere', '', HTML);
    assert.match(bodyText(await browser.get('/cart')), /Article saved/);
    assert.doesNotMatch(bodyText(await browser.get('/cart')), /Article saved/, 'once');
  });

  it('site() says that the session is full, and loses nothing', async () => {
    const browser = await loggedIn();
    const save = async (length: number): Promise<number> => {
      const note = encodeURIComponent('€'.repeat(length));
      return (await browser.request('POST', '/cart/note', `note=${note}`, SAME)).status;
    };
    let length = 1000;
    while ((await save(length)) === 422) length -= 1; // the longest note that fits
    const before = bodyText(await browser.get('/cart'));
    const full = await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    assert.equal(full.status, 422);
    assert.match(bodyText(full), /<h1>The session is full<\/h1>/);
    assert.match(bodyText(full), /Logged in as <strong>ada/);
    assert.equal(bodyText(await browser.get('/cart')), before);
    assert.equal(await save(10), 303);
    await browser.request('POST', '/cart/add', 'item=tea', SAME);
    assert.match(bodyText(await browser.get('/cart')), /Cart \(2\)/);
  });

  it('site() explains errors on a page of the site, and to a program in plain text', async () => {
    const browser = await loggedIn();
    const forged = { ...HTML, 'sec-fetch-site': 'cross-site' };
    const rejected = await browser.request('POST', '/cart/empty', '', forged);
    assert.equal(rejected.status, 403);
    assert.match(bodyText(rejected), /<h1>403 Forbidden<\/h1>\s*<p>[^<]+ Nothing was done\./);
    const method = await browser.request('DELETE', '/', '', HTML);
    assert.deepEqual([method.status, method.headers.allow], [405, 'GET, HEAD']);
    const missing = await browser.request('GET', '/<b>&', '', HTML);
    assert.match(bodyText(missing), /<title>404 Not Found<\/title>/);
    assert.doesNotMatch(bodyText(missing), /<b>/);
    const plain = await browser.get('/nowhere');
    assert.equal(plain.headers['content-type'], 'text/plain; charset=utf-8');
    assert.match(bodyText(plain), /^404 Not Found\n\nThere is no page at \/nowhere\./);
  });
});

describe('main: security of each response', () => {
  const PAGES = ['/', '/howdy', '/articles', '/cart', '/login', '/inspect', '/nowhere'];

  it('site() sends a policy without scripts, and has no inline script or style', async () => {
    const browser = new Browser(site());
    for (const path of PAGES) {
      const response = await browser.request('GET', path, '', HTML);
      assert.match(String(response.headers['content-security-policy']), /default-src 'none'/, path);
      const page = bodyText(response);
      assert.doesNotMatch(page, /<script|<style|\sstyle=|\son\w+=|javascript:/i, path);
    }
  });

  it('site() sends the security headers with each response', async (t) => {
    const REQUESTS: [method: string, path: string, status: number][] = [
      ['GET', '/', 200], ['HEAD', '/', 200], ['GET', '/login', 200], ['GET', '/style.css', 200],
      ['GET', '/favicon.svg', 200], ['GET', '/dashboard', 303], ['POST', '/articles', 403],
      ['GET', '/nowhere', 404], ['DELETE', '/', 405], ['OPTIONS', '/', 204],
      ['GET', '/api/counter', 401],
    ];
    for (const env of [{}, PRODUCTION]) {
      const server = await startServer(t, strict(toListener(site(env), sendFast)), makePipelined);
      const isSecure = env === PRODUCTION;
      for (const [method, path, status] of REQUESTS) {
        for (const accept of ['text/html', '*/*']) {
          const response = await server.request(method, path, { accept });
          const where = `${method} ${path} for ${accept}`;
          assert.equal(response.status, status, where);
          assert.ok(response.headers.get('date'), `${where}: RFC 9110 §6.6.1`);
          const header = (name: string): string | null => response.headers.get(name);
          const policy = header('content-security-policy') ?? '';
          assert.match(policy, /^default-src 'none'/, where);
          assert.match(policy, /; frame-ancestors 'none'$/, where);
          assert.doesNotMatch(policy, /unsafe/, where);
          const isPage = header('content-type')?.startsWith('text/html') ?? false;
          assert.equal(policy.includes("style-src 'self'"), isPage, where);
          assert.equal(header('x-content-type-options'), 'nosniff', where);
          assert.equal(header('referrer-policy'), 'same-origin', where);
          assert.equal(header('cross-origin-resource-policy'), 'same-origin', where);
          const year = 'max-age=31536000; includeSubDomains';
          assert.equal(header('strict-transport-security'), isSecure ? year : null, where);
          assert.equal(header('cross-origin-opener-policy'), isSecure ? 'same-origin' : null, where);
          assert.deepEqual([header('server'), header('x-powered-by')], [null, null], where);
        }
      }
    }
  });

  it('site() lets no page of another origin read a response', async () => {
    const origin = 'https://evil.example';
    const preflight = { origin, 'access-control-request-method': 'POST' };
    const browser = new Browser(site());
    for (const path of ['/', '/login', '/style.css', '/api/counter', '/nowhere', '/cart/add']) {
      for (const [method, sent] of [['GET', { origin }], ['OPTIONS', preflight]] as const) {
        const { headers } = await browser.request(method, path, '', sent);
        const names = Object.keys(headers).filter((name) => name.startsWith('access-control-'));
        assert.deepEqual(names, [], path);
      }
    }
  });

  it('site() changes nothing for GET and HEAD', async () => {
    const browser = new Browser(site({ SESSIONS: 'memory' }));
    const cart = ['/cart/add', '/cart/change', '/cart/remove', '/cart/empty', '/cart/note'];
    for (const path of [...cart, '/logout', '/sessions/end', '/sessions/end-others', '/api/token']) {
      for (const method of ['GET', 'HEAD']) {
        const { status, headers } = await browser.request(method, `${path}?item=tea&key=a`);
        assert.deepEqual([status, headers.allow], [405, 'POST'], `${method} ${path}`);
      }
    }
    const forms = ['/articles?title=a&body=b', '/login?username=editor&password=editor'];
    for (const path of forms) assert.equal((await browser.get(path)).status, 200, path);
    assert.doesNotMatch(bodyText(await browser.get('/articles')), /<article>|Logged in/);
  });

  it('site() has no file that is a script', () => {
    const names = readdirSync(join(ROOT, 'public'), { recursive: true }).map(String);
    assert.ok(names.includes('style.css'), names.join());
    assert.deepEqual(names.filter((name) => /\.(m?js|html?|wasm|swf|xht(ml)?)$/i.test(name)), []);
    for (const name of names.filter((one) => one.endsWith('.svg'))) {
      const markup = readFileSync(join(ROOT, 'public', name), 'utf8');
      assert.doesNotMatch(markup, /<script|\son\w+=|javascript:/i, name);
    }
  });

  it('site() sets one cookie, and never twice in one response', async () => {
    const STEPS: [method: string, path: string, body?: string][] = [
      ['GET', '/'], ['POST', '/articles', 'title=a&body=b'], ['POST', '/cart/add', 'item=pot'],
      ['POST', '/login', 'username=ada&password=secret'], ['GET', '/dashboard'], ['GET', '/'],
      ['POST', '/login', 'username=ada&password=secret'], ['POST', '/logout'], ['GET', '/'],
    ];
    for (const SESSIONS of ['signed', 'encrypted', 'memory']) {
      const browser = new Browser(site({ SESSIONS }, undefined, await users));
      let total = 0;
      for (const [method, path, body = ''] of STEPS) {
        const cookies = setCookies(await browser.request(method, path, body, SAME));
        assert.ok(cookies.length <= 1, `${SESSIONS}, ${method} ${path}: ${cookies.join(' | ')}`);
        for (const header of cookies) assert.match(header, /^session=/, `${SESSIONS}, ${method} ${path}`);
        total += cookies.length;
      }
      assert.ok(total >= 4, `${SESSIONS}: ${total} cookies`);
    }
  });

  it('site() responds to HEAD with the status of GET and without a cookie', async () => {
    const now = (): number => NOW;
    const browser = new Browser(site({}, now), ORIGIN, now);
    for (const path of ['/', '/howdy', '/style.css', '/articles', '/cart', '/login']) {
      const head = await browser.request('HEAD', path);
      assert.deepEqual(setCookies(head), [], path);
      const get = await browser.request('GET', path);
      assert.equal(head.status, get.status);
      assert.equal(head.headers['content-length'], get.headers['content-length'], path);
    }
    assert.equal(await countAt(browser), 3, 'two visits before this one');
  });
});

describe('main: the process', () => {
  const clean = { NODE_ENV: '', SESSIONS: '', SESSION_COOKIE: '', TRUSTED_ORIGINS: '' };

  it('main.ts counts 1 and 2, restarts, and counts 3; another secret counts 1', async (t) => {
    let cookie = '';
    const run = async (SESSION_SECRET: string, ...paths: string[]): Promise<number[]> => {
      const program = startProgram(t, ['src/main.ts'], { ...clean, SESSION_SECRET });
      const origin = await program.printed(/(http:\/\/localhost:\d+)[^]*stop with Ctrl-C/);
      const counts = [];
      for (const path of paths) {
        const address = origin.replace('localhost', '127.0.0.1') + path;
        const response = await fetch(address, { headers: { cookie, connection: 'close' } });
        cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie;
        counts.push(Number(/<p>Count: (\d+)/.exec(await response.text())?.[1]));
      }
      program.kill('SIGTERM');
      const { code, signal, stdout, stderr } = await program.ended();
      assert.deepEqual([code, signal, stderr], [0, null, ''], 'SIGTERM ends the process cleanly');
      const paths4 = ['/', '/articles', '/cart', '/login'].map((path) => `  open ${origin}${path}\n`);
      assert.equal(stdout, `Sessions from Scratch · ${origin}\n${paths4.join('')}  stop with Ctrl-C\n`);
      return counts;
    };
    assert.deepEqual(await run('one', '/', '/howdy'), [1, 2]);
    assert.deepEqual(await run('one', '/'), [3], 'after a restart');
    assert.deepEqual(await run('two', '/'), [1], 'signed with another secret');
  });

  it('main.ts does not start with the secret of the tutorial in production', async (t) => {
    const env = { ...clean, NODE_ENV: 'production', SESSION_SECRET: DEMO_SECRET };
    const { code, stderr } = await startProgram(t, ['src/main.ts'], env).ended();
    assert.equal(code, 1);
    assert.match(stderr, /^Cannot start: in production, .* npm run secret\n$/);
  });
});
