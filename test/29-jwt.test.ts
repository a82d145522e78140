import assert from 'node:assert/strict';
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { describe } from 'node:test';
import { inspect } from 'node:util';
import { explainedIt, given } from '../.tools/explain.ts';
import { logIn, makeUsers, send } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import { Browser } from '../src/16-browser.ts';
import { deriveKey } from '../src/24-encryption.ts';
import { MemoryStore } from '../src/25-store.ts';
import { makeDeviceSite } from '../src/28-devices.ts';
import { addToken, type Claims, hs256, json, type JwtRules, jwtRules } from '../src/29-jwt.ts';
import { signJwt, site, verifyJwt } from '../src/29-jwt.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const KEY = createSecretKey(Buffer.alloc(32, 'k'));
const SHORT_KEY = createSecretKey(Buffer.alloc(31, 'k'));
const RULES: JwtRules = { keys: [KEY], iss: 'us', aud: 'api', now: () => NOW };
const CLAIMS: Claims = { iss: 'us', sub: 'ada', aud: 'api', iat: NOW, exp: NOW + 900, jti: '1' };

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (part = ''): unknown => JSON.parse(Buffer.from(part, 'base64url').toString());

/** Returns a token with these parts and a right signature. */
function sign(header: string, claims: string | Uint8Array): string {
  const parts = [header, claims].map((part) => Buffer.from(part).toString('base64url'));
  return `${parts.join('.')}.${hs256(parts.join('.'), KEY)}`;
}

/** Asserts that the token is rejected. `what` names its fault. */
function assertRejected(token: string, what: string, rules = RULES): void {
  assert.equal(verifyJwt(given(token), rules), undefined, `verifyJwt() must reject ${what}`);
}

/** The site of this step, where ada is logged in, and her token. */
async function visit() {
  const users = await makeUsers('ada');
  const rules = jwtRules(['a secret', 'an old secret'], () => NOW + 0.5);
  const { pages, handle } = makeDeviceSite(new MemoryStore(), { users });
  addToken(pages, rules, users);
  const browser = await logIn(handle, 'ada');
  const response = await send(browser, '/api/token');
  const { token, expires } = JSON.parse(bodyText(response)) as { token: string; expires: number };
  return { users, rules, handle, browser, response, token, expires };
}

describe('29-jwt: a signed token', () => {
  it('hs256() returns the signature of the example in RFC 7515, appendix A.1', () => {
    const key = 'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow';
    const signed =
      'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9' +
      '.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ';
    const signature = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
    assert.equal(hs256(given(signed), createSecretKey(key, 'base64url')), signature);
  });

  it('hs256() needs a key of 32 bytes (RFC 7518 §3.2)', () => {
    const error = { name: 'RangeError', message: 'The key has 31 bytes. It needs 32' };
    assert.throws(() => hs256(given('text'), SHORT_KEY), error);
    assert.equal(hs256(given('text'), KEY).length, 43, '32 bytes in base64url');
  });

  it('signJwt() returns a header, the claims and an HMAC of both', () => {
    const token = signJwt(given(CLAIMS), KEY);
    const [header = '', claims = '', signature = ''] = token.split('.');
    assert.deepEqual(decode(header), { alg: 'HS256', typ: 'JWT' });
    assert.deepEqual(decode(claims), CLAIMS);
    const hmac = createHmac('sha256', KEY).update(`${header}.${claims}`).digest('base64url');
    assert.equal(signature, hmac);
    assert.throws(() => signJwt(given(CLAIMS), SHORT_KEY), RangeError, 'a key of 31 bytes');
  });

  it('verifyJwt() returns the claims of a token of this site', () => {
    assert.deepEqual(verifyJwt(given(signJwt(given(CLAIMS), KEY)), RULES), CLAIMS);
    assertRejected(signJwt(CLAIMS, createSecretKey(Buffer.alloc(32, 'x'))), 'the signature of another key');
    const short = { ...RULES, keys: [SHORT_KEY] };
    assert.throws(
      () => verifyJwt(given(signJwt(given(CLAIMS), KEY)), short),
      RangeError,
      'a key of 31 bytes',
    );
  });

  it('verifyJwt() reads a token that PyJWT 2.15 has made with the same key', () => {
    const token =
      'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9' +
      '.eyJpc3MiOiJ1cyIsInN1YiI6ImFkYSIsImF1ZCI6WyJ3ZWIiLCJhcGkiXSwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDA5MDAsImp0aSI6IjEifQ' +
      '.HT2bizsmUBFXf9TKKzEIiBnz1Ho2XyGx62nvtVfug8w';
    assert.deepEqual(verifyJwt(given(token), RULES), { ...CLAIMS, aud: ['web', 'api'] });
  });

  it('verifyJwt() accepts each key, and the first key signs', () => {
    const [old, third] = ['o', 'x'].map((one) => createSecretKey(Buffer.alloc(32, one))) as
      [KeyObject, KeyObject];
    const rules = { ...RULES, keys: [KEY, old] };
    assert.deepEqual(verifyJwt(given(signJwt(given(CLAIMS), old)), rules), CLAIMS);
    assert.deepEqual(verifyJwt(given(signJwt(given(CLAIMS), KEY)), rules), CLAIMS);
    assertRejected(signJwt(given(CLAIMS), third), 'the signature of a third key', rules);
  });
});

