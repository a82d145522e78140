// `npm run lesson` on a small project: the order, the next task, the screen, a pipe and a terminal.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  changedFunctions, functionOfTitle, functionsOf, hintsFor, readHints, readStep, restoreBody,
  solutionOf, type Step,
} from '../.tools/exercise.ts';
import { countOf, countWritten, nextOf, type View } from '../.tools/next.ts';
import { readerEnvironment } from '../.tools/plain.ts';
import { emptyBodies, fromEasyToHard } from '../.tools/practice.ts';
import { progressFile, readProgress, saveProgress } from '../.tools/progress.ts';
import { skipSlow } from '../.tools/quick.ts';
import { bodyOf, fit, headOf, pageOf, paint, storyIn, wrap } from '../.tools/screen.ts';
import { tell } from '../.tools/story.ts';
import { type Failure, runTests } from '../.tools/test-run.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FILE = 'src/02-sum.ts';
const SOURCE = `export function total(
  list: number[],
): number {
  return list.reduce(add, 0);
}

/** Adds. */
export function add(a: number, b: number): number {
  return a + b;
}
`;
const HINTS = '# Hints\r\n\r\n1. `add()`: Use\r\n   a sign.\r\n2. `total()`: Use `add`.\r\n';
const PAGE = `# Course

## Part I · Numbers

## Step 1 · One

*5 minutes*

## Step 2 · A sum · again

*10 minutes · New words: sum*

### Idea and code

Here is \`add\`.

### Break it

### Your turn

## The end
`.replaceAll('\n', '\r\n');
const TESTS = `
import assert from 'node:assert/strict';
import { explainedIt } from '../.tools/explain.ts';
import { add, total } from '../src/02-sum.ts';
const it = explainedIt(import.meta.url);
it('total() adds all numbers', () => assert.equal(total([1, 2, 3]), 6));
it('add() adds two numbers', () => assert.equal(add(1, 2), 3, 'one and two'));
it('add() adds 0', async () => assert.equal(await add(1, 0), 1));
`;
const PROOFS = TESTS.replace(/(?:^it.*\n)+/m, `it('add() adds -1', () => assert.equal(add(1, -1), 0));\n`);
const EMPTY = emptyBodies(SOURCE, 2).source;
const NO_TOTAL = emptyBodies(SOURCE, 2, 'total').source;

/** Returns the folder of a project with two steps. */
function makeProject(t: TestContext, { isInGit = true } = {}): string {
  const root = mkdtempSync(join(tmpdir(), 'guide-'));
  t.after(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));
  for (const folder of ['src', 'test', '.proofs']) mkdirSync(join(root, folder));
  cpSync(join(ROOT, '.tools'), join(root, '.tools'), { recursive: true });
  const packages = join(ROOT, 'node_modules');
  if (existsSync(packages)) symlinkSync(packages, join(root, 'node_modules'), 'junction');
  const files = {
    'package.json': '{ "type": "module" }\n',
    '.gitignore': 'node_modules\n',
    'LESSON.md': PAGE,
    'src/01-one.ts': 'export const one = () => 1;\n',
    [FILE]: SOURCE,
    'test/02-sum.hints.md': HINTS,
    'test/02-sum.test.ts': TESTS,
    '.proofs/02-sum.ts': PROOFS,
    'tsconfig.json': readFileSync(join(ROOT, 'tsconfig.json'), 'utf8'),
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
  if (!isInGit) return root;
  const author = ['-c', 'user.name=a', '-c', 'user.email=a@example', '-c', 'commit.gpgsign=false'];
  const git = (...args: string[]) => spawnSync('git', [...author, ...args], { cwd: root });
  git('init', '-q');
  git('add', '.');
  git('commit', '-q', '-m', 'Begin');
  return root;
}

