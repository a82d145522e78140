// Step 7 · A session: one dictionary that belongs to one visitor.
//
//   text in the cookie = [accessed, created, {"count":7,"name":"Ada"}]       Pyramid's format, JSON
//
// Our session is a `Map` of JSON values. The cookie contains all of it, signed.
import { isDeepStrictEqual } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { Cookie } from './02-cookie.ts';
import { Signer } from './03-signer.ts';
import { type HttpRequest, type HttpResponse, toListener } from './04-http.ts';
import { type RoutedHandler, Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';

/** A saved session. Times are seconds since 1970. */
export type SessionState = { accessed: number; created: number; data: object };

type Key<Data> = keyof Data & string;

export interface Session<Data> {
  has(key: Key<Data>): boolean;
  delete(key: Key<Data>): boolean;
}

/** `Session<{ count: number }>` knows its keys and the types of their values. */
export class Session<Data extends object = Record<string, unknown>> extends Map<string, unknown> {
  readonly accessed: number; // the time of the last save; in a new session: now
  readonly isNew: boolean; // the visitor sent no valid session
  // Later steps change these three fields.
  created: number;
  expires = Infinity;
  readonly updates: [key: string, fn: (value: never) => unknown][] = [];
  #before: string | undefined; // the data as JSON when the request arrived

  /**
   * `now` is the time of the request. Without a `state`, the session is new and empty. The
   * constructor does not check the data of `state` again. At first, `isChanged` is false.
   */
  constructor(now: number, state?: SessionState) {
    super();
    for (const [key, value] of Object.entries(state?.data ?? {})) super.set(key, value);
    this.accessed = state?.accessed ?? now;
    this.isNew = state === undefined;
    this.created = state?.created ?? now;
    this.#before = JSON.stringify(state?.data ?? {});
  }

  /** Returns the value, or `undefined` if the key is absent. */
  override get<K extends Key<Data>>(key: K): Data[K] | undefined {
    return super.get(key) as Data[K] | undefined;
  }

  /** Stores a value. Throws (see `requireJson`) if JSON would lose or change it: a `Date`. */
  override set<K extends Key<Data>>(key: K, value: Data[K]): this {
    requireJson(value, key);
    return super.set(key, value);
  }

  /**
   * Replaces a value: `update('count', (n = 0) => n + 1)`. `fn` must only compute the new value.
   * Throws as `set` does. Adds the key and `fn` to `updates`.
   */
  update<K extends Key<Data>>(key: K, fn: (value: Data[K] | undefined) => Data[K]): void {
    this.set(key, fn(this.get(key)));
    this.updates.push([key, fn]);
  }

  /** Whether the session must be saved. A change inside an array or an object counts too. */
  get isChanged(): boolean {
    return JSON.stringify(this) !== this.#before;
  }

  /** Marks the session as changed, as in Pyramid. */
  changed(): void {
    this.#before = undefined;
  }

  /** Returns the data as an object. `JSON.stringify` calls this method. */
  toJSON(): object {
    return Object.fromEntries(this);
  }
}

function requireJson(value: unknown, key: string): void {
  if (typeof value === 'string' || (Number.isSafeInteger(value) && value !== 0)) return; // not -0
  if (isDeepStrictEqual(exact(JSON.parse(JSON.stringify(value) ?? 'null')), value)) return;
  throw new TypeError(`Cannot keep '${key}' in a session: JSON would lose or change its value`);
}

/** Returns the value. Throws for a number that JavaScript cannot read: 2^53 + 1 would be 2^53. */
function exact(value: unknown): unknown {
  if (value === 0) return 0; // Python can write -0.0, and JSON.stringify cannot
  const items = value as Record<string, unknown>;
  if (typeof value === 'object') for (const key in items) items[key] = exact(items[key]);
  if (typeof value !== 'number' || Math.abs(value) <= Number.MAX_SAFE_INTEGER) return value;
  throw new RangeError(`Cannot keep ${value} in a session: the limit is 2^53 - 1`);
}

/**
 * Returns the text that a codec encodes: `[now, created, data]` as JSON. `now` is rounded down to
 * whole seconds. Throws (see `requireJson`) if JSON would lose or change a value.
 */
export function encodePayload(session: Session<object>, now: number): string {
  for (const [key, value] of session) requireJson(value, key);
  return JSON.stringify([Math.floor(now), session.created, session]);
}

/**
 * Returns the state, or `undefined` if the text is not a session. A session is a JSON array of two
 * numbers and an object. JavaScript must read all numbers exactly. Never throws.
 */
export function decodePayload(text = ''): SessionState | undefined {
  try {
    const [accessed, created, data, ...rest]: unknown[] = JSON.parse(text).map(exact);
    const hasTimes = typeof accessed === 'number' && typeof created === 'number';
    const isObject = typeof data === 'object' && data !== null && !Array.isArray(data);
    return hasTimes && isObject && rest.length === 0 ? { accessed, created, data } : undefined;
  } catch {
    return undefined;
  }
}

/** The data that this site remembers about a visitor. */
export type Visitor = { count: number; name: string };

const cookie = new Cookie('session');
const signer = new Signer({ secrets: ['itsaseekreet'], salt: 'pyramid.session.' });

/**
 * Counts the visit, stores the name if there is one, and returns the page 'Session'. It shows
 * `<h1>Hi Ada</h1>` (or 'visitor'), `<p>Count: 1</p>` and `<p>First visit: …</p>` in UTC.
 */
export function greet(session: Session<Visitor>, name?: string): HttpResponse {
  session.update('count', (count = 0) => count + 1);
  if (name !== undefined) session.set('name', name);
  return page('Session', html`<h1>Hi ${session.get('name') ?? 'visitor'}</h1>
<p>Count: ${session.get('count')}</p>
<p>First visit: ${new Date(session.created * 1000).toUTCString()}</p>`);
}

/**
 * The site of this step: `/` and `/howdy/:name` save the session, and `/howdy` does not save it.
 */
export function site(now = () => Date.now() / 1000): Router {
  const open = ({ headers }: HttpRequest): Session<Visitor> =>
    new Session(now(), decodePayload(signer.decode(cookie.read(headers.cookie) ?? '')));
  const home: RoutedHandler = (request) => {
    const session = open(request);
    const response = greet(session, request.params.name);
    const setCookie = cookie.write(signer.encode(encodePayload(session, now())));
    return { ...response, headers: { ...response.headers, 'set-cookie': setCookie } };
  };
  const howdy: RoutedHandler = (request) => greet(open(request));
  return addStyle(new Router()).get('/', home).get('/howdy/:name', home).get('/howdy', howdy);
}

if (isMain(import.meta.url)) {
  serve(toListener(site().handle), 'Step 7', ['/', '/howdy/Ada', '/howdy']);
}
