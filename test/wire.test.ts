// The finished site over raw bytes. HTTP is text that any client can write. If two programs read
// one text differently, an attacker can use the difference (request smuggling, RFC 9112 §11.2). So
// these tables state one response for each unusual request.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { noteBytes } from '../.tools/explain.ts';
import { startServer, type TestServer } from '../.tools/serve.ts';
import { assertRejected, bothEnds, closeOf, limitedIt, openHalf } from '../.tools/wire.ts';
import { statusesOf, textOf } from '../.tools/wire.ts';
import { toListener } from '../src/04-http.ts';
import { LIMITS } from '../src/35-limits.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { strict } from '../src/37-strict.ts';
import { sendFast } from '../src/39-fast.ts';
import { site } from '../src/main.ts';

const it = limitedIt(import.meta.url);
const SLOW_CONNECTIONS = 1_000;
const HOST = 'Host: localhost\r\n';
const GET = `GET / HTTP/1.1\r\n${HOST}`; // an empty line must follow
const FORM =
  `POST /cart/add HTTP/1.1\r\n${HOST}Origin: http://localhost\r\n` +
  'Content-Type: application/x-www-form-urlencoded\r\n';
const CHUNKED = `${FORM}Transfer-Encoding: chunked\r\n\r\n`;
const ITEM = 'item=pot'; // eight bytes
const CHUNKS = `8\r\n${ITEM}\r\n0\r\n\r\n`;

