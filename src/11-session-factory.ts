// Step 11 · A session factory: the session, kept in a signed cookie. The original tutorial, whole.
//
//   cookie value = base64url( signature ‖ [accessed,created,{"counter":1}] )          step 9's form
//
// A factory opens the session of a request and saves it with the response: two methods. This one is
// Pyramid's SignedCookieSessionFactory, wire format and options. By its own clock it ends a session
// that is idle or old (OWASP Session Management Cheat Sheet).
import { isMain, serve } from './01-server.ts';
import { after, attempt, toListener } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import { TutorialViews } from './06-views.ts';
import { cookieWriter, findCookie, MAX_COOKIE_SIZE, withCookie } from './07-cookie.ts';
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

/** A request with the visitor's session, in which `Data` names the keys and their types. */
export type SessionRequest<Data extends object = object> = HttpRequest & { session: Session<Data> };

/** What puts a page that needs a session where it has one: `withSession`, and later more. */
export type Mount<Data extends object> = (page: Handler<SessionRequest<Data>>) => Handler;

/** The session has outgrown what keeps it. What the visitor had before is still there. */
export class SessionTooLarge extends RangeError {}

/** Gives `inner` the visitor's session as `request.session`, and saves it after. */
export function withSession<R extends HttpRequest, Data extends object>(
  factory: SessionFactory<Data>,
  inner: Handler<NoInfer<R> & { session: Session<NoInfer<Data>> }>,
): Handler<R> {
  return (request) =>
    after(factory.open(request), (session) =>
      after(attempt(inner, { session, ...request }), ({ status, headers: own, body }) => {
        // The page depends on the cookie: no shared cache may show it to others (RFC 9111 §4.1).
        const headers = { 'cache-control': 'private, no-cache', vary: 'Cookie', ...own };
        if (own.vary !== undefined) headers.vary = [own.vary, 'Cookie'].flat().join(', ');
        return factory.save(session, request, { status, headers, body });
      }),
    );
}

/** Pyramid's options, in camelCase, and the cookie's attributes. Durations in seconds. */
export type CookieSessionOptions = CookieAttributes & {
  secrets: readonly string[]; // newest first; the last is dropped when all its cookies are old
  cookieName?: string;
  /** Without a request for longer than this, it ends. Infinity: never. Pyramid's `timeout`. */
  idleTimeout?: number;
  absoluteTimeout?: number; // however busy, it ends this long after it began. Pyramid has none
  /** A cookie older than this is written anew though nothing changed. Default: idleTimeout / 10. */
  reissueTime?: number;
  setOnException?: boolean; // whether a page that failed (5xx) saves. Pyramid: true
  hashAlg?: string;
  salt?: string;
  serializer?: { dumps(value: Json): string; loads(text: string): unknown }; // default: JSON
  now?: () => number;
};

export type SessionOptions = ReturnType<typeof withDefaults>;

