// Step 17 · Cross-site request forgery: did a page of this site send the form?
//
//   <form method="post" action="http://localhost:6543/articles">       on a page of another site
//
// A browser sends the cookie with a request, whatever page caused the request (OWASP: Cross-Site
// Request Forgery Prevention). Two headers tell where that page is: Sec-Fetch-Site (W3C Fetch
// Metadata) and Origin (RFC 6454). A client without both must send a token of the session, which
// only a page of this site can contain. Go's net/http.CrossOriginProtection uses the same headers.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, type Html } from './06-template.ts';
import { SignedCookieSessionFactory } from './08-session-factory.ts';
import { addTutorial, DEMO, type TutorialData } from './09-tutorial.ts';
import { withTimeouts } from './11-timeouts.ts';
import { addArticles, readForm } from './12-forms.ts';
import { type Middleware, RouteGroup, sessionFrom } from './13-middleware.ts';
import { FlashSession, rejectPrefetch, withFlash } from './14-flash.ts';

/** A session with a secret token for its forms. */
export class CsrfSession<Data extends object> extends FlashSession<Data> {
  /** Returns the token. The first call creates it. */
  csrfToken(): string {
    const token = Map.prototype.get.call(this, CSRF_KEY) as unknown;
    return typeof token === 'string' ? token : this.newCsrfToken();
  }

  newCsrfToken(): string {
    const token = randomBytes(20).toString('hex'); // 160 bits: no attacker can guess it
    Map.prototype.set.call(this, CSRF_KEY, token);
    return token;
  }
}

const CSRF_KEY = '_csrft_'; // Pyramid's key
const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS']; // they change nothing (RFC 9110 §9.2.1)
const ALLOWED_FETCH_SITES = ['same-origin', 'none']; // none: the address bar or a bookmark

/**
 * Rejects a form that another site sent, and adds the token to the forms of the page. Throws a
 * `TypeError` for a trusted origin that is not an origin, such as one with a path.
 */
export function withCsrf(
  trustedOrigins: readonly string[] = [],
): Middleware<{ hiddenFields: () => Html }, { session: CsrfSession<object> }> {
  for (const origin of trustedOrigins) {
    if (URL.canParse(origin) && new URL(origin).origin === origin) continue;
    throw new TypeError(`'${origin}' is not an origin. An origin looks like https://app.example.org`);
  }
  return (page) => async (request) => {
    const { session } = request;
    const reason = forgeryReason(request, trustedOrigins);
    if (reason === NO_HEADERS) {
      // A new session has not given its token to a page yet, so no token can be right.
      const isRight = !session.isNew && isEqual(await sentToken(request), session.csrfToken());
      if (!isRight) return problem(403, `${NO_HEADERS} ${ADVICE}`);
    } else if (reason !== undefined) return problem(403, `${reason} ${ADVICE}`);
    if (!SAFE_METHODS.includes(request.method)) session.csrfToken(); // reserves its space
    const hiddenFields = (): Html =>
      html`<input type="hidden" name="csrf_token" value="${session.csrfToken()}">\n`;
    return page({ ...request, hiddenFields });
  };
}

/** Returns why a request may be forged, or `undefined` if a page of this site sent it. */
export function forgeryReason(
  { method, headers }: HttpRequest,
  trustedOrigins: readonly string[] = [],
): string | undefined {
  const { 'sec-fetch-site': site, origin, host = '' } = headers;
  if (SAFE_METHODS.includes(method) || trustedOrigins.includes(origin ?? '')) return undefined;
  if (site) return ALLOWED_FETCH_SITES.includes(site) ? undefined : `The sender is ${site}.`;
  if (!origin) return NO_HEADERS;
  return postsToOwnSite(origin, host) ? undefined : `The page is from ${origin}, and this is ${host}.`;
}

const NO_HEADERS = 'The token of the form is missing or old.';
const ADVICE =
  'Nothing was done. Open the page of this site again and send the form from there. A program sends ' +
  'csrf_token or X-CSRF-Token. Behind a proxy, the proxy must pass the Host header on (nginx: ' +
  'proxy_set_header Host $http_host), or TRUSTED_ORIGINS must contain the origin of the site.';

/** Compares origins, not strings: `shop.lan:80` is http://shop.lan. A proxy may speak https. */
function postsToOwnSite(origin: string, host: string): boolean {
  const [scheme] = /^https?:\/\//.exec(origin) ?? [];
  if (scheme === undefined || ![origin, scheme + host].every((url) => URL.canParse(url))) return false;
  return new URL(origin).host === new URL(scheme + host).host;
}

async function sentToken(request: HttpRequest): Promise<string> {
  const header = request.headers['x-csrf-token'];
  const form = header === undefined ? await readForm(request) : undefined;
  return header ?? (form instanceof URLSearchParams ? form.get('csrf_token') : undefined) ?? '';
}

/** Compares in constant time. */
function isEqual(sent: string, token: string): boolean {
  const [a, b] = [Buffer.from(sent), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** The site of this step. */
export function site(): Handler {
  const options = { ...DEMO, sessionClass: CsrfSession<TutorialData> };
  const router = addStyle(new Router());
  const session = sessionFrom(withTimeouts(new SignedCookieSessionFactory(options)));
  const chain = RouteGroup.of(router).with(rejectPrefetch).with(session).with(withCsrf());
  const pages = chain.with(withFlash);
  addTutorial(pages);
  addArticles(pages, ({ session }) => session.flash('Article saved', 'success'));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 17', ['/articles', '/']);
