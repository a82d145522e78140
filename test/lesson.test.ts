// LESSON.md is part of the program. These tests compare its quotations with the modules, run its
// commands, and make its bugs on a copy of the project, where the named test must fail.
//
// The commands and the bugs take minutes. They run in CI, or for the steps that LESSON names:
//
//   LESSON=7 node --test test/lesson.test.ts      one step; LESSON=all selects all steps
//
// The rules are in `.tools/page.ts`. `test/page.test.ts` shows that each of them can fail.
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, ExecFileOptionsWithStringEncoding } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  applyDiff, bugsOf, checkAllQuoted, checkContents, checkDiagrams, checkForm, checkGlossary,
  checkHead, checkLengths, checkLinks, checkOutput, checkPage, escapeRegExp, fencesIn, linesOf,
  outcomeOf,
  parseConsole, parseLesson, parseStart, quote,
} from '../.tools/page.ts';
import type { Fence, Start, Step } from '../.tools/page.ts';
import {
  copyProject, plain, plainSite, readerEnvironment, writeSource,
} from '../.tools/plain.ts';
import { skipSlow } from '../.tools/quick.ts';
import { runTest, testFileOf, workshopWith } from '../.tools/workshop.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PORT = '6543'; // the port in the lesson; the servers of this test get free ports
const LAST_LINE = 'stop with Ctrl-C\n'; // serve() of step 1 prints it when the server listens
const COMMAND_TIMEOUT = 120_000; // milliseconds: the ten guesses of step 23 need 30 seconds on a busy machine
const TYPED_TIMEOUT = 60_000; // milliseconds to load all modules
const CONCURRENCY = availableParallelism() + 1; // some of these tests are waiting

// ---- Programs: a terminal for the console fences, a workshop for the bugs ----------------------

/** Returns a new folder, so that two tests do not share a cookie jar. */
function makeFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'lesson-'));
}

/** The options for a program that ends. Only SIGKILL ends an endless loop. */
function optionsFor(folder: string, timeout: number): ExecFileOptionsWithStringEncoding {
  const env = readerEnvironment();
  return { cwd: folder, env, timeout, killSignal: 'SIGKILL', encoding: 'utf8' };
}

interface Server {
  readonly file: string;
  readonly child: ChildProcess;
  /** The port in the lesson. */
  readonly shownPort: string;
  /** The port of this process. */
  port: string;
  /** The output since the last command. */
  output: string;
  readonly exit: Promise<string>;
}

