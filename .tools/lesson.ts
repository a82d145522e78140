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
import { authorOf, countWritten, nextOf, type View } from './next.ts';
import { practise } from './practice.ts';
import {
  copyOf, isFromGit, keepCopy, type Mark, progressFile, readProgress, saveProgress,
} from './progress.ts';
import { bodyOf, fit, headOf, pageOf, paint, wrap, wrapItems } from './screen.ts';
import { StepServer } from './step-server.ts';
import { type Outcome, runStep, runTests } from './test-run.ts';

const DEBOUNCE = 100; // ms: an editor writes a file in several operations
const MISSING = 1_000; // ms until a file without text is a mistake, and not a part of a save
const SIGNS =
  '▸ your task, · empty, ✔ its tests pass, ✖ a test fails, ' +
  '? its tests did not run or need another function, – not written by you';
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
let stage = ''; // the message during a run
let slowTest = ''; // a title
let edited: string | undefined; // the function that the reader changed last
let marks: Record<string, Mark> = {}; // of the functions, and of the step: ''
let copy: string | undefined; // the path of the version of the reader
let asked: string | undefined; // the function that a second k skips
let solution: { title: string; code: string; part: number } | undefined; // in place of the main part
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
  [outcome, edited, message, solution] = [undefined, undefined, '', undefined];
  copy = copyOf(root, step.file);
  const start = `${step.number} `;
  const ofStep = Object.entries(readProgress(saved).marks).filter(([key]) => key.startsWith(start));
  marks = Object.fromEntries(ofStep.map(([key, mark]) => [key.slice(start.length), mark]));
  updateMarks();
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
    isOriginal: isAsCommitted(),
    isMissing: source.trim() === '',
    marks,
    copy: marks[''] === 'done' ? copy : undefined,
    mustServe: isInteractive && !server.isRunning,
    outcome,
    isRunning,
    edited,
    finished: readProgress(saved).finished.length,
    needs: needsNewer ? `Step ${number} needs Node 22.13 or newer: ${command}` : undefined,
  };
}

/** Notes which functions are empty. The original of git is not the work of the reader. */
function updateMarks(): void {
  if (isAsCommitted() && isFromGit(root, step.file)) marks = {};
  const empty = functionsOf(source, original, hints).filter((one) => one.isEmpty);
  if (source.trim() === '' || empty.length === 0) return saveMarks();
  for (const { name } of empty) marks[name] = 'empty';
  delete marks['']; // the reader begins again
  saveMarks();
}

function saveMarks(): void {
  const start = `${step.number} `;
  const own = Object.entries(marks).map(([name, mark]) => [start + name, mark]);
  saveProgress(saved, ({ marks: all }) => {
    const others = Object.entries(all).filter(([key]) => !key.startsWith(start));
    return { marks: Object.fromEntries([...others, ...own]) };
  });
}

/** Runs the tests, and shows the result. A run that is still active is stopped. */
async function test(): Promise<void> {
  stopTests();
  const now = viewNow();
  isRunning = now.needs === undefined && !now.isMissing;
  if (!isRunning) return draw();
  const isOfReader = now.functions.some((one) => authorOf(one, now) === 'reader');
  const onSlow = (title: string): void => {
    if (title === slowTest) return;
    slowTest = title;
    draw();
  };
  const onStage = (text: string, tests: Outcome): void => {
    [stage, outcome] = [text, tests];
    draw();
  };
  stage = 'The tests are running …';
  const { done, stop } = isOfReader ? runStep(root, step, onSlow, onStage)
    : runTests(root, step.tests, onSlow);
  stopTests = stop;
  draw();
  const result = await done;
  if (!result) return; // a newer run has replaced this run
  outcome = result;
  isRunning = false;
  const view = viewNow();
  if (nextOf(view).kind === 'done' && countWritten(view) > 0) finish();
  draw();
}

/** Saves that the step is done. Your turn does not replace the copy. */
function finish(): void {
  saveProgress(saved, ({ finished }) => ({ finished: [...new Set([...finished, step.number])] }));
  if (marks[''] === 'done') return;
  marks[''] = 'done';
  saveMarks();
  try {
    keepCopy(root, step.file, source);
  } catch {
    copy = undefined; // for example, without git, or in a folder that is read-only
  }
}

