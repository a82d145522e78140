// A workshop is a copy of the project in which one file is wrong. A test can run the tests of a
// step there, in a process of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { TestContext } from 'node:test';
import { copyProject, plain, readerEnvironment, writeSource } from './plain.ts';

const TEST_TIMEOUT = 20_000; // milliseconds for one test file in a process of its own
const isPosix = process.platform !== 'win32';

export interface TestRun {
  readonly isTimedOut: boolean;
  readonly hasFailed: boolean;
  readonly tap: string;
  readonly stderr: string;
  /** The processes of the test that did not end with it. Only Linux shows them. */
  readonly leftovers: readonly string[];
}

/** Returns the test file of a module. */
export function testFileOf(file: string): string {
  return `test/${basename(file, '.ts')}.test.ts`;
}

const workshops: string[] = []; // copies of the project that no test uses at the moment

/** Returns a copy of the project with another `file`. The original is back after the test. */
export async function workshopWith(t: TestContext, file: string, source: string): Promise<string> {
  const folder = workshops.pop() ?? (await copyProject());
  const path = join(folder, file);
  const original = await readFile(path, 'utf8');
  await writeSource(path, source);
  t.after(async () => {
    await writeSource(path, original);
    workshops.push(folder);
  });
  return folder;
}

/** Runs a test file with these options and variables, as the leader of a process group. */
export async function runTest(
  folder: string,
  testFile: string,
  options: readonly string[] = [],
  variables: Record<string, string> = {},
): Promise<TestRun> {
  const words = ['--test-reporter=tap', ...options, plain(testFile)];
  const env = readerEnvironment(variables);
  const child = spawn(process.execPath, words, { cwd: folder, env, detached: isPosix });
  let tap = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (tap += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  let isTimedOut = false;
  const timer = setTimeout(() => {
    isTimedOut = true;
    killAll(child);
  }, TEST_TIMEOUT);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  let leftovers = groupOf(child.pid ?? 0);
  for (let tries = 0; leftovers.length > 0 && tries < 500; tries++) {
    // A killed process ends soon, and on a busy machine after some seconds.
    await new Promise((resolve) => setTimeout(resolve, 20));
    leftovers = groupOf(child.pid ?? 0);
  }
  if (leftovers.length > 0) killAll(child);
  return { isTimedOut, hasFailed: code !== 0, tap, stderr, leftovers };
}

/** Ends the process and the programs that it started. Only SIGKILL ends an endless loop. */
function killAll(child: ChildProcess): void {
  if (isPosix && child.pid) process.kill(-child.pid, 'SIGKILL');
  else child.kill('SIGKILL');
}

/** Returns the processes of a group that run, from `/proc` of Linux (proc_pid_stat(5)). */
function groupOf(leader: number): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
    try {
      const [, name, state, group] = /\((.*)\) (.) \d+ (\d+)/s.exec(read(pid, 'stat')) ?? [];
      const isRunning = group === `${leader}` && !/[ZX]/.test(state ?? ''); // a zombie has ended
      return isRunning ? [`${name}: ${read(pid, 'cmdline').replaceAll('\0', ' ')}`] : [];
    } catch {
      return []; // it has just ended
    }
  });
}

function read(pid: string, file: string): string {
  return readFileSync(join('/proc', pid, file), 'utf8');
}
