// Step 39 · Fast: the signatures of step 3 and the responses of step 4, in less time.
// An HMAC is two hashes (RFC 2104). The part that depends only on the key is computed once.
import { isUtf8 } from 'node:buffer';
import { hash, timingSafeEqual } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import { isMain, serve } from './01-server.ts';
import { keyBytes, Signer, type SignerOptions } from './03-signer.ts';
import { type Handler, send, toListener } from './04-http.ts';
import { Session } from './07-session.ts';
import { CookieSessionFactory, type FactoryOptions } from './08-session-factory.ts';
import { DEMO, site as tutorial, type TutorialData } from './09-tutorial.ts';

/** Signs a text as `Signer` does, in less time. Each reads the values of the other. */
export class FastSigner extends Signer {
  readonly #size: number; // bytes in a block of the hash
  readonly #hmacs: readonly Hmac[]; // one for each secret

  /**
   * Throws the errors of `Signer`. Throws an `Error` if its signatures differ from those of Node:
   * 'FastSigner and createHmac disagree about sha512. Use Signer'.
   */
  constructor(options: SignerOptions) {
    super(options);
    const { secrets, salt = '', hashAlg = 'sha512' } = options;
    this.#size = blockSizeOf(hashAlg, this.digestSize);
    this.#hmacs = secrets.map((secret) => hmacOf(hashAlg, keyBytes(salt + secret), this.#size));
    const signers = secrets.map((secret) => new Signer({ ...options, secrets: [secret] }));
    const isSame = this.encode(hashAlg) === super.encode(hashAlg); // a sample text
    if (isSame && signers.every((one) => this.decode(one.encode(hashAlg)) === hashAlg)) return;
    throw new Error(`FastSigner and createHmac disagree about ${hashAlg}. Use Signer`);
  }

  /** Returns base64url(signature ‖ text). It signs with the first secret. */
  override encode(text: string): string {
    const start = this.#size - this.digestSize; // the signature ends where the text begins
    const bytes = Buffer.allocUnsafe(this.#size + Buffer.byteLength(text));
    bytes.write(text, this.#size);
    bytes.write((this.#hmacs[0] as Hmac)(bytes), start, 'latin1');
    return bytes.toString('base64url', start);
  }

  /** Returns the text if one of the keys signed it, and otherwise `undefined`, as in step 3. */
  override decode(value: string): string | undefined {
    const start = this.#size - this.digestSize;
    const bytes = Buffer.allocUnsafe(start + Buffer.byteLength(value, 'base64url'));
    bytes.write(value, start, 'base64url');
    // The value must be the exact encoding of all bytes.
    if (bytes.length < this.#size || bytes.toString('base64url', start) !== value) return undefined;
    const signature = Buffer.from(bytes.subarray(start, this.#size)); // `hmac` overwrites `bytes`
    const isOwn = this.#hmacs.some((hmac) =>
      timingSafeEqual(signature, Buffer.from(hmac(bytes), 'latin1')));
    const text = bytes.subarray(this.#size);
    return isOwn && isUtf8(text) ? text.toString() : undefined;
  }
}

/** Overwrites the first block of `bytes`. Returns the HMAC of the text behind it as characters. */
type Hmac = (bytes: Buffer) => string;

/** Returns a function that computes the HMAC with this key. */
function hmacOf(hashAlg: string, key: Buffer, blockSize: number): Hmac {
  const short = key.length > blockSize ? hash(hashAlg, key, 'buffer') : key;
  const block = Buffer.concat([short], blockSize); // zeros fill the rest of the block
  const inner = block.map((byte) => byte ^ 0x36);
  // Behind the outer block is space for a hash. The hash of '' is only a placeholder.
  const outer = Buffer.concat([block.map((byte) => byte ^ 0x5c), hash(hashAlg, '', 'buffer')]);
  return (bytes) => {
    bytes.set(inner);
    outer.write(hash(hashAlg, bytes, 'binary'), blockSize, 'latin1');
    return hash(hashAlg, outer, 'binary');
  };
}

/** Returns the bytes in a block of a hash function (FIPS 180-4, FIPS 202). */
function blockSizeOf(hashAlg: string, digestSize: number): number {
  if (/sha3-/i.test(hashAlg)) return 200 - 2 * digestSize;
  return /512|384/.test(hashAlg) ? 128 : 64;
}

/** The factory of step 8, with a fast signer. */
export class FastSessionFactory<S extends Session<object>> extends CookieSessionFactory<S> {
  /** Without a `salt`, the salt of Pyramid is used. Throws an error if the signer throws one. */
  constructor(options: FactoryOptions<S> & SignerOptions) {
    super(new FastSigner({ salt: 'pyramid.session.', ...options }), options);
  }
}

/** Sends a response as `send` does, in less time. Throws if a header is invalid. */
export const sendFast: typeof send = (response, outgoing) => {
  const { status, headers, body } = response;
  const isEmpty = outgoing.req.method === 'HEAD' || status === 204 || status === 304;
  if (isEmpty) return send(response, outgoing); // it has no length (RFC 9110 §8.6)
  const content = typeof body === 'object' && 'render' in body ? body.render() : body;
  const length = { 'content-length': Buffer.byteLength(content) };
  outgoing.writeHead(status, STATUS_CODES[status] ?? 'unknown', Object.assign(length, headers));
  send({ status, headers: {}, body: content }, outgoing);
};

/** The site of step 9 with a fast signer. */
export const site = (): Handler =>
  tutorial(new FastSessionFactory({ ...DEMO, sessionClass: Session<TutorialData> })).handle;

if (isMain(import.meta.url)) serve(toListener(site(), sendFast), 'Step 39', ['/', '/howdy']);
