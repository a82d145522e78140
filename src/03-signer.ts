// Step 3 · A signature: only the server can write the count.
//
//   cookie value = base64url( signature ‖ text )      signature = HMAC-SHA-512( key, text )
//
// RFC 2104 defines HMAC. The key is a salt and the secret.
import { isUtf8 } from 'node:buffer';
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { isMain, serve } from './01-server.ts';
import { Cookie } from './02-cookie.ts';

/** A text and its cookie value. */
export interface Codec {
  /** Returns the cookie value for a text. */
  encode(text: string): string;
  /** Returns the text, or `undefined` if this site did not encode the value. Never throws. */
  decode(value: string): string | undefined;
}

/** The secrets and the purpose of a signer. */
export type SignerOptions = {
  readonly secrets: readonly string[]; // `encode` uses the first; `decode` tries all
  readonly salt?: string | undefined; // the purpose: a value for another purpose is rejected
  readonly hashAlg?: string | undefined; // as Node names it: sha512 (default), sha256, …
};

/** Signs a text. Everyone can read it, and only a program with the secret can write it. */
export class Signer implements Codec {
  readonly #keys: readonly KeyObject[]; // prepared once, not for each signature
  readonly #hash: string;
  /** The length of a signature in bytes: 64 for sha512. */
  readonly digestSize: number;

  /**
   * The key of the HMAC is the salt and then the secret, as bytes. Throws a `TypeError` with the
   * message 'A secret is missing' if there is no secret, or if one is empty or `undefined`.
   */
  constructor({ secrets, salt = '', hashAlg = 'sha512' }: SignerOptions) {
    if (!secrets.length || !secrets.every(Boolean)) throw new TypeError('A secret is missing');
    this.#keys = secrets.map((secret) => createSecretKey(keyBytes(salt + secret)));
    this.#hash = hashAlg;
    this.digestSize = this.#sign(Buffer.from('')).length;
  }

  /** Returns base64url(signature ‖ text). It signs with the first secret. */
  encode(text: string): string {
    const bytes = Buffer.from(text);
    return Buffer.concat([this.#sign(bytes), bytes]).toString('base64url');
  }

  /**
   * Returns the text if one of the keys signed it. Otherwise returns `undefined`: the signature is
   * wrong, the text is not UTF-8, or the value has characters that Node ignores. Never throws.
   * Compares whole signatures with `timingSafeEqual`, for each key.
   */
  decode(value: string): string | undefined {
    const bytes = Buffer.from(value, 'base64url');
    const signature = bytes.subarray(0, this.digestSize);
    const text = bytes.subarray(this.digestSize);
    // Node ignores the ! in `gTE!`. Without this check, a changed cookie would be valid.
    const isExact = bytes.toString('base64url') === value && signature.length === this.digestSize;
    const isOwn = (key: KeyObject): boolean => timingSafeEqual(signature, this.#sign(text, key));
    return isExact && this.#keys.some(isOwn) && isUtf8(text) ? text.toString() : undefined;
  }

  /** Returns the HMAC of the text. Without `key`, it uses the key of the first secret. */
  #sign(text: Buffer, key = this.#keys[0] as KeyObject): Buffer {
    return createHmac(this.#hash, key).update(text).digest();
  }
}

/** The same as in Pyramid: Latin-1, or UTF-8 if a character does not exist in Latin-1. */
export function keyBytes(key: string): Buffer {
  return Buffer.from(key, /[^\0-\xff]/.test(key) ? 'utf8' : 'latin1');
}

const cookie = new Cookie('count');
const signer = new Signer({ secrets: ['itsaseekreet'], salt: 'count.' });

/** Returns the number of this visit, and the `Set-Cookie` header that stores it. */
export function countVisit(header: string | undefined): { count: number; setCookie: string } {
  const count = Number(signer.decode(cookie.read(header) ?? '') ?? 0) + 1; // forged: 0 + 1
  return { count, setCookie: cookie.write(signer.encode(String(count))) };
}

/** Sends the page of step 1 with a signed count. If the count is forged, it starts again at 1. */
export const countVisits: RequestListener = (request, response) => {
  const { count, setCookie } = countVisit(request.headers.cookie);
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.setHeader('set-cookie', setCookie);
  response.end(`Count: ${count}\n`);
};

if (isMain(import.meta.url)) serve(countVisits, 'Step 3', ['/']);
