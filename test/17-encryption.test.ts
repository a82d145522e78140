import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { Browser } from '../src/08-browser.ts';
import { Signer } from '../src/09-signer.ts';
import { Session } from '../src/10-session.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from '../src/11-session-factory.ts';
import { hashPassword } from '../src/16-login.ts';
import type { SiteData } from '../src/16-login.ts';
import { decrypt, deriveKey, encrypt, EncryptedCookieSessionFactory } from '../src/17-encryption.ts';
import { sealedLens, Sealer, site } from '../src/17-encryption.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const NOW = 1_700_000_000;
const SAME = { 'sec-fetch-site': 'same-origin' };

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/** Test case 16 of the GCM specification that NIST SP 800-38D grew from: AES-256, with a purpose. */
const GCM = {
  key: createSecretKey(hex('feffe9928665731c6d6a8f9467308308'.repeat(2))),
  nonce: hex('cafebabefacedbaddecaf888'),
  text: hex(
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
      '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
  ),
  purpose: hex('feedfacedeadbeeffeedfacedeadbeefabaddad2'),
  sealed: hex(
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
      '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
      '76fc6ece0f4e1768cddf8853bb2d551b',
  ),
};

function visit(clock = { now: NOW }, options = {}) {
  const now = (): number => clock.now;
  const factory = new EncryptedCookieSessionFactory<SiteData>({ secrets: ['x'], now, ...options });
  const browser = new Browser(site(factory).handle, ORIGIN, now);
  const cookie = (): string => browser.jar.headerFor(new URL(ORIGIN), clock.now)?.slice(8) ?? '';
  return { factory, browser, cookie, clock };
}

function count(body: unknown): number {
  return Number(/<p>Count: (\d+)<\/p>/.exec(String(body))?.[1]);
}

describe('17-encryption: the primitives', () => {
  it('encrypt() makes the ciphertext and the tag of the GCM specification', () => {
    const { key, nonce, text, purpose, sealed } = GCM;
    assert.equal(encrypt(key, nonce, text, purpose).toString('hex'), sealed.toString('hex'));
  });

  it('decrypt() gives back the text, and nothing when any one bit is another', () => {
    const { key, nonce, text, purpose, sealed } = GCM;
    assert.deepEqual(decrypt(key, nonce, sealed, purpose), text);
    const flip = (bytes: Buffer, bit: number): Buffer => {
      const copy = Buffer.from(bytes);
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return copy;
    };
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const found = decrypt(key, nonce, flip(sealed, bit), purpose)?.toString('hex');
      assert.equal(found, undefined, `bit ${bit} was flipped, and this came out of it`);
    }
    assert.equal(decrypt(key, flip(nonce, 0), sealed, purpose), undefined, 'nonce');
    assert.equal(decrypt(key, nonce, sealed, flip(purpose, 0)), undefined, 'purpose');
    const other = createSecretKey(flip(key.export(), 0));
    assert.equal(decrypt(other, nonce, sealed, purpose), undefined, 'key');
  });

  it('deriveKey() is HKDF with SHA-256: RFC 5869 A.3', () => {
    const okm = '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d';
    assert.equal(deriveKey('\x0b'.repeat(22), '').export().toString('hex'), okm);
  });

  it('decrypt() takes no part of a tag for the tag: four bytes could be guessed', () => {
    const { key, nonce, purpose } = GCM;
    const tag = encrypt(key, nonce, Buffer.alloc(0), purpose);
    assert.deepEqual(decrypt(key, nonce, tag, purpose), Buffer.alloc(0), 'the whole tag');
    for (const size of [4, 8, 12, 15]) {
      const part = tag.subarray(0, size);
      assert.throws(() => decrypt(key, nonce, part, purpose), /authentication tag/, `${size} bytes`);
    }
  });

  it('deriveKey() derives for the sealer unless told, or old cookies could not be read', () => {
    const [ours, named] = [deriveKey('a'), deriveKey('a', 'sessions-from-scratch sealer 1')];
    assert.equal(ours.equals(named), true);
  });

  it('deriveKey() gives another key for another use, and for another secret', () => {
    const keys = [deriveKey('a'), deriveKey('b'), deriveKey('a', 'another use')];
    assert.equal(new Set(keys.map((key) => key.export().toString('hex'))).size, 3);
  });
});

