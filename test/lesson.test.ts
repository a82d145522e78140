// The lesson cannot lie: what LESSON.md quotes is looked up, what it shows is run, and each bug
// that it invites you to make is made, on a copy, to see the named test catch it.
//
//   ```ts src/NN-name.ts    lines of that file, verbatim; `// …` alone stands for lines left out
//   ```console              `$` lines are run, `^C` stops the server, what follows is compared
//   ```diff src/NN-name.ts  a bug; below it the test that must fail: Caught by: `its name`
//
// And each module that it asks you to write anew is emptied, to see its test say what is missing.
// First the rules, as pure functions; then a terminal and a workshop, where programs run; then the
// tests. The last of them try the rules on lessons that do lie: a check that cannot fail is none.
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, ExecFileOptionsWithStringEncoding } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { copyProject, plain, plainProject, writeSource } from '../.tools/plain.ts';
import { emptyBodies, hintsOf } from '../.tools/practice.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const HEADINGS = [
  'Problem', 'Idea', 'Code', 'Run it', 'Break it', 'In Pyramid', 'Your turn', 'What you learned',
];
const PORT = '6543'; // the port that the lesson shows; the servers of this test get free ones
const LAST_LINE = 'stop with Ctrl-C\n'; // what serve() of step 1 prints when it is listening
const COMMAND_TIMEOUT = 30_000; // milliseconds; on a busy machine a command may take long
const BROKEN_TEST_TIMEOUT = 20_000; // one test in a fresh process, on a machine with other work
const COMPILE_CACHE = join(tmpdir(), 'node-compile-cache'); // node's own place for what it compiled
const CONCURRENCY = availableParallelism() + 1; // one more than can run, for some of it is waiting

interface Fence {
  readonly language: string;
  readonly file: string;
  /** Where it opens in LESSON.md, from 1. Its lines follow. */
  readonly line: number;
  readonly lines: readonly string[];
  /** The first line after it that is not blank. */
  readonly caption: string;
}

interface Step {
  readonly number: number;
  readonly headings: readonly string[];
  /** The step's text without its fences. */
  readonly prose: string;
  readonly fences: readonly Fence[];
}

interface Command {
  readonly line: number;
  /** What a shell would be given, or `^C`. */
  text: string;
  readonly expected: string[];
}

/** Lines of a module, quoted without a gap. */
interface Run {
  readonly line: number;
  readonly lines: string[];
}

/** What a command that starts a server sets and runs. */
interface Start {
  readonly file: string;
  readonly variables: Record<string, string>;
}

// ---- Rules: reading the lesson -----------------------------------------------------------------