/** Follows each request of a table. Its 404 shows that the server has read the bytes before it. */
const LAST = `GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;

function start(t: TestContext, limits = LIMITS): Promise<TestServer> {
  const make = (listener: RequestListener) => makePipelined(strict(listener), limits);
  return startServer(t, toListener(site(), sendFast), make);
}

/** Sends bytes. Returns everything that arrives until the server closes the connection. */
async function exchange(server: TestServer, sent: string | Buffer): Promise<string> {
  const socket = server.open('');
  socket.write(sent);
  const received = await textOf(socket);
  noteBytes(sent, () => received);
  return received;
}

type Row = [what: string, sent: string, statuses: string];

/** Sends each request and `LAST`. Without a 404 at the end, the server closed the connection. */
function describeRows(title: string, rows: Row[]): void {
  it(title, async (t) => {
    const server = await start(t);
    const found = await Promise.all(rows.map(async ([what, sent]): Promise<[string, string]> =>
      [what, statusesOf(await exchange(server, Buffer.from(sent + LAST)))]));
    assert.deepEqual(found, rows.map(([what, , statuses]) => [what, statuses]));
  });
}

describe('wire: the beginning of a request', () => {
  describeRows('the site accepts one form of the request line', [
    ['the usual form', `${GET}\r\n`, '200 404'],
    ['empty lines before it (RFC 9112 §2.2)', `\r\n\r\n${GET}\r\n`, '200 404'],
    ['a space before it', ` ${GET}\r\n`, '400'],
    ['two spaces in it', `${GET.replace(' ', '  ')}\r\n`, '200 404'],
    ['a tab in it', `${GET.replace(' ', '\t')}\r\n`, '400'],
    ['a method in lower case', `get / HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['no URL', `GET HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['a space in the URL', `GET /a b HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['a letter in the URL that is not ASCII', `GET /é HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['a fragment', `GET /#a HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['an escape that is not UTF-8', `GET /%e9 HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['a whole URL, as for a proxy', `GET http://other/ HTTP/1.1\r\n${HOST}\r\n`, '200 404'],
    ['a host and a port', `GET localhost:80 HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['OPTIONS of the whole server', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, '204 404'],
    ['OPTIONS of a page', `OPTIONS / HTTP/1.1\r\n${HOST}\r\n`, '204 404'],
    ['GET of the whole server', `GET * HTTP/1.1\r\n${HOST}\r\n`, '400'],
    ['TRACE', `TRACE / HTTP/1.1\r\n${HOST}\r\n`, '501'],
    ['CONNECT', `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`, '501'],
    ['lines that end with LF alone', `GET / HTTP/1.1\n${HOST}\n`, '400'],
    ['HTTP/0.9', 'GET /\r\n', '400'],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n', '200'],
    ['HTTP/1.0 with keep-alive', 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', '200 404'],
    ['HTTP/2.0 in the form of HTTP/1.1', `GET / HTTP/2.0\r\n${HOST}\r\n`, '505'],
    ['the first bytes of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '400'],
    ['a URL of 8,001 characters', `GET /${'a'.repeat(8_000)} HTTP/1.1\r\n${HOST}\r\n`, '414'],
    ['a URL of 20,000 characters', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`, '431'],
  ]);

  describeRows('the site accepts one form of a header, and one Host', [
    ['a value in UTF-8', `${GET}X: é\r\n\r\n`, '200 404'],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', '400'],
    ['two Hosts', `${GET}${HOST}\r\n`, '400'],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', '200 404'],
    ['a Host that is a URL', 'GET / HTTP/1.1\r\nHost: http://a\r\n\r\n', '400'],
    ['a value on two lines (obs-fold)', `${GET}X: a\r\n b\r\n\r\n`, '400'],
    ['a space in the name', `${GET}X : a\r\n\r\n`, '400'],
    ['a space before the name', `${GET.replace('Host', ' Host')}\r\n`, '400'],
    ['no name', `${GET}: a\r\n\r\n`, '400'],
    ['no colon', `${GET}X\r\n\r\n`, '400'],
    ['NUL in a value', `${GET}X: a\0b\r\n\r\n`, '400'],
    ['CR without LF in a value', `${GET}X: a\rb\r\n\r\n`, '400'],
    ['16 KiB in one value', `${GET}X: ${'a'.repeat(16 * 1024)}\r\n\r\n`, '431'],
    ['16 KiB in many values', `${GET}${'X: aaaaaaaaaaaa\r\n'.repeat(1_500)}\r\n`, '431'],
    ['an unknown expectation', `${GET}Expect: magic\r\n\r\n`, '417'],
    ['an upgrade', `${GET}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n`, '200'],
  ]);

  const asking = (form: string): string =>
    `${form}Expect: 100-continue\r\nContent-Length: 8\r\n\r\n${ITEM}`;
  const smuggled = `${GET}Content-Length: ${LAST.length}\r\n\r\n${LAST}`;
  const large = `${FORM}Content-Length: 800000\r\n`;
  const both = `${FORM}Content-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`;
  const bothReversed = `${FORM}Transfer-Encoding: chunked\r\nContent-Length: 8\r\n\r\n${CHUNKS}`;
  describeRows('the site accepts one length of a body', [
    ['a form', `${FORM}Content-Length: 8\r\n\r\n${ITEM}`, '303 404'],
    ['a body that no page reads', `${GET}Content-Length: 5\r\n\r\nGET /`, '200 404'],
    ['a body that looks like a request', smuggled, '200 404'],
    ['a client that asks before it sends', asking(FORM), '100 303 404'],
    ['a client of HTTP/1.0 that asks', asking(FORM.replace('1.1', '1.0')), '303'],
    ['an empty length', `${FORM}Content-Length:\r\n\r\n${ITEM}`, '400'],
    ['a negative length', `${FORM}Content-Length: -1\r\n\r\n${ITEM}`, '400'],
    ['a length with a sign', `${FORM}Content-Length: +8\r\n\r\n${ITEM}`, '400'],
    ['a hexadecimal length', `${FORM}Content-Length: 0x8\r\n\r\n${ITEM}`, '400'],
    ['a list of lengths', `${FORM}Content-Length: 8, 8\r\n\r\n${ITEM}`, '400'],
    ['one length twice', `${FORM}Content-Length: 8\r\nContent-Length: 8\r\n\r\n${ITEM}`, '400'],
    ['two lengths', `${FORM}Content-Length: 8\r\nContent-Length: 9\r\n\r\n${ITEM}`, '400'],
    ['a length above 2^64', `${FORM}Content-Length: ${'9'.repeat(30)}\r\n\r\n${ITEM}`, '400'],
    ['a length above 2^53', `${FORM}Content-Length: 9007199254740993\r\n\r\n${ITEM}`, '413'],
    ['one byte too many', `${FORM}Content-Length: 65537\r\n\r\n`, '413'],
    ['a large body that is complete', `${large}\r\n${'a'.repeat(800_000)}`, '413 404'],
    ['a client that asks for a large body', `${large}Expect: 100-continue\r\n\r\n`, '100 413'],
    ['a length and chunks', both, '400'],
    ['chunks and a length', bothReversed, '400'],
  ]);

  const coded = (coding: string): string => `${FORM}Transfer-Encoding: ${coding}\r\n\r\n${CHUNKS}`;
  const manyChunks = `${CHUNKED}${'1\r\na\r\n'.repeat(70_000)}0\r\n\r\n`;
  describeRows('the site accepts one form of chunks', [
    ['one chunk', `${CHUNKED}${CHUNKS}`, '303 404'],
    ['two chunks', `${CHUNKED}4\r\nitem\r\n4\r\n=pot\r\n0\r\n\r\n`, '303 404'],
    ['the name in capitals', coded('CHUNKED'), '303 404'],
    ['an extension', `${CHUNKED}8;a=b\r\n${ITEM}\r\n0\r\n\r\n`, '303 404'],
    ['a long extension', `${CHUNKED}8;${'a'.repeat(20_000)}\r\n${ITEM}\r\n0\r\n\r\n`, '413'],
    ['a header after the chunks', `${CHUNKED}8\r\n${ITEM}\r\n0\r\nCookie: a\r\n\r\n`, '303 404'],
    ['a negative length', `${CHUNKED}-8\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['a length with 0x', `${CHUNKED}0x8\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['a length above 2^64', `${CHUNKED}FFFFFFFFFFFFFFFFF\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['more bytes than the length', `${CHUNKED}3\r\n${ITEM}\r\n0\r\n\r\n`, '400'],
    ['no line end after a chunk', `${CHUNKED}8\r\n${ITEM}X0\r\n\r\n`, '400'],
    ['lines that end with LF alone', `${CHUNKED}8\n${ITEM}\n0\n\n`, '400'],
    ['70,000 chunks of one byte', manyChunks, '413 404'],
    ['another coding outside', coded('gzip, chunked'), '501'],
    ['another coding inside', coded('chunked, gzip'), '400'],
    ['another coding alone', coded('identity'), '400'],
    ['a longer name', coded('xchunked'), '400'],
    ['chunked twice', coded('chunked\r\nTransfer-Encoding: chunked'), '400'],
    ['chunks in HTTP/1.0', CHUNKED.replace('1.1', '1.0') + CHUNKS, '400'],
  ]);

  it('the site explains each rejection, and closes the connection', async (t) => {
    const server = await start(t);
    const rows: [sent: string, status: string][] = [
      ['garbage\r\n\r\n', '400 Bad Request'],
      ['GET / HTTP/1.1\r\n\r\n', '400 Bad Request'],
      [`GET /%zz HTTP/1.1\r\n${HOST}\r\n`, '400 Bad Request'],
      [`GET /${'a'.repeat(8_000)} HTTP/1.1\r\n${HOST}\r\n`, '414 URI Too Long'],
      [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`, '431 Request Header Fields Too Large'],
      [`${GET}Expect: magic\r\n\r\n`, '417 Expectation Failed'],
      [`BREW / HTTP/1.1\r\n${HOST}\r\n`, '501 Not Implemented'],
      [`TRACE / HTTP/1.1\r\n${HOST}\r\n`, '501 Not Implemented'],
      [`CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`, '501 Not Implemented'],
      [`GET / HTTP/2.0\r\n${HOST}\r\n`, '505 HTTP Version Not Supported'],
      [coded('gzip, chunked'), '501 Not Implemented'],
    ];
    for (const [sent, status] of rows) assertRejected(await exchange(server, sent), status, sent);
  });
});

