import assert from 'node:assert/strict';
import { check, expectEqual, expectParts } from '../.tools/check.ts';
import { isPassword, USERS } from '../src/21-password.ts';

check('USERS has ada, and the hash of her password', async () => {
  const hash = USERS.get('ada') ?? '';
  expectEqual('The names in USERS', [...USERS.keys()].sort(), ['ada', 'editor', 'viewer']);
  expectParts('The hash of ada', hash, '17:');
  assert.ok(await isPassword('lovelace', hash), 'The password lovelace must belong to this hash.');
});
