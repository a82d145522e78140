// Step 12 · Forms: POST, then 303, then GET.
//
//   POST /articles  →  303 See Other, Location: /articles  →  GET /articles    (RFC 9110 §15.4.4)
import { isUtf8 } from 'node:buffer';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, type HttpResponse, problem } from './04-http.ts';
import { toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, type Html, html, page } from './06-template.ts';
import type { Pages } from './09-tutorial.ts';

export const MAX_BODY_SIZE = 64 * 1024; // bytes: an article of ten thousand words
const MAX_FIELDS = 100; // a real form has ten; each field costs work
const FORM_TYPE = 'application/x-www-form-urlencoded';

/** Routes for pages that GET shows and POST changes. */
export type FormPages<R extends HttpRequest> = Pages<R> & { post: Pages<R>['get'] };

/** Returns the fields, or an error response. The second call returns the same result. */
export function readForm(request: HttpRequest): Promise<URLSearchParams | HttpResponse> {
  const result = results.get(request.body) ?? parseForm(request);
  results.set(request.body, result);
  return result;
}

const results = new WeakMap<HttpRequest['body'], ReturnType<typeof readForm>>();

async function parseForm({ headers, body }: HttpRequest): Promise<URLSearchParams | HttpResponse> {
  const [type = '', ...parameters] = (headers['content-type'] ?? '').toLowerCase().split(';');
  const isUnicode = parameters.every((one) => /^(charset="?utf-?8"?)?$/.test(one.trim()));
  const isForm = type.trim() === FORM_TYPE && isUnicode && !headers['content-encoding'];
  if (!isForm) return problem(415, `Send the form as ${FORM_TYPE} in UTF-8, and not compressed.`);
  const bytes = await readBody(body, Number(headers['content-length']));
  if (!bytes) return problem(413, `A form has at most ${MAX_BODY_SIZE} bytes.`);
  if (!isUtf8(percentDecode(bytes))) return problem(400, 'The form is not encoded in UTF-8.');
  // `curl --data-binary` sends the line break at the end of a file.
  const form = new URLSearchParams(bytes.toString().replace(/\r?\n$/, ''));
  return form.size > MAX_FIELDS ? problem(400, `A form has at most ${MAX_FIELDS} fields.`) : form;
}

/** Returns the bytes, or `undefined` if they are too many. `announced` is NaN if it is unknown. */
async function readBody(body: HttpRequest['body'], announced: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (announced > MAX_BODY_SIZE) return undefined; // before the first byte
  for await (const chunk of body) {
    size += chunk.length;
    if (size > MAX_BODY_SIZE) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Turns `caf%C3%A9` into bytes. A `%` without two digits stays as it is (WHATWG URL §1.3). */
function percentDecode(bytes: Buffer): Buffer {
  const toByte = (_: string, digits: string) => String.fromCharCode(Number.parseInt(digits, 16));
  return Buffer.from(bytes.toString('latin1').replace(/%([\da-f]{2})/gi, toByte), 'latin1');
}

type FormHandler<R extends HttpRequest> = Handler<R & { form: URLSearchParams }>;

/** Wraps a page that receives `request.form`. Returns the error response of `readForm`. */
export function withForm<R extends HttpRequest>(page: FormHandler<R>): Handler<R> {
  return async (request) => {
    const form = await readForm(request);
    return form instanceof URLSearchParams ? page({ ...request, form }) : form;
  };
}

/**
 * Returns the first field with this name, or `''`. Each line break becomes LF: CR LF, CR, U+000B,
 * U+000C, U+0085, U+2028 and U+2029. White space at the beginning and the end is removed.
 */
export function fieldOf(form: URLSearchParams, name: string): string {
  return (form.get(name) ?? '').replace(/\r\n|[\r\v\f\x85\u2028\u2029]/g, '\n').trim();
}

/**
 * Returns `undefined`, or what is wrong with a text. Control characters are U+0000 to U+001F
 * without TAB and LF, and U+007F to U+009F: 'The title contains the character U+001B. Remove it.'
 * A wrong length: 'The title must have 1 to 100 characters, not 0.'
 */
export function checkText(name: string, text: string, min: number, max: number) {
  const [control] = /[\0-\x08\x0b-\x1f\x7f-\x9f]/.exec(text) ?? [];
  const code = control?.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  if (code) return `${name} contains the character U+${code}. Remove it.`;
  const { length } = [...text]; // [...'😀'] has one element, but '😀'.length is 2
  if (length >= min && length <= max) return undefined;
  return `${name} must have ${min} to ${max} characters, not ${length}.`;
}

/** The request of a page with a form. Step 17 adds hidden fields to each form of the site. */
export type FormRequest = HttpRequest & { readonly hiddenFields?: (() => Html) | undefined };

/** Returns a form that posts to `action`. It contains the hidden fields, then `content`. */
export function form({ hiddenFields }: FormRequest, action: string, content: Html): Html {
  return html`<form method="post" action="${action}">\n${hiddenFields?.()}${content}\n</form>`;
}

/**
 * Returns a redirect to another page of this site: the status 303, only the header `location`, and
 * an empty body.
 */
export function seeOther(location: string): HttpResponse {
  return { status: 303, headers: { location }, body: '' };
}

export const MAX_ARTICLES = 100; // in memory, for all visitors; then the oldest is removed

type Article = { readonly title: string; readonly body: string };

/**
 * Adds `/articles`. GET shows a form and the articles, the newest first. POST saves an article,
 * calls `onSave` and redirects to the list. A title has 1 to 100 characters in one line, and a text
 * has 1 to 5000. If one is wrong, POST returns `articlesPage` with the error.
 */
export function addArticles<R extends FormRequest>(pages: FormPages<R>, onSave = (_: R) => {}) {
  const articles: Article[] = [];
  pages.get('/articles', (request) => articlesPage(request, articles));
  pages.post('/articles', withForm((request) => {
    const title = fieldOf(request.form, 'title').replaceAll('\n', ' '); // a title has one line
    const body = fieldOf(request.form, 'body');
    const error = checkText('The title', title, 1, 100) ?? checkText('The text', body, 1, 5000);
    if (error !== undefined) return articlesPage(request, articles, { title, body }, error);
    articles.unshift({ title, body });
    articles.length = Math.min(articles.length, MAX_ARTICLES);
    onSave(request);
    return seeOther('/articles');
  }));
}

/** Shows the form and the articles. An error has the status 422, and the form keeps the texts. */
function articlesPage(request: FormRequest, list: Article[], sent?: Article, error?: string) {
  const rows = html`<label>Title <input name="title" value="${sent?.title}" maxlength="100"></label>
<label>Text <textarea name="body" rows="4" maxlength="5000">\n${sent?.body}</textarea></label>
<button>Save</button>`;
  const articles = list.map(({ title, body }) => html`<article><h2 dir="auto">${title}</h2>
<p dir="auto">${body}</p></article>`);
  return page('Articles', html`${error && html`<p class="flash error" role="alert">${error}</p>`}
<h1>Articles</h1>\n${form(request, '/articles', rows)}
${list.length > 0 ? articles : html`<p>No articles yet.</p>`}`, error === undefined ? 200 : 422);
}

/** The site of this step. */
export function site(): Router {
  const router = addStyle(new Router());
  addArticles(router);
  return router.get('/', () => seeOther('/articles'));
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 12', ['/articles']);
