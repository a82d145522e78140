// Step 8 · A session factory opens the session before the page and saves it after the page.
//
// The factory writes the same cookies as Pyramid's SignedCookieSessionFactory.
import { isMain, serve } from './01-server.ts';
import { Cookie, parseCookies } from './02-cookie.ts';
import { type Codec, Signer, type SignerOptions } from './03-signer.ts';
import { type Awaitable, type Handler, type HttpRequest, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle } from './06-template.ts';
import { decodePayload, encodePayload, greet, Session } from './07-session.ts';
import type { SessionState, Visitor } from './07-session.ts';

/** Opens, creates and saves the sessions of a site. */
export interface SessionFactory<S extends Session<object>> {
  readonly cookie: Cookie;
  /** Returns the session of a cookie value, or `undefined` if the value is invalid. */
  open(value: string): Awaitable<S | undefined>;
  /** Returns a new session. */
  create(): S;
  /** Returns the new cookie value, `''` to delete the cookie, or `undefined` to keep it. */
  save(session: S): Awaitable<string | undefined>;
}

/** The class of the sessions, their cookie and the clock. */
export type FactoryOptions<S> = {
  readonly sessionClass: new (now: number, state?: SessionState) => S;
  readonly cookie?: Cookie; // default: the name `session`
  readonly now?: () => number; // seconds since 1970
};

/** The session is too large for its cookie. */
export class SessionTooLarge extends RangeError {}

/** Keeps the whole session in a cookie. */
export class CookieSessionFactory<S extends Session<object>> implements SessionFactory<S> {
  readonly cookie: Cookie;
  readonly #codec: Codec;
  readonly #options: Required<FactoryOptions<S>>;

  /** The codec makes a value that only this site can write. */
  constructor(codec: Codec, options: FactoryOptions<S>) {
    this.#options = { cookie: new Cookie('session'), now: () => Date.now() / 1000, ...options };
    this.cookie = this.#options.cookie;
    this.#codec = codec;
  }

  /** Returns the session in a cookie value, or `undefined` if the value is invalid. */
  open(value: string): S | undefined {
    const state = decodePayload(this.#codec.decode(value));
    return state && this.create(state);
  }

  /** Returns a session with the saved state. If there is no state, the session is new. */
  create(state?: SessionState): S {
    return new this.#options.sessionClass(this.#options.now(), state);
  }

  /**
   * Returns the new cookie value, `''` for an empty session, or `undefined` for an unchanged one.
   * Throws `SessionTooLarge` if the name and the value together have more than 4096 bytes. Its
   * message lists the size of each value: '4157 bytes, and the limit is 4096: count 1, name 3002'.
   */
  save(session: S): string | undefined {
    if (!session.isChanged) return undefined; // an old value could overwrite a newer one
    if (session.size === 0) return '';
    const value = this.#codec.encode(encodePayload(session, this.#options.now()));
    const size = this.cookie.name.length + value.length;
    if (size <= MAX_COOKIE_SIZE) return value;
    const sizes = [...session].map(([key, v]) => ` ${key} ${Buffer.byteLength(JSON.stringify(v))}`);
    throw new SessionTooLarge(`${size} bytes, and the limit is ${MAX_COOKIE_SIZE}:${sizes}`);
  }
}

export const MAX_COOKIE_SIZE = 4096; // bytes of the name and the value (RFC 6265bis §5.7)

/** Everyone can read the cookie, and only this site can write it. */
export class SignedCookieSessionFactory<S extends Session<object>> extends CookieSessionFactory<S> {
  /** The default of `salt` is the salt of Pyramid. */
  constructor(options: FactoryOptions<S> & SignerOptions) {
    super(new Signer({ salt: 'pyramid.session.', ...options }), options);
  }
}

/**
 * Returns middleware. The page receives `request.session`: the first valid session of at most four
 * cookies. The middleware adds `Cookie` to `vary`, and `cache-control: private, no-cache` if the
 * page has no such header. It saves a changed session, but not for HEAD or after a status of 500 or
 * more. `; Max-Age=0` deletes the cookie of an empty session. The cookies of the page come first.
 */
export function withSession<S extends Session<object>>(factory: SessionFactory<S>) {
  const { cookie } = factory;
  return <R extends HttpRequest>(page: Handler<NoInfer<R> & { session: S }>): Handler<R> =>
    async (request) => {
      const own = parseCookies(request.headers.cookie).filter(([name]) => name === cookie.name);
      let session: S | undefined;
      // Another program on this host can set a cookie with the same name.
      for (const [, value] of own.slice(0, 4)) session ??= await factory.open(value);
      session ??= factory.create();
      const response = await page(Object.assign({}, request, { session }));
      const vary = response.headers.vary ? `${response.headers.vary}, Cookie` : 'Cookie';
      const headers = { 'cache-control': 'private, no-cache', ...response.headers, vary };
      if (response.status >= 500 || request.method === 'HEAD') return { ...response, headers };
      const value = await factory.save(session);
      if (value === undefined) return { ...response, headers };
      const setCookie = cookie.write(value) + (value === '' ? '; Max-Age=0' : '');
      const first = response.headers['set-cookie'];
      const cookies = first ? [first, setCookie].flat() : setCookie;
      return { ...response, headers: Object.assign(headers, { 'set-cookie': cookies }) };
    };
}

/** The site of this step. */
export function site(): Router {
  const secrets = ['itsaseekreet'];
  const factory = new SignedCookieSessionFactory({ secrets, sessionClass: Session<Visitor> });
  const home = withSession(factory)((request) => greet(request.session));
  return addStyle(new Router()).get('/', home).get('/howdy', home);
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 8', ['/', '/howdy']);
