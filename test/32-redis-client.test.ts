// Step 32: a client that fails fast and recovers, with a server that sends what a test chooses.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import {
  afterLogin, assertUnavailable, makeClient, type Respond, startFakeRedis,
} from '../.tools/fake-redis.ts';
import { skipRedis, startRedis } from '../.tools/redis.ts';
import { makeRequest } from '../.tools/request.ts';
import { StoreUnavailable } from '../src/25-store.ts';
import { reasonOf, RedisClient, site } from '../src/32-redis-client.ts';

const it = explainedIt(import.meta.url);
const timeout = 10_000;
const OK: Respond = () => '+OK\r\n';
const NEVER: Respond = afterLogin(() => undefined);

/** Lets the events that are ready run. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('32-redis-client: commands', () => {
  it('reasonOf() removes what Redis 6 writes about a script, and the arguments of a command', () => {
    const rows: [message: string, reason: string][] = [
      ['READONLY no', 'READONLY no'],
      ['ERR Error running script (call to f_a): @user_script:5: -READONLY no', 'READONLY no'],
      ["ERR unknown command 'A', with args beginning with: 'secret'", "ERR unknown command 'A'"],
    ];
    for (const [message, reason] of rows) assert.equal(reasonOf(new Error(message)), reason);
  });

  it('RedisClient.command() returns the reply of Redis', { timeout, skip: skipRedis }, async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const client = makeClient(t, redis.nextUrl());
    assert.equal(await client.command('SET', 'é', '😀\r\n'), 'OK');
    assert.equal(await client.command('GET', 'é'), '😀\r\n');
    assert.equal(await client.command('INCR', 'visits'), 1);
    assert.equal(await client.command('GET', 'nothing'), null);
  });

  it('RedisClient.command() returns the replies in the order of the commands', { timeout }, async (t) => {
    const { url } = await startFakeRedis(t, ([, word = '']) => `$${word.length}\r\n${word}\r\n`);
    t.mock.timers.enable({ apis: ['setTimeout'] }); // on a busy machine, the replies need longer
    const client = makeClient(t, url);
    const words = Array.from({ length: 1000 }, (_, i) => `word${i}`);
    assert.deepEqual(await Promise.all(words.map((word) => client.command('ECHO', word))), words);
  });

  it('RedisClient.command() sends the user, the password and the database first', { timeout }, async (t) => {
    const { url, commands } = await startFakeRedis(t, OK);
    await makeClient(t, `${url.replace('://', '://ada:p%40ss%3A@')}/3`).command('GET', 'a');
    assert.deepEqual(commands, [['AUTH', 'ada', 'p@ss:'], ['SELECT', '3'], ['GET', 'a']]);
    await makeClient(t, `${url}/`).command('GET', 'b');
    assert.deepEqual(commands.slice(3), [['GET', 'b']], 'this URL has no user and no database');
  });

  it('RedisClient.command() sends nothing to a database that it could not select', { timeout }, async (t) => {
    const reply: Respond = ([name]) =>
      name === 'SELECT' ? '-ERR DB index is out of range\r\n' : '+OK\r\n';
    const { url, commands } = await startFakeRedis(t, reply);
    const client = makeClient(t, `${url}/99`);
    const replies = [client.command('SET', 'a', 'b'), client.command('GET', 'a')];
    for (const one of replies) await assertUnavailable(one, /^ERR DB index is out of range$/);
    assert.deepEqual(commands, [['SELECT', '99']]);
  });

  it('RedisClient.command() throws an error of the program as it is, and continues', { timeout }, async (t) => {
    const { url } = await startFakeRedis(t, ([name]) => (name === 'BAD' ? '-ERR no\r\n' : '+OK\r\n'));
    const client = makeClient(t, url);
    const isPlain = (error: Error) => !(error instanceof StoreUnavailable) && error.message === 'ERR no';
    await assert.rejects(client.command('BAD'), isPlain);
    assert.equal(await client.command('GOOD'), 'OK');
  });

  it('RedisClient.command() throws StoreUnavailable after 500 milliseconds without a reply', { timeout }, async (t) => {
    let arrived = (): void => {};
    const hasArrived = new Promise<void>((resolve) => (arrived = resolve));
    const { url } = await startFakeRedis(t, afterLogin(() => void arrived()));
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let outcome = 'pending';
    makeClient(t, url).command('GET', 'a').catch((error) => (outcome = String(error)));
    await hasArrived;
    t.mock.timers.tick(499);
    await nextTurn();
    assert.equal(outcome, 'pending', 'after 499 milliseconds');
    t.mock.timers.tick(1);
    await nextTurn();
    assert.match(outcome, /No reply after 500 ms/);
  });

  it('RedisClient connects to a distant Redis, and no command waits for this longer than 500 milliseconds', { timeout }, async (t) => {
    const pings: (() => void)[] = [];
    let isAsked = (): void => {};
    const { url, commands, sockets } = await startFakeRedis(t, ([name], socket) => {
      if (name !== 'PING') return '+OK\r\n';
      pings.push(() => socket.write('+PONG\r\n'));
      isAsked();
      return undefined;
    });
    const asked = (): Promise<void> => new Promise((resolve) => (isAsked = resolve));
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, `${url}/1`);

    let arrives = asked();
    const tooEarly = client.command('GET', 'early');
    tooEarly.catch(() => {});
    await arrives;
    t.mock.timers.tick(500);
    await assertUnavailable(tooEarly, /^No reply after 500 ms$/);
    t.mock.timers.tick(1_499); // a distant Redis: each round trip takes long
    await nextTurn();
    const reply = client.command('GET', 'a');
    pings[0]?.();
    assert.equal(await reply, 'OK', 'it connects within two seconds');
    assert.equal(sockets.length, 1, 'the first connection was enough');
    assert.deepEqual(commands, [['SELECT', '1'], ['GET', 'a']], 'a rejected command is never sent');

    const other = makeClient(t, `${url}/1`);
    arrives = asked();
    other.command('GET', 'b').catch(() => {});
    await arrives;
    t.mock.timers.tick(1_999);
    await nextTurn();
    const last = other.command('GET', 'b');
    last.catch(() => {});
    t.mock.timers.tick(1);
    await assertUnavailable(last, /^No reply after 2000 ms$/);
    await assertUnavailable(other.command('GET', 'b'), /^Redis is down$/);
    assert.ok(!commands.flat().includes('b'), 'a command is never sent before the login is complete');
  });
});

describe('32-redis-client: Redis is down', () => {
  it('RedisClient() rejects a URL that is not a URL of Redis, and does not show a password', () => {
    const others = ['http://localhost', 'xredis://localhost', 'redisss://localhost', '//localhost'];
    for (const url of ['', 'localhost', ...others, 'redis', 'redis://', 'redis:h', 'redis://u:hunter2@[', 'redis://:hunter2%zz@h']) {
      const message = /^A Redis URL looks like redis:\/\/localhost:6379\. Write %40 for @ in a password$/;
      assert.throws(() => new RedisClient(url), { name: 'TypeError', message }, url);
    }
  });

  it('RedisClient.close() gives its reason to commands without a reply', { timeout }, async (t) => {
    const { url } = await startFakeRedis(t, NEVER);
    const client = makeClient(t, url);
    const reply = client.command('GET', 'a');
    client.close();
    await assertUnavailable(reply, /^The client was closed$/);
    await assertUnavailable(client.command('GET', 'a'), /^Redis is down$/);
  });

  it('RedisClient.command() fails immediately while Redis is down', { timeout }, async (t) => {
    const { url, stop } = await startFakeRedis(t, OK);
    await stop();
    const client = makeClient(t, url);
    await assertUnavailable(client.command('GET', 'a'), /ECONNREFUSED/);
    await assertUnavailable(client.command('GET', 'a'), /^Redis is down$/);
  });

  it('RedisClient.command() recovers, and never sends a command again that may have run', { timeout }, async (t) => {
    const destroys: Respond = ([name], socket) =>
      name === 'INCR' ? void socket.destroy() : '+OK\r\n';
    const first = await startFakeRedis(t, destroys);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, first.url);
    assert.equal(await client.command('GET', 'a'), 'OK');
    await assertUnavailable(client.command('INCR', 'a'), /closed the connection|ECONNRESET/);
    assert.deepEqual(first.commands, [['GET', 'a'], ['INCR', 'a']]);
    await first.stop();

    const second = await startFakeRedis(t, OK, { port: first.port });
    await assertUnavailable(client.command('GET', 'b'), /^Redis is down$/);
    t.mock.timers.tick(50); // the first wait is 25 to 50 milliseconds
    assert.equal(await client.command('GET', 'c'), 'OK');
    assert.deepEqual(second.commands, [['GET', 'c']], 'INCR may have run, so it must not run again');
  });

  it('RedisClient.command() waits longer after each failure, with jitter, up to a second', { timeout }, async (t) => {
    const { url, stop } = await startFakeRedis(t, OK);
    await stop();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    /** Returns how long a client waits after each of eight failures, in milliseconds. */
    const waitsFor = async (random: number): Promise<number[]> => {
      t.mock.method(Math, 'random', () => random);
      const client = makeClient(t, url);
      const tryAgain = () => client.command('GET', 'a').then(String, ({ message }) => message);
      assert.match(await tryAgain(), /ECONNREFUSED/);
      const waits: number[] = [];
      while (waits.length < 8) {
        let wait = 0;
        for (; wait < 5_000 && (await tryAgain()) === 'Redis is down'; wait++) {
          t.mock.timers.tick(1);
        }
        waits.push(wait);
      }
      return waits;
    };
    const shortest = await waitsFor(0);
    const same = 'two servers wait equally long, so all servers come back in the same moment';
    assert.notDeepEqual(await waitsFor(0.5), shortest, same);
    assert.deepEqual(shortest, [25, 50, 100, 200, 400, 500, 500, 500], 'twice as long each time');
    assert.deepEqual(await waitsFor(0.999), [50, 100, 200, 400, 800, 1000, 1000, 1000]);
  });

  it('RedisClient.command() lets one command try alone after a failure, so the others do not hang', { timeout }, async (t) => {
    const { url, sockets, commands } = await startFakeRedis(t, ([name], socket) =>
      name === 'QUIT' ? void socket.destroy() : '+OK\r\n');
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url);
    await assertUnavailable(client.command('QUIT'), /closed the connection|ECONNRESET/);
    t.mock.timers.tick(50);
    const first = client.command('GET', 'first');
    for (let i = 0; i < 1000; i++) await assertUnavailable(client.command('GET', 'a'), /^Too many/);
    assert.equal(await first, 'OK');
    const replies = Array.from({ length: 1000 }, () => client.command('GET', 'b'));
    assert.deepEqual(new Set(await Promise.all(replies)), new Set(['OK']));
    assert.equal(sockets.length, 2, 'one connection was enough');
    assert.ok(!commands.flat().includes('a'));
  });

  it('RedisClient.command() rejects more than 10,000 commands without a reply', { timeout }, async (t) => {
    const { url } = await startFakeRedis(t, NEVER);
    const client = makeClient(t, url);
    const pending = Array.from({ length: 10_000 }, () => client.command('GET').catch(String));
    await assertUnavailable(client.command('GET'), /^Too many commands wait for Redis$/);
    client.close();
    assert.deepEqual(new Set(await Promise.all(pending)), new Set(['Error: The client was closed']));
  });

  it('RedisClient reconnects after READONLY, because a failover has moved the primary', { timeout }, async (t) => {
    for (const words of ['READONLY no', 'ERR Error running script (call to f_a): @user_script:5: -READONLY no']) {
      let isPrimary = true;
      const respond = afterLogin(() => (isPrimary ? '+OK\r\n' : `-${words}\r\n`));
      const { url, sockets } = await startFakeRedis(t, respond);
      const client = makeClient(t, url);
      assert.equal(await client.command('SET', 'a', 'b'), 'OK');
      t.mock.timers.enable({ apis: ['setTimeout'] });
      isPrimary = false;
      await assertUnavailable(client.command('SET', 'a', 'c'), /^READONLY no$/);
      isPrimary = true; // the name of the server leads to the new primary
      t.mock.timers.tick(50);
      assert.equal(await client.command('SET', 'a', 'd'), 'OK', 'well within a second');
      assert.equal(sockets.length, 2, 'the old connection would lead to the former primary');
      t.mock.timers.reset();
    }
  });

  it('site() of step 32 responds 503 immediately while Redis is down', { timeout }, async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const handle = site({ command: () => Promise.reject(new StoreUnavailable('Redis is down')) });
    const { status, headers } = await handle(makeRequest('GET', '/'));
    assert.deepEqual([status, headers['retry-after']], [503, '1']);
    assert.equal(log.mock.calls[0]?.arguments[0], '503 GET /: Redis is down');
    const { body } = await site({ command: async () => 7 })(makeRequest('GET', '/'));
    assert.equal(body, 'Count: 7\n');
  });
});
