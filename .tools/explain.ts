// A failing test should teach. `it` of a test file comes from here, and adds to what an assertion
// says: the last requests as curl lines that can be pasted, what came back, what was logged, and
// where LESSON.md explains the code under test. What was expected, the assertion has said already.
//
// Requests are noted where they are made: by every Browser of step 8, by fetch, and by a handler
// or a bare socket that a test passes through `witness` or `noteBytes`. Nothing is noted for a test
// that is written elsewhere, and a test that passes pays for nothing but the note.
import { AssertionError } from 'node:assert';
import { AsyncLocalStorage } from 'node:async_hooks';
import { readFileSync } from 'node:fs';
import { it as nodesIt } from 'node:test';
import type { TestContext, TestOptions } from 'node:test';
import { inspect } from 'node:util';
import type { Handler, HttpRequest, HttpResponse } from '../src/04-http.ts';

type Run = (t: TestContext) => unknown;
type It = (title: string, ...rest: [Run] | [TestOptions, Run]) => void;
type Lines = Iterable<readonly [name: string, value: unknown]>;
/** What a test has asked for last, and what was logged: told only if the test fails. */
type Exchange = {
  before?: (() => string)[];
  sent?: () => string;
  came?: () => string;
  logged?: string;
};

const MAX_SHOWN = 600; // characters of a body: a page of ours has its heading by then
const MAX_BEFORE = 3; // requests that came before the last one
const ORIGIN = 'http://localhost:6543'; // where a step serves when it runs by itself

const exchanges = new AsyncLocalStorage<Exchange>(); // one for each test

/** `it` for a test file: pass it `import.meta.url`, from which it knows the step. */
export function explainedIt(testUrl: string): It {
  const module = /(\d\d-[\w-]+)\.test\.[jt]s$/.exec(testUrl)?.[1];
  return (title, ...rest) => {
    const [options, run] = rest.length === 1 ? [{}, rest[0]] : rest;
    void nodesIt(title, options, (t) => {
      const exchange: Exchange = {};
      const explained = (error: unknown) => explain(error, storyOf(exchange, module, title, error));
      return exchanges.run(exchange, async () => {
        process.on('uncaughtExceptionMonitor', explained); // what nobody catches fails a test too
        try {
          await run(t);
        } catch (error) {
          throw explained(error);
        } finally {
          process.off('uncaughtExceptionMonitor', explained);
        }
      });
    });
  };
}

/** Notes what was sent, as a line for a shell, and what came back. */
function note(sent: () => string, came: () => string): void {
  const exchange = exchanges.getStore() ?? {};
  if (exchange.sent !== undefined && exchange.sent !== sent) {
    exchange.before = [...(exchange.before ?? []).slice(1 - MAX_BEFORE), exchange.sent];
  }
  Object.assign(exchange, { sent, came });
}

// A page that fails is a 500 without words, and the log says why.
const log = console.error;
console.error = (...words: unknown[]): void => {
  const [line = ''] = words.map(String).join(' ').split(String.raw`\n    at `); // no stack
  const isNodes = line.startsWith('(node:'); // a warning
  if (!isNodes) Object.assign(exchanges.getStore() ?? {}, { logged: cut(line) });
  log(...words);
};

/** Notes what was written on a bare socket, and all that came back. */
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

/** The same handler, with every request and its response noted. */
export function witness<R extends HttpRequest>(handler: Handler<R>): Handler<R> {
  return async (request) => {
    const { method, path, search, headers } = request;
    const sent = () => curlOf(method, path + search, Object.entries(headers));
    note(sent, THREW);
    const response = await handler(request);
    note(sent, () => answerIn(response));
    return response;
  };
}

const THREW = () => '(nothing: the page threw)';

/** A request as a line for bash or zsh, which asks the step's own server the same. */
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
  if (isPath && target.includes('/.')) words.push('--path-as-is'); // curl would tidy it up
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
    return `no response, but ${cut(inspect(response))}`; // who is writing a page forgets things
  }
}

function bodyText(body: HttpResponse['body']): string {
  if (typeof body === 'object' && 'render' in body) return body.render();
  return typeof body === 'string' ? body : Buffer.from(body).toString();
}

/** The error with the story below its message; what was thrown and is no error becomes one. */
function explain(thrown: unknown, story: string): Error {
  const error = thrown instanceof Error ? thrown : new Error(`thrown: ${inspect(thrown)}`);
  const { message, stack = '' } = error;
  const told = story === '' ? message : `${message}\n\n${story}\n`;
  // Defined, not assigned: the message of a time-out is a getter.
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
  if (exchange.came) add('came back:', exchange.came());
  if (exchange.logged) add('logged:', exchange.logged);
  const actual = error instanceof AssertionError ? error.actual : undefined;
  if (actual instanceof Error) add('thrown:', String(actual)); // `throws` shows its own words only
  if (module !== undefined) add('explained:', placeOf(module, title));
  return lines.join('\n');
}

/**
 * Returns the place in LESSON.md that explains the symbol of a title. It is the last paragraph above
 * the fence that defines the symbol, or the first paragraph that names it, or the heading of the
 * step. It is not the fence itself, because the reader may be writing that code.
 */
export function placeOf(module: string, title: string): string {
  const lines = readFileSync(new URL('../LESSON.md', import.meta.url), 'utf8').split('\n');
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

// A body that is fetched can be read once, and that is for the test to do: then it is noted.
const nodesFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const { pathname, search } = new URL(input instanceof Request ? input.url : input);
  const { method = 'GET', headers, body } = init ?? {};
  const isForm = body instanceof URLSearchParams;
  const all = [...new Headers(headers), ...(isForm ? [FORM_TYPE] : [])];
  const isText = isForm || typeof body === 'string';
  const sent = () => curlOf(method, pathname + search, all, isText ? String(body) : '');
  note(sent, () => '(nothing yet)');
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
 * Notes what each Browser of step 8 asks: they are made in a hundred places, so they are watched
 * here and not there. The cookies are those for ORIGIN, whether they have ended or not.
 */
async function watchBrowsers(): Promise<void> {
  const { Browser } = await import('../src/16-browser.ts');
  const { request } = Browser.prototype;
  Browser.prototype.request = async function (...args) {
    const [method, path, body = '', headers = {}] = args; // and what is left out stays left out
    const cookie = this.jar.headerFor(new URL(path, ORIGIN), 0);
    const sentHeaders = Object.entries({ ...(cookie && { cookie }), ...headers });
    const sent = () => curlOf(method, path, sentHeaders, body);
    note(sent, THREW);
    const response = await request.apply(this, args);
    note(sent, () => answerIn(response));
    return response;
  };
}

// Who has not come to step 8 has no such file, and needs none. What else is wrong with it, the test
// that imports it will say. It happens here, since node blames an error that nobody catches on the
// test in which it has seen all promises begin that led to it: no test may wait for one of others.
await watchBrowsers().catch(() => {});