describe('17-encryption: Sealer', () => {
  const sealer = new Sealer({ secrets: ['new', 'old'], salt: 'a purpose' });

  it('unseal() gives back what seal() was given', () => {
    for (const text of ['', 'a', '{"counter":1}', 'é😀\0', 'x'.repeat(5000)]) {
      assert.equal(sealer.unseal(sealer.seal(text)), text);
    }
  });

  it('unseal() takes no salt for an empty one', () => {
    const [none, empty] = [new Sealer({ secrets: ['a'] }), new Sealer({ secrets: ['a'], salt: '' })];
    assert.equal(empty.unseal(none.seal('text')), 'text');
  });

  it('seal() never makes the same twice, and nothing in it can be read', () => {
    const text = JSON.stringify({ user: 'editor', note: 'For Ada, with love' });
    const sealed = Array.from({ length: 100 }, () => sealer.seal(text));
    const nonces = sealed.map((value) => Buffer.from(value, 'base64url').toString('hex', 1, 13));
    assert.equal(new Set(nonces).size, 100, 'how many nonces a hundred values have');
    for (const value of sealed) {
      const bytes = Buffer.from(value, 'base64url').toString('latin1');
      for (const word of ['editor', 'user', 'Ada', '{', 'note":']) {
        assert.ok(word.length === 1 || !bytes.includes(word), word);
      }
      assert.equal(bytes.length, text.length + 29, 'version 1, nonce 12, tag 16');
    }
  });

  it('unseal() takes what an older secret sealed, and not what another did', () => {
    const salt = 'a purpose';
    assert.equal(sealer.unseal(new Sealer({ secrets: ['old'], salt }).seal('a')), 'a');
    assert.equal(sealer.unseal(new Sealer({ secrets: ['other'], salt }).seal('a')), undefined);
    assert.equal(new Sealer({ secrets: ['old'], salt }).unseal(sealer.seal('a')), undefined);
  });

  it('unseal() refuses a value sealed for another purpose, or of another version', () => {
    const other = new Sealer({ secrets: ['new'], salt: 'another purpose' });
    assert.equal(sealer.unseal(other.seal('a')), undefined, 'it was sealed for another purpose');
    const bytes = Buffer.from(sealer.seal('a'), 'base64url');
    for (const version of [0, 2, 255]) {
      bytes[0] = version;
      assert.equal(sealer.unseal(bytes.toString('base64url')), undefined, `version ${version}`);
    }
  });

  it('unseal() refuses each value with one bit flipped', () => {
    const value = sealer.seal('{"counter":1}');
    const bytes = Buffer.from(value, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const copy = Buffer.from(bytes);
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.equal(sealer.unseal(copy.toString('base64url')), undefined, `bit ${bit}`);
    }
  });

  it('unseal() refuses junk, and never throws', () => {
    const value = sealer.seal('a');
    const junk = ['', 'A', 'AQ', value.slice(0, -1), `${value}A`, `${value}=`, ` ${value}`, '\xff'];
    const cut = Array.from({ length: value.length }, (_, length) => value.slice(0, length));
    for (const text of [...junk, ...cut, 'AQ'.repeat(4000), '%00', '__proto__']) {
      assert.equal(sealer.unseal(text), undefined, JSON.stringify(text).slice(0, 60));
    }
  });

  it('Sealer() needs a secret, and none that is empty', () => {
    for (const secrets of [[], [''], ['a', '']]) {
      assert.throws(() => new Sealer({ secrets }), /Cannot make a sealer: it needs a secret/);
    }
  });
});

