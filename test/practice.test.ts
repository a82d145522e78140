// `npm run practice 3` on a small project: it empties code, shows hints, and rejects mistakes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { emptyBodies, hintsOf, practise } from '../.tools/practice.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FILE = 'src/02-sum.ts';
const SOURCE = [
  '/** Returns the sum. */',
  'export function sum(a: number): number {',
  '  return a;',
  '}',
  'export const product = (a: number): number => a;',
  '',
].join('\n');
const NO_SUM = SOURCE.replace(
  'return a',
  "throw new Error('Step 2: sum() is still to be written')",
);
const EMPTY = NO_SUM.replace(
  '=> a',
  "=> {\n  throw new Error('Step 2: product() is still to be written');\n}",
);
const HINTS = '# Hints\n\n1. Add\n   them.\n2. All.\n';

const hasGit = spawnSync('git', ['--version']).status === 0;
const skip = hasGit || process.env.CI ? false : 'needs git: https://git-scm.com/downloads';

function git(root: string, ...args: string[]): string {
  const author = ['-c', 'user.name=a', '-c', 'user.email=a@example', '-c', 'commit.gpgsign=false'];
  return spawnSync('git', [...author, ...args], { cwd: root, encoding: 'utf8' }).stdout;
}

/** Returns the folder of a project with two steps, all of it committed. */
function makeProject(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'practice-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const folder of ['src', 'test']) mkdirSync(join(root, folder));
  writeFileSync(join(root, 'test/02-sum.hints.md'), HINTS);
  writeFileSync(join(root, 'src/01-one.ts'), 'export const one = () => 1;\n');
  writeFileSync(join(root, FILE), SOURCE);
  git(root, 'init', '-q');
  git(root, 'add', '.');
  git(root, 'commit', '-q', '-m', 'Begin');
  return root;
}

