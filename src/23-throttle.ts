// Step 23 · Throttle: each wrong guess costs time.
//
// After five failures, a user name waits 1 second, then 2, 4, 8 seconds, up to 15 minutes.

import { isMain, serve } from './01-server.ts';
import { type Handler, toListener } from './04-http.ts';
import { explainSigned } from './10-inspector.ts';
import { emptySite } from './13-middleware.ts';
import { makeSite, type PagesOptions } from './20-layout.ts';
import { type Authenticate, authenticator, RetryLater, USERS } from './21-password.ts';
import { addLogin, type SiteData, userLinks, UserSession, withUser } from './22-login.ts';

const MAX_DELAY = 15 * 60; // seconds: 96 attempts on one day
const MEMORY = 24 * 60 * 60; // seconds without a failure
const MAX_TRACKED = 10_000; // names, and as many addresses; then the oldest is forgotten

/**
 * Counts failures. After `free` failures, a key waits 1 second, then 2, 4, 8, … up to `MAX_DELAY`.
 * - The count begins again if the last wait of the key ended more than `MEMORY` ago.
 * - A wait of more than twice `MAX_DELAY` is 0.
 * - The key with the oldest failure is evicted if there are more than `MAX_TRACKED` keys.
 * Returns three functions: `waitFor(key)`, `add(key)` and `remove(key, some)`.
 */
export function loginThrottle(free: number, now: () => number) {
  const failures = new Map<string, { count: number; last: number }>(); // the newest is the last

  const nextOf = (key: string): number => {
    const { count, last } = failures.get(key) ?? { count: 0, last: 0 };
    return last + (count < free ? 0 : Math.min(2 ** (count - free), MAX_DELAY));
  };
  return {
    /** Returns the seconds to wait; 0 means that the key may try now. */
    waitFor(key: string): number {
      const wait = Math.ceil(nextOf(key) - now());
      return wait > 0 && wait <= 2 * MAX_DELAY ? wait : 0; // longer: the clock was set back
    },
    /** Adds a failure. */
    add(key: string): void {
      const count = now() - nextOf(key) <= MEMORY ? (failures.get(key)?.count ?? 0) : 0;
      failures.delete(key);
      failures.set(key, { count: count + 1, last: now() });
      const [oldest = ''] = failures.keys();
      if (failures.size > MAX_TRACKED) failures.delete(oldest);
    },
    /** Removes some failures of a key, or all. */
    remove(key: string, some = Infinity): void {
      const entry = failures.get(key);
      if (entry) entry.count = Math.max(0, entry.count - some);
    },
  };
}

/**
 * Wraps `authenticate`. A name has 5 attempts without a wait, and an address has 20. During a wait,
 * it throws `RetryLater` (429, 'Too many attempts to log in.') and does not check the password.
 */
export function throttled(authenticate: Authenticate, now = () => Date.now() / 1000): Authenticate {
  const [names, addresses] = [loginThrottle(5, now), loginThrottle(20, now)];
  return async (name, password, address) => {
    const wait = Math.max(names.waitFor(name), addresses.waitFor(address));
    if (wait > 0) throw new RetryLater(429, wait, 'Too many attempts to log in.');
    names.add(name); // before the check
    addresses.add(address);
    const isRight = await authenticate(name, password, address);
    if (isRight) names.remove(name);
    if (isRight) addresses.remove(address, 1);
    return isRight;
  };
}

/** The options of a site with users. */
export type SiteOptions = PagesOptions<UserSession<SiteData>> & {
  readonly users?: ReadonlyMap<string, string>;
  readonly now?: (() => number) | undefined;
};

/** Returns a site with all pages of the parts I and II. */
export function makeUserSite(options: SiteOptions) {
  const { users = USERS, wrappers = [], links = () => [], now } = options;
  const site = makeSite({
    ...options,
    wrappers: [withUser, ...wrappers],
    links: (session) => [...userLinks(session), ...links(session)],
  });
  return addLogin(site, users, throttled(authenticator(users), now));
}

/** The site of this step. */
export function site(): Handler {
  const { factory } = emptySite(UserSession<SiteData>);
  return makeUserSite({ factory, explain: explainSigned() }).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 23', ['/', '/cart', '/login']);
