// Runs the tests of a step in a process of its own, and collects what they report. A process that
// reports nothing for ten seconds is killed. If all tests pass, the further proofs run, and then the
// compiler.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Step } from './exercise.ts';

export type Failure = {
  readonly title: string;
  readonly message: string; // with the lines of .tools/story.ts
  readonly isPending?: boolean; // the test did not end, and nothing can wake it
  readonly ownWords?: boolean; // the test wrote the first line, not `assert` or the code
};

export type Outcome = {
  readonly failures: readonly Failure[];
  readonly passed: readonly string[]; // titles
  readonly crash?: { readonly message: string; readonly stack: string } | undefined; // the file did not load
  readonly stuck?: string | undefined; // the test that did not end, or '' for the file itself
  readonly typeError?: { readonly line: number; readonly message: string } | undefined;
};

export type Run = {
  /** Is `undefined` after `stop`. */
  readonly done: Promise<Outcome | undefined>;
  /** Kills the process. */
  readonly stop: () => void;
};

const MAX_SILENCE = 10_000; // ms
const TIME_LIMIT = '4.5'; // seconds for each test: at most 9, see .tools/limit.ts
const SLOW = 2_000; // ms
const UNUSED = /error TS6(?:133|192|196):/; // an unused name often has another mistake as its cause
const COMPILER = 'node_modules/typescript/bin/tsc';

/** Returns the options that let this Node run TypeScript. */
export function nodeOptions(): string[] {
  return Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];
}

const children = new Set<ChildProcess>();
process.on('exit', () => children.forEach(kill));

/** Starts a process that ends with this process, at the latest. */
export function start(root: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    detached: process.platform !== 'win32', // a group of its own, so that `kill` ends all of it
  });
  children.add(child);
  child.on('close', () => children.delete(child));
  child.on('error', () => children.delete(child));
  return child;
}

/** Ends a process, and the processes that it has started. */
export function kill(child: ChildProcess): void {
  try {
    if (process.platform === 'win32' || child.pid === undefined) child.kill('SIGKILL');
    else process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has already ended.
  }
}

/** Returns the environment for the code of the reader: not in CI, and not inside another test. */
export function readerVariables(): NodeJS.ProcessEnv {
  const { CI: _, NODE_TEST_CONTEXT: __, ...others } = process.env;
  return { ...others, NODE_NO_WARNINGS: '1', NO_COLOR: '1' };
}

/**
 * Runs the tests of a step, the further proofs, and the compiler, up to the first mistake.
 * `onStage` is called before the proofs and before the compiler, with the result of the tests.
 */
export function runStep(
  root: string,
  step: Step,
  onSlow: (title: string) => void,
  onStage: (text: string, outcome: Outcome) => void,
): Run {
  let isStopped = false;
  let stopStage = (): void => {};
  const stage = <Result>({ done, stop }: { done: Promise<Result>; stop: () => void }) => {
    stopStage = stop;
    return done;
  };
  const run = async (): Promise<Outcome | undefined> => {
    const outcome = await stage(runTests(root, step.tests, onSlow));
    if (!outcome || !isPassed(outcome)) return outcome;
    if (step.proofs !== undefined) {
      onStage('The further proofs are running …', outcome);
      const proofs = await stage(runTests(root, step.proofs, onSlow));
      if (!proofs) return undefined;
      if (!isPassed(proofs)) return { ...proofs, passed: [...outcome.passed, ...proofs.passed] };
    }
    const isInstalled = [COMPILER, 'tsconfig.json'].every((file) => existsSync(join(root, file)));
    if (isStopped || !isInstalled) return outcome;
    onStage('The compiler checks the types …', outcome);
    return { ...outcome, typeError: await stage(runCompiler(root, step.file)) };
  };
  const stop = (): void => {
    isStopped = true;
    stopStage();
  };
  return { done: run().then((outcome) => (isStopped ? undefined : outcome)), stop };
}

