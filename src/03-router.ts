// Step 3 · Routes: which handler answers which URL.
//
// A pattern is a path whose segments may be parameters: `/hello/:name`. `find` is pure and knows no
// HTTP; `handle` adds the protocol around it (RFC 9110): HEAD is served by GET's handler (§9.3.2),
// 405 names what is allowed (§15.5.6), an unknown method is 501 (§15.6.2). A path is matched as
// sent: `/howdy/` is not `/howdy`.
import { isMain, serve } from './01-server.ts';
import { problem, toListener } from './02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from './02-http.ts';

/** The parameters of a pattern: `ParamsOf<'/hello/:name'>` is `{ name: string }`. */
export type ParamsOf<Pattern extends string> = Pattern extends `${infer Head}/${infer Tail}`
  ? ParamsOf<Head> & ParamsOf<Tail>
  : Pattern extends `:${infer Name}`
    ? { readonly [N in Name]: string }
    : unknown;

type Params = Readonly<Record<string, string>>;
type RoutedHandler = Handler<HttpRequest & { params?: Params }>;
type Route = { pattern: string; names: string[]; handlers: Map<string, RoutedHandler> };
type Branch = { children: Map<string, Branch>; any?: Branch; route?: Route };

const NO_PARAMS: Params = {};
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

export class Router {
  readonly #exact = new Map<string, Route>(); // patterns with no parameter: one look, however many
  readonly #root: Branch = { children: new Map() }; // the others, a level for each segment
  readonly #patterns = new Map<string, string>();

  /** Adds a handler for GET, and for HEAD with it. A `name` is for `pathFor`. */
  get<P extends string>(
    pattern: P,
    handler: Handler<HttpRequest & { params: ParamsOf<P> }>,
    name?: string,
  ): this {
    return this.#add('GET', pattern, handler as RoutedHandler, name);
  }

  /** Adds a handler for POST. */
  post<P extends string>(
    pattern: P,
    handler: Handler<HttpRequest & { params: ParamsOf<P> }>,
    name?: string,
  ): this {
    return this.#add('POST', pattern, handler as RoutedHandler, name);
  }

  /** What is at a path: handlers by method, and decoded parameters; `undefined` for nothing. */
  find(path: string): { handlers: ReadonlyMap<string, RoutedHandler>; params: Params } | undefined {
    const exact = this.#exact.get(path);
    if (exact) return { handlers: exact.handlers, params: NO_PARAMS };
    const values: string[] = [];
    const route = descend(this.#root, path.split('/'), 1, values);
    if (!route) return undefined;
    const params = Object.fromEntries(route.names.map((name, i) => [name, values[i] ?? '']));
    return { handlers: route.handlers, params };
  }

  /** The path of a named route. Throws a `RangeError` for a name or a parameter that is missing. */
  pathFor(name: string, params: Params = {}): string {
    const pattern = this.#patterns.get(name);
    if (!pattern) throw new RangeError(`Cannot make a path: no route is named '${name}'`);
    return pattern.replace(/(?<=\/):([^/]*)/g, (_, key: string) => {
      const value = params[key] ?? '';
      if (!/^\.{0,2}$/.test(value)) return encodeURIComponent(value); // '..' would lead elsewhere
      throw new RangeError(`Cannot make a path: '${pattern}' needs '${key}'`);
    });
  }

  /** The whole site as one handler. */
  readonly handle: Handler = (request): HttpResponse | Promise<HttpResponse> => {
    const { method, path } = request;
    if (!METHODS.includes(method)) return problem(501, `This server does not know ${method}.`);
    const found = this.find(path);
    if (path === '*' && method === 'OPTIONS') return allowed(METHODS);
    if (!found) return problem(404, `There is no page at ${path}.`);
    const handler = found.handlers.get(method === 'HEAD' ? 'GET' : method);
    if (handler && found.params === NO_PARAMS) return handler(request); // nothing to tell it
    if (handler) return handler({ params: found.params, ...request });
    const allow = METHODS.filter((m) => found.handlers.has(m === 'HEAD' ? 'GET' : m));
    const answer = allowed([...allow, 'OPTIONS']);
    if (method === 'OPTIONS') return answer;
    const refusal = problem(405, `${path} takes ${answer.headers.allow}, not ${method}.`);
    return { ...refusal, headers: { ...refusal.headers, ...answer.headers } };
  };

  #add(method: string, pattern: string, handler: RoutedHandler, name?: string): this {
    const segments = pattern.split('/');
    const names = segments.filter((s) => s[0] === ':').map((s) => s.slice(1));
    if (pattern[0] !== '/') throw new TypeError(`Cannot add '${pattern}': it must begin with '/'`);
    const fresh: Route = { pattern, names, handlers: new Map() };
    const route = names.length ? grow(this.#root, segments, fresh) : this.#place(pattern, fresh);
    if (route.handlers.has(method) || route.pattern !== pattern) {
      throw new TypeError(`Cannot add ${method} '${pattern}': '${route.pattern}' is there already`);
    }
    route.handlers.set(method, handler);
    if (name !== undefined) this.#patterns.set(name, pattern);
    return this;
  }

  #place(path: string, fresh: Route): Route {
    const route = this.#exact.get(path) ?? fresh;
    this.#exact.set(path, route);
    return route;
  }
}

function allowed(methods: string[]): HttpResponse {
  return { status: 204, headers: { allow: methods.join(', ') }, body: '' };
}

/** Walks down by segments, a literal one first; back up where that way led nowhere. */
function descend(branch: Branch, parts: string[], i: number, values: string[]): Route | undefined {
  const part = parts[i];
  if (part === undefined) return branch.route;
  const literal = branch.children.get(part);
  const route = literal && descend(literal, parts, i + 1, values);
  if (route || !branch.any || part === '') return route;
  const value = part.includes('%') ? decodeURIComponent(part) : part; // well encoded: see step 2
  const depth = values.push(value);
  const other = descend(branch.any, parts, i + 1, values);
  if (!other) values.length = depth - 1;
  return other;
}

function grow(branch: Branch, segments: string[], fresh: Route): Route {
  for (const segment of segments.slice(1)) {
    let next = segment[0] === ':' ? branch.any : branch.children.get(segment);
    if (!next) {
      next = { children: new Map() };
      if (segment[0] === ':') branch.any = next;
      else branch.children.set(segment, next);
    }
    branch = next;
  }
  return (branch.route ??= fresh);
}

/** The site of this step. What a visitor writes into the URL goes into the page as it is. */
export function site(): Router {
  const page = (name: string): HttpResponse => ({
    status: 200,
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: `<!doctype html><title>Quick Tutorial: ${name}</title><h1>Hi ${name}</h1>\n`,
  });
  return new Router()
    .get('/', () => page('Home View'), 'home')
    .get('/howdy', () => page('Hello View'), 'hello')
    .get('/hello/:name', ({ params }) => page(params.name), 'greet');
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 3', '/howdy', '/hello/Ada');
