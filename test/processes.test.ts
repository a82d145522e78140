// The finished site as real processes, with files and a Redis server, and with kills and pauses.
// KILLS sets how often the servers are killed under load, and VISITS sets how many visits are sent in
// parallel:
//
//   CI=true KILLS=20 VISITS=1000 node --test test/processes.test.ts     with --import tsx on Node 20
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { explainedIt } from '../.tools/explain.ts';
import { plain, plainSite } from '../.tools/plain.ts';
import { skipSlow } from '../.tools/quick.ts';
import { skipRedis as skip, startRedis as start } from '../.tools/redis.ts';
import { bodyText } from '../.tools/request.ts';
import type { Handler, HttpResponse } from '../src/04-http.ts';
import { parseSetCookie } from '../src/15-jar.ts';
import { Browser } from '../src/16-browser.ts';
import { USERS } from '../src/21-password.ts';
import { hashId } from '../src/25-store.ts';
import { RedisClient } from '../src/32-redis-client.ts';

const it = explainedIt(import.meta.url);
const KILLS = Number(process.env.KILLS || 3);
const VISITS = Number(process.env.VISITS || 1000); // at least 40, a multiple of 20
const IN_FLIGHT = 60; // parallel requests to all servers
const RESPONSE_TIMEOUT = 30_000; // milliseconds: a longer response hangs, even on a busy machine
const START_TIMEOUT = 30_000; // milliseconds until a started program is ready
const TEST_TIMEOUT = 120_000;
const PAUSE = 600; // milliseconds: longer than a server waits for Redis
const POLL_INTERVAL = 50; // milliseconds between two looks
const NODE_COMPILE_CACHE = join(tmpdir(), 'node-compile-cache'); // servers start faster
const FILE = 'test/processes.test.ts';
// Most of the time is waiting. The servers and their slow hashes take half a minute.
const TOGETHER = { concurrency: 3, skip: skipSlow(FILE) };

const main = plain(join(await plainSite(), 'src/main.ts'));

type Child = ChildProcessByStdio<null, Readable, Readable>;
type Server = { child: Child; origin: string; printed: () => string };

/** Waits until the child prints a line that matches `sign`. The child ends with the test. */
async function startChild(t: TestContext, child: Child, sign: RegExp) {
  t.after(() => child.kill('SIGKILL'));
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (printed += text));
  }
  const closed = once(child, 'close');
  const signal = AbortSignal.timeout(START_TIMEOUT);
  for (let found; ; await Promise.race([once(child.stdout, 'data', { signal }), closed])) {
    if ((found = sign.exec(printed))) return { found, printed: () => printed };
    const isRunning = child.exitCode === null && child.signalCode === null;
    assert.ok(isRunning, `a server ended before it listened:\n${printed}`);
  }
}

/** `under`: a program that starts the server, for example with a limit. `env`: its variables. */
type More = { under?: string[]; env?: Record<string, string> };

/** Starts the finished site in a process of its own. */
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

/** Starts Redis until the test ends. */
async function startRedis(t: TestContext, ...how: Parameters<typeof start>) {
  const redis = await start(...how);
  t.after(() => redis.stop());
  return { ...redis, url: redis.nextUrl() };
}

async function kill(...children: ChildProcess[]): Promise<void> {
  for (const child of children) child.kill('SIGKILL');
  const ends = children.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit'));
  await Promise.all(ends);
}

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'processes-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

type Reply = { status: number; headers: Headers; body: string; cookie: string };

/** Sends one request; a form is a POST. Throws if no response arrives in time. */
async function ask(url: string, cookie = '', form?: string, more = {}): Promise<Reply> {
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
    signal: AbortSignal.timeout(RESPONSE_TIMEOUT),
  });
  const body = await response.text();
  const [line] = response.headers.getSetCookie();
  const set = line === undefined ? undefined : parseSetCookie(line, { url: new URL(url), now: 0 });
  const { status, headers } = response;
  return { status, headers, body, cookie: set?.value ? `${set.name}=${set.value}` : cookie };
}

