// Further proofs of step 10: unusual cookies and times, HEAD, caches, and a store that does not work.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { assertCookie, bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { startServer } from '../.tools/serve.ts';
import { Cookie } from '../src/02-cookie.ts';
import { Signer } from '../src/03-signer.ts';
import { type Handler, type HttpResponse, toListener } from '../src/04-http.ts';
import { html, page, Page } from '../src/06-template.ts';
import { Session } from '../src/07-session.ts';
import { type SessionFactory, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { withSession } from '../src/08-session-factory.ts';
import { site as tutorial, type TutorialData } from '../src/09-tutorial.ts';
import { addInspector, explainSigned, site, withInspector } from '../src/10-inspector.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const SECRETS = ['itsaseekreet'];
const signer = new Signer({ secrets: SECRETS, salt: 'pyramid.session.' });
const plain = page('A page', html`<h1>A page</h1>`);

function makeFactory(cookie = new Cookie('session')) {
  return new SignedCookieSessionFactory({
    secrets: SECRETS, sessionClass: Session<TutorialData>, now: () => NOW, cookie,
  });
}

/** Shows the panel below a response. */
async function showPanel(
  cookie: string,
  response: HttpResponse = plain,
  factory: SessionFactory<Session<object>> = makeFactory(),
): Promise<string> {
  const handle = withInspector(factory, explainSigned(), () => response);
  return bodyText(await handle(makeRequest('GET', '/', { cookie })));
}

describe('10-inspector: proofs about the panel', () => {
  it('withInspector() finds the session cookie among the cookies that a page sets', async () => {
    for (const headers of [['a=1', 'session=abc', 'b=2'], ['sessions=x', 'session=abc; Path=/']]) {
      const response = { ...plain, headers: { 'set-cookie': headers } };
      const body = await showPanel('', response);
      assert.match(body, /<code>Set-Cookie: session=abc(; Path=\/)?<\/code>/, String(headers));
    }
    const other = { ...plain, headers: { 'set-cookie': 'theme=dark' } };
    assert.match(await showPanel('', other), /The response sets<\/dt>\n<dd>nothing<\/dd>/);
  });

  it('withInspector() shows that the response deletes the session', async () => {
    const page = withSession(makeFactory())(({ session }) => (session.clear(), plain));
    const cookie = `session=${signer.encode(`[${NOW},${NOW},{"counter":7}]`)}`;
    const response = await page(makeRequest('GET', '/', { cookie }));
    const body = await showPanel(cookie, response);
    const [, shown] = /Set-Cookie: (session=[^<]*)</.exec(body) ?? [];
    assertCookie(shown, 'session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0');
    assert.match(body, /<p>There is no session\.<\/p>/);
  });

  it('withInspector() shows the cookie that the site uses, if two have its name', async () => {
    const [first, second] = [7, 8].map((n) => signer.encode(`[${NOW},${NOW},{"counter":${n}}]`));
    const shown = (body: string): string =>
      [...body.matchAll(/<b class="\w+">(.*?)<\/b>/g)].map(([, text]) => text).join('');
    const rows: [sent: string, expected: string | undefined][] = [
      [`session=other; session=${first}`, first],
      [`session=${first}; session=${second}`, first],
      [`session=a; session=b; session=c; session=${first}`, first],
      [`session=a; session=b; session=c; session=d; session=${first}`, 'a'], // four are tried
      ['session=a; session=b', 'a'],
    ];
    for (const [sent, expected] of rows) {
      assert.equal(shown(await showPanel(sent)), expected, sent);
    }
  });

  it('withInspector() shows $& and other patterns of replace() as they are', async () => {
    const words = '$& $` $1 $$ $\'';
    const value = signer.encode(JSON.stringify([NOW, NOW, { words }]));
    const body = await showPanel(`session=${value}`);
    assert.equal(body.split('<h1>').length, 2, 'the page is there once');
    assert.ok(body.includes('&quot;words&quot;: &quot;$&amp; $` $1 $$ $&#39;&quot;'), body);
  });

  it('withInspector() shows times that no calendar has', async () => {
    for (const time of [-1e11, -1, 0, 1e11, 8.64e12, 8.65e12, Number.MAX_SAFE_INTEGER]) {
      const body = await showPanel(`session=${signer.encode(`[${time},${time},{}]`)}`);
      assert.match(body, /<dt class="created">Created<\/dt><dd>(Invalid Date|.* GMT)<\/dd>/, `${time}`);
    }
  });

  it('withInspector() works for a cookie with another name', async () => {
    const factory = makeFactory(new Cookie('__Host-session', '; Path=/; Secure'));
    const router = tutorial(factory);
    addInspector(router, factory, explainSigned());
    const visitor = new Visitor(withInspector(factory, explainSigned(), router.handle));
    assert.match(await visitor.text('/'), /<code>Set-Cookie: __Host-session=/);
    assert.match(await visitor.text('/howdy'), /<code>Cookie: __Host-session=/);
    assert.match(await visitor.text('/inspect'), /<strong>Valid\.</);
    assert.match(await visitor.text('/inspect?flip=1'), /<strong>Not valid\.</);
    const size = '__Host-session'.length + (visitor.cookies.get('__Host-session')?.length ?? 0);
    assert.match(await visitor.text('/inspect'), new RegExp(`\n${size} of 4096 bytes`));
  });

  it('withInspector() returns the page if the session cannot be opened', async () => {
    const factory = makeFactory();
    const broken: SessionFactory<Session<object>> = {
      cookie: factory.cookie,
      open: async () => { throw new Error('the store does not respond'); },
      create: () => factory.create(),
      save: () => undefined,
    };
    const body = await showPanel('session=x', plain, broken);
    assert.match(body, /<h1>A page<\/h1>/);
    assert.match(body, /Cannot open the session\./);
    assert.doesNotMatch(body, /does not respond/);
  });

  it('withInspector() tells shared caches not to store a page that shows a cookie', async () => {
    const handle = withInspector(makeFactory(), explainSigned(), ({ path }) =>
      path === '/own' ? { ...plain, headers: { vary: 'Accept, Cookie', 'cache-control': 'no-store' } } : plain,
    );
    const { headers } = await handle(makeRequest());
    assert.deepEqual([headers.vary, headers['cache-control']], ['Cookie', 'private, no-cache']);
    const own = (await handle(makeRequest('GET', '/own'))).headers;
    assert.deepEqual([own.vary, own['cache-control']], ['Accept, Cookie', 'no-store']);
  });

  it('withInspector() keeps the title, the main part and the other slots of a page', async () => {
    const slots = { header: [html`<i>h</i>`], notices: [html`<i>n</i>`], footer: [html`<i>f</i>`] };
    const response = { ...plain, status: 422, body: new Page('Title', html`<h1>M</h1>`, slots) };
    const handle: Handler = withInspector(makeFactory(), explainSigned(), () => response);
    const { status, body } = await handle(makeRequest());
    assert.equal(status, 422);
    assert.ok(body instanceof Page);
    assert.equal(body.title, 'Title');
    assert.deepEqual([body.slots.header, body.slots.notices], [slots.header, slots.notices]);
    assert.deepEqual([body.slots.footer[0], body.slots.footer.length], [slots.footer[0], 2]);
  });

  it('withInspector() sends the headers of GET for HEAD, and no wrong length', async (t) => {
    const { request } = await startServer(t, toListener(site()));
    for (const path of ['/', '/howdy', '/inspect', '/style.css', '/nonsense']) {
      const [head, get] = [await request('HEAD', path), await request('GET', path)];
      assert.equal(head.status, get.status, path);
      assert.equal(head.headers.get('content-length'), null, `${path}: no length is allowed (§8.6)`);
      assert.equal(head.cookie, '', `HEAD ${path} is not a visit`);
      const same = ['content-type', 'cache-control', 'vary'];
      for (const name of same) assert.equal(head.headers.get(name), get.headers.get(name), path);
      assert.equal(Number(get.headers.get('content-length')), Buffer.byteLength(get.body), path);
    }
  });
});

describe('10-inspector: proofs about /inspect', () => {
  it('addInspector() flips a bit of a short, an invalid and a huge cookie without an error', async () => {
    const handle = site();
    const short = ['', 'a', 'AA', 'AAA', 'AAAA', '$$', '<b>', '\xff', '='].map((v) => `session=${v}`);
    for (const cookie of [...short, 'x', 'session', `session=${'A'.repeat(16_000)}`]) {
      const response = await handle(makeRequest('GET', '/inspect?flip=1', { cookie }));
      assert.equal(response.status, 200, cookie.slice(0, 60));
      assert.match(bodyText(response), /There is no session|<strong>Not valid\.</, cookie.slice(0, 60));
      assert.deepEqual(setCookies(response), []);
    }
  });

  it('addInspector() ignores a query that it does not know', async () => {
    const cookie = `session=${signer.encode(`[${NOW},${NOW},{"counter":7}]`)}`;
    const queries = ['?', '?flip', '?flip=', '?flip=2', '?flip=1&flip=1', '?flip=%31', '?__proto__=1'];
    for (const query of [...queries, '?"><script>alert(1)</script>', `?${'x'.repeat(8000)}`]) {
      const { status, body } = await site()(makeRequest('GET', `/inspect${query}`, { cookie }));
      const shown = bodyText({ status, headers: {}, body });
      assert.equal(status, 200, query);
      assert.match(shown, /<strong>Valid\.</, query);
      assert.doesNotMatch(shown, /<script/, query);
    }
  });

  it('addInspector() finds that a flipped copy, sent as a cookie, is a new session', async () => {
    const visitor = new Visitor(site());
    for (let i = 0; i < 3; i++) await visitor.get('/');
    const body = await visitor.text('/inspect?flip=1');
    const parts = [...body.matchAll(/<b class="(?:signature|payload)">([\w-]+)<\/b>/g)];
    visitor.cookies.set('session', parts.map(([, text]) => text).join(''));
    assert.match(await visitor.text('/'), /Count: 1</);
    assert.match(await visitor.text('/'), /Count: 2</, 'the new session continues');
  });

  it('addInspector() has no panel of its own, and its form sends GET', async () => {
    const visitor = new Visitor(site());
    await visitor.get('/');
    const body = await visitor.text('/inspect');
    assert.doesNotMatch(body, /class="inspector"/);
    assert.match(body, /<form action="\/inspect">/, 'GET changes nothing, so it needs no protection');
    const response = await site()(makeRequest('POST', '/inspect'));
    assert.equal(response.status, 405);
  });
});
