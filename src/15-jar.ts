// Step 15 · The cookie jar: the browser's half of a cookie.
//
// A browser reads `Set-Cookie`, keeps the cookie or drops it silently, and decides which requests
// get it back (RFC 6265bis §5.6 to §5.8). One table of rules serves the jar and `explainCookie`,
// which answers the question: why did the browser not keep my cookie?
import { isMain, serve } from './01-server.ts';
import { type HttpRequest, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, type Html, html, page } from './06-template.ts';
import { MAX_COOKIE_SIZE } from './08-session-factory.ts';
import type { Pages } from './09-tutorial.ts';
import { type CookieOptions, MAX_COOKIE_AGE } from './11-timeouts.ts';
import { seeOther } from './12-forms.ts';

export type StoredCookie = {
  name: string;
  value: string;
  expires: number; // seconds since 1970; Infinity: until the browser closes
  domain?: string | undefined; // without a period in front; absent: only the host that set it
  path?: string | undefined; // absent: the folder of the page that set it
  secure: boolean;
  partitioned: boolean;
  sameSite?: CookieOptions['sameSite'];
};

/** Where a `Set-Cookie` header arrives. `isCrossSite`: another site sent the request. */
export type CookieContext = { url: URL; isCrossSite?: boolean; now: number };

/** Returns the cookie of a `Set-Cookie` header, or `undefined`: a browser ignores it (§5.6). */
export function parseSetCookie(header: string, now: number): StoredCookie | undefined {
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(header)) return undefined; // a control character except TAB
  const [pair = '', ...parts] = header.split(';');
  const [name = '', ...values] = pair.split('=').map((text) => trim(text));
  const value = trim(pair.slice(pair.indexOf('=') + 1));
  const isEmpty = name === '' || values.length === 0;
  if (isEmpty || Buffer.byteLength(name + value) > MAX_COOKIE_SIZE) return undefined;
  const given = new Map<string, string>(); // if an attribute occurs twice, the last one counts
  for (const part of parts) {
    const [key = '', ...words] = part.split('=');
    const [attribute, text] = [trim(key).toLowerCase(), trim(words.join('='))];
    if (attribute === 'max-age' ? /^-?\d+$/.test(text) : attribute !== 'expires' || parseDate(text)) {
      given.set(attribute, text);
    }
  }
  const domain = given.get('domain')?.replace(/^\./, '').toLowerCase() || undefined;
  const path = given.get('path')?.startsWith('/') ? given.get('path') : undefined;
  const sameSite = SAME_SITES.find((s) => s.toLowerCase() === given.get('samesite')?.toLowerCase());
  const [secure, partitioned] = [given.has('secure'), given.has('partitioned')];
  return { name, value, expires: expiry(given, now), domain, path, secure, partitioned, sameSite };
}

const SAME_SITES = ['Strict', 'Lax', 'None'] as const;
const trim = (text: string): string => text.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '');

/** Max-Age wins over Expires. Neither is later than 400 days from now (§5.5). */
function expiry(given: Map<string, string>, now: number): number {
  const [maxAge, expires] = [given.get('max-age'), given.get('expires')];
  if (maxAge !== undefined) return now + Math.min(Number(maxAge), MAX_COOKIE_AGE);
  if (expires === undefined) return Infinity;
  return Math.min(parseDate(expires) ?? 0, now + MAX_COOKIE_AGE);
}

