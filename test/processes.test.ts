// The finished site as it is run: server processes, files, a Redis, and what happens when one of
// them is killed. How often the servers are killed under load is told by KILLS:
//
//   KILLS=20 node --test test/processes.test.ts          with --import tsx on Node 20
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { explainedIt } from '../.tools/explain.ts';
import { plain, plainProject } from '../.tools/plain.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import { Browser, parseSetCookie } from '../src/08-browser.ts';
import { USERS } from '../src/16-login.ts';
import { keyOf } from '../src/18-store.ts';
import { RedisClient } from '../src/20-redis.ts';

const it = explainedIt(import.meta.url);
const KILLS = Number(process.env.KILLS || 3);
const IN_FLIGHT = 60; // requests at once, over all servers
const ANSWER_TIMEOUT = 30_000; // milliseconds: what takes longer hangs, even on a busy machine
const START_TIMEOUT = 30_000; // for what was started, or started again, to be there
const TEST_TIMEOUT = 60_000;
const PAUSE = 600; // longer than a server waits for Redis
const LOOK_EVERY = 50; // between two looks at what is coming up
const NODE_COMPILE_CACHE = join(tmpdir(), 'node-compile-cache'); // node's own: servers start sooner
const TOGETHER = { concurrency: 3 }; // much of it is waiting

const main = plain(join(await plainProject(), 'src/main.ts'));

type Child = ChildProcessByStdio<null, Readable, Readable>;
type Server = { child: Child; origin: string; printed: () => string };

/** A child that has printed what `sign` looks for, and what stands in it; it ends with the test. */
async function startChild(t: TestContext, child: Child, sign: RegExp) {
  t.after(() => child.kill('SIGKILL'));
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (printed += text)); // never a full pipe
  }
  const closed = once(child, 'close');
  const signal = AbortSignal.timeout(START_TIMEOUT);
  for (let found; ; await Promise.race([once(child.stdout, 'data', { signal }), closed])) {
    if ((found = sign.exec(printed))) return { found, printed: () => printed };
    const isRunning = child.exitCode === null && child.signalCode === null;
    assert.ok(isRunning, `a server ended before it listened:\n${printed}`);
  }
}

/** A program that starts the server in its stead, such as one that sets a limit; an environment. */
type More = { under?: string[]; env?: Record<string, string> };

/** The finished site, in a process of its own. */
async function startServer(t: TestContext, SESSIONS: string, more: More = {}): Promise<Server> {
  const [command = '', ...words] = [...(more.under ?? []), process.execPath, main];
  const plain = { NODE_ENV: '', SESSION_SECRET: '', HOST: '', PORT: '0', SESSIONS };
  const child = spawn(command, words, {
    env: { ...process.env, ...plain, NODE_COMPILE_CACHE, ...more.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { found, printed } = await startChild(t, child, /http:\/\/localhost:(\d+)\n/);
  return { child, printed, origin: `http://127.0.0.1:${found[1]}` };
}

function startServers(t: TestContext, SESSIONS: string, count: number): Promise<Server[]> {
  return Promise.all(Array.from({ length: count }, () => startServer(t, SESSIONS)));
}

type Redis = { child: Child; port: number; url: string };

/** A Redis in a process of its own. It keeps nothing on disk, unless `more` says otherwise. */
async function startRedis(
  t: TestContext,
  port?: number,
  more = ['--dir', makeFolder(t)],
  tries = 5,
): Promise<Redis> {
  // Below the ports that a system gives out by itself, so that nobody has it when we come back.
  const at = port ?? randomInt(10_000, 30_000);
  const words = ['--port', `${at}`, '--bind', '127.0.0.1', '--save', '', ...more];
  const child = spawn('redis-server', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    await startChild(t, child, /Ready to accept connections/);
  } catch (error) {
    if (port !== undefined || tries === 0) throw error;
    return startRedis(t, port, more, tries - 1); // somebody listens there
  }
  return { child, port: at, url: `redis://localhost:${at}/1` };
}

async function kill(...children: Child[]): Promise<void> {
  for (const child of children) child.kill('SIGKILL');
  const ends = children.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit'));
  await Promise.all(ends);
}

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'processes-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

type Answer = { status: number; headers: Headers; body: string; cookie: string };

/** One request, with a form a POST. It throws where there is no answer, or none in time. */
async function ask(url: string, cookie = '', form?: string, more = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: form === undefined ? 'GET' : 'POST',
    headers: {
      cookie,
      'content-type': 'application/x-www-form-urlencoded',
      ...(form !== undefined && { 'sec-fetch-site': 'same-origin' }),
      ...more,
    },
    body: form ?? null,
    redirect: 'manual',
    signal: AbortSignal.timeout(ANSWER_TIMEOUT),
  });
  const body = await response.text();
  const [line] = response.headers.getSetCookie();
  const set = line === undefined ? undefined : parseSetCookie(line, 0);
  const { status, headers } = response;
  return { status, headers, body, cookie: set?.value ? `${set.name}=${set.value}` : cookie };
}

/** The browser of step 8, but what it asks goes through the network to wherever `place` says. */
function browse(place: { origin: string }): Browser {
  const handler: Handler = async ({ method, path, search, headers, body }) => {
    const form = method === 'POST' ? Buffer.from(body).toString() : undefined;
    const answer = await ask(place.origin + path + search, headers.cookie, form);
    const lines = { 'set-cookie': answer.headers.getSetCookie() };
    return { ...answer, headers: { ...Object.fromEntries(answer.headers), ...lines } };
  };
  return new Browser(handler);
}

/** Does `work` for 0, 1, 2 … up to `count`, never more than `IN_FLIGHT` at once. */
async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

/** Looks till it is so. */
async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + START_TIMEOUT;
  while (!(await isSo())) {
    assert.ok(Date.now() < end, `after ${START_TIMEOUT} milliseconds not yet: ${what}`);
    await pause(LOOK_EVERY);
  }
}

