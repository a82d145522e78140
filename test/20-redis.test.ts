import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { Browser } from '../src/08-browser.ts';
import { StoreDown } from '../src/18-store.ts';
import { parseReply, RedisClient, RedisStore, site } from '../src/20-redis.ts';
import type { Commander, Reply } from '../src/20-redis.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000;

type Answer = (command: string[], socket: Socket) => string | undefined;

/** A server that speaks as `answer` says: what it was sent, and how to reach and to stop it. */
async function serveFake(t: TestContext, answer: Answer, port = 0) {
  const commands: string[][] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (let found; (found = parseReply(bytes)); bytes = bytes.subarray(found.end)) {
        const command = found.value as string[]; // a command has the form of a reply
        commands.push(command);
        const reply = answer(command, socket);
        if (reply !== undefined) socket.write(reply);
      }
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  };
  t.after(() => void (server.listening && stop()));
  const url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, commands, sockets, stop, port: (server.address() as AddressInfo).port };
}

function makeClient(t: TestContext, url: string): RedisClient {
  const client = new RedisClient(url);
  t.after(() => client.close());
  return client;
}

const OK: Answer = () => '+OK\r\n';
const isDown = (words: RegExp) => (error: unknown) =>
  error instanceof StoreDown && words.test(error.message);

describe('20-redis: parseReply()', () => {
  const ROWS: [bytes: string, value: Reply][] = [
    ['+OK\r\n', 'OK'],
    ['+\r\n', ''],
    [':1000\r\n', 1000],
    [':-1\r\n', -1],
    ['$5\r\nhello\r\n', 'hello'],
    ['$0\r\n\r\n', ''],
    ['$6\r\né😀\r\n', 'é😀'],
    ['$2\r\n\r\n\r\n', '\r\n'],
    ['$-1\r\n', null],
    ['*-1\r\n', null],
    ['*0\r\n', []],
    ['*2\r\n$1\r\na\r\n$-1\r\n', ['a', null]],
    ['*2\r\n*1\r\n:1\r\n-ERR no\r\n', [[1], 'Redis says: ERR no']],
  ];

  it('parseReply() reads every kind of reply, and says where it ends', () => {
    for (const [bytes, value] of ROWS) {
      const buffer = Buffer.from(`${bytes}+next\r\n`);
      assert.deepEqual(parseReply(buffer), { value, end: Buffer.byteLength(bytes) }, bytes);
    }
    const error = parseReply(Buffer.from('-WRONGTYPE no list\r\n'));
    assert.match(String(error?.value), /^Error: Redis says: WRONGTYPE no list$/);
  });

  it('parseReply() waits where a reply is cut, at whichever byte', () => {
    for (const [bytes, value] of ROWS) {
      const buffer = Buffer.from(bytes);
      for (let length = 0; length < buffer.length; length++) {
        assert.equal(parseReply(buffer.subarray(0, length)), undefined, `${bytes}, ${length} bytes`);
      }
      assert.deepEqual(parseReply(Buffer.concat([Buffer.from('+a\r\n'), buffer]), 4)?.value, value);
    }
  });

  it('parseReply() throws for what is no RESP2', () => {
    const wrong = ['hello\r\n', 'HTTP/1.1 400\r\n', '$5\r\nhello:1\r\n', '$1\r\na\n\n', ':\r\n', ':1.5\r\n', ':1e3\r\n', '$x\r\n'];
    assert.equal(parseReply(Buffer.from('$1048576\r\n')), undefined, 'a megabyte may come');
    const long = ['$1048577\r\n', '$9999999999\r\n', '*9999999\r\n'];
    for (const bytes of [...wrong, ...long, '$-2\r\n', '*-2\r\n', '\r\n', '%1\r\n']) {
      assert.throws(() => parseReply(Buffer.from(bytes)), RangeError, bytes);
    }
  });
});

