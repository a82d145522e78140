// Requests without a socket. A test creates a request, calls a handler and reads the response.
//
// `Visitor` stores the cookies of a site and sends them back. It knows no rule of a real browser,
// except that Max-Age=0 deletes a cookie. Step 16 builds a browser that knows the rules.
import assert from 'node:assert/strict';
import type { Handler, HttpRequest, HttpResponse } from '../src/04-http.ts';
import { noteBody, witness } from './explain.ts';

/** Returns a request as `toListener` creates it. `target` is a path, with or without a query. */
export function makeRequest(
  method = 'GET',
  target = '/',
  headers: Record<string, string> = {},
  body = '',
): HttpRequest {
  const [path = '', ...search] = target.split(/(?=\?)/);
  const stream = (async function* () {
    if (body !== '') yield Buffer.from(body);
  })();
  noteBody(stream, body);
  return { method, path, search: search.join(''), headers, body: stream, address: '127.0.0.1' };
}

/** Returns the body as the text that a client receives. */
export function bodyText(response: HttpResponse): string {
  const { body } = returned(response);
  if (typeof body === 'object' && 'render' in body) return body.render();
  return typeof body === 'string' ? body : Buffer.from(body).toString();
}

/** Returns each `Set-Cookie` header of a response. */
export function setCookies(response: HttpResponse): string[] {
  return [returned(response).headers['set-cookie'] ?? []].flat();
}

/** Returns the response, if there is one. */
function returned(response: HttpResponse | undefined): HttpResponse {
  assert.ok(response, 'The page returned undefined instead of a response. Is a `return` missing?');
  return response;
}

/**
 * Compares a `Set-Cookie` header with another one. The attributes can be in any order, except two
 * with the same name: the last one counts (RFC 6265bis §5.6).
 */
export function assertCookie(actual: string | undefined, expected: string, why?: string): void {
  const partsOf = (header = ''): string[] => {
    const [pair = '', ...attributes] = header.split('; ');
    const nameOf = (attribute: string): string => attribute.split('=')[0] ?? '';
    return [pair, ...attributes.sort((a, b) => nameOf(a).localeCompare(nameOf(b)))];
  };
  assert.deepEqual(partsOf(actual), partsOf(expected), why);
}

/** A visitor who stores the cookies of one site and sends them back. */
export class Visitor {
  readonly cookies = new Map<string, string>();
  readonly #handle: Handler;

  constructor(handle: Handler) {
    this.#handle = witness(handle); // a failing test shows the requests
  }

  /** Sends one request and returns its response. A redirect is not followed. */
  async request(method: string, target: string, headers = {}, body = ''): Promise<HttpResponse> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const all = cookie === '' ? headers : { cookie, ...headers };
    const request = makeRequest(method, target, all, body);
    const response = await this.#handle(request);
    for (const header of setCookies(response)) {
      const [, name = '', value = ''] = /^([^=]*)=([^;]*)/.exec(header) ?? [];
      if (/; Max-Age=0(;|$)/.test(header)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }

  get(target: string): Promise<HttpResponse> {
    return this.request('GET', target);
  }

  /** Sends a form. */
  post(target: string, fields: Record<string, string>): Promise<HttpResponse> {
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    return this.request('POST', target, form, new URLSearchParams(fields).toString());
  }

  /** Opens a page and returns its text. */
  async text(target: string): Promise<string> {
    return bodyText(await this.get(target));
  }
}
