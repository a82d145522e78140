// Helpers for the tests of the cookie jar.
import assert from 'node:assert/strict';
import { CookieJar } from '../src/16-browser.ts';

export const NOW = 1_700_000_000; // seconds since 1970

/** Returns a jar with the cookies that the page at `url` has set. */
export function jarWith(url: string, ...headers: string[]): CookieJar {
  const jar = new CookieJar();
  for (const header of headers) assert.ok(jar.store(header, new URL(url), NOW), header);
  return jar;
}

/** Returns the `Cookie` header of a request for `url`. */
export function sentTo(jar: CookieJar, url: string, now = NOW): string | undefined {
  return jar.headerFor(new URL(url), now);
}
