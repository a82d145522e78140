// Step 21 · Sessions and tokens side by side: a JWT by hand, and who comes in after logout.
//
//   base64url(header) . base64url(claims) . base64url( HMAC-SHA-256( all before the last dot ) )
//
// A JSON Web Token (RFC 7519) is step 9's idea with a standard form: claims that everybody can read
// and only we can make. Two rules of RFC 8725 decide whether it is safe. The verifier chooses the
// algorithm, whatever the header says: `"alg": "none"` was once a key to every door. And a claim
// that is not checked is not there: when it ends, who made it, whom it is for.
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { problem, toListener } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';
import type { Router } from './03-router.ts';
import type { Json } from './10-session.ts';
import { DEMO } from './11-session-factory.ts';
import type { Mount, SessionRequest } from './11-session-factory.ts';
import { USERS } from './16-login.ts';
import type { SiteData } from './16-login.ts';
import { deriveKey } from './17-encryption.ts';
import { site as storedSite } from './18-store.ts';

/** Times are seconds since 1970 (RFC 7519 §4.1). */
export type Claims = {
  iss?: string; // who made it
  sub?: string; // about whom
  aud?: string | string[]; // for whom
  exp?: number; // good until
  nbf?: number; // good from
  iat?: number; // made at
  jti?: string; // its number, by which it can be refused
  [name: string]: Json | undefined;
};

export type JwtRules = {
  /** Newest first: the first signs, all verify. */
  keys: readonly Uint8Array[];
  iss: string;
  /** `undefined` is a rule too: then only a token that is for nobody in particular is taken. */
  aud: string | undefined;
  /** Seconds that two clocks may differ by; default 5. */
  leeway?: number;
  /** Whether the token of this number was taken back. */
  isDenied?: (jti: string) => boolean;
  now?: () => number;
};

const HEADER = { alg: 'HS256', typ: 'JWT' };
const MIN_KEY_SIZE = 32; // bytes, the hash's own size (RFC 7518 §3.2)

/** A token with these claims as they are. Throws a `RangeError` for a key that is too short. */
export function signJwt(claims: Claims, key: Uint8Array, header = JSON.stringify(HEADER)): string {
  const parts = [header, JSON.stringify(claims)].map((part) => Buffer.from(part));
  const signed = parts.map((part) => part.toString('base64url')).join('.');
  return `${signed}.${hs256(signed, key).toString('base64url')}`;
}

/** The claims of a token that is ours, in time and for us, or `undefined`. Never throws. */
export function verifyJwt(token: string, rules: JwtRules): Claims | undefined {
  const [header = '', claims = '', signature = '', ...more] = token.split('.', 4);
  const sent = Buffer.from(signature, 'base64url');
  if (more.length > 0 || token.length > MAX_TOKEN_LENGTH) return undefined;
  if (sent.toString('base64url') !== signature) return undefined; // one token has one spelling
  const isOurs = rules.keys.some((key) => {
    const made = hs256(`${header}.${claims}`, key);
    return made.length === sent.length && timingSafeEqual(made, sent);
  });
  if (!isOurs) return undefined; // before one byte of it is read
  const [head, body] = [parseJson(header), parseJson(claims)];
  if (head?.alg !== 'HS256' || head.crit !== undefined || !body) return undefined;
  if ('typ' in head && !/^"JWT"$/i.test(JSON.stringify(head.typ))) return undefined; // another kind
  return isGood(body, rules) ? body : undefined;
}

const MAX_TOKEN_LENGTH = 4096; // characters

/** The signature, 32 bytes. Throws a `RangeError` for a key that is too short. */
export function hs256(text: string, key: Uint8Array): Buffer {
  if (key.length < MIN_KEY_SIZE) {
    throw new RangeError(`Cannot use a key of ${key.length} bytes: it needs ${MIN_KEY_SIZE}`);
  }
  return createHmac('sha256', key).update(text).digest();
}

