// A failing test should teach. `it` of a test file comes from here. It adds several lines to the
// message of an error. They show the input, the last requests, the response and the log. The last
// line names the place in LESSON.md that explains the code. `story.ts` writes these lines.
//
// Each Browser of step 16 and `fetch` note their requests. A test that calls a handler or writes to
// a socket uses `witness` or `noteBytes`. A test that calls a function uses `given`. The text is
// written only if the test fails.
import { AsyncLocalStorage } from 'node:async_hooks';
import { it as nodesIt } from 'node:test';
import type { TestContext, TestOptions } from 'node:test';
import { format, inspect } from 'node:util';
import type { Handler, HttpRequest, HttpResponse } from '../src/04-http.ts';
import { mustSkip, TimeLimitError, withinLimit } from './limit.ts';
import { answerOf, curlOf, ORIGIN, printfOf, show, tell, wordsOf } from './story.ts';
import type { Exchange, Noted } from './story.ts';

type Run = (t: TestContext) => unknown;
type It = (title: string, ...rest: [Run] | [TestOptions, Run]) => void;

const MAX_PRINTED = 3; // lines of console.log
const MAX_REQUESTS = 4; // of a test, in its message

const BROWSER_STEP = 16;

const exchanges = new AsyncLocalStorage<Exchange>(); // one for each test

/** Returns `it` for a test file. `testUrl` is `import.meta.url`, which contains the step. */
export function explainedIt(testUrl: string): It {
  const module = /(\d\d-[\w-]+)(?:\.test)?\.[jt]s$/.exec(testUrl)?.[1];
  return (title, ...rest) => {
    const [options, run] = rest.length === 1 ? [{}, rest[0]] : rest;
    void nodesIt(title, options, (t) => {
      if (mustSkip()) return t.skip('a test before it did not end');
      const exchange: Exchange = {};
      const name = `Step ${parseInt(module ?? '0')}: ${/^(?:new )?\S+/.exec(title)?.[0]}`;
      const explained = (error: unknown) => explain(error, exchange, module, title);
      const test = async (): Promise<void> => {
        await run(t);
      };
      return exchanges.run(exchange, async () => {
        process.on('uncaughtExceptionMonitor', explained); // for an error outside `run`
        try {
          await withinLimit(name, test, () => whatWaits(exchange));
        } catch (error) {
          throw explained(error);
        } finally {
          process.off('uncaughtExceptionMonitor', explained);
        }
      });
    });
  };
}

const WAITS = 'A promise never settles, or a function never calls its callback.';

function whatWaits({ requests, waits }: Exchange): string {
  if (waits) return `${waits()}.`;
  const came = requests?.at(-1)?.came;
  if (came === UNENDED) return 'The response has no end: is a call of `response.end()` missing?';
  return came === THREW || came === NOTHING ? 'The page did not respond.' : WAITS;
}

/** Returns the error with the story below its message. Another value becomes an error. */
function explain(
  thrown: unknown,
  exchange: Exchange,
  module: string | undefined,
  title: string,
): Error {
  const error = thrown instanceof Error ? thrown : new Error(`thrown: ${inspect(thrown)}`);
  const { message, stack = '' } = error;
  const last = exchange.requests?.at(-1);
  if (last?.came === THREW && error instanceof TimeLimitError) last.came = NOTHING;
  const told = tell(error, exchange, module, title);
  // The message of a timeout is a getter, so an assignment would throw.
  Object.defineProperty(error, 'message', { value: told });
  Object.defineProperty(error, 'stack', { value: stack.replace(message, () => told) });
  return error;
}

/** Returns the same value, and notes it as the input of the function under test. */
export function given<T>(value: T): T {
  const input = { text: () => show(value), at: new Error('given') };
  Object.assign(exchanges.getStore() ?? {}, { given: input });
  return value;
}

/** Notes a request. The input of an earlier call is not shown any more. */
function note(request: Omit<Noted, 'isOfStep'>, isOfStep = false): Noted {
  const noted = { ...request, isOfStep };
  const exchange = exchanges.getStore() ?? {};
  exchange.requests = [...(exchange.requests ?? []), noted].slice(-MAX_REQUESTS);
  delete exchange.given;
  return noted;
}

