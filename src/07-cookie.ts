// Step 7 · Cookies, both ways, and the second counter.
//
//   Set-Cookie: count=1; Path=/; HttpOnly; SameSite=Lax     server to browser, a header for each
//   Cookie: count=1; theme=dark                             browser to server, all in one line
//
// RFC 6265bis is the grammar. Reading: what comes from the network never throws, and lands in a
// Map, where a cookie named `__proto__` is a name like any other. Writing: a semicolon in a value
// would start an attribute of the attacker's choice, so what does not fit is refused.
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import { TutorialViews } from './06-views.ts';

export type CookieAttributes = {
  maxAge?: number | undefined; // seconds; 0 deletes; absent: until the browser closes
  path?: string; // default /
  domain?: string | undefined; // absent: this host and no other, which is the safest
  secure?: boolean; // https only
  httpOnly?: boolean; // default true: no script can read it
  sameSite?: 'Strict' | 'Lax' | 'None'; // default Lax: not with another site's forms and images
};

export const MAX_COOKIE_SIZE = 4096; // bytes of name and value together (RFC 6265bis §5.7)
export const MAX_COOKIE_AGE = 400 * 24 * 60 * 60; // seconds: browsers cut at 400 days (§5.5)

/** The cookies of a `Cookie` header by name. Of two with one name the first is it. Never throws. */
export function parseCookies(header: string | undefined): Map<string, string> {
  const cookies = new Map<string, string>();
  for (let start = 0, end = 0; header !== undefined && end !== -1; start = end + 1) {
    end = header.indexOf(';', start);
    const pair = header.slice(start, end === -1 ? undefined : end);
    const equals = pair.indexOf('=');
    const name = equals > 0 ? trim(pair.slice(0, equals)) : '';
    // A browser sends the cookie with the longest path first, and that is the one that was meant.
    if (name !== '' && !cookies.has(name)) cookies.set(name, unquote(trim(pair.slice(equals + 1))));
  }
  return cookies;
}

/** What `parseCookies(header).get(name)` gives, with no look at the cookies that come after it. */
export function findCookie(header: string | undefined, name: string): string | undefined {
  if (header === undefined || name === '') return undefined;
  for (let start = 0, end = 0; end !== -1; start = end + 1) {
    end = header.indexOf(';', start);
    const pair = header.slice(start, end === -1 ? undefined : end);
    const equals = pair.indexOf('=');
    const isIt = equals > 0 && trim(pair.slice(0, equals)) === name;
    if (isIt) return unquote(trim(pair.slice(equals + 1)));
  }
  return undefined;
}

/** The value of a `Set-Cookie` header. Throws where a browser would misread, cut or drop it. */
export function serializeCookie(
  name: string,
  value: string,
  options: CookieAttributes = {},
): string {
  return cookieWriter(name, options)(value);
}

/** Makes lines for one cookie: its name and attributes are checked once. Throws as above. */
export function cookieWriter(
  name: string,
  options: CookieAttributes = {},
): (value: string) => string {
  const cookie = { name, value: '', ...DEFAULTS, ...options };
  requireRules(RULES, cookie);
  let rest = '';
  if (cookie.domain !== undefined) rest += `; Domain=${cookie.domain}`;
  if (cookie.maxAge !== undefined) rest += `; Max-Age=${cookie.maxAge}`; // 0 is a value too
  rest += `; Path=${cookie.path}`;
  if (cookie.secure) rest += '; Secure';
  if (cookie.httpOnly) rest += '; HttpOnly';
  rest += `; SameSite=${cookie.sameSite}`;
  return (value) => {
    cookie.value = value;
    requireRules(VALUE_RULES, cookie);
    return `${name}=${value}${rest}`;
  };
}

/** Adds one more `Set-Cookie` to those that a response has: they must never be joined into one. */
export function withCookie({ status, headers, body }: HttpResponse, line: string): HttpResponse {
  const lines = headers['set-cookie'];
  if (lines === undefined) return { status, headers: { 'set-cookie': [line], ...headers }, body };
  return { status, headers: { ...headers, 'set-cookie': [lines, line].flat() }, body };
}

type Cookie = typeof DEFAULTS & CookieAttributes & { name: string; value: string };

