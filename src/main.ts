// The finished site: the steps put together, in one frame, set up by the environment.
//
//   PORT, HOST       where to listen (step 1)
//   SESSION_SECRET   the secret; several with commas between, the newest first (step 9)
//   SESSIONS         where sessions are kept: signed (step 11) or encrypted (17), in a cookie;
//                    memory (18), sqlite:FILE (19), redis://… (20), on the server
//   NODE_ENV         production: a Secure cookie with the name __Host-session, no inspector, and no
//                    start with the printed secret
//
// Around each page stand, from the outside in: the session, the check for forged requests, the
// frame, who is logged in, and the flash messages. What is inside sees what is outside of it.
import { isMain, serve } from './01-server.ts';
import { after, toListener } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import { addCounter, SignedCookieSessionFactory, withSession } from './11-session-factory.ts';
import type { Mount, SessionFactory, SessionRequest } from './11-session-factory.ts';
import { addInspector, signedLens, withInspector } from './12-inspector.ts';
import type { Lens } from './12-inspector.ts';
import { addArticles, withFlash } from './13-flash.ts';
import { withCsrf } from './14-csrf.ts';
import { addCart, countOf, withRoom } from './15-cart.ts';
import { addLogin, USERS, withUser } from './16-login.ts';
import type { SiteData } from './16-login.ts';
import { EncryptedCookieSessionFactory, sealedLens } from './17-encryption.ts';
import { MemoryStore, ownerOf, StoredSessionFactory, storedLens } from './18-store.ts';
import type { SessionStore } from './18-store.ts';
import { addSessions, SqliteStore, withStoreDown } from './19-sqlite.ts';
import { RedisClient, RedisStore } from './20-redis.ts';
import { addApi, apiRules } from './21-jwt.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export const DEMO_SECRET = 'itsaseekreet'; // the original's; printed in every copy, so no secret
const MIN_SECRET_LENGTH = 32; // characters: 128 bits even when they are hexadecimal digits

/** The whole site. Throws a `RangeError` in words for an environment that it cannot work in. */
export function site(
  env: Environment = {},
  now = () => Date.now() / 1000,
  users = USERS,
): { handle: Handler; headers: HttpResponse['headers'] } {
  const isProduction = env.NODE_ENV === 'production';
  const secrets = secretsOf(env, isProduction);
  const cookieName = isProduction ? '__Host-session' : 'session'; // that prefix needs Secure
  const options = { secrets, secure: isProduction, cookieName, now };
  const { factory, lens } = sessionsOf(env.SESSIONS || 'signed', options);
  const isStored = factory instanceof StoredSessionFactory;
  const links: Link[] = isStored ? [['/sessions', 'Sessions']] : [];
  if (!isProduction) links.push(['/inspect', 'Inspector']);
  const inFrame: Mount<SiteData> = (inner) =>
    withSession(factory, withCsrf(withFrame(withUser(withFlash(inner)), links)));
  const mount = withRoom(inFrame, () => page('Full', FULL, 422));

  const router = addStaticFiles(new Router(), PUBLIC);
  addCounter(router, mount);
  addArticles(router, mount);
  addCart(router, inFrame); // it has words of its own for a session that is full
  addLogin(router, mount, users, now);
  if (isStored) addSessions(router, mount, factory, users);
  addApi(router, mount, apiRules(secrets, now), users);
  if (!isProduction) addInspector(router, lens, mount);
  const pages = isProduction ? router.handle : withInspector(lens, router.handle);
  const errorMount: Mount<SiteData> = (inner) => withStoreDown(inFrame(inner));
  const handle = withErrorPages(errorMount, withStoreDown(pages));
  return { handle, headers: isProduction ? HTTPS_HEADERS : HEADERS };
}

/** What each answer says unless it says otherwise (OWASP: HTTP Security Response Headers). */
const HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin', // no other site shows what is ours
};

/** In production we stand behind https. Browsers heed these two nowhere else. */
const HTTPS_HEADERS = {
  ...HEADERS,
  'strict-transport-security': 'max-age=31536000; includeSubDomains', // never by http, for a year
  'cross-origin-opener-policy': 'same-origin', // who opened our window has no hold on it
};

type Options = { secrets: string[]; secure: boolean; cookieName: string; now: () => number };

/** The kind of session that `SESSIONS` names, and how the inspector is to look at it. */
function sessionsOf(
  kind: string,
  options: Options,
): { factory: SessionFactory<SiteData>; lens: Lens } {
  if (kind === 'signed') {
    const factory = new SignedCookieSessionFactory<SiteData>(options);
    return { factory, lens: signedLens(factory) };
  }
  if (kind === 'encrypted') {
    const factory = new EncryptedCookieSessionFactory<SiteData>(options);
    return { factory, lens: sealedLens(factory) };
  }
  const factory = new StoredSessionFactory<SiteData>(storeOf(kind, options.now), {
    secure: options.secure,
    cookieName: options.cookieName,
    now: options.now,
    ownerOf,
  });
  return { factory, lens: storedLens(factory) };
}

