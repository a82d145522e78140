// A visitor of the shop of step 18, for its tests. The shop has a fixed clock and its own secret.
import type { HttpResponse } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { type SessionFactory, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { type Middleware, RouteGroup, sessionFrom } from '../src/13-middleware.ts';
import { Browser } from '../src/16-browser.ts';
import { CsrfSession, withCsrf } from '../src/17-csrf.ts';
import { addCart, type Cart, type CartData } from '../src/18-cart.ts';

export const NOW = 1_700_000_000; // 2023-11-14T22:13:20Z
const ORIGIN = 'http://localhost:6543';
export const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' }; // as a browser of today sends it

/** The factory of the shop. */
export const shopFactory = new SignedCookieSessionFactory({
  secrets: ['x'], sessionClass: CsrfSession<CartData>, now: () => NOW,
});

/** Returns a browser in a shop with only the cart. `outer` wraps the session. */
export function openShop(
  factory: SessionFactory<CsrfSession<CartData>> = shopFactory,
  outer: Middleware<object> = (page) => (request) => page(request),
): Browser {
  const router = new Router();
  addCart(RouteGroup.of(router).with(outer).with(sessionFrom(factory)).with(withCsrf()));
  return new Browser(router.handle, ORIGIN, () => NOW);
}

/** Sends a form of the shop, and does not follow the redirect. */
export function send(
  browser: Browser,
  path: string,
  form = '',
  headers = {},
): Promise<HttpResponse> {
  return browser.request('POST', path, form, { ...SAME_ORIGIN, ...headers });
}

/** Returns the `Cookie` header that the browser would send. */
export function cookieOf(browser: Browser): string {
  return browser.jar.headerFor(new URL(ORIGIN), NOW) ?? '';
}

/** Returns the cart in a `Cookie` header or a `Set-Cookie` header. */
export function cartIn(header: string): Cart | undefined {
  const [, value = ''] = /^session=([^;]*)/.exec(header) ?? [];
  return shopFactory.open(value)?.get('cart');
}
