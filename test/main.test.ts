import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { explainedIt } from '../.tools/explain.ts';
import { makeServer } from '../src/01-server.ts';
import { problem, toListener } from '../src/02-http.ts';
import type { HttpResponse } from '../src/02-http.ts';
import { html, page } from '../src/04-template.ts';
import { Browser, parseSetCookie } from '../src/08-browser.ts';
import { SignedCookieSessionFactory, withSession } from '../src/11-session-factory.ts';
import { hashPassword } from '../src/16-login.ts';
import type { SiteData } from '../src/16-login.ts';
import { DEMO_SECRET, site, withErrorPages, withFrame } from '../src/main.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const LONG = '0123456789abcdef0123456789abcdef'; // 32 characters, the least that production takes
const PRODUCTION = { NODE_ENV: 'production', SESSION_SECRET: LONG };
const HTML = { accept: 'text/html,application/xhtml+xml' }; // as a browser asks

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const main = join(ROOT, 'src/main.ts');
const tsx = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];

type Child = ChildProcessByStdio<null, Readable, Readable>;

/** Starts the finished site as a process of its own, on a free port. */
function start(env: Record<string, string>): Child {
  return spawn(process.execPath, [...tsx, main], {
    env: { ...process.env, NODE_ENV: '', SESSIONS: '', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** The address that a server prints once it listens. */
async function originOf(child: Child): Promise<string> {
  let printed = '';
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    printed += String(chunk);
    if (!printed.includes('stop with Ctrl-C\n')) continue;
    const [origin = '', port] = /http:\/\/localhost:(\d+)/.exec(printed) ?? [];
    const hints = ['/', '/articles', '/cart', '/login'].map((path) => `  open ${origin}${path}\n`);
    const lines = `Sessions from Scratch · ${origin}\n${hints.join('')}  stop with Ctrl-C\n`;
    assert.equal(printed, lines);
    return `http://127.0.0.1:${port}`;
  }
  throw new Error(`The server ended before it listened. It printed: ${printed}`);
}

function count(body: HttpResponse['body']): number {
  return Number(/<p>Count: (\d+)<\/p>/.exec(String(body))?.[1]);
}

describe('main: the environment', () => {
  const printed = 'Cannot start: in production each part of SESSION_SECRET must be 32 characters';
  const REFUSED: [string, Record<string, string>, string][] = [
    ['production without a secret', { SESSION_SECRET: '' }, printed],
    ['production with the printed secret', { SESSION_SECRET: DEMO_SECRET }, printed],
    ['production with 31 characters', { SESSION_SECRET: LONG.slice(1) }, printed],
    ['production with a short old secret', { SESSION_SECRET: `${LONG},short` }, printed],
    ['production with spaces for length', { SESSION_SECRET: ` short${' '.repeat(40)}` }, printed],
    ['an empty part', { SESSION_SECRET: `${LONG},` }, 'Cannot start: SESSION_SECRET has an empty'],
    ['another kind', { ...PRODUCTION, SESSIONS: 'x' }, 'Cannot start: SESSIONS must be '],
    ['a kind of two lines', { ...PRODUCTION, SESSIONS: 'a\nb' }, 'Cannot start: SESSIONS must be'],
    ['sqlite without a file', { ...PRODUCTION, SESSIONS: 'sqlite:' }, 'Cannot start: SESSIONS must'],
    ['sqlite and no more', { ...PRODUCTION, SESSIONS: 'sqlite' }, 'Cannot start: SESSIONS must'],
    ['redis without a host', { ...PRODUCTION, SESSIONS: 'redis:h' }, 'Cannot start: SESSIONS must'],
    ['a file in no folder', { ...PRODUCTION, SESSIONS: 'sqlite:/no/no' }, 'Cannot open /no/no: '],
    ['a half URL of Redis', { ...PRODUCTION, SESSIONS: 'redis://[' }, 'Cannot start: SESSIONS must'],
    ['a bad escape', { ...PRODUCTION, SESSIONS: 'redis://:p%zz@h' }, 'Cannot start: SESSIONS must be'],
    ['another URL', { ...PRODUCTION, SESSIONS: 'http://localhost' }, 'Cannot start: SESSIONS must'],
  ];
  for (const [name, env, words] of REFUSED) {
    it(`site() refuses ${name}, in one line`, () => {
      const build = (): unknown => site({ NODE_ENV: 'production', ...env });
      assert.throws(build, (error) => {
        assert.ok(error instanceof RangeError, String(error));
        assert.ok(error.message.startsWith(words), error.message);
        assert.doesNotMatch(error.message, /\n/);
        assert.ok(!error.message.includes(LONG), 'no secret in a message');
        return true;
      });
    });
  }

  it('site() shows nothing of SESSIONS behind its first colon: a password may stand there', () => {
    for (const kind of ['redis://u:hunter2@[', 'rediz://u:hunter2@h', 'x:hunter2']) {
      assert.throws(
        () => site({ SESSIONS: kind }),
        (error) => error instanceof RangeError && !error.message.includes('hunter2'),
        kind,
      );
    }
  });

  it('site() names the kinds of sessions that there are', () => {
    const kinds = 'signed, encrypted, memory, sqlite:FILE or redis://HOST';
    const message = `Cannot start: SESSIONS must be ${kinds}: it begins with "other"`;
    assert.throws(() => site({ SESSIONS: 'other:x' }), { name: 'RangeError', message });
  });

  it('npm run secret prints one that production takes, and another each time', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const secrets = [1, 2].map(() => {
      const { stdout } = spawnSync(scripts.secret, { shell: true, encoding: 'utf8' });
      return stdout.trim();
    });
    assert.equal(new Set(secrets).size, 2);
    for (const SESSION_SECRET of secrets) {
      assert.match(SESSION_SECRET, /^[\w-]{43}$/, '256 bits, in characters that any shell takes');
      site({ NODE_ENV: 'production', SESSION_SECRET });
    }
  });

  it('site() needs nothing in the environment where it is not in production', async () => {
    for (const env of [{}, { SESSION_SECRET: 'short' }, { SESSIONS: 'signed' }, { SESSIONS: '' }]) {
      assert.equal(count((await new Browser(site(env).handle).get('/')).body), 1);
    }
  });

  it('site() sets Secure cookies in production, and has no inspector there', async () => {
    const browser = new Browser(site(PRODUCTION).handle, 'https://example.org');
    const { headers, body } = await browser.get('/');
    assert.match(String(headers['set-cookie']), /; Secure; HttpOnly; SameSite=Lax$/);
    assert.doesNotMatch(String(body), /inspect/i);
    assert.equal((await browser.get('/inspect')).status, 404);
    assert.equal(count((await browser.get('/howdy')).body), 2);
  });

  it('site() keeps sessions where SESSIONS says, and shows /sessions where it can', async () => {
    const KINDS: [kind: string, line: RegExp, sessions: number][] = [
      ['signed', /^__Host-session=[\w-]{120,};/, 404],
      ['encrypted', /^__Host-session=A[\w-]{80,};/, 404],
      ['memory', /^__Host-session=[\w-]{43};/, 303],
    ];
    for (const [SESSIONS, line, sessions] of KINDS) {
      const browser = new Browser(site({ ...PRODUCTION, SESSIONS }).handle, 'https://example.org');
      const { headers, body } = await browser.get('/');
      assert.match(String(headers['set-cookie']), line, SESSIONS);
      assert.match(String(headers['set-cookie']), /; Secure; HttpOnly; SameSite=Lax$/, SESSIONS);
      assert.deepEqual([count(body), count((await browser.get('/howdy')).body)], [1, 2], SESSIONS);
      assert.equal((await browser.request('GET', '/sessions')).status, sessions, SESSIONS);
    }
  });

  it('site() calls its cookie __Host-session in production, from login to logout', async () => {
    const some = new Map([['ada', await hashPassword('secret', 4)]]);
    const origin = 'https://example.org';
    const same = { 'sec-fetch-site': 'same-origin' };
    for (const SESSIONS of ['signed', 'encrypted', 'memory']) {
      const { handle } = site({ ...PRODUCTION, SESSIONS }, undefined, some);
      const browser = new Browser(handle, origin);
      const sent = (): string => browser.jar.headerFor(new URL(origin), Date.now() / 1000) ?? '';
      const post = (path: string, form = ''): Promise<HttpResponse> =>
        browser.request('POST', path, form, same);
      await browser.get('/');
      const before = sent();
      assert.match(before, /^__Host-session=[\w-]+$/, SESSIONS);
      assert.equal((await post('/login', 'name=ada&password=secret')).status, 303, SESSIONS);
      assert.match(String((await browser.get('/dashboard')).body), /Hello, ada/, SESSIONS);
      assert.match(sent(), /^__Host-session=[\w-]+$/, `${SESSIONS}: one cookie, and no other`);
      assert.notEqual(sent(), before, SESSIONS);
      await post('/logout');
      assert.match(sent(), /^__Host-session=[\w-]+$/, `${SESSIONS}: with words of farewell`);
      assert.equal((await browser.request('GET', '/dashboard')).status, 303, SESSIONS);
      const old = { cookie: before.replace('__Host-', '') };
      const { body } = await new Browser(handle, origin).request('GET', '/', '', old);
      assert.equal(count(body), 1, `${SESSIONS}: a subdomain can set one without that prefix`);
    }
  });

  it('site() rotates secrets in production too', async () => {
    let { handle } = site(PRODUCTION);
    const browser = new Browser((request) => handle(request), 'https://example.org');
    const visit = async (): Promise<number> => count((await browser.get('/')).body);
    assert.equal(await visit(), 1);
    const secret = LONG.toUpperCase();
    ({ handle } = site({ ...PRODUCTION, SESSION_SECRET: `${secret},${LONG}` }));
    assert.equal(await visit(), 2, 'still verified by the old one');
    ({ handle } = site({ ...PRODUCTION, SESSION_SECRET: secret }));
    assert.equal(await visit(), 3, 'signed by the new one since');
  });

  it('site() answers 503 where Redis is down, and the rest of the site as ever', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const browser = new Browser(site({ SESSIONS: 'redis://127.0.0.1:1' }).handle);
    const page = await browser.request('GET', '/', '', HTML);
    assert.deepEqual([page.status, page.headers['retry-after']], [503, '1']);
    assert.match(String(page.body), /<h1>503 Service Unavailable<\/h1><p>We cannot get at/);
    assert.equal((await browser.get('/style.css')).status, 200);
    assert.equal((await browser.request('GET', '/nowhere', '', HTML)).status, 404, 'of a stranger');
    const known = { ...HTML, cookie: `session=${'A'.repeat(43)}` };
    assert.equal((await browser.request('GET', '/nowhere', '', known)).status, 503, 'in its frame');
    assert.equal((await browser.get('/nowhere')).status, 404);
    assert.equal((await browser.get('/api/counter')).status, 401);
    const lines = log.mock.calls.map(({ arguments: [line] }) => String(line));
    assert.ok(lines.some((line) => line.startsWith('503 GET /: ')), lines.join('\n'));
  });

  it('site() has the API, with keys made of the secret', async () => {
    const browser = new Browser(site().handle);
    const { status } = await browser.request('POST', '/api/token', '', {
      'sec-fetch-site': 'same-origin',
    });
    assert.equal(status, 403, 'to nobody who is not logged in');
    assert.equal((await browser.get('/api/counter')).status, 401);
  });

  it('site() sets cookies without Secure elsewhere, where there is only http', async () => {
    const { headers } = await new Browser(site().handle).get('/');
    assert.doesNotMatch(String(headers['set-cookie']), /Secure/);
  });

  it('site() rotates secrets by comma: the newest signs, all verify', async () => {
    let { handle } = site({ SESSION_SECRET: 'old' });
    const browser = new Browser((request) => handle(request));
    const visit = async (): Promise<number> => count((await browser.get('/')).body);
    assert.equal(await visit(), 1);
    ({ handle } = site({ SESSION_SECRET: ' new , old ' }));
    assert.equal(await visit(), 2, 'still verified by the old one');
    ({ handle } = site({ SESSION_SECRET: 'new' }));
    assert.equal(await visit(), 3, 'signed by the new one since');
    ({ handle } = site({ SESSION_SECRET: 'other' }));
    assert.equal(await visit(), 1);
  });

  it('site() takes a clock', async () => {
    const clock = { now: 1_700_000_000 };
    const browser = new Browser(site({}, () => clock.now).handle, ORIGIN, () => clock.now);
    await browser.get('/');
    clock.now += 1201;
    assert.equal(count((await browser.get('/')).body), 1, 'idle for longer than 20 minutes');
  });

  it('site() gives its clock to all that have need of one', async () => {
    const clock = { now: 1_700_000_000 };
    const some = new Map([['ada', await hashPassword('secret', 4)]]);
    const file = process.getBuiltinModule?.('node:sqlite' as 'node:fs') ? ['sqlite::memory:'] : [];
    for (const SESSIONS of ['signed', 'encrypted', 'memory', ...file]) {
      const now = (): number => clock.now;
      const browser = new Browser(site({ SESSIONS }, now, some).handle, ORIGIN, now);
      const login = async (password: string): Promise<number> => {
        const form = `name=ada&password=${password}`;
        const same = { 'sec-fetch-site': 'same-origin' };
        return (await browser.request('POST', '/login', form, same)).status;
      };
      for (let i = 0; i < 5; i++) assert.equal(await login('wrong'), 422, SESSIONS);
      assert.equal(await login('secret'), 429, SESSIONS);
      clock.now += 2;
      assert.equal(await login('secret'), 303, SESSIONS);
      const same = { 'sec-fetch-site': 'same-origin' };
      const { body } = await browser.request('POST', '/api/token', '', same);
      const authorization = `Bearer ${JSON.parse(String(body)).token}`;
      const ask = async (): Promise<number> =>
        (await browser.request('GET', '/api/counter', '', { authorization })).status;
      assert.equal(await ask(), 200, SESSIONS);
      clock.now += 1000;
      assert.equal(await ask(), 401, SESSIONS);
      assert.equal((await browser.get('/dashboard')).status, 200, SESSIONS);
      clock.now += 1201;
      assert.notEqual((await browser.request('GET', '/dashboard')).status, 200, SESSIONS);
    }
  });
});

describe('main: what the visitor has', () => {
  const SAME = { 'sec-fetch-site': 'same-origin' };
  const users = hashPassword('secret', 4).then((hash) => new Map([['ada', hash]]));

  /** A browser on the finished site that is logged in and has a teapot. */
  async function atHome(): Promise<Browser> {
    const browser = new Browser(site({}, undefined, await users).handle);
    await browser.request('POST', '/cart/add', 'item=pot', SAME);
    const { status } = await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    assert.equal(status, 303, 'POST /login with the right password');
    return browser;
  }

  it('site() shows on every page, and on refusals, who is logged in and the cart', async () => {
    const browser = await atHome();
    const pages = ['/', '/howdy', '/articles', '/cart', '/login', '/dashboard', '/inspect', '/none'];
    for (const path of pages) {
      const { headers, body } = await browser.request('GET', path, '', HTML);
      assert.match(String(body), /Logged in as <strong>ada<\/strong>/, path);
      assert.match(String(body), /Cart \(1\)<\/a>/, path);
      assert.match(String(body), /<form method="post" action="\/logout">/, path);
      assert.equal(headers['cache-control'], 'no-store', path);
    }
  });

  it('site() makes a page of the 403 for a forged form, and of the 422 for a wrong one', async () => {
    const browser = await atHome();
    const forged = { ...HTML, 'sec-fetch-site': 'cross-site' };
    const refused = await browser.request('POST', '/cart/empty', '', forged);
    assert.equal(refused.status, 403);
    assert.match(String(refused.body), /<h1>403 Forbidden<\/h1><p>[^<]+ Nothing was done\./);
    assert.match(String(refused.body), /Logged in as <strong>ada/);
    const wrong = await browser.request('POST', '/articles', 'title=', { ...HTML, ...SAME });
    assert.equal(wrong.status, 422);
    assert.match(String(wrong.body), /<nav .*<p class="flash error" role="alert">A title/s);
  });

  it('site() says where the session is full, and loses nothing of it', async () => {
    const browser = await atHome();
    const keep = (length: number) =>
      browser.request('POST', '/cart/note', `note=${encodeURIComponent('€'.repeat(length))}`, SAME);
    let length = 1000;
    while ((await keep(length)).status === 422) length -= 1; // till it fits, with no byte to spare
    const before = String((await browser.get('/cart')).body);
    const note = await keep(1500);
    assert.match(String(note.body), /There is no room for that\. Your cart is as it was before\./);
    assert.ok(String(note.body).includes('€'.repeat(1500)), 'what was typed is shown back');
    const full = await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    assert.equal(full.status, 422);
    assert.match(String(full.body), /<title>Full<\/title>/);
    assert.match(String(full.body), /<h1>There is no room for that<\/h1>/);
    assert.match(String(full.body), /Logged in as <strong>ada/);
    assert.equal(String((await browser.get('/cart')).body), before);
    await keep(10);
    const { body } = await browser.post('/cart/add', { item: 'tea', csrf_token: tokenOf(before) });
    assert.match(String(body), /Cart \(2\)/);
  });

  it('site() shows in the panel a message that comes and goes, the token and the cart', async () => {
    const browser = new Browser(site().handle);
    const panel = async (path: string): Promise<string> =>
      String((await browser.get(path)).body).replace(/^[^]*<details/, '').replaceAll('&quot;', '"');
    assert.match(await panel('/articles'), /Data, as it came<.*\n.*none<[^]*"_csrft_": "/);
    await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    assert.match(await panel('/'), /as it came<[^]*"_f_success": \[\s+"Article saved[^]*Data</);
    assert.doesNotMatch(await panel('/'), /_f_success/, 'shown, and so gone');
    await browser.request('POST', '/cart/add', 'item=pot', SAME);
    assert.match(await panel('/cart'), /"cart": \{\s+"items": \{\s+"pot": 1/);
  });

  it('site() shows a message on a refusal too, and there HEAD leaves it for GET', async () => {
    const browser = new Browser(site().handle);
    await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    const head = await browser.request('HEAD', '/none', '', HTML);
    assert.deepEqual([head.status, head.headers['set-cookie']], [404, undefined]);
    const shown = await browser.request('GET', '/none', '', HTML);
    assert.match(String(shown.body), /Article saved successfully!/);
    const next = await browser.request('GET', '/none', '', HTML);
    assert.doesNotMatch(String(next.body), /Article saved successfully!/, 'it was taken');
  });

  it('site() leads where there is something for this visitor, by its name', async () => {
    const linksOf = ({ body }: HttpResponse): string[] => {
      const [nav = ''] = /<nav[^]*<\/nav>/.exec(String(body)) ?? [];
      const links = nav.matchAll(/href="([^"]*)"[^>]*>([^<]*)/g);
      return [...links].map(([, path, name]) => `${name} ${path}`);
    };
    const first = ['Home /', 'Howdy /howdy', 'Articles /articles', 'Cart /cart'];
    const login = 'Login /login';
    const [sessions, inspector] = ['Sessions /sessions', 'Inspector /inspect'];
    const table: [env: Record<string, string>, links: string[]][] = [
      [{}, [...first, login, inspector]],
      [{ SESSIONS: 'memory' }, [...first, login, sessions, inspector]],
      [PRODUCTION, [...first, login]],
    ];
    for (const [env, links] of table) {
      assert.deepEqual(linksOf(await new Browser(site(env).handle).get('/')), links);
    }
    const home = await (await atHome()).get('/');
    const cart = first.with(3, 'Cart (1) /cart');
    assert.deepEqual(linksOf(home), [...cart, 'Dashboard /dashboard', inspector]);
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const alone = withSession(factory, withFrame(() => page('t', html`<main></main>`)));
    assert.deepEqual(linksOf(await new Browser(alone).get('/')), [...first, login]);
  });

  it('site() answers each page to HEAD without a cookie, and keeps the message for GET', async () => {
    const browser = new Browser(site().handle);
    await browser.request('POST', '/articles', 'title=a&body=b', SAME);
    for (const path of ['/', '/articles', '/cart', '/login']) {
      const { headers } = await browser.request('HEAD', path);
      assert.deepEqual([headers['set-cookie'] ?? []].flat(), [], path);
    }
    assert.match(String((await browser.get('/cart')).body), /Article saved successfully!/);
  });

  function tokenOf(body: string): string {
    return /name="csrf_token" value="(\w+)"/.exec(body)?.[1] ?? assert.fail('no token on the page');
  }
});

describe('main: as a process', () => {
  it('main.ts counts 1, 2, is stopped and started, and counts 3; another secret: 1', async (t) => {
    let cookie = '';
    /** Starts a server, opens each path, and stops it; gives the counts. */
    const run = async (secret: string, ...paths: string[]): Promise<number[]> => {
      const child = start({ SESSION_SECRET: secret });
      t.after(() => child.kill('SIGKILL'));
      const exit = once(child, 'exit');
      const origin = await originOf(child);
      const counts = [];
      for (const path of paths) {
        const response = await fetch(origin + path, { headers: { cookie, connection: 'close' } });
        const [line = ''] = response.headers.getSetCookie();
        cookie = `session=${parseSetCookie(line, 0)?.value}`;
        counts.push(count(await response.text()));
      }
      child.kill('SIGTERM');
      assert.deepEqual(await exit, [0, null], 'SIGTERM is a clean end');
      return counts;
    };
    assert.deepEqual(await run('one', '/', '/howdy'), [1, 2]);
    assert.deepEqual(await run('one', '/'), [3], 'after a restart');
    assert.deepEqual(await run('two', '/'), [1], 'what another secret signed is not ours');
  });

  it('main.ts does not start on the printed secret in production: one line, code 1', async () => {
    const child = start({ NODE_ENV: 'production', SESSION_SECRET: DEMO_SECRET });
    const [stderr, [code]] = await Promise.all([textOf(child.stderr), once(child, 'exit')]);
    assert.equal(code, 1);
    assert.match(stderr, /^Cannot start: in production .* npm run secret\n$/);
  });
});

describe('main: pages', () => {
  const PAGES = ['/', '/howdy', '/articles', '/cart', '/login', '/inspect', '/nowhere'];

  it('site() makes whole pages: language, title, one h1, navigation, a way past it', async () => {
    const { handle } = site();
    const browser = new Browser(handle);
    for (const path of PAGES) {
      const { body } = await browser.request('GET', path, '', HTML);
      const page = String(body);
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

  it('site() says nothing of a cart that is empty', async () => {
    assert.match(String((await new Browser(site().handle).get('/')).body), /<a href="\/cart">Cart<\/a>/);
  });

  it('site() marks in the navigation where the visitor is', async () => {
    const browser = new Browser(site().handle);
    for (const path of PAGES.slice(0, -1)) {
      const { body } = await browser.get(path);
      const marked = [...String(body).matchAll(/<a href="([^"]*)" aria-current="page">/g)];
      assert.deepEqual(marked.map(([, href]) => href), [path]);
    }
  });

  it('site() sends a policy that allows no script, and has no inline script or style', async () => {
    const browser = new Browser(site().handle);
    for (const path of PAGES) {
      const { body, headers } = await browser.request('GET', path, '', HTML);
      assert.match(String(headers['content-security-policy']), /default-src 'none'/, path);
      assert.equal(headers['x-content-type-options'], 'nosniff', path);
      assert.doesNotMatch(String(body), /<script|<style|\sstyle=|\son\w+=|javascript:/i, path);
    }
  });

  it('site() says on each answer, whatever it is, what a browser may do with it', async (t) => {
    const ANSWERS: [method: string, path: string, status: number][] = [
      ['GET', '/', 200], ['HEAD', '/', 200], ['GET', '/login', 200], ['GET', '/style.css', 200],
      ['GET', '/favicon.svg', 200], ['GET', '/dashboard', 303], ['POST', '/articles', 403],
      ['GET', '/nowhere', 404], ['DELETE', '/', 405], ['OPTIONS', '/', 204],
      ['GET', '/api/counter', 401], ['GET', '/%zz', 400], ['GET', `/${'a'.repeat(8_000)}`, 414],
    ];
    for (const env of [{}, PRODUCTION]) {
      const { handle, headers } = site(env);
      const server = makeServer(toListener(handle, headers)).listen(0, '127.0.0.1');
      t.after(() => (server.close(), server.closeAllConnections()));
      await once(server, 'listening');
      const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const isSecure = env === PRODUCTION;
      for (const [method, path, status] of ANSWERS) {
        for (const accept of ['text/html', '*/*']) {
          const asked = { method, headers: { accept }, redirect: 'manual' as const };
          const response = await fetch(origin + path, asked);
          await response.arrayBuffer();
          const where = `${method} ${path.slice(0, 20)} for ${accept}`;
          assert.equal(response.status, status, where);
          const header = (name: string): string | null => response.headers.get(name);
          const policy = header('content-security-policy') ?? '';
          assert.match(policy, /^default-src 'none'/, where);
          assert.match(policy, /; frame-ancestors 'none'$/, where);
          assert.doesNotMatch(policy, /unsafe/, where);
          const isPage = header('content-type')?.startsWith('text/html');
          assert.equal(policy.includes("style-src 'self'"), Boolean(isPage), where);
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

  it('site() lets the page of no other origin read an answer', async () => {
    const { handle, headers: common } = site();
    const origin = 'https://evil.example';
    const preflight = { origin, 'access-control-request-method': 'POST' };
    const browser = new Browser(handle);
    for (const path of ['/', '/login', '/style.css', '/api/counter', '/nowhere', '/cart/add']) {
      for (const [method, sent] of [['GET', { origin }], ['OPTIONS', preflight]] as const) {
        const { headers } = await browser.request(method, path, '', sent);
        const names = Object.keys({ ...common, ...headers });
        assert.deepEqual(names.filter((name) => name.startsWith('access-control-')), [], path);
      }
    }
  });

  it('site() does nothing by GET or HEAD that a form of it posts', async () => {
    const { handle } = site({ SESSIONS: 'memory' });
    const browser = new Browser(handle);
    const cart = ['/cart/add', '/cart/change', '/cart/remove', '/cart/empty', '/cart/note'];
    const others = ['/logout', '/sessions/end', '/sessions/end-others', '/api/token'];
    for (const path of [...cart, ...others]) {
      for (const method of ['GET', 'HEAD']) {
        const { status, headers } = await browser.request(method, `${path}?item=tea&key=a`);
        assert.deepEqual([status, headers.allow], [405, 'POST, OPTIONS'], `${method} ${path}`);
      }
    }
    const forms = ['/articles?title=a&body=b', '/login?name=editor&password=editor'];
    for (const path of forms) assert.equal((await browser.get(path)).status, 200, path);
    assert.doesNotMatch(String((await browser.get('/articles')).body), /<article>|Logged in/);
  });

  it('site() serves no file that is a script', () => {
    const names = readdirSync(join(ROOT, 'public'), { recursive: true }).map(String);
    assert.ok(names.includes('style.css'), names.join());
    assert.deepEqual(names.filter((name) => /\.(m?js|html?|wasm|swf|xht(ml)?)$/i.test(name)), []);
    const svgs = names.filter((name) => name.endsWith('.svg'));
    for (const name of svgs) {
      const markup = readFileSync(join(ROOT, 'public', name), 'utf8');
      assert.doesNotMatch(markup, /<script|\son\w+=|javascript:/i, name);
    }
  });

  it('site() sets one cookie and no other, and never twice in an answer', async () => {
    const some = new Map([['ada', await hashPassword('secret', 4)]]);
    const same = { 'sec-fetch-site': 'same-origin' };
    const STEPS: [method: string, path: string, body?: string][] = [
      ['GET', '/'], ['POST', '/articles', 'title=a&body=b'], ['POST', '/cart/add', 'item=pot'],
      ['POST', '/login', 'name=ada&password=secret'], ['GET', '/dashboard'], ['POST', '/inspect'],
      ['GET', '/'], ['POST', '/login', 'name=ada&password=secret'], ['POST', '/logout'],
      ['GET', '/'],
    ];
    for (const SESSIONS of ['signed', 'encrypted', 'memory']) {
      const browser = new Browser(site({ SESSIONS }, undefined, some).handle);
      let count = 0;
      for (const [method, path, body = ''] of STEPS) {
        const { headers } = await browser.request(method, path, body, same);
        const lines = [headers['set-cookie'] ?? []].flat();
        assert.ok(lines.length <= 1, `${SESSIONS}, ${method} ${path}: ${lines.join(' | ')}`);
        for (const line of lines) assert.match(line, /^session=/, `${SESSIONS}, ${method} ${path}`);
        count += lines.length;
      }
      assert.ok(count >= 4, `${SESSIONS}: ${count} cookies`);
    }
  });

  it('site() frames a refusal for a browser, with its status and its headers', async () => {
    const browser = new Browser(site().handle);
    const refused = await browser.request('DELETE', '/', '', HTML);
    assert.equal(refused.status, 405);
    assert.equal(refused.headers.allow, 'GET, HEAD, OPTIONS');
    assert.equal(refused.headers['content-type'], 'text/html; charset=utf-8');
    assert.match(String(refused.body), /<h1>405 Method Not Allowed<\/h1><p>\/ takes GET/);
    const missing = await browser.request('GET', '/<b>&', '', HTML);
    assert.equal(missing.status, 404);
    assert.match(String(missing.body), /<title>404 Not Found<\/title>/);
    assert.doesNotMatch(String(missing.body), /<b>/);
  });

  it('site() answers a program that asks for no page in plain words', async () => {
    const { body, headers, status } = await new Browser(site().handle).get('/nowhere');
    assert.equal(status, 404);
    assert.equal(headers['content-type'], 'text/plain; charset=utf-8');
    assert.match(String(body), /^404 Not Found\n\nThere is no page at \/nowhere\./);
  });

  it('withErrorPages() keeps the headers of a refusal, and escapes its words', async () => {
    const refusal = { ...problem(429, 'Wait, <b>please</b>.'), headers: { 'retry-after': '60' } };
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const browser = new Browser(withErrorPages((p) => withSession(factory, p), () => refusal));
    const { status, headers, body } = await browser.request('GET', '/', '', HTML);
    assert.equal(status, 429);
    assert.equal(headers['retry-after'], '60');
    assert.match(String(body), /<p>Wait, &lt;b&gt;please&lt;\/b&gt;\./);
  });

  it('withErrorPages() makes a page of a refusal, and of nothing else', async () => {
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const ask = (response: HttpResponse, accept = HTML.accept) =>
      new Browser(withErrorPages((p) => withSession(factory, p), () => response))
        .request('GET', '/', '', { accept });
    for (const status of [200, 204, 303, 399]) {
      const response = { ...problem(status, 'x'), status };
      assert.equal(await ask(response), response, `${status}`);
    }
    for (const status of [400, 404, 500]) {
      const response = problem(status, 'x');
      assert.match(String((await ask(response)).body), /^<!doctype html>/, `${status}`);
      assert.equal(await ask(response, '*/*'), response, `${status} for a program`);
    }
    const { body } = await ask({ ...problem(404, ''), body: 'no more words' });
    assert.match(String(body), /<h1>no more words<\/h1><p><\/p>/);
  });

  it('withErrorPages() shows a failure without a session, which may be what failed', async () => {
    const mount = (): never => assert.fail('the session was asked for');
    for (const status of [500, 503]) {
      const handler = withErrorPages(mount, () => problem(status, 'Later.'));
      const response = await new Browser(handler).request('GET', '/', '', HTML);
      assert.equal(response.status, status);
      assert.match(String(response.body), /<p>Later\./);
    }
  });

  it('withFrame() leaves alone what is no page', async () => {
    const browser = new Browser(site().handle);
    const { body, headers } = await browser.get('/style.css');
    assert.match(String(headers['content-type']), /^text\/css/);
    assert.doesNotMatch(String(body), /<header>/);
    const plain = { status: 200, headers: {}, body: 'a <body> of text' };
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const handler = withSession(factory, withFrame(() => plain));
    const framed = await new Browser(handler).get('/');
    assert.equal(framed.body, plain.body);
    const bytes = { ...plain, body: Buffer.from('<!doctype html><body>') };
    const picture = await new Browser(withSession(factory, withFrame(() => bytes))).get('/');
    assert.equal(picture.body, bytes.body);
  });

  it('site() gives HEAD the headers of GET and no cookie', async () => {
    const now = (): number => 1_700_000_000; // the time is in the cookie, and so on the page
    const browser = new Browser(site({}, now).handle, ORIGIN, now);
    for (const path of ['/', '/howdy', '/style.css']) {
      const head = await browser.request('HEAD', path);
      const get = await browser.request('GET', path);
      assert.equal(head.status, get.status);
      const length = path.endsWith('.css') ? get.body?.length : undefined; // a panel is unmeasured
      assert.equal(head.body?.length, length, `Content-Length of ${path}`);
      assert.deepEqual([head.headers['set-cookie'] ?? []].flat(), [], 'nothing is saved');
    }
    assert.equal(count((await browser.get('/')).body), 3, 'two visits before this one');
  });
});