describe('wire: the packets of a request', () => {
  it('the site lets a client send 8 MB and then read why it was rejected', async (t) => {
    const server = await start(t);
    const body = 'a'.repeat(8_000_000);
    const length = `Content-Length: ${body.length}\r\n`;
    const rows: [sent: string, statuses: string][] = [
      [`${FORM}${length}\r\n${body}${LAST}`, '413 404'],
      [`${FORM}${length}Connection: close\r\n\r\n${body}`, '413'],
      [`${FORM.replace('1.1', '1.0')}${length}\r\n${body}`, '413'],
      [`CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n${body}`, '501'],
      [`${FORM}Transfer-Encoding: gzip, chunked\r\n\r\n7A1200\r\n${body}\r\n0\r\n\r\n`, '501'],
      [`${GET.replace('Host', 'Ghost')}${length}\r\n${body}`, '400'],
      [`${GET}X: ${body}`, '431'],
    ];
    for (const [sent, statuses] of rows) {
      const socket = server.open('');
      let error: unknown;
      socket.on('error', (reason) => (error = reason));
      const received = textOf(socket);
      await new Promise((resolve) => socket.write(sent, resolve));
      assert.equal(statusesOf(await received), statuses);
      assert.equal(error, undefined, `${statuses}: the client could send the whole body`);
    }
  });

  it('the site reads a request in one packet and one byte at a time equally', async (t) => {
    const server = await start(t);
    const whole = `${GET}\r\n${FORM}Content-Length: 8\r\n\r\n${ITEM}${CHUNKED}${CHUNKS}${LAST}`;
    const socket = server.open('').setNoDelay(true);
    const received = textOf(socket);
    for (const byte of whole) {
      socket.write(byte);
      await new Promise(setImmediate);
    }
    assert.equal(statusesOf(await received), '200 303 303 404');
    assert.equal(statusesOf(await exchange(server, whole)), '200 303 303 404');
  });

  it('the site responds to a hundred requests in one packet in their order', async (t) => {
    const server = await start(t);
    const paths = Array.from({ length: 100 }, (_, i) => (i % 3 ? `/none/${i}` : `/api/${i}`));
    const sent = paths.map((path) => `GET ${path} HTTP/1.1\r\n${HOST}\r\n`).join('');
    const received = await exchange(server, sent + LAST);
    const found = [...received.matchAll(/There is no page at (\S+)\./g)].map(([, path]) => path);
    assert.deepEqual(found, [...paths, '/last']);
  });

  it('the site responds to a client that has closed its half', async (t) => {
    const server = await start(t);
    const socket = openHalf(t, server, `${GET}\r\n`);
    socket.on('connect', () => socket.end());
    assert.equal(statusesOf(await textOf(socket)), '200');
  });

  it('the site sends a 400 if a client closes its half inside a request', async (t) => {
    const server = await start(t);
    for (const half of [GET, `${FORM}Content-Length: 9\r\n\r\n${ITEM}`, `${CHUNKED}8\r\nitem`]) {
      const socket = openHalf(t, server, half);
      socket.on('connect', () => socket.end());
      assert.equal(statusesOf(await textOf(socket)), '400', half);
    }
  });

  it('the site writes nothing into the log if clients leave inside a form', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const limits = { ...LIMITS, headersTimeout: 50, requestTimeout: 50 };
    const server = await start(t, { ...limits, connectionsCheckingInterval: 10 });
    for (const half of [`${FORM}Content-Length: 9\r\n\r\n${ITEM}`, `${CHUNKED}8\r\nitem`]) {
      assert.equal(statusesOf(await exchange(server, half)), '408'); // too slow
      const arrived = once(server.server, 'request');
      const { client, socket } = await bothEnds(server, half);
      await arrived;
      const closed = closeOf(socket);
      client.resetAndDestroy();
      await closed;
    }
    await server.settled();
    assert.deepEqual(mock.calls.map((call) => call.arguments), []);
  });

  it('the site reads no further if a client never reads 20,000 responses', async (t) => {
    const server = await start(t, { ...LIMITS, timeout: 200 });
    let count = 0;
    server.server.on('request', () => (count += 1));
    const connected = once(server.server, 'connection');
    const client = server.open('').pause();
    client.write(`GET /style.css HTTP/1.1\r\n${HOST}\r\n`.repeat(20_000)); // 200 MB of responses
    const [socket] = (await connected) as [Socket];
    await closeOf(socket);
    assert.ok(count < 10_000, `${count} requests were read`);
  });
});

describe('wire: slow clients', () => {
  const title = 'the site serves other clients in spite of 1,000 slow connections';
  it(title, { timeout: 20_000 }, async (t) => {
    const limits = { ...LIMITS, headersTimeout: 400, requestTimeout: 500 };
    const server = await start(t, { ...limits, connectionsCheckingInterval: 20 });
    const halfBody = `${FORM}Content-Length: 100\r\n\r\nitem`;
    const beginnings = [`${GET}X:`, halfBody, `${CHUNKED}8\r\nitem`, ''];
    const slow = Array.from({ length: SLOW_CONNECTIONS }, (_, i) => {
      const socket = server.open(beginnings[i % beginnings.length] ?? '');
      return { connected: once(socket, 'connect'), received: textOf(socket) };
    });
    await Promise.all(slow.map(({ connected }) => connected));
    const ordinary = Array.from({ length: 20 }, () => exchange(server, `${GET}\r\n${LAST}`));
    for (const received of await Promise.all(ordinary)) {
      assert.equal(statusesOf(received), '200 404');
    }
    for (const { received } of slow) assert.equal(statusesOf(await received), '408');
    const closed = once(server.server, 'close');
    server.server.close(); // it ends when the last connection has ended
    await closed;
  });
});
