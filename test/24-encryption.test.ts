import assert from 'node:assert/strict';
import crypto, { createDecipheriv, createHmac, KeyObject, webcrypto } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { describe, type TestContext } from 'node:test';
import { inspect } from 'node:util';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { bodyText } from '../.tools/request.ts';
import { Signer } from '../src/03-signer.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { DEMO } from '../src/09-tutorial.ts';
import { Browser } from '../src/16-browser.ts';
import { deriveKey, EncryptedCookieSessionFactory } from '../src/24-encryption.ts';
import { explainSealed, Sealer, site } from '../src/24-encryption.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000; // seconds since 1970
const USE = 'sessions-from-scratch sealer 1';
const TEXT = `[${NOW},${NOW},{"counter":7}]`;

/** `TEXT` and `''`, encrypted by the Python package cryptography 48 with nonces that are known. */
const FROM_PYTHON = [
  { salt: 'session.', text: TEXT, value: 'AQABAgMEBQYHCAkKC-mbfGxF6oDZHlXKc2WiE--q8hkU2i_XJxMRoHblOsky6OBLjk0kfX8JsJ_zrTaBZ5nRw9SA' },
  { salt: '', text: '', value: 'AQAAAAAAAAAAAAAAAP9AGlx-qG6T07mLCKzi5GI' },
];

type Data = { counter: number; words: string };

const bytesOf = (value: string): Buffer => Buffer.from(value, 'base64url');

/** Returns a copy of a value with one flipped bit. */
function flipBit(value: string, bit: number): string {
  const bytes = bytesOf(value);
  bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return bytes.toString('base64url');
}

/** Decrypts a value with WebCrypto, which knows nothing of the class `Sealer`. */
async function decrypt(value: string, secret: string, salt: string): Promise<string> {
  const { subtle } = webcrypto;
  const info = Buffer.from(USE);
  const hkdf = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info };
  const base = await subtle.importKey('raw', Buffer.from(secret), 'HKDF', false, ['deriveKey']);
  const aes = { name: 'AES-GCM', length: 256 };
  const key = await subtle.deriveKey(hkdf, base, aes, false, ['decrypt']);
  const bytes = bytesOf(value);
  const gcm = { name: 'AES-GCM', iv: bytes.subarray(1, 13), additionalData: Buffer.from(`\x01${salt}`) };
  return Buffer.from(await subtle.decrypt(gcm, key, bytes.subarray(13))).toString();
}

/** Returns the key for one use: HKDF (RFC 5869 §2) with an empty salt and one block of SHA-256. */
function keyFor(secret: string, use: string): Buffer {
  const base = createHmac('sha256', Buffer.alloc(32)).update(secret).digest();
  return createHmac('sha256', base).update(`${use}\x01`).digest();
}

/** Returns the text of a value. The tag is not compared. */
function decryptWithoutTag(value: string, secret: string): string {
  const bytes = bytesOf(value);
  const decipher = createDecipheriv('aes-256-gcm', keyFor(secret, USE), bytes.subarray(1, 13));
  return decipher.update(bytes.subarray(13, -16)).toString();
}

/** What a cipher or a decipher has received, in hexadecimal. */
type Seen = { key?: string; nonce?: string; purpose?: string; tag?: string; data?: string };

type Method = (...args: unknown[]) => unknown;

