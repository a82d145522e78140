// Runs the tests of a step in a process of its own, and collects what they report. A process that
// reports nothing for ten seconds is killed.
import { type ChildProcess, spawn } from 'node:child_process';
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
  readonly passed: number;
  readonly crash?: { readonly message: string; readonly stack: string } | undefined; // the file did not load
  readonly stuck?: string | undefined; // the test that did not end, or '' for the file itself
};

const MAX_SILENCE = 10_000; // ms
const TIME_LIMIT = '5'; // seconds for each test, see .tools/explain.ts

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

/** Runs the tests. `stop` kills them, and then `done` returns `undefined`. */
export function runTests(
  root: string,
  step: Step,
  maxSilence = MAX_SILENCE,
): { done: Promise<Outcome | undefined>; stop: () => void } {
  const events = './.tools/events.js';
  const options = [...nodeOptions(), '--import', events, `--test-reporter=${events}`];
  const child = start(root, [...options, step.tests], {
    ...readerVariables(),
    TIME_LIMIT,
  });
  const failures: Failure[] = [];
  let passed = 0;
  let started = '';
  let crash: Outcome['crash'];
  let stuck: string | undefined;
  let errors = '';
  let isStopped = false;
  const timer = setTimeout(() => {
    stuck = started;
    kill(child);
  }, maxSilence);
  child.stdout?.resume();
  child.stderr?.on('data', (chunk) => (errors = (errors + String(chunk)).slice(-4000)));
  createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
    timer.refresh();
    const event = parseEvent(line);
    if (event.type === 'start') started = event.title;
    if (event.type === 'pass') passed++;
    // During a test, Node reports an error outside the test as its failure.
    if (event.type === 'crash' && started === '') crash ??= event;
    if (event.type === 'fail' && !event.isPending) failures.push(event);
    // Node cancels the test that waits, and all tests behind it.
    if (event.type === 'fail' && event.isPending) stuck ??= event.title;
  });
  const done = new Promise<Outcome | undefined>((resolve) => {
    child.on('error', ({ message }) => (crash = { message, stack: '' }));
    child.on('close', (code) => {
      clearTimeout(timer);
      if (errors.includes(' did not end within ')) stuck ??= started;
      const isSilent = failures.length === 0 && stuck === undefined && (code !== 0 || passed === 0);
      const reason = errors.trim().split('\n').at(-1) || 'the process ended before the tests';
      if (isSilent) crash ??= { message: reason, stack: errors };
      resolve(isStopped ? undefined : { failures, passed, crash, stuck });
    });
  });
  const stop = (): void => {
    isStopped = true;
    kill(child);
  };
  return { done, stop };
}

/** A process that was killed can leave a part of a line. */
function parseEvent(line: string) {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}
