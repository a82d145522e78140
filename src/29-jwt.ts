// Step 29 · A JSON Web Token by hand: signed claims in a standard format.
//
//   base64url(header) . base64url(claims) . base64url( HMAC-SHA-256( all before the last period ) )
//
// The format is RFC 7519, and the rules for the verifier are RFC 8725.
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { randomUUID, timingSafeEqual } from 'node:crypto';
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
  readonly keys: readonly KeyObject[]; // the first key signs; a signature of any key is valid
  readonly iss: string;
  readonly aud: string;
  readonly now: () => number; // seconds since 1970
};

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

/** Returns a token with these claims. Throws the error of `hs256` if the key is too short. */
export function signJwt(claims: Claims, key: KeyObject): string {
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${hs256(signed, key)}`;
}

/** Returns the claims of a valid token, otherwise `undefined`. */
export function verifyJwt(token: string, rules: JwtRules): Claims | undefined {
  const [header = '', claims = '', signature = '', more] = token.split('.');
  if (more !== undefined || token.length > 4096) return undefined;
  const sent = Buffer.from(signature); // as text, because two texts can decode to the same bytes
  const made = rules.keys.map((key) => Buffer.from(hs256(`${header}.${claims}`, key)));
  const isSigned = made.some((own) => own.length === sent.length && timingSafeEqual(own, sent));
  if (!isSigned) return undefined; // before any content is read
  const { alg, typ = 'JWT', crit } = parseObject(header); // `crit`: required extensions
  const isJwt = typeof typ === 'string' && typ.toLowerCase() === 'jwt';
  if (alg !== 'HS256' || !isJwt || crit !== undefined) return undefined;
  const body = parseObject(claims);
  return areClaimsValid(body, rules) ? body : undefined;
}

/** Returns the signature in base64url. Throws a RangeError: 'The key has 31 bytes. It needs 32'. */
export function hs256(text: string, key: KeyObject): string {
  const { symmetricKeySize: size = 0 } = key;
  if (size < 32) throw new RangeError(`The key has ${size} bytes. It needs 32`);
  return createHmac('sha256', key).update(text).digest('base64url');
}

const LEEWAY = 5; // seconds that two clocks may differ

/** Returns whether the token is valid now, from this issuer, and for this audience. */
function areClaimsValid(claims: Claims, { iss, aud, now }: JwtRules): boolean {
  const { exp = NaN, nbf = 0, iat = 0, jti } = claims; // NaN is never valid
  if (typeof jti !== 'string' || ![exp, nbf, iat].every(Number.isFinite)) return false;
  const isTimely = now() < exp + LEEWAY && now() >= Math.max(nbf, iat) - LEEWAY;
  return isTimely && claims.iss === iss && [claims.aud].flat().includes(aud); // one or several
}

/** Returns the JSON in a part as an object, which is empty if the part is not valid JSON. */
function parseObject(part: string): Claims {
  try {
    return Object(JSON.parse(Buffer.from(part, 'base64url').toString())); // also of `null`
  } catch {
    return {};
  }
}

/** Returns the rules of this site, with keys that serve only for tokens. */
export function jwtRules(secrets: readonly string[], now = () => Date.now() / 1000): JwtRules {
  const keys = secrets.map((one) => createSecretKey(deriveKey(one, 'sessions-from-scratch jwt 1')));
  return { keys, iss: 'sessions-from-scratch', aud: 'api', now };
}

/** Adds `POST /api/token`, which returns `{ token, expires }` to a user, or a 403 to a visitor. */
export function addToken(pages: RouteGroup<UserRequest>, rules: JwtRules, users = USERS): void {
  const { keys, iss, aud, now } = rules;
  pages.post('/api/token', ({ session }) => {
    const sub = session.get('user');
    if (sub === undefined || !users.has(sub)) return problem(403, 'Log in first, at /login.');
    const iat = Math.floor(now());
    const claims = { iss, sub, aud, iat, exp: iat + 15 * 60, jti: randomUUID() };
    return json({ token: signJwt(claims, keys[0] as KeyObject), expires: claims.exp });
  });
}

/** Returns a response with a value as JSON and a line end. No cache keeps it. */
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
