import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, ofStep } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { type Handler, type HttpRequest, type HttpResponse, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { html, page } from '../src/06-template.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { seeOther } from '../src/12-forms.ts';
import { RouteGroup, sessionFrom } from '../src/13-middleware.ts';
import { FlashSession, MAX_MESSAGES, rejectPrefetch, site, withFlash } from '../src/14-flash.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const ARTICLE = { title: 'On tea', body: 'It is hot.' };

const PREFETCHES = [
  { 'sec-purpose': 'prefetch' }, // Chrome, Firefox and Safari
  { 'sec-purpose': 'prefetch;prerender' }, // a typed address in Chrome
  { purpose: 'prefetch' }, // older Chrome
  { 'x-moz': 'prefetch' }, // older Firefox
];

type Data = { count: number };
type PageRequest = HttpRequest & { session: FlashSession<Data> };

const newSession = (data?: object): FlashSession<Data> =>
  new FlashSession(NOW, data && { accessed: NOW, created: NOW, data });

/** Returns the session as the next request receives it. */
const saved = (session: FlashSession<Data>): FlashSession<Data> =>
  newSession(JSON.parse(JSON.stringify(session)));

/** Returns the messages on a page: the queue, the role and the text of each. */
function messagesOf(response: HttpResponse): string[][] {
  const pattern = /<p class="flash (\w+)" role="(\w+)">([^<]*)<\/p>/g;
  return [...bodyText(response).matchAll(pattern)].map(([, ...parts]) => parts);
}

/** A visitor of pages that flash, redirect, show, fail and throw. */
function makeVisitor(): Visitor {
  const router = new Router();
  const options = { secrets: ['x'], sessionClass: FlashSession<Data> };
  const pages = RouteGroup.of(router)
    .with(rejectPrefetch)
    .with(sessionFrom(new SignedCookieSessionFactory(options)))
    .with(withFlash);
  const shown = page('A page', html`<h1>Here</h1>`);
  const leave: Handler<PageRequest> = ({ search, session }) => {
    session.flash(decodeURIComponent(search.slice(1)), 'info');
    return seeOther('/first');
  };
  const count: Handler<PageRequest> = ({ session }) => {
    session.update('count', (n = 0) => n + 1);
    return page('Count', html`<p>Count: ${session.get('count')}</p>`);
  };
  const fails: Handler = () => {
    throw new Error('This page has a bug');
  };
  pages.get('/leave', leave).get('/count', count).get('/throws', fails);
  pages.get('/first', () => seeOther('/second')).get('/second', () => seeOther('/page'));
  pages.get('/page', () => shown).get('/fails', () => ({ ...shown, status: 500 }));
  pages.get('/moved', () => ({ ...shown, status: 303, headers: { location: '/page' } }));
  pages.get('/json', () => text('{"title":"<main>"}', 200, { 'content-type': 'application/json' }));
  return new Visitor(router.handle);
}

describe('14-flash: FlashSession', () => {
  it('FlashSession.peekFlash() returns the messages and keeps them', () => {
    const session = newSession({ _f_: ['saved', 'sent'], _f_error: ['failed'] });
    for (let i = 0; i < 2; i++) assert.deepEqual(session.peekFlash(), ['saved', 'sent']);
    assert.deepEqual(session.peekFlash('error'), ['failed']);
    assert.deepEqual(session.peekFlash('info'), []);
    assert.equal(session.isChanged, false, 'a session that was only read is not saved');
  });

  it('FlashSession.flash() adds a message at the end of a queue', () => {
    const session = newSession();
    session.flash('saved');
    session.flash('sent');
    assert.deepEqual(session.peekFlash(), ['saved', 'sent']);
    assert.equal(session.isChanged, true, 'so the session is saved');
    const later = new Map<string, unknown>([['_f_', ['from another tab']]]);
    for (const [key, fn] of session.updates) later.set(key, fn(later.get(key) as never));
    const all = ['from another tab', 'saved', 'sent'];
    assert.deepEqual(later.get('_f_'), all, 'step 26 can add the messages to a newer session');
  });

  it('FlashSession.popFlash() returns each message once, the oldest first', () => {
    const session = newSession();
    session.flash('saved');
    session.flash('sent');
    const next = saved(session);
    assert.deepEqual(next.popFlash(), ['saved', 'sent']);
    assert.deepEqual(next.popFlash(), [], 'the messages are gone');
    assert.deepEqual(saved(next).popFlash(), [], 'also for the next request');
    assert.equal(next.size, 0);
  });

  it('FlashSession.flash() keeps each queue separate', () => {
    const session = newSession();
    session.flash('saved', 'success');
    session.flash({ text: 'careful' }, 'error');
    assert.deepEqual(session.popFlash('success'), ['saved']);
    assert.deepEqual(session.popFlash('error'), [{ text: 'careful' }]);
    assert.deepEqual(session.popFlash(), []);
  });

  it('FlashSession.flash() keeps the newest 20 messages of a queue', () => {
    const session = newSession();
    for (let i = 1; i <= MAX_MESSAGES + 1; i++) session.flash(i);
    assert.equal(MAX_MESSAGES, 20);
    assert.deepEqual(session.peekFlash(), Array.from({ length: 20 }, (_, i) => i + 2));
  });

  it('FlashSession.flash() uses the keys of Pyramid', () => {
    const file = readFileSync(new URL('./pyramid/vectors.json', import.meta.url), 'utf8');
    const { good } = JSON.parse(file) as { good: { name: string; dict: object }[] };
    const pyramid = good.find(({ name }) => name === 'flash, two queues, no duplicates');
    const session = newSession();
    session.flash('a', 'warn');
    session.flash({ k: [1] }, 'info');
    session.flash('x');
    assert.deepEqual(session.toJSON(), pyramid?.dict);
  });
});

describe('14-flash: withFlash and rejectPrefetch alone', () => {
  it('withFlash() shows a message once, also on a page with an error of the visitor', async () => {
    for (const status of [200, 400, 404, 422, 499]) {
      const session = newSession({ _f_info: ['hello'] });
      const handler = withFlash(() => page('A page', html`<h1>Here</h1>`, status));
      const response = await handler({ ...makeRequest(), session });
      assert.equal(response.status, status);
      assert.deepEqual(messagesOf(response), [['info', 'status', 'hello']], `${status}`);
      assert.deepEqual(session.peekFlash('info'), [], `${status}`);
    }
  });

  it('withFlash() shows errors first, and any JSON value as text', async () => {
    const session = newSession();
    const handler = withFlash(() => {
      session.flash('later', 'info');
      session.flash({ saved: 2 }, 'success');
      session.flash('first', 'error');
      session.flash('no page shows this queue', 'other');
      return page('A page', html`<h1>Here</h1>`);
    });
    assert.deepEqual(messagesOf(await handler({ ...makeRequest(), session })), [
      ['error', 'alert', 'first'],
      ['success', 'status', '{&quot;saved&quot;:2}'],
      ['info', 'status', 'later'],
    ]);
    assert.deepEqual(session.peekFlash('other'), ['no page shows this queue']);
  });

  it('rejectPrefetch() runs the page for an ordinary request', async () => {
    const handler = rejectPrefetch(() => text('the page'));
    for (const headers of [{}, { 'sec-purpose': '' }, { purpose: 'preview' }, { 'x-moz': 'no' }]) {
      const response = await handler(makeRequest('GET', '/', headers));
      assert.equal(bodyText(response), 'the page', JSON.stringify(headers));
    }
  });
});

describe('14-flash: withFlash and rejectPrefetch in a group', () => {
  it('withFlash() keeps a message until a page shows it, also after many redirects', async () => {
    const visitor = makeVisitor();
    for (const path of ['/leave?hello', '/first', '/second']) {
      assert.equal((await visitor.get(path)).status, 303, path);
    }
    assert.deepEqual(messagesOf(await visitor.get('/page')), [['info', 'status', 'hello']]);
    assert.deepEqual(messagesOf(await visitor.get('/page')), []);
  });

  it('withFlash() keeps the message if the response is HEAD, a redirect or a failure', async () => {
    const visitor = makeVisitor();
    await visitor.get('/leave?hello');
    const requests = ['HEAD /page', 'GET /moved', 'GET /fails', 'GET /json', 'GET /first'];
    for (const line of requests) {
      const [method = '', path = ''] = line.split(' ');
      assert.deepEqual(setCookies(await visitor.request(method, path)), [], line);
    }
    await assert.rejects(async () => visitor.get('/throws'), /This page has a bug/);
    assert.deepEqual(messagesOf(await visitor.get('/page')), [['info', 'status', 'hello']]);
  });

  it('withFlash() escapes each message', async () => {
    const visitor = makeVisitor();
    const attack = '<script>alert(1)</script>$&$`';
    await visitor.get(`/leave?${encodeURIComponent(attack)}`);
    const escaped = '&lt;script&gt;alert(1)&lt;/script&gt;$&amp;$`';
    assert.deepEqual(messagesOf(await visitor.get('/page')), [['info', 'status', escaped]]);
  });

  it('rejectPrefetch() responds 503, and does not count or remove anything', async () => {
    const visitor = makeVisitor();
    assert.match(await visitor.text('/count'), /Count: 1/);
    await visitor.get('/leave?hello');
    for (const headers of PREFETCHES) {
      for (const path of ['/count', '/page', '/leave?again']) {
        const response = await visitor.request('GET', path, headers);
        const row = `${path} with ${JSON.stringify(headers)}`;
        assert.deepEqual([response.status, setCookies(response)], [503, []], row);
      }
    }
    const response = await visitor.get('/count');
    assert.match(bodyText(response), /Count: 2/);
    assert.deepEqual(messagesOf(response), [['info', 'status', 'hello']]);
  });
});

describe('14-flash: the site', () => {
  it('site() of step 14 shows "Article saved" once, on the page after the redirect', async () => {
    const visitor = new Visitor(ofStep(site()));
    const response = await visitor.post('/articles', ARTICLE);
    assert.deepEqual([response.status, response.headers.location], [303, '/articles']);
    const articles = await visitor.get('/articles');
    assert.deepEqual(messagesOf(articles), [['success', 'status', 'Article saved']]);
    assert.match(bodyText(articles), /On tea/);
    assert.deepEqual(messagesOf(await visitor.get('/articles')), [], 'after a reload');
  });

  it('site() of step 14 shows the message to its visitor only', async () => {
    const handle = ofStep(site());
    const [ada, bob] = [new Visitor(handle), new Visitor(handle)];
    await ada.post('/articles', ARTICLE);
    assert.deepEqual(messagesOf(await bob.get('/articles')), []);
    assert.equal(messagesOf(await ada.get('/')).length, 1, 'on the next page, also another page');
  });

  it('site() of step 14 counts no visit for a page that the browser loads in advance', async () => {
    const visitor = new Visitor(ofStep(site()));
    assert.match(await visitor.text('/'), /Count: 1/);
    for (const headers of PREFETCHES) {
      const response = await visitor.request('GET', '/', headers);
      assert.equal(response.status, 503);
      assert.equal(response.headers.vary, undefined, 'the session is not opened');
    }
    assert.match(await visitor.text('/howdy'), /Count: 2/);
  });
});

describe('14-flash: what the compiler rejects', () => {
  it('withFlash() does not compile outside a session, or with a session without flash()', () => {
    const options = { secrets: ['x'], sessionClass: FlashSession<Data> };
    const factory = new SignedCookieSessionFactory(options);
    const bare = RouteGroup.of(new Router());
    const pages = bare.with(sessionFrom(factory)).with(withFlash);
    pages.get('/', ({ session }) => text(`${session.peekFlash().length}`));
    // @ts-expect-error: flash outside a session
    bare.with(withFlash);
    // @ts-expect-error: the order matters
    bare.with(withFlash).with(sessionFrom(factory));
    const plain = new SignedCookieSessionFactory({ ...options, sessionClass: Session<Data> });
    // @ts-expect-error: the class Session has no flash()
    bare.with(sessionFrom(plain)).with(withFlash);
    // @ts-expect-error: a misspelled key in a page of this group
    pages.get('/misspelled', ({ session }) => text(`${session.get('cuont')}`));
    assert.ok(pages instanceof RouteGroup);
  });
});
