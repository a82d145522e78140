import { check, expectEqual, expectPredicted } from '../.tools/check.ts';
import { cookieOf, logIn, send, visitWith } from '../.tools/login.ts';
import { site } from '../src/25-store.ts';

check('the store prints its name at each put and delete', async (t) => {
  const log = t.mock.method(console, 'log', () => {});
  const printed = (): string[] => {
    const lines = log.mock.calls.map((call) => call.arguments.map(String).join(' '));
    log.mock.resetCalls();
    return lines.map((line) => /\b(?:put|delete)\b/.exec(line)?.[0] ?? line);
  };
  const handle = site();
  const browser = await logIn(handle, 'editor');
  expectPredicted('The lines of a login', printed(), ['put']);
  const copy = cookieOf(browser);
  await send(browser, '/logout');
  expectPredicted('The lines of a logout', printed(), ['put', 'delete']);
  expectEqual('The status for a copied cookie after the logout', await visitWith(handle, copy, '/dashboard'), 303);
});
