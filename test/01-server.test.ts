import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { createServer, Server } from 'node:http';
import type { RequestListener } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { explainedIt, noteBytes } from '../.tools/explain.ts';
import { answerAndClose, hello, isMain, LIMITS, makeServer, serve, stop } from '../src/01-server.ts';

const it = explainedIt(import.meta.url);
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TSX = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];
const PATIENCE = 10_000; // milliseconds; how long a started process may take to say something

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const HALF_A_HEADER = 'GET / HTTP/1.1\r\nHost: local';
const HALF_A_BODY = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf ';
const CONNECT = 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n';

const QUICK = {
  ...LIMITS,
  headersTimeout: 50,
  requestTimeout: 100,
  connectionsCheckingInterval: 10,
};

/** Answers once it has the whole body. */
const readAll: RequestListener = (request, response) => {
  request.resume().on('end', () => response.end('all of it')).on('error', () => {});
};

async function listen(t: TestContext, server: Server): Promise<number> {
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

function open(t: TestContext, port: number, sent: string, allowHalfOpen = false): Socket {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen }, () => socket.write(sent));
  t.after(() => socket.destroy());
  return socket.setEncoding('latin1').on('error', () => {}); // a reset shows in what is missing
}

/** Waits as `once` would, but listens to no error: one that nobody hears must end the process. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.on('close', () => resolve()));
}

/** Sends on a bare socket; gives all that came back until the server closed it. */
async function exchange(t: TestContext, port: number, sent: string, then = ''): Promise<string> {
  const socket = open(t, port, sent);
  let received = '';
  socket.on('data', (chunk) => (received += chunk));
  let drip: NodeJS.Timeout | undefined;
  // Behind `sent`: what is written before the socket is connected would go in front of it.
  if (then) socket.once('connect', () => (drip = setInterval(() => socket.write(then), 5)));
  await once(socket, 'close');
  clearInterval(drip);
  noteBytes(sent, received);
  return received;
}

/** The server's side of a client that has its refusal and keeps its end open; time stands still. */
async function lingering(t: TestContext): Promise<{ server: Server; socket: Socket }> {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const server = makeServer(hello);
  const port = await listen(t, server);
  const serverSide = once(server, 'connection');
  const client = open(t, port, 'garbage\r\n\r\n', true).resume();
  const [socket] = await serverSide;
  await once(client, 'end');
  return { server, socket };
}

