import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, type TestContext } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { cookieOf, logIn, makeUsers, send, visitWith } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import { makeFile, sqlite } from '../.tools/sqlite.ts';
import { SpyStore } from '../.tools/stored.ts';
import { type Handler, text } from '../src/04-http.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { Browser } from '../src/16-browser.ts';
import { type SiteData, UserSession } from '../src/22-login.ts';
import { makeUserSite } from '../src/23-throttle.ts';
import { EncryptedCookieSessionFactory } from '../src/24-encryption.ts';
import { hashId, MemoryStore, type SessionStore, StoreUnavailable } from '../src/25-store.ts';
import { SqliteStore } from '../src/27-sqlite.ts';
import { makeDeviceSite } from '../src/28-devices.ts';
import { jwtRules, signJwt, verifyJwt } from '../src/29-jwt.ts';
import { addApi, site, withCors } from '../src/30-api.ts';

const it = explainedIt(import.meta.url);
const APP = 'https://app.example.org';
const INVALID = 'Bearer realm="api", error="invalid_token"';
const SESSIONS = { secrets: ['a secret'], sessionClass: UserSession<SiteData> };

const users = await makeUsers('ada', 'bob');

/** Returns a token, which the site gives to a browser with a login. */
async function tokenOf(browser: Browser): Promise<string> {
  return (JSON.parse(bodyText(await send(browser, '/api/token'))) as { token: string }).token;
}

/** A program: it has no cookies, and it sends this header with each request. */
function program(handle: Handler, authorization?: string) {
  const browser = new Browser(handle);
  const headers = authorization === undefined ? {} : { authorization };
  return (method: string, path: string) => browser.request(method, path, '', headers);
}

/** The site of this step, a browser in which ada is logged in, and a program with her token. */
async function visit(members = users) {
  const handle = site(members, [APP]);
  const browser = await logIn(handle, 'ada');
  const token = await tokenOf(browser);
  return { handle, browser, token, ask: program(handle, `Bearer ${token}`) };
}

/** A server whose deny-list is in this store. */
function apiOver(denied: SessionStore): Handler {
  const { router, pages, handle } = makeDeviceSite(new MemoryStore(), { users });
  addApi(router, pages, jwtRules(['a secret']), denied, users);
  return handle;
}

describe('30-api: scripts of other origins', () => {
  const ask = (path: string, origin?: string) => {
    const handle = withCors([APP], ({ path }) => text(path, 200, { vary: 'Cookie' }));
    return new Browser(handle).request('GET', path, '', origin === undefined ? {} : { origin });
  };

  it('withCors() allows an origin of its list to read the API with a token', async () => {
    const { headers } = await ask('/api/counter', APP);
    assert.equal(headers['access-control-allow-origin'], APP);
    assert.equal(headers['access-control-allow-headers'], 'authorization');
    assert.equal(headers.vary, 'Cookie, Origin');
  });

  it('withCors() never allows a cookie, another origin or another page', async () => {
    const allowed = await ask('/api/counter', APP);
    assert.equal(allowed.headers['access-control-allow-credentials'], undefined);
    const origins = [undefined, '', 'null', '*', 'https://evil.example', `${APP}.evil.example`,
      `${APP}:444`, APP.replace('https', 'http'), APP.toUpperCase(), `${APP}/`];
    for (const origin of origins) {
      const { headers } = await ask('/api/counter', origin);
      assert.equal(headers['access-control-allow-origin'], undefined, origin);
      assert.match(String(headers.vary), /Origin/, 'a cache must not mix up two origins');
    }
    for (const path of ['/', '/sessions', '/apix', '/login?next=/api/']) {
      const { headers } = await ask(path, APP);
      assert.equal(headers['access-control-allow-origin'], undefined, path);
    }
  });

  it('site() responds to the question that a browser sends before the request', async () => {
    const { handle: whole } = await visit();
    const preflight = {
      origin: APP,
      'access-control-request-method': 'GET',
      'access-control-request-headers': 'authorization',
    };
    const response = await new Browser(whole).request('OPTIONS', '/api/counter', '', preflight);
    assert.equal(response.status, 204);
    assert.equal(response.headers['access-control-allow-origin'], APP);
    assert.equal(response.headers['access-control-allow-headers'], 'authorization');
    const { headers } = await new Browser(whole).request('GET', '/api/counter', '', { origin: APP });
    assert.equal(headers['access-control-allow-origin'], APP, 'the script can read the 401');
  });
});

