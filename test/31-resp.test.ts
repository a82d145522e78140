// Step 31: the bytes of RESP2, and one connection.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { describe, type TestContext } from 'node:test';
import { explainedIt, given } from '../.tools/explain.ts';
import { makeRequest } from '../.tools/request.ts';
import { soon } from '../.tools/soon.ts';
import { encodeCommand, parseReply, type Reply, RespConnection, site } from '../src/31-resp.ts';

const it = explainedIt(import.meta.url);
const timeout = 10_000; // milliseconds; `soon` ends a command earlier, with a sentence

/** Starts a server that runs `greet` for each connection. Returns its port. */
async function listen(t: TestContext, greet: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer((socket) => {
    t.after(() => socket.destroy());
    greet(socket.on('error', () => {}));
  });
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Returns a connection to such a server. */
async function open(t: TestContext, greet: (socket: Socket) => void): Promise<RespConnection> {
  const connection = new RespConnection(connect(await listen(t, greet), '127.0.0.1'));
  t.after(() => connection.close('the test has ended'));
  return connection;
}

/** Sends a command and returns its reply. It fails with a sentence if the command waits too long. */
function ask(redis: RespConnection, ...args: string[]): Promise<Reply> {
  const message = `RespConnection.command() still waits for the reply to ${args.join(' ')}`;
  return soon(redis.command(...args), message);
}

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
  ['*2\r\n*1\r\n:1\r\n-ERR no\r\n', [[1], new Error('ERR no')]],
];

describe('31-resp: the bytes', () => {
  it('encodeCommand() writes an array of strings', () => {
    assert.equal(encodeCommand(given(['GET', 'a'])), '*2\r\n$3\r\nGET\r\n$1\r\na\r\n');
  });

  it('encodeCommand() counts bytes, not characters', () => {
    const bytes = '*3\r\n$3\r\nSET\r\n$2\r\né\r\n$6\r\n😀\r\n\r\n';
    assert.equal(
      encodeCommand(given(['SET', 'é', '😀\r\n'])),
      bytes,
      'é has two bytes, and 😀 has four',
    );
  });

  it('encodeCommand() cannot be tricked into a second command by a line end in a value', () => {
    const bytes = Buffer.from(encodeCommand(given(['SET', 'a', 'x\r\n*1\r\n$8\r\nFLUSHALL\r\n'])));
    assert.equal(parseReply(given(bytes))?.end, bytes.length, 'one array contains all bytes');
  });

  it('parseReply() returns a short string', () => {
    assert.deepEqual(parseReply(given(Buffer.from('+PONG\r\n'))), { value: 'PONG', end: 7 });
  });

  it('parseReply() parses each kind of reply, and returns where it ends', () => {
    for (const [bytes, value] of ROWS) {
      const buffer = Buffer.from(`${bytes}+next\r\n`);
      assert.deepEqual(parseReply(given(buffer)), { value, end: Buffer.byteLength(bytes) }, bytes);
    }
  });

  it('parseReply() returns undefined while a reply is incomplete, at each byte', () => {
    for (const [bytes] of ROWS) {
      const buffer = Buffer.from(bytes);
      for (let length = 0; length < buffer.length; length++) {
        assert.equal(
          parseReply(given(buffer.subarray(0, length))),
          undefined,
          `${length} bytes of ${bytes}`,
        );
      }
    }
  });

  it('parseReply() returns an error of the server as a value', () => {
    const value = parseReply(given(Buffer.from('-WRONGTYPE not a list\r\n')))?.value;
    assert.ok(value instanceof Error);
    assert.equal(value.message, 'WRONGTYPE not a list');
  });

  it('parseReply() throws a RangeError if the bytes are not RESP2', () => {
    const wrong = ['hello', 'HTTP/1.1 400', '$5\r\nhello:1', '$1\r\na\n\n', ':', ':1.5', ':1e3', '$x'];
    for (const bytes of [...wrong, '$-2', '*-2', '', '%1', ':99999999999999999', '*1\r\n?']) {
      assert.throws(
        () => parseReply(given(Buffer.from(`${bytes}\r\n`))),
        RangeError,
        JSON.stringify(bytes),
      );
    }
  });

  it('parseReply() throws a RangeError if the length is more than a megabyte', () => {
    assert.equal(
      parseReply(given(Buffer.from('$1048576\r\n'))),
      undefined,
      'a megabyte is allowed',
    );
    for (const bytes of ['$1048577\r\n', '$9999999999\r\n', '*9999999\r\n']) {
      assert.throws(() => parseReply(given(Buffer.from(bytes))), RangeError, JSON.stringify(bytes));
    }
    const nested = Buffer.from('*1\r\n'.repeat(250_000)); // deeper than the stack of JavaScript
    assert.throws(() => parseReply(given(nested)), RangeError);
  });
});

