import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { html, page } from '../src/04-template.ts';
import { Browser } from '../src/08-browser.ts';
import { MAX_FLASH_MESSAGES, Session } from '../src/10-session.ts';
import { SignedCookieSessionFactory, withSession } from '../src/11-session-factory.ts';
import type { SessionRequest } from '../src/11-session-factory.ts';
import { addArticles, fieldOf, MAX_ARTICLES, seeOther, site, withFlash } from '../src/13-flash.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const GOOD = { title: 'On tea', body: 'It is hot.' };

type PyramidCookie = { name: string; options: { secret: string }; now: number; cookie: string };

/** The messages of a page: the queue, the role and the words of each. */
function messagesOf({ body }: HttpResponse): [string, string, string][] {
  const pattern = /<p class="flash (\w+)" role="(\w+)">([^<]*)<\/p>/g;
  return [...String(body).matchAll(pattern)].map(([, queue = '', role = '', words = '']) => [
    queue,
    role,
    words,
  ]);
}

const wordsOf = (response: HttpResponse): string[] => messagesOf(response).map(([, , words]) => words);

/** A site of pages that flash, redirect, show, fail and throw. */
function corridor(): Browser {
  const factory = new SignedCookieSessionFactory({ secrets: ['x'] });
  const mount = (inner: Handler<SessionRequest>): Handler =>
    withSession(factory, withFlash(inner));
  const shown = page('A page', html`<main><h1>Here</h1></main>`);
  const moved = { ...shown, status: 303, headers: { ...shown.headers, location: '/page' } };
  const type = { 'content-type': 'application/json' };
  const json = { status: 200, headers: type, body: '{"title":"<main>"}' };
  const router = new Router()
    .get('/leave/:words', (request) =>
      mount(({ session }) => {
        session.flash(request.params.words, 'info');
        return seeOther('/first');
      })(request),
    )
    .get('/first', mount(() => seeOther('/second')))
    .get('/second', mount(() => seeOther('/page')))
    .get('/page', mount(() => shown))
    .get('/moved', mount(() => moved))
    .get('/json', mount(() => json))
    .get('/failure', mount(() => ({ ...shown, status: 500 })))
    .get('/text', mount(() => ({ ...shown, body: '<p>bare</p>' })))
    .get('/throw', mount(() => { throw new Error('the page broke'); }));
  return new Browser(router.handle, ORIGIN);
}

