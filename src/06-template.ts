// Step 6 · Templates that escape, and pages that are values.
//
// html`…${value}…` escapes each value (OWASP: Cross Site Scripting Prevention).
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, type Renderable, text, toListener } from './04-http.ts';
import { addGreetings, Router } from './05-router.ts';

/** Markup that is safe to send. Only `html` creates it. */
export class Html {
  readonly markup: string;
  /** Keeps the markup. */
  constructor(markup: string) {
    this.markup = markup;
  }
}

/** A template value. `undefined`, `null` and `false` show nothing. An array shows its items. */
export type Value = Html | string | number | boolean | null | undefined | readonly Value[];

/**
 * Returns markup. Each value is escaped for text and for attributes with quotes. This does not make
 * a value safe in <script>, in an attribute without quotes, or as a `javascript:` URL. Throws a
 * `TypeError` for a value that it cannot show, such as a `Date`.
 */
export function html(strings: TemplateStringsArray, ...values: Value[]): Html {
  let markup = strings[0] ?? '';
  for (let i = 0; i < values.length; i++) markup += show(values[i], strings) + strings[i + 1];
  return new Html(markup);
}

/** Replaces the five characters that have a meaning in markup (HTML §13.5). */
export function escape(text: string): string {
  return /[&<>"']/.test(text) ? text.replace(/[&<>"']/g, (c) => ESCAPES[c] ?? '') : text;
}

const ESCAPES: Record<string, string> =
  { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function show(value: Value, template: TemplateStringsArray): string {
  if (typeof value === 'string') return escape(value);
  if (typeof value === 'number' || value === true) return String(value);
  if (value instanceof Html) return value.markup;
  if (Array.isArray(value)) return value.map((item) => show(item, template)).join('');
  if (value === undefined || value === null || value === false) return '';
  throw new TypeError(`Cannot show ${inspect(value)} in html\`${template.join('…')}\``);
}

type Slots = Readonly<Record<'header' | 'notices' | 'footer', readonly Html[]>>;

/** A page that the adapter renders last, so that later steps can append to its slots. */
export class Page implements Renderable {
  readonly title: string;
  readonly main: Html;
  readonly slots: Slots;

  /** Keeps the parts of the page. */
  constructor(title: string, main: Html, slots: Slots = { header: [], notices: [], footer: [] }) {
    this.title = title;
    this.main = main;
    this.slots = slots;
  }

  /**
   * Returns the page as text: the title, the icon `/favicon.svg` and the style `/style.css`, then
   * the header, `<main id="content" tabindex="-1">` with the notices and the content, then the
   * footer. There is a line break after <main …> and before </main>.
   */
  render(): string {
    return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${this.title}</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/style.css"></head><body>
${this.slots.header}<main id="content" tabindex="-1">
${this.slots.notices}${this.main}
</main>
${this.slots.footer}</body>
</html>
`.markup;
  }
}

/** Returns a response with a page and `PAGE_HEADERS`. */
export function page(title: string, main: Html, status = 200): HttpResponse {
  return { status, headers: PAGE_HEADERS, body: new Page(title, main) };
}

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  // Scripts are forbidden. Styles, images and forms belong to this site. No frames of other sites.
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " +
    "base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin', // other sites do not learn the URLs of this one
};

/** Adds the files that each page uses, from `public/`: /style.css and /favicon.svg. */
export function addStyle(router: Router): Router {
  const file = (path: string, type: string): Handler => {
    const body = readFileSync(new URL(`../public${path}`, import.meta.url));
    return () => text(body, 200, { 'content-type': type });
  };
  const icon = file('/favicon.svg', 'image/svg+xml');
  return router.get('/style.css', file('/style.css', 'text/css')).get('/favicon.svg', icon);
}

/** The page of step 5, now safe. */
function greet(name: string, count: number): HttpResponse {
  return page(`Quick Tutorial: ${name}`, html`<h1>Hi ${name}</h1>\n<p>Count: ${count}</p>`);
}

/** The site of this step: the pages of step 5, with a style sheet. */
export const site = (): Router => addGreetings(addStyle(new Router()), greet);

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 6', ['/', '/howdy/Ada']);
