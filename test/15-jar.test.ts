import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { Visitor } from '../.tools/request.ts';
import { MAX_COOKIE_SIZE } from '../src/08-session-factory.ts';
import { type CookieOptions, SessionCookie } from '../src/11-timeouts.ts';
import {
  domainMatches, explainCookie, isTrustworthy, parseDate, parseSetCookie,
  requireAcceptedCookie, site,
} from '../src/15-jar.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // Tue, 14 Nov 2023 22:13:20 GMT, in seconds since 1970
const HTTP = 'http://www.example.org/';
const HTTPS = 'https://www.example.org/';
const LOCAL = 'http://localhost:6543/';

/** Returns the reasons for which a browser drops the cookie, or [] if it keeps the cookie. */
function reasonsFor(header: string, url = HTTPS, isThirdParty = false): string[] {
  return explainCookie(given(header), { url: new URL(url), isThirdParty, now: NOW }).reasons;
}

const NOT_ABOVE = 'Domain is neither this host nor above it';
const TOP_LEVEL = 'Domain is a top-level domain';
const OVER_HTTP = 'Secure came over http';
const MAX_COOKIE_AGE = 34_560_000; // seconds: 400 days (§5.5)
const NONE = 'SameSite=None needs Secure';
const PREFIX = 'A __Secure- or __Host- cookie needs Secure';
const HOST = 'A __Host- cookie needs Path=/ and no Domain';
const NAMELESS = 'A nameless value cannot begin with __Secure- or __Host-';
const EMPTY = 'It has neither a name nor a value';
const CONTROL = 'It has a control character';
const TOO_LARGE = 'It has more than 4096 bytes';
const CROSS_SITE = 'A third-party cookie needs SameSite=None';

describe('15-jar: hosts', () => {
  it('domainMatches() accepts a host and each host below it, but no part of an IP address', () => {
    const rows: [host: string, domain: string, expected: boolean][] = [
      ['example.org', 'example.org', true],
      ['www.example.org', 'example.org', true],
      ['a.b.example.org', 'example.org', true],
      ['example.org', 'www.example.org', false],
      ['badexample.org', 'example.org', false],
      ['example.org.evil.example', 'example.org', false],
      ['127.0.0.1', '127.0.0.1', true],
      ['127.0.0.1', '0.0.1', false],
      ['[::ffff:1.2.3.4]', '3.4]', false],
    ];
    for (const [host, domain, expected] of rows) {
      assert.equal(domainMatches(given(host), domain), expected, `${host} for Domain=${domain}`);
    }
  });

  it('isTrustworthy() accepts https, and http on this machine', () => {
    for (const url of [HTTPS, LOCAL, 'http://a.localhost/', 'http://localhost.', 'http://127.1/']) {
      assert.equal(isTrustworthy(given(new URL(url))), true, url);
    }
    for (const url of [HTTP, 'http://localhost.example/', 'http://128.0.0.1/', 'http://[::2]/']) {
      assert.equal(isTrustworthy(given(new URL(url))), false, url);
    }
  });
});