function countOf({ body }: Pick<HttpResponse, 'body'>): number {
  return Number(/<p>Count: (\d+)<\/p>/.exec(String(body))?.[1]);
}

type Sqlite = { DatabaseSync: new (file: string) => SqliteFile };
type SqliteFile = {
  prepare(sql: string): { get(): unknown };
  exec(sql: string): void;
  close(): void;
};
const sqlite = process.getBuiltinModule?.('node:sqlite') as Sqlite | undefined;

/** Where sessions are kept; `check` throws where what keeps them is broken. */
type Place = { sessions: string; check(): void };
type Kind = {
  name: string;
  skip?: string | false;
  isStored: boolean;
  survives: boolean; // a restart of the server
  make(t: TestContext): Place | Promise<Place>;
};

const hasRedis = spawnSync('redis-server', ['--version']).error === undefined;
const skip = !hasRedis && !process.env.CI && 'it needs Redis: apt-get install redis-server';

const inCookie = { isStored: false, survives: true };
const KINDS: Kind[] = [
  { name: 'signed', ...inCookie, make: () => ({ sessions: 'signed', check() {} }) },
  { name: 'encrypted', ...inCookie, make: () => ({ sessions: 'encrypted', check() {} }) },
  {
    name: 'memory',
    isStored: true,
    survives: false,
    make: () => ({ sessions: 'memory', check() {} }),
  },
];

/** Those that several servers can share. On a Node without SQLite there is one less. */
const SHARED: Kind[] = [];
if (sqlite) {
  SHARED.push({
    name: 'sqlite:FILE',
    isStored: true,
    survives: true,
    make(t) {
      const folder = makeFolder(t);
      const check = (): void => {
        const copy = makeFolder(t); // it is for the servers to mend the file itself
        cpSync(folder, copy, { recursive: true });
        const database = new sqlite.DatabaseSync(join(copy, 'sessions.sqlite'));
        const found = database.prepare('PRAGMA integrity_check').get();
        database.close();
        assert.deepEqual({ ...(found as object) }, { integrity_check: 'ok' });
      };
      return { sessions: `sqlite:${join(folder, 'sessions.sqlite')}`, check };
    },
  });
}
SHARED.push({
  name: 'redis://localhost:PORT/1',
  skip,
  isStored: true,
  survives: true,
  async make(t) {
    const { url, child } = await startRedis(t);
    const check = (): void => assert.equal(child.exitCode, null, 'Redis has ended');
    return { sessions: url, check };
  },
});

const timeout = TEST_TIMEOUT;

