// npm run screenshots    creates the pictures of README.md and LESSON.md with real Chromium
//
// The pictures are not a part of a site, because step 34 serves all of public/. So they have a folder
// of their own, .pictures/, which no server reads.
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Handler, toListener } from '../src/04-http.ts';
import { site as inspected } from '../src/10-inspector.ts';
import { site as flashed } from '../src/14-flash.ts';
import { Browser } from '../src/16-browser.ts';
import { site as rescued } from '../src/20-layout.ts';
import { hashPassword } from '../src/21-password.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { site as finished } from '../src/main.ts';
import { withPalette } from './palette.ts';
import { hasChromium, HOW_TO_GET, startChromium } from './webdriver.ts';
import type { View } from './webdriver.ts';

const FOLDER = fileURLToPath(new URL('../.pictures/', import.meta.url));
const MARGIN = 12; // CSS pixels below the last element

type Picture = {
  handle: Handler;
  view: View;
  /** Opens the page that the picture shows. */
  visit(): Promise<void>;
  /** The last element that is in the picture. */
  last: string;
};

let time = Date.UTC(2027, 0, 15, 8) / 1000; // the clock of the sites
const now = (): number => time;
const users = new Map([['editor', await hashPassword('editor', 4)]]);
const atDesk = finished({ SESSIONS: 'memory' }, now, users);

const LIGHT: View = { width: 720, scheme: 'light' };
const PHONE: View = { width: 360, scheme: 'dark' };

const PICTURES: Record<string, Picture> = {
  'inspector.png': {
    handle: finished({}, now),
    view: LIGHT,
    async visit() {
      await open('/', '/howdy', '/');
      await browser.click('summary');
    },
    last: 'details',
  },
  '10-bit-flipped.png': {
    handle: inspected(),
    view: LIGHT,
    async visit() {
      await open('/', '/howdy', '/inspect');
      await follow('form[action="/inspect"] button');
    },
    last: 'main form',
  },
  '14-flash.png': {
    handle: flashed(),
    view: LIGHT,
    async visit() {
      await open('/articles');
      await browser.type('[name=title]', 'On tea');
      await browser.type('[name=body]', 'It is hot.');
      await follow('main button');
    },
    last: 'article',
  },
  '18-cart.png': {
    handle: rescued(),
    view: PHONE,
    async visit() {
      await open('/cart');
      for (const name of ['Tea, a tin', 'Teapot']) await follow(`[aria-label="Add: ${name}"]`);
      await browser.type('[name=quantity]', '2');
      await follow('[aria-label^=Change]');
    },
    last: 'ul.lines:last-of-type',
  },
  '24-encrypted.png': {
    handle: finished({ SESSIONS: 'encrypted' }, now),
    view: LIGHT,
    async visit() {
      await open('/cart');
      await browser.type('[name=note]', 'For Ada, with love');
      await follow('[action="/cart/note"] button');
      await open('/inspect');
    },
    last: 'main form',
  },
  '28-sessions.png': {
    handle: atDesk,
    view: LIGHT,
    async visit() {
      for (const agent of ['Phone', 'Library']) {
        const headers = { 'user-agent': agent, 'sec-fetch-site': 'same-origin' };
        await new Browser(atDesk).request('POST', '/login', 'username=editor&password=editor', headers);
        time += 5 * 60;
      }
      await browser.devtools('Emulation.setUserAgentOverride', { userAgent: 'Desk' });
      await open('/login?next=/sessions');
      await browser.type('[name=username]', 'editor');
      await browser.type('[name=password]', 'editor');
      await follow('main button');
    },
    last: 'main > form',
  },
};

if (!hasChromium()) {
  console.error(`Cannot take pictures without Chromium: ${HOW_TO_GET}`);
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

/** Takes a picture of the page, down to the last element. */
async function take({ view, last }: Picture): Promise<Buffer> {
  const rect = `document.querySelector('${last}').getBoundingClientRect()`;
  const bottom = await browser.run<number>(`return ${rect}.bottom + scrollY`);
  await browser.look({ ...view, height: Math.ceil(bottom) + MARGIN });
  return withPalette(await browser.screenshot());
}

mkdirSync(FOLDER, { recursive: true });
try {
  for (const [name, picture] of Object.entries(PICTURES)) {
    const server = makePipelined(toListener(picture.handle)).listen(0, '127.0.0.1');
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
