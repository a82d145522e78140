import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { ask } from '../.tools/folder.ts';
import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { type Claims, jwtRules, verifyJwt } from '../src/29-jwt.ts';
import { site } from '../src/30-api.ts';

const RIGHT_TIME = 'seconds since 1970, in the future';

/** Describes a wrong `exp`. */
function timeOf(exp: unknown, year: number): string {
  if (typeof exp !== 'number') return `${JSON.stringify(exp)}, which is not a number`;
  const when = year < 3000 ? 'which is in the past' : 'which is after the year 3000. Is it in milliseconds?';
  return `${exp}, ${when}`;
}

/** Returns the claims of a token, without a check of its signature. */
function claimsOf(token: string): Claims {
  const parts = token.split('.');
  const what = `forged.txt must contain one token: 3 parts with periods between them, not ${parts.length}.`;
  assert.ok(parts.length === 3, what);
  try {
    return Object(JSON.parse(Buffer.from(parts[1] ?? '', 'base64url').toString()));
  } catch {
    return assert.fail('The second part of the token in forged.txt is not JSON in base64url.');
  }
}

check('step 30 accepts the token in forged.txt', async () => {
  const path = new URL('../forged.txt', import.meta.url);
  assert.ok(existsSync(path), 'The folder of the project must have a file forged.txt.');
  const token = readFileSync(path, 'utf8').trim();
  const rules = jwtRules(['itsaseekreet']);
  const { exp, iss, aud, sub, jti } = claimsOf(token);
  const expected = { iss: rules.iss, aud: rules.aud, sub: 'viewer', jti: '1' };
  expectEqual('The claims in forged.txt', { iss, aud, sub, jti }, expected);
  const year = typeof exp === 'number' ? new Date(exp * 1000).getUTCFullYear() : NaN;
  const now = rules.now();
  const isSoon = typeof exp === 'number' && exp > now && year < 3000;
  expectEqual('The claim exp', isSoon ? RIGHT_TIME : timeOf(exp, year), RIGHT_TIME);
  const isValid = verifyJwt(token, rules) !== undefined;
  assert.ok(isValid, "verifyJwt() rejects the token. Sign it with a key of jwtRules(['itsaseekreet']).");
  const response = await ask(site(), '/api/counter', { authorization: `Bearer ${token}` });
  expectParts('The response of step 30', shownText(response), '{"sub":"viewer","count":1}');
});