describe('processes: one visit, whatever keeps the session', TOGETHER, () => {
  for (const { name, skip = false, isStored, survives, make } of [...KINDS, ...SHARED]) {
    const title = `main.ts with SESSIONS=${name} counts, keeps the cart, logs in and out`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      let server = await startServer(t, sessions);
      const place = { origin: server.origin };
      const browser = browse(place);
      const bodyOf = async (path: string): Promise<string> =>
        String((await browser.get(path)).body);

      assert.equal(countOf(await browser.get('/')), 1);
      assert.equal(countOf(await browser.get('/howdy')), 2, 'one counter for both pages');

      const saved = String((await browser.post('/articles', { title: 'One', body: 'Two' })).body);
      assert.match(saved, /role="status">Article saved successfully!/);
      assert.match(saved, /<h2 dir="auto">One<\/h2>/);
      assert.doesNotMatch(await bodyOf('/articles'), /<p class="flash/, 'a message is shown once');

      assert.match(String((await browser.post('/cart/add', { item: 'pot' })).body), /Cart \(1\)/);
      const fields = { name: 'editor', password: 'editor' };
      const inside = String((await browser.post('/login', fields)).body);
      assert.match(inside, /<h1>Hello, editor<\/h1>/);
      assert.match(inside, /Cart \(1\)/, 'login keeps the cart');

      if (survives) {
        const ended = once(server.child, 'exit');
        server.child.kill('SIGTERM');
        assert.deepEqual(await ended, [0, null], server.printed());
        server = await startServer(t, sessions);
        place.origin = server.origin;
      }
      assert.equal(countOf(await browser.get('/')), 3, 'after a restart');
      assert.match(await bodyOf('/dashboard'), /<h1>Hello, editor<\/h1>[^]*3 times/);
      assert.match(await bodyOf('/cart'), /<strong>Teapot<\/strong> 1 for € 38\.00/);

      const old = browser.jar.headerFor(new URL('http://localhost:6543'), Date.now() / 1000);
      const outside = String((await browser.post('/logout', {})).body);
      assert.match(outside, /You are logged out\./);
      const left = await browser.request('GET', '/dashboard');
      assert.deepEqual([left.status, left.headers.location], [303, '/login?next=%2Fdashboard']);
      const copied = await ask(`${place.origin}/dashboard`, old); // as somebody else may have it
      assert.equal(copied.status, isStored ? 303 : 200, 'only a store can end a session for good');
    });
  }
});