describe('15-jar: reading a header', () => {
  const context = { url: new URL(HTTP), now: NOW };
  const plain = {
    name: 'a', value: '1', expires: undefined, host: 'www.example.org', isHostOnly: true,
    path: undefined, secure: false, partitioned: false, sameSite: undefined,
  };
  type Expected = Partial<ReturnType<typeof parseSetCookie>>;
  const check = (attributes: string, expected: Expected): void => {
    const { url: _url, now: _now, header, ...cookie } = parseSetCookie(given(attributes), context);
    assert.equal(header, attributes);
    const folder = expected.path ?? '/'; // the folder of the page is /
    assert.deepEqual(cookie, { ...plain, folder, ...expected }, attributes);
  };

  it('parseSetCookie() reads a header as a browser does', () => {
    const rows: [header: string, expected: Expected][] = [
      ['a=1', {}],
      [' a\t= 1 ;', {}],
      ['a=', { value: '' }],
      ['a=b=c==', { value: 'b=c==' }],
      ['a="1"', { value: '"1"' }], // the quotes belong to the value
      ['a=%3B%20', { value: '%3B%20' }], // a browser decodes nothing
      ['a', { name: '', value: 'a' }], // without = it is a value without a name
      ['a=1; HttpOnly; Priority=High; __proto__=x', {}],
      ['a=1; Path=/app', { path: '/app' }],
      ['a=1;pAtH\t=\t/a=b\t', { path: '/a=b' }],
      ['a=1; Path=app', {}],
      ['a=1; Secure', { secure: true }],
      ['a=1; SECURE=no', { secure: true }], // only its presence counts
      ['a=1; Partitioned', { partitioned: true }],
      ['a=1; Domain=.Example.ORG', { host: 'example.org', isHostOnly: false }],
      ['a=1; Domain', {}],
      ['a=1; SameSite=Strict', { sameSite: 'Strict' }],
      ['a=1; samesite=NONE', { sameSite: 'None' }],
      ['a=1; SameSite=Often', {}],
      ['a=1; Max-Age=60', { expires: NOW + 60 }],
      ['a=1; Max-Age=-5', { expires: NOW }],
    ];
    for (const [header, expected] of rows) check(header, expected);
    const url = new URL('http://www.example.org/app/page');
    assert.equal(
      parseSetCookie(given('a=1'), { url, now: NOW }).folder,
      '/app',
      'the folder of the page',
    );
  });

  it('parseDate() reads a date in each form that servers send', () => {
    const date = Date.UTC(2023, 10, 14, 22, 14, 20) / 1000;
    const texts = [
      'Tue, 14 Nov 2023 22:14:20 GMT', // RFC 9110
      'Tue, 14-Nov-2023 22:14:20 GMT', // Pyramid
      'Tuesday, 14-Nov-23 22:14:20 GMT',
      'Tue Nov 14 22:14:20 2023',
      '22:14:20 2023 november 14',
      '14 NOV 23 22:14:20 +0900', // a browser ignores the time zone
      '2023/14/Nov/22:14:20x', // each of these separators, and text after the time
    ];
    for (const text of texts) assert.equal(parseDate(given(text)), date, text);
    const sixtyFive = parseDate(given('Sat, 21-Oct-65 07:28:00 GMT'));
    assert.equal(sixtyFive, Date.UTC(2065, 9, 21, 7, 28) / 1000, '65 is the year 2065');
    assert.equal(parseDate(given('1 Jan 70 0:0:0')), 0, '70 is the year 1970');
  });

  it('parseDate() returns undefined for a text that is not a date', () => {
    const texts = [
      '', '0', '-1', 'never', '14 Nov 2023', 'Nov 2023 22:14:20', '14 2023 22:14:20',
      '14 Nov 22:14:20', '14 Nov 2023 22:14', '31 Feb 2024 10:00:00', '29 Feb 2023 10:00:00',
      '31 Apr 2024 10:00:00', '0 Jan 2024 10:00:00', '32 Jan 2024 10:00:00',
      '31 Jan 2024 24:00:00', '31 Jan 2024 23:60:00', '31 Jan 2024 10:00:60',
      '1 Jan 1600 10:00:00', '1 Jan 12345 10:00:00', '1 Jan 7 10:00:00',
    ];
    for (const text of texts) assert.equal(parseDate(given(text)), undefined, text);
    assert.equal(parseDate(given('29 Feb 2024 10:00:00')), Date.UTC(2024, 1, 29, 10) / 1000);
  });

  it('parseSetCookie() uses the last of two attributes, and ignores what it cannot read', () => {
    const good = 'Expires=Tue, 14 Nov 2023 22:14:20 GMT';
    const rows: [attributes: string, expected: Expected][] = [
      ['Path=/app; Path=/', { path: '/' }],
      ['Path=/app; Path=x', {}], // the last Path is not a path, so the folder of the page counts
      ['SameSite=Strict; SameSite=Often', {}],
      ['Domain=other.example; Domain=', {}], // an empty Domain is absent
      ['SameSite=Strict; SameSite=Lax', { sameSite: 'Lax' }],
      ['Max-Age=60; Max-Age=30', { expires: NOW + 30 }],
      ['Max-Age=60; Max-Age=soon; Max-Age=1.5; Max-Age=+9; Max-Age', { expires: NOW + 60 }],
      [good, { expires: NOW + 60 }],
      [`${good}; Expires=never; Expires=0; Expires`, { expires: NOW + 60 }],
      [`Max-Age=30; ${good}`, { expires: NOW + 30 }], // Max-Age wins over Expires
      [`${good}; Max-Age=soon`, { expires: NOW + 60 }],
      ['Max-Age=soon; Expires=never', {}],
      [`Path=/app; Path=/${'x'.repeat(1024)}`, { path: '/app' }], // more than 1,024 characters
    ];
    for (const [attributes, expected] of rows) check(`a=1; ${attributes}`, expected);
  });
});

