// The exercise of a step: its place in LESSON.md, its functions, and their hints and solutions. The
// functions are in the order of the hints, from easy to hard. `npm run lesson` shows them.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Body, bodiesOf, fromEasyToHard, hintFileOf, hintsOf } from './practice.ts';

/** A step in LESSON.md. A line is the number of the line, as an editor shows it. */
export type Step = {
  readonly number: number;
  readonly count: number; // steps in the course
  readonly part: string;
  readonly title: string;
  readonly minutes: number;
  readonly lines: readonly [first: number, last: number];
  readonly breakIt: number; // the line of this heading
  readonly yourTurn: number;
  readonly file: string; // src/03-signer.ts
  readonly tests: string; // test/03-signer.test.ts
  readonly proofs?: string | undefined; // .proofs/03-signer.ts
};

export type ExerciseFunction = {
  readonly name: string; // Signer.decode()
  readonly line: number; // in the file of the step
  readonly isEmpty: boolean;
  readonly isOriginal: boolean; // so its failing tests have another cause
};

/** Returns a step of the course, or `undefined` if it does not exist. */
export function readStep(root: string, number: number): Step | undefined {
  // A test file stays if the reader has deleted the module.
  const files = ['src', 'test'].flatMap((folder) => readdirSync(join(root, folder)));
  const modules = files.map((name) => name.replace('.test.ts', '.ts'));
  const names = [...new Set(modules.filter((name) => /^\d\d-.*\.ts$/.test(name)))];
  const name = names.find((one) => Number(one.slice(0, 2)) === number);
  if (name === undefined) return undefined;
  const page = readFileSync(join(root, 'LESSON.md'), 'utf8').split(/\r?\n/);
  const start = page.findIndex((line) => line.startsWith(`## Step ${number} ·`));
  const next = page.findIndex((line, i) => i > start && line.startsWith('## '));
  const end = next === -1 ? page.length : next;
  const lineOf = (text: string): number =>
    page.findIndex((line, i) => i > start && i < end && line.startsWith(text)) + 1;
  const part = page.findLast((line, i) => i < start && line.startsWith('## Part ')) ?? '';
  const minutes = /^\*(\d+) minutes/.exec(page[lineOf('*') - 1] ?? '')?.[1];
  return {
    number,
    count: names.length,
    part: part.slice('## '.length),
    title: (page[start] ?? '').split(' · ').slice(1).join(' · '),
    minutes: Number(minutes ?? 0),
    lines: [start + 1, end],
    breakIt: lineOf('### Break it'),
    yourTurn: lineOf('### Your turn'),
    file: `src/${name}`,
    tests: `test/${name.replace(/ts$/, 'test.ts')}`,
    proofs: existsSync(join(root, '.proofs', name)) ? `.proofs/${name}` : undefined,
  };
}

/** Returns the text of the file in the last commit, or `undefined` without git. */
export function readOriginal(root: string, file: string): string | undefined {
  const options = { cwd: root, encoding: 'utf8' } as const;
  const { status, stdout } = spawnSync('git', ['show', `HEAD:./${file}`], options);
  return status === 0 ? stdout : undefined;
}

export function readHints(root: string, file: string): string[] {
  try {
    return hintsOf(readFileSync(join(root, hintFileOf(file)), 'utf8'));
  } catch {
    return []; // this step has no hints
  }
}

/** Returns the hints of one function. Each hint begins with the name of its function. */
export function hintsFor(hints: readonly string[], name: string): string[] {
  return hints.filter((hint) => hint.startsWith(`\`${name}\``));
}

/**
 * Returns the functions of the original, in the order of the hints. A function is empty if it throws
 * the error of `npm run practice`, or if the reader has deleted it.
 */
