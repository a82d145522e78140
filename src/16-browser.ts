// Step 16 · A browser in memory: a visitor for tests, with a log of the traffic.
//
// The jar stores cookies and decides which request returns them (RFC 6265bis §5.7 and §5.8). The
// browser calls a handler directly, without a socket, and follows redirects.
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import { site as flashSite } from './14-flash.ts';
import { domainMatches, explainCookie, isTrustworthy, type ReceivedCookie } from './15-jar.ts';

/** The cookies of one browser. Times are seconds since 1970. */
export class CookieJar {
  readonly #kept = new Map<string, ReceivedCookie>(); // the oldest first

  /**
   * Reads a `Set-Cookie` header, and stores the cookie under its name, host, `isHostOnly` and
   * folder. Returns false if a browser would drop it, or if it would hide a `Secure` cookie.
   */
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
      .sort((a, b) => b.folder.length - a.folder.length); // equal lengths: the oldest first
    return sent.map(({ name, value }) => (name && `${name}=`) + value).join('; ') || undefined;
  }

  /** Deletes the cookies that have expired. Returns the others, the oldest first. */
  #list(now: number): ReceivedCookie[] {
    for (const [key, c] of this.#kept) if ((c.expires ?? Infinity) <= now) this.#kept.delete(key);
    return [...this.#kept.values()];
  }
}

/** An attacker in the network can send a cookie over http, but not replace a Secure cookie. */
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

  /**
   * Sends one request with the cookies of the jar, and returns its response. Stores the cookies of
   * the response, and adds a line to the log. `body` is a form if the method is POST.
   */
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
   * `RangeError`: 'The redirects do not end. The last goes to http://localhost:6543/'.
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

// Before the site of step 14 starts, a browser in memory visits it.
if (isMain(import.meta.url)) {
  const browser = new Browser(flashSite());
  await browser.post('/articles', { title: 'Hello', body: 'From memory' });
  console.log(browser.log.join('\n'));
  serve(toListener(flashSite()), 'Step 16', ['/articles', '/']);
}