/** Reads the file again, and runs the tests if it has changed. */
function check(isMissing = false): void {
  const now = readSource();
  if (now === source) return;
  if (now.trim() === '' && !isMissing) return void setTimeout(check, MISSING, true);
  edited = changedFunctions(source, now)[0] ?? edited;
  source = now;
  [asked, solution] = [undefined, undefined];
  updateMarks();
  if (messageFor === undefined) say('');
  server.clear();
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
  const keys = ['', ...wrapItems(keysNow(), columns)];
  if (solution) {
    const { title, code, part } = solution;
    const space = rows - head.length - keys.length - 2;
    // No colors, because a sign in the code has no meaning.
    const page = pageOf(title, code, part, columns, space);
    return show([...head.map(colored), '', ...page, ...keys]);
  }
  const notes = [
    ...wrapped(isRunning ? [stage, ...(slowTest === '' ? [] : [`  ${slowTest}`])] : []),
    ...wrapped(message === '' ? [] : message.split('\n')),
    ...wrapped(server.lines),
    ...keys,
  ];
  show(fit({ head, body: bodyOf(view, columns), notes }, columns, rows).map(colored));
}

function colored(line: string): string {
  return isColored ? paint(line) : line;
}

function show(lines: readonly string[]): void {
  stdout.write(`${CLEAR}${lines.join('\n')}\n`);
}

function keysNow(): string[] {
  const run = server.isRunning ? 'r stop' : 'r run';
  const moves = ['n next', 'p previous', 'q quit', '? signs'];
  return ['h hint', 's solution', 'k skip', 'e empty', run, ...moves];
}

function showHint(): void {
  const name = currentFunction();
  if (name === undefined) return say('There is no function to write now.');
  const key = `${step.number} ${name}`;
  const all = hintsFor(hints, name);
  const shown = readProgress(saved).hints[key] ?? 0;
  const next = messageFor === name ? shown + 1 : Math.max(shown, 1); // the last hint, again
  const count = next > all.length ? 1 : next;
  const hint = all[count - 1];
  if (hint === undefined) return say(`There are no hints for ${name}. s shows the solution.`, name);
  saveProgress(saved, (old) => ({ hints: { ...old.hints, [key]: count } }));
  say(`Hint ${count} of ${all.length}: ${hint.slice(hint.indexOf(': ') + 2)}`, name);
}

/** Shows a solution, or its next part. When all is done, the reader can compare all functions. */
function showSolution(shownBefore: typeof solution): void {
  const name = currentFunction();
  const names = name === undefined ? viewNow().functions.map((one) => one.name) : [name];
  const code = names.flatMap((one) => solutionOf(original, one) ?? []).join('\n\n');
  if (code === '') return say(`The last commit has no solution for ${name ?? 'this step'}.`, name);
  const title = name === undefined ? 'The original functions of this step' : `The solution of ${name}`;
  const part = shownBefore?.title === title ? shownBefore.part + 1 : 0;
  solution = { title, code, part };
}

/** Writes the original body of the current function back. Asks first if the reader has written one. */
function skip(askedBefore: string | undefined): void {
  const name = currentFunction();
  if (name === undefined) return say('There is no function to skip now.');
  const hasSolution = solutionOf(original, name) !== undefined;
  const restored = hasSolution ? restoreBody(source, original, name) : undefined;
  if (restored === undefined) {
    return say(`Cannot find ${name} in ${step.file}. Correct the file, or type: git diff ${step.file}`);
  }
  const isWritten = viewNow().functions.some((one) => one.name === name && !one.isEmpty);
  if (isWritten && askedBefore !== name) {
    asked = name;
    return say(`This replaces your code of ${name} by the original. Press k again if you want this.`);
  }
  writeFileSync(join(root, step.file), restored);
  marks[name] = 'skipped';
  check();
  say(`The original of ${name} is in the file again.`);
}

function empty(): void {
  const { isDone, message: text } = practise(root, [String(step.number)]);
  if (!isDone) return say(text.split('\n').slice(0, 2).join('\n')); // h shows the hints here
  const isOfStep = (key: string): boolean => key.startsWith(`${step.number} `);
  server.clear();
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

const ACTIONS: Record<string, (before: Before) => void> = {
  h: showHint,
  s: (before) => showSolution(before.solution),
  k: (before) => skip(before.asked),
  e: empty,
  r: () => (server.isRunning ? server.stop() : server.start(step.file)),
  n: () => void move(step.number + 1),
  p: () => void move(step.number - 1),
  q: () => process.exit(),
  '?': () => say(SIGNS),
  '\x03': () => process.exit(), // Ctrl-C
};

/** The state that the last key has set. Another key removes it. */
type Before = { readonly solution: typeof solution; readonly asked: typeof asked };

/** Watches the folder, because many editors replace the file. */
function watchFolder(): void {
  let timer: NodeJS.Timeout | undefined;
  const poll = (): void => void setInterval(() => check(), 500); // a folder that cannot be watched
  try {
    const watcher = watch(join(root, 'src'), () => {
      clearTimeout(timer);
      timer = setTimeout(() => check(), DEBOUNCE);
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
    for (const key of String(keys)) {
      const before = { solution, asked };
      [solution, asked] = [undefined, undefined];
      ACTIONS[key.toLowerCase()]?.(before);
    }
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