describe('20-redis: RedisClient', () => {
  it('close() is the end: who asks after it is told at once', async () => {
    const client = new RedisClient('redis://127.0.0.1:1'); // it has not connected yet
    client.close();
    await assert.rejects(client.command('PING'), isDown(/^Redis is down$/));
  });

  it('close() ends what has no reply yet, and tells who waits', async (t) => {
    const { url } = await serveFake(t, () => undefined);
    const client = new RedisClient(url);
    const asked = client.command('GET', 'a');
    client.close();
    await assert.rejects(asked, isDown(/^the client was closed$/));
  });

  it('command() sends an array of bulk strings, counted in bytes, not characters', async (t) => {
    let sent = '';
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (bytes) => ((sent += bytes), socket.write('+OK\r\n')));
      t.after(() => socket.destroy());
    }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const client = makeClient(t, `redis://127.0.0.1:${(server.address() as AddressInfo).port}`);
    assert.equal(await client.command('SET', 'é', '😀\r\n'), 'OK');
    const due = '*3\r\n$3\r\nSET\r\n$2\r\né\r\n$6\r\n😀\r\n\r\n';
    assert.equal(sent, due, 'a $ says how many bytes follow: é has two, 😀 has four');
  });

  it('command() pipelines: replies come back in the order of the commands', async (t) => {
    const { url } = await serveFake(t, ([, word = '']) => `$${word.length}\r\n${word}\r\n`);
    const client = makeClient(t, url);
    const words = Array.from({ length: 1000 }, (_, i) => `word${i}`);
    assert.deepEqual(await Promise.all(words.map((word) => client.command('ECHO', word))), words);
  });

  it('command() takes no notice of a reply that nobody has asked for', async (t) => {
    const { url } = await serveFake(t, () => '+OK\r\n+more\r\n-ERR more\r\n');
    const client = makeClient(t, url);
    for (let i = 0; i < 2; i++) {
      assert.equal(await client.command('PING'), 'OK');
      await new Promise(setImmediate);
    }
  });

  it('command() reaches a server at an IPv6 address', async (t) => {
    const server = createServer((socket) => {
      socket.on('error', () => {}).on('data', () => socket.write('+OK\r\n'));
    }).listen(0, '::1');
    t.after(() => void server.close());
    const isThere = await once(server, 'listening').then(() => true, () => false);
    if (!isThere) return t.skip('this machine has no IPv6');
    const { port } = server.address() as AddressInfo;
    assert.equal(await makeClient(t, `redis://[::1]:${port}`).command('PING'), 'OK');
  });

  it('close() ends what has no reply yet, and says why', async (t) => {
    const { url } = await serveFake(t, () => undefined);
    const client = makeClient(t, url);
    const waiting = client.command('GET', 'a');
    client.close();
    await assert.rejects(waiting, isDown(/^the client was closed$/));
  });

  it('command() takes a reply in pieces, one byte in each', async (t) => {
    const { url } = await serveFake(t, (_, socket) => {
      for (const byte of Buffer.from('*2\r\n$2\r\né\r\n:7\r\n')) socket.write(Buffer.of(byte));
      return undefined;
    });
    assert.deepEqual(await makeClient(t, url).command('GET'), ['é', 7]);
  });

  it('command() passes on what the server refuses, and goes on', async (t) => {
    const { url } = await serveFake(t, ([name]) => (name === 'BAD' ? '-ERR no\r\n' : '+OK\r\n'));
    const client = makeClient(t, url);
    await assert.rejects(client.command('BAD'), /^Error: Redis says: ERR no$/);
    assert.equal(await client.command('GOOD'), 'OK');
  });

  it('command() logs in and chooses the database first, as the URL says', async (t) => {
    const { url, commands } = await serveFake(t, OK);
    const client = makeClient(t, `${url.replace('://', '://ada:p%40ss%3A@')}/3`);
    await client.command('PING');
    assert.deepEqual(commands, [['AUTH', 'ada', 'p@ss:'], ['SELECT', '3'], ['PING']]);
    const plain = makeClient(t, `${url}/`);
    await plain.command('PING');
    assert.deepEqual(commands.slice(3), [['PING']], 'nobody, and no database in particular');
  });

  it('command() is StoreDown where the password is refused, and nothing is run', async (t) => {
    const refuse: Answer = ([name]) => (name === 'AUTH' ? '-WRONGPASS no\r\n' : undefined);
    const { url } = await serveFake(t, refuse);
    const client = makeClient(t, url.replace('://', '://:wrong@'));
    await assert.rejects(client.command('PING'), isDown(/^the login failed: Redis says: WRONGPASS$/));
  });

  it('command() sends nothing to a database that it could not choose', async (t) => {
    const { url, commands } = await serveFake(t, ([name]) => {
      return name === 'SELECT' ? '-ERR DB index is out of range\r\n' : '+OK\r\n';
    });
    const client = makeClient(t, `${url}/99`);
    const asked = [client.command('SET', 'a', 'b'), client.command('GET', 'a')];
    for (const one of asked) await assert.rejects(one, isDown(/^the login failed: Redis says: ERR$/));
    assert.deepEqual(commands, [['SELECT', '99']]);
  });

  it('command() is StoreDown where Redis cannot do it now, and says why', async (t) => {
    const WHY = ['OOM command not allowed', 'READONLY You can', 'MISCONF is', 'LOADING it', 'BUSY it'];
    WHY.push('BUSY Redis says: ERR it');
    for (const why of WHY) {
      const { url } = await serveFake(t, () => `-${why}\r\n`);
      await assert.rejects(makeClient(t, url).command('SET'), isDown(/^Redis says: [A-Z]+ /), why);
    }
    const { url: full } = await serveFake(t, () => '-ERR max number of clients reached\r\n');
    await assert.rejects(makeClient(t, full).command('GET'), isDown(/max number/));
    for (const bug of ['ERR syntax', 'WRONGTYPE no list', 'NOSCRIPT no']) {
      const { url } = await serveFake(t, () => `-${bug}\r\n`);
      const isBug = (error: unknown): boolean => !(error instanceof StoreDown);
      await assert.rejects(makeClient(t, url).command('SET'), isBug, bug);
    }
  });

  it('command() gives up after 500 milliseconds without an answer', async (t) => {
    const asked = makeResolvers();
    const { url } = await serveFake(t, () => void asked.resolve(undefined));
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url);
    let outcome = 'waiting';
    client.command('GET', 'a').catch((error) => (outcome = String(error)));
    await asked.promise;
    t.mock.timers.tick(499);
    await new Promise(setImmediate);
    assert.equal(outcome, 'waiting');
    t.mock.timers.tick(1);
    await new Promise(setImmediate);
    assert.match(outcome, /no answer in 500 milliseconds/, `after 500 milliseconds: ${outcome}`);
  });

  it('command() is StoreDown at once while the server is known to be down', async (t) => {
    const { url, stop } = await serveFake(t, OK);
    await stop();
    const client = makeClient(t, url);
    await assert.rejects(client.command('PING'), isDown(/ECONNREFUSED/));
    await assert.rejects(client.command('PING'), isDown(/Redis is down/));
  });

  it('command() comes back by itself, and what may have run is never sent again', async (t) => {
    const cut: Answer = ([name], socket) => (name === 'INCR' ? void socket.destroy() : '+OK\r\n');
    const first = await serveFake(t, cut);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, first.url);
    assert.equal(await client.command('PING'), 'OK');
    const lost = client.command('INCR', 'a');
    await assert.rejects(lost, isDown(/hung up|ECONNRESET/));
    const story = 'INCR was sent and may have run: sent again, it would count twice';
    assert.deepEqual(first.commands, [['PING'], ['INCR', 'a']], story);
    await first.stop();
    const second = await serveFake(t, OK, first.port);
    await assert.rejects(client.command('PING'), isDown(/is down/), 'not yet');
    t.mock.timers.tick(50); // the first wait is 25 to 50 milliseconds
    assert.equal(await client.command('PING'), 'OK');
    assert.deepEqual(second.commands, [['PING']], 'no INCR');
  });

  it('command() waits longer after each failure, at random, and two seconds at most', async (t) => {
    const { url, stop } = await serveFake(t, OK);
    await stop();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const waits: number[] = [];
    const realSetTimeout = globalThis.setTimeout;
    t.mock.method(globalThis, 'setTimeout', (work: () => void, wait: number) => {
      if (wait !== 500) waits.push(wait);
      return realSetTimeout(work, wait);
    });
    const client = makeClient(t, url);
    for (let i = 0; i < 10; i++) {
      await assert.rejects(client.command('PING'), isDown(/ECONNREFUSED/));
      t.mock.timers.tick(2000);
    }
    const most = waits.map((_, i) => Math.min(50 * 2 ** i, 2000));
    waits.forEach((wait, i) => {
      assert.ok(wait >= (most[i] ?? 0) / 2 && wait <= (most[i] ?? 0), `${i}: ${wait}`);
    });
    assert.equal(waits.length, 10);
  });

  it('command() waits as little as at first once an answer has come', async (t) => {
    const first = await serveFake(t, OK);
    const client = makeClient(t, first.url);
    const waits: number[] = [];
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const mocked = globalThis.setTimeout;
    t.mock.method(globalThis, 'setTimeout', (work: () => void, wait: number) => {
      if (wait !== 500) waits.push(wait);
      return mocked(work, wait);
    });
    await first.stop();
    for (let i = 0; i < 6; i++) {
      await assert.rejects(client.command('PING'), StoreDown);
      t.mock.timers.tick(2000);
    }
    const second = await serveFake(t, OK, first.port);
    assert.equal(await client.command('PING'), 'OK');
    const other = createServer().listen(0); // the client alone keeps no process running
    t.after(() => other.close());
    await second.stop();
    await assert.rejects(client.command('PING'), StoreDown);
    assert.ok(Number(waits.at(-1)) <= 50 && Number(waits.at(-2)) > 50, waits.join());
  });

  it('command() waits longer after each login that is refused', async (t) => {
    const { url, commands } = await serveFake(t, () => '-WRONGPASS no\r\n');
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url.replace('://', '://:wrong@'));
    for (let i = 0; i < 20; i++) {
      await assert.rejects(client.command('PING'), StoreDown);
      t.mock.timers.tick(100);
    }
    assert.ok(commands.length < 10, `${commands.length} in two seconds`);
  });

  it('command() reads nothing into the next connection of what the last had begun', async (t) => {
    let isFirst = true;
    const { url } = await serveFake(t, (_, socket) => {
      if (!isFirst) return '+OK\r\n';
      isFirst = false;
      socket.end('$5\r\nhel');
      return undefined;
    });
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url);
    await assert.rejects(client.command('GET', 'a'), isDown(/hung up/));
    t.mock.timers.tick(2000);
    assert.equal(await client.command('PING'), 'OK');
  });

  it('command() refuses what is more than the queue holds', async (t) => {
    const { url } = await serveFake(t, () => undefined);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const client = makeClient(t, url);
    const waiting = Array.from({ length: 10_000 }, () => client.command('GET').catch(() => 'ended'));
    await assert.rejects(client.command('GET'), isDown(/too slow/));
    client.close();
    assert.equal(new Set(await Promise.all(waiting)).size, 1);
  });

  it('command() drops a server that speaks something else', async (t) => {
    for (const words of ['HTTP/1.1 400 Bad Request\r\n\r\n', '$99999999\r\n', 'x'.repeat(2 ** 21)]) {
      const { url } = await serveFake(t, () => words);
      const client = makeClient(t, url);
      await assert.rejects(client.command('PING'), isDown(/not RESP2|too long/), words.slice(0, 20));
    }
  });

  it('RedisClient() speaks TLS for rediss:, and plain for redis:', async (t) => {
    const firsts: number[] = [];
    const named: boolean[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (bytes) => {
        firsts.push(bytes[0] ?? 0);
        named.push(/localhost|127\.0\.0\.1/.test(bytes.toString('latin1')));
        socket.destroy();
      });
    }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    for (const place of ['redis://127.0.0.1', 'rediss://127.0.0.1', 'rediss://localhost']) {
      const client = makeClient(t, `${place}:${port}`);
      await assert.rejects(client.command('PING'), StoreDown, place);
    }
    assert.deepEqual(firsts, ['*'.charCodeAt(0), 0x16, 0x16], 'an array, and two TLS handshakes');
    assert.deepEqual(named, [false, false, true], 'a server is asked for by name (RFC 6066 §3)');
  });

  it('RedisClient() refuses what is no URL of Redis', () => {
    const others = ['http://localhost', 'xredis://localhost', 'redisss://localhost', '//localhost'];
    for (const url of ['', 'localhost', ...others, 'redis', 'redis://[', 'redis://:p%zz@h']) {
      assert.throws(() => new RedisClient(url), /^TypeError: Cannot make a Redis client: its URL/);
    }
  });
});

