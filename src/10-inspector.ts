// Step 10 · The inspector: the cookie of this visit, in color and decoded.
import { isMain, serve } from './01-server.ts';
import { parseCookies } from './02-cookie.ts';
import { type Handler, type HttpRequest, type HttpResponse, toListener } from './04-http.ts';
import { type Html, html, page, Page } from './06-template.ts';
import { Session } from './07-session.ts';
import { MAX_COOKIE_SIZE, type SessionFactory } from './08-session-factory.ts';
import { SignedCookieSessionFactory } from './08-session-factory.ts';
import { DEMO, type Pages, site as tutorial, type TutorialData } from './09-tutorial.ts';

/** A part of a cookie value, and what everyone can learn from it. `name` is also its color. */
export type CookiePart = { name: string; text: string; meaning: string };

/** Splits a cookie value into parts. */
export type Explain = (value: string) => readonly CookiePart[];

type Factory = SessionFactory<Session<object>>;

/**
 * Splits a signed value into 'signature' and 'payload'. `digestSize` is the length of the signature
 * in bytes. The character that both parts share belongs to the signature.
 */
export const explainSigned = (digestSize = 64): Explain => (value) => {
  const border = Math.ceil((digestSize * 4) / 3);
  const payload = Buffer.from(value, 'base64url').subarray(digestSize).toString();
  return [
    { name: 'signature', text: value.slice(0, border), meaning: 'Only the server can create it.' },
    { name: 'payload', text: value.slice(border), meaning: `Everyone can read it: ${payload}` },
  ];
};

type Slot = keyof Page['slots'];

/** Appends to a slot of a page, in a new response. A response without a page stays as it is. */
export function fillSlot(response: HttpResponse, slot: Slot, content: Html): HttpResponse {
  if (!(response.body instanceof Page)) return response;
  const { title, main, slots } = response.body;
  const filled = { ...slots, [slot]: [...slots[slot], content] };
  return { ...response, body: new Page(title, main, filled) };
}

/**
 * Adds a panel to the slot `footer` of each page, but not of `/inspect` or of a page with a status
 * of 500 or more. It wraps `withSession`.
 */
export function withInspector(factory: Factory, explain: Explain, inner: Handler): Handler {
  return async (request) => {
    const response = await inner(request);
    const isShown = response.body instanceof Page && response.status < 500;
    if (!isShown || request.path === '/inspect') return response;
    const { cookie } = request.headers;
    const setCookies = [response.headers['set-cookie'] ?? []].flat();
    const setCookie = setCookies.find((header) => header.startsWith(`${factory.cookie.name}=`));
    const panel = html`<footer><details class="inspector"><summary>Look inside the session</summary>
<dl><dt>The request sent</dt>
<dd>${cookie ? html`<code>Cookie: ${cookie}</code>` : 'no cookie'}</dd>
<dt>The response sets</dt>
<dd>${setCookie ? html`<code>Set-Cookie: ${setCookie}</code>` : 'nothing'}</dd></dl>
${await renderParts(factory, explain, setCookie ?? cookie).catch(() => 'Cannot open the session.')}
</details></footer>\n`;
    // no shared cache may store the cookie
    const headers = { 'cache-control': 'private, no-cache', vary: 'Cookie', ...response.headers };
    return fillSlot({ ...response, headers }, 'footer', panel);
  };
}

/** Returns the first valid value, as `withSession` does. If none is valid, returns the first. */
async function findValue(factory: Factory, header?: string): Promise<string | undefined> {
  const own = parseCookies(header).filter(([name]) => name === factory.cookie.name);
  for (const [, value] of own.slice(0, 4)) if (await factory.open(value)) return value;
  return own[0]?.[1];
}

/** Shows the value in color, the verdict, the parts, the session and the size. */
async function renderParts(factory: Factory, explain: Explain, header?: string): Promise<Html> {
  const value = await findValue(factory, header);
  if (!value) return html`<p>There is no session.</p>`;
  const parts = explain(value);
  const session = await factory.open(value);
  const size = factory.cookie.name.length + value.length;
  return html`<p class="value"><code>${parts.map(({ name, text }) =>
    html`<b class="${name}">${text}</b>`)}</code></p>
${session ? html`<p class="verdict success"><strong>Valid.</strong> This site wrote it.</p>`
    : html`<p class="verdict error"><strong>Not valid.</strong> The site ignores it.</p>`}
<dl>${parts.map(({ name, meaning }) => html`<dt class="${name}">The ${name}</dt><dd>${meaning}</dd>
`)}${session && html`<dt class="created">Created</dt><dd>${dateOf(session.created)}</dd>
<dt class="accessed">Accessed</dt><dd>${dateOf(session.accessed)}</dd>
<dt>Data</dt><dd><pre>${JSON.stringify(session, null, 2)}</pre></dd>
`}<dt>Size</dt><dd><meter aria-label="Size" max="${MAX_COOKIE_SIZE}" value="${size}"></meter>
${size} of ${MAX_COOKIE_SIZE} bytes</dd></dl>`;
}

/** Returns a time in seconds since 1970 as text: 'Thu, 01 Jan 1970 00:00:00 GMT'. */
export const dateOf = (seconds: number): string => new Date(seconds * 1000).toUTCString();

/**
 * Adds `/inspect`, a page that no cache stores. It shows the parts of the session cookie. A button
 * opens `/inspect?flip=1`, which shows a copy with one flipped bit.
 */
export function addInspector(pages: Pages<HttpRequest>, factory: Factory, explain: Explain): void {
  pages.get('/inspect', async ({ headers, search }) => {
    const value = await findValue(factory, headers.cookie);
    const copy = search === '?flip=1' && value && `${factory.cookie.name}=${flipBit(value)}`;
    const response = page('Inspector', html`<h1>Inspector</h1>
${copy && html`<p>This is a copy with one flipped bit. <a href="/inspect">Show my cookie</a></p>`}
${await renderParts(factory, explain, copy || headers.cookie)}
${value && html`<form action="/inspect">
<button name="flip" value="1">Flip one bit of my cookie</button></form>`}`);
    return { ...response, headers: { ...response.headers, 'cache-control': 'no-store' } };
  });
}

/** Flips one bit in the payload. */
function flipBit(value: string): string {
  const bytes = Buffer.from(value, 'base64url');
  const flipped = bytes.map((byte, index) => (index === bytes.length - 3 ? byte ^ 1 : byte));
  return Buffer.from(flipped).toString('base64url');
}

/** The site of this step. */
export function site(): Handler {
  const factory = new SignedCookieSessionFactory({ ...DEMO, sessionClass: Session<TutorialData> });
  const router = tutorial(factory);
  addInspector(router, factory, explainSigned());
  return withInspector(factory, explainSigned(), router.handle);
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 10', ['/', '/howdy', '/inspect']);
