// Step 10 · The inspector: the cookie of this visit, in color and decoded.
//
// Signed does not mean secret. The signature needs the secret, and the payload needs nothing:
// decode base64url, skip the first 64 bytes, and read the JSON. The inspector shows this on each
// page. It also flips one bit of the cookie, to show that the site rejects it.
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, type HttpResponse, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, Html, page, Page } from './06-template.ts';
import { Session } from './07-session.ts';
import { MAX_COOKIE_SIZE, type SessionFactory, withSession } from './08-session-factory.ts';
import { SignedCookieSessionFactory } from './08-session-factory.ts';
import { addTutorial, DEMO, type Pages, type TutorialData } from './09-tutorial.ts';

/** A part of a cookie value, and what a reader can learn from it. `name` is also its color. */
export type CookiePart = { name: string; text: string; meaning: string };

/** Splits a cookie value into parts. Each kind of session has a function of this type. */
export type Explain = (value: string) => readonly CookiePart[];

type Factory = SessionFactory<Session<object>>;

/** Explains a signed value. `digestSize` is the length of the signature in bytes. */
export const explainSigned = (digestSize = 64): Explain => (value) => {
  const border = Math.ceil((digestSize * 4) / 3); // 3 bytes are 4 characters; one is shared
  const payload = Buffer.from(value, 'base64url').subarray(digestSize).toString();
  return [
    { name: 'signature', text: value.slice(0, border), meaning: 'It needs the secret.' },
    { name: 'payload', text: value.slice(border), meaning: `Everyone can read it: ${payload}` },
  ];
};

/** Fills a slot: `after` its content, or before. A response without a page stays as it is. */
export function fillSlot(
  response: HttpResponse,
  slot: keyof Page['slots'],
  after: readonly Html[],
  before: readonly Html[] = [],
): HttpResponse {
  if (!(response.body instanceof Page)) return response;
  const { title, main, slots } = response.body;
  const filled = { ...slots, [slot]: [...before, ...slots[slot], ...after] };
  return { ...response, body: new Page(title, main, filled) };
}

/** Shows the session at the end of each page. It wraps `withSession`, so it sees `Set-Cookie`. */
export function withInspector(factory: Factory, explain: Explain, inner: Handler): Handler {
  return async (request) => {
    const response = await inner(request);
    const isShown = response.body instanceof Page && response.status < 500;
    if (!isShown || request.path === '/inspect' || request.method === 'HEAD') return response;
    const panel = html`<details class="inspector"><summary>Look inside the session</summary>
${await renderCookie(factory, explain, request, response)}
</details>
`;
    return fillSlot(response, 'footer', [panel]);
  };
}

/** What the request sent, what the response sets, and the parts of the newer value. */
async function renderCookie(
  factory: Factory,
  explain: Explain,
  { headers }: HttpRequest,
  response?: HttpResponse,
): Promise<Html> {
  const { cookie } = factory;
  const setCookies = [response?.headers['set-cookie'] ?? []].flat();
  const setCookie = setCookies.find((header) => header.startsWith(`${cookie.name}=`));
  const sent = cookie.read(headers.cookie);
  const value = setCookie === undefined ? sent : cookie.read(setCookie);
  return html`<dl><dt>The request sent</dt>
<dd>${sent === undefined ? 'no session' : html`<code>Cookie: ${cookie.name}=${sent}</code>`}</dd>
<dt>The response sets</dt>
<dd>${setCookie === undefined ? 'nothing' : html`<code>Set-Cookie: ${setCookie}</code>`}</dd>
</dl>
${value ? await renderCookieParts(factory, explain, value) : html`<p>There is no session.</p>`}`;
}

/** The value in color, its size, and the session that the site finds in it. */
async function renderCookieParts(factory: Factory, explain: Explain, value: string): Promise<Html> {
  const parts = explain(value);
  const session = await factory.open(value);
  const size = factory.cookie.name.length + value.length;
  const date = (time: number): string => new Date(time * 1000).toUTCString();
  return html`<p><code>${parts.map(({ name, text }) => html`<b class="${name}">${text}</b>`)}</code></p>
<dl>${parts.map(({ name, meaning }) => html`<dt class="${name}">The ${name}</dt><dd>${meaning}</dd>
`)}<dt>Size</dt><dd><meter aria-label="Size" max="${MAX_COOKIE_SIZE}" value="${size}"></meter>
${size} of ${MAX_COOKIE_SIZE} bytes</dd>
${session ? html`<dt>Valid</dt><dd>This site wrote it.</dd>
<dt class="accessed">Accessed</dt><dd>${date(session.accessed)}</dd>
<dt class="created">Created</dt><dd>${date(session.created)}</dd>
<dt>Data</dt><dd><pre>${JSON.stringify(session, null, 2)}</pre></dd>`
    : html`<dt>Not valid</dt><dd>The site would ignore it and create a new session.</dd>`}
</dl>`;
}

/** Adds `/inspect`. With `?flip=1`, it shows the cookie of the visitor with one changed bit. */
export function addInspector(pages: Pages<HttpRequest>, factory: Factory, explain: Explain): void {
  pages.get('/inspect', async (request) => {
    const value = factory.cookie.read(request.headers.cookie) ?? '';
    const isFlipped = request.search === '?flip=1' && value !== '';
    const shown = isFlipped ? renderCookieParts(factory, explain, flipBit(value)) : undefined;
    return page('Inspector', html`<h1>Inspector</h1>
${(await shown) ?? (await renderCookie(factory, explain, request))}
<form action="/inspect"><button name="flip" value="1">Flip one bit of my cookie</button></form>`);
  });
}

/** Flips one bit near the end, where the payload is. */
function flipBit(value: string): string {
  const bytes = Buffer.from(value, 'base64url');
  const index = Math.max(bytes.length - 3, 0);
  bytes.writeUInt8(bytes.readUInt8(index) ^ 1, index);
  return bytes.toString('base64url');
}

/** The site of this step. */
export function site(): Handler {
  const factory = new SignedCookieSessionFactory({ ...DEMO, sessionClass: Session<TutorialData> });
  const router = addStyle(new Router());
  addTutorial({ get: (path, view) => router.get(path, withSession(factory)(view)) });
  addInspector(router, factory, explainSigned());
  return withInspector(factory, explainSigned(), router.handle);
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 10', ['/', '/howdy', '/inspect']);
