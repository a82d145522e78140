// Step 29 · A JSON Web Token by hand: signed claims in a standard format.
//
//   base64url(header) . base64url(claims) . base64url( HMAC-SHA-256( all before the last period ) )
//
// A JWT (RFC 7519) is the signed value of step 3 in a standard format, for clients without a cookie
// jar. The verifier chooses the algorithm, and checks each claim (RFC 8725): when the token
// expires, who issued it, and for whom.
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

/** What a token needs to be valid on this site. */
export type JwtRules = {
  readonly keys: readonly Uint8Array[]; // the first key signs; a signature of any key is valid
  readonly iss: string;
  readonly aud: string;
  readonly now: () => number; // seconds since 1970
};

const HEADER = { alg: 'HS256', typ: 'JWT' };
const LEEWAY = 5; // seconds that two clocks may differ
const MIN_KEY_SIZE = 32; // bytes: the size of the hash (RFC 7518 §3.2)
const MAX_TOKEN_LENGTH = 4096; // characters

/** Returns a token with these claims. Throws the error of `hs256` if the key is too short. */
export function signJwt(claims: Claims, key: Uint8Array): string {
  const parts = [HEADER, claims].map((part) => Buffer.from(JSON.stringify(part)));
  const signed = parts.map((part) => part.toString('base64url')).join('.');
  return `${signed}.${hs256(signed, key)}`;
}

/**
 * Returns the claims, or `undefined` if this site did not issue the token or it is not valid now.
 * A wrong token never throws an error. Only a key that is too short does.
 */
export function verifyJwt(token: string, rules: JwtRules): Claims | undefined {
  const parts = token.split('.');
  if (parts.length !== 3 || token.length > MAX_TOKEN_LENGTH) return undefined;
  const [header = '', claims = '', signature = ''] = parts;
  const sent = Buffer.from(signature); // the text: another encoding of the same bytes is wrong
  const isSigned = rules.keys.some((key) => {
    const made = Buffer.from(hs256(`${header}.${claims}`, key));
    return made.length === sent.length && timingSafeEqual(made, sent);
  });
  if (!isSigned) return undefined; // before the code reads one byte of the content
  const { alg, typ = 'JWT', crit } = parseObject(header);
  const isJwt = typeof typ === 'string' && typ.toLowerCase() === 'jwt';
  if (alg !== 'HS256' || !isJwt || crit !== undefined) return undefined;
  const body = parseObject(claims);
  return areClaimsValid(body, rules) ? body : undefined;
}

/**
 * Returns the signature in base64url. If the key has 31 bytes, it throws a `RangeError` with the
 * message 'The key has 31 bytes. It needs 32'.
 */
export function hs256(text: string, key: Uint8Array): string {
  if (key.length >= MIN_KEY_SIZE) return createHmac('sha256', key).update(text).digest('base64url');
  throw new RangeError(`The key has ${key.length} bytes. It needs ${MIN_KEY_SIZE}`);
}

/** Whether the token is valid now, comes from this issuer, and is for this audience. */
function areClaimsValid(claims: Claims, { iss, aud, now }: JwtRules): boolean {
  const { exp, nbf = 0, iat = 0 } = claims;
  if (![exp, nbf, iat].every(Number.isFinite)) return false; // without exp, it would never expire
  const isTimely = now() < Number(exp) + LEEWAY && now() >= Math.max(nbf, iat) - LEEWAY;
  const audiences = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
  return isTimely && claims.iss === iss && audiences.includes(aud);
}

/** Returns the object in a part of the token, or an empty object, which is never valid. */
function parseObject(part: string): Claims {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return value instanceof Object ? (value as Claims) : {};
  } catch {
    return {};
  }
}

const TOKEN_TIME = 15 * 60; // seconds: a thief can use a copy for this time

/** Returns the rules of this site. The keys come from its secrets, and serve no other purpose. */
export function jwtRules(secrets: readonly string[], now = () => Date.now() / 1000): JwtRules {
  const keys = secrets.map((secret) => deriveKey(secret, 'sessions-from-scratch jwt 1'));
  return { keys, iss: 'sessions-from-scratch', aud: 'api', now };
}

/**
 * Adds `POST /api/token`. A user who is logged in receives `{ token, expires }` as JSON. Any other
 * visitor receives a 403: 'Log in first, at /login.'
 */
export function addToken(pages: RouteGroup<UserRequest>, rules: JwtRules, users = USERS): void {
  const { keys, iss, aud, now } = rules;
  pages.post('/api/token', ({ session }) => {
    const sub = session.get('user');
    if (sub === undefined || !users.has(sub)) return problem(403, 'Log in first, at /login.');
    const iat = Math.floor(now());
    const claims = { iss, sub, aud, iat, exp: iat + TOKEN_TIME, jti: randomUUID() };
    return json({ token: signJwt(claims, keys[0] as Uint8Array), expires: claims.exp });
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
