// Further proofs for step 3: every cookie of real Pyramid, every hash algorithm, and every way to
// change a value by one character or one byte.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given } from '../.tools/explain.ts';
import { assertCookie } from '../.tools/request.ts';
import { countVisit, Signer } from '../src/03-signer.ts';

const it = explainedIt(import.meta.url);
const SECRET = 'itsaseekreet';
const SIZE = 64; // bytes of a signature with SHA-512
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

type Vector = {
  name: string;
  options: { secret: string; salt: string | null; hashalg: string };
  cookie: string;
  payload_json: string;
  signature_bytes: number;
};

const { good } = JSON.parse(
  readFileSync(new URL('../test/pyramid/vectors.json', import.meta.url), 'utf8'),
) as { good: Vector[] };

/** Hash algorithms that have another name in Python than in Node. */
const NODE_NAMES: Record<string, string> = { sha3_256: 'sha3-256', blake2b: 'blake2b512' };

const signerFor = ({ options: { secret, salt, hashalg } }: Vector): Signer =>
  new Signer({ secrets: [secret], salt: salt ?? '', hashAlg: NODE_NAMES[hashalg] ?? hashalg });

const COUNT_1 =
  'c_H6fOiNrna3Tyiv4T5IEAippcF3ha4lBBLgsmhJkzdrql8jzzzxC-h_bVIeBqI2PhzyHBJ5LUdwDtcMLpaxgTE';

/** Returns the signer of the page. */
const countSigner = (): Signer => new Signer({ secrets: [SECRET], salt: 'count.' });