describe('processes: many at once', TOGETHER, () => {
  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} loses no visit of 1,000 through three servers`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const servers = await startServers(t, sessions, 3);
      const at = (index: number, path: string): string => `${servers[index % 3]?.origin}${path}`;
      const { cookie } = await ask(at(0, '/cart/note'), '', 'note=hello'); // a session, not counted
      await inParallel(1000, async (index) => {
        const { status, body } = await ask(at(index, '/'), cookie);
        assert.equal(status, 200, body);
      });
      const panel = (await ask(at(0, '/cart'), cookie)).body.replaceAll('&quot;', '"');
      assert.match(panel, /"counter": 1000\b/);
      assert.equal(countOf(await ask(at(1, '/'), cookie)), 1001, 'the next look');
    });
  }

  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} loses none of 200 things put into a cart at once`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const servers = await startServers(t, sessions, 2);
      const at = (index: number, path: string): string => `${servers[index % 2]?.origin}${path}`;
      const { cookie } = await ask(at(0, '/'));
      const items = ['tea', 'honey', 'mug', 'pot'];
      await inParallel(200, async (index) => {
        const item = items[Math.floor(index / 2) % 4]; // from each server every thing
        const { status, body } = await ask(at(index, '/cart/add'), cookie, `item=${item}`);
        assert.equal(status, 303, body);
      });
      const { body } = await ask(at(0, '/cart'), cookie);
      const quantities = [...body.matchAll(/name="quantity" .* value="(\d+)"/g)].map(([, n]) => n);
      assert.deepEqual(quantities, ['50', '50', '50', '50']);
      assert.match(body, /Cart \(200\)/);
    });
  }

  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} revives no session that a logout overtook`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const servers = await startServers(t, sessions, 2);
      const at = (index: number, path: string): string => `${servers[index % 2]?.origin}${path}`;
      for (let round = 0; round < 40; round++) {
        const { cookie } = await ask(at(round, '/'));
        // Which of them is first, only the servers know: of 40 rounds some go the wrong way.
        const visits = Array.from({ length: 6 }, (_, index) => ask(at(index, '/'), cookie));
        await Promise.all([...visits, ask(at(round, '/logout'), cookie, '')]);
        const after = await ask(at(round + 1, '/'), cookie);
        assert.equal(countOf(after), 1, 'the session is there again');
        assert.notEqual(after.cookie, cookie, 'an id that was ended is not taken up');
      }
    });
  }
});

describe('processes: killed', TOGETHER, () => {
  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} killed under load loses no visit that it answered`;
    const bound = timeout + KILLS * START_TIMEOUT;
    it(title, { timeout: bound, skip }, async (t) => {
      const { sessions, check } = await make(t);
      let cookie: string | undefined;
      let [sent, acknowledged] = [0, 0];
      for (let killed = 0; killed < KILLS; killed++) {
        const servers = await startServers(t, sessions, 2);
        cookie ??= (await ask(`${servers[0]?.origin}/cart/note`, '', 'note=hello')).cookie;
        const enough = acknowledged + 100; // answers; then both are killed with the rest in flight
        let isOver = false;
        let fault: unknown;
        const visitor = async (index: number): Promise<void> => {
          while (!isOver) {
            sent += 1;
            const visit = ask(`${servers[index % 2]?.origin}/`, cookie);
            const answer = await visit.catch((error: unknown) => ({ status: 0, body: error }));
            if (answer.status === 200) acknowledged += 1;
            else if (!isOver) fault = answer.body;
            if (isOver || (fault === undefined && acknowledged < enough)) continue;
            isOver = true;
            await kill(...servers.map(({ child }) => child));
          }
        };
        await Promise.all(Array.from({ length: 20 }, (_, index) => visitor(index)));
        assert.equal(fault, undefined, 'a visit before the kill was not answered by 200');
        check();
      }
      const { origin } = await startServer(t, sessions);
      const count = countOf(await ask(`${origin}/`, cookie)) - 1;
      const figures = `${sent} sent, ${acknowledged} acknowledged, ${count} counted`;
      t.diagnostic(`${KILLS} kills: ${figures}`);
      assert.ok(acknowledged <= count && count <= sent, figures);
    });
  }

  const DOWN = 'main.ts answers 503 while Redis is gone or hangs, and goes on when it is back';
  it(DOWN, { timeout, skip }, async (t) => {
    const redis = await startRedis(t);
    const { origin, child, printed } = await startServer(t, redis.url);
    const { cookie } = await ask(`${origin}/`);
    const statuses: Record<number, number> = { 200: 0, 503: 0 };
    let longest = 0;
    const visit = async (): Promise<void> => {
      const start = performance.now();
      const { status, headers } = await ask(`${origin}/`, cookie); // it throws where it must wait
      longest = Math.max(longest, performance.now() - start);
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (status === 503) assert.equal(headers.get('retry-after'), '1');
    };
    await inParallel(400, async (index) => {
      if (index === 100) redis.child.kill('SIGKILL'); // with all the others in flight
      await visit();
    });
    assert.deepEqual(Object.keys(statuses), ['200', '503'], 'an answer to each, and no other');
    assert.ok(Number(statuses[200]) > 0 && Number(statuses[503]) > 100, JSON.stringify(statuses));
    assert.equal((await ask(`${origin}/style.css`)).status, 200, 'what needs no session');
    const page = await ask(`${origin}/`, cookie, undefined, { accept: 'text/html' });
    assert.match(page.body, /<nav [^]*<h1>503 Service Unavailable<\/h1>/);
    assert.deepEqual([page.status, page.headers.getSetCookie()], [503, []]);

    const again = await startRedis(t, redis.port);
    const isBack = async (): Promise<boolean> => (await ask(`${origin}/`)).status === 200;
    await until(isBack, 'a page with the new Redis');
    const fresh = await ask(`${origin}/`);
    assert.equal(countOf(await ask(`${origin}/`, fresh.cookie)), 2);

    t.diagnostic(`Redis killed: ${JSON.stringify(statuses)}, the longest ${longest.toFixed()} ms`);

    again.child.kill('SIGSTOP'); // there, but says nothing
    longest = 0;
    const before = Number(statuses[503]);
    await inParallel(IN_FLIGHT, visit);
    assert.equal(Number(statuses[503]), before + IN_FLIGHT, 'as long as it hangs');
    t.diagnostic(`Redis hangs: the longest ${longest.toFixed()} ms`);
    assert.equal((await ask(`${origin}/style.css`)).status, 200);
    again.child.kill('SIGCONT');
    await until(isBack, 'a page when Redis speaks again');
    assert.ok(countOf(await ask(`${origin}/`, fresh.cookie)) >= 3, 'this Redis had it still');

    await kill(again.child);
    assert.equal((await ask(`${origin}/`)).status, 503);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null], 'it stops cleanly, with Redis or without');
    assert.doesNotMatch(printed(), /Error|\bat .*:\d+:\d+/, 'a line for each 503, and no more');
  });
});

