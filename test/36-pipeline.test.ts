import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { describe } from 'node:test';
import { requestBytes, startServer } from '../.tools/serve.ts';
import { assertRejected, bothEnds, CHUNKED, closeOf, CONNECT, HALF_BODY } from '../.tools/wire.ts';
import { hello, KEEP, LAST, limitedIt, openHalf, readBody } from '../.tools/wire.ts';
import { statusesOf, textOf } from '../.tools/wire.ts';
import { makePipelined } from '../src/36-pipeline.ts';

const it = limitedIt(import.meta.url);
const MAX_WAITING = 100;
const CLOSING = /\r\nConnection: close\r\n/i; // the header of the last response

/** A listener whose requests wait until the test responds to them. */
function heldListener() {
  const waiting: { url: string | undefined; respond: () => void }[] = [];
  const listener: RequestListener = ({ url }, response) => {
    waiting.push({ url, respond: () => response.end(`page ${url}`) });
  };
  return { waiting, listener };
}

/** Lets the event loop run until the condition holds, at most a thousand times. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000 && !condition(); i++) await new Promise(setImmediate);
  assert.ok(condition(), 'the server did not continue');
}

const at = (path: string, request = KEEP): string => request.replace('/', path);

describe('36-pipeline: the order of responses', () => {
  it('makePipelined() serves requests on one connection', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    assert.equal(statusesOf(await server.exchange(KEEP + KEEP + LAST)), '200 200 200');
  });

  it('makePipelined() begins a request after the response to the one before', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const received = server.exchange(at('/a') + at('/b') + at('/c') + at('/d', LAST));
    for (const path of ['/a', '/b', '/c', '/d']) {
      await until(() => waiting.length > 0);
      await new Promise(setImmediate); // time for a request that must not begin yet
      const [first, ...others] = waiting.splice(0);
      assert.deepEqual([first?.url, ...others.map(({ url }) => url)], [path]);
      first?.respond();
    }
    const pages = (await received).match(/page \/\w/g);
    assert.deepEqual(pages, ['page /a', 'page /b', 'page /c', 'page /d']);
  });

  it('makePipelined() begins requests on two connections in parallel', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const both = [server.exchange(at('/a', LAST)), server.exchange(at('/b', LAST))];
    await until(() => waiting.length === 2);
    for (const { respond } of waiting) respond();
    for (const received of await Promise.all(both)) assert.equal(statusesOf(received), '200');
  });

  it('makePipelined() sends an error response after the responses before it', async (t) => {
    const expecting = KEEP.replace('\r\n\r\n', '\r\nExpect: magic\r\n\r\n');
    const table: [what: string, second: string, status: string][] = [
      ['not HTTP', 'garbage\r\n\r\n', '400'],
      ['an unknown method', 'BREW / HTTP/1.1\r\n', '501'],
      ['a proxy request', CONNECT, '501'],
      ['a broken body', `${CHUNKED}half`, '400'],
      ['an unknown expectation', expecting, '417'],
      ['the same, and many requests', expecting + KEEP.repeat(MAX_WAITING + 10), '417'],
    ];
    for (const [what, second, status] of table) {
      const { waiting, listener } = heldListener();
      const server = await startServer(t, listener, makePipelined);
      const received = server.exchange(at('/first') + second);
      await until(() => waiting.length > 0);
      await new Promise(setImmediate); // by now the whole packet is parsed and rejected
      waiting[0]?.respond();
      assert.match(await received, /^HTTP\/1\.1 200 OK\r\n[^]*page \/first/, what);
      assert.equal(statusesOf(await received), `200 ${status}`, what);
    }
  });

  it('makePipelined() sends no body in an error response to HEAD', async (t) => {
    const server = await startServer(t, readBody, makePipelined);
    const received = await server.exchange(requestBytes('HEAD', '/', 'Expect: magic\r\n'));
    assert.match(received, /^HTTP\/1\.1 417 [^]*\r\n\r\n$/);
  });

  it('makePipelined() rejects a request immediately if its body is broken', async (t) => {
    const server = await startServer(t, readBody, makePipelined);
    assertRejected(await server.exchange(`${CHUNKED}half`), '400 Bad Request');
  });
});

describe('36-pipeline: limits', () => {
  it('makePipelined() lets 100 requests wait', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const received = server.exchange(KEEP.repeat(MAX_WAITING) + LAST);
    for (let i = 0; i <= MAX_WAITING; i++) {
      await until(() => waiting.length > i);
      waiting[i]?.respond();
    }
    assert.equal(statusesOf(await received).split(' ').length, MAX_WAITING + 1);
  });

  it('makePipelined() closes the connection if more than 100 requests wait', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    assert.equal(await server.exchange(KEEP.repeat(MAX_WAITING + 2)), '');
    assert.equal(waiting.length, 1, 'only the first request has begun');
  });

  it('makePipelined() handles no request after an error response', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const expecting = KEEP.replace('\r\n\r\n', '\r\nExpect: magic\r\n\r\n');
    assertRejected(await server.exchange(expecting + LAST), '417 Expectation Failed');
    assert.equal(waiting.length, 0);
  });

  it('makePipelined() sends one error response, however much garbage follows', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const client = server.open(at('/first'));
    const received = textOf(client);
    await until(() => waiting.length > 0);
    for (let i = 0; i < 130; i++) {
      client.write('garbage\r\n\r\n');
      await new Promise(setImmediate);
    }
    waiting[0]?.respond();
    assert.equal(statusesOf(await received), '200 400');
  });
});

describe('36-pipeline: other uses of a connection', () => {
  it('makePipelined() responds to a client that has closed its half', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const connected = once(server.server, 'connection');
    const client = openHalf(t, server, KEEP);
    const received = textOf(client);
    client.on('connect', () => client.end());
    const [socket] = await connected;
    await once(socket, 'end');
    waiting[0]?.respond();
    assert.match(await received, /^HTTP\/1\.1 200 OK\r\n[^]*page \//);
  });

  it('makePipelined() rejects CONNECT, because this server is not a proxy', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    assertRejected(await server.exchange(CONNECT), '501 Not Implemented');
  });

  it('makePipelined() closes the connection after a request with Upgrade', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const upgrade = KEEP.replace('\r\n\r\n', '\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n');
    const received = await server.exchange(upgrade + LAST);
    assert.match(received, /^HTTP\/1\.1 200 OK[^]*\r\nConnection: close\r\n/i);
    assert.equal(statusesOf(received), '200', 'Node ignores the bytes after the request');
  });

  it('makePipelined() has the limits of step 35', async (t) => {
    const limits = { headersTimeout: 50, requestTimeout: 100, timeout: 30_000 };
    const rest = { keepAliveTimeout: 5, connectionsCheckingInterval: 10, maxHeaderSize: 100 };
    const make = (inner: RequestListener) => makePipelined(inner, { ...limits, ...rest });
    const server = await startServer(t, readBody, make);
    assertRejected(await server.exchange(HALF_BODY), '408 Request Timeout');
    const long = KEEP.replace('\r\n\r\n', `\r\nX: ${'a'.repeat(200)}\r\n\r\n`);
    assertRejected(await server.exchange(long), '431 Request Header Fields Too Large');
    const client = server.open(KEEP);
    await closeOf(client.resume()); // by keepAliveTimeout
  });
});

describe('36-pipeline: stopping', () => {
  it('makePipelined() announces the end if the server stops during a request', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const { client } = await bothEnds(server, KEEP);
    await until(() => waiting.length > 0);
    server.server.close(); // calls `closeIdleConnections`
    waiting[0]?.respond();
    assert.match(String(await once(client, 'data')), CLOSING, 'closeIdleConnections');
  });

  it('makePipelined() announces the end to a request that arrives after close()', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const { client } = await bothEnds(server, '');
    server.server.close();
    client.write(KEEP);
    assert.match(String(await once(client, 'data')), CLOSING, 'server.listening is false');
  });

  it('makePipelined() closes only idle connections while the server stops', async (t) => {
    const { waiting, listener } = heldListener();
    const server = await startServer(t, listener, makePipelined);
    const idle = await bothEnds(server, '');
    const busy = await bothEnds(server, KEEP);
    await until(() => waiting.length > 0);
    server.server.close();
    server.server.closeIdleConnections();
    assert.equal(busy.socket.destroyed, false, 'a connection that waits for its response');
    assert.equal(idle.socket.destroyed, true, 'a connection without a request');
  });

  it('makePipelined() closes all connections, also one that sent CONNECT', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const asked = once(server.server, 'connect');
    const { socket } = await bothEnds(server, CONNECT);
    await asked;
    server.server.closeAllConnections();
    assert.equal(socket.destroyed, true, 'closeAllConnections');
  });

  it('makePipelined() forgets each connection that has ended', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const polite = await bothEnds(server, LAST);
    await Promise.all([closeOf(polite.client.resume()), closeOf(polite.socket)]);
    const other = await bothEnds(server, KEEP);
    await once(other.client, 'data');
    other.client.resetAndDestroy();
    await closeOf(other.socket);
    const stored: string[] = [];
    t.mock.method(polite.socket, 'destroy', () => stored.push('the client that ended its half'));
    t.mock.method(other.socket, 'destroy', () => stored.push('the client with a reset'));
    server.server.closeAllConnections();
    assert.deepEqual(stored, [], 'closeAllConnections finds no connection that has ended');
  });
});
