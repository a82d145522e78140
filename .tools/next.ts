// Decides what a reader does next in a step: write a function, or correct a failure. The functions come
// in their order. A test that fails only because another function is empty does not matter yet.
import { type ExerciseFunction, functionOfTitle, type Step } from './exercise.ts';
import type { Failure, Outcome } from './test-run.ts';

export type View = {
  readonly step: Step;
  readonly functions: readonly ExerciseFunction[];
  readonly isOriginal: boolean; // the file is the same as in the last commit
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
  | { readonly kind: 'earlier'; readonly step: number; readonly name: string }
  | { readonly kind: 'done' };

const STILL_EMPTY = /Step (\d+): (.+?) is still to be written/;

/** Selects what the reader should do next. Failures caused by an empty function are not shown. */
export function nextOf({ step, functions, outcome, edited, isRunning }: View): Next {
  const firstEmpty = functions.find(({ isEmpty }) => isEmpty);
  if (!outcome) return firstEmpty ? { kind: 'empty', ...firstEmpty } : { kind: 'running' };
  const { crash, stuck, failures } = outcome;
  const names = functions.map(({ name }) => name);
  if (crash && !STILL_EMPTY.test(crash.message)) {
    return { kind: 'broken', name: edited, ...mistakeOf(crash) };
  }
  if (stuck !== undefined) {
    return { kind: 'stuck', name: functionOfTitle(stuck, names) ?? edited, title: stuck };
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
  return { kind: isRunning ? 'running' : 'done' }; // `outcome` is of an earlier run
}

/** Returns the sign of a function: `?` if it is written, and its tests need another function. */
export function signOf({ name, isEmpty, isOriginal }: ExerciseFunction, { functions, outcome }: View): string {
  if (isEmpty) return '·';
  const names = functions.map((one) => one.name);
  const failures = outcome?.failures ?? [];
  const own = failures.filter(({ title }) => functionOfTitle(title, names) === name);
  if (functionOfTitle(outcome?.stuck ?? '', names) === name) return '✖';
  if (!isOriginal && own.some(({ message }) => !STILL_EMPTY.test(message))) return '✖';
  return own.length > 0 || !outcome || outcome.crash || outcome.stuck === '' ? '?' : '✔';
}

/** Returns how many functions are written and have no failing test. */
export function countWritten(view: View): number {
  return view.functions.filter((one) => /[✔?]/.test(signOf(one, view))).length;
}

/** Returns the message and the place of an error that stopped the file of the reader. */
function mistakeOf({ message, stack }: { message: string; stack: string }) {
  const place = /(?:src|test)[\\/][\w-]+(?:\.test)?\.ts:\d+/.exec(`${message}\n${stack}`)?.[0] ?? '';
  // esbuild, which reads the types for Node 20, writes the place before the message.
  const text = /ERROR: (.*)/.exec(message)?.[1] ?? message.split('\n')[0] ?? '';
  return { message: text, place: place.replaceAll('\\', '/') };
}
