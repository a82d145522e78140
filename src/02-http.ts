// Step 2 · Requests and responses as plain values.
//
// A handler is a function from a request to a response. Neither is a stream or a socket, so a test
// makes the one and looks at the other. `toListener` is the only place that knows node:http: it
// checks the target (RFC 9112 §3.2), reads the body up to a limit, and turns a thrown error into
// a 500 that tells the visitor nothing and the owner everything.
import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { answerAndClose, isMain, serve } from './01-server.ts';

export type HttpRequest = {
  readonly method: string; // 'GET': methods are case-sensitive (RFC 9110 §9.1)
  readonly path: string; // '/hello/caf%C3%A9': still encoded, or '*' (RFC 9112 §3.2.4)
  readonly search: string; // '?a=1' or ''
  readonly headers: Readonly<Record<string, string | undefined>>; // names in lower case
  readonly body: Uint8Array; // empty when there is none
  readonly address: string | undefined; // the client's IP address, or its proxy's
};

export type HttpResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[]>>; // names in lower case
  readonly body: string | Uint8Array | undefined; // undefined, for HEAD only: of unknown length
};

type Headers = HttpResponse['headers'];

/** What a page is. `R` grows as middleware adds to the request: a form, params, a session. */
export type Handler<R extends HttpRequest = HttpRequest> = (
  request: R,
) => HttpResponse | Promise<HttpResponse>;

export const MAX_URL_LENGTH = 8_000; // characters; the least a server should take (RFC 9110 §4.1)
export const MAX_BODY_SIZE = 64 * 1024; // bytes; an article of ten thousand words fits
export const MAX_FORM_FIELDS = 100; // a form has ten; each one costs work before it is looked at

/** Makes the listener that node:http wants. `common`: headers of each answer that lacks them. */
export function toListener(handler: Handler, common: Headers = {}): RequestListener {
  return async (incoming, outgoing) => {
    const { method, url, headers, socket } = incoming;
    try {
      const coding = headers['transfer-encoding']; // node:http undoes chunks, and nothing else
      const isCoded = coding !== undefined && coding.toLowerCase() !== 'chunked';
      if (isCoded) return answerAndClose(incoming.resume().socket, 501); // RFC 9112 §6.1
      const hasBody = 'content-length' in headers || coding !== undefined;
      const body = hasBody ? await readBody(incoming) : NO_BODY;
      if (body === undefined) return answerAndClose(incoming.resume().socket, 413);
      const request = parseRequest(method, url, headers, body, socket.remoteAddress);
      const response = 'status' in request ? request : handler(request);
      send(response instanceof Promise ? await response : response, outgoing, common);
    } catch (error) {
      if (socket.destroyed) return; // the client left before it had asked, or been answered
      const [path] = `${url}`.split('?'); // what follows may be a secret, and a log is read by many
      send(serverError(error, `${method} ${path}`), outgoing, common);
    }
  };
}

/** A request made of its parts, or the 400 or 414 that they deserve. Never throws. */
export function parseRequest(
  method = 'GET',
  target = '/',
  headers: IncomingMessage['headers'] = {},
  body: Uint8Array = NO_BODY,
  address?: string,
): HttpRequest | HttpResponse {
  if (target.length > MAX_URL_LENGTH) return problem(414, `The limit is ${MAX_URL_LENGTH}.`);
  const match = TARGET.exec(target);
  if (!match || !isWellEncoded(target)) return problem(400, 'The URL is malformed.');
  const raw = match[1] ?? '/';
  const path = raw.includes('%') ? raw.replace(/%[0-9a-f]{2}/gi, decodeUnreserved) : raw;
  const singles = headers as HttpRequest['headers']; // only Set-Cookie, in a response, is an array
  return { method, path, search: match[2] ?? '', headers: singles, body, address };
}

/** Gives `inner` what was posted as `request.form`; 415 for another type, 400 for a mess. */
export function withForm<R extends HttpRequest>(
  inner: Handler<NoInfer<R> & { form: URLSearchParams }>,
): Handler<R> {
  return (request) => {
    const [type = ''] = (request.headers['content-type'] ?? '').split(';');
    if (type.trim().toLowerCase() !== FORM_TYPE) return problem(415, `Send it as ${FORM_TYPE}.`);
    const form = parseForm(request.body);
    return form ? inner({ ...request, form }) : problem(400, 'The form is malformed.');
  };
}

