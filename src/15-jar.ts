// Step 15 · The cookie jar: a browser keeps a cookie, or drops it silently.
//
// A browser reads each `Set-Cookie` header (RFC 6265bis §5.6) and checks the cookie (§5.7). If the
// cookie breaks a rule, the browser drops it, and the server does not learn why. One table of rules
// serves the page of this step, the jar of step 16, and a check at startup.
import { isMain, serve } from './01-server.ts';
import { type HttpRequest, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import { MAX_COOKIE_SIZE } from './08-session-factory.ts';
import type { Pages } from './09-tutorial.ts';
import { MAX_COOKIE_AGE } from './11-timeouts.ts';

/** A cookie as a browser reads it. */
export type ReceivedCookie = ReturnType<typeof parseSetCookie>;

/** Where a `Set-Cookie` header arrives. `isCrossSite`: a page of another site sent the request. */
export type CookieContext = { url: URL; isCrossSite?: boolean; now: number };

type Rules = Record<string, (cookie: ReceivedCookie, context: CookieContext) => boolean>;

/** The reasons for which a browser drops a cookie (§5.6 and §5.7). */
export const REJECT_RULES: Rules = {
  'It has a control character': ({ header }) => /[\0-\x08\x0a-\x1f\x7f]/.test(header), // not TAB
  'It has neither a name nor a value': ({ name, value }) => name + value === '',
  [`Its name and value have more than ${MAX_COOKIE_SIZE} bytes`]: ({ name, value }) =>
    Buffer.byteLength(name + value) > MAX_COOKIE_SIZE,
  'Domain is neither this host nor a domain above it': ({ domain }, { url }) =>
    domain !== undefined && !domainMatches(url.hostname, domain),
  'Domain is a top-level domain, which belongs to everyone': ({ domain }, { url }) =>
    domain !== undefined && domain !== url.hostname && !domain.includes('.'),
  'Secure came over http': ({ secure }, { url }) => secure && !isTrustworthy(url),
  'SameSite=None needs Secure': ({ sameSite, secure }) => sameSite === 'none' && !secure,
  'Partitioned needs Secure': ({ partitioned, secure }) => partitioned && !secure, // CHIPS
  'A name that begins with __Secure- or __Host- needs Secure': ({ name, secure }) =>
    !secure && /^__(Secure|Host)-/i.test(name),
  'A name that begins with __Host- needs Path=/ and no Domain': ({ name, path, domain }) =>
    (path !== '/' || domain !== undefined) && /^__Host-/i.test(name),
  'Without a name, the value cannot begin with __Secure- or __Host-': ({ name, value }) =>
    name === '' && /^__(Secure|Host)-/i.test(value),
  'Another site sent the request, so the cookie needs SameSite=None': ({ sameSite }, context) =>
    context.isCrossSite === true && sameSite !== 'none',
};

/** What a developer should know about a cookie that a browser keeps. */
const CAUTIONS: Rules = {
  'It has expired, so this deletes the cookie': ({ expires }, { now }) => expires <= now,
  'It lasts until the browser closes': ({ expires }) => expires === Infinity,
  'It lasts 400 days, the maximum': ({ expires }, { now }) => expires === now + MAX_COOKIE_AGE,
  'Without SameSite, browsers differ: Chrome uses Lax': ({ sameSite }) => sameSite === undefined,
  'Safari drops it: Secure came over http': ({ secure }, { url }) =>
    secure && url.protocol === 'http:',
  'Safari and Firefox can block it as a third-party cookie': (_, { isCrossSite }) =>
    isCrossSite === true,
};

/** Reads a `Set-Cookie` header. If there are no `reasons`, a browser keeps the cookie. */
export function explainCookie(header: string, context: CookieContext) {
  const cookie = parseSetCookie(header, context.now);
  const broken = (rules: Rules): string[] =>
    Object.keys(rules).filter((rule) => rules[rule]?.(cookie, context));
  return { cookie, reasons: broken(REJECT_RULES), cautions: broken(CAUTIONS) };
}

/** Throws a `RangeError` at startup if browsers would drop the cookie that a site at `url` sets. */
export function requireAcceptedCookie(header: string, url: URL, now: number): void {
  const [reason] = explainCookie(header, { url, now }).reasons;
  if (reason === undefined) return;
  throw new RangeError(`Cannot start: browsers would drop the cookie '${header}'. ${reason}`);
}

/** Returns the cookie of a `Set-Cookie` header as a browser reads it (§5.6). Never throws. */
export function parseSetCookie(header: string, now: number) {
  const [pair = [], ...attributes] = header.split(';').map(splitPair);
  const [name = '', value = ''] = pair.length > 1 ? pair : ['', ...pair]; // without =: only a value
  const given = new Map<string, string>(); // if an attribute occurs twice, the last one counts
  for (const [key = '', text = ''] of attributes) {
    if (isReadable(key.toLowerCase(), text)) given.set(key.toLowerCase(), text);
  }
  const maxAge = given.get('max-age'); // Max-Age wins over Expires
  const end = maxAge === undefined ? parseDate(given.get('expires') ?? '') : now + Number(maxAge);
  return {
    header,
    name,
    value,
    // Seconds since 1970. Infinity: until the browser closes. The limit is 400 days (§5.5).
    expires: end === undefined ? Infinity : Math.min(end, now + MAX_COOKIE_AGE),
    domain: given.get('domain')?.replace(/^\./, '').toLowerCase() || undefined, // else: this host
    path: /^\/.*/s.exec(given.get('path') ?? '')?.[0], // else: the folder of the page
    secure: given.has('secure'),
    partitioned: given.has('partitioned'),
    sameSite: /^(strict|lax|none)$/.exec(given.get('samesite')?.toLowerCase() ?? '')?.[0],
  };
}

/** Splits ' Path = /a' into ['Path', '/a'], and 'Secure' into ['Secure']. */
function splitPair(pair: string): string[] {
  // `trim` would also remove spaces that are not ASCII. `(?<!…)` keeps the search linear.
  return pair.split(/=(.*)/s).map((text) => text.replace(/^[ \t]+|(?<![ \t])[ \t]+$/g, ''));
}

/** Returns false for an attribute that a browser ignores. */
function isReadable(attribute: string, text: string): boolean {
  if (attribute === 'max-age' && !/^-?\d+$/.test(text)) return false;
  if (Buffer.byteLength(text) > 1024) return false;
  return attribute !== 'expires' || parseDate(text) !== undefined;
}

/** Returns the time of an Expires attribute, or `undefined` if it is not a date (§5.1.1). */
export function parseDate(text: string): number | undefined {
  const tokens = text.split(/[\t -/;-@[-`{-~]+/);
  const take = (pattern: RegExp): string | undefined => {
    const index = tokens.findIndex((token) => pattern.test(token));
    return index < 0 ? undefined : pattern.exec(tokens.splice(index, 1).join())?.[0];
  };
  // Each part is the first token that fits and that is not another part already.
  const [hour = NaN, minute = NaN, second = NaN] = take(TIME)?.split(':').map(Number) ?? [];
  const day = Number(take(/^\d\d?(?!\d)/));
  const month = MONTHS.indexOf(take(MONTH)?.toLowerCase() ?? '');
  const digits = Number(take(/^\d{2,4}(?!\d)/));
  const year = digits + (digits < 70 ? 2000 : digits < 100 ? 1900 : 0);
  const date = new Date(Date.UTC(year, month, day, hour, minute, second));
  const isDate = hour < 24 && minute < 60 && second < 60 && month >= 0 && year > 1600;
  return isDate && date.getUTCDate() === day ? date.getTime() / 1000 : undefined; // no 31 February
}

const TIME = /^\d\d?:\d\d?:\d\d?(?!\d)/;
const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const MONTH = new RegExp(`^(${MONTHS.join('|')})`, 'i');

/** Returns true if `host` is `domain` or below it. An IP address has nothing below it (§5.1.3). */
export function domainMatches(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && !/^[\d.]+$|:/.test(host));
}

/** Returns true for https and for this machine, as in Chrome and Firefox (Secure Contexts §3.1). */
export function isTrustworthy({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || /^(.*\.)?localhost\.?$|^127\.[\d.]+$|^\[::1\]$/.test(hostname);
}

/** Adds a page that answers the question: would a browser keep this cookie? */
export function addCookiePage(pages: Pages<HttpRequest>, now = () => Date.now() / 1000): void {
  pages.get('/inspect/cookie', ({ search }) => {
    const query = new URLSearchParams(search);
    const header = query.get('header') ?? 'session=abc; Domain=example.org; SameSite=None';
    const sender = query.get('url') ?? '';
    const url = new URL(URL.canParse(sender) ? sender : 'http://localhost:6543/');
    const isCrossSite = query.has('cross-site');
    const { reasons, cautions } = explainCookie(header, { url, isCrossSite, now: now() });
    const notes = reasons.length > 0 ? reasons : cautions;
    return page('Cookie', html`<h1>Would a browser keep this cookie?</h1>
<form action="/inspect/cookie">
<label>Set-Cookie: <input name="header" value="${header}" maxlength="5000"></label>
<label>from the page <input name="url" value="${url.href}"></label>
<label><input type="checkbox" name="cross-site"${isCrossSite && html` checked`}>
in a request from another site</label>
<button>Explain</button>
</form>
<p>A browser ${reasons.length > 0 ? 'drops' : 'keeps'} it.</p>
<ul>${notes.map((note) => html`<li>${note}.</li>`)}</ul>`);
  });
}

/** The site of this step. */
export function site(): Router {
  const router = addStyle(new Router());
  addCookiePage(router);
  return router;
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 15', ['/inspect/cookie']);
