// Step 20 · Layout and error pages: each page has the same navigation.
//
// The layout fills the `header` slot of a page, so it never edits markup. An error response is a
// value too, a `Problem`: if the client accepts HTML, it becomes a page with the same navigation.
// For the number of things in the cart, the error page opens the session, and does not save it.
import { inspect } from 'node:util';
import { isMain, serve } from './01-server.ts';
import type { Handler, HttpRequest, HttpResponse, Problem } from './04-http.ts';
import { problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import type { Session } from './07-session.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from './08-session-factory.ts';
import { addTutorial, DEMO, type TutorialData } from './09-tutorial.ts';
import { addInspector, explainSigned, fillSlot, withInspector } from './10-inspector.ts';
import { withTimeouts } from './11-timeouts.ts';
import { addArticles } from './12-forms.ts';
import { type Middleware, RouteGroup, sessionFrom } from './13-middleware.ts';
import { rejectPrefetch, withFlash } from './14-flash.ts';
import { addCookiePage } from './15-jar.ts';
import { CsrfSession, withCsrf } from './17-csrf.ts';
import { addCart, type CartData, countOf } from './18-cart.ts';
import { onTooLarge, rescue } from './19-rescue.ts';

/** A link of the navigation. */
export type Link = readonly [path: string, name: string];

/** Adds the navigation to each page. `more` returns the links that depend on the session. */
export function withLayout<Data extends CartData>(
  more: (session: Session<Data>) => readonly Link[] = () => [],
): Middleware<object, { session: Session<Data> }> {
  return (page) => async (request) => {
    const response = await page(request);
    const links = linksFor(countOf(request.session), more(request.session));
    return addNavigation(response, links, request.path);
  };
}

function linksFor(count: number, more: readonly Link[] = []): readonly Link[] {
  const cart = count > 0 ? `Cart (${count})` : 'Cart';
  return [['/', 'Home'], ['/howdy', 'Howdy'], ['/articles', 'Articles'], ['/cart', cart], ...more];
}

/** `here` is the path of the page: the navigation marks the link that leads to it. */
function addNavigation(response: HttpResponse, links: readonly Link[], here: string): HttpResponse {
  const anchors = links.map(([path, name]) =>
    html`<a href="${path}"${path === here && html` aria-current="page"`}>${name}</a>\n`);
  return fillSlot(response, 'header', [], [html`<header>
<a class="skip" href="#content">To the content</a>
<strong>Sessions from Scratch</strong>
<nav aria-label="Pages">${anchors}</nav>
</header>
`]);
}

/**
 * Turns each `Problem` into a page if the client accepts HTML. `wrap` adds the session and the
 * layout to this page. If the session cannot be opened, the page has a navigation without it.
 */
export function withErrorPages(inner: Handler, wrap: (page: Handler) => Handler): Handler {
  const asPage = async (request: HttpRequest, status: number, { title, detail }: Problem) => {
    const plain = page(title, html`<h1>${title}</h1>\n<p>${detail}</p>`, status);
    const bare = addNavigation(plain, linksFor(0), request.path);
    if (status >= 500) return bare; // the session may be the part that failed
    const wrapped = rescue(Error, (_, error) => onError(request, error))(wrap(() => plain));
    const framed = await wrapped({ ...request, method: 'HEAD' }); // HEAD: nothing is saved
    return framed.status === status ? framed : bare;
  };
  return async (request) => {
    const response = await rescue(Error, onError)(inner)(request);
    const { status, body } = response;
    const isOptions = request.method === 'OPTIONS' && status === 405;
    if (isOptions) return { ...response, status: 204, body: '' }; // Allow was the question
    if (typeof body !== 'object' || !('detail' in body)) return response;
    const isPage = request.headers.accept?.includes('text/html');
    const shown = isPage ? await asPage(request, status, body) : response;
    const headers = { ...response.headers, ...shown.headers }; // Allow and Retry-After remain
    const vary = [headers.vary ?? [], 'Accept'].flat().join(', ');
    return { status, headers: { ...headers, vary }, body: shown.body };
  };
}

/** Does the same as step 4: an error of a page is a 500, and the log contains the error. */
function onError({ method, path }: HttpRequest, error: Error): HttpResponse {
  if ('code' in error && error.code === 'ECONNRESET') throw error; // the client has left
  console.error(`500 ${method} ${path} ${JSON.stringify(inspect(error))}`);
  return problem(500, 'An error happened on this server. It is in the log.');
}

/** The site of this step: all pages so far. */
export function site(): Handler {
  const options = { ...DEMO, sessionClass: CsrfSession<TutorialData & CartData> };
  const factory = withTimeouts(new SignedCookieSessionFactory(options));
  const explain = explainSigned();
  const router = addStyle(new Router());
  const session = sessionFrom(factory);
  const layout = withLayout(() => [['/inspect', 'Inspector'], ['/inspect/cookie', 'Cookies']]);
  const framed = RouteGroup.of(router).with(session).with(layout);
  const rescued = RouteGroup.of(router).with(rescue(SessionTooLarge, framed.wrap(onTooLarge)));
  const chain = rescued.with(rejectPrefetch).with(session).with(layout).with(withCsrf());
  const pages = chain.with(withFlash);
  addTutorial(pages);
  addArticles(pages, (request) => request.session.flash('Article saved', 'success'));
  addCart(pages);
  addCookiePage(pages);
  addInspector(pages, factory, explain);
  const shown = withErrorPages(router.handle, (page) => framed.wrap(page));
  return withInspector(factory, explain, shown);
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 20', ['/', '/cart', '/nonsense']);
