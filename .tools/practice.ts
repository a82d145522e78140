//   npm run practice 3             empties the functions that the module of step 3 exports
//   npm run practice 3 decode      empties one function or one method
//   npm run practice 3 -- --hint   shows the next hint
//
// Signatures and comments stay, and you write the rest. Each emptied function throws an error with
// its name, so the tests of the step say what to write first. If the file has changes of yours, the
// command changes nothing.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Token, tokensOf } from './tokens.ts';

export type Body = { name: string; start: number; end: number };
type Result = { isDone: boolean; message: string };

/** Runs `npm run practice` with these words on the project in `root`. */
export function practise(root: string, words: readonly string[]): Result {
  const [number = '', wanted, ...others] = words.filter((word) => word !== '--hint');
  const names = readdirSync(join(root, 'src')).filter((name) => /^\d\d-/.test(name));
  const step = number.replace(/^0(?=\d)/, ''); // the name of the file begins with 03
  const name = names.find((name) => step === String(Number(name.slice(0, 2))));
  if (number === '' || others.length > 0) return failed('Name one step: npm run practice 3');
  if (!name) return failed(`There is no step ${number}. The steps are 1 to ${names.length}.`);
  const file = `src/${name}`;
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  const place = git('rev-parse', '--git-path', `practice-${step}`); // not part of any commit
  if (place.status !== 0) {
    return failed(`Practice needs a git repository: git brings the original of ${file} back.`);
  }
  const counter = resolve(root, place.stdout.trim());
  if (words.includes('--hint')) return hint(root, step, file, counter, wanted);
  if (git('status', '--porcelain', '--', file).stdout !== '') {
    return failed(
      `${file} has changes that are not committed, so practice does not touch it. To delete them:\n` +
        `  git checkout ${file}\n` +
        `If you are writing this file and need a hint:\n  npm run practice ${step} -- --hint`,
    );
  }
  const original = readFileSync(join(root, file), 'utf8');
  const { source, names: emptied } = emptyBodies(original, Number(step), wanted);
  if (emptied.length === 0) return failed(`${file} exports no function ${wanted ?? ''}.`);
  writeFileSync(join(root, file), source);
  writeFileSync(counter, `0 ${wanted ?? ''}`);
  const hints = hintsOf(readText(join(root, hintFileOf(file))));
  const ordered = fromEasyToHard(emptied, hints);
  return { isDone: true, message: whatNext(step, file, ordered, hints.length > 0) };
}

function failed(message: string): Result {
  return { isDone: false, message };
}

function whatNext(
  step: string,
  file: string,
  emptied: readonly string[],
  hasHints: boolean,
): string {
  const isNative = Reflect.get(process.features, 'typescript');
  const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;
  const needsNewer = file.includes('sqlite') && !hasSqlite; // here, its tests do not run
  const command = needsNewer ? 'npx -y node@24' : isNative ? 'node' : 'npx tsx';
  const tests = file.replace('src/', 'test/').replace(/ts$/, 'test.ts');
  return [
    `${file} is ready for you. These functions are empty, from easy to hard:`,
    `  ${emptied.join(', ')}`,
    `npm run lesson ${step} guides you, and runs the tests on each save. Or do it yourself:`,
    `  ${command} --test ${tests}`,
    ...(hasHints ? [`  npm run practice ${step} -- --hint`] : []),
    '  npm run check',
    'This restores the original, and deletes what you wrote:',
    `  git checkout ${file}`,
  ].join('\n');
}

/** Returns the file with the hints of a module. */
export function hintFileOf(file: string): string {
  return file.replace('src/', 'test/').replace(/ts$/, 'hints.md');
}

/** Shows the next hint of the step. The hints are in a file next to the tests of the step. */
function hint(
  root: string,
  step: string,
  file: string,
  counter: string,
  wanted?: string,
): Result {
  const [count = '', emptied = ''] = readText(counter).split(' ');
  const name = wanted ?? emptied; // '' means all functions of the step
  const shown = wanted === undefined || wanted === emptied ? Number(count) : 0;
  // A hint begins with the name of its function: `Signer.decode()`.
  const isWanted = (text: string): boolean => /^`[^`]*`/.exec(text)?.[0].includes(name) ?? true;
  const hints = hintsOf(readText(join(root, hintFileOf(file)))).filter(isWanted);
  const next = hints[shown];
  if (next === undefined) {
    const none = hints.length === 0 ? `Step ${step} has no hints.` : 'There are no more hints.';
    return { isDone: true, message: `${none} To see the original: git diff ${file}` };
  }
  writeFileSync(counter, `${shown + 1} ${name}`);
  return { isDone: true, message: `Hint ${shown + 1} of ${hints.length}: ${next}` };
}

/** Returns the text of a file, or `''` if the file does not exist. */
function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Returns the items of the numbered list before the first section, without their line breaks. */
export function hintsOf(markdown: string): string[] {
  const [list = ''] = markdown.split(/^## /m); // the section contains the solution of Your turn
  const items = list.split(/^\d+\. /m).slice(1);
  return items.map((item) => item.trim().replace(/\s+/g, ' '));
}

/** Returns the names in the order in which the hints name them. The others follow in their order. */
export function fromEasyToHard(names: readonly string[], hints: readonly string[]): string[] {
  // A hint can be for two functions: `a()` and `b()`: …
  const headOf = (hint: string): string => /^`[^`]*`(?:(?:,| and) `[^`]*`)*/.exec(hint)?.[0] ?? '';
  const placeOf = (name: string): number => {
    const place = hints.findIndex((hint) => headOf(hint).includes(`\`${name}\``));
    return place === -1 ? hints.length : place;
  };
  return names.toSorted((a, b) => placeOf(a) - placeOf(b));
}

