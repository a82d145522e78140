import { check, expectEqual } from '../.tools/check.ts';
import { Browser } from '../src/16-browser.ts';
import { site } from '../src/17-csrf.ts';

check('the site trusts http://localhost:7000, and no other origin', async () => {
  const browser = new Browser(site());
  const origins = [
    ['http://localhost:7000', 'same-site', 303], ['http://localhost:7001', 'same-site', 403],
    ['https://evil.example', 'cross-site', 403], ['http://localhost:6543', 'same-origin', 303],
  ] as const;
  for (const [origin, fetchSite, expected] of origins) {
    const headers = { origin, 'sec-fetch-site': fetchSite };
    const { status } = await browser.request('POST', '/articles', 'title=a&body=b', headers);
    expectEqual(`The status of a form from ${origin}`, status, expected);
  }
});