describe('15-jar: the rules', () => {
  it('explainCookie() returns no reason for the cookies of this course', () => {
    for (const options of [{}, { maxAge: 1200, path: '/cart', sameSite: 'Strict' }] as const) {
      const header = new SessionCookie(options).write('abc');
      assert.deepEqual(reasonsFor(header, LOCAL), [], header);
    }
    const production = new SessionCookie({ cookieName: '__Host-session', secure: true });
    assert.deepEqual(reasonsFor(production.write('abc')), []);
  });

  it('explainCookie() rejects Secure over http, except on this machine', () => {
    assert.deepEqual(reasonsFor('a=1; Secure', HTTP), [OVER_HTTP]);
    assert.deepEqual(reasonsFor('a=1; Secure', HTTPS), []);
    for (const host of ['localhost', 'app.localhost', '127.0.0.1', '127.8.9.10', '[::1]']) {
      const name = `http://${host}:6543/`;
      assert.deepEqual(reasonsFor('a=1; Secure', name), [], `Chrome and Firefox keep it: ${name}`);
    }
    for (const host of ['notlocalhost', 'localhost.example.org', '127.0.0.1.example', '[::2]']) {
      assert.deepEqual(reasonsFor('a=1; Secure', `http://${host}/`), [OVER_HTTP], host);
    }
  });

  it('explainCookie() rejects SameSite=None and Partitioned without Secure', () => {
    assert.deepEqual(reasonsFor('a=1; SameSite=None'), [NONE]);
    assert.deepEqual(reasonsFor('a=1; samesite=NONE'), [NONE]);
    assert.deepEqual(reasonsFor('a=1; SameSite=None; Secure'), []);
    assert.deepEqual(reasonsFor('a=1; Partitioned'), ['Partitioned needs Secure']);
    assert.deepEqual(reasonsFor('a=1; Partitioned; Secure'), []);
  });

  it('explainCookie() rejects a Domain that this host does not belong to', () => {
    const rows: [domain: string, reasons: string[]][] = [
      ['www.example.org', []],
      ['example.org', []],
      ['.Example.ORG', []],
      ['', []], // an empty Domain is ignored
      ['example.com', [NOT_ABOVE]],
      ['bank.example', [NOT_ABOVE]],
      ['app.www.example.org', [NOT_ABOVE]], // below this host
      ['ample.org', [NOT_ABOVE]],
      ['org', [TOP_LEVEL]],
      ['com', [NOT_ABOVE, TOP_LEVEL]],
    ];
    for (const [domain, reasons] of rows) {
      assert.deepEqual(reasonsFor(`a=1; Domain=${domain}`), reasons, `Domain=${domain}`);
    }
    assert.deepEqual(reasonsFor('a=1; Domain=org.', 'https://www.example.org./'), [TOP_LEVEL]);
    assert.deepEqual(reasonsFor('a=1; Domain=localhost', LOCAL), []);
  });

  it('explainCookie() rejects a prefix without its attributes, in upper and lower case', () => {
    const rows: [header: string, reasons: string[]][] = [
      ['__Secure-a=1; Secure; Domain=example.org; Path=/app', []],
      ['__Secure-a=1', [PREFIX]],
      ['__secure-a=1', [PREFIX]],
      ['__SECURE-a=1', [PREFIX]],
      ['__Host-a=1; Secure; Path=/', []],
      ['__Host-a=1; Path=/', [PREFIX]],
      ['__Host-a=1; Secure', [HOST]], // without Path, the folder of the page counts
      ['__Host-a=1; Secure; Path=/app', [HOST]],
      ['__hOsT-a=1; Secure; Path=/; Domain=www.example.org', [HOST]],
      ['__host-a=1', [PREFIX, HOST]],
      ['x__Host-a=1', []],
      ['__Hosta=1', []],
      ['=__Host-a=1', [NAMELESS]], // a browser would send it as `Cookie: __Host-a=1`
      ['__secure-a', [NAMELESS]],
    ];
    for (const [header, reasons] of rows) assert.deepEqual(reasonsFor(header), reasons, header);
  });

  it('explainCookie() accepts only SameSite=None in a request from another site', () => {
    for (const attributes of ['', '; SameSite=Lax', '; SameSite=Strict', '; SameSite=Often']) {
      const reasons = reasonsFor(`a=1; Secure${attributes}`, HTTPS, true);
      assert.deepEqual(reasons, [CROSS_SITE], attributes);
    }
    assert.deepEqual(reasonsFor('a=1; Secure; SameSite=None', HTTPS, true), []);
    assert.deepEqual(reasonsFor('a=1; SameSite=None', HTTPS, true), [NONE]);
  });

  it('explainCookie() rejects a control character, an empty cookie, and 4,097 bytes', () => {
    assert.deepEqual(reasonsFor('a=1\r\nSet-Cookie: b=2'), [CONTROL]);
    assert.deepEqual(reasonsFor('a=1; Path=/\0'), [CONTROL], 'also in an attribute');
    for (const header of ['', ';', '=', ' = ', '; a=1']) {
      assert.deepEqual(reasonsFor(header), [EMPTY], header);
    }
    const largest = 'x'.repeat(MAX_COOKIE_SIZE - 'name'.length);
    assert.deepEqual(reasonsFor(`name=${largest}; Path=/`), [], 'attributes do not count');
    assert.deepEqual(reasonsFor(`name=${largest}x`), [TOO_LARGE]);
    const half = 'é'.repeat(MAX_COOKIE_SIZE / 2); // two bytes each
    assert.deepEqual(reasonsFor(`a=${half}`), [TOO_LARGE], 'bytes count, not characters');
  });
});

