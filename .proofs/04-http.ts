// Further proofs for step 4: whatever a handler throws or returns by mistake, and whatever a client
// does with its connection, the server sends one complete response and continues.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { requestBytes, startServer } from '../.tools/serve.ts';
import type { TestServer } from '../.tools/serve.ts';
import { text, toListener } from '../src/04-http.ts';
import type { Handler, HttpResponse } from '../src/04-http.ts';

const it = explainedIt(import.meta.url);
const INTERNAL_ERROR =
  '500 Internal Server Error\n\nAn error happened on this server. It is in the log.\n';

type Pages = { site: TestServer; use: (page: Handler) => void };

/** Serves one page after another with the same server. */
async function startPages(t: TestContext): Promise<Pages> {
  let current: Handler = () => text('');
  const site = await startServer(t, toListener((request) => current(request)));
  return { site, use: (page) => (current = page) };
}

const returns = (response: object): Handler => () => response as HttpResponse;

/** Mistakes that TypeScript reports, except in JavaScript and behind a cast. */
const MISTAKES: [what: string, page: Handler][] = [
  ['a header with a line break', returns({ ...text('x'), headers: { 'x-a': 'b\r\nc: d' } })],
  ['a header with a letter above Latin-1', returns({ ...text('x'), headers: { 'x-a': '日' } })],
  ['a header name with a space', returns({ ...text('x'), headers: { 'x a': 'b' } })],
  ['a header that is undefined', returns({ ...text('x'), headers: { 'x-a': undefined } })],
  ['a status that does not exist', returns({ ...text('x'), status: 99 })],
  ['no status', returns({ headers: {}, body: 'x' })],
  ['a number as the body', returns({ ...text('x'), body: 42 })],
  ['a promise as the body', returns({ ...text('x'), body: Promise.resolve('x') })],
  ['null as the body', returns({ ...text('x'), body: null })],
  ['an object as the body', returns({ ...text('x'), body: {} })],
  ['render() returns a number', returns({ ...text('x'), body: { render: () => 42 } })],
  ['no response', (() => undefined) as unknown as Handler],
];

describe('04-http: further proofs', () => {
  it('toListener() sends a 500 for every value that a handler can throw', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const { site, use } = await startPages(t);
    const circle: { self?: unknown } = {};
    circle.self = circle;
    const table: [what: string, thrown: unknown][] = [
      ['a string', 'words'],
      ['undefined', undefined],
      ['null', null],
      ['a bigint', 10n],
      ['a symbol', Symbol('s')],
      ['an object that contains itself', circle],
      ['an object without a prototype', Object.create(null)],
      ['an error with a line break', new Error('a\r\nb')],
    ];
    for (const [what, thrown] of table) {
      for (const isLater of [false, true]) {
        mock.resetCalls();
        use(() => {
          if (isLater) return Promise.reject(thrown);
          throw thrown;
        });
        const { status, body } = await site.get('/');
        assert.deepEqual({ status, body }, { status: 500, body: INTERNAL_ERROR }, what);
        assert.equal(mock.callCount(), 1, `${what}: one call of console.error`);
        assert.doesNotMatch(String(mock.calls[0]?.arguments[0]), /[\r\n]/, `${what}: one line`);
      }
    }
  });

  for (const method of ['GET', 'HEAD']) {
    it(`toListener() sends a 500 if a handler returns a mistake for ${method}`, async (t) => {
      const { mock } = t.mock.method(console, 'error', () => {});
      const { site, use } = await startPages(t);
      for (const [what, page] of MISTAKES) {
        mock.resetCalls();
        use(page);
        const received = await site.exchange(requestBytes(method));
        assert.match(received, /^HTTP\/1\.1 500 Internal Server Error\r\n/, what);
        const body = method === 'HEAD' ? '' : INTERNAL_ERROR;
        assert.equal(received.split('\r\n\r\n')[1], body, what);
        assert.equal(mock.callCount(), 1, `${what}: one line in the log`);
      }
    });
  }

  it('toListener() sends a complete 500 if a 204 or a 304 has an invalid header', async (t) => {
    t.mock.method(console, 'error', () => {});
    const { site, use } = await startPages(t);
    for (const status of [204, 304]) {
      use(returns({ status, headers: { 'x-a': 'b\r\nc: d' }, body: '' }));
      const { body } = await site.get('/');
      assert.equal(body, INTERNAL_ERROR, `${status}: a client waits for the bytes of the length`);
    }
  });

  it('toListener() sends each Set-Cookie in a header line of its own', async (t) => {
    const { site, use } = await startPages(t);
    use(() => text('', 200, { 'set-cookie': ['a=1; Path=/', 'b=2; Expires=Thu, 01 Jan 1970'] }));
    const received = await site.exchange(requestBytes('GET'));
    const lines = received.split('\r\n').filter((line) => /^set-cookie:/i.test(line));
    assert.deepEqual(lines, [
      'set-cookie: a=1; Path=/',
      'set-cookie: b=2; Expires=Thu, 01 Jan 1970',
    ]);
  });

  it('toListener() splits the target at the first question mark', async (t) => {
    const page: Handler = ({ path, search }) => text(JSON.stringify([path, search]));
    const site = await startServer(t, toListener(page));
    const table: [target: string, path: string, search: string][] = [
      ['/', '/', ''],
      ['/?', '/', '?'],
      ['/a?b=1', '/a', '?b=1'],
      ['/a?b?c/d', '/a', '?b?c/d'],
      ['/?q=%3F', '/', '?q=%3F'],
      ['//host/path', '//host/path', ''],
      ['/caf%C3%A9/%zz', '/caf%C3%A9/%zz', ''],
    ];
    for (const [target, path, search] of table) {
      const received = await site.exchange(requestBytes('GET', target));
      assert.equal(received.split('\r\n\r\n')[1], JSON.stringify([path, search]), target);
    }
  });

  it('toListener() gives the handler a chunked body without its framing', async (t) => {
    const { site, use } = await startPages(t);
    use(async ({ body }) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      return text(Buffer.concat(chunks));
    });
    const headers = 'Transfer-Encoding: Chunked\r\n';
    const chunks = '3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n';
    const received = await site.exchange(requestBytes('POST', '/', headers, chunks));
    assert.equal(received.split('\r\n\r\n')[1], 'abcde');
  });

  it('toListener() writes nothing into the log however a client leaves', async (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    const { site, use } = await startPages(t);
    let leave = (): void => {};
    const pages: [what: string, page: Handler][] = [
      ['while the handler reads the body', async ({ body }) => {
        for await (const chunk of body) assert.ok(chunk);
        return text('complete');
      }],
      ['before the handler returns', async ({ body }) => {
        await new Promise<void>((resolve) => (leave = resolve));
        assert.ok(body);
        return text('x'.repeat(1_000_000));
      }],
    ];
    for (const [what, page] of pages) {
      for (const close of ['destroy', 'resetAndDestroy'] as const) {
        use(page);
        const arrived = once(site.server, 'request');
        const client = site.open(requestBytes('POST', '/', 'Content-Length: 10\r\n', 'half'));
        const [{ socket }] = await arrived;
        const closed = new Promise((resolve) => socket.on('close', resolve));
        client[close]();
        await closed;
        leave();
        await site.settled();
        assert.deepEqual(mock.calls.map((call) => call.arguments), [], `${close}() ${what}`);
      }
    }
    use(() => text('alive'));
    assert.equal((await site.get('/')).body, 'alive');
  });
});
