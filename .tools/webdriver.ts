// Controls a real browser with W3C WebDriver. Each § is of https://www.w3.org/TR/webdriver2/.
//
// chromedriver is an HTTP server: a command is a request, and its response is `{ value }`. Further
// commands of Chromium set the width of a phone, select dark mode, and switch scripts off.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

export const HOW_TO_GET = 'on Debian or Ubuntu, apt-get install chromium chromium-driver';

/** Whether both programs are installed. */
export function hasChromium(): boolean {
  const programs = ['chromium', 'chromedriver'];
  return programs.every((program) => spawnSync(program, ['--version']).status === 0);
}

export type View = { width: number; height?: number; scheme: 'light' | 'dark' };
export type LogEntry = { level: 'SEVERE' | 'WARNING' | 'INFO' | 'DEBUG'; message: string };

const ARGUMENTS = [
  '--headless', '--disable-gpu', '--no-first-run',
  '--no-sandbox', // CI is root in a container, where Chromium has no sandbox
  '--remote-debugging-pipe', // it ends when chromedriver ends
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

const MAX_WAIT = 10_000; // milliseconds for a page to load

/** Returns a number that identifies the document, or `false` until it is loaded. */
const DOCUMENT = "return document.readyState === 'complete' && performance.timeOrigin";

/** Keys without a character, and the space (§15.6.2 Keyboard actions). */
const KEYS: Record<string, string> = {
  Enter: '\uE007', Shift: '\uE008', Space: ' ', Tab: '\uE004',
};

/** Starts chromedriver on a free port, and a browser with `prefs` (§8.1 New Session). */
export async function startChromium(prefs: object = {}): Promise<Chromium> {
  const TMPDIR = mkdtempSync(join(tmpdir(), 'chromium-')); // Chromium does not delete its files
  const env = { ...process.env, TMPDIR };
  const driver = spawn('chromedriver', ['--port=0'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  await once(driver, 'spawn'); // throws if it is not installed
  const kill = (): boolean => driver.kill();
  process.once('exit', kill); // if a test does not close it
  const stop = async (): Promise<void> => {
    process.off('exit', kill);
    if (kill()) await once(driver, 'exit');
    // The processes of Chromium may still write for a moment. Some files may stay.
    await rm(TMPDIR, { recursive: true, force: true, maxRetries: 20 }).catch(() => {});
  };
  try {
    const url = `http://127.0.0.1:${await portOf(driver.stdout)}/session`;
    const options = { 'goog:chromeOptions': { args: ARGUMENTS, prefs } };
    const logging = { 'goog:loggingPrefs': { browser: 'ALL' } };
    const capabilities = { alwaysMatch: { browserName: 'chrome', ...options, ...logging } };
    const made = await command<{ sessionId: string }>('POST', url, { capabilities });
    return new Chromium(`${url}/${made.sessionId}`, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The port that chromedriver says it listens on. */
async function portOf(stdout: Readable): Promise<string> {
  let said = '';
  for await (const chunk of stdout.iterator({ destroyOnReturn: false })) {
    said += chunk;
    const port = /successfully on port (\d+)/.exec(said)?.[1];
    if (port) return port;
  }
  throw new Error(`chromedriver ended, having said: ${said}`);
}

/** One command (§6.3 Processing model). Throws with the words of its error (§6.6 Errors). */
async function command<T>(method: string, url: string, body?: object): Promise<T> {
  const response = await fetch(url, { method, ...(body && { body: JSON.stringify(body) }) });
  const { value } = (await response.json()) as { value: T & { message?: string } };
  if (response.ok) return value;
  throw new Error(`WebDriver: ${method} ${url}: ${value.message?.replace(/\n[^]*/, '')}`);
}

/** A browser with one window. A selector is CSS, and means the first element that it finds. */
export class Chromium {
  readonly #session: string;
  readonly #stopDriver: () => Promise<void>;

  constructor(session: string, stopDriver: () => Promise<void>) {
    this.#session = session;
    this.#stopDriver = stopDriver;
  }

  call<T = unknown>(method: string, path: string, body?: object): Promise<T> {
    return command(method, this.#session + path, body);
  }

  /** §8.2 Delete Session; chromedriver ends with it. */
  async close(): Promise<void> {
    await this.call('DELETE', '').finally(this.#stopDriver);
  }

  /** A command of the Chrome DevTools Protocol. */
  devtools<T = unknown>(cmd: string, params: object = {}): Promise<T> {
    return this.call('POST', '/goog/cdp/execute', { cmd, params });
  }

  /** How wide the page is, in CSS pixels, and which scheme of colors the visitor prefers. */
  async look({ width, height = 800, scheme }: View): Promise<void> {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: false };
    await this.devtools('Emulation.setDeviceMetricsOverride', metrics);
    const features = [{ name: 'prefers-color-scheme', value: scheme }];
    await this.devtools('Emulation.setEmulatedMedia', { features });
  }

  /** Allows or forbids scripts in the next pages. The scripts of `run` are always allowed. */
  async allowScripts(isAllowed: boolean): Promise<void> {
    await this.devtools('Emulation.setScriptExecutionDisabled', { value: !isAllowed });
  }

  // §10 Navigation: these wait until the page is loaded.
  open = (url: string): Promise<unknown> => this.call('POST', '/url', { url });
  reload = (): Promise<unknown> => this.call('POST', '/refresh', {});
  back = (): Promise<unknown> => this.call('POST', '/back', {});

  /** Does what leads to another page, and waits until that is loaded, as no click does. */
  async follow(act: () => Promise<unknown>): Promise<void> {
    const before = await this.run(DOCUMENT);
    await act();
    const end = Date.now() + MAX_WAIT;
    while (Date.now() < end) {
      const now = await this.run(DOCUMENT).catch(() => false); // between two pages there is none
      if (now !== false && now !== before) return;
    }
    throw new Error(`No page came after ${await this.run('return location.href')}`);
  }

  /** Runs a script, the body of a function, and returns its result (§13.2.1 Execute Script). */
  run<T = unknown>(script: string): Promise<T> {
    return this.call('POST', '/execute/sync', { script, args: [] });
  }

  /** §12.3.2 Find Element: its path. */
  async find(selector: string): Promise<string> {
    const search = { using: 'css selector', value: selector };
    const [id] = Object.values(await this.call<Record<string, string>>('POST', '/element', search));
    return `/element/${id}`;
  }

  /** §12.5.1 Element Click: scrolls there, and refuses to click on what covers it. */
  async click(selector: string): Promise<void> {
    await this.call('POST', `${await this.find(selector)}/click`, {});
  }

  /** Types over what a field has, key by key. */
  async type(selector: string, text: string): Promise<void> {
    const select = 'field.focus(); field.select();';
    await this.run(`const field = document.querySelector('${selector}'); ${select}`);
    await this.press(...text);
  }

  /** Presses keys, whatever has the focus: `a`, `Tab`, `Shift+Tab` (§15.7 Perform Actions). */
  async press(...chords: string[]): Promise<void> {
    const actions = chords.flatMap((chord) => {
      const keys = chord.split('+').map((name) => KEYS[name] ?? name);
      const down = keys.map((value) => ({ type: 'keyDown', value }));
      return [...down, ...keys.reverse().map((value) => ({ type: 'keyUp', value }))];
    });
    await this.call('POST', '/actions', { actions: [{ type: 'key', id: 'keyboard', actions }] });
  }

  /** Returns the visible text of the page. */
  text = (): Promise<string> => this.run('return document.body.innerText');

  /** Returns the lines of the console since the last call (a command of chromedriver). */
  logs = (): Promise<LogEntry[]> => this.call('POST', '/se/log', { type: 'browser' });

  /** Returns the visible part of the page as a PNG (§17.1 Take Screenshot). */
  async screenshot(): Promise<Buffer> {
    return Buffer.from(await this.call<string>('GET', '/screenshot'), 'base64');
  }
}