describe('29-jwt: attacks', () => {
  it('verifyJwt() does not let the header choose the algorithm', () => {
    const signature = signJwt(given(CLAIMS), KEY).split('.')[2];
    const names = ['none', 'None', 'NONE', 'nOnE', '', 'hs256', 'HS384', 'HS512', 'RS256', 'ES256', null];
    for (const alg of names) {
      const header = { alg, typ: 'JWT' };
      const bare = `${encode(header)}.${encode(CLAIMS)}`;
      const name = `a token with "alg": ${JSON.stringify(alg)}`;
      assertRejected(`${bare}.`, `${name} and an empty signature`);
      assertRejected(bare, `${name} and only two parts`);
      assertRejected(`${bare}.${signature}`, `${name} and the signature of another header`);
      const signed = sign(JSON.stringify(header), JSON.stringify(CLAIMS));
      assertRejected(signed, `${name} and a right HS256 signature`);
    }
  });

  it('verifyJwt() reads nothing before the signature is right', (t) => {
    const token = signJwt(CLAIMS, KEY);
    const keys = [createSecretKey(Buffer.alloc(32, 'x'))];
    const parse = t.mock.method(JSON, 'parse');
    assert.equal(verifyJwt(given(token), { ...RULES, keys }), undefined);
    const texts = parse.mock.calls.map((call) => call.arguments[0]);
    assert.deepEqual(texts, [], 'what JSON.parse() read of a token with a wrong signature');
    assert.ok(verifyJwt(given(token), RULES));
    assert.ok(parse.mock.callCount() > 0, 'JSON.parse() reads a token with a right signature');
  });

  it('verifyJwt() rejects a token with one flipped bit', () => {
    const token = signJwt(given(CLAIMS), KEY);
    for (let at = 0; at < token.length; at++) {
      for (const bit of [1, 2, 4, 32]) {
        const letter = String.fromCharCode(token.charCodeAt(at) ^ bit);
        const part = ['the header', 'the claims', 'the signature'][token.slice(0, at).split('.').length - 1];
        const change = `${inspect(token[at])} is now ${inspect(letter)}`;
        const changed = token.slice(0, at) + letter + token.slice(at + 1);
        assertRejected(changed, `a token in which one character of ${part} was changed: ${change}`);
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
      const token = signJwt(given({ ...CLAIMS, ...claims }), KEY);
      const result = verifyJwt(given(token), RULES) ? 'accepted' : 'rejected';
      assert.equal(result, isValid ? 'accepted' : 'rejected', `a token with ${inspect(claims)}`);
    }
  });

  it('verifyJwt() rejects a token without an id, which the site could not revoke', () => {
    for (const jti of [undefined, null, 1, ['1'], {}]) {
      const token = signJwt(given({ ...CLAIMS, jti } as Claims), KEY);
      assertRejected(token, `a token with ${inspect({ jti })}`);
    }
  });

  it('verifyJwt() accepts the kind JWT in any case, and rejects each other kind (RFC 8725 §3.11)', () => {
    const own = ['"typ":"JWT"', '"typ":"jwt"', '"typ":"Jwt"', '"cty":"x"'];
    const others = [
      'at+jwt', 'dpop+jwt', 'secevent+jwt', 'JWS', 'JOSE', 'JWT ', ' JWT', '"JWT"', 'xJWT', 'JWTx',
      '', 'JWT\nJWT', null, true, 0, ['JWT'], [['JWT']], { JWT: 'JWT' }, {}, 'a"JWT',
    ].map((typ) => `"typ":${JSON.stringify(typ)}`);
    for (const member of [...own, ...others]) {
      const token = sign(`{"alg":"HS256",${member}}`, JSON.stringify(CLAIMS));
      assert.deepEqual(
        verifyJwt(given(token), RULES),
        own.includes(member) ? CLAIMS : undefined,
        member,
      );
    }
    const without = sign('{"alg":"HS256"}', JSON.stringify(CLAIMS));
    assert.deepEqual(verifyJwt(given(without), RULES), CLAIMS, 'a header without typ');
  });

  it('verifyJwt() rejects a header with crit, and ignores what it does not use', () => {
    const headers = ['{"alg":"HS256","crit":["b64"],"b64":false}', '"HS256"', '[]', 'null', '', '{'];
    const values = ['null', '[]', '""', '0', 'false', '{}']; // each of them is invalid (RFC 7515 §4.1.11)
    headers.push(...values.map((value) => `{"alg":"HS256","crit":${value}}`));
    for (const header of headers) {
      assertRejected(sign(header, JSON.stringify(CLAIMS)), `the header '${header}'`);
    }
    const odd = '{"alg":"HS256","jku":"https://evil.example","kid":"../../dev/null","jwk":{}}';
    assert.deepEqual(verifyJwt(given(sign(odd, JSON.stringify(CLAIMS))), RULES), CLAIMS, odd);
  });

  it('verifyJwt() rejects every other text and never throws', () => {
    const token = signJwt(given(CLAIMS), KEY);
    const [header, claims, signature] = token.split('.');
    const texts: Record<string, string> = {
      'an empty text': '', 'one period': '.', 'two periods': '..', 'three periods': '...',
      'a signature without its last character': token.slice(0, -1),
      'a second encoding of the same signature, with = at its end': `${token}=`,
      'a period at the end': `${token}.`, 'a space before the token': ` ${token}`,
      'a line end after the token': `${token}\n`, 'a token without a signature': `${header}.${claims}`,
      'a token without claims': `${header}..${signature}`, 'two tokens': `${token}.${token}`,
      'a token with two periods in a row': token.replace('.', '..'),
      'a text without periods': 'x'.repeat(100_000), 'only periods': '.'.repeat(100_000),
      'JSON that is not encoded': '{"alg":"none"}..', 'a signature é': `${header}.${claims}.é`,
      'a signature of 43 é': `${header}.${claims}.${'é'.repeat(43)}`,
      'the text __proto__': '__proto__',
    };
    for (const [what, text] of Object.entries(texts)) assertRejected(text, what);
    for (const text of ['[]', '"a"', '1', 'null', '{']) {
      assertRejected(sign('{"alg":"HS256"}', text), `the claims '${text}'`);
    }
  });

  it('verifyJwt() accepts 4096 characters, and not one more', () => {
    const padded = (size: number) => signJwt(given({ ...CLAIMS, pad: 'x'.repeat(size) }), KEY);
    let most = 2900;
    while (padded(most + 1).length <= 4096) most += 1;
    assert.deepEqual([padded(most).length, padded(most + 1).length], [4096, 4097]);
    assert.ok(verifyJwt(given(padded(most)), RULES));
    assertRejected(padded(most + 1), 'a token of 4097 characters');
  });
});

describe('29-jwt: the token of this site', () => {
  it('jwtRules() derives a key from each secret, for tokens only', () => {
    const now = (): number => NOW;
    const { keys, ...rules } = jwtRules(['a', 'b'], now);
    assert.deepEqual({ ...rules, now: rules.now() }, { iss: 'sessions-from-scratch', aud: 'api', now: NOW });
    assert.deepEqual(keys.map((key) => key.symmetricKeySize), [32, 32]);
    const [first, second] = keys.map((key) => new Uint8Array(key.export()));
    assert.deepEqual(first, deriveKey('a', 'sessions-from-scratch jwt 1'));
    assert.deepEqual(second, deriveKey('b', 'sessions-from-scratch jwt 1'));
    assert.notDeepEqual(second, deriveKey('b', 'sessions-from-scratch sealer 1'));
  });

  it('json() returns JSON that no cache keeps', () => {
    const { headers, body } = json({ a: [1, 'é'] });
    assert.equal(body, '{"a":[1,"é"]}\n');
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['cache-control'], 'no-store');
  });

  it('addToken() returns a token that names its issuer, user, audience and end', async () => {
    const { token, expires, rules } = await visit();
    const newest = { ...rules, keys: rules.keys.slice(0, 1) }; // of the first secret
    const { jti, ...claims } = verifyJwt(given(token), newest) ?? {};
    const iss = 'sessions-from-scratch';
    assert.deepEqual(claims, { iss, sub: 'ada', aud: 'api', iat: NOW, exp: NOW + 900 });
    assert.match(String(jti), /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    assert.equal(expires, NOW + 900, '15 minutes');
  });

  it('addToken() returns a different token each time', async () => {
    const { token, browser } = await visit();
    const other = JSON.parse(bodyText(await send(browser, '/api/token'))) as { token: string };
    assert.notEqual(other.token, token, 'each token has an id of its own');
  });

  it('addToken() rejects a visitor without a login, and a user who was removed', async () => {
    const { handle, browser, users } = await visit();
    const response = await send(new Browser(handle), '/api/token');
    assert.equal(response.status, 403, 'a visitor without a login');
    assert.match(bodyText(response), /Log in first, at \/login\./);
    users.delete('ada');
    assert.equal((await send(browser, '/api/token')).status, 403, 'a user who was removed');
  });

  it('addToken() rejects a form of another site, and a GET', async () => {
    const { browser } = await visit();
    const crossSite = { 'sec-fetch-site': 'cross-site' };
    assert.equal((await send(browser, '/api/token', {}, crossSite)).status, 403);
    assert.equal((await browser.request('GET', '/api/token')).status, 405);
  });

  it('site() of step 29 sends no token to a visitor without a login', async () => {
    assert.equal((await send(new Browser(site()), '/api/token')).status, 403);
  });
});
