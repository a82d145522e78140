// Step 8 · The other half: what a browser does with a cookie.
//
// A jar keeps what `Set-Cookie` said, and decides which request gets it back (RFC 6265bis §5.6 to
// §5.8). Around it a small browser calls a handler with no socket in between: what WebTest's
// TestApp is to Pyramid. From here on the tests visit our sites with it, and set its clock.
import { isMain, serve } from './01-server.ts';
import { parseRequest, toListener } from './02-http.ts';
import type { Handler, HttpResponse } from './02-http.ts';
import { MAX_COOKIE_AGE, MAX_COOKIE_SIZE, site } from './07-cookie.ts';
import type { CookieAttributes } from './07-cookie.ts';

export type StoredCookie = {
  name: string;
  value: string;
  expires: number; // seconds since 1970; Infinity: until the browser closes
  domain?: string | undefined; // without a leading dot; absent: the host that set it, alone
  path?: string | undefined; // absent: the folder of the page that set it
  secure: boolean;
  sameSite?: CookieAttributes['sameSite'] | undefined; // absent counts as Lax
};

/** A `Set-Cookie` line as a browser reads it (RFC 6265bis §5.6), or `undefined`: no cookie. */
export function parseSetCookie(line: string, now: number): StoredCookie | undefined {
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(line)) return undefined; // a control other than HTAB
  const [pair = '', ...parts] = line.split(';');
  const equals = pair.indexOf('=');
  const [name, value] = [pair.slice(0, Math.max(equals, 0)).trim(), pair.slice(equals + 1).trim()];
  if (name === '' || Buffer.byteLength(name + value) > MAX_COOKIE_SIZE) return undefined;
  const given = new Map<string, string>(); // of two attributes with one name the last counts
  for (const part of parts) {
    const [key = '', ...words] = part.split('=');
    const [attribute, text] = [key.trim().toLowerCase(), words.join('=').trim()];
    if (isReadable(attribute, text)) given.set(attribute, text);
  }
  const domain = given.get('domain')?.replace(/^\./, '').toLowerCase() || undefined;
  const path = given.get('path')?.startsWith('/') ? given.get('path') : undefined;
  const sameSite = SAME_SITES.find((s) => s.toLowerCase() === given.get('samesite')?.toLowerCase());
  const secure = given.has('secure');
  return { name, value, expires: expiry(given, now), domain, path, secure, sameSite };
}

/** What must hold for a browser to keep a cookie from `url`, under what it means if it does not. */
export const KEEPING_RULES: Record<string, (cookie: StoredCookie, url: URL) => boolean> = {
  'Domain is neither this host nor a domain above it': ({ domain }, { hostname }) =>
    domain === undefined || domainMatches(hostname, domain),
  'Domain is a whole top-level domain, which belongs to nobody': ({ domain }, { hostname }) =>
    domain === undefined || domain === hostname || domain.includes('.'),
  'Secure came over http': ({ secure }, url) => !secure || isTrustworthy(url),
  'SameSite=None came without Secure': ({ sameSite, secure }) => sameSite !== 'None' || secure,
  'A name with __Secure- or __Host- came without Secure': ({ name, secure }) =>
    secure || !/^__(Secure|Host)-/i.test(name),
  'A name with __Host- came with a Domain, or without Path=/': ({ name, path, domain }) =>
    (path === '/' && domain === undefined) || !/^__Host-/i.test(name),
};

/** Keeps cookies as a browser does. Times are seconds since 1970. */
export class CookieJar {
  readonly #cookies = new Map<string, StoredCookie & { host: string; folder: string }>();

  /** Takes a `Set-Cookie` line that came from `url`; false if the cookie was refused. */
  store(line: string, url: URL, now: number): boolean {
    const cookie = parseSetCookie(line, now);
    if (!cookie || !Object.values(KEEPING_RULES).every((holds) => holds(cookie, url))) return false;
    const host = cookie.domain ?? url.hostname;
    const folder = cookie.path ?? (url.pathname.replace(/\/[^/]*$/, '') || '/'); // §5.1.4
    const key = JSON.stringify([cookie.name, cookie.domain ?? null, host, folder]);
    if (cookie.expires <= now) this.#cookies.delete(key);
    else this.#cookies.set(key, { ...cookie, host, folder });
    return true;
  }

  /** The `Cookie` header for a request, the longest paths first; `undefined` when there is none. */
  headerFor(url: URL, now: number): string | undefined {
    const sent = [...this.#cookies.values()].filter(
      ({ domain, host, folder, secure, expires }) =>
        (domain === undefined ? url.hostname === host : domainMatches(url.hostname, domain)) &&
        pathMatches(url.pathname, folder) &&
        (isTrustworthy(url) || !secure) &&
        expires > now,
    );
    sent.sort((a, b) => b.folder.length - a.folder.length); // stable: then the oldest first
    return sent.map(({ name, value }) => `${name}=${value}`).join('; ') || undefined;
  }
}

