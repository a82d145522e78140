import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { explainedIt, noteBytes } from '../.tools/explain.ts';
import { makeServer } from '../src/01-server.ts';
import {
  after,
  attempt,
  echo,
  MAX_BODY_SIZE,
  MAX_FORM_FIELDS,
  MAX_URL_LENGTH,
  parseForm,
  parseRequest,
  problem,
  serverError,
  text,
  toListener,
  withForm,
} from '../src/02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';

const it = explainedIt(import.meta.url);
const FORM_TYPE = 'application/x-www-form-urlencoded';
const HEAD_OF_POST = 'POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n';

/** Serves a handler on a free port, for one test; `settled` are the listener's promises. */
async function listen(t: TestContext, handler: Handler) {
  const listener = toListener(handler);
  const settled: Promise<void>[] = [];
  const server = makeServer((incoming, outgoing) => {
    settled.push(Promise.resolve(listener(incoming, outgoing)));
  });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { server, port, origin: `http://127.0.0.1:${port}`, settled };
}

function open(t: TestContext, port: number, sent: string): Socket {
  const socket = connect(port, '127.0.0.1', () => socket.write(sent));
  t.after(() => socket.destroy());
  return socket.setEncoding('latin1').on('error', () => {}); // a reset shows in what is missing
}

/** Sends on a bare socket; gives all that came back until the server closed it. */
async function exchange(t: TestContext, port: number, sent: string): Promise<string> {
  const socket = open(t, port, sent);
  let received = '';
  socket.on('data', (chunk) => (received += chunk));
  await once(socket, 'close');
  noteBytes(sent, received);
  return received;
}

function post(body: string | Uint8Array, type: string | undefined = FORM_TYPE): HttpRequest {
  const request = parseRequest('POST', '/', { 'content-type': type }, Buffer.from(body));
  assert.ok('path' in request);
  return request;
}

/** '/path?search' of a request, or the status of the refusal. */
function outcome(result: HttpRequest | HttpResponse): string {
  return 'status' in result ? String(result.status) : result.path + result.search;
}

const size: Handler = (request) => text(String(request.body.length));
const sayForm = withForm(({ form }) => text(String(form)));

