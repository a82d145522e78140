import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe } from 'node:test';
import { inspect } from 'node:util';
import { explainedIt } from '../.tools/explain.ts';
import { logIn, makeUsers, send } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import { Browser } from '../src/16-browser.ts';
import { deriveKey } from '../src/24-encryption.ts';
import { MemoryStore } from '../src/25-store.ts';
import { makeDeviceSite } from '../src/28-devices.ts';
import { addToken, type Claims, hs256, type JwtRules, jwtRules } from '../src/29-jwt.ts';
import { signJwt, verifyJwt } from '../src/29-jwt.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const KEY = Buffer.alloc(32, 'k');
const RULES: JwtRules = { keys: [KEY], iss: 'us', aud: 'api', now: () => NOW };
const CLAIMS: Claims = { iss: 'us', sub: 'ada', aud: 'api', iat: NOW, exp: NOW + 900, jti: '1' };

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (part = ''): unknown => JSON.parse(Buffer.from(part, 'base64url').toString());

/** Returns a token with these parts and a right signature. */
function sign(header: string, claims: string | Uint8Array): string {
  const parts = [header, claims].map((part) => Buffer.from(part).toString('base64url'));
  return `${parts.join('.')}.${hs256(parts.join('.'), KEY).toString('base64url')}`;
}

/** The site of this step, where ada is logged in, and her token. */
async function visit() {
  const users = await makeUsers('ada');
  const rules = jwtRules(['a secret'], () => NOW + 0.5);
  const { pages, handle } = makeDeviceSite(new MemoryStore(), { users });
  addToken(pages, rules, users);
  const browser = await logIn(handle, 'ada');
  const response = await send(browser, '/api/token');
  const { token, expires } = JSON.parse(bodyText(response)) as { token: string; expires: number };
  return { users, rules, handle, browser, response, token, expires };
}

describe('29-jwt: a signed token', () => {
  /** The example in RFC 7515, appendix A.1. */
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

  it('hs256() returns the signature of RFC 7515, and verifyJwt() reads that token', () => {
    assert.equal(hs256(A1.signed, A1.key).toString('base64url'), A1.signature);
    const rules = { keys: [A1.key], iss: 'joe', aud: undefined, now: () => 1_300_819_379 };
    assert.deepEqual(verifyJwt(`${A1.signed}.${A1.signature}`, rules), {
      iss: 'joe',
      exp: 1_300_819_380,
      'http://example.com/is_root': true,
    });
  });

  it('signJwt() returns a header, the claims and an HMAC of both', () => {
    const token = signJwt(CLAIMS, KEY);
    const [header = '', claims = '', signature = ''] = token.split('.');
    assert.deepEqual(decode(header), { alg: 'HS256', typ: 'JWT' });
    assert.deepEqual(decode(claims), CLAIMS);
    const hmac = createHmac('sha256', KEY).update(`${header}.${claims}`).digest('base64url');
    assert.equal(signature, hmac);
  });

  it('verifyJwt() returns the claims of a token of this site', () => {
    assert.deepEqual(verifyJwt(signJwt(CLAIMS, KEY), RULES), CLAIMS);
    const other = Buffer.alloc(32, 'x');
    assert.equal(verifyJwt(signJwt(CLAIMS, other), RULES), undefined, 'another key');
  });

  it('verifyJwt() accepts each key, and the first key signs', () => {
    const old = Buffer.alloc(32, 'o');
    const rules = { ...RULES, keys: [KEY, old] };
    assert.deepEqual(verifyJwt(signJwt(CLAIMS, old), rules), CLAIMS);
    assert.deepEqual(verifyJwt(signJwt(CLAIMS, KEY), rules), CLAIMS);
    assert.equal(verifyJwt(signJwt(CLAIMS, Buffer.alloc(32, 'x')), rules), undefined);
  });

  it('hs256() needs a key of 32 bytes (RFC 7518 §3.2)', () => {
    const short = KEY.subarray(1);
    const error = { name: 'RangeError', message: 'The key has 31 bytes. It needs 32' };
    assert.throws(() => signJwt(CLAIMS, short), error);
    assert.throws(() => verifyJwt(signJwt(CLAIMS, KEY), { ...RULES, keys: [short] }), error);
  });
});

