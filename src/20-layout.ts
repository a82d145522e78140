// Step 20 · Layout and error pages: each page has the same navigation.
//
// If the client accepts HTML, an error response becomes a page with this navigation too.

import { inspect } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, type HttpResponse, problem } from './04-http.ts';
import { toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import type { Session } from './07-session.ts';
import { type SessionFactory, SessionTooLarge } from './08-session-factory.ts';
import { addTutorial, type TutorialData } from './09-tutorial.ts';
import { addInspector, type Explain, fillSlot, withInspector } from './10-inspector.ts';
import { explainSigned } from './10-inspector.ts';
import { addArticles, type FormRequest } from './12-forms.ts';
import { emptySite, type Middleware, RouteGroup, sessionFrom } from './13-middleware.ts';
import { rejectPrefetch, withFlash } from './14-flash.ts';
import { addCookiePage } from './15-jar.ts';
import { CsrfSession, withCsrf } from './17-csrf.ts';
import { addCart, type CartData, countOf } from './18-cart.ts';
import { onTooLarge, rescue } from './19-rescue.ts';

/** The links of a navigation. */
export type Links = readonly (readonly [path: string, name: string])[];

/** Adds the navigation to each page. `more` returns the links that depend on the session. */
export function withLayout<S extends Session<CartData>>(
  more: (session: S) => Links = () => [],
): Middleware<object, { session: S }> {
  return (page) => async (request) => {
    const response = await page(request);
    return addNavigation(response, request.path, countOf(request.session), more(request.session));
  };
}

/** `here` is the path of the page: the navigation marks the link that leads to it. */
function addNavigation(response: HttpResponse, here: string, count = 0, more: Links = []) {
  const cart = count > 0 ? `Cart (${count})` : 'Cart';
  const links = [['/', 'Home'], ['/howdy', 'Howdy'], ['/articles', 'Articles'], ['/cart', cart]];
  const anchors = [...links, ...more].map(([path, name]) =>
    html`<a href="${path}"${path === here && html` aria-current="page"`}>${name}</a>\n`);
  return fillSlot(response, 'header', html`<header>
<a class="skip" href="#content">To the content</a><strong>Sessions from Scratch</strong>
<nav aria-label="Pages">${anchors}</nav>
</header>
`);
}

/**
 * Turns each `Problem` into a page if the client accepts HTML. `inLayout` adds the session and the
 * layout to this page. If the session cannot be opened, the page has a navigation without it.
 */
export function withErrorPages(inner: Handler, inLayout: (page: Handler) => Handler): Handler {
  const frame = async (request: HttpRequest, plain: HttpResponse): Promise<HttpResponse> => {
    const bare = addNavigation(plain, request.path);
    if (plain.status >= 500) return bare;
    const full = await rescue(Error, onError)(readOnly(inLayout(() => plain)))(request);
    return full.status === plain.status ? full : bare;
  };
  return async (request) => {
    const response = await rescue(Error, onError)(inner)(request);
    const { status, body } = response;
    const isOptions = request.method === 'OPTIONS' && status === 405;
    if (isOptions) return { ...response, status: 204, body: '' }; // with the `Allow` header
    if (typeof body !== 'object' || !('detail' in body)) return response;
    const plain = page(body.title, html`<h1>${body.title}</h1>\n<p>${body.detail}</p>`, status);
    const isPage = request.headers.accept?.includes('text/html');
    const shown = isPage ? await frame(request, plain) : response;
    const headers = { ...response.headers, ...shown.headers }; // Allow and Retry-After remain
    const vary = headers.vary ? `${headers.vary}, Accept` : 'Accept';
    return { status, headers: { ...headers, vary }, body: shown.body };
  };
}

/** Opens the session, and does not save it. */
const readOnly = (page: Handler): Handler => (request) => page({ ...request, method: 'HEAD' });

/** Logs the error, as in step 4. */
function onError({ method, path }: HttpRequest, error: Error): HttpResponse {
  if ('code' in error && error.code === 'ECONNRESET') throw error; // the client has left
  console.error(`500 ${method} ${path} ${JSON.stringify(inspect(error))}`);
  return problem(500, 'An error happened on this server. It is in the log.');
}

type ShopSession = CsrfSession<TutorialData & CartData>;

/** The options of `makeSite`. A later step adds its store, its links and its middleware. */
export type PagesOptions<S extends ShopSession> = {
  readonly factory: SessionFactory<S>;
  readonly explain?: Explain | undefined; // absent: no inspector, as in production
  readonly links?: (session: S) => Links;
  readonly trustedOrigins?: readonly string[];
  readonly rescues?: readonly Middleware<object>[]; // outside the session, for errors of a store
  readonly wrappers?: readonly Middleware<object, FormRequest & { session: S }>[]; // inside it
};

/** Returns a site with all pages so far. The order of the chain is part of the security. */
export function makeSite<S extends ShopSession>(options: PagesOptions<S>) {
  const { factory, explain, links = () => [], rescues = [], wrappers = [] } = options;
  const router = addStyle(new Router());
  const session = sessionFrom(factory);
  const csrf = withCsrf(options.trustedOrigins);
  const layout = withLayout<S>((own) => [...links(own), ...(explain ? COOKIE_LINKS : [])]);
  const framed = (outer: RouteGroup) =>
    wrappers.reduce((all, one) => all.with(one), outer.with(session).with(csrf)).with(layout);
  const onFull = rescue(SessionTooLarge, readOnly(framed(RouteGroup.of(router)).wrap(onTooLarge)));
  const rescued = rescues.reduce((all, one) => all.with(one), RouteGroup.of(router)).with(onFull);
  const pages = framed(rescued.with(rejectPrefetch)).with(withFlash);
  addTutorial(pages);
  addArticles(pages, (request) => request.session.flash('Article saved', 'success'));
  addCart(pages);
  const handle = withErrorPages(router.handle, framed(rescued).wrap);
  if (!explain) return { router, pages, handle };
  addCookiePage(pages);
  addInspector(pages, factory, explain);
  return { router, pages, handle: withInspector(factory, explain, handle) };
}

const COOKIE_LINKS: Links = [['/inspect', 'Inspector'], ['/inspect/cookie', 'Cookies']];

/** The site of this step. */
export function site(): Handler {
  const { factory } = emptySite(CsrfSession<TutorialData & CartData>);
  return makeSite({ factory, explain: explainSigned() }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 20', ['/', '/cart', '/nonsense']);
