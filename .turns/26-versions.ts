import { check, expectEqual, expectPredicted } from '../.tools/check.ts';
import { send } from '../.tools/login.ts';
import { Browser } from '../src/16-browser.ts';
import { MemoryStore } from '../src/25-store.ts';
import { site } from '../src/26-versions.ts';

check('the server prints a line at each conflict', async (t) => {
  const put = t.mock.method(MemoryStore.prototype, 'put');
  const log = t.mock.method(console, 'log', () => {});
  const browser = new Browser(site());
  await send(browser, '/cart/add', { item: 'tea' });
  expectEqual('The number of lines for one tea', log.mock.callCount(), 0);
  await Promise.all(Array.from({ length: 20 }, () => send(browser, '/cart/add', { item: 'tea' })));
  const conflicts = put.mock.calls.filter(({ result }) => result === false).length;
  const lines = log.mock.calls.map((call) => String(call.arguments[0]));
  const count = lines.filter((line) => line.includes('conflict')).length;
  expectPredicted('The number of lines for 20 teas in parallel', count, conflicts);
});