describe('17-encryption: EncryptedCookieSessionFactory', () => {
  it('EncryptedCookieSessionFactory() counts, and the cookie says nothing of it', async () => {
    const { browser, cookie, factory } = visit();
    assert.equal(count((await browser.get('/')).body), 1);
    assert.equal(count((await browser.get('/howdy')).body), 2);
    assert.doesNotMatch(Buffer.from(cookie(), 'base64url').toString('latin1'), /counter/);
    assert.deepEqual(factory.read(cookie())?.data, { counter: 2 });
  });

  it('EncryptedCookieSessionFactory() keeps time and size, as step 11 does', async () => {
    const { browser, clock, factory } = visit();
    await browser.get('/');
    clock.now += 1201;
    assert.equal(count((await browser.get('/')).body), 1, 'idle');
    for (let minutes = 0; minutes <= 12 * 60; minutes += 15) {
      await browser.get('/');
      clock.now += 15 * 60;
    }
    assert.equal(count((await browser.get('/')).body), 1, 'twelve hours, however busy');
    const session = new Session<SiteData>(NOW);
    session.set('user', 'x'.repeat(4000));
    assert.throws(() => factory.write(session), SessionTooLarge);
  });

  it('EncryptedCookieSessionFactory() and the signed one take nothing of each other', async () => {
    const options = { secrets: ['x'], now: () => NOW };
    const encrypted = new EncryptedCookieSessionFactory<SiteData>(options);
    const signed = new SignedCookieSessionFactory<SiteData>(options);
    const session = new Session<SiteData>(NOW);
    session.set('counter', 1);
    assert.equal(encrypted.read(signed.write(session)), undefined);
    assert.equal(signed.read(encrypted.write(session)), undefined);
    const signer = new Signer({ secrets: ['x'], salt: 'pyramid.session.' });
    assert.equal(signer.unsign(encrypted.write(session)), undefined);
  });

  it('EncryptedCookieSessionFactory() is smaller than the signed one: 29 bytes against 64', () => {
    const options = { secrets: ['x'], now: () => NOW };
    const session = new Session<SiteData>(NOW);
    session.set('counter', 1);
    const lengths = [SignedCookieSessionFactory, EncryptedCookieSessionFactory].map(
      (Factory) => Buffer.from(new Factory<SiteData>(options).write(session), 'base64url').length,
    );
    assert.equal((lengths[0] ?? 0) - (lengths[1] ?? 0), 64 - 29);
  });

  it('site() of step 17 has the cart and the login, and the cookie says nothing of them', async () => {
    const users = new Map([['ada', await hashPassword('secret', 4)]]);
    const factory = new EncryptedCookieSessionFactory<SiteData>({ secrets: ['x'] });
    const browser = new Browser(site(factory, users).handle, ORIGIN);
    await browser.request('POST', '/cart/add', 'item=tea', SAME);
    await browser.request('POST', '/cart/note', 'note=For+Grace', SAME);
    await browser.request('POST', '/login', 'name=ada&password=secret', SAME);
    assert.match(String((await browser.get('/dashboard')).body), /Hello, ada/);
    assert.match(String((await browser.get('/cart')).body), /Tea, a tin<\/strong> 1 for/);
    const cookie = browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000) ?? '';
    const bytes = Buffer.from(cookie.slice(8), 'base64url').toString('latin1');
    assert.doesNotMatch(bytes, /ada|Grace|tea|cart|user|csrf/);
  });
});

describe('17-encryption: sealedLens()', () => {
  it('sealedLens() cuts the cookie into its parts, and says what signing would take', async () => {
    const { browser, cookie, factory } = visit();
    await browser.get('/');
    const parts = sealedLens(factory).parts(cookie());
    assert.deepEqual(parts.map(([name]) => name), ['nonce', 'ciphertext', 'tag']);
    assert.equal(parts.map(([, text]) => text).join(''), cookie());
    const [nonce = '', , tag = ''] = parts.map(([, text]) => text);
    assert.deepEqual([nonce.length, tag.length], [18, 22], '13 bytes and 16, as characters');
    const [aboutNonce, , aboutTag] = parts.map(([, , note]) => note);
    assert.equal(aboutNonce, 'A version and a random number, open to all.');
    assert.equal(aboutTag, 'Only who has the secret can make it.');
    const signed = new SignedCookieSessionFactory<SiteData>({ secrets: ['x'], now: () => NOW });
    const session = new Session<SiteData>(NOW, factory.read(cookie()));
    const size = 'session'.length + signed.write(session).length;
    assert.match(String(parts[1]?.[2]), new RegExp(`and ${size} bytes`));
    const { body } = await browser.get('/inspect');
    assert.match(String(body), /<dt class="tag">The tag<\/dt>/);
    assert.match(String(body), /Ours, and alive\./);
  });

  it('sealedLens() bears a cookie that is junk, or too short', () => {
    const lens = sealedLens(visit().factory);
    for (const junk of ['', 'A', 'abc', 'x'.repeat(20), '<script>']) {
      assert.equal(lens.parts(junk).map(([, text]) => text).join(''), junk);
    }
  });
});