describe('practise()', { skip }, () => {
  it('practise() empties the module, says what to do next, and git restores it', (t) => {
    const root = makeProject(t);
    const { isDone, message } = practise(root, ['2']);
    assert.ok(isDone);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), EMPTY);
    assert.equal(git(root, 'status', '--porcelain').trim(), `M ${FILE}`, 'no other file changed');
    const next = ['sum()', '--test test/02-sum.test.ts', '2 -- --hint', `checkout ${FILE}`];
    for (const part of next) assert.ok(message.includes(part), `${part} is missing: ${message}`);
    git(root, 'checkout', FILE);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), SOURCE);
  });

  it('practise() offers a hint only if the step has hints', (t) => {
    const root = makeProject(t);
    const [with2, without1] = ['2', '1'].map((step) => practise(root, [step]).message);
    assert.match(with2 ?? '', /--hint/);
    assert.doesNotMatch(without1 ?? '', /--hint/);
    assert.match(without1 ?? '', /npm run check/);
  });

  it('practise() runs the tests of SQLite with a Node that has SQLite', (t) => {
    const root = makeProject(t);
    writeFileSync(join(root, 'src/03-sqlite.ts'), SOURCE);
    git(root, 'add', '.');
    git(root, 'commit', '-q', '-m', 'Add a step');
    t.mock.method(process, 'getBuiltinModule', () => undefined);
    assert.match(practise(root, ['3']).message ?? '', /npx -y node@24 --test test\/03-sqlite/);
    assert.doesNotMatch(practise(root, ['2']).message ?? '', /node@24/);
  });

  it('practise() empties one function if the command names it', (t) => {
    const root = makeProject(t);
    assert.ok(practise(root, ['2', 'sum']).isDone);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), NO_SUM);
    git(root, 'checkout', FILE);
    const message = 'src/02-sum.ts exports no function su.';
    assert.deepEqual(practise(root, ['2', 'su']), { isDone: false, message });
    assert.equal(readFileSync(join(root, FILE), 'utf8'), SOURCE);
  });

  it('practise() rejects a file with changes that are not committed, staged or not', (t) => {
    const root = makeProject(t);
    const changed = `${SOURCE}// a note of the reader\n`;
    writeFileSync(join(root, FILE), changed);
    for (const state of ['not staged', 'staged']) {
      const { isDone, message } = practise(root, ['2']);
      assert.ok(!isDone, state);
      assert.match(message, /^src\/02-sum\.ts has changes that are not committed.*\n.*checkout/);
      assert.equal(readFileSync(join(root, FILE), 'utf8'), changed, 'the changes are still there');
      git(root, 'add', '.');
    }
    writeFileSync(join(root, 'src/01-one.ts'), 'export const one = () => 2;\n');
    git(root, 'commit', '-q', '-m', 'Change');
    assert.ok(practise(root, ['2']).isDone, 'another file may have changes');
  });

  it('practise() rejects a step that does not exist, and a command without a step', (t) => {
    const root = makeProject(t);
    for (const step of ['0', '3', 'two', '1.0']) {
      const { isDone, message } = practise(root, [step]);
      assert.ok(!isDone, step);
      assert.equal(message, `There is no step ${step}. The steps are 1 to 2.`);
    }
    assert.ok(practise(root, ['02']).isDone, 'the number as in the name of the file');
    for (const words of [[], ['--hint'], [''], ['1', 'one', 'two']]) {
      assert.equal(practise(root, words).message, 'Name one step: npm run practice 3');
    }
  });

  it('practise() rejects a folder without git, which could not restore the file', (t) => {
    const root = makeProject(t);
    rmSync(join(root, '.git'), { recursive: true });
    assert.match(practise(root, ['2']).message, /^Practice needs a git repository/);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), SOURCE);
  });

  it('practise() shows the next hint each time, and starts again with a new practice', (t) => {
    const root = makeProject(t);
    const hint = () => practise(root, ['2', '--hint']).message;
    practise(root, ['2']);
    assert.deepEqual([hint(), hint()], ['Hint 1 of 2: Add them.', 'Hint 2 of 2: All.']);
    assert.match(hint(), /^There are no more hints\. .*git diff src\/02-sum\.ts$/);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), EMPTY, 'a hint changes no file');
    git(root, 'checkout', FILE);
    practise(root, ['2']);
    assert.equal(hint(), 'Hint 1 of 2: Add them.');
    assert.equal(git(root, 'status', '--porcelain').trim(), `M ${FILE}`, 'the count is elsewhere');
    assert.match(practise(root, ['1', '--hint']).message, /^Step 1 has no hints\. /);
  });

  /** Runs the program as npm does, in a project of its own. */
  function run(root: string, word: string, env = {}) {
    for (const name of ['practice.ts', 'tokens.ts']) {
      cpSync(join(ROOT, '.tools', name), join(root, '.tools', name));
    }
    const isNative = Boolean(Reflect.get(process.features, 'typescript'));
    const tsx = isNative ? [] : ['--import', import.meta.resolve('tsx')];
    return spawnSync(process.execPath, [...tsx, join(root, '.tools/practice.ts'), word], {
      encoding: 'utf8',
      env: { ...process.env, NODE_NO_WARNINGS: '1', ...env },
    });
  }

  it('practice.ts prints an error message on stderr and exits with 1', (t) => {
    const { status, stdout, stderr } = run(makeProject(t), '99');
    const message = 'There is no step 99. The steps are 1 to 2.\n';
    assert.deepEqual([status, stdout, stderr], [1, '', message]);
  });

  it('practice.ts shows a hint and empties nothing if npm has taken --hint as its option', (t) => {
    const root = makeProject(t);
    const { stdout } = run(root, '2', { npm_config_hint: 'true' });
    assert.equal(stdout, 'Hint 1 of 2: Add them.\n');
    assert.equal(readFileSync(join(root, FILE), 'utf8'), SOURCE);
  });
});