describe('13-flash: articles', () => {
  it('seeOther() is 303 and a place to go, with nothing to show', () => {
    assert.deepEqual(seeOther('/a'), { status: 303, headers: { location: '/a' }, body: '' });
  });

  it('fieldOf() gives one field, trimmed, with LF for CR LF, and an empty text for none', () => {
    const form = new URLSearchParams([['a', ' one\r\ntwo\r '], ['a', 'second']]);
    assert.equal(fieldOf(form, 'a'), 'one\ntwo');
    assert.equal(fieldOf(form, '__proto__'), '');
  });

  it('addArticles() saves, answers 303, says so once on the next page, and never again', async () => {
    const browser = new Browser(site().handle);
    const response = await browser.request('POST', '/articles', 'title=On+tea&body=It+is+hot.');
    assert.equal(response.status, 303, 'See Other: the reload of what follows is a GET');
    assert.equal(response.headers.location, '/articles');
    assert.equal(response.body, '');
    const first = await browser.get('/articles');
    assert.deepEqual(messagesOf(first), [
      ['success', 'status', 'Article saved successfully!'],
      ['info', 'status', 'A restart of this server forgets all articles.'],
    ]);
    assert.match(String(first.body), /<h2 dir="auto">On tea<\/h2><p dir="auto">It is hot.<\/p>/);
    assert.deepEqual(messagesOf(await browser.get('/articles')), [], 'a reload');
  });

  it('addArticles() shows the newest first, to everybody', async () => {
    const { handle } = site();
    for (const title of ['one', 'two']) await new Browser(handle).post('/articles', { ...GOOD, title });
    const { body } = await new Browser(handle).get('/articles');
    const titles = [...String(body).matchAll(/<h2 dir="auto">(\w+)/g)].map(([, title]) => title);
    assert.deepEqual(titles, ['two', 'one']);
  });

  it('addArticles() gives back what was typed, with 422 and a message in error', async () => {
    const browser = new Browser(site().handle);
    const response = await browser.post('/articles', { title: '', body: '\n<b>kept</b> & "quoted"' });
    assert.equal(response.status, 422);
    assert.deepEqual(messagesOf(response), [
      ['error', 'alert', 'A title has one line, of 1 to 100 characters.'],
    ]);
    const textarea = '<textarea name="body" rows="4" maxlength="5000">\n&lt;b&gt;kept&lt;/b&gt; &amp; &quot;';
    assert.ok(String(response.body).includes(textarea), String(response.body));
    assert.equal(response.headers['set-cookie'], undefined, 'shown at once, it is kept nowhere');
    assert.deepEqual(messagesOf(await browser.get('/articles')), []);
    const both = await browser.post('/articles', { title: 'a\nb', body: ' ' });
    assert.deepEqual(wordsOf(both), [
      'A title has one line, of 1 to 100 characters.',
      'A text has 1 to 5000 characters.',
    ]);
    const { body } = await browser.post('/articles', { title: 'a "b" <i>', body: '' });
    const value = 'value="a &quot;b&quot; &lt;i&gt;"';
    assert.ok(String(body).includes(value), `the title is kept, as text: ${value}`);
  });

  it('addArticles() leaves one message of a kind where two articles were saved unseen', async () => {
    const browser = new Browser(site().handle);
    for (let i = 0; i < 2; i++) await browser.request('POST', '/articles', 'title=a&body=b');
    const saved = 'Article saved successfully!';
    const forgets = 'A restart of this server forgets all articles.'; // allowDuplicate: false
    assert.deepEqual(wordsOf(await browser.get('/')), [saved, saved, forgets]);
  });

  it('addArticles() keeps 100 articles, and then the oldest goes', async () => {
    const { handle } = site();
    for (let i = 0; i <= MAX_ARTICLES; i++) {
      await new Browser(handle).request('POST', '/articles', `title=no+${i}.&body=b`);
    }
    const body = String((await new Browser(handle).get('/articles')).body);
    assert.equal(body.split('<article>').length - 1, MAX_ARTICLES);
    assert.ok(body.includes(`no ${MAX_ARTICLES}.`) && !body.includes('no 0.'));
  });

  it('addArticles() names its page, so that others can lead there', () => {
    assert.equal(site().router.pathFor('articles'), '/articles');
  });

  it('addArticles() has a form that a browser can send: POST, labels, one button', async () => {
    const body = String((await new Browser(site().handle).get('/articles')).body);
    assert.match(body, /<title>Articles<\/title>/);
    assert.match(body, /<form method="post" action="\/articles">/);
    assert.match(body, /<\/form>\s*<\/main>/, 'and no article yet');
    assert.match(body, /<label>Title <input name="title"/);
    assert.match(body, /<label>Text <textarea name="body"/);
  });

  it('addArticles() shows hostile text as text, or refuses it in words: never a 5xx', async () => {
    const browser = new Browser(site().handle);
    const ROWS: [name: string, body: string, status: number][] = [
      ['markup', 'title=<script>alert(1)</script>&body=</textarea><img+src=x>', 303],
      ['the end of <main>', 'title=<main>&body=$%26$`$$', 303],
      ['CR and LF', 'title=a%0d%0aSet-Cookie:+x=1&body=b', 422],
      ['NUL', 'title=a%00b&body=b', 422],
      ['NUL in the text', 'title=a&body=a%00b', 422],
      ['an escape sequence', 'title=%1b[31m&body=b', 422],
      ['__proto__', '__proto__=a&constructor=b', 422],
      ['lone surrogates', 'title=%ED%A0%80&body=b', 400],
      ['half an escape', 'title=%e2%82&body=b', 400],
      ['two titles', 'title=first&title=second&body=b', 303],
      ['a list of titles', 'title[]=a&title[]=b&body=b', 422],
      ['101 characters', `title=${'a'.repeat(101)}&body=b`, 422],
      ['100 characters of two units', `title=${encodeURIComponent('😀'.repeat(100))}&body=b`, 303],
      ['5001 characters', `title=a&body=${'b'.repeat(5001)}`, 422],
      ['nothing', '', 422],
      ['200 fields', 'a&'.repeat(200), 400],
      ['CR and LF in the text', 'title=a&body=a%0d%0aSet-Cookie:+x=1', 303],
      ['a tab and a line in the text', 'title=a&body=a%0a%09b', 303],
      ['a C1 control in the text', 'title=a&body=a%c2%85b', 422],
      ['a lone CR in the text', 'title=a&body=a%0db', 422],
      ['lone surrogates in the text', 'title=a&body=%ED%A0%80', 400],
      ['two texts', 'title=a&body=one&body=two', 303],
      ['a list of texts', 'title=a&body[]=b', 422],
      ['5000 characters', `title=a&body=${'b'.repeat(5000)}`, 303],
      ['a title of 1 MB', `title=${'a'.repeat(1_000_000)}&body=b`, 422],
      ['a text of 1 MB', `title=a&body=${'b'.repeat(1_000_000)}`, 422],
    ];
    for (const [name, body, status] of ROWS) {
      const response = await browser.request('POST', '/articles', body);
      assert.equal(response.status, status, `${name}: ${body.slice(0, 80)}`);
    }
    const { body } = await browser.get('/articles');
    assert.doesNotMatch(String(body), /<script|<img|<\/textarea><img/);
    assert.ok(String(body).includes('&lt;script&gt;alert(1)&lt;/script&gt;'), 'shown as text');
    assert.ok(String(body).includes('<h2 dir="auto">first</h2>'), 'of two titles the first counts');
    assert.doesNotMatch(String(body), />second<|>two</);
    const json = { 'content-type': 'application/json' };
    assert.equal((await browser.request('POST', '/articles', '{}', json)).status, 415);
  });
});

