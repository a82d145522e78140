// npm run practice 9            empties what step 9's module exports, for you to write anew
// npm run practice 9 -- --hint  one hint more, each time you ask
//
// Signatures and comments stay. Each emptied body throws an error that names it, so the tests of
// the step say what to write first. Nothing is lost: a file with changes of your own is refused.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

type Token = { text: string; start: number; end: number };
type Body = { name: string; start: number; end: number };
type Answer = { isDone: boolean; words: string };

/** What `npm run practice` says and does to the project in `root`. */
export function practise(root: string, words: readonly string[]): Answer {
  const others = words.filter((word) => word !== '--hint');
  const numbers = others.map((word) => word.replace(/^0(?=\d)/, '')); // 09, as the file is called
  const names = readdirSync(join(root, 'src')).filter((name) => /^\d\d-/.test(name));
  const name = names.find((name) => numbers[0] === String(Number(name.slice(0, 2))));
  if (numbers.length !== 1) return refusal('Say which step: npm run practice 9');
  if (!name) return refusal(`There is no step ${numbers[0]}: the steps are 1 to ${names.length}.`);
  const step = Number(name.slice(0, 2));
  const file = `src/${name}`;
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  const place = git('rev-parse', '--git-path', `practice-${step}`); // of no interest to a commit
  if (place.status !== 0) {
    return refusal(`Practice needs git, which brings ${file} back; here is no git repository.`);
  }
  const counter = resolve(root, place.stdout.trim());
  if (words.includes('--hint')) return hint(root, step, file, counter);
  if (git('status', '--porcelain', '--', file).stdout !== '') {
    return refusal(
      `${file} has changes that are not committed, and they would be lost. Commit them, or\n` +
        `have the original back, and lose them: git checkout ${file}\n` +
        `If you are at work on it, and want a hint: npm run practice ${step} -- --hint`,
    );
  }
  const { source, names: emptied } = emptyBodies(readFileSync(join(root, file), 'utf8'), step);
  writeFileSync(join(root, file), source);
  rmSync(counter, { force: true });
  return { isDone: true, words: whatNext(step, file, emptied) };
}

function refusal(words: string): Answer {
  return { isDone: false, words };
}

function whatNext(step: number, file: string, emptied: readonly string[]): string {
  const test = file.replace('src/', 'test/').replace('.ts', '.test.ts');
  const isTooOld = step === 19 && process.getBuiltinModule?.('node:sqlite') === undefined;
  const command = Reflect.get(process.features, 'typescript') ? 'node' : 'npx tsx';
  const runner = isTooOld ? 'npx -y node@24' : command; // this one would leave out what is to test
  return [
    `${file} is yours to write. These are empty, and their comments still say what they do:`,
    ...emptied.map((name) => `  ${name}`),
    'The first test that fails names the first thing to write. Where no test can begin without it,',
    'its name stands above a stack trace:',
    `  ${runner} --test ${test}`,
    'One hint more, each time you ask:',
    `  npm run practice ${step} -- --hint`,
    'To have the original back, and lose what you wrote:',
    `  git checkout ${file}`,
  ].join('\n');
}

/** The next of the step's hints, which stand in the lesson under "Your turn". */
function hint(root: string, step: number, file: string, counter: string): Answer {
  const hints = hintsOf(readFileSync(join(root, 'LESSON.md'), 'utf8'), step);
  const given = readCount(counter);
  const next = hints[given];
  const noMore = `There are no more hints. The original is in: git diff ${file}`;
  if (!next) return { isDone: true, words: noMore };
  writeFileSync(counter, String(given + 1));
  return { isDone: true, words: `Hint ${given + 1} of ${hints.length}: ${next}` };
}

function readCount(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return 0; // nobody has asked yet
  }
}