/** Returns the time of an Expires attribute, or `undefined` if it is not a date (§5.1.1). */
export function parseDate(text: string): number | undefined {
  const tokens = text.split(/[\t -/;-@[-`{-~]+/); // a date consists of time, day, month and year
  const take = (pattern: RegExp): string[] => {
    const index = tokens.findIndex((token) => pattern.test(token));
    const token = index === -1 ? '' : tokens.splice(index, 1)[0];
    return pattern.exec(token ?? '')?.slice(1) ?? [];
  };
  const [hour = NaN, minute = NaN, second = NaN] = take(TIME).map(Number);
  const [day = NaN] = take(/^(\d\d?)(?:\D|$)/).map(Number);
  const month = MONTHS.indexOf(take(/^([a-z]{3})/i).at(0)?.toLowerCase() ?? '');
  const [digits = NaN] = take(/^(\d{2,4})(?:\D|$)/).map(Number);
  const year = digits + (digits < 70 ? 2000 : digits < 100 ? 1900 : 0);
  const date = new Date(Date.UTC(year, month, day, hour, minute, second));
  const isValid = hour < 24 && minute < 60 && second < 60 && year > 1600 && month >= 0;
  return isValid && date.getUTCDate() === day ? date.getTime() / 1000 : undefined; // no 31 February
}

const TIME = /^(\d\d?):(\d\d?):(\d\d?)(?:\D|$)/;
const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

type Rules = Record<string, (cookie: StoredCookie, context: CookieContext) => boolean>;

/** The reasons for which a browser drops a cookie. */
export const REJECT_RULES: Rules = {
  'Domain is neither this host nor a domain above it': ({ domain }, { url }) =>
    domain !== undefined && !domainMatches(url.hostname, domain),
  'Domain is a top-level domain, which belongs to everyone': ({ domain }, { url }) =>
    domain !== undefined && domain !== url.hostname && !domain.includes('.'),
  'Secure came over http': ({ secure }, { url }) => secure && !isTrustworthy(url),
  'SameSite=None needs Secure': ({ sameSite, secure }) => sameSite === 'None' && !secure,
  'Partitioned needs Secure': ({ partitioned, secure }) => partitioned && !secure,
  'A name that begins with __Secure- or __Host- needs Secure': ({ name, secure }) =>
    !secure && /^__(Secure|Host)-/i.test(name),
  'A name that begins with __Host- needs Path=/ and no Domain': ({ name, path, domain }) =>
    (path !== '/' || domain !== undefined) && /^__Host-/i.test(name),
  'Another site sent the request, so the cookie needs SameSite=None': ({ sameSite }, context) =>
    context.isCrossSite === true && sameSite !== 'None',
};

/** What else a developer should know about a cookie that a browser keeps. */
const CAUTIONS: Rules = {
  'It has expired: this deletes the cookie': ({ expires }, { now }) => expires <= now,
  'Safari drops it: Secure over http, also on localhost': ({ secure }, { url }) =>
    secure && url.protocol === 'http:',
  'Safari and Firefox can block it as a third-party cookie': (_, { isCrossSite }) =>
    isCrossSite === true,
  'It lasts until the browser closes': ({ expires }) => expires === Infinity,
  'It lasts 400 days, the maximum': ({ expires }, { now }) => expires === now + MAX_COOKIE_AGE,
  'Without SameSite, browsers differ: Chrome uses Lax': ({ sameSite }) => sameSite === undefined,
};

/** Whether a browser keeps the cookie of a `Set-Cookie` header, and why. */
export function explainCookie(
  header: string,
  context: CookieContext,
): { isKept: boolean; notes: string[] } {
  const cookie = parseSetCookie(header, context.now);
  if (!cookie) return { isKept: false, notes: [UNREADABLE] };
  const notesOf = (rules: Rules) => Object.keys(rules).filter((key) => rules[key]?.(cookie, context));
  const reasons = notesOf(REJECT_RULES);
  return { isKept: reasons.length === 0, notes: reasons.length > 0 ? reasons : notesOf(CAUTIONS) };
}

const UNREADABLE =
  `It has no name, a control character, or more than ${MAX_COOKIE_SIZE} bytes of name and value`;

/** Returns true if `host` is `domain` or below it. An IP address has nothing below it (§5.1.3). */
export function domainMatches(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && !/^[\d.]+$|:/.test(host));
}

/** Returns true for https and for this machine, as in Chrome and Firefox (Secure Contexts §3.1). */
export function isTrustworthy({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || /^(.*\.)?localhost$|^127\.[\d.]+$|^\[::1\]$/.test(hostname);
}

/** Adds a page that answers the question: would a browser keep this cookie? */
export function addCookiePage(pages: Pages<HttpRequest>, now = () => Date.now() / 1000): void {
  pages.get('/inspect/cookie', ({ search, headers }) => {
    const query = new URLSearchParams(search);
    const header = query.get('header') ?? 'session=abc; Domain=example.org; SameSite=None';
    const url = query.get('url') ?? `http://${headers.host ?? 'localhost'}/`;
    const isCrossSite = query.has('cross-site');
    return page('Cookie', html`<h1>Would a browser keep this cookie?</h1>
<form action="/inspect/cookie">
<label>Set-Cookie: <input name="header" value="${header}" maxlength="5000"></label>
<label>from the page <input name="url" value="${url}"></label>
<label><input type="checkbox" name="cross-site"${isCrossSite && html` checked`}>
in a request from another site</label>
<button>Explain</button>
</form>
${query.has('header') && renderVerdict(header, url, { isCrossSite, now: now() })}`);
  });
}

function renderVerdict(header: string, url: string, context: Omit<CookieContext, 'url'>): Html {
  const isPage = /^https?:/.test(url) && URL.canParse(url);
  if (!isPage) return html`<p>The page must be a URL that begins with http:// or https://.</p>`;
  const { isKept, notes } = explainCookie(header, { ...context, url: new URL(url) });
  return html`<p>A browser ${isKept ? 'keeps' : 'drops'} it.</p>
<ul>${notes.map((note) => html`<li>${note}.</li>`)}</ul>`;
}

/** The site of this step. */
export function site(): Router {
  const router = addStyle(new Router());
  addCookiePage(router);
  return router.get('/', () => seeOther('/inspect/cookie'));
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 15', ['/inspect/cookie']);