const STEP: Step = {
  number: 2, count: 2, part: 'Part I · Numbers', title: 'A sum · again', minutes: 10,
  lines: [9, 20], breakIt: 17, yourTurn: 19, file: FILE, tests: 'test/02-sum.test.ts',
  proofs: '.proofs/02-sum.ts',
};
const STILL_EMPTY = 'Step 2: total() is still to be written';

function failure(title: string, message: string, more: Partial<Failure> = {}): Failure {
  return { title, message, ...more };
}

/** Returns the view of a source after a run with these failures. */
function viewOf(source: string, failures: Failure[] = [], more = {}, view = {}): View {
  const hints = ['`add()`: …', '`total()`: …'];
  const functions = functionsOf(source, SOURCE, hints);
  const outcome = { failures, passed: [], ...more };
  const marks = { 'add()': 'empty', 'total()': 'empty' } as const; // the reader has written both
  const state = { isOriginal: false, isRunning: false, finished: 1, marks };
  return { step: STEP, functions, outcome, ...state, ...view };
}

describe('the exercise of a step', () => {
  it('readStep() finds a step on a page with Windows line endings', (t) => {
    const root = makeProject(t, { isInGit: false });
    assert.deepEqual(readStep(root, 2), STEP);
    for (const number of [0, 3, NaN, 1.5]) assert.equal(readStep(root, number), undefined);
  });

  it('functionsOf() orders functions by their hints, and finds the empty ones', (t) => {
    const hints = readHints(makeProject(t, { isInGit: false }), FILE);
    assert.deepEqual(hintsFor(hints, 'add()'), ['`add()`: Use a sign.']);
    const source = NO_TOTAL.replaceAll('\n', '\r\n');
    assert.deepEqual(functionsOf(source, SOURCE, hints), [
      { name: 'add()', line: 8, isEmpty: false, isOriginal: true },
      { name: 'total()', line: 4, isEmpty: true, isOriginal: false },
    ]);
    const [add] = functionsOf('export const other = 1;', SOURCE, hints);
    assert.ok(add?.isEmpty, 'the reader has deleted it');
    assert.deepEqual(fromEasyToHard(['a()', 'b()', 'c()'], ['`c()`: …']), ['c()', 'a()', 'b()']);
  });

  it('solutionOf() returns a whole function, and nothing if the commit has an empty one', () => {
    assert.equal(solutionOf(SOURCE, 'total()'), SOURCE.split('\n\n')[0]);
    assert.equal(solutionOf(EMPTY, 'total()'), undefined);
    const method = 'export class A {\n  b(\n    c: number,\n  ) {\n    return c;\n  }\n}\n';
    assert.equal(solutionOf(method, 'A.b()'), 'b(\n  c: number,\n) {\n  return c;\n}');
  });

  it('restoreBody() changes one body, and keeps the line endings', () => {
    assert.equal(restoreBody(EMPTY, SOURCE, 'add()'), NO_TOTAL);
    const windows = EMPTY.replaceAll('\n', '\r\n');
    assert.equal(restoreBody(windows, SOURCE, 'add()'), NO_TOTAL.replaceAll('\n', '\r\n'));
    assert.equal(restoreBody('export function (((', SOURCE, 'add()'), undefined);
    assert.deepEqual(changedFunctions(EMPTY, NO_TOTAL), ['add()']);
  });

  it('functionOfTitle() finds the function of a test, also an inherited method', () => {
    const names = ['new Base()', 'Base.save()', 'Base.size', 'save()'];
    const of = (title: string) => functionOfTitle(title, names);
    assert.equal(of('new Base() throws'), 'new Base()');
    assert.equal(of('Base.size counts'), 'Base.size');
    assert.equal(of('Child.save() writes'), 'Base.save()');
    assert.equal(of('save() writes'), 'save()');
    assert.equal(of('saves a page'), undefined);
  });
});