function isPassed({ failures, crash, stuck }: Outcome): boolean {
  return failures.length === 0 && !crash && stuck === undefined;
}

/** Returns the first error of the compiler in this file. */
function runCompiler(root: string, file: string) {
  const child = start(root, [COMPILER, '--pretty', 'false'], readerVariables());
  let output = '';
  child.stdout?.on('data', (chunk) => (output += String(chunk)));
  child.stderr?.resume();
  const done = new Promise<Outcome['typeError']>((resolve) => {
    child.on('close', () => {
      const lines = output.split(/\r?\n/).filter((line) => line.startsWith(`${file}(`));
      const first = lines.find((line) => !UNUSED.test(line)) ?? lines[0] ?? '';
      const [, line, message = ''] = /\((\d+),\d+\): error (.*)/.exec(first) ?? [];
      resolve(line === undefined ? undefined : { line: Number(line), message });
    });
  });
  return { done, stop: () => kill(child) };
}

/** Runs a test file. `onSlow` receives the title of a test that takes long, and then ''. */
export function runTests(
  root: string,
  file: string,
  onSlow: (title: string) => void = () => {},
  maxSilence = MAX_SILENCE,
): Run {
  const events = './.tools/events.js';
  const options = [...nodeOptions(), '--import', events, `--test-reporter=${events}`];
  const child = start(root, [...options, file], {
    TIME_LIMIT,
    ...readerVariables(),
  });
  const failures: Failure[] = [];
  const passed: string[] = [];
  let started = '';
  let crash: Outcome['crash'];
  let late: Failure | undefined; // an error that a test caused after its end
  let stuck: string | undefined;
  let errors = '';
  let isStopped = false;
  const timer = setTimeout(() => {
    stuck = started;
    kill(child);
  }, maxSilence);
  const slow = setTimeout(() => onSlow(started), SLOW);
  child.stdout?.resume();
  child.stderr?.on('data', (chunk) => (errors = (errors + String(chunk)).slice(-4000)));
  createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
    timer.refresh();
    const event = parseEvent(line);
    if (event.type === 'start') {
      started = event.title;
      slow.refresh();
      onSlow('');
    }
    if (event.type === 'pass') passed.push(event.title);
    // During a test, Node reports an error outside the test as its failure.
    if (event.type === 'crash' && started === '') crash ??= event;
    if (event.type === 'crash' && started !== '') late ??= lateFailure(started, event);
    if (event.type === 'fail' && !event.isPending) failures.push(event);
    // Node cancels the test that waits, and all tests behind it.
    if (event.type === 'fail' && event.isPending) stuck ??= event.title;
  });
  const done = new Promise<Outcome | undefined>((resolve) => {
    child.on('error', ({ message }) => (crash = { message, stack: '' }));
    child.on('close', (code) => {
      clearTimeout(timer);
      clearTimeout(slow);
      onSlow('');
      if (errors.includes(' did not end within ')) stuck ??= started;
      const isSilent = failures.length === 0 && stuck === undefined && (code !== 0 || passed.length === 0);
      const reason = errors.trim().split('\n').at(-1) || 'the process ended before the tests';
      if (isSilent && late) failures.push(late);
      else if (isSilent) crash ??= { message: reason, stack: errors };
      resolve(isStopped ? undefined : { failures, passed, crash, stuck });
    });
  });
  const stop = (): void => {
    isStopped = true;
    kill(child);
  };
  return { done, stop };
}

function lateFailure(title: string, { message, stack }: { message: string; stack: string }): Failure {
  const place = /(?:src|test|\.proofs)[\\/][\w.-]+\.ts:\d+/.exec(stack)?.[0];
  return { title, message: `${message} (after the test)${place ? `\n\nfailed at: ${place}\n` : ''}` };
}

/** A process that was killed can leave a part of a line. */
function parseEvent(line: string) {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}
