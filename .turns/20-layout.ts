import { check, expectEqual } from '../.tools/check.ts';
import { bodyText } from '../.tools/request.ts';
import { Browser } from '../src/16-browser.ts';
import { site } from '../src/20-layout.ts';

check('each page has the footer once, and error pages too', async () => {
  const browser = new Browser(site());
  for (const path of ['/', '/articles', '/cart', '/inspect', '/nonsense']) {
    const page = bodyText(await browser.request('GET', path, '', { accept: 'text/html' }));
    const footers = page.split('</main>').map((part) => part.split('<p>Made by hand</p>').length - 1);
    expectEqual(`The number of footers before and after </main> in ${path}`, footers, [0, 1]);
  }
});