/** The browser of step 16, but its requests go over the network to `place`. */
function browse(place: { origin: string }): Browser {
  const handler: Handler = async ({ method, path, search, headers, body }) => {
    const form = method === 'POST' ? await textOf(body) : undefined;
    const answer = await ask(place.origin + path + search, headers.cookie, form);
    const lines = { 'set-cookie': answer.headers.getSetCookie() };
    return { ...answer, headers: { ...Object.fromEntries(answer.headers), ...lines } };
  };
  return new Browser(handler);
}

/** Runs `work` for 0, 1, 2 … until `count`, and at most `IN_FLIGHT` of them in parallel. */
async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

/** Sends so many requests in parallel. Returns how often each status came back. */
async function statusesOf(count: number, send: (index: number) => Promise<Reply>) {
  const statuses: Record<number, number> = {};
  await inParallel(count, async (index) => {
    const { status } = await send(index);
    statuses[status] = (statuses[status] ?? 0) + 1;
  });
  return statuses;
}

const TOO_BUSY = /: (?:No reply after \d+ ms|Redis is down|database is locked)$/; // in the log

/** Asserts that the servers sent a 503 only because the time limit of a store was too short. */
function checkReasons(servers: Server[]): void {
  const lines = servers.flatMap(({ printed }) => printed().match(/^503 .*$/gm) ?? []);
  assert.deepEqual(lines.filter((line) => !TOO_BUSY.test(line)), []);
}

/**
 * Asserts that the site has counted each confirmed request, and none twice. On a very busy machine,
 * a store may have no time for a few requests: a 503 confirms nothing, but may have been counted.
 */
function checkCount(count: number, sent: number, statuses: Record<number, number>, confirmed: number) {
  const { [confirmed]: _, 503: busy = 0, ...others } = statuses;
  assert.deepEqual(others, {}, 'no other status');
  assert.ok(busy <= sent / 10, `${busy} responses with 503`);
  assert.ok(sent - busy <= count && count <= sent, `${sent} sent, ${busy} times 503, ${count} counted`);
}

/** Waits until the condition is true. */
async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + START_TIMEOUT;
  while (!(await isSo())) {
    assert.ok(Date.now() < end, `${START_TIMEOUT} milliseconds without ${what}`);
    await pause(POLL_INTERVAL);
  }
}

function countOf({ body }: Pick<HttpResponse, 'body'>): number {
  const page = bodyText({ status: 200, headers: {}, body });
  return Number(/<p>Count: (\d+)<\/p>/.exec(page)?.[1]);
}

type Sqlite = { DatabaseSync: new (file: string) => SqliteFile };
type SqliteFile = {
  prepare(sql: string): { get(): unknown };
  exec(sql: string): void;
  close(): void;
};
const sqlite = process.getBuiltinModule?.('node:sqlite') as Sqlite | undefined;

/** Where sessions are kept. `check` throws if the place is damaged. */
type Place = { sessions: string; check(): void };
type Kind = {
  name: string;
  skip?: string | false;
  isStored: boolean;
  survives: boolean; // a restart of the server
  make(t: TestContext): Place | Promise<Place>;
};

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

