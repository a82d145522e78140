import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { parseRequest, text } from '../src/02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';
import { html, page } from '../src/04-template.ts';
import { Browser } from '../src/08-browser.ts';
import { Session } from '../src/10-session.ts';
import { SignedCookieSessionFactory, withSession } from '../src/11-session-factory.ts';
import type { SessionRequest } from '../src/11-session-factory.ts';
import { seeOther } from '../src/13-flash.ts';
import { site, tokenField, whyForged, withCsrf } from '../src/14-csrf.ts';
import type { CsrfOptions } from '../src/14-csrf.ts';
import { hashPassword } from '../src/16-login.ts';
import { site as finishedSite } from '../src/main.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const TOKEN = 'the-token'; // in the table: stands for the session's own
const CROSS = { 'sec-fetch-site': 'cross-site' };

/** A page with a session and whatever forms, behind withCsrf. */
function guarded(body = html`<main></main>`, options?: CsrfOptions): Browser {
  const factory = new SignedCookieSessionFactory({ secrets: ['x'] });
  const show: Handler<SessionRequest> = () => page('A page', body);
  return new Browser(withSession(factory, withCsrf(show, options)), ORIGIN);
}

/** The tokens of a page, in its order. */
function tokensOf({ body }: HttpResponse): string[] {
  const fields = String(body).matchAll(/<input type="hidden" name="csrf_token" value="(\w+)">/g);
  return [...fields].map(([, token = '']) => token);
}

