import assert from 'node:assert/strict';
import { createServer, get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { parseRequest, text, toListener } from '../src/02-http.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import {
  cookieWriter,
  findCookie,
  MAX_COOKIE_AGE,
  MAX_COOKIE_SIZE,
  parseCookies,
  serializeCookie,
  site,
  withCookie,
} from '../src/07-cookie.ts';
import type { CookieAttributes } from '../src/07-cookie.ts';

const it = explainedIt(import.meta.url);
/** Made for each request: where `site` fails, that is a test's failure, and not the whole file's. */
const handle: Handler = (request) => site().handle(request);

async function open(path: string, cookie?: string, method = 'GET'): Promise<HttpResponse> {
  const request = parseRequest(method, path, cookie === undefined ? {} : { cookie });
  assert.ok('path' in request);
  return witness(handle)(request);
}

function countOn({ body }: HttpResponse): number {
  return Number(/<p>Count: (\d+)<\/p>/.exec(String(body))?.[1]);
}

const PARSED: [header: string | undefined, expected: [string, string][]][] = [
  ['count=1', [['count', '1']]],
  ['count=1; theme=dark', [['count', '1'], ['theme', 'dark']]],
  ['count=1;theme=dark', [['count', '1'], ['theme', 'dark']]],
  [' \tcount \t=\t 1 ;\ttheme=dark\t', [['count', '1'], ['theme', 'dark']]],
  [undefined, []],
  ['', []],
  [';', []],
  ['; ; ;;', []],
  ['=', []],
  ['=1', []], // nameless: RFC 6265bis lets it in, and it could pass for another cookie
  [' =count=1', []],
  ['count', []],
  ['count; theme=dark', [['theme', 'dark']]],
  ['count=', [['count', '']]],
  ['a=b=c==', [['a', 'b=c==']]],
  ['a=1; a=2; a=3', [['a', '1']]],
  ['a=; a=2', [['a', '']]],
  ['a=1; A=2', [['a', '1'], ['A', '2']]], // names are case-sensitive
  ['a="1"', [['a', '1']]],
  ['a=""', [['a', '']]],
  ['a="', [['a', '"']]],
  ['a="1', [['a', '"1']]],
  ['a=1"', [['a', '1"']]],
  ['a="1;2"', [['a', '"1']]], // a quote does not protect a semicolon
  ['a=%20', [['a', '%20']]],
  ['a=%zz; b=%', [['a', '%zz'], ['b', '%']]],
  ['%61=1; a=2', [['%61', '1'], ['a', '2']]], // decoded, the first would pass for the second
  ['%5f%5fHost-id=evil', [['%5f%5fHost-id', 'evil']]],
  ['\u00a0a=1', [['\u00a0a', '1']]],
  ['a=\u00a01\u00a0', [['a', '\u00a01\u00a0']]],
  ['\u2028__Host-id=evil', [['\u2028__Host-id', 'evil']]],
  ['a\n=1', [['a\n', '1']]],
  ['__proto__=1', [['__proto__', '1']]],
  ['constructor=1; toString=2', [['constructor', '1'], ['toString', '2']]],
  ['$Version=1; a=1; $Path=/', [['$Version', '1'], ['a', '1'], ['$Path', '/']]],
  ['a=1, b=2', [['a', '1, b=2']]],
  ['a={"b":1}', [['a', '{"b":1}']]],
];

type Refusal = [options: CookieAttributes, name?: string, value?: string];

