import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { describe } from 'node:test';
import { requestBytes, startServer } from '../.tools/serve.ts';
import { assertRejected, bothEnds, CHUNKED, closeOf, HALF_BODY } from '../.tools/wire.ts';
import { HALF_HEADERS, hello, HUGE, KEEP, LAST, limitedIt, readBody } from '../.tools/wire.ts';
import { statusesOf, textOf } from '../.tools/wire.ts';
import { LIMITS, makeLimited } from '../src/35-limits.ts';

const it = limitedIt(import.meta.url);

describe('35-limits: clients that leave', () => {
  it('makeLimited() continues after a client resets the connection', async (t) => {
    const server = await startServer(t, readBody, makeLimited);
    const table: [what: string, sent: string][] = [
      ['in the headers', HALF_HEADERS],
      ['in the body', HALF_BODY],
      ['in a chunk', `${CHUNKED}8\r\nhalf`],
      ['after an error response', 'garbage\r\n\r\n'],
      ['after headers that are too long', `${HALF_HEADERS}\r\nX: ${'a'.repeat(20_000)}`],
      ['after an unknown expectation', requestBytes('GET', '/', 'Expect: magic\r\n')],
    ];
    for (const [what, sent] of table) {
      const { client, socket } = await bothEnds(server, sent);
      await once(socket, 'data').catch(() => {});
      const closed = closeOf(socket);
      client.resetAndDestroy();
      await closed;
      assert.match(await server.exchange(LAST), /^HTTP\/1\.1 200/, `a reset ${what}`);
    }
  });

  it('makeLimited() handles an error of the socket of each rejected request', async (t) => {
    const server = await startServer(t, readBody, makeLimited);
    const table = ['garbage\r\n\r\n', `GET / HTTP/1.1\r\nX: ${'a'.repeat(LIMITS.maxHeaderSize)}`];
    for (const sent of table) {
      const { client, socket } = await bothEnds(server, sent);
      await once(client, 'data');
      assert.ok(socket.listenerCount('error') > 0, 'an unhandled error would end the process');
    }
  });

  it('makeLimited() adds no listener per packet that follows an error response', async (t) => {
    const server = await startServer(t, hello, makeLimited);
    const { client, socket } = await bothEnds(server, `GET / HTTP/1.1\r\nX: ${'a'.repeat(4e6)}`);
    const received = await textOf(client);
    assert.equal(statusesOf(received), '431', 'one response, although many packets follow');
    assert.ok(socket.listenerCount('error') < 5);
  });
});

describe('35-limits: what is counted', () => {
  it('makeLimited() reads each header, however many there are', async (t) => {
    const count: RequestListener = ({ rawHeaders }, response) => {
      response.end(`headers: ${rawHeaders.length / 2}`);
    };
    const server = await startServer(t, count, makeLimited);
    const received = await server.exchange(requestBytes('GET', '/', 'a:b\r\n'.repeat(2_100)));
    assert.match(received, /headers: 2102$/, 'Node alone ignores all after about 1000');
  });

  it('makeLimited() counts the target of the request as a part of the headers', async (t) => {
    const server = await startServer(t, hello, makeLimited);
    const received = await server.exchange(requestBytes('GET', `/${'a'.repeat(20_000)}`));
    assertRejected(received, '431 Request Header Fields Too Large');
  });
});

describe('35-limits: the last response', () => {
  it('makeLimited() continues with the next request after an unread body', async (t) => {
    const server = await startServer(t, hello, makeLimited);
    const post = `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 800000\r\n\r\n`;
    const received = await server.exchange(post + 'a'.repeat(800_000) + LAST);
    assert.equal(statusesOf(received), '200 200');
  });

  it('makeLimited() keeps the connection if the body arrives after the response', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const server = await startServer(t, hello, makeLimited);
    const { client, socket } = await bothEnds(server, HALF_BODY);
    await once(client, 'data');
    const arrived = once(socket, 'data').catch(() => {});
    client.write('done.');
    await Promise.race([arrived, new Promise((resolve) => setImmediate(resolve))]);
    client.write(KEEP);
    await once(client, 'data');
    t.mock.timers.tick(1_000);
    assert.equal(socket.destroyed, false, 'no body is incomplete any more');
    client.write(LAST);
    await closeOf(client.resume());
  });

  it('makeLimited() handles no request after the last response', async (t) => {
    const paths: (string | undefined)[] = [];
    const close: RequestListener = ({ url }, response) => {
      paths.push(url);
      response.setHeader('connection', 'close').end('bye');
    };
    const server = await startServer(t, close, makeLimited);
    const { client } = await bothEnds(server, KEEP);
    let received = '';
    client.on('data', (chunk: string) => {
      if (received === '') client.write(KEEP.replace('/', '/second'));
      received += chunk;
    });
    await closeOf(client);
    assert.deepEqual(paths, ['/']);
    assert.equal(statusesOf(received), '200');
  });

  it('makeLimited() sends the whole response to a slow reader, and then closes', async (t) => {
    const sendHuge: RequestListener = (_request, response) => response.end(HUGE);
    const server = await startServer(t, sendHuge, makeLimited);
    const client = server.open(LAST);
    let size = 0;
    client.on('data', (chunk: string) => {
      size += chunk.length;
      client.pause();
      setImmediate(() => client.resume());
    });
    await closeOf(client);
    assert.ok(size > HUGE.length, `${size} bytes have arrived`);
  });
});