describe('30-api: the routes', () => {
  it('addApi() counts for each user who sends a token', async () => {
    const { ask, handle } = await visit();
    assert.equal(bodyText(await ask('GET', '/api/counter')), '{"sub":"ada","count":1}\n');
    assert.equal(bodyText(await ask('GET', '/api/counter')), '{"sub":"ada","count":2}\n');
    const bob = program(handle, `Bearer ${await tokenOf(await logIn(handle, 'bob'))}`);
    const response = await bob('GET', '/api/counter');
    assert.equal(bodyText(response), '{"sub":"bob","count":1}\n');
    assert.equal(response.headers['content-type'], 'application/json');
    assert.equal(response.headers['cache-control'], 'no-store');
  });

  it('addApi() asks for a token, without an error code, if there is none (RFC 6750 §3.1)', async () => {
    const { handle, token, browser } = await visit();
    const values = [undefined, '', 'Bearer', 'Bearer ', `Basic ${token}`, token, `Basic, Bearer ${token}`];
    for (const value of values) {
      const { status, headers, body } = await program(handle, value)('GET', '/api/counter');
      assert.deepEqual([status, headers['www-authenticate']], [401, 'Bearer realm="api"'], value);
      assert.match(bodyText({ status, headers, body }), /Send a valid token: Authorization: Bearer …/);
    }
    assert.equal((await browser.request('GET', '/api/counter')).status, 401, 'a cookie is not a token');
  });

  it('addApi() names the error if the token is invalid', async () => {
    const { handle, token } = await visit();
    const claims = { ...verifyJwt(token, jwtRules(['itsaseekreet'])) };
    const key = jwtRules(['another secret']).keys[0] as KeyObject;
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    const unsigned = `${none}.${token.split('.')[1]}.`;
    for (const bad of [`${token}x`, 'x=.y.z', `${token}=`, '{}', signJwt(claims, key), unsigned]) {
      const response = await program(handle, `Bearer ${bad}`)('GET', '/api/counter');
      assert.deepEqual([response.status, response.headers['www-authenticate']], [401, INVALID], bad);
    }
  });

  it('addApi() rejects the token of a user who was removed', async () => {
    const members = new Map(users);
    const { ask } = await visit(members);
    assert.equal((await ask('GET', '/api/counter')).status, 200);
    members.delete('ada');
    const { status, headers } = await ask('GET', '/api/counter');
    assert.deepEqual([status, headers['www-authenticate']], [401, INVALID], 'the signature is right');
  });

  it('addApi() revokes one token at /api/logout', async () => {
    const { ask, handle, browser } = await visit();
    const other = program(handle, `Bearer ${await tokenOf(browser)}`);
    const response = await ask('POST', '/api/logout');
    assert.deepEqual([response.status, response.body], [204, '']);
    for (const path of ['/api/counter', '/api/logout']) {
      const { status, headers } = await ask(path === '/api/logout' ? 'POST' : 'GET', path);
      assert.deepEqual([status, headers['www-authenticate']], [401, INVALID], path);
    }
    assert.equal((await other('GET', '/api/counter')).status, 200, 'another token of ada');
  });

  it('addApi() keeps a revoked token in the store, for every server, until it has expired', async (t) => {
    t.mock.method(console, 'error', () => {});
    const denied = new SpyStore(new MemoryStore());
    const [handle, second] = [apiOver(denied), apiOver(denied)];
    const token = await tokenOf(await logIn(handle, 'ada'));
    const other = program(second, `Bearer ${token}`);
    assert.equal((await other('GET', '/api/counter')).status, 200, 'the other server');
    assert.equal((await program(handle, `Bearer ${token}`)('POST', '/api/logout')).status, 204);
    assert.equal((await other('GET', '/api/counter')).status, 401, 'revoked on the other server too');
    const [, payload = ''] = token.split('.');
    const { jti, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString());
    const entry = await denied.get(hashId(`revoked ${jti}`));
    assert.equal(entry?.expires, exp + 60, 'longer than the leeway of step 29');
    denied.before = () => {
      throw new StoreUnavailable('down');
    };
    assert.equal((await other('GET', '/api/counter')).status, 503, 'without the store, no token is valid');
  });
});