const DEFAULTS: Required<Pick<CookieAttributes, 'path' | 'secure' | 'httpOnly' | 'sameSite'>> = {
  path: '/',
  secure: false,
  httpOnly: true,
  sameSite: 'Lax',
};

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/; // RFC 9110 §5.6.2
// cookie-octet = %x21 / %x23-2B / %x2D-3A / %x3C-5B / %x5D-7E: visible ASCII but " , ; and \
const COOKIE_OCTETS = /^[!#-+\--:<-[\]-~]*$/;
const PATH = /^\/[!-:<-~]{0,1023}$/; // longer than 1024, a browser passes it over (§5.6)
const DOMAIN = /^\.?[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*$/i;
const SAME_SITE = ['Strict', 'Lax', 'None'];

/** The part that it is about, whether it holds, the rule in words, and the error to throw. */
type Rule = [keyof Cookie, (cookie: Cookie) => boolean, string, RangeErrorConstructor?];

const VALUE_RULES: readonly Rule[] = [
  ['value', ({ value }) => COOKIE_OCTETS.test(value), 'a value has only visible ASCII but ",;\\'],
  [
    'value',
    ({ name, value }) => name.length + value.length <= MAX_COOKIE_SIZE,
    `name and value have ${MAX_COOKIE_SIZE} bytes together at most, or a browser drops them`,
    RangeError,
  ],
];

const RULES: readonly Rule[] = [
  ['name', ({ name }) => TOKEN.test(name), "a name has only letters, digits and !#$%&'*+-.^_`|~"],
  ['path', ({ path }) => PATH.test(path), 'a path is / and then visible ASCII but ;, 1024 at most'],
  ['domain', ({ domain }) => domain === undefined || DOMAIN.test(domain), 'it must be a host name'],
  [
    'maxAge',
    ({ maxAge = 0 }) => Number.isInteger(maxAge) && maxAge >= 0 && maxAge <= MAX_COOKIE_AGE,
    `it is whole seconds, from 0 to ${MAX_COOKIE_AGE} (400 days), where browsers cut it`,
    RangeError,
  ],
  ['sameSite', ({ sameSite }) => SAME_SITE.includes(sameSite), 'it is Strict, Lax or None'],
  ['secure', (c) => c.secure || c.sameSite !== 'None', 'SameSite=None needs Secure'],
  ['secure', (c) => c.secure || !/^__(Secure|Host)-/i.test(c.name), 'that prefix needs Secure'],
  ['path', (c) => c.path === '/' || !/^__Host-/i.test(c.name), '__Host- needs the path /'],
  ['domain', (c) => !c.domain || !/^__Host-/i.test(c.name), '__Host- allows no Domain'],
];

function requireRules(rules: readonly Rule[], cookie: Cookie): void {
  const broken = rules.find((rule) => !rule[1](cookie));
  if (!broken) return;
  const [part, , rule, Mistake = TypeError] = broken;
  const found = show(cookie[part]);
  throw new Mistake(`Cannot make the cookie ${show(cookie.name)}: ${rule}: ${part} is ${found}`);
}

/**
 * SP and HTAB only: `String.trim` would take Unicode spaces too, which a browser keeps. No regular
 * expression: /[ \t]+$/ starts anew at each of 16,000 spaces, and one header takes 0.2 seconds.
 */
function trim(text: string): string {
  let [start, end] = [0, text.length];
  while (isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return end - start === text.length ? text : text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function show(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : String(value);
}

function unquote(value: string): string {
  return value.length > 1 && value[0] === '"' && value.endsWith('"') ? value.slice(1, -1) : value;
}

/** The count in a cookie: each browser has its own, a restart is no matter. Anyone can edit it. */
export class CookieCounterViews extends TutorialViews {
  override get counter(): number {
    const sent = findCookie(this.request.headers.cookie, 'count') ?? '';
    const count = /^\d{1,15}$/.test(sent) ? Number(sent) + 1 : 1; // 15 digits are a safe integer
    const isLook = this.request.method === 'HEAD'; // no visit, as in step 6
    if (!isLook) this.headers['set-cookie'] = serializeCookie('count', String(count));
    return count;
  }
}

/** The site of this step. */
export function site(): Router {
  return addStaticFiles(new Router(), PUBLIC)
    .get('/', (request) => new CookieCounterViews(request).home(), 'home')
    .get('/howdy', (request) => new CookieCounterViews(request).hello(), 'hello');
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 7', '/', '/howdy');
