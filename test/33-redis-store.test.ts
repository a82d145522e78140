// Step 33: sessions in Redis. The contract of all stores is in contracts.test.ts.
import assert from 'node:assert/strict';
import { after, before, describe, type TestContext } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { makeClient } from '../.tools/fake-redis.ts';
import { checkRedisUrl, type Redis, skipRedis, startRedis } from '../.tools/redis.ts';
import { bodyText } from '../.tools/request.ts';
import { Browser } from '../src/16-browser.ts';
import { StoreUnavailable } from '../src/25-store.ts';
import type { Commander } from '../src/32-redis-client.ts';
import { RedisStore, site } from '../src/33-redis-store.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // seconds: years ago, so the clock of Redis differs
const timeout = 10_000;

/** Returns a commander that records the commands, and replies as the test says. */
function makeSpy(respond: (command: string[]) => unknown) {
  const commands: string[][] = [];
  const command: Commander['command'] = async (...args) => {
    commands.push(args);
    return respond(args);
  };
  return { commands, command };
}

describe('33-redis-store: RedisStore', () => {
  let redis: Redis | undefined;
  before(async () => {
    if (skipRedis === false) redis = await startRedis();
  }, { timeout });
  after(() => redis?.stop());

  const setUp = (t: TestContext, now = () => NOW) => {
    const client = makeClient(t, redis?.nextUrl() ?? assert.fail('Redis does not run'));
    return { client, store: new RedisStore(client, now) };
  };
  const real = { timeout, skip: skipRedis };

  it('RedisStore.get() returns the entry that put() has stored', real, async (t) => {
    const { store } = setUp(t);
    assert.equal(await store.get('a'), undefined);
    assert.equal(await store.put('a', { text: '{"é":1}', expires: NOW + 60 }, 0), true);
    assert.deepEqual(await store.get('a'), { text: '{"é":1}', expires: NOW + 60, version: 1 });
  });

  it('RedisStore.put() stores only if the version is still the same', real, async (t) => {
    const { store } = setUp(t);
    const entry = { text: '{}', expires: NOW + 60 };
    assert.equal(await store.put('a', entry, 1), false, 'there is no entry with version 1');
    assert.equal(await store.put('a', entry, 0), true);
    assert.equal(await store.put('a', entry, 0), false, 'the entry exists');
    assert.equal(await store.put('a', entry, 1), true);
    assert.equal((await store.get('a'))?.version, 2);
  });

  it('RedisStore.delete() removes the entry of a session', async () => {
    const redis = makeSpy(() => 1);
    await new RedisStore(redis, () => NOW).delete('a');
    assert.deepEqual(redis.commands, [['DEL', 'session:a']]);
  });

  it('RedisStore throws StoreUnavailable for an error of any client, but not for our mistake', async () => {
    const errors = ['OOM command not allowed', 'READONLY You', 'The client is closed', 'ERR max number'];
    for (const message of errors) {
      const store = new RedisStore(makeSpy(() => Promise.reject(new Error(message))), () => NOW);
      const calls = [
        () => store.get('a'), () => store.delete('a'),
        () => store.put('a', { text: '', expires: NOW + 1 }, 0),
      ];
      for (const call of calls) await assert.rejects(call, new StoreUnavailable(message), message);
    }
    const wrong = new Error('WRONGTYPE Operation against a key');
    const store = new RedisStore(makeSpy(() => Promise.reject(wrong)), () => NOW);
    await assert.rejects(store.get('a'), wrong);
  });

  it('RedisStore.get() throws StoreUnavailable for a reply of another type', async () => {
    for (const reply of ['OK', 1, null]) {
      const store = new RedisStore(makeSpy(() => reply), () => NOW);
      await assert.rejects(store.get('a'), StoreUnavailable, String(reply));
    }
  });

  it('RedisStore.put() lets one of twenty parallel writers win', real, async (t) => {
    const { store } = setUp(t);
    const writers = Array.from({ length: 20 }, (_, i) =>
      store.put('a', { text: `${i}`, expires: NOW + 60 }, 0));
    assert.equal((await Promise.all(writers)).filter(Boolean).length, 1);
  });

  it('RedisStore.put() sends a duration, so the clock of Redis does not matter', real, async (t) => {
    for (const now of [NOW, NOW * 3]) { // 2023, and the year 2131
      const { client, store } = setUp(t, () => now);
      await store.put('a', { text: '{}', expires: now + 60 }, 0);
      const left = Number(await client.command('PTTL', 'session:a'));
      assert.ok(left > 50_000 && left <= 60_000, `${left} milliseconds`);
      assert.equal((await store.get('a'))?.expires, now + 60);
    }
  });

  it('RedisStore.put() replaces an entry that has expired, also before Redis deletes it', real, async (t) => {
    const clock = { now: NOW };
    const { store } = setUp(t, () => clock.now);
    await store.put('a', { text: 'old', expires: NOW + 60 }, 0);
    clock.now = NOW + 60; // the clock of Redis has not moved
    assert.equal(await store.get('a'), undefined);
    assert.equal(await store.put('a', { text: 'x', expires: NOW + 120 }, 1), false);
    assert.equal(await store.put('a', { text: 'new', expires: NOW + 120 }, 0), true);
    assert.equal((await store.get('a'))?.version, 1);
  });

  it('RedisStore.put() keeps an entry without an end, such as a list of devices', real, async (t) => {
    const { store } = setUp(t);
    assert.equal(await store.put('a', { text: '[]', expires: Infinity }, 0), true);
    assert.equal(await store.put('a', { text: '[1]', expires: Infinity }, 1), true);
    assert.deepEqual(await store.get('a'), { text: '[1]', expires: Infinity, version: 2 });
  });

  it('RedisStore ignores a damaged entry, and replaces it', real, async (t) => {
    const damages: string[][] = [
      ['name', 'Ada'], ['version', 'x', 'expires', `${NOW + 60}`, 'text', '{}'],
      ['version', '1', 'expires', 'soon', 'text', '{}'], ['version', '1', 'text', '{}'],
      ['version', '', 'expires', '', 'text', ''],
    ];
    for (const fields of damages) {
      const { client, store } = setUp(t);
      await client.command('HSET', 'session:a', ...fields);
      assert.equal(await store.get('a'), undefined, fields.join());
      assert.equal(await store.put('a', { text: '{}', expires: NOW + 60 }, 0), true, fields.join());
      assert.deepEqual(await store.get('a'), { text: '{}', expires: NOW + 60, version: 1 });
    }
  });

  it('RedisStore throws a plain error if another program uses its key for a list', real, async (t) => {
    const { client, store } = setUp(t);
    await client.command('RPUSH', 'session:a', 'x');
    const isPlain = (error: unknown): boolean => !(error instanceof StoreUnavailable);
    await assert.rejects(store.get('a'), isPlain);
    await assert.rejects(store.put('a', { text: '{}', expires: NOW + 60 }, 0), isPlain);
    assert.deepEqual(await client.command('LRANGE', 'session:a', '0', '-1'), ['x'], 'it is unchanged');
  });

  it('RedisStore works with any client that has a command method', async () => {
    const entry = { text: '{}', expires: NOW + 1 };
    const spy = makeSpy(([name]) => (name === 'HMGET' ? ['7', `${NOW + 1}`, '{}'] : 1));
    const store = new RedisStore(spy, () => NOW);
    assert.deepEqual(await store.get('k'), { ...entry, version: 7 });
    assert.equal(await store.put('k', entry, 7), true);
    await store.delete('k');
    const script = spy.commands[1]?.[1] ?? '';
    assert.match(script, /^\s*local version[^]*HSET[^]*PEXPIRE/);
    assert.deepEqual(spy.commands, [
      ['HMGET', 'session:k', 'version', 'expires', 'text'],
      ['EVAL', script, '1', 'session:k', '7', `${NOW + 1}`, '{}', '1000', `${NOW}`],
      ['DEL', 'session:k'],
    ]);
    assert.equal(await new RedisStore(makeSpy(() => 0), () => NOW).put('k', entry, 7), false);
  });

  it('RedisStore.put() sends whole milliseconds', async () => {
    const spy = makeSpy(() => 1);
    const store = new RedisStore(spy, () => NOW);
    const rows = [[Infinity, '8640000000000000'], [NOW + 0.9991, '1000'], [NOW, '0']] as const;
    for (const [expires, milliseconds] of rows) {
      await store.put('k', { text: '{}', expires }, 7);
      assert.equal(spy.commands.at(-1)?.at(-2), milliseconds, `${expires}`);
    }
  });

  it('RedisStore uses the clock of this machine by default, in seconds', async (t) => {
    t.mock.method(Date, 'now', () => NOW * 1000);
    const get = (expires: number) => new RedisStore(makeSpy(() => ['1', `${expires}`, '{}'])).get('k');
    assert.equal(await get(NOW), undefined);
    assert.equal((await get(NOW + 1))?.version, 1);
  });

  it('site() of step 33 has one session on three servers', real, async (t) => {
    const { client } = setUp(t);
    const servers = [site(client), site(client), site(client)];
    let turn = 0;
    const browser = new Browser((request) => {
      const server = servers[turn++ % 3] ?? assert.fail();
      return server(request);
    }, ORIGIN);
    for (let count = 1; count <= 6; count++) {
      assert.match(bodyText(await browser.get('/')), new RegExp(`\\b${count}\\b`), `visit ${count}`);
    }
  });

  it('site() of step 33 responds 503 while Redis is down, but not for the style', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const down: Commander = { command: () => Promise.reject(new StoreUnavailable('Redis is down')) };
    const browser = new Browser(site(down), ORIGIN);
    for (const path of ['/', '/cart', '/login']) {
      const { status, headers } = await browser.get(path);
      assert.deepEqual([status, headers['retry-after']], [503, '1'], path);
    }
    assert.equal((await browser.get('/style.css')).status, 200);
    assert.equal(log.mock.calls[0]?.arguments[0], '503 GET /: Redis is down');
  });

  it('site() of step 33 rejects a REDIS_URL that is not a URL of Redis', (t) => {
    checkRedisUrl(t, site);
  });
});
