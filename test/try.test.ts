// `npm run try 2 "words"` on a small project: it runs the tests with these words in their names.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deleteAtExit, readerEnvironment } from '../.tools/plain.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SUM = `
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
describe('sum', () => {
  it('add() returns 3 (not 4)', () => {});
  it('add() keeps a^2', (): void => {
    throw new Error('It is 2');
  });
  it('add() returns no function', () => assert.deepEqual({ render: () => '' }, {}));
  it('add() waits', { skip: 'needs Redis' }, () => {});
});
`;
const PROOF = "import { it } from 'node:test';\nit('add() is proven', () => {});\n";

const root = mkdtempSync(join(tmpdir(), 'try-'));
for (const folder of ['test', '.proofs']) mkdirSync(join(root, folder));
for (const name of ['start.js', 'try.ts', 'short.js']) {
  cpSync(join(ROOT, '.tools', name), join(root, '.tools', name));
}
writeFileSync(join(root, 'package.json'), '{ "type": "module" }\n');
writeFileSync(join(root, 'test/02-sum.test.ts'), SUM);
writeFileSync(join(root, '.proofs/02-sum.ts'), PROOF);
symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'), 'junction');
deleteAtExit(root);

/** Returns the exit code, and what the command prints. */
function tryStep(...words: string[]): [number | null, string] {
  const command = ['.tools/start.js', '.tools/try.ts', ...words];
  const options = { cwd: root, env: readerEnvironment(), encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, command, options);
  return [status, stdout + stderr];
}

describe('npm run try', () => {
  it('runs the tests with these words, and takes no character as a pattern', () => {
    assert.deepEqual(tryStep('2', 'returns 3 (not 4)'), [0, '✔ add() returns 3 (not 4)\n']);
    assert.deepEqual(tryStep('02', 'is', 'proven'), [0, '✔ add() is proven\n']);
  });

  it('shows the message of a failure, and fails', () => {
    assert.deepEqual(tryStep('2', 'a^2'), [1, '✖ add() keeps a^2\n  It is 2\n']);
  });

  it('shows the message of an error that contains a function', () => {
    const [status, output] = tryStep('2', 'no function');
    assert.equal(status, 1);
    assert.match(output, /^✖ add\(\) returns no function\n {2}Expected values to be .*\n[^]*render/);
  });

  it('runs all tests of the step without words', () => {
    const [status, output] = tryStep('2');
    assert.equal(status, 1);
    assert.equal(output.match(/^[✔✖–] /gm)?.length, 5, output);
  });

  it('names the failures again below many lines', (t) => {
    const file = join(root, 'test/04-many.test.ts');
    const tests = Array.from({ length: 11 }, (_, i) => `it('test ${i}', () => assert.ok(${i}));\n`);
    const imports = ["import assert from 'node:assert';\n", "import { it } from 'node:test';\n"];
    writeFileSync(file, [...imports, ...tests].join(''));
    t.after(() => rmSync(file));
    const [status, output] = tryStep('4');
    assert.equal(status, 1);
    assert.match(output, /\n✔ test 10\n1 of 11 tests failed:\n {2}✖ test 0\n$/);
  });

  it('shows the reason of a skipped test, and hides the tests that the words exclude', () => {
    assert.deepEqual(tryStep('2', 'waits'), [0, '– add() waits (skipped: needs Redis)\n']);
  });

  it('shows the error of a file that cannot be loaded', (t) => {
    const file = join(root, 'test/03-broken.test.ts');
    writeFileSync(file, "throw new Error('Step 3: sum() is still to be written');\n");
    t.after(() => rmSync(file));
    const [status, output] = tryStep('3');
    assert.equal(status, 1);
    assert.match(output, /^✖ .*03-broken\.test\.ts\n {2}Error: Step 3: sum\(\) is still/);
  });

  it('shows an error that a test causes after its end', (t) => {
    const file = join(root, 'test/04-late.test.ts');
    const run = "() => void setImmediate(setImmediate, () => { throw new Error('too late'); })";
    writeFileSync(file, `import { it } from 'node:test';\nit('add() is late', ${run});\n`);
    t.after(() => rmSync(file));
    const [status, output] = tryStep('4');
    assert.equal(status, 1);
    assert.match(output, /✖ .*04-late\.test\.ts\n {2}Error: Test "add\(\) is late" .*too late/);
  });

  it('fails if no test has these words, or if there is no such step', () => {
    assert.deepEqual(tryStep('2', 'add.*'), [1, 'No test of this step has a name with: add.*\n']);
    const message = 'There is no step 9. Name a step: npm run try 11 "Max-Age"\n';
    assert.deepEqual(tryStep('9'), [1, message]);
    assert.equal(tryStep()[0], 1);
  });
});