function storeOf(kind: string, now: () => number): SessionStore {
  const [scheme, rest = ''] = kind.split(/:(.*)/s);
  if (kind === 'memory') return new MemoryStore({ now });
  if (scheme === 'sqlite' && rest !== '') return new SqliteStore(rest, now);
  if (/^rediss?:\/\/./.test(kind)) {
    try {
      return new RedisStore(new RedisClient(kind), now);
    } catch {} // its own words are for who writes the code
  }
  const kinds = 'signed, encrypted, memory, sqlite:FILE or redis://HOST';
  const found = JSON.stringify(scheme); // behind it there may be a password
  throw new RangeError(`Cannot start: SESSIONS must be ${kinds}: it begins with ${found}`);
}

const FULL = html`<main>
<h1>There is no room for that</h1>
<p>What this browser keeps for us is full, and nothing of it was changed. If your
<a href="/cart">cart</a> has a long note, make it shorter; then see what is still to be done.</p>
</main>`;

function secretsOf(env: Environment, isProduction: boolean): string[] {
  const secrets = (env.SESSION_SECRET || DEMO_SECRET).split(',').map((secret) => secret.trim());
  if (secrets.includes('')) throw new RangeError('Cannot start: SESSION_SECRET has an empty part');
  const weak = secrets.find((s) => s === DEMO_SECRET || s.length < MIN_SECRET_LENGTH);
  if (isProduction && weak !== undefined) {
    throw new RangeError(
      `Cannot start: in production each part of SESSION_SECRET must be ${MIN_SECRET_LENGTH} ` +
        'characters or more, and not the printed one. Make one: npm run secret',
    );
  }
  return secrets;
}

/** Puts a refusal in words into a page of the site, where a browser asked for one. */
export function withErrorPages(mount: Mount<SiteData>, inner: Handler): Handler {
  const asPage = async (response: HttpResponse, request: HttpRequest): Promise<HttpResponse> => {
    const [title = '', detail = ''] = String(response.body).split('\n\n');
    const bare = page(title, html`<main><h1>${title}</h1><p>${detail}</p></main>`, response.status);
    // A failure is shown without a session: it may be the session that failed.
    const method = request.method === 'HEAD' ? 'HEAD' : 'GET'; // it only looks
    const { status, headers, body } =
      response.status >= 500
        ? framed(bare, LINKS, request.path)
        : await mount(() => bare)({ ...request, method });
    return { status, headers: { ...response.headers, ...headers }, body };
  };
  return (request) =>
    after(inner(request), (response) => {
      const isRefusal = response.status >= 400 && !isPage(response);
      const wantsPage = isRefusal && request.headers.accept?.includes('text/html');
      return wantsPage ? asPage(response, request) : response;
    });
}

type Link = [path: string, name: string];

const LINKS: readonly Link[] = [
  ['/', 'Home'],
  ['/howdy', 'Howdy'],
  ['/articles', 'Articles'],
];

/** Puts the site's header above the page that `inner` makes. */
export function withFrame<R extends SessionRequest<SiteData>>(
  inner: Handler<R>,
  more: readonly Link[] = [],
): Handler<R> {
  return (request) =>
    after(inner(request), (response) => {
      const { session, path } = request;
      const count = countOf(session);
      const links: Link[] = [
        ...LINKS,
        ['/cart', count > 0 ? `Cart (${count})` : 'Cart'],
        session.has('user') ? ['/dashboard', 'Dashboard'] : ['/login', 'Login'],
        ...more,
      ];
      return framed(response, links, path);
    });
}

function isPage({ body }: HttpResponse): boolean {
  return typeof body === 'string' && body.startsWith('<!doctype');
}

function framed(
  response: HttpResponse,
  links: readonly Link[],
  here: string,
): HttpResponse {
  if (!isPage(response)) return response;
  const header = html`<body>
<header><a class="skip" href="#content">To the content</a>
<strong>Sessions from Scratch</strong>
<nav aria-label="Pages">${links.map(
    ([path, name]) =>
      html`<a href="${path}"${path === here && html` aria-current="page"`}>${name}</a>`,
  )}</nav></header>`;
  const body = String(response.body)
    .replace('<body>', () => `${header}`)
    .replace('<main>', '<main id="content" tabindex="-1">');
  return { ...response, body };
}

if (isMain(import.meta.url)) {
  try {
    const { handle, headers } = site(process.env);
    const listener = toListener(handle, headers);
    serve(listener, 'Sessions from Scratch', '/', '/articles', '/cart', '/login');
  } catch (error) {
    console.error(error instanceof RangeError ? error.message : error);
    process.exitCode = 1;
  }
}
