// Real Chromium goes through the finished site as people do: with a mouse or with the keyboard
// alone, on a desk or on a phone, by light or by dark, with scripts or without. One browser is
// enough for all: each test begins with no cookie, and with a server of its own in this process.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { makeServer } from '../src/01-server.ts';
import { toListener } from '../src/02-http.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import { Browser } from '../src/08-browser.ts';
import { hashPassword } from '../src/16-login.ts';
import { site } from '../src/main.ts';
import { hasChromium, HOW_TO_GET, startChromium } from '../.tools/webdriver.ts';
import type { Chromium, View } from '../.tools/webdriver.ts';

const skip = !process.env.CI && !hasChromium() ? `needs Chromium: ${HOW_TO_GET}` : false;

const AUDIT = readFileSync(new URL('../.tools/audit.js', import.meta.url), 'utf8');

const DESK: View = { width: 1280, scheme: 'light' };
const PHONE: View = { width: 360, scheme: 'dark' };
const VIEWS: View[] = [
  { width: 1280, scheme: 'dark' },
  PHONE,
  { width: 320, scheme: 'light' }, // WCAG 1.4.10 Reflow: what 1280 px are at 400 %
  DESK, // and so it stays
];

/** Roles that are of no use without a name (WCAG 4.1.2 Name, Role, Value). */
const NAMED = new Set([
  'button', 'checkbox', 'DisclosureTriangle', 'heading', 'image', 'link', 'meter', 'spinbutton',
  'textbox',
]);

type Stop = { index: number; name: string; faults: string[] };

