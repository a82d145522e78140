// Step 9 · A signature: what the browser keeps, only we can write.
//
//   value sent = base64url( signature ‖ value ), unpadded; signature = HMAC(salt + secret, value)
//
// HMAC (RFC 2104) mixes a secret into a hash: without the secret nobody can sign a changed value.
// The wire form is Pyramid 2's (webob.cookies.SignedSerializer), byte for byte. Three ways to get
// it wrong: compare with `===`, which stops at the first wrong byte and so tells an attacker how
// far he got; look at the value before its signature; forget what a value was signed for.
import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import { Router } from './03-router.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import { TutorialViews } from './06-views.ts';
import { parseCookies, serializeCookie } from './07-cookie.ts';

export type SignerOptions = {
  /** Newest first: the first signs, all verify, so rotating a secret logs nobody out. */
  secrets: readonly string[];
  /** The purpose. A value signed for one purpose is worth nothing for another. */
  salt?: string;
  /** As Pyramid's `hashalg`: sha512 (default), sha384, sha256, sha3_256, blake2b, … */
  hashAlg?: string;
};

export class Signer {
  readonly #keys: readonly KeyObject[];
  readonly #newest: KeyObject;
  readonly #hash: string;
  /** Bytes of a signature: 64 for sha512. */
  readonly digestSize: number;

  /** Throws a `TypeError` for no secret or an empty one, and for a hash that this Node lacks. */
  constructor({ secrets, salt = '', hashAlg = 'sha512' }: SignerOptions) {
    this.#keys = secrets.map((secret) => createSecretKey(keyBytes(salt, secret)));
    const [newest] = this.#keys;
    if (!newest || !secrets.every(Boolean)) {
      throw new TypeError('Cannot make a signer: it needs a secret, and none may be empty');
    }
    this.#newest = newest;
    this.#hash = OPENSSL_NAMES[hashAlg] ?? hashAlg.replace('_', '-');
    try {
      this.digestSize = createHmac(this.#hash, '').digest().length;
    } catch {
      throw new TypeError(`Cannot make a signer: this Node has no hash '${hashAlg}'`);
    }
  }

  /** The value with its signature in front, fit for a cookie. */
  sign(value: string): string {
    const bytes = Buffer.from(value);
    return Buffer.concat([this.#signature(this.#newest, bytes), bytes]).toString('base64url');
  }

  /** What was signed, or `undefined` when no secret of ours signed exactly this. Never throws. */
  unsign(signed: string): string | undefined {
    const bytes = Buffer.from(signed, 'base64url');
    // Node skips what is not base64url, and unused last bits; one value has one spelling here.
    if (bytes.toString('base64url') !== signed || bytes.length < this.digestSize) return undefined;
    const signature = bytes.subarray(0, this.digestSize);
    const value = bytes.subarray(this.digestSize);
    const isOurs = this.#keys.some((k) => timingSafeEqual(signature, this.#signature(k, value)));
    return isOurs && isUtf8(value) ? value.toString() : undefined;
  }

  #signature(key: KeyObject, value: Uint8Array): Buffer {
    return createHmac(this.#hash, key).update(value).digest();
  }
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
    const sent = signer.unsign(parseCookies(this.request.headers.cookie).get('count') ?? '');
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
