import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { send } from '../.tools/login.ts';
import { Browser } from '../src/16-browser.ts';
import { site } from '../src/19-rescue.ts';

check('/closed is a 503 with a sentence, and a long note is still a 422', async () => {
  const browser = new Browser(site());
  const closed = await browser.get('/closed');
  expectEqual('The status of /closed', closed.status, 503);
  expectParts('The page /closed', shownText(closed), 'We open at nine.');
  const { status } = await send(browser, '/cart/note', { note: '€'.repeat(2000) });
  expectEqual('The status for a note that is too long', status, 422);
});