describe('20-redis: RedisStore', () => {
  it('RedisStore takes any client with the one method, and asks it in plain commands', async () => {
    const asked: string[][] = [];
    const redis: Commander = {
      async command(...args) {
        asked.push(args);
        return args[0] === 'HMGET' ? ['7', 'ada', `${NOW + 1}`, '{}'] : 1;
      },
    };
    const store = new RedisStore(redis, () => NOW);
    const entry = { text: '{}', owner: 'ada', expires: NOW + 1 };
    assert.deepEqual(await store.get('k'), { ...entry, version: 7 });
    assert.equal(await store.put('k', entry, 7), true);
    await store.delete('k');
    const ofSession = asked.filter(([name = '']) => ['HMGET', 'EVAL', 'DEL'].includes(name));
    const script = ofSession[1]?.[1] ?? '';
    assert.match(script, /^\s*local version[^]*HSET[^]*PEXPIRE/);
    assert.deepEqual(ofSession, [
      ['HMGET', 'session:k', 'version', 'owner', 'expires', 'text'],
      ['EVAL', script, '1', 'session:k', '7', 'ada', `${NOW + 1}`, '{}', '1000', `${NOW}`],
      ['DEL', 'session:k'],
    ]);
    const times = [[Infinity, '8640000000000000'], [NOW + 0.9991, '1000']] as const;
    for (const [expires, time] of times) {
      await store.put('k', { ...entry, owner: '', expires }, 7);
      assert.equal(asked.at(-1)?.at(-2), time, `${expires}: milliseconds, and no part of one`);
    }
    const refused = new RedisStore({ command: async () => 0 }, () => NOW);
    assert.equal(await refused.put('k', entry, 7), false);
    const later = new RedisStore(redis, () => NOW + 1);
    assert.equal(await later.get('k'), undefined, 'past its time by our own clock');
  });

  it('RedisStore takes out of an owner’s list what is theirs no more', async () => {
    const asked: string[][] = [];
    const store = new RedisStore({
      async command(...args) {
        asked.push(args);
        if (args[0] === 'SSCAN') return args[2] === '0' ? ['7', ['a', 'b']] : ['0', ['c', 'a']];
        if (args[1] === 'session:c') return [null, null, null, null]; // no more there
        const owner = args[1] === 'session:a' ? 'ada' : 'bob';
        return args[0] === 'HMGET' ? ['1', owner, `${NOW + 1}`, '{}'] : 1;
      },
    }, () => NOW);
    assert.deepEqual(await store.keysOf('ada'), ['a'], 'once, though it was told twice');
    const removed = asked.filter(([name]) => name === 'SREM').map(([, , ...keys]) => keys);
    assert.deepEqual(removed, [['b'], ['c']]);
    const scans = asked.filter(([name]) => name === 'SSCAN').map(([, , ...rest]) => rest);
    assert.deepEqual(scans, [['0', 'COUNT', '100'], ['7', 'COUNT', '100']]);
  });

  it('RedisStore takes nothing out of an owner’s list where all is theirs', async () => {
    const store = new RedisStore({
      async command(...args) {
        assert.notEqual(args[0], 'SREM', 'Redis refuses it without a key');
        return args[0] === 'SSCAN' ? ['0', ['a']] : ['1', 'ada', `${NOW + 1}`, '{}'];
      },
    }, () => NOW);
    assert.deepEqual(await store.keysOf('ada'), ['a']);
  });

  it('RedisStore has the clock of the machine by default, in seconds', async (t) => {
    t.mock.method(Date, 'now', () => NOW * 1000);
    const get = (expires: number) =>
      new RedisStore({ command: async () => ['1', '', `${expires}`, '{}'] }).get('k');
    assert.equal(await get(NOW), undefined);
    assert.equal((await get(NOW + 1))?.version, 1);
  });

  it('RedisStore notes an owner with the session, under a name that is always a key', async () => {
    const asked: string[][] = [];
    const store = new RedisStore({ command: async (...args) => (asked.push(args), 1) }, () => NOW);
    await store.put('k', { text: '{}', owner: 'a\r\nDEL x', expires: NOW }, 0);
    assert.deepEqual(asked.map(([name]) => name), ['EVAL', 'SADD', 'EXPIRE']);
    assert.equal(asked[2]?.[2], `${400 * 24 * 60 * 60}`, 'as long as a cookie may live');
    assert.match(asked[1]?.[1] ?? '', /^owner:[\w-]{43}$/);
  });
});

