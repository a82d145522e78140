// Step 16 · A browser in memory: a visitor for tests, with a log of the traffic.
//
// RFC 6265bis: how a browser stores cookies (§5.7), and which request returns them (§5.8).
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import { site as flashSite } from './14-flash.ts';
import { domainMatches, explainCookie, isTrustworthy, type ReceivedCookie } from './15-jar.ts';

/** The cookies of one browser. Times are seconds since 1970. */
export class CookieJar {
  readonly #kept = new Map<string, ReceivedCookie>(); // the oldest first

  /** Stores the cookie of a `Set-Cookie` header. Returns false if a browser would drop it. */
  store(header: string, url: URL, now: number): boolean {
    const { cookie, reasons } = explainCookie(header, { url, now });
    if (reasons.length > 0 || this.#list(now).some((old) => hidesSecure(cookie, old))) return false;
    const key = JSON.stringify([cookie.name, cookie.host, cookie.isHostOnly, cookie.folder]);
    this.#kept.set(key, cookie); // a cookie that is set again keeps its place
    return true;
  }

  /** Returns the `Cookie` header for a request, the longest paths first, or `undefined`. */
  headerFor(url: URL, now: number): string | undefined {
    const sent = this.#list(now)
      .filter((c) => (c.isHostOnly ? url.hostname === c.host : domainMatches(url.hostname, c.host)))
      .filter(({ folder }) => pathMatches(url.pathname, folder))
      .filter(({ secure }) => !secure || isTrustworthy(url))
      .sort((a, b) => b.folder.length - a.folder.length);
    return sent.map(({ name, value }) => (name && `${name}=`) + value).join('; ') || undefined;
  }

  /** Deletes the expired cookies. Returns the others, the oldest first. */
  #list(now: number): ReceivedCookie[] {
    for (const [key, c] of this.#kept) if ((c.expires ?? Infinity) <= now) this.#kept.delete(key);
    return [...this.#kept.values()];
  }
}

/** Returns true if a cookie from http would replace an `old` Secure cookie or be sent first. */
function hidesSecure(cookie: ReceivedCookie, old: ReceivedCookie): boolean {
  if (cookie.secure || isTrustworthy(cookie.url) || !old.secure) return false;
  const isRelated = domainMatches(cookie.host, old.host) || domainMatches(old.host, cookie.host);
  return cookie.name === old.name && isRelated && pathMatches(cookie.folder, old.folder);
}

/** Returns true if a cookie for `folder` goes to `path`: /app to /app/x, but not to /apple. */
export function pathMatches(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/**
 * A visitor of one handler: `await new Browser(handler).get('/')` returns the response. If the
 * handler throws, the method throws the same error.
 */
export class Browser {
  readonly jar = new CookieJar();
  /** The traffic, a line for each request: 'POST /articles → 303 /articles'. */
  readonly log: string[] = [];
  readonly #site: { handler: Handler; origin: string; now: () => number };

  constructor(handler: Handler, origin = 'http://localhost:6543', now = () => Date.now() / 1000) {
    this.#site = { handler, origin, now };
  }

  /** Opens a page and follows redirects. */
  get(path: string): Promise<HttpResponse> {
    return this.#follow('GET', path);
  }

  /** Sends a form and follows redirects. */
  post(path: string, fields: Record<string, string>): Promise<HttpResponse> {
    return this.#follow('POST', path, new URLSearchParams(fields).toString());
  }

  /** Sends one request with the cookies of the jar. `body` is a form if the method is POST. */
  async request(method: string, path: string, body = '', headers = {}): Promise<HttpResponse> {
    const { handler, origin, now } = this.#site;
    const url = new URL(path, origin);
    const cookie = this.jar.headerFor(url, now());
    const form = method === 'POST' && { 'content-type': 'application/x-www-form-urlencoded' };
    const sent = { host: url.host, ...form, ...(cookie && { cookie }), ...headers };
    const request = { method, path: url.pathname, search: url.search, headers: sent };
    const response = await handler({ ...request, body: new Blob([body]).stream() });
    const { status, headers: { location = '', 'set-cookie': setCookies = [] } } = response;
    for (const header of [setCookies].flat()) this.jar.store(header, url, now());
    this.log.push(`${method} ${url.href.replace(origin, '')} → ${status} ${location}`.trim());
    return response;
  }

  /**
   * Sends a request, and follows at most 20 redirects, as the Fetch standard says. Then it throws a
   * `RangeError`.
   */
  async #follow(method: string, path: string, body = '', hops = 0): Promise<HttpResponse> {
    const response = await this.request(method, path, body);
    const { status, headers: { location } } = response;
    if (!/^30[12378]$/.test(`${status}`) || typeof location !== 'string') return response;
    const next = new URL(location, new URL(path, this.#site.origin)).href;
    if (hops === 20) throw new RangeError(`The redirects do not end. The last goes to ${next}`);
    if (status < 307) return this.#follow('GET', next, '', hops + 1);
    return this.#follow(method, next, body, hops + 1); // 307 and 308 repeat the form
  }
}

if (isMain(import.meta.url)) {
  const browser = new Browser(flashSite());
  await browser.post('/articles', { title: 'Hello', body: 'From memory' });
  console.log(browser.log.join('\n'));
  serve(toListener(flashSite()), 'Step 16', ['/articles', '/']);
}
