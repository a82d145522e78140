import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { assertCookie } from '../.tools/request.ts';
import { startServer } from '../.tools/serve.ts';
import { countVisit, countVisits, keyBytes, Signer } from '../src/03-signer.ts';

const it = explainedIt(import.meta.url);
const SECRET = 'itsaseekreet';
const SIZE = 64; // bytes of a signature with SHA-512

/** The value that the page of this step writes for a count of 1. It contains no time. */
const COUNT_1 =
  'c_H6fOiNrna3Tyiv4T5IEAippcF3ha4lBBLgsmhJkzdrql8jzzzxC-h_bVIeBqI2PhzyHBJ5LUdwDtcMLpaxgTE';

/** A session cookie that real Pyramid 2.0 made with the secret of the tutorial. */
const PYRAMID = {
  cookie:
    'HQ4irkSGG-idtfBKe_J06gDB_WwmXdCxm1Bl3AZ9TzYfcgEDV6xX05K8QxSAu2EbAC6uspYUPpQLllnKkZaQzFsxNz' +
    'AwMDAwMDAwLCAxNzAwMDAwMDAwLjI1LCB7ImNvdW50ZXIiOiAxfV0',
  text: '[1700000000, 1700000000.25, {"counter": 1}]',
};

/** Returns a signer for the purpose of this step. */
const countSigner = (): Signer => new Signer(given({ secrets: [SECRET], salt: 'count.' }));

/** Returns the value with one bit flipped. Bit 0 is the lowest bit of the first byte. */
function flipBit(value: string, bit: number): string {
  const bytes = Buffer.from(value, 'base64url');
  bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
  return bytes.toString('base64url');
}

/** Compares the text first and then the signature, so that a failure shows which part is wrong. */
function assertSigned(value: string, signature: Buffer, text: string): void {
  assert.equal(typeof value, 'string', 'there is no value');
  const bytes = Buffer.from(value, 'base64url');
  const why = 'the text is equal and the signature differs: check the salt and the secret';
  assert.equal(bytes.subarray(SIZE).toString(), text, 'the text after the signature');
  assert.equal(bytes.subarray(0, SIZE).toString('hex'), signature.toString('hex'), why);
  assert.equal(value, bytes.toString('base64url'), 'the bytes are equal, and base64url differs');
}

describe('03-signer: keys', () => {
  it('keyBytes() encodes a key as Latin-1, or as UTF-8 if Latin-1 is not enough', () => {
    const table: [key: string, hex: string, why: string][] = [
      ['key', '6b6579', 'ASCII is the same in both'],
      ['\u00e9', 'e9', 'é is one byte in Latin-1'],
      ['\u0080\u00ff', '80ff', 'the last characters of Latin-1'],
      ['\u00c3\u00a9', 'c3a9', 'Latin-1, although the two bytes are é in UTF-8'],
      ['\u20ac', 'e282ac', 'Latin-1 has no euro sign'],
      ['\u00e9\u20ac', 'c3a9e282ac', 'the euro sign changes the é too'],
    ];
    for (const [key, hex, why] of table) {
      const bytes = keyBytes(given(key)) as Buffer | undefined;
      assert.equal(bytes?.toString('hex'), hex, `${key}: ${why}`);
    }
  });

  it('Signer.#sign() returns the bytes of the HMAC, as in test case 2 of RFC 4231', () => {
    const expected = '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843';
    const signer = new Signer(given({ secrets: ['Jefe', 'old'], hashAlg: 'sha256' }));
    const value = signer.encode('what do ya want for nothing?') as string | undefined;
    // Signer.encode() has tests of its own, so the place of the signature does not matter here.
    if (value === undefined) return;
    const found = ['base64url', 'hex'].map((name) => Buffer.from(value, name as BufferEncoding));
    const hasSignature = found.some((bytes) => bytes.includes(expected, 0, 'hex'));
    const received = found[0]?.toString('hex');
    assert.equal(hasSignature ? expected : received, expected, 'the signature, in hex');
  });

  it('Signer.#sign() calls createHmac() with the hash of the options, and returns bytes', (t) => {
    const create = t.mock.method(crypto, 'createHmac', crypto.createHmac);
    const plainHash = t.mock.method(crypto, 'createHash', crypto.createHash);
    const digest = t.mock.method(crypto.Hmac.prototype, 'digest');
    syncBuiltinESMExports(); // now the imports of the module are the observed functions
    let signer: Signer;
    try {
      signer = new Signer(given({ secrets: ['Jefe'], hashAlg: 'sha256' }));
    } finally {
      create.mock.restore();
      plainHash.mock.restore();
      syncBuiltinESMExports();
    }
    assert.equal(plainHash.mock.callCount(), 0, 'everyone can compute a hash without a key');
    // The constructor can sign a text to find the length. Later, encode() signs too.
    const hashes = new Set(create.mock.calls.map((call) => call.arguments[0]));
    if (hashes.size === 0) return;
    assert.deepEqual([...hashes], ['sha256'], 'the hash is this.#hash');
    const isText = digest.mock.calls.some(({ result }) => typeof result === 'string');
    if (isText) assert.equal(signer.digestSize, 32, 'digest() returns bytes if it has no argument');
  });

  it('new Signer() sets digestSize to the bytes of a signature', () => {
    const sizes = { sha512: 64, sha256: 32, sha1: 20 };
    for (const [hashAlg, size] of Object.entries(sizes)) {
      assert.equal(new Signer(given({ secrets: [SECRET], hashAlg })).digestSize, size, hashAlg);
    }
    const signer = new Signer(given({ secrets: [SECRET] }));
    assert.equal(signer.digestSize, SIZE, 'sha512 is the default');
  });

  it('new Signer() uses the salt and then the secret as the key', () => {
    const salted = new Signer(given({ secrets: ['b'], salt: 'a' })).encode('1');
    assert.equal(salted, new Signer({ secrets: ['ab'] }).encode('1'), 'the key is ab');
  });

  it('Signer() throws if a secret is missing or empty', () => {
    const unset = undefined as unknown as string; // process.env.SECRET, if it is not set
    for (const secrets of [[], [''], ['good', ''], ['', 'good'], [unset], ['good', unset]]) {
      const create = (): Signer => new Signer(given({ secrets, salt: 'count.' }));
      const story = "the text 'undefined' must not become a secret that everyone can guess";
      const why = secrets.includes(unset) ? story : JSON.stringify(secrets);
      assert.throws(create, { name: 'TypeError', message: 'A secret is missing' }, why);
    }
  });
});

