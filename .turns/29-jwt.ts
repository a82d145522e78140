import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { ask } from '../.tools/folder.ts';
import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { jwtRules, verifyJwt } from '../src/29-jwt.ts';
import { site } from '../src/30-api.ts';

check('step 30 accepts the token in forged.txt', async () => {
  const path = new URL('../forged.txt', import.meta.url);
  assert.ok(existsSync(path), 'The folder of the project must have a file forged.txt.');
  const token = readFileSync(path, 'utf8').trim();
  const { sub, jti } = verifyJwt(token, jwtRules(['itsaseekreet'])) ?? {};
  expectEqual('The claims of a valid token', { sub, jti }, { sub: 'viewer', jti: '1' });
  const response = await ask(site(), '/api/counter', { authorization: `Bearer ${token}` });
  expectParts('The response of step 30', shownText(response), '{"sub":"viewer","count":1}');
});
