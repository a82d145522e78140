import { check, expectEqual } from '../.tools/check.ts';
import { isPassword, USERS } from '../src/21-password.ts';

check('USERS has ada, and the hash of her password', async () => {
  const hash = USERS.get('ada') ?? '';
  expectEqual('The names in USERS', [...USERS.keys()].sort(), ['ada', 'editor', 'viewer']);
  expectEqual('The form of the hash', /^17:[\w-]{22}:[\w-]{43}$/.test(hash) || hash, true);
  expectEqual('The password lovelace is right', await isPassword('lovelace', hash), true);
});