/**
 * Returns the same handler or listener. A request that reaches it can be pasted, because the
 * program of the step would receive the same request. So it is only for `countVisits` and for
 * `site()` without arguments: a test with a clock, a secret or a page of its own does not use it.
 */
export function ofStep<Request extends object, Rest extends unknown[], Result>(
  handle: (request: Request, ...rest: Rest) => Result,
): (request: Request, ...rest: Rest) => Result {
  return (request, ...rest) => {
    const { url, path, search } = request as { url?: string; path?: string; search?: string };
    const target = url ?? `${path}${search}`;
    const noted = exchanges.getStore()?.requests?.findLast((one) => one.target === target);
    if (noted) noted.isOfStep = true;
    return handle(request, ...rest);
  };
}

const stepPorts = new Set<string>();

/** Notes the address of a program: the module of a step, started without settings. */
export function noteProgram(origin: string): void {
  stepPorts.add(new URL(origin).port);
}

/** Waits for an event. If the test does not end, its message contains the text of `waits`. */
export async function waitingFor<T>(event: Promise<T>, waits: () => string): Promise<T> {
  const exchange = exchanges.getStore() ?? {};
  exchange.waits = waits;
  return event.finally(() => delete exchange.waits);
}

// If a page fails, its response is a 500 without a reason, and the log contains the reason.
const log = console.error;
console.error = (...words: unknown[]): void => {
  const [line = ''] = words.map(String).join(' ').split(String.raw`\n    at `); // no stack
  const isNodes = line.startsWith('(node:'); // a warning
  if (!isNodes) Object.assign(exchanges.getStore() ?? {}, { logged: line });
  log(...words);
};

// A beginner looks for a mistake with console.log.
const print = console.log;
console.log = (...words: unknown[]): void => {
  const exchange = exchanges.getStore();
  const lines = format(...words).split('\n');
  if (exchange) exchange.printed = [...(exchange.printed ?? []), ...lines].slice(-MAX_PRINTED);
  print(...words);
};

/** Notes the bytes that a test sends to a socket. `came` returns all bytes received so far. */
export function noteBytes(sent: string | Buffer, came: () => string): void {
  const [line = ''] = Buffer.from(sent).toString('latin1').split('\r\n');
  note({
    target: line.split(' ')[1] ?? '',
    command: () => printfOf(sent),
    words: () => `${line} …`,
    came: () => came().replaceAll('\r', '') || '(nothing)',
  });
}

/** Returns the same handler, which also notes each request and its response. */
export function witness<R extends HttpRequest>(handler: Handler<R>): Handler<R> {
  return async (request) => {
    const { method, path, search, headers } = request;
    const target = path + search;
    const last = exchanges.getStore()?.requests?.at(-1);
    if (last?.target === target && last.came === THREW) { // a Browser has noted this request
      const response = await handler(request);
      last.came = () => answerIn(response);
      return response;
    }
    const { body, textOf } = recordingOf(request.body);
    const lines = Object.entries(headers);
    const noted = note({
      target,
      command: () => {
        const text = textOf();
        return text === undefined ? undefined : curlOf(method, target, lines, text);
      },
      words: () => wordsOf(method, target, lines, textOf()),
      came: THREW,
    });
    const response = await handler({ ...request, body });
    noted.came = () => answerIn(response);
    return response;
  };
}

const THREW = () => '(nothing: the page threw)';
const NOTHING = () => '(nothing yet)';
const UNENDED = () => '(a status and headers, but not the end of the body)';

type Body = HttpRequest['body'];
/** `textOf` returns `undefined` if the handler has not read the whole body. */
type Recording = { readonly body: Body; readonly textOf: () => string | undefined };

// A body that arrives at two handlers must stay one object, because `readForm` of step 12 keeps its
// result for each body.
const recordings = new WeakMap<Body, Recording>();

/** Notes the text of a body, and returns the body. */
export function noteBody(body: Body, text: string): Body {
  recordings.set(body, { body, textOf: () => text });
  return body;
}

