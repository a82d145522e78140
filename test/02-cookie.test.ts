import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { assertCookie } from '../.tools/request.ts';
import { fetchReply, startProgram, startServer } from '../.tools/serve.ts';
import { Cookie, countVisits, parseCookies } from '../src/02-cookie.ts';

const it = explainedIt(import.meta.url);

describe('02-cookie: the cookie', () => {
  it('new Cookie() keeps the name', () => {
    assert.equal(new Cookie(given('count')).name, 'count');
  });

  it('new Cookie() keeps the attributes, or has Path, HttpOnly and SameSite', () => {
    assert.equal(new Cookie('a', given('; Path=/; Secure')).attributes, '; Path=/; Secure');
    const { attributes } = new Cookie(given('a'));
    assertCookie(`a=1${attributes}`, 'a=1; Path=/; HttpOnly; SameSite=Lax');
  });
});

describe('02-cookie: reading', () => {
  it('parseCookies() returns the name and the value of a cookie', () => {
    assert.deepEqual(parseCookies(given('count=7')), [['count', '7']]);
    assert.deepEqual(parseCookies(given('count=')), [['count', '']], 'an empty value is a value');
  });

  it('parseCookies() returns each pair of the header in order', () => {
    const pairs = [['count', '7'], ['theme', 'dark'], ['count', '8']];
    assert.deepEqual(parseCookies(given('count=7;theme=dark;count=8')), pairs);
  });

  it('parseCookies() removes the spaces and tabs before a name', () => {
    const pairs = [['count', '7'], ['theme', 'dark']];
    assert.deepEqual(parseCookies(given('count=7; theme=dark')), pairs);
    assert.deepEqual(parseCookies(given(' count=7; \ttheme=dark')), pairs);
  });

  it('parseCookies() keeps each other character of a name and of a value', () => {
    const why = 'the name contains this character: remove only spaces and tabs before it';
    for (const character of ['\u00a0', '\u2028', '\n', '\f']) {
      assert.deepEqual(parseCookies(given(`${character}a=1`)), [[`${character}a`, '1']], why);
    }
    const after = 'remove nothing after the name, and nothing of the value';
    assert.deepEqual(parseCookies(given('a =1')), [['a ', '1']], after);
    assert.deepEqual(parseCookies(given('a= 1 ; b=2')), [['a', ' 1 '], ['b', '2']], after);
  });

  it('parseCookies() returns the whole value if the value contains =', () => {
    assert.deepEqual(parseCookies(given('a=b=c==')), [['a', 'b=c==']]);
    assert.deepEqual(parseCookies(given('a==; b=1')), [['a', '='], ['b', '1']]);
  });

  it('parseCookies() returns no pair for a part without =', () => {
    for (const header of [undefined, '', ' ', ';', 'flag']) {
      assert.deepEqual(parseCookies(given(header)), []);
    }
    for (const header of ['a=1;', 'a=1; ', ';a=1', 'flag; a=1', 'a=1; flag', 'a=1;; ']) {
      assert.deepEqual(parseCookies(given(header)), [['a', '1']]);
    }
  });

  it('parseCookies() treats __proto__ as a name', () => {
    const pairs = [['__proto__', '1'], ['constructor', '2']];
    assert.deepEqual(parseCookies(given('__proto__=1; constructor=2')), pairs);
  });

  it('Cookie.read() returns the value of the cookie', () => {
    assert.equal(new Cookie('count').read(given('count=7')), '7');
    assert.equal(new Cookie('count').read(given('theme=dark; count=7; a=1')), '7');
    assert.equal(new Cookie('theme').read(given('count=7; theme=dark')), 'dark');
    assert.equal(new Cookie('count').read(given('count=')), '', 'an empty value is a value');
  });

  it('Cookie.read() returns undefined if the cookie is absent', () => {
    const cookie = new Cookie('count');
    for (const header of [undefined, '', 'theme=dark', 'discount=7', 'count2=7', 'a=count']) {
      assert.equal(cookie.read(given(header)), undefined);
    }
    assert.equal(cookie.read(given('Count=7')), undefined, 'names are case-sensitive');
  });

  it('Cookie.read() returns the first of two cookies with the same name', () => {
    const first = 'a browser sends the cookie with the longest path first';
    assert.equal(new Cookie('a').read(given('a=1; b=2; a=3')), '1', first);
    assert.equal(new Cookie('a').read(given('a=; a=3')), '', first);
  });

  it('Cookie.read() treats __proto__ as a name', () => {
    assert.equal(new Cookie('__proto__').read(given('__proto__=1')), '1');
    assert.equal(
      new Cookie('toString').read(given('a=1')),
      undefined,
      'the client has not sent it',
    );
  });
});

