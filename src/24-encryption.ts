// Step 24 · Encryption: a cookie that its own visitor cannot read.
//
//   cookie value = base64url( 0x01 ‖ nonce, 12 ‖ ciphertext ‖ tag, 16 )        sizes in bytes
//
// The method of encryption is AES-256-GCM (NIST SP 800-38D).

import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto';
import { hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import type { Codec } from './03-signer.ts';
import { type Handler, toListener } from './04-http.ts';
import type { Session } from './07-session.ts';
import { CookieSessionFactory, type FactoryOptions } from './08-session-factory.ts';
import { DEMO } from './09-tutorial.ts';
import type { Explain } from './10-inspector.ts';
import { withTimeouts } from './11-timeouts.ts';
import { type SiteData, UserSession } from './22-login.ts';
import { makeUserSite } from './23-throttle.ts';

const VERSION = 1; // the first byte
const NONCE_SIZE = 12; // bytes; at most 2^32 random nonces for each key (SP 800-38D §8.3)
const TAG_SIZE = 16; // bytes
const OVERHEAD = 1 + NONCE_SIZE + TAG_SIZE; // bytes

/** The secrets, the newest first, and the purpose of the values. */
export type SealerOptions = { secrets: readonly string[]; salt?: string | undefined };

/** Encrypts texts for one purpose. The first secret encrypts, and each of them decrypts. */
export class Sealer implements Codec {
  readonly #keys: readonly KeyObject[];
  readonly #purpose: Buffer;

  /**
   * Derives a key from each secret, for the use 'sessions-from-scratch sealer 1'. The purpose is
   * the byte of the version, then the salt. Throws a `TypeError` with the message 'A secret is
   * missing' if there is no secret, or an empty one.
   */
  constructor({ secrets, salt = '' }: SealerOptions) {
    if (!secrets.length || !secrets.every(Boolean)) throw new TypeError('A secret is missing');
    this.#keys = secrets.map((secret) =>
      createSecretKey(deriveKey(secret, 'sessions-from-scratch sealer 1')));
    this.#purpose = Buffer.concat([Buffer.of(VERSION), Buffer.from(salt)]);
  }

  /** Returns base64url(version ‖ nonce ‖ ciphertext ‖ tag), with a new random nonce. */
  encode(text: string): string {
    const nonce = randomBytes(NONCE_SIZE);
    const cipher = createCipheriv('aes-256-gcm', this.#keys[0] as KeyObject, nonce);
    cipher.setAAD(this.#purpose); // additional data
    const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    const parts = [Buffer.of(VERSION), nonce, ciphertext, cipher.getAuthTag()];
    return Buffer.concat(parts).toString('base64url');
  }

  /** Returns the text, or `undefined` if `encode` cannot have written the value. Never throws. */
  decode(value: string): string | undefined {
    const bytes = Buffer.from(value, 'base64url');
    const isExact = bytes.toString('base64url') === value; // Node ignores other characters
    if (!isExact || bytes[0] !== VERSION || bytes.length < OVERHEAD) return undefined;
    return this.#keys.map((key) => this.#decrypt(key, bytes)).find((text) => text !== undefined);
  }

  #decrypt(key: KeyObject, bytes: Buffer): string | undefined {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(1, 1 + NONCE_SIZE));
    decipher.setAAD(this.#purpose).setAuthTag(bytes.subarray(-TAG_SIZE));
    const text = decipher.update(bytes.subarray(1 + NONCE_SIZE, -TAG_SIZE)); // not proven yet
    try {
      return Buffer.concat([text, decipher.final()]).toString();
    } catch {
      return undefined;
    }
  }
}

/**
 * Returns a key of 32 bytes for one use: HKDF with SHA-256 and an empty salt.
 */
export function deriveKey(secret: string, use: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', use, 32));
}

/** Keeps the whole session in an encrypted cookie. */
export class EncryptedCookieSessionFactory<S extends Session<object>>
  extends CookieSessionFactory<S> {
  /** Without a `salt`, the salt is 'session.'. */
  constructor(options: FactoryOptions<S> & SealerOptions) {
    super(new Sealer({ salt: 'session.', ...options }), options);
  }
}

/**
 * Returns the parts 'nonce', 'ciphertext' and 'tag'. The meaning of the ciphertext is 'Everyone can
 * see its length: 26 bytes. The rest needs the secret.' The parts together are the value.
 */
export const explainSealed: Explain = (value) => {
  const length = Math.max(0, Buffer.from(value, 'base64url').length - OVERHEAD);
  const hidden = `Everyone can see its length: ${length} bytes. The rest needs the secret.`;
  // 3 bytes are 4 characters: so the first 13 bytes are in 18 characters, and the tag is in 22.
  return [
    { name: 'nonce', text: value.slice(0, 18), meaning: 'A version and a random number.' },
    { name: 'ciphertext', text: value.slice(18, -22), meaning: hidden },
    { name: 'tag', text: value.slice(18).slice(-22), meaning: 'Only the server can create it.' },
  ];
};

/** The site of this step. */
export function site(): Handler {
  const options = { ...DEMO, sessionClass: UserSession<SiteData> };
  const factory = withTimeouts(new EncryptedCookieSessionFactory(options));
  return makeUserSite({ factory, explain: explainSealed }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 24', ['/', '/cart', '/inspect']);
