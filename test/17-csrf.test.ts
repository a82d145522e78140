import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { formsOf, formTo, tokenOf } from '../.tools/forms.ts';
import { bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { type Handler, text } from '../src/04-http.ts';
import { html, page } from '../src/06-template.ts';
import { SignedCookieSessionFactory, withSession } from '../src/08-session-factory.ts';
import { form, type FormRequest } from '../src/12-forms.ts';
import { Browser } from '../src/16-browser.ts';
import { CsrfSession, forgeryReason, site, withCsrf } from '../src/17-csrf.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const HOST = 'localhost:6543';
const TRUSTED = 'https://app.example.org';
const CROSS = { 'sec-fetch-site': 'cross-site' }; // as a browser says it of a page elsewhere
const SAME = { 'sec-fetch-site': 'same-origin' };

type Data = { note: string };
type Page = Handler<FormRequest & { session: CsrfSession<Data> }>;

const factory = new SignedCookieSessionFactory({ secrets: ['x'], sessionClass: CsrfSession<Data> });

/** A page with one form. */
const showForm: Page = (request) =>
  page('A page', form(request, '/save', html`<button>Save</button>`));

/** Returns a browser that visits this page behind `withCsrf`. */
function visit(show: Page = showForm, trustedOrigins?: readonly string[]): Browser {
  return new Browser(withSession(factory)(withCsrf(trustedOrigins)(show)), ORIGIN);
}

/** Returns the reason for a POST request with these headers, or `undefined`: it is accepted. */
function reasonFor(
  headers: Record<string, string>,
  { method = 'POST', body = '', session = new CsrfSession<Data>(0) } = {},
): Promise<string | undefined> {
  const type = { 'content-type': 'application/x-www-form-urlencoded' };
  const request = makeRequest(method, '/', { host: HOST, ...type, ...headers }, body);
  return forgeryReason(given({ ...request, session }), [TRUSTED]);
}

describe('17-csrf: the token', () => {
  it('csrfToken() returns 160 random bits, the same until newCsrfToken()', () => {
    const session = new CsrfSession(0);
    const token = session.csrfToken();
    assert.match(token, /^[0-9a-f]{40}$/);
    assert.equal(session.csrfToken(), token);
    const next = session.newCsrfToken();
    assert.notEqual(next, token);
    assert.equal(session.csrfToken(), next);
    assert.notEqual(new CsrfSession(0).csrfToken(), next, 'each session has its own token');
  });

  it('csrfToken() returns the token of a session that real Pyramid saved', () => {
    const file = new URL('./pyramid/vectors.json', import.meta.url);
    const { good } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Vector[]>;
    const { cookie = '' } = good?.find(({ name }) => name === 'csrf token') ?? {};
    const options = { secrets: ['itsaseekreet'], sessionClass: CsrfSession };
    const session = new SignedCookieSessionFactory(options).open(cookie);
    assert.equal(session?.csrfToken(), '000102030405060708090a0b0c0d0e0f10111213');
    assert.equal(session.isChanged, false, 'the token existed, so nothing has changed');
  });

  it('isCsrfToken() accepts the token, and no other text', () => {
    const session = new CsrfSession(0);
    const token = session.csrfToken();
    assert.equal(session.isCsrfToken(given(token)), true);
    const wide = ['é'.repeat(20), 'é'.repeat(40)]; // 40 bytes, and 40 characters
    for (const other of ['', '0', '0'.repeat(40), token.slice(1), `${token}0`, ...wide]) {
      assert.equal(session.isCsrfToken(given(other)), false, `'${other}' is not '${token}'`);
    }
  });

  it('isCsrfToken() accepts no text if the session has no token, and creates none', () => {
    const session = new CsrfSession(0);
    for (const other of ['', 'undefined', 'null']) {
      assert.equal(session.isCsrfToken(given(other)), false);
    }
    assert.equal(session.isChanged, false);
  });
});

type Vector = { readonly name: string; readonly cookie: string };

describe('17-csrf: who sent the form?', () => {
  it('forgeryReason() accepts a request that only reads, from anywhere', async () => {
    const headers = { ...CROSS, origin: 'http://evil.example' };
    for (const method of ['GET', 'HEAD', 'OPTIONS']) {
      assert.equal(await reasonFor(headers, { method }), undefined, method);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'get']) {
      assert.match((await reasonFor(headers, { method })) ?? 'accepted', /cross-site/, method);
    }
  });

  it('forgeryReason() believes Sec-Fetch-Site first', async () => {
    for (const site of ['same-origin', 'none']) {
      assert.equal(await reasonFor({ 'sec-fetch-site': site }), undefined, site);
    }
    for (const site of ['cross-site', 'same-site']) {
      const reason = `The form does not come from this server (Sec-Fetch-Site: ${site}).`;
      assert.equal(await reasonFor({ 'sec-fetch-site': site, origin: ORIGIN }), reason);
    }
  });

  it('forgeryReason() compares Origin with Host if Sec-Fetch-Site is missing', async () => {
    assert.equal(await reasonFor({ origin: ORIGIN }), undefined);
    const others = [
      'http://evil.example', 'http://localhost:6544', 'http://localhost', 'null', 'x',
      'http://evil-localhost:6543', 'http://localhost:6543@evil.example',
    ];
    for (const origin of others) {
      const reason = (await reasonFor({ origin })) ?? 'accepted';
      const start = `The form comes from ${origin}, and this server is ${HOST}.`;
      assert.ok(reason.startsWith(start), `${origin}: ${reason}`);
    }
  });

  it('forgeryReason() compares origins, not strings', async () => {
    const different: [origin: string, host: string][] = [
      ['https://shop.lan.evil.example', 'shop.lan'],
      ['https://shop.lan', 'shop.lan:80'],
      ['http://shop.lan', 'shop.lan:443'],
      ['app://localhost:6543', HOST], // an app, not a page of this site
      ['null', 'null'],
      ['http://shop.lan', ''],
    ];
    for (const [origin, host] of different) {
      const reason = (await reasonFor({ origin, host })) ?? 'accepted';
      assert.match(reason, /^The form comes from /, `from ${origin} to ${host}`);
    }
    const equal: [origin: string, host: string][] = [
      ['http://shop.lan', 'shop.lan:80'], // RFC 6454 §4: 80 is the port of http
      ['https://shop.lan', 'shop.lan:443'],
      ['http://shop.lan', 'SHOP.lan'], // RFC 9110 §4.2.3: upper and lower case are equal
      ['https://shop.lan', 'shop.lan'], // a proxy speaks https, and this server does not
      ['http://192.168.0.7:6543', '192.168.0.7:6543'],
      ['http://[::1]:6543', '[::1]:6543'],
    ];
    for (const [origin, host] of equal) {
      assert.equal(await reasonFor({ origin, host }), undefined, `${origin} and ${host}`);
    }
  });

  it('forgeryReason() names the setting of the proxy that changes the Host header', async () => {
    const headers = { origin: 'http://192.168.1.5', host: '127.0.0.1:6543' }; // nginx's default
    const reason = (await reasonFor(headers)) ?? 'accepted';
    assert.match(reason, /^The form comes from http:\/\/192\.168\.1\.5, and this server is 127\./);
    assert.match(reason, /nginx: proxy_set_header Host \$http_host/);
    assert.match(reason, /add the origin to TRUSTED_ORIGINS\.$/);
  });

  it('forgeryReason() asks for the token if both headers are missing', async () => {
    const session = new CsrfSession<Data>(0);
    const token = session.csrfToken();
    const body = `title=a&csrf_token=${token}`;
    assert.equal(await reasonFor({}, { session, body }), undefined);
    assert.equal(await reasonFor({ 'x-csrf-token': token }, { session }), undefined);
    const wrong = /^The token is missing or old, or/;
    for (const text of ['', 'title=a', 'csrf_token=', `csrf_token=${'0'.repeat(40)}`]) {
      assert.match((await reasonFor({}, { session, body: text })) ?? 'accepted', wrong, text);
    }
    const other = new CsrfSession<Data>(0);
    assert.match((await reasonFor({}, { session: other, body })) ?? 'accepted', wrong);
  });

  it('forgeryReason() ignores the token if a header names another site', async () => {
    const session = new CsrfSession<Data>(0);
    const body = `csrf_token=${session.csrfToken()}`;
    for (const headers of [CROSS, { origin: 'http://evil.example' }, { origin: 'null' }]) {
      const reason = await reasonFor(headers, { session, body });
      assert.notEqual(reason, undefined, JSON.stringify(headers));
    }
  });
});

