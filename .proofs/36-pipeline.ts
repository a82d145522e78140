import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { describe } from 'node:test';
import { startServer } from '../.tools/serve.ts';
import { bothEnds, CHUNKED, closeOf, CONNECT, hello, HUGE, KEEP } from '../.tools/wire.ts';
import { LAST, limitedIt, sendAll, statusesOf } from '../.tools/wire.ts';
import { LIMITS } from '../src/35-limits.ts';
import { makePipelined } from '../src/36-pipeline.ts';

const it = limitedIt(import.meta.url);
const sendHuge: RequestListener = (_request, response) => response.end(HUGE);

describe('36-pipeline: clients that never read', () => {
  it('makePipelined() reads no further if 20,000 responses are never read', async (t) => {
    let count = 0;
    const page = Buffer.alloc(10_000);
    const listener: RequestListener = (_request, response) => {
      count += 1;
      response.end(page);
    };
    const make = (inner: RequestListener) => makePipelined(inner, { ...LIMITS, timeout: 100 });
    const server = await startServer(t, listener, make);
    const { client, socket } = await bothEnds(server, '');
    client.pause().write(KEEP.repeat(20_000)); // 200 MB of responses
    await closeOf(socket); // the queue is full, or the time limit has passed
    assert.ok(count < 10_000, `${count} requests were handled`);
  });

  it('makePipelined() continues if a client with a CONNECT in the queue leaves', async (t) => {
    const server = await startServer(t, sendHuge, makePipelined);
    const asked = once(server.server, 'connect');
    const { client, socket } = await bothEnds(server, KEEP + CONNECT);
    client.pause();
    await asked;
    const closed = closeOf(socket);
    client.resetAndDestroy();
    await closed;
    assert.match(await server.exchange(LAST.replace('GET', 'HEAD')), /^HTTP\/1\.1 200 /);
  });

  it('makePipelined() keeps the timeout for a CONNECT behind an unread response', async (t) => {
    const make = (inner: RequestListener) => makePipelined(inner, { ...LIMITS, timeout: 50 });
    const server = await startServer(t, sendHuge, make);
    const { client, socket } = await bothEnds(server, KEEP + CONNECT);
    client.pause();
    await closeOf(socket);
  });
});

describe('36-pipeline: connections that end', () => {
  it('makePipelined() continues after a client resets a CONNECT', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const { client, socket } = await bothEnds(server, CONNECT);
    await once(client, 'data');
    assert.ok(socket.listenerCount('error') > 0, 'an unhandled error would end the process');
    const closed = closeOf(socket);
    client.resetAndDestroy();
    await closed;
    assert.match(await server.exchange(LAST), /^HTTP\/1\.1 200/);
  });

  it('makePipelined() lets a client send 8 MB after CONNECT, and then read the 501', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const received = await sendAll(server, CONNECT + 'a'.repeat(8_000_000));
    assert.equal(statusesOf(received), '501');
  });

  it('makePipelined() sends nothing more if a body is broken after the response', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const client = server.open(CHUNKED);
    let received = '';
    client.on('data', (chunk: string) => {
      if (received === '') client.write('not a number\r\n');
      received += chunk;
    });
    await closeOf(client);
    assert.equal(statusesOf(received), '200');
  });

  it('makePipelined() handles nothing that follows a request with Upgrade', async (t) => {
    const paths: (string | undefined)[] = [];
    const listener: RequestListener = ({ url }, response) => {
      paths.push(url);
      response.end();
    };
    const server = await startServer(t, listener, makePipelined);
    const upgrade = KEEP.replace('\r\n\r\n', '\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n');
    await server.exchange(upgrade + LAST.replace('/', '/second'));
    assert.deepEqual(paths, ['/']);
  });

  it('makePipelined() handles no request of a client that has left', async (t) => {
    const paths: (string | undefined)[] = [];
    let respond = (): void => {};
    const listener: RequestListener = ({ url }, response) => {
      paths.push(url);
      respond = () => response.end();
    };
    const server = await startServer(t, listener, makePipelined);
    const arrived = once(server.server, 'request');
    const { client, socket } = await bothEnds(server, KEEP + KEEP.replace('/', '/second'));
    await arrived;
    const closed = closeOf(socket);
    client.resetAndDestroy();
    await closed;
    respond();
    await new Promise(setImmediate);
    assert.deepEqual(paths, ['/']);
  });

  it('makePipelined() adds no listener per packet that follows an error response', async (t) => {
    const server = await startServer(t, hello, makePipelined);
    const { client, socket } = await bothEnds(server, 'garbage\r\n\r\n');
    await once(client, 'data');
    for (let i = 0; i < 20; i++) client.write('garbage\r\n\r\n');
    await closeOf(client);
    assert.ok(socket.listenerCount('error') < 5);
  });
});