describe('Chromium', { skip, timeout: 60_000 }, () => {
  const servers: Server[] = [];
  let browser: Chromium;
  let users: ReadonlyMap<string, string>;
  let handle: Handler;
  let origin = '';

  before(async () => {
    users = new Map([['ada', await hashPassword('pw', 4)]]); // a cheap one
    browser = await startChromium();
  });

  after(async () => {
    await browser?.close().finally(() => { // not sooner: a browser asks for favicons when it likes
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
    });
  });

  beforeEach(async () => {
    await browser.devtools('Network.clearBrowserCookies');
    await browser.look(DESK);
    await serveSite();
  });

  afterEach(async () => {
    assert.deepEqual(await complaints(), [], 'what the console complains of');
  });

  /** Begins a finished site, with sessions of this kind. */
  function begin(SESSIONS: string, env = {}): HttpResponse['headers'] {
    const { handle: finished, headers } = site({ SESSIONS, ...env }, undefined, users);
    handle = finished;
    return headers;
  }

  /** Serves it at an origin of its own. */
  async function serveSite(kind = 'signed', env = {}): Promise<void> {
    origin = await serve((request) => handle(request), begin(kind, env));
  }

  async function serve(handler: Handler, headers: HttpResponse['headers'] = {}): Promise<string> {
    const server = makeServer(toListener(handler, headers)).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return `http://localhost:${(server.address() as AddressInfo).port}`;
  }

  /** Errors and warnings that the console has shown since the last call: none can be overlooked. */
  async function complaints(): Promise<string[]> {
    const entries = (await browser.logs()).filter(({ level }) => /SEVERE|WARNING/.test(level));
    return entries.map(({ message }) => message.replaceAll(origin, ''));
  }

  /** The console names each page that is an error. This one was to be, and is the only one. */
  async function isRefused(path: string, status: number): Promise<void> {
    const [complaint = '', ...others] = await complaints();
    assert.ok(complaint.startsWith(`${path} - `) && complaint.includes(` ${status} `), complaint);
    assert.deepEqual(others, []);
  }

  const open = (path: string): Promise<unknown> => browser.open(origin + path);
  const follow = (selector: string): Promise<void> => browser.follow(() => browser.click(selector));
  const where = (): Promise<string> => browser.run('return location.pathname + location.search');

  async function see(...words: string[]): Promise<void> {
    const text = await browser.text();
    for (const word of words) assert.ok(text.includes(word), `no '${word}' in: ${text}`);
  }

  async function seeNo(words: string): Promise<void> {
    const text = await browser.text();
    assert.ok(!text.includes(words), `'${words}' is in: ${text}`);
  }

  async function logIn(password = 'pw'): Promise<void> {
    await browser.type('[name=name]', 'ada');
    await browser.type('[name=password]', password);
    await follow('main button');
  }

  /** Looks at the open page, its panel unfolded, in every view. Throws with all that is wrong. */
  async function audit(): Promise<void> {
    await unfold();
    const faults = await unnamed();
    for (const view of VIEWS) {
      await browser.look(view);
      const found = await browser.run<string[]>(`${AUDIT} return audit();`);
      faults.push(...found.map((fault) => `${view.width} px, ${view.scheme}: ${fault}`));
    }
    assert.deepEqual(faults, [], await where());
  }

  const unfold = (): Promise<void> =>
    browser.run("document.querySelector('details')?.setAttribute('open', '')");

  /** What a screen reader would have no word for: Chromium itself works out the names. */
  async function unnamed(): Promise<string[]> {
    type Node = { ignored: boolean; role?: { value: string }; name?: { value: string } };
    const { nodes } = await browser.devtools<{ nodes: Node[] }>('Accessibility.getFullAXTree');
    const bare = nodes.filter(({ ignored, name }) => !ignored && !name?.value.trim());
    const roles = bare.map(({ role }) => role?.value ?? '').filter((role) => NAMED.has(role));
    return roles.map((role) => `${role} without a name`);
  }

  it('site() counts up on reload and on both pages, and counts on after a restart', async () => {
    await open('/');
    await see('Count: 1');
    await browser.reload();
    await see('Count: 2');
    await open('/favicon.svg'); // does not count
    await open('/howdy');
    await see('Count: 3');
    await audit();
    begin('signed'); // anew, with nothing in memory; main.test.ts does it with a process
    await open('/');
    await see('Count: 4');
    assert.equal(await browser.run('return document.cookie'), '', 'no script gets at it');
    const cookies = await browser.call<{ name: string; httpOnly: boolean }[]>('GET', '/cookie');
    assert.deepEqual(cookies.map(({ name, httpOnly }) => [name, httpOnly]), [['session', true]]);
  });

  it('site() has its cookie __Host-session kept over http on localhost, in production', async () => {
    const SESSION_SECRET = 'a secret of thirty-two characters';
    await serveSite('signed', { NODE_ENV: 'production', SESSION_SECRET });
    for (const path of ['/', '/howdy']) await open(path);
    await see('Count: 2');
    await open('/login');
    await logIn();
    await see('Hello, ada');
    await follow('.user button');
    await see('You are logged out.');
    const cookies = await browser.call<{ name: string; secure: boolean }[]>('GET', '/cookie');
    assert.deepEqual(cookies.map(({ name, secure }) => [name, secure]), [['__Host-session', true]]);
  });

  it('site() takes the cookie apart, explains others, and refuses one flipped bit', async () => {
    await open('/');
    await seeNo('The verdict');
    await browser.click('summary');
    await see('The verdict', '"counter": 1');
    await open('/inspect');
    await see('Ours, and alive.');
    await browser.type('[name=line]', '__Host-a=1');
    await browser.click('[name=cross-site]');
    await follow('form[method=get] button');
    await see('A browser drops it.', 'came without Secure', 'Another site asked');
    await audit();
    // No policy of a page bars the style in an image: cookie.svg is as light or dark as the page,
    // from the next frame on.
    const paper = `const context = document.createElement('canvas').getContext('2d');
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
return frame().then(frame).then(() => {
  context.drawImage(document.querySelector('img'), 0, 0);
  return [...context.getImageData(20, 20, 1, 1).data];
});`;
    assert.deepEqual(await browser.run(paper), [0xf4, 0xf0, 0xe6, 255]);
    await browser.look(PHONE);
    assert.deepEqual(await browser.run(paper), [0x1f, 0x23, 0x29, 255]);
    await follow('form[method=post] button');
    await see('Not to be trusted');
    await open('/');
    await see('Count: 1');
  });

  for (const kind of ['signed', 'encrypted', 'memory']) {
    it(`site() shows every part of the cookie with SESSIONS=${kind}, in every view`, async () => {
      await serveSite(kind);
      await open('/');
      await unfold();
      await see('The verdict', 'Ours, and alive.');
      await audit();
    });
  }

  it('site() shows in its frame that a page is not there', async () => {
    await open('/nowhere');
    await isRefused('/nowhere', 404);
    await see('404 Not Found', 'There is no page at /nowhere.');
    await audit();
    await follow('nav a');
    await see('Count: 1');
  });

  it('site() refuses a form on a page of another site, and of a neighbour', async () => {
    await open('/cart');
    await follow('[aria-label="Add: Mug"]');
    const form = `<form method="post" action="${origin}/cart/empty"><button>Win</button></form>`;
    const page = { status: 200, headers: { 'content-type': 'text/html' }, body: form };
    const neighbour = await serve(() => page);
    // Cookies know no ports: the neighbour's form brings ours along, the other site's does not.
    for (const [asking, cart] of [
      [neighbour.replace('localhost', '127.0.0.1'), 'Cart\n'],
      [neighbour, 'Cart (1)'],
    ] as const) {
      await browser.open(asking);
      await follow('button');
      await isRefused('/cart/empty', 403);
      await see('403 Forbidden', 'Nothing was done.', cart);
    }
    await audit();
  });

  for (const [scripts, view] of [['on', DESK], ['off', PHONE]] as const) {
    it(`site() serves a whole visit with scripts ${scripts}, ${view.width} px wide`, async (t) => {
      const look = scripts === 'on' ? audit : () => {}; // once is enough
      await browser.look(view);
      await browser.allowScripts(scripts === 'on');
      t.after(() => browser.allowScripts(true));
      const probe = '<p>Scripts are off<script>document.body.innerText = "Scripts are on"</script>';
      await browser.open(`data:text/html,${probe}`);
      await see(`Scripts are ${scripts}`);

      await open('/articles');
      await follow('main button');
      await isRefused('/articles', 422);
      await see('A title has one line', 'A text has 1 to 5000 characters.');
      await look();
      await browser.type('[name=title]', '<b>Tea');
      await browser.type('[name=body]', 'Hot.');
      await follow('main button');
      await see('Article saved successfully!', '<b>Tea');
      await look();
      await browser.reload();
      await seeNo('Article saved');
      await see('<b>Tea');

      await open('/cart');
      for (const name of ['Mug', 'Teapot']) await follow(`[aria-label="Add: ${name}"]`);
      await browser.type('[aria-label="Quantity: Mug"]', '3');
      await follow('[aria-label="Change: Mug"]');
      await see('Cart (4)', '3 for € 37.50', 'Total: € 75.50');
      await look();
      await browser.type('[name=note]', '<i>Hi');
      await follow('form[action="/cart/note"] button');
      await follow('[aria-label="Remove: Teapot"]');
      await see('Cart (3)', 'Total: € 37.50');
      const note = "return document.querySelector('[name=note]').value";
      assert.equal(await browser.run(note), '<i>Hi');

      await open('/dashboard');
      assert.equal(await where(), '/login?next=%2Fdashboard');
      await logIn('no');
      await isRefused('/login', 422);
      await see('The name or the password is wrong.');
      await look();
      await logIn();
      assert.equal(await where(), '/dashboard');
      await see('Hello, ada', 'Logged in as ada', 'Cart (3)');
      await look();

      await follow('.user button');
      await see('You are logged out.', 'Count: 1');
      await seeNo('Cart (');
      await browser.back();
      await see('Password'); // the dashboard was asked for anew, and is not shown
      await seeNo('ada');
    });
  }

  it('site() lists the sessions of a user, ends one, and ends all others', async () => {
    await serveSite('memory');
    const others = await Promise.all(['Phone', 'Library', 'Work'].map(async (agent) => {
      const other = new Browser(handle, origin); // of step 8, in memory
      const asked = { 'user-agent': agent, 'sec-fetch-site': 'same-origin' };
      await other.request('POST', '/login', 'name=ada&password=pw', asked);
      return other;
    }));
    const whoIsIn = async (): Promise<number[]> =>
      Promise.all(others.map(async (other) => (await other.request('GET', '/dashboard')).status));
    await open('/login?next=/sessions');
    await logIn();
    await see('Phone', 'Library', 'Work', 'This browser.');
    await audit();
    assert.deepEqual(await whoIsIn(), [200, 200, 200]);
    await follow('[aria-label="End: Phone"]');
    await seeNo('Phone');
    assert.deepEqual(await whoIsIn(), [303, 200, 200]);
    await follow('form[action="/sessions/end-others"] button');
    await seeNo('Library');
    await see('This browser.');
    assert.deepEqual(await whoIsIn(), [303, 303, 303]);
  });

  it('site() is used with Tab, Enter and Space alone', async () => {
    /** Presses Tab until it is there, as a person does who looks for the ring. */
    const tabTo = async (selector: string): Promise<void> => {
      const isThere = `return document.activeElement.matches('${selector}')`;
      for (let tabs = 0; tabs < 50; tabs++) {
        await browser.press('Tab');
        if (await browser.run<boolean>(isThere)) return;
      }
      assert.fail(`Tab does not lead to ${selector}`);
    };
    const press = (key: string): Promise<void> => browser.follow(() => browser.press(key));
    const focused = (): Promise<string> => browser.run('return document.activeElement.innerText');

    await open('/');
    await browser.press('Tab');
    assert.equal(await focused(), 'To the content');
    await browser.press('Enter');
    assert.equal(await browser.run('return document.activeElement.tagName'), 'MAIN');
    await browser.press('Tab');
    assert.equal(await focused(), 'Look inside the session', 'what follows the content');
    await browser.press('Space');
    await see('The signature');

    await open('/cart');
    await tabTo('[aria-label="Add: Teapot"]');
    await press('Space');
    await tabTo('[name=quantity]');
    await browser.press('2'); // Tab has selected what stood there
    await press('Enter');
    await see('Cart (2)');

    await tabTo('nav a[href="/login"]');
    await press('Enter');
    await tabTo('[name=name]');
    await browser.press(...'ada', 'Tab', ...'pw');
    await press('Enter');
    await see('Logged in as ada', 'Cart (2)');
    await tabTo('.user button');
    await press('Enter');
    await see('You are logged out.');
  });

  it('site() shows where the focus is, at each stop, in the order of the page', async () => {
    await open('/cart');
    await follow('[aria-label="Add: Teapot"]');
    for (const [path, view] of [['/cart', PHONE], ['/inspect', DESK]] as const) {
      await open(path);
      await browser.look(view);
      await unfold();
      const count = await browser.run<number>(`${AUDIT} return stops().length;`);
      for (let index = 0; index < count; index++) {
        await browser.press('Tab');
        const { name, ...stop } = await browser.run<Stop>(`${AUDIT} return focus();`);
        assert.deepEqual(stop, { index, faults: [] }, `${path}: ${name}`);
      }
      await browser.press(...Array<string>(count - 1).fill('Shift+Tab'));
      const { index } = await browser.run<Stop>(`${AUDIT} return focus();`);
      assert.equal(index, 0, `${path}: and all the way back`);
    }
  });

  it('audit() and the console tell each fault of a page that has them all', async () => {
    const body = `<!doctype html><title> </title>
<link rel="stylesheet" href="data:text/css,*{}"><script>document.title = 'Fine'</script>
<style>body { margin: 0; background: #fff } :focus { outline: 2px solid #bbb }
p { color: #888 } p::before { content: '!'; color: #999 } div { width: 2000px }
input { border: 1px solid #ddd; width: 9px; margin: 0 }</style>
<p>Pale</p><div>Wide</div><input><a href="/"></a><img src="/" alt="">`;
    const policy = "style-src 'unsafe-inline'; script-src 'none'";
    const headers = { 'content-type': 'text/html', 'content-security-policy': policy };
    await browser.open(await serve(() => ({ status: 200, headers, body })));
    assert.deepEqual(await unnamed(), ['textbox without a name', 'link without a name']);
    assert.deepEqual(await browser.run(`${AUDIT} return audit();`), [
      'the page has no language',
      'the page has no title',
      '0 <h1>',
      '0 <main>',
      '0 <nav>',
      '2000 px wide in 1280 px, for <div> Wide',
      '<p> Pale has contrast 3.54',
      '<p> Pale has contrast 2.85', // its ::before
      '<input>: its border has 1.36',
      '<input> is too small',
      '<img src="/" alt=""> is broken',
    ]);
    await browser.press('Tab');
    const { faults } = await browser.run<Stop>(`${AUDIT} return focus();`);
    assert.deepEqual(faults, ['a ring of contrast 1.92', 'not all in sight']);
    const [style = '', script = '', ...more] = await complaints();
    assert.match(style, /Content Security Policy/);
    assert.match(script, /Content Security Policy/);
    assert.deepEqual(more, []);
  });
});
