// Step 13 · Flash messages: told once, on the next page, whichever that is.
//
//   POST /articles → 303, Location: /articles → GET /articles, and there "Article saved…", once
//
// A page that answers a POST is posted again by every reload, and the article is saved twice. So
// the answer is 303 See Other (RFC 9110 §15.4.4), and what the visitor sees is a GET. But that page
// does not know what was done. So a message waits in the session, in a queue, until a page shows
// it: Pyramid's `flash`, `pop_flash` and `peek_flash`. Only what shows a message may use it up.
import { isMain, serve } from './01-server.ts';
import { toListener, withForm } from './02-http.ts';
import type { Handler, HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import type { Html } from './04-template.ts';
import type { Json } from './10-session.ts';
import { DEMO, SignedCookieSessionFactory, withSession } from './11-session-factory.ts';
import type { Mount, SessionRequest } from './11-session-factory.ts';
import { site as inspected } from './12-inspector.ts';

/** What a queue is for. An alert interrupts a screen reader; a status waits for it to pause. */
const QUEUES = { error: 'alert', success: 'status', info: 'status' } as const;

export const MAX_ARTICLES = 100; // in memory, for everybody: then the oldest goes

export type Article = { title: string; body: string };

/** Shows at the head of each page what waits in the queues, and takes it out of them. */
export function withFlash<R extends SessionRequest>(inner: Handler<R>): Handler<R> {
  return async (request) => {
    const response = await inner(request);
    const { status, headers, body } = response;
    // A redirect is followed unseen, a failure is not ours, JSON is no page: nothing is used up.
    const isSeen = status < 300 || (status >= 400 && status < 500);
    const isHtml = String(headers['content-type']).startsWith('text/html');
    if (!isSeen || !isHtml || typeof body !== 'string' || !body.includes('<main>')) return response;
    const { session, method } = request;
    const messages = Object.entries(QUEUES).flatMap(([queue, role]) => {
      const texts = method === 'HEAD' ? session.peekFlash(queue) : session.popFlash(queue);
      return texts.map((text) => html`<p class="flash ${queue}" role="${role}">${textOf(text)}</p>
`);
    });
    if (messages.length === 0) return response;
    return { ...response, body: body.replace('<main>', () => `<main>\n${html`${messages}`}`) };
  };
}

/** A message may be any JSON value, as in Pyramid. */
function textOf(message: Json): string {
  return typeof message === 'string' ? message : JSON.stringify(message);
}

/** Sends the browser on to a page of ours, by GET, whatever it did here. */
export function seeOther(location: string): HttpResponse {
  return { status: 303, headers: { location }, body: '' };
}

/** Adds `/articles`: a list that everybody sees and a form to add to it. A restart forgets it. */
export function addArticles(router: Router, mount: Mount<object>): Router {
  const articles: Article[] = []; // what everybody shares is no business of a session
  const save: Handler<SessionRequest & { form: URLSearchParams }> = ({ session, form }) => {
    const article = { title: fieldOf(form, 'title'), body: fieldOf(form, 'body') };
    const faults = RULES.filter(([name, pattern]) => !pattern.test(article[name]));
    for (const [, , message] of faults) session.flash(message, 'error');
    if (faults.length > 0) return articlesPage(articles, article, 422); // what was typed is kept
    articles.unshift(article);
    articles.length = Math.min(articles.length, MAX_ARTICLES);
    session.flash('Article saved successfully!', 'success');
    session.flash('A restart of this server forgets all articles.', 'info', false); // once will do
    return seeOther('/articles');
  };
  return router
    .get('/articles', mount(() => articlesPage(articles)), 'articles')
    .post('/articles', mount(withForm(save)));
}

/** One field as it was meant: a browser sends each line's end as CR LF. `''` for none. */
export function fieldOf(form: URLSearchParams, name: string): string {
  return (form.get(name) ?? '').replaceAll('\r\n', '\n').trim();
}

/** A field, what it must look like, and what to say when it does not. Controls are no text. */
const RULES: readonly [keyof Article, RegExp, string][] = [
  ['title', /^[^\p{Cc}]{1,100}$/u, 'A title has one line, of 1 to 100 characters.'],
  ['body', /^[^\0-\x08\x0b-\x1f\x7f-\x9f]{1,5000}$/u, 'A text has 1 to 5000 characters.'],
];

/** No `required` on the fields: a browser would not send them empty, and you could not see 422. */
function articlesPage(articles: Article[], typed?: Article, status = 200): HttpResponse {
  const form = html`<form method="post" action="/articles">
<label>Title <input name="title" value="${typed?.title}" maxlength="100"></label>
<label>Text <textarea name="body" rows="4" maxlength="5000">
${typed?.body}</textarea></label>
<button>Save</button>
</form>`;
  const main = html`<main>
<h1>Articles</h1>
${form}
${articles.map(articleOf)}
</main>`;
  return page('Articles', main, status);
}

function articleOf({ title, body }: Article): Html {
  return html`<article><h2 dir="auto">${title}</h2><p dir="auto">${body}</p></article>
`;
}

/** The site of this step: step 12's, with articles, and messages on every page. */
export function site(
  factory = new SignedCookieSessionFactory<{ counter: number }>(DEMO),
  mount: Mount<{ counter: number }> = (inner) => withSession(factory, withFlash(inner)),
): { router: Router; handle: Handler } {
  const { router, handle } = inspected(factory, mount);
  return { router: addArticles(router, mount), handle };
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 13', '/articles', '/');
