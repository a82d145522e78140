import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { describe } from 'node:test';
import { requestBytes, startServer } from '../.tools/serve.ts';
import { assertRejected, CONNECT, KEEP, LAST, limitedIt, statusesOf } from '../.tools/wire.ts';
import { SECURITY_HEADERS } from '../src/35-limits.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { strict } from '../src/37-strict.ts';

const it = limitedIt(import.meta.url);

describe('37-strict: proofs', () => {
  it('strict() accepts each visible character of ASCII in a path, except # and %', async (t) => {
    const listener: RequestListener = (_request, response) => response.end();
    const server = await startServer(t, strict(listener), makePipelined);
    const codes = Array.from({ length: 256 }, (_, code) => code);
    const statuses = codes.map(async (code): Promise<string> => {
      const target = `/a${String.fromCharCode(code)}b`;
      const client = server.open('');
      let received = '';
      client.on('data', (chunk: string) => (received += chunk));
      client.write(Buffer.from(requestBytes('GET', target), 'latin1'));
      await new Promise((resolve) => client.on('close', resolve));
      return statusesOf(received);
    });
    for (const [code, status] of (await Promise.all(statuses)).entries()) {
      const character = String.fromCharCode(code);
      const isVisible = code > 0x20 && code < 0x7f;
      const isValid = isVisible && character !== '#' && character !== '%';
      assert.equal(status, isValid ? '200' : '400', `the character ${code} in a path`);
    }
  });

  it('strict() explains each rejection in a sentence', async (t) => {
    const listener: RequestListener = () => assert.fail('no request may pass');
    const server = await startServer(t, strict(listener), makePipelined);
    const table: [sent: string, explanation: string][] = [
      [LAST.replace('Host', 'Ghost'), 'Send exactly one Host header.'],
      [LAST.replace('localhost', 'a/b'), 'The Host header is not a host with an optional port.'],
      [LAST.replace('1.1', '2.0'), 'This server supports HTTP/1.1.'],
      [LAST.replace('GET', 'TRACE'), 'This server does not support TRACE.'],
      [requestBytes('GET', `/${'a'.repeat(8_000)}`), 'A URL may have 8000 characters.'],
      [requestBytes('GET', '*'), 'The target of the request is not a path.'],
      [requestBytes('GET', '/%zz'), 'The URL is not encoded as UTF-8.'],
    ];
    for (const [sent, explanation] of table) {
      const received = await server.exchange(sent);
      assertRejected(received, /^HTTP\/1\.1 (.+)\r\n/.exec(received)?.[1] ?? '');
      assert.ok(received.endsWith(`\n\n${explanation}\n`), received);
    }
  });

  it('strict() sends the security headers with each rejection', async (t) => {
    const listener: RequestListener = () => assert.fail('no request may pass');
    const server = await startServer(t, strict(listener), makePipelined);
    const rejected = [LAST.replace('Host', 'Ghost'), requestBytes('TRACE'), CONNECT, 'garbage\r\n'];
    for (const sent of rejected) {
      const received = await server.exchange(sent);
      for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
        assert.ok(received.includes(`\r\n${name}: ${value}\r\n`), `${name} in ${received}`);
      }
    }
  });

  it('strict() handles no request that follows a rejected one', async (t) => {
    const paths: (string | undefined)[] = [];
    const listener: RequestListener = ({ url }, response) => {
      paths.push(url);
      response.end();
    };
    const server = await startServer(t, strict(listener), makePipelined);
    const rejected = [
      KEEP.replace('Host', 'Host: a\r\nHost'), KEEP.replace('1.1', '3.0'),
      KEEP.replace('1.1', '2.0'), KEEP.replace('/', '/%zz'), KEEP.replace('GET', 'TRACE'),
    ];
    for (const sent of rejected) {
      const received = await server.exchange(sent + LAST.replace('/', '/second'));
      assert.equal(statusesOf(received).split(' ').length, 1, sent);
    }
    assert.deepEqual(paths, []);
  });

  it('strict() finds a second Host behind thousands of other headers', async (t) => {
    const listener: RequestListener = (_request, response) => response.end();
    const server = await startServer(t, strict(listener), makePipelined);
    const many = requestBytes('GET', '/', `${'a:b\r\n'.repeat(2_100)}Host: b\r\n`);
    assertRejected(await server.exchange(many), '400 Bad Request');
  });

  it('strict() sends no body in the response to HEAD', async (t) => {
    const listener: RequestListener = (_request, response) => response.end();
    const server = await startServer(t, strict(listener), makePipelined);
    const received = await server.exchange(requestBytes('HEAD', '/%zz'));
    assert.match(received, /^HTTP\/1\.1 400 Bad Request\r\n/);
    assert.ok(received.endsWith('\r\n\r\n'), received);
  });

  it('strict() keeps the order if a rejected request waits behind another', async (t) => {
    let respond = (): void => {};
    const listener: RequestListener = (_request, response) => {
      respond = () => response.end('first');
    };
    const server = await startServer(t, strict(listener), makePipelined);
    const bad = KEEP.replace('Host', 'Host: a\r\nHost');
    const received = server.exchange(KEEP + bad + LAST.repeat(90));
    const started = respond;
    for (let i = 0; i < 1_000 && respond === started; i++) await new Promise(setImmediate);
    await new Promise(setImmediate); // by now the whole packet is parsed
    respond();
    assert.match(await received, /^HTTP\/1\.1 200 OK\r\n[^]*first/);
    assert.equal(statusesOf(await received), '200 400');
  });
});
