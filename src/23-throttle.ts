// Step 23 · Throttle: each wrong guess costs time.
//
// A script tries 10,000 passwords. After five failures, a user name waits 1 second before the next
// attempt, then 2, 4, 8 seconds, up to 15 minutes. An address waits after twenty failures, because
// a school has one address. An attempt counts before the password is checked: of 200 parallel
// guesses, 195 are rejected. This is the last step of the part, so its site has all pages so far.
import { isMain, serve } from './01-server.ts';
import { type Handler, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle } from './06-template.ts';
import { type SessionFactory, SessionTooLarge } from './08-session-factory.ts';
import { SignedCookieSessionFactory } from './08-session-factory.ts';
import { addTutorial, DEMO } from './09-tutorial.ts';
import { addInspector, type Explain, explainSigned, withInspector } from './10-inspector.ts';
import { withTimeouts } from './11-timeouts.ts';
import { addArticles } from './12-forms.ts';
import { type Middleware, RouteGroup, sessionFrom } from './13-middleware.ts';
import { rejectPrefetch, withFlash } from './14-flash.ts';
import { addCookiePage } from './15-jar.ts';
import { withCsrf } from './17-csrf.ts';
import { addCart } from './18-cart.ts';
import { onTooLarge, rescue } from './19-rescue.ts';
import { type Link, withErrorPages, withLayout } from './20-layout.ts';
import { type Authenticate, authenticator, RetryLater, USERS } from './21-password.ts';
import { addLogin, type SiteData, type UserRequest, UserSession, withUser } from './22-login.ts';

const MAX_DELAY = 15 * 60; // seconds: 96 attempts on one day
const MAX_TRACKED = 10_000; // names, and as many addresses; then the oldest is forgotten

/** Counts failures by key. After `free` failures, a key waits 1 second, then 2, 4, 8, … */
export class LoginThrottle {
  readonly #failures = new Map<string, { count: number; next: number }>(); // the newest is the last
  readonly #free: number;
  readonly #now: () => number;

  constructor(free: number, now: () => number) {
    this.#free = free;
    this.#now = now;
  }

  /** Returns the seconds to wait; 0 means that the key may try now. */
  waitFor(key: string): number {
    const wait = Math.ceil((this.#failures.get(key)?.next ?? 0) - this.#now());
    return wait > 0 && wait <= MAX_DELAY ? wait : 0; // longer: the clock of the server was set back
  }

  add(key: string): void {
    const before = this.#failures.get(key);
    const isRecent = before !== undefined && this.#now() - before.next <= MAX_DELAY;
    const count = isRecent ? before.count + 1 : 1;
    const delay = count < this.#free ? 0 : Math.min(2 ** (count - this.#free), MAX_DELAY);
    this.#failures.delete(key);
    this.#failures.set(key, { count, next: this.#now() + delay });
    const [oldest = ''] = this.#failures.keys();
    if (this.#failures.size > MAX_TRACKED) this.#failures.delete(oldest);
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }
}

/** Wraps `authenticate`. After too many failures, it throws `RetryLater` without a check. */
export function throttled(authenticate: Authenticate, now = () => Date.now() / 1000): Authenticate {
  const [names, addresses] = [new LoginThrottle(5, now), new LoginThrottle(20, now)];
  return async (name, password, address) => {
    const wait = Math.max(names.waitFor(name), addresses.waitFor(address));
    if (wait > 0) throw new RetryLater(429, wait, 'Too many attempts to log in.');
    names.add(name);
    const isRight = await authenticate(name, password, address);
    if (isRight) names.forget(name);
    else addresses.add(address);
    return isRight;
  };
}

/** The options of `addSite`. A later step adds its store, its links and its middleware. */
export type SiteOptions = {
  readonly factory: SessionFactory<UserSession<SiteData>>;
  readonly explain?: Explain | undefined; // absent: no inspector, as in production
  readonly users?: ReadonlyMap<string, string>;
  readonly trustedOrigins?: readonly string[];
  readonly rescues?: readonly Middleware<object>[]; // for errors of the store
  readonly wrappers?: readonly Middleware<object, UserRequest>[]; // inside all other middleware
  readonly links?: readonly Link[];
  readonly now?: (() => number) | undefined;
};

/** Adds all pages of the parts I and II. The order of the chain is part of the security. */
export function addSite(router: Router, options: SiteOptions) {
  const { factory, explain, users = USERS, links = [], rescues = [], wrappers = [], now } = options;
  const session = sessionFrom(factory);
  const layout = withLayout<SiteData>((visitor) => [
    visitor.has('user') ? ['/dashboard', 'Dashboard'] : ['/login', 'Login'],
    ...links,
    ...(explain ? COOKIE_LINKS : []),
  ]);
  const csrf = withCsrf(options.trustedOrigins);
  const framed = (group: RouteGroup) => group.with(session).with(layout).with(csrf).with(withUser);
  const tooLarge = rescue(SessionTooLarge, framed(RouteGroup.of(router)).wrap(onTooLarge));
  const outer = [...rescues, tooLarge].reduce((all, one) => all.with(one), RouteGroup.of(router));
  const chain = framed(outer.with(rejectPrefetch)).with(withFlash);
  const pages = wrappers.reduce<RouteGroup<UserRequest>>((all, one) => all.with(one), chain);
  addTutorial(pages);
  addArticles(pages, (request) => request.session.flash('Article saved', 'success'));
  addCart(pages);
  addLogin(pages, users, throttled(authenticator(users), now));
  const handle = withErrorPages(router.handle, (page) => framed(outer).wrap(page));
  if (!explain) return { pages, handle };
  addCookiePage(pages, now);
  addInspector(pages, factory, explain);
  return { pages, handle: withInspector(factory, explain, handle) };
}

const COOKIE_LINKS: readonly Link[] = [['/inspect', 'Inspector'], ['/inspect/cookie', 'Cookies']];

/** The site of this step. */
export function site(): Handler {
  const factory = new SignedCookieSessionFactory({ ...DEMO, sessionClass: UserSession<SiteData> });
  const router = addStyle(new Router());
  return addSite(router, { factory: withTimeouts(factory), explain: explainSigned() }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 23', ['/', '/cart', '/login']);