describe('14-csrf: the decision', () => {
  const OWN = 'http://localhost:6543';
  const TRUSTED = 'https://app.example.org';
  type Row = [
    passes: boolean,
    name: string,
    headers: Record<string, string>,
    more?: { method?: string; form?: (token: string) => string },
  ];
  const form = (token: string): string => `title=a&csrf_token=${token}`;
  const ROWS: Row[] = [
    // The method alone.
    [true, 'GET from anywhere', { ...CROSS, origin: 'http://evil.example' }, { method: 'GET' }],
    [true, 'HEAD from anywhere', CROSS, { method: 'HEAD' }],
    [true, 'OPTIONS from anywhere', CROSS, { method: 'OPTIONS' }],
    [false, 'PUT from another site', CROSS, { method: 'PUT' }],
    [false, 'PATCH from another site', CROSS, { method: 'PATCH' }],
    [false, 'DELETE from another site', CROSS, { method: 'DELETE' }],
    [false, 'a method that looks like GET', CROSS, { method: 'get' }],
    // Sec-Fetch-Site, where it is sent, decides alone.
    [true, 'same-origin', { 'sec-fetch-site': 'same-origin' }],
    [true, 'same-origin and Origin', { 'sec-fetch-site': 'same-origin', origin: OWN }],
    [true, 'none: the visitor', { 'sec-fetch-site': 'none' }],
    [false, 'same-site: a neighbour', { 'sec-fetch-site': 'same-site' }],
    [false, 'same-site, another port', { 'sec-fetch-site': 'same-site', origin: `${OWN}1` }],
    [false, 'cross-site', CROSS],
    [false, 'cross-site with our Origin', { ...CROSS, origin: OWN }],
    [false, 'cross-site with the token', CROSS, { form }],
    [false, 'cross-site with the token in a header', { ...CROSS, 'x-csrf-token': TOKEN }],
    [false, 'a word that no browser sends', { 'sec-fetch-site': 'friendly' }],
    [false, 'the right word in capitals', { 'sec-fetch-site': 'SAME-ORIGIN' }],
    [false, 'two words', { 'sec-fetch-site': 'same-origin, cross-site' }],
    // Origin, where there is no Sec-Fetch-Site: older browsers, and http on a LAN.
    [true, 'our own Origin', { origin: OWN }],
    [true, 'our own on a LAN', { origin: 'http://192.168.0.7:6543', host: '192.168.0.7:6543' }],
    [true, 'our own by name on a LAN', { origin: 'http://shop.local', host: 'shop.local' }],
    [true, 'https before a proxy', { origin: 'https://example.org', host: 'example.org' }],
    [true, 'Host in upper case', { origin: 'http://example.org', host: 'EXAMPLE.org' }],
    [true, 'IPv6', { origin: 'http://[::1]:6543', host: '[::1]:6543' }],
    [false, 'another Origin', { origin: 'http://evil.example' }],
    [false, 'another Origin with the token', { origin: 'http://evil.example' }, { form }],
    [false, 'another port', { origin: 'http://localhost:6544' }],
    [false, 'no port', { origin: 'http://localhost' }],
    [false, 'a name that begins like ours', { origin: 'http://a.b.evil.example', host: 'a.b' }],
    [false, 'a name that ends like ours', { origin: 'http://evil-localhost:6543' }],
    [false, 'our name as a user', { origin: 'http://localhost:6543@evil.example' }],
    [false, 'null: a sandbox, a file', { origin: 'null' }],
    [false, 'null with the token', { origin: 'null' }, { form }],
    [false, 'no Origin at all in it', { origin: 'x' }],
    [false, 'an Origin, and no Host', { origin: OWN, host: '' }],
    [false, 'an Origin and a Host that agree on nothing', { origin: 'null', host: 'null' }],
    [false, 'an Origin without a host, and no Host', { origin: 'about:blank', host: '' }],
    [false, 'a file, and no Host', { origin: 'file://', host: '' }],
    [false, 'an app of that name', { origin: 'app://localhost:6543' }],
    [false, 'an app whose scheme ends like ours', { origin: 'xhttp://localhost:6543' }],
    [false, 'two Origins', { origin: `${OWN}, http://evil.example` }],
    [true, 'an empty Sec-Fetch-Site is none: our Origin', { 'sec-fetch-site': '', origin: OWN }],
    [false, 'an empty Sec-Fetch-Site is none: no token', { 'sec-fetch-site': '' }],
    // The token, where a browser says neither.
    [true, 'the token in the form', {}, { form }],
    [true, 'the token in a header', { 'x-csrf-token': TOKEN }],
    [false, 'no token', {}],
    [false, 'an empty token', {}, { form: () => 'csrf_token=' }],
    [false, 'an empty token in a header', { 'x-csrf-token': '' }, { form }],
    [false, 'another token of its length', {}, { form: () => form('0'.repeat(40)) }],
    [false, 'the token and one letter more', {}, { form: (token) => form(`${token}0`) }],
    [false, 'the token without its first letter', {}, { form: (token) => form(token.slice(1)) }],
    [false, 'a token of wide letters', { 'x-csrf-token': 'é'.repeat(20) }],
    [false, 'the wrong one first', {}, { form: (token) => `csrf_token=0&${form(token)}` }],
    [false, 'a form that is malformed', {}, { form: (token) => `${form(token)}&%zz` }],
    [false, 'the token as JSON', {}, { form: (token) => JSON.stringify({ csrf_token: token }) }],
    // Trusted origins: pages of others that may.
    [true, 'a trusted origin', { ...CROSS, origin: TRUSTED }],
    [true, 'a trusted origin of an older browser', { origin: TRUSTED }],
    [false, 'a trusted name by http', { ...CROSS, origin: 'http://app.example.org' }],
    [false, 'a host below a trusted one', { ...CROSS, origin: 'https://x.app.example.org' }],
    [false, 'a trusted origin and a slash', { ...CROSS, origin: `${TRUSTED}/` }],
  ];
  for (const [passes, name, headers, { method = 'POST', form: fill = () => '' } = {}] of ROWS) {
    it(`whyForged() ${passes ? 'lets' : 'does not let'} pass: ${name}`, () => {
      const session = new Session(0, { data: {}, created: 0, accessed: 0 });
      const own = session.csrfToken();
      const sent = Object.entries(headers).map(([key, value]) => [key, value.replace(TOKEN, own)]);
      const body = fill(own);
      const all = { host: 'localhost:6543', ...Object.fromEntries(sent) };
      const request = parseRequest(method, '/', all, Buffer.from(body)) as HttpRequest;
      const reason = whyForged({ ...request, session }, new Set([TRUSTED]));
      const what = `${method} with ${JSON.stringify(headers)} and the form '${body}'`;
      assert.equal(reason ? 'refused' : 'passed', passes ? 'passed' : 'refused', what);
      if (reason !== undefined) assert.match(reason, /^\S.*\.$/, 'a sentence');
    });
  }

  /** What CrossOriginProtection.Check of Go 1.25 says, by its documentation. */
  function passesInGo(method: string, headers: Record<string, string>): boolean {
    const { 'sec-fetch-site': fetchSite = '', origin = '', host = 'localhost:6543' } = headers;
    if (['GET', 'HEAD', 'OPTIONS'].includes(method)) return true;
    if (['same-origin', 'none'].includes(fetchSite) || origin === TRUSTED) return true;
    if (fetchSite !== '') return false;
    const [, itsHost = ''] = /^\w+:\/\/(?:[^/@]*@)?([^/]*)/.exec(origin) ?? [];
    return origin === '' || itsHost === host;
  }

  it('whyForged() differs from Go 1.25 in these cases, and in no other', () => {
    const differing = ROWS.filter(
      ([passes, , headers, more]) => passes !== passesInGo(more?.method ?? 'POST', headers),
    );
    const [weaker, stricter] = [true, false].map((passes) =>
      differing.filter((row) => row[0] === passes).map(([, name]) => name),
    );
    assert.deepEqual(weaker, ['Host in upper case'], 'we let pass, and Go does not');
    assert.deepEqual(stricter, [
      'an Origin without a host, and no Host',
      'a file, and no Host',
      'an app of that name',
      'an app whose scheme ends like ours',
      'an empty Sec-Fetch-Site is none: no token',
      ...ROWS.slice(ROWS.findIndex(([, name]) => name === 'no token'))
        .filter(([passes, , headers]) => !passes && !headers.origin)
        .map(([, name]) => name), // neither header and no token: a program, or an old browser
    ]);
  });

  it('whyForged() bears a token of any length and of any letters', () => {
    const session = new Session(0, { data: {}, created: 0, accessed: 0 });
    const own = session.csrfToken();
    const digits = ['', '0', own.slice(0, 39), `${own}0`, `${own},${own}`, 'x'.repeat(60_000)];
    const wide = ['é'.repeat(20), '€'.repeat(40), '\u{1f600}'.repeat(10)]; // 40, 120, 40 bytes
    for (const token of [...digits, ...wide, '\0']) {
      const form = Buffer.from(new URLSearchParams({ csrf_token: token }).toString());
      const request = parseRequest('POST', '/', {}, form) as HttpRequest;
      const reason = whyForged({ ...request, session });
      assert.match(reason ?? 'passes', /^The token is missing/, token.slice(0, 60));
    }
  });
});

