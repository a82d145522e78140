import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { parseRequest } from '../src/02-http.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import { parseCookies } from '../src/07-cookie.ts';
import { Browser, parseSetCookie } from '../src/08-browser.ts';
import { Signer, site } from '../src/09-signer.ts';

const it = explainedIt(import.meta.url);
const SECRET = 'itsaseekreet';
const SIZE = 64; // bytes of HMAC-SHA-512
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** What the site gives for a count of 1. The same on every machine: there is no clock in it. */
const COUNT_1 =
  'c_H6fOiNrna3Tyiv4T5IEAippcF3ha4lBBLgsmhJkzdrql8jzzzxC-h_bVIeBqI2PhzyHBJ5LUdwDtcMLpaxgTE';

type Vector = {
  name: string;
  options: { secret: string; salt: string | null; hashalg: string };
  cookie: string;
  payload_json: string;
  signature_bytes: number;
};

const { good } = JSON.parse(
  readFileSync(new URL('./pyramid/vectors.json', import.meta.url), 'utf8'),
) as { good: Vector[] };

const signerFor = ({ options }: Vector): Signer =>
  new Signer({
    secrets: [options.secret],
    salt: options.salt ?? '',
    hashAlg: options.hashalg,
  });

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

/** The value of the cookie that a response sets. */
function cookieOf({ headers }: HttpResponse): string {
  return parseSetCookie(String(headers['set-cookie']), 0)?.value ?? assert.fail('no Set-Cookie');
}

