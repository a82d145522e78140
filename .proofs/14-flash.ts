// Further proofs of step 14: hostile messages, each status, other bodies, and cookies of Pyramid.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import type { HttpResponse } from '../src/04-http.ts';
import { html, page } from '../src/06-template.ts';
import { SignedCookieSessionFactory, withSession } from '../src/08-session-factory.ts';
import { FlashSession, MAX_MESSAGES, site, withFlash } from '../src/14-flash.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970

const newSession = (data?: object): FlashSession<object> =>
  new FlashSession(NOW, data && { accessed: NOW, created: NOW, data });

const textsOf = (response: HttpResponse): string[] =>
  [...bodyText(response).matchAll(/<p class="flash [^>]*>([^<]*)/g)].map(([, text = '']) => text);

describe('14-flash: proofs', () => {
  it('FlashSession.flash() throws for a value that JSON would lose, and adds nothing', () => {
    const session = newSession();
    session.flash('kept');
    class Point {
      readonly x = 1;
    }
    const values = [undefined, NaN, Infinity, 1n, () => 1, Symbol('s'), new Date(0), new Map(),
      new Set(), new Uint8Array(1), new Point(), { a: [undefined] }, 2 ** 53];
    for (const value of values) {
      assert.throws(() => session.flash(value), Error, String(value));
    }
    assert.deepEqual(session.peekFlash(), ['kept']);
  });

  it('FlashSession.flash() accepts each JSON value', () => {
    const session = newSession();
    const values = ['', 'café 日本語 🍪', 0, -1.5, true, false, null, [], {}, [1, { two: [null] }]];
    for (const value of values) session.flash(value);
    const next = newSession(JSON.parse(JSON.stringify(session)));
    assert.deepEqual(next.popFlash(), values);
  });

  it('FlashSession.peekFlash() returns no messages if another program stored no array', () => {
    for (const value of ['text', 7, null, true, { 0: 'a', length: 1 }]) {
      const session = newSession({ _f_: value });
      assert.deepEqual(session.peekFlash(), [], JSON.stringify(value));
      session.flash('new');
      assert.deepEqual(session.popFlash(), ['new'], JSON.stringify(value));
    }
  });

  it('FlashSession.flash() treats __proto__ and constructor as names of queues', () => {
    const session = newSession();
    for (const queue of ['__proto__', 'constructor', 'toString']) {
      assert.deepEqual(session.peekFlash(queue), []);
      session.flash(queue, queue);
    }
    const next = newSession(JSON.parse(JSON.stringify(session)));
    assert.deepEqual(next.popFlash('__proto__'), ['__proto__']);
    assert.deepEqual(next.popFlash('constructor'), ['constructor']);
  });

  it('withFlash() removes messages for a status of 200 to 299 or 400 to 499 only', async () => {
    for (let status = 200; status <= 599; status++) {
      const session = newSession({ _f_info: ['hello'] });
      const handler = withFlash(() => page('A page', html`<h1>Here</h1>`, status));
      const response = await handler({ ...makeRequest(), session });
      const isSeen = (status >= 200 && status <= 299) || (status >= 400 && status <= 499);
      assert.deepEqual(textsOf(response), isSeen ? ['hello'] : [], `${status}`);
      assert.deepEqual(session.peekFlash('info'), isSeen ? [] : ['hello'], `${status}`);
    }
  });

  it('withFlash() returns a response without a page as it is', async () => {
    const shown = page('A page', html`<h1>Here</h1>`);
    const bodies = ['', '<main>text</main>', Buffer.from('<main>'), { render: () => '<main>' }];
    for (const body of bodies) {
      const session = newSession({ _f_info: ['hello'] });
      const response: HttpResponse = { ...shown, body };
      assert.equal(await withFlash(() => response)({ ...makeRequest(), session }), response);
      assert.equal(session.isChanged, false);
    }
  });

  it('withFlash() does not change a page if there are no messages', async () => {
    const shown = page('A page', html`<h1>Here</h1>`);
    const session = newSession({ _f_other: ['hello'] });
    const response = await withFlash(() => shown)({ ...makeRequest(), session });
    assert.equal(bodyText(response), bodyText(shown));
    assert.equal(session.isChanged, false);
  });

  it('withFlash() responds to HEAD with the page that GET returns next', async () => {
    const visitor = new Visitor(site());
    await visitor.post('/articles', { title: 'a', body: 'b' });
    const head = await visitor.request('HEAD', '/articles');
    const get = await visitor.get('/articles');
    assert.equal(bodyText(head), bodyText(get), 'so the Content-Length is the same');
    assert.deepEqual([setCookies(head).length, setCookies(get).length], [0, 1]);
  });

  it('withFlash() shows at most 20 messages of requests whose pages were not shown', async () => {
    const visitor = new Visitor(site());
    for (let i = 0; i <= MAX_MESSAGES; i++) {
      await visitor.post('/articles', { title: `${i}`, body: 'b' });
    }
    assert.deepEqual(textsOf(await visitor.get('/')), Array(MAX_MESSAGES).fill('Article saved'));
    assert.deepEqual(textsOf(await visitor.get('/')), []);
  });

  it('withFlash() shows what real Pyramid flashed, and keeps a queue that it does not know', async () => {
    const file = readFileSync(new URL('../test/pyramid/vectors.json', import.meta.url), 'utf8');
    const { good } = JSON.parse(file) as { good: { name: string; cookie: string }[] };
    const { cookie = '' } = good.find(({ name }) => name.startsWith('flash, two queues')) ?? {};
    const options = { secrets: ['itsaseekreet'], sessionClass: FlashSession<object> };
    const factory = new SignedCookieSessionFactory({ ...options, now: () => NOW });
    const visitor = new Visitor(withSession(factory)(withFlash(() => page('A page', html``))));
    visitor.cookies.set('session', cookie);
    assert.deepEqual(textsOf(await visitor.get('/')), ['{&quot;k&quot;:[1]}', 'x']);
    const left = factory.open(visitor.cookies.get('session') ?? '')?.toJSON();
    assert.deepEqual(left, { _f_warn: ['a'] });
  });

  it('site() of step 14 keeps the message for an article that the form rejects', async () => {
    const visitor = new Visitor(site());
    await visitor.post('/articles', { title: 'a', body: 'b' });
    const response = await visitor.post('/articles', { title: '', body: 'b' });
    assert.equal(response.status, 422);
    const error = 'The title must have 1 to 100 characters, not 0.';
    assert.deepEqual(textsOf(response), ['Article saved', error]);
  });
});
