// Further proofs of step 15: the date algorithm of RFC 6265bis §5.1.1 on many texts, each control
// character, each rule, and the attributes of real Pyramid.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { bodyText, Visitor } from '../.tools/request.ts';
import { type CookieOptions, SessionCookie } from '../src/11-timeouts.ts';
import { explainCookie, parseDate, parseSetCookie } from '../src/15-jar.ts';
import { REJECT_RULES, requireAcceptedCookie, site } from '../src/15-jar.ts';

const MAX_COOKIE_AGE = 34_560_000; // seconds: 400 days (§5.5)
const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // Tue, 14 Nov 2023 22:13:20 GMT, in seconds since 1970
const HTTPS = new URL('https://www.example.org/');
const CONTEXT = { url: HTTPS, now: NOW };

const isKept = (header: string, url = HTTPS): boolean =>
  explainCookie(header, { url, now: NOW }).reasons.length === 0;

/** Starts a site with this cookie. */
const check = (options: CookieOptions, url = HTTPS): void =>
  requireAcceptedCookie(new SessionCookie(options).write(''), url);

const isDigit = (character: string | undefined): boolean => /^[0-9]$/.test(character ?? '');

/** Returns the number of digits at `start`, at most `max`, that no other digit follows, or 0. */
function digitsAt(token: string, start: number, min: number, max: number): number {
  let count = 0;
  while (isDigit(token[start + count])) count++;
  return count >= min && count <= max ? count : 0;
}

/** Returns the length of `time` at the beginning of a token: three fields of one or two digits. */
function timeLength(token: string): number {
  let at = 0;
  for (const separator of [':', ':', '']) {
    let count = 0;
    while (count < 2 && isDigit(token[at + count])) count++;
    if (count === 0) return 0;
    at += count;
    if (separator !== '' && token[at] !== separator) return 0;
    at += separator.length;
  }
  return isDigit(token[at]) ? 0 : at;
}

/** The algorithm of §5.1.1, character by character, as the RFC describes it. */
function dateOfRfc(text: string): number | undefined {
  const isDelimiter = (code: number): boolean =>
    code === 0x09 || (code >= 0x20 && code <= 0x2f) || (code >= 0x3b && code <= 0x40) ||
    (code >= 0x5b && code <= 0x60) || (code >= 0x7b && code <= 0x7e);
  const tokens = [''];
  for (const character of text) {
    if (isDelimiter(character.charCodeAt(0))) tokens.push('');
    else tokens[tokens.length - 1] += character;
  }
  let time: number[] | undefined;
  let day: number | undefined;
  let month: number | undefined;
  let year: number | undefined;
  const names = 'janfebmaraprmayjunjulaugsepoctnovdec';
  for (const token of tokens.filter((one) => one !== '')) {
    const length = timeLength(token);
    if (!time && length > 0) {
      time = token.slice(0, length).split(':').map(Number);
      continue;
    }
    const dayLength = digitsAt(token, 0, 1, 2);
    if (day === undefined && dayLength > 0) {
      day = Number(token.slice(0, dayLength));
      continue;
    }
    const at = token.length < 3 ? -1 : names.indexOf(token.slice(0, 3).toLowerCase());
    if (month === undefined && at >= 0 && at % 3 === 0) {
      month = at / 3;
      continue;
    }
    const yearLength = digitsAt(token, 0, 2, 4);
    if (year === undefined && yearLength > 0) year = Number(token.slice(0, yearLength));
  }
  if (year !== undefined && year >= 70 && year <= 99) year += 1900;
  if (year !== undefined && year >= 0 && year <= 69) year += 2000;
  if (!time || day === undefined || month === undefined || year === undefined) return undefined;
  const [hour = 0, minute = 0, second = 0] = time;
  if (day < 1 || day > 31 || year < 1601) return undefined;
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  if (day > (lengths[month] ?? 0)) return undefined;
  return Date.UTC(year, month, day, hour, minute, second) / 1000;
}

