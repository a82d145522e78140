// Step 37 · Strict: each request has exactly one meaning.
//
// This prevents request smuggling (RFC 9112 §3.2 and §6).
import type { IncomingMessage, RequestListener } from 'node:http';
import { isMain, serve } from './01-server.ts';
import { type HttpResponse, problem, toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';
import { SECURITY_HEADERS } from './35-limits.ts';
import { makePipelined } from './36-pipeline.ts';

export const MAX_URL = 8_000; // characters: RFC 9110 §4.1 demands no fewer
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Wraps a listener, which receives only requests with one host and one path. */
export function strict(listener: RequestListener): RequestListener {
  return (request, response) => {
    const rejection = checkHeaders(request) ?? checkTarget(request);
    if (rejection) return toListener(() => rejection)(request, response);
    const [, host, path = '/', search = ''] = TARGET.exec(request.url ?? '') ?? [];
    if (path === '*') {
      response.writeHead(204, { allow: METHODS.join(', ') }).end();
      return;
    }
    if (host !== undefined) request.headers.host = host; // it replaces the header (§3.2.2)
    request.url = path.replace(/%[0-9a-f]{2}/gi, decodeUnreserved) + search;
    listener(request, response);
  };
}

/** Returns an error response if the version, the Host or the encoding of the body is ambiguous. */
function checkHeaders({ rawHeaders, httpVersion, headers }: IncomingMessage): Rejection {
  const { host = '', 'transfer-encoding': coding } = headers;
  const isOld = httpVersion === '1.0';
  if (!isOld && httpVersion !== '1.1') return reject(505, 'This server supports HTTP/1.1.');
  // `headers` has only the first Host. In `rawHeaders`, names and values alternate.
  const count = rawHeaders.filter((one, i) => i % 2 === 0 && one.toLowerCase() === 'host').length;
  if (count > 1 || (count === 0 && !isOld)) return reject(400, 'Send exactly one Host header.');
  if (!HOST.test(host)) return reject(400, 'The Host header is not a host with an optional port.');
  if (coding === undefined) return undefined;
  if (isOld) return reject(400, 'HTTP/1.0 has no Transfer-Encoding.'); // RFC 9112 §6.1
  if (coding.toLowerCase() === 'chunked') return undefined; // Node decodes it
  return reject(501, 'This server supports no transfer coding except chunked.');
}

/** Returns an error response if the method is unknown, or if the target is not a path. */
function checkTarget({ method = '', url = '' }: IncomingMessage): Rejection {
  if (!METHODS.includes(method)) return reject(501, `This server does not support ${method}.`);
  if (url.length > MAX_URL) return reject(414, `A URL may have ${MAX_URL} characters.`);
  const [match, , path] = TARGET.exec(url) ?? [];
  const isPath = match !== undefined && (path !== '*' || method === 'OPTIONS');
  if (!isPath) return reject(400, 'The target of the request is not a path.');
  return isWellEncoded(url) ? undefined : reject(400, 'The URL is not encoded as UTF-8.');
}

type Rejection = HttpResponse | undefined;

/** Returns an error response that ends the connection. */
function reject(status: number, detail: string): HttpResponse {
  return problem(status, detail, { ...SECURITY_HEADERS, connection: 'close' });
}

// localhost, example.org:443, [::1]:6543. It may be empty in a header (§3.2).
const NAME = String.raw`(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{0,5})?`;
const HOST = new RegExp(`^(?:${NAME})?$`, 'i');

// ( "http://" host [ path ] / path / "*" ) [ "?" query ], visible ASCII without # (§3.2)
const PATH = String.raw`(/[!"$->@-~]*|\*$)?(\?[!"$-~]*)?`;
const TARGET = new RegExp(`^(?:https?://(${NAME})|(?=[/*]))${PATH}$`, 'i');

function isWellEncoded(text: string): boolean {
  try {
    return decodeURIComponent(text) !== undefined; // it throws for %zz, and if it is not UTF-8
  } catch {
    return false;
  }
}

/** Decodes %7e to ~, for example. But %2f becomes %2F, and not a slash (RFC 3986 §6.2.2). */
function decodeUnreserved(escape: string): string {
  const character = String.fromCharCode(Number.parseInt(escape.slice(1), 16));
  return /[\w.~-]/.test(character) ? character : escape.toUpperCase();
}

if (isMain(import.meta.url)) {
  serve(strict(toListener(tutorial().handle)), 'Step 37', ['/', '/%68owdy'], makePipelined);
}
