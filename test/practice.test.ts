// `npm run practice 9`, on a small project of its own: what it empties, refuses and hints.
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
const SOURCE = '/** The sum. */\nexport function sum(a: number): number {\n  return a;\n}\n';
const EMPTY = SOURCE.replace('return a', "throw new Error('Step 2: sum() is still to be written')");
const LESSON = [
  '# Lesson', '', '## Step 1 · One', '<details>', '<summary>Hints</summary>', '', '1. Not this.',
  '</details>', '## Step 2 · Two', '<details>', '<summary>Answer</summary>', '1. Nor this.',
  '</details>', '<details>', '<summary>Hints</summary>', '', '1. Add', '   them.', '2. All.', '',
  '</details>', '',
].join('\n');

const hasGit = spawnSync('git', ['--version']).status === 0;
const skip = hasGit || process.env.CI ? false : 'needs git: https://git-scm.com/downloads';

function git(root: string, ...args: string[]): string {
  const author = ['-c', 'user.name=a', '-c', 'user.email=a@example', '-c', 'commit.gpgsign=false'];
  return spawnSync('git', [...author, ...args], { cwd: root, encoding: 'utf8' }).stdout;
}

/** A project of two steps, committed. */
function makeProject(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'practice-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, 'src'));
  writeFileSync(join(root, 'LESSON.md'), LESSON);
  writeFileSync(join(root, 'src/01-one.ts'), 'export const one = 1;\n');
  writeFileSync(join(root, FILE), SOURCE);
  git(root, 'init', '-q');
  git(root, 'add', '.');
  git(root, 'commit', '-q', '-m', 'Begin');
  return root;
}

describe('practise()', { skip }, () => {
  it('practise() empties the module, says what to do next, and git brings it back', (t) => {
    const root = makeProject(t);
    const { isDone, words } = practise(root, ['2']);
    assert.ok(isDone);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), EMPTY);
    assert.equal(git(root, 'status', '--porcelain').trim(), `M ${FILE}`, 'and nothing else');
    const next = ['sum()', '--test test/02-sum.test.ts', '2 -- --hint', `checkout ${FILE}`];
    for (const part of next) assert.ok(words.includes(part), `it does not say ${part}: ${words}`);
    git(root, 'checkout', FILE);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), SOURCE);
  });

  it('practise() refuses a file with changes that are not committed, staged or not', (t) => {
    const root = makeProject(t);
    const changed = `${SOURCE}// mine\n`;
    writeFileSync(join(root, FILE), changed);
    for (const step of ['as it is', 'staged']) {
      const { isDone, words } = practise(root, ['2']);
      assert.ok(!isDone, step);
      assert.match(words, /^src\/02-sum\.ts has changes that are not committed.*\n.*git checkout/);
      assert.equal(readFileSync(join(root, FILE), 'utf8'), changed, 'nothing is lost');
      git(root, 'add', '.');
    }
    writeFileSync(join(root, 'src/01-one.ts'), 'export const one = 2;\n');
    git(root, 'commit', '-q', '-m', 'Mine');
    assert.ok(practise(root, ['2']).isDone, 'another file may have changes');
  });

  it('practise() refuses in words a step that does not exist, and none at all', (t) => {
    const root = makeProject(t);
    for (const step of ['0', '3', 'two', '1.0', '']) {
      const { isDone, words } = practise(root, [step]);
      assert.ok(!isDone, step);
      assert.equal(words, `There is no step ${step}: the steps are 1 to 2.`);
    }
    assert.ok(practise(root, ['02']).isDone, 'as the file is called');
    for (const none of [[], ['--hint'], ['1', '2']]) {
      assert.equal(practise(root, none).words, 'Say which step: npm run practice 9');
    }
  });

  it('practise() refuses outside of a git repository, which alone brings a file back', (t) => {
    const root = makeProject(t);
    rmSync(join(root, '.git'), { recursive: true });
    assert.match(practise(root, ['2']).words, /^Practice needs git, which brings src\/02-sum\.ts/);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), SOURCE);
  });

  it('practise() gives one hint more each time, and begins anew with a new practice', (t) => {
    const root = makeProject(t);
    const hint = () => practise(root, ['2', '--hint']).words;
    practise(root, ['2']);
    assert.deepEqual([hint(), hint()], ['Hint 1 of 2: Add them.', 'Hint 2 of 2: All.']);
    assert.match(hint(), /^There are no more hints\. .*git diff src\/02-sum\.ts$/);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), EMPTY, 'a hint changes nothing');
    git(root, 'checkout', FILE);
    practise(root, ['2']);
    assert.equal(hint(), 'Hint 1 of 2: Add them.');
    assert.equal(git(root, 'status', '--porcelain').trim(), `M ${FILE}`, 'the count is not there');
  });

  /** Runs the program as npm does, in a project of its own. */
  function run(root: string, word: string, env = {}) {
    cpSync(join(ROOT, '.tools/practice.ts'), join(root, '.tools/practice.ts'));
    const tsx = Reflect.get(process.features, 'typescript') ? [] : ['--import', import.meta.resolve('tsx')];
    return spawnSync(process.execPath, [...tsx, join(root, '.tools/practice.ts'), word], {
      encoding: 'utf8',
      env: { ...process.env, NODE_NO_WARNINGS: '1', ...env },
    });
  }

  it('practice.ts as a program prints refusals on stderr, and exits with 1', (t) => {
    const { status, stdout, stderr } = run(makeProject(t), '99');
    const refusal = 'There is no step 99: the steps are 1 to 2.\n';
    assert.deepEqual([status, stdout, stderr], [1, '', refusal]);
  });

  it('practice.ts empties nothing where npm has kept --hint to itself', (t) => {
    const root = makeProject(t);
    const { stdout } = run(root, '2', { npm_config_hint: 'true' });
    assert.equal(stdout, 'Hint 1 of 2: Add them.\n');
    assert.equal(readFileSync(join(root, FILE), 'utf8'), SOURCE);
  });
});

describe('emptyBodies()', () => {
  const throwing = (name: string, indent = '') =>
    `{\n${indent}  throw new Error('Step 7: ${name} is still to be written');\n${indent}}`;

  it('emptyBodies() empties what is exported, and keeps signatures, comments and the rest', () => {
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
      '  constructor({ g = {} }: { g?: object }) {',
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

  it('hintsOf() gives the list under the step’s own Hints, and nothing where there is none', () => {
    assert.deepEqual(hintsOf(LESSON, 2), ['Add them.', 'All.']);
    assert.deepEqual(hintsOf(LESSON, 3), []);
  });
});
