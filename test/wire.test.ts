// What may come over the wire, byte by byte, and what the finished site says to it. HTTP is text
// that anybody may type, and two programs that read one text in two ways are a hole between them
// (request smuggling, RFC 9112 §11.2). So each oddity has one stated answer.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { explainedIt, noteBytes } from '../.tools/explain.ts';
import { LIMITS } from '../src/35-limits.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { strict } from '../src/37-strict.ts';
import { toListener } from '../src/04-http.ts';
import { site } from '../src/main.ts';

const it = explainedIt(import.meta.url);
const SLOW_CONNECTIONS = 1_000;
const HOST = 'Host: localhost\r\n';
const GET = `GET / HTTP/1.1\r\n${HOST}`; // and an empty line
const FORM =
  `POST /cart/add HTTP/1.1\r\n${HOST}Origin: http://localhost\r\n` +
  'Content-Type: application/x-www-form-urlencoded\r\n';
const CHUNKED = `${FORM}Transfer-Encoding: chunked\r\n\r\n`;
const ITEM = 'item=pot'; // eight bytes
const CHUNKS = `8\r\n${ITEM}\r\n0\r\n\r\n`;

/** Asked last: its 404 says that the connection lives, and that nothing before was misread. */
const LAST = `GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;

async function listen(t: TestContext, limits = LIMITS): Promise<{ server: Server; port: number }> {
  const server = makePipelined(strict(toListener(site())), limits);
  t.after(() => (server.close(), server.closeAllConnections()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

function open(t: TestContext, port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  return socket.setNoDelay(true).setEncoding('latin1').on('error', () => {}); // seen in what lacks
}

/** All that comes till the server hangs up. */
async function readAll(socket: Socket): Promise<string> {
  let received = '';
  socket.on('data', (chunk: string) => (received += chunk));
  await new Promise((resolve) => socket.on('close', resolve));
  return received;
}

async function exchange(t: TestContext, port: number, sent: string | Buffer): Promise<string> {
  const socket = open(t, port);
  socket.write(sent);
  const received = await readAll(socket);
  noteBytes(sent, received);
  return received;
}

/** The statuses, in order: `200 404`. */
function statusesOf(received: string): string {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status).join(' ');
}

type Row = [what: string, sent: string, statuses: string];

/** With `LAST` behind it; statuses without a 404 at their end say that the connection was ended. */
function describeRows(title: string, rows: Row[]): void {
  it(title, async (t) => {
    const { port } = await listen(t);
    const found = rows.map(async ([what, sent]): Promise<[string, string]> => {
      return [what, statusesOf(await exchange(t, port, Buffer.from(sent + LAST)))];
    });
    assert.deepEqual(await Promise.all(found), rows.map(([what, , statuses]) => [what, statuses]));
  });
}

describe('wire: how a request begins', () => {
  describeRows('the request line has one form', [
    ['as it should be', `${GET}\r\n`, '200 404'],
    ['empty lines before it (§2.2)', `\r\n\r\n${GET}\r\n`, '200 404'],
    ['a space before it', ` ${GET}\r\n`, '400'],
    ['two spaces in it', `${GET.replace(' ', '  ')}\r\n`, '200 404'],
    ['a TAB in it', `${GET.replace(' ', '\t')}\r\n`, '400'],
    ['a method in lower case', `get / HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['no URL', `GET HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['a space in the URL', `GET /a b HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['bytes above ASCII in the URL', `GET /é HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['a fragment', `GET /#a HTTP/1.1\r\n${HOST}\r\n`, '400 404'],
    ['a whole URL, as a proxy is asked', `GET http://other/ HTTP/1.1\r\n${HOST}\r\n`, '200 404'],
    ['a host and a port', `GET localhost:80 HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['OPTIONS of the whole server', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, '204 404'],
    ['GET of the whole server', `GET * HTTP/1.1\r\n${HOST}\r\n`, '404 404'],
    ['TRACE', `TRACE / HTTP/1.1\r\n${HOST}\r\n`, '501 404'],
    ['CONNECT', `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`, '501'],
    ['line ends of one byte', `GET / HTTP/1.1\n${HOST}\n`, '400'],
    ['HTTP/0.9', 'GET /\r\n', '400'],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n', '200'],
    ['HTTP/1.0 that wants to go on', `GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`, '200 404'],
    ['HTTP/2.0 in the form of 1.1', `GET / HTTP/2.0\r\n${HOST}\r\n`, '505'],
    ['HTTP/2, as one begins it', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '400'],
    ['a URL of 8,001 characters', `GET /${'a'.repeat(8_000)} HTTP/1.1\r\n${HOST}\r\n`, '414 404'],
    ['a URL of 20,000', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`, '431'],
  ]);

  describeRows('a header has names, values, and one Host', [
    ['a value in UTF-8', `${GET}X: é\r\n\r\n`, '200 404'],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', '400'],
    ['two Hosts', `${GET}${HOST}\r\n`, '400'],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', '200 404'],
    ['a line that goes on in the next (obs-fold)', `${GET}X: a\r\n b\r\n\r\n`, '400'],
    ['a name with a space', `${GET}X : a\r\n\r\n`, '400'],
    ['a space before the name', `${GET.replace('Host', ' Host')}\r\n`, '400'],
    ['no name', `${GET}: a\r\n\r\n`, '400'],
    ['no colon', `${GET}X\r\n\r\n`, '400'],
    ['NUL in a value', `${GET}X: a\0b\r\n\r\n`, '400'],
    ['a bare CR in a value', `${GET}X: a\rb\r\n\r\n`, '400'],
    ['16 KiB in one value', `${GET}X: ${'a'.repeat(16 * 1024)}\r\n\r\n`, '431'],
    ['16 KiB in many', `${GET}${'X: aaaaaaaaaaaa\r\n'.repeat(1_500)}\r\n`, '431'],
    ['an unknown expectation', `${GET}Expect: magic\r\n\r\n`, '417'],
    ['an upgrade, which ends it', `${GET}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n`, '200'],
  ]);

  describeRows('a body has one length', [
    ['a form', `${FORM}Content-Length: 8\r\n\r\n${ITEM}`, '303 404'],
    ['a body that nobody wants', `${GET}Content-Length: 5\r\n\r\nGET /`, '200 404'],
    [
      'one that looks like a request',
      `${GET}Content-Length: ${LAST.length}\r\n\r\n${LAST}`,
      '200 404',
    ],
    [
      'a client that asks first',
      `${FORM}Expect: 100-continue\r\nContent-Length: 8\r\n\r\n${ITEM}`,
      '100 303 404',
    ],
    [
      'a client of an old version that asks first',
      `${FORM.replace('1.1', '1.0')}Expect: 100-continue\r\nContent-Length: 8\r\n\r\n${ITEM}`,
      '303',
    ],
    ['no length', `${FORM}Content-Length:\r\n\r\n${ITEM}`, '400'],
    ['a negative one', `${FORM}Content-Length: -1\r\n\r\n${ITEM}`, '400'],
    ['one with a sign', `${FORM}Content-Length: +8\r\n\r\n${ITEM}`, '400'],
    ['a hexadecimal one', `${FORM}Content-Length: 0x8\r\n\r\n${ITEM}`, '400'],
    ['a list', `${FORM}Content-Length: 8, 8\r\n\r\n${ITEM}`, '400'],
    ['the same twice', `${FORM}Content-Length: 8\r\nContent-Length: 8\r\n\r\n${ITEM}`, '400'],
    ['two that differ', `${FORM}Content-Length: 8\r\nContent-Length: 9\r\n\r\n${ITEM}`, '400'],
    ['one beyond 2^64', `${FORM}Content-Length: ${'9'.repeat(30)}\r\n\r\n${ITEM}`, '400'],
    ['one beyond 2^53', `${FORM}Content-Length: 9007199254740993\r\n\r\n${ITEM}`, '413'],
    ['one byte too many', `${FORM}Content-Length: 65537\r\n\r\n`, '413'],
    [
      'too large, all of it there',
      `${FORM}Content-Length: 800000\r\n\r\n${'a'.repeat(800_000)}`,
      '413',
    ],
    [
      'too large, asking first',
      `${FORM}Expect: 100-continue\r\nContent-Length: 800000\r\n\r\n`,
      '100 413',
    ],
    [
      'a length and chunks',
      `${FORM}Content-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`,
      '400',
    ],
    [
      'chunks and a length',
      `${FORM}Transfer-Encoding: chunked\r\nContent-Length: 8\r\n\r\n${CHUNKS}`,
      '400',
    ],
  ]);

  const coded = (coding: string): string => `${FORM}Transfer-Encoding: ${coding}\r\n\r\n${CHUNKS}`;
  describeRows('chunks are read as they are written, or not at all', [
    ['one', `${CHUNKED}${CHUNKS}`, '303 404'],
    ['two', `${CHUNKED}4\r\nitem\r\n4\r\n=pot\r\n0\r\n\r\n`, '303 404'],
    ['in capitals', coded('CHUNKED'), '303 404'],
    ['with an extension', `${CHUNKED}8;a=b\r\n${ITEM}\r\n0\r\n\r\n`, '303 404'],
    ['with a long extension', `${CHUNKED}8;${'a'.repeat(20_000)}\r\n${ITEM}\r\n0\r\n\r\n`, '413'],
    ['with a header behind them', `${CHUNKED}8\r\n${ITEM}\r\n0\r\nCookie: a\r\n\r\n`, '303 404'],
    ['a negative length', `${CHUNKED}-8\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['a length with 0x', `${CHUNKED}0x8\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['a length beyond 2^64', `${CHUNKED}FFFFFFFFFFFFFFFFF\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['more than was announced', `${CHUNKED}3\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['no line end behind one', `${CHUNKED}8\r\n${ITEM}X0\r\n\r\n`, '400'],
    ['line ends of one byte', `${CHUNKED}8\n${ITEM}\n0\n\n`, '400'],
    ['70,000 of one byte', `${CHUNKED}${'1\r\na\r\n'.repeat(70_000)}0\r\n\r\n`, '413'],
    ['another coding around them', coded('gzip, chunked'), '501'],
    ['another coding inside', coded('chunked, gzip'), '400'],
    ['a coding that is none', coded('identity'), '501'],
    ['nearly chunked', coded('xchunked'), '501'],
    ['chunked twice', coded('chunked\r\nTransfer-Encoding: chunked'), '400'],
    ['in an old version', CHUNKED.replace('1.1', '1.0') + CHUNKS, '400'],
  ]);

  it('a refusal has words, a type and a length, and ends the connection', async (t) => {
    const { port } = await listen(t);
    const tooLarge = `${FORM}Content-Length: 99999\r\n\r\n`;
    for (const sent of ['garbage\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n', tooLarge]) {
      const answer = await exchange(t, port, sent);
      assert.match(answer, /^HTTP\/1\.1 4\d\d [\w ]+\r\n/, sent);
      assert.match(answer, /\r\ncontent-type: text\/plain; charset=utf-8\r\n/i, sent);
      assert.match(answer, /\r\nconnection: close\r\n/i, sent);
      assert.match(answer, /\b4\d\d [A-Z][\w ]+\n(\r\n0\r\n\r\n)?$/, sent);
      assert.doesNotMatch(answer, /node|at |\.ts|\r\n(server|x-powered-by):/i, sent);
    }
  });
});