describe('29-jwt: attacks', () => {
  it('verifyJwt() does not let the header choose the algorithm', () => {
    const signature = signJwt(CLAIMS, KEY).split('.')[2];
    const names = ['none', 'None', 'NONE', 'nOnE', '', 'hs256', 'HS384', 'HS512', 'RS256', 'ES256', null];
    for (const alg of names) {
      const header = { alg, typ: 'JWT' };
      const bare = `${encode(header)}.${encode(CLAIMS)}`;
      const signed = sign(JSON.stringify(header), JSON.stringify(CLAIMS));
      for (const token of [`${bare}.`, bare, `${bare}.${signature}`, signed]) {
        assert.equal(verifyJwt(token, RULES), undefined, `"alg": ${JSON.stringify(alg)} in ${token}`);
      }
    }
  });

  it('verifyJwt() rejects a token with one flipped bit', () => {
    const token = signJwt(CLAIMS, KEY);
    for (let at = 0; at < token.length; at++) {
      for (const bit of [1, 2, 4, 32]) {
        const letter = String.fromCharCode(token.charCodeAt(at) ^ bit);
        const changed = token.slice(0, at) + letter + token.slice(at + 1);
        assert.equal(verifyJwt(changed, RULES), undefined, `${at}: ${changed}`);
      }
    }
  });

  it('verifyJwt() checks exp, nbf, iat, iss and aud', () => {
    const ROWS: [claims: object, isValid: boolean][] = [
      [{}, true],
      [{ exp: NOW - 4 }, true], // the clocks of two computers may differ by five seconds
      [{ exp: NOW - 5 }, false],
      [{ exp: undefined }, false], // it would never expire
      [{ exp: `${NOW + 900}` }, false],
      [{ exp: null }, false],
      [{ exp: 1e999 }, false],
      [{ nbf: NOW + 5 }, true],
      [{ nbf: NOW + 6 }, false],
      [{ nbf: 'soon' }, false],
      [{ nbf: null }, false],
      [{ iat: NOW + 5 }, true],
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
    for (const [claims, isValid] of ROWS) {
      const token = signJwt({ ...CLAIMS, ...claims }, KEY);
      const result = verifyJwt(token, RULES) ? 'accepted' : 'rejected';
      assert.equal(result, isValid ? 'accepted' : 'rejected', `a token with ${inspect(claims)}`);
    }
    const strict = { ...RULES, leeway: 0 };
    assert.equal(verifyJwt(signJwt({ ...CLAIMS, exp: NOW }, KEY), strict), undefined);
    assert.ok(verifyJwt(signJwt({ ...CLAIMS, exp: NOW + 1 }, KEY), strict));
  });

  it('verifyJwt() rejects a token of another kind (RFC 8725 §3.11)', () => {
    const own = ['"typ":"JWT"', '"typ":"jwt"', '"typ":"Jwt"', '"cty":"x"'];
    const others = [
      'at+jwt', 'dpop+jwt', 'secevent+jwt', 'JWS', 'JOSE', 'JWT ', ' JWT', '"JWT"', 'xJWT', 'JWTx',
      '', 'JWT\nJWT', null, true, 0, ['JWT'], [['JWT']], { JWT: 'JWT' }, {}, 'a"JWT',
    ].map((typ) => `"typ":${JSON.stringify(typ)}`);
    for (const member of [...own, ...others]) {
      const token = sign(`{"alg":"HS256",${member}}`, JSON.stringify(CLAIMS));
      assert.deepEqual(verifyJwt(token, RULES), own.includes(member) ? CLAIMS : undefined, member);
    }
    const without = sign('{"alg":"HS256"}', JSON.stringify(CLAIMS));
    assert.deepEqual(verifyJwt(without, RULES), CLAIMS, 'no typ');
  });

  it('verifyJwt() rejects a header with crit, and ignores what it does not use', () => {
    const headers = ['{"alg":"HS256","crit":["b64"],"b64":false}', '"HS256"', '[]', 'null', '', '{'];
    for (const header of headers) {
      assert.equal(verifyJwt(sign(header, JSON.stringify(CLAIMS)), RULES), undefined, header);
    }
    const odd = '{"alg":"HS256","jku":"https://evil.example","kid":"../../dev/null","jwk":{}}';
    assert.deepEqual(verifyJwt(sign(odd, JSON.stringify(CLAIMS)), RULES), CLAIMS, odd);
  });

  it('verifyJwt() rejects every other text and never throws', () => {
    const token = signJwt(CLAIMS, KEY);
    const [header, claims, signature] = token.split('.');
    const texts = [
      '', '.', '..', '...', token.slice(0, -1), `${token}=`, `${token}.`, ` ${token}`, `${token}\n`,
      `${header}.${claims}`, `${header}..${signature}`, `${token}.${token}`, token.replace('.', '..'),
      'x'.repeat(100_000), '.'.repeat(100_000), '{"alg":"none"}..', `${header}.${claims}.é`, '__proto__',
    ];
    for (const text of texts) assert.equal(verifyJwt(text, RULES), undefined, text.slice(0, 60));
    for (const text of ['[]', '"a"', '1', 'null', '{']) {
      assert.equal(verifyJwt(sign('{"alg":"HS256"}', text), RULES), undefined, `claims ${text}`);
    }
  });

  it('verifyJwt() rejects a token that was revoked by its id', () => {
    const asked: unknown[] = [];
    const rules = { ...RULES, isDenied: (jti: string) => (asked.push(jti), true) };
    for (const jti of ['1', undefined, 7]) {
      const claims = verifyJwt(signJwt({ ...CLAIMS, jti } as Claims, KEY), rules);
      assert.equal(claims === undefined, jti === '1', `jti ${jti}`);
    }
    assert.deepEqual(asked, ['1'], 'only a text is an id');
  });
});

describe('29-jwt: the token of this site', () => {
  it('addToken() returns a token that names its issuer, user, audience and end', async () => {
    const { token, expires, rules, response } = await visit();
    const { jti, ...claims } = verifyJwt(token, rules) ?? {};
    const iss = 'sessions-from-scratch';
    assert.deepEqual(claims, { iss, sub: 'ada', aud: 'api', iat: NOW, exp: NOW + 900 });
    assert.match(String(jti), /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    assert.equal(expires, NOW + 900, '15 minutes');
    assert.equal(response.headers['content-type'], 'application/json');
    assert.equal(response.headers['cache-control'], 'no-store');
  });

  it('addToken() returns a different token each time', async () => {
    const { token, browser } = await visit();
    const other = JSON.parse(bodyText(await send(browser, '/api/token'))) as { token: string };
    assert.notEqual(other.token, token);
  });

  it('addToken() rejects a visitor without a login, and a form of another site', async () => {
    const { handle, browser } = await visit();
    const response = await send(new Browser(handle), '/api/token');
    assert.equal(response.status, 403);
    assert.match(bodyText(response), /Log in first, at \/login\./);
    const crossSite = { 'sec-fetch-site': 'cross-site' };
    assert.equal((await send(browser, '/api/token', {}, crossSite)).status, 403);
    assert.equal((await browser.request('GET', '/api/token')).status, 405);
  });

  it('addToken() rejects a user who was removed', async () => {
    const { browser, users } = await visit();
    assert.equal((await send(browser, '/api/token')).status, 200);
    users.delete('ada');
    assert.equal((await send(browser, '/api/token')).status, 403);
  });

  it('jwtRules() derives a key from each secret, for tokens only', () => {
    const { keys, ...rules } = jwtRules(['a', 'b']);
    assert.deepEqual(rules, { iss: 'sessions-from-scratch', aud: 'api' });
    assert.deepEqual(keys.map((key) => key.length), [32, 32]);
    assert.deepEqual(keys[0], jwtRules(['a']).keys[0]);
    assert.deepEqual(keys[1], deriveKey('b', 'sessions-from-scratch jwt 1'));
    assert.notDeepEqual(keys[1], deriveKey('b', 'sessions-from-scratch sealer 1'));
    const now = (): number => NOW;
    assert.equal(jwtRules(['a'], now).now, now);
  });
});