describe('20-redis: a store that is down', () => {
  const down: Commander = { command: () => Promise.reject(new StoreDown('Redis is down')) };

  it('site() of step 20 asks the Redis that REDIS_URL names, or the one of this machine', (t) => {
    const { REDIS_URL } = process.env;
    t.after(() => {
      if (REDIS_URL === undefined) delete process.env.REDIS_URL;
      else process.env.REDIS_URL = REDIS_URL;
    });
    process.env.REDIS_URL = '';
    assert.doesNotThrow(() => site());
    process.env.REDIS_URL = 'http://localhost';
    assert.throws(() => site(), /^TypeError: Cannot make a Redis client: its URL/);
  });

  it('site() of step 20 answers 503 while Redis is down, and what needs no session', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const browser = new Browser(site(down).handle, ORIGIN);
    for (const path of ['/', '/howdy', '/cart', '/login']) {
      const { status, headers, body } = await browser.get(path);
      assert.deepEqual([status, headers['retry-after']], [503, '1'], path);
      assert.match(String(body), /We cannot get at your session\. Please try again in a moment\./);
    }
    assert.equal((await browser.get('/style.css')).status, 200);
    assert.match(String(log.mock.calls[0]?.arguments[0]), /^503 GET \/: Redis is down$/);
  });
});

function makeResolvers(): { promise: Promise<unknown>; resolve: (value: unknown) => void } {
  let resolve = (_: unknown): void => {};
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}
