// Further proofs for step 2: hostile headers, long headers, and several headers in one request.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { explainedIt } from '../.tools/explain.ts';
import { requestBytes, startServer } from '../.tools/serve.ts';
import { Cookie, countVisits, parseCookies } from '../src/02-cookie.ts';

const it = explainedIt(import.meta.url);

/** Headers that no browser sends, and the pairs that the server reads. */
const HOSTILE: [header: string | undefined, pairs: [name: string, value: string][]][] = [
  [undefined, []],
  ['', []],
  [';', []],
  ['=', [['', '']]],
  ['=1', [['', '1']]], // a cookie without a name must not become the cookie named 1
  [' =count=1', [['', 'count=1']]],
  ['count', []], // a value without a name must not become the cookie named count
  ['count; count=7', [['count', '7']]],
  ['a=1;b=2', [['a', '1'], ['b', '2']]],
  [' \ta=1;\tb=2', [['a', '1'], ['b', '2']]],
  ['a=1; A=2', [['a', '1'], ['A', '2']]],
  ['a="1"', [['a', '"1"']]],
  ['a="1;2"', [['a', '"1']]], // a quotation mark does not protect a semicolon
  ['a=%20', [['a', '%20']]],
  ['a=%zz; b=%', [['a', '%zz'], ['b', '%']]],
  ['%61=1; a=2', [['%61', '1'], ['a', '2']]], // a decoded name could replace another cookie
  ['%5f%5fHost-id=evil', [['%5f%5fHost-id', 'evil']]],
  ['\u00a0a=1', [['\u00a0a', '1']]], // a browser keeps this space, so it is part of the name
  ['a=\u00a01\u00a0', [['a', '\u00a01\u00a0']]],
  ['\u2028__Host-id=evil', [['\u2028__Host-id', 'evil']]],
  ['\na=1', [['\na', '1']]],
  ['a\n=1', [['a\n', '1']]],
  ['$Version=1; a=1; $Path=/', [['$Version', '1'], ['a', '1'], ['$Path', '/']]],
  ['a=1, b=2', [['a', '1, b=2']]],
  ['a={"b":1}', [['a', '{"b":1}']]],
  ['a=<script>alert(1)</script>', [['a', '<script>alert(1)</script>']]],
];

describe('02-cookie: further proofs', () => {
  it('parseCookies() reads a hostile header and never throws', () => {
    for (const [header, pairs] of HOSTILE) {
      assert.deepEqual(parseCookies(header), pairs, `Cookie: ${JSON.stringify(header)}`);
    }
  });

  it('Cookie.read() agrees with parseCookies() for each name in a hostile header', () => {
    const names = HOSTILE.flatMap(([, pairs]) => pairs.map(([name]) => name));
    for (const [header] of HOSTILE) {
      const pairs = parseCookies(header).toReversed(); // of two, the first stays in the map
      const cookies = new Map(pairs);
      for (const name of [...names, ' a', 'a=', 'a;', '__Host-id', 'toString']) {
        const story = `${JSON.stringify(name)} in Cookie: ${JSON.stringify(header)}`;
        assert.equal(new Cookie(name).read(header), cookies.get(name), story);
      }
    }
  });

  it('parseCookies() changes no prototype', () => {
    parseCookies('__proto__=polluted; __proto__.isAdmin=1; constructor.prototype.isAdmin=1');
    assert.equal(Reflect.get({}, 'isAdmin'), undefined);
  });

  it('parseCookies() needs time in proportion to the length of the header', () => {
    const size = 200_000; // node:http accepts 16 KiB. Quadratic time would be half a minute here.
    const headers = [
      'a=1;'.repeat(size / 4),
      ';'.repeat(size),
      '='.repeat(size),
      ' '.repeat(size),
      `a=${'x'.repeat(size)}`,
      `a=1${' '.repeat(size)}2`,
      `a${' '.repeat(size)}b=1`,
      `${'b;'.repeat(size / 2)}a=1`,
    ];
    for (const header of headers) {
      const context = createContext({ parseCookies, header });
      const parse = (): unknown => runInContext('parseCookies(header)', context, { timeout: 5_000 });
      assert.doesNotThrow(parse, `more than 5 seconds for '${header.slice(0, 10)}…'`);
    }
  });

  it('Cookie.write() throws for each character that is not a cookie-octet', () => {
    const controls = ['\r', '\n', '\0', '\x7f', '\t'];
    const notAscii = ['é', '日', '\u00a0', '🍪', '\ud800'];
    const others = [' ', ',', ';', '"', '\\', '"quoted"'];
    for (const bad of [...controls, ...notAscii, ...others]) {
      for (const value of [bad, `1${bad}`, `${bad}1`, `1${bad}1`]) {
        const write = (): string => new Cookie('a').write(value);
        assert.throws(write, TypeError, `the value ${JSON.stringify(value)}`);
      }
    }
  });

  it('Cookie.read() returns what Cookie.write() wrote, with several cookies in one header', () => {
    const octets = Array.from({ length: 94 }, (_, i) => String.fromCharCode(0x21 + i))
      .filter((character) => !'",;\\'.includes(character))
      .join('');
    const sent: [name: string, value: string][] = [
      ['count', '1'],
      ['__proto__', 'x'],
      ['empty', ''],
      ['octets', octets],
      ['base64', Buffer.from('any bytes').toString('base64')],
      ['uri', encodeURIComponent('Zoë; "日本"')],
    ];
    const headers = sent.map(([name, value]) => new Cookie(name).write(value));
    const header = headers.map((setCookie) => setCookie.split(';')[0]).join('; ');
    assert.deepEqual(parseCookies(header), sent);
    for (const [name, value] of sent) assert.equal(new Cookie(name).read(header), value);
  });

  it('countVisits() finds its cookie in any of several Cookie headers', async (t) => {
    const site = await startServer(t, countVisits);
    for (const cookies of [['theme=dark', 'count=5'], ['count=5', 'theme=dark', 'a=1']]) {
      const headers = cookies.map((cookie) => `Cookie: ${cookie}\r\n`).join('');
      const received = await site.exchange(requestBytes('GET', '/', headers));
      assert.match(received, /^set-cookie: count=6;/im, headers);
    }
  });

  it('countVisits() can read the cookie that it wrote after an unusual number', async (t) => {
    const site = await startServer(t, countVisits);
    for (const value of [String(Number.MAX_SAFE_INTEGER), '-5', '1e3', '0x10']) {
      const { status, cookie } = await site.get('/', { cookie: `count=${value}` });
      assert.equal(status, 200, `count=${value}`);
      assert.match((await site.get('/', { cookie })).body, /^Count: -?\d+\n$/);
    }
  });
});