describe('03-signer: further proofs', () => {
  it('Signer.encode() makes each of the 50 cookies that real Pyramid made', () => {
    assert.equal(good.length, 50, 'vectors.json must be complete');
    for (const vector of good) {
      assert.equal(signerFor(vector).encode(vector.payload_json), vector.cookie, vector.name);
    }
  });

  it('Signer.decode() reads each of the 50 cookies that real Pyramid made', () => {
    for (const vector of good) {
      assert.equal(signerFor(vector).digestSize, vector.signature_bytes, vector.name);
      assert.equal(signerFor(vector).decode(vector.cookie), vector.payload_json, vector.name);
    }
  });

  it('Signer.encode() uses the salt and the secret as Latin-1, or both as UTF-8', () => {
    const table: [salt: string, secret: string, key: string][] = [
      ['s\u00e9l.', 'cl\u00e9\u00ff', '73e96c2e636ce9ff'],
      ['s\u00e9l.', '\u20ac', '73c3a96c2ee282ac'], // the euro sign changes the salt too
    ];
    for (const [salt, secret, key] of table) {
      const signature = createHmac('sha512', Buffer.from(key, 'hex')).update('1').digest();
      const expected = Buffer.concat([signature, Buffer.from('1')]).toString('base64url');
      assert.equal(new Signer({ secrets: [secret], salt }).encode('1'), expected, salt + secret);
    }
  });

  it('Signer.encode() makes the HMAC of node:crypto for many algorithms and lengths', () => {
    const algorithms = [
      'sha512', 'sha384', 'sha256', 'sha224', 'sha1', 'md5', 'sha3-224', 'sha3-256', 'sha3-384',
      'sha3-512', 'sha512-256', 'blake2b512', 'blake2s256',
    ];
    const aroundBlocks = [63, 64, 65, 71, 72, 103, 104, 127, 128, 129, 136, 144, 145]; // bytes
    const lengths = [0, 1, ...aroundBlocks, 4096, 100_000];
    for (const hashAlg of algorithms) {
      for (const length of lengths) {
        const secret = 's'.repeat(Math.max(1, length % 4096));
        const text = `é${'t'.repeat(length)}`;
        const signature = createHmac(hashAlg, secret).update(text).digest();
        const expected = Buffer.concat([signature, Buffer.from(text)]).toString('base64url');
        const longSigner = new Signer({ secrets: [secret], hashAlg });
        assert.ok(longSigner.encode(text) === expected, `encode(): ${hashAlg}, ${length} bytes`);
        assert.ok(longSigner.decode(expected) === text, `decode(): ${hashAlg}, ${length} bytes`);
      }
    }
  });

  it('Signer.encode() writes only characters that a cookie can hold', () => {
    const signer = new Signer({ secrets: [SECRET] });
    for (const text of ['', ';', '\r\n', '"', '\0', 'é', '🍪', ...'<>?~'.repeat(8)]) {
      assert.match(signer.encode(text), /^[\w-]+$/, JSON.stringify(text));
    }
  });

  it('Signer.decode() returns a long text unchanged', () => {
    const signer = countSigner();
    for (const text of ['\ufffd', 'e\u0301', 'x'.repeat(100_000), '🍪'.repeat(10_000)]) {
      assert.ok(signer.decode(signer.encode(text)) === text, text.slice(0, 10));
    }
  });

  it('Signer.decode() keeps two signers apart that are used in turn', () => {
    const one = new Signer({ secrets: ['one'] });
    const two = new Signer({ secrets: ['two'] });
    const value = one.encode('a long text');
    assert.equal(two.decode(value), undefined);
    assert.equal(two.decode(two.encode('short')), 'short');
    assert.equal(one.decode(value), 'a long text');
    assert.equal(one.decode(value.slice(0, 90)), undefined);
  });

  it('Signer.decode() rejects a value with one changed character', () => {
    const signer = countSigner();
    for (const [index, right] of [...COUNT_1].entries()) {
      for (const wrong of `${ALPHABET}+/=.`.replace(right, '')) {
        const forged = COUNT_1.slice(0, index) + wrong + COUNT_1.slice(index + 1);
        const story = `${wrong} instead of ${right} at index ${index}`;
        assert.equal(signer.decode(forged), undefined, story);
      }
    }
  });

  it('Signer.decode() rejects a value that was cut at the beginning', () => {
    const signer = countSigner();
    for (const value of [COUNT_1, signer.encode('[1700000000, 1700000000.25, {"counter": 1}]')]) {
      for (let start = 1; start <= value.length; start++) {
        assert.equal(signer.decode(value.slice(start)), undefined, `without the first ${start}`);
      }
    }
  });

  it('Signer.decode() rejects a value with an added character or byte', () => {
    const signer = countSigner();
    for (const text of ['', '1', '12', '123']) { // each way in which base64url can end
      const value = signer.encode(text);
      const added = [...ALPHABET, '=', '.', ' '];
      const all = added.flatMap((c) => [value + c, c + value, `${value}${c}A`]);
      for (const forged of [...all, value + value]) {
        assert.equal(signer.decode(forged), undefined, `${forged} instead of ${value}`);
      }
      const bytes = Buffer.from(value, 'base64url');
      for (let byte = 0; byte < 256; byte++) {
        for (const parts of [[bytes, Buffer.of(byte)], [Buffer.of(byte), bytes]]) {
          const forged = Buffer.concat(parts).toString('base64url');
          assert.equal(signer.decode(forged), undefined, `byte ${byte} added to '${text}'`);
        }
      }
    }
  });

  it('Signer.decode() rejects padding and other characters that Node ignores', () => {
    const signer = countSigner();
    const at = (text: string): string[] =>
      [COUNT_1 + text, text + COUNT_1, COUNT_1.slice(0, 40) + text + COUNT_1.slice(40)];
    const ignored = [' ', '\t', '\r\n', '\0', '.', ',', '"', '%', '!', 'é', '日', '\u2028'];
    const encodings = [...ignored, '=', '==', '===', '===='].flatMap(at);
    for (const encoding of [...encodings, `"${COUNT_1}"`, encodeURIComponent(`${COUNT_1}=`)]) {
      assert.equal(signer.decode(encoding), undefined, JSON.stringify(encoding));
    }
  });

  it('Signer.decode() rejects unused bits that are not zero', () => {
    const signer = countSigner();
    const unused = [2, 0, 4]; // bits of the last character after 65, 66 and 67 bytes
    for (const [index, bits] of unused.entries()) {
      const value = signer.encode('x'.repeat(index + 1));
      const last = ALPHABET.indexOf(value.slice(-1));
      for (let extra = 1; extra < 1 << bits; extra++) {
        const second = value.slice(0, -1) + ALPHABET.charAt(last + extra);
        assert.deepEqual(Buffer.from(second, 'base64url'), Buffer.from(value, 'base64url'));
        assert.equal(signer.decode(second), undefined, `…${second.slice(-4)} in base64url`);
      }
    }
  });

  it('Signer.decode() rejects a very long text', () => {
    const signer = countSigner();
    for (const text of ['A'.repeat(100_000), '~'.repeat(100_000)]) {
      assert.equal(signer.decode(text), undefined, text.slice(0, 10));
    }
  });

  it('Signer.decode() rejects a value that was signed with another hash algorithm', () => {
    const signer = countSigner();
    for (const hashAlg of ['sha1', 'sha256', 'sha384', 'sha3-512', 'blake2b512']) {
      const other = new Signer({ secrets: [SECRET], salt: 'count.', hashAlg });
      const text = '1'.repeat(99);
      assert.equal(other.decode(other.encode(text)), text);
      assert.equal(signer.decode(other.encode(text)), undefined, hashAlg);
      assert.equal(other.decode(signer.encode(text)), undefined, hashAlg);
    }
  });

  it('Signer() throws if Node does not have the hash algorithm, and names it', () => {
    for (const hashAlg of ['sha999', 'none', 'constructor', '__proto__', 'sha3_256']) {
      const create = (): Signer => new Signer({ secrets: [SECRET], hashAlg });
      assert.throws(create, { name: 'TypeError', message: new RegExp(hashAlg) }, hashAlg);
    }
    for (const hashAlg of ['', 'shake128']) {
      assert.throws(() => new Signer({ secrets: [SECRET], hashAlg }), Error, `'${hashAlg}'`);
    }
  });

  it('countVisit() starts at 1 for more values that it did not sign', () => {
    const other = (options: object): string =>
      new Signer({ secrets: [SECRET], salt: 'count.', ...options }).encode('9999');
    const zeros = Buffer.from(`${'\0'.repeat(SIZE)}9999`).toString('base64url');
    const table: [what: string, value: string][] = [
      ['a signature of zeros', zeros],
      ['another secret', other({ secrets: ['guessed'] })],
      ['another hash algorithm', other({ hashAlg: 'sha256' })],
    ];
    for (const [what, value] of table) {
      const { count, setCookie } = countVisit(given(`count=${value}`));
      assert.equal(count, 1, what);
      assertCookie(setCookie, `count=${COUNT_1}; Path=/; HttpOnly; SameSite=Lax`, what);
    }
    assert.equal(countVisit(`count=${other({})}`).count, 10_000, 'the site signed this one');
  });
});