/** The steps of a lesson: its sections that begin with `## Step N · `. */
function parseLesson(markdown: string): Step[] {
  const steps: Step[] = [];
  let line = 1;
  for (const section of markdown.split(/^(?=## )/m)) {
    const number = /^## Step (\d+) · /.exec(section)?.[1];
    if (number !== undefined) steps.push(parseStep(Number(number), section, line));
    line += linesOf(section).length;
  }
  return steps;
}

function parseStep(number: number, section: string, firstLine: number): Step {
  const fence = /^```(\w*) ?(.*)\n([^]*?)^```$(?=\s*(.*))/gm;
  const prose = withoutFences(section);
  return {
    number,
    headings: [...prose.matchAll(/^### (.+)$/gm)].map(([, heading = '']) => heading),
    prose,
    fences: [...section.matchAll(fence)].map((match) => {
      const [, language = '', file = '', text = '', caption = ''] = match;
      const line = firstLine + linesOf(section.slice(0, match.index)).length;
      return { language, file, line, lines: linesOf(text), caption };
    }),
  };
}

function withoutFences(markdown: string): string {
  return markdown.replace(/^```[^]*?^```$/gm, '');
}

/** The lines of a text; the newline at its end begins no other. */
function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}

/** The commands of a console fence, each with the lines that it should print. */
function parseConsole(fence: Fence): Command[] {
  const commands: Command[] = [];
  fence.lines.forEach((text, index) => {
    const last = commands.at(-1);
    if (text === '^C' || text.startsWith('$ ')) {
      commands.push({ line: fence.line + 1 + index, text: text.replace(/^\$ /, ''), expected: [] });
    } else if (last === undefined) {
      assert.fail(`LESSON.md:${fence.line}: a console fence must begin with "$ " or ^C`);
    } else if (last.text.endsWith('\\')) {
      last.text += `\n${text}`;
    } else {
      last.expected.push(text);
    }
  });
  return commands;
}

/** A command that starts a server: the file to run, and the variables set before it. */
function parseStart(command: string): Start | undefined {
  const program = /^((?:\w+=(?:'[^']*'|"[^"]*"|\S*) +)*)(?:npm start|(?:npx tsx|node) (src\/\S+))$/;
  const match = program.exec(command);
  if (match === null) return undefined;
  const words = (match[1] ?? '').matchAll(/(\w+)=(?:'([^']*)'|"([^"]*)"|(\S*))/g);
  const variables: Record<string, string> = {};
  for (const [, name = '', single, double, bare = ''] of words) {
    variables[name] = single ?? double ?? bare;
  }
  return { file: match[2] ?? 'src/main.ts', variables };
}

// ---- Rules: comparing it with the truth --------------------------------------------------------

/** Adds the indices of the lines that a fence quotes to `quoted`. Throws if it is not verbatim. */
function quote(fence: Fence, source: readonly string[], quoted: Set<number>): void {
  for (const run of runsOf(fence)) {
    const places = placesOf(run.lines, source);
    const place = places.find((start) => !quoted.has(start)) ?? places[0];
    if (place === undefined) assert.fail(explainMisquote(fence.file, run, source));
    for (const index of run.lines.keys()) quoted.add(place + index);
  }
}

/** The runs of lines between one `// …` and the next, without the blank lines around them. */
function runsOf(fence: Fence): Run[] {
  const runs: Run[] = [];
  let isOpen = false;
  fence.lines.forEach((text, index) => {
    if (text.trim() === '// …') isOpen = false;
    else if (isOpen) runs.at(-1)?.lines.push(text);
    else if (text !== '') {
      runs.push({ line: fence.line + 1 + index, lines: [text] });
      isOpen = true;
    }
  });
  for (const { lines } of runs) while (lines.at(-1) === '') lines.pop();
  return runs;
}

/** Every index of `source` at which `lines` are found, one after the other. */
function placesOf(lines: readonly string[], source: readonly string[]): number[] {
  return [...source.keys()].filter((start) => lines.every((line, i) => line === source[start + i]));
}

/** Where the run agrees with the file for longest, and the line at which it departs from it. */
function explainMisquote(file: string, { line, lines }: Run, source: readonly string[]): string {
  const lengths = source.map((_, at) => lines.findIndex((text, i) => text !== source[at + i]));
  const length = Math.max(0, ...lengths);
  if (length === 0) return `LESSON.md:${line} quotes a line that is not in ${file}:\n  ${lines[0]}`;
  const index = lengths.indexOf(length) + length;
  return (
    `LESSON.md:${line + length} does not quote ${file}:${index + 1}\n` +
    `  lesson: ${lines[length]}\n  module: ${source[index] ?? '(the end of the file)'}`
  );
}

/** Throws with the lines that no fence has quoted. Blank lines need no quoting. */
function checkAllQuoted(file: string, source: readonly string[], quoted: Set<number>): void {
  const missing = [...source.entries()].filter(([i, text]) => text.trim() !== '' && !quoted.has(i));
  const list = missing.map(([index, text]) => `  ${file}:${index + 1}  ${text}`).join('\n');
  assert.equal(missing.length, 0, `The lesson leaves out ${missing.length} line(s):\n${list}`);
}

/**
 * Throws unless `output` is what the lesson expects. A `…` in a line stands for anything, and alone
 * on a line for any lines or none. Spaces and blank lines at the end cannot be seen, nor compared.
 */
function checkOutput(what: string, expected: readonly string[], output: string): void {
  const came = tidy(linesOf(output.replaceAll('\r', '')));
  const wanted = tidy(expected);
  const text = came.map((line) => `${line}\n`).join('');
  if (new RegExp(`^${patternOf(wanted)}$`).test(text)) return;
  const isBeginning = (length: number): boolean =>
    new RegExp(`^${patternOf(wanted.slice(0, length))}`).test(text);
  const wrong = wanted.findIndex((_, index) => !isBeginning(index + 1));
  const marked = wanted.map((line, i) => `${i === wrong ? '>' : ' '} ${line}`);
  if (wrong === -1) marked.push('> (nothing more)');
  const shown = came.map((line) => `  ${line}`);
  assert.fail([what, 'expected:', ...marked, 'came:', ...shown].join('\n'));
}

function patternOf(expected: readonly string[]): string {
  const patterns = expected.map((line) =>
    line === '…' ? '(?:[^\\n]*\\n)*' : `${line.split('…').map(escapeRegExp).join('[^\\n]*')}\\n`,
  );
  return patterns.join('');
}

function tidy(lines: readonly string[]): string[] {
  const trimmed = lines.map((line) => line.trimEnd());
  return trimmed.slice(0, trimmed.findLastIndex((line) => line !== '') + 1);
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** The source with the bug in it. Throws unless the lines to change are found, and found once. */
function applyDiff(fence: Fence, source: readonly string[]): string {
  const where = `LESSON.md:${fence.line}`;
  const isDiff = fence.lines.every((line) => /^(?:[-+ ]|$)/.test(line));
  assert.ok(isDiff, `${where}: the lines of a diff begin with -, + or a space`);
  const before = fence.lines.filter((line) => !line.startsWith('+')).map((line) => line.slice(1));
  const after = fence.lines.filter((line) => !line.startsWith('-')).map((line) => line.slice(1));
  assert.notDeepEqual(before, after, `${where}: this diff changes nothing`);
  const [place = NaN, ...others] = placesOf(before, source);
  const count = Number.isNaN(place) ? 0 : 1 + others.length;
  const story = `${where}: these lines must be once in ${fence.file}, and are ${count} times`;
  assert.ok(count === 1, `${story}:\n${before.join('\n')}`);
  const changed = [...source.slice(0, place), ...after, ...source.slice(place + before.length)];
  return changed.map((line) => `${line}\n`).join('');
}

/** The name in the caption below a diff. */
function caughtBy(fence: Fence): string {
  const name = /^Caught by: `(.+)`$/.exec(fence.caption)?.[1];
  const hint = `LESSON.md:${fence.line}: below a diff stands Caught by: \`a test's name\``;
  return name ?? assert.fail(`${hint}. There is: ${fence.caption}`);
}

/** What TAP output says of a test. It is `absent` too where the file crashed before any test. */
function outcomeOf(name: string, tap: string): 'failed' | 'passed' | 'absent' {
  const tapName = escapeRegExp(name.replace(/[\\#]/g, '\\$&')); // TAP escapes these two
  const result = new RegExp(`^ *((?:not )?ok) \\d+ - ${tapName}$`, 'gm'); // '# SKIP' is no result
  const words = [...tap.matchAll(result)].map(([, word]) => word);
  if (words.length === 0) return 'absent';
  return words.includes('not ok') ? 'failed' : 'passed';
}

// ---- Rules: the page as a whole ----------------------------------------------------------------

/** Throws for a link within the page that leads to no heading. */
function checkLinks(markdown: string): void {
  const prose = withoutFences(markdown);
  const anchors = anchorsOf(prose);
  const links = [...prose.matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor = '']) => anchor);
  const dead = links.filter((anchor) => !anchors.has(anchor));
  assert.deepEqual(dead, [], 'links of LESSON.md, without their #, that lead to no heading');
}

/** GitHub's anchors: lower case, no punctuation, `-` for a space, `-1` for who comes second. */
function anchorsOf(prose: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of prose.matchAll(/^#{1,6} (.+)$/gm)) {
    const plain = heading.toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '').replaceAll(' ', '-');
    let anchor = plain;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${plain}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Throws for a glossary out of order, and for a word that the step it names does not have. */
function checkGlossary(markdown: string): void {
  const steps = markdown.split(/^(?=## )/m);
  const glossary = steps.find((section) => section.startsWith('## Glossary\n')) ?? '';
  const entries = glossary.split('\n').filter((line) => line.startsWith('- '));
  assert.notEqual(entries.length, 0, 'LESSON.md has a ## Glossary, with a line for each word');
  let last = '';
  for (const entry of entries) {
    const [, term = '', step] = /^- \*\*(.+?)\*\* · .+? \[Step (\d+)\]/.exec(entry) ?? [];
    assert.ok(step !== undefined, `- **word** · what it is. [Step N](#…), and not: ${entry}`);
    const word = term.replace(/ \(.+\)$/, '').replaceAll('`', '').toLowerCase();
    const order = term.toLowerCase().replace(/[^a-z0-9]/g, '');
    assert.ok(order >= last, `'${term}' stands too late in the glossary`);
    last = order;
    const text = steps.find((section) => section.startsWith(`## Step ${step} ·`)) ?? '';
    assert.ok(text.toLowerCase().includes(word), `'${word}' does not stand in step ${step}`);
  }
}

/** Throws for a `;` in a sequence diagram. Mermaid takes it for a line's end: it is `#59;`. */
function checkDiagrams(markdown: string): void {
  for (const [diagram] of markdown.matchAll(/^```mermaid\nsequenceDiagram\n[^]*?^```$/gm)) {
    const broken = diagram.split('\n').filter((line) => line.replace(/#\d+;/g, '').includes(';'));
    assert.deepEqual(broken, [], 'lines of a sequence diagram with a ;');
  }
}

// ---- Programs: a terminal for the console fences, a workshop for the diffs ---------------------

/** The environment of a reader, not of this test, nor of whoever runs it. */
function environment(variables: Record<string, string> = {}): NodeJS.ProcessEnv {
  const ours = [
    'NODE_TEST_CONTEXT', 'NODE_ENV', 'HOST', 'PORT',
    'SESSION_SECRET', 'SESSIONS', 'SQLITE_FILE', 'REDIS_URL',
  ];
  const others = Object.entries(process.env).filter(([name]) => !ours.includes(name));
  const quick = { NODE_COMPILE_CACHE: COMPILE_CACHE, NODE_NO_WARNINGS: '1', no_proxy: '*' };
  return { ...Object.fromEntries(others), ...quick, ...variables };
}

/** A folder of its own for each test, so that no two share a cookie jar. */
function makeFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'lesson-'));
}

/** How a program is run to its end, in time. An endless loop hears no signal but SIGKILL. */
function optionsFor(folder: string, timeout: number): ExecFileOptionsWithStringEncoding {
  const env = environment();
  return { cwd: folder, env, timeout, killSignal: 'SIGKILL', encoding: 'utf8' };
}

interface TestRun {
  readonly isTimedOut: boolean;
  readonly hasFailed: boolean;
  readonly tap: string;
  readonly stderr: string;
}

interface Server {
  readonly child: ChildProcess;
  /** Its port in the lesson, and the one that it has. */
  readonly shownPort: string;
  port: string;
  /** What it has written to stdout and stderr, and nobody has read yet. */
  output: string;
  readonly exit: Promise<string>;
}

/** One reader at work: a folder of their own, and the servers that they have started. */
class Terminal {
  readonly #folder: string;
  readonly #servers: Server[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  get isServing(): boolean {
    return this.#servers.length > 0;
  }

  /** What a command prints, with the ports that the lesson shows. */
  run(command: string): Promise<string> {
    const start = parseStart(command);
    if (start) return this.#start(start);
    return command === '^C' ? this.#stop() : this.#shell(command);
  }

  /** Starts a server, and gives what it prints until it listens, or ends because it cannot. */
  async #start({ file, variables }: Start): Promise<string> {
    const shownPort = variables.PORT ?? PORT;
    const taken = this.#servers.find((other) => other.shownPort === shownPort)?.port;
    const child = spawn(process.execPath, [plain(join(await plainProject(), file))], {
      cwd: this.#folder,
      env: environment({ ...variables, PORT: taken ?? '0' }),
    });
    const exit = new Promise<string>((resolve) => {
      child.on('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    const server: Server = { child, shownPort, port: taken ?? shownPort, output: '', exit };
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

  /** Presses Ctrl-C on the server that was started last, and gives what it wrote since then. */
  async #stop(): Promise<string> {
    const server = this.#servers.pop() ?? assert.fail('^C, but no server runs');
    server.child.kill('SIGINT');
    const end = await within(COMMAND_TIMEOUT, server.child, server.exit);
    const story = `At Ctrl-C a server must end with exit code 0: ${end}\n${server.output}`;
    assert.ok(end === 'exit code 0', story);
    return renumber(server.output, server.port, server.shownPort);
  }

  /** What bash prints on stdout. A command may fail: that too is something a lesson can show. */
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

/** The promise's value. A child that keeps it waiting is killed, which must settle the promise. */
async function within<T>(timeout: number, child: ChildProcess, promise: Promise<T>): Promise<T> {
  const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
  return promise.finally(() => clearTimeout(timer));
}

const workshops: string[] = []; // copies of the project in which nobody is at work

/** A copy of the project with another `file` in it, for one test: whole again when that is done. */
async function workshopWith(t: TestContext, file: string, source: string): Promise<string> {
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

/** Runs a test file, or one test of it, in a process of its own. */
function runTest(folder: string, testFile: string, name?: string): Promise<TestRun> {
  const only = name === undefined ? [] : [`--test-name-pattern=^${escapeRegExp(name)}$`];
  const options = optionsFor(folder, BROKEN_TEST_TIMEOUT);
  return new Promise((resolve) => {
    const words = ['--test-reporter=tap', ...only, plain(join('test', testFile))];
    execFile(process.execPath, words, options, (error, tap, stderr) => {
      resolve({ isTimedOut: error?.killed === true, hasFailed: error !== null, tap, stderr });
    });
  });
}

/** Why a step's console fences cannot be run here, or `false`. In CI they must be. */
function whyNoTerminal(step: number): string | false {
  const has = (command: string): boolean => spawnSync('bash', ['-c', command]).status === 0;
  if (process.env.CI) return false;
  if (!has('curl --version')) return 'needs bash and curl (Git for Windows has both)';
  if (step !== 20 || has('redis-server --version')) return false;
  return 'needs Redis: on Debian or Ubuntu, apt-get install redis-server';
}

/** Whether this Node can do a step: 19 needs node:sqlite. What it does elsewhere its test says. */
function canRun(step: number): boolean {
  return step !== 19 || process.getBuiltinModule?.('node:sqlite') !== undefined;
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

describe('LESSON.md has the same shape in every step', () => {
  for (const module of modules) {
    it(`step ${module.number} has its headings, a question, a run, two bugs and hints`, () => {
      const step = stepOf(module);
      assert.deepEqual(step.headings, HEADINGS, 'the ### headings of a step, in this order');
      const question = /\*\*Predict first[^]*?<details>\s*<summary>[^]+?<\/summary>[^]+<\/details>/;
      assert.match(step.prose, question, 'a **Predict first**, its answer folded in <details>');
      assert.notEqual(fencesOf(step, 'console').length, 0, 'Run it needs a ```console fence');
      const bugs = fencesOf(step, 'diff');
      assert.ok(bugs.length >= 2, `Break it needs two \`\`\`diff fences, and has ${bugs.length}`);
      for (const { line, file } of bugs) {
        assert.match(file, /^src\/[\w-]+\.ts$/, `LESSON.md:${line}: a diff fence names its file`);
      }
      const practice = `npm run practice ${module.number}\``;
      assert.ok(step.prose.includes(practice), `Your turn says \`${practice}`);
      const hints = hintsOf(lesson, module.number);
      assert.ok(hints.length >= 3, `Your turn needs three hints, and has ${hints.length}`);
    });
  }
});

describe('LESSON.md has the shape of one page', () => {
  it('the links within the page lead to its headings', () => checkLinks(lesson));
  it('the glossary is in order, and each word stands in its step', () => checkGlossary(lesson));
  it('the sequence diagrams have no semicolon', () => checkDiagrams(lesson));
});

describe('LESSON.md quotes the modules', () => {
  for (const module of modules) {
    it(`step ${module.number} quotes verbatim, and leaves out no line of ${module.file}`, () => {
      const quoted = new Set<number>();
      for (const fence of fencesOf(stepOf(module), 'ts')) {
        if (fence.file === '') continue; // a sketch, which claims to be in no file
        quote(fence, readLines(fence.file), fence.file === module.file ? quoted : new Set());
      }
      checkAllQuoted(module.file, readLines(module.file), quoted);
    });
  }
});

describe('LESSON.md shows what a terminal shows', { concurrency: CONCURRENCY }, () => {
  for (const module of modules.filter(({ number }) => canRun(number))) {
    const skip = whyNoTerminal(module.number);
    it(`step ${module.number} prints what its console fences say`, { skip }, async (t) => {
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

describe('LESSON.md breaks what a test protects', { concurrency: CONCURRENCY }, () => {
  for (const step of steps.filter(({ number }) => canRun(number))) {
    for (const [index, fence] of fencesOf(step, 'diff').entries()) {
      const title = fence.caption.replace(/^Caught by: `(.+)`$/, '$1');
      it(`Break it ${step.number}.${index + 1}: ${title}`, async (t) => {
        const name = caughtBy(fence);
        const broken = applyDiff(fence, readLines(fence.file));
        const testFile = `${basename(fence.file, '.ts')}.test.ts`;
        const folder = await workshopWith(t, fence.file, broken);
        const { isTimedOut, tap, stderr } = await runTest(folder, testFile, name);
        const story = `: LESSON.md:${fence.line}, test/${testFile}: ${name}\n${tap}${stderr}`;
        assert.ok(!isTimedOut, `The test hangs where it should fail${story}`);
        const outcome = outcomeOf(name, tap);
        assert.ok(outcome !== 'absent', `No test of that name has run${story}`);
        assert.ok(outcome !== 'passed', `The test does not notice the bug${story}`);
        assert.doesNotMatch(tap, /name: '(Reference|Syntax)Error'/, `A slip, not a bug${story}`);
        const place = `explained: LESSON\\.md:\\d+, Step ${step.number} · `;
        assert.match(tap, new RegExp(place), `The failure does not say where to read on${story}`);
      });
    }
  }
});

describe('LESSON.md lets you write each step anew', { concurrency: CONCURRENCY }, () => {
  for (const { number, file } of modules.filter(({ number }) => canRun(number))) {
    it(`step ${number} emptied fails its own test, which says what to write`, async (t) => {
      const { source, names } = emptyBodies(readFileSync(join(ROOT, file), 'utf8'), number);
      const folder = await workshopWith(t, file, source);
      const testFile = `${basename(file, '.ts')}.test.ts`;
      const { isTimedOut, hasFailed, tap, stderr } = await runTest(folder, testFile);
      const story = `: test/${testFile}\n${tap}${stderr}`;
      assert.ok(!isTimedOut, `The test hangs where it should fail${story}`);
      assert.ok(hasFailed, `The test does not notice that nothing is there${story}`);
      const first = /\bStep (\d+): (.+) is still to be written/.exec(tap + stderr);
      assert.equal(first?.[1], `${number}`, `The first failure names no body of this step${story}`);
      const isEmpty = names.includes(first?.[2] ?? '');
      assert.ok(isEmpty, `The first failure names what is not empty${story}`);
      const named = new Set([...(tap + stderr).matchAll(/\bStep (\d+)/g)].map(([, step]) => step));
      assert.deepEqual([...named], [`${number}`], `A failure speaks of another step${story}`);
    });
  }
});

// ---- The rules, tried on lessons that lie ------------------------------------------------------

describe('the rules of the lesson', () => {
  const SOURCE = ['const one = 1;', '', 'function add() {', '  return one + one;', '}'];
  const fence = (language: string, ...lines: string[]): Fence => {
    return { language, file: 'src/01-add.ts', line: 10, lines, caption: '' };
  };
  const quotes = (...lines: string[]): Set<number> => {
    const quoted = new Set<number>();
    quote(fence('ts', ...lines), SOURCE, quoted);
    return quoted;
  };

  it('parseLesson() finds steps, headings outside fences, fences, their lines and captions', () => {
    const [step, ...others] = parseLesson(
      [
        '# Lesson', '', '## Step 7 · Seven', '### Idea', '```text', '```',
        '```diff src/07-seven.ts', '-a', '### b', '```', '', 'Caught by: `x`',
        '## The end', '```ts src/01-add.ts', '```', '',
      ].join('\n'),
    );
    assert.deepEqual(others, []);
    assert.deepEqual([step?.number, step?.headings], [7, ['Idea']]);
    assert.deepEqual(step?.fences, [
      { language: 'text', file: '', line: 5, lines: [], caption: '```diff src/07-seven.ts' },
      {
        language: 'diff',
        file: 'src/07-seven.ts',
        line: 7,
        lines: ['-a', '### b'],
        caption: 'Caught by: `x`',
      },
    ]);
  });

  it('quote() finds consecutive lines, and after `// …` goes on wherever the next are', () => {
    assert.deepEqual([...quotes('function add() {', '  return one + one;')], [2, 3]);
    assert.deepEqual([...quotes('const one = 1;', '', '// …', '', '}')], [0, 4]);
  });

  it('quote() names the file and the line where a quotation departs from it', () => {
    const misquote = (): unknown => quotes('function add() {', '  return one + 1;');
    assert.throws(misquote, /LESSON\.md:12 does not quote src\/01-add\.ts:4\n.*one \+ 1;\n.*one;/);
    assert.throws(() => quotes('const two = 2;'), /LESSON\.md:11 quotes a line that is not in src/);
    assert.throws(() => quotes('}', 'more'), /LESSON\.md:12 .*\n.*more\n.*\(the end of the file\)/);
    assert.throws(() => quotes('const one = 1;', 'function add() {'), /LESSON\.md:12/); // a gap
  });

  it('checkAllQuoted() names each line that no fence quotes, and asks for no blank ones', () => {
    checkAllQuoted('src/01-add.ts', SOURCE, new Set([0, 2, 3, 4]));
    const incomplete = (): void => checkAllQuoted('src/01-add.ts', SOURCE, new Set([0, 2, 4]));
    assert.throws(incomplete, /leaves out 1 line\(s\):\n {2}src\/01-add\.ts:4 {4}return one/);
  });

  it('parseConsole() takes commands over several lines, and what each should print', () => {
    const commands = parseConsole(fence('console', '$ curl -s \\', '  /', 'Hi', '', '…', '^C'));
    assert.deepEqual(commands, [
      { line: 11, text: 'curl -s \\\n  /', expected: ['Hi', '', '…'] },
      { line: 16, text: '^C', expected: [] },
    ]);
    assert.throws(() => parseConsole(fence('console', 'Hi')), /LESSON\.md:10/);
  });

  it('parseStart() knows the commands that start a server, and their variables', () => {
    const main = 'src/main.ts';
    assert.deepEqual(parseStart('npm start'), { file: main, variables: {} });
    assert.deepEqual(parseStart('npx tsx src/01-server.ts')?.file, 'src/01-server.ts');
    const start = parseStart(`A=1 B='b c' C="d" node ${main}`);
    assert.deepEqual(start, { file: main, variables: { A: '1', B: 'b c', C: 'd' } });
    assert.equal(parseStart('curl -s http://localhost:6543/src/01-server.ts'), undefined);
  });

  it('checkOutput() lets … stand for anything in a line, and alone for lines, and no more', () => {
    const rows: [output: string, expected: string[], passes: boolean][] = [
      ['a\r\nb\r\n\r\n', ['a', 'b'], true],
      ['Date: today\n', ['Date: …'], true],
      ['a\nb\nc\n', ['a', '…', 'c'], true],
      ['a\nc\n', ['a', '…', 'c'], true],
      ['', [], true],
      ['a\n', ['b'], false],
      ['a\nb\n', ['a…b'], false],
      ['a\nb\n', ['a'], false],
      ['a\n', ['a', 'b'], false],
      ['axb\n', ['a.b'], false],
      ['a\nb\n', ['…', 'a'], false],
      ['a\n', [], false],
    ];
    for (const [output, expected, passes] of rows) {
      const check = (): void => checkOutput('$ command', expected, output);
      const row = `${JSON.stringify(output)} against ${JSON.stringify(expected)}`;
      if (passes) assert.doesNotThrow(check, row);
      else assert.throws(check, /^AssertionError.*\$ command\nexpected:\n[^]*> [^]*came:/, row);
    }
  });

  it('applyDiff() changes what it finds once, and refuses what it finds never or twice', () => {
    const diff = (...lines: string[]): string => applyDiff(fence('diff', ...lines), SOURCE);
    const broken = SOURCE.with(3, '  return 3;').join('\n');
    assert.equal(diff(' function add() {', '-  return one + one;', '+  return 3;'), `${broken}\n`);
    assert.throws(() => diff('-const two = 2;'), /once in src\/01-add\.ts, and are 0 times/);
    assert.throws(() => applyDiff(fence('diff', '-}', '+;'), ['}', '}']), /are 2 times/);
    assert.throws(() => diff(' }'), /changes nothing/);
    assert.throws(() => diff('@@ -1 +1 @@', '-}'), /begin with -, \+ or a space/);
  });

  it('caughtBy() wants the name of a test below the diff', () => {
    const diff = fence('diff', '-}');
    assert.equal(caughtBy({ ...diff, caption: 'Caught by: `add() adds`' }), 'add() adds');
    assert.throws(() => caughtBy({ ...diff, caption: 'Next.' }), /LESSON\.md:10.*There is: Next\./);
  });

  it('checkLinks() wants a heading for each link, by the anchor that GitHub gives it', () => {
    const page = '## Step 9 · A `b`, c\n### Idea\n### Idea\n```sh\n# no\n[a](#nor-this)\n```\n';
    checkLinks(`${page}[a](#step-9--a-b-c), [b](#idea) and [c](#idea-1)`);
    for (const anchor of ['step-9-a-b-c', 'Idea', 'idea-2', 'no', '']) {
      assert.throws(() => checkLinks(`${page}[a](#${anchor})`), /lead to no heading/, anchor);
    }
  });

  it('checkGlossary() wants words in order, each with a step in which it stands', () => {
    const check = (...words: string[]): void => {
      const entries = words.map((word) => `- ${word} · What it is. [Step 9](#a)\n`);
      checkGlossary(`## Step 9 · A\n\nAlpha \`Beta\`.\n\n## Glossary\n\n${entries.join('')}`);
    };
    check('**alpha (of a)**', '**alpha (of b)**', '**`Beta`**');
    assert.throws(() => check('**`Beta`**', '**alpha**'), /'alpha' stands too late/);
    assert.throws(() => check('**alpha**', '**gamma**'), /'gamma' does not stand in step 9/);
    assert.throws(() => check('alpha'), /and not: - alpha/);
    assert.throws(() => check(), /has a ## Glossary/);
    assert.throws(() => checkGlossary('- **alpha** · No glossary. [Step 9](#a)\n'), /## Glossary/);
  });

  it('checkDiagrams() refuses a semicolon that would end a line, and takes an escaped one', () => {
    const diagram = (line: string): string => `\`\`\`mermaid\nsequenceDiagram\n${line}\n\`\`\`\n`;
    checkDiagrams(diagram('  B->>S: a=1#59; Path=/'));
    assert.throws(() => checkDiagrams(diagram('  B->>S: a=1; Path=/')), /with a ;/);
  });

  it('outcomeOf() tells a test that failed from one that passed, was skipped or never ran', () => {
    assert.equal(outcomeOf('add() #1', 'TAP\n    not ok 2 - add() \\#1\n'), 'failed');
    assert.equal(outcomeOf('add()', '    ok 1 - add()\nok 1 - math\n'), 'passed');
    assert.equal(outcomeOf('add()', 'ok 1 - add() # SKIP test name does not match\n'), 'absent');
    assert.equal(outcomeOf('add()', 'not ok 1 - math\nnot ok 2 - add() twice\n'), 'absent');
  });
});
