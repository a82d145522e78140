// Step 10 · The session: a dictionary that belongs to one visitor.
//
// Pyramid's `request.session` is a dict with a few words more: flash messages, a CSRF token, the
// time of its creation. Ours is a Map with the same words. Where it is kept is step 11's question.
// It takes JSON values only. A Date would come back as a string at the next request, and undefined
// not at all, so such values are refused at `set`, while the culprit is on stage.
import { randomBytes } from 'node:crypto';
import { isMain, serve } from './01-server.ts';
import { text, toListener } from './02-http.ts';
import { Router } from './03-router.ts';

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** A session that was kept. Times are seconds since 1970. */
export type SessionState = { data: object; created: number; accessed: number };

export const MAX_FLASH_MESSAGES = 20; // in one queue: a visitor who never looks must not fill it
export const MAX_DEPTH = 100; // arrays and objects inside each other, and the session around

type Key<Data> = keyof Data & string;

/** `Session<{ counter: number }>` knows its keys and their types; `Session` alone takes any. */
export class Session<Data extends object = Record<string, Json>> extends Map<string, unknown> {
  /** When it was last used before this request; `now` for a visitor who came without one. */
  readonly accessed: number;
  /** What `update` was told to do, for who must do it once more (step 18). */
  readonly updates: [key: string, change: (value: never) => unknown][] = [];
  readonly #now: number;
  readonly #before: string; // the data as JSON when the request came
  #created: number;
  #isNew: boolean;
  #isChanged = false;
  #isEnded = false;

  /** A new session, or the one that `state` tells of, at the time `now` of this request. */
  constructor(now: number, state?: SessionState) {
    super();
    const data: { [key: string]: unknown } = { ...state?.data };
    for (const key of Object.keys(data)) super.set(key, data[key]);
    this.accessed = state?.accessed ?? now;
    this.#now = now;
    this.#before = JSON.stringify(data);
    this.#created = state?.created ?? now;
    this.#isNew = state === undefined;
  }

  override get<K extends Key<Data>>(key: K): Data[K] | undefined {
    return super.get(key) as Data[K] | undefined;
  }

  /** Throws a `TypeError` for a value that JSON would lose or change. */
  override set<K extends Key<Data>>(key: K, value: Data[K]): this {
    requireJson(value, `'${key}'`, [this]);
    return super.set(key, value);
  }

  override has(key: Key<Data>): boolean {
    return super.has(key);
  }

  override delete(key: Key<Data>): boolean {
    return super.delete(key);
  }

  /** Takes a value out, or gives `fallback` where there is none. */
  pop<K extends Key<Data>>(key: K, fallback?: Data[K]): Data[K] | undefined {
    const value = this.has(key) ? this.get(key) : fallback;
    this.delete(key);
    return value;
  }

  /** The value there is, or else `value`, which is then there: `setDefault('cart', []).push(…)`. */
  setDefault<K extends Key<Data>>(key: K, value: Data[K]): Data[K] {
    if (!this.has(key)) this.set(key, value);
    return this.get(key) as Data[K];
  }

  /** Sets several values, or one from what it was: `update('counter', (n = 0) => n + 1)`. */
  update(values: Partial<Data>): void;
  update<K extends Key<Data>>(key: K, change: (value: Data[K] | undefined) => Data[K]): void;
  update<K extends Key<Data>>(
    keyOrValues: K | Partial<Data>,
    change?: (value: Data[K] | undefined) => Data[K],
  ): void {
    if (typeof keyOrValues === 'string') {
      if (change) this.set(keyOrValues, change(this.get(keyOrValues)));
      if (change) this.updates.push([keyOrValues, change]);
      return;
    }
    for (const [key, value] of Object.entries(keyOrValues)) this.set(key as K, value as Data[K]);
  }

  /** When it began, in seconds since 1970. */
  get created(): number {
    return this.#created;
  }

  /** Whether the visitor came without a session that we know. */
  get isNew(): boolean {
    return this.#isNew;
  }

  /** Whether it must be written: noticed by itself, even for a change deep inside a value. */
  get isChanged(): boolean {
    return this.isChangedTo(this.json);
  }

  /** `isChanged` for who has asked for `json` already. */
  isChangedTo(json: string): boolean {
    return this.#isChanged || json !== this.#before;
  }

