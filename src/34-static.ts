// Step 34 · Static files: a list of files, never a path from the URL.
//
// No URL becomes a file path, so path traversal is not possible (OWASP: Path Traversal). With ETag
// and Last-Modified, a browser asks whether its copy is still good: 304 means yes (RFC 9110 §13).
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, problem, toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';

/** The folder of this site. */
export const PUBLIC = fileURLToPath(new URL('../public', import.meta.url));

/** The types by file extension. A browser downloads a file with another extension. */
const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/**
 * Responds with a file of the folder if the path names one, and with `inner` otherwise. A file
 * allows GET and HEAD. Throws if the folder or a file in it cannot be read.
 */
export function withStatic(folder: string, inner: Handler): Handler {
  const files = readFiles(folder);
  return (request) => {
    const { method, path } = request;
    const sendFile = files.get(decodePath(path) ?? '');
    if (!sendFile) return inner(request);
    if (method === 'GET' || method === 'HEAD') return sendFile(request);
    const allow = 'GET, HEAD';
    if (method === 'OPTIONS') return { status: 204, headers: { allow }, body: '' };
    return problem(405, `${path} allows ${allow}, not ${method}.`, { allow });
  };
}

/** Returns the decoded path, or `undefined` if an encoding is wrong or hides a slash. */
function decodePath(path: string): string | undefined {
  if (/%2f/i.test(path)) return undefined;
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

type Files = Map<string, Handler>; // by decoded path, such as `/pictures/a b.png`

/** Reads all files, except links and names that begin with a period, such as `.env`. */
function readFiles(folder: string, prefix = '/', files: Files = new Map()): Files {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const [path, file] = [prefix + entry.name, join(folder, entry.name)];
    // A link is neither a folder nor a file here.
    if (entry.isDirectory()) readFiles(file, `${path}/`, files);
    if (entry.isFile()) files.set(path, fileHandler(file));
  }
  return files;
}

/** Returns a handler for one file, with the content that the file has now. */
export function fileHandler(file: string): Handler {
  const body = readFileSync(file);
  // An HTTP date has whole seconds, and is never in the future (RFC 9110 §8.8.2.1).
  const modified = Math.floor(Math.min(statSync(file).mtimeMs, Date.now()) / 1000);
  // 22 characters are 132 bits. No two versions have the same hash.
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  const cacheHeaders = { etag, 'cache-control': 'no-cache' }; // keep it, but ask before each use
  const headers = {
    ...cacheHeaders,
    'content-type': TYPES[extname(file).toLowerCase()] ?? 'application/octet-stream',
    'content-length': String(body.length), // for HEAD too
    'last-modified': new Date(modified * 1000).toUTCString(),
    'x-content-type-options': 'nosniff',
    // A picture that is opened as a page could run scripts: SVG can contain them.
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  };
  return ({ headers: conditions }) => {
    const status = statusFor(conditions, etag, modified);
    if (status === 200) return { status, headers, body };
    if (status === 304) return { status, headers: cacheHeaders, body: '' };
    return problem(412, 'This file is not the version that you name.', cacheHeaders);
  };
}

/** Returns 412, 304 or 200, in the order of RFC 9110 §13.2.2. */
function statusFor(headers: HttpRequest['headers'], etag: string, modified: number): number {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers;
  const unmodifiedSince = parseHttpDate(headers['if-unmodified-since']) ?? Infinity;
  if (match === undefined ? modified > unmodifiedSince : !isListed(match, etag)) return 412;
  // A proxy that compresses the file makes the tag weak: `W/"…"`. Here a weak tag counts too.
  if (noneMatch !== undefined) return isListed(noneMatch, etag, `W/${etag}`) ? 304 : 200;
  return modified <= (parseHttpDate(headers['if-modified-since']) ?? -Infinity) ? 304 : 200;
}

/** Whether a list contains one of the tags. `*` alone is any tag. */
function isListed(list: string, ...tags: string[]): boolean {
  return list.trim() === '*' || list.split(',').some((tag) => tags.includes(tag.trim()));
}

// HTTP has three formats of a date (RFC 9110 §5.6.7). These two are old. The third is the format of
// `toUTCString`: Sun, 06 Nov 1994 08:49:37 GMT
const RFC_850 = /^(Sun|Mon|Tue|Wed|Thu|Fri|Sat)(?:s|nes|rs|ur)?day, (\d\d)-(...)-(\d\d) (.*)$/;
const ASCTIME = /^(...) (...) ([ \d]\d) (\S+) (\d{4})$/; // Sun Nov  6 08:49:37 1994

/** Returns seconds since 1970, or `undefined` if the text is not a date of HTTP. */
function parseHttpDate(text = ''): number | undefined {
  const latest = new Date().getUTCFullYear() + 50; // the latest year that two digits can mean
  const date = text
    .replace(RFC_850, (_, name, day, month, year: string, time) =>
      `${name}, ${day} ${month} ${latest - ((latest - Number(year)) % 100)} ${time}`)
    .replace(ASCTIME, (_, name, month, day: string, time, year) =>
      `${name}, ${day.replace(' ', '0')} ${month} ${year} ${time} GMT`);
  const parsed = new Date(date);
  return parsed.toUTCString() === date ? parsed.getTime() / 1000 : undefined;
}

/** The site of this step: the tutorial and all files in `public/`. */
export const site = (): Handler => withStatic(PUBLIC, tutorial().handle);

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 34', ['/', '/cookie.svg']);