describe('07-cookie', () => {
  it('parseCookies() reads what browsers send, and gives a Map for whatever else comes', () => {
    for (const [header, expected] of PARSED) {
      const cookies = parseCookies(header);
      assert.ok(cookies instanceof Map);
      assert.deepEqual([...cookies], expected, `Cookie: ${JSON.stringify(header)}`);
    }
  });

  it('parseCookies() takes a cookie named __proto__ for a name like any other', () => {
    const cookies = parseCookies('__proto__=polluted; __proto__.isAdmin=1');
    assert.equal(cookies.get('__proto__'), 'polluted', 'what came as Cookie: __proto__=polluted');
    assert.equal(cookies.get('toString'), undefined, 'nothing is there that was not sent');
    assert.equal(Reflect.get({}, 'isAdmin'), undefined, 'Object.prototype is as it was');
    assert.equal(Object.getPrototypeOf(cookies), Map.prototype);
  });

  it('parseCookies() takes time that grows with the length of the header, not its square', () => {
    const size = 100_000; // node:http stops at 16 KiB; here a square takes about 7 seconds
    assert.equal(parseCookies('a=1;'.repeat(size / 4)).size, 1);
    assert.equal(parseCookies(';'.repeat(size)).size, 0);
    assert.equal(parseCookies(`a=${'x'.repeat(size)}`).get('a')?.length, size);
    const started = performance.now();
    const spaces = ' '.repeat(size);
    assert.equal(parseCookies(`a=1${spaces}2`).get('a'), `1${spaces}2`);
    const took = performance.now() - started;
    assert.ok(took < 2_000, `${size} spaces took ${Math.round(took)} ms; a walk needs about 1`);
  });

  it('findCookie() finds what parseCookies() has under that name, and nothing else', () => {
    const headers = PARSED.map(([header]) => header);
    const names = PARSED.flatMap(([, pairs]) => pairs.map(([name]) => name));
    for (const header of [...headers, 'a=1; a=2; b', 'ab', ';;;', '=', 'b=1;a', ' a = 1 ;a=2']) {
      const cookies = parseCookies(header);
      for (const name of [...names, 'a', 'A', 'ab', 'b', '', 'toString', ' a', 'a=']) {
        const story = `${JSON.stringify(name)} in Cookie: ${JSON.stringify(header)}`;
        assert.equal(findCookie(header, name), cookies.get(name), story);
      }
    }
  });

  it('findCookie() takes time that grows with the length of the header, not its square', () => {
    const size = 100_000;
    const started = performance.now();
    assert.equal(findCookie(';'.repeat(size), 'a'), undefined);
    assert.equal(findCookie(`${'b;'.repeat(size / 2)}a=1`, 'a'), '1');
    assert.equal(findCookie(`b=1${' '.repeat(size)}2; a=1`, 'a'), '1');
    const took = performance.now() - started;
    assert.ok(took < 2_000, `it took ${Math.round(took)} ms; a walk needs about 10`);
  });

  it('cookieWriter() checks what stays at once, and each value for itself', () => {
    assert.throws(() => cookieWriter('a b'), TypeError);
    assert.throws(() => cookieWriter('a', { sameSite: 'None' }), /needs Secure/);
    const write = cookieWriter('a', { maxAge: 60 });
    assert.equal(write('1'), serializeCookie('a', '1', { maxAge: 60 }));
    assert.throws(() => write('1;2'), TypeError);
    assert.throws(() => write('x'.repeat(MAX_COOKIE_SIZE)), RangeError);
    assert.equal(write('2'), 'a=2; Max-Age=60; Path=/; HttpOnly; SameSite=Lax', 'none spoils it');
  });

  it('serializeCookie() writes exactly this line', () => {
    const every: CookieAttributes = {
      maxAge: 1200,
      path: '/cart',
      domain: 'example.com',
      secure: true,
      httpOnly: true,
      sameSite: 'Strict',
    };
    const table: [string, string][] = [
      [serializeCookie('count', '1'), 'count=1; Path=/; HttpOnly; SameSite=Lax'],
      [serializeCookie('a', ''), 'a=; Path=/; HttpOnly; SameSite=Lax'],
      [serializeCookie('a', '1', { httpOnly: false }), 'a=1; Path=/; SameSite=Lax'],
      [
        serializeCookie('a', '1', every),
        'a=1; Domain=example.com; Max-Age=1200; Path=/cart; Secure; HttpOnly; SameSite=Strict',
      ],
      [
        serializeCookie('a', '1', { sameSite: 'None', secure: true }),
        'a=1; Path=/; Secure; HttpOnly; SameSite=None',
      ],
      [
        serializeCookie('__Host-id', '1', { secure: true }),
        '__Host-id=1; Path=/; Secure; HttpOnly; SameSite=Lax',
      ],
      [
        serializeCookie('a', '1', { maxAge: undefined, domain: undefined }),
        'a=1; Path=/; HttpOnly; SameSite=Lax',
      ],
    ];
    for (const [line, expected] of table) assert.equal(line, expected);
  });

  it('serializeCookie() keeps Max-Age=0, which deletes', () => {
    assert.equal(
      serializeCookie('count', '', { maxAge: 0 }),
      'count=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax',
      'without Max-Age=0 a browser keeps the cookie, empty',
    );
  });

  it('serializeCookie() refuses what would start an attribute, a header or a cookie', () => {
    const controls = ['\r\nSet-Cookie: a=1', '\r', '\n', '\0', '\x7f', '\t'];
    const bad = [';', '; Domain=evil.example', ...controls];
    const beyond = ['é', '日', '\u00a0'];
    const notInValue = [...bad, ...beyond, ' ', ',', '"', '\\', '"quoted"', ' 1', '1 ', '1\n'];
    const notInName = [...notInValue, '', '=', 'a=b', '(', ')', '<', '@', '[', '{', '/', ':', '?'];
    const notInPath = ['', 'cart', 'cart/', ...[...bad, ' ', 'é'].map((s) => `/cart${s}`)];
    const afterHost = [...bad, ' ', ',', '"', 'é', '/', ':80', '.', '..b'];
    const notInDomain = ['', '.', ...afterHost.map((s) => `a${s}`)];
    const table: Refusal[] = [
      ...notInName.map((name): Refusal => [{}, name]),
      ...notInValue.map((value): Refusal => [{}, 'a', value]),
      ...notInPath.map((path): Refusal => [{ path }]),
      ...notInDomain.map((domain): Refusal => [{ domain }]),
      [{ sameSite: 'Lax; Domain=evil.example' as 'Lax' }],
      [{ sameSite: 'lax' as 'Lax' }],
    ];
    for (const [options, name = 'a', value = '1'] of table) {
      const call = JSON.stringify([name, value, options]);
      const story = `serializeCookie() took the name, value and options ${call}`;
      assert.throws(() => serializeCookie(name, value, options), TypeError, story);
    }
  });

  it('serializeCookie() takes each character that the grammar allows', () => {
    const visible = Array.from({ length: 94 }, (_, i) => String.fromCharCode(0x21 + i));
    const octets = visible.filter((c) => !'",;\\'.includes(c)).join('');
    assert.equal(octets.length, 90, 'cookie-octet, RFC 6265bis §4.1.1');
    assert.equal(parseCookies(serializeCookie('a', octets)).get('a'), octets);
    const tchars = visible.filter((c) => !'"(),/:;<=>?@[\\]{}'.includes(c)).join('');
    assert.equal(tchars.length, 77, 'tchar, RFC 9110 §5.6.2');
    assert.ok(serializeCookie(tchars, '1').startsWith(`${tchars}=1;`));
  });

  it('serializeCookie() says what cannot be done, the rule and the value', () => {
    const table: [() => string, RegExp][] = [
      [() => serializeCookie('a', 'b;c'), /^TypeError: Cannot make the cookie "a": .* is "b;c"$/],
      [() => serializeCookie('a', '1', { maxAge: 1.5 }), /^RangeError: .*seconds.*maxAge is 1\.5$/],
      [() => serializeCookie('a', '1', { sameSite: 'None' }), /needs Secure: secure is false$/],
      [() => serializeCookie('a', '"'.repeat(5_000)), /^.{1,400}$/], // cut: it may be a log line
    ];
    for (const [call, message] of table) assert.throws(call, message);
  });

  it('serializeCookie() names the rule that is broken, and the part that breaks it', () => {
    const host = '__Host-id';
    const secure = true;
    const table: [CookieAttributes, name: string, value: string, told: string][] = [
      [{}, 'a b', '', '"a b": a name has only letters, digits and !#$%&\'*+-.^_`|~: name is "a b"'],
      [{}, 'a', ' ', '"a": a value has only visible ASCII but ",;\\: value is " "'],
      [
        { path: 'x' }, 'a', '',
        '"a": a path is / and then visible ASCII but ;, 1024 at most: path is "x"',
      ],
      [{ domain: '/' }, 'a', '', '"a": it must be a host name: domain is "/"'],
      [
        { maxAge: -1 }, 'a', '',
        '"a": it is whole seconds, from 0 to 34560000 (400 days), where browsers cut it: ' +
          'maxAge is -1',
      ],
      [
        { sameSite: 'lax' as 'Lax' }, 'a', '',
        '"a": it is Strict, Lax or None: sameSite is "lax"',
      ],
      [{ sameSite: 'None' }, 'a', '', '"a": SameSite=None needs Secure: secure is false'],
      [{}, host, '', '"__Host-id": that prefix needs Secure: secure is false'],
      [{ secure, path: '/x' }, host, '', '"__Host-id": __Host- needs the path /: path is "/x"'],
      [
        { secure, domain: 'x' }, host, '',
        '"__Host-id": __Host- allows no Domain: domain is "x"',
      ],
      [
        {}, 'a', 'x'.repeat(MAX_COOKIE_SIZE),
        '"a": name and value have 4096 bytes together at most, or a browser drops them: ' +
          `value is "${'x'.repeat(80)}"`,
      ],
    ];
    for (const [options, name, value, told] of table) {
      const message = `Cannot make the cookie ${told}`;
      assert.throws(() => serializeCookie(name, value, options), { message });
    }
  });

  it('serializeCookie() takes a host with any number of dots for Domain', () => {
    for (const domain of ['localhost', 'example.com', 'a.b.example.com', '.example.com']) {
      assert.match(serializeCookie('a', '1', { domain }), new RegExp(`; Domain=${domain};`));
    }
  });

  it('serializeCookie() allows __Secure- only with Secure, and __Host- only at home', () => {
    const secure = true;
    const table: [string, CookieAttributes, boolean][] = [
      ['__Secure-id', { secure }, true],
      ['__Secure-id', { secure, domain: 'example.com', path: '/cart' }, true],
      ['__Secure-id', {}, false],
      ['__Host-id', { secure }, true],
      ['__Host-id', {}, false],
      ['__Host-id', { secure, path: '/cart' }, false],
      ['__Host-id', { secure, domain: 'example.com' }, false],
      ['__host-id', {}, false], // browsers look at the prefix in any case (RFC 6265bis §5.4)
      ['__HOST-id', { secure, domain: 'example.com' }, false],
      ['__hOsT-id', { secure, path: '/cart' }, false],
      ['__SECURE-id', {}, false],
      ['__secure-id', {}, false],
      ['x__Host-id', { path: '/cart', domain: 'example.com' }, true],
      ['__Hostid', {}, true],
    ];
    for (const [name, options, isAllowed] of table) {
      const call = (): string => serializeCookie(name, '1', options);
      const row = `${name} with ${JSON.stringify(options)}`;
      if (isAllowed) assert.doesNotThrow(call, row);
      else assert.throws(call, TypeError, row);
    }
  });

  it('serializeCookie() refuses SameSite=None without Secure, which browsers drop', () => {
    assert.throws(() => serializeCookie('a', '1', { sameSite: 'None' }), TypeError);
    assert.throws(() => serializeCookie('a', '1', { sameSite: 'None', secure: false }), TypeError);
  });

  it('serializeCookie() takes whole seconds from 0 to 400 days', () => {
    const line = serializeCookie('a', '1', { maxAge: MAX_COOKIE_AGE });
    assert.match(line, /; Max-Age=34560000;/);
    for (const maxAge of [MAX_COOKIE_AGE + 1, -1, -1e21, 1e21, 0.5, NaN, Infinity, -Infinity]) {
      const call = (): string => serializeCookie('a', '1', { maxAge });
      assert.throws(call, RangeError, `maxAge: ${maxAge}`);
    }
    assert.match(serializeCookie('a', '1', { maxAge: -0 }), /; Max-Age=0;/);
  });

  it('serializeCookie() refuses one byte more than a browser keeps', () => {
    assert.equal(MAX_COOKIE_SIZE, 4096);
    const largest = 'x'.repeat(MAX_COOKIE_SIZE - 'name'.length);
    assert.doesNotThrow(() => serializeCookie('name', largest));
    assert.throws(() => serializeCookie('name', `${largest}x`), RangeError);
    const longest = `/${'x'.repeat(1023)}`; // of an attribute browsers keep 1024 bytes
    assert.doesNotThrow(() => serializeCookie('name', '1', { path: longest }));
    assert.throws(() => serializeCookie('name', '1', { path: `${longest}x` }), TypeError);
  });

  it('serializeCookie() and parseCookies() agree, several cookies in one header', () => {
    const sent: [string, string][] = [
      ['count', '1'],
      ['__proto__', 'x'],
      ['empty', ''],
      ['base64', Buffer.from('any bytes').toString('base64')],
      ['uri', encodeURIComponent('Zoë; "日本"')],
    ];
    const lines = sent.map(([name, value]) => serializeCookie(name, value));
    const header = lines.map((line) => line.split(';')[0]).join('; ');
    assert.deepEqual([...parseCookies(header)], sent, `Cookie: ${header}`);
  });

  it('withCookie() keeps several lines side by side, and changes no response', () => {
    const bare = text('ok');
    const one = withCookie(bare, 'a=1');
    const two = withCookie(one, 'b=2');
    assert.deepEqual(two.headers['set-cookie'], ['a=1', 'b=2'], 'the second beside the first');
    assert.deepEqual(one.headers['set-cookie'], ['a=1'], 'always a list, of one line too');
    assert.equal(bare.headers['set-cookie'], undefined);
    assert.equal(two.headers['content-type'], bare.headers['content-type']);
    const single: HttpResponse = { ...bare, headers: { 'set-cookie': 'a=1' } };
    const both = withCookie(single, 'b=2').headers['set-cookie'];
    assert.deepEqual(both, ['a=1', 'b=2'], 'beside a line that is no list');
  });

  it('withCookie() gives each cookie a header line of its own on the wire', async (t) => {
    const lines = [serializeCookie('a', '1'), serializeCookie('b', '2', { maxAge: 60 })];
    const server = createServer(toListener(() => lines.reduce(withCookie, text('ok'))));
    t.after(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      get({ port, host: '127.0.0.1', agent: false }, resolve).on('error', reject);
    });
    response.resume();
    const { rawHeaders } = response; // name, value, name, value …: as they came, nothing joined
    const sent = rawHeaders.filter((_, i) => rawHeaders[i - 1]?.toLowerCase() === 'set-cookie');
    assert.deepEqual(sent, lines);
  });

  it('CookieCounterViews finds its cookie in any of several Cookie headers', async (t) => {
    const server = createServer(toListener(handle));
    t.after(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    for (const cookie of [['theme=dark', 'count=5'], ['count=5', 'theme=dark', 'a=1']]) {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const asked = { port, host: '127.0.0.1', agent: false, headers: { cookie } };
        get(asked, resolve).on('error', reject);
      });
      response.resume();
      assert.match(String(response.headers['set-cookie']), /^count=6;/, cookie.join(' | '));
    }
  });

  it('CookieCounterViews counts for each browser on its own, on both pages', async () => {
    const first = await open('/');
    assert.equal(countOn(first), 1);
    assert.equal(first.headers['set-cookie'], 'count=1; Path=/; HttpOnly; SameSite=Lax');
    const second = await open('/howdy', 'count=1');
    assert.equal(countOn(second), 2);
    assert.equal(second.headers['set-cookie'], 'count=2; Path=/; HttpOnly; SameSite=Lax');
    assert.equal(countOn(await open('/')), 1, 'another browser, that sends no cookie');
    assert.equal(countOn(await open('/', 'count=2')), 3, 'and the first goes on');
  });

  it('CookieCounterViews believes 9999 written by hand: the flaw that step 9 mends', async () => {
    const response = await open('/', 'count=9999');
    assert.equal(countOn(response), 10_000);
  });

  it('CookieCounterViews starts anew on what is no count', async () => {
    const table: [string, number][] = [
      ['count=abc', 1],
      ['count=1e9', 1],
      ['count=-1', 1],
      ['count=+1', 1],
      ['count=1.5', 1],
      ['count=0x10', 1],
      ['count=', 1],
      ['count=NaN', 1],
      ['count=Infinity', 1],
      ['count=%31', 1],
      ['count=1%20', 1],
      ['count=\u0661', 1], // a digit in Arabic, and none in HTTP
      ['count=<script>alert(1)</script>', 1],
      ['count=1234567890123456', 1], // 16 digits
      [`count=${'9'.repeat(4000)}`, 1],
      ['Count=5', 1],
      ['count=abc; count=5', 1], // the first is it, even when it is bad
      ['count=999999999999999', 1_000_000_000_000_000], // 15 digits are believed
      ['count=0', 1],
      ['count="5"', 6],
      ['theme=dark; count=5', 6],
    ];
    for (const [cookie, expected] of table) {
      assert.equal(countOn(await open('/', cookie)), expected, `curl -H 'Cookie: ${cookie}' /`);
    }
  });

  it('CookieCounterViews does not count a look by HEAD', async () => {
    const { status, headers } = await open('/', 'count=5', 'HEAD');
    assert.equal(status, 200);
    assert.equal(headers['set-cookie'], undefined);
  });

  it('site() of step 7 gives its routes the names that the original gives them', () => {
    const routes = ['home', 'hello'].map((name) => site().pathFor(name));
    assert.deepEqual(routes, ['/', '/howdy']);
  });

  it('site() sets no cookie with a file or a page that is not there', async () => {
    for (const path of ['/style.css', '/favicon.svg', '/favicon.ico', '/nowhere']) {
      assert.equal((await open(path, 'count=5')).headers['set-cookie'], undefined, `GET ${path}`);
    }
  });
});
