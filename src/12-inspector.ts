// Step 12 · Look inside: the cookie, taken apart on the page.
//
// Signed is not secret. All but the signature can be read with no key at all: decode base64url, cut
// off the first 64 bytes, and there is the JSON. The inspector does that with the cookie of each
// visit. `explainCookie` answers what costs people hours: why did the browser not keep a cookie?
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import type { Html } from './04-template.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';
import { findCookie, MAX_COOKIE_AGE, MAX_COOKIE_SIZE, serializeCookie } from './07-cookie.ts';
import type { CookieAttributes } from './07-cookie.ts';
import { KEEPING_RULES, parseSetCookie } from './08-browser.ts';
import type { StoredCookie } from './08-browser.ts';
import type { SessionState } from './10-session.ts';
import { addCounter, DEMO, SignedCookieSessionFactory, withSession } from './11-session-factory.ts';
import type { Mount } from './11-session-factory.ts';

/** Where a `Set-Cookie` line arrives: from which page, whether another site asked for it, when. */
export type Scene = { url: URL; isCrossSite?: boolean; now: number };

/** Whether a browser keeps a `Set-Cookie` line: each reason against or, if kept, each caution. */
export function explainCookie(line: string, scene: Scene): { isKept: boolean; notes: string[] } {
  const cookie = parseSetCookie(line, scene.now);
  if (!cookie) return { isKept: false, notes: [unreadable(line)] };
  const applying = (rules: Rules) => Object.keys(rules).filter((r) => rules[r]?.(cookie, scene));
  const broken = Object.entries(KEEPING_RULES).filter(([, holds]) => !holds(cookie, scene.url));
  const reasons = [...broken.map(([words]) => words), ...applying(DROPPED)];
  if (reasons.length > 0) return { isKept: false, notes: reasons };
  return { isKept: true, notes: applying(CAUTIONS) };
}

/** How to look at one kind of session: where its cookie is, what it says, what it stands for. */
export type Lens = {
  readonly options: CookieAttributes & { readonly cookieName: string; readonly now: () => number };
  read(cookie: string): SessionState | undefined | Promise<SessionState | undefined>;
  /** The cookie in parts: a name, the text, and what everybody can tell from it. */
  parts(cookie: string): readonly (readonly [name: string, text: string, meaning: string])[];
};

/** The lens for signed cookies, which hide nothing. */
export function signedLens<D extends object>(factory: SignedCookieSessionFactory<D>): Lens {
  const { digestSize } = factory.signer;
  const border = Math.ceil((digestSize * 4) / 3); // 64 bytes are 85⅓ characters: one is shared
  const payloadOf = (cookie: string): string =>
    Buffer.from(cookie, 'base64url').subarray(digestSize).toString();
  const parts: Lens['parts'] = (cookie) => [
    ['signature', cookie.slice(0, border), 'Only who has the secret can make it.'],
    ['payload', cookie.slice(border), `Read with no secret at all: ${payloadOf(cookie)}`],
  ];
  return { options: factory.options, read: (cookie) => factory.read(cookie), parts };
}

/** The cookie of this visit, in colour: what the response sets, else what the request brought. */
export async function anatomy(lens: Lens, request: HttpRequest, set?: HttpResponse): Promise<Html> {
  const { cookieName } = lens.options;
  const ofSession = (line: string): boolean => line.startsWith(`${cookieName}=`);
  const line = [set?.headers['set-cookie'] ?? []].flat().find(ofSession);
  const sent = findCookie(request.headers.cookie, cookieName);
  const value = line === undefined ? sent : findCookie(line, cookieName);
  return html`<dl><dt>The request sent</dt>
<dd>${sent === undefined ? 'no session' : html`<code>Cookie: ${cookieName}=${sent}</code>`}</dd>
<dt>The response set</dt>
<dd>${line === undefined ? 'nothing' : html`<code>Set-Cookie: ${line}</code>`}</dd>
</dl>
${value ? await takeApart(lens, value, sent) : html`<p>This browser has no session now.</p>`}`;
}

/** Adds the inspector, folded, at the foot of each page. It goes around what saves the session. */
export function withInspector(lens: Lens, inner: Handler): Handler {
  return async (request) => {
    const response = await inner(request);
    const { headers, body } = response;
    const isHtml = String(headers['content-type']).startsWith('text/html');
    if (typeof body !== 'string' || !isHtml || request.path === '/inspect') return response;
    // HEAD saves nothing, so its panel is not GET's: no length is better than a wrong one.
    if (request.method === 'HEAD') return { ...response, body: undefined };
    const panel = html`<details class="inspector"><summary>Look inside the session</summary>
${await anatomy(lens, request, response)}
</details>`;
    return { ...response, body: body.replace('</body>', () => `${panel}\n</body>`) };
  };
}

/** What `/inspect` shows: the cookie, a form that damages it, and one that explains others. */
export async function inspectorPage(lens: Lens, request: HttpRequest): Promise<HttpResponse> {
  const query = new URLSearchParams(request.search);
  const line = query.get('line') ?? 'session=abc; Domain=example.org; SameSite=None';
  const url = query.get('url') ?? `http://${request.headers.host ?? 'localhost'}/`;
  const isCrossSite = query.has('cross-site');
  return page('Inspector', html`<main><h1>Inspector</h1>
${await anatomy(lens, request)}
<form method="post" action="/inspect"><button>Flip one bit of my cookie</button></form>
<h2>What the parts are for</h2>
<img src="/cookie.svg" width="400" height="520" alt="A signed cookie: name, signature, payload and
attributes, and what each of them is for">
<h2>Would a browser keep this cookie?</h2>
<form method="get" action="/inspect">
<label>Set-Cookie: <input name="line" value="${line}" maxlength="5000"></label>
<label>sent by <input name="url" value="${url}"></label>
<label><input type="checkbox" name="cross-site"${isCrossSite && html` checked`}>
another site asked</label>
<button>Explain</button>
</form>
${query.has('line') && verdict(line, url, isCrossSite, lens.options.now())}</main>`);
}

