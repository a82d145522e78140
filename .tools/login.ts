// Users who log in from several browsers, for the tests of steps 27 to 30.
import type { Handler, HttpResponse } from '../src/04-http.ts';
import { Browser } from '../src/16-browser.ts';
import { hashPassword } from '../src/21-password.ts';

const ORIGIN = 'http://localhost:6543';
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' }; // as a browser sends it with a form

/** Returns users. The password of each is the name, with a cheap hash of N = 2^4. */
export async function makeUsers(...names: string[]): Promise<Map<string, string>> {
  const entries = names.map(async (name) => [name, await hashPassword(name, 4)] as const);
  return new Map(await Promise.all(entries));
}

/** Sends a form of the site, and does not follow the redirect. */
export function send(
  browser: Browser,
  path: string,
  fields: Record<string, string> = {},
  headers: Record<string, string> = {},
): Promise<HttpResponse> {
  const form = new URLSearchParams(fields).toString();
  return browser.request('POST', path, form, { ...SAME_ORIGIN, ...headers });
}

/** Returns a new browser in which this user has logged in. `agent` is the name of the browser. */
export async function logIn(
  handle: Handler,
  username: string,
  agent = 'Desk',
  now = () => Date.now() / 1000,
): Promise<Browser> {
  const browser = new Browser(handle, ORIGIN, now);
  const fields = { username, password: username };
  const { status } = await send(browser, '/login', fields, { 'user-agent': agent });
  if (status !== 303) throw new Error(`The login of ${username} returned ${status}`);
  return browser;
}

/** Returns the `Cookie` header that the browser would send: `session=…`. */
export function cookieOf(browser: Browser, now = Date.now() / 1000): string {
  return browser.jar.headerFor(new URL(ORIGIN), now) ?? '';
}

/** Requests a page with a copied cookie, as an attacker does. Returns the status. */
export async function visitWith(handle: Handler, cookie: string, path: string): Promise<number> {
  return (await new Browser(handle, ORIGIN).request('GET', path, '', { cookie })).status;
}