describe('14-csrf: withCsrf()', () => {
  it('tokenField() has the token of the session, made when it is first asked for', () => {
    const session = new Session(0);
    const field = String(tokenField(session));
    assert.match(field, /^<input type="hidden" name="csrf_token" value="[0-9a-f]{40}">$/);
    assert.equal(field, String(tokenField(session)));
  });

  it('withCsrf() refuses with 403, says what to do, and does not ask the page', async () => {
    let asked = 0;
    const factory = new SignedCookieSessionFactory({ secrets: ['x'] });
    const save: Handler<SessionRequest> = () => ((asked += 1), seeOther('/'));
    const browser = new Browser(withSession(factory, withCsrf(save)), ORIGIN);
    const response = await browser.request('POST', '/', 'title=a', CROSS);
    assert.equal(response.status, 403);
    assert.match(String(response.body), /^403 Forbidden\n\nThe page that asked is cross-site\./);
    assert.match(String(response.body), /Nothing was done\..* open the page of this site once /);
    assert.match(String(response.body), / A program sends .*, as csrf_token or as X-CSRF-Token\.$/m);
    assert.equal(asked, 0);
    const own = await browser.request('POST', '/', '', { 'sec-fetch-site': 'same-origin' });
    assert.deepEqual([own.status, asked], [303, 1]);
  });

  it('withCsrf() sets no cookie with a refusal, over the one that Lax held back', async () => {
    const browser = guarded();
    for (const headers of [CROSS, { origin: 'http://evil.example' }, {}]) {
      const response = await browser.request('POST', '/', 'csrf_token=0', headers);
      assert.equal(response.status, 403, JSON.stringify(headers));
      assert.equal(response.headers['set-cookie'], undefined, JSON.stringify(headers));
    }
  });

  it('withCsrf() says nothing of a hostile Origin but as plain text', async () => {
    const browser = guarded();
    const response = await browser.request('POST', '/', '', { origin: '<script>x</script>' });
    assert.equal(response.status, 403);
    assert.equal(response.headers['content-type'], 'text/plain; charset=utf-8');
  });

  it('withCsrf() trusts the origins that it is told to, and no others', async () => {
    const options = { trustedOrigins: ['https://app.example.org'] };
    const browser = guarded(undefined, options);
    const statuses = ['https://app.example.org', 'https://evil.example.org'].map(
      async (origin) => (await browser.request('POST', '/', '', { ...CROSS, origin })).status,
    );
    assert.deepEqual(await Promise.all(statuses), [200, 403]);
  });

  it('withCsrf() refuses to trust what is no origin, in words', () => {
    const wrong = ['example.org', 'https://a.example/', 'https://a.example/x', 'null', '*', ''];
    for (const origin of [...wrong, 'https://A.example', 'https://a.example:443']) {
      assert.throws(() => guarded(undefined, { trustedOrigins: [origin] }), {
        name: 'TypeError',
        message: `Cannot trust '${origin}': an origin looks like https://app.example.org`,
      });
    }
  });

  it('withCsrf() puts one token into each form that posts to us, and none into others', async () => {
    const field = /\n<input type="hidden" name="csrf_token" value="\w{40}">/;
    const ROWS: [form: string, hasToken: boolean][] = [
      ['<form method="post" action="/a">', true],
      ['<form method="post" action="/a?b=c" class="d">', true],
      ['<form method="get" action="/a">', false],
      ['<form action="/a">', false],
      ['<form method="post" action="https://evil.example/">', false],
      ['<form method="post" action="//evil.example/">', false],
      ['<form method="post" action="/\\evil.example/">', false], // to a browser a \\ is a /
      ['<form method="post" action="/\t/evil.example/">', false], // and a TAB is nothing
      ['<form method="post" action="/\n/evil.example/">', false],
      ['<form method="post" action=" //evil.example/">', false],
      ['<form method="post" action="javascript:0">', false],
      ['<form method="get" action="/a" title="x method=post">', false],
      ["<form method='get' action='/a' title=' method=\"post\" '>", false],
      ['<form data-method="post" action="/a">', false],
      ['<format method="post" action="/a">', false],
      ['<form class="x" action="/a" method="post">', true],
      ['<FORM METHOD="POST" ACTION="/a">', true],
      ["<form method='post' action='/a'>", true],
      ['<form method=post action=/a>', true],
      ['<form\n  method="post"\n  action="/a"\n>', true],
      ['<form method="post" action="/a" title="a > b">', true],
      ['<form method="post">', true], // posts to its own page
      ['<form method="post" action="">', true],
    ];
    for (const [form, hasToken] of ROWS) {
      const markup = html([`<main>${form}</form></main>`] as unknown as TemplateStringsArray);
      const body = String((await guarded(markup).get('/')).body);
      const outcome = field.test(body) ? 'has the token' : 'has none';
      assert.equal(outcome, hasToken ? 'has the token' : 'has none', form);
      if (hasToken) assert.equal(body.search(field), body.indexOf(form) + form.length, form);
    }
    const two = html`<form method="post" action="/a"></form><form method="post" action="/b"></form>`;
    const tokens = tokensOf(await guarded(two).get('/'));
    assert.equal(tokens.length, 2);
    assert.equal(new Set(tokens).size, 1, 'the session has one');
  });

  it('withCsrf() gives no token to a text that looks like a form', async () => {
    const text = '<form method="post" action="/a">';
    const response = await guarded(html`<main><p title="${text}">${text}</p></main>`).get('/');
    assert.deepEqual(tokensOf(response), []);
    assert.equal(response.headers['set-cookie'], undefined, 'and no session where none is needed');
  });

  it('withCsrf() gives no token to what is no HTML, where nothing is escaped', async () => {
    const factory = new SignedCookieSessionFactory({ secrets: ['x'] });
    const words = '<form method="post" action="/a">';
    const browser = new Browser(withSession(factory, withCsrf(() => text(words))), ORIGIN);
    assert.equal((await browser.get('/')).body, words);
  });

  it('withCsrf() leaves a page of bytes as it is: nobody has escaped it either', async () => {
    const factory = new SignedCookieSessionFactory({ secrets: ['x'] });
    const headers = { 'content-type': 'text/html' };
    const body = Buffer.from('<form method="post" action="/a">');
    const show: Handler<SessionRequest> = () => ({ status: 200, headers, body });
    const browser = new Browser(withSession(factory, withCsrf(show)), ORIGIN);
    assert.equal((await browser.get('/')).body, body);
  });

  it('withCsrf() takes the token of the page, and after newCsrfToken() not any more', async () => {
    const factory = new SignedCookieSessionFactory({ secrets: ['x'] });
    const show: Handler<SessionRequest> = ({ session, path }) => {
      if (path === '/renew') session.newCsrfToken();
      return page('t', html`<main><form method="post" action="/"></form></main>`);
    };
    const browser = new Browser(withSession(factory, withCsrf(show)), ORIGIN);
    const [token = ''] = tokensOf(await browser.get('/'));
    const send = async (value: string) =>
      (await browser.request('POST', '/', `csrf_token=${value}`)).status;
    assert.equal(await send(token), 200);
    const [renewed = ''] = tokensOf(await browser.get('/renew'));
    assert.deepEqual([await send(token), await send(renewed)], [403, 200]);
    const stranger = new Browser(withSession(factory, withCsrf(show)), ORIGIN);
    const theirs = await stranger.request('POST', '/', `csrf_token=${renewed}`);
    assert.equal(theirs.status, 403, 'the token of another session');
  });

  it('withCsrf() does not compile where there is no session', () => {
    const plain: Handler = () => seeOther('/');
    const needy: Handler<SessionRequest> = () => seeOther('/');
    // @ts-expect-error a page without a session has no token to compare
    const wrong: Handler = withCsrf(needy);
    const right: Handler<SessionRequest> = withCsrf(plain);
    assert.deepEqual([typeof wrong, typeof right], ['function', 'function']);
  });
});