describe('emptyBodies()', () => {
  const throwing = (name: string, indent = '') =>
    `{\n${indent}  throw new Error('Step 7: ${name} is still to be written');\n${indent}}`;

  it('emptyBodies() empties exported functions, and keeps signatures and comments', () => {
    const source = [
      '// A { brace } and a `tick` in a comment',
      "const TEXT = '{'; // unexported",
      'function helper() {',
      '  return /[{}/]/.test(TEXT);',
      '}',
      '/** Doc { comment }. */',
      'export async function a<T extends { b: string }>(',
      '  { b }: T,',
      "  c = { d: '}' },",
      '): Promise<{ e: string } | undefined> {',
      '  return helper() ? { e: `${b}${`}`}` } : undefined;',
      '}',
      'export const f: (n: number) => { g: number } = (n) => ({ g: n / 2 / 1 });',
      'export const h = async (n: number) => {',
      '  return n;',
      '};',
      'export const I = { j: () => 1 };',
      'export type K = { l: () => void };',
      '',
    ].join('\n');
    const { source: emptied, names } = emptyBodies(source, 7);
    assert.deepEqual(names, ['a()', 'f()', 'h()']);
    const expected = source
      .replace(/\{\n {2}return helper\(\) \?[^]*?\n\}/, throwing('a()'))
      .replace('({ g: n / 2 / 1 })', throwing('f()'))
      .replace('{\n  return n;\n}', throwing('h()'));
    assert.equal(emptied, expected);
  });

  it('emptyBodies() empties constructors, methods, accessors and arrow fields of a class', () => {
    const source = [
      'export class A<T extends object = { b: 1 }> extends Map<string, T> implements B<{ c: 1 }> {',
      '  static readonly d: { e: number } = { e: 1 };',
      '  readonly #f = new Map<string, () => void>();',
      '  private constructor({ g = {} }: { g?: object }) {',
      '    super();',
      '  }',
      '  override get<K>(key: string): T | undefined {',
      '    return super.get(key);',
      '  }',
      '  get h(): number {',
      '    return 1;',
      '  }',
      '  readonly i: Handler = (r) => {',
      '    return r;',
      '  };',
      '  async #j(): Promise<void> {',
      '    if (this.h) { await 1; }',
      '  }',
      '}',
      '',
    ].join('\n');
    const { source: emptied, names } = emptyBodies(source, 7);
    assert.deepEqual(names, ['new A()', 'A.get()', 'A.h', 'A.i()', 'A.#j()']);
    const expected = source
      .replace('{\n    super();\n  }', throwing('new A()', '  '))
      .replace('{\n    return super.get(key);\n  }', throwing('A.get()', '  '))
      .replace('{\n    return 1;\n  }', throwing('A.h', '  '))
      .replace('{\n    return r;\n  }', throwing('A.i()', '  '))
      .replace('{\n    if (this.h) { await 1; }\n  }', throwing('A.#j()', '  '));
    assert.equal(emptied, expected);
  });

  it('emptyBodies() selects one function, one method, or a constructor by its name', () => {
    const source = 'export class A {\n  constructor() {}\n  get() {}\n}\nexport function get() {}';
    const selected = (wanted: string): string[] => emptyBodies(source, 7, wanted).names;
    assert.deepEqual(selected('A'), ['new A()']);
    assert.deepEqual(selected('A.get'), ['A.get()']);
    assert.deepEqual(selected('get'), ['A.get()', 'get()']);
    assert.deepEqual(selected('ge'), []);
  });

  it('emptyBodies() keeps the functions that start the program, unless their name is wanted', () => {
    const names = ['a', 'isMain', 'isProgram', 'serve', 'serveAll'];
    const source = names.map((name) => `export const ${name} = () => 1;\n`).join('');
    assert.deepEqual(emptyBodies(source, 7).names, ['a()', 'serveAll()']);
    assert.deepEqual(emptyBodies(source, 7, 'serve').names, ['serve()']);
  });

  it('hintsOf() returns the items of the numbered list, or nothing without a list', () => {
    assert.deepEqual(hintsOf(HINTS), ['Add them.', 'All.']);
    assert.deepEqual(hintsOf(''), []);
    assert.deepEqual(hintsOf(`${HINTS}\n## Your turn\n\n1. A solution.\n`), ['Add them.', 'All.']);
  });
});
