import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { inspect } from 'node:util';
import { explainedIt } from '../.tools/explain.ts';
import type { Handler } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { Browser } from '../src/08-browser.ts';
import { SignedCookieSessionFactory, withSession } from '../src/11-session-factory.ts';
import type { Mount } from '../src/11-session-factory.ts';
import { hashPassword, site as loginSite } from '../src/16-login.ts';
import type { SiteData } from '../src/16-login.ts';
import { deriveKey, EncryptedCookieSessionFactory } from '../src/17-encryption.ts';
import { site as encryptedSite } from '../src/17-encryption.ts';
import { MemoryStore, site as storedSite } from '../src/18-store.ts';
import { addApi, apiRules, DenyList, hs256, signJwt, site, verifyJwt } from '../src/21-jwt.ts';
import type { Claims, JwtRules } from '../src/21-jwt.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000;
const SAME = { 'sec-fetch-site': 'same-origin' };
const KEY = Buffer.alloc(32, 'k');
const RULES: JwtRules = { keys: [KEY], iss: 'us', aud: 'api', now: () => NOW };
const GOOD: Claims = { iss: 'us', sub: 'ada', aud: 'api', iat: NOW, exp: NOW + 900, jti: '1' };

const users = hashPassword('secret', 4).then((hash) => new Map([['ada', hash]]));
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('21-jwt: HS256', () => {
  /** RFC 7515, appendix A.1. */
  const A1 = {
    key: Buffer.from(
      'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
      'base64url',
    ),
    signed:
      'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9' +
      '.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ',
    signature: 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk',
  };

  it('hs256() signs the token of RFC 7515 A.1, and verifyJwt() reads it', () => {
    assert.equal(hs256(A1.signed, A1.key).toString('base64url'), A1.signature);
    const rules = { keys: [A1.key], iss: 'joe', aud: undefined, now: () => 1_300_819_379 };
    assert.deepEqual(verifyJwt(`${A1.signed}.${A1.signature}`, rules), {
      iss: 'joe',
      exp: 1_300_819_380,
      'http://example.com/is_root': true,
    });
  });

  it('signJwt() makes three parts, and verifyJwt() gives back the claims', () => {
    const token = signJwt(GOOD, KEY);
    const [header, claims] = token.split('.').map((part) => Buffer.from(part, 'base64url').toString());
    assert.equal(header, '{"alg":"HS256","typ":"JWT"}');
    assert.deepEqual(JSON.parse(claims ?? ''), GOOD);
    assert.deepEqual(verifyJwt(token, RULES), GOOD);
  });

  it('signJwt() and verifyJwt() want a key of 32 bytes: RFC 7518 §3.2', () => {
    const short = KEY.subarray(1);
    assert.throws(() => signJwt(GOOD, short), /^RangeError: Cannot use a key of 31 bytes: it needs 32/);
    assert.throws(() => verifyJwt(signJwt(GOOD, KEY), { ...RULES, keys: [short] }), RangeError);
  });

  it('signJwt() writes UTF-8, and verifyJwt() takes no other Unicode', () => {
    const claims = { ...GOOD, sub: 'Zoë 😀' };
    const [header = '', payload = ''] = signJwt(claims, KEY).split('.');
    const bytes = Buffer.from(payload, 'base64url');
    assert.ok(bytes.includes(Buffer.from([0x5a, 0x6f, 0xc3, 0xab, 0x20, 0xf0, 0x9f, 0x98, 0x80])));
    assert.deepEqual(verifyJwt(signJwt(claims, KEY), RULES), claims);
    const utf16 = Buffer.from(JSON.stringify(GOOD), 'utf16le');
    for (const other of [utf16, Buffer.concat([Buffer.of(0xff, 0xfe), utf16])]) {
      const signed = `${header}.${other.toString('base64url')}`;
      const token = `${signed}.${hs256(signed, KEY).toString('base64url')}`;
      assert.equal(verifyJwt(token, RULES), undefined, 'UTF-16');
    }
  });

  it('verifyJwt() takes what an older key signed, and not what another did', () => {
    const old = Buffer.alloc(32, 'o');
    const rules = { ...RULES, keys: [KEY, old] };
    assert.deepEqual(verifyJwt(signJwt(GOOD, old), rules), GOOD);
    assert.equal(verifyJwt(signJwt(GOOD, Buffer.alloc(32, 'x')), rules), undefined);
  });
});

