// Step 15 · The cookie jar: a browser keeps a cookie, or drops it silently.
//
// RFC 6265bis says how a browser reads a `Set-Cookie` header (§5.6) and checks the cookie (§5.7).
import { isMain, serve } from './01-server.ts';
import { type HttpRequest, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import { MAX_COOKIE_SIZE } from './08-session-factory.ts';
import type { Pages } from './09-tutorial.ts';

/** Where a `Set-Cookie` header arrives. `isThirdParty`: in a frame or an image on another site. */
export type CookieContext = { url: URL; isThirdParty?: boolean; now: number };

/** A cookie as a browser reads it, with its context. */
export type ReceivedCookie = ReturnType<typeof parseSetCookie>;

/** The reasons for which a browser drops a cookie `c` (§5.6 and §5.7). */
export const REJECT_RULES: Record<string, (c: ReceivedCookie) => boolean | undefined> = {
  'It has a control character': (c) => /[\0-\x08\x0a-\x1f\x7f]/.test(c.header), // not TAB
  'It has neither a name nor a value': (c) => c.name + c.value === '',
  'It has more than 4096 bytes': (c) => Buffer.byteLength(c.name + c.value) > MAX_COOKIE_SIZE,
  'Domain is neither this host nor above it': (c) => !domainMatches(c.url.hostname, c.host),
  'Domain is a top-level domain': (c) => /^[^.]+\.?$/.test(c.host) && c.host !== c.url.hostname,
  'Secure came over http': (c) => c.secure && !isTrustworthy(c.url),
  'SameSite=None needs Secure': (c) => c.sameSite === 'None' && !c.secure,
  'Partitioned needs Secure': (c) => c.partitioned && !c.secure, // CHIPS
  'A __Secure- or __Host- cookie needs Secure': (c) => PREFIX.test(c.name) && !c.secure,
  'A __Host- cookie needs Path=/ and no Domain': (c) =>
    /^__Host-/i.test(c.name) && (c.path !== '/' || !c.isHostOnly),
  'A nameless value cannot begin with __Secure- or __Host-': (c) => !c.name && PREFIX.test(c.value),
  'A third-party cookie needs SameSite=None': (c) => c.isThirdParty && c.sameSite !== 'None',
};

const PREFIX = /^__(Secure|Host)-/i;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/; // a name, for servers (§4.1.1, RFC 9110 §5.6.2)

/** Reads a `Set-Cookie` header. If there are no `reasons`, a browser keeps the cookie. */
export function explainCookie(header: string, context: CookieContext) {
  const c = parseSetCookie(header, context);
  return { cookie: c, reasons: Object.keys(REJECT_RULES).filter((key) => REJECT_RULES[key]?.(c)) };
}

/**
 * Checks the cookie of a site, with an empty value. Throws a `RangeError` if browsers would drop
 * it, or would ignore or change one of its attributes: "Cannot start: browsers reject
 * 'a=; Max-Age=1.5'. They do not read Max-Age=1.5 as it is written".
 */
export function requireAcceptedCookie(header: string, url: URL): void {
  const { cookie: c, reasons } = explainCookie(header, { url, now: 0 }); // so `expires` is Max-Age
  const read = [`${TOKEN.exec(c.name)}=`, 'Secure', 'HttpOnly', `SameSite=${c.sameSite}`];
  read.push(`Domain=${c.host}`, `Max-Age=${c.expires}`, `Path=${c.path}`);
  const changed = header.split('; ').find((part) => !read.includes(part));
  const reason = reasons[0] ?? (changed && `They do not read ${changed} as it is written`);
  if (reason) throw new RangeError(`Cannot start: browsers reject '${header}'. ${reason}`);
}

/**
 * Returns the cookie of a `Set-Cookie` header as a browser reads it (§5.6). Never throws. `path` is
 * `undefined` without a `Path` that begins with a slash. `expires` is in seconds since 1970.
 */
export function parseSetCookie(header: string, context: CookieContext) {
  // 'a=1; Path=/' becomes [['a', '1', ''], ['Path', '/', '']], and Secure becomes ['Secure'].
  const [pair = [], ...others] = header.split(';').map((part) => part.split(/=(.*)/s).map(trim));
  const [name = '', value = ''] = pair.length > 1 ? pair : ['', ...pair]; // without =: only a value
  // If an attribute occurs twice, the last one that a browser can read counts.
  const last = <T>(attribute: string, read: (text: string) => T): T | undefined =>
    others.filter(([key = '']) => key.toLowerCase() === attribute)
      .map(([, text = '']) => (Buffer.byteLength(text) > 1024 ? undefined : read(text)))
      .findLast((result) => result !== undefined);
  const seconds = last('max-age', (text) => /^-?\d+$/.exec(text)?.[0]); // it wins over Expires
  const end = seconds ? context.now + Math.max(0, Number(seconds)) : last('expires', parseDate);
  const domain = last('domain', (text) => text.replace(/^\./, '').toLowerCase());
  const path = /^\/.*/s.exec(last('path', String) ?? '')?.[0];
  const sameSite = last('samesite', (text) => text.toLowerCase());
  return {
    ...context, header, name, value, path,
    folder: path ?? (context.url.pathname.replace(/\/[^/]*$/, '') || '/'), // of the page (§5.1.4)
    // `undefined`: until the browser closes. The limit is 400 days (§5.5).
    expires: end && Math.min(end, context.now + 400 * 24 * 60 * 60),
    host: domain || context.url.hostname,
    isHostOnly: !domain || !/\../.test(domain),
    secure: last('secure', String) !== undefined,
    partitioned: last('partitioned', String) !== undefined,
    sameSite: ['Strict', 'Lax', 'None'].find((one) => one.toLowerCase() === sameSite),
  };
}

// `String.trim` would also remove spaces that are not ASCII. `(?<!…)` keeps the search linear.
const trim = (text: string): string => text.replace(/^[ \t]+|(?<![ \t])[ \t]+$/g, '');

/** Returns the time of an Expires attribute, or `undefined` if it is not a date (§5.1.1). */
export function parseDate(text: string): number | undefined {
  const tokens = text.split(/[\t -/;-@[-`{-~]+/);
  // Each part is the first token that fits and that is not another part already.
  const [time, day, month, digits] = DATE_PARTS.map((pattern) => {
    const index = tokens.findIndex((token) => pattern.test(token));
    return pattern.exec(tokens.splice(index, 1).join())?.[0];
  });
  const year = Number(digits) + (Number(digits) < 70 ? 2000 : Number(digits) < 100 ? 1900 : 0);
  const date = new Date(`${day} ${month} ${year} ${time} GMT`); // it accepts 31 Feb and second 60
  const isDate = year > 1600 && date.getUTCDate() === Number(day) && !time?.endsWith(':60');
  return isDate ? date.getTime() / 1000 : undefined;
}

const MONTHS = /^(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)/i;
const DATE_PARTS = [/^\d\d?:\d\d?:\d\d?(?!\d)/, /^\d\d?(?!\d)/, MONTHS, /^\d{2,4}(?!\d)/];

/** Returns true if `host` is `domain` or below it. An IP address has nothing below it (§5.1.3). */
export const domainMatches = (host: string, domain: string): boolean =>
  host === domain || (host.endsWith(`.${domain}`) && !/^[\d.]+$|:/.test(host));

/** Returns true for https and for this machine, as in Chrome and Firefox (Secure Contexts §3.1). */
export const isTrustworthy = ({ protocol, hostname }: URL): boolean =>
  protocol === 'https:' || /^(.*\.)?localhost\.?$|^127\.[\d.]+$|^\[::1\]$/.test(hostname);

/** Adds a page that answers the question: would a browser keep this cookie? Returns `pages`. */
export function addCookiePage<P extends Pages<HttpRequest>>(pages: P): P {
  pages.get('/inspect/cookie', ({ search }) => {
    const query = Object.fromEntries(new URLSearchParams(search));
    const { header = 'session=abc; Domain=example.org; SameSite=None', url: sender = '' } = query;
    const url = new URL(URL.canParse(sender) ? sender : 'http://localhost:6543/');
    const context = { url, isThirdParty: 'embedded' in query, now: Date.now() / 1000 };
    const { cookie, reasons } = explainCookie(header, context);
    const verdict = reasons.length > 0 ? 'drops' : 'keeps';
    return page('Cookie', html`<h1>Would a browser keep this cookie?</h1>
<form action="/inspect/cookie">
<label>Set-Cookie: <input name="header" value="${header}" maxlength="5000"></label>
<label>from the page <input type="url" name="url" value="${url.href}"></label>
<label><input type="checkbox" name="embedded"${context.isThirdParty && html` checked`}> in a frame
or an image on another site</label> <button>Explain</button></form>
<p class="verdict ${verdict}">A browser ${verdict} it.</p>
<ul>${reasons.map((reason) => html`<li>${reason}.</li>`)}</ul>
<pre>${JSON.stringify(cookie, ['name', 'value', 'expires', 'host', 'path'], 1)}</pre>`);
  });
  return pages;
}

/** The site of this step. */
export const site = (): Router => addCookiePage(addStyle(new Router()));

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 15', ['/inspect/cookie']);