describe('processes: stopped, paused, and out of room', TOGETHER, () => {
  const KILLED = 'main.ts with a Redis that writes each change down loses none when Redis is killed';
  it(KILLED, { timeout, skip }, async (t) => {
    const onDisk = ['--dir', makeFolder(t), '--appendonly', 'yes', '--appendfsync', 'always'];
    let redis = await startRedis(t, undefined, onDisk);
    const servers = await startServers(t, redis.url, 2);
    const at = (index: number, path: string): string => `${servers[index % 2]?.origin}${path}`;
    const { cookie } = await ask(at(0, '/cart/note'), '', 'note=hello');
    const statuses: Record<number, number> = { 200: 0, 503: 0 };
    await inParallel(400, async (index) => {
      if (index === 200) redis.child.kill('SIGKILL');
      const { status } = await ask(at(index, '/'), cookie);
      statuses[status] = (statuses[status] ?? 0) + 1;
    });
    const acknowledged = Number(statuses[200]);
    assert.deepEqual(Object.keys(statuses), ['200', '503']);
    assert.ok(acknowledged >= 100, JSON.stringify(statuses));
    redis = await startRedis(t, redis.port, onDisk);
    await until(async () => (await ask(at(0, '/cart'), cookie)).status === 200, 'a cart');
    const count = countOf(await ask(at(0, '/'), cookie)) - 1;
    t.diagnostic(`acknowledged ${acknowledged}, counted ${count}, of 400`);
    assert.ok(acknowledged <= count && count <= 400, `${acknowledged} ${count}`);
  });

  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} loses nothing while it is paused, and goes on`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const { origin, child, printed } = await startServer(t, sessions);
      const browser = browse({ origin });
      await browser.get('/');
      const cookie = browser.jar.headerFor(new URL('http://localhost:6543'), Date.now() / 1000);
      const visits = Array.from({ length: 20 }, () => ask(`${origin}/`, cookie));
      child.kill('SIGSTOP');
      await pause(PAUSE);
      child.kill('SIGCONT');
      const answers = await Promise.all(visits);
      const counts = answers.filter(({ status }) => status === 200).map(countOf);
      assert.ok(answers.every(({ status }) => [200, 503].includes(status)), 'each is answered');
      await until(async () => (await ask(`${origin}/cart`, cookie)).status === 200, 'a cart');
      const after = countOf(await ask(`${origin}/`, cookie));
      assert.ok(after > counts.length + 1, `${counts.length} seen, then ${after}`);
      assert.doesNotMatch(printed(), /Error|\bat .*:\d+:\d+/);
    });
  }

  for (const { name, survives, make } of KINDS) {
    const outcome = survives ? 'loses nothing' : 'begins anew';
    it(`main.ts with SESSIONS=${name} ${outcome} when it is killed`, { timeout }, async (t) => {
      const { sessions } = await make(t);
      const first = await startServer(t, sessions);
      const { cookie } = await ask(`${first.origin}/`);
      await kill(first.child);
      const { origin } = await startServer(t, sessions);
      assert.equal(countOf(await ask(`${origin}/`, cookie)), survives ? 2 : 1);
    });
  }

  it('main.ts says 503 where Redis has no room or may not write', { timeout, skip }, async (t) => {
    const { url } = await startRedis(t);
    const client = new RedisClient(url);
    t.after(() => client.close());
    const { origin, printed } = await startServer(t, url);
    const { cookie } = await ask(`${origin}/`);
    await ask(`${origin}/cart`, cookie); // it writes once: the token of its forms
    const TROUBLES: [why: string, begin: string[], end: string[]][] = [
      ['OOM', ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']],
      ['READONLY', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
    ];
    for (const [index, [why, begin, end]] of TROUBLES.entries()) {
      await client.command(...begin);
      const { status, headers } = await ask(`${origin}/`, cookie);
      assert.deepEqual([status, headers.get('retry-after')], [503, '1'], why);
      assert.equal((await ask(`${origin}/cart`, cookie)).status, 200, 'what is only read is served');
      await client.command(...end);
      assert.equal(countOf(await ask(`${origin}/`, cookie)), index + 2, `after ${why}`);
      assert.match(printed(), new RegExp(`^503 GET /: Redis says: ${why} `, 'm'));
    }
  });

  if (!sqlite) return;
  const SQLITE = 'main.ts with SESSIONS=sqlite:FILE';
  const inFolder = (t: TestContext): { folder: string; file: string } => {
    const folder = makeFolder(t);
    return { folder, file: join(folder, 'sessions.sqlite') };
  };

  it(`${SQLITE} says 503 on a full disk, and has all that it acknowledged`, { timeout }, async (t) => {
    const { file } = inFolder(t);
    // No file may grow beyond 400 blocks of 512 bytes, and who tries is told, not killed.
    const under = ['sh', '-c', 'trap "" XFSZ; ulimit -f 400; exec "$0" "$@"'];
    const full = await startServer(t, `sqlite:${file}`, { under });
    const { cookie } = await ask(`${full.origin}/cart/note`, '', 'note=hello');
    let acknowledged = 0;
    let last: Answer;
    const note = `note=${'x'.repeat(2_000)}`;
    do {
      await ask(`${full.origin}/cart/note`, '', note); // somebody else, who takes the room
      last = await ask(`${full.origin}/`, cookie);
      if (last.status === 200) acknowledged += 1;
    } while (last.status === 200 && acknowledged < 1_000);
    assert.deepEqual([last.status, last.headers.get('retry-after')], [503, '1']);
    assert.ok(acknowledged > 5, `${acknowledged} before it was full`);
    assert.match(full.printed(), /^503 GET \/: (disk I\/O error|database or disk is full)$/m);
    const cart = await ask(`${full.origin}/cart`, cookie);
    assert.deepEqual([cart.status, /hello/.test(cart.body)], [200, true], 'who only reads is served');
    assert.equal((await ask(`${full.origin}/style.css`)).status, 200);
    await kill(full.child);

    const { origin } = await startServer(t, `sqlite:${file}`); // the disk has room again
    const count = countOf(await ask(`${origin}/`, cookie)) - 1;
    assert.ok(acknowledged <= count && count <= acknowledged + 1, `${acknowledged}, then ${count}`);
  });

  it(`${SQLITE} waits for a lock, and keeps nobody else waiting`, { timeout }, async (t) => {
    const { file } = inFolder(t);
    const { origin } = await startServer(t, `sqlite:${file}`);
    const { cookie } = await ask(`${origin}/`);
    await ask(`${origin}/cart`, cookie); // it writes once: the token of its forms
    const other = new sqlite.DatabaseSync(file);
    other.exec('BEGIN IMMEDIATE');
    const visit = ask(`${origin}/`, cookie);
    const others = await Promise.all([
      ...Array.from({ length: 50 }, () => ask(`${origin}/style.css`)),
      ...Array.from({ length: 50 }, () => ask(`${origin}/cart`, cookie)), // which only reads
    ]);
    assert.ok(others.every(({ status }) => status === 200));
    other.exec('COMMIT');
    other.close();
    const { status, body } = await visit;
    assert.deepEqual([status, countOf({ body })], [200, 2]);
  });

  it(`${SQLITE} does not start, in one line, where it may not write`, { timeout }, async (t) => {
    const { folder, file } = inFolder(t);
    new sqlite.DatabaseSync(file).close();
    chmodSync(file, 0o444);
    chmodSync(folder, 0o555);
    // Root may write whatever the mode says, unless that is taken from it.
    const isRoot = process.getuid?.() === 0;
    const under = isRoot ? ['setpriv', '--inh-caps=-all', '--bounding-set=-all'] : [];
    const [command = '', ...words] = [...under, process.execPath, main];
    const SESSIONS = `sqlite:${file}`;
    const env = { ...process.env, NODE_NO_WARNINGS: '1', PORT: '0', SESSIONS };
    const { status, stdout, stderr } = spawnSync(command, words, { env, encoding: 'utf8' });
    chmodSync(folder, 0o755);
    assert.deepEqual([status, stdout], [1, ''], stderr);
    assert.match(stderr, /^Cannot open .*sessions\.sqlite: [a-z ]+\n$/);
  });
});

describe('processes: what is printed', TOGETHER, () => {
  const SESSION_SECRET = 'this-is-a-secret-of-production-0123456789';
  const WRONG = 'correct-horse-battery-staple';
  for (const { name, skip = false, make } of [...KINDS, ...SHARED]) {
    const title = `main.ts with SESSIONS=${name} prints no secret, and shows none where it refuses`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const env = { NODE_ENV: 'production', SESSION_SECRET };
      const server = await startServer(t, sessions, { env });
      const { origin, child, printed } = server;
      const secrets = new Set([SESSION_SECRET, WRONG, ...USERS.values()]);
      const tokens = new Set<string>(); // which stand in the forms of pages
      let refusals = '';
      let cookie = '';
      const visit = async (path: string, form?: string, more = {}): Promise<Answer> => {
        const accept = { accept: 'text/html' };
        const answer = await ask(origin + path, cookie, form, { ...accept, ...more });
        ({ cookie } = answer);
        const value = cookie.slice(cookie.indexOf('=') + 1);
        if (value) secrets.add(value).add(value.slice(0, 40)).add(value.slice(-40));
        for (const [, token = ''] of answer.body.matchAll(/name="csrf_token" value="(\w+)"/g)) {
          tokens.add(token);
        }
        const headers = [...answer.headers].filter(([name]) => name !== 'set-cookie'); // its place
        if (answer.status >= 400) refusals += answer.body + JSON.stringify(headers);
        return answer;
      };
      const statuses: number[] = [];
      const walk = async (...steps: [path: string, form?: string | undefined, more?: object][]) => {
        for (const step of steps) statuses.push((await visit(...step)).status);
      };
      const cross = { 'sec-fetch-site': 'cross-site' };
      await walk(
        ['/'], ['/howdy?token=secret'], ['/nowhere'], ['/login?next=//evil'], ['/%zz'], ['/dashboard'],
        ['/articles', 'title=a&body=b'], ['/articles', 'title='], ['/articles', 'title=a', cross],
        ['/cart/add', 'item=pot'], ['/cart/note', `note=${'x'.repeat(70_000)}`], ['/cart/add', '%zz'],
        ['/login', `name=editor&password=${WRONG}`], ['/login', 'name=editor&password=editor'],
        ['/dashboard'], ['/sessions'], ['/inspect'], ['/cart'],
      );
      const jwt = await visit('/api/token', '');
      const { token } = JSON.parse(jwt.body) as { token: string };
      secrets.add(token).add(token.slice(token.lastIndexOf('.') + 1));
      for (const bearer of [token, `${token}x`, 'x']) {
        await walk(['/api/counter', undefined, { authorization: `Bearer ${bearer}` }]);
      }
      await walk(['/logout', ''], ['/dashboard'], ['/logout', '', cross]);
      const refused = new Set(statuses.filter((status) => status >= 400));
      const expected = [400, 401, 403, 404, 413, 422];
      for (const status of expected) {
        assert.ok(refused.has(status), `${status} among ${[...refused]}`);
      }
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      assert.deepEqual(await ended, [0, null]);
      assert.ok(secrets.size > 10 && tokens.size > 0, `${secrets.size} and ${tokens.size}`);
      for (const secret of secrets) {
        assert.ok(secret.length >= 20, `${secret} is one that may stand anywhere`);
        assert.ok(!printed().includes(secret), `${secret} was printed`);
        assert.ok(!refusals.includes(secret), `${secret} was shown`);
      }
      for (const token of tokens) {
        assert.ok(!printed().includes(token), `${token} was printed`);
        const elsewhere = refusals.replaceAll(`name="csrf_token" value="${token}"`, '');
        assert.ok(!elsewhere.includes(token), `${token} was shown outside of its form`);
      }
      assert.doesNotMatch(refusals, /\bat .*:\d+:\d+|node_modules|\.ts\b/, 'no stack');
    });
  }
});

describe('processes: what a store knows', TOGETHER, () => {
  const WRONG = 'correct-horse-battery-staple';
  // The right one in full-width letters: the same to step 16, and not the name in other bytes.
  const RIGHT = 'ｅｄｉｔｏｒ';

  /** Logs in and posts with a token, as a program does; gives all that must stay a secret. */
  async function visit({ origin }: Server): Promise<string[]> {
    const secrets = [WRONG, RIGHT, ...USERS.values()];
    let cookie = '';
    const post = async (path: string, form: string): Promise<Answer> => {
      const page = await ask(`${origin}/login`, cookie);
      const token = /name="csrf_token" value="(\w+)"/.exec(page.body)?.[1] ?? '';
      const whole = `${form}&csrf_token=${token}`;
      const answer = await ask(origin + path, page.cookie, whole, { 'sec-fetch-site': '' });
      secrets.push(token, page.cookie.slice(8), answer.cookie.slice(8));
      ({ cookie } = answer);
      return answer;
    };
    assert.equal((await post('/login', `name=editor&password=${WRONG}`)).status, 422);
    const login = await post('/login', `name=editor&password=${encodeURIComponent(RIGHT)}`);
    assert.deepEqual([login.status, login.headers.get('location')], [303, '/dashboard']);
    assert.equal((await post('/cart/add', 'item=pot')).status, 303);
    assert.equal(countOf(await ask(`${origin}/`, cookie)), 1);
    assert.ok(secrets.every((secret) => secret.length > 5), JSON.stringify(secrets));
    return [...new Set(secrets)];
  }

  /** Looks for each secret as text and, where it may be bytes in base64url or hex, as those. */
  function assertKnowsNone(store: Buffer, secrets: string[], printed: string): void {
    const id = secrets.filter((secret) => /^[\w-]{43}$/.test(secret)).at(-1) ?? '';
    assert.ok(store.includes(keyOf(id)), 'it is the right store: the hash of the id is there');
    assert.ok(store.includes('pot'), 'and its cart');
    for (const secret of secrets) {
      const forms = [secret, encodeURIComponent(secret)].map((text) => Buffer.from(text));
      if (/^[\w-]{43}$/.test(secret)) forms.push(Buffer.from(secret, 'base64url'));
      if (/^[0-9a-f]{64}$/.test(secret)) forms.push(Buffer.from(secret, 'hex'));
      for (const form of forms) assert.ok(!store.includes(form), `the store has ${secret}`);
      assert.ok(!printed.includes(secret), `the server printed ${secret}`);
    }
  }

  if (sqlite) {
    const title = 'main.ts with SESSIONS=sqlite:FILE writes no id, no password and no token';
    it(title, { timeout }, async (t) => {
      const folder = makeFolder(t);
      const server = await startServer(t, `sqlite:${join(folder, 'sessions.sqlite')}`);
      const secrets = await visit(server);
      const names = readdirSync(folder);
      assert.ok(names.includes('sessions.sqlite-wal'), names.join());
      const bytes = Buffer.concat(names.map((name) => readFileSync(join(folder, name))));
      assertKnowsNone(bytes, secrets, server.printed());
    });
  }

  const TOLD = 'main.ts with SESSIONS=redis://localhost:PORT/1 tells it no id, password or token';
  it(TOLD, { timeout, skip }, async (t) => {
    const { url, port } = await startRedis(t);
    let heard = '';
    const monitor = connect(port, '127.0.0.1', () => monitor.write('MONITOR\r\n'));
    t.after(() => monitor.destroy());
    monitor.setEncoding('utf8').on('data', (text: string) => (heard += text));
    await once(monitor, 'data'); // +OK: from here on it hears everything
    const server = await startServer(t, url);
    const secrets = await visit(server);

    const client = new RedisClient(url);
    t.after(() => client.close());
    const keys = (await client.command('KEYS', '*')) as string[];
    assert.ok(keys.length >= 2, `a session and an owner: ${keys}`);
    const dumps = keys.map(async (key) => {
      const isSession = key.startsWith('session:');
      return [key, await client.command(isSession ? 'HGETALL' : 'SMEMBERS', key)];
    });
    const dump = JSON.stringify(await Promise.all(dumps));
    await client.command('ECHO', 'the end');
    await until(async () => heard.includes('the end'), 'all that Redis was told');
    // It writes a byte that is no ASCII as \xef.
    const byteOf = (_: string, hex: string): string => String.fromCharCode(parseInt(hex, 16));
    const unescaped = heard.replace(/\\x([0-9a-f]{2})/g, byteOf);
    const told = Buffer.concat([Buffer.from(dump), Buffer.from(unescaped, 'latin1')]);
    assertKnowsNone(told, secrets, server.printed());
  });
});
