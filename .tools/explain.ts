// A failing test should teach. `it` of a test file comes from here. It adds several lines to the
// message of an assertion. They show the last requests as curl commands that can be pasted, the
// response, the log, and the place in LESSON.md that explains the code under test.
//
// Each Browser of step 16 and `fetch` note their requests. A test that calls a handler or writes to
// a socket uses `witness` or `noteBytes`. The text is written only if the test fails.
import { AssertionError } from 'node:assert';
import { AsyncLocalStorage } from 'node:async_hooks';
import { readFileSync } from 'node:fs';
import { it as nodesIt } from 'node:test';
import type { TestContext, TestOptions } from 'node:test';
import { inspect } from 'node:util';
import type { Handler, HttpRequest, HttpResponse } from '../src/04-http.ts';
import { mustSkip, TimeLimitError, withinLimit } from './limit.ts';

type Run = (t: TestContext) => unknown;
type It = (title: string, ...rest: [Run] | [TestOptions, Run]) => void;
type Lines = Iterable<readonly [name: string, value: unknown]>;
/** The last requests of a test, the last response, and the log. */
type Exchange = {
  before?: (() => string)[];
  sent?: () => string;
  came?: () => string;
  logged?: string;
};

const MAX_SHOWN = 600; // characters of a body: enough for the heading of a page
const MAX_BEFORE = 3; // requests before the last one
const ORIGIN = 'http://localhost:6543'; // of the server of a step

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
      const explained = (error: unknown) => explain(error, storyOf(exchange, module, title, error));
      return exchanges.run(exchange, async () => {
        process.on('uncaughtExceptionMonitor', explained); // for an error outside `run`
        try {
          await withinLimit(name, () => run(t), () => whatWaits(exchange));
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

function whatWaits({ came }: Exchange): string {
  return came === THREW || came === NOTHING ? 'The page did not respond.' : WAITS;
}

/** Notes a request, as a command for a shell, and its response. */
function note(sent: () => string, came: () => string): void {
  const exchange = exchanges.getStore() ?? {};
  if (exchange.sent !== undefined && exchange.sent !== sent) {
    exchange.before = [...(exchange.before ?? []).slice(1 - MAX_BEFORE), exchange.sent];
  }
  Object.assign(exchange, { sent, came });
}

// If a page fails, its response is a 500 without a reason, and the log contains the reason.
const log = console.error;
console.error = (...words: unknown[]): void => {
  const [line = ''] = words.map(String).join(' ').split(String.raw`\n    at `); // no stack
  const isNodes = line.startsWith('(node:'); // a warning
  if (!isNodes) Object.assign(exchanges.getStore() ?? {}, { logged: cut(line) });
  log(...words);
};

/** Notes the bytes that a test has sent to a socket, and all bytes that it has received. */
export function noteBytes(sent: string | Buffer, came: string): void {
  const line = () => `printf '${printfOf(sent)}' | curl -s telnet://localhost:6543`;
  note(line, () => cut(came));
}

function printfOf(sent: string | Buffer): string {
  const characters = [...Buffer.from(sent).toString('latin1')];
  return cut(characters.map((one) => ESCAPES[one] ?? escapeByte(one)).join(''));
}

function cut(text: string): string {
  if (text.length > MAX_SHOWN) return `${text.slice(0, MAX_SHOWN)}… (cut here)`;
  return text || '(nothing)';
}

const ESCAPES: Record<string, string> = {
  '\r': String.raw`\r`, '\n': String.raw`\n`, '\\': String.raw`\\`,
  '%': '%%', "'": String.raw`'\''`,
};

function escapeByte(character: string): string {
  const code = character.charCodeAt(0);
  return /[ -~]/.test(character) ? character : String.raw`\x${code.toString(16).padStart(2, '0')}`;
}

/** Returns the same handler, which also notes each request and its response. */
export function witness<R extends HttpRequest>(handler: Handler<R>): Handler<R> {
  return async (request) => {
    const { method, path, search, headers } = request;
    const { body, readText } = recordingOf(request.body);
    const sent = () => curlOf(method, path + search, Object.entries(headers), readText());
    note(sent, THREW);
    const response = await handler({ ...request, body });
    note(sent, () => answerIn(response));
    return response;
  };
}

const THREW = () => '(nothing: the page threw)';
const NOTHING = () => '(nothing yet)';

type Body = HttpRequest['body'];
type Recording = { readonly body: Body; readonly readText: () => string };

// A body that arrives at two handlers must stay one object, because `readForm` of step 12 keeps its
// result for each body.
const recordings = new WeakMap<Body, Recording>();

/** Returns the same body, and a function that returns the text that was read from it so far. */
function recordingOf(original: Body): Recording {
  const known = recordings.get(original);
  if (known) return known;
  const chunks: Uint8Array[] = [];
  const body = (async function* () {
    for await (const chunk of original) {
      chunks.push(chunk);
      yield chunk;
    }
  })();
  const recording = { body, readText: () => Buffer.concat(chunks).toString() };
  recordings.set(original, recording);
  return recording;
}

/** Returns a command for bash or zsh that sends the same request to the server of the step. */
export function curlOf(method: string, target: string, headers: Lines, body = ''): string {
  const words = ['curl -si'];
  const isPost = method === 'POST';
  if (method === 'HEAD') words.push('-I');
  else if (!isPost && (method !== 'GET' || body !== '')) words.push(`-X ${method}`);
  for (const [name, value] of headers) {
    const line = `${name}: ${String(value)}`;
    const isOfCurl = /^(?:content-length|connection)$/i.test(name);
    const isImplied = isOfCurl || line.toLowerCase() === `host: ${new URL(ORIGIN).host}`;
    if (value !== undefined && !isImplied) words.push(`-H ${quote(line)}`);
  }
  if (body !== '' || isPost) words.push(`--data-binary ${quote(body && cut(body))}`);
  const isPath = target.startsWith('/');
  if (isPath && target.includes('/.')) words.push('--path-as-is'); // curl would change it
  words.push(quote(isPath ? ORIGIN + target : new URL(target, ORIGIN).href));
  return words.join(' ');
}

function quote(text: string): string {
  return /^[\w./:=@%-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function answerOf(status: string | number, headers: Lines, body: string): string {
  const lines = [...headers].flatMap(([name, value]) =>
    [value].flat().map((one) => `${name}: ${String(one)}`),
  );
  return [status, ...lines, '', cut(body)].join('\n');
}

function answerIn(response: HttpResponse): string {
  try {
    const { status, headers, body } = response;
    return answerOf(status, Object.entries(headers), bodyText(body));
  } catch {
    return `no response, but ${cut(inspect(response))}`; // the page is not complete yet
  }
}

function bodyText(body: HttpResponse['body']): string {
  if (typeof body === 'object' && 'render' in body) return body.render();
  return typeof body === 'string' ? body : Buffer.from(body).toString();
}

/** Returns the error with the story below its message. Another value becomes an error. */
function explain(thrown: unknown, story: string): Error {
  const error = thrown instanceof Error ? thrown : new Error(`thrown: ${inspect(thrown)}`);
  const { message, stack = '' } = error;
  const told = story === '' ? message : `${message}\n\n${story}\n`;
  // The message of a timeout is a getter, so an assignment would throw.
  Object.defineProperty(error, 'message', { value: told });
  Object.defineProperty(error, 'stack', { value: stack.replace(message, () => told) });
  return error;
}

function storyOf(
  exchange: Exchange,
  module: string | undefined,
  title: string,
  error: unknown,
): string {
  const lines: string[] = [];
  const add = (label: string, text: string) =>
    lines.push(label.padEnd(11) + text.trimEnd().replaceAll('\n', `\n${' '.repeat(11)}`));
  for (const before of exchange.before ?? []) add('before it:', before());
  if (exchange.sent) add('sent:', exchange.sent());
  const isLate = exchange.came === THREW && error instanceof TimeLimitError;
  if (exchange.came) add('came back:', isLate ? NOTHING() : exchange.came());
  if (exchange.logged) add('logged:', exchange.logged);
  const actual = error instanceof AssertionError ? error.actual : undefined;
  if (actual instanceof Error) add('thrown:', String(actual)); // `throws` does not show it
  if (module !== undefined) add('explained:', placeOf(module, title));
  return lines.join('\n');
}

let lesson: string[] | undefined; // the lines of LESSON.md

/**
 * Returns the place in LESSON.md that explains the symbol of a title. It is the last paragraph
 * above the fence that defines the symbol, or the first paragraph that names it, or the heading of
 * the step. It is not the fence itself, because the reader may be writing that code.
 */
export function placeOf(module: string, title: string): string {
  lesson ??= readFileSync(new URL('../LESSON.md', import.meta.url), 'utf8').split('\n');
  const lines = lesson;
  const step = Number(module.slice(0, 2));
  const start = lines.findIndex((line) => line.startsWith(`## Step ${step} ·`));
  const code = lines.indexOf('### Idea and code', start);
  const end = lines.indexOf('### Break it', code);
  // The name in `Signer.decode() rejects …` is decode, and in `new Signer() throws …` it is Signer.
  const symbol = /^(?:new )?(?:[\w$]+\.)?(#?[\w$]+)/.exec(title)?.[1] ?? '';
  const declared = String.raw`^(?:export |async )*(?:function|class|const) ${symbol}\b`;
  const definition = new RegExp(String.raw`${declared}|^  (?:\w+ )*${symbol}\b.*\{$`);
  const placeAt = (index: number): string =>
    `LESSON.md:${index + 1}, ${(lines[start] ?? '').slice('## '.length)}`;
  let named = -1; // the first paragraph that names the symbol
  let last = -1; // the paragraph above the next fence
  for (let i = code + 1; i > 0 && i < end; i++) {
    if (lines[i]?.startsWith('```')) {
      const close = lines.indexOf('```', i + 1);
      const isDefined = lines.slice(i + 1, close).some((line) => definition.test(line));
      if (isDefined && last !== -1) return placeAt(last);
      i = close;
    } else if (/^[^<\s]/.test(lines[i] ?? '') && lines[i - 1] === '') {
      last = i;
      const text = lines.slice(i, lines.indexOf('', i)).join(' ');
      const isNamed = [...text.matchAll(/`([^`(]+)[^`]*`/g)].some(([, name]) => name === symbol);
      if (named === -1 && isNamed) named = i;
    }
  }
  return placeAt(named === -1 ? start : named);
}

// A body can be read only once, and the test reads it. It is noted at this moment.
const nodesFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const { pathname, search } = new URL(input instanceof Request ? input.url : input);
  const { method = 'GET', headers, body } = init ?? {};
  const isForm = body instanceof URLSearchParams;
  const all = [...new Headers(headers), ...(isForm ? [FORM_TYPE] : [])];
  const isText = isForm || typeof body === 'string';
  const sent = () => curlOf(method, pathname + search, all, isText ? String(body) : '');
  note(sent, NOTHING);
  const response = await nodesFetch(input, init);
  const read = response.text;
  let came = '(a body that was not read)';
  const value = async () => (came = await read.call(response));
  Object.defineProperty(response, 'text', { value });
  const status = `${response.status} ${response.statusText}`;
  note(sent, () => answerOf(status, [...response.headers], came));
  return response;
};

const FORM_TYPE = ['content-type', 'application/x-www-form-urlencoded'] as const;

/**
 * Notes the requests of each Browser of step 16. Many tests create browsers, so the code is here.
 * The command contains all cookies for ORIGIN, also those that have expired.
 */
async function watchBrowsers(): Promise<void> {
  const { Browser } = await import('../src/16-browser.ts');
  const { request } = Browser.prototype;
  Browser.prototype.request = async function (...args) {
    const [method, path, body = '', headers = {}] = args; // `apply` passes the arguments unchanged
    const cookie = this.jar.headerFor(new URL(path, ORIGIN), 0);
    const sentHeaders = Object.entries({ ...(cookie && { cookie }), ...headers });
    const sent = () => curlOf(method, path, sentHeaders, body);
    note(sent, THREW);
    const response = await request.apply(this, args);
    note(sent, () => answerIn(response));
    return response;
  };
}

// A reader who has not reached step 16 may have no such file. If the file has another problem, the
// test that imports it reports the problem. The promise is created here and not in a test, because
// Node reports an error that no code catches in the test that created the promise. The tests of
// earlier steps use no Browser, and start faster without it.
const [, step = BROWSER_STEP] = /\b(\d\d)-[\w-]+(?:\.test)?\.[jt]s$/.exec(process.argv[1] ?? '') ?? [];
if (Number(step) >= BROWSER_STEP) await watchBrowsers().catch(() => {});
