// Step 16 · Login: a session that knows who you are, and can forget it.
//
// A password is kept as its scrypt hash (RFC 7914; OWASP: Password Storage): each guess costs an
// attacker 128 MiB and a third of a second. It costs us the same, so it is bounded, done beside the
// event loop, and no less for a name that nobody has. At login the session begins anew, or whoever
// planted the old one comes in too (session fixation). No cache keeps a page that says who you are,
// and `next` leads nowhere but here.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import type { ScryptOptions } from 'node:crypto';
import { promisify } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { problem, toListener, withForm } from './02-http.ts';
import type { Handler, HttpResponse } from './02-http.ts';
import type { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import { DEMO, SignedCookieSessionFactory, withSession } from './11-session-factory.ts';
import type { Mount, SessionRequest } from './11-session-factory.ts';
import { fieldOf, seeOther, withFlash } from './13-flash.ts';
import { withCsrf } from './14-csrf.ts';
import { countOf, site as shop } from './15-cart.ts';
import type { Cart } from './15-cart.ts';

export type SiteData = { counter: number; cart: Cart; user: string };
type UserRequest = SessionRequest<{ user: string }>;

/** Names, each with what `hashPassword` made of the password: here the name, as in Pyramid's. */
export const USERS: ReadonlyMap<string, string> = new Map([
  ['editor', '17:YxAKj2r17x4dhWf1tEDkZg:MfWUIs2Q--W_TtCi8IyYREFkefdUdaObxcuP1YzwWOM'],
  ['viewer', '17:gSw8NXNhbgBg4prN63trGg:PCr1NpeVLOgqnxjkz-P4XMdddEFICilnuEZEiDgv5kA'],
]);

const LOG_N = 17; // N = 2^17, r = 8, p = 1: OWASP's first choice for scrypt
const MAX_PARALLEL = 2; // hashes at once: 128 MiB each, and half of the four threads that Node has
const MAX_WAITING = 50; // for one of them; who comes after these is told to come back
const MAX_DELAY = 15 * 60; // seconds between two guesses, in the end: 96 a day
const MAX_TRACKED = 10_000; // names, and as many addresses: about a megabyte each

/** `logN:salt:hash`, the last two in base64url. By its salt no hash is like another. */
export async function hashPassword(password: string, logN = LOG_N): Promise<string> {
  const salt = randomBytes(16).toString('base64url');
  return `${logN}:${salt}:${await derive(password, salt, logN)}`;
}

/** Whether this is the password that was hashed. */
export async function isPassword(password: string, hashed: string): Promise<boolean> {
  const [logN, salt = '', hash = ''] = hashed.split(':');
  const found = await derive(password, salt, Number(logN));
  return found.length === hash.length && timingSafeEqual(Buffer.from(found), Buffer.from(hash));
}

const scryptAside = promisify<string, string, number, ScryptOptions, Buffer>(scrypt);
const waiting: (() => void)[] = []; // for the whole process, since its memory is one
let running = 0;

async function derive(password: string, salt: string, logN: number): Promise<string> {
  if (running === MAX_PARALLEL) await new Promise<void>((resolve) => waiting.push(resolve));
  else running += 1;
  const [N, r] = [2 ** logN, 8];
  // Node allows 32 MiB unless told. It takes N blocks of 128 * r bytes, and three to work with.
  const options = { N, r, p: 1, maxmem: 128 * r * (N + 3) };
  const text = password.normalize('NFKC'); // there are two ways to type é (NIST SP 800-63B)
  try {
    return (await scryptAside(text, salt, 32, options)).toString('base64url');
  } finally {
    const next = waiting.shift();
    if (next) next(); // it takes our place
    else running -= 1;
  }
}

/** Who has failed `free` times must wait before the next guess: 1 second, then 2, 4, 8, … */
export function failureLog(free: number, now: () => number) {
  const tracked = new Map<string, { count: number; next: number }>();
  return {
    /** Seconds to wait; 0: none. */
    waitFor(key: string): number {
      const wait = Math.ceil((tracked.get(key)?.next ?? 0) - now());
      return wait > 0 && wait <= MAX_DELAY ? wait : 0; // none is longer: the clock was set back
    },
    add(key: string): void {
      const before = tracked.get(key);
      const count = before && now() - before.next <= MAX_DELAY ? before.count + 1 : 1; // or too old
      const delay = count < free ? 0 : Math.min(2 ** (count - free), MAX_DELAY);
      tracked.delete(key);
      tracked.set(key, { count, next: now() + delay }); // the newest stands last
      const [oldest] = tracked.keys();
      if (tracked.size > MAX_TRACKED && oldest !== undefined) tracked.delete(oldest);
    },
    forget: (key: string) => tracked.delete(key),
  };
}

/** Where to go after login: a path of this site, and no way out of it. Else the dashboard. */
export function localPath(next: string | null): string {
  // One '/' and no second: '//evil' is a host. A browser reads '\' as '/', and drops a TAB.
  return next !== null && /^\/(?![/\\])[!-[\]-~]{0,2000}$/.test(next) ? next : '/dashboard';
}

/** Says on each page who is logged in. No cache keeps such a page, so Back cannot show it. */
export function withUser<R extends UserRequest>(inner: Handler<R>): Handler<R> {
  return async (request) => {
    const response = await inner(request);
    const user = request.session.get('user');
    if (user === undefined || typeof response.body !== 'string') return response;
    const bar = html`<div class="user"><p>Logged in as <strong>${user}</strong></p>
<form method="post" action="/logout"><button class="quiet">Log out</button></form></div>
<main>`;
    const headers = { ...response.headers, 'cache-control': 'no-store' };
    return { ...response, headers, body: response.body.replace('<main>', () => `${bar}`) };
  };
}

/** Lets in who is logged in, as `request.user`; sends others to `/login`, and from there back. */
export function withLogin<R extends UserRequest>(
  users: ReadonlyMap<string, string>,
  inner: Handler<NoInfer<R> & { user: string }>,
): Handler<R> {
  return (request) => {
    const user = request.session.get('user');
    if (user !== undefined && users.has(user)) return inner({ ...request, user });
    return seeOther(`/login?next=${encodeURIComponent(request.path + request.search)}`);
  };
}

/** Adds `/login`, `/dashboard` and `/logout`. */
export function addLogin(
  router: Router,
  mount: Mount<SiteData>,
  users = USERS,
  now = () => Date.now() / 1000,
): Router {
  const [names, addresses] = [failureLog(5, now), failureLog(20, now)]; // a school has one
  const [decoy = `${LOG_N}::`] = users.values(); // a name that nobody has costs as much as one
  const login: Handler<UserRequest & { form: URLSearchParams }> = async (request) => {
    const { session, form, address = '' } = request;
    const name = fieldOf(form, 'name').slice(0, 64);
    const wait = Math.max(names.waitFor(name), addresses.waitFor(address));
    if (wait > 0) return comeBack(429, wait);
    if (waiting.length >= MAX_WAITING) return comeBack(503, 10);
    names.add(name); // before it is known: of 200 guesses at once, 195 are too many
    const isRight = await isPassword(form.get('password') ?? '', users.get(name) ?? decoy);
    if (!isRight || !users.has(name)) {
      addresses.add(address);
      session.flash('The name or the password is wrong.', 'error'); // not which of the two
      return loginPage(form.get('next'), name, 422);
    }
    names.forget(name);
    if ((session.get('user') ?? name) !== name) session.invalidate(); // not with another's cart
    session.regenerateId(); // whoever has the session as it was does not come in with it
    session.set('user', name);
    session.csrfToken(); // a new one, and now: if it does not fit, that must show here
    return seeOther(localPath(form.get('next')));
  };
  const logout: Handler<UserRequest> = ({ session }) => {
    session.invalidate();
    session.flash('You are logged out.', 'info'); // in the new one
    const headers = { location: '/', 'clear-site-data': '"cache", "storage"' };
    return { status: 303, headers, body: '' };
  };
  return router
    .get('/login', mount(({ search }) => loginPage(new URLSearchParams(search).get('next'))))
    .post('/login', mount(withForm(login)))
    .get('/dashboard', mount(withLogin(users, dashboard)))
    .post('/logout', mount(logout)); // by GET any page with an image could log you out
}

function comeBack(status: number, seconds: number): HttpResponse {
  const response = problem(status, `Too many attempts to log in. Try again in ${seconds} s.`);
  return { ...response, headers: { ...response.headers, 'retry-after': `${seconds}` } };
}

function loginPage(next: string | null, name = '', status = 200): HttpResponse {
  const main = html`<main>
<h1>Login</h1>
<form method="post" action="/login">
<input type="hidden" name="next" value="${localPath(next)}">
<label>Name <input name="name" value="${name}" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Log in</button>
</form>
</main>`;
  return page('Login', main, status);
}

const dashboard: Handler<SessionRequest<SiteData> & { user: string }> = ({ session, user }) =>
  page('Dashboard', html`<main>
<h1>Hello, ${user}</h1>
<p>You came to the home page or to Howdy ${session.get('counter') ?? 0} times.</p>
<p>In your <a href="/cart">cart</a>: ${countOf(session)}.</p>
</main>`);

/** The site of this step: step 15's, with users. */
export function site(
  factory = new SignedCookieSessionFactory<SiteData>(DEMO),
  mount: Mount<SiteData> = (p) => withSession(factory, withCsrf(withUser(withFlash(p)))),
  users = USERS,
): { router: Router; handle: Handler } {
  const { router, handle } = shop(factory, mount);
  return { router: addLogin(router, mount, users, factory.options.now), handle };
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 16', '/login', '/cart', '/');
