// Step 16 · A browser in memory: a visitor for tests, with a log of the traffic.
//
// The jar keeps cookies and decides which request gets them back (RFC 6265bis §5.8). The browser
// calls a handler directly, without a socket, and follows redirects. WebTest's TestApp does the
// same for Pyramid. Its clock can be set, so a test can wait for a year.
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import { site as flashSite } from './14-flash.ts';
import { type CookieContext, domainMatches, isTrustworthy, parseSetCookie } from './15-jar.ts';
import { REJECT_RULES, type StoredCookie } from './15-jar.ts';

/** The cookies of one browser. Times are seconds since 1970. */
export class CookieJar {
  readonly #cookies = new Map<string, StoredCookie & { host: string; folder: string }>();

  /** Reads a `Set-Cookie` header. Returns false if a browser would drop the cookie. */
  store(header: string, url: URL, now: number): boolean {
    const [cookie, context]: [StoredCookie | undefined, CookieContext] =
      [parseSetCookie(header, now), { url, now }];
    if (!cookie || Object.values(REJECT_RULES).some((rejects) => rejects(cookie, context))) return false;
    const host = cookie.domain ?? url.hostname;
    const folder = cookie.path ?? (url.pathname.replace(/\/[^/]*$/, '') || '/'); // §5.1.4
    const key = JSON.stringify([cookie.name, cookie.domain ?? null, host, folder]);
    if (cookie.expires <= now) this.#cookies.delete(key);
    else this.#cookies.set(key, { ...cookie, host, folder });
    return true;
  }

  /** Returns the `Cookie` header for a request, the longest paths first, or `undefined`. */
  headerFor(url: URL, now: number): string | undefined {
    const sent = [...this.#cookies.values()].filter(
      ({ domain, host, folder, secure, expires }) =>
        (domain === undefined ? url.hostname === host : domainMatches(url.hostname, domain)) &&
        pathMatches(url.pathname, folder) &&
        (isTrustworthy(url) || !secure) &&
        expires > now,
    );
    sent.sort((a, b) => b.folder.length - a.folder.length); // equal lengths: the oldest first
    return sent.map(({ name, value }) => `${name}=${value}`).join('; ') || undefined;
  }
}

/** Returns true if a cookie for `folder` goes to `path`: /app to /app/x, but not to /apple. */
export function pathMatches(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** A visitor: `await new Browser(site().handle).get('/')`. If a page throws, the method throws. */
export class Browser {
  readonly jar = new CookieJar();
  /** The traffic, a line for each request: 'POST /articles → 303 /articles'. */
  readonly log: string[] = [];
  readonly #handler: Handler;
  readonly #origin: string;
  readonly #now: () => number;

  constructor(handler: Handler, origin = 'http://localhost:6543', now = () => Date.now() / 1000) {
    this.#handler = handler;
    this.#origin = origin;
    this.#now = now;
  }

  /** Opens a page and follows redirects. */
  get(path: string): Promise<HttpResponse> {
    return this.#follow('GET', path);
  }

  /** Sends a form and follows redirects. */
  post(path: string, fields: Record<string, string>): Promise<HttpResponse> {
    return this.#follow('POST', path, new URLSearchParams(fields).toString());
  }

  /** Sends one request and returns its response. */
  async request(method: string, path: string, body = '', headers = {}): Promise<HttpResponse> {
    const url = new URL(path, this.#origin);
    const cookie = this.jar.headerFor(url, this.#now());
    const form = method === 'POST' && { 'content-type': 'application/x-www-form-urlencoded' };
    const response = await this.#handler({
      method,
      path: url.pathname,
      search: url.search,
      headers: { host: url.host, ...form, ...(cookie && { cookie }), ...headers },
      body: chunksOf(body),
    });
    const { status, headers: { location = '', 'set-cookie': setCookie = [] } } = response;
    for (const header of [setCookie].flat()) this.jar.store(header, url, this.#now());
    this.log.push(`${method} ${path} → ${status} ${String(location)}`.trim());
    return response;
  }

  async #follow(method: string, path: string, body = ''): Promise<HttpResponse> {
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const response = await this.request(method, path, body);
      const { location } = response.headers;
      if (!REDIRECTS.includes(response.status) || typeof location !== 'string') return response;
      path = new URL(location, new URL(path, this.#origin)).href;
      if (response.status < 307) [method, body] = ['GET', '']; // as browsers do for 301 to 303
    }
    throw new RangeError(`The redirects do not end. The last one leads to ${path}`);
  }
}

async function* chunksOf(body: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(body);
}

const MAX_REDIRECTS = 20; // the limit of the Fetch standard
const REDIRECTS = [301, 302, 303, 307, 308]; // 307 and 308 repeat the method and the body

// Before the site of step 14 starts, a browser in memory visits it.
if (isMain(import.meta.url)) {
  const browser = new Browser(flashSite());
  await browser.post('/articles', { title: 'Hello', body: 'From memory' });
  await browser.get('/');
  console.log(browser.log.join('\n'));
  serve(toListener(flashSite()), 'Step 16', ['/articles', '/']);
}
