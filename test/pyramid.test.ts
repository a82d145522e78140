// Real Pyramid and step 9, each in a process of its own, share one session. Pyramid runs
// `test/pyramid/pyramid_app.py`. In CI these tests are never skipped.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, type TestContext } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { ROOT, startProgram, withTimeLimit } from '../.tools/serve.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { DEMO } from '../src/09-tutorial.ts';

const it = explainedIt(import.meta.url);
const PYTHON = '/usr/bin/python3';
const START_LIMIT = 20_000; // milliseconds
const hasPyramid = spawnSync(PYTHON, ['-c', 'import pyramid']).status === 0;
const skip =
  !hasPyramid && !process.env.CI
    ? 'needs real Pyramid: on Debian or Ubuntu, run `apt-get install python3-pyramid`'
    : false;

const DATA = {
  unicode: 'café 日本語 🍪',
  nested: { list: [1, [2, { three: null }]], yes: true },
  float: 1.5,
  'ключ': 'значение',
};

/** Starts a Pyramid server on a free port. Returns its origin. */
async function startPyramid(onEnd: (stop: () => void) => void, secret?: string): Promise<string> {
  const args = [`${ROOT}test/pyramid/pyramid_app.py`, '0', ...(secret ? [secret] : [])];
  const child = spawn(PYTHON, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  onEnd(() => child.kill('SIGKILL'));
  child.stdout.setEncoding('utf8');
  const printed = once(child.stdout, 'data') as Promise<string[]>;
  const ended = once(child, 'exit').then(() => assert.fail('Pyramid did not start'));
  const started = Promise.race([printed, ended]);
  const [line = ''] = await withTimeLimit(started, 'Pyramid', START_LIMIT);
  return /http:\S+/.exec(line)?.[0] ?? assert.fail(`Pyramid printed no URL: ${line}`);
}

/** Opens a page with a session cookie. Returns its text, and the value of the cookie after it. */
async function visit(url: string, cookie = ''): Promise<{ body: string; cookie: string }> {
  const response = await fetch(url, { headers: cookie ? { cookie: `session=${cookie}` } : {} });
  assert.equal(response.status, 200, `GET ${url} with session=${cookie}`);
  const [header] = response.headers.getSetCookie();
  const set = /^session=([^;]*)/.exec(header ?? '')?.[1];
  return { body: await response.text(), cookie: set ?? cookie };
}

const countIn = (body: string): string | undefined => /Count: \d+/.exec(body)?.[0];

describe('real Pyramid', { skip }, () => {
  let pyramid = '';
  let node = '';
  const stops: (() => void)[] = [];
  const factory = new SignedCookieSessionFactory({ ...DEMO, sessionClass: Session });

  /** Returns the value of a cookie that this project writes. */
  function cookieWith(data: object, secrets = DEMO.secrets): string {
    const session = factory.create();
    for (const [key, value] of Object.entries(data)) session.set(key, value);
    return new SignedCookieSessionFactory({ secrets, sessionClass: Session }).save(session) ?? '';
  }

  before(async () => {
    const onEnd = (stop: () => void) => stops.push(stop);
    const suite = { after: onEnd } as unknown as TestContext; // one program for all tests
    const program = startProgram(suite, ['src/09-tutorial.ts']);
    pyramid = await startPyramid(onEnd);
    node = `http://127.0.0.1:${await program.printed(/http:\/\/localhost:(\d+)/)}`;
  });

  after(() => stops.forEach((stop) => stop()));

  it('SignedCookieSessionFactory and Pyramid continue the count of each other', async () => {
    let cookie = '';
    for (const [i, origin] of [pyramid, node, pyramid, node, node, pyramid].entries()) {
      const page = await visit(`${origin}${i % 2 === 0 ? '/' : '/howdy'}`, cookie);
      assert.equal(countIn(page.body), `Count: ${i + 1}`, origin);
      cookie = page.cookie;
    }
  });

  it('SignedCookieSessionFactory starts a count that Pyramid continues', async () => {
    const first = await visit(`${node}/`);
    const second = await visit(`${pyramid}/howdy`, first.cookie);
    assert.deepEqual([countIn(first.body), countIn(second.body)], ['Count: 1', 'Count: 2']);
  });

  it('TutorialViews shows the title and the heading that Pyramid shows', async () => {
    for (const path of ['/', '/howdy']) {
      const [ours, theirs] = await Promise.all([visit(node + path), visit(pyramid + path)]);
      for (const tag of ['title', 'h1', 'p']) {
        const element = new RegExp(`<${tag}>.*?</${tag}>`);
        assert.equal(element.exec(ours.body)?.[0], element.exec(theirs.body)?.[0], path);
      }
    }
  });

  it('SignedCookieSessionFactory.open() reads Unicode, nested data and floats', async () => {
    const query = new URLSearchParams({ json: JSON.stringify(DATA) });
    const { cookie } = await visit(`${pyramid}/set?${query}`);
    assert.deepEqual(factory.open(cookie)?.toJSON(), DATA);
  });

  it('SignedCookieSessionFactory keeps the other keys of a session from Pyramid', async () => {
    const query = new URLSearchParams({ json: JSON.stringify(DATA) });
    const set = await visit(`${pyramid}/set?${query}`);
    const counted = await visit(`${node}/`, set.cookie);
    const dump = JSON.parse((await visit(`${pyramid}/dump`, counted.cookie)).body);
    assert.deepEqual(dump.data, { ...DATA, counter: 1 });
    assert.equal(dump.created, factory.open(set.cookie)?.created);
  });

  it('SignedCookieSessionFactory.save() writes what Pyramid reads', async () => {
    const cookie = cookieWith(DATA);
    const { created } = factory.open(cookie) ?? {};
    const { body } = await visit(`${pyramid}/dump`, cookie);
    assert.deepEqual(JSON.parse(body), { new: false, created, data: DATA });
  });

  it('SignedCookieSessionFactory.open() rejects a number that is too large', async () => {
    const set = await visit(`${pyramid}/set?json={"user_id":9007199254740993}`);
    assert.match((await visit(`${pyramid}/dump`, set.cookie)).body, /"user_id": 9007199254740993/);
    assert.equal(factory.open(set.cookie), undefined);
    const counted = await visit(`${node}/`, set.cookie);
    assert.equal(countIn(counted.body), 'Count: 1', 'a new session');
    const { data } = JSON.parse((await visit(`${pyramid}/dump`, counted.cookie)).body);
    assert.deepEqual(data, { counter: 1 }, 'the number was not changed to another number');
  });

  it('SignedCookieSessionFactory and Pyramid keep -0.0 of a session', async () => {
    const set = await visit(`${pyramid}/set?json={"zero":-0.0}`);
    const counted = await visit(`${node}/`, set.cookie);
    const { data } = JSON.parse((await visit(`${pyramid}/dump`, counted.cookie)).body);
    assert.equal(data.counter, 1);
    assert.ok(data.zero === 0, String(data.zero)); // -0 may become 0
  });

  it('SignedCookieSessionFactory and Pyramid reject a cookie of another secret', async (t) => {
    const cookie = cookieWith({ counter: 7 }, ['another']);
    const dump = await visit(`${pyramid}/dump`, cookie);
    assert.equal(JSON.parse(dump.body).new, true);
    assert.equal(factory.open(cookie), undefined);
    assert.equal(countIn((await visit(`${node}/`, cookie)).body), 'Count: 1');
    const other = await startPyramid((stop) => t.after(stop), 'another');
    assert.equal(countIn((await visit(`${other}/`, cookie)).body), 'Count: 8', 'same secret');
  });
});