/** Returns what the last cipher of `run` has received, or `{}` if it has created none. */
function seenIn(t: TestContext, name: 'createCipheriv' | 'createDecipheriv', run: () => void): Seen {
  let seen: Seen = {};
  const create = crypto[name] as unknown as (...args: unknown[]) => Record<string, Method>;
  const hexOf = (data: unknown, encoding?: unknown): string =>
    Buffer.from(data as string, encoding as BufferEncoding).toString('hex');
  const spy = t.mock.method(crypto, name, (...args: unknown[]) => {
    const [, key, nonce] = args;
    seen = { key: hexOf(key instanceof KeyObject ? key.export() : key), nonce: hexOf(nonce) };
    const cipher = create(...args);
    const { setAAD, setAuthTag, update } = cipher;
    const noted = (label: keyof Seen, method = update): Method => (...rest) => {
      seen[label] = (seen[label] ?? '') + hexOf(rest[0], rest[1]);
      return method?.apply(cipher, rest);
    };
    return Object.assign(cipher, {
      setAAD: noted('purpose', setAAD), setAuthTag: noted('tag', setAuthTag), update: noted('data'),
    });
  });
  syncBuiltinESMExports(); // now the import of the module is the observed function
  try {
    run();
  } catch (error) {
    if (seen.key === undefined) throw error; // otherwise, another test shows the error
  } finally {
    spy.mock.restore();
    syncBuiltinESMExports();
  }
  return seen;
}

describe('24-encryption: deriveKey', () => {
  it('deriveKey() is HKDF with SHA-256, as in RFC 5869 A.3', () => {
    const okm = '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d';
    assert.equal(Buffer.from(deriveKey(given('\x0b'.repeat(22)), '')).toString('hex'), okm);
  });

  it('deriveKey() passes the use as the "info" of HKDF, and an empty salt', () => {
    const key = Buffer.from(deriveKey(given('a secret'), 'a use')).toString('hex');
    const base = createHmac('sha256', 'a use').update('a secret').digest(); // the use as the salt
    const isExchanged = key === createHmac('sha256', base).update('\x01').digest('hex');
    const what = isExchanged
      ? 'The salt and the use are exchanged. hkdfSync() needs the hash, secret, salt, use and size.'
      : "deriveKey('a secret', 'a use')";
    assert.equal(key, keyFor('a secret', 'a use').toString('hex'), what);
  });

  it('deriveKey() returns another key for another use or another secret', () => {
    const keys = [deriveKey('a', 'one'), deriveKey('b', 'one'), deriveKey('a', 'two')];
    for (const key of keys) {
      const type = Object.prototype.toString.call(key);
      assert.equal(type, '[object Uint8Array]', 'the type of the key');
    }
    assert.equal(new Set(keys.map(String)).size, 3, 'three different keys');
    assert.deepEqual(deriveKey(given('a'), 'one'), keys[0], 'the same input, the same key');
  });
});