describe('02-cookie: writing', () => {
  it('Cookie.write() returns the value of a Set-Cookie header', () => {
    const header = 'count=7; Path=/; HttpOnly; SameSite=Lax';
    assertCookie(new Cookie('count').write(given('7')), header);
    assertCookie(new Cookie('count').write(given('')), header.replace('7', ''));
    assertCookie(new Cookie('a', '; Path=/; Secure').write(given('1')), 'a=1; Path=/; Secure');
  });

  it('Cookie.write() writes Path, HttpOnly and SameSite in this order, as Pyramid does', () => {
    const header = 'count=7; Path=/; HttpOnly; SameSite=Lax';
    assert.equal(new Cookie('count').write(given('7')), header);
  });

  it('Cookie.write() throws for a value that adds an attribute or a header', () => {
    const cookie = new Cookie('count');
    for (const attack of ['7; Domain=evil.example', '7\r\nSet-Cookie: a=1', '7\n', '7;']) {
      const message = `Cannot write '${attack}' to a cookie: it has a forbidden character`;
      assert.throws(() => cookie.write(given(attack)), { name: 'TypeError', message });
    }
  });

  it('Cookie.write() accepts the 90 characters of RFC 6265bis and no other', () => {
    const accepted = Array.from({ length: 0x300 }, (_, code) => String.fromCharCode(code))
      .filter((character) => {
        try {
          return new Cookie('a').write(`x${character}x`).startsWith(`a=x${character}x; `);
        } catch {
          return false;
        }
      });
    const lettersAndDigits = /^[A-Za-z0-9]$/;
    const others = accepted.filter((character) => !lettersAndDigits.test(character)).join('');
    assert.equal(others, '!#$%&\'()*+-./:<=>?@[]^_`{|}~', '§4.1.1: not space " , ; or \\');
    assert.equal(accepted.length, 90);
  });
});

describe('02-cookie: the page', () => {
  it('countVisits() sets the cookie count=1 on the first visit', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const { status, headers, body } = await site.get('/');
    assert.equal(status, 200);
    assert.equal(body, 'Count: 1\n');
    assert.equal(headers.get('content-type'), 'text/plain; charset=utf-8');
    assert.equal(headers.getSetCookie().length, 1, 'the number of Set-Cookie headers');
    assertCookie(headers.getSetCookie()[0], 'count=1; Path=/; HttpOnly; SameSite=Lax');
  });

  it('countVisits() adds 1 to the count that the browser sends', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const first = await site.get('/');
    const second = await site.get('/', { cookie: first.cookie });
    assert.equal(second.body, 'Count: 2\n');
    assert.equal(second.cookie, 'count=2');
    const third = await site.get('/', { cookie: `theme=dark; ${second.cookie}` });
    assert.equal(third.body, 'Count: 3\n');
  });

  it('countVisits() keeps a count for each browser', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const ada = await site.get('/');
    const bob = await site.get('/');
    assert.equal(bob.body, 'Count: 1\n', 'the browser of Bob has not sent a cookie');
    assert.equal((await site.get('/', { cookie: ada.cookie })).body, 'Count: 2\n');
    assert.equal((await site.get('/', { cookie: bob.cookie })).body, 'Count: 2\n');
  });

  it('countVisits() continues the count after a restart', async (t) => {
    let cookie = '';
    for (const expected of ['Count: 1\n', 'Count: 2\n']) {
      const program = startProgram(t, ['src/02-cookie.ts']);
      const reply = await fetchReply(await program.origin(), { cookie });
      assert.equal(reply.body, expected);
      cookie = reply.cookie;
      program.kill();
      await program.ended();
    }
  });

  it('countVisits() starts at 1 if the cookie contains no safe integer', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const values = ['abc', '', 'NaN', 'Infinity', '1.5', '%31', '7abc', '"7"', '<b>', '0'];
    for (const value of [...values, '9'.repeat(4000), '9007199254740992']) {
      const { body, cookie } = await site.get('/', { cookie: `count=${value}` });
      assert.equal(body, 'Count: 1\n', `count=${value.slice(0, 20)}`);
      assert.equal(cookie, 'count=1');
    }
  });

  it('countVisits() believes a visitor who writes 9999, which is a flaw', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const { body } = await site.get('/', { cookie: 'count=9999' });
    assert.equal(body, 'Count: 10000\n', 'step 3 fixes this');
  });
});
