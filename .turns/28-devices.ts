import assert from 'node:assert/strict';
import { check, expectEqual } from '../.tools/check.ts';
import { logIn, send } from '../.tools/login.ts';
import { Browser } from '../src/16-browser.ts';
import { site } from '../src/28-devices.ts';

check('a new password ends all other sessions', async () => {
  const handle = site();
  // In parallel, because each hash of a password can take seconds on a busy machine.
  const browsers = await Promise.all([logIn(handle, 'editor'), logIn(handle, 'editor')]);
  const [phone, desk] = browsers;
  const statuses = async (): Promise<number[]> => {
    const pages = browsers.map((browser) => browser.request('GET', '/dashboard'));
    return (await Promise.all(pages)).map(({ status }) => status);
  };
  const wrong = await send(phone, '/password', { old: 'wrong', new: 'secret' });
  assert.ok(wrong.status >= 400, `A wrong old password must cause an error, not ${wrong.status}.`);
  expectEqual('The dashboards of phone and desk after it', await statuses(), [200, 200]);
  const { status } = await send(desk, '/password', { old: 'editor', new: 'secret' });
  assert.ok(status < 400, `POST /password must accept the right password, and returns ${status}.`);
  expectEqual('The dashboards of phone and desk after the change', await statuses(), [303, 200]);
  const logins = ['editor', 'secret'].map(async (password) =>
    (await send(new Browser(handle), '/login', { username: 'editor', password })).status);
  expectEqual('Logins with the old and the new password', await Promise.all(logins), [422, 303]);
});
