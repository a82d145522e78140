// Do the tests notice a changed expression? Stryker changes a module, and a test should fail.
//
//   npm run bench -- --mutants            four mutants of each module, a quarter of an hour
//   node bench/mutants.js --count=10 --module=03 --seed=7
//
// Without a mutant, all tests must pass. With one, the tests and the proofs of its module run first, then
// those of the modules that import it, and then three more test files. Tests that reach the time limit have
// noticed the mutant, too. Needs Node 22.18 or newer.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Instrumenter } from '@stryker-mutator/instrumenter';
import { makeDice } from './dice.js';
import { table } from './measure.js';
import { ROOT } from './rows.js';

assert.ok(process.features.typescript, 'This needs Node 22.18 or newer');
const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '4' },
    module: { type: 'string', default: '' },
    seed: { type: 'string', default: '1' },
    quick: { type: 'boolean', default: false },
  },
});
const count = values.quick ? 1 : Number(values.count);
const chosen = values.quick ? '03' : values.module;
assert.ok(count > 0 && Number.isInteger(Number(values.seed)), '--count and --seed must be whole numbers');
const TIME_LIMIT = 120_000; // milliseconds for one module
const LAST = ['test/architecture.test.ts', 'test/wire.test.ts', 'test/contracts.test.ts'];

const modules = readdirSync(`${ROOT}src`).filter((name) => name.endsWith('.ts'));
const sources = new Map(modules.map((name) => [name, readFileSync(`${ROOT}src/${name}`, 'utf8')]));
const { shuffled } = makeDice(Number(values.seed));

/** Returns some mutants of a module. */
async function mutantsOf(name) {
  const no = () => false;
  const log = { isTraceEnabled: no, isDebugEnabled: no, trace() {}, debug() {}, info() {}, warn() {} };
  const file = { name: `${ROOT}src/${name}`, content: sources.get(name), mutate: true };
  const options = { plugins: null, ignorers: [], excludedMutations: [] };
  const { mutants } = await new Instrumenter(log).instrument([file], options);
  return shuffled(mutants).slice(0, count).map((mutant) => ({ ...mutant, name }));
}

/** Returns the source with one expression changed. Lines and columns begin at 0. */
function applied({ name, location: { start, end }, replacement }) {
  const lines = sources.get(name).split('\n');
  const before = [...lines.slice(0, start.line), lines[start.line].slice(0, start.column)].join('\n');
  const after = [lines[end.line].slice(end.column), ...lines.slice(end.line + 1)].join('\n');
  return before + replacement + after;
}

/** Returns the modules that import this one, directly or not, from the first to the last. */
function usersOf(name) {
  const users = new Set([name]);
  for (const [other, source] of sources) {
    if ([...users].some((user) => source.includes(`'./${user}'`))) users.add(other);
  }
  users.delete(name);
  return [...users];
}

/** Returns the test files of a module. */
function testsOf(folder, name) {
  const step = name.replace('.ts', '');
  return [`test/${step}.test.ts`, `.proofs/${step}.ts`].filter((file) => existsSync(join(folder, file)));
}

/** Returns whether these tests fail. */
async function fails(folder, files) {
  const env = { ...process.env, CI: 'true', NODE_TEST_CONTEXT: undefined };
  const words = ['--test', '--test-reporter=tap', ...files];
  const child = spawn(process.execPath, words, { cwd: folder, env, detached: true, stdio: 'ignore' });
  const kill = () => process.kill(-child.pid, 'SIGKILL');
  const timer = setTimeout(kill, TIME_LIMIT);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  return code !== 0;
}

/** Returns how a mutant was noticed, or `undefined`. */
async function judge(folder, mutant) {
  const file = join(folder, 'src', mutant.name);
  writeFileSync(file, applied(mutant));
  try {
    const own = testsOf(folder, mutant.name);
    if (own.length > 0 && (await fails(folder, own))) return 'its own tests';
    for (const user of usersOf(mutant.name)) {
      const tests = testsOf(folder, user);
      if (tests.length > 0 && (await fails(folder, tests))) return 'the tests of other modules';
    }
    return (await fails(folder, LAST)) ? 'the tests of other modules' : undefined;
  } finally {
    writeFileSync(file, sources.get(mutant.name));
  }
}

function makeFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'mutants-'));
  const parts = readdirSync(ROOT).filter((name) => !['.git', 'bench', 'node_modules'].includes(name));
  for (const part of parts) cpSync(join(ROOT, part), join(folder, part), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const names = modules.filter((name) => name.startsWith(chosen));
const waiting = [];
for (const name of names) waiting.push(...(await mutantsOf(name)));
const unchecked = [...names];
const results = [];
const work = async () => {
  const folder = makeFolder();
  for (let name; (name = unchecked.shift()); ) {
    const tests = testsOf(folder, name);
    assert.ok(tests.length === 0 || !(await fails(folder, tests)), `${tests} fail without a mutant`);
  }
  for (let mutant; (mutant = waiting.shift()); ) {
    const by = await judge(folder, mutant);
    results.push({ ...mutant, by });
    const place = `${mutant.name}:${mutant.location.start.line + 1}`;
    process.stderr.write(`${waiting.length} left, ${place}: ${by ?? 'not noticed'}\n`);
  }
};
await Promise.all(Array.from({ length: availableParallelism() }, work));

const alive = results.filter(({ by }) => by === undefined);
const by = (what) => results.filter((one) => one.by === what).length;
console.log(table(['mutants', 'noticed by its own tests', 'by the tests of other modules', 'not noticed'],
  [[results.length, by('its own tests'), by('the tests of other modules'), alive.length]]));
const short = (text) => JSON.stringify(text.replace(/\s+/g, ' ').slice(0, 60));
for (const { name, location: { start, end }, replacement } of alive) {
  const line = sources.get(name).split('\n')[start.line];
  const original = line.slice(start.column, end.line === start.line ? end.column : undefined);
  console.log(`\n- src/${name}:${start.line + 1}, column ${start.column + 1}: ${short(original)} → ${short(replacement)}`);
}
