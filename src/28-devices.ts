// Step 28 · Devices: a user sees all of their sessions and can end each of them.
//
// A lost phone stays logged in. So each user has a list of sessions: one ordinary entry in the
// store. A session of a user is valid only while this list contains it. If the list is lost, for
// example evicted by Redis, the sessions end. They never become invisible.
import { isMain, serve } from './01-server.ts';
import type { Cookie } from './02-cookie.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, type Html, html, page } from './06-template.ts';
import { decodePayload } from './07-session.ts';
import type { SessionFactory } from './08-session-factory.ts';
import { MAX_COOKIE_AGE, withTimeouts } from './11-timeouts.ts';
import { fieldOf, form, seeOther, withForm } from './12-forms.ts';
import type { Middleware, RouteGroup } from './13-middleware.ts';
import type { Link } from './20-layout.ts';
import { USERS } from './21-password.ts';
import { type SiteData, type UserRequest, UserSession, withLogin } from './22-login.ts';
import type { SiteOptions } from './23-throttle.ts';
import { hashId, MemoryStore, type SessionStore } from './25-store.ts';
import { addStoredSite, VersionedSessionFactory } from './26-versions.ts';

export const MAX_DEVICES = 50; // of one user; then the oldest session ends

/** The sessions of each user, by their keys in the store. */
export class Devices {
  readonly store: SessionStore;
  readonly #now: () => number;

  constructor(store: SessionStore, now: () => number = () => Date.now() / 1000) {
    this.store = store;
    this.#now = now;
  }

  /** Returns the keys, the oldest first. */
  async keysOf(user: string): Promise<string[]> {
    const entry = await this.store.get(listKey(user));
    return entry ? (JSON.parse(entry.text) as string[]) : [];
  }

  async add(user: string, key: string): Promise<void> {
    await this.#update(user, (keys) => [...keys, key].slice(-MAX_DEVICES));
  }

  /** Ends the sessions that `isChosen` selects. The list changes first: then they are invalid. */
  async end(user: string, isChosen: (key: string) => boolean): Promise<void> {
    const keys = await this.keysOf(user);
    await this.#update(user, (current) => current.filter((key) => !isChosen(key)));
    for (const key of keys.filter(isChosen)) await this.store.delete(key);
  }

  async #update(user: string, fn: (keys: string[]) => string[]): Promise<void> {
    for (;;) {
      const entry = await this.store.get(listKey(user));
      const text = JSON.stringify(fn(entry ? JSON.parse(entry.text) : []));
      const expires = this.#now() + MAX_COOKIE_AGE; // later than any session
      if (await this.store.put(listKey(user), { text, expires }, entry?.version ?? 0)) return;
    }
  }
}

const listKey = (user: string): string => hashId(`devices of ${user}`);

/**
 * Returns a factory whose sessions of a user are valid only while the list contains them. `keys`
 * receives the key of each opened session.
 */
export function withDevices<S extends UserSession<SiteData>>(
  factory: SessionFactory<S>,
  keys: WeakMap<S, string>,
  devices: Devices,
): SessionFactory<S> {
  return {
    cookie: factory.cookie,
    create: () => factory.create(),
    async open(value) {
      const session = await factory.open(value);
      const user = session?.get('user');
      if (!session || user === undefined) return session;
      if (!(await devices.keysOf(user)).includes(hashId(value))) return undefined;
      keys.set(session, hashId(value));
      return session;
    },
    async save(session) {
      const value = await factory.save(session);
      const [user, key] = [session.get('user'), value ? hashId(value) : undefined];
      if (user && key && key !== keys.get(session)) await devices.add(user, key); // a new id
      return value;
    },
  };
}

/** Stores the name of the browser in the session of a user, for the list. */
export const withAgent: Middleware<object, UserRequest> = (page) => async (request) => {
  const response = await page(request);
  const { session, headers } = request;
  const agent = headers['user-agent']?.slice(0, 200) ?? '';
  if (session.has('user') && !session.has('agent')) session.set('agent', agent);
  return response;
};

type OwnerRequest = UserRequest & { user: string };

/** Adds `/sessions`: the list, and the forms that end one session or all others. */
export function addDevices(
  pages: RouteGroup<UserRequest>,
  devices: Devices,
  keyOf: (session: UserSession<SiteData>) => string | undefined,
  users = USERS,
): void {
  const list = async (request: OwnerRequest): Promise<HttpResponse> => {
    const own = keyOf(request.session);
    const keys = await devices.keysOf(request.user);
    const items = await Promise.all(keys.map(async (key) => {
      const state = decodePayload((await devices.store.get(key))?.text);
      return state && renderDevice(request, key, state, key === own);
    }));
    const button = html`<button>End all other sessions</button>`;
    return page('Sessions', html`<h1>Your sessions</h1>
<ul class="lines">${items}</ul>
${form(request, '/sessions/end-others', button)}`);
  };
  const end = async ({ form, user }: OwnerRequest & { form: URLSearchParams }) => {
    await devices.end(user, (key) => key === fieldOf(form, 'key')); // only keys of this user
    return seeOther('/sessions');
  };
  const endOthers = async ({ session, user }: OwnerRequest) => {
    await devices.end(user, (key) => key !== keyOf(session));
    return seeOther('/sessions');
  };
  const owned = pages.with(withLogin(users));
  owned.get('/sessions', list).post('/sessions/end', withForm(end));
  owned.post('/sessions/end-others', endOthers);
}

function renderDevice(
  request: OwnerRequest,
  key: string,
  { accessed, created, data }: { accessed: number; created: number; data: object },
  isOwn: boolean,
): Html {
  const date = (time: number): string => new Date(time * 1000).toUTCString();
  const name = 'agent' in data && data.agent !== '' ? String(data.agent) : 'Unknown browser';
  const button = html`<input type="hidden" name="key" value="${key}">
<button class="quiet" aria-label="End: ${name}">End</button>`;
  return html`<li><strong>${name}</strong> ${isOwn && 'This browser.'}
Since ${date(created)}, last seen ${date(accessed)}
${form(request, '/sessions/end', button)}</li>`;
}

/** Adds all pages over sessions in a store, and `/sessions`. */
export function addDeviceSite(
  router: Router,
  store: SessionStore,
  { cookie, ...options }: DeviceSiteOptions = {},
) {
  const { now, users } = options;
  const clock = now ? { now } : {};
  const sessions = { ...clock, ...(cookie && { cookie }), sessionClass: UserSession<SiteData> };
  const stored = new VersionedSessionFactory(store, sessions);
  const devices = new Devices(store, now);
  const keys = new WeakMap<UserSession<SiteData>, string>();
  const factory = withDevices(withTimeouts(stored, clock), keys, devices);
  const links: Link[] = [['/sessions', 'Sessions']];
  const site = addStoredSite(router, { ...options, factory, links, wrappers: [withAgent] });
  addDevices(site.pages, devices, (session) => keys.get(session), users);
  return site;
}

type DeviceSiteOptions = Omit<SiteOptions, 'factory' | 'links' | 'wrappers'> & { cookie?: Cookie };

/** The site of this step. */
export function site(store: SessionStore = new MemoryStore()): Handler {
  return addDeviceSite(addStyle(new Router()), store).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 28', ['/', '/login', '/sessions']);
