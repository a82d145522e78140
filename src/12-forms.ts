// Step 12 · Forms: POST, then 303, then GET.
//
//   POST /articles → 303 See Other, Location: /articles → GET /articles        RFC 9110 §15.4.4
//
// If a page is the response to a POST, a reload sends the form again. So the response is a redirect.
// This step reads the body of a request for the first time. A body has no natural end: the code
// counts the bytes as they arrive and stops at a limit.
import { isUtf8 } from 'node:buffer';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, type HttpResponse, problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, Html, page } from './06-template.ts';
import type { Pages } from './09-tutorial.ts';

export const MAX_BODY_SIZE = 64 * 1024; // bytes: an article of ten thousand words
const MAX_FIELDS = 100; // a real form has ten; each field costs work
const FORM_TYPE = 'application/x-www-form-urlencoded';

/** Routes for pages that GET shows and POST changes. */
export type FormPages<R extends HttpRequest> = Pages<R> & { post: Pages<R>['get'] };

const forms = new WeakMap<HttpRequest['body'], Promise<URLSearchParams | HttpResponse>>();

/** Returns the fields, or an error response. A body can be read once, so the result is kept. */
export function readForm(request: HttpRequest): Promise<URLSearchParams | HttpResponse> {
  const form = forms.get(request.body) ?? parseForm(request);
  forms.set(request.body, form);
  return form;
}

async function parseForm({ headers, body }: HttpRequest): Promise<URLSearchParams | HttpResponse> {
  const [type = '', ...parameters] = (headers['content-type'] ?? '').toLowerCase().split(/; */);
  const isText = parameters.every((one) => /^charset="?utf-8"?$/.test(one));
  if (type.trim() !== FORM_TYPE || !isText || headers['content-encoding'] !== undefined) {
    return problem(415, `Send the form as ${FORM_TYPE} in UTF-8, and not compressed.`);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  const tooLarge = problem(413, `A form has at most ${MAX_BODY_SIZE} bytes.`);
  if (Number(headers['content-length']) > MAX_BODY_SIZE) return tooLarge;
  for await (const chunk of body) {
    if ((size += chunk.length) > MAX_BODY_SIZE) return tooLarge; // the length can be unknown
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  const form = new URLSearchParams(bytes.toString());
  const hasText = isUtf8(bytes) && ![...form].flat().some((text) => text.includes('\ufffd'));
  if (!hasText) return problem(400, 'The form contains bytes that are not UTF-8.');
  if (form.size > MAX_FIELDS) return problem(400, `A form has at most ${MAX_FIELDS} fields.`);
  return form;
}

/** Wraps a page that receives `request.form`. */
export function withForm<R extends HttpRequest>(
  page: Handler<NoInfer<R> & { form: URLSearchParams }>,
): Handler<R> {
  return async (request) => {
    const form = await readForm(request);
    return form instanceof URLSearchParams ? page({ ...request, form }) : form;
  };
}

/** Returns one field without white space around it, or `''`. A browser ends each line with CR LF. */
export function fieldOf(form: URLSearchParams, name: string): string {
  return (form.get(name) ?? '').replaceAll('\r\n', '\n').trim();
}

/** Returns what is wrong with a text: its length, or a control character. `undefined`: nothing. */
export function checkText(name: string, text: string, min: number, max: number): string | undefined {
  const control = /[\0-\x08\x0b-\x1f\x7f-\x9f]/.exec(text)?.[0]?.charCodeAt(0).toString(16);
  if (control !== undefined) return `${name} contains the character U+${control.padStart(4, '0')}.`;
  const { length } = [...text];
  if (length >= min && length <= max) return undefined;
  return `${name} must have ${min} to ${max} characters, not ${length}.`;
}

export type FormRequest = HttpRequest & { readonly hiddenFields?: (() => Html) | undefined };

/** Returns a form that posts. Step csrf adds hidden fields to each form of the site. */
export function form(request: FormRequest, action: string, content: Html): Html {
  return html`<form method="post" action="${action}">
${request.hiddenFields?.()}${content}
</form>`;
}

/** Sends the browser to another page of this site, which it opens with GET. */
export function seeOther(location: string): HttpResponse {
  return { status: 303, headers: { location }, body: '' };
}

export const MAX_ARTICLES = 100; // in memory, for all visitors; then the oldest is removed

type Article = { readonly title: string; readonly body: string; readonly error?: string };

/** Adds `/articles`: a list for all visitors, and a form. `onSave` can tell the visitor. */
export function addArticles<R extends FormRequest>(
  pages: FormPages<R>,
  onSave: (request: R) => void = () => {},
): void {
  const articles: Article[] = [];
  const save = (request: R & { form: URLSearchParams }): HttpResponse => {
    const title = fieldOf(request.form, 'title').replaceAll('\n', ' '); // a title has one line
    const body = fieldOf(request.form, 'body');
    const error = checkText('The title', title, 1, 100) ?? checkText('The text', body, 1, 5000);
    if (error !== undefined) return articlesPage(request, articles, { title, body, error });
    articles.unshift({ title, body });
    articles.length = Math.min(articles.length, MAX_ARTICLES);
    onSave(request);
    return seeOther('/articles');
  };
  pages.get('/articles', (request) => articlesPage(request, articles));
  pages.post('/articles', withForm(save));
}

/** Shows the form and the articles. After an error, the form still contains the typed text. */
function articlesPage(request: FormRequest, list: Article[], typed?: Article): HttpResponse {
  const error = typed && html`<p class="flash error" role="alert">${typed.error}</p>`;
  const fields = html`<label>Title <input name="title" value="${typed?.title}" maxlength="100"></label>
<label>Text <textarea name="body" rows="4" maxlength="5000">
${typed?.body}</textarea></label>
<button>Save</button>`;
  const articles = list.map(({ title, body }) => html`<article><h2 dir="auto">${title}</h2>
<p dir="auto">${body}</p></article>`);
  const main = html`${error}<h1>Articles</h1>${form(request, '/articles', fields)}${articles}`;
  return page('Articles', main, typed ? 422 : 200);
}

/** The site of this step. */
export function site(): Router {
  const router = addStyle(new Router());
  addArticles(router);
  return router.get('/', () => seeOther('/articles'));
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 12', ['/articles']);