describe('14-csrf: every form of the site', () => {
  const PATHS = ['/', '/howdy', '/articles', '/cart', '/login', '/dashboard', '/inspect', '/none'];

  /** Each form of a page: its tag, and what stands in it. */
  function formsOf(body: string): { tag: string; content: string }[] {
    const forms = body.matchAll(/(<form[^>]*>)([^]*?)<\/form>/g);
    return [...forms].map(([, tag = '', content = '']) => ({ tag, content }));
  }

  /** Walks the pages; gives how many forms that post there were. */
  async function walk(browser: Browser, paths: string[]): Promise<number> {
    let posting = 0;
    for (const path of paths) {
      const response = await browser.request('GET', path, '', { accept: 'text/html' });
      const tokens = new Set(tokensOf(response));
      assert.ok(tokens.size <= 1, `${path} has one token, in all its forms`);
      for (const { tag, content } of formsOf(String(response.body))) {
        const count = content.split('name="csrf_token"').length - 1;
        const isPost = /method="post"/i.test(tag);
        assert.equal(count, isPost ? 1 : 0, `${path}: ${tag}`);
        posting += Number(isPost);
      }
      const urls = [...String(response.body).matchAll(/\s(?:href|action|src)="([^"]*)"/g)].join();
      for (const token of tokens) assert.ok(!`${response.headers.location}${urls}`.includes(token));
    }
    return posting;
  }

  it('withCsrf() leaves out no form of this step, and the page takes its token', async () => {
    const browser = new Browser(site().handle);
    assert.equal(await walk(browser, ['/', '/articles', '/inspect']), 2, 'articles, inspector');
    const [token = ''] = tokensOf(await browser.get('/articles'));
    const article = { title: 'On tea', body: 'It is hot.' };
    const without = await browser.post('/articles', article);
    assert.equal(without.status, 403);
    const response = await browser.post('/articles', { ...article, csrf_token: token });
    assert.match(String(response.body), /Article saved successfully!/);
  });

  it('withCsrf() leaves out no form of the finished site, before login and after', async () => {
    const users = new Map([['ada', await hashPassword('secret', 4)]]);
    const browser = new Browser(finishedSite({}, undefined, users).handle);
    const same = { 'sec-fetch-site': 'same-origin' };
    await browser.request('POST', '/cart/add', 'item=tea', same);
    const before = await walk(browser, PATHS);
    await browser.request('POST', '/login', 'name=ada&password=secret', same);
    const after = await walk(browser, PATHS);
    assert.ok(before >= 10, `${before} forms`);
    assert.ok(after >= before + PATHS.length - 2, `${after} forms: now each page has a logout`);
  });

  it('site() refuses every POST of the finished site that another page made', async () => {
    const browser = new Browser(finishedSite().handle);
    const cart = ['/cart/add', '/cart/change', '/cart/remove', '/cart/empty', '/cart/note'];
    for (const path of [...cart, '/articles', '/login', '/logout', '/inspect']) {
      assert.equal((await browser.request('POST', path, '', CROSS)).status, 403, path);
    }
  });
});
