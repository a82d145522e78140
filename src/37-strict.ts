// Step 37 · Strict: each request has exactly one meaning.
//
// If a proxy and this server read one request differently, an attacker can hide a second request in
// it (request smuggling). With two Host headers, a proxy may check one site and this server may
// open another. So a request with two meanings is rejected (RFC 9112 §3.2 and §6). The listener
// rejects through the `ServerResponse`, so Node keeps the order of the responses.
import { type IncomingMessage, type RequestListener, STATUS_CODES } from 'node:http';
import { isMain, serve } from './01-server.ts';
import { toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';
import { makePipelined } from './36-pipeline.ts';

export const MAX_URL_LENGTH = 8_000; // characters: the least that a server should accept (§4.1)
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Wraps a listener. Its requests have one Host and a path in its shortest encoding. */
export function strict(listener: RequestListener): RequestListener {
  return (request, response) => {
    const [status, detail] = findFault(request) ?? [];
    if (status !== undefined) {
      const body = `${status} ${STATUS_CODES[status]}\n\n${detail}\n`;
      const headers = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };
      response.writeHead(status, { ...headers, connection: 'close' }).end(body);
      request.resume();
      return;
    }
    const [, path = '/', search = ''] = TARGET.exec(request.url ?? '') ?? [];
    if (path === '*') {
      response.writeHead(204, { allow: METHODS.join(', ') }).end();
      return;
    }
    request.url = path.replace(/%[0-9a-f]{2}/gi, decodeUnreserved) + search;
    listener(request, response);
  };
}

/** Returns a status and an explanation, or `undefined` if the request has one meaning. */
function findFault(request: IncomingMessage): readonly [number, string] | undefined {
  const { rawHeaders, httpVersion, headers, method = '', url = '' } = request;
  const coding = headers['transfer-encoding'];
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return [505, 'This server speaks HTTP/1.1.'];
  if (httpVersion === '1.0' && coding) return [400, 'HTTP/1.0 has no Transfer-Encoding.']; // §6.1
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host').length;
  if (hosts !== 1 && (hosts > 1 || httpVersion === '1.1')) return [400, 'Send exactly one Host.'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return [501, 'This server decodes no transfer coding except chunked.'];
  }
  if (!METHODS.includes(method)) return [501, `This server does not know the method ${method}.`];
  if (url.length > MAX_URL_LENGTH) return [414, `A URL has at most ${MAX_URL_LENGTH} characters.`];
  const [match, path] = TARGET.exec(url) ?? [];
  if (match === undefined || (path === '*' && method !== 'OPTIONS')) {
    return [400, 'The target of the request is not a path.'];
  }
  return isWellEncoded(url) ? undefined : [400, 'The URL is not encoded as UTF-8.'];
}

// ( "http://" host [ path ] / path / "*" ) [ "?" query ], visible ASCII without # (RFC 9112 §3.2)
const TARGET = /^(?:https?:\/\/[!"$-.0->@-~]+|(?=[/*]))(\/[!"$->@-~]*|\*$)?(\?[!"$-~]*)?$/i;

function isWellEncoded(text: string): boolean {
  try {
    return decodeURIComponent(text) !== undefined; // throws for '%zz' and for bytes that are not UTF-8
  } catch {
    return false;
  }
}

/** RFC 3986 §6.2.2: '%7e' is '~', so '/%68owdy' is '/howdy'. '%2f' is not '/', and becomes '%2F'. */
function decodeUnreserved(escape: string): string {
  const character = String.fromCharCode(Number.parseInt(escape.slice(1), 16));
  return /[\w.~-]/.test(character) ? character : escape.toUpperCase();
}

if (isMain(import.meta.url)) {
  serve(strict(toListener(tutorial().handle)), 'Step 37', ['/', '/%68owdy'], makePipelined);
}