describe('09-signer', () => {
  it('sign() agrees with the HMAC-SHA-512 of RFC 4231, test case 2', () => {
    const value = 'what do ya want for nothing?';
    const signature =
      '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554' +
      '9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737';
    const wire = Buffer.concat([Buffer.from(signature, 'hex'), Buffer.from(value)]);
    const signer = new Signer({ secrets: ['Jefe'] });
    assert.equal(signer.digestSize, SIZE);
    assert.equal(signer.sign(value), wire.toString('base64url'));
    assert.equal(signer.unsign(wire.toString('base64url')), value);
    const salted = new Signer({ secrets: ['fe'], salt: 'Je' });
    assert.equal(salted.sign(value), wire.toString('base64url'), 'the key is salt + secret');
  });

  it('sign() makes the very cookies that real Pyramid made', () => {
    assert.equal(good.length, 50, 'vectors.json is whole');
    for (const vector of good) {
      assert.equal(signerFor(vector).sign(vector.payload_json), vector.cookie, vector.name);
    }
  });

  it('unsign() reads the cookies that real Pyramid made', () => {
    for (const vector of good) {
      const signer = signerFor(vector);
      assert.equal(signer.digestSize, vector.signature_bytes, vector.name);
      assert.equal(signer.unsign(vector.cookie), vector.payload_json, vector.name);
    }
  });

  it('sign() takes salt and secret as Latin-1, and both as UTF-8 beyond it, like WebOb', () => {
    const table: [salt: string, secret: string, key: string][] = [
      ['s\u00e9l.', 'cl\u00e9\u00ff', '73e96c2e636ce9ff'],
      ['s\u00e9l.', '\u20ac', '73c3a96c2ee282ac'], // one euro sign, and the salt changes too
    ];
    for (const [salt, secret, key] of table) {
      const hmac = crypto.createHmac('sha512', Buffer.from(key, 'hex')).update('1').digest();
      const wire = Buffer.concat([hmac, Buffer.from('1')]).toString('base64url');
      assert.equal(new Signer({ secrets: [secret], salt }).sign('1'), wire, salt + secret);
    }
  });

  it('sign() makes the HMAC that node:crypto makes, for keys and values of many lengths', () => {
    const names: [ours: string, nodes: string][] = [
      ['sha512', 'sha512'], ['sha384', 'sha384'], ['sha256', 'sha256'], ['sha224', 'sha224'],
      ['sha1', 'sha1'], ['md5', 'md5'], ['sha3_224', 'sha3-224'], ['sha3_256', 'sha3-256'],
      ['sha3_384', 'sha3-384'], ['sha3_512', 'sha3-512'], ['sha512_256', 'sha512-256'],
      ['blake2b', 'blake2b512'], ['blake2s', 'blake2s256'],
    ];
    const lengths = [0, 1, 63, 64, 65, 71, 72, 103, 104, 127, 128, 129, 136, 144, 145, 4096, 100_000];
    for (const [hashAlg, name] of names) {
      for (const length of lengths) {
        const secret = 's'.repeat(Math.max(1, length % 4096));
        const value = `é${'v'.repeat(length)}`;
        const signer = new Signer({ secrets: [secret], hashAlg });
        const due = crypto.createHmac(name, secret).update(value).digest();
        const signed = signer.sign(value);
        assert.equal(signed, Buffer.concat([due, Buffer.from(value)]).toString('base64url'), name);
        assert.equal(signer.unsign(signed), value, `${name}, ${length} bytes`);
      }
    }
  });

  it('unsign() keeps signers apart that work in the same memory', () => {
    const [one, two] = ['one', 'two'].map((secret) => new Signer({ secrets: [secret] }));
    const signed = one?.sign('a long value, which stays in memory') ?? '';
    assert.equal(two?.unsign(signed), undefined);
    assert.equal(two?.unsign(two.sign('short')), 'short');
    assert.equal(one?.unsign(signed), 'a long value, which stays in memory');
    assert.equal(one?.unsign(signed.slice(0, 90)), undefined);
  });

  it('sign() writes only what a cookie can hold', () => {
    const signer = new Signer({ secrets: [SECRET] });
    for (const value of ['', ';', '\r\n', '"', '\0', 'é', '🍪', ...'<>?~'.repeat(8)]) {
      assert.match(signer.sign(value), /^[\w-]+$/, JSON.stringify(value));
    }
  });

  it('unsign() gives back every text that sign() was given', () => {
    const texts = ['', ' ', '0', 'null', '\0', '\r\n', '\ufeff1', 'é', '日本語', '🍪', 'e\u0301'];
    const signer = new Signer({ secrets: [SECRET], salt: 'test.' });
    for (const text of [...texts, '\ufffd', 'x'.repeat(100_000), '🍪'.repeat(10_000)]) {
      assert.ok(signer.unsign(signer.sign(text)) === text, JSON.stringify(text.slice(0, 20)));
    }
  });

  it('unsign() refuses a cookie with any one bit changed', () => {
    const signer = new Signer({ secrets: [SECRET], salt: 'count.' });
    const bytes = Buffer.from(COUNT_1, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const forged = Buffer.from(bytes);
      forged.writeUInt8(forged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const part = bit >> 3 < SIZE ? 'signature' : 'value';
      const row = `bit ${bit & 7} of byte ${bit >> 3}, in the ${part}`;
      assert.equal(signer.unsign(forged.toString('base64url')), undefined, row);
    }
  });

  it('unsign() refuses a cookie with any one character changed', () => {
    const signer = new Signer({ secrets: [SECRET], salt: 'count.' });
    for (const [index, right] of [...COUNT_1].entries()) {
      for (const wrong of `${ALPHABET}+/=.`.replace(right, '')) {
        const forged = COUNT_1.slice(0, index) + wrong + COUNT_1.slice(index + 1);
        assert.equal(signer.unsign(forged), undefined, `believed, with ${wrong} for ${right} as character ${index}`);
      }
    }
  });

  it('unsign() refuses a cookie cut anywhere, at its end or at its beginning', () => {
    const signer = new Signer({ secrets: [SECRET], salt: 'count.' });
    const long = signer.sign('[1700000000, 1700000000.25, {"counter": 1}]');
    for (const cookie of [COUNT_1, long]) {
      for (let length = 0; length < cookie.length; length++) {
        assert.equal(signer.unsign(cookie.slice(0, length)), undefined, `the first ${length}`);
        const end = cookie.slice(cookie.length - length);
        assert.equal(signer.unsign(end), undefined, `the last ${length}`);
      }
    }
  });

  it('unsign() refuses a cookie that something was added to', () => {
    const signer = new Signer({ secrets: [SECRET], salt: 'count.' });
    for (const value of ['', '1', '12', '123']) { // each way that a base64url text can end
      const cookie = signer.sign(value);
      const more = [...ALPHABET, '=', '.', ' '];
      const rows = more.flatMap((c) => [cookie + c, c + cookie, `${cookie}${c}A`]);
      for (const forged of [...rows, cookie + cookie]) {
        const story = `taken for ours, and what we signed is ${cookie}: ${forged}`;
        assert.equal(signer.unsign(forged), undefined, story);
      }
      const bytes = Buffer.from(cookie, 'base64url');
      for (let byte = 0; byte < 256; byte++) {
        for (const parts of [[bytes, Buffer.of(byte)], [Buffer.of(byte), bytes]]) {
          const forged = Buffer.concat(parts).toString('base64url');
          assert.equal(signer.unsign(forged), undefined, `byte ${byte} added to "${value}"`);
        }
      }
    }
  });

  it('unsign() refuses a second spelling of the same bytes', () => {
    const signer = new Signer({ secrets: [SECRET], salt: 'count.' });
    const values = Array.from({ length: 60 }, (_, index) => String(index));
    const cookies = values.map((value) => signer.sign(value));
    const cookie = cookies.find((text) => text.includes('-') && text.includes('_'));
    assert.ok(cookie !== undefined && signer.unsign(cookie) !== undefined);
    const middle = (text: string): string => cookie.slice(0, 40) + text + cookie.slice(40);
    const junk = [' ', '\t', '\r\n', '\0', '.', ',', '"', '%', '!', 'é', '日', '\u2028'];
    const spellings = [
      cookie.replace(/-/, '+'),
      cookie.replace(/_/, '/'),
      Buffer.from(cookie, 'base64url').toString('base64'),
      ...['=', '==', '===', '===='].flatMap((pad) => [cookie + pad, pad + cookie, middle(pad)]),
      ...junk.flatMap((text) => [cookie + text, text + cookie, middle(text)]),
      `"${cookie}"`,
      encodeURIComponent(`${cookie}=`),
    ];
    for (const spelling of spellings) {
      assert.equal(signer.unsign(spelling), undefined, JSON.stringify(spelling));
    }
  });

  it('unsign() refuses unused last bits that are not zero, which say nothing', () => {
    const signer = new Signer({ secrets: [SECRET], salt: 'count.' });
    const unused = [2, 0, 4]; // bits of the last character that 65, 66 and 67 bytes leave over
    for (const [index, bits] of unused.entries()) {
      const cookie = signer.sign('x'.repeat(index + 1));
      const last = ALPHABET.indexOf(cookie.slice(-1));
      for (let extra = 1; extra < 1 << bits; extra++) {
        const twin = cookie.slice(0, -1) + ALPHABET.charAt(last + extra);
        assert.deepEqual(Buffer.from(twin, 'base64url'), Buffer.from(cookie, 'base64url'));
        const story = `taken: …${twin.slice(-4)}, where we made …${cookie.slice(-4)}`;
        assert.equal(signer.unsign(twin), undefined, story);
      }
    }
  });

  it('unsign() refuses what is no signed value at all, and never throws', () => {
    const signer = new Signer({ secrets: [SECRET] });
    const sizes = [0, 1, SIZE - 1, SIZE, SIZE + 1, 10_000];
    const texts = ['', '1', '9999', 'null', '=', '.', 'é', '\0', '\ud800', '[1, {}]'];
    const zeros = sizes.map((size) => Buffer.alloc(size).toString('base64url'));
    const plain = Buffer.from('9999').toString('base64url');
    for (const text of [...texts, ...zeros, plain, 'A'.repeat(100_000), '~'.repeat(100_000)]) {
      assert.equal(signer.unsign(text), undefined, JSON.stringify(text.slice(0, 80)));
    }
  });

  it('unsign() refuses a value signed for another purpose', () => {
    const forMail = new Signer({ secrets: [SECRET], salt: 'confirm-mail.' });
    const forLogin = new Signer({ secrets: [SECRET], salt: 'login.' });
    const forNothing = new Signer({ secrets: [SECRET] });
    const token = forMail.sign('ada@example.com');
    assert.equal(forMail.unsign(token), 'ada@example.com');
    assert.equal(forLogin.unsign(token), undefined, 'a mail token must not log anyone in');
    assert.equal(forNothing.unsign(token), undefined, 'nor pass where no purpose is named');
    assert.equal(forMail.unsign(forNothing.sign('ada@example.com')), undefined);
  });

  it('unsign() refuses a value signed with another secret or another hash', () => {
    const ours = new Signer({ secrets: [SECRET], salt: 'a.' });
    const secrets = [`${SECRET} `, SECRET.slice(1), SECRET.toUpperCase(), 'é'];
    for (const secret of secrets) {
      const theirs = new Signer({ secrets: [secret], salt: 'a.' });
      assert.equal(ours.unsign(theirs.sign('1')), undefined, `secret ${secret}`);
      assert.equal(theirs.unsign(ours.sign('1')), undefined, `secret ${secret}`);
    }
    for (const hashAlg of ['sha1', 'sha256', 'sha384', 'sha3_512', 'blake2b']) {
      const theirs = new Signer({ secrets: [SECRET], salt: 'a.', hashAlg });
      assert.equal(theirs.unsign(theirs.sign('1')), '1');
      assert.equal(ours.unsign(theirs.sign('1'.repeat(99))), undefined, hashAlg);
      assert.equal(theirs.unsign(ours.sign('1'.repeat(99))), undefined, hashAlg);
    }
  });

  it('unsign() verifies with every secret while sign() uses the newest', () => {
    const only = (secret: string): Signer => new Signer({ secrets: [secret], salt: 'a.' });
    const rotated = new Signer({ secrets: ['newest', 'older', 'oldest'], salt: 'a.' });
    for (const secret of ['newest', 'older', 'oldest']) {
      assert.equal(rotated.unsign(only(secret).sign('1')), '1', `signed with "${secret}"`);
    }
    assert.equal(rotated.unsign(only('unknown').sign('1')), undefined, 'signed with "unknown"');
    const signed = rotated.sign('1');
    const by = ['newest', 'older', 'oldest'].find((secret) => only(secret).sign('1') === signed);
    assert.equal(by, 'newest', 'the first secret of the list signs');
    const later = new Signer({ secrets: ['newest'], salt: 'a.' });
    assert.equal(later.unsign(only('oldest').sign('1')), undefined, 'a secret taken off the list');
    assert.equal(later.unsign(rotated.sign('1')), '1');
  });

  it('unsign() leaves the verdict to timingSafeEqual, on whole signatures', (t) => {
    const signer = new Signer({ secrets: ['newest', 'older'] });
    const signed = signer.sign('1');
    const bytes = Buffer.from(signed, 'base64url');
    const original = crypto.timingSafeEqual;
    const compare = t.mock.method(crypto, 'timingSafeEqual', original);
    syncBuiltinESMExports(); // now the module's own import is the observed one
    try {
      for (const index of [0, 1, SIZE - 1]) {
        compare.mock.resetCalls();
        const forged = Buffer.from(bytes);
        forged.writeUInt8(forged.readUInt8(index) ^ 1, index);
        assert.equal(signer.unsign(forged.toString('base64url')), undefined);
        const sizes = compare.mock.calls.map((call) => call.arguments.map((a) => a.byteLength));
        const story = `byte ${index} is wrong: for each secret timingSafeEqual must be asked, and be`;
        assert.deepEqual(sizes, [[SIZE, SIZE], [SIZE, SIZE]], `${story} given ${SIZE} bytes twice`);
      }
      compare.mock.mockImplementation(() => false);
      assert.equal(signer.unsign(signed), undefined, 'no other comparison may let it in');
    } finally {
      compare.mock.restore();
      syncBuiltinESMExports();
    }
    assert.equal(signer.unsign(signed), '1');
  });

  it('unsign() gives undefined for bytes that are signed and are no text', () => {
    const signer = new Signer({ secrets: ['Jefe'] });
    for (const hex of ['ff', 'c3', 'c0af', 'eda080', 'f4908080', '31ff', '80']) {
      const value = Buffer.from(hex, 'hex');
      const signature = crypto.createHmac('sha512', 'Jefe').update(value).digest();
      const signed = Buffer.concat([signature, value]).toString('base64url');
      assert.equal(signer.unsign(signed), undefined, `bytes ${hex}`);
    }
  });

  it('Signer takes no empty secret, and not none', () => {
    const unset = undefined as unknown as string; // a missing variable: "undefined" is no secret
    for (const secrets of [[], [''], ['good', ''], ['', 'good'], [unset], ['good', unset]]) {
      const make = (): Signer => new Signer({ secrets, salt: 'count.' });
      assert.throws(make, /^TypeError: Cannot make a signer: it needs a secret/, `[${secrets}]: a TypeError`);
    }
    assert.throws(() => new Signer({ secrets: [''] }), TypeError);
  });

  it('Signer names the hash that Node lacks', () => {
    for (const hashAlg of ['sha999', '', 'none', 'constructor', '__proto__', 'shake128']) {
      const make = (): Signer => new Signer({ secrets: [SECRET], hashAlg });
      const message = `Cannot make a signer: this Node has no hash '${hashAlg}'`;
      assert.throws(make, { name: 'TypeError', message }, `a TypeError: ${message}`);
    }
  });

  it('Signer knows the hashes by the names that Python has for them', () => {
    const sizes = { sha256: 32, sha3_512: 64, blake2b: 64, blake2s: 32, sha512_256: 32 };
    for (const [hashAlg, size] of Object.entries(sizes)) {
      const signer = new Signer({ secrets: [SECRET], hashAlg });
      assert.equal(signer.digestSize, size, hashAlg);
      assert.equal(signer.unsign(signer.sign('1')), '1', hashAlg);
    }
  });

  it('SignedCounterViews counts for each browser on its own, on both pages', async () => {
    const first = await open('/');
    assert.equal(countOn(first), 1);
    assert.equal(
      first.headers['set-cookie'],
      `count=${COUNT_1}; Path=/; HttpOnly; SameSite=Lax`,
    );
    const [ada, bob] = [new Browser(handle), new Browser(handle)];
    assert.equal(countOn(await ada.get('/')), 1);
    assert.equal(countOn(await ada.get('/howdy')), 2);
    assert.equal(countOn(await bob.get('/')), 1);
    assert.equal(countOn(await ada.get('/')), 3);
  });

  it('SignedCounterViews starts anew on a count that it did not sign', async () => {
    const bytes = Buffer.from(COUNT_1, 'base64url');
    const edited = Buffer.concat([bytes.subarray(0, SIZE), Buffer.from('9999')]);
    const other = (options: object): string =>
      new Signer({ secrets: [SECRET], salt: 'count.', ...options }).sign('9999');
    const table: [string, string][] = [
      ['the plain number of step 7', '9999'],
      ['the number in base64url', Buffer.from('9999').toString('base64url')],
      ['another number after the signature of 1', edited.toString('base64url')],
      ['a signature of zeros', Buffer.from('\0'.repeat(SIZE) + '9999').toString('base64url')],
      ['another secret', other({ secrets: ['guessed'] })],
      ['another purpose', other({ salt: 'pyramid.session.' })],
      ['another hash', other({ hashAlg: 'sha256' })],
      ['nothing', ''],
      ['a first cookie that is bad before a good one', `x; count=${COUNT_1}`],
    ];
    for (const [what, value] of table) {
      const response = await open('/', `count=${value}`);
      assert.equal(countOn(response), 1, what);
      assert.equal(cookieOf(response), COUNT_1, what);
    }
    assert.equal(countOn(await open('/', `count=${other({})}`)), 10_000, 'and a true one counts');
  });

  it('SignedCounterViews believes an old cookie again: the flaw that is left', async () => {
    const second = await open('/', `count=${COUNT_1}`);
    const third = await open('/', `count=${cookieOf(second)}`);
    assert.deepEqual([second, third].map(countOn), [2, 3]);
    assert.equal(countOn(await open('/', `count=${COUNT_1}`)), 2, 'back to the first cookie');
    assert.equal(countOn(await open('/howdy', `count=${COUNT_1}`)), 2, 'as often as one likes');
  });

  it('SignedCounterViews does not count a look by HEAD', async () => {
    const { status, headers } = await open('/', `count=${COUNT_1}`, 'HEAD');
    assert.equal(status, 200);
    assert.equal(headers['set-cookie'], undefined);
  });

  it('SignedCounterViews signs and hides nothing: anyone can read the count', async () => {
    const line = String((await open('/', `count=${COUNT_1}`)).headers['set-cookie']);
    const value = parseCookies(line).get('count') ?? '';
    assert.equal(Buffer.from(value, 'base64url').subarray(SIZE).toString(), '2');
  });

  it('site() of step 9 gives its routes the names that the original gives them', () => {
    const routes = ['home', 'hello'].map((name) => site().pathFor(name));
    assert.deepEqual(routes, ['/', '/howdy']);
  });

  it('site() sets no signed cookie with a file or a page that is not there', async () => {
    for (const path of ['/style.css', '/favicon.svg', '/nowhere']) {
      const { headers } = await open(path, `count=${COUNT_1}`);
      assert.equal(headers['set-cookie'], undefined, `GET ${path}`);
    }
  });
});
