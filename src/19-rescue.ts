// Step 19 · Rescue: one way to turn an error into a response.
//
// If a session does not fit into its cookie, `save` throws, and the visitor sees a 500. `rescue`
// wraps the pages and responds to one class of errors with an explanation. It stands outside
// `withSession`, because `save` runs after the page. Nothing was saved, so nothing is lost.
import { isMain, serve } from './01-server.ts';
import { type Awaitable, type Handler, type HttpRequest, type HttpResponse, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from './08-session-factory.ts';
import { DEMO } from './09-tutorial.ts';
import { type Middleware, RouteGroup, sessionFrom } from './13-middleware.ts';
import { CsrfSession, withCsrf } from './17-csrf.ts';
import { addCart, type CartData } from './18-cart.ts';

/** If the page throws an `ErrorClass`, the response is `respond(request, error)`. */
export function rescue<E extends Error>(
  ErrorClass: abstract new (...args: never[]) => E,
  respond: (request: HttpRequest, error: E) => Awaitable<HttpResponse>,
): Middleware<object> {
  return (page) => async (request) => {
    try {
      return await page(request);
    } catch (error) {
      if (error instanceof ErrorClass) return respond(request, error);
      throw error;
    }
  };
}

/** The response if the session is full. */
export function onTooLarge(): HttpResponse {
  return page('The session is full', html`<h1>The session is full</h1>
<p>Your browser cannot store more for this site. Nothing was changed. If your <a href="/cart">cart</a>
has a long note, make the note shorter, and then try again.</p>`, 422);
}

/** The site of this step. */
export function site(): Handler {
  const factory = new SignedCookieSessionFactory({ ...DEMO, sessionClass: CsrfSession<CartData> });
  const router = addStyle(new Router());
  const rescued = RouteGroup.of(router).with(rescue(SessionTooLarge, onTooLarge));
  addCart(rescued.with(sessionFrom(factory)).with(withCsrf()));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 19', ['/cart']);
