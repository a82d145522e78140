import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { makeServer } from '../src/01-server.ts';
import { MAX_URL_LENGTH, parseRequest, problem, text, toListener } from '../src/02-http.ts';
import type { HttpRequest, HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { PUBLIC } from '../src/05-static.ts';
import { MAX_COOKIE_AGE, MAX_COOKIE_SIZE, serializeCookie } from '../src/07-cookie.ts';
import { Browser, KEEPING_RULES } from '../src/08-browser.ts';
import { Signer } from '../src/09-signer.ts';
import { Session } from '../src/10-session.ts';
import { DEMO, SignedCookieSessionFactory } from '../src/11-session-factory.ts';
import { addInspector, anatomy, explainCookie, flipBit, site } from '../src/12-inspector.ts';
import { inspectorPage, signedLens, withInspector } from '../src/12-inspector.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // 2023-11-14T22:13:20Z
const ORIGIN = 'http://localhost:6543';
const SECRET = 'a secret that no page may show';

/** The site of the step, its clock, and a browser that is there. */
function visit() {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const factory = new SignedCookieSessionFactory<{ counter: number }>({ secrets: [SECRET], now });
  const { handle } = site(factory);
  return { clock, factory, handle, browser: new Browser(handle, ORIGIN, now) };
}

function request(cookie?: string, method = 'GET', target = '/'): HttpRequest {
  return parseRequest(method, target, cookie === undefined ? {} : { cookie }) as HttpRequest;
}

function count(response: HttpResponse): number {
  return Number(/<p>Count: (\d+)<\/p>/.exec(String(response.body))?.[1]);
}

describe('12-inspector: explainCookie()', () => {
  const UNTIL_CLOSED = 'It lasts until the browser closes: it has neither Max-Age nor Expires';
  const NO_SAME_SITE = 'Without SameSite, browsers differ: Chrome takes it for Lax';
  const SAFARI = 'Safari drops it: Secure over http, and it makes no exception for localhost';
  const THIRD_PARTY = 'Safari and Firefox may block it as a third-party cookie';
  const TOO_LARGE = `Its name and value take more than ${MAX_COOKIE_SIZE} bytes`;
  const NO_NAME = 'It has no name, or no = after it';
  const CONTROL = 'It has a control character, such as a newline';
  const PREFIX = 'A name with __Secure- or __Host- came without Secure';
  const HOST = 'A name with __Host- came with a Domain, or without Path=/';
  const CROSS = 'Another site asked, and then only SameSite=None with Secure is kept';
  const good = 'SameSite=Lax; Max-Age=60';
  const web = 'https://www.example.org/';

  type Row = [line: string, url: string, isCrossSite: boolean, isKept: boolean, notes: string[]];
  const ROWS: Row[] = [
    // kept, with nothing to say and with each caution
    [`a=1; ${good}`, ORIGIN, false, true, []],
    [`a=1; ${good}; Secure`, web, false, true, []],
    [`a=1; ${good}; Domain=example.org`, web, false, true, []],
    ['a=1; SameSite=Lax', ORIGIN, false, true, [UNTIL_CLOSED]],
    ['a=1; Max-Age=60', ORIGIN, false, true, [NO_SAME_SITE]],
    ['a=1', ORIGIN, false, true, [UNTIL_CLOSED, NO_SAME_SITE]],
    [`a=1; ${good}; Secure`, ORIGIN, false, true, [SAFARI]],
    [
      `a=1; SameSite=Lax; Max-Age=${MAX_COOKIE_AGE + 1}`,
      ORIGIN,
      false,
      true,
      ['It lasts 400 days, however many it asks for'],
    ],
    ['a=1; SameSite=None; Secure; Max-Age=60', web, true, true, [THIRD_PARTY]],
    [`a=${'x'.repeat(MAX_COOKIE_SIZE - 1)}; ${good}`, ORIGIN, false, true, []],
    // dropped, for each reason
    [
      `a=1; ${good}; Domain=example.com`,
      web,
      false,
      false,
      ['Domain is neither this host nor a domain above it'],
    ],
    [
      `a=1; ${good}; Domain=org`,
      web,
      false,
      false,
      ['Domain is a whole top-level domain, which belongs to nobody'],
    ],
    [`a=1; ${good}; Secure`, 'http://example.org/', false, false, ['Secure came over http']],
    [
      'a=1; SameSite=None; Max-Age=60',
      web,
      false,
      false,
      ['SameSite=None came without Secure'],
    ],
    [`__Secure-a=1; ${good}`, web, false, false, [PREFIX]],
    [`__Host-a=1; Secure; ${good}`, web, false, false, [HOST]],
    [`__Host-a=1; Secure; Path=/; Domain=www.example.org; ${good}`, web, false, false, [HOST]],
    [`__Host-a=1; Path=/app; ${good}`, web, false, false, [PREFIX, HOST]],
    [
      'a=; Max-Age=0; SameSite=Lax',
      ORIGIN,
      false,
      false,
      ['It has expired, which is how a server deletes a cookie'],
    ],
    [`a=1; ${good}`, web, true, false, [CROSS]],
    // no cookie at all
    ['a=1\r\nSet-Cookie: b=2', ORIGIN, false, false, [CONTROL]],
    ['a=\0', ORIGIN, false, false, [CONTROL]],
    ['', ORIGIN, false, false, [NO_NAME]],
    ['a', ORIGIN, false, false, [NO_NAME]],
    ['=1', ORIGIN, false, false, [NO_NAME]],
    [' =1; Path=/', ORIGIN, false, false, [NO_NAME]],
    ['; a=1', ORIGIN, false, false, [NO_NAME]],
    [`a=${'x'.repeat(MAX_COOKIE_SIZE)}; ${good}`, ORIGIN, false, false, [TOO_LARGE]],
    [` a=${'x'.repeat(MAX_COOKIE_SIZE)}; ${good}`, ORIGIN, false, false, [TOO_LARGE]],
    [`${'é'.repeat(MAX_COOKIE_SIZE / 2)}=1`, ORIGIN, false, false, [TOO_LARGE]],
  ];

  for (const [line, url, isCrossSite, isKept, notes] of ROWS) {
    const name = JSON.stringify(line.length > 60 ? `${line.slice(0, 60)}…` : line);
    const scene = `${url}${isCrossSite ? ', asked by another site' : ''}`;
    it(`explainCookie() ${isKept ? 'keeps' : 'drops'} ${name} from ${scene}`, () => {
      const verdict = explainCookie(line, { url: new URL(url), isCrossSite, now: NOW });
      assert.deepEqual(verdict, { isKept, notes });
    });
  }

  it('explainCookie() gives every reason of the jar of step 8', () => {
    const shown = new Set(ROWS.flatMap(([, , , , notes]) => notes));
    for (const reason of Object.keys(KEEPING_RULES)) assert.ok(shown.has(reason), reason);
  });

  it('explainCookie() agrees with the jar about what is kept from a page of the same site', () => {
    for (const [line, url, isCrossSite, isKept] of ROWS) {
      if (isCrossSite || line.includes('Max-Age=0')) continue; // to delete is a success for the jar
      const isStored = new Browser(() => assert.fail()).jar.store(line, new URL(url), NOW);
      assert.equal(isStored, isKept, line.slice(0, 60));
    }
  });
});

describe('12-inspector: the cookie taken apart', () => {
  it('inspectorPage() shows signature, times, data and size with no key but the page', async () => {
    const { browser, clock } = visit();
    await browser.get('/');
    await browser.get('/howdy');
    const cookie = browser.jar.headerFor(new URL(ORIGIN), NOW)?.slice('session='.length) ?? '';
    clock.now += 180;
    const { body, status } = await browser.get('/inspect');
    const payload = '[1700000000,1700000000,{&quot;counter&quot;:2}]';
    const shown = String(body);
    assert.equal(status, 200);
    assert.match(shown, /<h1>Inspector<\/h1>/);
    assert.ok(shown.includes(`<b class="signature">${cookie.slice(0, 86)}</b>`), 'signature');
    assert.ok(shown.includes(`<b class="payload">${cookie.slice(86)}</b>`), 'payload, encoded');
    assert.ok(shown.includes(`no secret at all: ${payload}</dd>`), 'payload, decoded');
    assert.ok(shown.includes('<dd>Only who has the secret can make it.</dd>'), 'its words');
    assert.ok(shown.includes('<dt>The response set</dt>\n<dd>nothing</dd>'));
    assert.ok(shown.includes('Ours, and alive.'));
    assert.ok(shown.includes('Tue, 14 Nov 2023 22:13:20 GMT, 180 seconds ago'), 'times');
    assert.ok(shown.includes('<pre>{\n  &quot;counter&quot;: 2\n}</pre>'), 'data');
    assert.ok(shown.includes(`${7 + cookie.length} of 4096 bytes`), 'size: name and value');
  });

  it('withInspector() shows what the data were, and what they are', async () => {
    const { browser } = visit();
    const first = String((await browser.get('/')).body);
    assert.ok(first.includes('>Data, as it came</dt>\n<dd><pre>none</pre></dd>'), first);
    const { body } = await browser.get('/howdy');
    const [was, is] = ['1', '2'].map((n) => `<pre>{\n  &quot;counter&quot;: ${n}\n}</pre>`);
    const rows = `>Data, as it came</dt>\n<dd>${was}</dd>\n<dt class="data">Data</dt>\n<dd>${is}</dd>`;
    assert.ok(String(body).includes(rows), String(body));
    assert.doesNotMatch(String((await browser.get('/inspect')).body), /as it came/, 'no change');
  });

  it('inspectorPage() says so where there is no session', async () => {
    const { body } = await visit().browser.get('/inspect');
    assert.match(String(body), /<dd>no session<\/dd>/);
    assert.match(String(body), /This browser has no session now\./);
  });

  it('withInspector() shows under each page what was sent and what was set', async () => {
    const { browser } = visit();
    await browser.get('/');
    const sent = browser.jar.headerFor(new URL(ORIGIN), NOW);
    const { body, headers } = await browser.get('/howdy');
    assert.match(String(body), /<details class="inspector"><summary>Look inside the session</);
    assert.ok(String(body).includes(`<code>Cookie: ${sent}</code>`));
    assert.ok(String(body).includes(`<code>Set-Cookie: ${headers['set-cookie']}</code>`));
    assert.ok(String(body).endsWith('</details>\n</body>\n</html>\n'));
  });

  it('withInspector() finds the cookie of the session among those that a page sets', async () => {
    const lens = signedLens(visit().factory);
    const response = { status: 200, headers: { 'set-cookie': ['a=1', 'session=abc'] }, body: '' };
    const shown = String(await anatomy(lens, request(), response));
    assert.match(shown, /<code>Set-Cookie: session=abc<\/code>/);
  });

  it('withInspector() leaves alone a text that only looks like a page', async () => {
    const lens = signedLens(visit().factory);
    const response = text('how to end a page: </body>');
    assert.equal(await withInspector(lens, () => response)(request()), response);
  });

  it('withInspector() leaves alone what is no page', async () => {
    const { browser } = visit();
    for (const path of ['/style.css', '/favicon.svg', '/nowhere']) {
      assert.doesNotMatch(String((await browser.get(path)).body), /inspector"/, path);
    }
  });

  it('withInspector() shows $& in the data as it is', async () => {
    const { factory, handle } = visit();
    // To String.replace, $& and $` in a replacement mean what was found, and all that is before it.
    const signer = new Signer({ secrets: [SECRET], salt: 'pyramid.session.' });
    const words = '$& $` $1 $$';
    const cookie = signer.sign(JSON.stringify([NOW, NOW, { words }]));
    assert.ok(factory.read(cookie));
    const body = String((await witness(handle)(request(`session=${cookie}`))).body);
    assert.equal(body.split('<h1>').length - 1, 1, 'how often the page stands in the page');
    const [, shown] = /&quot;words&quot;: &quot;([^]*?)&quot;/.exec(body) ?? [];
    assert.equal(shown, '$&amp; $` $1 $$', 'what the panel shows of the data');
  });

  it('withInspector() promises HEAD no length but a true one, and no cookie', async (t) => {
    const server = makeServer(toListener(visit().handle)).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const headers = { connection: 'close' };
    for (const path of ['/', '/howdy', '/inspect', '/style.css']) {
      const head = await fetch(origin + path, { method: 'HEAD', headers });
      const get = await fetch(origin + path, { headers });
      const length = String(Buffer.byteLength(await get.text()));
      const promised = path === '/' || path === '/howdy' ? null : length; // null: a page with a panel
      const story = `HEAD ${path} promises the length of GET, or none (RFC 9110 §8.6)`;
      assert.equal(head.headers.get('content-length'), promised, story);
      assert.equal(head.headers.get('set-cookie'), null, `HEAD ${path} is no visit`);
    }
  });

  it('anatomy() escapes hostile cookies, and what is hidden in them', async () => {
    const { factory } = visit();
    const script = '<script>alert(1)</script>';
    const hidden = Buffer.from('x'.repeat(64) + script).toString('base64url');
    const cookies = [
      script,
      `"><img src=x onerror=alert(1)>`,
      `'onmouseover='alert(1)`,
      '</body>',
      hidden,
      Buffer.from('x'.repeat(64) + '"><img src=x>').toString('base64url'),
      '%3Cscript%3E',
      '\xff\xfe',
      'A'.repeat(8000),
    ];
    for (const cookie of cookies) {
      const shown = String(await anatomy(signedLens(factory), request(`session=${cookie}`)));
      assert.doesNotMatch(shown, /<script|<img|'onmouse|<\/body/, `Cookie: ${cookie.slice(0, 60)}`);
      assert.match(shown, /Not to be trusted/, `Cookie: ${cookie.slice(0, 60)}`);
    }
    const shown = String(await anatomy(signedLens(factory), request(`session=${hidden}`)));
    assert.match(shown, /&lt;script&gt;alert\(1\)&lt;\/script&gt;/, 'text, and not markup');
  });

  it('anatomy() bears times that no calendar has', async () => {
    const { factory } = visit();
    const signer = new Signer({ secrets: [SECRET], salt: 'pyramid.session.' });
    for (const time of [1e11, 1e16, 1e300, Number.MAX_VALUE]) {
      const cookie = signer.sign(JSON.stringify([time, time, {}]));
      const shown = String(await anatomy(signedLens(factory), request(`session=${cookie}`)));
      assert.match(shown, /<dd>(Invalid Date|.* GMT), -\S+ seconds ago<\/dd>/, `${time}`);
    }
  });

  it('anatomy() shows that a session was deleted', async () => {
    const { factory } = visit();
    const response = factory.save(ended(), request(), { status: 200, headers: {}, body: '' });
    const shown = String(await anatomy(signedLens(factory), request('session=abc'), response));
    assert.match(shown, /Set-Cookie: session=; Max-Age=0/);
    assert.match(shown, /This browser has no session now\./);
  });

  function ended(): Session<{ counter: number }> {
    const session = new Session<{ counter: number }>(NOW);
    session.invalidate();
    return session;
  }

  it('site() shows no secret on any page', async () => {
    const { browser } = visit();
    for (const path of ['/', '/howdy', '/inspect', '/inspect?line=a&url=b', '/nowhere']) {
      const { body, headers } = await browser.get(path);
      assert.ok(!`${JSON.stringify(headers)}${body}`.includes(SECRET), path);
    }
  });
});

describe('12-inspector: the picture', () => {
  const picture = readFileSync(join(PUBLIC, 'cookie.svg'), 'utf8');

  /** The text of all that `pattern` finds, without its markup. */
  const textOf = (pattern: RegExp): string =>
    [...picture.matchAll(pattern)].map(([, part = '']) => part.replace(/<[^>]*>|\n/g, '')).join('');

  it('cookie.svg shows a line that the tutorial would set, and what its parts are', () => {
    const line = textOf(/<g id="line">([^]*?)<\/g>/g);
    const value = /^session=([\w-]+);/.exec(line)?.[1] ?? assert.fail(line);
    const factory = new SignedCookieSessionFactory({ ...DEMO, now: () => 1_700_000_200 });
    const state = { accessed: 1_700_000_180, created: 1_700_000_000, data: { counter: 2 } };
    assert.deepEqual(factory.read(value), state);
    const signer = new Signer({ secrets: ['itsaseekreet'], salt: 'pyramid.session.' });
    assert.equal(signer.unsign(value), textOf(/<text id="json"[^>]*>(.*?)<\/text>/g));
    const whole = serializeCookie('session', value, { maxAge: 1200, secure: true });
    assert.equal(line.replaceAll(' ', ''), whole.replaceAll(' ', ''), 'without its line ends');
    for (const [name, text] of signedLens(factory).parts(value)) {
      const coloured = textOf(new RegExp(`<tspan class="${name}" fill="#\\w+">([\\w-]+)<`, 'g'));
      assert.equal(coloured, text, name);
    }
    for (const attribute of whole.split('; ').slice(1)) {
      assert.ok(picture.includes(`>${attribute}</text>`), `a row for ${attribute}`);
    }
  });

  it('inspectorPage() shows cookie.svg as large as it is, and says what there is to see', async () => {
    const { browser } = visit();
    const { body } = await browser.get('/inspect');
    const image = /<img src="\/cookie\.svg" (width="\d+" height="\d+") alt="[^"]{40,}">/;
    const [, size = 'no image'] = image.exec(String(body)) ?? [];
    assert.ok(picture.includes(size), size);
    const { status, headers } = await browser.get('/cookie.svg');
    assert.deepEqual([status, headers['content-type']], [200, 'image/svg+xml']);
  });
});

describe('12-inspector: one bit', () => {
  it('flipBit() costs the visitor the session: Count: 1 once more', async () => {
    const { browser } = visit();
    for (let visits = 1; visits <= 3; visits++) assert.equal(count(await browser.get('/')), visits);
    const { body } = await browser.post('/inspect', {});
    assert.match(String(body), /Not to be trusted/);
    assert.match(String(body), /\{&quot;counter&quot;:2\}/, 'three with its last bit flipped');
    assert.equal(count(await browser.get('/')), 1, 'the signature no longer fits');
    assert.equal(count(await browser.get('/')), 2, 'and the new session goes on');
  });

  it('flipBit() changes exactly one bit', () => {
    const { factory } = visit();
    const session = factory.open(request());
    session.set('counter', 1);
    const cookie = factory.write(session);
    const line = String(flipBit(signedLens(factory), request(`session=${cookie}`)).headers['set-cookie']);
    const before = Buffer.from(cookie, 'base64url');
    const after = Buffer.from(/^session=([\w-]+);/.exec(line)?.[1] ?? '', 'base64url');
    const changes = [...before].map((byte, i) => byte ^ (after[i] ?? 0xff)).filter((bits) => bits);
    assert.deepEqual([after.length, changes], [before.length, [1]]);
  });

  it('anatomy() and flipBit() work with a cookie called __Host-session', async () => {
    const options = { secrets: [SECRET], cookieName: '__Host-session', secure: true };
    const factory = new SignedCookieSessionFactory<{ counter: number }>(options);
    const browser = new Browser(site(factory).handle, ORIGIN);
    assert.match(String((await browser.get('/')).body), /<code>Set-Cookie: __Host-session=/);
    const { body } = await browser.get('/inspect');
    assert.match(String(body), /<code>Cookie: __Host-session=[^]*Ours, and alive\./);
    assert.match(String((await browser.post('/inspect', {})).body), /Not to be trusted/);
    assert.equal(count(await browser.get('/')), 1);
  });

  it('flipBit() works with no cookie, and with one that is junk', async () => {
    const { handle } = visit();
    const short = ['', 'a', 'AAA', 'AAAA', '$$', '<b>'].map((value) => `session=${value}`);
    for (const cookie of [undefined, ...short, 'x', `session=${'A'.repeat(5000)}`]) {
      const response = await witness(handle)(request(cookie, 'POST', '/inspect'));
      assert.equal(response.body, '');
      assert.equal(response.status, 303, `Cookie: ${cookie}`);
      assert.equal(response.headers.location, '/inspect');
      assert.match(String(response.headers['set-cookie']), /^session=[\w-]*; Path=\/; HttpOnly/);
    }
    const { headers } = await handle(request(undefined, 'POST', '/inspect'));
    assert.match(String(headers['set-cookie']), /^session=; /, 'of nothing no bit is flipped');
    const { browser } = visit();
    assert.equal((await browser.post('/inspect', {})).status, 200);
    assert.equal(count(await browser.get('/')), 1);
  });
});

describe('12-inspector: the form', () => {
  const ask = async (query: Record<string, string>): Promise<HttpResponse> =>
    visit().browser.get(`/inspect?${new URLSearchParams(query)}`);

  it('inspectorPage() answers the question of its form', async () => {
    const url = 'https://example.org/';
    const dropped = String((await ask({ line: 'a=1; SameSite=None', url })).body);
    assert.match(dropped, /A browser drops it\.<\/p>\n<ul><li>SameSite=None came without Secure\./);
    const kept = String((await ask({ line: 'a=1; SameSite=Lax; Max-Age=9', url })).body);
    assert.match(kept, /A browser keeps it\.<\/p>\n<ul><\/ul>/);
    assert.match(kept, /name="line" value="a=1; SameSite=Lax; Max-Age=9"/, 'the form keeps it');
    const line = 'a=1; SameSite=Lax; Max-Age=9';
    const cross = String((await ask({ line, url, 'cross-site': 'on' })).body);
    assert.match(cross, /A browser drops it/);
    assert.match(cross, /name="cross-site" checked>/);
  });

  it('inspectorPage() explains a line from a page of http too', async () => {
    const kept = String((await ask({ line: 'a=1', url: 'http://example.org/' })).body);
    assert.match(kept, /A browser keeps it\./);
    for (const url of ['xhttp://example.org/', 'ftp://example.org/']) {
      const { body } = await ask({ line: 'a=1', url });
      assert.match(String(body), /That is no page's URL\./, url);
    }
  });

  it('inspectorPage() shows a form with a line and a page to begin with', async () => {
    const lens = signedLens(visit().factory);
    const table: [headers: Record<string, string>, url: string][] = [
      [{ host: 'example.org:8080' }, 'http://example.org:8080/'],
      [{}, 'http://localhost/'],
    ];
    for (const [headers, url] of table) {
      const asked = parseRequest('GET', '/inspect', headers) as HttpRequest;
      const shown = String((await inspectorPage(lens, asked)).body);
      assert.match(shown, /<title>Inspector<\/title>/);
      assert.match(shown, /name="line" value="session=abc; Domain=example\.org; SameSite=None"/);
      assert.ok(shown.includes(`name="url" value="${url}"`), shown);
    }
  });

  it('addInspector() flips no bit where the mount refuses, and names its page', async () => {
    const lens = signedLens(visit().factory);
    const router = addInspector(new Router(), lens, () => () => problem(403, 'No.'));
    const response = await router.handle(request('session=abcd', 'POST', '/inspect'));
    assert.deepEqual([response.status, response.headers['set-cookie']], [403, undefined]);
    assert.equal(router.pathFor('inspect'), '/inspect');
  });

  it('inspectorPage() bears a hostile query', async () => {
    const script = '"><script>alert(1)</script>';
    const queries: Record<string, string>[] = [
      { line: script, url: script },
      { line: 'a=1', url: 'javascript:alert(1)' },
      { line: 'a=1', url: 'file:///etc/passwd' },
      { line: 'a=1', url: 'http://[' },
      { line: 'a=1', url: '' },
      { line: 'a=1', url: 'http:' },
      { line: 'a=1', url: 'http://a:b@c:99999/' },
      { line: '\0', url: 'http://\0/' },
      { line: '\r\nSet-Cookie: b=2', url: ORIGIN },
      { line: '__proto__=1; __proto__=2; constructor', url: ORIGIN },
      { line: 'x'.repeat(5000), url: ORIGIN },
      { line: ';'.repeat(2000), url: ORIGIN },
    ];
    for (const query of queries) {
      const { status, body, headers } = await ask(query);
      assert.equal(status, 200, JSON.stringify(query).slice(0, 80));
      assert.doesNotMatch(String(body), /<script/, JSON.stringify(query));
      assert.equal(headers['set-cookie'], undefined, JSON.stringify(query).slice(0, 80));
    }
    const bad = String((await ask({ line: 'a=1', url: 'javascript:alert(1)' })).body);
    assert.match(bad, /That is no page's URL\./);
    assert.equal((await ask({ line: 'x'.repeat(MAX_URL_LENGTH) })).status, 414);
  });
});

describe('12-inspector: withInspector() around other sites', () => {
  it('withInspector() passes on a response that is bytes', async () => {
    const body = Buffer.from('<html></body>');
    const bytes = { status: 200, headers: { 'content-type': 'text/html' }, body };
    const response = await withInspector(signedLens(visit().factory), () => bytes)(request());
    assert.equal(response.body, body);
  });
});
