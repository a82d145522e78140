// Further proofs of step 12: slow and broken bodies, real sockets, and unusual texts.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { bodyText, makeRequest } from '../.tools/request.ts';
import { startServer, withTimeLimit } from '../.tools/serve.ts';
import { type Handler, type HttpRequest, text, toListener } from '../src/04-http.ts';
import { addArticles, checkText, fieldOf, form, MAX_BODY_SIZE, readForm } from '../src/12-forms.ts';
import { site, withForm } from '../src/12-forms.ts';

const it = explainedIt(import.meta.url);
const TYPE = 'application/x-www-form-urlencoded';
const HEAD = `POST /articles HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${TYPE}\r\n`;

function post(body: string | Uint8Array[], headers: Record<string, string> = {}): HttpRequest {
  const request = makeRequest('POST', '/articles', { 'content-type': TYPE, ...headers });
  const chunks = typeof body === 'string' ? [Buffer.from(body)] : body;
  return { ...request, body: (async function* () { yield* chunks; })() };
}

async function fieldsOf(request: HttpRequest): Promise<[string, string][] | number> {
  const result = await readForm(request);
  return result instanceof URLSearchParams ? [...result] : result.status;
}

/** Shows the fields of a form. */
const echo: Handler = withForm(({ form }) => text(JSON.stringify([...form])));

describe('12-forms: proofs about the body', () => {
  it('readForm() reads what a browser encodes, whatever a visitor types', async () => {
    const all = Array.from({ length: 0x3000 }, (_, code) => String.fromCharCode(code)).join('');
    for (const typed of [all.slice(0, 2000), all.slice(-2000), '😀 100% \ufffd', '<b>&amp;</b>']) {
      const body = new URLSearchParams({ typed }).toString(); // the browser's algorithm
      assert.deepEqual(await fieldsOf(post(body)), [['typed', typed]]);
    }
  });

  it('readForm() reads text that a program did not encode, as curl -d sends it', async () => {
    const rows: [body: string, fields: [string, string][]][] = [
      ['title=Grüße&body=b', [['title', 'Grüße'], ['body', 'b']]],
      ['title=a&body=b\n', [['title', 'a'], ['body', 'b']]],
      ['title=a&body=b\r\n', [['title', 'a'], ['body', 'b']]],
      ['title=a&body=b%0A', [['title', 'a'], ['body', 'b\n']]],
      ['title=100%&body=%zz%4', [['title', '100%'], ['body', '%zz%4']]],
      ['title=日本 %E6%9C%AC', [['title', '日本 本']]],
    ];
    for (const [body, fields] of rows) assert.deepEqual(await fieldsOf(post(body)), fields, body);
  });

  it('readForm() reads a form in chunks of any size, also inside a character', async () => {
    const bytes = Buffer.from('title=Grüße 日本&body=%F0%9F%98%80');
    const fields = [['title', 'Grüße 日本'], ['body', '😀']];
    for (let size = 1; size <= bytes.length; size++) {
      const chunks: Uint8Array[] = [];
      for (let i = 0; i < bytes.length; i += size) chunks.push(bytes.subarray(i, i + size));
      assert.deepEqual(await fieldsOf(post(chunks)), fields, `chunks of ${size} bytes`);
    }
    assert.deepEqual(await fieldsOf(post([])), [], 'no chunk');
    assert.deepEqual(await fieldsOf(post([Buffer.alloc(0), Buffer.from('a=1'), Buffer.alloc(0)])), [['a', '1']]);
  });

  it('readForm() finds the limit in chunks of any size', async () => {
    for (const size of [1000, 65_535, 65_536, 65_537]) {
      for (const over of [0, 1]) {
        const bytes = Buffer.alloc(MAX_BODY_SIZE + over, 'a');
        const chunks: Uint8Array[] = [];
        for (let i = 0; i < bytes.length; i += size) chunks.push(bytes.subarray(i, i + size));
        const result = await fieldsOf(post(chunks));
        const expected = over === 1 ? 413 : [['a'.repeat(MAX_BODY_SIZE), '']];
        assert.deepEqual(result, expected, `${bytes.length} bytes in chunks of ${size}`);
      }
    }
  });

  it('readForm() does not believe a Content-Length that is too small or not a number', async () => {
    const chunks = [Buffer.alloc(MAX_BODY_SIZE, 'a'), Buffer.from('a')];
    for (const length of ['1', '0', '-1', 'x', '', '65536']) {
      assert.equal(await fieldsOf(post(chunks, { 'content-length': length })), 413, length);
    }
  });

  it('readForm() throws the error of a body that ends early', async () => {
    const request = makeRequest('POST', '/', { 'content-type': TYPE });
    const body = (async function* () {
      yield Buffer.from('a=1');
      throw new Error('aborted');
    })();
    await assert.rejects(() => readForm({ ...request, body }), /aborted/);
    await assert.rejects(() => readForm({ ...request, body }), /aborted/, 'each time');
  });

  it('readForm() treats __proto__ as an ordinary name', async () => {
    const form = await readForm(post('__proto__[admin]=1&__proto__=2&constructor=3'));
    assert.ok(form instanceof URLSearchParams);
    assert.equal(form.get('__proto__'), '2');
    assert.equal(fieldOf(form, 'constructor'), '3');
    assert.equal(Reflect.get({}, 'admin'), undefined);
  });

  it('readForm() rejects each kind of invalid UTF-8, and accepts each kind of valid UTF-8', async () => {
    const invalid = [
      '%80', '%bf', '%c0%80', '%c1%bf', '%c3', '%c3%28', '%e0%80%af', '%e2%28%a1', '%ed%bf%bf',
      '%f0%28%8c%bc', '%f4%90%80%80', '%f8%88%80%80%80', '%ff', '%fe',
    ];
    for (const escape of invalid) {
      assert.equal(await fieldsOf(post(`a=${escape}`)), 400, escape);
      assert.equal(await fieldsOf(post(`${escape}=`)), 400, `${escape} in a name`);
      const raw = Buffer.from(escape.replaceAll('%', ''), 'hex');
      assert.equal(await fieldsOf(post([Buffer.from('a='), raw])), 400, `${escape}, not encoded`);
    }
    for (const character of ['\0', '\x7f', 'é', '\ufeff', '\ufffd', '\uffff', '😀', '\u{10ffff}']) {
      const body = `a=${encodeURIComponent(character)}`;
      assert.deepEqual(await fieldsOf(post(body)), [['a', character]], body);
      assert.deepEqual(await fieldsOf(post(`a=${character}`)), [['a', character]], `${body}, raw`);
    }
  });

  it('readForm() says in each error response what is wrong', async () => {
    const rows: [request: HttpRequest, body: string][] = [
      [post('', { 'content-type': 'text/plain' }),
        `415 Unsupported Media Type\n\nSend the form as ${TYPE} in UTF-8, and not compressed.\n`],
      [post('a'.repeat(MAX_BODY_SIZE + 1)),
        '413 Payload Too Large\n\nA form has at most 65536 bytes.\n'],
      [post('a=%ff'), '400 Bad Request\n\nThe form is not encoded in UTF-8.\n'],
      [post('a&'.repeat(101)), '400 Bad Request\n\nA form has at most 100 fields.\n'],
    ];
    for (const [request, body] of rows) assert.equal(bodyText(await echo(request)), body);
  });

  it('readForm() needs time in proportion to the length of a hostile Content-Type', async () => {
    for (const part of [' ', ';', '; ', '; charset=', 'a', '\t;']) {
      const type = TYPE + part.repeat(16_000 / part.length);
      const result = await fieldsOf(post('a=1', { 'content-type': `${type}x` }));
      assert.equal(result, 415, JSON.stringify(part)); // with a square, the test takes minutes
    }
  });
});

