// Step 11 · Timeouts: how long a session lives.
//
// The server uses only the times in the signed payload (OWASP Session Management Cheat Sheet).
import { isMain, serve } from './01-server.ts';
import { Cookie } from './02-cookie.ts';
import { toListener } from './04-http.ts';
import { Session } from './07-session.ts';
import { type SessionFactory, SignedCookieSessionFactory } from './08-session-factory.ts';
import { DEMO, site as tutorial, type TutorialData } from './09-tutorial.ts';

/** When a session ends. `Infinity` means never. */
export type TimeoutOptions = {
  readonly idleTimeout?: number; // seconds without a request; default 1200, as in Pyramid
  readonly absoluteTimeout?: number; // seconds since `created`; default 12 hours: a working day
  readonly reissueTime?: number; // seconds until an unchanged cookie is renewed; default: idle / 10
  readonly now?: () => number; // seconds since 1970
};

/**
 * Returns a factory whose sessions expire. `open` renews a cookie whose age, in whole seconds, is
 * more than `reissueTime`. Throws a `RangeError` for a time below 0 or NaN, and if `reissueTime` is
 * not less than `idleTimeout`. A `reissueTime` of `Infinity` is always allowed.
 */
export function withTimeouts<S extends Session<object>>(
  factory: SessionFactory<S>, options: TimeoutOptions = {},
): SessionFactory<S> {
  const { idleTimeout = 1200, absoluteTimeout = 12 * 60 * 60 } = options;
  const { reissueTime = idleTimeout / 10, now = () => Date.now() / 1000 } = options;
  for (const [name, seconds] of Object.entries({ idleTimeout, absoluteTimeout, reissueTime })) {
    // also rejects NaN
    if (!(seconds >= 0)) throw new RangeError(`${name} must be 0 seconds or more, not ${seconds}`);
  }
  if (reissueTime >= idleTimeout && reissueTime !== Infinity) {
    throw new RangeError(`reissueTime ${reissueTime} must be less than idleTimeout ${idleTimeout}`);
  }
  return {
    cookie: factory.cookie,
    create: () => factory.create(),
    async open(value) {
      const session = await factory.open(value);
      if (!session || now() - session.accessed > idleTimeout) return undefined;
      if (now() - session.created > absoluteTimeout) return undefined;
      // The cookie contains whole seconds.
      if (Math.floor(now()) - session.accessed > reissueTime) session.changed();
      return session;
    },
    save(session) {
      session.expires = Math.min(now() + idleTimeout, session.created + absoluteTimeout);
      return factory.save(session);
    },
  };
}

/** Pyramid's options for the cookie. */
export type CookieOptions = {
  readonly cookieName?: string; // default session
  readonly path?: string; // default /
  readonly domain?: string | undefined; // default: this host only, which is the safest
  readonly maxAge?: number | undefined; // seconds; default: until the browser closes
  readonly secure?: boolean; // https only
  readonly httpOnly?: boolean; // default true: no script can read it
  readonly sameSite?: 'Strict' | 'Lax' | 'None'; // default Lax
};

/**
 * A cookie with attributes in this order: Domain, Max-Age, Path, Secure, HttpOnly, SameSite.
 * Throws a `TypeError` if an option has a character that a cookie cannot contain.
 */
export class SessionCookie extends Cookie {
  constructor(options: CookieOptions = {}) {
    const { cookieName = 'session', path = '/', httpOnly = true, sameSite = 'Lax' } = options;
    const flags = { Secure: options.secure, HttpOnly: httpOnly, SameSite: sameSite };
    const all = { Domain: options.domain, 'Max-Age': options.maxAge, Path: path, ...flags };
    const given = Object.entries(all).filter(([, value]) => value !== undefined && value !== false);
    const parts = given.map(([name, value]) => (value === true ? name : `${name}=${value}`));
    super(cookieName, ['', ...parts].join('; '));
    for (const part of [cookieName, ...parts]) this.write(part);
  }
}

/** The site of this step. */
export function site(options: TimeoutOptions = { idleTimeout: 5 }): ReturnType<typeof tutorial> {
  const cookie = new SessionCookie({ maxAge: 3600 }); // longer than the session
  const session = { ...DEMO, ...options, cookie, sessionClass: Session<TutorialData> };
  return tutorial(withTimeouts(new SignedCookieSessionFactory(session), options));
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 11', ['/', '/howdy']);
