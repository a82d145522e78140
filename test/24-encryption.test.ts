import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { describe } from 'node:test';
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
  const info = Buffer.from('sessions-from-scratch sealer 1');
  const hkdf = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info };
  const base = await subtle.importKey('raw', Buffer.from(secret), 'HKDF', false, ['deriveKey']);
  const aes = { name: 'AES-GCM', length: 256 };
  const key = await subtle.deriveKey(hkdf, base, aes, false, ['decrypt']);
  const bytes = bytesOf(value);
  const gcm = { name: 'AES-GCM', iv: bytes.subarray(1, 13), additionalData: Buffer.from(`\x01${salt}`) };
  return Buffer.from(await subtle.decrypt(gcm, key, bytes.subarray(13))).toString();
}

describe('24-encryption: deriveKey', () => {
  it('deriveKey() is HKDF with SHA-256, as in RFC 5869 A.3', () => {
    const okm = '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d';
    assert.equal(Buffer.from(deriveKey(given('\x0b'.repeat(22)), '')).toString('hex'), okm);
  });

  it('deriveKey() returns another key for another use or another secret', () => {
    const keys = [deriveKey('a', 'one'), deriveKey('b', 'one'), deriveKey('a', 'two')];
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

  it('Sealer.encode() writes values that another program can decrypt', async () => {
    for (const text of ['', TEXT, 'é😀']) {
      assert.equal(await decrypt(makeSealer().encode(given(text)), 'new', 'a purpose'), text);
    }
  });

  it('Sealer.encode() never uses a nonce twice, and nothing in the value can be read', () => {
    const text = JSON.stringify({ user: 'editor', note: 'For Ada, with love' });
    const sealer = makeSealer();
    const values = Array.from({ length: 100 }, () => sealer.encode(given(text)));
    const nonces = values.map((value) => bytesOf(value).toString('hex', 1, 13));
    assert.equal(new Set(nonces).size, 100, 'different nonces of 100 values');
    for (const value of values) {
      assert.doesNotMatch(bytesOf(value).toString('latin1'), /editor|user|Ada|note/);
      assert.equal(bytesOf(value).length, text.length + 29, 'version 1, nonce 12, tag 16');
    }
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
        assert.equal(demo.decode(given(flipBit(value, bit))), undefined, `bit ${bit}`);
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
    assert.equal(demo.open(value)?.get('counter'), 7);
    assert.equal(makeFactories().encrypted.open(value), undefined, 'another secret');
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
});