describe('15-jar: proofs', () => {
  it('parseDate() agrees with the algorithm of the RFC on 37,448 sequences of tokens', () => {
    const tokens = ['14', '31x', '65', '2023', 'nov', 'Febr', '22:14:20', '1:2:3é'];
    let texts = [''];
    let compared = 0;
    for (let length = 1; length <= 5; length++) {
      texts = texts.flatMap((text) => tokens.map((token) => `${text} ${token}`));
      for (const text of texts) assert.equal(parseDate(text), dateOfRfc(text), text);
      compared += texts.length;
    }
    assert.equal(compared, 37_448);
  });

  it('parseDate() agrees with the algorithm of the RFC on each token', () => {
    const tokens = [
      '1', '01', '001', '1x', '1é', '1:', '70', '69', '99', '0070', '100', '1600', '1601', '9999',
      '12345', '123x', '00', '0', '32', 'j', 'ja', 'jan', 'JAN', 'january', 'xjan', 'anf', 'dec1',
      'Tue', 'GMT', '0:0:0', '23:59:59', '24:0:0', '0:60:0', '0:0:60', '1:2', '1:2:', '1:2:3:4',
      '1:2:345', '001:2:3', '1:2:3x', ':1:2:3', '٣', '\u00a01', '-1', '+1',
    ];
    for (const token of tokens) {
      for (const text of [`${token} 5 nov 05 10:00:00`, `${token} nov 2024 10:00:00`,
        `5 ${token} 2024 10:00:00`, `5 nov ${token} 10:00:00`, `5 nov 2024 ${token}`]) {
        assert.equal(parseDate(text), dateOfRfc(text), text);
      }
    }
  });

  it('parseDate() agrees with the algorithm of the RFC on each separator', () => {
    for (let code = 0; code < 256; code++) {
      const separator = String.fromCharCode(code);
      const text = ['14', 'Nov', '2023', '22:14:20'].join(separator);
      assert.equal(parseDate(text), dateOfRfc(text), JSON.stringify(separator));
    }
  });

  it('parseDate() reads what toUTCString() writes, once a week for four centuries', () => {
    const week = 7 * 24 * 60 * 60 * 1000 + 1000; // milliseconds
    for (let time = Date.UTC(1602, 0, 1, 23, 59, 59); time < Date.UTC(2002, 0, 1); time += week) {
      const text = new Date(time).toUTCString();
      assert.equal(parseDate(text), time / 1000, text);
    }
  });

  it('parseSetCookie() limits each lifetime to 400 days', () => {
    const end = NOW + MAX_COOKIE_AGE;
    const far = 'Expires=Fri, 31 Dec 9999 23:59:59 GMT';
    for (const attribute of [`Max-Age=${MAX_COOKIE_AGE + 1}`, `Max-Age=${'9'.repeat(400)}`, far]) {
      assert.equal(parseSetCookie(`a=1; ${attribute}`, CONTEXT).expires, end, attribute);
    }
    assert.equal(parseSetCookie(`a=1; Max-Age=${MAX_COOKIE_AGE - 1}`, CONTEXT).expires, end - 1);
  });

  it('explainCookie() rejects each control character except TAB, in each place', () => {
    for (const code of [...Array(32).keys(), 127]) {
      const control = String.fromCharCode(code);
      for (const header of [`a${control}b=1`, `a=1${control}2`, `a=1; Path=/${control}x`]) {
        assert.equal(isKept(header), control === '\t', JSON.stringify(header));
      }
    }
    assert.ok(isKept('a=\x80\xff; Path=/é'), 'a character above 127 is not a control character');
  });

  it('parseSetCookie() removes spaces and tabs, and no other white space', () => {
    for (const space of ['\u00a0', '\u2003', '\u2028', '\ufeff', '\u3000']) {
      const { name, value } = parseSetCookie(`${space}__Host-a${space}=${space}1${space}`, CONTEXT);
      assert.deepEqual([name, value], [`${space}__Host-a${space}`, `${space}1${space}`]);
    }
    const spaces = ' \t'.repeat(1000);
    const header = `${spaces}a${spaces}b${spaces}=${spaces}1${spaces}`;
    const { name, value } = parseSetCookie(header, CONTEXT);
    assert.deepEqual([name, value], [`a${spaces}b`, '1']);
  });

  it('explainCookie() never throws, and always returns the same result', () => {
    const parts = ['', 'a', '=', ';', ' ', '\0', '__Host-', 'Secure', 'Domain', '.', 'Expires'];
    for (const a of parts) {
      for (const b of parts) {
        for (const c of parts) {
          for (const d of parts) {
            const header = a + b + c + d;
            const results = [1, 2].map(() => explainCookie(header, CONTEXT));
            assert.deepEqual(results[0], results[1], header);
          }
        }
      }
    }
  });

  it('explainCookie() compares hosts in ASCII, and no domain is above an IP address', () => {
    const rows: [domain: string, url: string, isKept: boolean][] = [
      ['xn--exmple-cua.org', 'https://www.exämple.org/', true],
      ['exämple.org', 'https://www.exämple.org/', false],
      ['EXAMPLE.org', 'https://WWW.Example.ORG/', true],
      ['127.0.0.1', 'http://127.0.0.1/', true],
      ['0.0.1', 'http://127.0.0.1/', false],
      ['1', 'http://127.0.0.1/', false],
      ['[::1]', 'http://[::1]/', true],
      ['1.example.org', 'https://1.example.org/', true],
      ['example.org', 'https://1.example.org/', true],
    ];
    for (const [domain, url, expected] of rows) {
      assert.equal(isKept(`a=1; Domain=${domain}`, new URL(url)), expected, `${domain} at ${url}`);
    }
  });

  it('REJECT_RULES contains no rule that another rule makes unnecessary', () => {
    const alone: [header: string, url: string, isThirdParty: boolean][] = [
      ['a=\0', 'https://www.example.org/', false],
      ['', 'https://www.example.org/', false],
      [`a=${'x'.repeat(4096)}`, 'https://www.example.org/', false],
      ['a=1; Domain=example.com', 'https://www.example.org/', false],
      ['a=1; Domain=org', 'https://www.example.org/', false],
      ['a=1; Secure', 'http://www.example.org/', false],
      ['a=1; SameSite=None', 'https://www.example.org/', false],
      ['a=1; Partitioned', 'https://www.example.org/', false],
      ['__Secure-a=1', 'https://www.example.org/', false],
      ['__Host-a=1; Secure; Path=/app', 'https://www.example.org/', false],
      ['=__Host-a', 'https://www.example.org/', false],
      ['a=1', 'https://www.example.org/', true],
    ];
    const reasons = alone.map(([header, url, isThirdParty]) =>
      explainCookie(header, { url: new URL(url), isThirdParty, now: NOW }).reasons);
    assert.deepEqual(reasons.flat(), Object.keys(REJECT_RULES), 'each header breaks one rule');
  });

  it('requireAcceptedCookie() accepts the characters of a token in the name, and no other', () => {
    for (let code = 0; code < 256; code++) {
      const cookieName = String.fromCharCode(code);
      const isVisible = code > 0x20 && code < 0x7f;
      const isToken = isVisible && !'"(),/:;<=>?@[\\]{}'.includes(cookieName); // RFC 9110 §5.6.2
      if (isToken) check({ cookieName });
      else assert.throws(() => check({ cookieName }), Error, `code ${code}`);
    }
    assert.throws(() => check({ cookieName: '' }), /neither a name nor a value/);
    assert.throws(() => check({ cookieName: 'a=b' }), /They do not read a=b= as it is written/);
  });

  it('requireAcceptedCookie() accepts the characters of a cookie in a path, and no other', () => {
    for (let code = 0; code < 256; code++) {
      const path = `/${String.fromCharCode(code)}`;
      const isAllowed = code > 0x20 && code < 0x7f && !'",;\\'.includes(path.slice(1));
      if (isAllowed) check({ path });
      else assert.throws(() => check({ path }), TypeError, `code ${code}`);
    }
  });

  it('requireAcceptedCookie() accepts this host and the domains above it', () => {
    const rows: [domain: string, url: string][] = [
      ['example.org', 'https://www.example.org/'],
      ['a.b.example.org', 'https://a.b.example.org/'],
      ['localhost', 'http://localhost/'],
      ['127.0.0.1', 'http://127.0.0.1/'],
    ];
    for (const [domain, url] of rows) check({ domain, maxAge: -0 }, new URL(url));
    for (const domain of ['www.example.com', 'b.www.example.org', 'org', 'Example.org']) {
      assert.throws(() => check({ domain }), RangeError, domain);
    }
  });

  it('requireAcceptedCookie() accepts each attribute that SessionCookie of step 11 writes', () => {
    for (const secure of [true, false]) {
      for (const sameSite of ['Strict', 'Lax', 'None'] as const) {
        const places = [[undefined, '/', undefined], ['example.org', '/c', 60]] as const;
        for (const [domain, path, maxAge] of places) {
          const options = { cookieName: 'id', secure, sameSite, domain, path, maxAge };
          if (secure || sameSite !== 'None') check(options);
          else assert.throws(() => check(options), /SameSite=None needs Secure/);
        }
      }
    }
  });

  it('addCookiePage() escapes the text of the visitor, and accepts an invalid URL', async () => {
    const visitor = new Visitor(site().handle);
    const texts = ['"><script>alert(1)</script>', 'http://', 'x', '//', 'data:text/html,x', ''];
    for (const text of texts) {
      const query = new URLSearchParams({ header: text, url: text });
      const response = await visitor.get(`/inspect/cookie?${query}`);
      assert.equal(response.status, 200, text);
      assert.doesNotMatch(bodyText(response), /<script/, text);
    }
    const body = await visitor.text('/inspect/cookie');
    assert.match(body, /type="url" name="url" value="http:\/\/localhost:6543\/"/, 'the page that opens first');
  });
});