describe('the next task', () => {
  it('nextOf() selects an empty function, or a failure that no empty function caused', () => {
    const broken = SOURCE.replace('a + b', 'a - b');
    const addFails = failure('add() adds', 'wrong');
    const blocked = failure('add() adds', `expected 200\n\nlogged:    Error: ${STILL_EMPTY}`);
    const kinds = [
      [viewOf(EMPTY), 'empty add()'],
      [viewOf(NO_TOTAL, [blocked]), 'empty total()'],
      [viewOf(broken, [addFails]), 'failing add()'],
      [viewOf(broken.replace('reduce', 'map'), [failure('total() is', 'wrong'), addFails]), 'failing add()'],
      // The body of add() is the original one, so total() causes its failure.
      [viewOf(SOURCE.replace('0)', '1)'), [addFails, failure('total() is', '')]), 'failing total()'],
      [viewOf(SOURCE, [failure('the page', 'wrong')]), 'failing undefined'],
      [viewOf(SOURCE, [failure('add() adds', 'Step 1: one() is still to be written')]), 'earlier one()'],
      [viewOf(broken, [addFails], { stuck: 'total() adds' }), 'stuck total()'],
      [viewOf(SOURCE, [], { crash: { message: STILL_EMPTY, stack: '' } }, { isRunning: true }), 'running'],
      [viewOf(SOURCE, [], { typeError: { line: 9, message: 'wrong' } }), 'types add()'],
      [viewOf('', [], {}, { isMissing: true }), 'missing'],
      [viewOf(SOURCE), 'done'],
    ] as const;
    for (const [view, expected] of kinds) {
      const next = nextOf(view);
      assert.equal(['name' in next && `${next.kind} ${next.name}`, next.kind].find(Boolean), expected);
    }
  });

  it('countWritten() counts the functions of the reader whose tests pass', () => {
    assert.equal(countWritten(viewOf(NO_TOTAL)), 1);
    const broken = SOURCE.replace('a + b', 'a - b');
    const addFails = [failure('add() adds', 'wrong')];
    assert.equal(countWritten(viewOf(broken, addFails)), 0, 'no test of total() has run');
    assert.equal(countWritten(viewOf(broken, addFails, { passed: ['total() adds'] })), 1);
    const blocked = [failure('Sum.save() saves', STILL_EMPTY)];
    assert.equal(countWritten(viewOf(NO_TOTAL, blocked)), 0, 'a test with another name needs total()');
    assert.equal(countWritten(viewOf(SOURCE)), 2);
    const crash = { crash: { message: 'no', stack: '' } };
    assert.equal(countWritten(viewOf(SOURCE, [], crash)), 0, 'no test has run');
    const stuck = { stuck: 'add() adds', passed: ['total() adds'] };
    assert.equal(countWritten(viewOf(SOURCE, [], stuck)), 1);
    const marks = { 'add()': 'skipped' } as const;
    const view = viewOf(SOURCE, [], {}, { marks });
    assert.equal(countWritten(view), 0);
    assert.deepEqual([countOf('skipped', view), countOf('given', view)], [1, 1]);
  });
});