describe('24-encryption: Sealer', () => {
  const makeSealer = () => new Sealer({ secrets: ['new', 'old'], salt: 'a purpose' });

  it('new Sealer() throws if a secret is missing or empty', () => {
    for (const secrets of [[], [''], ['a', '']]) {
      const error = { name: 'TypeError', message: 'A secret is missing' };
      assert.throws(() => new Sealer({ secrets }), error, JSON.stringify(secrets));
    }
    assert.ok(new Sealer({ secrets: ['a'] }));
  });

  it('new Sealer() derives a key for its use, and its purpose is the version and the salt', (t) => {
    for (const salt of ['a purpose', '', undefined, 'é']) {
      const sealer = new Sealer({ secrets: ['a'], salt });
      const { key, purpose } = seenIn(t, 'createCipheriv', () => sealer.encode('a'));
      // If `encode` passes no key or no purpose, the tests of `encode` fail.
      const expected = keyFor('a', USE).toString('hex');
      assert.equal(key ?? expected, expected, `the key must be deriveKey('a', '${USE}')`);
      const own = `\x01${salt ?? ''}`;
      const text = purpose === undefined ? own : Buffer.from(purpose, 'hex').toString();
      assert.equal(text, own, `the purpose for the salt ${inspect(salt)}`);
    }
  });

  it('Sealer.encode() writes values that another program can decrypt', async () => {
    for (const text of [TEXT, 'é😀', '']) {
      const value = makeSealer().encode(given(text));
      const bytes = bytesOf(value);
      const size = Buffer.byteLength(text);
      const sizes = `the bytes of a value: version 1, nonce 12, ciphertext ${size}, tag 16`;
      assert.equal(bytes.length, 1 + 12 + size + 16, sizes);
      assert.equal(bytes[0], 1, 'the first byte is the version');
      const what = 'the ciphertext, decrypted with the first key, and with bytes 1 to 12 as nonce';
      assert.equal(decryptWithoutTag(value, 'new'), text, what);
      const isRight = await decrypt(value, 'new', 'a purpose').catch(() => 'The tag is wrong.');
      assert.equal(isRight, text, 'the tag: the last 16 bytes, and setAAD() receives the purpose');
    }
  });

  it('Sealer.encode() never uses a nonce twice, and nothing in the value can be read', () => {
    const text = JSON.stringify({ user: 'editor', note: 'For Ada, with love' });
    const sealers = [makeSealer(), makeSealer()]; // two servers, or one before and after a restart
    const values = Array.from({ length: 100 }, (_, i) => sealers[i % 2]?.encode(given(text)) ?? '');
    const nonces = values.map((value) => bytesOf(value).toString('hex', 1, 13));
    assert.equal(new Set(nonces).size, 100, 'different nonces of 100 values from two sealers');
    for (const value of values) assert.match(value, /^[\w-]+$/, 'the value is base64url');
    for (const value of values) {
      assert.doesNotMatch(bytesOf(value).toString('latin1'), /editor|user|Ada|note/);
      assert.equal(bytesOf(value).length, text.length + 29, 'version 1, nonce 12, tag 16');
    }
  });

  it('Sealer.#decrypt() cuts a value into the nonce, the ciphertext and the tag', (t) => {
    const [{ salt, value } = assert.fail()] = FROM_PYTHON;
    const sealer = new Sealer({ ...DEMO, salt });
    const seen = seenIn(t, 'createDecipheriv', () => sealer.decode(given(value)));
    if (seen.key === undefined) return; // `decode` does not call it, and the tests of `decode` fail
    const bytes = bytesOf(value);
    assert.equal(seen.nonce, bytes.toString('hex', 1, 13), 'the nonce: bytes 1 to 12');
    assert.equal(seen.data, bytes.subarray(13, -16).toString('hex'), 'the bytes that update() receives');
    assert.equal(seen.tag, bytes.subarray(-16).toString('hex'), 'the tag that setAuthTag() receives');
    assert.ok(seen.purpose, '#decrypt() must call setAAD() with the purpose');
  });

  it('Sealer.#decrypt() returns no text if the tag is wrong', () => {
    const [{ salt, value } = assert.fail()] = FROM_PYTHON;
    const forged = flipBit(value, (bytesOf(value).length - 1) * 8);
    const what = 'the last byte of the tag is wrong';
    assert.equal(new Sealer({ ...DEMO, salt }).decode(given(forged)), undefined, what);
  });

  it('Sealer.decode() returns the text of encode()', () => {
    const sealer = makeSealer();
    for (const text of ['', 'a', TEXT, 'é😀\0', 'x'.repeat(5000)]) {
      assert.equal(sealer.decode(given(sealer.encode(given(text)))), text);
    }
  });

  it('Sealer.decode() reads values that another program has encrypted', () => {
    for (const { salt, text, value } of FROM_PYTHON) {
      assert.equal(new Sealer({ ...DEMO, salt }).decode(given(value)), text);
    }
  });

  it('Sealer.decode() rejects each value with one flipped bit', () => {
    for (const { salt, value } of FROM_PYTHON) {
      const demo = new Sealer({ ...DEMO, salt });
      for (let bit = 0; bit < bytesOf(value).length * 8; bit++) {
        const byte = bit >> 3;
        const part = byte === 0 ? 'the version' : byte < 13 ? 'the nonce'
          : byte < bytesOf(value).length - 16 ? 'the ciphertext' : 'the tag';
        const what = `bit ${bit}, in ${part}`;
        assert.equal(demo.decode(given(flipBit(value, bit))), undefined, what);
      }
    }
  });

  it('Sealer.decode() rejects a value for another purpose', () => {
    const sealer = makeSealer();
    for (const salt of ['another purpose', 'a purpos', 'a purpose ', '', undefined]) {
      const other = new Sealer({ secrets: ['new'], salt });
      const what = `the salt ${salt}`;
      assert.equal(sealer.decode(given(other.encode(given('a')))), undefined, what);
      assert.equal(other.decode(given(sealer.encode(given('a')))), undefined, what);
    }
  });

  it('Sealer.decode() accepts the older secret, and no unknown secret', () => {
    const sealerOf = (...secrets: string[]) => new Sealer({ secrets, salt: 'a purpose' });
    const [both, old, next] = [makeSealer(), sealerOf('old'), sealerOf('new')];
    assert.equal(both.decode(given(old.encode(given('a')))), 'a', 'the second secret decrypts');
    assert.equal(
      both.decode(given(sealerOf('unknown').encode(given('a')))),
      undefined,
      'an unknown secret',
    );
    assert.equal(next.decode(given(both.encode(given('a')))), 'a', 'the first secret encrypts');
    assert.equal(
      old.decode(given(both.encode(given('a')))),
      undefined,
      'the second secret does not encrypt',
    );
  });

  it('Sealer.decode() rejects each other encoding of a value', () => {
    const sealer = makeSealer();
    const value = sealer.encode(given('a'));
    const others = [
      `${value}=`, `${value}==`, ` ${value}`, `${value}\n`, `${value}A`, `.${value}`,
      value.replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1)),
      bytesOf(value).toString('base64'),
    ];
    for (const other of others.filter((one) => one !== value)) {
      assert.equal(sealer.decode(given(other)), undefined, JSON.stringify(other));
    }
  });

  it('Sealer.decode() rejects a value of another version, or with a part of its tag', () => {
    const sealer = makeSealer();
    const bytes = bytesOf(sealer.encode(given('x'.repeat(40))));
    for (const version of [0, 2, 255]) {
      const other = Buffer.from(bytes);
      other[0] = version;
      assert.equal(
        sealer.decode(given(other.toString('base64url'))),
        undefined,
        `version ${version}`,
      );
    }
    for (const missing of [1, 4, 12, 16]) {
      const short = bytes.subarray(0, -missing).toString('base64url');
      assert.equal(
        sealer.decode(given(short)),
        undefined,
        `${missing} bytes of the tag are missing`,
      );
    }
  });
});

