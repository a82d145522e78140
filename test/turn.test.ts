// `npm run turn 5`. Each check must reject the project as it is, and accept the solution of its
// hints, which this file applies to a copy of the project.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { applyDiff, fencesIn, linesOf, parseLesson } from '../.tools/page.ts';
import { copyProject, readerEnvironment, writeSource } from '../.tools/plain.ts';
import { skipSlow } from '../.tools/quick.ts';
import { checkTurn } from '../.tools/turn.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAX_SECONDS = 60; // for a check on a busy machine
const QUICK = [5]; // the steps whose solutions the quick suite checks too

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const checks = readdirSync(join(ROOT, '.turns')).sort();
const steps = parseLesson(read('LESSON.md'));
const hintsOf = (name: string): string => `test/${basename(name, '.ts')}.hints.md`;

/** Returns the prose of "Your turn", or `''`. */
function turnOf(step: number): string {
  const sections = steps.find(({ number }) => number === step)?.sections ?? [];
  return sections.find(({ heading }) => heading === 'Your turn')?.prose ?? '';
}

const copies: string[] = []; // that no test uses at the moment

async function borrowCopy(t: TestContext): Promise<string> {
  const folder = copies.pop() ?? (await copyProject());
  t.after(() => copies.push(folder));
  return folder;
}

/**
 * Applies the fences of a solution. A `diff` changes the module. A proof is added to the module. The
 * command that writes forged.txt runs. Another fence with the name of a file becomes this file.
 */
async function applySolution(t: TestContext, folder: string, name: string): Promise<void> {
  const module = `src/${name}`;
  const original = await readFile(join(folder, module), 'utf8');
  let source = original;
  const write = async (file: string, text: string): Promise<void> => {
    const path = join(folder, file);
    await (file.endsWith('.ts') ? writeSource(path, text) : writeFile(path, text));
    const paths = [path, path.replace(/\.ts$/, '.js')];
    t.after(() => Promise.all(paths.map((one) => rm(one, { force: true }))));
  };
  for (const fence of fencesIn(read(hintsOf(name)), 'Your turn')) {
    const { language, file, lines } = fence;
    const text = lines.map((line) => `${line}\n`).join('');
    if (language === 'diff') source = applyDiff({ ...fence, file: module }, linesOf(source));
    else if (file.startsWith('.proofs/')) source += text;
    else if (file !== '') await write(file, text);
    else if (text.includes('forged.txt')) {
      const options = { cwd: folder, env: readerEnvironment(), encoding: 'utf8' } as const;
      const { status, stderr } = spawnSync('bash', ['-c', text], options);
      assert.equal(status, 0, stderr);
      t.after(() => rm(join(folder, 'forged.txt')));
    }
  }
  await writeSource(join(folder, module), source);
  t.after(() => writeSource(join(folder, module), original));
}

describe('npm run turn', () => {
  it('has a check for a step exactly if the page names the command', () => {
    const numbers = steps.map(({ number }) => number);
    const named = numbers.filter((step) => turnOf(step).includes(`\`npm run turn ${step}\``));
    assert.deepEqual(checks.map((name) => Number(name.slice(0, 2))), named);
  });

  it('shows a solution that says how to undo it, for each exercise', async () => {
    for (const { number } of steps.filter((step) => turnOf(step.number) !== '')) {
      const name = readdirSync(join(ROOT, 'src')).find((one) => Number(one.slice(0, 2)) === number);
      const fences = fencesIn(read(hintsOf(name ?? '')), 'Your turn');
      const text = read(hintsOf(name ?? '')).split('## Your turn\n')[1] ?? '';
      assert.ok(text.length > 40, `step ${number} has a solution`);
      if (!fences.some(({ language, file }) => language === 'diff' || file !== '')) continue;
      assert.match(text, /`(?:git checkout src\/[\w-]+\.ts|rm [\w/]+\.\w+)`/, `step ${number}`);
    }
  });

  it('shows the commands and the solution of an exercise without a check', async () => {
    const { isDone, message } = await checkTurn(ROOT, '27');
    assert.equal(isDone, true);
    assert.match(message, /no check\. [^]*\n {2}curl .*\n[^]*A solution:\n\nNo: the count is 1\./);
  });

  it('does not show a value that the reader predicts', async () => {
    const { isDone, message } = await checkTurn(ROOT, '3', MAX_SECONDS);
    assert.equal(isDone, false);
    assert.match(message, /^ +expected: \(your prediction\)\n +received: 87$/m);
    assert.doesNotMatch(message, /44/);
  });

  it('names the mistake if there is no such step', async () => {
    for (const word of ['40', '0', 'x', undefined]) {
      const { isDone, message } = await checkTurn(ROOT, word);
      assert.equal(isDone, false);
      assert.match(message, /^There is no step '\w*'\. Name a step: npm run turn 5$/);
    }
  });

  it('ends a check that does not end, and shows a syntax error without a stack', async (t) => {
    const folder = await borrowCopy(t);
    const path = join(folder, '.turns/05-router.ts');
    const original = await readFile(path, 'utf8');
    t.after(() => writeSource(path, original));
    await writeSource(path, 'for (;;);');
    const endless = await checkTurn(folder, '5', 1);
    assert.equal(endless.isDone, false);
    assert.match(endless.message, /did not end within 1 seconds\. Is there an endless loop/);
    assert.match(endless.message, /If the machine is slow or busy, try again\.$/m);
    await writeSource(path, "import { nothing } from '../src/05-router.ts';\nnothing();\n");
    const broken = await checkTurn(folder, '5', MAX_SECONDS);
    assert.equal(broken.isDone, false);
    assert.match(broken.message, /SyntaxError: .*'nothing'/);
    assert.doesNotMatch(broken.message, /^ +at /m);
  });
});

describe('npm run turn: the solutions', { concurrency: 2 }, () => {
  for (const name of checks) {
    const step = Number(name.slice(0, 2));
    const skip = !QUICK.includes(step) && skipSlow('test/turn.test.ts');
    it(`step ${step} is not solved at first, and the solution solves it`, { skip }, async (t) => {
      const folder = await borrowCopy(t);
      const before = await checkTurn(folder, `${step}`, MAX_SECONDS);
      assert.equal(before.isDone, false, before.message);
      assert.match(before.message, /^✖ [^]+\n {2}\S[^]+not solved yet/);
      assert.doesNotMatch(before.message, /A solution:|Error: /);
      await applySolution(t, folder, name);
      const after = await checkTurn(folder, `${step}`, MAX_SECONDS);
      assert.equal(after.isDone, true, after.message);
      assert.match(after.message, /^✔ [^✖]+\nA solution:\n\n\S/);
    });
  }
});
