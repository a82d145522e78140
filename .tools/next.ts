// Decides what a reader does next in a step: write a function, or correct a failure. The functions come
// in their order. A test that fails only because another function is empty does not matter yet.
import { type ExerciseFunction, functionOfTitle, type Step } from './exercise.ts';
import type { Mark } from './progress.ts';
import type { Failure, Outcome } from './test-run.ts';

export type View = {
  readonly step: Step;
  readonly functions: readonly ExerciseFunction[];
  readonly isOriginal: boolean; // the file is the same as in the last commit
  readonly isMissing?: boolean; // there is no text in the file
  readonly marks: Readonly<Record<string, Mark>>; // of the functions, and of the step: ''
  readonly copy?: string | undefined; // where the version of the reader is kept
  readonly mustServe?: boolean; // no server of the step runs
  readonly outcome?: Outcome | undefined; // of the last run that has ended
  readonly isRunning: boolean;
  readonly edited?: string | undefined; // the function that the reader changed last
  readonly finished: number; // steps
  readonly needs?: string | undefined; // why the tests cannot run here
};

/** The next task of the reader. */
export type Next =
  | { readonly kind: 'running' }
  | { readonly kind: 'empty'; readonly name: string; readonly line: number }
  | { readonly kind: 'failing'; readonly name?: string | undefined; readonly failure: Failure }
  | { readonly kind: 'stuck'; readonly name?: string | undefined; readonly title: string }
  | {
      readonly kind: 'broken';
      readonly name?: string | undefined;
      readonly message: string;
      readonly place: string;
    }
  | {
      readonly kind: 'types';
      readonly name?: string | undefined;
      readonly message: string;
      readonly place: string;
    }
  | { readonly kind: 'missing' }
  | { readonly kind: 'earlier'; readonly step: number; readonly name: string }
  | { readonly kind: 'done' };

const STILL_EMPTY = /Step (\d+): (.+?) is still to be written/;

/** Selects what the reader should do next. Failures caused by an empty function are not shown. */
export function nextOf({ step, functions, outcome, edited, isRunning, isMissing }: View): Next {
  if (isMissing) return { kind: 'missing' };
  const firstEmpty = functions.find(({ isEmpty }) => isEmpty);
  if (!outcome) return firstEmpty ? { kind: 'empty', ...firstEmpty } : { kind: 'running' };
  const { crash, stuck, failures, typeError } = outcome;
  const names = functions.map(({ name }) => name);
  if (crash && !STILL_EMPTY.test(crash.message)) {
    return { kind: 'broken', name: edited, ...mistakeOf(crash) };
  }
  if (stuck !== undefined) {
    const named = functionOfTitle(stuck, names);
    const isEmpty = functions.some((one) => one.name === named && one.isEmpty); // it has no loop
    return { kind: 'stuck', name: isEmpty ? edited : (named ?? edited), title: stuck };
  }
  const own = failures.filter(({ message }) => !STILL_EMPTY.test(message));
  for (const { name, line, isEmpty, isOriginal } of functions) {
    if (isEmpty) return { kind: 'empty', name, line };
    if (isOriginal) continue; // its tests fail because of another function
    const failure = own.find(({ title }) => functionOfTitle(title, names) === name);
    if (failure) return { kind: 'failing', name, failure };
  }
  if (own[0]) return { kind: 'failing', name: edited, failure: own[0] };
  // All functions of this step are written, but an earlier step is still empty.
  for (const { message } of [...(crash ? [crash] : []), ...failures]) {
    const [, number, name = ''] = STILL_EMPTY.exec(message) ?? [];
    if (Number(number) !== step.number) return { kind: 'earlier', step: Number(number), name };
  }
  if (failures[0]) return { kind: 'failing', failure: failures[0] };
  if (typeError) {
    const { line, message } = typeError;
    const above = functions.filter((one) => one.line <= line).sort((a, b) => b.line - a.line);
    return { kind: 'types', name: above[0]?.name, message, place: `${step.file}:${line}` };
  }
  return { kind: isRunning ? 'running' : 'done' }; // `outcome` is of an earlier run
}

/** Returns who wrote the body of a function. `npm run practice` does not empty all functions. */
export function authorOf({ name, isOriginal }: ExerciseFunction, { marks }: View) {
  if (!isOriginal || marks[name] === 'empty') return 'reader'; // can be the same as the original
  return marks[name] === 'skipped' ? 'skipped' : 'given';
}

/**
 * Returns the sign of a function: `–` if the reader has not written it, and `?` if its tests did not
 * run or need another function. A function without a test of its own needs that all tests pass.
 */
export function signOf(one: ExerciseFunction, view: View): string {
  const { name, isEmpty, isOriginal } = one;
  const { functions, outcome } = view;
  if (isEmpty) return '·';
  if (authorOf(one, view) !== 'reader') return '–';
  const names = functions.map((one) => one.name);
  const failures = outcome?.failures ?? [];
  const own = failures.filter(({ title }) => functionOfTitle(title, names) === name);
  if (functionOfTitle(outcome?.stuck ?? '', names) === name) return '✖';
  if (!isOriginal && own.some(({ message }) => !STILL_EMPTY.test(message))) return '✖';
  const hasPassed = outcome?.passed.some((title) => functionOfTitle(title, names) === name);
  const haveAllPassed = failures.length === 0 && outcome?.stuck === undefined;
  const isUnknown = !outcome || outcome.crash || !(hasPassed || haveAllPassed);
  return own.length > 0 || isUnknown ? '?' : '✔';
}

/** Returns how many functions the reader has written: their tests pass. */
export function countWritten(view: View): number {
  return view.functions.filter((one) => signOf(one, view) === '✔').length;
}

/** Returns how many functions the reader has skipped, or has got from the course. */
export function countOf(author: 'skipped' | 'given', view: View): number {
  return view.functions.filter((one) => authorOf(one, view) === author).length;
}

/** Returns the message and the place of an error that stopped the file of the reader. */
function mistakeOf({ message, stack }: { message: string; stack: string }) {
  const place = /(?:src|test|\.proofs)[\\/][\w-]+(?:\.test)?\.ts:\d+/.exec(`${message}\n${stack}`)?.[0] ?? '';
  // esbuild, which reads the types for Node 20, writes the place before the message.
  const text = /ERROR: (.*)/.exec(message)?.[1] ?? message.split('\n')[0] ?? '';
  return { message: unsupportedIn(stack) ?? text, place: place.replaceAll('\\', '/') };
}

/** Returns what to do about a parameter of a constructor that declares a field. */
function unsupportedIn(stack: string): string | undefined {
  const isIt = stack.includes('parameter property is not supported');
  const found = isIt && /\b(?:public|private|protected|readonly)\s[^,)=:\n]*/.exec(stack)?.[0].trim();
  if (!found) return undefined;
  return `Node cannot run \`constructor(${found})\`. Declare the field, and assign it in the constructor.`;
}