describe('the screen', () => {
  const story = [
    'before it: curl -si http://localhost:6543/',
    "sent:      curl -si -H 'cookie: a=1' http://localhost:6543/",
    'came back: 200 OK',
    '           ',
    '           sent: not a label',
    'explained: LESSON.md:15, Step 2 · A sum',
  ].join('\n');
  const LONG = 'x'.repeat(3000);

  it('storyIn() separates the message of a test from its story', () => {
    const { text, story: found } = storyIn(`one\n\ntwo\n\n${story}\n`);
    assert.equal(text, 'one\n\ntwo');
    assert.equal(found.sent, "curl -si -H 'cookie: a=1' http://localhost:6543/");
    assert.equal(found.explained, 'LESSON.md:15, Step 2 · A sum');
    assert.deepEqual(storyIn('one'), { text: 'one', story: {} });
  });

  it('bodyOf() shows a failure in at most 15 lines, with long values, on narrow terminals too', () => {
    const all = ['input', 'expected', 'received', 'thrown', 'logged', 'failed at', 'sent', 'explained'];
    const told = (value: string) => all.map((label) => `${label}:`.padEnd(11) + value).join('\n');
    const long = failure(`add() ${LONG}`, `${LONG}\n\n${told(LONG)}`, { ownWords: true });
    const short = failure('add() adds', `note\n\nexpected: 1\nreceived: 2\n${story}`, { ownWords: true });
    const error = failure('add() adds', `${LONG}\n\nfailed at: src/02-sum.ts:8 (TypeError)\n`);
    const crash = { crash: { message: LONG, stack: LONG } };
    const broken = SOURCE.replace('a + b', 'a - b');
    for (const columns of [80, 40]) {
      const views = [long, short, error].map((one) => viewOf(broken, [one]));
      for (const view of [...views, viewOf(broken, [], crash)]) {
        const lines = bodyOf(view, columns);
        const rows = lines.reduce((sum, line) => sum + Math.ceil(line.length / columns), 0);
        assert.ok(rows <= 15, `${rows} rows\n${lines.join('\n')}`);
      }
    }
    assert.deepEqual(bodyOf(viewOf(broken, [short]), 80), [
      '✖ add() adds',
      '  case      note',
      '  expected  1',
      '  received  2',
      '  explained LESSON.md:15, Step 2 · A sum',
      "  sent      curl -si -H 'cookie: a=1' http://localhost:6543/",
    ]);
    assert.match(bodyOf(viewOf(broken, [error]), 80).join('\n'), /error {5}x+\n[^]*failed at src\/02-sum\.ts:8/);
  });

  it('bodyOf() names the pages to read before and after the exercise', () => {
    const before = bodyOf(viewOf(SOURCE, [], {}, { isOriginal: true, marks: {} }), 80).join('\n');
    assert.match(before, /complete\. Read LESSON\.md:9-20\.\n.*press e\.$/);
    const after = bodyOf(viewOf(SOURCE, [], {}, { copy: '.git/copy.ts' }), 80).join('\n');
    assert.match(after, /Well done![^]*LESSON\.md:17[^]*LESSON\.md:19/);
    assert.match(after, /git checkout src\/02-sum\.ts[^]*kept in\n\.git\/copy\.ts/);
  });

  it('bodyOf() counts what the reader has skipped, and expects failures after the exercise', () => {
    const marks = { 'add()': 'empty', 'total()': 'skipped' } as const;
    const [first] = bodyOf(viewOf(SOURCE, [], {}, { marks }), 80);
    assert.equal(first, '✔ All tests pass. You have written 1, and skipped 1.');
    const done = { ...viewOf(SOURCE).marks, '': 'done' };
    const broken = SOURCE.replace('a + b', 'a - b');
    const [reason, title] = bodyOf(viewOf(broken, [failure('add() adds', '')], {}, { marks: done }), 80);
    assert.equal(reason, 'The tests of the step can fail during Your turn and Break it.');
    assert.equal(title, '✖ add() adds');
  });

  it('bodyOf() shows each printed line, and when a request needs the server', () => {
    const printed = 'wrong\n\nprinted:   a  b\n           c\nsent:      curl -si http://localhost:6543/';
    const view = viewOf(SOURCE, [failure('other', printed)], {}, { mustServe: true });
    assert.deepEqual(bodyOf(view, 80).slice(2), [
      '  printed   a  b',
      '            c',
      '  sent      curl -si http://localhost:6543/',
      '            (press r first)',
    ]);
  });

  it('tell() compares a missing error and an unwanted error, and shows what was printed', () => {
    const told = (run: () => void): string => {
      try {
        run();
      } catch (error) {
        return tell(error as Error, { printed: ['a', 'b'] }, undefined, 'add()');
      }
      return assert.fail('nothing was thrown');
    };
    const missing = told(() => assert.throws(() => {}, TypeError));
    assert.match(missing, /^\n\nexpected: +an error: TypeError\nreceived: +no error\nprinted: +a\n +b\n/);
    const unwanted = told(() => assert.doesNotThrow(() => assert.fail('no'), 'one and two'));
    assert.match(unwanted, /^one and two\n\nexpected: +no error\nreceived: +an error: AssertionError.*: no\n/);
  });

  it('bodyOf() explains a parameter property, which Node cannot run', () => {
    const stack = 'src/02-sum.ts:2\n  constructor(private readonly a: string, b: B) {}\n';
    const message = 'TypeScript parameter property is not supported in strip-only mode';
    const lines = bodyOf(viewOf(SOURCE, [], { crash: { message, stack: stack + message } }), 80);
    assert.match(lines[1] ?? '', /error {5}Node cannot run `constructor\(private readonly a\)`\. Declare/);
  });

  it('pageOf() shows code in parts, and keeps its spaces', () => {
    const code = "a  '  '\n  b\nc\nlonger than all";
    assert.deepEqual(pageOf('Code', code, 0, 80, 5), ['Code', "a  '  '", '  b', 'c', 'longer than all']);
    // A long line has two rows here.
    assert.deepEqual(pageOf('Code', code, 1, 12, 5), ['Code, part …', 'longer than all']);
    const [title, ...lines] = pageOf('Code', code, 3, 80, 4);
    assert.equal(title, 'Code, part 2 of 2 (s shows the next part)');
    assert.deepEqual(lines, ['longer than all']);
  });

  it('fit() keeps the title on a small terminal, and cuts the main part first', () => {
    const [head, notes] = [['part', 'title'], ['', 'keys']];
    const body = ['1', '2'.repeat(15), '3', '4', '5'];
    assert.deepEqual(fit({ head, body, notes }, 10, 10), [...head, '', '1', body[1], '3', ...notes]);
    assert.deepEqual(fit({ head, body, notes }, 10, 5), [...head, '', '1']);
  });

  it('bodyOf() says why a function that was just written has no result yet', () => {
    const failures = [{ title: 'add() adds', message: 'Step 2: total() is still to be written' }];
    const view = { ...viewOf(NO_TOTAL, [], { failures }), edited: 'add()' };
    assert.match(bodyOf(view, 80).join('\n'), /^\? add\(\) is saved\. Its tests need another function/);
  });

  it('headOf() shows the part, the step, the progress and each function', () => {
    assert.deepEqual(headOf(viewOf(NO_TOTAL), 80), [
      'Part I · Numbers',
      'Step 2 of 2 · A sum · again · 10 minutes',
      'src/02-sum.ts · 1 of 2 written · 1 step finished',
      '✔ add()  ▸ total()',
    ]);
  });

  it('wrap() keeps the indent, and cuts a word that is too long', () => {
    assert.deepEqual(wrap('  one two three', 9), ['  one two', '  three']);
    assert.deepEqual(wrap('abcdefgh', 3), ['abc', 'def', 'gh']);
    assert.equal(paint('✔ done'), '\x1b[32m✔\x1b[0m done');
  });
});