// The page explains the rest of the step without them. If `isMain()` throws, no test can load the
// module, and the tests of `keyBytes()` could run only after two other functions. Only their name
// empties them.
const KEPT = ['isMain()', 'isProgram()', 'keyBytes()', 'serve()'];

/**
 * Returns the source with an error in place of each exported body, and the names of these bodies.
 * `wanted` selects one of them: `decode`, `Signer.decode` or `Signer` (its constructor).
 */
export function emptyBodies(
  source: string,
  step: number,
  wanted?: string,
): { source: string; names: string[] } {
  const isWanted = ({ name }: Body): boolean => {
    const plain = name.replace(/^new |\(\)$/g, '');
    if (wanted === undefined) return !KEPT.includes(name);
    return plain === wanted || plain.endsWith(`.${wanted}`);
  };
  const bodies = bodiesOf(source).filter(isWanted);
  let rest = source;
  for (const { name, start, end } of bodies.toReversed()) {
    const line = source.slice(source.lastIndexOf('\n', start) + 1);
    const closing = source.slice(source.lastIndexOf('\n', end - 1) + 1, end);
    const indent = /^ */.exec(closing.endsWith('}') ? closing : line)?.[0] ?? '';
    const eol = source.includes('\r\n') ? '\r\n' : '\n';
    const error = `throw new Error('Step ${step}: ${name} is still to be written');`;
    rest = `${rest.slice(0, start)}{${eol}${indent}  ${error}${eol}${indent}}${rest.slice(end)}`;
  }
  return { source: rest, names: bodies.map(({ name }) => name) };
}

/** Returns the bodies of exported functions and of the methods of exported classes, in order. */
export function bodiesOf(source: string): Body[] {
  const tokens = tokensOf(source).filter(({ kind }) => kind !== 'comment');
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

// A brace after one of these tokens opens a type, a pattern or an object. It opens no body.
const BEFORE_NO_BODY = [':', '|', '&', '<', ',', '=>', '=', '(', '[', '?', 'extends', 'is'];

/** Returns the block that follows a signature. */
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
  throw new SyntaxError('Cannot find the body of an export');
}

/** Returns the body of an arrow function, if the value of a declaration is one. */
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

// A modifier, unless it is the name itself.
const MODIFIERS = /^(?:private|protected|static|override|readonly|async|get|set|\*)$/;

function nameOf(className: string, name: string, isGetter: boolean): string {
  if (name === 'constructor') return `new ${className}()`;
  return `${className}.${name}${isGetter ? '' : '()'}`;
}

/** Returns the end of a class member: its `;`, or the brace that closes its body. */
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

/** Returns the index of the closing bracket for the bracket at `from`, or `from` for others. */
function closeOf(tokens: readonly Token[], from: number): number {
  if (!/^[([{]$/.test(tokens[from]?.text ?? '')) return from;
  let depth = 0;
  for (let i = from; i < tokens.length; i++) {
    if (/^[([{]$/.test(tokens[i]?.text ?? '')) depth++;
    if (/^[)\]}]$/.test(tokens[i]?.text ?? '') && --depth === 0) return i;
  }
  throw new SyntaxError('Cannot find a closing bracket');
}

// `isMain` of step 1 is not used here, because the reader may be writing it.
if (realpathSync(process.argv[1] ?? '.') === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  // Without `--` before it, npm takes `--hint` as its own option and sets a variable.
  const isForHint = process.env.npm_config_hint === 'true';
  const words = [...process.argv.slice(2), ...(isForHint ? ['--hint'] : [])];
  const { isDone, message } = practise(root, words);
  (isDone ? console.log : console.error)(message);
  process.exitCode = isDone ? 0 : 1;
}