export class SignedCookieSessionFactory<Data extends object = Record<string, Json>>
  implements SessionFactory<Data>
{
  readonly options: SessionOptions;
  readonly signer: Pick<Signer, 'sign' | 'unsign' | 'digestSize'>;
  readonly #lineFor: (value: string) => string;

  /** Throws a `RangeError` for times that cannot be, a `TypeError` for a bad attribute. */
  constructor(options: CookieSessionOptions) {
    this.options = withDefaults(options);
    this.signer = new Signer(this.options);
    this.#lineFor = cookieWriter(this.options.cookieName, this.options);
  }

  open(request: HttpRequest): Session<Data> {
    const { cookieName, now } = this.options;
    const time = now();
    return new Session(time, this.read(findCookie(request.headers.cookie, cookieName) ?? '', time));
  }

  /** What a cookie holds, or `undefined` where it is not ours, not a session, or out of time. */
  read(cookie: string, time = this.options.now()): SessionState | undefined {
    const text = this.signer.unsign(cookie); // first the signature; only then is it worth a look
    const { serializer, idleTimeout, absoluteTimeout } = this.options;
    const state = text !== undefined && load(text, serializer);
    if (!state) return undefined;
    const isAlive = time - state.accessed <= idleTimeout && time - state.created <= absoluteTimeout;
    return isAlive ? state : undefined;
  }

  save(session: Session<Data>, request: HttpRequest, response: HttpResponse): HttpResponse {
    const { cookieName, reissueTime, setOnException, now } = this.options;
    if (request.method === 'HEAD' || (response.status >= 500 && !setOnException)) return response;
    if (session.isEnded && session.size === 0) {
      return withCookie(response, cookieWriter(cookieName, { ...this.options, maxAge: 0 })(''));
    }
    const [time, json] = [now(), session.json];
    const isDue = !session.isNew && Math.floor(time) - session.accessed > reissueTime;
    // An unchanged cookie sent back could overwrite a newer one, set by a request at the same time.
    if (!isDue && !session.isChangedTo(json)) return response;
    return withCookie(response, this.#lineFor(this.write(session, time, json)));
  }

  /** The cookie's value. Throws `SessionTooLarge` where a browser would not keep it. */
  write(session: Session<Data>, time = this.options.now(), json = session.json): string {
    const { serializer, cookieName } = this.options;
    const [accessed, created] = [Math.floor(time), session.created];
    const own = serializer?.dumps([accessed, created, session.toJSON()]);
    // The data is JSON already: around it go the two times, and it need not be made twice.
    const value = this.signer.sign(own ?? `[${accessed},${created},${json}]`);
    const size = cookieName.length + value.length;
    if (size <= MAX_COOKIE_SIZE) return value;
    const bytes = (item: unknown): number => Buffer.byteLength(JSON.stringify(item));
    const sizes = Object.entries(session.toJSON()).map(([key, item]) => `${key} ${bytes(item)}`);
    throw new SessionTooLarge(
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
  now: () => Date.now() / 1000,
};

/** All options, checked: what is wrong with them fails here, and not at a visitor. */
export function withDefaults(options: CookieSessionOptions) {
  const idleTimeout = options.idleTimeout ?? 1200; // 20 minutes, as Pyramid
  const all = { ...DEFAULTS, idleTimeout, reissueTime: idleTimeout / 10, ...options };
  const refuse = (rule: string) => new RangeError(`Cannot make a cookie session: ${rule}`);
  for (const name of ['idleTimeout', 'absoluteTimeout', 'reissueTime'] as const) {
    if (!(all[name] >= 0)) throw refuse(`${name} must be 0 or more seconds: it is ${all[name]}`);
  }
  if (all.reissueTime >= idleTimeout && all.reissueTime !== Infinity) {
    const found = `it is ${all.reissueTime}, and idleTimeout is ${idleTimeout}`;
    throw refuse(`reissueTime must be less than idleTimeout: ${found}`);
  }
  cookieWriter(all.cookieName, all); // throws for an attribute that is wrong
  return all;
}

/** The three parts of a payload, or `undefined` where it is anything but a list of just those. */
function load(text: string, serializer: SessionOptions['serializer']): SessionState | undefined {
  try {
    const list: unknown = serializer ? serializer.loads(text) : JSON.parse(text);
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
export class SessionCounterViews extends TutorialViews<SessionRequest<{ counter: number }>> {
  override get counter(): number {
    const { session } = this.request;
    session.update('counter', (counter = 0) => counter + 1);
    return session.get('counter') ?? 1;
  }
}

/** Adds the tutorial's two pages, which count. */
export function addCounter(router: Router, mount: Mount<{ counter: number }>): Router {
  return router
    .get('/', mount((request) => new SessionCounterViews(request).home()), 'home')
    .get('/howdy', mount((request) => new SessionCounterViews(request).hello()), 'hello');
}

export const DEMO = { secrets: ['itsaseekreet'] }; // the original's: printed, so no secret at all

/** The tutorial's site over any kind of session. */
export function site(
  factory: SessionFactory<{ counter: number }> = new SignedCookieSessionFactory(DEMO),
): Router {
  return addCounter(addStaticFiles(new Router(), PUBLIC), (page) => withSession(factory, page));
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 11', '/', '/howdy');
