import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { PassThrough } from 'node:stream';
import { describe } from 'node:test';
import { requestBytes, startServer } from '../.tools/serve.ts';
import { assertRejected, bothEnds, CHUNKED, closeOf, HALF_BODY } from '../.tools/wire.ts';
import { HALF_HEADERS, hello, HUGE, LAST, limitedIt, openHalf } from '../.tools/wire.ts';
import { readBody, sendAll, statusesOf, textOf } from '../.tools/wire.ts';
import { problem, toListener } from '../src/04-http.ts';
import { LIMITS, makeLimited, respondAndClose, SECURITY_HEADERS } from '../src/35-limits.ts';

const it = limitedIt(import.meta.url);

/** A server with small limits, so that a test does not wait. Times in milliseconds. */
const makeQuick = (listener: RequestListener, limits = {}): Server =>
  makeLimited(listener, {
    ...LIMITS,
    headersTimeout: 50,
    requestTimeout: 100,
    connectionsCheckingInterval: 10,
    ...limits,
  });

/** A server without limits, which rejects what is not HTTP. */
const makeRejecting = (listener: RequestListener): Server =>
  createServer(listener).on('clientError', (_error, socket) => respondAndClose(socket, 400));

const withHeader = (size: number): string =>
  requestBytes('GET', '/', `X-Long: ${'a'.repeat(size)}\r\n`);

describe('35-limits: an error response', () => {
  it('respondAndClose() sends an error response and ends its half of the connection', async () => {
    const socket = new PassThrough(); // returns what is written on it
    respondAndClose(socket, 501);
    assertRejected(String(Buffer.concat(await socket.toArray())), '501 Not Implemented');
  });

  it('respondAndClose() writes nothing on a socket that has ended', async () => {
    const socket = new PassThrough().end();
    const errors: unknown[] = [];
    socket.on('error', (error) => errors.push(error));
    respondAndClose(socket, 400);
    await new Promise(setImmediate); // the error comes later
    assert.deepEqual(errors, [], 'the socket is not writable');
    assert.equal(socket.read(), null);
  });

  it('respondAndClose() sends the security headers, and no body for HEAD', async () => {
    const socket = new PassThrough();
    respondAndClose(socket, 417, true);
    const [head = '', body] = String(Buffer.concat(await socket.toArray())).split('\r\n\r\n');
    assert.equal(body, '', 'RFC 9110 §9.3.2');
    assert.match(head, /^HTTP\/1\.1 417 Expectation Failed\r\n/);
    assert.match(head, /\r\ncontent-length: [1-9]\d+\r\n/, 'the length of the body for GET');
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
      assert.ok(head.includes(`\r\n${name}: ${value}\r\n`), `${name} in ${head}`);
    }
  });

  it('respondAndClose() continues to read, so that the client gets the response', async (t) => {
    const server = await startServer(t, hello, makeRejecting);
    assertRejected(await sendAll(server, 'a'.repeat(8_000_000)), '400 Bad Request');
  });

  it('respondAndClose() closes the connection after a second if the client does not', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const server = await startServer(t, hello, makeRejecting);
    const connected = once(server.server, 'connection');
    const client = openHalf(t, server, 'garbage\r\n\r\n').resume();
    const [socket] = await connected;
    await once(client, 'end');
    assert.equal(socket.destroyed, false, 'the response may still be on its way');
    t.mock.timers.tick(1_000);
    assert.equal(socket.destroyed, true, 'a second has passed');
  });
});

describe('35-limits: time', () => {
  it('LIMITS has the numbers that the lesson explains', () => {
    assert.deepEqual(LIMITS, {
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      timeout: 30_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 16_384,
    });
  });

  it('makeLimited() sets each time limit on the server', () => {
    const server = makeLimited(hello);
    const names = ['headersTimeout', 'requestTimeout', 'timeout', 'keepAliveTimeout'] as const;
    for (const name of names) assert.equal(server[name], LIMITS[name], name);
  });

  it('makeLimited() sends a 408 if the headers do not arrive', async (t) => {
    const server = await startServer(t, hello, makeQuick);
    assertRejected(await server.exchange(HALF_HEADERS), '408 Request Timeout', 'half the headers');
  });

  it('makeLimited() sends a 408 if the headers arrive one byte at a time', async (t) => {
    const server = await startServer(t, hello, makeQuick);
    const client = server.open(HALF_HEADERS);
    client.on('connect', () => {
      const slow = setInterval(() => client.write('a'), 5);
      client.on('close', () => clearInterval(slow));
    });
    assertRejected(await textOf(client), '408 Request Timeout', 'a byte every 5 milliseconds');
  });

  it('makeLimited() sends a 408 if the body does not arrive', async (t) => {
    const server = await startServer(t, readBody, makeQuick);
    for (const half of [HALF_BODY, `${CHUNKED}8\r\nhalf`]) {
      assertRejected(await server.exchange(half), '408 Request Timeout', half);
    }
  });

  it('makeLimited() closes a connection without any traffic', async (t) => {
    const server = await startServer(t, hello, (inner) => makeLimited(inner, {
      ...LIMITS, timeout: 20,
    }));
    assert.equal(await server.exchange(''), '', 'no request, so no response');
  });

  it('makeLimited() closes the connection of a client that does not read', async (t) => {
    const sendHuge: RequestListener = (_request, response) => response.end(HUGE);
    const server = await startServer(t, sendHuge, (inner) => makeLimited(inner, {
      ...LIMITS, timeout: 50,
    }));
    const arrived = once(server.server, 'request');
    const client = server.open(LAST).pause();
    const [, response] = await arrived;
    await once(response, 'close');
    const closed = closeOf(client.resume());
    await closed;
    assert.ok(client.bytesRead < HUGE.length, 'the server sent only a part of the response');
  });

  it('makeLimited() tells the browser how long the connection stays open', async (t) => {
    const server = await startServer(t, hello, makeLimited);
    assert.equal((await server.get('/')).headers.get('keep-alive'), 'timeout=5');
  });
});

