// Step 12 · Look inside: the cookie, taken apart on the page.
//
// Signed is not secret. All but the signature can be read with no key at all: decode base64url, cut
// off the first 64 bytes, and there is the JSON. The inspector does that with the visitor's cookie,
// and shows what the request sent and what the response set. `explainCookie` answers a question
// that costs people hours: the server did set a cookie, so why did the browser not keep it?
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';
import { html, page } from './04-template.ts';
import type { Html } from './04-template.ts';
import { MAX_COOKIE_AGE, MAX_COOKIE_SIZE, parseCookies, serializeCookie } from './07-cookie.ts';
import { KEEPING_RULES, parseSetCookie } from './08-browser.ts';
import type { StoredCookie } from './08-browser.ts';
import { SignedCookieSessionFactory, site as tutorial, withSession } from './11-session-factory.ts';

/** Where a `Set-Cookie` line arrives: from which page, whether another site asked for it, when. */
export type Scene = { url: URL; isCrossSite?: boolean; now: number };

/** Whether a browser keeps a `Set-Cookie` line: each reason against or, if kept, each caution. */
export function explainCookie(line: string, scene: Scene): { isKept: boolean; notes: string[] } {
  const cookie = parseSetCookie(line, scene.now);
  if (!cookie) return { isKept: false, notes: [unreadable(line)] };
  const broken = Object.entries(KEEPING_RULES).filter(([, holds]) => !holds(cookie, scene.url));
  const dropped = Object.entries(DROPPED).filter(([, applies]) => applies(cookie, scene));
  const reasons = [...broken, ...dropped].map(([words]) => words);
  if (reasons.length > 0) return { isKept: false, notes: reasons };
  const cautions = Object.entries(CAUTIONS).filter(([, applies]) => applies(cookie, scene));
  return { isKept: true, notes: cautions.map(([words]) => words) };
}

type Factory = SignedCookieSessionFactory<{ counter: number }>;

/** The cookie of this visit, in colour: what the response sets, else what the request brought. */
export function anatomy(factory: Factory, request: HttpRequest, response?: HttpResponse): Html {
  const { cookieName, now } = factory.options;
  const lines = [response?.headers['set-cookie'] ?? []].flat();
  const line = lines.find((one) => one.startsWith(`${cookieName}=`));
  const sent = parseCookies(request.headers.cookie).get(cookieName);
  const value = line === undefined ? sent : parseCookies(line.split(';')[0]).get(cookieName);
  return html`<dl>
<dt>The request sent</dt>
<dd>${sent === undefined ? 'no session' : html`<code>Cookie: ${cookieName}=${sent}</code>`}</dd>
<dt>The response set</dt>
<dd>${line === undefined ? 'nothing' : html`<code>Set-Cookie: ${line}</code>`}</dd>
</dl>
${value ? takeApart(factory, value, now()) : html`<p>This browser has no session now.</p>`}`;
}

/** Adds the inspector, folded, at the foot of each page. It goes around what saves the session. */
export function withInspector(factory: Factory, inner: Handler): Handler {
  return async (request) => {
    const isHead = request.method === 'HEAD'; // its Content-Length must be GET's (RFC 9110 §8.6)
    const response = await inner(isHead ? { ...request, method: 'GET' } : request);
    const headers = isHead ? { ...response.headers, 'set-cookie': [] } : response.headers;
    const isPage = String(headers['content-type']).startsWith('text/html');
    const hasPanel = isPage && request.path !== '/inspect';
    if (!hasPanel || typeof response.body !== 'string') return { ...response, headers };
    const panel = html`<details class="inspector"><summary>Look inside the session</summary>
${anatomy(factory, request, response)}
</details>`;
    const body = response.body.replace('</body>', () => `${panel}\n</body>`);
    return { ...response, headers, body };
  };
}

/** What `/inspect` shows: the cookie, a form that damages it, and one that explains others. */
export function inspectorPage(factory: Factory, request: HttpRequest): Html {
  const query = new URLSearchParams(request.search);
  const line = query.get('line') ?? 'session=abc; Domain=example.org; SameSite=None';
  const url = query.get('url') ?? `http://${request.headers.host ?? 'localhost'}/`;
  const isCrossSite = query.has('cross-site');
  return html`<h1>Inspector</h1>
${anatomy(factory, request)}
<form method="post" action="/inspect"><button>Flip one bit of my cookie</button></form>
<h2>Would a browser keep this cookie?</h2>
<form method="get" action="/inspect">
<label>Set-Cookie: <input name="line" value="${line}" maxlength="5000"></label>
<label>sent by <input name="url" value="${url}"></label>
<label><input type="checkbox" name="cross-site"${isCrossSite && html` checked`}>
another site asked</label>
<button>Explain</button>
</form>
${query.has('line') && verdict(line, url, isCrossSite, factory.options.now())}`;
}