describe('21-jwt: attacks', () => {
  it('verifyJwt() lets no header choose the algorithm', () => {
    const signature = signJwt(GOOD, KEY).split('.')[2];
    for (const alg of ['none', 'None', 'NONE', 'nOnE', '', 'HS384', 'HS512', 'RS256', 'ES256', null]) {
      const header = JSON.stringify({ alg, typ: 'JWT' });
      const bare = `${encode({ alg, typ: 'JWT' })}.${encode(GOOD)}`;
      for (const token of [`${bare}.`, bare, `${bare}.${signature}`, signJwt(GOOD, KEY, header)]) {
        assert.equal(verifyJwt(token, RULES), undefined, `taken, with "alg": "${alg}": ${token}`);
      }
    }
  });

  it('verifyJwt() takes no token of another kind: RFC 8725 §3.11', () => {
    const ours = ['"typ":"JWT"', '"typ":"jwt"', '"typ":"Jwt"', '"cty":"x"'];
    const others = [
      'at+jwt', 'dpop+jwt', 'secevent+jwt', 'JWS', 'JOSE', 'JWT ', ' JWT', '"JWT"', 'xJWT', 'JWTx',
      '', 'JWT\nJWT', null, true, 0, ['JWT'], [['JWT']], { JWT: 'JWT' }, {},
      'a"JWT',
    ].map((typ) => `"typ":${JSON.stringify(typ)}`);
    for (const member of [...ours, ...others]) {
      const token = signJwt(GOOD, KEY, `{"alg":"HS256",${member}}`);
      const expected = ours.includes(member) ? GOOD : undefined;
      assert.deepEqual(verifyJwt(token, RULES), expected, member);
    }
    assert.deepEqual(verifyJwt(signJwt(GOOD, KEY, '{"alg":"HS256"}'), RULES), GOOD, 'with none');
  });

  it('verifyJwt() takes no header that asks for more, and none that is no object', () => {
    const headers = ['{"alg":"HS256","crit":["b64"],"b64":false}', '"HS256"', '[]', 'null', '', '{'];
    for (const header of headers) {
      assert.equal(verifyJwt(signJwt(GOOD, KEY, header), RULES), undefined, header);
    }
    const odd = '{"alg":"HS256","jku":"https://evil.example","kid":"../../dev/null","jwk":{}}';
    assert.deepEqual(verifyJwt(signJwt(GOOD, KEY, odd), RULES), GOOD, 'what it does not ask for');
  });

  it('verifyJwt() refuses each token with one bit flipped', () => {
    const token = signJwt(GOOD, KEY);
    for (let at = 0; at < token.length; at++) {
      for (const bit of [1, 2, 4, 32]) {
        const letter = String.fromCharCode(token.charCodeAt(at) ^ bit);
        const changed = token.slice(0, at) + letter + token.slice(at + 1);
        assert.equal(verifyJwt(changed, RULES), undefined, `${at}: ${changed}`);
      }
    }
  });

  it('verifyJwt() refuses junk, other spellings and other forms, and never throws', () => {
    const token = signJwt(GOOD, KEY);
    const [header, claims, signature] = token.split('.');
    const odd = [
      '', '.', '..', '...', token.slice(0, -1), `${token}=`, `${token}.`, ` ${token}`, `${token}\n`,
      `${header}.${claims}`, `${header}..${signature}`, `${token}.${token}`, token.replace('.', '..'),
      'x'.repeat(100_000), '.'.repeat(100_000), '{"alg":"none"}..', `${header}.${claims}.é`, '__proto__',
    ];
    for (const text of odd) assert.equal(verifyJwt(text, RULES), undefined, text.slice(0, 60));
    const padded = (pad: number) => signJwt({ ...GOOD, pad: 'x'.repeat(pad) }, KEY);
    let most = 2900;
    while (padded(most + 1).length <= 4096) most += 1;
    assert.deepEqual([padded(most).length, padded(most + 1).length], [4096, 4097]);
    assert.ok(verifyJwt(padded(most), RULES), '4096 characters');
    assert.equal(verifyJwt(padded(most + 1), RULES), undefined, 'one more');
  });

  it('verifyJwt() checks every claim that decides: exp, nbf, iat, iss, aud', () => {
    const ROWS: [claims: object, isGood: boolean][] = [
      [{}, true],
      [{ exp: NOW - 4 }, true], // within five seconds of leeway
      [{ exp: NOW - 5 }, false],
      [{ exp: undefined }, false], // a token without an end
      [{ exp: `${NOW + 900}` }, false],
      [{ exp: null }, false],
      [{ exp: 1e999 }, false],
      [{ nbf: NOW + 5 }, true],
      [{ nbf: NOW + 6 }, false],
      [{ nbf: 'soon' }, false],
      [{ iat: NOW + 6 }, false],
      [{ iat: {} }, false],
      [{ iss: 'them' }, false],
      [{ iss: undefined }, false],
      [{ iss: ['us'] }, false],
      [{ aud: ['web', 'api'] }, true],
      [{ aud: 'web' }, false],
      [{ aud: [] }, false],
      [{ aud: undefined }, false],
      [{ aud: 'api2' }, false],
      [{ aud: [['api']] }, false],
    ];
    for (const [claims, isGood] of ROWS) {
      const token = signJwt({ ...GOOD, ...claims }, KEY);
      const outcome = verifyJwt(token, RULES) ? 'taken' : 'refused';
      assert.equal(outcome, isGood ? 'taken' : 'refused', `a token with ${inspect(claims)}`);
    }
    const strict = { ...RULES, leeway: 0 };
    assert.equal(verifyJwt(signJwt({ ...GOOD, exp: NOW }, KEY), strict), undefined);
    for (const claims of ['[]', '"a"', '1', 'null', '{']) {
      const signed = `${encode({ alg: 'HS256' })}.${Buffer.from(claims).toString('base64url')}`;
      const token = `${signed}.${hs256(signed, KEY).toString('base64url')}`;
      assert.equal(verifyJwt(token, RULES), undefined, claims);
    }
  });

  it('verifyJwt() asks whether a token was taken back by its number, if that is text', () => {
    const asked: unknown[] = [];
    const rules = { ...RULES, isDenied: (jti: string) => (asked.push(jti), true) };
    for (const jti of ['1', undefined, 7]) {
      const isTaken = verifyJwt(signJwt({ ...GOOD, jti } as Claims, KEY), rules) !== undefined;
      assert.equal(isTaken, jti !== '1', `${jti}`);
    }
    assert.deepEqual(asked, ['1']);
  });

  it('DenyList takes a token back, and forgets it when the token has ended anyway', () => {
    const clock = { now: NOW };
    const list = new DenyList(() => clock.now);
    const rules = { ...RULES, now: () => clock.now, isDenied: (jti: string) => list.has(jti) };
    const token = signJwt(GOOD, KEY);
    assert.ok(verifyJwt(token, rules));
    list.add(GOOD);
    assert.equal(verifyJwt(token, rules), undefined);
    assert.ok(verifyJwt(signJwt({ ...GOOD, jti: '2' }, KEY), rules), 'another token');
    clock.now = NOW + 900 + 4;
    list.add({ jti: '2', exp: clock.now + 900 });
    assert.equal(list.has('1'), true, 'within the leeway it would be taken');
    clock.now = NOW + 900 + 60;
    list.add({ jti: '3', exp: clock.now });
    assert.equal(list.has('1'), false, 'swept in the second in which no leeway takes it any more');
    assert.equal(verifyJwt(token, rules), undefined, 'and ended');
  });
});