describe('15-jar: the check at startup and the page', () => {
  const check = (options: CookieOptions, url = HTTPS): void =>
    requireAcceptedCookie(given(new SessionCookie(options).write('')), new URL(url));

  it('requireAcceptedCookie() throws if browsers would drop the cookie of the site', () => {
    const header = new SessionCookie({ sameSite: 'None' }).write('');
    const start = `Cannot start: browsers reject '${header}'.`;
    const error = { name: 'RangeError', message: `${start} ${NONE}` };
    assert.throws(() => check({ sameSite: 'None' }), error);
    const host = { cookieName: '__Host-session', secure: true };
    check(host);
    for (const options of [{ secure: false }, { path: '/cart' }, { domain: 'example.org' }]) {
      assert.throws(() => check({ ...host, ...options }), RangeError, JSON.stringify(options));
    }
  });

  it('requireAcceptedCookie() throws if browsers would ignore or change an attribute', () => {
    const header = new SessionCookie({ maxAge: 1.5 }).write('');
    const message = `Cannot start: browsers reject '${header}'. ` +
      'They do not read Max-Age=1.5 as it is written';
    assert.throws(() => check({ maxAge: 1.5 }), { name: 'RangeError', message });
    const ages = [-1, MAX_COOKIE_AGE + 1, NaN, Infinity, 1e21].map((maxAge) => ({ maxAge }));
    const long = `/${'x'.repeat(1023)}`; // browsers ignore a longer path
    const paths = ['', 'app', 'app/', `${long}x`].map((path) => ({ path }));
    const domains = ['', '.', '..', 'a.', 'a..b', 'a:80', 'a/b', 'org', `${'a'.repeat(64)}.org`];
    const sameSites = ['lax', 'Often', ''].map((sameSite) => ({ sameSite: sameSite as 'Lax' }));
    const others = domains.map((domain) => ({ domain }));
    for (const options of [...ages, ...paths, ...others, ...sameSites]) {
      assert.throws(() => check(options), RangeError, JSON.stringify(options));
    }
    const good = [0, 1, 1200, MAX_COOKIE_AGE].map((maxAge) => ({ maxAge }));
    for (const options of [...good, { path: long }, { domain: 'example.org', path: '/a' }]) {
      check(options);
    }
  });

  it('site() of step 15 explains a cookie on a page', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    const ask = async (query: Record<string, string>): Promise<string> =>
      visitor.text(`/inspect/cookie?${new URLSearchParams(query)}`);
    const url = 'https://example.org/';
    const dropped = await ask({ header: 'a=1; SameSite=None', url });
    assert.match(dropped, />A browser drops it\.<\/p>\n<ul><li>SameSite=None needs Secure\.</);
    const header = 'a=1; SameSite=Lax; Max-Age=9';
    const kept = await ask({ header, url });
    assert.match(kept, />A browser keeps it\.<\/p>\n<ul><\/ul>\n<pre>/);
    const [, read = ''] = /<pre>([^<]*)/.exec(await ask({ header: 'a=1; Domain=Example.org', url })) ?? [];
    const parts = JSON.parse(read.replaceAll('&quot;', '"'));
    assert.deepEqual(parts, { name: 'a', value: '1', host: 'example.org' });
    assert.match(kept, /name="header" value="a=1; SameSite=Lax; Max-Age=9"/, 'the form keeps it');
    const embedded = await ask({ header, url, embedded: 'on' });
    assert.match(embedded, /drops it[^]*A third-party cookie needs/);
    assert.match(embedded, /name="embedded" checked>/);
  });
});