describe('03-signer: encode and decode', () => {
  it('Signer.encode() writes the HMAC of node:crypto before the text, in base64url', () => {
    const signature = crypto.createHmac('sha512', 'count.itsaseekreet').update('7').digest();
    const signer = new Signer(given({ secrets: [SECRET], salt: 'count.' }));
    assertSigned(signer.encode(given('7')), signature, '7');
  });

  it('Signer.encode() agrees with test case 2 of RFC 4231', () => {
    const text = 'what do ya want for nothing?';
    const signature =
      '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554' +
      '9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737';
    const signer = new Signer(given({ secrets: ['Jefe'] }));
    assertSigned(signer.encode(given(text)), Buffer.from(signature, 'hex'), text);
  });

  it('Signer.decode() returns the text that Signer.encode() was given', () => {
    const signer = new Signer(given({ secrets: [SECRET] }));
    for (const text of ['7', '', ' ', '\0', '\r\n', '\ufeff1', 'é', '日本', '🍪', '{"a":1}']) {
      assert.equal(signer.decode(given(signer.encode(given(text)))), text, JSON.stringify(text));
    }
  });

  it('Signer.decode() and encode() agree with a cookie of real Pyramid', () => {
    const signer = new Signer(given({ secrets: [SECRET], salt: 'pyramid.session.' }));
    assert.equal(signer.decode(given(PYRAMID.cookie)), PYRAMID.text);
    assert.equal(signer.encode(given(PYRAMID.text)), PYRAMID.cookie);
  });
});