/** A visitor in memory: `await new Browser(site().handle).get('/')`. Throws what a page throws. */
export class Browser {
  readonly jar = new CookieJar();
  readonly #site: { handler: Handler; origin: string; now: () => number };

  constructor(handler: Handler, origin = 'http://localhost:6543', now = () => Date.now() / 1000) {
    this.#site = { handler, origin, now };
  }

  /** Opens a page, and follows where it sends us. */
  get(path: string): Promise<HttpResponse> {
    return this.#follow('GET', path);
  }

  /** Sends a form, and follows where that sends us. */
  post(path: string, fields: Record<string, string>): Promise<HttpResponse> {
    return this.#follow('POST', path, new URLSearchParams(fields).toString());
  }

  /** One request and its response, with no redirect followed. */
  async request(method: string, path: string, body = '', headers = {}): Promise<HttpResponse> {
    const { handler, origin, now } = this.#site;
    const url = new URL(path, origin);
    const cookie = this.jar.headerFor(url, now());
    const form = method === 'POST' && { 'content-type': 'application/x-www-form-urlencoded' };
    const all = { host: url.host, ...form, ...(cookie && { cookie }), ...headers };
    const request = parseRequest(method, url.pathname + url.search, all, Buffer.from(body));
    const response = 'status' in request ? request : await handler(request);
    const lines = [response.headers['set-cookie'] ?? []].flat();
    for (const line of lines) this.jar.store(line, url, now());
    return response;
  }

  async #follow(method: string, path: string, body = ''): Promise<HttpResponse> {
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const response = await this.request(method, path, body);
      const { location } = response.headers;
      if (!REDIRECTS.includes(response.status) || typeof location !== 'string') return response;
      path = new URL(location, new URL(path, this.#site.origin)).href;
      if (response.status < 307) [method, body] = ['GET', '']; // as browsers do for all three
    }
    throw new RangeError(`Cannot open ${path}: it goes in circles`);
  }
}

const MAX_REDIRECTS = 20; // the Fetch standard's number, as are these:
const REDIRECTS = [301, 302, 303, 307, 308]; // the last two repeat the method and the body
const SAME_SITES = ['Strict', 'Lax', 'None'] as const;

/** Whether `host` is `domain` or below it; an IP address has nothing below it (§5.1.3). */
export function domainMatches(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && !/^[\d.]+$|:/.test(host));
}

/** Whether a cookie for `folder` goes to `path` (§5.1.4): /app to /app/x, but not to /apple. */
export function pathMatches(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** False for a Max-Age or an Expires that is passed over (§5.6.1, §5.6.2). */
function isReadable(attribute: string, text: string): boolean {
  if (attribute === 'max-age') return /^-?\d+$/.test(text);
  return attribute !== 'expires' || !Number.isNaN(parseDate(text));
}

/** The time that an Expires says; NaN for what is no date, such as 31 February (§5.1.1). */
function parseDate(text: string): number {
  const date = new Date(/\d:\d\d/.test(text) ? `${text} GMT` : NaN); // never local
  const day = /(?<![\d:])\d{1,2}(?![\d:])/.exec(text)?.[0]; // and no part of 22:14:20 or of 2023
  return date.getUTCDate() === Number(day) ? date.getTime() / 1000 : NaN;
}

/** Max-Age beats Expires; neither goes beyond 400 days (§5.5). */
function expiry(given: Map<string, string>, now: number): number {
  const [maxAge, expires] = [given.get('max-age'), given.get('expires')];
  if (maxAge !== undefined) return now + Math.min(Number(maxAge), MAX_COOKIE_AGE);
  return expires === undefined ? Infinity : Math.min(parseDate(expires), now + MAX_COOKIE_AGE);
}

/** Where Secure cookies travel: https, and this machine itself, as Chrome and Firefox hold. */
function isTrustworthy({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || /^(localhost|127\.0\.0\.1|\[::1\])$/.test(hostname);
}

// The site of this step is step 7's. Before it is served, our own browser goes there.
if (isMain(import.meta.url)) {
  const visitor = new Browser(site().handle);
  await visitor.get('/');
  const { body } = await visitor.get('/howdy');
  console.log(`In memory, / and then /howdy: ${/Count: \d+/.exec(String(body))?.[0]}`);
  serve(toListener(site().handle), 'Step 8', '/', '/howdy');
}