/** Starts a program in a process of its own. */
function start(t: TestContext, args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [...TSX, ...args], {
    cwd: ROOT,
    env: { ...process.env, NODE_NO_WARNINGS: '1', HOST: '', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const closed = once(child, 'close', { signal: AbortSignal.timeout(PATIENCE) });
  closed.catch(() => {}); // who asks for `ended` is told
  return {
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    async printed(pattern: RegExp): Promise<string> {
      for (let isOver = false; !isOver && !pattern.test(stdout); ) {
        const more = once(child.stdout, 'data').then(() => false);
        isOver = await Promise.race([more, closed.then(() => true)]);
      }
      assert.match(stdout, pattern, `it ended, and had said: ${stdout}${stderr}`);
      return pattern.exec(stdout)?.[1] ?? '';
    },
    async ended() {
      const [code, signal] = await closed;
      return { code, signal, stdout, stderr };
    },
  };
}

/** Takes back, after a test, what serve() did to this process, and what the test did for it. */
function restoreAfter(t: TestContext): void {
  const { PORT, HOST } = process.env;
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const before = signals.map((signal) => process.listeners(signal));
  t.after(() => {
    process.exitCode = undefined;
    for (const [name, value] of Object.entries({ PORT, HOST })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    for (const [i, signal] of signals.entries()) {
      const added = process.listeners(signal).filter((one) => !before[i]?.includes(one));
      for (const listener of added) process.off(signal, listener);
    }
  });
}

function assertRefused(answer: string, status: string, what: string): void {
  const body = answer.split('\r\n\r\n')[1];
  assert.ok(answer.startsWith(`HTTP/1.1 ${status}\r\n`), `${what}: expected ${status}: ${answer}`);
  assert.equal(body, `${status}\n`, `${what}: the refusal must say in words what it is`);
  assert.match(answer, /\r\nConnection: close\r\n/, `${what}: nothing more can be said here`);
  assert.ok(answer.includes(`\r\nContent-Length: ${status.length + 1}\r\n`), answer);
}

describe('01-server', () => {
  it('hello() answers every method and every URL alike', async (t) => {
    const port = await listen(t, createServer(hello));
    for (const [method, path] of [['GET', '/'], ['POST', '/any/other?path'], ['DELETE', '/x']]) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: `${method}` });
      assert.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8');
      const answer = `${response.status} ${await response.text()}`;
      assert.equal(answer, '200 Hello, whoever you are.\n', `${method} ${path}`);
    }
  });

  it('LIMITS are the numbers that the lesson explains', () => {
    assert.deepEqual(LIMITS, {
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      timeout: 30_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 16_384,
    });
  });

  it('answerAndClose() says in words what is wrong, and ends our half', async () => {
    const socket = new PassThrough(); // gives back what is written on it
    answerAndClose(socket, 501);
    const answer = String(Buffer.concat(await socket.toArray()));
    noteBytes('', answer);
    assertRefused(answer, '501 Not Implemented', 'a bare socket');
    assert.match(answer, /\r\nContent-Length: 20\r\n/, 'the words, and a newline');
    answerAndClose(socket, 501); // it has had its answer: to write more would be an error
  });

  it('makeServer() puts every limit on the server', () => {
    const server = makeServer(hello);
    const names = ['headersTimeout', 'requestTimeout', 'timeout', 'keepAliveTimeout'] as const;
    for (const name of names) {
      assert.equal(server[name], LIMITS[name], name);
    }
  });

  it('makeServer() gives 408, in words, to a header that does not arrive', async (t) => {
    const port = await listen(t, makeServer(hello, QUICK));
    assertRefused(await exchange(t, port, HALF_A_HEADER), '408 Request Timeout', 'half a header');
  });

  it('makeServer() gives 408 to a header that comes one byte at a time', async (t) => {
    const port = await listen(t, makeServer(hello, QUICK));
    const answer = await exchange(t, port, HALF_A_HEADER, 'a');
    assertRefused(answer, '408 Request Timeout', 'a dripping header');
  });

  it('makeServer() gives 408, in words, to a body that does not arrive', async (t) => {
    const port = await listen(t, makeServer(readAll, QUICK));
    assertRefused(await exchange(t, port, HALF_A_BODY), '408 Request Timeout', 'half a body');
  });

  it('makeServer() hangs up on a socket on which nothing moves', async (t) => {
    const port = await listen(t, makeServer(hello, { ...LIMITS, timeout: 20 }));
    assert.equal(await exchange(t, port, ''), '', 'nothing asked, nothing answered, and closed');
  });

  it('makeServer() hangs up on a client that does not read its answer', async (t) => {
    const huge = Buffer.alloc(32 * 1024 * 1024); // more than the buffers between us can hold
    const limits = { ...LIMITS, timeout: 50 };
    const server = makeServer((_request, response) => response.end(huge), limits);
    const port = await listen(t, server);
    const client = open(t, port, GET).pause();
    const [, response] = await once(server, 'request');
    await once(response, 'close');
    client.resume();
    await once(client, 'close');
    assert.ok(client.bytesRead < huge.length, 'the answer was given up, not sent to the end');
  });

  it('makeServer() tells a browser how long a connection is kept for it', async (t) => {
    const port = await listen(t, makeServer(hello));
    const response = await fetch(`http://127.0.0.1:${port}/`);
    assert.equal(response.headers.get('keep-alive'), 'timeout=5');
    await response.text();
  });

  it('makeServer() refuses a header above maxHeaderSize, and none below, with 431', async (t) => {
    const port = await listen(t, makeServer(hello));
    const withHeader = (size: number): string =>
      GET.replace('\r\n\r\n', `\r\nX-Long: ${'a'.repeat(size)}\r\n\r\n`);
    const taken = await exchange(t, port, withHeader(LIMITS.maxHeaderSize - GET.length - 20));
    assert.match(taken, /^HTTP\/1\.1 200 OK\r\n/);
    const refused = await exchange(t, port, withHeader(LIMITS.maxHeaderSize));
    assertRefused(refused, '431 Request Header Fields Too Large', 'a header of 16 KiB and more');
  });

  it('makeServer() refuses in words what is not HTTP', async (t) => {
    const port = await listen(t, makeServer(readAll));
    const host = 'Host: localhost\r\n';
    const post = `POST / HTTP/1.1\r\n${host}`;
    const length = 'Content-Length: 1\r\n';
    const smuggled = `${post}${length}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
    const oldChunks = smuggled.replace('1.1', '1.0').replace(length, '');
    const table: [what: string, sent: string, status: string][] = [
      ['garbage', 'what is this?\r\n\r\n', '400 Bad Request'],
      ['the start of TLS', '\x16\x03\x01\x02\x00\x01\x00', '400 Bad Request'],
      ['a version of its own', `GET / HTTP/9.9\r\n${host}\r\n`, '400 Bad Request'],
      ['a space before the colon', `GET / HTTP/1.1\r\nHost : localhost\r\n\r\n`, '400 Bad Request'],
      ['two lengths', `${post}${length}Content-Length: 2\r\n\r\n`, '400 Bad Request'],
      ['a length and chunks (request smuggling)', smuggled, '400 Bad Request'],
      ['a method nobody has heard of', `BREW / HTTP/1.1\r\n${host}\r\n`, '501 Not Implemented'],
      ['one that begins as no method does', `ZAP / HTTP/1.1\r\n${host}\r\n`, '501 Not Implemented'],
      ['what is no method', `xBREW / HTTP/1.1\r\n${host}\r\n`, '400 Bad Request'],
      ['chunks of an old version', oldChunks, '400 Bad Request'],
      ['a proxy asked for', CONNECT, '501 Not Implemented'],
    ];
    for (const [what, sent, status] of table) {
      assertRefused(await exchange(t, port, sent), status, what);
    }
  });

  it('makeServer() wants one Host, no more and no less, with 400 in words', async (t) => {
    const port = await listen(t, makeServer(hello));
    const REFUSED: [what: string, lines: string][] = [
      ['no Host', ''],
      ['two that differ', 'Host: a\r\nHost: b\r\n'],
      ['two that are the same', 'Host: a\r\nX: y\r\nhOSt: a\r\n'],
    ];
    for (const [what, lines] of REFUSED) {
      const answer = await exchange(t, port, `GET / HTTP/1.1\r\n${lines}\r\n`);
      assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n[^]*\r\n400 Bad Request\n/, what);
      assert.match(answer, /\r\nConnection: close\r\n/, what);
    }
    for (const sent of [GET, 'GET / HTTP/1.0\r\n\r\n', 'GET / HTTP/1.0\r\nHost: a\r\n\r\n']) {
      assert.match(await exchange(t, port, sent), /^HTTP\/1\.1 200 OK\r\n/, sent);
    }
    const next = GET.replace('1.1', '2.0');
    assert.match(await exchange(t, port, next), /^HTTP\/1\.1 505 [^]*\r\n505 HTTP Version Not /);
    const twice = 'GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n';
    assert.match(await exchange(t, port, twice), /^HTTP\/1\.1 400 /, 'in an old version too');
  });

  it('makeServer() dates each answer, and each refusal: RFC 9110 §6.6.1', async (t) => {
    const port = await listen(t, makeServer(hello));
    for (const sent of [GET, 'garbage\r\n\r\n', CONNECT, GET.replace('Host', 'Ghost')]) {
      const [, date = ''] = /\r\nDate: (.+)\r\n/.exec(await exchange(t, port, sent)) ?? [];
      assert.equal(new Date(date).toUTCString(), date, `the date of the answer to ${sent}`);
    }
  });

  it('makeServer() forbids the browser to guess the type of a refusal', async (t) => {
    const port = await listen(t, makeServer(readAll, QUICK));
    const expecting = GET.replace('\r\n\r\n', '\r\nExpect: magic\r\n\r\n');
    const bad = ['garbage\r\n\r\n', GET.replace('Host', 'Ghost'), expecting];
    for (const sent of [...bad, CONNECT, HALF_A_HEADER, HALF_A_BODY]) {
      const answer = await exchange(t, port, sent);
      assert.match(answer, /\r\nX-Content-Type-Options: nosniff\r\n/, `the answer to ${sent}`);
    }
  });

  it('makeServer() takes no other header for Host, however long its name', async (t) => {
    const port = await listen(t, makeServer(hello));
    const more = GET.replace('\r\n\r\n', '\r\nFrom: ada@example.com\r\nDate: today\r\n\r\n');
    assert.match(await exchange(t, port, more), /^HTTP\/1\.1 200 /);
    const none = more.replace('Host: localhost\r\n', '').replace('Date: today\r\n', '');
    assert.match(await exchange(t, port, none), /^HTTP\/1\.1 400 /);
  });

  it('makeServer() answers an expectation that it does not know with 417', async (t) => {
    const port = await listen(t, makeServer(hello));
    const answer = await exchange(t, port, GET.replace('\r\n\r\n', '\r\nExpect: magic\r\n\r\n'));
    assert.match(answer, /^HTTP\/1\.1 417 Expectation Failed\r\n[^]*\r\n417 Expectation Failed\n/);
  });

  it('makeServer() ends a connection that asked for an upgrade, after its answer', async (t) => {
    const port = await listen(t, makeServer(hello));
    const keep = GET.replace('Connection: close', 'Connection: upgrade\r\nUpgrade: websocket');
    const answer = await exchange(t, port, keep + keep);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*\r\nConnection: close\r\n/);
    assert.equal(answer.split('Hello').length, 2, 'node:http drops the second: so nobody waits');
  });

  it('makeServer() refuses after what was asked before, not in its place', async (t) => {
    const asked: (() => void)[] = [];
    const server = makeServer((_request, response) => asked.push(() => response.end('first')));
    const port = await listen(t, server);
    const first = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
    const chunked = HALF_A_BODY.replace('Content-Length: 10', 'Transfer-Encoding: chunked');
    const table: [what: string, sent: string, status: string][] = [
      ['garbage', 'garbage\r\n\r\n', '400 Bad Request'],
      ['a method nobody has heard of', 'BREW / HTTP/1.1\r\n', '501 Not Implemented'],
      ['a proxy', CONNECT, '501 Not Implemented'],
      ['a body that is broken', chunked, '400 Bad Request'],
      ['two Hosts, and more behind', GET.replace('Host', 'Host: a\r\nHost') + GET.repeat(110), '400'],
    ];
    for (const [what, close, status] of table) {
      const second = close.replaceAll('Connection: close\r\n', '');
      const answer = exchange(t, port, first + second);
      await once(server, 'request');
      await new Promise(setImmediate); // by now what follows in the packet was parsed, and refused
      asked.pop()?.();
      const [, ok = '', refusal = ''] = (await answer).split('HTTP/1.1 ');
      assert.match(ok, /^200 OK\r\n[^]*first$/, what);
      assert.equal(refusal.slice(0, status.length), status, what);
    }
  });

  it('makeServer() answers a client that has closed its half, also when that takes time', async (t) => {
    let answer = (): void => {};
    const server = makeServer((_request, response) => (answer = () => response.end('late')));
    const port = await listen(t, server);
    const serverSide = once(server, 'connection');
    const client = open(t, port, GET.replace('Connection: close\r\n', ''), true);
    client.on('connect', () => client.end());
    const [socket] = await serverSide;
    await once(socket, 'end');
    answer();
    const [received] = await once(client, 'data');
    assert.match(received, /^HTTP\/1\.1 200 OK\r\n[^]*late$/);
    await once(client, 'close'); // although it would have been kept for another request
  });

  it('makeServer() serves a connection one request at a time, in their order', async (t) => {
    const asked: [url: string | undefined, answer: () => void][] = [];
    const server = makeServer(({ url }, response) => {
      asked.push([url, () => response.end(`answer to ${url}`)]);
    });
    const port = await listen(t, server);
    const requests = ['/a', '/b', '/c'].map((path) => GET.replace('/', path));
    const three = requests.join('').replaceAll('Connection: close\r\n', '');
    const answer = exchange(t, port, three + GET);
    for (const expected of ['/a', '/b', '/c', '/']) {
      while (asked.length === 0) await once(server, 'request').catch(() => {});
      await new Promise(setImmediate);
      const [[url, end] = ['', () => {}], ...others] = asked.splice(0);
      const begun = [url, ...others.map(([other]) => other)];
      assert.deepEqual(begun, [expected], 'begun: one, and no other before it is answered');
      end();
      for (let turns = 0; asked.length === 0 && turns < 100; turns++) await new Promise(setImmediate);
    }
    const found = (await answer).match(/answer to [/a-c]+/g);
    assert.deepEqual(found, ['answer to /a', 'answer to /b', 'answer to /c', 'answer to /']);
  });

  it('makeServer() hangs up on who asks more than a hundred times ahead', async (t) => {
    let count = 0;
    const port = await listen(t, makeServer(() => (count += 1)));
    const keep = GET.replace('Connection: close\r\n', '');
    assert.equal(await exchange(t, port, keep.repeat(102)), '');
    assert.equal(count, 1, 'the one that was being answered');
  });

  it('makeServer() serves who asks a hundred times ahead, and not once more', async (t) => {
    let answer = (): void => {};
    let count = 0;
    const server = makeServer((_request, response) => {
      count += 1;
      if (count === 1) answer = () => response.end();
      else response.end();
    });
    const port = await listen(t, server);
    const all = exchange(t, port, GET.replace('Connection: close\r\n', '').repeat(100) + GET);
    await once(server, 'request');
    await new Promise(setImmediate); // by now the whole packet was parsed
    answer();
    assert.equal((await all).split('HTTP/1.1 200').length - 1, 101);
  });

  it('makeServer() does nothing of what comes behind a refusal', async (t) => {
    const served: (string | undefined)[] = [];
    const port = await listen(t, makeServer(({ url }, response) => {
      served.push(url);
      response.end();
    }));
    const FIRST = [
      GET.replace('Host', 'Host: a\r\nHost'), GET.replace('\r\n\r\n', '\r\nExpect: magic\r\n\r\n'),
      GET.replace('1.1', '3.0'), GET.replace('close', 'close\r\nUpgrade: h2c'),
    ];
    for (const first of FIRST) {
      const keep = first.replace('Connection: close', 'X: y');
      const answer = await exchange(t, port, keep + GET.replace('/', '/behind'));
      assert.match(answer, /^HTTP\/1\.1 /);
    }
    assert.deepEqual(served, ['/'], 'the one with the upgrade, and nothing behind');
  });

  it('makeServer() refuses once, however much garbage follows', async (t) => {
    let answer = (): void => {};
    const server = makeServer((_request, response) => (answer = () => response.end('first')));
    const port = await listen(t, server);
    const serverSide = once(server, 'connection');
    const client = open(t, port, GET.replace('Connection: close\r\n', ''));
    const closed = closeOf(client);
    let received = '';
    client.on('data', (chunk: string) => (received += chunk));
    const [socket] = await serverSide;
    await once(server, 'request');
    for (let i = 0; i < 130; i++) {
      client.write('garbage\r\n\r\n');
      await Promise.race([once(socket, 'data'), closed]);
    }
    answer();
    await closed;
    assert.deepEqual(received.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 400']);
    assert.ok(socket.listenerCount('error') < 5);
  });

  it('makeServer() says nothing more where a body is broken after the answer', async (t) => {
    const port = await listen(t, makeServer(hello));
    const chunked = HALF_A_BODY.replace('Content-Length: 10', 'Transfer-Encoding: chunked');
    const client = open(t, port, chunked.replace(/half $/, ''));
    let received = '';
    client.on('data', (chunk: string) => {
      received += chunk;
      if (received.endsWith('0\r\n\r\n')) client.write('no number\r\n');
    });
    await once(client, 'close');
    assert.deepEqual(received.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200']);
  });

  it('makeServer() outlives a CONNECT behind an answer that is never read', async (t) => {
    const huge = Buffer.alloc(32 * 1024 * 1024);
    const server = makeServer((_request, response) => response.end(huge));
    const port = await listen(t, server);
    const keep = GET.replace('Connection: close\r\n', '');
    const serverSide = once(server, 'connection');
    const client = open(t, port, keep + CONNECT).pause();
    const [socket] = await serverSide;
    await once(server, 'connect');
    const closed = closeOf(socket);
    client.resetAndDestroy();
    await closed;
    assert.match(await exchange(t, port, GET.replace('GET', 'HEAD')), /^HTTP\/1\.1 200 /);
  });

  it('makeServer() keeps its clock for a CONNECT behind an answer that is never read', async (t) => {
    const huge = Buffer.alloc(32 * 1024 * 1024);
    const limits = { ...LIMITS, timeout: 50 };
    const server = makeServer((_request, response) => response.end(huge), limits);
    const port = await listen(t, server);
    const serverSide = once(server, 'connection');
    open(t, port, GET.replace('Connection: close\r\n', '') + CONNECT).pause();
    await closeOf((await serverSide)[0]);
  });

  it('makeServer() sees each header, however many, and lingers with each refusal', async (t) => {
    const port = await listen(t, makeServer(readAll));
    const many = `GET / HTTP/1.1\r\nHost: a\r\n${'a:b\r\n'.repeat(2_100)}Host: b\r\n\r\n`;
    assert.match(await exchange(t, port, many), /^HTTP\/1\.1 4(00|31) /);
    for (const header of ['', 'Host: a\r\nHost: b\r\n', 'Host: a\r\nExpect: magic\r\n']) {
      const length = 8 * 1024 * 1024;
      const head = `POST / HTTP/1.1\r\n${header}Content-Length: ${length}\r\n\r\n`;
      const answer = await exchange(t, port, head + 'a'.repeat(length));
      assert.match(answer, /^HTTP\/1\.1 4\d\d [^]*\n4\d\d [\w ]+\n$/, header);
    }
  });

  it('makeServer() refuses at once where the body of the same request is broken', async (t) => {
    const port = await listen(t, makeServer(readAll));
    const chunked = HALF_A_BODY.replace('Content-Length: 10', 'Transfer-Encoding: chunked');
    assertRefused(await exchange(t, port, chunked), '400 Bad Request', '"half" is no number');
  });

  it('answerAndClose() reads on after a refusal, so that no reset swallows it', async (t) => {
    const server = makeServer(hello);
    const port = await listen(t, server);
    const serverSide = once(server, 'connection');
    const sent = `GET / HTTP/1.1\r\nX-Long: ${'a'.repeat(4 * 1024 * 1024)}`;
    const answer = await exchange(t, port, sent);
    assertRefused(answer, '431 Request Header Fields Too Large', 'a header of 4 MiB');
    const [socket] = await serverSide;
    assert.ok(socket.listenerCount('error') < 5, 'one refusal, however many packets follow');
  });

  it('answerAndClose() cuts off a refused client that keeps its end open', async (t) => {
    const { socket } = await lingering(t);
    assert.equal(socket.destroyed, false, 'the answer was just sent: it may be on its way');
    t.mock.timers.tick(1_000);
    assert.equal(socket.destroyed, true, 'a second has passed');
  });

  it('answerAndClose() says nothing to a socket that was ended before', () => {
    const socket = new PassThrough().end();
    answerAndClose(socket, 400);
    assert.equal(socket.read(), null);
  });

  it('makeServer() outlives a client that resets the connection', async (t) => {
    const server = makeServer(readAll);
    const port = await listen(t, server);
    const table: [what: string, sent: string][] = [
      ['while it waits in CONNECT', CONNECT],
      ['after garbage', 'garbage\r\n\r\n'],
      ['after a header too long', `GET / HTTP/1.1\r\nX: ${'a'.repeat(LIMITS.maxHeaderSize)}`],
    ];
    for (const [what, sent] of table) {
      const serverSide = once(server, 'connection');
      const client = open(t, port, sent);
      const [socket] = await serverSide;
      await once(client, 'data');
      const story = `${what}: nobody hears an error of this socket, and a reset ends the process`;
      assert.ok(socket.listenerCount('error') > 0, story);
      const closed = closeOf(socket);
      client.resetAndDestroy();
      await closed;
      assert.match(await exchange(t, port, GET), /^HTTP\/1\.1 200/, `reset ${what}: it is gone`);
    }
  });

  it('makeServer() outlives a client that resets half way through a request', async (t) => {
    const server = makeServer(readAll);
    const port = await listen(t, server);
    for (const sent of [HALF_A_HEADER, HALF_A_BODY]) {
      const serverSide = once(server, 'connection');
      const client = open(t, port, sent);
      const [socket] = await serverSide;
      await once(socket, 'data');
      const closed = closeOf(socket);
      client.resetAndDestroy();
      await closed;
      assert.match(await exchange(t, port, GET), /^HTTP\/1\.1 200/, `reset after ${sent}`);
    }
  });

  it('stop() lets a request in flight finish, takes no other, and closes at once', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] }); // no deadline helps here
    const server = makeServer(readAll);
    const port = await listen(t, server);
    const client = open(t, port, HALF_A_BODY);
    await once(server, 'request');
    const closed = once(server, 'close');
    stop(server);
    const [refusal] = await once(connect(port, '127.0.0.1'), 'error');
    assert.equal(refusal.code, 'ECONNREFUSED', 'a new connection');
    client.write('done.');
    const [answer] = await once(client, 'data');
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*all of it/);
    await closed; // although the client would have kept the connection for its next request
  });

  it('stop() does not wait for connections on which nobody has asked anything', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const server = makeServer(hello);
    const port = await listen(t, server);
    for (const sent of ['', HALF_A_HEADER]) {
      const serverSide = once(server, 'connection');
      open(t, port, sent);
      await serverSide;
    }
    const closed = once(server, 'close');
    stop(server);
    await closed;
  });

  it('stop() tells who is still asking that it was the last time', async (t) => {
    const server = makeServer(readAll);
    const port = await listen(t, server);
    const client = open(t, port, HALF_A_BODY);
    await once(server, 'request');
    stop(server);
    client.write(`done.${GET.replace('Connection: close\r\n', '')}`);
    let received = '';
    client.on('data', (chunk: string) => (received += chunk));
    await once(client, 'close');
    assert.equal(received.split('HTTP/1.1').length, 2, 'and does nothing more for them');
    assert.match(received, /\r\nConnection: close\r\n/);
  });

  it('stop() still answers who waits behind the request in flight', async (t) => {
    let answer = (): void => {};
    let count = 0;
    const server = makeServer((_request, response) => {
      answer = () => response.end(`answer ${(count += 1)}`);
    });
    const port = await listen(t, server);
    const client = open(t, port, GET.replace('Connection: close\r\n', '').repeat(2));
    let received = '';
    client.on('data', (chunk: string) => (received += chunk));
    await once(server, 'request');
    await new Promise(setImmediate); // by now the second was parsed, and waits
    stop(server);
    const first = answer;
    first();
    while (answer === first) await new Promise(setImmediate);
    answer();
    await once(client, 'close');
    assert.deepEqual(received.match(/answer \d/g), ['answer 1', 'answer 2']);
  });

  it('stop() still answers who was about to ask', async (t) => {
    const server = makeServer(hello);
    const port = await listen(t, server);
    const keep = GET.replace('Connection: close\r\n', '');
    const client = open(t, port, keep);
    let received = '';
    client.on('data', (chunk: string) => (received += chunk));
    await once(client, 'data');
    t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
    stop(server);
    client.write(keep);
    await once(client, 'close');
    assert.equal(received.split('HTTP/1.1 200').length, 3, received);
    assert.match(received, /\r\nConnection: close\r\n/);
  });

  it('stop() ends also a connection that node:http has let go of', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const huge = Buffer.alloc(32 * 1024 * 1024);
    const server = makeServer((_request, response) => response.end(huge));
    const port = await listen(t, server);
    open(t, port, GET.replace('Connection: close\r\n', '') + CONNECT).pause();
    await once(server, 'connect');
    const closed = once(server, 'close');
    stop(server);
    t.mock.timers.tick(10_000);
    await closed;
  });

  it('stop() lets a refusal be read', async (t) => {
    const { server, socket } = await lingering(t);
    stop(server, 5_000);
    server.closeIdleConnections();
    assert.equal(socket.destroyed, false, 'the client may still be sending');
    t.mock.timers.tick(1_000);
    assert.equal(socket.destroyed, true);
  });

  it('makeServer() remembers no connection that has gone', async (t) => {
    const server = makeServer(hello);
    const port = await listen(t, server);
    const serverSide = once(server, 'connection');
    await exchange(t, port, GET);
    const [socket] = await serverSide;
    if (!socket.closed) await closeOf(socket);
    const { mock } = t.mock.method(socket, 'destroy');
    server.closeAllConnections();
    assert.equal(mock.callCount(), 0);
  });

  it('stop() lets a slow reader have all of its answer', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const huge = Buffer.alloc(32 * 1024 * 1024); // more than the buffers between us can hold
    const server = makeServer((_request, response) => response.end(huge));
    const port = await listen(t, server);
    const client = open(t, port, GET.replace('Connection: close\r\n', '')).pause();
    const [, response] = await once(server, 'request');
    assert.equal(response.writableEnded, true, 'all is said, and most of it waits');
    const closed = once(server, 'close');
    stop(server);
    let size = 0;
    client.on('data', (chunk: string) => (size += chunk.length)).resume();
    await closed;
    await closeOf(client);
    assert.ok(size > huge.length, `${size} bytes came of ${huge.length}, and a header`);
  });

  it('stop() cuts what is still in flight after ten seconds', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const server = makeServer(readAll);
    const port = await listen(t, server);
    const client = open(t, port, HALF_A_BODY).resume();
    await once(server, 'request');
    const closed = once(server, 'close');
    stop(server);
    t.mock.timers.tick(9_999);
    assert.equal(client.closed, false, 'it has a millisecond left');
    t.mock.timers.tick(1);
    await closed;
  });

  it('serve() prints what to open, and answers there', async (t) => {
    const program = start(t, ['src/01-server.ts']);
    const origin = await program.printed(/^Step 1 · (http:\/\/localhost:\d+)\n/);
    await program.printed(/stop with Ctrl-C\n/);
    const response = await fetch(origin.replace('localhost', '127.0.0.1'));
    assert.equal(await response.text(), 'Hello, whoever you are.\n');
    program.kill('SIGTERM');
    const { code, stdout, stderr } = await program.ended();
    assert.equal(stderr, '');
    assert.equal(code, 0, 'SIGTERM, with a connection kept alive');
    const lines = [`Step 1 · ${origin}`, `  open ${origin}/`, `  open ${origin}/any/other/path`];
    assert.equal(stdout, [...lines, '  stop with Ctrl-C', ''].join('\n'));
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`serve() answers the request in flight, and exits 0, on ${signal}`, async (t) => {
      const program = start(t, [
        '--input-type=module',
        '--eval',
        `import { serve } from './src/01-server.ts';
        serve((request, response) => {
          console.log('asked');
          request.resume().on('end', () => response.end('all of it'));
        }, 'Test');
        process.on('${signal}', () => console.log('told to stop'));`,
      ]);
      const port = Number(await program.printed(/localhost:(\d+)\n/));
      const client = open(t, port, HALF_A_BODY);
      let answer = '';
      client.on('data', (chunk) => (answer += chunk));
      const closed = closeOf(client);
      await program.printed(/asked\n/);
      program.kill(signal);
      await Promise.race([program.printed(/told to stop\n/), closed]);
      client.write('done.');
      await closed;
      assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*all of it/, 'the request was cut off');
      const { code, signal: killedBy, stderr } = await program.ended();
      assert.deepEqual({ code, killedBy, stderr }, { code: 0, killedBy: null, stderr: '' });
    });
  }

  it('serve() says in one line that the port is taken, and exits 1', async (t) => {
    const port = await listen(t, createServer());
    const program = start(t, ['src/01-server.ts'], { PORT: String(port) });
    const { code, stdout, stderr } = await program.ended();
    assert.match(stderr, new RegExp(`^Cannot listen on port ${port}: another program .*\\n$`));
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
  });

  it('serve() says in one line that PORT is no port, and exits 1', async (t) => {
    const { code, stdout, stderr } = await start(t, ['src/01-server.ts'], { PORT: '80a' }).ended();
    const rule = 'PORT must be a whole number from 0 to 65535';
    assert.equal(stderr, `Cannot listen on port 80a: ${rule}\n`);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
  });

  it('serve() takes no PORT that is not a whole number from 0 to 65535', (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const { PORT } = process.env;
    t.after(() => {
      process.exitCode = undefined;
      if (PORT === undefined) delete process.env.PORT;
      else process.env.PORT = PORT;
    });
    for (const bad of ['65536', '-1', '1.5', '1e3', '0x50', ' 80', '80 ', '８０', '/tmp/socket']) {
      process.env.PORT = bad;
      mock.resetCalls();
      assert.equal(serve(hello, 'Test').listening, false, `PORT='${bad}'`);
      assert.equal(mock.callCount(), 1, `PORT='${bad}' is one line`);
      assert.equal(process.exitCode, 1, `PORT='${bad}'`);
      process.exitCode = undefined;
    }
  });

  it('serve() asks for the port and the host of the environment, or for our own', (t) => {
    const asked: unknown[] = [];
    t.mock.method(Server.prototype, 'listen', (...args: unknown[]) => asked.push(args.slice(0, 2)));
    restoreAfter(t);
    for (const [port, host] of [['', ''], ['0', '::1'], ['65535', '0.0.0.0']] as const) {
      Object.assign(process.env, { PORT: port, HOST: host });
      serve(hello, 'Test');
    }
    assert.deepEqual(asked, [[6543, '127.0.0.1'], [0, '::1'], [65535, '0.0.0.0']]);
  });

  it('serve() prints a page to open, a hint as it is, and what to do for EACCES', async (t) => {
    const log = t.mock.method(console, 'log', () => {});
    const errors = t.mock.method(console, 'error', () => {});
    restoreAfter(t);
    Object.assign(process.env, { PORT: '0', HOST: '' });
    const server = serve(hello, 'Test', '/page', 'curl -s localhost');
    t.after(() => server.close());
    await once(server, 'listening');
    const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
    const hints = [`  open ${origin}/page`, '  curl -s localhost', '  stop with Ctrl-C'];
    const lines = log.mock.calls.map(({ arguments: [line] }) => line);
    assert.deepEqual(lines, [`Test · ${origin}`, ...hints]);
    server.emit('error', Object.assign(new Error('no'), { code: 'EACCES' }));
    const why = 'this user may not use it. Choose one above 1023 with PORT';
    assert.deepEqual(errors.mock.calls[0]?.arguments, [`Cannot listen on port 0: ${why}`]);
  });

  it('isMain() is true for the program, also through a link, not for an import', async (t) => {
    assert.equal(isMain(new URL('../src/01-server.ts', import.meta.url).href), false);
    const folder = await mkdtemp(join(tmpdir(), 'sessions-'));
    t.after(() => rm(folder, { recursive: true }));
    await symlink(join(ROOT, 'src'), join(folder, 'link'), 'junction');
    const program = start(t, [join(folder, 'link', '01-server.ts')], { PORT: 'none' });
    assert.match((await program.ended()).stderr, /^Cannot listen on port none/);
  });

  it('isMain() is false where there is no program, only a word after it', async (t) => {
    const code = `console.log(typeof (await import('./src/01-server.ts')).isMain)`;
    const program = start(t, ['--input-type=module', '--eval', code, 'word']);
    assert.equal((await program.ended()).stdout, 'function\n');
  });
});
