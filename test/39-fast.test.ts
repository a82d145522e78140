import assert from 'node:assert/strict';
import crypto, { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ServerResponse } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { describe, type TestContext } from 'node:test';
import { inspect } from 'node:util';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { keyOf, Unchecked } from '../.tools/fast.ts';
import { bodyText, setCookies, Visitor } from '../.tools/request.ts';
import { largePost, requestBytes, startServer } from '../.tools/serve.ts';
import { Signer, type SignerOptions } from '../src/03-signer.ts';
import { type Handler, problem, send, text, toListener } from '../src/04-http.ts';
import { html, page } from '../src/06-template.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { DEMO, site as tutorial, type TutorialData } from '../src/09-tutorial.ts';
import { FastSessionFactory, FastSigner, sendFast, site } from '../src/39-fast.ts';

const it = explainedIt(import.meta.url);
const OPTIONS = { secrets: ['itsaseekreet'], salt: 'count.' };
const KEY_SIZES = [1, 63, 64, 65, 127, 128, 129, 300]; // bytes: around the size of a block
const SIZE = 64; // bytes of a signature with SHA-512

/** Returns base64url(signature ‖ text), with the HMAC of Node. */
function valueOf(key: string, text: string, hashAlg = 'sha512'): string {
  const signature = createHmac(hashAlg, Buffer.from(key, 'latin1')).update(text).digest();
  return Buffer.concat([signature, Buffer.from(text)]).toString('base64url');
}

/** Asserts that the signer has this key, unless its `encode` hashes no inner block. */
function assertKey(t: TestContext, options: SignerOptions, key: string, what: string): void {
  const hashAlg = options.hashAlg ?? 'sha512';
  const blockSize = hashAlg === 'sha512' ? 128 : 64;
  const bytes = Buffer.from(key, 'latin1');
  const hashed = createHash(hashAlg).update(bytes).digest();
  const expected = (bytes.length > blockSize ? hashed : bytes).toString('latin1');
  const received = keyOf(t, options, blockSize) ?? expected;
  assert.equal(received, expected, `the key in the inner block, for ${what}`);
}

/** Test cases 1, 2, 6 and 7 of RFC 4231. The texts of the other cases are not UTF-8, or cut. */
const LONG_KEY = '\xaa'.repeat(131);
const RFC_4231: [key: string, text: string, sha256: string, sha512: string][] = [
  [
    '\x0b'.repeat(20), 'Hi There',
    'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
    '87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde' +
      'daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854',
  ],
  [
    'Jefe', 'what do ya want for nothing?',
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554' +
      '9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
  ],
  [
    LONG_KEY, 'Test Using Larger Than Block-Size Key - Hash Key First',
    '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    '80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352' +
      '6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598',
  ],
  [
    LONG_KEY,
    'This is a test using a larger than block-size key and a larger than block-size data. ' +
      'The key needs to be hashed before being used by the HMAC algorithm.',
    '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2',
    'e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944' +
      'b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58',
  ],
];

type PyramidCookie = {
  readonly name: string;
  readonly options: { readonly secret: string; readonly salt: string | null; readonly hashalg: string };
  readonly cookie: string;
  readonly payload_json: string;
};

/** Returns the 50 cookies that real Pyramid has signed. */
function pyramidCookies() {
  const file = new URL('./pyramid/vectors.json', import.meta.url);
  const { good } = JSON.parse(readFileSync(file, 'utf8'));
  assert.equal(good.length, 50);
  const names: Record<string, string> = { sha3_256: 'sha3-256', blake2b: 'blake2b512' };
  return (good as PyramidCookie[]).map(({ name, options, cookie, payload_json: text }) => {
    const { secret, salt, hashalg } = options;
    const own = { secrets: [secret], salt: salt ?? '', hashAlg: names[hashalg] ?? hashalg };
    return { name, options: own, cookie, text };
  });
}

/** Returns a random secret and a random text. */
function randomCase(i: number) {
  const secret = crypto.randomBytes(1 + crypto.randomInt(300)).toString('latin1');
  const hashAlg = ['sha512', 'sha384', 'sha256', 'sha1', 'sha3-256'][i % 5];
  const text = crypto.randomBytes(crypto.randomInt(600)).toString('utf8');
  return { options: { secrets: [secret], hashAlg }, text };
}

