// npm run screenshots    makes the pictures of README.md and LESSON.md anew, by real Chromium
//
// They are no part of a site: step 5 reads all of public/ into memory and shows it to everybody. So
// they have a folder of their own, .pictures/, which no server looks into.
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeServer } from '../src/01-server.ts';
import { toListener } from '../src/02-http.ts';
import type { Handler } from '../src/02-http.ts';
import { site as routed } from '../src/03-router.ts';
import { site as escaped } from '../src/04-template.ts';
import { Browser } from '../src/08-browser.ts';
import { DEMO, SignedCookieSessionFactory } from '../src/11-session-factory.ts';
import { site as inspected } from '../src/12-inspector.ts';
import { site as articles } from '../src/13-flash.ts';
import { site as shop } from '../src/15-cart.ts';
import { hashPassword } from '../src/16-login.ts';
import { EncryptedCookieSessionFactory, site as encrypted } from '../src/17-encryption.ts';
import { site as finished } from '../src/main.ts';
import { withPalette } from './palette.ts';
import { hasChromium, HOW_TO_GET, startChromium } from './webdriver.ts';
import type { View } from './webdriver.ts';

const FOLDER = fileURLToPath(new URL('../.pictures/', import.meta.url));
const MARGIN = 12; // CSS pixels below what is shown last

type Picture = {
  handle: Handler;
  view: View;
  /** Goes to what is to be seen. */
  visit(): Promise<void>;
  /** The last element that is in the picture. */
  last: string;
};

let time = Date.UTC(2027, 0, 15, 8) / 1000; // for the sites; a visit takes some seconds a page
const now = (): number => time;
const users = new Map([['editor', await hashPassword('editor', 4)]]);
const signed = new SignedCookieSessionFactory({ ...DEMO, now });
const sealed = new EncryptedCookieSessionFactory({ ...DEMO, now });
const atDesk = finished({ SESSIONS: 'memory' }, now, users).handle;

const LIGHT: View = { width: 720, scheme: 'light' };
const SMALL: View = { width: 560, scheme: 'light' };
const PHONE: View = { width: 360, scheme: 'dark' };
const SCRIPT = "<script>document.write('nobody. This shop is closed.')</script>";

const PICTURES: Record<string, Picture> = {
  'inspector.png': {
    handle: finished({}, now).handle,
    view: LIGHT,
    async visit() {
      await open('/', '/howdy', '/');
      await browser.click('summary');
    },
    last: 'details',
  },
  '03-script-runs.png': {
    handle: routed().handle,
    view: SMALL,
    visit: () => open(`/hello/${encodeURIComponent(SCRIPT)}`),
    last: 'h1',
  },
  '04-script-shown.png': {
    handle: escaped().handle,
    view: SMALL,
    visit: () => open(`/hello/${encodeURIComponent(SCRIPT)}`),
    last: 'h1',
  },
  '12-bit-flipped.png': {
    handle: inspected(signed).handle,
    view: LIGHT,
    async visit() {
      await open('/', '/howdy', '/inspect');
      await follow('form[method=post] button');
    },
    last: 'dl:last-of-type > dd:nth-of-type(3)',
  },
  '13-flash.png': {
    handle: articles(signed).handle,
    view: LIGHT,
    async visit() {
      await open('/articles');
      await browser.type('[name=title]', 'On tea');
      await browser.type('[name=body]', 'It is hot.');
      await follow('main button');
    },
    last: 'article',
  },
  '15-cart.png': {
    handle: shop(new SignedCookieSessionFactory({ ...DEMO, now })).handle,
    view: PHONE,
    async visit() {
      await open('/cart');
      for (const name of ['Tea, a tin', 'Teapot']) await follow(`[aria-label="Add: ${name}"]`);
      await browser.type('[name=quantity]', '2');
      await follow('[aria-label^=Change]');
    },
    last: 'ul.lines:last-of-type',
  },
  '17-encrypted.png': {
    handle: encrypted(sealed, users).handle,
    view: LIGHT,
    visit: () => open('/', '/inspect'),
    last: 'dl:last-of-type > dd:nth-of-type(4)',
  },
  '19-sessions.png': {
    handle: atDesk,
    view: LIGHT,
    async visit() {
      for (const agent of ['Phone', 'Library']) {
        const asked = { 'user-agent': agent, 'sec-fetch-site': 'same-origin' };
        await new Browser(atDesk).request('POST', '/login', 'name=editor&password=editor', asked);
        time += 5 * 60;
      }
      await browser.devtools('Emulation.setUserAgentOverride', { userAgent: 'Desk' });
      await open('/login?next=/sessions');
      await browser.type('[name=name]', 'editor');
      await browser.type('[name=password]', 'editor');
      await follow('main button');
    },
    last: 'main > form',
  },
};

if (!hasChromium()) {
  console.error(`Cannot take pictures: this needs Chromium: ${HOW_TO_GET}`);
  process.exit(1);
}
const browser = await startChromium();
await browser.devtools('Emulation.setScrollbarsHidden', { hidden: true });
let origin = '';

async function open(...paths: string[]): Promise<void> {
  for (const path of paths) {
    await browser.open(origin + path);
    time += 20;
  }
}

const follow = (selector: string): Promise<void> => browser.follow(() => browser.click(selector));

/** The page as it is, down to the last element that is wanted. */
async function take({ view, last }: Picture): Promise<Buffer> {
  const rect = `document.querySelector('${last}').getBoundingClientRect()`;
  const bottom = await browser.run<number>(`return ${rect}.bottom + scrollY`);
  await browser.look({ ...view, height: Math.ceil(bottom) + MARGIN });
  return withPalette(await browser.screenshot());
}

mkdirSync(FOLDER, { recursive: true });
try {
  for (const [name, picture] of Object.entries(PICTURES)) {
    const server = makeServer(toListener(picture.handle)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    origin = `http://localhost:${(server.address() as AddressInfo).port}`;
    await browser.devtools('Network.clearBrowserCookies');
    await browser.look(picture.view);
    await picture.visit();
    const bytes = await take(picture);
    writeFileSync(join(FOLDER, name), bytes);
    console.log(`${name}  ${bytes.length} bytes`);
    server.close();
    server.closeAllConnections();
  }
} finally {
  await browser.close();
}
