// Step 14 · Cross-site request forgery: was it our own page that asked?
//
//   <form method="post" action="http://localhost:6543/articles">      on a page of somebody else's
//
// A browser sends our cookie with a request whichever page made it. So a cookie shows who asks, and
// not who wanted it (OWASP: Cross-Site Request Forgery Prevention). Browsers tell: Sec-Fetch-Site
// (W3C Fetch Metadata) says how far the asking page is from ours, and Origin (RFC 6454) which it
// is. Where neither is sent, the form must carry a token that only our own page can have read. Go's
// net/http.CrossOriginProtection decides by the same two headers, and lets the third case pass.
import { timingSafeEqual } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { parseForm, problem, toListener } from './02-http.ts';
import type { Handler, HttpResponse } from './02-http.ts';
import type { Router } from './03-router.ts';
import { html } from './04-template.ts';
import type { Html } from './04-template.ts';
import type { Session } from './10-session.ts';
import { DEMO, SignedCookieSessionFactory, withSession } from './11-session-factory.ts';
import type { Mount, SessionRequest } from './11-session-factory.ts';
import { site as articles, withFlash } from './13-flash.ts';

export type CsrfOptions = {
  /** Other sites whose pages may post here, as `https://app.example.org`. */
  trustedOrigins?: readonly string[];
};

/**
 * Refuses with 403 what another site's page made a browser send, and puts the token into every form
 * that `inner` makes. Throws a `TypeError` for a trusted origin that is none.
 */
export function withCsrf<R extends SessionRequest>(
  inner: Handler<R>,
  { trustedOrigins = [] }: CsrfOptions = {},
): Handler<R> {
  for (const origin of trustedOrigins) {
    if (URL.canParse(origin) && new URL(origin).origin === origin) continue;
    throw new TypeError(`Cannot trust '${origin}': an origin looks like https://app.example.org`);
  }
  const trusted = new Set(trustedOrigins);
  return async (request) => {
    const reason = whyForged(request, trusted);
    if (reason !== undefined) return problem(403, `${reason} ${WHAT_TO_DO}`);
    return withTokens(await inner(request), request.session);
  };
}

/** Why a request may be forged, in words for the visitor, or `undefined`: it is not. */
export function whyForged(
  { method, headers, body, session }: SessionRequest,
  trusted: ReadonlySet<string> = new Set(),
): string | undefined {
  if (SAFE_METHODS.includes(method)) return undefined; // they only look (RFC 9110 §9.2.1)
  const { 'sec-fetch-site': site, origin, host = '' } = headers;
  if (origin && trusted.has(origin)) return undefined;
  if (site) return OUR_OWN.includes(site) ? undefined : `The page that asked is ${site}.`;
  if (origin) return hostOf(origin) === host.toLowerCase() ? undefined : `${origin} is not here.`;
  const sent = headers['x-csrf-token'] ?? parseForm(body)?.get('csrf_token') ?? '';
  // A new session has given its token to nobody. It must not get one now: the refusal would carry a
  // cookie, and that would overwrite the visitor's own, which Lax has held back.
  const isKnown = !session.isNew && isSame(sent, session.csrfToken());
  return isKnown ? undefined : 'The token is missing, or out of date.';
}

/** The hidden field that carries the session's token. */
export function tokenField(session: Session<object>): Html {
  return html`<input type="hidden" name="csrf_token" value="${session.csrfToken()}">`;
}

const WHAT_TO_DO =
  'Nothing was done. If it was you, open the page of this site once more, and send the form from ' +
  'there. A program sends the token of its session, as csrf_token or as X-CSRF-Token.';

const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS'];

/** `none` is the visitor: the address bar, a bookmark. `same-site` is another host: a neighbour. */
const OUR_OWN = ['same-origin', 'none'];

/**
 * The host and port of a web page's origin; `undefined` for `null`, which a sandboxed page sends,
 * and for `app://localhost`, an app's. http or https is all one: behind a proxy that speaks https
 * for us, we do not know our own.
 */
function hostOf(origin: string): string | undefined {
  return /^https?:/.test(origin) && URL.canParse(origin) ? new URL(origin).host : undefined;
}

/** In a time that tells nothing but the length, which is known anyway. */
function isSame(sent: string, token: string): boolean {
  const [a, b] = [Buffer.from(sent), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/**
 * Puts the token into each form that posts: what no page has to do, no page can forget. Text cannot
 * look like a form, since `html` has escaped it; what is no HTML is let alone, since nobody has.
 */
function withTokens(response: HttpResponse, session: Session<object>): HttpResponse {
  const { headers, body } = response;
  const isHtml = String(headers['content-type']).startsWith('text/html');
  if (typeof body !== 'string' || !isHtml) return response;
  const fill = (tag: string): string => (isOurs(tag) ? `${tag}\n${tokenField(session)}` : tag);
  return { ...response, body: body.replace(FORM, fill) };
}

/**
 * Whether a form posts, and to us: to its own page or to a path of ours. One that GETs would put
 * the token into the URL, the history, the logs. `//evil` is a host; so is `/\evil` to a browser,
 * and `/evil` with a TAB or a newline after the slash.
 */
function isOurs(tag: string): boolean {
  const found = [...tag.matchAll(ATTRIBUTE)];
  const attributes = found.map(([, name = '', , value = '']) => [name.toLowerCase(), value]);
  const { method = '', action = '' } = Object.fromEntries(attributes);
  return method.toLowerCase() === 'post' && /^(?:$|\/(?![/\\\s]))/.test(action);
}

const FORM = /<form(?=[\s>])(?:"[^"]*"|'[^']*'|[^>"'])*>/gi; // a `>` in quotes does not end a tag
const ATTRIBUTE = /\s([\w-]+)=(["']?)(.*?)\2(?=[\s>])/gs; // a="b", a='b', a=b

/** The site of this step: step 13's, and nobody else can post to it. */
export function site(
  factory = new SignedCookieSessionFactory<{ counter: number }>(DEMO),
  mount: Mount<{ counter: number }> = (inner) => withSession(factory, withCsrf(withFlash(inner))),
): { router: Router; handle: Handler } {
  return articles(factory, mount);
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 14', '/articles', '/');