/** Sends the visitor's cookie back with one bit of it flipped, and no more than a browser takes. */
export function flipBit(lens: Lens, request: HttpRequest): HttpResponse {
  const { cookieName } = lens.options;
  const sent = findCookie(request.headers.cookie, cookieName) ?? '';
  const bytes = Buffer.from(sent.slice(0, MAX_COOKIE_SIZE - cookieName.length), 'base64url');
  if (bytes.length > 2) bytes.writeUInt8(bytes.readUInt8(bytes.length - 3) ^ 1, bytes.length - 3);
  const line = serializeCookie(cookieName, bytes.toString('base64url'), lens.options);
  return { status: 303, headers: { location: '/inspect', 'set-cookie': line }, body: '' };
}

async function takeApart(lens: Lens, value: string, sent = ''): Promise<Html> {
  const { cookieName, now } = lens.options;
  const [state, before] = [await lens.read(value), await lens.read(sent)];
  const parts = lens.parts(value);
  const [came, data] = [before, state].map((one) => one && JSON.stringify(one.data, null, 2));
  const size = cookieName.length + value.length;
  return html`<p><code>${parts.map(([name, t]) => html`<b class="${name}">${t}</b>`)}</code></p>
<dl>
${parts.map(([name, , says]) => html`<dt class="${name}">The ${name}</dt>
<dd>${says}</dd>
`)}<dt>The verdict</dt>
<dd>${state ? 'Ours, and alive.' : 'Not to be trusted: changed, too old or of another secret.'}</dd>
${state && html`<dt class="accessed">Accessed</dt><dd>${when(state.accessed, now())}</dd>
<dt class="created">Created</dt><dd>${when(state.created, now())}</dd>
${came !== data && html`<dt class="data">Data, as it came</dt>
<dd><pre>${came ?? 'none'}</pre></dd>`}
<dt class="data">Data</dt>
<dd><pre>${data}</pre></dd>`}
<dt>Size</dt><dd><meter aria-label="Size" max="${MAX_COOKIE_SIZE}" value="${size}"></meter>
${size} of ${MAX_COOKIE_SIZE} bytes</dd>
</dl>`;
}

function verdict(line: string, url: string, isCrossSite: boolean, now: number): Html {
  if (!/^https?:/.test(url) || !URL.canParse(url)) return html`<p>That is no page's URL.</p>`;
  const { isKept, notes } = explainCookie(line, { url: new URL(url), isCrossSite, now });
  return html`<p>${isKept ? 'A browser keeps it.' : 'A browser drops it.'}</p>
<ul>${notes.map((note) => html`<li>${note}.</li>`)}</ul>`;
}

/** 'Fri, 15 Jan 2027 08:00:00 GMT, 90 seconds ago'. */
function when(time: number, now: number): string {
  return `${new Date(time * 1000).toUTCString()}, ${Math.round(now - time)} seconds ago`;
}

function unreadable(line: string): string {
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(line)) return 'It has a control character, such as a newline';
  if (!/^\s*[^\s;=][^;=]*=/.test(line)) return 'It has no name, or no = after it';
  return `Its name and value take more than ${MAX_COOKIE_SIZE} bytes`;
}

type Rules = Record<string, (cookie: StoredCookie, scene: Scene) => boolean>;

const DROPPED: Rules = {
  'It has expired, which is how a server deletes a cookie': (c, { now }) => c.expires <= now,
  'Another site asked, and then only SameSite=None with Secure is kept': (c, { isCrossSite }) =>
    isCrossSite === true && c.sameSite !== 'None',
};

const CAUTIONS: Rules = {
  'Safari drops it: Secure over http, and it makes no exception for localhost': (c, { url }) =>
    c.secure && url.protocol === 'http:',
  'Safari and Firefox may block it as a third-party cookie': (_, { isCrossSite }) =>
    isCrossSite === true,
  'It lasts until the browser closes: it has neither Max-Age nor Expires': (c) =>
    c.expires === Infinity,
  'It lasts 400 days, however many it asks for': (c, { now }) => c.expires === now + MAX_COOKIE_AGE,
  'Without SameSite, browsers differ: Chrome takes it for Lax': (c) => c.sameSite === undefined,
};

/** Adds `/inspect`: the page, and the form that flips a bit. */
export function addInspector(router: Router, lens: Lens, mount: Mount<object>): Router {
  const show = mount((request) => inspectorPage(lens, request));
  const ask = mount(() => ({ status: 303, headers: { location: '/inspect' }, body: '' }));
  return router.get('/inspect', show, 'inspect').post('/inspect', async (request) => {
    const answer = await ask(request);
    return answer.status === 303 ? flipBit(lens, request) : answer; // nothing else is set
  });
}

/** The tutorial with the inspector: a router that later steps add pages to, and the whole site. */
export function site(
  factory = new SignedCookieSessionFactory<{ counter: number }>(DEMO),
  mount: Mount<{ counter: number }> = (page) => withSession(factory, page),
): { router: Router; handle: Handler } {
  const router = addCounter(addStaticFiles(new Router(), PUBLIC), mount);
  const lens = signedLens(factory);
  return { router, handle: withInspector(lens, addInspector(router, lens, mount).handle) };
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 12', '/', '/howdy', '/inspect');