describe('39-fast: the same values', () => {
  it('FastSigner() uses the salt and then the secret as its key, and SHA-512 by default', (t) => {
    const secrets = ['itsaseekreet'];
    assertKey(t, { secrets }, 'itsaseekreet', 'a signer without a salt');
    assertKey(t, { secrets, salt: 'count.' }, 'count.itsaseekreet', "the salt 'count.'");
    assertKey(t, { secrets, hashAlg: 'sha256' }, 'itsaseekreet', "the hash 'sha256'");
    assertKey(t, { secrets: ['é'] }, '\xe9', 'a secret in Latin-1, as in step 3');
  });

  it('FastSigner() hashes a key first if it is longer than a block', (t) => {
    for (const size of KEY_SIZES) {
      for (const hashAlg of ['sha256', 'sha512']) {
        const key = '\xe9'.repeat(size);
        assertKey(t, { secrets: [key], hashAlg }, key, `${hashAlg} and a secret of ${size} bytes`);
      }
    }
  });

  it('FastSigner.encode() agrees with createHmac about short and long keys', () => {
    for (const size of KEY_SIZES) {
      for (const hashAlg of ['sha256', 'sha512']) {
        const key = '\xe9'.repeat(size);
        const signer = new Unchecked({ secrets: [key], hashAlg });
        assert.equal(
          signer.encode(given('1')),
          valueOf(key, '1', hashAlg),
          `${hashAlg} and a key of ${size} bytes`,
        );
      }
    }
  });

  it('FastSigner.encode() writes the HMAC of node:crypto before the text, in base64url', () => {
    const signer = new Unchecked(OPTIONS);
    assert.equal(signer.encode(given('7')), valueOf('count.itsaseekreet', '7'));
    assert.equal(signer.encode(given('é🍪')), valueOf('count.itsaseekreet', 'é🍪'));
  });

  it('FastSigner.encode() agrees with the test cases of RFC 4231', () => {
    for (const [key, text, sha256, sha512] of RFC_4231) {
      for (const [hashAlg, expected] of Object.entries({ sha256, sha512 })) {
        const value = new Unchecked({ secrets: [key], hashAlg }).encode(given(text));
        const bytes = Buffer.from(value, 'base64url');
        assert.equal(bytes.toString('hex', 0, expected.length / 2), expected, `${hashAlg}: ${text}`);
        assert.equal(bytes.toString('utf8', expected.length / 2), text);
      }
    }
  });

  it('FastSigner.encode() writes the cookies of real Pyramid', () => {
    for (const { name, options, cookie, text } of pyramidCookies()) {
      assert.equal(new Unchecked(options).encode(given(text)), cookie, name);
    }
  });

  it('FastSigner.encode() and Signer write the same values, for random keys and texts', () => {
    for (let i = 0; i < 300; i++) {
      const { options, text } = randomCase(i);
      const expected = new Signer(options).encode(text);
      const what = `${options.hashAlg}, the secret ${inspect(options.secrets[0])}`;
      assert.equal(new Unchecked(options).encode(given(text)), expected, what);
    }
  });

  it('FastSigner.decode() reads the cookies of real Pyramid', () => {
    for (const { name, options, cookie, text } of pyramidCookies()) {
      assert.equal(new Unchecked(options).decode(given(cookie)), text, name);
    }
  });

  it('FastSigner.decode() reads the values of Signer, for random keys and texts', () => {
    for (let i = 0; i < 300; i++) {
      const { options, text } = randomCase(i);
      const value = new Signer(options).encode(text);
      const what = `${options.hashAlg}, the secret ${inspect(options.secrets[0])}`;
      assert.equal(new Unchecked(options).decode(given(value)), text, what);
    }
  });

  it('FastSigner.decode() returns the text that FastSigner.encode() was given', () => {
    const signer = new Unchecked(OPTIONS);
    const texts = ['7', '', '\0', '\ufeff1', 'é', '日本', '🍪', 'x'.repeat(5_000), '日'.repeat(9_000)];
    for (const text of texts) {
      assert.ok(
        signer.decode(given(signer.encode(given(text)))) === text,
        JSON.stringify(text.slice(0, 9)),
      );
    }
  });
});