/** Returns the same body, and a function that returns the text that was read from it. */
function recordingOf(original: Body): Recording {
  const known = recordings.get(original);
  if (known) return known;
  const chunks: Uint8Array[] = [];
  let isComplete = false;
  const body = (async function* () {
    for await (const chunk of original) {
      chunks.push(chunk);
      yield chunk;
    }
    isComplete = true;
  })();
  const textOf = () => (isComplete ? Buffer.concat(chunks).toString() : undefined);
  const recording = { body, textOf };
  recordings.set(original, recording);
  recordings.set(body, recording);
  return recording;
}

function answerIn(response: HttpResponse): string {
  try {
    const { status, headers, body } = response;
    return answerOf(status, Object.entries(headers), bodyText(body));
  } catch {
    return `no response, but ${inspect(response)}`; // the page is not complete yet
  }
}

function bodyText(body: HttpResponse['body']): string {
  if (typeof body === 'object' && 'render' in body) return body.render();
  return typeof body === 'string' ? body : Buffer.from(body).toString();
}

// A body can be read only once, and the test reads it. It is noted at this moment.
const nodesFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const { pathname, search, port } = new URL(input instanceof Request ? input.url : input);
  const { method = 'GET', headers, body } = init ?? {};
  const target = pathname + search;
  const isText = body instanceof URLSearchParams || typeof body === 'string' || !body;
  const text = isText ? String(body ?? '') : '';
  const all = new Headers(headers);
  if (body instanceof URLSearchParams && !all.has(FORM_TYPE[0])) all.set(...FORM_TYPE);
  else if (typeof body === 'string' && !all.has(FORM_TYPE[0])) all.set(FORM_TYPE[0], TEXT_TYPE);
  const noted = note({
    target,
    command: () => (isText ? curlOf(method, target, all, text) : undefined),
    words: () => wordsOf(method, target, all, text),
    came: NOTHING,
  }, stepPorts.has(port));
  const response = await nodesFetch(input, init);
  const read = response.text;
  const status = `${response.status} ${response.statusText}`;
  const cameWith = (text: string) => () => answerOf(status, [...response.headers], text);
  noted.came = cameWith('(a body that was not read)');
  const value = async () => {
    noted.came = UNENDED;
    const text = await read.call(response);
    noted.came = cameWith(text);
    return text;
  };
  Object.defineProperty(response, 'text', { value });
  return response;
};

const FORM_TYPE = ['content-type', 'application/x-www-form-urlencoded'] as const;
const TEXT_TYPE = 'text/plain;charset=UTF-8'; // as `fetch` adds it

/**
 * Notes the requests of each Browser of step 16. Many tests create browsers, so the code is here.
 * The command contains all cookies for ORIGIN, also those that have expired.
 */
async function watchBrowsers(): Promise<void> {
  const { Browser } = await import('../src/16-browser.ts');
  const { request } = Browser.prototype;
  Browser.prototype.request = async function (...args) {
    const [method, path, body = '', headers = {}] = args; // `apply` passes the arguments unchanged
    const { origin, pathname, search } = new URL(path, ORIGIN);
    const target = pathname + search;
    const cookie = this.jar.headerFor(new URL(path, ORIGIN), 0);
    const form = method === 'POST' && Object.fromEntries([FORM_TYPE]);
    const lines = Object.entries({ ...form, ...(cookie && { cookie }), ...headers });
    const noted = note({
      target,
      command: () => (origin === ORIGIN ? curlOf(method, target, lines, body) : undefined),
      words: () => wordsOf(method, target, lines, body),
      came: THREW,
    });
    const response = await request.apply(this, args);
    noted.came = () => answerIn(response);
    return response;
  };
}

// A reader who has not reached step 16 may have no such file. If the file has another problem, the
// test that imports it reports the problem. The promise is created here and not in a test, because
// Node reports an error that no code catches in the test that created the promise. The tests of
// earlier steps use no Browser, and start faster without it.
const [, step = BROWSER_STEP] = /\b(\d\d)-[\w-]+(?:\.test)?\.[jt]s$/.exec(process.argv[1] ?? '') ?? [];
if (Number(step) >= BROWSER_STEP) await watchBrowsers().catch(() => {});
