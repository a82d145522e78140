// Step 4 · String templates that escape.
//
// What a visitor wrote must be shown as text and never run as markup: cross-site scripting, XSS
// (OWASP: Cross Site Scripting Prevention). So the safe way is the short one: html`…${value}…`
// escapes, and who wants otherwise must type the word `raw`. Behind it stands a
// Content-Security-Policy: should one escape be forgotten, the browser still runs no script.
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';

/** Markup that is safe to send: made by `html`, or vouched for by `raw`. */
export class Html {
  readonly #markup: string;
  constructor(markup: string) {
    this.#markup = markup;
  }
  toString(): string {
    return this.#markup;
  }
}

/** What a template takes. `undefined`, `null` and `false` show nothing; an array, its items. */
export type Value = Html | string | number | boolean | null | undefined | readonly Value[];

/**
 * Makes markup of a template; every value in it is escaped, for text and for quoted attributes.
 * Throws a `TypeError` for an attribute without quotes: there a space would be enough to break out.
 * It cannot make safe what stands inside <script> or <style>, as the name of a tag or an attribute,
 * or as a URL that begins with `javascript:`.
 */
export function html(strings: TemplateStringsArray, ...values: Value[]): Html {
  if (!checked.has(strings)) check(strings);
  let markup = strings[0] ?? '';
  for (let i = 0; i < values.length; i++) markup += show(values[i]) + strings[i + 1];
  return new Html(markup);
}

/** Markup as it is. For constants of your own; never for anything that a visitor had a hand in. */
export function raw(markup: string): Html {
  return new Html(markup);
}

/** The five characters that mean something in markup, replaced by references (HTML §13.5). */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
}

/** A whole page. `body` is what stands in <body>, and brings its own <main>. */
export function page(title: string, body: Html, status = 200): HttpResponse {
  return {
    status,
    headers: PAGE_HEADERS,
    body: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/style.css">
</head>
<body>
${body}
</body>
</html>
`,
  };
}

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8', // without it a browser guesses, and may guess wrong
  'content-security-policy': [
    "default-src 'none'", // no script at all, from nowhere
    "style-src 'self'",
    "img-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'", // and nobody shows us in a frame, for clicks to be stolen
  ].join('; '),
  'x-content-type-options': 'nosniff', // the type is what we say, not what it looks like
  'referrer-policy': 'same-origin', // our URLs are nobody else's business
};

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const checked = new WeakSet<TemplateStringsArray>(); // one check for each template, not each use

// A tag that is still open, in it any number of whole quoted values, and at the end a value that
// began without a quote. `<a href="/x?page=` is no match: its quote is open.
const UNQUOTED = /<[a-z](?:[^>"']|"[^"]*"|'[^']*')*=\s*[^\s>"']*$/i;

function check(strings: TemplateStringsArray): void {
  let before = '';
  for (const part of strings.slice(0, -1)) {
    before += part;
    if (UNQUOTED.test(before)) {
      throw new TypeError(`Cannot fill a template: put quotes around the value after \`${part}\``);
    }
    before += '…'; // where a value will stand
  }
  checked.add(strings);
}

function show(value: Value): string {
  if (typeof value === 'string') return escape(value);
  if (typeof value === 'number' || value instanceof Html) return String(value);
  if (Array.isArray(value)) return value.map(show).join('');
  return value === true ? 'true' : '';
}

/** The site of this step: step 3's, safe. */
export function site(): Router {
  const greet = (name: string): HttpResponse =>
    page(`Quick Tutorial: ${name}`, html`<main><h1>Hi ${name}</h1></main>`);
  return new Router()
    .get('/', () => greet('Home View'), 'home')
    .get('/howdy', () => greet('Hello View'), 'hello')
    .get('/hello/:name', ({ params }) => greet(params.name), 'greet');
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 4', '/', '/hello/Ada');
