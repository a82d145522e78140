// Real Pyramid and our finished site, each as a process, hand one session to and fro.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { after, before, describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { explainedIt } from '../.tools/explain.ts';
import { parseCookies } from '../src/07-cookie.ts';
import { parseSetCookie } from '../src/08-browser.ts';
import { Session } from '../src/10-session.ts';
import { SignedCookieSessionFactory } from '../src/11-session-factory.ts';

const it = explainedIt(import.meta.url);
const PYTHON = '/usr/bin/python3';
const hasPyramid = spawnSync(PYTHON, ['-c', 'import pyramid']).status === 0;
const skip =
  !hasPyramid && !process.env.CI
    ? 'needs real Pyramid: on Debian or Ubuntu, apt-get install python3-pyramid'
    : false;

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const tsx = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];

const DATA = {
  unicode: 'café 日本語 🍪',
  nested: { list: [1, [2, { three: null }]], yes: true },
  float: 1.5,
  'ключ': 'значение',
};

/** Starts a server and waits for the line in which it prints its address. */
async function start(
  command: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<{ origin: string; child: ChildProcess }> {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  const port = await new Promise<string>((resolve, reject) => {
    child.once('exit', () => reject(new Error(`${command} ended, having said: ${printed}`)));
    // Read on to the end: a server whose output nobody takes would die of it.
    child.stdout.on('data', (chunk: Buffer) => {
      printed += String(chunk);
      const found = /http:\/\/(?:localhost|127\.0\.0\.1):(\d+)/.exec(printed)?.[1];
      if (found) resolve(found);
    });
  });
  return { origin: `http://127.0.0.1:${port}`, child };
}

/** Opens a page with a session cookie, or none; gives its text, and the cookie as it is after. */
async function visit(url: string, cookie?: string): Promise<{ body: string; cookie: string }> {
  const response = await fetch(url, cookie ? { headers: { cookie: `session=${cookie}` } } : {});
  assert.equal(response.status, 200, `GET ${url} with session=${cookie}`);
  const [line] = response.headers.getSetCookie();
  const set = line === undefined ? cookie : parseSetCookie(line, 0)?.value;
  return { body: await response.text(), cookie: set ?? '' };
}

const count = (body: string): string | undefined => /Count: \d+/.exec(body)?.[0];

describe('real Pyramid', { skip }, () => {
  let pyramid = '';
  let ours = '';
  const children: ChildProcess[] = [];
  const factory = new SignedCookieSessionFactory({ secrets: ['itsaseekreet'] });

  before(async () => {
    const [theirServer, ourServer] = await Promise.all([
      start(PYTHON, [here('pyramid/pyramid_app.py'), '0']),
      start(process.execPath, [...tsx, here('../src/main.ts')], { PORT: '0', SESSION_SECRET: '' }),
    ]);
    children.push(theirServer.child, ourServer.child);
    [pyramid, ours] = [theirServer.origin, ourServer.origin];
  });

  after(() => children.forEach((child) => child.kill()));

  it('SignedCookieSessionFactory and Pyramid hand one count to and fro', async () => {
    let cookie: string | undefined;
    for (const [i, origin] of [pyramid, ours, pyramid, ours, ours, pyramid].entries()) {
      const page = await visit(`${origin}${i % 2 === 0 ? '/' : '/howdy'}`, cookie);
      assert.equal(count(page.body), `Count: ${i + 1}`);
      cookie = page.cookie;
    }
  });

  it('SignedCookieSessionFactory begins a count that Pyramid continues', async () => {
    const first = await visit(`${ours}/`);
    const second = await visit(`${pyramid}/howdy`, first.cookie);
    assert.deepEqual([count(first.body), count(second.body)], ['Count: 1', 'Count: 2']);
  });

  it('SignedCookieSessionFactory reads what Pyramid wrote: unicode, nested, float', async () => {
    const query = new URLSearchParams({ json: JSON.stringify(DATA) });
    const { cookie } = await visit(`${pyramid}/set?${query}`);
    assert.deepEqual(factory.read(cookie)?.data, DATA);
  });

  it('SignedCookieSessionFactory carries through what Pyramid wrote', async () => {
    const query = new URLSearchParams({ json: JSON.stringify(DATA) });
    const set = await visit(`${pyramid}/set?${query}`);
    const counted = await visit(`${ours}/`, set.cookie);
    const dump = await visit(`${pyramid}/dump`, counted.cookie);
    assert.deepEqual(JSON.parse(dump.body).data, { ...DATA, counter: 1 });
    assert.equal(JSON.parse(dump.body).created, factory.read(set.cookie)?.created);
  });

  it('SignedCookieSessionFactory writes what Pyramid reads: unicode, nested, float', async () => {
    const session = new Session(Date.now() / 1000);
    session.update(DATA);
    const dump = await visit(`${pyramid}/dump`, factory.write(session));
    assert.deepEqual(JSON.parse(dump.body), { new: false, created: session.created, data: DATA });
  });

  it('Session flash messages go from Pyramid to us, and from us to Pyramid', async () => {
    const theirs = await visit(`${pyramid}/flash?m=saved&q=success`);
    const state = factory.read(theirs.cookie);
    const session = new Session(Date.now() / 1000, state);
    assert.deepEqual(session.popFlash('success'), ['saved']);
    session.flash('from us', 'info');
    const popped = await visit(`${pyramid}/pop?q=info`, factory.write(session));
    assert.deepEqual(JSON.parse(popped.body), ['from us']);
  });

  it('Pyramid starts anew for a cookie of another secret, as we do', async () => {
    const other = new SignedCookieSessionFactory({ secrets: ['another'] });
    const cookie = other.write(new Session(Date.now() / 1000));
    assert.equal(JSON.parse((await visit(`${pyramid}/dump`, cookie)).body).new, true);
    assert.equal(factory.read(parseCookies(`session=${cookie}`).get('session') ?? ''), undefined);
  });
});
