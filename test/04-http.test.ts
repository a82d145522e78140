import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { describe } from 'node:test';
import { explainedIt, given, ofStep, witness } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { fetchReply, largePost, requestBytes, startProgram, startServer } from '../.tools/serve.ts';
import { countVisits, problem, send, text, toListener } from '../src/04-http.ts';
import type { Handler, HttpResponse } from '../src/04-http.ts';

const it = explainedIt(import.meta.url);
const PLAIN = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };

/** Returns a listener that sends one response to each request. */
const sends = (response: HttpResponse): RequestListener => (_request, outgoing) => {
  send(response, outgoing);
};

describe('04-http: responses are values', () => {
  it('text() returns a response of plain text, unless its headers say otherwise', () => {
    assert.deepEqual(text(given('<b>')), { status: 200, headers: PLAIN, body: '<b>' });
    const other = { 'content-type': 'text/html', 'set-cookie': ['a=1', 'b=2'] };
    const expected = { status: 404, headers: { ...PLAIN, ...other }, body: '<p>' };
    assert.deepEqual(text(given('<p>'), 404, other), expected, 'other headers replace these');
  });

  it('problem() returns the status with its name and an explanation', () => {
    const response = problem(given(405), 'This page allows POST.', { allow: 'POST' });
    assert.equal(response?.status, 405);
    assert.deepEqual(response.headers, { ...PLAIN, allow: 'POST' });
    assert.equal(bodyText(response), '405 Method Not Allowed\n\nThis page allows POST.\n');
    const { title, detail } = response.body as { title: string; detail: string };
    assert.deepEqual([title, detail], ['405 Method Not Allowed', 'This page allows POST.']);
  });

  it('countVisits() returns its page as a value, so a test needs no server', async () => {
    const first = await witness(ofStep(countVisits))(makeRequest('GET', '/'));
    assert.equal(bodyText(first), 'Count: 1\n');
    assert.equal(first.status, 200);
    const names = Object.keys(first.headers);
    assert.ok(names.includes('set-cookie'), `set-cookie must be a header: ${names.join(', ')}`);
    const cookie = String(setCookies(first)[0]?.split(';')[0]);
    const second = await witness(ofStep(countVisits))(makeRequest('GET', '/', { cookie }));
    assert.equal(bodyText(second), 'Count: 2\n');
  });
});