describe('31-resp: RespConnection', () => {
  it('RespConnection.command() sends the bytes and returns the reply', { timeout }, async (t) => {
    let sent = '';
    const redis = await open(t, (socket) => {
      socket.on('data', (bytes) => ((sent += String(bytes)), socket.write('+PONG\r\n')));
    });
    assert.equal(await ask(redis, 'PING'), 'PONG');
    assert.equal(sent, '*1\r\n$4\r\nPING\r\n');
  });

  it('RespConnection.command() returns the replies in the order of the commands', { timeout }, async (t) => {
    const redis = await open(t, (socket) => {
      socket.once('data', () => socket.write(':0\r\n:1\r\n:2\r\n:3\r\n'));
    });
    const replies = ['A', 'B', 'C', 'D'].map((name) => ask(redis, name));
    assert.deepEqual(await Promise.all(replies), [0, 1, 2, 3]);
  });

  it('RespConnection.command() accepts a reply in pieces of one byte', { timeout }, async (t) => {
    const redis = await open(t, (socket) => {
      const bytes = [...Buffer.from('*2\r\n$2\r\né\r\n:7\r\n')];
      const sendNext = (): void => {
        const byte = bytes.shift();
        if (byte !== undefined) socket.write(Buffer.of(byte), () => setImmediate(sendNext));
      };
      socket.setNoDelay(true).once('data', sendNext);
    });
    assert.deepEqual(await ask(redis, 'GET'), ['é', 7]);
  });

  it('RespConnection.command() is rejected with an error of Redis, and the connection stays open', { timeout }, async (t) => {
    const redis = await open(t, (socket) => {
      socket.once('data', () => socket.write('-ERR no\r\n+OK\r\n'));
    });
    const replies = [ask(redis, 'BAD'), ask(redis, 'GOOD')] as const;
    await assert.rejects(replies[0], { message: 'ERR no' });
    assert.equal(await replies[1], 'OK');
  });

  it('RespConnection.command() is rejected if Redis closes the connection', { timeout }, async (t) => {
    const redis = await open(t, (socket) => socket.end());
    await assert.rejects(ask(redis, 'GET', 'a'), { message: 'Redis closed the connection' });
    await assert.rejects(ask(redis, 'GET', 'b'), { message: 'Redis closed the connection' });
  });

  it('RespConnection.close() gives its reason to each command without a reply', { timeout }, async (t) => {
    let closed = 0;
    const port = await listen(t, () => {});
    const redis = new RespConnection(connect(port, '127.0.0.1'), () => (closed += 1));
    const replies = [ask(redis, 'GET', 'a'), ask(redis, 'GET', 'b')];
    redis.close('first');
    redis.close('second');
    for (const reply of replies) await assert.rejects(reply, { message: 'first' });
    assert.equal(closed, 1, 'onClose runs once');
  });

  it('RespConnection closes itself if the server does not speak RESP2', { timeout }, async (t) => {
    const rows: [bytes: string, reason: string][] = [
      ['HTTP/1.1 400 Bad Request\r\n\r\n', 'The reply is not RESP2'],
      ['$99999999\r\n', 'A reply of length 99999999'],
      ['x'.repeat(2 ** 21), 'The reply is too long'],
    ];
    for (const [bytes, message] of rows) {
      const redis = await open(t, (socket) => socket.write(bytes));
      const what = `${bytes.length} bytes that begin with ${bytes.slice(0, 9).trim()}`;
      const isClosed = soon(redis.command('PING'), `#receive() must close the connection: ${what}`);
      await assert.rejects(isClosed, { message });
    }
  });
});

describe('31-resp: site()', () => {
  it('site() of step 31 shows the reply of Redis', { timeout }, async (t) => {
    const port = await listen(t, (socket) => {
      socket.on('data', () => socket.write('+PONG\r\n'));
    });
    const response = soon(Promise.resolve(site(port)(makeRequest('GET', '/'))), 'The page hangs');
    const { status, body } = await response;
    assert.deepEqual([status, body], [200, 'Redis replies: PONG\n']);
  });

  it('site() of step 31 responds 503 if no Redis runs', { timeout }, async () => {
    const { status } = await site(1)(makeRequest('GET', '/'));
    assert.equal(status, 503);
  });
});
