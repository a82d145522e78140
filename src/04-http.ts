// Step 4 · Requests and responses are values, and one adapter handles the streams.
//
// An error in a handler becomes a 500 (RFC 9110 §15.6.1) and does not end the process.
import { type RequestListener, type ServerResponse, STATUS_CODES } from 'node:http';
import { inspect } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { countVisit } from './03-signer.ts';

/** A request. No code changes it: a later step creates a copy with more properties. */
export type HttpRequest = {
  readonly method: string; // 'GET'; upper and lower case differ (RFC 9110 §9.1)
  readonly path: string; // '/howdy', still percent-encoded
  readonly search: string; // '?page=2', or '' if the URL has no query
  readonly headers: Readonly<Record<string, string | undefined>>; // names in lower case
  readonly body: AsyncIterable<Uint8Array>; // chunks as they arrive; step 12 reads them
  readonly address?: string | undefined; // the IP address of the client, or of a proxy
};

/** A response. The adapter sends it. */
export type HttpResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[]>>; // names in lower case
  readonly body: string | Uint8Array | Renderable | Problem;
};

/** A body that stays a value until the adapter renders it as text. */
export type Renderable = { render(): string };

/** The body of an error response. */
export type Problem = Renderable & { readonly title: string; readonly detail: string };

/** A value, or a promise of it. */
export type Awaitable<T> = T | Promise<T>;

/** A page. `R` is the type of its request: later steps add properties to the request. */
export type Handler<R extends HttpRequest = HttpRequest> = (request: R) => Awaitable<HttpResponse>;

/**
 * Returns an error response. Its body shows the title, such as '404 Not Found', an empty line, and
 * `detail`, which says what happened and what the visitor can do.
 */
export function problem(status: number, detail: string, headers = {}): HttpResponse {
  const title = `${status} ${STATUS_CODES[status]}`;
  return text({ title, detail, render: () => `${title}\n\n${detail}\n` }, status, headers);
}

/**
 * Returns a response of plain text. `nosniff`: the browser must not guess another type. `headers`
 * can replace these two headers.
 */
export function text(body: HttpResponse['body'], status = 200, headers = {}): HttpResponse {
  const type = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };
  return { status, headers: { ...type, ...headers }, body };
}

/**
 * Returns a listener for `node:http`. If the handler or `render` throws, it sends a 500 without the
 * headers of the page, and logs one line: `500 GET /page "Error: …"`. The line has no query. If the
 * client has left, it sends and logs nothing. A later step passes another `write`.
 */
export function toListener(handler: Handler, write = send): RequestListener {
  return async (incoming, outgoing) => {
    const { method = '', url = '', socket } = incoming;
    const [, path = '', search = ''] = /^([^?]*)(.*)/.exec(url) ?? []; // '/howdy' and '?a=1'
    const headers = incoming.headers as HttpRequest['headers'];
    const body = incoming.iterator({ destroyOnReturn: false }); // a page may stop reading early
    try {
      const request = { method, path, search, headers, body, address: socket.remoteAddress };
      write(await handler(request), outgoing);
    } catch (error) {
      if (socket.destroyed) return; // the client has left
      for (const name of outgoing.getHeaderNames()) outgoing.removeHeader(name);
      console.error(`500 ${method} ${path} ${JSON.stringify(inspect(error))}`); // one line
      write(problem(500, 'An error happened on this server. It is in the log.'), outgoing);
    }
  };
}

/**
 * Renders the body and sends the response. Then it reads the rest of the request, so that the next
 * request of the connection can follow. Throws if a header is invalid.
 */
export function send({ status, headers, body }: HttpResponse, outgoing: ServerResponse): void {
  const content = typeof body === 'object' && 'render' in body ? body.render() : body;
  outgoing.statusCode = status;
  for (const [name, value] of Object.entries(headers)) outgoing.setHeader(name, value);
  outgoing.end(content); // Node adds Content-Length, except for HEAD, 204 and 304 (RFC 9110 §8.6)
  outgoing.req.resume(); // reads the rest of the body and ignores it
}

/** The page of this step: the count of step 3, and a bug at /crash. */
export const countVisits: Handler = ({ path, headers }) => {
  if (path === '/crash') throw new Error('This page has a bug');
  const { count, setCookie } = countVisit(headers.cookie);
  return text(`Count: ${count}\n`, 200, { 'set-cookie': setCookie });
};

if (isMain(import.meta.url)) serve(toListener(countVisits), 'Step 4', ['/', '/crash']);