describe('21-jwt: the API', () => {
  /** Somebody logged in at the site of this step, and a token of theirs. */
  async function visit() {
    const { handle } = site(await users);
    const browser = new Browser(handle, ORIGIN);
    await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    const { body } = await browser.request('POST', '/api/token', '', SAME);
    const { token } = JSON.parse(String(body)) as { token: string };
    const api = new Browser(handle, ORIGIN); // a program: no cookies
    const ask = (method: string, path: string, authorization = `Bearer ${token}`) =>
      api.request(method, path, '', { authorization });
    return { browser, ask, handle, token };
  }

  it('addApi() gives a token to who is logged in, and counts for who brings it', async () => {
    const { ask } = await visit();
    const first = await ask('GET', '/api/counter');
    assert.equal(first.headers['content-type'], 'application/json');
    assert.equal(first.headers['cache-control'], 'no-store');
    assert.deepEqual(JSON.parse(String(first.body)), { sub: 'ada', count: 1 });
    assert.deepEqual(JSON.parse(String((await ask('GET', '/api/counter')).body)).count, 2);
    assert.equal((await ask('GET', '/api/counter', 'bearer x')).status, 401);
  });

  it('addApi() refuses in words who has no token, or a bad one: RFC 6750', async () => {
    const { ask, token, browser } = await visit();
    const almost = [`Basic, Bearer ${token}`, `Bearer ${token} more`, token];
    for (const sent of ['', 'Bearer', `Basic ${token}`, `Bearer ${token}x`, ...almost]) {
      const { status, headers, body } = await ask('GET', '/api/counter', sent);
      assert.deepEqual([status, headers['www-authenticate']], [401, 'Bearer'], sent.slice(0, 20));
      assert.match(String(body), /^401 Unauthorized\n\nSend a token that is good/);
    }
    assert.equal((await browser.request('GET', '/api/counter')).status, 401, 'a cookie is no token');
  });

  it('addApi() takes the word Bearer in any case of letters: RFC 9110 §11.1', async () => {
    const { ask, token } = await visit();
    for (const word of ['Bearer', 'bearer', 'BEARER', 'Bearer  ']) { // and any blanks behind it
      assert.equal((await ask('GET', '/api/counter', `${word} ${token}`)).status, 200, word);
    }
  });

  it('addApi() gives no token to a stranger, nor to another site', async () => {
    const { handle, browser } = await visit();
    const stranger = await new Browser(handle).request('POST', '/api/token', '', SAME);
    assert.equal(stranger.status, 403);
    assert.match(String(stranger.body), /Log in first, at \/login\./);
    const cross = { 'sec-fetch-site': 'cross-site' };
    assert.equal((await browser.request('POST', '/api/token', '', cross)).status, 403);
  });

  it('addApi() gives no token to a user who is none any more', async () => {
    const some = new Map(await users);
    const browser = new Browser(site(some).handle, ORIGIN);
    await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    assert.equal((await browser.request('POST', '/api/token', '', SAME)).status, 200);
    some.delete('ada');
    assert.equal((await browser.request('POST', '/api/token', '', SAME)).status, 403);
  });

  it('addApi() takes no token of a user who is none any more', async () => {
    const some = new Map(await users);
    const { handle } = site(some);
    const browser = new Browser(handle, ORIGIN);
    await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    const { body } = await browser.request('POST', '/api/token', '', SAME);
    const authorization = `Bearer ${JSON.parse(String(body)).token}`;
    const ask = async (): Promise<number> =>
      (await browser.request('GET', '/api/counter', '', { authorization })).status;
    assert.equal(await ask(), 200);
    some.delete('ada');
    assert.equal(await ask(), 401, 'it is well signed, and in time');
  });

  it('addApi() says in its token from whom, about whom, for whom and until when', async () => {
    const { token } = await visit();
    const [header, claims = ''] = token.split('.');
    assert.equal(header, encode({ alg: 'HS256', typ: 'JWT' }));
    const { iat, exp, jti, ...rest } = JSON.parse(Buffer.from(claims, 'base64url').toString());
    assert.deepEqual(rest, { iss: 'sessions-from-scratch', sub: 'ada', aud: 'api' });
    assert.equal(exp - iat, 900, 'a quarter of an hour');
    assert.match(jti, /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
  });

  it('addApi() answers in JSON and in nothing that runs, whatever callback is sent', async () => {
    const { ask } = await visit();
    for (const query of ['callback=f', 'jsonp=f', 'cb=alert(1)//']) {
      const { headers, body } = await ask('GET', `/api/counter?${query}`);
      assert.equal(headers['content-type'], 'application/json', query);
      assert.equal(JSON.parse(String(body)).sub, 'ada', query);
    }
  });

  it('addApi() takes a token back at /api/logout', async () => {
    const { ask } = await visit();
    assert.deepEqual(await ask('POST', '/api/logout'), { status: 204, headers: {}, body: '' });
    assert.equal((await ask('GET', '/api/counter')).status, 401);
  });

  it('apiRules() makes keys that are good for nothing else', () => {
    const [one, two] = [apiRules(['a', 'b']), apiRules(['a'])];
    assert.deepEqual(one.keys.map((key) => key.length), [32, 32]);
    assert.deepEqual(one.keys[0], two.keys[0]);
    assert.notDeepEqual(one.keys[0], Buffer.from('a'));
    assert.deepEqual(one.keys[1], deriveKey('b', 'sessions-from-scratch jwt 1').export());
  });

  it('apiRules() names this site and its API, and has the clock that it was given', () => {
    const { keys: _, ...rules } = apiRules(['a']);
    assert.deepEqual(rules, { iss: 'sessions-from-scratch', aud: 'api' });
    const now = (): number => NOW;
    assert.equal(apiRules(['a'], now).now, now);
  });

  it('addApi() gives a token for 15 minutes, and takes none that names nobody', async () => {
    const factory = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const mount: Mount<SiteData> = (page) =>
      withSession(factory, (request) => (request.session.set('user', 'ada'), page(request)));
    const rules = apiRules(['a'], () => NOW + 0.5);
    const { handle } = addApi(new Router(), mount, rules, await users);
    const api = new Browser(handle, ORIGIN);
    const { body } = await api.request('POST', '/api/token');
    const { token, expires } = JSON.parse(String(body)) as { token: string; expires: number };
    assert.equal(expires, NOW + 900);
    const claims = verifyJwt(token, rules);
    assert.deepEqual({ ...claims, jti: '' }, {
      iss: 'sessions-from-scratch', sub: 'ada', aud: 'api', iat: NOW, exp: NOW + 900, jti: '',
    });
    const { sub: _, ...nobody } = claims ?? {};
    const authorization = `Bearer ${signJwt(nobody, rules.keys[0] ?? KEY)}`;
    const { status } = await api.request('GET', '/api/counter', '', { authorization });
    assert.equal(status, 401);
  });
});

describe('21-jwt: the logout truth table', () => {
  type Attack = () => Promise<boolean>;

  /** Logs in, copies the cookie, logs out, comes back with the copy; tells whether it is let in. */
  async function replay({ handle }: { handle: Handler }): Promise<boolean> {
    const browser = new Browser(handle, ORIGIN);
    await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    const cookie = browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000) ?? '';
    await browser.request('POST', '/logout', '', SAME);
    const copy = await new Browser(handle, ORIGIN).request('GET', '/dashboard', '', { cookie });
    return copy.status === 200;
  }

  /** The same with a token: logs out of the session, and of the API where `isDenied`. */
  async function replayToken(isDenied: boolean): Promise<boolean> {
    const { handle } = site(await users);
    const browser = new Browser(handle, ORIGIN);
    await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    const { body } = await browser.request('POST', '/api/token', '', SAME);
    const authorization = `Bearer ${(JSON.parse(String(body)) as { token: string }).token}`;
    await browser.request('POST', '/logout', '', SAME);
    if (isDenied) await browser.request('POST', '/api/logout', '', { authorization });
    const copy = new Browser(handle, ORIGIN);
    return (await copy.request('GET', '/api/counter', '', { authorization })).status === 200;
  }

  const secrets = ['a secret'];
  const ATTACKS: Record<string, Attack> = {
    'signed cookie (11)': async () =>
      replay(loginSite(new SignedCookieSessionFactory({ secrets }), undefined, await users)),
    'encrypted cookie (17)': async () =>
      replay(encryptedSite(new EncryptedCookieSessionFactory({ secrets }), await users)),
    'stored session (18 to 20)': async () => replay(storedSite(new MemoryStore(), await users)),
    JWT: () => replayToken(false),
    'JWT with a deny-list': () => replayToken(true),
  };

  it('after logout a copy comes in where LESSON.md says so, and nowhere else', async () => {
    const lesson = readFileSync(new URL('../LESSON.md', import.meta.url), 'utf8');
    const shown = [...lesson.matchAll(/^\| (.+?) \| (comes in|is refused)\b.*\|$/gm)];
    const truth = [];
    for (const [kind, attack] of Object.entries(ATTACKS)) {
      truth.push([kind, (await attack()) ? 'comes in' : 'is refused']);
    }
    assert.deepEqual(shown.map(([, kind, outcome]) => [kind, outcome]), truth);
  });
});