/** Goes on with `value`: at once, or when it is there. `await` waits a turn even for what is. */
export function after<T, U>(
  value: T | Promise<T>,
  next: (value: T) => U | Promise<U>,
): U | Promise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** The response of a handler, or a 500 where it fails, whether at once or later. */
export function attempt<R extends HttpRequest>(
  handler: Handler<R>,
  request: R,
): HttpResponse | Promise<HttpResponse> {
  const { method, path } = request;
  try {
    const response = handler(request);
    if (!(response instanceof Promise)) return response;
    return response.catch((error: unknown) => serverError(error, `${method} ${path}`));
  } catch (error) {
    return serverError(error, `${method} ${path}`);
  }
}

/** The fields of a form, or `undefined`: bad UTF-8, a bad `%` escape, or too many fields. */
export function parseForm(body: Uint8Array): URLSearchParams | undefined {
  const encoded = Buffer.from(body).toString('latin1'); // a browser sends ASCII, all else as %XX
  if (!isWellEncoded(encoded) || /[^ -~]/.test(encoded)) return undefined;
  return encoded.split('&').length > MAX_FORM_FIELDS ? undefined : new URLSearchParams(encoded);
}

/** A refusal in plain words: the status, its name, and what is wrong. */
export function problem(status: number, detail: string): HttpResponse {
  return text(`${status} ${STATUS_CODES[status]}\n\n${detail}\n`, status);
}

/** A page of plain words. */
export function text(body: string, status = 200): HttpResponse {
  return { status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body };
}

/** A 500 for the visitor, and one log line for the owner, whatever the message holds. */
export function serverError(error: unknown, request: string): HttpResponse {
  console.error(`500 ${request} ${JSON.stringify(inspect(error))}`); // inspect shows anything
  return problem(500, 'Something went wrong here, and the owner has been told.');
}

/** The site of this step: one form, echoed as plain text, whatever the URL. */
export const echo: Handler = (request) => (request.method === 'POST' ? say(request) : ECHO_PAGE);

const say = withForm(({ form }) => text(`You said: ${form.get('words') ?? 'nothing'}\n`));
const ECHO_PAGE: HttpResponse = {
  ...text('<!doctype html><form method="post">Say: <input name="words"><button>Go</button></form>'),
  headers: { 'content-type': 'text/html; charset=utf-8' },
};
const FORM_TYPE = 'application/x-www-form-urlencoded';
const NO_BODY = new Uint8Array();

// ( "http://" host [ path ] / path / "*" ) [ "?" query ], visible ASCII, no "#" (RFC 9112 §3.2).
// A space, a control character or a byte above 0x7E is an encoding that was forgotten.
const TARGET = /^(?:https?:\/\/[!"$-.0->@-~]+|(?=[/*]))(\/[!"$->@-~]*|\*$)?(\?[!"$-~]*)?$/i;

function isWellEncoded(text: string): boolean {
  if (!text.includes('%')) return true;
  try {
    return decodeURIComponent(text) !== undefined; // throws on '%zz' and on bytes that are no UTF-8
  } catch {
    return false;
  }
}

/** RFC 3986 §6.2.2: '%7e' is '~', so '/%68owdy' is '/howdy'; '%2f' is not '/', and stays '%2F'. */
function decodeUnreserved(escape: string): string {
  const character = String.fromCharCode(Number.parseInt(escape.slice(1), 16));
  return /[\w.~-]/.test(character) ? character : escape.toUpperCase();
}

/** The body, or `undefined` once it is known to be too large. */
async function readBody(incoming: IncomingMessage): Promise<Uint8Array | undefined> {
  if (Number(incoming.headers['content-length'] ?? 0) > MAX_BODY_SIZE) return undefined;
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
    if ((size += chunk.length) > MAX_BODY_SIZE) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(response: HttpResponse, outgoing: ServerResponse, common: Headers): void {
  const { status, headers, body } = response;
  const isUnknown = body === undefined && outgoing.req.method === 'HEAD';
  const hasLength = status !== 204 && status !== 304 && !isUnknown; // RFC 9110 §8.6
  const length = hasLength ? Buffer.byteLength(body as string) : undefined;
  const all = { ...common, ...(length !== undefined && { 'content-length': length }), ...headers };
  outgoing.writeHead(status, all).end(body);
}

if (isMain(import.meta.url)) serve(toListener(echo), 'Step 2', '/');