describe('the progress', () => {
  it('saveProgress() keeps the changes of another window, and ignores a damaged file', (t) => {
    const root = makeProject(t);
    const file = progressFile(root) ?? '';
    assert.ok(file.startsWith(join(root, '.git')) || file.includes('.git'), file);
    saveProgress(file, () => ({ step: 2 }));
    saveProgress(file, ({ finished }) => ({ finished: [...finished, 1] }));
    assert.deepEqual(readProgress(file), { step: 2, finished: [1], hints: {}, marks: {} });
    for (const damaged of ['', '{', '[]', 'null', '{"step":"x","finished":1,"hints":{"a":"b"},"marks":{"a":"b"}}']) {
      writeFileSync(file, damaged);
      assert.deepEqual(readProgress(file), { step: 1, finished: [], hints: {}, marks: {} }, damaged);
    }
    assert.equal(saveProgress(undefined, () => ({})), false);
  });
});

const COMMAND = ['.tools/start.js', '.tools/lesson.ts'];

/** Returns what the program prints in a pipe, after the first three lines. */
function inPipe(root: string, ...words: string[]): string {
  const options = { cwd: root, env: readerEnvironment(), encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [...COMMAND, ...words], options);
  return `${status}\n${stdout.split('\n').slice(3).join('\n')}${stderr}`;
}

