//   npm run lesson                 continues with the last step
//   npm run lesson 7               opens step 7
//
// Shows the next function to write, and runs the tests of the step each time the file is saved. In a
// pipe and in CI, it runs the tests once, prints the result and ends.
import { readFileSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  changedFunctions, functionsOf, hintsFor, readHints, readOriginal, readStep, restoreBody, solutionOf, type Step,
} from './exercise.ts';
import { nextOf, type View } from './next.ts';
import { practise } from './practice.ts';
import { progressFile, readProgress, saveProgress } from './progress.ts';
import { bodyOf, headOf, paint, wrap, wrapItems } from './screen.ts';
import { StepServer } from './step-server.ts';
import { type Outcome, runTests } from './test-run.ts';

const KEYS = ['h hint', 's solution', 'k skip', 'e empty', 'r run', 'n next', 'p previous', 'q quit'];
const DEBOUNCE = 100; // ms: an editor writes a file in several operations
const CLEAR = '\x1b[H\x1b[2J';

const root = fileURLToPath(new URL('..', import.meta.url));
const saved = progressFile(root);
const { stdin, stdout } = process;
const isInteractive = Boolean(stdin.isTTY && stdout.isTTY && !process.env.CI);
const isColored = isInteractive && !process.env.NO_COLOR && process.env.TERM !== 'dumb';

let step: Step;
let original = ''; // the file in the last commit
let source = ''; // the file now
let hints: string[] = [];
let outcome: Outcome | undefined; // of the last run
let isRunning = false;
let edited: string | undefined; // the function that the reader changed last
let wasOpen = false; // a function was empty or wrong after this step was opened
let message = ''; // below the main part
let messageFor: string | undefined; // the function of a hint or a solution
let stopTests = (): void => {};
const server = new StepServer(root, draw);

/** Opens a step. The file of the step before stays as it is. */
function open(next: Step): void {
  step = next;
  hints = readHints(root, step.file);
  source = readSource();
  original = readOriginal(root, step.file) ?? source;
  [outcome, edited, wasOpen, message] = [undefined, undefined, false, ''];
  server.stop();
  const isSaved = saveProgress(saved, () => ({ step: step.number }));
  if (!isSaved) say('Your progress is not saved, because this folder has no git repository.');
}

function readSource(): string {
  try {
    return readFileSync(join(root, step.file), 'utf8');
  } catch {
    return ''; // some editors delete the file and create it again
  }
}

function isAsCommitted(): boolean {
  return source.replaceAll('\r', '') === original.replaceAll('\r', '');
}

function viewNow(): View {
  const { number, file } = step;
  const needsNewer = file.includes('sqlite') && !process.getBuiltinModule?.('node:sqlite');
  const command = `npx -y node@24 .tools/lesson.ts ${number}`;
  return {
    step,
    functions: functionsOf(source, original, hints),
    isOriginal: isAsCommitted() && !wasOpen,
    outcome,
    isRunning,
    edited,
    finished: readProgress(saved).finished.length,
    needs: needsNewer ? `Step ${number} needs Node 22.13 or newer: ${command}` : undefined,
  };
}

/** Runs the tests, and shows the result. A run that is still active is stopped. */
async function test(): Promise<void> {
  stopTests();
  if (viewNow().needs !== undefined) return draw();
  const { done, stop } = runTests(root, step);
  stopTests = stop;
  isRunning = true;
  draw();
  const result = await done;
  if (!result) return; // a newer run has replaced this run
  outcome = result;
  isRunning = false;
  const { kind } = nextOf(viewNow());
  if (kind !== 'done') wasOpen = true;
  else if (wasOpen) addFinished(step.number);
  draw();
}

function addFinished(number: number): void {
  saveProgress(saved, ({ finished }) => ({ finished: [...new Set([...finished, number])] }));
}

/** Reads the file again, and runs the tests if it has changed. */
function check(): void {
  const now = readSource();
  if (now === source || now === '') return;
  const changed = changedFunctions(source, now);
  edited = changed[0] ?? edited;
  source = now;
  if (changed.length > 1 && isAsCommitted()) wasOpen = false; // git checkout
  if (messageFor === undefined) say('');
  server.restart();
  void test();
}

/** Shows a text below the main part. With `name`, it disappears when the function passes. */
function say(text: string, name?: string): void {
  [message, messageFor] = [text, name];
}

function currentFunction(): string | undefined {
  const next = nextOf(viewNow());
  return 'name' in next ? next.name : undefined;
}

