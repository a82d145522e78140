// Step 5 · A router: the method and the path select a handler.
//
// RFC 9110 defines the statuses 404 (§15.5.5) and 405 (§15.5.6), and the method HEAD (§9.3.2).
import { unescape } from 'node:querystring';
import { isMain, serve } from './01-server.ts';
import { countVisit } from './03-signer.ts';
import { problem, text, toListener } from './04-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './04-http.ts';

type Params = Readonly<Record<string, string>>;
/** A handler that receives the parameters of its pattern. */
export type RoutedHandler = Handler<HttpRequest & { readonly params: Params }>;
type Route = { readonly regexp: RegExp; readonly handlers: Map<string, RoutedHandler> };

/** The routes of a site. */
export class Router {
  readonly #routes = new Map<string, Route>(); // by pattern

  /** Adds a handler for GET and HEAD. Throws a `TypeError` if the pattern has one already. */
  get(pattern: string, handler: RoutedHandler): this {
    return this.#add('GET', pattern, handler);
  }

  /** Adds a handler for POST. Throws a `TypeError` if the pattern has one already. */
  post(pattern: string, handler: RoutedHandler): this {
    return this.#add('POST', pattern, handler);
  }

  /**
   * The whole site as one handler. It calls the handler of the page. Without a page, it returns a
   * 404: 'There is no page at /x.' For another method, it returns a 405 with the header `allow`:
   * '/x allows GET, HEAD, not POST.'
   */
  readonly handle: Handler = (request) => {
    const { method, path } = request;
    const { handlers, params } = this.#find(path) ?? {};
    if (!handlers) return problem(404, `There is no page at ${path}.`);
    const handler = handlers.get(method === 'HEAD' ? 'GET' : method);
    if (handler) return handler(Object.assign({}, request, { params: params ?? {} }));
    const allow = [...handlers.keys()].join(', ').replace('GET', 'GET, HEAD');
    return problem(405, `${path} allows ${allow}, not ${method}.`, { allow });
  };

  /**
   * Returns the router. Throws a `TypeError` with the message "Cannot add 'howdy': it must begin
   * with /" or 'Cannot add GET /howdy twice'. Only a parameter has a special meaning in a pattern.
   */
  #add(method: string, pattern: string, handler: RoutedHandler): this {
    if (pattern[0] !== '/') throw new TypeError(`Cannot add '${pattern}': it must begin with /`);
    // `/howdy/:name` becomes /^\/howdy\/(?<name>[^/]+)$/: a parameter is one segment.
    const escaped = pattern.replace(/[^\w/:]/g, '\\$&'); // a period matches only a period
    const regexp = new RegExp(`^${escaped.replace(/\/:(\w+)/g, '/(?<$1>[^/]+)')}$`);
    const { handlers } = this.#routes.get(pattern) ?? { handlers: new Map() };
    if (handlers.has(method)) throw new TypeError(`Cannot add ${method} ${pattern} twice`);
    this.#routes.set(pattern, { regexp, handlers: handlers.set(method, handler) });
    return this;
  }

  /**
   * Returns the route of a path and the decoded parameters, or `undefined`. A pattern without
   * parameters wins: `/howdy/you` is found before `/howdy/:name`.
   */
  #find(path: string): (Route & { params?: Params }) | undefined {
    const route = this.#routes.get(path);
    if (route && !path.includes('/:')) return route; // a client can also request '/howdy/:name'
    for (const { regexp, handlers } of this.#routes.values()) {
      const { groups } = regexp.exec(path) ?? {};
      const values = Object.entries(groups ?? {}).map(([name, text]) => [name, unescape(text)]);
      if (groups) return { regexp, handlers, params: Object.fromEntries(values) };
    }
    return undefined;
  }
}

type Greet = (name: string, count: number) => HttpResponse;

/**
 * Adds three pages that count the visit: `/` for 'Home View', `/howdy` for 'Hello View', and
 * `/howdy/:name`. `greet` returns the page for a name and a count.
 */
export function addGreetings(router: Router, greet: Greet): Router {
  const counted = ({ headers }: HttpRequest, name: string): HttpResponse => {
    const { count, setCookie } = countVisit(headers.cookie);
    const response = greet(name, count);
    return { ...response, headers: { ...response.headers, 'set-cookie': setCookie } };
  };
  return router
    .get('/', (request) => counted(request, 'Home View'))
    .get('/howdy', (request) => counted(request, 'Hello View'))
    .get('/howdy/:name', (request) => counted(request, request.params.name ?? ''));
}

/** Inserts the name without a check. Step 6 shows the danger. */
function greet(name: string, count: number): HttpResponse {
  const type = { 'content-type': 'text/html; charset=utf-8' };
  return text(`<h1>Hi ${name}</h1><p>Count: ${count}</p>\n`, 200, type);
}

/** The site of this step. */
export const site = (): Router => addGreetings(new Router(), greet);

if (isMain(import.meta.url)) {
  serve(toListener(site().handle), 'Step 5', ['/', '/howdy', '/howdy/Ada']);
}