const EXACT = 'SameSite is written as in the RFC';
const NO_PAGE = 'a cookie cannot hold this character, and Pyramid writes a path that no page has';
const ALWAYS = 'SameSite is always sent, because browsers differ without it';
const FLAG = 'a flag is true or false';

/** Where the attributes differ from Pyramid's on purpose. `undefined`: an error at startup. */
const DIFFERENCES: Record<string, readonly [attributes: string[] | undefined, reason: string]> = {
  '{"max_age":false}': [['Path=/', 'SameSite=Lax'], 'false: no attribute'],
  '{"max_age":-1}': [undefined, 'browsers delete the cookie'],
  '{"path":"/a b"}': [undefined, 'a URL has no space, so no page would match'],
  '{"path":"/a,b"}': [undefined, NO_PAGE],
  '{"path":"/a\\"b"}': [undefined, NO_PAGE],
  '{"path":"/a\\\\b"}': [undefined, NO_PAGE],
  '{"path":null}': [['Path=/', 'SameSite=Lax'], 'without Path it depends on the page that set it'],
  '{"domain":".example.com"}': [undefined, 'browsers ignore the period'],
  '{"domain":""}': [undefined, 'without a domain, the option is absent'],
  '{"domain":"a;b"}': [undefined, 'this is not a host'],
  '{"httponly":1}': [undefined, FLAG],
  '{"secure":0}': [undefined, FLAG],
  '{"samesite":"lax","secure":true}': [undefined, EXACT],
  '{"samesite":"STRICT"}': [undefined, EXACT],
  '{"samesite":"STRICT","secure":true}': [undefined, EXACT],
  '{"samesite":null}': [['Path=/', 'SameSite=Lax'], ALWAYS],
  '{"samesite":null,"secure":true}': [['Path=/', 'SameSite=Lax', 'Secure'], ALWAYS],
  '{"secure":true,"httponly":true,"samesite":null}': [
    ['HttpOnly', 'Path=/', 'SameSite=Lax', 'Secure'],
    ALWAYS,
  ],
  '{"cookie_name":"__Secure-x"}': [undefined, 'browsers drop it'],
  '{"cookie_name":"$x"}': [['Path=/', 'SameSite=Lax'], '$ was special in RFC 2109 only'],
  '{"cookie_name":"path"}': [['Path=/', 'SameSite=Lax'], 'the name comes first, so it is a name'],
};

