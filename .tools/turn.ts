//   npm run turn 5      checks the exercise "Your turn" of step 5, and then shows a solution
//
// The checks are small tests in `.turns/`. An exercise that changes no code has no check.
// The reader runs its commands, and compares the output with the solution.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseLesson } from './page.ts';

type Result = { isDone: boolean; message: string };

const MAX_SECONDS = 30; // for one check: a busy machine needs 2 seconds for the hash of a password
const SLOW_SECONDS = 5;

/** Checks the exercise of a step of the project in `root`. */
export async function checkTurn(root: string, word = '', seconds = MAX_SECONDS): Promise<Result> {
  const step = Number(word);
  const ofStep = (folder: string): string | undefined => {
    const names = readdirSync(join(root, folder)).filter((name) => /^\d\d-/.test(name));
    const name = names.sort().find((name) => word !== '' && Number(name.slice(0, 2)) === step);
    return name && `${folder}/${name}`;
  };
  const module = ofStep('src');
  if (!module) return failed(`There is no step '${word}'. Name a step: npm run turn 5`);
  const solution = `A solution:\n\n${solutionOf(root, module)}`;
  const check = ofStep('.turns');
  if (!check) return { isDone: true, message: `${commandsOf(root, step)}\n${solution}` };
  const { isSolved, output } = await run(root, check, seconds);
  if (isSolved) return { isDone: true, message: `${output}\n${solution}` };
  return failed(`${output}\nStep ${step} is not solved yet. After a change: npm run turn ${step}`);
}

function failed(message: string): Result {
  return { isDone: false, message };
}

function readText(...path: string[]): string {
  return readFileSync(join(...path), 'utf8').replaceAll('\r\n', '\n');
}

/** Returns the section "Your turn" of the hints. */
function solutionOf(root: string, module: string): string {
  const file = module.replace('src/', 'test/').replace(/[jt]s$/, 'hints.md');
  const hints = readText(root, file);
  return /^## Your turn\n+([^]*?)\s*(?=^## |(?![^]))/m.exec(hints)?.[1] ?? '';
}

/** Returns the commands of an exercise without a check. */
function commandsOf(root: string, step: number): string {
  const exercise = parseLesson(readText(root, 'LESSON.md')).find(({ number }) => number === step);
  const turn = exercise?.sections.find(({ heading }) => heading === 'Your turn');
  const commands = (turn?.fences ?? []).flatMap(({ lines }) => lines.map((line) => `  ${line}`));
  const end = commands.length > 0 ? ':' : '.';
  const why = `Step ${step} asks a question, so there is no check. LESSON.md says what to do${end}`;
  return [why, ...commands, ''].join('\n');
}

/** Runs a check in a process of its own, and ends it if it takes too long. */
function run(root: string, check: string, seconds: number) {
  const isNative = Boolean(Reflect.get(process.features, 'typescript')) || check.endsWith('.js');
  const loader = isNative ? [] : ['--import', 'tsx'];
  const words = [...loader, '--test-reporter=./.tools/short.js', check];
  // A test of this command runs in a test process, and the check must not report to that process.
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_NO_WARNINGS: '1' };
  const child = spawn(process.execPath, words, { cwd: root, env });
  const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000); // ends an endless loop too
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  return new Promise<{ isSolved: boolean; output: string }>((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (signal === 'SIGKILL') {
        output += `The check did not end within ${seconds} seconds. ` +
          'Is there an endless loop, or a promise that never settles? ' +
          'If the machine is slow or busy, try again.\n';
      }
      resolve({ isSolved: code === 0, output: withoutStack(output) });
    });
  });
}

// A place in a file with its line, and then the message of an error without the stack.
const CRASH = /^(?:\S*\.[jt]s:\d+\n(?:.*\n){1,3}? *\^+\n\n)?\w*Error\b.*(?:\n(?! {4}at |\s*$).*)*/m;

// The rest of a line in the log of a site.
const LOGGED_STACK = /\\n {4}at .*"$/gm;

/** Returns the lines of the tests. If a file cannot be loaded, returns only the error in it. */
function withoutStack(output: string): string {
  if (/^[✔✖]/m.test(output)) return output.replace(LOGGED_STACK, '"');
  return `${CRASH.exec(output)?.[0] ?? output.trimEnd()}\n`;
}

if (realpathSync(process.argv[1] ?? '.') === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  setTimeout(() => console.error('The check is still running …'), SLOW_SECONDS * 1000).unref();
  const { isDone, message } = await checkTurn(root, process.argv[2]);
  (isDone ? console.log : console.error)(message);
  process.exitCode = isDone ? 0 : 1;
}