const SLOW = { skip: skipSlow('test/guide.test.ts') }; // it waits five seconds

describe('npm run lesson in a pipe', () => {
  it('prints the next task of a step, without escape codes', (t) => {
    const root = makeProject(t);
    const write = (source: string) => writeFileSync(join(root, FILE), source);
    assert.match(inPipe(root, '2'), /^0\n– add\(\) {2}– total\(\)\n\nThis step is complete/);
    write(EMPTY);
    assert.match(inPipe(root), /\n▸ Write add\(\)\n {2}place {5}src\/02-sum\.ts:9\n {2}explained LESSON/);
    write(SOURCE.replace('a + b', 'a * b'));
    assert.match(inPipe(root), /✖ add\(\) adds two numbers\n {2}case.*one and two\n {2}expected {2}3\n/);
    write(SOURCE.replace('a + b', 'a + + + = b'));
    assert.match(inPipe(root), /does not load\.\n {2}error {5}.*\n {2}place {5}src\/02-sum\.ts:9\n/);
    write('');
    assert.match(inPipe(root), /src\/02-sum\.ts is empty or missing/);
    assert.match(inPipe(root, '9'), /^1\nThere is no step 9\./);
  });

  it('runs the further proofs and the compiler before it says that all is right', (t) => {
    const root = makeProject(t);
    const write = (source: string) => writeFileSync(join(root, FILE), source);
    write(SOURCE.replace('a + b', 'b < 0 ? 1 : a + b').replace('(add, 0)', '(add, 0 - 0)'));
    const failed = inPipe(root, '2');
    assert.match(failed, /\n✖ add\(\) adds -1\n {2}expected {2}0\n/);
    assert.match(failed, /\n▸ add\(\) {2}✔ total\(\)\n/, 'the tests of total() passed before the proofs');
    const unused = "import { sep } from 'node:path';\n"; // this error is less important
    write(unused + SOURCE.replace('a + b;', 'a + b as unknown as string;'));
    const wrong = inPipe(root, '2');
    const isChecked = existsSync(join(ROOT, 'node_modules/typescript'));
    if (isChecked) assert.match(wrong, /compiler finds[^]*error {5}TS2322:[^]*place {5}src\/02-sum\.ts:10/);
    write(SOURCE.replace('a + b', 'b + a'));
    assert.match(inPipe(root, '2'), /\n✔ Well done!/);
  });

  it('says without git that the progress is not saved', (t) => {
    const root = makeProject(t, { isInGit: false });
    const isInsideGit = progressFile(root) !== undefined; // of the temporary folder
    if (!isInsideGit) assert.match(inPipe(root, '2'), /complete[^]*progress is not saved/);
  });

  it('runTests() names a slow test, and gives a test with a process twice the time', SLOW, async (t) => {
    const root = makeProject(t);
    const code = "spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'])";
    const test = `it('add() waits', () => new Promise(() => ${code}));\n`;
    const source = TESTS.replace(/(?:^it.*\n)+/m, () => test);
    const imported = "import { spawn } from 'node:child_process';";
    writeFileSync(join(root, STEP.tests), imported + source);
    process.env.TIME_LIMIT = '1.5';
    t.after(() => delete process.env.TIME_LIMIT);
    const titles: string[] = [];
    const outcome = await runTests(root, STEP.tests, (title) => titles.push(title)).done;
    assert.match(outcome?.failures[0]?.message ?? '', /did not end within 3 seconds/);
    assert.ok(titles.includes('add() waits'), `${titles}`);
  });

  it('runTests() reports an error that a test causes after its end', async (t) => {
    const root = makeProject(t);
    const late = "() => void setImmediate(setImmediate, () => { throw new Error('too late'); })";
    const source = TESTS.replace(/(?:^it.*\n)+/m, () => `it('add() is late', ${late});\n`);
    writeFileSync(join(root, STEP.tests), source);
    const outcome = await runTests(root, STEP.tests).done;
    assert.equal(outcome?.crash, undefined, 'the file did load');
    assert.equal(outcome?.failures[0]?.title, 'add() is late');
    assert.match(outcome.failures[0].message, /^too late \(after the test\)\n\nfailed at: test\/02/);
  });

  it('runTests() kills code that never ends', async (t) => {
    const root = makeProject(t);
    writeFileSync(join(root, FILE), `${SOURCE}while (true);\n`);
    const { done } = runTests(root, STEP.tests, undefined, 1000);
    assert.equal((await done)?.stuck, '');
    const view = viewOf(SOURCE, [], { stuck: '' });
    assert.match(bodyOf(view, 80).join('\n'), /sum\.ts did not load\.\n {2}This did not end/);
  });
});

