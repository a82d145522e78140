import { check, expectEqual } from '../.tools/check.ts';
import { send } from '../.tools/login.ts';
import { Browser } from '../src/16-browser.ts';
import { site } from '../src/23-throttle.ts';

check('the server checks three of ten guesses', async (t) => {
  t.mock.method(Date, 'now', () => 1_800_000_000_000); // all guesses arrive in one moment
  const browser = new Browser(site());
  const statuses: number[] = [];
  for (let i = 0; i < 10; i++) {
    const { status } = await send(browser, '/login', { username: 'editor', password: `guess${i}` });
    statuses.push(status);
  }
  expectEqual('The statuses', statuses, [422, 422, 422, 429, 429, 429, 429, 429, 429, 429]);
});
