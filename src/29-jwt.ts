// Step 29 · A JSON Web Token by hand: signed claims in a standard format.
//
//   base64url(header) . base64url(claims) . base64url( HMAC-SHA-256( all before the last period ) )
//
// A JWT (RFC 7519) is the idea of step signer in a standard format, for clients without a cookie
// jar. Two rules of RFC 8725 make it safe. The verifier chooses the algorithm, and the header does
// not: `"alg": "none"` once opened many sites. Every claim is checked: when the token expires, who
// issued it, and for whom.
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, problem, text, toListener } from './04-http.ts';
import { DEMO } from './09-tutorial.ts';
import type { RouteGroup } from './13-middleware.ts';
import { USERS } from './21-password.ts';
import type { UserRequest } from './22-login.ts';
import { deriveKey } from './24-encryption.ts';
import { MemoryStore } from './25-store.ts';
import { makeDeviceSite } from './28-devices.ts';

/** Times are seconds since 1970 (RFC 7519 §4.1). */
export type Claims = {
  iss?: string; // issuer
  sub?: string; // subject: the user
  aud?: string | string[]; // audience: the recipient
  exp?: number; // expires at
  nbf?: number; // not valid before
  iat?: number; // issued at
  jti?: string; // the id of the token
  [name: string]: unknown;
};

/** What a token must fulfil. */
export type JwtRules = {
  readonly keys: readonly Uint8Array[]; // the first one signs; each of them verifies
  readonly iss: string;
  readonly aud: string | undefined; // undefined: only a token without an audience is valid
  readonly leeway?: number; // seconds that two clocks may differ; default 5
  readonly isDenied?: (jti: string) => boolean; // whether the token with this id was revoked
  readonly now?: () => number;
};

const HEADER = { alg: 'HS256', typ: 'JWT' };
const MIN_KEY_SIZE = 32; // bytes: the size of the hash (RFC 7518 §3.2)
const MAX_TOKEN_LENGTH = 4096; // characters

/** Returns a token with these claims. Throws a `RangeError` if the key is too short. */
export function signJwt(claims: Claims, key: Uint8Array, header = JSON.stringify(HEADER)): string {
  const parts = [header, JSON.stringify(claims)].map((part) => Buffer.from(part));
  const signed = parts.map((part) => part.toString('base64url')).join('.');
  return `${signed}.${hs256(signed, key).toString('base64url')}`;
}

/**
 * Returns the claims, or `undefined` if this site did not issue the token or it is not valid now.
 * No token makes it throw. Only a key that is too short does.
 */
export function verifyJwt(token: string, rules: JwtRules): Claims | undefined {
  const [header = '', claims = '', signature = '', ...more] = token.split('.', 4);
  const sent = Buffer.from(signature, 'base64url');
  if (more.length > 0 || token.length > MAX_TOKEN_LENGTH) return undefined;
  if (sent.toString('base64url') !== signature) return undefined; // one token, one encoding
  const isSigned = rules.keys.some((key) => {
    const made = hs256(`${header}.${claims}`, key);
    return made.length === sent.length && timingSafeEqual(made, sent);
  });
  if (!isSigned) return undefined; // before the code reads one byte of the content
  const [head, body] = [parseObject(header), parseObject(claims)];
  if (head?.alg !== 'HS256' || head.crit !== undefined || !body) return undefined;
  const isJwt = !('typ' in head) || (typeof head.typ === 'string' && /^jwt$/i.test(head.typ));
  return isJwt && areClaimsValid(body, rules) ? body : undefined;
}

/** Returns the signature of 32 bytes. Throws a `RangeError` if the key is too short. */
export function hs256(text: string, key: Uint8Array): Buffer {
  if (key.length >= MIN_KEY_SIZE) return createHmac('sha256', key).update(text).digest();
  throw new RangeError(`The key has ${key.length} bytes. It needs ${MIN_KEY_SIZE}`);
}

function areClaimsValid(claims: Claims, rules: JwtRules): boolean {
  const { iss, aud, leeway = 5, isDenied, now = () => Date.now() / 1000 } = rules;
  const { exp, nbf = 0, iat = 0, jti } = claims;
  if (![exp, nbf, iat].every(Number.isFinite)) return false; // without exp, it would never expire
  const isTimely = now() < Number(exp) + leeway && now() >= Math.max(nbf, iat) - leeway;
  const isForThisSite = claims.iss === iss && [claims.aud].flat().includes(aud);
  return isTimely && isForThisSite && !(typeof jti === 'string' && isDenied?.(jti));
}

function parseObject(part: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Claims) : undefined;
  } catch {
    return undefined;
  }
}

const TOKEN_TIME = 15 * 60; // seconds: as long as a thief can use it

/** Returns the rules of this site. The keys come from its secrets, and serve no other purpose. */
export function jwtRules(secrets: readonly string[], now?: () => number): JwtRules {
  const keys = secrets.map((secret) => deriveKey(secret, 'sessions-from-scratch jwt 1'));
  return { keys, iss: 'sessions-from-scratch', aud: 'api', ...(now && { now }) };
}

/** Adds `/api/token`: a user who is logged in receives a token for another program. */
export function addToken(pages: RouteGroup<UserRequest>, rules: JwtRules, users = USERS): void {
  const { keys, iss, aud, now = () => Date.now() / 1000 } = rules;
  pages.post('/api/token', ({ session }) => {
    const sub = session.get('user');
    if (sub === undefined || !users.has(sub)) return problem(403, 'Log in first, at /login.');
    const iat = Math.floor(now());
    const claims = { iss, sub, ...(aud && { aud }), iat, exp: iat + TOKEN_TIME, jti: randomUUID() };
    return json({ token: signJwt(claims, keys[0] ?? new Uint8Array()), expires: claims.exp });
  });
}

/** Returns a response with a value as JSON. No cache keeps it. */
export function json(value: object): HttpResponse {
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' };
  return text(`${JSON.stringify(value)}\n`, 200, headers);
}

/** The site of this step. */
export function site(): Handler {
  const { pages, handle } = makeDeviceSite(new MemoryStore());
  addToken(pages, jwtRules(DEMO.secrets));
  return handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 29', ['/login']);