/** The kinds that several servers can share. On a Node without SQLite, there is one less. */
const SHARED: Kind[] = [];
if (sqlite) {
  SHARED.push({
    name: 'sqlite:FILE',
    isStored: true,
    survives: true,
    make(t) {
      const folder = makeFolder(t);
      const check = (): void => {
        const copy = makeFolder(t); // only the servers may recover the file itself
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

describe('processes: one visit with each kind of session', TOGETHER, () => {
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
      assert.match(saved, /role="status">Article saved/);
      assert.match(saved, /<h2 dir="auto">One<\/h2>/);
      assert.doesNotMatch(await bodyOf('/articles'), /<p class="flash/, 'a message is shown once');

      assert.match(String((await browser.post('/cart/add', { item: 'pot' })).body), /Cart \(1\)/);
      const fields = { username: 'editor', password: 'editor' };
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
      assert.match(await bodyOf('/dashboard'), /<h1>Hello, editor<\/h1>[^]*Visits: 3,/);
      assert.match(await bodyOf('/cart'), /<strong>Teapot<\/strong> 1 for € 38\.00/);

      const old = browser.jar.headerFor(new URL('http://localhost:6543'), Date.now() / 1000);
      const outside = String((await browser.post('/logout', {})).body);
      assert.match(outside, /You are logged out\./);
      const left = await browser.request('GET', '/dashboard');
      assert.deepEqual([left.status, left.headers.location], [303, '/login?next=%2Fdashboard']);
      const copied = await ask(`${place.origin}/dashboard`, old); // an attacker may have this copy
      assert.equal(copied.status, isStored ? 303 : 200, 'only a store can end a session');
    });
  }
});

describe('processes: parallel requests', TOGETHER, () => {
  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} loses no visit through three servers`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const servers = await startServers(t, sessions, 3);
      const at = (index: number, path: string): string => `${servers[index % 3]?.origin}${path}`;
      const { cookie } = await ask(at(0, '/cart/note'), '', 'note=hello'); // a session without a count
      const statuses = await statusesOf(VISITS, (index) => ask(at(index, '/'), cookie));
      const panel = (await ask(at(0, '/cart'), cookie)).body.replaceAll('&quot;', '"');
      const count = Number(/"counter": (\d+)/.exec(panel)?.[1]);
      checkCount(count, VISITS, statuses, 200);
      checkReasons(servers);
      assert.equal(countOf(await ask(at(1, '/'), cookie)), count + 1, 'the next visit');
    });
  }

  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} loses nothing that is added to a cart in parallel`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const servers = await startServers(t, sessions, 2);
      const at = (index: number, path: string): string => `${servers[index % 2]?.origin}${path}`;
      const { cookie } = await ask(at(0, '/'));
      const items = ['tea', 'honey', 'mug', 'pot'];
      const statuses = await statusesOf(VISITS / 5, (index) => {
        const item = items[Math.floor(index / 2) % 4]; // each server adds each product
        return ask(at(index, '/cart/add'), cookie, `item=${item}`);
      });
      const { body } = await ask(at(0, '/cart'), cookie);
      const quantities = [...body.matchAll(/name="quantity" value="(\d+)"/g)].map(([, n]) => Number(n));
      assert.equal(quantities.length, 4);
      for (const quantity of quantities) checkCount(quantity, VISITS / 20, statuses, 303);
      checkReasons(servers);
      assert.match(body, new RegExp(`Cart \\(${quantities.reduce((sum, one) => sum + one)}\\)`));
    });
  }

  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} never restores a session that a logout has ended`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const servers = await startServers(t, sessions, 2);
      const at = (index: number, path: string): string => `${servers[index % 2]?.origin}${path}`;
      for (let round = 0; round < VISITS / 25; round++) {
        const { cookie } = await ask(at(round, '/'));
        // The order varies: in some of the rounds, the logout is first.
        const visits = Array.from({ length: 6 }, (_, index) => ask(at(index, '/'), cookie));
        await Promise.all([...visits, ask(at(round, '/logout'), cookie, '')]);
        const after = await ask(at(round + 1, '/'), cookie);
        assert.equal(countOf(after), 1, 'the session has returned');
        assert.notEqual(after.cookie, cookie, 'the site does not accept an ended id');
      }
    });
  }
});

describe('processes: killed', TOGETHER, () => {
  for (const { name, skip = false, make } of SHARED) {
    const title = `main.ts with SESSIONS=${name} killed under load loses no visit that it confirmed`;
    const bound = timeout + KILLS * START_TIMEOUT;
    it(title, { timeout: bound, skip }, async (t) => {
      const { sessions, check } = await make(t);
      let cookie: string | undefined;
      let [sent, acknowledged] = [0, 0];
      for (let killed = 0; killed < KILLS; killed++) {
        const servers = await startServers(t, sessions, 2);
        cookie ??= (await ask(`${servers[0]?.origin}/cart/note`, '', 'note=hello')).cookie;
        const enough = acknowledged + 100; // responses; then both are killed while others are in flight
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
        assert.equal(fault, undefined, 'a visit before the kill returned another status than 200');
        check();
      }
      const { origin } = await startServer(t, sessions);
      const count = countOf(await ask(`${origin}/`, cookie)) - 1;
      const figures = `${sent} sent, ${acknowledged} acknowledged, ${count} counted`;
      t.diagnostic(`${KILLS} kills: ${figures}`);
      assert.ok(acknowledged <= count && count <= sent, figures);
    });
  }

  const DOWN = 'main.ts responds 503 while Redis is down or hangs, and recovers when it returns';
  it(DOWN, { timeout, skip }, async (t) => {
    const redis = await startRedis(t);
    const { origin, child, printed } = await startServer(t, redis.url);
    const { cookie } = await ask(`${origin}/`);
    const statuses: Record<number, number> = { 200: 0, 503: 0 };
    let longest = 0;
    const visit = async (): Promise<void> => {
      const start = performance.now();
      const { status, headers } = await ask(`${origin}/`, cookie); // throws if the page hangs
      longest = Math.max(longest, performance.now() - start);
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (status === 503) assert.equal(headers.get('retry-after'), '1');
    };
    await inParallel(400, async (index) => {
      if (index === 100) redis.child.kill('SIGKILL'); // while the others are in flight
      await visit();
    });
    assert.deepEqual(Object.keys(statuses), ['200', '503'], 'each request has a response, and no other status');
    assert.ok(Number(statuses[200]) > 0 && Number(statuses[503]) > 100, JSON.stringify(statuses));
    assert.equal((await ask(`${origin}/style.css`)).status, 200, 'a page without a session');
    const page = await ask(`${origin}/`, cookie, undefined, { accept: 'text/html' });
    assert.match(page.body, /<nav [^]*<h1>503 Service Unavailable<\/h1>/);
    assert.deepEqual([page.status, page.headers.getSetCookie()], [503, []]);

    const again = await startRedis(t, redis.port);
    const isBack = async (): Promise<boolean> => (await ask(`${origin}/`)).status === 200;
    await until(isBack, 'a page with the new Redis');
    const fresh = await ask(`${origin}/`);
    assert.equal(countOf(await ask(`${origin}/`, fresh.cookie)), 2);

    t.diagnostic(`Redis killed: ${JSON.stringify(statuses)}, the longest ${longest.toFixed()} ms`);

    again.child.kill('SIGSTOP'); // it is there, but does not reply
    longest = 0;
    const before = Number(statuses[503]);
    await inParallel(IN_FLIGHT, visit);
    assert.equal(Number(statuses[503]), before + IN_FLIGHT, 'while Redis hangs');
    t.diagnostic(`Redis hangs: the longest ${longest.toFixed()} ms`);
    assert.equal((await ask(`${origin}/style.css`)).status, 200);
    again.child.kill('SIGCONT');
    await until(isBack, 'a page after Redis continues');
    assert.ok(countOf(await ask(`${origin}/`, fresh.cookie)) >= 3, 'this Redis still has the session');

    await kill(again.child);
    assert.equal((await ask(`${origin}/`)).status, 503);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null], 'it stops cleanly without Redis');
    assert.doesNotMatch(printed(), /Error|\bat .*:\d+:\d+/, 'one line for each 503');
  });
});

describe('processes: stopped, paused, and without space', TOGETHER, () => {
  const KILLED = 'main.ts loses no change if Redis with appendfsync=always is killed';
  it(KILLED, { timeout, skip }, async (t) => {
    const onDisk = ['--dir', makeFolder(t), '--appendonly', 'yes', '--appendfsync', 'always'];
    let redis = await startRedis(t, undefined, onDisk);
    const servers = await startServers(t, redis.url, 2);
    const at = (index: number, path: string): string => `${servers[index % 2]?.origin}${path}`;
    const { cookie } = await ask(at(0, '/cart/note'), '', 'note=hello');
    const statuses = await statusesOf(400, (index) => {
      if (index === 200) redis.child.kill('SIGKILL');
      return ask(at(index, '/'), cookie);
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
    const title = `main.ts with SESSIONS=${name} loses nothing while it is paused`;
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
      assert.ok(answers.every(({ status }) => [200, 503].includes(status)), 'each request has a response');
      await until(async () => (await ask(`${origin}/cart`, cookie)).status === 200, 'a cart');
      const after = countOf(await ask(`${origin}/`, cookie));
      assert.ok(after > counts.length + 1, `${counts.length} seen, then ${after}`);
      assert.doesNotMatch(printed(), /Error|\bat .*:\d+:\d+/);
    });
  }

  for (const { name, survives, make } of KINDS) {
    const outcome = survives ? 'loses nothing' : 'creates a new session';
    it(`main.ts with SESSIONS=${name} ${outcome} after a kill`, { timeout }, async (t) => {
      const { sessions } = await make(t);
      const first = await startServer(t, sessions);
      const { cookie } = await ask(`${first.origin}/`);
      await kill(first.child);
      const { origin } = await startServer(t, sessions);
      assert.equal(countOf(await ask(`${origin}/`, cookie)), survives ? 2 : 1);
    });
  }

  it('main.ts responds 503 if Redis is full or read-only', { timeout, skip }, async (t) => {
    const { url } = await startRedis(t);
    const client = new RedisClient(url);
    t.after(() => client.close());
    const { origin, printed } = await startServer(t, url);
    const { cookie } = await ask(`${origin}/`);
    await ask(`${origin}/cart`, cookie); // writes the token of its forms
    const TROUBLES: [why: string, begin: string[], end: string[]][] = [
      ['OOM', ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']],
      ['READONLY', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
    ];
    for (const [index, [why, begin, end]] of TROUBLES.entries()) {
      await client.command(...begin);
      const { status, headers } = await ask(`${origin}/`, cookie);
      assert.deepEqual([status, headers.get('retry-after')], [503, '1'], why);
      const reads = async (): Promise<boolean> => (await ask(`${origin}/cart`, cookie)).status === 200;
      await until(reads, 'a page that only reads'); // READONLY closes the connection
      await client.command(...end);
      assert.equal(countOf(await ask(`${origin}/`, cookie)), index + 2, `after ${why}`);
      assert.match(printed(), new RegExp(`^503 GET /: .*${why}`, 'm'));
    }
  });

  if (!sqlite) return;
  const SQLITE = 'main.ts with SESSIONS=sqlite:FILE';
  const inFolder = (t: TestContext): { folder: string; file: string } => {
    const folder = makeFolder(t);
    return { folder, file: join(folder, 'sessions.sqlite') };
  };

  it(`${SQLITE} responds 503 on a full disk, and keeps what it confirmed`, { timeout }, async (t) => {
    const { file } = inFolder(t);
    // No file may have more than 400 blocks of 512 bytes. The server gets an error, not a signal.
    const under = ['sh', '-c', 'trap "" XFSZ; ulimit -f 400; exec "$0" "$@"'];
    const full = await startServer(t, `sqlite:${file}`, { under });
    const { cookie } = await ask(`${full.origin}/cart/note`, '', 'note=hello');
    let acknowledged = 0;
    let last: Reply;
    const note = `note=${'x'.repeat(2_000)}`;
    do {
      await ask(`${full.origin}/cart/note`, '', note); // another visitor fills the disk
      last = await ask(`${full.origin}/`, cookie);
      if (last.status === 200) acknowledged += 1;
    } while (last.status === 200 && acknowledged < 1_000);
    assert.deepEqual([last.status, last.headers.get('retry-after')], [503, '1']);
    assert.ok(acknowledged > 5, `${acknowledged} before it was full`);
    assert.match(full.printed(), /^503 GET \/: (disk I\/O error|database or disk is full)$/m);
    const cart = await ask(`${full.origin}/cart`, cookie);
    assert.deepEqual([cart.status, /hello/.test(cart.body)], [200, true], 'a page that only reads');
    assert.equal((await ask(`${full.origin}/style.css`)).status, 200);
    await kill(full.child);

    const { origin } = await startServer(t, `sqlite:${file}`); // the disk has space again
    const count = countOf(await ask(`${origin}/`, cookie)) - 1;
    assert.ok(acknowledged <= count && count <= acknowledged + 1, `${acknowledged}, then ${count}`);
  });

  it(`${SQLITE} responds 503 while another process has the lock`, { timeout }, async (t) => {
    const { file } = inFolder(t);
    const { origin } = await startServer(t, `sqlite:${file}`);
    const { cookie } = await ask(`${origin}/`);
    await ask(`${origin}/cart`, cookie); // writes the token of its forms
    const other = new sqlite.DatabaseSync(file);
    other.exec('BEGIN IMMEDIATE');
    const locked = await ask(`${origin}/`, cookie);
    assert.deepEqual([locked.status, locked.headers.get('retry-after')], [503, '1']);
    const readers = Array.from({ length: 50 }, () => ask(`${origin}/cart`, cookie));
    assert.ok((await Promise.all(readers)).every(({ status }) => status === 200), 'readers do not wait');
    other.exec('COMMIT');
    other.close();
    const { status, body } = await ask(`${origin}/`, cookie);
    assert.deepEqual([status, countOf({ body })], [200, 2]);
  });

  it(`${SQLITE} does not start if it may not write, and prints one line`, { timeout }, async (t) => {
    const { folder, file } = inFolder(t);
    new sqlite.DatabaseSync(file).close();
    chmodSync(file, 0o444);
    chmodSync(folder, 0o555);
    // Root ignores the mode, except without its capabilities.
    const isRoot = process.getuid?.() === 0;
    const under = isRoot ? ['setpriv', '--inh-caps=-all', '--bounding-set=-all'] : [];
    const [command = '', ...words] = [...under, process.execPath, main];
    const SESSIONS = `sqlite:${file}`;
    const env = { ...process.env, NODE_NO_WARNINGS: '1', PORT: '0', SESSIONS };
    const { status, stdout, stderr } = spawnSync(command, words, { env, encoding: 'utf8' });
    chmodSync(folder, 0o755);
    assert.deepEqual([status, stdout], [1, ''], stderr);
    assert.match(stderr, /^Cannot open .*sessions\.sqlite: [^\n]+\n$/);
  });
});

describe('processes: what is printed', TOGETHER, () => {
  const SESSION_SECRET = 'this-is-a-secret-of-production-0123456789';
  const WRONG = 'correct-horse-battery-staple';
  for (const { name, skip = false, make } of [...KINDS, ...SHARED]) {
    const title = `main.ts with SESSIONS=${name} prints no secret, and no error page contains one`;
    it(title, { timeout, skip }, async (t) => {
      const { sessions } = await make(t);
      const env = { NODE_ENV: 'production', SESSION_SECRET };
      const server = await startServer(t, sessions, { env });
      const { origin, child, printed } = server;
      const secrets = new Set([SESSION_SECRET, WRONG, ...USERS.values()]);
      const tokens = new Set<string>(); // the tokens in the forms of pages
      let errorPages = '';
      let cookie = '';
      const visit = async (path: string, form?: string, more = {}): Promise<Reply> => {
        const accept = { accept: 'text/html' };
        const answer = await ask(origin + path, cookie, form, { ...accept, ...more });
        ({ cookie } = answer);
        const value = cookie.slice(cookie.indexOf('=') + 1);
        if (value) secrets.add(value).add(value.slice(0, 40)).add(value.slice(-40));
        for (const [, token = ''] of answer.body.matchAll(/name="csrf_token" value="(\w+)"/g)) {
          tokens.add(token);
        }
        const headers = [...answer.headers].filter(([name]) => name !== 'set-cookie'); // the cookie may be there
        if (answer.status >= 400) errorPages += answer.body + JSON.stringify(headers);
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
        ['/cart/add', 'item=pot'], ['/cart/note', `note=${'x'.repeat(70_000)}`], ['/cart/add', '%ff'],
        ['/login', `username=editor&password=${WRONG}`], ['/login', 'username=editor&password=editor'],
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
        assert.ok(secret.length >= 20, `${secret} is too short for this check`);
        assert.ok(!printed().includes(secret), `${secret} was printed`);
        assert.ok(!errorPages.includes(secret), `${secret} was shown`);
      }
      for (const token of tokens) {
        assert.ok(!printed().includes(token), `${token} was printed`);
        const elsewhere = errorPages.replaceAll(`name="csrf_token" value="${token}"`, '');
        assert.ok(!elsewhere.includes(token), `${token} was shown outside of its form`);
      }
      assert.doesNotMatch(errorPages, /\bat .*:\d+:\d+|node_modules|\.ts\b/, 'no stack trace');
    });
  }
});

describe('processes: what a store knows', TOGETHER, () => {
  const WRONG = 'correct-horse-battery-staple';
  // The password in full-width letters: step 21 normalizes it, and its bytes differ from the name.
  const RIGHT = 'ｅｄｉｔｏｒ';

  /** Logs in and sends forms with a token. Returns everything that must stay secret. */
  async function visit({ origin }: Server): Promise<string[]> {
    const secrets = [WRONG, RIGHT, ...USERS.values()];
    let cookie = '';
    const post = async (path: string, form: string): Promise<Reply> => {
      const page = await ask(`${origin}/login`, cookie);
      const token = /name="csrf_token" value="(\w+)"/.exec(page.body)?.[1] ?? '';
      const whole = `${form}&csrf_token=${token}`;
      const answer = await ask(origin + path, page.cookie, whole, { 'sec-fetch-site': '' });
      secrets.push(page.cookie.slice(8), answer.cookie.slice(8));
      ({ cookie } = answer);
      return answer;
    };
    assert.equal((await post('/login', `username=editor&password=${WRONG}`)).status, 422);
    const login = await post('/login', `username=editor&password=${encodeURIComponent(RIGHT)}`);
    assert.deepEqual([login.status, login.headers.get('location')], [303, '/dashboard']);
    assert.equal((await post('/cart/add', 'item=pot')).status, 303);
    assert.equal(countOf(await ask(`${origin}/`, cookie)), 1);
    assert.ok(secrets.every((secret) => secret.length > 5), JSON.stringify(secrets));
    return [...new Set(secrets)];
  }

  /** Looks for each secret as text, and as the bytes that it encodes. */
  function assertKnowsNone(store: Buffer, secrets: string[], printed: string): void {
    const id = secrets.filter((secret) => /^[\w-]{43}$/.test(secret)).at(-1) ?? '';
    assert.ok(store.includes(hashId(id)), 'the store contains the hash of the id');
    assert.ok(store.includes('pot'), 'the store contains the cart');
    for (const secret of secrets) {
      const forms = [secret, encodeURIComponent(secret)].map((text) => Buffer.from(text));
      if (/^[\w-]{43}$/.test(secret)) forms.push(Buffer.from(secret, 'base64url'));
      if (/^[0-9a-f]{64}$/.test(secret)) forms.push(Buffer.from(secret, 'hex'));
      for (const form of forms) assert.ok(!store.includes(form), `the store has ${secret}`);
      assert.ok(!printed.includes(secret), `the server printed ${secret}`);
    }
  }

  if (sqlite) {
    const title = 'main.ts with SESSIONS=sqlite:FILE stores no id and no password';
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

  const SENT = 'main.ts with SESSIONS=redis://localhost:PORT/1 sends it no id and no password';
  it(SENT, { timeout, skip }, async (t) => {
    const { url, port } = await startRedis(t);
    let heard = '';
    const monitor = connect(port, '127.0.0.1', () => monitor.write('MONITOR\r\n'));
    monitor.on('error', () => {}); // Redis ends before this connection
    t.after(() => monitor.destroy());
    monitor.setEncoding('utf8').on('data', (text: string) => (heard += text));
    await once(monitor, 'data'); // +OK: from now on it hears everything
    const server = await startServer(t, url);
    const secrets = await visit(server);

    const client = new RedisClient(url);
    t.after(() => client.close());
    const keys = (await client.command('KEYS', '*')) as string[];
    assert.ok(keys.length >= 2, `a session and the list of a user: ${keys}`);
    const dumps = keys.map(async (key) => {
      return [key, await client.command('HGETALL', key)];
    });
    const dump = JSON.stringify(await Promise.all(dumps));
    await client.command('ECHO', 'the end');
    await until(async () => heard.includes('the end'), 'everything that Redis has received');
    // MONITOR prints a byte that is not ASCII as \xef.
    const byteOf = (_: string, hex: string): string => String.fromCharCode(parseInt(hex, 16));
    const unescaped = heard.replace(/\\x([0-9a-f]{2})/g, byteOf);
    const received = Buffer.concat([Buffer.from(dump), Buffer.from(unescaped, 'latin1')]);
    assertKnowsNone(received, secrets, server.printed());
  });
});
