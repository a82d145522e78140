// Step 19 · Rescue: one way to turn an error into a response.
import { isMain, serve } from './01-server.ts';
import type { Awaitable, Handler, HttpRequest, HttpResponse } from './04-http.ts';
import { toListener } from './04-http.ts';
import { html, page } from './06-template.ts';
import { SessionTooLarge } from './08-session-factory.ts';
import { readForm } from './12-forms.ts';
import { emptySite, type Middleware } from './13-middleware.ts';
import { CsrfSession, withCsrf } from './17-csrf.ts';
import { addCart, type CartData } from './18-cart.ts';

/**
 * Returns middleware. If the page throws an error of this class, the response is
 * `respond(request, error)`. Another error is thrown again.
 */
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

/**
 * Returns a page with status 422 and a link to the cart. If the form has a field `note`, the page
 * shows its text in a <pre>, so that the visitor can copy it.
 */
export async function onTooLarge(request: HttpRequest): Promise<HttpResponse> {
  const form = await readForm(request); // the page has read it already, and the result was kept
  const note = form instanceof URLSearchParams && form.get('note');
  return page('The session is full', html`<h1>The session is full</h1>
<p>Your browser cannot store more for this site. Your <a href="/cart">cart</a> is as it was before.
If its note is long, save a shorter note. An article may already have been saved, so look at its
page before you send its form again.</p>
${note && html`<p>This is the note that was not saved:</p>\n<pre>${note}</pre>`}`, 422);
}

/** The site of this step. */
export function site(): Handler {
  const { router, group, session } = emptySite(CsrfSession<CartData>);
  addCart(group.with(rescue(SessionTooLarge, onTooLarge)).with(session).with(withCsrf()));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 19', ['/cart']);
