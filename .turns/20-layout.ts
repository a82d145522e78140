import { check, expectEqual } from '../.tools/check.ts';
import { bodyText } from '../.tools/request.ts';
import { Browser } from '../src/16-browser.ts';
import { site } from '../src/20-layout.ts';

check('each page has the footer once, and error pages too', async () => {
  const browser = new Browser(site());
  for (const path of ['/', '/articles', '/cart', '/inspect', '/nonsense']) {
    const page = bodyText(await browser.request('GET', path, '', { accept: 'text/html' }));
    const counts = page.split('</main>').map((part) => part.split('Made by hand').length - 1);
    expectEqual(`The texts 'Made by hand' before and after </main> of ${path}`, counts, [0, 1]);
  }
});