/** A reader at work: a folder, and the servers that they started. */
class Terminal {
  readonly #folder: string;
  readonly #servers: Server[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  get isServing(): boolean {
    return this.#servers.length > 0;
  }

  /** Returns what a command prints, with the ports that the lesson shows. */
  run(command: string): Promise<string> {
    const start = parseStart(command);
    if (start) return this.#start(start);
    return command === '^C' ? this.#stop() : this.#shell(command);
  }

  /** Starts a server. Returns what it prints until it listens, or until it ends with an error. */
  async #start({ file, variables }: Start): Promise<string> {
    const shownPort = variables.PORT ?? PORT;
    const taken = this.#servers.find((other) => other.shownPort === shownPort)?.port;
    const child = spawn(process.execPath, [plain(join(await plainSite(), file))], {
      cwd: this.#folder,
      env: readerEnvironment({ ...variables, PORT: taken ?? '0' }),
    });
    const exit = new Promise<string>((resolve) => {
      child.on('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    const server: Server = { file, child, shownPort, port: taken ?? shownPort, output: '', exit };
    const isListening = new Promise<true>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          server.output += text;
          if (server.output.includes(LAST_LINE)) resolve(true);
        });
      }
    });
    this.#servers.push(server);
    const state = await within(COMMAND_TIMEOUT, child, Promise.race([isListening, exit]));
    if (state === true) server.port = /localhost:(\d+)/.exec(server.output)?.[1] ?? shownPort;
    else this.#servers.pop();
    const output = server.output + (state === 'SIGKILL' ? '(and then nothing for too long)' : '');
    server.output = '';
    return renumber(output, server.port, shownPort);
  }

  /** Presses Ctrl-C on the last server. Returns what it printed since the command before. */
  async #stop(): Promise<string> {
    const server = this.#servers.pop() ?? assert.fail('^C, but no server is running');
    server.child.kill('SIGINT');
    const end = await within(COMMAND_TIMEOUT, server.child, server.exit);
    // Without a handler for signals, the signal ends the process.
    const isClean = end === 'exit code 0' || (end === 'SIGINT' && !hasSignals(server.file));
    assert.ok(isClean, `The end of a server after Ctrl-C: ${end}\n${server.output}`);
    return renumber(server.output, server.port, server.shownPort);
  }

  /** Returns what bash prints on stdout. The lesson may show a command that fails. */
  #shell(command: string): Promise<string> {
    let text = command;
    for (const { port, shownPort } of this.#servers) text = renumber(text, shownPort, port);
    const options = optionsFor(this.#folder, COMMAND_TIMEOUT);
    return new Promise((resolve) => {
      execFile('bash', ['-c', text], options, (error, stdout) => {
        let output = stdout;
        for (const { port, shownPort } of this.#servers) output = renumber(output, port, shownPort);
        resolve(error?.killed ? `${output}\n(and then nothing for too long)` : output);
      });
    });
  }

  async close(): Promise<void> {
    for (const { child } of this.#servers) child.kill('SIGKILL');
    await Promise.all(this.#servers.map(({ exit }) => exit));
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function renumber(text: string, from: string, to: string): string {
  return text.replace(new RegExp(`\\b${from}\\b`, 'g'), to);
}

/** Whether a program handles SIGINT, and so ends with exit code 0. */
function hasSignals(file: string): boolean {
  return file === 'src/main.ts' || file.endsWith('-operations.ts');
}

/** Returns the promise's value. After the timeout it kills the child, which settles the promise. */
async function within<T>(timeout: number, child: ChildProcess, promise: Promise<T>): Promise<T> {
  const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
  return promise.finally(() => clearTimeout(timer));
}

// ---- The lesson --------------------------------------------------------------------------------

const lesson = readFileSync(join(ROOT, 'LESSON.md'), 'utf8');
const steps = parseLesson(lesson);
const names = readdirSync(join(ROOT, 'src')).filter((name) => /^\d\d-/.test(name));
const modules = names.sort().map((name) => {
  return { number: Number(name.slice(0, 2)), file: `src/${name}` };
});

function stepOf(module: { number: number; file: string }): Step {
  const step = steps.find(({ number }) => number === module.number);
  return step ?? assert.fail(`LESSON.md lacks "## Step ${module.number} · …", for ${module.file}`);
}

function fencesOf(step: Step, language: string): Fence[] {
  return step.fences.filter((fence) => fence.language === language);
}

function readLines(file: string): string[] {
  return linesOf(readFileSync(join(ROOT, file), 'utf8'));
}

/** Whether this Node can run a module. Node 20 has no node:sqlite. */
function canRun({ file }: { file: string }): boolean {
  const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;
  return hasSqlite || !readLines(file).join('\n').includes('node:sqlite');
}

/** Returns why the programs of a step do not run here. They start about 400 processes. */
function skipStep(number: number): string | false {
  const isChosen = [`${number}`, 'all'].includes(process.env.LESSON ?? '');
  return !isChosen && skipSlow('test/lesson.test.ts', `LESSON=${number}`);
}

/** Returns why the console fences of a step cannot run here, or `false`. In CI they must run. */
function whyNoTerminal(step: Step | undefined): string | false {
  const has = (command: string): boolean => spawnSync('bash', ['-c', command]).status === 0;
  if (process.env.CI) return false;
  if (!has('curl --version')) return 'needs bash and curl (Git for Windows has both)';
  const isRedis = step?.fences.some(({ lines }) => lines.some((line) => /^\$ .*redis-/.test(line)));
  if (!isRedis || has('redis-server --version')) return false;
  return 'needs Redis: on Debian or Ubuntu, apt-get install redis-server';
}

describe('LESSON.md has the form of a page', () => {
  it('the page is small enough to be rendered, and its guide is short', () => checkPage(lesson));
  it('the contents list each part and each step', () => checkContents(lesson));
  it('the links within the page lead somewhere', () => checkLinks(lesson));
  it('the glossary is in alphabetical order', () => checkGlossary(lesson));
  it('the sequence diagrams have no semicolon', () => checkDiagrams(lesson));
});

describe('LESSON.md has the same form in every step', () => {
  for (const module of modules) {
    it(`step ${module.number} has its sections, a prediction and a bug`, () => {
      checkForm(stepOf(module));
    });

    it(`step ${module.number} has a head with links, minutes and new words`, () => {
      checkHead(stepOf(module), steps, lesson);
    });

    it(`step ${module.number} has short prose and short snippets`, () => {
      checkLengths(stepOf(module));
    });
  }
});

/** Throws unless the fences are verbatim, and together quote every line of `module`, if named. */
function checkQuotes(module: string, fences: readonly Fence[]): void {
  const quoted = new Set<number>();
  for (const fence of fences) {
    if (fence.file === 'sketch') continue;
    const file = fence.file || module;
    quote({ ...fence, file }, readLines(file), file === module ? quoted : new Set());
  }
  if (module !== '') checkAllQuoted(module, readLines(module), quoted);
}

describe('LESSON.md quotes the modules', () => {
  for (const module of modules) {
    it(`step ${module.number} quotes every line of ${module.file}, verbatim`, () => {
      checkQuotes(module.file, fencesOf(stepOf(module), 'ts'));
    });
  }

  it('the finished site quotes every line of src/main.ts, verbatim', () => {
    const fences = fencesIn(lesson, 'The finished site');
    checkQuotes('src/main.ts', fences.filter(({ language }) => language === 'ts'));
  });

  for (const name of readdirSync(join(ROOT, 'test')).filter((name) => name.endsWith('.hints.md'))) {
    it(`the solution in ${name} quotes its test, if it has one`, () => {
      const fences = fencesIn(readLines(`test/${name}`).join('\n'), 'Your turn');
      checkQuotes('', fences.filter(({ file }) => file.startsWith('.proofs/')));
    });
  }
});

describe('LESSON.md can be typed', () => {
  it('the code of the page, in its order, is a project whose modules all load', async (t) => {
    const folder = await copyProject();
    t.after(() => rm(folder, { recursive: true, force: true }));
    const main = fencesIn(lesson, 'The finished site').filter(({ language }) => language === 'ts');
    const typed = modules.map((module) => ({ ...module, fences: fencesOf(stepOf(module), 'ts') }));
    const files = typed.filter(canRun).map(({ file }) => file);
    for (const { file, fences } of [...typed, { file: 'src/main.ts', fences: main }]) {
      const isOfFile = ({ file: other }: Fence): boolean => other === '' || other === file;
      const lines = fences.filter(isOfFile).flatMap((fence) => fence.lines);
      await writeSource(join(folder, file), lines.join('\n'));
    }
    const paths = [...files, 'src/main.ts'].map((file) => `./${plain(file)}`);
    const program = `for (const path of ${JSON.stringify(paths)}) await import(path);`;
    const words = ['--input-type=module', '--eval', program];
    const { status, stderr } = spawnSync(process.execPath, words, {
      cwd: folder, env: readerEnvironment(), encoding: 'utf8', timeout: TYPED_TIMEOUT,
    });
    assert.equal(status, 0, stderr);
  });
});

describe('LESSON.md shows what a terminal shows', { concurrency: CONCURRENCY }, () => {
  for (const module of modules.filter(canRun)) {
    const step = steps.find(({ number }) => number === module.number);
    const skip = skipStep(module.number) || whyNoTerminal(step);
    it(`step ${module.number} prints what its console fences show`, { skip }, async (t) => {
      const commands = fencesOf(stepOf(module), 'console').flatMap(parseConsole);
      const terminal = new Terminal(await makeFolder());
      t.after(() => terminal.close());
      for (const { line, text, expected } of commands) {
        const what = `Step ${module.number}, LESSON.md:${line}\n$ ${text}`;
        checkOutput(what, expected, await terminal.run(text));
      }
      while (terminal.isServing) {
        const what = `Step ${module.number}: a server, from its start to its end`;
        checkOutput(what, [], await terminal.run('^C'));
      }
    });
  }
});

describe('LESSON.md makes bugs that a test finds', { concurrency: CONCURRENCY }, () => {
  for (const module of modules.filter(canRun)) {
    const step = steps.find(({ number }) => number === module.number);
    const skip = skipStep(module.number);
    for (const { fence, file, step: number, words } of step ? bugsOf(step) : []) {
      it(`Break it ${module.number}: ${words}`, { skip }, async (t) => {
        const broken = applyDiff({ ...fence, file }, readLines(file));
        const folder = await workshopWith(t, file, broken);
        const tested = modules.find((one) => one.number === number) ?? assert.fail('no such step');
        const testFile = testFileOf(tested.file);
        const only = [`--test-name-pattern=${escapeRegExp(words)}`];
        const { isTimedOut, tap, stderr } = await runTest(folder, testFile, only);
        const details = `: LESSON.md:${fence.line}, ${testFile}: ${words}\n${tap}${stderr}`;
        assert.ok(!isTimedOut, `The test hangs instead of a failure${details}`);
        const outcome = outcomeOf(words, tap);
        assert.ok(outcome !== 'absent', `No test has these words in its name${details}`);
        assert.ok(outcome !== 'passed', `The test does not find the bug${details}`);
        assert.doesNotMatch(tap, /name: '(Reference|Syntax)Error'/, `This is no bug${details}`);
        const place = new RegExp(`explained: LESSON\\.md:\\d+, Step ${number} · `);
        assert.match(tap, place, `The failure does not say where to read${details}`);
      });
    }
  }
});
