// Step 8 · The other half: what a browser does with a cookie.
//
// A jar keeps what `Set-Cookie` said and decides which request gets it back (RFC 6265bis §5.6 to
// §5.8). Around it a small browser that calls a handler with no socket between: what WebTest's
// TestApp is to Pyramid. From here on the tests visit our sites with it. Its clock is an argument,
// so that a test moves an hour ahead by adding 3600.
import { isMain, serve } from './01-server.ts';
import { parseRequest, toListener } from './02-http.ts';
import type { Handler, HttpResponse } from './02-http.ts';
import { MAX_COOKIE_AGE, MAX_COOKIE_SIZE } from './07-cookie.ts';
import { site } from './07-cookie.ts';

export type StoredCookie = {
  readonly name: string;
  readonly value: string;
  readonly domain: string | undefined; // as written, without a leading dot
  readonly path: string | undefined; // as written, when it begins with /
  readonly expires: number; // seconds since 1970; Infinity: until the browser closes
  readonly secure: boolean;
  readonly httpOnly: boolean;
  readonly sameSite: 'Strict' | 'Lax' | 'None' | undefined;
};

/** A `Set-Cookie` line as a browser reads it (RFC 6265bis §5.6), or `undefined` if it is dropped. */
export function parseSetCookie(line: string, now: number): StoredCookie | undefined {
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(line)) return undefined; // a control other than HTAB
  const [pair = '', ...rest] = line.split(';').map((part) => part.trim());
  const equals = pair.indexOf('=');
  const name = pair.slice(0, Math.max(equals, 0)).trimEnd();
  const value = pair.slice(equals + 1).trimStart();
  if (name + value === '' || Buffer.byteLength(name + value) > MAX_COOKIE_SIZE) return undefined;
  const given = new Map<string, string>(); // of two attributes with one name the last counts
  for (const part of rest) {
    const [key = '', ...words] = part.split('=');
    given.set(key.trim().toLowerCase(), words.join('=').trim());
  }
  const sameSite = SAME_SITES[(given.get('samesite') ?? '').toLowerCase()];
  const path = given.get('path')?.[0] === '/' ? given.get('path') : undefined;
  const domain = given.get('domain')?.replace(/^\./, '').toLowerCase() || undefined;
  const [secure, httpOnly] = [given.has('secure'), given.has('httponly')];
  return { name, value, domain, path, expires: expiry(given, now), secure, httpOnly, sameSite };
}

/** Whether `host` is `domain` or below it, and both are names and not IP addresses (§5.1.3). */
export function domainMatches(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && !/^[\d.]+$|:/.test(host));
}

/** Whether a cookie of `cookiePath` goes to `path` (§5.1.4): /app to /app/x, not to /apple. */
export function pathMatches(path: string, cookiePath: string): boolean {
  if (!path.startsWith(cookiePath)) return false;
  return path.length === cookiePath.length || cookiePath.endsWith('/') || path[cookiePath.length] === '/';
}