export function functionsOf(
  source: string,
  original: string,
  hints: readonly string[],
): ExerciseFunction[] {
  const bodies = bodiesOrNone(source);
  const originals = bodiesOrNone(original);
  const textOf = (text: string, body: Body): string =>
    text.slice(body.start, body.end).replaceAll('\r', '');
  const all = originals.map((then): ExerciseFunction => {
    const { name } = then;
    const now = bodies.find((one) => one.name === name);
    if (!now) return { name, line: 1, isEmpty: !source.includes(symbolOf(name)), isOriginal: false };
    const isEmpty = textOf(source, now).includes(`${name} is still to be written`);
    const isOriginal = !isEmpty && textOf(source, now) === textOf(original, then);
    const line = source.slice(0, now.start).split('\n').length + (isEmpty ? 1 : 0);
    return { name, line, isEmpty, isOriginal };
  });
  const order = fromEasyToHard(all.map(({ name }) => name), hints);
  return all.toSorted((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
}

/** Returns the lines of one function in the original, or `undefined`. */
export function solutionOf(original: string, name: string): string | undefined {
  const body = bodiesOrNone(original).find((one) => one.name === name);
  if (!body || original.slice(body.start, body.end).includes(' is still to be written')) {
    return undefined; // the reader has committed the empty function
  }
  // The signature can have several lines, and its first line has the name.
  const symbol = symbolOf(name);
  const before = original.slice(0, body.start).split('\n');
  const isFirst = (line: string): boolean =>
    new RegExp(`(?:^|[ *])${symbol.replaceAll('$', '\\$')}(?![\\w$])`).test(line);
  const first = Math.max(before.findLastIndex(isFirst), 0);
  const start = before.slice(0, first).join('\n').length + (first > 0 ? 1 : 0);
  const lines = original.slice(start, body.end).trimEnd().split(/\r?\n/);
  const indent = /^ */.exec(lines[0] ?? '')?.[0] ?? '';
  return lines.map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line)).join('\n');
}

/** Returns the source with the original body of one function, or `undefined` if it has no such. */
export function restoreBody(source: string, original: string, name: string): string | undefined {
  const [now, then] = [source, original].map((text) =>
    bodiesOrNone(text).find((body) => body.name === name),
  );
  if (!now || !then) return undefined;
  const body = original.slice(then.start, then.end).replace(/\r\n/g, '\n');
  const isWindows = source.includes('\r\n');
  const written = isWindows ? body.replace(/\n/g, '\r\n') : body;
  return source.slice(0, now.start) + written + source.slice(now.end);
}

/** Returns the functions whose bodies differ. */
export function changedFunctions(before: string, after: string): string[] {
  const textOf = (source: string, name: string): string | undefined => {
    const body = bodiesOrNone(source).find((one) => one.name === name);
    return body && source.slice(body.start, body.end);
  };
  if (bodiesOrNone(after).length === 0) return []; // a mistake in the syntax
  const names = bodiesOrNone(before).map(({ name }) => name);
  return names.filter((name) => textOf(before, name) !== textOf(after, name));
}

/** Returns the function to which the title of a test belongs: the title begins with its name. */
export function functionOfTitle(title: string, names: readonly string[]): string | undefined {
  const symbol = /^(?:new )?([\w$]+(?:\.#?[\w$]+)?)/.exec(title)?.[1] ?? '';
  const exact = names.find((name) => plainName(name) === symbol);
  if (exact !== undefined) return exact;
  // A class inherits methods: `SignedCookieSessionFactory.save()` is in `CookieSessionFactory`.
  const method = symbol.split('.')[1];
  const inherited = names.filter((name) => plainName(name).split('.')[1] === method);
  return method !== undefined && inherited.length === 1 ? inherited[0] : undefined;
}

/** Returns `Signer` for `new Signer()`, and `Signer.decode` for `Signer.decode()`. */
function plainName(name: string): string {
  return name.replace(/^new |\(\)$/g, '');
}

/** Returns the word that declares the function: `decode` for `Signer.decode()`. */
function symbolOf(name: string): string {
  return name.startsWith('new ') ? 'constructor' : (plainName(name).split('.').at(-1) ?? '');
}

/** Returns no bodies while the file has a mistake in its syntax. The tests report the mistake. */
function bodiesOrNone(source: string): Body[] {
  try {
    return bodiesOf(source);
  } catch {
    return [];
  }
}
