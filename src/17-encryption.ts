// Step 17 · Encryption: a cookie that not even its owner can read.
//
//   cookie value = base64url( 0x01 ‖ nonce, 12 ‖ ciphertext ‖ tag, 16 )      AES-256-GCM, bytes
//
// AES-256-GCM (NIST SP 800-38D) hides a text and proves that nobody changed it, so no HMAC is
// needed beside it. Three things must be right. The key: 32 bytes, derived from the secret by HKDF
// (RFC 5869), for this use alone. The nonce: never twice with one key, or both texts can be read
// and others forged. The purpose: bound in as additional data, as the salt of step 9 was.
import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto';
import { hkdfSync, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { Handler } from './02-http.ts';
import { Router } from './03-router.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import type { SignerOptions } from './09-signer.ts';
import { addCounter, DEMO, SignedCookieSessionFactory, withSession } from './11-session-factory.ts';
import type { Mount, SessionFactory } from './11-session-factory.ts';
import { addInspector, withInspector } from './12-inspector.ts';
import type { Lens } from './12-inspector.ts';
import { addArticles, withFlash } from './13-flash.ts';
import { withCsrf } from './14-csrf.ts';
import { addCart } from './15-cart.ts';
import { addLogin, USERS, withUser } from './16-login.ts';
import type { SiteData } from './16-login.ts';

const VERSION = 1; // of the form above: what comes after it can be told from it
const NONCE_SIZE = 12; // bytes; at random, 2^32 cookies for a key are safe (NIST SP 800-38D §8.3)
const TAG_SIZE = 16; // bytes, the whole tag: a shorter one can be guessed

/** Seals texts for one purpose. Of several secrets the newest seals, and all unseal. */
export class Sealer {
  readonly #keys: readonly KeyObject[];
  readonly #newest: KeyObject;
  readonly #purpose: Buffer;

  /** Throws a `TypeError` for no secret, or an empty one. */
  constructor({ secrets, salt = '' }: SignerOptions) {
    this.#keys = secrets.map((secret) => deriveKey(secret));
    const [newest] = this.#keys;
    if (!newest || !secrets.every(Boolean)) {
      throw new TypeError('Cannot make a sealer: it needs a secret, and none may be empty');
    }
    this.#newest = newest;
    this.#purpose = Buffer.concat([Buffer.of(VERSION), Buffer.from(salt)]);
  }

  seal(text: string): string {
    const nonce = randomBytes(NONCE_SIZE);
    const sealed = encrypt(this.#newest, nonce, Buffer.from(text), this.#purpose);
    return Buffer.concat([Buffer.of(VERSION), nonce, sealed]).toString('base64url');
  }

  /** The text, or `undefined` when no secret of ours sealed exactly this. Never throws. */
  unseal(value: string): string | undefined {
    const bytes = Buffer.from(value, 'base64url');
    if (bytes[0] !== VERSION || bytes.length < OVERHEAD) return undefined;
    if (bytes.toString('base64url') !== value) return undefined; // one value has one spelling
    const [nonce, sealed] = [bytes.subarray(1, 1 + NONCE_SIZE), bytes.subarray(1 + NONCE_SIZE)];
    for (const key of this.#keys) {
      const text = decrypt(key, nonce, sealed, this.#purpose);
      if (text !== undefined) return text.toString();
    }
    return undefined;
  }
}

const OVERHEAD = 1 + NONCE_SIZE + TAG_SIZE; // bytes

/** A key for nothing but this. Who finds it has not found the secret, nor the signer's key. */
export function deriveKey(secret: string, info = 'sessions-from-scratch sealer 1'): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', info, 32)));
}

/** The ciphertext, and the tag after it. */
export function encrypt(key: KeyObject, nonce: Buffer, text: Buffer, purpose: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(purpose);
  return Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

/** The text, or `undefined` where key, nonce, purpose or any bit of it is another. */
export function decrypt(
  key: KeyObject,
  nonce: Buffer,
  sealed: Buffer,
  purpose: Buffer,
): Buffer | undefined {
  const border = sealed.length - TAG_SIZE;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_SIZE });
  decipher.setAAD(purpose).setAuthTag(sealed.subarray(border));
  const text = decipher.update(sealed.subarray(0, border)); // not to be looked at before `final`
  try {
    return Buffer.concat([text, decipher.final()]);
  } catch {
    return undefined; // the tag is wrong
  }
}

/** Step 11's factory with its options, and a cookie that is sealed instead of signed. */
export class EncryptedCookieSessionFactory<
  Data extends object,
> extends SignedCookieSessionFactory<Data> {
  readonly #sealer = new Sealer(this.options);

  override readonly signer = {
    sign: (text: string) => this.#sealer.seal(text),
    unsign: (value: string) => this.#sealer.unseal(value),
    digestSize: OVERHEAD,
  };
}

/** The lens of step 12 for sealed cookies: it can tell the parts, and not what they say. */
export function sealedLens<D extends object>(factory: EncryptedCookieSessionFactory<D>): Lens {
  const border = Math.ceil(((1 + NONCE_SIZE) * 4) / 3); // bytes 1 and 2 to 13, as characters
  const parts: Lens['parts'] = (cookie) => {
    const end = Math.max(border, cookie.length - Math.ceil((TAG_SIZE * 4) / 3));
    const length = Math.floor((cookie.length * 3) / 4) - OVERHEAD + 64; // step 9's signature has 64
    const signed = factory.options.cookieName.length + Math.ceil((length * 4) / 3);
    return [
      ['nonce', cookie.slice(0, border), 'A version and a random number, open to all.'],
      ['ciphertext', cookie.slice(border, end), `Signed, it would be open, and ${signed} bytes.`],
      ['tag', cookie.slice(end), 'Only who has the secret can make it.'],
    ];
  };
  return { options: factory.options, read: (cookie) => factory.read(cookie), parts };
}

/** Adds all pages of steps 11 to 16, over any kind of session. */
export function addPages(
  router: Router,
  mount: Mount<SiteData>,
  users = USERS,
  now?: () => number,
): Router {
  return addLogin(addCart(addArticles(addCounter(router, mount), mount), mount), mount, users, now);
}

/** All of that with the inspector, in the order that each step has said. */
export function wholeSite(
  factory: SessionFactory<SiteData>,
  lens: Lens,
  users = USERS,
): { router: Router; mount: Mount<SiteData>; handle: Handler } {
  const mount: Mount<SiteData> = (inner) =>
    withSession(factory, withCsrf(withUser(withFlash(inner))));
  const router = addPages(addStaticFiles(new Router(), PUBLIC), mount, users, lens.options.now);
  return { router, mount, handle: withInspector(lens, addInspector(router, lens, mount).handle) };
}

/** The site of this step: step 16's, sealed. */
export function site(
  factory = new EncryptedCookieSessionFactory<SiteData>(DEMO),
  users = USERS,
): { router: Router; handle: Handler } {
  return wholeSite(factory, sealedLens(factory), users);
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 17', '/', '/cart', '/inspect');