describe('24-encryption: sessions', () => {
  const options = { secrets: ['x'], now: () => NOW, sessionClass: Session<Data> };
  const makeFactories = () => ({
    encrypted: new EncryptedCookieSessionFactory(options),
    signed: new SignedCookieSessionFactory(options),
  });

  it('EncryptedCookieSessionFactory and the signed factory reject the cookies of each other', () => {
    const { encrypted, signed } = makeFactories();
    const value = encrypted.save(encrypted.create().set('words', 'a')) ?? '';
    assert.equal(encrypted.open(value)?.get('words'), 'a');
    assert.equal(signed.open(value), undefined, 'the signed factory opens an encrypted cookie');
    const other = signed.save(signed.create().set('words', 'a')) ?? '';
    assert.equal(encrypted.open(other), undefined, 'the encrypted factory opens a signed cookie');
    const signer = new Signer({ secrets: ['x'], salt: 'session.' });
    assert.equal(encrypted.open(signer.encode(given(TEXT))), undefined, 'the same secret and salt');
  });

  it('EncryptedCookieSessionFactory opens a session that another program has encrypted', () => {
    const [{ value = '' } = {}] = FROM_PYTHON;
    const demo = new EncryptedCookieSessionFactory({ ...options, ...DEMO });
    assert.equal(demo.open(value)?.get('counter'), 7, "a cookie for the salt 'session.'");
    assert.equal(makeFactories().encrypted.open(value), undefined, 'another secret');
  });

  it('EncryptedCookieSessionFactory uses the salt of its options', () => {
    const own = new EncryptedCookieSessionFactory({ ...options, salt: 'another purpose' });
    const value = own.save(own.create().set('words', 'a')) ?? '';
    const sealer = new Sealer({ secrets: ['x'], salt: 'another purpose' });
    assert.equal(sealer.decode(value), `[${NOW},${NOW},{"words":"a"}]`, "salt: 'another purpose'");
    assert.equal(makeFactories().encrypted.open(value), undefined, "a factory for 'session.'");
  });

  it('EncryptedCookieSessionFactory shows only the length of the data', () => {
    const { encrypted } = makeFactories();
    const length = (words: string): number =>
      (encrypted.save(encrypted.create().set('words', words)) ?? '').length;
    assert.equal(length('yes'), length('no!'), 'the lengths of two words with 3 characters');
    assert.equal(length('x'.repeat(300)) - length(''), 400, '3 bytes are 4 characters');
  });

  it('explainSealed() splits a value into nonce, ciphertext and tag', () => {
    const [{ value = '' } = {}] = FROM_PYTHON;
    const parts = explainSealed(value);
    assert.deepEqual(parts.map(({ name }) => name), ['nonce', 'ciphertext', 'tag']);
    assert.equal(parts.map(({ text }) => text).join(''), value, 'the parts together are the value');
    assert.deepEqual(parts.map(({ text }) => text.length), [18, value.length - 40, 22]);
    assert.match(parts[1]?.meaning ?? '', new RegExp(`: ${TEXT.length} bytes\\.`));
    for (const junk of ['', 'A', 'abc', 'x'.repeat(20), 'x'.repeat(39), '<script>']) {
      const what = `the parts of '${junk}'`;
      assert.equal(explainSealed(junk).map(({ text }) => text).join(''), junk, what);
      assert.doesNotMatch(explainSealed(junk)[1]?.meaning ?? '', /-/, 'no negative length');
    }
  });

  it('site() of step 24 has the cart and the login, and the cookie says nothing of them', async () => {
    const browser = new Browser(ofStep(site()), ORIGIN);
    const send = (path: string, form: string) =>
      browser.request('POST', path, form, { 'sec-fetch-site': 'same-origin' });
    await send('/cart/add', 'item=tea');
    await send('/cart/note', 'note=For+Grace');
    await send('/login', 'username=editor&password=editor');
    assert.match(bodyText(await browser.get('/dashboard')), /Hello, editor/);
    assert.match(bodyText(await browser.get('/cart')), /For Grace/);
    const cookie = browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000) ?? '';
    const bytes = bytesOf(cookie.slice('session='.length)).toString('latin1');
    assert.doesNotMatch(bytes, /editor|Grace|tea|cart|user|csrf/);
    const inspector = bodyText(await browser.get('/inspect'));
    assert.match(inspector, /<dt class="tag">The tag<\/dt>/);
    assert.match(inspector, /This site wrote it\.[^]*For Grace/, 'the server can read it');
  });

  it('site() of step 24 ends a session after 20 minutes without a request', async (t) => {
    const clock = t.mock.method(Date, 'now', () => NOW * 1000);
    const browser = new Browser(site(), ORIGIN);
    assert.match(bodyText(await browser.get('/')), /Count: 1/);
    clock.mock.mockImplementation(() => (NOW + 1200) * 1000);
    assert.match(bodyText(await browser.get('/')), /Count: 2/, 'after 1200 seconds');
    clock.mock.mockImplementation(() => (NOW + 2401) * 1000);
    assert.match(bodyText(await browser.get('/')), /Count: 1/, 'after 1201 more seconds, a new session');
  });
});
