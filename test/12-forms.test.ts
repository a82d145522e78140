import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { gzipSync } from 'node:zlib';
import { explainedIt, given, ofStep, witness } from '../.tools/explain.ts';
import { bodyText, makeRequest } from '../.tools/request.ts';
import { type Handler, type HttpRequest, type HttpResponse, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { html } from '../src/06-template.ts';
import { addArticles, checkText, fieldOf, form, MAX_ARTICLES } from '../src/12-forms.ts';
import { MAX_BODY_SIZE, readForm, seeOther, site, withForm } from '../src/12-forms.ts';

const it = explainedIt(import.meta.url);
const TYPE = 'application/x-www-form-urlencoded';

type Body = string | Uint8Array | AsyncIterable<Uint8Array>;

/** Returns a request with a body, as it arrives from a form. */
function post(body: Body, headers: Record<string, string> = {}): HttpRequest {
  const request = makeRequest('POST', '/articles', { 'content-type': TYPE, ...headers });
  if (typeof body === 'string') return post(Buffer.from(body), headers);
  if (!(body instanceof Uint8Array)) return { ...request, body };
  return { ...request, body: (async function* () { yield body; })() };
}

/** Returns the fields, or the status of the error response. */
async function fieldsOf(request: HttpRequest): Promise<[string, string][] | number> {
  const result = await readForm(request);
  return result instanceof URLSearchParams ? [...result] : result.status;
}

/** Returns the status of the error response, or 200. It is short, also if the form is large. */
async function statusOf(request: HttpRequest): Promise<number> {
  const result = await readForm(request);
  return result instanceof URLSearchParams ? 200 : result.status;
}

/** A body that is much too large. `sent` counts the chunks that the form has read. */
function hugeBody() {
  const count = { sent: 0 };
  const body = (async function* () {
    while (count.sent < 1000) {
      count.sent += 1;
      yield Buffer.alloc(16 * 1024, 'a');
    }
  })();
  return { count, body };
}

/** The page `/articles` alone. */
function articles(onSave?: () => void): Handler {
  const router = new Router();
  addArticles(router, onSave);
  return router.handle;
}

/** Sends the form of an article. */
async function save(handle: Handler, title: string, body: string): Promise<HttpResponse> {
  return witness(handle)(post(new URLSearchParams({ title, body }).toString()));
}

async function open(handle: Handler, path = '/articles'): Promise<string> {
  return bodyText(await handle(makeRequest('GET', path)));
}

describe('12-forms: the parts of a page with a form', () => {
  it('seeOther() returns 303, which a browser follows with GET', () => {
    assert.deepEqual(seeOther(given('/a')), { status: 303, headers: { location: '/a' }, body: '' });
  });

  it('form() posts, and contains the fields that a later step adds', () => {
    const button = html`<button>Save</button>`;
    const plain = form(given(makeRequest()), '/a?b=1&c="', button).markup;
    const start = '<form method="post" action="/a?b=1&amp;c=&quot;">';
    assert.equal(plain, `${start}\n<button>Save</button>\n</form>`);
    const hiddenFields = () => html`<input type="hidden" name="token" value="x">`;
    const more = form(given({ ...makeRequest(), hiddenFields }), '/a', button).markup;
    assert.match(more, /<form method="post" action="\/a">\n<input type="hidden" .*><button>/);
  });

  it('fieldOf() returns a field without white space around it, and LF for each line break', () => {
    const table: [typed: string, text: string][] = [
      ['  Ada \t', 'Ada'], ['one\r\ntwo\r\n', 'one\ntwo'], ['a\rb', 'a\nb'], ['a\n\nb', 'a\n\nb'],
      ['from Word:\vthe next line', 'from Word:\nthe next line'],
      ['a\fb\x85c\u2028d\u2029e', 'a\nb\nc\nd\ne'],
    ];
    for (const [typed, text] of table) {
      assert.equal(
        fieldOf(given(new URLSearchParams({ typed })), 'typed'),
        text,
        JSON.stringify(typed),
      );
    }
    assert.equal(fieldOf(given(new URLSearchParams('a=1&a=2')), 'a'), '1', 'the first one');
    assert.equal(
      fieldOf(given(new URLSearchParams()), '__proto__'),
      '',
      'a field that was not sent',
    );
  });

  it('checkText() names a control character, or the wrong length', () => {
    assert.equal(checkText('The title', given('Tea'), 1, 3), undefined);
    assert.equal(checkText('The title', given('😀😀😀'), 1, 3), undefined, '😀 has two code units');
    assert.equal(
      checkText('The title', given(''), 1, 3),
      'The title must have 1 to 3 characters, not 0.',
    );
    assert.equal(checkText('It', given('Teas'), 1, 3), 'It must have 1 to 3 characters, not 4.');
    for (const name of ['0000', '0008', '000B', '001B', '001F', '007F', '0080', '009F']) {
      const character = String.fromCharCode(Number.parseInt(name, 16));
      const message = `It contains the character U+${name}. Remove it.`;
      assert.equal(checkText('It', given(`a${character}b`), 1, 9), message);
    }
    assert.equal(
      checkText('It', given('a\tb\nc'), 1, 9),
      undefined,
      'a tab and a line break are text',
    );
  });
});

describe('12-forms: the fields', () => {
  it('readForm() reads the fields in order, with all their values', async () => {
    const fields = await fieldsOf(post('a=1&b=caf%C3%A9+%26+more&a=2&empty='));
    assert.deepEqual(fields, [['a', '1'], ['b', 'café & more'], ['a', '2'], ['empty', '']]);
  });

  it('readForm() returns the same form each time, because a body arrives once', async () => {
    const request = post('a=1');
    const first = await readForm(request);
    const second = await readForm({ ...request, path: '/other' }); // middleware copies a request
    assert.ok(second === first, 'the same object for the same body');
    assert.ok((await readForm(post('a=1'))) !== first, 'another object for another body');
  });

  it('readForm() accepts a form in UTF-8, and rejects other types with 415', async () => {
    const charsets = ['', ';', '; charset=utf-8', ';charset=utf8', ';charset=UTF-8', ' ; charset="utf-8" '];
    for (const charset of charsets) {
      const request = post('a=1', { 'content-type': TYPE + charset });
      assert.deepEqual(await fieldsOf(request), [['a', '1']], `charset '${charset}'`);
    }
    const types = [
      '', 'text/plain', 'application/json', 'multipart/form-data; boundary=x', `x${TYPE}`,
      `${TYPE}x`, `${TYPE}; charset=iso-8859-1`, `text/plain; ${TYPE}`,
    ];
    for (const type of types) {
      assert.equal(await statusOf(post('a=1', { 'content-type': type })), 415, `type '${type}'`);
    }
  });

  it('readForm() rejects a compressed body with 415: it can become gigabytes', async () => {
    const bomb = gzipSync(Buffer.alloc(10_000_000, 'a'));
    assert.ok(bomb.length < MAX_BODY_SIZE, `${bomb.length} bytes contain 10 million`);
    for (const coding of ['gzip', 'br', 'deflate', 'zstd', 'gzip, gzip']) {
      assert.equal(await statusOf(post(bomb, { 'content-encoding': coding })), 415, coding);
    }
  });

  it('readForm() rejects bytes that are not UTF-8 with 400', async () => {
    const rows: [body: string | Uint8Array, what: string][] = [
      ['a=%e9', 'é in Latin-1, encoded'],
      [Buffer.from('a=é', 'latin1'), 'é in Latin-1, not encoded'],
      ['a=%c0%af', 'a / with two bytes'],
      ['a=%ed%a0%80', 'half of a surrogate pair'],
      ['%e2%82=a', 'a character without its end, in a name'],
    ];
    for (const [body, what] of rows) assert.equal(await fieldsOf(post(body)), 400, what);
  });

  it('readForm() accepts 100 fields, and rejects more with 400', async () => {
    const body = Array.from({ length: 101 }, (_, i) => `f${i}=`);
    assert.equal(await statusOf(post(body.slice(1).join('&'))), 200);
    assert.equal(await statusOf(post(body.join('&'))), 400);
  });
});

describe('12-forms: the size of a body', () => {
  it('readForm() accepts a body of 65,536 bytes, and rejects one more byte with 413', async () => {
    assert.equal(MAX_BODY_SIZE, 65_536);
    const largest = `a=${'x'.repeat(MAX_BODY_SIZE - 2)}`;
    assert.equal(await statusOf(post(largest)), 200);
    assert.equal(await statusOf(post(largest, { 'content-length': '65536' })), 200);
    assert.equal(await statusOf(post(`${largest}x`)), 413);
  });

  it('readForm() rejects a large Content-Length with 413 before it reads a byte', async () => {
    const { count, body } = hugeBody();
    const announced = { 'content-length': String(MAX_BODY_SIZE + 1) };
    assert.equal(await statusOf(post(body, announced)), 413);
    assert.equal(count.sent, 0);
  });

  it('readForm() counts the bytes of a body without a length, and stops at the limit', async () => {
    const { count, body } = hugeBody();
    assert.equal(await statusOf(post(body)), 413);
    assert.equal(count.sent, 5, 'four chunks of 16 KiB are the limit');
  });
});

describe('12-forms: the articles', () => {
  it('withForm() passes the form to the page, or returns the error response', async () => {
    const page = withForm(({ form }) => text(`Hi ${form.get('name')}`));
    assert.equal(bodyText(await page(post('name=Ada'))), 'Hi Ada');
    assert.equal((await page(post('name=Ada', { 'content-type': 'text/plain' }))).status, 415);
  });

  it('addArticles() saves an article and redirects, so a reload sends nothing again', async () => {
    const calls: string[] = [];
    const handle = articles(() => calls.push('onSave'));
    const response = await save(handle, 'On tea', 'It is hot.\r\nVery hot.');
    assert.deepEqual([response.status, response.headers.location], [303, '/articles']);
    const shown = '<h2 dir="auto">On tea</h2>\n<p dir="auto">It is hot.\nVery hot.</p>';
    assert.ok((await open(handle)).includes(shown));
    const afterReload = (await open(handle)).split('<article>');
    assert.equal(afterReload.length, 2, 'one article, also after a reload');
    assert.deepEqual(calls, ['onSave'], 'the caller can tell the visitor');
  });

  it('addArticles() writes a title in one line, and trims each text', async () => {
    const handle = articles();
    await save(handle, ' On\r\ntea\v', '\n It is hot. \n');
    const shown = '<h2 dir="auto">On tea</h2>\n<p dir="auto">It is hot.</p>';
    assert.ok((await open(handle)).includes(shown));
  });

  it('addArticles() shows what was typed again after an error, with status 422', async () => {
    const handle = articles();
    const response = await save(handle, '', '\n<b>kept</b> & "quoted"');
    assert.equal(response.status, 422);
    const body = bodyText(response);
    const message = 'The title must have 1 to 100 characters, not 0.';
    assert.ok(body.includes(`<p class="flash error" role="alert">${message}</p>`), body);
    const kept = '>\n&lt;b&gt;kept&lt;/b&gt; &amp; &quot;quoted&quot;</textarea>';
    assert.ok(body.includes(kept), body);
    const other = bodyText(await save(handle, 'a "b" <i>', ''));
    assert.ok(other.includes('value="a &quot;b&quot; &lt;i&gt;"'), other);
    assert.match(other, /The text must have 1 to 5000 characters, not 0\./);
    assert.doesNotMatch(await open(handle), /<article>|alert|kept/, 'no article was saved');
  });

  it('addArticles() shows the newest article first, and keeps 100 articles', async () => {
    const handle = articles();
    for (let i = 0; i <= MAX_ARTICLES; i++) await save(handle, `no${i}`, 'text');
    const shown = (await open(handle)).matchAll(/<h2 dir="auto">no(\d+)</g);
    const titles = [...shown].map(([, number]) => Number(number));
    assert.equal(titles.length, 100);
    assert.deepEqual([titles[0], titles[1], titles.at(-1)], [100, 99, 1]);
  });

  it('site() of step 12 has the articles, and redirects from / to them', async () => {
    const handle = witness(ofStep(site().handle));
    assert.match(await open(handle), /<h1>Articles<\/h1>/);
    assert.equal((await handle(makeRequest('GET', '/style.css'))).status, 200);
    const { status, headers } = await handle(makeRequest('GET', '/'));
    assert.deepEqual([status, headers.location], [303, '/articles']);
  });
});
