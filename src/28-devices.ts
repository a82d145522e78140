// Step 28 · Devices: a user sees all of their sessions and can end each of them.
//
//   store: hash of 'devices of ada' → ["<key of one session>", "<key of another session>"]
//
// A lost phone stays logged in. So each user has a list of sessions: one ordinary entry in the
// store. A session of a user is valid only while this list contains its key. If the list is lost,
// for example evicted by a full store, the sessions end. They never become invisible.
import { isMain, serve } from './01-server.ts';
import { Cookie } from './02-cookie.ts';
import { type Handler, toListener } from './04-http.ts';
import { html, page } from './06-template.ts';
import { decodePayload } from './07-session.ts';
import { withTimeouts } from './11-timeouts.ts';
import { form, seeOther, withForm } from './12-forms.ts';
import type { Middleware, RouteGroup } from './13-middleware.ts';
import { USERS } from './21-password.ts';
import { type SiteData, type UserRequest, UserSession, withLogin } from './22-login.ts';
import type { SiteOptions } from './23-throttle.ts';
import { hashId, MemoryStore, type SessionStore } from './25-store.ts';
import { makeStoredSite, VersionedSessionFactory } from './26-versions.ts';
import { rescueStore } from './27-sqlite.ts';

export const MAX_DEVICES = 50; // of one user; then the oldest session ends

/** Returns the keys of the sessions of a user, the oldest first. */
export async function keysOf(store: SessionStore, user: string): Promise<string[]> {
  const list = await store.get(listKey(user));
  return list ? (JSON.parse(list.text) as string[]) : [];
}

const listKey = (user: string): string => hashId(`devices of ${user}`); // no id contains spaces

/** Replaces the list. `change` receives the keys of the sessions that the store still contains. */
async function changeList(store: SessionStore, user: string, change: (keys: string[]) => string[]) {
  for (let isStored = false; !isStored; ) { // until no other request changes it in between
    const version = (await store.get(listKey(user)))?.version ?? 0;
    const keys = await keysOf(store, user);
    const entries = await Promise.all(keys.map((key) => store.get(key)));
    const text = JSON.stringify(change(keys.filter((_key, i) => entries[i])));
    isStored = await store.put(listKey(user), { text, expires: Infinity }, version);
  }
}

/** Ends the chosen sessions of a user. The list changes first: then no request can open them. */
export async function endSessions(store: SessionStore, user: string, isChosen: Choice) {
  const ended = (await keysOf(store, user)).filter(isChosen);
  await changeList(store, user, (keys) => keys.filter((key) => !ended.includes(key)));
  for (const key of ended) await store.delete(key);
}

type Choice = (key: string) => boolean;

const openKeys = new WeakMap<object, string>(); // the keys of the sessions that requests have open

/** A session of a user is valid only while the list of the user contains its key. */
export class DeviceSessionFactory extends VersionedSessionFactory<UserSession<SiteData>> {
  override async open(id: string): Promise<UserSession<SiteData> | undefined> {
    const session = await super.open(id);
    if (session) openKeys.set(session, hashId(id));
    const user = session?.get('user');
    if (user === undefined) return session;
    return (await keysOf(this.store, user)).includes(hashId(id)) ? session : undefined;
  }

  override async save(session: UserSession<SiteData>): Promise<string | undefined> {
    const [id, user] = [await super.save(session), session.get('user')];
    const add = (keys: string[]) => [...new Set(keys).add(hashId(id ?? ''))].slice(-MAX_DEVICES);
    if (id && user !== undefined) await changeList(this.store, user, add);
    return id;
  }
}

/** Stores the name of the browser in the session of a user. */
const withAgent: Middleware<object, UserRequest> = (page) => async (request) => {
  const response = await page(request);
  const agent = request.headers['user-agent']?.slice(0, 200);
  if (agent && request.session.has('user')) request.session.set('agent', agent);
  return response;
};

/** Adds `/sessions`: the list, and the forms that end one session or all others. */
export function addDevices(pages: RouteGroup<UserRequest>, store: SessionStore, users = USERS) {
  const date = (time: number): string => new Date(time * 1000).toUTCString();
  const group = pages.with(withLogin(users));
  group.get('/sessions', async (request) => {
    const own = openKeys.get(request.session);
    const items = (await keysOf(store, request.user)).map(async (key) => {
      const state = decodePayload((await store.get(key))?.text);
      const name = (state?.data as Partial<SiteData> | undefined)?.agent || 'Unknown browser';
      const button = html`<button class="quiet" name="key" value="${key}"
aria-label="End: ${name}">End</button>`;
      return state && html`<li><strong>${name}</strong>
Since ${date(state.created)}, last seen ${date(state.accessed)}
${key === own ? 'This browser.' : form(request, '/sessions/end', button)}</li>`;
    });
    return page('Sessions', html`<h1>Your sessions</h1>
<ul class="lines">${await Promise.all(items)}</ul>
${form(request, '/sessions/end-others', html`<button>End all other sessions</button>`)}`);
  });
  group.post('/sessions/end', withForm(async ({ user, form }) => {
    await endSessions(store, user, (key) => key === form.get('key')); // only of this user
    return seeOther('/sessions');
  }));
  group.post('/sessions/end-others', async ({ session, user }) => {
    await endSessions(store, user, (key) => key !== openKeys.get(session));
    return seeOther('/sessions');
  });
}

type DeviceOptions = Partial<SiteOptions> & { readonly cookie?: Cookie };

/** Adds all pages over sessions in a store, and `/sessions`. */
export function makeDeviceSite(store: SessionStore, options: DeviceOptions = {}) {
  const { cookie = new Cookie('session'), now = () => Date.now() / 1000 } = options;
  const sessions = { cookie, now, sessionClass: UserSession<SiteData> };
  const factory = withTimeouts(new DeviceSessionFactory(store, sessions), { now });
  const links = () => [['/sessions', 'Sessions']] as const;
  const more = { factory, links, rescues: [rescueStore], wrappers: [withAgent] };
  const site = makeStoredSite({ ...options, ...more });
  addDevices(site.pages, store, options.users);
  return site;
}

/** The site of this step. */
export function site(store: SessionStore = new MemoryStore()): Handler {
  return makeDeviceSite(store).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 28', ['/', '/login', '/sessions']);
