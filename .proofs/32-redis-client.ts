// Further proofs for step 32: the reasons of Redis, TLS, and connections that end in the middle.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import {
  afterLogin, assertUnavailable, makeClient, type Respond, startFakeRedis,
} from '../.tools/fake-redis.ts';
import { checkRedisUrl, skipRedis, startRedis } from '../.tools/redis.ts';
import { StoreUnavailable } from '../src/25-store.ts';
import { site } from '../src/32-redis-client.ts';

const it = explainedIt(import.meta.url);
const timeout = 10_000;
const OK: Respond = () => '+OK\r\n';

describe('proofs-32-redis-client: reasons', () => {
  it('RedisClient.command() throws StoreUnavailable if Redis cannot do its work now', { timeout }, async (t) => {
    const reasons = [
      'OOM command not allowed', 'READONLY You cannot', 'MISCONF Redis is', 'LOADING Redis is',
      'BUSY Redis is', 'MASTERDOWN Link', 'CLUSTERDOWN The cluster', 'NOREPLICAS Not enough',
      'ERR max number of clients reached', 'ERR Connection refused', 'BUSY ERR it',
    ];
    for (const reason of reasons) {
      const { url } = await startFakeRedis(t, afterLogin(() => `-${reason}\r\n`));
      await assertUnavailable(makeClient(t, url).command('SET'), new RegExp(`^${reason}$`));
    }
  });

  it('RedisClient.command() throws a plain error if this program made a mistake', { timeout }, async (t) => {
    const script = 'ERR Error running script (call to f_aa): @user_script:5: ';
    const mistakes = ['ERR syntax', 'WRONGTYPE not a list', 'NOSCRIPT no', `${script}-WRONGTYPE no`,
      `${script}@user_script: 5: -ERR wrong`, `${script}attempt to index a nil value`,
      'ERR user_script:1: attempt to compare nil with number script: aa, on @user_script:1.'];
    for (const mistake of mistakes) {
      const { url } = await startFakeRedis(t, afterLogin(() => `-${mistake}\r\n`));
      const isPlain = (error: unknown): boolean => !(error instanceof StoreUnavailable);
      await assert.rejects(makeClient(t, url).command('EVAL'), isPlain, mistake);
    }
  });

  it('RedisClient.command() understands the errors of scripts of Redis 6 and Redis 7', { timeout }, async (t) => {
    const wrapped = 'ERR Error running script (call to f_aa): @user_script:5: @user_script: 5: -';
    for (const reason of ['OOM command not allowed', 'MISCONF Redis is', 'READONLY You cannot']) {
      for (const words of [`${wrapped}${reason}`, `${reason}. script: aa, on @user_script:5.`]) {
        const { url } = await startFakeRedis(t, afterLogin(() => `-${words}\r\n`));
        await assertUnavailable(makeClient(t, url).command('EVAL'), new RegExp(`^${reason}`));
      }
    }
  });

  it('RedisClient.command() shows the reason of a login that failed, and no password', { timeout }, async (t) => {
    const rows: [reply: string, reason: string][] = [
      ['WRONGPASS invalid username-password pair', 'WRONGPASS invalid username-password pair'],
      ["ERR unknown command 'AUTH', with args beginning with: 'hunter2'", "ERR unknown command 'AUTH'"],
      ['ERR unknown command `AUTH`, with args beginning with: `hunter2`, ', 'ERR unknown command `AUTH`'],
    ];
    for (const [reply, reason] of rows) {
      const refuse: Respond = ([name]) => (name === 'AUTH' ? `-${reply}\r\n` : '+OK\r\n');
      const { url, commands } = await startFakeRedis(t, refuse);
      const client = makeClient(t, url.replace('://', '://:hunter2@'));
      const error = await client.command('GET', 'a').catch((cause: unknown) => cause);
      assert.ok(error instanceof StoreUnavailable, String(error));
      assert.equal(error.message, reason);
      assert.deepEqual(commands, [['AUTH', 'hunter2']], 'the command was not sent');
    }
  });

  it('RedisClient.command() shows what a real Redis says about the URL', { timeout, skip: skipRedis }, async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const url = new URL(redis.nextUrl());
    url.pathname = '/9999';
    await assertUnavailable(makeClient(t, String(url)).command('GET', 'a'), /DB index is out of range/);
    url.pathname = '/x';
    await assertUnavailable(makeClient(t, String(url)).command('GET', 'a'), /^ERR .*(integer|index)/);
    const noPassword = `redis://:hunter2@127.0.0.1:${url.port}`;
    const promise = makeClient(t, noPassword).command('GET', 'a');
    await assertUnavailable(promise, /^ERR AUTH .* without any password configured/);
    const error = await promise.catch((cause: Error) => cause);
    assert.ok(!String(error).includes('hunter2'));
  });

  it('RedisClient.command() has a reason if each address of a name fails', { timeout }, async (t) => {
    const client = makeClient(t, 'redis://localhost:1'); // Node may try ::1 and 127.0.0.1
    await assertUnavailable(client.command('GET', 'a'), /ECONNREFUSED/);
  });

  it('RedisClient.command() handles a real script without memory and on a replica', { timeout, skip: skipRedis }, async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const client = makeClient(t, redis.nextUrl());
    const script = ['EVAL', "return redis.call('SET', KEYS[1], 'x')", '1', 'a'] as const;
    await client.command('CONFIG', 'SET', 'maxmemory', '1');
    await assertUnavailable(client.command(...script), /OOM/);
    await client.command('CONFIG', 'SET', 'maxmemory', '0');
    await client.command('REPLICAOF', '127.0.0.1', '1');
    await assertUnavailable(client.command(...script), /READONLY/);
    await assertUnavailable(client.command('GET', 'a'), /^Redis is down$/);
  });
});