describe('39-fast: attacks', () => {
  it('FastSigner.decode() rejects a value with one flipped bit', () => {
    const signer = new Unchecked(OPTIONS);
    const value = signer.encode(given('10'));
    for (let bit = 0; bit < (SIZE + 2) * 8; bit++) {
      const bytes = Buffer.from(value, 'base64url');
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      assert.equal(signer.decode(given(bytes.toString('base64url'))), undefined, `bit ${bit}`);
    }
    assert.equal(signer.decode(given(value)), '10');
  });

  it('FastSigner.decode() rejects a value that was cut, or that has another encoding', () => {
    const signer = new Unchecked(OPTIONS);
    for (const text of ['', '1', '12', '123']) {
      const value = signer.encode(given(text));
      for (let size = 0; size < value.length; size++) {
        assert.equal(signer.decode(given(value.slice(0, size))), undefined, `the first ${size}`);
      }
      const padded = Buffer.from(value, 'base64url').toString('base64');
      for (const other of [`${value}=`, `${value}==`, ` ${value}`, `${value}!`, `${value}A`, padded]) {
        if (other === value) continue;
        assert.equal(signer.decode(given(other)), undefined, JSON.stringify(other));
      }
    }
  });

  it('FastSigner.decode() rejects every other text and never throws', () => {
    const signer = new Unchecked(OPTIONS);
    const zeros = [0, 1, 63, 64, 65, 128, 10_000].map((size) => Buffer.alloc(size).toString('base64url'));
    const other = new Unchecked({ ...OPTIONS, secrets: ['guessed'] }).encode(given('9999'));
    const purpose = new Unchecked({ ...OPTIONS, salt: 'login.' }).encode(given('9999'));
    const signature = createHmac('sha512', 'count.itsaseekreet').update(Buffer.of(255)).digest();
    const notText = Buffer.concat([signature, Buffer.of(255)]).toString('base64url');
    for (const value of [...zeros, '', '1', '=', 'é', '\0', '\ud800', other, purpose, notText]) {
      assert.equal(signer.decode(given(value)), undefined, JSON.stringify(value.slice(0, 40)));
    }
  });

  it('FastSigner.decode() compares whole signatures with timingSafeEqual', (t) => {
    const signer = new Unchecked({ secrets: ['newest', 'older'] });
    const [good, wrong] = [signer.encode('1'), new Unchecked({ secrets: ['x'] }).encode('1')];
    const compare = t.mock.method(crypto, 'timingSafeEqual', crypto.timingSafeEqual);
    syncBuiltinESMExports(); // now the import of the module is the observed function
    try {
      assert.equal(signer.decode(given(wrong)), undefined);
      const sizes = compare.mock.calls.map((call) => call.arguments.map((a) => a.byteLength));
      assert.deepEqual(sizes, [[SIZE, SIZE], [SIZE, SIZE]], '64 bytes for each secret');
      compare.mock.mockImplementation(() => false);
      assert.equal(
        signer.decode(given(good)),
        undefined,
        'no other comparison may accept the value',
      );
    } finally {
      compare.mock.restore();
      syncBuiltinESMExports();
    }
  });
});