describe('03-signer: attacks', () => {
  it('Signer.decode() rejects a text with one flipped bit', () => {
    const signer = countSigner();
    assert.equal(signer.decode(given(COUNT_1)), '1');
    const bits = Buffer.from(COUNT_1, 'base64url').length * 8;
    for (let bit = 0; bit < bits; bit++) {
      const part = bit >> 3 < SIZE ? 'signature' : 'text';
      const story = `bit ${bit & 7} of byte ${bit >> 3}, in the ${part}`;
      assert.equal(signer.decode(given(flipBit(COUNT_1, bit))), undefined, story);
    }
  });

  it('Signer.decode() rejects a value that was cut at any place', () => {
    const signer = countSigner();
    for (const value of [COUNT_1, signer.encode('a longer text')]) {
      for (let length = 0; length < value.length; length++) {
        assert.equal(
          signer.decode(given(value.slice(0, length))),
          undefined,
          `the first ${length}`,
        );
      }
    }
  });

  it('Signer.decode() rejects a second encoding of the same bytes', () => {
    const signer = countSigner();
    const texts = Array.from({ length: 60 }, (_, index) => signer.encode(String(index)));
    const value = texts.find((text) => text.includes('-') && text.includes('_')) ?? '';
    const encodings = [
      value.replace('-', '+'),
      value.replace('_', '/'),
      `${value}=`,
      ` ${value}`,
      `${value.slice(0, 40)}.${value.slice(40)}`,
      Buffer.from(value, 'base64url').toString('base64'),
    ];
    for (const encoding of encodings) {
      const bytes = Buffer.from(encoding, 'base64url');
      assert.deepEqual(bytes, Buffer.from(value, 'base64url'), 'Node reads the same bytes');
      assert.equal(signer.decode(given(encoding)), undefined, JSON.stringify(encoding));
    }
  });

  it('Signer.decode() rejects a value that was signed with another secret', () => {
    const signer = countSigner();
    for (const secret of ['guessed', `${SECRET} `, SECRET.slice(1), SECRET.toUpperCase(), 'é']) {
      const attacker = new Signer(given({ secrets: [secret], salt: 'count.' }));
      assert.equal(
        signer.decode(given(attacker.encode('9999'))),
        undefined,
        `the secret '${secret}'`,
      );
    }
  });

  it('Signer.decode() rejects a value that was signed for another purpose', () => {
    const forMail = new Signer(given({ secrets: [SECRET], salt: 'confirm-mail.' }));
    const forLogin = new Signer(given({ secrets: [SECRET], salt: 'login.' }));
    const token = forMail.encode('ada@example.com');
    assert.equal(forMail.decode(given(token)), 'ada@example.com');
    assert.equal(forLogin.decode(given(token)), undefined, 'a token from a mail must not log in');
    assert.equal(
      new Signer(given({ secrets: [SECRET] })).decode(given(token)),
      undefined,
      'no purpose',
    );
  });

  it('Signer.decode() rejects every other text and never throws', () => {
    const signer = countSigner();
    const zeros = [0, 1, SIZE - 1, SIZE, SIZE + 1, 10_000].map((size) => Buffer.alloc(size));
    const texts = ['', '1', '9999', 'null', '=', '.', 'é', '\0', '\ud800', '[1, {}]'];
    for (const text of [...texts, ...zeros.map((bytes) => bytes.toString('base64url'))]) {
      assert.equal(signer.decode(given(text)), undefined, JSON.stringify(text.slice(0, 40)));
    }
  });

  it('Signer.decode() rejects signed bytes that are not UTF-8', () => {
    const signer = countSigner();
    for (const hex of ['ff', 'c3', 'c0af', 'eda080', 'f4908080', '31ff', '80']) {
      const bytes = Buffer.from(hex, 'hex');
      const signature = crypto.createHmac('sha512', `count.${SECRET}`).update(bytes).digest();
      const value = Buffer.concat([signature, bytes]).toString('base64url');
      assert.equal(signer.decode(given(value)), undefined, `isUtf8() is false for ${hex}`);
    }
  });

  it('Signer.decode() compares whole signatures with timingSafeEqual', (t) => {
    const rotated = new Signer(given({ secrets: ['newest', 'older'] }));
    const value = rotated.encode('1');
    const compare = t.mock.method(crypto, 'timingSafeEqual', crypto.timingSafeEqual);
    syncBuiltinESMExports(); // now the import of the module is the observed function
    try {
      for (const byte of [0, 1, SIZE - 1]) {
        compare.mock.resetCalls();
        assert.equal(rotated.decode(given(flipBit(value, byte * 8))), undefined);
        const sizes = compare.mock.calls.map((call) => call.arguments.map((a) => a.byteLength));
        const story = `byte ${byte} is wrong: decode() must compare ${SIZE} bytes for each secret`;
        assert.deepEqual(sizes, [[SIZE, SIZE], [SIZE, SIZE]], story);
      }
      compare.mock.mockImplementation(() => false);
      assert.equal(
        rotated.decode(given(value)),
        undefined,
        'no other comparison may accept the value',
      );
    } finally {
      compare.mock.restore();
      syncBuiltinESMExports();
    }
    assert.equal(rotated.decode(given(value)), '1');
  });
});