describe('proofs-32-redis-client: connections', () => {
  it('RedisClient.command() does not time out a reply that arrived while this process was busy', { timeout, skip: skipRedis }, async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const client = makeClient(t, redis.nextUrl());
    await client.command('PING');
    const reply = client.command('PING');
    for (let i = 0; i < 10; i++) await null; // now the command is sent, and nothing was received
    const end = performance.now() + 600; // milliseconds: longer than the limit of a command
    while (performance.now() < end);
    assert.equal(await reply, 'PONG');
    assert.equal(await client.command('PING'), 'PONG', 'the connection is still open');
  });

  it('RedisClient closes a connection that sends a reply without a command, and reconnects', { timeout }, async (t) => {
    const { url, sockets } = await startFakeRedis(t, afterLogin(([, key]) =>
      key === 'a' ? '+OK\r\n+more\r\n-ERR more\r\n' : '+other\r\n'));
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url);
    assert.equal(await client.command('GET', 'a'), 'OK');
    await new Promise(setImmediate);
    await assertUnavailable(client.command('GET', 'b'), /^Redis is down$/);
    t.mock.timers.tick(50);
    assert.equal(await client.command('GET', 'b'), 'other', 'the reply to this command');
    assert.equal(sockets.length, 2);
  });

  it('RedisClient.command() never waits a second, while Redis accepts connections and sends nothing', { timeout }, async (t) => {
    let isFrozen = false;
    const { url } = await startFakeRedis(t, () => (isFrozen ? undefined : '+OK\r\n'));
    const client = makeClient(t, url);
    assert.equal(await client.command('GET', 'a'), 'OK');
    isFrozen = true;
    t.mock.timers.enable({ apis: ['setTimeout'] });
    for (let attempt = 0; attempt < 20; attempt++) {
      let isSettled = false;
      const reply = client.command('GET', 'a').catch(String).finally(() => (isSettled = true));
      for (let i = 0; i < 5; i++) await new Promise(setImmediate);
      if (!isSettled) t.mock.timers.tick(500);
      assert.match(String(await reply), /StoreUnavailable|Error: (No reply|Redis is down)/);
      t.mock.timers.tick(100);
    }
  });

  it('RedisClient lets the process end while it waits for a connection', { timeout }, async (t) => {
    const timers: [limit: number, timer: NodeJS.Timeout][] = [];
    const start = setTimeout;
    t.mock.method(globalThis, 'setTimeout', (work: () => void, limit: number) => {
      const timer = start(work, limit);
      timers.push([limit, timer]);
      return timer;
    });
    const { url } = await startFakeRedis(t, () => undefined);
    timers.length = 0;
    const client = makeClient(t, url);
    const reply = client.command('GET', 'a').catch(String);
    const limits = timers.map(([limit, timer]) => [limit, timer.hasRef()]);
    assert.deepEqual(limits, [[2000, false], [500, true]], 'only the command keeps the process');
    client.close();
    assert.match(String(await reply), /The client was closed/);
  });

  it('RedisClient.command() connects to an IPv6 address', { timeout }, async (t) => {
    const server = createServer((socket) => {
      socket.on('error', () => {}).on('data', (bytes) => {
        for (const _ of String(bytes).matchAll(/\*/g)) socket.write('+OK\r\n');
      });
    }).listen(0, '::1');
    t.after(() => void server.close());
    const isListening = await once(server, 'listening').then(() => true, () => false);
    if (!isListening) return t.skip('this machine has no IPv6');
    const { port } = server.address() as AddressInfo;
    assert.equal(await makeClient(t, `redis://[::1]:${port}`).command('GET', 'a'), 'OK');
  });

  it('RedisClient() uses TLS for rediss:, with the name of the server, and no TLS for redis:', { timeout }, async (t) => {
    const firstBytes: number[] = [];
    const hasName: boolean[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (bytes) => {
        firstBytes.push(bytes[0] ?? 0);
        hasName.push(/localhost|127\.0\.0\.1/.test(bytes.toString('latin1')));
        socket.destroy();
      });
    }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    for (const start of ['redis://127.0.0.1', 'rediss://127.0.0.1', 'rediss://localhost']) {
      const client = makeClient(t, `${start}:${port}`);
      await assert.rejects(client.command('GET', 'a'), StoreUnavailable, start);
    }
    assert.deepEqual(firstBytes, ['*'.charCodeAt(0), 0x16, 0x16], 'RESP2, and two TLS handshakes');
    assert.deepEqual(hasName, [false, false, true], 'an IP address is not a server name (RFC 6066 §3)');
  });

  it('RedisClient.command() waits a short time again after the first reply', { timeout }, async (t) => {
    const first = await startFakeRedis(t, OK);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, first.url);
    await first.stop();
    for (let i = 0; i < 6; i++) {
      await assert.rejects(client.command('GET', 'a'), StoreUnavailable);
      t.mock.timers.tick(2000);
    }
    const second = await startFakeRedis(t, OK, { port: first.port });
    assert.equal(await client.command('GET', 'a'), 'OK');
    await second.stop();
    await assert.rejects(client.command('GET', 'a'), StoreUnavailable);
    const third = await startFakeRedis(t, OK, { port: first.port });
    t.mock.timers.tick(50);
    assert.equal(await client.command('GET', 'a'), 'OK');
    assert.equal(third.commands.length, 1);
  });

  it('RedisClient.command() waits longer after each login that failed', { timeout }, async (t) => {
    const { url, sockets } = await startFakeRedis(t, () => '-WRONGPASS no\r\n');
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url.replace('://', '://:wrong@'));
    for (let i = 0; i < 20; i++) {
      await assert.rejects(client.command('GET', 'a'), StoreUnavailable);
      t.mock.timers.tick(100);
    }
    assert.ok(sockets.length < 10, `${sockets.length} connections in two seconds`);
    assert.ok(sockets.length > 2, 'each attempt uses a new connection');
  });

  it('RedisClient.command() recovers by itself when the login is accepted again', { timeout }, async (t) => {
    let isLoading = true;
    const { url } = await startFakeRedis(t, () => (isLoading ? '-NOAUTH wait\r\n' : '+OK\r\n'));
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, `${url}/1`);
    await assertUnavailable(client.command('GET', 'a'), /^NOAUTH wait$/);
    await assertUnavailable(client.command('GET', 'a'), /^Redis is down$/);
    isLoading = false;
    t.mock.timers.tick(50);
    assert.equal(await client.command('GET', 'a'), 'OK');
  });

  it('RedisClient.command() starts a new connection without bytes of the previous one', { timeout }, async (t) => {
    let isFirst = true;
    const { url } = await startFakeRedis(t, afterLogin((_, socket) => {
      if (!isFirst) return '+OK\r\n';
      isFirst = false;
      socket.end('$5\r\nhel');
      return undefined;
    }));
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url);
    await assertUnavailable(client.command('GET', 'a'), /closed the connection/);
    t.mock.timers.tick(2000);
    assert.equal(await client.command('GET', 'a'), 'OK');
  });

  it('RedisClient.command() closes the connection to a server that is not Redis', { timeout }, async (t) => {
    for (const bytes of ['HTTP/1.1 400 Bad Request\r\n\r\n', '$99999999\r\n', 'x'.repeat(2 ** 21)]) {
      const { url } = await startFakeRedis(t, () => bytes);
      await assertUnavailable(makeClient(t, url).command('GET'), /not RESP2|too long|length 99999999/);
    }
  });

  it('RedisClient.close() also works before a connection, twice, and while it waits', { timeout }, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const isNew = makeClient(t, 'redis://127.0.0.1:1');
    isNew.close();
    isNew.close();
    const waits = makeClient(t, 'redis://127.0.0.1:1');
    await assertUnavailable(waits.command('GET', 'a'), /ECONNREFUSED/);
    waits.close();
    t.mock.timers.tick(10_000);
    for (const client of [isNew, waits]) {
      await assertUnavailable(client.command('GET', 'a'), /^Redis is down$/);
    }
  });

  it('site() of step 32 uses the Redis in REDIS_URL, or the Redis on this machine', (t) => {
    checkRedisUrl(t, site);
  });
});
