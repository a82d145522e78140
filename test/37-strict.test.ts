import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { fetchReply, requestBytes, startServer, type TestServer } from '../.tools/serve.ts';
import { assertRejected, CHUNKED, KEEP, LAST, limitedIt, statusesOf } from '../.tools/wire.ts';
import { sendAll } from '../.tools/wire.ts';
import { toListener } from '../src/04-http.ts';
import { site as tutorial } from '../src/09-tutorial.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { MAX_URL, strict } from '../src/37-strict.ts';

const it = limitedIt(import.meta.url);

/** Shows the request that arrives behind `strict`. */
const echo: RequestListener = (request, response) => {
  request.resume().on('end', () => response.end(`${request.url} of ${request.headers.host}`));
};

const start = (t: TestContext): Promise<TestServer> => startServer(t, strict(echo), makePipelined);

/** Returns the text of a response with the status 200, or the status. */
async function outcome(server: TestServer, sent: string): Promise<string> {
  const received = await server.exchange(sent);
  const status = statusesOf(received);
  return status === '200' ? (received.split('\r\n\r\n')[1] ?? '') : status;
}

/** Returns the target behind `strict`, or the status. */
async function targetOf(server: TestServer, target: string, method = 'GET'): Promise<string> {
  return (await outcome(server, requestBytes(method, target))).replace(/ of [^ ]*$/, '');
}

describe('37-strict: the host', () => {
  it('strict() passes a request with one Host', async (t) => {
    const server = await start(t);
    const expected = '/howdy?a=1 of localhost';
    assert.equal(await outcome(server, requestBytes('GET', '/howdy?a=1')), expected);
  });

  it('strict() rejects a request without Host, and one with two', async (t) => {
    const server = await start(t);
    const table: [what: string, lines: string][] = [
      ['no Host', ''],
      ['two that differ', 'Host: a\r\nHost: b\r\n'],
      ['two that are equal', 'Host: a\r\nX: y\r\nhOSt: a\r\n'],
      ['headers with other names', 'From: a\r\nHosts: b\r\nX-Host: c\r\n'],
    ];
    for (const [what, lines] of table) {
      const received = await server.exchange(`GET / HTTP/1.1\r\n${lines}Connection: close\r\n\r\n`);
      assertRejected(received, '400 Bad Request', what);
      assert.match(received, /Send exactly one Host header\./, what);
    }
  });

  it('strict() accepts a request of HTTP/1.0 without Host, but not with two', async (t) => {
    const server = await start(t);
    const old = (lines: string): string => `GET / HTTP/1.0\r\n${lines}\r\n`;
    assert.equal(await outcome(server, old('')), '/ of undefined');
    assert.equal(await outcome(server, old('Host: a\r\n')), '/ of a');
    assert.equal(await outcome(server, old('Host: a\r\nHost: b\r\n')), '400');
  });

  it('strict() rejects a Host that is not a host with an optional port', async (t) => {
    const server = await start(t);
    const valid = [
      'localhost', 'localhost:6543', 'EXAMPLE.org', 'xn--bcher-kva.example', 'a_b', '127.0.0.1:80',
      '[::1]', '[::1]:6543', '[::ffff:127.0.0.1]', 'localhost.', 'localhost:', '',
    ];
    for (const host of valid) {
      const sent = LAST.replace('localhost', host);
      assert.equal(await outcome(server, sent), `/ of ${host}`, `Host: ${host}`);
    }
    const invalid = [
      'a b', 'a/b', 'http://a', 'user@a', 'a,b', 'a?b', 'a#b', 'a\\b', 'a:b', 'a:80:80', '::1',
      '[::1', 'exämple.org', 'a%62', '"a"', 'a;b', '*', '<a>', 'a:123456',
    ];
    for (const host of invalid) {
      const sent = LAST.replace('localhost', host);
      assert.equal(await outcome(server, sent), '400', `Host: ${host}`);
    }
  });

  it('strict() takes the host from the target if the target is a whole URL', async (t) => {
    const server = await start(t);
    const sent = requestBytes('GET', 'http://example.org:80/a?b=1');
    assert.equal(await outcome(server, sent), '/a?b=1 of example.org:80', 'RFC 9112 §3.2.2');
  });
});

