// Further proofs for step 24: hostile values, many nonces, and the keys of other steps.
import assert from 'node:assert/strict';
import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { assertCookie, setCookies } from '../.tools/request.ts';
import { Signer } from '../src/03-signer.ts';
import { text } from '../src/04-http.ts';
import { Session } from '../src/07-session.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { withSession } from '../src/08-session-factory.ts';
import { withTimeouts } from '../src/11-timeouts.ts';
import { Browser } from '../src/16-browser.ts';
import { deriveKey, EncryptedCookieSessionFactory, Sealer } from '../src/24-encryption.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const USE = 'sessions-from-scratch sealer 1';

describe('24-encryption: hostile values', () => {
  const sealer = new Sealer({ secrets: ['new', 'old'], salt: 'a purpose' });

  it('Sealer.decode() returns undefined for each beginning and ending of a value', () => {
    const value = sealer.encode('{"counter":1}');
    for (let at = 0; at < value.length; at++) {
      assert.equal(sealer.decode(value.slice(0, at)), undefined, `the first ${at} characters`);
      if (at > 0) assert.equal(sealer.decode(value.slice(at)), undefined, `from character ${at}`);
    }
  });

  it('Sealer.decode() never throws, whatever a client sends', () => {
    const values = [
      '', 'A', 'AQ', '\xff', '%00', '__proto__', 'AQ'.repeat(4000), 'é😀', '\0', '='.repeat(40),
      'AQ'.padEnd(38, 'A'), 'AQ'.padEnd(39, 'A'), 'AQ'.padEnd(40, 'A'),
    ];
    for (const value of values) assert.equal(sealer.decode(value), undefined, value.slice(0, 60));
    for (let i = 0; i < 1000; i++) {
      const bytes = randomBytes(i % 100);
      bytes[0] = 1;
      assert.equal(sealer.decode(bytes.toString('base64url')), undefined, bytes.toString('hex'));
    }
  });

  it('Sealer.decode() rejects parts of two valid values that were put together', () => {
    const [one, two] = ['a'.repeat(30), 'b'.repeat(30)].map((word) =>
      Buffer.from(sealer.encode(word), 'base64url'),
    );
    assert.ok(one && two);
    for (const border of [1, 13, 20, 43, 44, 51]) {
      const mixed = Buffer.concat([one.subarray(0, border), two.subarray(border)]);
      const expected = border === 1 ? 'b'.repeat(30) : undefined; // both begin with the version
      assert.equal(sealer.decode(mixed.toString('base64url')), expected, `border ${border}`);
    }
  });

  it('Sealer.encode() creates 10,000 different nonces', () => {
    const nonces = new Set<string>();
    for (let i = 0; i < 10_000; i++) {
      nonces.add(Buffer.from(sealer.encode(''), 'base64url').toString('hex', 1, 13));
    }
    assert.equal(nonces.size, 10_000);
  });
});

describe('24-encryption: keys', () => {
  it('Sealer does not use the secret itself, or a key that another step uses', () => {
    const secret = 'x'.repeat(32); // as long as a key
    const sealer = new Sealer({ secrets: [secret] });
    const sealWith = (key: Uint8Array): string => {
      const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12)).setAAD(Buffer.of(1));
      const parts = [cipher.update('a'), cipher.final(), cipher.getAuthTag()];
      return Buffer.concat([Buffer.of(1), Buffer.alloc(12), ...parts]).toString('base64url');
    };
    assert.equal(sealer.decode(sealWith(deriveKey(secret, USE))), 'a', 'the key of this step');
    const hmac = createHmac('sha256', secret).digest();
    const keys = [Buffer.from(secret), hmac, deriveKey(secret, ''), deriveKey(secret, 'jwt')];
    for (const [index, key] of keys.entries()) {
      assert.equal(sealer.decode(sealWith(key)), undefined, `key ${index}`);
    }
    const signer = new Signer({ secrets: [secret] });
    assert.equal(signer.decode(sealer.encode('a')), undefined);
    assert.equal(sealer.decode(signer.encode('a')), undefined);
  });

  it('Sealer reads a secret as UTF-8', () => {
    const value = new Sealer({ secrets: ['Schlüssel 🔑'] }).encode('a');
    assert.equal(new Sealer({ secrets: ['Schlüssel 🔑'] }).decode(value), 'a');
    assert.equal(new Sealer({ secrets: ['Schlussel 🔑'] }).decode(value), undefined);
  });

  it('Sealer without a salt is the same as with an empty salt', () => {
    const [none, empty] = [new Sealer({ secrets: ['a'] }), new Sealer({ secrets: ['a'], salt: '' })];
    assert.equal(empty.decode(none.encode('text')), 'text');
  });
});

describe('24-encryption: the factory', () => {
  type Data = { counter: number; words: string };
  const factoryAt = (now: () => number) =>
    new EncryptedCookieSessionFactory({ secrets: ['x'], now, sessionClass: Session<Data> });

  it('EncryptedCookieSessionFactory.save() has the limit of a cookie: 4096 bytes', () => {
    const factory = factoryAt(() => NOW);
    const overhead = JSON.stringify([NOW, NOW, { words: '' }]).length + 29;
    const fits = Math.floor(((4096 - 'session'.length) * 3) / 4) - overhead;
    const value = factory.save(factory.create().set('words', 'x'.repeat(fits)));
    assert.equal('session'.length + (value?.length ?? 0), 4095, '3 bytes are 4 characters');
    const large = factory.create().set('words', 'x'.repeat(fits + 1));
    assert.throws(() => factory.save(large), SessionTooLarge);
  });

  it('EncryptedCookieSessionFactory adds 29 bytes to the data, and a signature 64', () => {
    const options = { secrets: ['x'], now: () => NOW, sessionClass: Session<Data> };
    const signed = new SignedCookieSessionFactory(options);
    const encrypted = new EncryptedCookieSessionFactory(options);
    const size = (value?: string): number => Buffer.from(value ?? '', 'base64url').length;
    const session = signed.create().set('words', '');
    assert.equal(size(signed.save(session)) - size(encrypted.save(session)), 64 - 29);
  });

  it('EncryptedCookieSessionFactory works with timeouts and a clock', async () => {
    const clock = { now: NOW };
    const now = (): number => clock.now;
    const handle = withSession(withTimeouts(factoryAt(now), { now }))(({ session }) => {
      session.update('counter', (counter = 0) => counter + 1);
      return text(`${session.get('counter')}`);
    });
    const browser = new Browser(handle, 'http://localhost:6543', now);
    const [header] = setCookies(await browser.get('/'));
    const withoutValue = header?.replace(/^session=[\w-]+/, 'session=x');
    assertCookie(withoutValue, 'session=x; Path=/; HttpOnly; SameSite=Lax');
    clock.now += 1200;
    assert.equal((await browser.get('/')).body, '2');
    clock.now += 1201;
    assert.equal((await browser.get('/')).body, '1');
  });
});