/** Damages the visitor's cookie by one bit and shows `/inspect`, where the server starts anew. */
export function flipBit(factory: Factory, request: HttpRequest): HttpResponse {
  const { cookieName } = factory.options;
  const sent = parseCookies(request.headers.cookie).get(cookieName) ?? '';
  const bytes = Buffer.from(sent, 'base64url');
  if (bytes.length > 2) bytes.writeUInt8(bytes.readUInt8(bytes.length - 3) ^ 1, bytes.length - 3);
  const line = serializeCookie(cookieName, bytes.toString('base64url'), factory.options);
  return { status: 303, headers: { location: '/inspect', 'set-cookie': line }, body: '' };
}

function takeApart(factory: Factory, value: string, now: number): Html {
  const { digestSize } = factory.signer;
  const border = Math.ceil((digestSize * 4) / 3); // 64 bytes are 85⅓ characters: one is shared
  const payload = Buffer.from(value, 'base64url').subarray(digestSize).toString();
  const state = factory.read(value);
  const size = factory.options.cookieName.length + value.length;
  return html`<p><code><span class="signature">${value.slice(0, border)}</span><span
class="payload">${value.slice(border)}</span></code></p>
<dl>
<dt class="signature">Signature</dt>
<dd>${state ? 'It is ours, and the session is alive.' : DISTRUSTED}</dd>
<dt class="payload">Payload</dt>
<dd>Read with no secret at all: <code>${payload}</code></dd>
${
  state &&
  html`<dt class="accessed">Accessed</dt>
<dd>${when(state.accessed, now)}</dd>
<dt class="created">Created</dt>
<dd>${when(state.created, now)}</dd>
<dt class="data">Data</dt>
<dd><pre>${JSON.stringify(state.data, null, 2)}</pre></dd>`
}
<dt>Size</dt>
<dd><meter min="0" max="${MAX_COOKIE_SIZE}" value="${size}"></meter>
${size} of ${MAX_COOKIE_SIZE} bytes</dd>
</dl>`;
}

function verdict(line: string, url: string, isCrossSite: boolean, now: number): Html {
  if (!/^https?:/.test(url) || !URL.canParse(url)) return html`<p>That is no page's URL.</p>`;
  const { isKept, notes } = explainCookie(line, { url: new URL(url), isCrossSite, now });
  return html`<p>${isKept ? 'A browser keeps it.' : 'A browser drops it.'}</p>
<ul>${notes.map((note) => html`<li>${note}.</li>`)}</ul>`;
}

/** '2027-01-15T08:00:00.000Z, 3 minutes ago'. */
function when(time: number, now: number): string {
  const [seconds, unit] = UNITS.find(([size]) => Math.abs(now - time) >= size) ?? [1, 'second'];
  const words = new Intl.RelativeTimeFormat('en').format(Math.round((time - now) / seconds), unit);
  return Math.abs(time) < 1e11 ? `${new Date(time * 1000).toISOString()}, ${words}` : words;
}

const UNITS: readonly [number, Intl.RelativeTimeFormatUnit][] = [
  [86_400, 'day'],
  [3_600, 'hour'],
  [60, 'minute'],
];

const DISTRUSTED =
  'Not to be trusted: changed on the way, too old, or of another secret. The server starts anew.';

function unreadable(line: string): string {
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(line)) return 'It has a control character, such as a newline';
  if (!/^\s*[^\s;=][^;=]*=/.test(line)) return 'It has no name, or no = after it';
  return `Its name and value take more than ${MAX_COOKIE_SIZE} bytes`;
}

const DROPPED: Record<string, (cookie: StoredCookie, scene: Scene) => boolean> = {
  'It has expired, which is how a server deletes a cookie': (c, { now }) => c.expires <= now,
  'Another site asked, and then only SameSite=None with Secure is kept': (c, { isCrossSite }) =>
    isCrossSite === true && c.sameSite !== 'None',
};

const CAUTIONS: Record<string, (cookie: StoredCookie, scene: Scene) => boolean> = {
  'Safari drops it: Secure over http, and it makes no exception for localhost': (c, { url }) =>
    c.secure && url.protocol === 'http:',
  'Safari and Firefox may block it as a third-party cookie': (_, { isCrossSite }) =>
    isCrossSite === true,
  'It lasts until the browser closes: it has neither Max-Age nor Expires': (c) =>
    c.expires === Infinity,
  'It lasts 400 days, however many it asks for': (c, { now }) => c.expires === now + MAX_COOKIE_AGE,
  'Without SameSite, browsers differ: Chrome takes it for Lax': (c) => c.sameSite === undefined,
};

/** The tutorial, with the inspector at `/inspect`, and folded under the other pages. */
export function site(factory: Factory = new SignedCookieSessionFactory(DEMO)): { handle: Handler } {
  const show = (request: HttpRequest): HttpResponse =>
    page('Inspector', html`<main>${inspectorPage(factory, request)}</main>`);
  const router = tutorial(factory)
    .get('/inspect', withSession(factory, show), 'inspect')
    .post('/inspect', (request) => flipBit(factory, request));
  return { handle: withInspector(factory, router.handle) };
}

const DEMO = { secrets: ['itsaseekreet'] };

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 12', '/', '/howdy', '/inspect');
