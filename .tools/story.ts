// The text below the message of a failing test. `explain.ts` notes what a test does, and this file
// writes it in about 15 lines of 80 columns: long values are cut in the middle or around their
// first difference. A request is a curl command only if the reader can paste it.
import { AssertionError } from 'node:assert';
import { existsSync, readFileSync } from 'node:fs';
import { inspect } from 'node:util';

/** Headers, in the order in which they are shown. */
export type Lines = Iterable<readonly [name: string, value: unknown]>;

/** A request of a test. Its texts are written only if the test fails. */
export type Noted = {
  readonly target: string;
  /** Returns a command for bash and zsh, or `undefined` if no command sends the same request. */
  readonly command: () => string | undefined;
  /** Returns the same request in a few words. */
  readonly words: () => string;
  isOfStep: boolean; // the program of the step would receive the same request
  came: () => string;
};

/** The input of the function under test, and the line of the test that passes it. */
export type Given = { readonly text: () => string; readonly at: Error };

/** What a test did before it failed. */
export type Exchange = {
  requests?: Noted[]; // the last ones
  given?: Given;
  logged?: string;
  waits?: () => string; // what has not happened yet
  printed?: string[]; // the last lines of console.log
};

/** The server of a step. */
export const ORIGIN = 'http://localhost:6543';

// A command must reach the server of the reader, who can set PORT.
const PORT = /^[1-9]\d*$/.exec(process.env.PORT?.trim() ?? '')?.[0] ?? '6543';
const HOST = `localhost:${PORT}`;

const COLUMNS = 80; // of a terminal
const LABEL = 11; // characters, including the space
const WIDTH = COLUMNS - LABEL - 2; // `npm run try` indents a message by 2
const MAX_ROWS = 15; // of a message, below the title of the test
const MAX_COMMAND = 6; // rows; `wordsOf` describes a longer command
const MAX_ANSWER = 5; // rows
const MAX_HEADERS = 3; // of a response or a described request
const MAX_DISTANCE = 6; // lines between the input of a function and an assertion about it

/** Returns the message of an error, and the story below it. */
export function tell(
  error: Error,
  exchange: Exchange,
  module: string | undefined,
  title: string,
): string {
  const parts: [label: string, text: string][] = valuesOf(error);
  const add = (label: string, text: string | undefined, rows: number): void => {
    if (text !== undefined) parts.push([label, clip(text, rows)]);
  };
  const { given } = exchange;
  if (given && isNear(given, error)) add('input:', given.text(), 2);
  const index = parts.length;
  add('printed:', exchange.printed?.map((line) => middle(line, WIDTH)).join('\n'), 3);
  add('logged:', exchange.logged, 2);
  const actual = error instanceof AssertionError ? error.actual : undefined;
  const isShown = parts.some(([label]) => label === 'received:');
  if (actual instanceof Error && !isShown) add('thrown:', String(actual), 2); // `throws` does not show it
  if (!(error instanceof AssertionError)) add('test line:', testLineOf(error), 2);
  add('failed at:', frameOf(error), 1);
  if (module !== undefined) add('explained:', placeOf(module, title), 1);
  const head = clip(printable(visible(headOf(error))), 4, WIDTH + LABEL);
  let rest = MAX_ROWS - rowsOf(head, COLUMNS - 2) - 1;
  for (const [, text] of parts) rest -= rowsOf(text);
  const [last, ...before] = [...(exchange.requests ?? [])].reverse();
  if (last) {
    const sent = sentOf(last, rest - 1);
    const came = clip(last.came(), Math.max(1, Math.min(MAX_ANSWER, rest - rowsOf(sent))));
    rest -= rowsOf(sent) + rowsOf(came);
    parts.splice(index, 0, ['sent:', sent], ['came back:', came]);
  }
  for (const one of before) {
    const sent = sentOf(one);
    rest -= rowsOf(sent);
    if (rest < 0) break;
    parts.splice(index, 0, ['before it:', sent]);
  }
  const indent = `\n${' '.repeat(LABEL)}`;
  const lines = parts.map(([label, text]) =>
    label.padEnd(LABEL) + text.trimEnd().replaceAll('\n', indent));
  return printable(lines.length === 0 ? head : `${head}\n\n${lines.join('\n')}\n`);
}