describe('13-flash: withFlash()', () => {
  it('withFlash() keeps a message over a chain of redirects until a page shows it', async () => {
    const browser = corridor();
    assert.deepEqual(wordsOf(await browser.get('/leave/Mind%20the%20gap')), ['Mind the gap']);
    assert.deepEqual(wordsOf(await browser.get('/page')), []);
  });

  it('withFlash() uses up nothing for HEAD, and promises what GET will show', async () => {
    const browser = corridor();
    await browser.request('GET', '/leave/hello');
    const head = await browser.request('HEAD', '/page');
    assert.deepEqual(wordsOf(head), ['hello'], 'the length of a HEAD is that of its GET');
    assert.equal(head.headers['set-cookie'], undefined);
    assert.deepEqual(wordsOf(await browser.get('/page')), ['hello']);
  });

  it('withFlash() uses up nothing for a redirect that brings a page of its own', async () => {
    const browser = corridor();
    await browser.request('GET', '/leave/hello');
    const response = await browser.request('GET', '/moved');
    assert.deepEqual(wordsOf(response), [], 'told where nobody sees it: in the body of a 303');
    assert.equal(response.headers['set-cookie'], undefined);
    assert.deepEqual(wordsOf(await browser.get('/page')), ['hello']);
  });

  it('withFlash() leaves alone what is no HTML, though it holds the text <main>', async () => {
    const browser = corridor();
    await browser.request('GET', '/leave/hello');
    const { body, headers } = await browser.request('GET', '/json');
    assert.equal(body, '{"title":"<main>"}', 'markup in it would make it no JSON');
    assert.equal(headers['set-cookie'], undefined);
    assert.deepEqual(wordsOf(await browser.get('/page')), ['hello']);
  });

  it('withFlash() peeks for HEAD, whatever keeps the session', async () => {
    const taken: string[] = [];
    const session = {
      peekFlash: () => (taken.push('peek'), ['a message']),
      popFlash: () => (taken.push('pop'), ['a message']),
    };
    const shown = page('t', html`<main></main>`);
    const handler = withFlash(() => shown);
    const ask = (method: string) => handler({ method, session } as unknown as SessionRequest);
    await ask('HEAD');
    assert.deepEqual(taken, ['peek', 'peek', 'peek'], 'HEAD shows no message, and uses up none');
    const { body } = await ask('GET');
    assert.deepEqual(taken.slice(3), ['pop', 'pop', 'pop']);
    assert.match(String(body), /<body>\n<main>\n<p class="flash error" role="alert">a message</);
    session.popFlash = () => [];
    assert.equal(await ask('GET'), shown, 'with no message it is the page itself');
  });

  it('withFlash() takes messages for a page that is seen: 2xx or 4xx, of text', async () => {
    const table: [status: number, isSeen: boolean][] = [
      [200, true], [299, true], [300, false], [399, false], [400, true], [499, true], [500, false],
    ];
    const session = new Session(0);
    const ask = (response: HttpResponse) =>
      withFlash(() => response)({ method: 'GET', session } as SessionRequest);
    for (const [status, isSeen] of table) {
      session.flash('seen', 'info');
      const response = await ask(page('t', html`<main></main>`, status));
      assert.equal(wordsOf(response).length > 0, isSeen, `${status}`);
      session.popFlash('info');
    }
    session.flash('seen', 'info');
    const bytes = { ...page('t', html``), body: Buffer.from('<main>') };
    assert.equal(await ask(bytes), bytes);
    assert.deepEqual(session.peekFlash('info'), ['seen']);
  });

  it('withFlash() uses up nothing where the page failed, threw, or was no page', async (t) => {
    t.mock.method(console, 'error', () => {});
    const browser = corridor();
    await browser.request('GET', '/leave/hello');
    for (const path of ['/failure', '/throw', '/text', '/first']) {
      const response = await browser.request('GET', path);
      assert.deepEqual(wordsOf(response), [], path);
      assert.equal(response.headers['set-cookie'], undefined, path);
    }
    assert.deepEqual(wordsOf(await browser.get('/page')), ['hello']);
  });

  it('withFlash() keeps 20 unseen messages in a queue, and the oldest goes first', async () => {
    const browser = corridor();
    for (let i = 0; i <= MAX_FLASH_MESSAGES; i++) await browser.request('GET', `/leave/no${i}`);
    const words = wordsOf(await browser.get('/page'));
    assert.equal(words.length, MAX_FLASH_MESSAGES);
    assert.deepEqual([words[0], words.at(-1)], ['no1', `no${MAX_FLASH_MESSAGES}`]);
  });

  it('withFlash() escapes what it shows, and takes $& for what it is', async () => {
    const browser = corridor();
    const { body } = await browser.get(`/leave/${encodeURIComponent('<b>$&$`</b>')}`);
    assert.ok(String(body).includes('role="status">&lt;b&gt;$&amp;$`&lt;/b&gt;</p>'), String(body));
  });

  it('withFlash() shows errors first, and any JSON value', async () => {
    const factory = new SignedCookieSessionFactory({ secrets: ['x'] });
    const handler: Handler<SessionRequest> = ({ session }) => {
      session.flash('later', 'info');
      session.flash({ saved: 2 }, 'success');
      session.flash('first', 'error');
      session.flash('not shown: no queue of ours', 'other');
      return page('t', html`<main></main>`);
    };
    const response = await new Browser(withSession(factory, withFlash(handler))).get('/');
    assert.deepEqual(messagesOf(response), [
      ['error', 'alert', 'first'],
      ['success', 'status', '{&quot;saved&quot;:2}'],
      ['info', 'status', 'later'],
    ]);
  });

  it('withFlash() shows what real Pyramid flashed, and takes out what it has shown', async () => {
    const file = new URL('./pyramid/vectors.json', import.meta.url);
    const { good } = JSON.parse(readFileSync(file, 'utf8')) as { good: PyramidCookie[] };
    const made = good.find(({ name }) => name === 'flash, two queues, no duplicates');
    assert.ok(made, 'a session with the queues info, warn and the one without a name');
    const now = (): number => made.now;
    const factory = new SignedCookieSessionFactory({ secrets: [made.options.secret], now });
    const show = withSession(factory, withFlash(() => page('t', html`<main></main>`)));
    const browser = new Browser(show, ORIGIN, now);
    const headers = { cookie: `session=${made.cookie}` };
    const response = await browser.request('GET', '/', '', headers);
    assert.deepEqual(messagesOf(response), [['info', 'status', '{&quot;k&quot;:[1]}']]);
    const left = factory.read(browser.jar.headerFor(new URL(ORIGIN), now())?.slice(8) ?? '');
    assert.deepEqual(left?.data, { _f_warn: ['a'], _f_: ['x'] }, 'queues that we do not show');
  });

  it('addArticles() and withFlash() do not compile where there is no session', () => {
    const router = new Router();
    const needy: Handler<SessionRequest> = () => seeOther('/');
    // @ts-expect-error a page that needs a session cannot be mounted without one
    router.get('/needy', needy);
    // @ts-expect-error nor with withFlash alone
    router.get('/flash', withFlash(needy));
    // @ts-expect-error nor can the articles
    addArticles(new Router(), (inner: Handler) => inner);
    assert.ok(router.find('/needy'), 'the compiler refuses what would run, and fail');
  });
});