describe('39-fast: secrets and the self-check', () => {
  it('FastSigner() throws the errors of Signer', () => {
    for (const secrets of [[], [''], ['good', '']]) {
      const create = (): Signer => new FastSigner({ secrets });
      assert.throws(create, { name: 'TypeError', message: 'A secret is missing' });
    }
    assert.throws(() => new FastSigner({ secrets: ['x'], hashAlg: 'sha999' }), /sha999/);
  });

  it('FastSigner() throws if its signatures differ from those of createHmac', (t) => {
    const { hash } = crypto;
    const bugs: Record<string, (...args: Parameters<typeof hash>) => string | Buffer> = {
      'hash() reads bytes as UTF-8': (alg, data, encoding) => hash(alg, `${data}`, encoding),
      'hash() returns the bytes in reverse order': (alg, data, encoding) => {
        const bytes = Buffer.from(hash(alg, data, 'binary'), 'latin1').reverse();
        return encoding === 'buffer' ? bytes : bytes.toString(encoding);
      },
      'only the second secret has a wrong hash, because it is longer than a block':
        (alg, data, encoding) => hash(alg, encoding === 'buffer' ? '' : data, encoding),
    };
    const broken = t.mock.method(crypto, 'hash', hash);
    syncBuiltinESMExports(); // now the module uses a hash with a bug
    try {
      const secrets = ['short', 'a long secret '.repeat(20)];
      for (const hashAlg of [undefined, 'sha256']) {
        const message = `FastSigner and createHmac disagree about ${hashAlg ?? 'sha512'}. Use Signer`;
        for (const [what, bug] of Object.entries(bugs)) {
          broken.mock.mockImplementation(bug as typeof hash);
          const create = () => new FastSigner({ secrets, hashAlg });
          assert.throws(create, { name: 'Error', message }, `a Node in which ${what}`);
        }
      }
    } finally {
      broken.mock.restore();
      syncBuiltinESMExports();
    }
  });

  it('FastSigner() throws if only encode() differs', () => {
    class Different extends FastSigner {
      override encode(text: string): string {
        return super.encode(`${text}!`);
      }
    }
    const message = 'FastSigner and createHmac disagree about sha512. Use Signer';
    assert.throws(() => new Different({ secrets: ['short'] }), { name: 'Error', message });
  });

  it('FastSigner() does not throw if its signatures are the same', () => {
    for (const hashAlg of [undefined, 'sha256', 'sha3-256']) {
      const options = { secrets: ['short', 'k'.repeat(200)], salt: 'count.', hashAlg };
      const [fast, slow] = [new Unchecked(options), new Signer(options)];
      const old = new Signer({ ...options, secrets: ['k'.repeat(200)] });
      const isSame = fast.encode('1') === slow.encode('1') &&
        [slow, old].every((one) => fast.decode(one.encode('1')) === '1');
      if (!isSame) continue; // the tests of `encode` and `decode` show the mistake
      assert.doesNotThrow(() => new FastSigner(options), `the hash ${hashAlg ?? 'sha512'}`);
    }
  });

  it('FastSigner.encode() signs with the first secret', () => {
    const rotated = new Unchecked({ secrets: ['newest', 'k'.repeat(200), 'oldest'] });
    assert.equal(rotated.encode(given('1')), valueOf('newest', '1'));
  });

  it('FastSigner.decode() accepts each secret, and no other', () => {
    const rotated = new Unchecked({ secrets: ['newest', 'k'.repeat(200), 'oldest'] });
    for (const secret of ['newest', 'k'.repeat(200), 'oldest']) {
      assert.equal(rotated.decode(given(valueOf(secret, '1'))), '1', secret);
    }
    assert.equal(rotated.decode(given(valueOf('unknown', '1'))), undefined);
  });
});