describe('37-strict: the target', () => {
  it('strict() accepts the four forms of RFC 9112 §3.2, and rejects others', async (t) => {
    const server = await start(t);
    const table: [target: string, expected: string, why: string][] = [
      ['/', '/', 'a path'],
      ['/where?q=now', '/where?q=now', 'the example of the RFC'],
      ['/a/b;v=1,2/c:d@e', '/a/b;v=1,2/c:d@e', 'each character that a segment may contain'],
      ['/a?b?c/d', '/a?b?c/d', 'a query may contain ? and /'],
      ['/?', '/?', 'an empty query'],
      ['//host/path', '//host/path', 'a path that begins with two slashes names no host'],
      ['http://www.example.org/pub/WWW/', '/pub/WWW/', 'a whole URL'],
      ['HTTPS://EXAMPLE.ORG/a?b', '/a?b', 'a scheme in capitals'],
      ['http://example.org', '/', 'a URL without a path'],
      ['http://example.org:80?q', '/?q', 'a URL with a query and no path'],
      ['?q', '400', 'only a query'],
      ['where', '400', 'a relative path'],
      ['*', '400', 'an asterisk, which belongs to OPTIONS'],
      ['**', '400', 'two asterisks'],
      ['*/a', '400', 'an asterisk and a path'],
      ['*?q', '400', 'an asterisk and a query'],
      ['http:///path', '400', 'no host'],
      ['http://a b/path', '400', 'a space in the host'],
      ['http://user@example.org/', '400', 'a user name in the host'],
      ['http://exämple.org/', '400', 'a host that is not ASCII'],
      ['javascript:alert(1)', '400', 'another scheme'],
      ['ftp://example.org/', '400', 'the scheme of another protocol'],
      ['/a#b', '400', 'a fragment, which a browser never sends'],
      ['/a?b#c', '400', 'a fragment after a query'],
      ['http://example.org#a', '400', 'a fragment after a host'],
      ['/a b', '400', 'a space'],
      ['/a\tb', '400', 'a tab'],
      ['/a\0', '400', 'NUL'],
      ['/a\x7f', '400', 'DEL'],
      ['/café', '400', 'a letter that is not ASCII'],
      ['/?q=café', '400', 'the same in a query'],
      ['/日本', '400', 'other letters that are not ASCII'],
    ];
    for (const [target, expected, why] of table) {
      assert.equal(await targetOf(server, target), expected, `${JSON.stringify(target)}: ${why}`);
    }
  });

  it('strict() decodes the characters that need no encoding, and no others', async (t) => {
    const server = await start(t);
    const table: [target: string, expected: string, why: string][] = [
      ['/%68%6f%77dy', '/howdy', 'letters (RFC 3986 §6.2.2.2)'],
      ['/%7Esmith/%2d%2E%5f%30', '/~smith/-._0', 'digits and the signs - . _ ~'],
      ['/a%2fb', '/a%2Fb', 'an encoded slash separates nothing'],
      ['/a%3fb%23c', '/a%3Fb%23c', 'an encoded ? or # has no meaning'],
      ['/%2568', '/%2568', 'decoded once: %25 is %, and stays'],
      ['/caf%c3%a9', '/caf%C3%A9', 'letters that are not ASCII stay encoded'],
      ['/%00%0d%0a', '/%00%0D%0A', 'control characters stay encoded'],
      ['/?q=%68', '/?q=%68', 'the query stays as it is'],
    ];
    for (const [target, expected, why] of table) {
      assert.equal(await targetOf(server, target), expected, `${target}: ${why}`);
    }
  });

  it('strict() sends a 400 for an escape that is broken or not UTF-8', async (t) => {
    const server = await start(t);
    const table: [escape: string, why: string][] = [
      ['%zz', 'not hexadecimal'],
      ['%', 'nothing after %'],
      ['%4', 'one digit after %'],
      ['%u0041', 'the encoding of escape() in JavaScript'],
      ['%e9', 'Latin-1'],
      ['%c0%af', 'a slash in too many bytes, which old servers decoded to /'],
      ['%ed%a0%80', 'half of a surrogate pair'],
      ['%f4%90%80%80', 'above the last character of Unicode'],
      ['%c3', 'the first byte of a letter'],
    ];
    for (const [escape, why] of table) {
      for (const target of [`/${escape}`, `/?q=${escape}`, `http://host/${escape}`]) {
        assert.equal(await targetOf(server, target), '400', `${target}: ${why}`);
      }
    }
  });

  it('strict() accepts a URL of MAX_URL, and sends a 414 for a longer one', async (t) => {
    assert.equal(MAX_URL, 8_000);
    const server = await start(t);
    const longest = '/'.padEnd(MAX_URL, 'a');
    assert.equal(await targetOf(server, longest), longest);
    assertRejected(await server.exchange(requestBytes('GET', `${longest}a`)), '414 URI Too Long');
  });
});

