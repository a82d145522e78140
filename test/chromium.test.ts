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
    const options = { args: [...OPTIONS, `--user-data-dir=${profile}`] };
    const wanted = { browserName: 'chrome', 'goog:chromeOptions': options };
    const capabilities = { alwaysMatch: { ...wanted, 'goog:loggingPrefs': { browser: 'ALL' } } };
    session = `http://127.0.0.1:${driverPort}/session`;
    const { sessionId } = (await call('POST', '', { capabilities })) as { sessionId: string };
    session += `/${sessionId}`;
    await call('DELETE', '/cookie');
  });

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

  /** Asks until the page says so: a click returns before the page that it leads to is there. */
  async function see(words: string): Promise<void> {
    let text = '';
    for (let tries = 0; tries < 500 && !text.includes(words); tries++) {
      text = String(await run('return document.body?.innerText'));
    }
    assert.ok(text.includes(words), `the page never said '${words}': ${text}`);
  }

  async function click(selector: string): Promise<void> {
    const found = await call('POST', '/element', { using: 'css selector', value: selector });
    await call('POST', `/element/${Object.values(found as object)[0]}/click`, {});
  }

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

  it('shows every page with no error in the console, and none wider than a phone', async () => {
    await call('POST', '/window/rect', { width: 500, height: 800 }); // as narrow as it opens one
    for (const path of ['/', '/howdy', '/inspect', '/inspect?line=a%3Db&url=http%3A%2F%2Fx']) {
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
