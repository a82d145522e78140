// Bytes on a socket, for the tests of steps 35 to 38 and of the finished site.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { explainedIt, noteBytes, waitingFor } from './explain.ts';
import { requestBytes, type TestServer, withTimeLimit } from './serve.ts';

const TEST_TIME_LIMIT = 60_000; // milliseconds: a test waits for sockets, and none may wait forever

/** Returns `it` for a test file. Each of its tests has a time limit. */
export function limitedIt(testUrl: string): ReturnType<typeof explainedIt> {
  const it = explainedIt(testUrl);
  return (title, ...rest) => {
    const [options, run] = rest.length === 1 ? [{}, rest[0]] : rest;
    it(title, { timeout: TEST_TIME_LIMIT, ...options }, run);
  };
}

/** A request that asks the server to close the connection after the response. */
export const LAST = requestBytes('GET');
/** A request after which the connection stays open. */
export const KEEP = LAST.replace('Connection: close\r\n', '');
export const HALF_HEADERS = 'GET / HTTP/1.1\r\nHost: local';
export const HALF_BODY = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf ';
/** The beginning of a body in chunks, without the first length. */
export const CHUNKED = HALF_BODY.replace('Content-Length: 10', 'Transfer-Encoding: chunked')
  .replace('half ', '');
export const CONNECT = 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n';
/** More bytes than the buffers between a server and a client can hold. */
export const HUGE = Buffer.alloc(32 * 1024 * 1024);

export const hello: RequestListener = (_request, response) => {
  response.end('Hello');
};

/** Responds after the whole body has arrived. */
export const readBody: RequestListener = (request, response) => {
  request.resume().on('end', () => response.end('complete')).on('error', () => {});
};

/** Waits until the socket is closed. It listens to no error: an unhandled one must be noticed. */
export function closeOf(socket: Socket): Promise<unknown> {
  const closed = new Promise((resolve) => socket.on('close', resolve));
  const what = 'The connection stays open';
  return waitingFor(withTimeLimit(closed, what, 30_000), () => what);
}

/** Returns everything that arrives on a socket until it is closed. */
export async function textOf(socket: Socket): Promise<string> {
  let received = '';
  socket.on('data', (chunk: string) => (received += chunk));
  await closeOf(socket);
  return received;
}

/** Sends all bytes, and then returns what has arrived. Fails if the server closes too early. */
export async function sendAll(server: TestServer, sent: string): Promise<string> {
  const client = server.open('');
  let failure: unknown;
  client.on('error', (error) => (failure = error));
  let text = '';
  noteBytes(sent, () => text);
  const received = textOf(client);
  await new Promise((resolve) => client.write(sent, resolve));
  text = await received;
  assert.equal(failure, undefined, 'the client could send the whole body');
  return text;
}

/** Opens a connection and returns both ends of it. */
export async function bothEnds(
  server: TestServer,
  sent: string,
): Promise<{ client: Socket; socket: Socket }> {
  const connected = once(server.server, 'connection');
  const client = server.open(sent);
  const [socket] = (await connected) as [Socket];
  return { client, socket };
}

/** Opens a connection that stays half open: the client does not close its end. */
export function openHalf(t: TestContext, { port }: TestServer, sent: string): Socket {
  const options = { port, host: '127.0.0.1', allowHalfOpen: true };
  const socket = connect(options, () => socket.write(sent));
  t.after(() => socket.destroy());
  return socket.setEncoding('latin1').on('error', () => {});
}

/** Returns the status codes in the order of the responses: `200 404`. */
export function statusesOf(received: string): string {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status).join(' ');
}

/** Checks each part of an error response, and that it is the last response of the connection. */
export function assertRejected(received: string, status: string, what = ''): void {
  const [head = '', ...rest] = received.split('\r\n\r\n');
  const body = rest.join('\r\n\r\n');
  const got = `${what}${what && ': '}${JSON.stringify(received)}`;
  assert.ok(received.startsWith(`HTTP/1.1 ${status}\r\n`), `expected ${status} for ${got}`);
  const headers = new Map(head.split('\r\n').slice(1).map((line): [string, string] => {
    const [name = '', value = ''] = line.split(/: (.*)/s);
    return [name.toLowerCase(), value];
  }));
  assert.equal(headers.get('content-type'), 'text/plain; charset=utf-8', `content-type of ${got}`);
  assert.equal(headers.get('x-content-type-options'), 'nosniff', `no browser may guess for ${got}`);
  assert.equal(headers.get('connection'), 'close', `connection of ${got}`);
  // Node adds no length for another version of HTTP: there the end of the connection is the end.
  const length = headers.get('content-length') ?? `${body.length}`;
  assert.equal(length, `${body.length}`, `content-length and the length of the body in ${got}`);
  const date = headers.get('date') ?? '';
  assert.equal(new Date(date).toUTCString(), date, `RFC 9110 §6.6.1 needs a date for ${got}`);
  assert.ok(body.startsWith(`${status}\n\n`), got);
  assert.match(body, /\n\n[A-Z].{10,}\.\n$/, `an explanation is missing for ${got}`);
  assert.doesNotMatch(received, /node|undefined|\bat |\.ts|\r\n(server|x-powered-by):/i, got);
}