describe('17-csrf: the middleware', () => {
  it('withCsrf() rejects a forged form with 403, and does not call the page', async () => {
    const saved: string[] = [];
    const browser = visit(({ method }) => (saved.push(method), text('saved')));
    const forged = await browser.request('POST', '/', 'title=a', CROSS);
    assert.equal(forged.status, 403);
    assert.match(bodyText(forged), /^403 Forbidden\n\nThe form does not come from this server/);
    assert.match(bodyText(forged), / Nothing was done\. Open the page of this site again /);
    assert.deepEqual(saved, []);
    assert.equal((await browser.request('POST', '/', 'title=a', SAME)).status, 200);
    assert.deepEqual(saved, ['POST']);
  });

  it('withCsrf() sets no cookie with a 403: it would replace the session', async () => {
    // SameSite=Lax keeps the cookie back, so the forged request looks like a new visitor.
    for (const headers of [CROSS, { origin: 'http://evil.example' }, {}]) {
      const response = await visit().request('POST', '/', 'csrf_token=0', headers);
      assert.equal(response.status, 403, JSON.stringify(headers));
      assert.deepEqual(setCookies(response), [], JSON.stringify(headers));
    }
  });

  it('withCsrf() gives each form of the page the token of the session', async () => {
    const show: Page = (request) =>
      page('Two forms', html`${form(request, '/a', html``)}${form(request, '/b', html``)}`);
    const browser = visit(show);
    const forms = formsOf(bodyText(await browser.get('/')));
    const [first, second] = forms.map(({ fields }) => fields.csrf_token);
    assert.match(first ?? 'no token', /^[0-9a-f]{40}$/);
    assert.equal(second, first);
    const token = tokenOf(bodyText(await browser.get('/')));
    assert.equal(token, first, 'the session keeps the token');
  });

  it('withCsrf() creates no token, and so no session, for a page without a form', async () => {
    const response = await visit(() => page('A page', html`<p>No form</p>`)).get('/');
    assert.deepEqual(setCookies(response), []);
  });

  it('withCsrf() accepts the token of the page, and rejects it after newCsrfToken()', async () => {
    const browser = visit((request) => {
      if (request.path === '/renew') request.session.newCsrfToken();
      return showForm(request);
    });
    const send = async (token: string): Promise<number> =>
      (await browser.request('POST', '/', `csrf_token=${token}`)).status;
    const old = tokenOf(bodyText(await browser.get('/')));
    assert.equal(await send(old), 200);
    const renewed = tokenOf(bodyText(await browser.get('/renew')));
    assert.deepEqual([await send(old), await send(renewed)], [403, 200]);
  });

  it('withCsrf() trusts the listed origins, and no others', async () => {
    const browser = visit(showForm, [TRUSTED]);
    const send = async (origin: string): Promise<number> =>
      (await browser.request('POST', '/', '', { ...CROSS, origin })).status;
    assert.equal(await send(TRUSTED), 200);
    const others = ['http://app.example.org', 'https://x.app.example.org', `${TRUSTED}/`, 'null'];
    for (const origin of others) assert.equal(await send(origin), 403, origin);
  });

  it('withCsrf() throws a TypeError for a trusted origin that is not an origin', () => {
    const wrong = ['example.org', 'https://a.example/', 'https://a.example/x', 'null', '*', ''];
    for (const origin of [...wrong, 'https://A.example', 'https://a.example:443']) {
      const message = `Cannot trust '${origin}': an origin looks like https://app.example.org`;
      assert.throws(() => withCsrf([origin]), { name: 'TypeError', message });
    }
  });

  it('site() of step 17 saves an article from its own page, and from no other page', async () => {
    const browser = new Browser(ofStep(site()));
    const article = { title: 'On tea', body: 'It is hot.' };
    const { fields } = formTo(bodyText(await browser.get('/articles')), '/articles');
    const saved = await browser.post('/articles', { ...fields, ...article });
    assert.match(bodyText(saved), /Article saved/);
    assert.equal((await browser.post('/articles', article)).status, 403, 'without the token');
    const forged = await browser.request('POST', '/articles', 'title=a&body=b', CROSS);
    assert.equal(forged.status, 403);
    assert.equal(bodyText(await browser.get('/articles')).match(/<article>/g)?.length, 1);
  });
});