/** Returns the text with escapes such as \x9B for the characters that can control a terminal. */
function printable(text: string): string {
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, (character) =>
    `\\x${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
}

/** Returns the number of rows in a terminal. */
function rowsOf(text: string, width = WIDTH): number {
  const rows = text.split('\n').map((line) => Math.ceil(line.length / width) || 1);
  return rows.reduce((sum, count) => sum + count, 0);
}

/** Returns the first rows of a text. */
function clip(text: string, rows: number, width = WIDTH): string {
  const kept: string[] = [];
  let rest = rows;
  for (const line of text.trimEnd().split('\n')) {
    if (rest <= 0) return `${kept.join('\n')} …`;
    kept.push(middle(line, rest * width - 2));
    rest -= rowsOf(line, width);
  }
  return kept.join('\n');
}

/** Returns a text of at most `limit` characters: a longer one loses its middle. */
function middle(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const half = Math.floor((limit - 3) / 2);
  return `${text.slice(0, limit - 3 - half)} … ${text.slice(-half)}`;
}

/** Returns the words of a test, without the long comparison that Node adds. */
function headOf(error: Error): string {
  const ofThrow = MISSING_OR_UNWANTED.exec(error.message);
  if (ofThrow) return ofThrow[1] ?? '';
  const isShown = valuesOf(error).length > 0;
  if (!(error instanceof AssertionError) || !isShown) return error.message;
  const [words = ''] = error.message.split('\n+ actual - expected'); // also below own words
  const [first = ''] = words.split('\n');
  if (!error.generatedMessage) return words;
  return first.replace(/^The input did not match.*/, 'The text does not match the pattern.')
    .replace(/^The input was expected to not match.*/, 'The text matches a forbidden pattern.');
}

// The message of Node about an error, with the words of the test after the colon.
const MISSING_OR_UNWANTED =
  /^(?:Missing expected|Got unwanted) (?:exception|rejection)(?: \([^)]*\))?(?:: ([^\n]*)|\.)/;

/** Returns a rule of `assert.throws` in a few words. */
function ruleOf(expected: unknown): string {
  const isClass = typeof expected === 'function' && /^[A-Z]/.test(expected.name);
  if (isClass) return `an error: ${expected.name}`;
  return typeof expected === 'object' && expected !== null ? `an error: ${show(expected)}` : 'an error';
}

/** Returns the two values of a comparison around their first difference. */
function valuesOf(error: Error): [label: string, text: string][] {
  if (!(error instanceof AssertionError)) return [];
  const { operator, expected } = error;
  let { actual } = error;
  if (error.message.startsWith('Missing expected ')) {
    return [['expected:', middle(ruleOf(expected), 2 * WIDTH)], ['received:', 'no error']];
  }
  if (error.message.startsWith('Got unwanted ')) {
    return [['expected:', 'no error'], ['received:', middle(`an error: ${String(actual)}`, 2 * WIDTH)]];
  }
  if (/^(?:not)?(?:strict|deep|deepStrict)?equal$/i.test(operator)) {
    // as it is
  } else if (operator === 'match' || operator === 'doesNotMatch') {
    const text = typeof actual === 'string' ? actual : show(actual);
    const label = operator === 'match' ? 'pattern:' : 'forbidden:';
    return [[label, middle(String(expected), 2 * WIDTH)], ['received:', near(expected, text)]];
  } else {
    const isThrow = /^(?:throws|rejects)$/.test(operator);
    if (!isThrow || !isRules(expected) || !(actual instanceof Error)) return [];
    // `throws` compares only these properties of the error.
    const thrown = actual;
    const names = Object.keys(expected);
    actual = Object.fromEntries(names.map((name) => [name, Reflect.get(thrown, name)]));
  }
  const [one, other] = differenceOf(show(expected), show(actual));
  return [['expected:', one], ['received:', other]];
}

/** Returns the part of a text where the beginning of a pattern could match. */
function near(pattern: unknown, text: string): string {
  const { source = '' } = pattern as Partial<RegExp>;
  const plain = source.replace(/^\^/, '').replace(/\\([^\w])/g, '$1');
  const [literal = ''] = plain.split(/[\\^$.*+?()[\]{}|]/);
  let start = -1;
  for (let size = literal.length; size > 2 && start === -1; size--) {
    start = text.indexOf(literal.slice(0, size));
  }
  if (text.length <= 2 * WIDTH) start = 0;
  else if (start === -1) start = Math.max(0, text.indexOf('<main'));
  const part = text.slice(start, start + 2 * WIDTH - 20);
  const isEnd = start + part.length === text.length;
  return `${start > 0 ? '… ' : ''}${show(part)}${isEnd ? '' : ' …'}`;
}

function isRules(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !(value instanceof RegExp);
}

/** Returns a value in one line. */
export function show(value: unknown): string {
  const options = { depth: 8, breakLength: Infinity, compact: true, maxStringLength: 1e5 };
  return visible(inspect(value, options).replace(/\n */g, ' '));
}

/** Returns the text with an escape for each character that looks like a space or like nothing. */
function visible(text: string): string {
  return text.replace(/[\p{Z}\p{Cf}]/gu, (one) => {
    const code = one.codePointAt(0)?.toString(16) ?? '';
    return one === ' ' ? one : `\\u${code.length > 4 ? `{${code}}` : code.padStart(4, '0')}`;
  });
}

/** Returns two texts of at most two rows, with the first difference in both. */
function differenceOf(one: string, other: string): [one: string, other: string] {
  const limit = 2 * WIDTH;
  if (one.length <= limit && other.length <= limit) return [one, other];
  let same = 0;
  while (same < one.length && one[same] === other[same]) same++;
  const start = same > WIDTH - 10 ? same - WIDTH + 20 : 0;
  const around = (text: string): string => {
    const part = text.slice(start, start + limit - 4);
    return `${start > 0 ? '… ' : ''}${part}${start + part.length < text.length ? ' …' : ''}`;
  };
  return [around(one), around(other)];
}

/** Whether an assertion is about the result for this input, and not about a later one. */
function isNear({ at }: Given, error: Error): boolean {
  if (!(error instanceof AssertionError)) return true; // the function threw
  const linesOf = (one: Error): string[][] => {
    const found = framesOf(one).matchAll(/\/(?:test|\.proofs)\/([\w.-]+):(\d+)/g);
    return [...found].map(([, ...place]) => place);
  };
  const places = linesOf(at);
  return linesOf(error).some(([file, line]) => places.some(([other, number]) =>
    file === other && Math.abs(Number(line) - Number(number)) <= MAX_DISTANCE));
}

/** Returns the place in the code of the reader or of the test, and the class of the error. */
function frameOf(error: Error): string | undefined {
  const place = /(?<=\/)(?:src|test|\.proofs)\/[\w.-]+\.[jt]s:\d+/.exec(framesOf(error))?.[0];
  const isPlain = error instanceof AssertionError || error.name === 'Error';
  return place && (isPlain ? place : `${place} (${error.name})`);
}

/** Returns the line of the test that called the code of the reader. It can contain the input. */
function testLineOf(error: Error): string | undefined {
  const [, file, line] = /\/((?:test|\.proofs)\/[\w.-]+):(\d+)/.exec(framesOf(error)) ?? [];
  const url = new URL(`../${file}`, import.meta.url);
  if (file === undefined || !existsSync(url)) return undefined;
  return readFileSync(url, 'utf8').split('\n')[Number(line) - 1]?.trim();
}

function framesOf({ stack = '' }: Error): string {
  return stack.split('\n').filter((line) => /^ +at /.test(line)).join('\n').replaceAll('\\', '/');
}

/** Returns a command that can be pasted, or a description. */
function sentOf(request: Noted, rows = MAX_COMMAND): string {
  if (!request.isOfStep) return `${request.words()} (to a site of the test)`;
  const command = request.command()?.replaceAll(new URL(ORIGIN).host, HOST);
  if (command === undefined) return `${request.words()} (cannot be pasted)`;
  if (rowsOf(command) <= Math.min(rows, MAX_COMMAND)) return command;
  return `${request.words()} (too long to paste)`;
}

/** Returns a request in a few words. */
export function wordsOf(method: string, target: string, headers: Lines, body = ''): string {
  const cookie = [...headers].find(([name]) => name.toLowerCase() === 'cookie')?.[1];
  const words = [`${method} ${middle(target, WIDTH)}`];
  if (typeof cookie === 'string') words.push(`with the cookie ${middle(cookie, 40)}`);
  for (const [name, value] of headers) {
    const isShown = value !== undefined && !/^(?:cookie|content-type|host|accept)$/i.test(name);
    const isLast = words.length > MAX_HEADERS;
    if (isShown && !isLast) words.push(`with ${middle(`${name}: ${value}`, 40)}`);
  }
  if (body !== '') words.push(`with the body ${middle(show(body), 40)}`);
  return words.join(' ');
}

/**
 * Returns a command for bash or zsh that sends the same request to the server of the step, or
 * `undefined` if curl would send another request.
 */
export function curlOf(
  method: string,
  target: string,
  headers: Lines,
  body = '',
): string | undefined {
  const isExact = /^\/[!"$-~]*$/.test(target); // curl keeps these characters
  if (!isExact || [body, ...headers].some((part) => /[\0\x80-\x9f]/.test(String(part)))) return undefined;
  const words = ['curl -si'];
  const isPost = method === 'POST';
  if (method === 'HEAD') words.push('-I');
  else if (!isPost && (method !== 'GET' || body !== '')) words.push(`-X ${quote(method)}`);
  const hasBody = body !== '' || isPost;
  const hasType = [...headers].some(([name]) => name.toLowerCase() === 'content-type');
  if (hasBody && !hasType) words.push('-H content-type:'); // curl would send that of a form
  for (const [name, value] of headers) {
    const line = `${name}: ${String(value)}`;
    const isOfCurl = /^(?:content-length|connection)$/i.test(name);
    const implied = [`host: ${new URL(ORIGIN).host}`, ...(hasBody ? [FORM_TYPE] : [])];
    const isImplied = isOfCurl || implied.includes(line.toLowerCase());
    // curl would remove a header without a value, and sends it with a semicolon.
    const isEmpty = value === '';
    if (value !== undefined && !isImplied) words.push(`-H ${quote(isEmpty ? `${name};` : line)}`);
  }
  const isFile = body.startsWith('@'); // for --data-binary, this is the name of a file
  if (hasBody) words.push(`${isFile ? '--data-raw' : '--data-binary'} ${quote(body)}`);
  if (target.includes('/.')) words.push('--path-as-is'); // curl would change it
  if (/[[\]{}]/.test(target)) words.push('-g'); // curl would expand them
  words.push(quote(ORIGIN + target));
  return words.join(' ');
}

const FORM_TYPE = 'content-type: application/x-www-form-urlencoded';

function quote(text: string): string {
  if (/^[\w./:@%-][\w./:=@%-]*$/.test(text)) return text; // zsh replaces a word that begins with =
  if (!CONTROL.test(text)) return `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const escaped = text.replace(/[\\']/g, String.raw`\$&`);
  return `$'${escaped.replace(new RegExp(CONTROL, 'g'), escapeByte)}'`;
}

const CONTROL = /[\0-\x1f\x7f]/; // a line break in a message would be indented

/** Returns a command for bash or zsh that sends these bytes to the server of the step. */
export function printfOf(sent: string | Buffer): string {
  const characters = [...Buffer.from(sent).toString('latin1')];
  const text = characters.map((one) => ESCAPES[one] ?? escapeByte(one)).join('');
  return `printf '${text}' | curl -s telnet://${new URL(ORIGIN).host}`;
}

const ESCAPES: Record<string, string> = {
  '\r': String.raw`\r`, '\n': String.raw`\n`, '\\': String.raw`\\`,
  '%': '%%', "'": String.raw`'\''`,
};

// Three octal digits: a hexadecimal escape would also take the digits that follow it.
function escapeByte(character: string): string {
  const code = character.charCodeAt(0);
  return /[ -~]/.test(character) ? character : `\\${code.toString(8).padStart(3, '0')}`;
}

/** Returns a response in a few lines: the status, its own headers, and the content of the page. */
export function answerOf(status: string | number, headers: Lines, body = '(no body)'): string {
  const lines = [...headers].flatMap(([name, value]) =>
    COMMON.test(name) ? [] : [value].flat().map((one) => middle(`${name}: ${String(one)}`, WIDTH)),
  );
  const [, main = body] = /<main[^>]*>([^]*)/.exec(body) ?? [];
  const content = main.replace(/\s+/g, ' ').trim();
  const isLong = content.length > 2 * WIDTH;
  const shown = isLong ? [`${content.slice(0, 2 * WIDTH - 2)} …`] : body === '' ? [] : [content];
  return [status, ...lines.slice(0, MAX_HEADERS), ...shown].join('\n');
}

// Each page has these headers. A test about such a header shows its value.
const COMMON = new RegExp(
  '^(?:date|connection|keep-alive|content-length|content-type|content-security-policy|' +
    'x-content-type-options|referrer-policy|vary|cache-control|transfer-encoding|' +
    'cross-origin-resource-policy)$',
  'i',
);

let lesson: string[] | undefined; // the lines of LESSON.md

/**
 * Returns the place in LESSON.md that explains the symbol of a title. It prefers the paragraphs
 * directly above the fence that defines the symbol. There it takes the first that names the symbol.
 * Otherwise, it takes an earlier paragraph that names the symbol. Then come the paragraph that
 * begins the topic, the last paragraph, and the heading of the step. It is never a fence, because
 * the reader may be writing that code.
 */
export function placeOf(module: string, title: string): string {
  lesson ??= readFileSync(new URL('../LESSON.md', import.meta.url), 'utf8').split(/\r?\n/);
  const lines = lesson;
  const step = Number(module.slice(0, 2));
  const start = lines.findIndex((line) => line.startsWith(`## Step ${step} ·`));
  const code = lines.indexOf('### Idea and code', start);
  const end = lines.indexOf('### Break it', code);
  // The name in `Signer.decode() rejects …` is decode, and in `new Signer() throws …` it is Signer.
  const [, owner = '', symbol = ''] = /^(?:new )?(?:([\w$]+)\.)?(#?[\w$]+)/.exec(title) ?? [];
  const textOf = (at: number): string => lines.slice(at, lines.indexOf('', at)).join(' ');
  const isNaming = (at: number): boolean => namesIn(textOf(at)).includes(symbol);
  const isTopic = (at: number): boolean => /^\*\*[^*]+\.\*\*/.test(textOf(at)); // **Hosts.** …
  let group: number[] = []; // the paragraphs above the next fence
  const before: number[] = []; // all paragraphs above it
  let [isAfterFence, isClass] = [false, false];
  let found: number[] | undefined; // the group above the definition
  let others: string[] = []; // the other symbols of the same fence
  for (let i = code + 1; i > 0 && i < end && found === undefined; i++) {
    const line = lines[i] ?? '';
    const isFolded = line.startsWith('<details');
    if (line.startsWith('```')) {
      const close = lines.indexOf('```', i + 1);
      const defined = lines.slice(i + 1, close).flatMap(definedIn);
      if (defined.includes(symbol)) {
        found = group;
        others = defined.filter((name) => name !== symbol && !/^[A-Z]/.test(name)); // no class
        isClass = new RegExp(`^(?:export )?class ${symbol}\\b`, 'm')
          .test(lines.slice(i + 1, close).join('\n'));
      }
      [i, isAfterFence] = [close, true];
    } else if (isFolded || (/^[^<|\s]/.test(line) && lines[i - 1] === '')) {
      if (isFolded || isAfterFence) group = [];
      isAfterFence = false;
      group.push(i);
      before.push(i);
    }
  }
  // A paragraph whose first name is another function of the fence is about that function.
  const isOfOther = (at: number): boolean =>
    others.includes(/`(#?[\w$]+)(?:\([^`)]*\))?`/.exec(textOf(at))?.[1] ?? '');
  const own = (found ?? []).filter((at) => !isOfOther(at));
  if (found === undefined && owner !== '') return placeOf(module, owner); // a field of a class
  const at = found?.find(isNaming)
    ?? (isClass ? undefined : before.find(isNaming))
    ?? own.findLast(isTopic) ?? own.at(-1) ?? before.findLast(isTopic) ?? start;
  return `LESSON.md:${at + 1}, ${(lines[start] ?? '').slice('## '.length)}`;
}

/** Returns the names in a paragraph: `handle`, `decode(value)`, `view.counter`, **rescue**. */
function namesIn(paragraph: string): string[] {
  const codes = paragraph.matchAll(/`(#?[\w$]+)(?:\([^`)]*\))?`|`[\w$]+\.([\w$]+)`|\*\*(\w+)\*\*/g);
  return [...codes].map(([, name, member, bold]) => name ?? member ?? bold ?? '');
}

const MODIFIER = '(?:static|override|readonly|async|get|private|protected)';
const MEMBER = new RegExp(
  String.raw`^ {2}(?:${MODIFIER} )*(#?[\w$]+)(?:[<(].*\{$|\($| = \(|: .*=> \{$)`,
);

/** Returns the name of the function, class, constant or method whose definition begins here. */
function definedIn(line: string): string[] {
  const declared = /^(?:export |async )*(?:function|class|const) ([\w$]+)/.exec(line)?.[1];
  const name = declared ?? MEMBER.exec(line)?.[1];
  const isStatement = /^(?:if|for|while|return|switch|constructor)$/.test(name ?? '');
  return name === undefined || isStatement ? [] : [name];
}