function isGood(claims: Claims, rules: JwtRules): boolean {
  const { iss, aud, leeway = 5, isDenied, now = () => Date.now() / 1000 } = rules;
  const { exp, nbf = 0, iat = 0, jti } = claims;
  if (![exp, nbf, iat].every(Number.isFinite)) return false; // without an end it would never end
  const isTimely = now() < Number(exp) + leeway && now() >= Math.max(nbf, iat) - leeway;
  const isForUs = claims.iss === iss && [claims.aud].flat().includes(aud);
  return isTimely && isForUs && !(typeof jti === 'string' && isDenied?.(jti));
}

function parseJson(part: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Claims)
      : undefined;
  } catch {
    return undefined;
  }
}

/** The numbers of tokens that were taken back, each until its token would have ended anyway. */
export class DenyList {
  readonly #ends = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  add({ jti, exp = 0 }: Claims): void {
    for (const [old, end] of this.#ends) {
      if (end > this.#now()) break; // tokens live equally long: the first in end first
      this.#ends.delete(old);
    }
    if (jti !== undefined) this.#ends.set(jti, exp + 60); // beyond any leeway
  }

  has(jti: string): boolean {
    return this.#ends.has(jti);
  }
}

const TOKEN_TIME = 15 * 60; // seconds: as long as a thief may have it

/** Adds `/api/token`, for who is logged in, and `/api/counter`, `/api/logout` for who has one. */
export function addApi(
  router: Router,
  mount: Mount<SiteData>,
  rules: JwtRules,
  users = USERS,
): Router {
  const { keys, iss, aud, now = () => Date.now() / 1000 } = rules;
  const [newest = new Uint8Array()] = keys;
  const denied = new DenyList(now);
  const counts = new Map<string, number>();
  const give = ({ session }: SessionRequest<SiteData>): HttpResponse => {
    const sub = session.get('user');
    if (sub === undefined || !users.has(sub)) return problem(403, 'Log in first, at /login.');
    const iat = Math.floor(now());
    const claims = { iss, sub, ...(aud && { aud }), iat, exp: iat + TOKEN_TIME, jti: randomUUID() };
    return json({ token: signJwt(claims, newest), expires: claims.exp });
  };
  const withToken =
    (inner: (claims: Claims) => HttpResponse): Handler =>
    ({ headers }: HttpRequest) => {
      const token = /^Bearer +([\w.-]+)$/i.exec(headers.authorization ?? '')?.[1] ?? '';
      const claims = verifyJwt(token, { isDenied: (jti) => denied.has(jti), ...rules });
      const isUser = users.has(claims?.sub ?? ''); // or was one, a quarter of an hour ago
      return claims && isUser ? inner(claims) : unauthorized();
    };
  const count = ({ sub = '' }: Claims): HttpResponse => {
    counts.set(sub, (counts.get(sub) ?? 0) + 1);
    return json({ sub, count: counts.get(sub) ?? 0 });
  };
  const logout = (claims: Claims): HttpResponse => {
    denied.add(claims);
    return { status: 204, headers: {}, body: '' };
  };
  return router
    .post('/api/token', mount(give))
    .get('/api/counter', withToken(count))
    .post('/api/logout', withToken(logout)); // no browser sends a Bearer of its own accord: no CSRF
}

function json(value: Json): HttpResponse {
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' };
  return { status: 200, headers, body: `${JSON.stringify(value)}\n` };
}

function unauthorized(): HttpResponse {
  const refusal = problem(401, 'Send a token that is good: Authorization: Bearer …');
  return { ...refusal, headers: { ...refusal.headers, 'www-authenticate': 'Bearer' } };
}

/** The rules of this site, with keys made of its secrets for nothing else (step 17). */
export function apiRules(secrets: readonly string[], now?: () => number): JwtRules {
  const keys = secrets.map((secret) => deriveKey(secret, 'sessions-from-scratch jwt 1').export());
  return { keys, iss: 'sessions-from-scratch', aud: 'api', ...(now && { now }) };
}

/** The site of this step: step 18's, and the API. */
export function site(users = USERS): { router: Router; handle: Handler } {
  const { router, handle, mount } = storedSite(undefined, users);
  return { router: addApi(router, mount, apiRules(DEMO.secrets), users), handle };
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 21', '/login', '/');
