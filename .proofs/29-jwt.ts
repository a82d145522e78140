// Further proofs for step 29: Unicode, the clock, and the order of the checks.
import assert from 'node:assert/strict';
import crypto, { createSecretKey, type KeyObject } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { bodyText } from '../.tools/request.ts';
import { type Claims, hs256, json, type JwtRules, jwtRules } from '../src/29-jwt.ts';
import { signJwt, site, verifyJwt } from '../src/29-jwt.ts';
import { Browser } from '../src/16-browser.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const KEY = createSecretKey(Buffer.alloc(32, 'k'));
const RULES: JwtRules = { keys: [KEY], iss: 'us', aud: 'api', now: () => NOW };
const CLAIMS: Claims = { iss: 'us', sub: 'ada', aud: 'api', iat: NOW, exp: NOW + 900, jti: '1' };

describe('29-jwt: more about tokens', () => {
  it('signJwt() writes UTF-8, and verifyJwt() rejects other encodings', () => {
    const claims = { ...CLAIMS, sub: 'Zoë 😀' };
    const [header = '', payload = ''] = signJwt(claims, KEY).split('.');
    const bytes = Buffer.from(payload, 'base64url');
    assert.ok(bytes.includes(Buffer.from([0x5a, 0x6f, 0xc3, 0xab, 0x20, 0xf0, 0x9f, 0x98, 0x80])));
    assert.deepEqual(verifyJwt(signJwt(claims, KEY), RULES), claims);
    const utf16 = Buffer.from(JSON.stringify(CLAIMS), 'utf16le');
    for (const other of [utf16, Buffer.concat([Buffer.of(0xff, 0xfe), utf16])]) {
      const signed = `${header}.${other.toString('base64url')}`;
      const token = `${signed}.${hs256(signed, KEY)}`;
      assert.equal(verifyJwt(token, RULES), undefined, 'UTF-16');
    }
  });

  it('verifyJwt() compares whole signatures with timingSafeEqual', (t) => {
    const token = signJwt(CLAIMS, KEY);
    const compare = t.mock.method(crypto, 'timingSafeEqual', crypto.timingSafeEqual);
    syncBuiltinESMExports(); // now the import of the module is the observed function
    try {
      assert.ok(verifyJwt(token, RULES));
      const sizes = compare.mock.calls.map((call) => call.arguments.map((a) => a.byteLength));
      assert.deepEqual(sizes, [[43, 43]], '32 bytes in base64url');
      compare.mock.mockImplementation(() => false);
      assert.equal(verifyJwt(token, RULES), undefined, 'no other comparison may accept the token');
    } finally {
      compare.mock.restore();
      syncBuiltinESMExports();
    }
  });

  it('jwtRules() uses the clock of the computer, in seconds', (t) => {
    const clock = t.mock.method(Date, 'now', () => NOW * 1000);
    const rules = jwtRules(['a secret']);
    const token = signJwt({ ...CLAIMS, iss: rules.iss }, rules.keys[0] as KeyObject);
    assert.ok(verifyJwt(token, rules));
    clock.mock.mockImplementation(() => (NOW + 905) * 1000);
    assert.equal(verifyJwt(token, rules), undefined);
  });

  it('json() returns JSON that no cache keeps and no browser reads as another type', () => {
    const response = json({ a: '</script>' });
    assert.deepEqual(JSON.parse(bodyText(response)), { a: '</script>' });
    assert.deepEqual(response.headers, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
  });

  it('site() of step 29 has the pages of step 28 and /api/token', async () => {
    const browser = new Browser(site());
    assert.equal((await browser.get('/sessions')).status, 200, 'the login page');
    assert.equal((await browser.request('GET', '/api/token')).status, 405);
  });
});