describe('wire: in what pieces it comes', () => {
  it('a client that sends 8 MB before it reads is told why they were refused', async (t) => {
    const { port } = await listen(t);
    const body = 'a'.repeat(8_000_000);
    const length = `Content-Length: ${body.length}\r\n`;
    const SENT: [sent: string, status: string][] = [
      [`${FORM}${length}\r\n${body}`, '413'],
      [`CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n${body}`, '501'],
      [`${FORM}Transfer-Encoding: gzip, chunked\r\n\r\n7A1200\r\n${body}\r\n0\r\n\r\n`, '501'],
      [`${GET.replace('Host', 'Ghost')}${length}\r\n${body}`, '400'],
    ];
    for (const [sent, status] of SENT) {
      const socket = open(t, port);
      let error: unknown;
      socket.on('error', (reason) => (error = reason));
      const written = new Promise((resolve) => socket.write(sent, resolve));
      const answer = readAll(socket);
      await written;
      assert.equal(statusesOf(await answer), status);
      assert.equal(error, undefined, `${status} after all was sent`);
    }
  });

  it('a request is the same in one packet and byte by byte', async (t) => {
    const { port } = await listen(t);
    const whole = `${GET}\r\n${FORM}Content-Length: 8\r\n\r\n${ITEM}${CHUNKED}${CHUNKS}${LAST}`;
    const socket = open(t, port);
    const answer = readAll(socket);
    for (const byte of whole) {
      socket.write(byte);
      await new Promise(setImmediate);
    }
    assert.equal(statusesOf(await answer), '200 303 303 404');
    assert.equal(statusesOf(await exchange(t, port, whole)), '200 303 303 404');
  });

  it('a hundred requests in one packet are answered in their order', async (t) => {
    const { port } = await listen(t);
    const paths = Array.from({ length: 100 }, (_, i) => (i % 3 ? `/none/${i}` : `/api/${i}`));
    const sent = paths.map((path) => `GET ${path} HTTP/1.1\r\n${HOST}\r\n`).join('');
    const answer = await exchange(t, port, sent + LAST);
    const found = [...answer.matchAll(/There is no page at (\S+)\./g)].map(([, path]) => path);
    assert.deepEqual(found, [...paths, '/last']);
  });

  it('a client that has said all may close its half, and is answered', async (t) => {
    const { port } = await listen(t);
    const socket = open(t, port);
    socket.end(`${GET}\r\n`);
    assert.equal(statusesOf(await readAll(socket)), '200');
  });

  it('a client that closes its half within a request is told 400', async (t) => {
    const { port } = await listen(t);
    for (const half of [GET, `${FORM}Content-Length: 9\r\n\r\n${ITEM}`, `${CHUNKED}8\r\nitem`]) {
      const socket = open(t, port);
      socket.end(half);
      assert.equal(statusesOf(await readAll(socket)), '400', half);
    }
  });

  it('a client that asks 20,000 times and never reads is not read on', async (t) => {
    const { server, port } = await listen(t, { ...LIMITS, timeout: 200 });
    let asked = 0;
    server.on('request', () => (asked += 1));
    const socket = open(t, port).pause();
    const serverSide = once(server, 'connection');
    socket.write(`GET /style.css HTTP/1.1\r\n${HOST}\r\n`.repeat(20_000)); // some 200 MB of answers
    const [connection] = (await serverSide) as [Socket];
    await once(connection, 'close'); // by `timeout`, since nothing moves any more
    assert.ok(asked < 10_000, `${asked} were answered into the void`);
  });
});