  /** Whether `invalidate` was called, so that what the visitor has must be taken away. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Says that it must be written, as in Pyramid. There is no need to: see `isChanged`. */
  changed(): void {
    this.#isChanged = true;
  }

  /** Ends this session: all is forgotten, and what is set from here on begins a new one. */
  invalidate(): void {
    this.clear();
    this.regenerateId();
    this.#isNew = this.#isEnded = true;
  }

  /** For a change of rights, such as a login: a new beginning and a new token, the data kept. */
  regenerateId(): void {
    super.delete(CSRF_KEY);
    this.#created = this.#now;
    this.#isChanged = true;
  }

  /** Leaves a message for the next page that looks into `queue`. Of too many, the oldest go. */
  flash(message: Json, queue = '', allowDuplicate = true): void {
    requireJson([message], 'the flash message', [this]); // in its list, as it will be kept
    const messages = this.peekFlash(queue);
    const isThere = messages.some((other) => JSON.stringify(other) === JSON.stringify(message));
    if (isThere && !allowDuplicate) return;
    super.set(FLASH_KEY + queue, [...messages, message].slice(-MAX_FLASH_MESSAGES));
  }

  /** The messages of a queue, oldest first, which are then gone from it. */
  popFlash(queue = ''): Json[] {
    const messages = this.peekFlash(queue);
    super.delete(FLASH_KEY + queue);
    return messages;
  }

  /** The messages of a queue, which stay there. */
  peekFlash(queue = ''): Json[] {
    const messages = super.get(FLASH_KEY + queue);
    return Array.isArray(messages) ? messages : [];
  }

  /** The secret that this session's forms carry (step 14), made when it is first asked for. */
  csrfToken(): string {
    const token = super.get(CSRF_KEY);
    return typeof token === 'string' ? token : this.newCsrfToken();
  }

  newCsrfToken(): string {
    const token = randomBytes(20).toString('hex'); // 160 bits: not to be guessed in any lifetime
    super.set(CSRF_KEY, token);
    return token;
  }

  /** The data as it is kept. Throws a `TypeError` where a value was spoilt after it was set. */
  get json(): string {
    const data = this.toJSON();
    requireJson(data, 'the session', []);
    return JSON.stringify(data);
  }

  toJSON(): { [key: string]: Json } {
    const data: { [key: string]: Json } = {};
    if (super.has('__proto__')) return Object.fromEntries(this) as typeof data;
    this.forEach((value, key) => (data[key] = value as Json)); // faster; but that key means more
    return data;
  }
}

const CSRF_KEY = '_csrft_'; // Pyramid's names, so that each can read the other's session
const FLASH_KEY = '_f_';

/** Throws where `value`, found at `path`, is not exactly what JSON would give back. */
export function requireJson(value: unknown, path: string, parents: readonly object[]): void {
  const fault = faultIn(value, parents.slice());
  if (fault !== undefined) throw new TypeError(`Cannot keep ${path}${fault}`);
}

/** Where in `value` JSON fails, and why: built on the way back, so what is good costs nothing. */
function faultIn(value: unknown, parents: object[]): string | undefined {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : refusal(value);
  if (typeof value !== 'object') return refusal(typeof value);
  if (parents.includes(value)) return refusal('inside itself');
  if (parents.length === MAX_DEPTH) return refusal(`more than ${MAX_DEPTH} levels deep`);
  const kind = Object.getPrototypeOf(value)?.constructor;
  if (kind !== undefined && kind !== Object && kind !== Array) return refusal(`a ${kind.name}`);
  parents.push(value);
  const list = Array.isArray(value) ? value : undefined;
  const keys = list ?? Object.keys(value);
  for (let i = 0; i < keys.length; i++) {
    const key = list ? i : keys[i];
    const fault = faultIn((value as Record<string, unknown>)[key], parents);
    if (fault !== undefined) return `[${JSON.stringify(key)}]${fault}`;
  }
  parents.pop();
  return undefined;
}

function refusal(what: unknown): string {
  return `: a session keeps JSON values only: it is ${what}`;
}

/** The site of this step: a session for each request, kept nowhere. */
export function site(): Router {
  return new Router().get('/', () => {
    const session = new Session<{ counter: number }>(Date.now() / 1000);
    session.update('counter', (counter = 0) => counter + 1);
    return text(`isNew: ${session.isNew}\ncounter: ${session.get('counter')}\n`);
  });
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 10', '/');
