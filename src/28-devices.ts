// Step 28 · Devices: a user sees all of their sessions and can end each of them.
//
//   store: hash of 'devices of ada' → the keys of the sessions of ada, with spaces between them
import { isMain, serve } from './01-server.ts';
import { type Handler, toListener } from './04-http.ts';
import { html, page } from './06-template.ts';
import { decodePayload } from './07-session.ts';
import type { FactoryOptions } from './08-session-factory.ts';
import { dateOf } from './10-inspector.ts';
import { withTimeouts } from './11-timeouts.ts';
import { form, seeOther, withForm } from './12-forms.ts';
import type { Middleware, RouteGroup } from './13-middleware.ts';
import { type SiteData, type UserRequest, UserSession, withLogin } from './22-login.ts';
import type { SiteOptions } from './23-throttle.ts';
import { type Entry, hashId, MemoryStore, type SessionStore } from './25-store.ts';
import { StoreUnavailable } from './25-store.ts';
import { makeStoredSite, VersionedSessionFactory } from './26-versions.ts';
import { rescueStore } from './27-sqlite.ts';

export const MAX_DEVICES = 50; // of one user; one more login ends the oldest session

const listKey = (user: string): string => hashId(`devices of ${user}`); // no id contains spaces
const keysIn = (list?: Entry): string[] => list?.text.match(/[\w-]{43}/g) ?? [];

/** Returns the keys of the sessions of a user, the oldest first. Without a list, returns `[]`. */
export async function keysOf(store: SessionStore, user: string): Promise<string[]> {
  return keysIn(await store.get(listKey(user)));
}

/** Replaces the list. `change` receives the keys of the valid sessions, and returns new keys. */
async function changeList(store: SessionStore, user: string, change: (keys: string[]) => string[]) {
  for (let tries = 0; tries < 100; tries++) {
    const list = await store.get(listKey(user));
    const keys = keysIn(list);
    const entries = await Promise.all(keys.map((key) => store.get(key)));
    const text = change(keys.filter((_key, i) => entries[i])).slice(-MAX_DEVICES).join(' ');
    if (await store.put(listKey(user), { text, expires: Infinity }, list?.version ?? 0)) return;
  }
  throw new StoreUnavailable('100 attempts to change one list failed');
}

/** Ends the chosen sessions of a user. The list changes first, so no request can open them. */
export async function endSessions(store: SessionStore, user: string, isChosen: Choice) {
  const ended = (await keysOf(store, user)).filter(isChosen);
  await changeList(store, user, (keys) => keys.filter((key) => !ended.includes(key)));
  for (const key of ended) await store.delete(key);
}

type Choice = (key: string) => boolean;

const openKeys = new WeakMap<object, string>(); // keys of open sessions, for addDevices()

/** A session of a user is valid only while the list of the user contains its key. */
export class DeviceSessionFactory extends VersionedSessionFactory<UserSession<SiteData>> {
  override async open(id: string): Promise<UserSession<SiteData> | undefined> {
    const session = await super.open(id);
    if (session) openKeys.set(session, hashId(id));
    const user = session?.get('user');
    if (user === undefined) return session;
    return (await keysOf(this.store, user)).includes(hashId(id)) ? session : undefined;
  }

  /** Adds the key to the list of the user, once. The old session ends after this, not before. */
  protected override async writeNew(session: UserSession<SiteData>, key: string): Promise<void> {
    await super.writeNew(session, key);
    const user = session.get('user');
    if (user === undefined) return;
    await changeList(this.store, user, (keys) => [...new Set([...keys, key])]);
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
export function addDevices(pages: RouteGroup<UserRequest & { user: string }>, store: SessionStore) {
  pages.get('/sessions', async (request) => {
    const own = openKeys.get(request.session);
    const items = (await keysOf(store, request.user)).map(async (key) => {
      const state = decodePayload((await store.get(key))?.text);
      const name = (state?.data as Partial<SiteData> | undefined)?.agent || 'Unknown browser';
      const button = html`<button class="quiet" name="key" value="${key}"
aria-label="End: ${name}">End</button>`;
      return state && html`<li><strong>${name}</strong>
Since ${dateOf(state.created)}, last saved ${dateOf(state.accessed)}
${key === own ? 'This browser.' : form(request, '/sessions/end', button)}</li>`;
    });
    return page('Sessions', html`<h1>Your sessions</h1>
<ul class="lines">${await Promise.all(items)}</ul>
${form(request, '/sessions/end-others', html`<button>End all other sessions</button>`)}`);
  });
  pages.post('/sessions/end', withForm(async (request) => {
    await endSessions(store, request.user, (key) => key === request.form.get('key'));
    return seeOther('/sessions');
  }));
  pages.post('/sessions/end-others', async ({ session, user }) => {
    await endSessions(store, user, (key) => key !== openKeys.get(session));
    return seeOther('/sessions');
  });
}

type DeviceOptions = Partial<SiteOptions & FactoryOptions<UserSession<SiteData>>>;

/** Adds all pages over sessions in a store, and `/sessions`. */
export function makeDeviceSite(store: SessionStore, options: DeviceOptions = {}) {
  const sessions = { sessionClass: UserSession<SiteData>, ...options };
  const factory = withTimeouts(new DeviceSessionFactory(store, sessions), options);
  const links = () => [['/sessions', 'Sessions']] as const;
  const more = { factory, links, rescues: [rescueStore], wrappers: [withAgent] };
  const site = makeStoredSite({ ...options, ...more });
  addDevices(site.pages.with(withLogin(options.users)), store);
  return site;
}

/** The site of this step. */
export function site(store: SessionStore = new MemoryStore()): Handler {
  return makeDeviceSite(store).handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 28', ['/', '/login', '/sessions']);