/** The numbered lines in the folded hints of a step, each without its line breaks. */
export function hintsOf(lesson: string, step: number): string[] {
  const section = lesson.split(/^(?=## )/m).find((text) => text.startsWith(`## Step ${step} ·`));
  const list = /<summary>Hints\b[^<]*<\/summary>([^]*?)<\/details>/.exec(section ?? '')?.[1] ?? '';
  const items = list.split(/^\d+\. /m).slice(1);
  return items.map((item) => item.trim().replace(/\s+/g, ' '));
}

/** The source with an error in place of each exported body, and the names of what was emptied. */
export function emptyBodies(source: string, step: number): { source: string; names: string[] } {
  const bodies = bodiesOf(source);
  let rest = source;
  for (const { name, start, end } of bodies.toReversed()) {
    const line = source.slice(source.lastIndexOf('\n', start) + 1);
    const closing = source.slice(source.lastIndexOf('\n', end - 1) + 1, end);
    const indent = /^ */.exec(closing.endsWith('}') ? closing : line)?.[0] ?? '';
    const error = `throw new Error('Step ${step}: ${name} is still to be written');`;
    rest = `${rest.slice(0, start)}{\n${indent}  ${error}\n${indent}}${rest.slice(end)}`;
  }
  return { source: rest, names: bodies.map(({ name }) => name) };
}

/** The bodies of exported functions, and of the methods of exported classes, in their order. */
function bodiesOf(source: string): Body[] {
  const tokens = tokensOf(source);
  const bodies: Body[] = [];
  tokens.forEach(({ text }, i) => {
    if (text !== 'export') return;
    const at = tokens[i + 1]?.text === 'async' ? i + 2 : i + 1;
    const [kind, name] = [tokens[at]?.text, tokens[at + 1]?.text ?? ''];
    if (kind === 'function') bodies.push(bodyFrom(tokens, at + 1, `${name}()`));
    if (kind === 'const') bodies.push(...arrowFrom(tokens, at + 1, `${name}()`));
    if (kind === 'class') bodies.push(...methodsFrom(tokens, at + 1, name));
  });
  return bodies;
}

// A brace after one of these opens a type, a pattern or an object, and not a body.
const BEFORE_NO_BODY = [':', '|', '&', '<', ',', '=>', '=', '(', '[', '?', 'extends', 'is'];

/** The block that follows a signature. */
function bodyFrom(tokens: readonly Token[], from: number, name: string): Body {
  const open = bodyAt(tokens, from);
  const close = tokens[closeOf(tokens, open)];
  return { name, start: tokens[open]?.start ?? 0, end: close?.end ?? 0 };
}

function bodyAt(tokens: readonly Token[], from: number): number {
  for (let i = from; i < tokens.length; i++) {
    const isBody = tokens[i]?.text === '{' && !BEFORE_NO_BODY.includes(tokens[i - 1]?.text ?? '');
    if (isBody) return i;
    i = closeOf(tokens, i);
  }
  throw new SyntaxError('Cannot find the body of what is exported');
}

/** The body of an arrow function, where a declaration that ends with `;` has one for its value. */
function arrowFrom(tokens: readonly Token[], from: number, name: string): Body[] {
  const textAt = (i: number): string | undefined => tokens[i]?.text;
  const indexOf = (text: string, start: number): number => {
    let i = start;
    while (i < tokens.length && textAt(i) !== text && textAt(i) !== ';') i = closeOf(tokens, i) + 1;
    return i;
  };
  const value = indexOf('=', from) + 1;
  const isArrow = /^(?:\(|async)$/.test(textAt(value) ?? '') || textAt(value + 1) === '=>';
  const [first, last] = [tokens[indexOf('=>', value) + 1], tokens[indexOf(';', value) - 1]];
  const isFound = isArrow && textAt(indexOf('=>', value)) === '=>';
  return isFound && first && last ? [{ name, start: first.start, end: last.end }] : [];
}

function methodsFrom(tokens: readonly Token[], from: number, className: string): Body[] {
  const open = bodyAt(tokens, from);
  const close = closeOf(tokens, open);
  const methods: Body[] = [];
  for (let i = open + 1; i < close; i++) {
    while (MODIFIERS.test(tokens[i]?.text ?? '') && !/^[(<]$/.test(tokens[i + 1]?.text ?? '')) i++;
    const name = nameOf(className, tokens[i]?.text ?? '', tokens[i - 1]?.text === 'get');
    const end = endOfMember(tokens, i);
    if (tokens[end]?.text !== ';') methods.push(bodyFrom(tokens, i, name));
    else methods.push(...arrowFrom(tokens, i, name));
    i = end;
  }
  return methods;
}

const MODIFIERS = /^(?:static|override|readonly|async|get|set|\*)$/; // unless it is the name itself

function nameOf(className: string, name: string, isGetter: boolean): string {
  if (name === 'constructor') return `new ${className}()`;
  return `${className}.${name}${isGetter ? '' : '()'}`;
}

/** Where a member of a class ends: at its `;`, or at the brace that closes its body. */
function endOfMember(tokens: readonly Token[], from: number): number {
  let isField = false;
  for (let i = from; i < tokens.length; i++) {
    const { text } = tokens[i] ?? { text: '' };
    if (text === ';') return i;
    if (text === '=') isField = true;
    const isBody = text === '{' && !BEFORE_NO_BODY.includes(tokens[i - 1]?.text ?? '');
    i = closeOf(tokens, i);
    if (isBody && !isField) return i;
  }
  return tokens.length;
}

/** The index of the bracket that closes the one at `from`; `from` where it is no bracket. */
function closeOf(tokens: readonly Token[], from: number): number {
  if (!/^[([{]$/.test(tokens[from]?.text ?? '')) return from;
  let depth = 0;
  for (let i = from; i < tokens.length; i++) {
    if (/^[([{]$/.test(tokens[i]?.text ?? '')) depth++;
    if (/^[)\]}]$/.test(tokens[i]?.text ?? '') && --depth === 0) return i;
  }
  throw new SyntaxError('Cannot find the bracket that closes');
}

const SPACE = /\s*/y;
const COMMENT = /\/\/.*|\/\*[^]*?\*\//y;
const STRING = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/y;
const REGEXP = /\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/[\\\n])+\/\w*/y;
const WORD = /#?[\w$]+/y;
const SIGN = /=>|[=!]==?|[<>]=|[^]/y;

/** The tokens of a source, without white space and comments. A template is one token. */
function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < source.length; ) {
    at += matchAt(SPACE, source, at).length;
    const comment = matchAt(COMMENT, source, at);
    if (comment !== '' || at >= source.length) {
      at += comment.length;
      continue;
    }
    const mayDivide = /[\w$)\]}]$/.test(tokens.at(-1)?.text ?? '');
    const text =
      (source[at] === '`' && templateAt(source, at)) ||
      matchAt(STRING, source, at) ||
      (!mayDivide && matchAt(REGEXP, source, at)) ||
      matchAt(WORD, source, at) ||
      matchAt(SIGN, source, at);
    tokens.push({ text, start: at, end: at + text.length });
    at += text.length;
  }
  return tokens;
}

function matchAt(pattern: RegExp, source: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0] ?? '';
}

/** A template literal with the expressions in it, and the templates in those. */
function templateAt(source: string, from: number): string {
  let depth = 0; // of braces, inside an expression
  for (let at = from + 1; at < source.length; at++) {
    if (source[at] === '\\') at++;
    else if (depth === 0 && source[at] === '`') return source.slice(from, at + 1);
    else if (depth === 0 && source.startsWith('${', at)) [depth, at] = [1, at + 1];
    else if (depth > 0 && source[at] === '`') at += templateAt(source, at).length - 1;
    else if (depth > 0 && source[at] === '{') depth++;
    else if (depth > 0 && source[at] === '}') depth--;
  }
  throw new SyntaxError('Cannot find the end of a template');
}

// Not isMain of step 1: that may be what you are just writing.
if (realpathSync(process.argv[1] ?? '.') === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  // Without the lone `--` npm keeps the word to itself, and says so in the environment.
  const isForHint = process.env.npm_config_hint === 'true';
  const asked = [...process.argv.slice(2), ...(isForHint ? ['--hint'] : [])];
  const { isDone, words } = practise(root, asked);
  (isDone ? console.log : console.error)(words);
  process.exitCode = isDone ? 0 : 1;
}
