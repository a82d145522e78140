// Step 2 · A cookie: the browser stores the count and sends it back.
//
//   Set-Cookie: count=7; Path=/; HttpOnly; SameSite=Lax      response: the server sets the cookie
//   Cookie: count=7; theme=dark                              request: the browser returns it
//
// RFC 6265bis is the standard for both headers.
import type { RequestListener } from 'node:http';
import { isMain, serve } from './01-server.ts';

/** One cookie of the site: reads its value from a request, and writes it into a response. */
export class Cookie {
  readonly name: string;
  readonly attributes: string;

  /** Path: sent for each page. HttpOnly: hidden from scripts. SameSite: step 17 explains it. */
  constructor(name: string, attributes = '; Path=/; HttpOnly; SameSite=Lax') {
    this.name = name;
    this.attributes = attributes;
  }

  /**
   * Returns the value in a `Cookie` header, or `undefined` if the cookie is absent. If two cookies
   * have the same name, it returns the value of the first one.
   */
  read(header: string | undefined): string | undefined {
    return parseCookies(header).find(([name]) => name === this.name)?.[1];
  }

  /**
   * Returns the value of a `Set-Cookie` header. If a cookie cannot hold `value`, throws a
   * `TypeError`: "Cannot write '7;' to a cookie: it has a forbidden character".
   */
  write(value: string): string {
    if (COOKIE_VALUE.test(value)) return `${this.name}=${value}${this.attributes}`;
    throw new TypeError(`Cannot write '${value}' to a cookie: it has a forbidden character`);
  }
}

/** Returns the pairs of a `Cookie` header: [['count', '7'], ['theme', 'dark']]. Never throws. */
export function parseCookies(header = ''): (readonly [name: string, value: string])[] {
  return header.split(';').filter((pair) => pair.includes('=')).map((pair) => {
    const end = pair.indexOf('='); // the value may contain = too
    return [pair.slice(0, end).replace(/^[ \t]+/, ''), pair.slice(end + 1)];
  });
}

// RFC 6265bis §4.1.1: visible ASCII without " , ; and \
const COOKIE_VALUE = /^[!#-+\--:<-[\]-~]*$/;

const cookie = new Cookie('count');

/**
 * Counts in the cookie, and sends the page of step 1. If the browser sends no count, or a text that
 * is not a safe integer, the count starts at 1.
 */
export const countVisits: RequestListener = (request, response) => {
  const sent = Number(cookie.read(request.headers.cookie));
  const count = Number.isSafeInteger(sent) ? sent + 1 : 1;
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.setHeader('set-cookie', cookie.write(String(count)));
  response.end(`Count: ${count}\n`);
};

if (isMain(import.meta.url)) serve(countVisits, 'Step 2', ['/']);