describe('wire: who takes their time', () => {
  const title = '1,000 slow connections keep nobody else waiting, and are ended by the time-outs';
  it(title, { timeout: 20_000 }, async (t) => {
    const limits = { ...LIMITS, headersTimeout: 400, requestTimeout: 500, timeout: 600 };
    const { server, port } = await listen(t, { ...limits, connectionsCheckingInterval: 20 });
    const KINDS: [what: string, sent: string, statuses: string][] = [
      ['a header', `${GET}X:`, '408'],
      ['a body', `${FORM}Content-Length: 100\r\n\r\nitem`, '408'],
      ['chunks', `${CHUNKED}8\r\nitem`, '408'],
      ['silence', '', '408'],
    ];
    const slow = Array.from({ length: SLOW_CONNECTIONS }, (_, i) => {
      const [, sent, statuses] = KINDS[i % KINDS.length] as (typeof KINDS)[number];
      const socket = open(t, port);
      if (sent !== '') socket.write(sent);
      return { socket, ended: readAll(socket), statuses };
    });
    await Promise.all(slow.map(({ socket }) => socket.connecting && once(socket, 'connect')));
    const ordinary = Array.from({ length: 20 }, () => exchange(t, port, `${GET}\r\n${LAST}`));
    for (const answer of await Promise.all(ordinary)) assert.equal(statusesOf(answer), '200 404');
    for (const { ended, statuses } of slow) assert.equal(statusesOf(await ended), statuses);
    const closed = once(server, 'close');
    server.close(); // takes nobody new, and is done when the last has gone
    await closed;
  });
});