describe('30-api: what logout means', () => {
  type Kind = { handle(t: TestContext): Handler; readonly attack: Attack };
  type Attack = (handle: Handler) => Promise<number>;

  /** Logs in, copies the cookie, logs out, and sends the copy. Returns the status. */
  const replayCookie: Attack = async (handle) => {
    const browser = await logIn(handle, 'ada');
    const copy = cookieOf(browser);
    assert.equal(await visitWith(handle, copy, '/dashboard'), 200, 'before the logout');
    assert.equal((await send(browser, '/logout')).status, 303);
    assert.notEqual((await browser.request('GET', '/dashboard')).status, 200, 'the browser itself');
    return visitWith(handle, copy, '/dashboard');
  };

  /** The same with a token. With a deny-list, the program logs out of the API too. */
  const replayToken = (hasDenyList: boolean): Attack => async (handle) => {
    const browser = await logIn(handle, 'ada');
    const ask = program(handle, `Bearer ${await tokenOf(browser)}`);
    assert.equal((await ask('GET', '/api/counter')).status, 200, 'before the logout');
    assert.equal((await send(browser, '/logout')).status, 303);
    if (hasDenyList) assert.equal((await ask('POST', '/api/logout')).status, 204);
    return (await ask('GET', '/api/counter')).status;
  };

  const inStore = (store: SessionStore): Handler =>
    makeDeviceSite(store, { users }).handle;
  const api = (): Handler => site(users);
  const KINDS: Record<string, Kind> = {
    'signed cookie': {
      handle: () =>
        makeUserSite({ factory: new SignedCookieSessionFactory(SESSIONS), users }).handle,
      attack: replayCookie,
    },
    'encrypted cookie': {
      handle: () =>
        makeUserSite({ factory: new EncryptedCookieSessionFactory(SESSIONS), users }).handle,
      attack: replayCookie,
    },
    'session in memory': { handle: () => inStore(new MemoryStore()), attack: replayCookie },
    'session in SQLite': {
      handle(t) {
        const store = new SqliteStore(makeFile(t));
        t.after(() => store.close());
        return inStore(store);
      },
      attack: replayCookie,
    },
    token: { handle: api, attack: replayToken(false) },
    'token with a deny-list and its own logout': { handle: api, attack: replayToken(true) },
  };

  /** The copy of each kind, after the logout. */
  const TRUTH: [kind: string, result: string][] = [
    ['signed cookie', 'accepted'],
    ['encrypted cookie', 'accepted'],
    ['session in memory', 'rejected'],
    ['session in SQLite', 'rejected'],
    ['token', 'accepted'],
    ['token with a deny-list and its own logout', 'rejected'],
  ];

  for (const [kind, expected] of TRUTH) {
    if (kind === 'session in SQLite' && !sqlite) continue; // this Node has no SQLite
    it(`addApi() truth table: after logout, the copy of the ${kind} is ${expected}`, async (t) => {
      const { handle, attack } = KINDS[kind] as Kind;
      const status = await attack(handle(t));
      assert.equal(status === 200 ? 'accepted' : 'rejected', expected, `status ${status}`);
    });
  }

  it('addApi() truth table: LESSON.md says the same about each copy', () => {
    const lesson = readFileSync(new URL('../LESSON.md', import.meta.url), 'utf8');
    const [, step = ''] = /^## Step 30 ·([^]*?)^## /m.exec(lesson) ?? [];
    const rows = [...step.matchAll(/^\| ([\w -]+) \| (accepted|rejected)\b.*\|$/gm)];
    assert.deepEqual(rows.map(([, kind, result]) => [kind, result]), TRUTH);
  });
});