const NODE_NAMES: Record<string, string> = {
  cookie_name: 'cookieName', max_age: 'maxAge', httponly: 'httpOnly', samesite: 'sameSite',
};

type Attributes = { options: Record<string, unknown>; attributes?: string[]; error?: string };

const { set_cookie: setCookieVectors } = JSON.parse(
  readFileSync(new URL('../test/pyramid/vectors.json', import.meta.url), 'utf8'),
) as { set_cookie: Attributes[] };

/** Returns the attributes for Pyramid's options, or `undefined` if the site does not start. */
function attributesFor(options: Record<string, unknown>): string[] | undefined {
  const given = Object.entries(options).filter(([, value]) => value !== null); // None: absent
  const named = Object.fromEntries(given.map(([key, value]) => [NODE_NAMES[key] ?? key, value]));
  try {
    const header = new SessionCookie({ httpOnly: false, ...named } as CookieOptions).write('');
    requireAcceptedCookie(header, new URL('https://a.example.com/'));
    return header.split('; ').slice(1).sort();
  } catch (error) {
    assert.match(String(error), /^TypeError: Cannot write|^RangeError: Cannot start/);
    return undefined;
  }
}

describe('15-jar: attributes and real Pyramid', () => {
  it('requireAcceptedCookie() accepts the attributes of Pyramid, or what the table says', () => {
    const unseen = new Set(Object.keys(DIFFERENCES));
    for (const { options, attributes } of setCookieVectors) {
      const key = JSON.stringify(options);
      const pyramids = attributes
        ?.filter((attribute) => !attribute.startsWith('expires=')) // Max-Age has priority
        .map((attribute) => (attribute === 'secure' ? 'Secure' : attribute));
      const [expected, reason] = DIFFERENCES[key] ?? [pyramids, 'as in Pyramid'];
      assert.deepEqual(attributesFor(options), expected?.toSorted(), `${key}: ${reason}`);
      const isDifferent = unseen.delete(key);
      if (isDifferent) assert.notDeepEqual(expected?.toSorted(), pyramids?.toSorted(), key);
    }
    assert.deepEqual([...unseen], [], 'differences that no vector shows');
    assert.equal(setCookieVectors.length, 54);
  });
});
