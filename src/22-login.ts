// Step 22 · Login: a session that knows the user, and can forget the user.
//
// The session changes when the rights change (OWASP Session Management).

import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import { html, page } from './06-template.ts';
import type { SessionState } from './07-session.ts';
import type { TutorialData } from './09-tutorial.ts';
import { explainSigned, fillSlot } from './10-inspector.ts';
import { fieldOf, form, type FormRequest, seeOther, withForm } from './12-forms.ts';
import { emptySite, type Middleware, type RouteGroup } from './13-middleware.ts';
import { CsrfSession } from './17-csrf.ts';
import { type CartData, countOf } from './18-cart.ts';
import { makeSite, type Links } from './20-layout.ts';
import { authenticator, USERS, withRetryLater } from './21-password.ts';

/** The data of a session of this site. `agent` is the browser of a user, for step 28. */
export type SiteData = TutorialData & CartData & { user: string; agent: string };

/** A request whose session can know a user. */
export type UserRequest = FormRequest & { session: UserSession<SiteData> };
type Site = { readonly pages: RouteGroup<UserRequest>; readonly handle: Handler };

/** A session that can end. A store deletes an ended session, so its old cookie is invalid. */
export class UserSession<Data extends object> extends CsrfSession<Data> {
  isEnded = false; // if true, a store saves the data under a new id
  readonly #now: number;

  constructor(now: number, state?: SessionState) {
    super(now, state);
    this.#now = now;
  }

  /** Ends the session and removes its data: for logout. */
  invalidate(): void {
    this.clear();
    this.regenerateId();
  }

  /** Ends the session, and begins a new one with its data and a new token: for login. */
  regenerateId(): void {
    if (this.size > 0) this.newCsrfToken(); // an empty session needs no token, and no cookie
    if (!this.isNew) this.changed(); // the new session can get the same data again
    [this.created, this.isEnded] = [this.#now, true];
  }
}

/** Returns `next` if it is a path of this site, and the dashboard otherwise. */
export function safeRedirectPath(next: string | null): string {
  // '//evil' is a host. A browser reads '\' as '/', and ignores a TAB.
  return next !== null && /^\/(?![/\\])[!-[\]-~]{0,2000}$/.test(next) ? next : '/dashboard';
}

/** Adds 'Logged in as …' and a button to log out to each page of a user. No cache keeps it. */
export const withUser: Middleware<object, UserRequest> = (inner) => async (request) => {
  const response = await inner(request);
  const user = request.session.get('user');
  if (user === undefined) return response;
  const button = form(request, '/logout', html`<button class="quiet">Log out</button>`);
  const bar = html`<section class="user" aria-label="Account">
<p>Logged in as <strong>${user}</strong></p>${button}</section>\n`;
  const headers = { ...response.headers, 'cache-control': 'no-store' };
  return fillSlot({ ...response, headers }, 'header', bar);
};

/** Lets only users in, as `request.user`. Others log in first, and a GET then returns here. */
export function withLogin(users = USERS): Middleware<{ user: string }, UserRequest> {
  return (inner) => (request) => {
    const user = request.session.get('user');
    if (user !== undefined && users.has(user)) return inner({ ...request, user });
    const here = request.method === 'GET' ? request.path + request.search : '/dashboard';
    return seeOther(`/login?next=${encodeURIComponent(here)}`);
  };
}

/**
 * Adds `/login`, `/dashboard` and `/logout`. Returns the site. The user name is in NFC (RFC 8265),
 * and has at most 64 characters. The logout leaves the message 'You are logged out.' in 'info'.
 */
export function addLogin<S extends Site>(site: S, users = USERS, check = authenticator(users)): S {
  site.pages.get('/login', (request) => loginPage(request, new URLSearchParams(request.search)));
  site.pages.with(withRetryLater).post('/login', withForm(async (request) => {
    const { session, form, address = '' } = request;
    const name = fieldOf(form, 'username').normalize('NFC').slice(0, 64);
    const isRight = await check(name, form.get('password') ?? '', address);
    if (!isRight) return loginPage(request, form, name);
    if (session.has('user') && session.get('user') !== name) session.clear(); // of another user
    session.regenerateId();
    session.set('user', name);
    const next = safeRedirectPath(form.get('next'));
    return seeOther((await canShow(next, request, site.handle)) ? next : '/dashboard');
  }));
  site.pages.post('/logout', ({ session }) => {
    session.invalidate();
    session.flash('You are logged out.', 'info'); // in the new session
    return { ...seeOther('/'), headers: { location: '/', 'clear-site-data': '"storage"' } };
  });
  site.pages.with(withLogin(users)).get('/dashboard', dashboard);
  return site;
}

/** Whether GET shows this page. The site responds to OPTIONS with the methods of the path. */
async function canShow(next: string, request: FormRequest, handle: Handler): Promise<boolean> {
  const { pathname: path } = new URL(next, 'http://localhost'); // without the query
  const { headers } = await handle({ ...request, method: 'OPTIONS', path });
  return path !== '/login' && String(headers.allow).includes('GET');
}

const dashboard: Handler<UserRequest & { user: string }> = ({ session, user }) =>
  page('Dashboard', html`<h1>Hello, ${user}</h1>
<p>Visits: ${session.get('counter') ?? 0}, <a href="/cart">cart</a>: ${countOf(session)}</p>`);

/** The form. After a failure, `name` is the user name that was typed. */
function loginPage(request: FormRequest, sent: URLSearchParams, name?: string): HttpResponse {
  const error = html`<p class="flash error" role="alert">The name or the password is wrong.</p>`;
  const fields = html`<input type="hidden" name="next" value="${sent.get('next') ?? ''}">
<label>User name <input name="username" value="${name}" autocomplete="username"
autocapitalize="none" autocorrect="off" spellcheck="false"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Log in</button>`;
  const main = html`<h1>Login</h1>${form(request, '/login', fields)}`;
  return name === undefined ? page('Login', main) : page('Login', html`${error}${main}`, 422);
}

/** The link 'Dashboard' for a user, and 'Login' for another visitor. */
export const userLinks = (session: UserSession<SiteData>): Links =>
  session.has('user') ? [['/dashboard', 'Dashboard']] : [['/login', 'Login']];

/** The site of this step. */
export function site(): Handler {
  const { factory } = emptySite(UserSession<SiteData>);
  const options = { factory, explain: explainSigned(), links: userLinks, wrappers: [withUser] };
  return addLogin(makeSite(options)).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 22', ['/login', '/cart']);
