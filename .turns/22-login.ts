import { check, expectEqual, expectParts } from '../.tools/check.ts';
import { send } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import { Browser } from '../src/16-browser.ts';
import { site } from '../src/22-login.ts';

check('the dashboard shows when the user logged in', async (t) => {
  const start = Date.parse('2026-05-04T03:02:01Z');
  let minutes = 0;
  t.mock.method(Date, 'now', () => start + minutes * 60_000);
  const browser = new Browser(site());
  await browser.get('/');
  minutes = 10;
  await send(browser, '/login', { username: 'editor', password: 'editor' });
  minutes = 15;
  await send(browser, '/cart/add', { item: 'tea' });
  minutes = 20;
  const page = bodyText(await browser.get('/dashboard'));
  const lines = page.replace(/<(?!br)[^>]*>/g, '').split(/\n|<br[^>]*>/);
  const line = lines.find((one) => /^\s*Since/.test(one)) ?? '';
  expectParts('A line of the dashboard', line, 'Since');
  const time = Date.parse(line.replace(/^\s*Since:? */, ''));
  const login = start + 10 * 60_000;
  if (Math.floor(time / 1000) === login / 1000) return;
  const what = 'The first visit was at 03:02:01, the login at 03:12:01, a change at 03:17:01';
  expectEqual(what, line, `Since ${new Date(login).toUTCString()}`);
});
