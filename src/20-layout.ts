// Step 20 · Layout and error pages: each page has the same navigation.
//
// The layout appends to the `header` slot of a page, so it never edits markup. An error response is
// a `Problem`, a value too: if the client accepts HTML, it becomes a page. The error page opens the
// session, because its navigation shows the cart, and does not save it.
import { inspect } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import type { Session } from './07-session.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from './08-session-factory.ts';
import { addTutorial, DEMO, type TutorialData } from './09-tutorial.ts';
import { addInspector, fillSlot, explainSigned, withInspector } from './10-inspector.ts';
import { withTimeouts } from './11-timeouts.ts';
import { addArticles } from './12-forms.ts';
import { type Middleware, RouteGroup, sessionFrom } from './13-middleware.ts';
import { rejectPrefetch, withFlash } from './14-flash.ts';
import { addCookiePage } from './15-jar.ts';
import { CsrfSession, withCsrf } from './17-csrf.ts';
import { addCart, type CartData, countOf } from './18-cart.ts';
import { onTooLarge, rescue } from './19-rescue.ts';

export type Link = readonly [path: string, name: string];

/** The pages that need no session. */
export const LINKS: readonly Link[] = [['/', 'Home'], ['/howdy', 'Howdy'], ['/articles', 'Articles']];

/** Adds the navigation to a page. `here` is the path of the page. */
export function addNavigation(response: HttpResponse, links: readonly Link[], here: string): HttpResponse {
  const anchors = links.map(([path, name]) =>
    html`<a href="${path}"${path === here && html` aria-current="page"`}>${name}</a>\n`);
  return fillSlot(response, 'header', [], [html`<header>
<a class="skip" href="#content">To the content</a>
<strong>Sessions from Scratch</strong>
<nav aria-label="Pages">${anchors}</nav>
</header>
`]);
}

/** Adds the navigation to each page. `more` returns the links that depend on the session. */
export function withLayout<Data extends CartData>(
  more: (session: Session<Data>) => readonly Link[] = () => [],
): Middleware<object, { session: Session<Data> }> {
  return (inner) => async (request) => {
    const response = await inner(request);
    const count = countOf(request.session as Session<CartData>);
    const cart: Link = ['/cart', count > 0 ? `Cart (${count})` : 'Cart'];
    return addNavigation(response, [...LINKS, cart, ...more(request.session)], request.path);
  };
}

/**
 * Turns each `Problem` into a page if the client accepts HTML. `wrap` adds the session and the
 * layout. For a 503, and if the session cannot be opened, the page has only the fixed links.
 */
export function withErrorPages(inner: Handler, wrap: (page: Handler) => Handler): Handler {
  return async (request) => {
    const response = await respond(inner, request);
    const { body, status } = response;
    if (request.method === 'OPTIONS' && status === 405) return { ...response, status: 204, body: '' };
    const isProblem = typeof body === 'object' && 'detail' in body;
    if (!isProblem || !request.headers.accept?.includes('text/html')) return response;
    const plain = page(body.title, html`<h1>${body.title}</h1>\n<p>${body.detail}</p>`, status);
    const bare = addNavigation(plain, LINKS, request.path);
    const unsaved = { ...request, method: 'HEAD' }; // the adapter still sends the body
    const framed = status === 503 ? bare : await respond(wrap(() => plain), unsaved);
    const shown = framed.status === status ? framed : bare;
    const headers = { ...response.headers, ...shown.headers, vary: 'Accept, Cookie' };
    return { status, headers, body: shown.body };
  };
}

/** Returns the response of a handler, or a 500 if it throws. The log contains the error. */
async function respond(handler: Handler, request: Parameters<Handler>[0]): Promise<HttpResponse> {
  try {
    return await handler(request);
  } catch (error) {
    console.error(`500 ${request.method} ${request.path} ${JSON.stringify(inspect(error))}`);
    return problem(500, 'An error happened on this server. It is in the log.');
  }
}

type Data = TutorialData & CartData;

/** The site of this step: all pages so far. */
export function site(): Handler {
  const options = { ...DEMO, sessionClass: CsrfSession<Data> };
  const factory = withTimeouts(new SignedCookieSessionFactory(options));
  const router = addStyle(new Router());
  const session = sessionFrom(factory);
  const layout = withLayout<Data>(() => [['/inspect', 'Inspector'], ['/inspect/cookie', 'Cookies']]);
  const framed = RouteGroup.of(router).with(session).with(layout);
  const rescued = RouteGroup.of(router).with(rescue(SessionTooLarge, framed.wrap(onTooLarge)));
  const pages = rescued.with(rejectPrefetch).with(session).with(layout).with(withCsrf()).with(withFlash);
  addTutorial(pages);
  addArticles(pages, (request) => request.session.flash('Article saved', 'success'));
  addCart(pages);
  addCookiePage(pages);
  addInspector(pages, factory, explainSigned());
  const site = withErrorPages(router.handle, (page) => framed.wrap(page));
  return withInspector(factory, explainSigned(), site);
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 20', ['/', '/articles', '/cart', '/nonsense']);