describe('35-limits: size and form', () => {
  it('makeLimited() accepts headers up to maxHeaderSize, and sends a 431 above it', async (t) => {
    const server = await startServer(t, hello, makeLimited);
    const accepted = await server.exchange(withHeader(LIMITS.maxHeaderSize - LAST.length - 20));
    assert.match(accepted, /^HTTP\/1\.1 200 OK\r\n/);
    const rejected = await server.exchange(withHeader(LIMITS.maxHeaderSize));
    assertRejected(rejected, '431 Request Header Fields Too Large', 'headers above 16 KiB');
  });

  it('makeLimited() rejects with a reason what is not HTTP', async (t) => {
    const server = await startServer(t, readBody, makeLimited);
    const post = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n';
    const table: [what: string, sent: string, status: string][] = [
      ['words', 'what is this?\r\n\r\n', '400 Bad Request'],
      ['the start of TLS', '\x16\x03\x01\x02\x00\x01\x00', '400 Bad Request'],
      ['another version', LAST.replace('1.1', '9.9'), '400 Bad Request'],
      ['a space before the colon', LAST.replace('Host:', 'Host :'), '400 Bad Request'],
      ['two lengths', `${post}Content-Length: 2\r\n\r\n`, '400 Bad Request'],
      ['a length and chunks', `${post}Transfer-Encoding: chunked\r\n\r\n`, '400 Bad Request'],
      ['a length of a chunk that is not a number', `${CHUNKED}half`, '400 Bad Request'],
      ['an unknown method', LAST.replace('GET', 'BREW'), '501 Not Implemented'],
      ['an unknown first letter', LAST.replace('GET', 'ZAP'), '501 Not Implemented'],
      ['a method in lower case', LAST.replace('GET', 'xBREW'), '400 Bad Request'],
      ['a long extension of a chunk', `${CHUNKED}8;${'a'.repeat(20_000)}`, '413 Payload Too Large'],
    ];
    for (const [what, sent, status] of table) {
      assertRejected(await server.exchange(sent), status, what);
    }
  });

  it('makeLimited() sends a 417 for an unknown expectation', async (t) => {
    const server = await startServer(t, hello, makeLimited);
    const received = await server.exchange(requestBytes('GET', '/', 'Expect: magic\r\n'));
    assertRejected(received, '417 Expectation Failed');
    const head = await server.exchange(requestBytes('HEAD', '/', 'Expect: magic\r\n'));
    assert.match(head, /^HTTP\/1\.1 417 [^]*\r\n\r\n$/, 'a response to HEAD has no body');
    const body = 'a'.repeat(8_000_000);
    const headers = `Expect: magic\r\nContent-Length: ${body.length}\r\n`;
    const large = await sendAll(server, requestBytes('POST', '/', headers, body));
    assertRejected(large, '417 Expectation Failed');
  });

  it('makeLimited() passes a request without Host, so that step 37 can explain it', async (t) => {
    const server = await startServer(t, hello, makeLimited);
    const received = await server.exchange('GET / HTTP/1.1\r\nConnection: close\r\n\r\n');
    assert.equal(statusesOf(received), '200', 'requireHostHeader is false');
  });
});

describe('35-limits: closing a connection', () => {
  it('makeLimited() lets a client send 8 MB and then read why it was rejected', async (t) => {
    const body = 'a'.repeat(8_000_000);
    const tooLarge = toListener(() => problem(413, 'This page reads no body.'));
    const server = await startServer(t, tooLarge, makeLimited);
    for (const version of ['1.1', '1.0']) {
      const headers = `Content-Length: ${body.length}\r\n`;
      const request = requestBytes('POST', '/', headers, body).replace('1.1', version);
      const received = await sendAll(server, request);
      assertRejected(received, '413 Payload Too Large', `HTTP/${version}`);
    }
  });

  it('makeLimited() closes a connection whose body continues after the response', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const server = await startServer(t, hello, makeLimited);
    const { client, socket } = await bothEnds(server, CHUNKED);
    await once(client, 'data');
    assert.equal(socket.destroyed, false, 'the rest of the body may still arrive');
    t.mock.timers.tick(1_000);
    assert.equal(socket.destroyed, true, 'a second has passed');
  });
});
