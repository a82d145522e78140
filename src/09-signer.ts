// Step 9 · A signature: what the browser keeps, only we can write.
//
//   value sent = base64url( signature ‖ value ), unpadded; signature = HMAC(salt + secret, value)
//
// HMAC (RFC 2104) mixes a secret into a hash: without the secret nobody can sign a changed value.
// The wire form is Pyramid 2's (webob.cookies.SignedSerializer), byte for byte. Three ways to get
// it wrong: compare with `===`, which stops at the first wrong byte and so tells an attacker how
// far he got; look at the value before its signature; forget what a value was signed for.
import { isUtf8 } from 'node:buffer';
import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import { Router } from './03-router.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import { TutorialViews } from './06-views.ts';
import { findCookie, serializeCookie } from './07-cookie.ts';

export type SignerOptions = {
  /** Newest first: the first signs, all verify, so rotating a secret logs nobody out. */
  secrets: readonly string[];
  /** The purpose. A value signed for one purpose is worth nothing for another. */
  salt?: string;
  /** As Pyramid's `hashalg`: sha512 (default), sha384, sha256, sha3_256, blake2b, … */
  hashAlg?: string;
};

export class Signer {
  readonly #hash: string;
  readonly #keys: readonly HmacKey[];
  readonly #newest: HmacKey;
  /** Bytes of a signature: 64 for sha512. */
  readonly digestSize: number;
  readonly #blockSize: number;
  readonly #sent: Buffer; // the signature that came, and the one that should have
  readonly #due: Buffer;

  /** Throws a `TypeError` for no secret or an empty one, and for a hash that this Node lacks. */
  constructor({ secrets, salt = '', hashAlg = 'sha512' }: SignerOptions) {
    this.#hash = OPENSSL_NAMES[hashAlg] ?? hashAlg.replace('_', '-');
    const blockSize = blockSizeOf(this.#hash);
    if (!blockSize) throw new TypeError(`Cannot make a signer: this Node has no hash '${hashAlg}'`);
    this.#keys = secrets.map((secret) => hmacKey(this.#hash, blockSize, keyBytes(salt, secret)));
    const [newest] = this.#keys;
    if (!newest || !secrets.every(Boolean)) {
      throw new TypeError('Cannot make a signer: it needs a secret, and none may be empty');
    }
    this.#newest = newest;
    this.#blockSize = blockSize;
    this.digestSize = newest.outer.length - blockSize;
    this.#sent = Buffer.alloc(this.digestSize);
    this.#due = Buffer.alloc(this.digestSize);
  }

  /** The value with its signature in front, fit for a cookie. */
  sign(value: string): string {
    const work = workspace(this.#blockSize + 3 * value.length);
    const end = this.#blockSize + work.write(value, this.#blockSize);
    const signature = hmac(this.#hash, this.#newest, work.subarray(0, end));
    const start = this.#blockSize - this.digestSize;
    work.write(signature, start, 'latin1');
    return work.toString('base64url', start, end);
  }

  /** What was signed, or `undefined` when no secret of ours signed exactly this. Never throws. */
  unsign(signed: string): string | undefined {
    const work = workspace(this.#blockSize + signed.length);
    const start = this.#blockSize - this.digestSize;
    const end = start + work.write(signed, start, 'base64url');
    // Node skips what is not base64url, and unused last bits; one value has one spelling here.
    const isExact = work.toString('base64url', start, end) === signed;
    if (!isExact || end < this.#blockSize) return undefined;
    work.copy(this.#sent, 0, start, this.#blockSize);
    const message = work.subarray(0, end);
    const isOurs = this.#keys.some((key) => {
      this.#due.write(hmac(this.#hash, key, message), 'latin1');
      return timingSafeEqual(this.#sent, this.#due);
    });
    if (!isOurs) return undefined;
    const value = work.toString('utf8', this.#blockSize, end); // bad UTF-8 becomes U+FFFD
    const isText = !value.includes('\ufffd') || isUtf8(message.subarray(this.#blockSize));
    return isText ? value : undefined;
  }
}

// A hash works on blocks. HMAC puts one block made of the secret before the value, hashes, puts
// another before the result, and hashes again. node's createHmac does that too, but it makes an
// object outside of JavaScript each time, which costs a busy server more than the hashing itself.
type HmacKey = { inner: Buffer; outer: Buffer };

/** The two blocks of a secret; after the outer one there is room for a digest. */
function hmacKey(name: string, blockSize: number, secret: Buffer): HmacKey {
  const digest = Buffer.from(hash(name, secret, 'binary'), 'latin1');
  const inner = Buffer.alloc(blockSize, 0x36);
  const outer = Buffer.alloc(blockSize + digest.length, 0x5c);
  for (const [i, byte] of (secret.length > blockSize ? digest : secret).entries()) {
    inner[i] = 0x36 ^ byte;
    outer[i] = 0x5c ^ byte;
  }
  return { inner, outer };
}

/** The HMAC of `message`, a byte a character. Its first block must be free: the key goes there. */
function hmac(name: string, { inner, outer }: HmacKey, message: Buffer): string {
  message.set(inner);
  outer.write(hash(name, message, 'binary'), inner.length, 'latin1');
  return hash(name, outer, 'binary');
}

/** Bytes in a block of a hash, found by trying: node does not tell. `undefined`: no such hash. */
function blockSizeOf(name: string): number | undefined {
  try {
    const right = createHmac(name, 'key').digest('binary');
    const isRight = (size: number): boolean =>
      hmac(name, hmacKey(name, size, Buffer.from('key')), Buffer.alloc(size)) === right;
    return BLOCK_SIZES.find(isRight);
  } catch {
    return undefined;
  }
}

const BLOCK_SIZES = [64, 128, 136, 144, 104, 72]; // SHA-2 and BLAKE2 have the first two, SHA-3 four

const WORKSPACE = Buffer.alloc(8 * 1024); // one for all: nothing is awaited while it is in use

function workspace(size: number): Buffer {
  return size > WORKSPACE.length ? Buffer.alloc(size) : WORKSPACE;
}

const OPENSSL_NAMES: Record<string, string> = { blake2b: 'blake2b512', blake2s: 'blake2s256' };

/** As WebOb: Latin-1, and both as UTF-8 where either has a character that Latin-1 lacks. */
function keyBytes(salt: string, secret: string): Buffer {
  return Buffer.from(salt + secret, /[^\0-\xff]/.test(salt + secret) ? 'utf8' : 'latin1');
}

const signer = new Signer({ secrets: ['itsaseekreet'], salt: 'count.' });

/** The count in a signed cookie: nobody can write 9999. But an old cookie is as good as new. */
export class SignedCounterViews extends TutorialViews {
  override get counter(): number {
    const sent = signer.unsign(findCookie(this.request.headers.cookie, 'count') ?? '');
    const count = Number(sent ?? 0) + 1; // a number, since no other value was ever signed with it
    const line = serializeCookie('count', signer.sign(String(count)));
    if (this.request.method !== 'HEAD') this.headers['set-cookie'] = line; // as in steps 6 and 7
    return count;
  }
}

/** The site of this step. */
export function site(): Router {
  return addStaticFiles(new Router(), PUBLIC)
    .get('/', (request) => new SignedCounterViews(request).home(), 'home')
    .get('/howdy', (request) => new SignedCounterViews(request).hello(), 'hello');
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 9', '/', '/howdy');
