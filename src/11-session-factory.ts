// Step 11 · A session factory: the session, kept in a signed cookie. The original tutorial, whole.
//
//   cookie value = base64url( signature ‖ [accessed, created, {"counter": 1}] )       step 9's form
//
// A factory opens the session of a request and saves it with the response, so every way to keep one
// is two methods. This one is Pyramid's SignedCookieSessionFactory, wire format and options; each
// reads the other's cookies. It keeps time as well: an idle session ends, and so does an old one
// (OWASP Session Management Cheat Sheet), by the server's clock, whatever the browser does.
import { isMain, serve } from './01-server.ts';
import { serverError, toListener } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import { TutorialViews } from './06-views.ts';
import { MAX_COOKIE_SIZE, parseCookies, serializeCookie, withCookie } from './07-cookie.ts';
import type { CookieAttributes } from './07-cookie.ts';
import { Signer } from './09-signer.ts';
import { requireJson, Session } from './10-session.ts';
import type { Json, SessionState } from './10-session.ts';

export interface SessionFactory<Data extends object = Record<string, Json>> {
  /** The request's session, or a new one if it brings none that is valid. Input never throws. */
  open(request: HttpRequest): Session<Data> | Promise<Session<Data>>;
  /** The response with what it takes to find the session again. Throws where it cannot be kept. */
  save(
    session: Session<Data>,
    request: HttpRequest,
    response: HttpResponse,
  ): HttpResponse | Promise<HttpResponse>;
}

/** Gives `inner` the visitor's session as `request.session`, and saves it after. */
export function withSession<R extends HttpRequest, Data extends object>(
  factory: SessionFactory<Data>,
  inner: Handler<NoInfer<R> & { session: Session<NoInfer<Data>> }>,
): Handler<R> {
  return async (request) => {
    const session = await factory.open(request);
    let response: HttpResponse;
    try {
      response = await inner({ ...request, session });
    } catch (error) {
      response = serverError(error, `${request.method} ${request.path}`);
    }
    return factory.save(session, request, response);
  };
}

/** Pyramid's options, in camelCase, and the cookie's attributes. Durations in seconds. */
export type CookieSessionOptions = CookieAttributes & {
  /** Newest first. Who rotates adds one in front, and drops the last when its cookies are old. */
  secrets: readonly string[];
  cookieName?: string;
  /** Without a request for longer than this, it ends. Infinity: never. Pyramid's `timeout`. */
  idleTimeout?: number;
  /** However busy, it ends this long after it began. Pyramid has none. */
  absoluteTimeout?: number;
  /** A cookie older than this is written anew though nothing changed. Default: idleTimeout / 10. */
  reissueTime?: number;
  /** Whether a page that failed (5xx) saves what it did to the session. Pyramid: true. */
  setOnException?: boolean;
  hashAlg?: string;
  salt?: string;
  serializer?: Serializer;
  now?: () => number;
};

export type Serializer = { dumps(value: Json): string; loads(text: string): unknown };