describe('02-http', () => {
  it('parseRequest() makes a request of its parts', () => {
    const body = Buffer.from('x');
    assert.deepEqual(parseRequest('PUT', '/a?b=1', { accept: '*/*' }, body, '192.0.2.1'), {
      method: 'PUT',
      path: '/a',
      search: '?b=1',
      headers: { accept: '*/*' },
      body,
      address: '192.0.2.1',
    });
    const { method, path, search, address } = parseRequest() as HttpRequest;
    assert.deepEqual([method, path, search, address], ['GET', '/', '', undefined], 'by default');
  });

  it('parseRequest() takes what RFC 9112 §3.2 allows, and refuses the rest', () => {
    const table: [target: string, expected: string, why: string][] = [
      ['/', '/', 'origin-form'],
      ['/where?q=now', '/where?q=now', "the RFC's own example"],
      ['/a/b;v=1,2/c:d@e', '/a/b;v=1,2/c:d@e', 'all that a segment may hold'],
      ['/a?b?c/d', '/a?b?c/d', 'a query may hold ? and /'],
      ['/?', '/?', 'an empty query'],
      ['//host/path', '//host/path', 'a path that begins with //, and names no host'],
      ['http://www.example.org/pub/WWW/', '/pub/WWW/', 'absolute-form'],
      ['HTTPS://EXAMPLE.ORG/a?b', '/a?b', 'a scheme in capitals'],
      ['http://example.org', '/', 'absolute-form with no path'],
      ['http://example.org:80?q', '/?q', 'absolute-form with a query and no path'],
      ['*', '*', 'asterisk-form'],
      ['', '400', 'nothing'],
      ['?q', '400', 'a query of nothing'],
      ['where', '400', 'a relative path'],
      ['**', '400', 'two asterisks'],
      ['*/a', '400', 'an asterisk and a path'],
      ['*?q', '400', 'an asterisk and a query'],
      ['http:///path', '400', 'no host'],
      ['http://a b/path', '400', 'a space in the host'],
      ['http://exämple.org/', '400', 'a host that is not ASCII'],
      ['javascript:alert(1)', '400', 'another scheme'],
      ['ftp://example.org/', '400', 'a scheme that is not ours'],
      ['/a#b', '400', 'a fragment is never sent'],
      ['/a?b#c', '400', 'a fragment after a query'],
      ['http://example.org#a', '400', 'a fragment after a host'],
      ['/a b', '400', 'a space'],
      ['/a\tb', '400', 'a tab'],
      ['/a\r\nb', '400', 'a line break'],
      ['/a\0', '400', 'NUL'],
      ['/a\x7f', '400', 'DEL'],
      ['/café', '400', 'a letter that is not ASCII'],
      ['/?q=café', '400', 'the same in a query'],
      ['/日本', '400', 'above 0xFF'],
    ];
    for (const [target, expected, why] of table) {
      const actual = outcome(parseRequest('GET', target));
      assert.equal(actual, expected, `${JSON.stringify(target)}: ${why}`);
    }
  });

  it('parseRequest() lets each visible ASCII character but # stand in a path, and no other', () => {
    for (let code = 0; code < 256; code++) {
      const character = String.fromCharCode(code);
      const isVisible = code > 0x20 && code < 0x7f;
      const expected = isVisible && character !== '#' && character !== '%';
      const result = outcome(parseRequest('GET', `/a${character}`));
      assert.equal(result !== '400', expected, `code ${code} in a path gave ${result}`);
    }
  });

  it('parseRequest() decodes what needs no encoding, and nothing else', () => {
    const table: [target: string, path: string, why: string][] = [
      ['/%68%6f%77dy', '/howdy', 'letters (RFC 3986 §6.2.2.2)'],
      ['/%7Esmith/%2d%2E%5f%30', '/~smith/-._0', 'the marks and digits that are unreserved'],
      ['/a%2fb', '/a%2Fb', 'an encoded slash is no separator, and its hex is in capitals'],
      ['/a%3fb%23c', '/a%3Fb%23c', 'nor is an encoded ? or #'],
      ['/%2568', '/%2568', 'decoded once: %25 is a %, and stays'],
      ['/caf%c3%a9', '/caf%C3%A9', 'letters outside ASCII stay encoded'],
      ['/%00%0d%0a', '/%00%0D%0A', 'control characters stay encoded'],
      ['/?q=%68', '/?q=%68', 'a query is left as it was sent'],
    ];
    for (const [target, path, why] of table) {
      assert.equal(outcome(parseRequest('GET', target)), path, `${target}: ${why}`);
    }
  });

  it('parseRequest() refuses escapes that are broken or are not UTF-8 with 400', () => {
    const table: [escape: string, why: string][] = [
      ['%zz', 'not hexadecimal'],
      ['%', 'nothing after %'],
      ['%4', 'one digit after %'],
      ['%u0041', 'the old way of JavaScript'],
      ['%e9', 'Latin-1'],
      ['%c0%af', 'a slash written too long: old servers took it for ..%2f'],
      ['%ed%a0%80', 'half of a surrogate pair'],
      ['%f4%90%80%80', 'beyond the last character there is'],
      ['%c3', 'a letter cut off'],
    ];
    for (const [escape, why] of table) {
      for (const target of [`/${escape}`, `/?q=${escape}`, `http://host/${escape}`]) {
        const story = `GET ${target} must be refused, and nothing be thrown: ${why}`;
        assert.doesNotThrow(() => parseRequest('GET', target), story);
        assert.equal(outcome(parseRequest('GET', target)), '400', story);
      }
    }
  });

  it('parseRequest() and withForm() say in words what they refuse', async () => {
    const table: [refusal: HttpRequest | HttpResponse, words: string][] = [
      [parseRequest('GET', `/${'a'.repeat(MAX_URL_LENGTH)}`), 'URI Too Long\n\nThe limit is 8000.'],
      [parseRequest('GET', '/%zz'), 'Bad Request\n\nThe URL is malformed.'],
      [await sayForm(post('a=%zz')), 'Bad Request\n\nThe form is malformed.'],
      [await sayForm(post('', '')), `Unsupported Media Type\n\nSend it as ${FORM_TYPE}.`],
    ];
    for (const [refusal, words] of table) {
      assert.ok('status' in refusal, words);
      assert.equal(refusal.body, `${refusal.status} ${words}\n`);
    }
  });

  it('parseRequest() takes a URL of MAX_URL_LENGTH and refuses one longer with 414', () => {
    assert.equal(MAX_URL_LENGTH, 8_000);
    const longest = '/'.padEnd(MAX_URL_LENGTH, 'a');
    assert.equal(outcome(parseRequest('GET', longest)), longest);
    assert.equal(outcome(parseRequest('GET', `${longest}a`)), '414');
  });

  it('parseForm() reads fields, in order, with all their values', () => {
    const form = parseForm(Buffer.from('a=1&b=caf%C3%A9+%26+more&a=2&empty='));
    const expected = [['a', '1'], ['b', 'café & more'], ['a', '2'], ['empty', '']];
    assert.deepEqual([...(form ?? [])], expected);
  });

  it('parseForm() gives undefined for a form that is malformed', () => {
    const table: [body: string | Uint8Array, why: string][] = [
      ['a=%zz', 'a broken escape'],
      ['a=%e9', 'an escape that is not UTF-8'],
      ['a=café', 'a letter that was not encoded'],
      [Buffer.from([0x61, 0x3d, 0xff]), 'a byte that is not UTF-8'],
      ['a=1\r\nb=2', 'a line break, as in another type of form'],
      ['a=\0', 'NUL'],
    ];
    for (const [body, why] of table) assert.equal(parseForm(Buffer.from(body)), undefined, why);
  });

  it('parseForm() takes MAX_FORM_FIELDS fields and not one more', () => {
    assert.equal(MAX_FORM_FIELDS, 100);
    const fields = (count: number): Uint8Array => Buffer.from(Array(count).fill('a=1').join('&'));
    assert.equal(parseForm(fields(MAX_FORM_FIELDS))?.size, MAX_FORM_FIELDS);
    assert.equal(parseForm(fields(MAX_FORM_FIELDS + 1)), undefined, 'one field too many');
    assert.equal(parseForm(Buffer.from('&'.repeat(MAX_FORM_FIELDS))), undefined, 'only separators');
  });

  it('parseForm() makes nothing special of a field named __proto__', () => {
    const form = parseForm(Buffer.from('__proto__[admin]=1&__proto__=2&constructor=3'));
    assert.equal(form?.get('__proto__'), '2');
    assert.equal(form?.get('constructor'), '3');
    assert.equal(Reflect.get({}, 'admin'), undefined, 'Object.prototype was reached');
  });

  it('withForm() gives the form to the handler inside', async () => {
    const types = [FORM_TYPE, ` ${FORM_TYPE} ; charset=UTF-8`, FORM_TYPE.toUpperCase()];
    for (const type of types) {
      assert.deepEqual(await sayForm(post('a=1&b=2', type)), text('a=1&b=2'), type);
    }
    assert.deepEqual(await sayForm(post('')), text(''), 'a form with no field');
  });

  it('withForm() refuses any other type with 415, and a mess with 400', async () => {
    const multipart = 'multipart/form-data; boundary=x';
    const types = ['application/json', 'text/plain', multipart, '', `x${FORM_TYPE}`];
    for (const type of types) {
      assert.equal((await sayForm(post('a=1', type))).status, 415, `content-type: ${type}`);
    }
    assert.equal((await sayForm({ ...post('a=1'), headers: {} })).status, 415, 'no type at all');
    assert.equal((await sayForm(post('a=%zz'))).status, 400, 'a=%zz');
  });

  it('text() is plain words in UTF-8, whatever they look like', () => {
    const headers = { 'content-type': 'text/plain; charset=utf-8' };
    assert.deepEqual(text('<b>'), { status: 200, headers, body: '<b>' });
  });

  it('problem() says the status in words', () => {
    const expected = text('415 Unsupported Media Type\n\nSend a form.\n', 415);
    assert.deepEqual(problem(415, 'Send a form.'), expected);
  });

  it('after() goes on at once with what is there, and later with what is promised', async () => {
    const next = (n: number): number => n + 1;
    assert.equal(after(1, next), 2);
    const later = after(Promise.resolve(1), next);
    assert.ok(later instanceof Promise);
    assert.equal(await later, 2);
    await assert.rejects(async () => after(Promise.reject(new Error('no')), next), /no/);
  });

  it('serverError() tells the cause of an error as well', (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    serverError(new Error('outer', { cause: new Error('inner') }), 'GET /');
    assert.match(String(mock.calls[0]?.arguments[0]), /outer.*inner/);
  });

  it('attempt() gives a 500 and one log line for a page that throws, at once or later', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const request = parseRequest('POST', '/x') as HttpRequest;
    assert.equal((await attempt(() => text('ok'), request)).body, 'ok');
    const pages: Handler[] = [
      () => { throw new Error('oh'); },
      () => Promise.reject(new Error('oh')),
    ];
    for (const [i, page] of pages.entries()) {
      assert.equal((await attempt(page, request)).status, 500);
      assert.equal(mock.callCount(), i + 1);
      assert.match(String(mock.calls[i]?.arguments[0]), /^500 POST \/x "Error: oh/);
    }
  });

  it('echo() shows a form, and says what was posted', async () => {
    const shown = await echo({ ...post(''), method: 'GET' });
    assert.equal(shown.headers['content-type'], 'text/html; charset=utf-8');
    assert.match(String(shown.body), /<form method="post">/);
    assert.deepEqual(await echo(post('words=a+%3Cb%3E')), text('You said: a <b>\n'));
    assert.deepEqual(await echo(post('other=1')), text('You said: nothing\n'));
  });

  it('toListener() gives the handler the request as it was sent', async (t) => {
    const { origin } = await listen(t, ({ method, path, search, headers, body, address }) =>
      text([method, path, search, headers['x-mine'], Buffer.from(body), address].join(' ')));
    const response = await fetch(`${origin}/a%2fb?c=1`, {
      method: 'PUT',
      headers: { 'X-Mine': 'yes' },
      body: 'café',
    });
    assert.equal(await response.text(), 'PUT /a%2Fb ?c=1 yes café 127.0.0.1');
  });

  it('toListener() sends the status, the headers and the length in bytes', async (t) => {
    const { origin } = await listen(t, () => ({
      status: 201,
      headers: { 'x-mine': 'yes', 'set-cookie': ['a=1', 'b=2'] },
      body: 'café',
    }));
    const response = await fetch(origin);
    assert.equal(response.status, 201);
    assert.equal(response.headers.get('x-mine'), 'yes');
    assert.equal(response.headers.get('content-length'), '5', 'é is two bytes');
    assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'], 'two lines, never joined');
    assert.equal(await response.text(), 'café');
  });

  it('toListener() answers HEAD with the headers of GET, and no body', async (t) => {
    const { port } = await listen(t, () => text('Hello'));
    const ask = async (method: string): Promise<string[]> => {
      const sent = `${method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      const [head = '', body = ''] = (await exchange(t, port, sent)).split('\r\n\r\n');
      return [head.replace(/^Date: .*$/m, 'Date'), body];
    };
    const [getHead, getBody] = await ask('GET');
    assert.match(getHead ?? '', /^content-length: 5$/m);
    assert.equal(getBody, 'Hello');
    assert.deepEqual(await ask('HEAD'), [getHead, '']);
  });

  it('toListener() promises no length for a HEAD whose body is not known', async (t) => {
    const { port } = await listen(t, () => ({ ...text(''), body: undefined }));
    const sent = 'HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    const answer = await exchange(t, port, sent);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assert.doesNotMatch(answer, /content-length/i);
  });

  it('toListener() undoes chunks, and refuses any other coding with 501', async (t) => {
    const { port } = await listen(t, size);
    for (const [coding, status] of [['Chunked', 200], ['gzip, chunked', 501]] as const) {
      const framed = `Transfer-Encoding: ${coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n`;
      const answer = await exchange(t, port, `${HEAD_OF_POST}${framed}`);
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), `${coding}: ${answer}`);
    }
  });

  it('toListener() sends no length, and no body, with 204 and 304', async (t) => {
    const { port } = await listen(t, ({ path }) => text('not to be sent', Number(path.slice(1))));
    for (const status of [204, 304]) {
      const sent = `GET /${status} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      const [head = '', body] = (await exchange(t, port, sent)).split('\r\n\r\n');
      assert.ok(head.startsWith(`HTTP/1.1 ${status} `), head);
      assert.doesNotMatch(head, /content-length|transfer-encoding/i, 'RFC 9110 §8.6');
      assert.equal(body, '', `body of ${status}`);
    }
  });

  it('toListener() takes a body of MAX_BODY_SIZE and refuses one byte more with 413', async (t) => {
    assert.equal(MAX_BODY_SIZE, 65_536);
    const { port } = await listen(t, size);
    for (const over of [0, 1]) {
      const body = 'a'.repeat(MAX_BODY_SIZE + over);
      const hex = body.length.toString(16);
      const framings: [how: string, framed: string][] = [
        ['Content-Length', `Content-Length: ${body.length}\r\n\r\n${body}`],
        ['chunked', `Transfer-Encoding: chunked\r\n\r\n${hex}\r\n${body}\r\n0\r\n\r\n`],
      ];
      for (const [how, framed] of framings) {
        const answer = await exchange(t, port, `${HEAD_OF_POST}${framed}`);
        const expected = over ? '413 Payload Too Large' : '200 OK';
        const what = `${body.length} bytes, ${how}: expected ${expected}, got ${answer}`;
        assert.ok(answer.startsWith(`HTTP/1.1 ${expected}\r\n`), what);
      }
    }
  });

  it('toListener() refuses a body for its Content-Length, before any of it has come', async (t) => {
    const { port } = await listen(t, size);
    const answer = await exchange(t, port, `${HEAD_OF_POST}Content-Length: 1000000000000\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 413 Payload Too Large\r\n[^]*\n\r\n413 Payload Too Large\n$/);
  });

  it('toListener() refuses a body that never ends, and is done with it', async (t) => {
    const { port, server, settled } = await listen(t, size);
    const serverSide = once(server, 'connection');
    const client = open(t, port, `${HEAD_OF_POST}Transfer-Encoding: chunked\r\n\r\n`);
    const chunk = `4000\r\n${'a'.repeat(0x4000)}\r\n`;
    const pump = (): void => {
      while (!client.writableEnded && client.write(chunk)); // as fast as the server takes it
    };
    client.on('connect', pump).on('drain', pump);
    const [answer] = await once(client, 'data');
    assert.match(answer, /^HTTP\/1\.1 413 Payload Too Large\r\n/);
    client.destroy();
    const [socket] = await serverSide;
    if (!socket.closed) await once(socket, 'close').catch(() => {});
    await Promise.all(settled);
  });

  it('toListener() refuses a URL too long with 414, and a malformed one with 400', async (t) => {
    const { port } = await listen(t, () => text('a page'));
    const tooLong = `/${'a'.repeat(MAX_URL_LENGTH)}`;
    for (const [target, status] of [[tooLong, 414], ['/%zz', 400]] as const) {
      const sent = `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      const answer = await exchange(t, port, sent);
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), `${target.slice(0, 20)}: ${answer}`);
    }
  });

  it('toListener() answers a thrown error with 500, and tells only the log why', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const { origin } = await listen(t, () => {
      throw new Error('password: hunter2\nsecond line');
    });
    const response = await fetch(`${origin}/page?token=secret`);
    const body = await response.text();
    assert.equal(response.status, 500);
    assert.doesNotMatch(body, /hunter2|Error:|at |test\.ts/, 'what went wrong is not for visitors');
    assert.equal(mock.callCount(), 1);
    const line = String(mock.calls[0]?.arguments[0]);
    assert.match(line, /^500 GET \/page "Error: password: hunter2\\nsecond line\\n    at .*$/);
    assert.match(line, /02-http\.test\.ts/, 'the stack says where');
    assert.doesNotMatch(line, /\n/, 'one line, whatever the message holds');
  });

  it('toListener() answers 500 whatever is thrown, or returned by mistake', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const circle: { self?: unknown } = {};
    circle.self = circle;
    const raise = (thrown: unknown) => (): never => {
      throw thrown;
    };
    const give = (response: object) => () => response as HttpResponse;
    const table: [what: string, handler: Handler][] = [
      ['a promise that is rejected', () => Promise.reject(new Error('later'))],
      ['a string', raise('words')],
      ['undefined', raise(undefined)],
      ['null', raise(null)],
      ['a bigint, which JSON has not', raise(10n)],
      ['a symbol', raise(Symbol('s'))],
      ['a circle', raise(circle)],
      ['an object without a prototype', raise(Object.create(null))],
      ['a header with a line break in it', give({ ...text('x'), headers: { 'x-a': 'b\r\nc: d' } })],
      ['a header whose name has a space', give({ ...text('x'), headers: { 'x a': 'b' } })],
      ['a status that is none', give({ ...text('x'), status: 99 })],
      ['no body', give({ status: 200, headers: {} })],
    ];
    for (const [what, handler] of table) {
      mock.resetCalls();
      const { origin } = await listen(t, handler);
      const response = await fetch(origin, { signal: AbortSignal.timeout(2_000) });
      assert.equal(response.status, 500, what);
      assert.match(await response.text(), /^500 Internal Server Error\n\nSomething went/, what);
      assert.equal(mock.callCount(), 1, `${what}: one log line`);
    }
  });

  it('toListener() logs no error when a client leaves half way', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const { port, server, settled } = await listen(t, size);
    for (const leave of ['destroy', 'resetAndDestroy'] as const) {
      const asked = once(server, 'request');
      const client = open(t, port, `${HEAD_OF_POST}Content-Length: 10\r\n\r\nhalf`);
      await asked;
      client[leave]();
      await settled.at(-1);
    }
    assert.equal(settled.length, 2);
    assert.deepEqual(mock.calls.map((call) => call.arguments), []);
  });
});