describe('12-forms: proofs with real sockets', () => {
  it('toListener() passes a body in chunks to a form', async (t) => {
    const { exchange } = await startServer(t, toListener(echo));
    const chunked = `Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n`;
    assert.match(await exchange(HEAD + chunked), /\r\n\r\n\[\["a","1"\],\["b","2"\]\]$/);
  });

  it('toListener() sends 413 for a Content-Length alone, before the body arrives', async (t) => {
    const { open } = await startServer(t, toListener(echo));
    const socket = open(`${HEAD}Content-Length: 1000000000000\r\n\r\n`);
    const [received] = await withTimeLimit(once(socket, 'data'), 'the response');
    assert.match(String(received), /^HTTP\/1\.1 413 Payload Too Large\r\n/);
  });

  it('toListener() sends 413 while a body without an end still arrives', async (t) => {
    const { open, server, settled } = await startServer(t, toListener(echo));
    const connection = once(server, 'connection');
    const socket = open(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
    const chunk = `4000\r\n${'a'.repeat(0x4000)}\r\n`;
    const pump = (): void => {
      while (!socket.destroyed && socket.write(chunk)); // as fast as the server reads
    };
    socket.on('connect', pump).on('drain', pump);
    const [received] = await withTimeLimit(once(socket, 'data'), 'the response');
    assert.match(String(received), /^HTTP\/1\.1 413 /);
    socket.destroy();
    const [serverSocket] = await connection;
    if (!serverSocket.closed) await once(serverSocket, 'close').catch(() => {});
    await settled();
  });

  it('toListener() logs no error if a client leaves in the middle of a form', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const { open, server, settled } = await startServer(t, toListener(echo));
    for (const leave of ['destroy', 'resetAndDestroy'] as const) {
      const arrived = once(server, 'request');
      const socket = open(`${HEAD}Content-Length: 10\r\n\r\nhalf`);
      await withTimeLimit(arrived, 'the request');
      socket[leave]();
      await settled();
    }
    assert.deepEqual(log.mock.calls.map((call) => call.arguments), []);
  });

  it('toListener() continues a form after Expect: 100-continue, as curl sends it', async (t) => {
    const { open } = await startServer(t, toListener(echo));
    const socket = open(`${HEAD}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n`);
    const [first] = await withTimeLimit(once(socket, 'data'), 'the first response');
    assert.match(String(first), /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    socket.write('a=1');
    const [second] = await withTimeLimit(once(socket, 'data'), 'the second response');
    assert.match(String(second), /^HTTP\/1\.1 200 OK\r\n[^]*\[\["a","1"\]\]$/);
  });

  it('site() of step 12 sends 413 for 1 MB, and the connection stays usable', async (t) => {
    const server = await startServer(t, toListener(site().handle));
    const next = 'GET /articles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    const body = 'a'.repeat(1_000_000);
    const chunked = `Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    for (const framed of [`Content-Length: ${body.length}\r\n\r\n${body}`, chunked]) {
      const received = await server.exchange(HEAD + framed + next);
      const statuses = [...received.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status);
      assert.deepEqual(statuses, ['413', '200'], framed.slice(0, 60));
    }
  });

  it('site() of step 12 saves an article that arrives slowly', async (t) => {
    const { open, get } = await startServer(t, toListener(site().handle));
    const body = 'title=On+tea&body=It+is+hot.';
    const socket = open(`${HEAD}Content-Length: ${body.length}\r\n\r\n`);
    await once(socket, 'connect');
    for (const character of body) {
      socket.write(character);
      await new Promise(setImmediate);
    }
    const [received] = await withTimeLimit(once(socket, 'data'), 'the response');
    assert.match(String(received), /^HTTP\/1\.1 303 See Other\r\n(?:.*\r\n)*location: \/articles\r\n/);
    assert.match((await get('/articles')).body, /<h2 dir="auto">On tea<\/h2>/);
  });
});

describe('12-forms: proofs about the articles', () => {
  it('addArticles() accepts or rejects unusual texts, and never fails', async () => {
    const rows: [what: string, body: string, status: number][] = [
      ['markup', 'title=<script>alert(1)</script>&body=</textarea><img+src=x>', 303],
      ['patterns of replace()', 'title=<main>&body=$%26$`$$', 303],
      ['CR and LF in the title', 'title=a%0d%0aSet-Cookie:+x=1&body=b', 303],
      ['NUL in the title', 'title=a%00b&body=b', 422],
      ['NUL in the text', 'title=a&body=a%00b', 422],
      ['an escape sequence', 'title=%1b[31m&body=b', 422],
      ['a C1 control in the text', 'title=a&body=a%c2%9bb', 422],
      ['a vertical tab in the text, as Word copies it', 'title=a&body=a%0bb', 303],
      ['a vertical tab in the title', 'title=a%0bb&body=b', 303],
      ['a form feed, a lone CR and NEL in the text', 'title=a&body=a%0cb%0dc%c2%85d', 303],
      ['a tab and a line in the text', 'title=a&body=a%0a%09b', 303],
      ['U+FFFD, which browsers send for half an emoji', 'title=%ef%bf%bd&body=b', 303],
      ['__proto__', '__proto__=a&constructor=b', 422],
      ['half of a surrogate pair', 'title=%ED%A0%80&body=b', 400],
      ['half of a surrogate pair in the text', 'title=a&body=%ED%A0%80', 400],
      ['half an escape', 'title=%e2%82&body=b', 400],
      ['two titles', 'title=first&title=second&body=b', 303],
      ['two texts', 'title=a&body=one&body=two', 303],
      ['an array of titles', 'title[]=a&title[]=b&body=b', 422],
      ['an array of texts', 'title=a&body[]=b', 422],
      ['100 characters', `title=${'a'.repeat(100)}&body=b`, 303],
      ['101 characters', `title=${'a'.repeat(101)}&body=b`, 422],
      ['100 emojis', `title=${encodeURIComponent('😀'.repeat(100))}&body=b`, 303],
      ['5000 characters', `title=a&body=${'b'.repeat(5000)}`, 303],
      ['5001 characters', `title=a&body=${'b'.repeat(5001)}`, 422],
      ['5000 characters of three bytes, encoded', `title=a&body=${'%E6%97%A5'.repeat(5000)}`, 303],
      ['nothing', '', 422],
      ['200 fields', 'a&'.repeat(200), 400],
      ['a title of 1 MB', `title=${'a'.repeat(1_000_000)}&body=b`, 413],
    ];
    const handle = witness(site().handle);
    for (const [what, body, status] of rows) {
      assert.equal((await handle(post(body))).status, status, `${what}: ${body.slice(0, 80)}`);
    }
    const shown = bodyText(await handle(makeRequest('GET', '/articles')));
    assert.doesNotMatch(shown, /<script|<img|[\0-\x08\x0b-\x1f\x7f-\x9f]/);
    assert.match(shown, /&lt;script&gt;alert\(1\)&lt;\/script&gt;/);
    assert.match(shown, /<h2 dir="auto">first<\/h2>/, 'of two titles, the first one is used');
    assert.doesNotMatch(shown, />second<|>two</);
    assert.match(shown, /<h2 dir="auto">a {1,2}Set-Cookie: x=1<\/h2>/, 'a title has one line');
    const pasted = '<p dir="auto">a\nb</p>';
    assert.ok(shown.includes(pasted), 'a vertical tab is a line break');
  });

  it('addArticles() shows hostile text as text', async () => {
    const { handle } = site();
    const text = '</textarea><img src=x onerror=alert(1)>';
    const save = (title: string, body: string) =>
      witness(handle)(post(new URLSearchParams({ title, body }).toString()));
    await save('<script>alert(1)</script>', text);
    const rejected = await save('"><script>', `${text}\0`);
    assert.equal(rejected.status, 422);
    for (const response of [await handle(makeRequest('GET', '/articles')), rejected]) {
      const body = bodyText(response);
      assert.doesNotMatch(body, /<script|<img|<\/textarea>[^]*<\/textarea>/);
      assert.match(body, /&lt;script&gt;/);
    }
  });

  it('checkText() names each control character that is not a tab or a line break', () => {
    for (let code = 0; code < 0x100; code++) {
      const message = checkText('It', `a${String.fromCharCode(code)}`, 1, 9);
      const isControl = (code < 0x20 && code !== 9 && code !== 10) || (code >= 0x7f && code < 0xa0);
      const name = `U+00${code.toString(16).toUpperCase().padStart(2, '0')}`;
      assert.equal(message, isControl ? `It contains the character ${name}. Remove it.` : undefined);
    }
  });

  it('addArticles() has a form that a browser can send: POST, labels and one button', async () => {
    const body = bodyText(await site().handle(makeRequest('GET', '/articles')));
    assert.match(body, /<title>Articles<\/title>/);
    assert.match(body, /<form method="post" action="\/articles">/);
    assert.match(body, /<label>Title <input name="title" value="" maxlength="100"><\/label>/);
    assert.match(body, /<label>Text <textarea name="body" rows="4" maxlength="5000">\n<\/textarea>/);
    assert.equal(body.split('<button').length, 2);
    assert.doesNotMatch(body, /<article>|required/, 'an empty form shows the 422');
  });

  it('addArticles() tells its caller of each saved article, and of no other', async () => {
    const pages = new Map<string, Handler>();
    const saved: string[] = [];
    addArticles(
      {
        get: (path: string, page: Handler) => pages.set(`GET ${path}`, page),
        post: (path: string, page: Handler) => pages.set(`POST ${path}`, page),
      },
      (request) => saved.push(request.method),
    );
    assert.deepEqual([...pages.keys()], ['GET /articles', 'POST /articles']);
    const page = pages.get('POST /articles') ?? assert.fail();
    for (const body of ['title=a&body=b', 'title=&body=b', 'title=c&body=d']) await page(post(body));
    assert.deepEqual(saved, ['POST', 'POST']);
  });

  it('site() of step 12 keeps its articles apart from those of another site()', async () => {
    const [one, two] = [site(), site()];
    await one.handle(post('title=On+tea&body=b'));
    assert.match(bodyText(await one.handle(makeRequest('GET', '/articles'))), /On tea/);
    assert.doesNotMatch(bodyText(await two.handle(makeRequest('GET', '/articles'))), /On tea/);
    const { status, headers } = await one.handle(makeRequest('GET', '/'));
    assert.deepEqual([status, headers.location], [303, '/articles']);
  });

  it('form() does not compile if its content is a text', () => {
    // @ts-expect-error: content is markup, not text
    const wrong = () => form(makeRequest(), '/', '<button>Save</button>');
    assert.match(wrong().markup, /&lt;button&gt;/, 'text is escaped, also without the compiler');
  });
});