export class SignedCookieSessionFactory<Data extends object = Record<string, Json>>
  implements SessionFactory<Data>
{
  readonly options: Required<Omit<CookieSessionOptions, keyof CookieAttributes>> & CookieAttributes;
  readonly signer: Signer;

  /** Throws a `RangeError` for times that cannot be, a `TypeError` for a bad attribute. */
  constructor(options: CookieSessionOptions) {
    const idleTimeout = options.idleTimeout ?? 1200; // 20 minutes, as Pyramid
    this.options = { ...DEFAULTS, idleTimeout, reissueTime: idleTimeout / 10, ...options };
    this.signer = new Signer(this.options);
    const { absoluteTimeout, reissueTime, cookieName } = this.options;
    for (const [name, value] of Object.entries({ idleTimeout, absoluteTimeout, reissueTime })) {
      if (!(value >= 0)) throw refuse(`${name} must be 0 or more seconds: it is ${value}`);
    }
    if (reissueTime >= idleTimeout && reissueTime !== Infinity) {
      const found = `it is ${reissueTime}, and idleTimeout is ${idleTimeout}`;
      throw refuse(`reissueTime must be less than idleTimeout: ${found}`);
    }
    serializeCookie(cookieName, '', this.options); // a bad attribute fails here, not at a visitor
  }

  open(request: HttpRequest): Session<Data> {
    const sent = parseCookies(request.headers.cookie).get(this.options.cookieName);
    return new Session(this.options.now(), this.read(sent ?? ''));
  }

  /** What a cookie holds, or `undefined` where it is not ours, not a session, or out of time. */
  read(cookie: string): SessionState | undefined {
    const text = this.signer.unsign(cookie); // first the signature; only then is it worth a look
    const { serializer, idleTimeout, absoluteTimeout, now } = this.options;
    const state = text === undefined ? undefined : load(serializer, text);
    if (!state) return undefined;
    const [idle, age] = [now() - state.accessed, now() - state.created];
    return idle <= idleTimeout && age <= absoluteTimeout ? state : undefined;
  }

  save(session: Session<Data>, request: HttpRequest, response: HttpResponse): HttpResponse {
    const { cookieName, reissueTime, setOnException, now } = this.options;
    // The page depends on the cookie: no shared cache may show it to somebody else (RFC 9111 §4.1).
    const vary = [response.headers.vary ?? [], 'Cookie'].flat().join(', ');
    const headers = { 'cache-control': 'private, no-cache', ...response.headers, vary };
    const marked = { ...response, headers };
    if (request.method === 'HEAD' || (response.status >= 500 && !setOnException)) return marked;
    if (session.isEnded && session.size === 0) {
      return withCookie(marked, serializeCookie(cookieName, '', { ...this.options, maxAge: 0 }));
    }
    const isDue = !session.isNew && Math.floor(now()) - session.accessed > reissueTime;
    // An unchanged cookie sent back could overwrite a newer one, set by a request at the same time.
    if (!session.isChanged && !isDue) return marked;
    return withCookie(marked, serializeCookie(cookieName, this.write(session), this.options));
  }

  /** The cookie's value. Throws a `RangeError` where a browser would not keep it. */
  write(session: Session<Data>): string {
    const { serializer, cookieName, now } = this.options;
    const data = session.toJSON();
    requireJson(data, 'the session', []); // a value may have been changed after it was set
    const value = this.signer.sign(serializer.dumps([Math.floor(now()), session.created, data]));
    const size = cookieName.length + value.length;
    if (size <= MAX_COOKIE_SIZE) return value;
    const bytes = (item: unknown): number => Buffer.byteLength(JSON.stringify(item));
    const sizes = Object.entries(data).map(([key, item]) => `${key} ${bytes(item)}`);
    throw new RangeError(
      `Cannot keep the session in a cookie: ${MAX_COOKIE_SIZE} bytes at most: it has ${size}. ` +
        `Bytes of JSON for each key: ${sizes.join(', ')}. Keep less, or on the server (step 18)`,
    );
  }
}

const DEFAULTS = {
  cookieName: 'session',
  absoluteTimeout: 12 * 60 * 60, // a working day: NIST SP 800-63B's figure for a moderate risk
  setOnException: false, // a page that failed shows no flash message, so it must not use one up
  hashAlg: 'sha512',
  salt: 'pyramid.session.',
  serializer: { dumps: JSON.stringify, loads: JSON.parse } as Serializer,
  now: () => Date.now() / 1000,
};

function refuse(rule: string): RangeError {
  return new RangeError(`Cannot make a cookie session: ${rule}`);
}

/** The three parts of a payload, or `undefined` where it is anything but a list of just those. */
function load(serializer: Serializer, text: string): SessionState | undefined {
  try {
    const list: unknown = serializer.loads(text);
    if (!Array.isArray(list) || list.length !== 3) return undefined;
    const [accessed, created, data] = list;
    const hasTimes = Number.isFinite(accessed) && Number.isFinite(created);
    const isObject = typeof data === 'object' && data !== null && !Array.isArray(data);
    requireJson(data, 'the session', []); // what we could never write, such as 1e999: no half-steps
    return hasTimes && isObject ? { accessed, created, data } : undefined;
  } catch {
    return undefined; // signed by us, yet no JSON: another program's, with our secret
  }
}

/** The count in the session: the last of the four attempts, and the original's own. */
export class SessionCounterViews extends TutorialViews<
  HttpRequest & { session: Session<{ counter: number }> }
> {
  override get counter(): number {
    const { session } = this.request;
    session.update('counter', (counter = 0) => counter + 1);
    return session.get('counter') ?? 1;
  }
}

/** The tutorial's site over any kind of session, with the tutorial's secret. */
export function site(
  factory: SessionFactory<{ counter: number }> = new SignedCookieSessionFactory({
    secrets: ['itsaseekreet'],
  }),
): Router {
  return addStaticFiles(new Router(), PUBLIC)
    .get('/', withSession(factory, (r) => new SessionCounterViews(r).home()), 'home')
    .get('/howdy', withSession(factory, (r) => new SessionCounterViews(r).hello()), 'hello');
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 11', '/', '/howdy');
