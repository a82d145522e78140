// Real Chromium visits the finished site: with a mouse or only with the keyboard, on a desk or on a
// phone, in light or dark mode, with and without scripts. All tests use one browser. Each test
// begins without cookies, and with a server of its own in this process.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { type Handler, toListener } from '../src/04-http.ts';
import { Browser } from '../src/16-browser.ts';
import { hashPassword } from '../src/21-password.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { strict } from '../src/37-strict.ts';
import { sendFast } from '../src/39-fast.ts';
import { site } from '../src/main.ts';
import { skipSlow } from '../.tools/quick.ts';
import { startChromium } from '../.tools/webdriver.ts';
import type { Chromium, View } from '../.tools/webdriver.ts';

const skip = skipSlow('test/chromium.test.ts');

const AUDIT = readFileSync(new URL('../.tools/audit.js', import.meta.url), 'utf8');

const DESK: View = { width: 1280, scheme: 'light' };
const PHONE: View = { width: 360, scheme: 'dark' };
const VIEWS: View[] = [
  { width: 1280, scheme: 'dark' },
  PHONE,
  { width: 320, scheme: 'light' }, // WCAG 1.4.10 Reflow: 1280 px at 400 %
  DESK, // the next test begins with this view
];

/** Roles that need a name (WCAG 4.1.2 Name, Role, Value). */
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
    users = new Map([['ada', await hashPassword('pw', 4)]]); // a fast hash
    browser = await startChromium();
  });

  after(async () => {
    await browser?.close().finally(() => { // the browser may request an icon until it closes
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
    assert.deepEqual(await complaints(), [], 'errors and warnings in the console');
  });

  /** Creates the finished site with this kind of session. */
  function create(SESSIONS: string, env = {}): void {
    handle = site({ SESSIONS, ...env }, undefined, users);
  }

  /** Serves the site at an origin of its own. */
  async function serveSite(kind = 'signed', env = {}): Promise<void> {
    create(kind, env);
    origin = await serve((request) => handle(request));
  }

  async function serve(handler: Handler): Promise<string> {
    const server = makePipelined(strict(toListener(handler, sendFast))).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return `http://localhost:${(server.address() as AddressInfo).port}`;
  }

  /** Returns the errors and warnings of the console since the last call. */
  async function complaints(): Promise<string[]> {
    const entries = (await browser.logs()).filter(({ level }) => /SEVERE|WARNING/.test(level));
    return entries.map(({ message }) => message.replaceAll(origin, ''));
  }

  /** The console reports each page that is an error. This page is the only one. */
  async function isError(path: string, status: number): Promise<void> {
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

  async function seeNot(words: string): Promise<void> {
    const text = await browser.text();
    assert.ok(!text.includes(words), `'${words}' is in: ${text}`);
  }

  async function logIn(password = 'pw'): Promise<void> {
    await browser.type('[name=username]', 'ada');
    await browser.type('[name=password]', password);
    await follow('main button');
  }

  /** Checks the open page with its inspector in every view. Throws with all problems. */
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

  /** Returns the elements that a screen reader cannot name. Chromium computes the names. */
  async function unnamed(): Promise<string[]> {
    type Node = { ignored: boolean; role?: { value: string }; name?: { value: string } };
    const { nodes } = await browser.devtools<{ nodes: Node[] }>('Accessibility.getFullAXTree');
    const bare = nodes.filter(({ ignored, name }) => !ignored && !name?.value.trim());
    const roles = bare.map(({ role }) => role?.value ?? '').filter((role) => NAMED.has(role));
    return roles.map((role) => `${role} without a name`);
  }

  it('site() counts on both pages, and continues after a restart', async () => {
    await open('/');
    await see('Count: 1');
    await browser.reload();
    await see('Count: 2');
    await open('/favicon.svg'); // this is not a visit
    await open('/howdy');
    await see('Count: 3');
    await audit();
    create('signed'); // nothing in memory; main.test.ts restarts a process
    await open('/');
    await see('Count: 4');
    assert.equal(await browser.run('return document.cookie'), '', 'no script can read it');
    const cookies = await browser.call<{ name: string; httpOnly: boolean }[]>('GET', '/cookie');
    assert.deepEqual(cookies.map(({ name, httpOnly }) => [name, httpOnly]), [['session', true]]);
  });

  it('site() in production: Chromium keeps __Host-session over http on localhost', async () => {
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

  it('site() shows the cookie in color, flips one bit, and explains other cookies', async () => {
    await open('/');
    await seeNot('"counter": 1');
    await browser.click('summary');
    await see('This site wrote it.', '"counter": 1');
    await open('/inspect');
    await see('This site wrote it.');
    await audit();
    await follow('form[action="/inspect"] button');
    await see('The site ignores it');
    await open('/');
    await see('Count: 2'); // the cookie of the visitor has not changed
    await open('/inspect/cookie');
    await browser.type('[name=header]', '__Host-a=1');
    await browser.click('[name=embedded]');
    await follow('main button');
    await see('A browser drops it.', 'needs Secure', 'A third-party cookie needs');
    await audit();
  });

  for (const kind of ['signed', 'encrypted', 'memory']) {
    it(`site() shows each part of the cookie with SESSIONS=${kind} in every view`, async () => {
      await serveSite(kind);
      await open('/');
      await unfold();
      await see('This site wrote it.');
      await audit();
    });
  }

  it('site() shows a missing page with its navigation', async () => {
    await open('/nowhere');
    await isError('/nowhere', 404);
    await see('404 Not Found', 'There is no page at /nowhere.');
    await audit();
    await follow('nav a');
    await see('Count: 1');
  });

  it('site() rejects a form on a page of another site, and on another port', async () => {
    await open('/cart');
    await follow('[aria-label="Add: Mug"]');
    const form = `<form method="post" action="${origin}/cart/empty"><button>Win</button></form>`;
    const page = { status: 200, headers: { 'content-type': 'text/html' }, body: form };
    const otherPort = await serve(() => page);
    // Ports share cookies: the form on the other port sends the cookie, the form of another site not.
    for (const [attacker, cart] of [
      [otherPort.replace('localhost', '127.0.0.1'), 'Cart\n'],
      [otherPort, 'Cart (1)'],
    ] as const) {
      await browser.open(attacker);
      await follow('button');
      await isError('/cart/empty', 403);
      await see('403 Forbidden', 'Nothing was done.', cart);
    }
    await audit();
  });

  for (const [scripts, view] of [['on', DESK], ['off', PHONE]] as const) {
    it(`site() works for a whole visit with scripts ${scripts} at ${view.width} px`, async (t) => {
      const look = scripts === 'on' ? audit : () => {}; // one audit is enough
      await browser.look(view);
      await browser.allowScripts(scripts === 'on');
      t.after(() => browser.allowScripts(true));
      const probe = '<p>Scripts are off<script>document.body.innerText = "Scripts are on"</script>';
      await browser.open(`data:text/html,${probe}`);
      await see(`Scripts are ${scripts}`);

      await open('/articles');
      await follow('main button');
      await isError('/articles', 422);
      await see('The title must have 1 to 100 characters, not 0.');
      await look();
      await browser.type('[name=title]', '<b>Tea');
      await browser.type('[name=body]', 'Hot.');
      await follow('main button');
      await see('Article saved', '<b>Tea');
      await look();
      await browser.reload();
      await seeNot('Article saved');
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
      await isError('/login', 422);
      await see('The name or the password is wrong.');
      await look();
      await logIn();
      assert.equal(await where(), '/dashboard');
      await see('Hello, ada', 'Logged in as ada', 'Cart (3)');
      await look();

      await follow('.user button');
      await see('You are logged out.', 'Count: 1');
      await seeNot('Cart (');
      await browser.back();
      await see('Password'); // the browser requested the dashboard again, and was sent to the login
      await seeNot('ada');
    });
  }

  it('site() lists the sessions of a user, ends one, and ends all others', async () => {
    await serveSite('memory');
    const others = await Promise.all(['Phone', 'Library', 'Work'].map(async (agent) => {
      const other = new Browser(handle, origin); // in memory
      const headers = { 'user-agent': agent, 'sec-fetch-site': 'same-origin' };
      await other.request('POST', '/login', 'username=ada&password=pw', headers);
      return other;
    }));
    const statuses = async (): Promise<number[]> =>
      Promise.all(others.map(async (other) => (await other.request('GET', '/dashboard')).status));
    await open('/login?next=/sessions');
    await logIn();
    await see('Phone', 'Library', 'Work', 'This browser.');
    await audit();
    assert.deepEqual(await statuses(), [200, 200, 200]);
    await follow('[aria-label="End: Phone"]');
    await seeNot('Phone');
    assert.deepEqual(await statuses(), [303, 200, 200]);
    await follow('form[action="/sessions/end-others"] button');
    await seeNot('Library');
    await see('This browser.');
    assert.deepEqual(await statuses(), [303, 303, 303]);
  });

  it('site() works with only Tab, Enter and Space', async () => {
    /** Presses Tab until the focus is on the element. */
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
    assert.equal(await focused(), 'Look inside the session', 'the element after the content');
    await browser.press('Space');
    await see('The signature');

    await open('/cart');
    await tabTo('[aria-label="Add: Teapot"]');
    await press('Space');
    await tabTo('[name=quantity]');
    await browser.press('2'); // Tab has selected the old value
    await press('Enter');
    await see('Cart (2)');

    await tabTo('nav a[href="/login"]');
    await press('Enter');
    await tabTo('[name=username]');
    await browser.press(...'ada', 'Tab', ...'pw');
    await press('Enter');
    await see('Logged in as ada', 'Cart (2)');
    await tabTo('.user button');
    await press('Enter');
    await see('You are logged out.');
  });

  it('site() shows the focus at each stop, in the order of the page', async () => {
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
      assert.equal(index, 0, `${path}: back to the first stop`);
    }
  });

  it('audit() and the console report each fault of a page with all faults', async () => {
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
