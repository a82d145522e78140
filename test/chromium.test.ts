// Real Chromium visits the finished site, driven by the W3C WebDriver protocol with fetch alone.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const hasChromium = ['chromium', 'chromedriver'].every(
  (program) => spawnSync(program, ['--version']).status === 0,
);
const skip =
  !hasChromium && !process.env.CI
    ? 'needs Chromium: on Debian or Ubuntu, apt-get install chromium chromium-driver'
    : false;

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const tsx = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];

/** Starts a program, and gives the first port that it prints after `pattern`. */
async function start(
  command: string,
  args: string[],
  pattern: RegExp,
  env: Record<string, string> = {},
): Promise<{ child: ChildProcess; port: string }> {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  const port = await new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${command} ended, having said: ${printed}`)));
    child.stdout.on('data', (chunk: Buffer) => {
      printed += String(chunk);
      const found = pattern.exec(printed)?.[1];
      if (found) resolve(found);
    });
  });
  return { child, port };
}

const startSite = (port = '0') =>
  start(process.execPath, [...tsx, MAIN], /localhost:(\d+)/, { PORT: port, SESSION_SECRET: '' });

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

const OPTIONS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

describe('Chromium', { skip, timeout: 60_000 }, () => {
  const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
  let driver: ChildProcess;
  let site: ChildProcess;
  let session = ''; // the WebDriver session's URL
  let origin = '';
  let driverPort = '';

  before(async () => {
    const started = await start('chromedriver', ['--port=0'], /successfully on port (\d+)/);
    [driver, driverPort] = [started.child, started.port];
  });

  after(async () => {
    for (const child of [site, driver]) await stop(child);
    rmSync(profile, { recursive: true, force: true });
  });

  beforeEach(async () => {
    const server = await startSite();
    [site, origin] = [server.child, `http://localhost:${server.port}`];
    await openBrowser();
  });

  /** Starts a Chromium that has no cookie of ours, with `prefs` of its own. */
  async function openBrowser(prefs: object = {}): Promise<void> {
    const options = { args: [...OPTIONS, `--user-data-dir=${profile}`], prefs };
    const wanted = { browserName: 'chrome', 'goog:chromeOptions': options };
    const capabilities = { alwaysMatch: { ...wanted, 'goog:loggingPrefs': { browser: 'ALL' } } };
    session = `http://127.0.0.1:${driverPort}/session`;
    const { sessionId } = (await call('POST', '', { capabilities })) as { sessionId: string };
    session += `/${sessionId}`;
    await call('DELETE', '/cookie');
  }

  afterEach(async () => {
    await call('DELETE', '');
    await stop(site);
  });

  async function call(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(session + path, {
      method,
      ...(body && { body: JSON.stringify(body) }),
    });
    const { value } = (await response.json()) as { value: unknown };
    assert.ok(response.ok, `WebDriver ${method} ${path}: ${JSON.stringify(value)}`);
    return value;
  }

  const open = (path: string) => call('POST', '/url', { url: origin + path });
  const run = (script: string) => call('POST', '/execute/sync', { script, args: [] });
  const count = () => run('return /Count: \\d+/.exec(document.body.innerText)?.[0]');

  const textOfPage = async () => String(await call('GET', `${await find('body')}/text`));

  /** Asks until the page says so: a click returns before the page that it leads to is there. */
  async function see(words: string): Promise<void> {
    let text = '';
    for (let tries = 0; tries < 500 && !text.includes(words); tries++) {
      text = await textOfPage().catch((error) => String(error)); // a page may go away meanwhile
    }
    assert.ok(text.includes(words), `the page never said '${words}': ${text}`);
  }

  async function seeNo(words: string): Promise<void> {
    const text = await textOfPage();
    assert.ok(!text.includes(words), `the page says '${words}': ${text}`);
  }

  async function find(selector: string): Promise<string> {
    const found = await call('POST', '/element', { using: 'css selector', value: selector });
    return `/element/${Object.values(found as object)[0]}`;
  }

  const click = async (selector: string) => call('POST', `${await find(selector)}/click`, {});

  const type = async (selector: string, text: string) =>
    call('POST', `${await find(selector)}/value`, { text });

  it('counts up on reload and across / and /howdy, and the favicon does not count', async () => {
    await open('/');
    assert.equal(await count(), 'Count: 1');
    await call('POST', '/refresh', {});
    assert.equal(await count(), 'Count: 2');
    await open('/favicon.svg');
    await open('/howdy');
    assert.equal(await count(), 'Count: 3');
    assert.equal(await run('return document.title'), 'Quick Tutorial: Hello View');
  });

  it('keeps the count over a restart of the server', async () => {
    await open('/');
    await stop(site);
    site = (await startSite(new URL(origin).port)).child;
    await open('/');
    assert.equal(await count(), 'Count: 2');
  });

  it('hides the cookie from scripts, and has it', async () => {
    await open('/');
    assert.equal(await run('return document.cookie'), '');
    const cookies = (await call('GET', '/cookie')) as { name: string; httpOnly: boolean }[];
    assert.deepEqual(cookies.map(({ name, httpOnly }) => [name, httpOnly]), [['session', true]]);
  });

  it('starts anew after the inspector has flipped one bit of the cookie', async () => {
    await open('/');
    await open('/');
    await open('/inspect');
    await click('form[method=post] button');
    await see('Not to be trusted');
    await open('/');
    assert.equal(await count(), 'Count: 1');
  });

  const NO_SCRIPTS = { 'profile.managed_default_content_settings.javascript': 2 };
  for (const [state, prefs] of Object.entries({ on: {}, off: NO_SCRIPTS })) {
    it(`saves an article, fills a cart, logs in and out, with JavaScript ${state}`, async () => {
      await call('DELETE', '');
      await openBrowser(prefs);
      const probe = '<p id=p>JavaScript is off</p><script>p.innerText = "JavaScript is on"</script>';
      await call('POST', '/url', { url: `data:text/html,${probe}` });
      await see(`JavaScript is ${state}`);
      await open('/articles');
      await type('[name=title]', 'On <b>tea</b>');
      await type('[name=body]', 'It is hot.');
      await click('main button');
      await see('Article saved successfully!');
      await see('On <b>tea</b>');
      await call('POST', '/refresh', {});
      await seeNo('Article saved');

      await open('/cart');
      await click('[aria-label="Add: Mug"]');
      await see('Cart (1)');
      await open('/dashboard');
      await see('Password'); // sent on to /login
      await type('[name=name]', 'editor');
      await type('[name=password]', 'wrong');
      await click('main button');
      await see('The name or the password is wrong.');
      await type('[name=password]', 'editor');
      await click('main button');
      await see('Hello, editor');
      await see('Cart (1)');

      await click('.user button');
      await see('You are logged out.');
      await call('POST', '/back', {});
      await see('Password'); // the dashboard was asked for anew, and is not shown
      await seeNo('editor');
      await open('/dashboard');
      assert.equal(await call('GET', '/url'), `${origin}/login?next=%2Fdashboard`);
      await seeNo('editor');
    });
  }

  it('shows every page with no error in the console, and none wider than a phone', async () => {
    await call('POST', '/window/rect', { width: 500, height: 800 }); // as narrow as it opens one
    await open('/cart');
    await click('[aria-label="Add: Teapot"]');
    await see('Cart (1)');
    const explained = '/inspect?line=a%3Db&url=http%3A%2F%2Fx';
    const pages = ['/', '/howdy', '/articles', '/cart', '/login', '/inspect', explained];
    for (const path of pages) {
      await open(path);
      await run("document.querySelector('details')?.setAttribute('open', '')");
      const [content, window] = (await run(
        'return [document.documentElement.scrollWidth, innerWidth]',
      )) as [number, number];
      assert.ok(content <= window, `${path} is ${content} px wide in a window of ${window} px`);
    }
    assert.deepEqual(await call('POST', '/se/log', { type: 'browser' }), []);
  });
});