describe('03-signer: secrets', () => {
  it('Signer.decode() accepts each secret, and encode() uses the first', () => {
    const only = (secret: string): Signer => new Signer(given({ secrets: [secret], salt: 'a.' }));
    const rotated = new Signer(given({ secrets: ['newest', 'older', 'oldest'], salt: 'a.' }));
    for (const secret of ['newest', 'older', 'oldest']) {
      assert.equal(rotated.decode(given(only(secret).encode('1'))), '1', `signed with '${secret}'`);
    }
    assert.equal(rotated.decode(given(only('unknown').encode('1'))), undefined);
    assert.equal(rotated.encode('1'), only('newest').encode('1'));
    const later = new Signer(given({ secrets: ['newest'], salt: 'a.' }));
    assert.equal(
      later.decode(given(only('oldest').encode('1'))),
      undefined,
      'a secret was removed',
    );
    assert.equal(later.decode(given(rotated.encode('1'))), '1');
  });
});

describe('03-signer: the page', () => {
  it('countVisit() returns the number of the visit and the cookie that stores it', () => {
    const first = countVisit(given(undefined));
    assert.equal(first?.count, 1);
    const [, value = ''] = /^count=([^;]*)/.exec(first.setCookie) ?? [];
    assertSigned(value, Buffer.from(COUNT_1, 'base64url').subarray(0, SIZE), '1');
    assertCookie(first.setCookie, `count=${COUNT_1}; Path=/; HttpOnly; SameSite=Lax`);
    assert.equal(countVisit(given(`theme=dark; count=${COUNT_1}`)).count, 2);
  });

  it('countVisit() starts at 1 for a value that it did not sign', () => {
    const other = new Signer({ secrets: [SECRET], salt: 'another.' }).encode('9999');
    for (const header of ['', 'count=', 'count=9999', `count=${other}`, `count=x; count=${COUNT_1}`]) {
      const { count, setCookie } = countVisit(given(header));
      assert.equal(count, 1, header);
      assertCookie(setCookie, `count=${COUNT_1}; Path=/; HttpOnly; SameSite=Lax`, header);
    }
  });

  it('countVisits() counts in a signed cookie, for each browser', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const first = await site.get('/');
    assert.equal(first.body, 'Count: 1\n');
    assert.equal(first.headers.get('content-type'), 'text/plain; charset=utf-8');
    assert.equal(first.cookie, `count=${COUNT_1}`);
    const second = await site.get('/', { cookie: first.cookie });
    assert.equal(second.body, 'Count: 2\n');
    assert.equal((await site.get('/', { cookie: second.cookie })).body, 'Count: 3\n');
    assert.equal((await site.get('/')).body, 'Count: 1\n', 'another browser');
  });

  it('countVisits() starts again at 1 if a visitor writes 9999', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const signature = Buffer.from(COUNT_1, 'base64url').subarray(0, SIZE);
    const encode = (text: string): string =>
      Buffer.concat([signature, Buffer.from(text)]).toString('base64url');
    assert.equal(encode('1'), COUNT_1);
    const forged = ['9999', encode('9999'), Buffer.from('9999').toString('base64url'), ''];
    for (const value of forged) {
      const { body, cookie } = await site.get('/', { cookie: `count=${value}` });
      assert.equal(body, 'Count: 1\n', `count=${value}`);
      assert.equal(cookie, `count=${COUNT_1}`);
    }
  });

  it('countVisits() starts again at 1 if one bit of the cookie is flipped', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const { cookie } = await site.get('/', { cookie: `count=${COUNT_1}` });
    assert.equal((await site.get('/', { cookie })).body, 'Count: 3\n');
    for (const bit of [0, SIZE * 8 - 1, SIZE * 8]) {
      const forged = `count=${flipBit(cookie.replace('count=', ''), bit)}`;
      assert.equal((await site.get('/', { cookie: forged })).body, 'Count: 1\n', `bit ${bit}`);
    }
  });

  it('countVisits() accepts an old cookie again, which is a flaw', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    for (const visit of ['first time', 'second time', 'third time']) {
      const { body } = await site.get('/', { cookie: `count=${COUNT_1}` });
      assert.equal(body, 'Count: 2\n', `${visit}: a signature does not prove that a value is new`);
    }
  });

  it('countVisits() signs the count and does not hide it', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const { cookie } = await site.get('/', { cookie: `count=${COUNT_1}` });
    const bytes = Buffer.from(cookie.replace('count=', ''), 'base64url');
    assert.equal(bytes.subarray(SIZE).toString(), '2', 'a visitor decodes it without the secret');
  });
});
