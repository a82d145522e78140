// Step 5 · Files from `public/`, and no others.
//
// The classic hole is path traversal: a URL such as `/../../etc/passwd`, in any of its disguises
// (OWASP: Path Traversal), glued to a folder's name. Here no URL ever becomes a path. The folder is
// read once, when the server starts, and each file in it becomes a route: what is not in that list
// cannot be asked for. Browsers keep copies; ETag and Last-Modified let them ask whether theirs is
// still good (RFC 9110 §13), and 304 says yes without sending it again.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { Handler } from './02-http.ts';
import { Router } from './03-router.ts';
import { html, page } from './04-template.ts';

/** The folder beside `src/` whose files the site shows. */
export const PUBLIC = fileURLToPath(new URL('../public', import.meta.url));

/** What a browser may take a file for. Any other ending is a download, never a page. */
const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
};

/**
 * Adds a route for each file in `folder` and below. Symbolic links are passed over, since they may
 * lead anywhere, and so are names that begin with a dot, as `.env`. Throws when it cannot read.
 */
export function addStaticFiles(router: Router, folder: string, prefix = '/'): Router {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const file = join(folder, entry.name);
    const path = prefix + encodeName(entry.name);
    // Not readdir's own `recursive`: since Node 22 that walks through a link to a folder.
    if (entry.isDirectory()) addStaticFiles(router, file, `${path}/`);
    if (entry.isFile()) router.get(path, fileHandler(file));
  }
  return router;
}

/** A name as a browser writes it in a path: `icon@2x.png` stays, `a b#1` is `a%20b%231`. */
function encodeName(name: string): string {
  return encodeURI(name).replace(/[?#]|^:/g, encodeURIComponent); // ':' would start a parameter
}

/** Answers with one file as it was at the start, or with 304 to a browser that has it. */
export function fileHandler(file: string): Handler {
  const body = readFileSync(file);
  // HTTP dates count seconds, and a file that is dated ahead is as old as now (RFC 9110 §8.8.2.1).
  const modified = new Date(Math.min(statSync(file).mtimeMs, Date.now()));
  modified.setMilliseconds(0);
  const hash = createHash('sha256').update(body).digest('base64url');
  const etag = `"${hash.slice(0, 22)}"`; // 132 bits
  // Keep it, but ask: a name without a version may change any day.
  const kept = { etag, 'cache-control': 'no-cache' }; // a 304 says no more (RFC 9110 §15.4.5)
  const headers = {
    ...kept,
    'content-type': TYPES[extname(file).toLowerCase()] ?? 'application/octet-stream',
    'last-modified': modified.toUTCString(),
    'x-content-type-options': 'nosniff',
    // An SVG opened by itself could run scripts. And nobody shows our files in a frame.
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  };
  return (request) =>
    isFresh(request.headers, etag, modified)
      ? { status: 304, headers: kept, body: '' }
      : { status: 200, headers, body };
}

/** RFC 9110 §13.2.2: where If-None-Match is sent, it alone decides; dates are the fallback. */
function isFresh(
  headers: Readonly<Record<string, string | undefined>>,
  etag: string,
  modified: Date,
): boolean {
  const match = headers['if-none-match'];
  if (match !== undefined) {
    return match.split(',').some((tag) => ['*', etag, `W/${etag}`].includes(tag.trim()));
  }
  const sent = headers['if-modified-since'];
  if (sent === undefined) return false; // most visitors, and they have no copy
  const date = toNewForm(sent);
  const since = new Date(date);
  if (since.toUTCString() !== date) return false; // '2099' is no HTTP date (§13.1.3)
  return since >= modified; // 'Invalid Date' is NaN, which is never >=
}

/** A date in one of HTTP's two older forms, told in the one of today (RFC 9110 §5.6.7). */
function toNewForm(date: string): string {
  const last = new Date().getUTCFullYear() + 50; // the latest year that two digits may mean
  return date
    .replace(/^(...)(?:s|nes|rs|ur)?day, (..)-(...)-(\d\d) /, (_, name, day, month, year: string) =>
      `${name}, ${day} ${month} ${last - ((last - Number(year)) % 100)} `)
    .replace(/^(... ...)  (\d )/, '$1 0$2') // Sun Nov  6 08:49:37 1994
    .replace(/^(...) (...) (..) (\S+) (\d{4})$/, '$1, $3 $2 $5 $4 GMT');
}

/** The site of this step: step 4's home page, with the style sheet that it asks for. */
export function site(): Router {
  const home = page('Quick Tutorial: Home View', html`<main><h1>Hi Home View</h1></main>`);
  return addStaticFiles(new Router(), PUBLIC).get('/', () => home, 'home');
}

if (isMain(import.meta.url)) {
  serve(toListener(site().handle), 'Step 5', '/', '/style.css', '/favicon.svg');
}