function draw(): void {
  if (!isInteractive) return;
  const columns = Math.max(stdout.columns || 80, 24);
  const rows = stdout.rows || 24;
  const view = viewNow();
  if (messageFor !== undefined && messageFor !== currentFunction()) say('');
  const wrapped = (lines: string[]): string[] =>
    lines.length === 0 ? [] : ['', ...lines.flatMap((line) => wrap(line, columns))];
  const head = headOf(view, columns);
  const notes = [
    ...wrapped(isRunning ? ['The tests are running …'] : []),
    ...wrapped(message === '' ? [] : message.split('\n')),
    ...wrapped(server.lines),
    '', ...wrapItems(KEYS, columns),
  ];
  // A hint or a solution can need the space. The first lines say the most.
  const space = Math.max(rows - head.length - notes.length - 2, 1);
  const lines = [...head, '', ...bodyOf(view, columns).slice(0, space), ...notes];
  const text = lines.map((line) => (isColored ? paint(line) : line)).join('\n');
  stdout.write(`${CLEAR}${text}\n`);
}

function showHint(): void {
  const name = currentFunction();
  if (name === undefined) return say('There is no function to write now.');
  const key = `${step.number} ${name}`;
  const all = hintsFor(hints, name);
  const shown = readProgress(saved).hints[key] ?? 0;
  const count = messageFor === name ? shown + 1 : Math.max(shown, 1); // the last hint, again
  const hint = all[count - 1];
  if (hint === undefined) return say(`There are no more hints for ${name}. s shows the solution.`, name);
  saveProgress(saved, (old) => ({ hints: { ...old.hints, [key]: count } }));
  say(`Hint ${count} of ${all.length}: ${hint.slice(hint.indexOf(': ') + 2)}`, name);
}

function showSolution(): void {
  const name = currentFunction();
  if (name === undefined) return say('There is no function to write now.');
  say(solutionOf(original, name) ?? `The last commit has no solution for ${name}.`, name);
}

/** Writes the original body of the current function back. */
function skip(): void {
  const name = currentFunction();
  if (name === undefined) return say('There is no function to skip now.');
  const hasSolution = solutionOf(original, name) !== undefined;
  const restored = hasSolution ? restoreBody(source, original, name) : undefined;
  if (restored === undefined) {
    return say(`Cannot find ${name} in ${step.file}. Correct the file, or type: git diff ${step.file}`);
  }
  writeFileSync(join(root, step.file), restored);
  check();
  say(`The original of ${name} is in the file again.`);
}

function empty(): void {
  const { isDone, message: text } = practise(root, [String(step.number)]);
  if (!isDone) return say(text.split('\n').slice(0, 2).join('\n')); // h shows the hints here
  const isOfStep = (key: string): boolean => key.startsWith(`${step.number} `);
  saveProgress(saved, ({ hints: old }) => ({
    hints: Object.fromEntries(Object.entries(old).filter(([key]) => !isOfStep(key))),
  }));
  say('');
  check();
}

function move(number: number): Promise<void> | void {
  const next = readStep(root, number);
  if (!next) return say(number < 1 ? 'This is the first step.' : 'This is the last step.');
  open(next);
  return test();
}

const ACTIONS: Record<string, () => void> = {
  h: showHint,
  s: showSolution,
  k: skip,
  e: empty,
  r: () => (server.isRunning ? server.stop() : server.start(step.file)),
  n: () => void move(step.number + 1),
  p: () => void move(step.number - 1),
  q: () => process.exit(),
  '\x03': () => process.exit(), // Ctrl-C
};

/** Watches the folder, because many editors replace the file. */
function watchFolder(): void {
  let timer: NodeJS.Timeout | undefined;
  const poll = (): void => void setInterval(check, 500); // a folder that cannot be watched
  try {
    const watcher = watch(join(root, 'src'), () => {
      clearTimeout(timer);
      timer = setTimeout(check, DEBOUNCE);
    });
    watcher.on('error', poll);
  } catch {
    poll();
  }
}

function runWindow(): void {
  process.on('exit', () => stdin.setRawMode(false));
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.on(signal, () => process.exit());
  stdin.setRawMode(true);
  stdin.setEncoding('utf8').on('end', () => process.exit()).on('data', (keys) => {
    if (messageFor === undefined) say(''); // of the key before
    for (const key of String(keys)) ACTIONS[key.toLowerCase()]?.();
    draw();
  });
  stdout.on('resize', draw);
  watchFolder();
}

process.on('uncaughtException', ({ message: reason }) => {
  console.error(`npm run lesson has stopped: ${reason}`);
  process.exit(1);
});

const [word] = process.argv.slice(2);
const wanted = word === undefined ? readProgress(saved).step : Number(word);
const first = readStep(root, wanted) ?? (word === undefined ? readStep(root, 1) : undefined);
if (!first) {
  console.error(`There is no step ${word}. Name a step: npm run lesson 7`);
  process.exitCode = 1;
} else {
  open(first);
  if (isInteractive) runWindow();
  await test();
  if (!isInteractive) {
    const view = viewNow();
    console.log([...headOf(view, 80), '', ...bodyOf(view, 80), ...(message ? ['', message] : [])].join('\n'));
  }
}
