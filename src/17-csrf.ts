// Step 17 · Cross-site request forgery: did a page of this site send the form?
//
// OWASP: Cross-Site Request Forgery Prevention. W3C: Fetch Metadata Request Headers. RFC 6454.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, problem, toListener } from './04-http.ts';
import { html, type Html } from './06-template.ts';
import { addTutorial, type TutorialData } from './09-tutorial.ts';
import { addArticles, readForm } from './12-forms.ts';
import { emptySite, type Middleware } from './13-middleware.ts';
import { FlashSession, rejectPrefetch, withFlash } from './14-flash.ts';

/** A session with a secret token for its forms. */
export class CsrfSession<Data extends object> extends FlashSession<Data> {
  /** Returns the token. The first call creates it. */
  csrfToken(): string {
    return String(this.all.get(CSRF_KEY) ?? this.newCsrfToken());
  }

  /** Replaces the token. The old one is not accepted any more. */
  newCsrfToken(): string {
    const token = randomBytes(20).toString('hex'); // 160 bits: no attacker can guess it
    this.all.set(CSRF_KEY, token);
    return token;
  }

  /** Returns true if the text is the token. A session without a token accepts no text. */
  isCsrfToken(text: string): boolean {
    const sent = Buffer.from(text);
    const token = Buffer.from(String(this.all.get(CSRF_KEY) ?? ''));
    return sent.length > 0 && sent.length === token.length && timingSafeEqual(sent, token);
  }
}

const CSRF_KEY = '_csrft_'; // Pyramid's key

const tokenField = (session: CsrfSession<object>) => (): Html =>
  html`<input type="hidden" name="csrf_token" value="${session.csrfToken()}">\n`;

type CsrfRequest = HttpRequest & { session: CsrfSession<object> };

/**
 * Rejects a form that another site sent, and adds the token to each form of the page. Throws a
 * `TypeError` for a trusted origin that is not an origin, such as one with a path.
 */
export function withCsrf(
  trustedOrigins: readonly string[] = [],
): Middleware<{ hiddenFields: () => Html }, CsrfRequest> {
  trustedOrigins.forEach(requireOrigin);
  return (page) => async (request) => {
    const { session, method } = request;
    const reason = await forgeryReason(request, trustedOrigins);
    if (reason !== undefined) return problem(403, `${reason} ${ADVICE}`);
    // Create the token now. If the session has no space for it, only this request fails.
    if (!SAFE_METHODS.includes(method)) session.csrfToken();
    return page(Object.assign({}, request, { hiddenFields: tokenField(session) }));
  };
}

/**
 * Returns `undefined` if a page of this site sent the request. Otherwise it returns the reason:
 * "The form does not come from this server (Sec-Fetch-Site: cross-site)."
 */
export async function forgeryReason(
  request: CsrfRequest,
  trustedOrigins: readonly string[] = [],
): Promise<string | undefined> {
  const { 'sec-fetch-site': site, origin = '', host = '' } = request.headers;
  if (SAFE_METHODS.includes(request.method) || trustedOrigins.includes(origin)) return undefined;
  if (site) {
    if (ALLOWED_FETCH_SITES.includes(site)) return undefined;
    return `The form does not come from this server (Sec-Fetch-Site: ${site}).`;
  }
  if (origin) {
    if (isOwnOrigin(origin, host)) return undefined;
    return `The form comes from ${origin}, and this server is ${host}. ${PROXY_ADVICE}`;
  }
  if (request.session.isCsrfToken(await sentToken(request))) return undefined;
  return 'The token is missing or old, or the form is unreadable. Send csrf_token or X-CSRF-Token.';
}

const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS']; // RFC 9110 §9.2.1
const ALLOWED_FETCH_SITES = ['same-origin', 'none']; // none: the address bar or a bookmark
const ADVICE = 'Nothing was done. Open the page of this site again and send the form from there.';
const PROXY_ADVICE =
  'If both are this site, a proxy changes the Host header. Let the proxy pass it on (nginx: ' +
  'proxy_set_header Host $http_host), or add the origin to TRUSTED_ORIGINS.';

function requireOrigin(text: string): void {
  if (URL.canParse(text) && new URL(text).origin === text) return;
  throw new TypeError(`Cannot trust '${text}': an origin looks like https://app.example.org`);
}

/** Compares origins, not strings: `shop.lan:80` is http://shop.lan. `Host` has no scheme. */
function isOwnOrigin(origin: string, host: string): boolean {
  const scheme = /^https?:\/\//.exec(origin)?.[0]; // an app can have the origin app://localhost
  if (scheme === undefined || !URL.canParse(origin) || !URL.canParse(scheme + host)) return false;
  return new URL(origin).origin === new URL(scheme + host).origin;
}

async function sentToken(request: HttpRequest): Promise<string> {
  const form = await readForm(request);
  const field = form instanceof URLSearchParams ? form.get('csrf_token') : undefined;
  return request.headers['x-csrf-token'] ?? field ?? '';
}

/** The site of this step. */
export function site(): Handler {
  const { router, group, session } = emptySite(CsrfSession<TutorialData>);
  const pages = group.with(rejectPrefetch).with(session).with(withCsrf()).with(withFlash);
  addTutorial(pages);
  addArticles(pages, ({ session }) => session.flash('Article saved', 'success'));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 17', ['/articles', '/']);