describe('39-fast: the same responses', () => {
  const cookies = { 'set-cookie': ['a=1; Path=/', 'b=2'] };
  const pages: Record<string, Handler> = {
    '/text': () => text('café', 200, cookies),
    '/bytes': () => text(Buffer.from([0, 1, 2, 255]), 201),
    '/page': () => page('Page', html`<h1>日本</h1>`),
    '/problem': () => problem(404, 'There is no page.'),
    '/empty': () => text(''),
    '/own-length': () => text('four', 200, { 'content-length': '4' }),
    '/204': () => text('not sent', 204),
    '/304': () => text('not sent', 304, cookies),
    '/599': () => text('no name', 599),
    '/invalid': () => text('', 200, { 'x-a': 'b\r\nc: d' }),
    '/invalid-204': () => text('', 204, { 'x-a': 'b\r\nc: d' }),
  };

  it('sendFast() sends the same bytes as send(), except the order of the headers', async (t) => {
    t.mock.method(console, 'error', () => {});
    const handler: Handler = (request) => (pages[request.path] as Handler)(request);
    const fast = await startServer(t, toListener(handler, sendFast));
    const plain = await startServer(t, toListener(handler, send));
    const read = async (server: typeof fast, method: string, path: string) => {
      const [head = '', body] = (await server.exchange(requestBytes(method, path))).split('\r\n\r\n');
      const [status, ...headers] = head.split('\r\n');
      const lines = headers.map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()));
      return { status, headers: lines.filter((line) => !line.startsWith('date:')).sort(), body };
    };
    for (const path of Object.keys(pages)) {
      for (const method of ['GET', 'HEAD', 'POST']) {
        const expected = await read(plain, method, path);
        assert.deepEqual(await read(fast, method, path), expected, `${method} ${path}`);
      }
    }
  });

  it('sendFast() calls setHeader() only for a response without a body', async (t) => {
    const { mock } = t.mock.method(ServerResponse.prototype, 'setHeader');
    const handler: Handler = (request) => (pages[request.path] as Handler)(request);
    const server = await startServer(t, toListener(handler, sendFast));
    await server.exchange(requestBytes('GET', '/text'));
    assert.equal(mock.callCount(), 0, 'GET /text');
    await server.exchange(requestBytes('GET', '/304'));
    assert.equal(mock.callCount(), 3, 'GET /304 has three headers');
  });

  it('sendFast() does not change the headers of the response', async (t) => {
    const response = text('Hello');
    const { headers } = response;
    const before = { ...headers };
    const server = await startServer(t, toListener(() => response, sendFast));
    await server.exchange(requestBytes('GET'));
    assert.deepEqual(headers, before, 'another response may have the same headers');
  });

  it('sendFast() renders a body once', async (t) => {
    const body = { render: t.mock.fn(() => 'Hello') };
    const server = await startServer(t, toListener(() => text(body), sendFast));
    assert.equal((await server.get('/')).body, 'Hello');
    assert.equal(body.render.mock.callCount(), 1);
  });

  it('sendFast() reads the rest of a body, so that the next request can follow', async (t) => {
    const handler: Handler = async ({ body }) => {
      for await (const _chunk of body) break;
      return text('part');
    };
    const server = await startServer(t, toListener(handler, sendFast));
    const received = await server.exchange(largePost() + requestBytes('GET'));
    assert.deepEqual(received.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200']);
  });

  it('sendFast() throws if render() throws, and sends nothing before', async (t) => {
    t.mock.method(console, 'error', () => {});
    const render = () => {
      throw new Error('a bug');
    };
    const server = await startServer(t, toListener(() => text({ render }), sendFast));
    assert.match(await server.exchange(requestBytes('GET')), /^HTTP\/1\.1 500 Internal Server Error/);
  });
});

describe('39-fast: the site', () => {
  it('FastSessionFactory writes and reads the cookies of SignedCookieSessionFactory', () => {
    for (const salt of [undefined, 'another purpose']) {
      const base = { ...DEMO, sessionClass: Session<TutorialData>, now: () => 1_700_000_000 };
      const options = { ...base, ...(salt !== undefined && { salt }) };
      const values = [SignedCookieSessionFactory, FastSessionFactory].map((Factory) => {
        const factory = new Factory(options);
        const session = factory.create();
        session.set('counter', 7);
        return factory.save(session) ?? '';
      });
      const what = salt === undefined ? 'options without a salt' : `the salt '${salt}'`;
      assert.equal(values[1], values[0], what);
      assert.equal(new FastSessionFactory(options).open(values[0] ?? '')?.get('counter'), 7, what);
    }
  });

  it('site() continues a count of step 9, and step 9 continues its count', async () => {
    const [fast, slow] = [new Visitor(ofStep(site())), new Visitor(tutorial().handle)];
    assert.match(bodyText(await slow.get('/')), /Count: 1/);
    for (const [name, value] of slow.cookies) fast.cookies.set(name, value);
    const response = await fast.get('/howdy');
    assert.match(bodyText(response), /Count: 2/);
    assert.equal(setCookies(response).length, 1);
    for (const [name, value] of fast.cookies) slow.cookies.set(name, value);
    assert.match(bodyText(await slow.get('/')), /Count: 3/);
  });
});