describe('37-strict: the method and the body', () => {
  it('strict() passes the methods that it knows, and sends a 501 for others', async (t) => {
    const server = await start(t);
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      assert.equal(await targetOf(server, '/', method), '/', method);
    }
    for (const method of ['TRACE', 'PROPFIND', 'SEARCH', 'BREW']) {
      const received = await server.exchange(requestBytes(method));
      assertRejected(received, '501 Not Implemented', method);
    }
  });

  it('strict() responds to OPTIONS * with the methods of the server', async (t) => {
    const paths: (string | undefined)[] = [];
    const page: RequestListener = ({ url }) => paths.push(url);
    const server = await startServer(t, strict(page), makePipelined);
    const received = await server.exchange(requestBytes('OPTIONS', '*'));
    assert.match(received, /^HTTP\/1\.1 204 No Content\r\n/);
    assert.match(received, /\r\nallow: GET, ?HEAD, ?POST, ?PUT, ?PATCH, ?DELETE, ?OPTIONS\r\n/i);
    assert.deepEqual(paths, [], 'the listener must not respond too');
  });

  it('strict() accepts chunks, and sends a 501 for another transfer coding', async (t) => {
    const server = await start(t);
    const withCoding = (coding: string): string =>
      `${CHUNKED.replace('chunked', coding)}3\r\nabc\r\n0\r\n\r\n${LAST}`;
    const table: [coding: string, statuses: string][] = [
      ['chunked', '200 200'],
      ['Chunked', '200 200'],
      ['gzip, chunked', '501'],
      ['identity', '400'], // its end is unknown (RFC 9112 §6.3), so Node rejects it first
      ['xchunked', '400'],
    ];
    for (const [coding, statuses] of table) {
      assert.equal(statusesOf(await server.exchange(withCoding(coding))), statuses, coding);
    }
  });

  it('strict() rejects HTTP/2.0, and chunks in HTTP/1.0', async (t) => {
    const server = await start(t);
    const next = await server.exchange(LAST.replace('1.1', '2.0'));
    assertRejected(next, '505 HTTP Version Not Supported');
    const old = `${CHUNKED.replace('1.1', '1.0')}3\r\nabc\r\n0\r\n\r\n`;
    assertRejected(await server.exchange(old), '400 Bad Request', 'RFC 9112 §6.1');
  });
});

describe('37-strict: the connection', () => {
  it('strict() closes the connection after a rejected request', async (t) => {
    const server = await start(t);
    for (const bad of [KEEP.replace('Host', 'Ghost'), KEEP.replace('/', '/%zz')]) {
      assert.equal(statusesOf(await server.exchange(KEEP + bad + LAST)), '200 400');
    }
  });

  it('strict() lets a client send 8 MB and then read why it was rejected', async (t) => {
    const server = await start(t);
    const body = 'a'.repeat(8_000_000);
    const length = `Content-Length: ${body.length}\r\n`;
    const post = KEEP.replace('GET', 'POST').replace('\r\n\r\n', `\r\n${length}\r\n${body}`);
    const table: [sent: string, status: string][] = [
      [post.replace('Host', 'Ghost'), '400 Bad Request'],
      [post.replace('/', '/%zz'), '400 Bad Request'],
      [post.replace('POST', 'TRACE'), '501 Not Implemented'],
    ];
    for (const [sent, status] of table) {
      assertRejected(await sendAll(server, sent), status);
    }
  });

  it('strict() changes nothing for the pages of the tutorial', async (t) => {
    const listener = strict(toListener(tutorial().handle));
    const { origin } = await startServer(t, listener, makePipelined);
    const first = await fetchReply(`${origin}/`);
    const second = await fetchReply(`${origin}/%68owdy`, { cookie: first.cookie });
    assert.match(second.body, /Count: 2/);
    assert.equal((await fetchReply(`${origin}/nonsense`)).status, 404);
  });
});