describe('04-http: the adapter', () => {
  it('toListener() gives the handler the request that the client sent', async (t) => {
    const page: Handler = async ({ method, path, search, headers, body, address }) => {
      let sent = '';
      for await (const chunk of body) sent += Buffer.from(chunk).toString();
      return text([method, path, search, headers['x-mine'], sent, address].join(' | '));
    };
    const site = await startServer(t, toListener(page));
    const headers = 'X-Mine: yes\r\nContent-Length: 5\r\n';
    const received = await site.exchange(requestBytes('PUT', '/a%2fb?c=1?d', headers, 'hello'));
    assert.match(received, /PUT \| \/a%2fb \| \?c=1\?d \| yes \| hello \| 127\.0\.0\.1$/);
  });

  it('toListener() accepts the next request if a handler reads no body or a part', async (t) => {
    let page: Handler = () => text('none');
    const site = await startServer(t, toListener((request) => page(request)));
    const readOneChunk: Handler = async ({ body }) => {
      for await (const chunk of body) {
        assert.ok(chunk);
        break;
      }
      return text('part');
    };
    for (const next of [page, readOneChunk]) {
      page = next;
      const received = await site.exchange(largePost() + requestBytes('GET'));
      assert.deepEqual(received.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200']);
    }
  });

  it('send() sends the status, the headers and the length in bytes', async (t) => {
    const headers = { 'x-mine': 'yes', 'set-cookie': ['a=1', 'b=2'] };
    const site = await startServer(t, sends({ status: 201, headers, body: 'café' }));
    const reply = await site.get('/');
    assert.equal(reply.status, 201);
    assert.equal(reply.headers.get('x-mine'), 'yes');
    const length = reply.headers.get('content-length');
    assert.equal(length, '5', 'the header content-length: é is two bytes in UTF-8');
    assert.deepEqual(reply.headers.getSetCookie(), ['a=1', 'b=2'], 'two headers, never joined');
    assert.equal(reply.body, 'café');
  });

  it('toListener() accepts a promise, bytes, and a body that it renders last', async (t) => {
    const steps: string[] = [];
    const render = (): string => {
      steps.push('rendered');
      return 'late';
    };
    const page: Handler = ({ path }) => {
      if (path === '/promise') return Promise.resolve(text('promised'));
      if (path === '/bytes') return text(Buffer.from('bytes'));
      steps.push('handled');
      return text({ render });
    };
    const site = await startServer(t, toListener(page));
    assert.equal((await site.get('/promise')).body, 'promised');
    assert.equal((await site.get('/bytes')).body, 'bytes');
    assert.equal((await site.get('/render')).body, 'late');
    assert.deepEqual(steps, ['handled', 'rendered']);
  });

  it('send() renders the body, and accepts bytes', async (t) => {
    const rows = [[{ render: () => 'late' }, 'late'], [Buffer.from('bytes'), 'bytes']] as const;
    for (const [body, expected] of rows) {
      const site = await startServer(t, sends(text(body)));
      assert.equal((await site.get('/')).body, expected);
    }
  });

  it('send() reads the rest of a body, so that the next request can follow', async (t) => {
    const site = await startServer(t, async (incoming, outgoing) => {
      for await (const _chunk of incoming.iterator({ destroyOnReturn: false })) break;
      send(text('part'), outgoing);
    });
    const received = await site.exchange(largePost() + requestBytes('GET'));
    assert.deepEqual(received.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200']);
  });

  it('send() sends the headers of GET and no body for HEAD', async (t) => {
    const site = await startServer(t, sends(text('Hello', 200, { 'x-mine': 'yes' })));
    const [getHead = '', getBody] = (await site.exchange(requestBytes('GET'))).split('\r\n\r\n');
    const [head = '', body] = (await site.exchange(requestBytes('HEAD'))).split('\r\n\r\n');
    assert.equal(getBody, 'Hello');
    assert.equal(body, '');
    const withoutDate = (lines: string): string => lines.replace(/^Date: .*$/m, 'Date');
    const expected = withoutDate(getHead).replace(/\r\nContent-Length: 5/i, '');
    assert.equal(withoutDate(head), expected, 'the same headers, except the length');
  });

  it('send() sends no body and no length with 204 and 304', async (t) => {
    for (const status of [204, 304]) {
      const site = await startServer(t, sends(text('not sent', status)));
      const received = await site.exchange(requestBytes('GET'));
      const [head = '', body] = received.split('\r\n\r\n');
      assert.ok(head.startsWith(`HTTP/1.1 ${status} `), head);
      assert.doesNotMatch(head, /content-length|transfer-encoding/i, 'RFC 9110 §8.6');
      assert.equal(body, '', `the body of a ${status}`);
    }
  });
});

describe('04-http: errors', () => {
  const INTERNAL_ERROR =
    '500 Internal Server Error\n\nAn error happened on this server. It is in the log.\n';

  it('toListener() sends a 500 that reveals nothing if the handler throws', async (t) => {
    t.mock.method(console, 'error', () => {});
    const site = await startServer(t, toListener(() => {
      throw new Error('password: hunter2');
    }));
    const { status, headers, body } = await site.get('/page?token=secret');
    assert.equal(status, 500);
    assert.equal(headers.get('content-type'), PLAIN['content-type']);
    assert.equal(body, INTERNAL_ERROR, 'a visitor must not see the message or the stack trace');
  });

  it('toListener() writes the error into the log in one line', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const site = await startServer(t, toListener(() => {
      throw new Error('first line\nsecond line', { cause: new Error('the cause') });
    }));
    await site.get('/page?token=secret');
    assert.equal(mock.callCount(), 1);
    const line = String(mock.calls[0]?.arguments[0]);
    assert.match(line, /^500 GET \/page "Error: first line\\nsecond line\\n    at .*the cause.*"$/);
    assert.match(line, /04-http\.test\.[jt]s/, 'the stack trace names the file');
    assert.doesNotMatch(line, /token=secret/, 'the query can contain a secret');
  });

  it('toListener() sends a 500 if the promise of the handler is rejected', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const site = await startServer(t, toListener(async () => {
      await Promise.resolve();
      throw new Error('later');
    }));
    const { status, body } = await site.request('POST', '/');
    assert.deepEqual({ status, body }, { status: 500, body: INTERNAL_ERROR });
    assert.equal(mock.callCount(), 1);
  });

  it('toListener() sends a 500 if render() throws', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const render = (): string => {
      throw new Error('a bug in the template');
    };
    const site = await startServer(t, toListener(() => text({ render })));
    const { status, body } = await site.get('/');
    assert.deepEqual({ status, body }, { status: 500, body: INTERNAL_ERROR });
    assert.equal(mock.callCount(), 1);
  });

  it('toListener() sends a 500 and no header of the page if one header is invalid', async (t) => {
    t.mock.method(console, 'error', () => {});
    const headers = { 'x-good': 'yes', 'set-cookie': ['a=1'], 'x-bad': '1\r\nSet-Cookie: evil=1' };
    const site = await startServer(t, toListener(() => text('Hello', 200, headers)));
    const received = await site.exchange(requestBytes('GET'));
    assert.match(received, /^HTTP\/1\.1 500 /);
    assert.doesNotMatch(received, /x-good|set-cookie|evil|Hello/i);
    assert.ok(received.endsWith(INTERNAL_ERROR), received);
  });

  it('toListener() writes nothing into the log if the client leaves', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const readBody: Handler = async ({ body }) => {
      for await (const chunk of body) assert.ok(chunk);
      return text('complete');
    };
    const site = await startServer(t, toListener(readBody));
    const arrived = once(site.server, 'request');
    const client = site.open(requestBytes('POST', '/', 'Content-Length: 10\r\n', 'half'));
    await arrived;
    client.destroy();
    await site.settled();
    assert.deepEqual(mock.calls.map((call) => call.arguments), []);
  });

  it('toListener() sends the 500 with the `write` that it was given', async (t) => {
    t.mock.method(console, 'error', () => {});
    const written: number[] = [];
    const page: Handler = ({ path }) => {
      if (path === '/crash') throw new Error('This page has a bug');
      return text('Hello');
    };
    const site = await startServer(t, toListener(page, (response, outgoing) => {
      written.push(response.status);
      send(response, outgoing);
    }));
    await site.get('/');
    assert.deepEqual(written, [200], 'the status of each response that was given to `write`');
    await site.get('/crash');
    assert.deepEqual(written, [200, 500], 'in `catch`, call `write` and not `send`');
  });

  it('countVisits() throws an error at /crash, and returns no response', async () => {
    const page = witness(ofStep(countVisits));
    assert.equal((await page(makeRequest('GET', '/'))).status, 200);
    const crash = async (): Promise<HttpResponse> => page(makeRequest('GET', '/crash'));
    await assert.rejects(crash(), Error, 'the page must throw, and toListener() sends the 500');
  });

  it('countVisits() has a bug at /crash, and the server continues', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const site = await startServer(t, toListener(ofStep(countVisits)));
    const { cookie } = await site.get('/');
    const { status, body } = await site.get('/crash', { cookie });
    assert.deepEqual({ status, body }, { status: 500, body: INTERNAL_ERROR });
    assert.equal(mock.callCount(), 1, 'one line in the log');
    assert.equal((await site.get('/', { cookie })).body, 'Count: 2\n');
  });

  it('toListener() keeps a process alive that a listener of step 3 would end', async (t) => {
    const start = (listener: string) =>
      startProgram(t, ['--input-type=module', '--eval', `
        import { serve } from './src/01-server.ts';
        import { toListener } from './src/04-http.ts';
        serve(${listener}, 'Test', ['/']);
      `]);
    const bug = `throw new Error('This page has a bug')`;
    const fragile = start(`() => { ${bug}; }`);
    const strong = start(`toListener(() => { ${bug}; })`);
    await assert.rejects(fetchReply(await fragile.origin()), 'no response arrives');
    assert.equal((await fragile.ended()).code, 1, 'the error ends the process for all visitors');
    for (const visit of ['first', 'second']) {
      const { status, body } = await fetchReply(await strong.origin());
      assert.deepEqual({ status, body }, { status: 500, body: INTERNAL_ERROR }, `${visit} visit`);
    }
  });
});