const isLinux = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0;

describe('npm run lesson in a terminal', { skip: isLinux ? false : 'needs script of util-linux' }, () => {
  it('reacts to keys and to a saved file, and leaves the terminal clean', { timeout: 60_000 }, async (t) => {
    const root = makeProject(t);
    const node = `'${process.execPath}' ${COMMAND.join(' ')} 2`;
    const command = `stty cols 80 rows 24; ${node}; stty -a`;
    const env = readerEnvironment({ TERM: 'xterm', CI: '' });
    const child = spawn('script', ['-qec', command, '/dev/null'], { cwd: root, env });
    t.after(() => child.kill());
    const screen = outputOf(child);
    const press = (key: string) => child.stdin.write(key);
    await screen.until('press e');
    press('e');
    await screen.until('Write add()');
    press('h');
    await screen.until('Hint 1 of 1: Use a sign.');
    press('s');
    await screen.until('return a + b;');
    writeFileSync(join(root, FILE), NO_TOTAL.replace('a + b', 'a - b'));
    await screen.until('one and two');
    press('k');
    await screen.until('Press k again');
    press('k');
    await screen.until('Write total()');
    assert.equal(readFileSync(join(root, FILE), 'utf8'), NO_TOTAL);
    press('e');
    await screen.until('changes that are not committed');
    const solved = SOURCE.replace('add, 0', 'add');
    writeFileSync(join(root, FILE), solved);
    await screen.until('You have written 1, and skipped 1.');
    press('s');
    await screen.until('The original functions');
    spawnSync('git', ['checkout', FILE], { cwd: root });
    await screen.until('This step is complete.');
    assert.equal(readFileSync(join(root, '.git/practice/02-sum.ts'), 'utf8'), solved);
    press('p');
    await screen.until('Step 1 of 2');
    press('q');
    const rest = await screen.end();
    assert.match(rest, /[^-]icanon[^]*[^-]echo\b/, 'the terminal shows what the reader types');
    assert.deepEqual(readProgress(progressFile(root)).finished, [2]);
  });
});

/** Waits for texts in the output of a process. Each text must come after the one before. */
function outputOf(child: ChildProcess) {
  let output = '';
  let from = 0;
  let check = (): void => {};
  child.stdout?.on('data', (chunk) => {
    output += String(chunk);
    check();
  });
  return {
    until: (text: string) =>
      new Promise<void>((resolve, reject) => {
        check = () => {
          // Colors stand between the words.
          const plain = output.slice(from).replaceAll(/\x1b\[[\d;]*[A-Za-z]/g, '');
          if (!plain.includes(text)) return;
          from = output.length;
          resolve();
        };
        child.once('close', () => reject(new Error(`no "${text}" in ${output.slice(from)}`)));
        check();
      }),
    end: () =>
      new Promise<string>((resolve) => child.once('close', () => resolve(output.slice(from)))),
  };
}
