import { ask } from '../.tools/folder.ts';
import { check, expectEqual, shownText } from '../.tools/check.ts';
import { DEMO } from '../src/09-tutorial.ts';
import { jwtRules, signJwt } from '../src/29-jwt.ts';
import { site } from '../src/30-api.ts';

check('/api/me returns the user and the remaining seconds', async (t) => {
  t.mock.method(Date, 'now', () => 1_800_000_000_000);
  const { keys, iss, aud, now } = jwtRules(DEMO.secrets);
  const claims = { iss, aud, sub: 'viewer', jti: '1', iat: now(), exp: now() + 600 };
  const token = signJwt(claims, keys[0] as Uint8Array);
  const handle = site();
  const me = await ask(handle, '/api/me', { authorization: `Bearer ${token}` });
  expectEqual('The status of /api/me', me.status, 200);
  expectEqual('The response', JSON.parse(shownText(me)), { sub: 'viewer', seconds: 600 });
  expectEqual('The status of /api/me without a token', (await ask(handle, '/api/me')).status, 401);
});
