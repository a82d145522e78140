// What a reader sees who writes a step after `npm run practice`. These tests run the tests of each
// step on a copy of the project, without the code of the step, and with wrong attempts that hang.
//
// The quick suite only empties each step.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bodiesOf, emptyBodies, hintsOf } from '../.tools/practice.ts';
import { skipSlow } from '../.tools/quick.ts';
import { runTest, testFileOf, type TestRun, workshopWith } from '../.tools/workshop.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FILE = 'test/attempts.test.ts';
const CONCURRENCY = availableParallelism() + 1;
const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;

const names = readdirSync(join(ROOT, 'src')).filter((name) => /^\d\d-/.test(name)).sort();
const modules = names.map((name) => {
  const source = readFileSync(join(ROOT, 'src', name), 'utf8');
  const canRun = hasSqlite || !source.includes('node:sqlite'); // Node 20 has no node:sqlite
  return { number: Number(name.slice(0, 2)), file: `src/${name}`, source, canRun };
});
const runnable = modules.filter(({ canRun }) => canRun);

describe('npm run practice empties each step', { concurrency: CONCURRENCY }, () => {
  for (const { number, file, source: original } of runnable) {
    it(`step ${number} without its code fails its tests, which name the code`, async (t) => {
      const { source, names } = emptyBodies(original, number);
      const folder = await workshopWith(t, file, source);
      const { isTimedOut, hasFailed, tap, stderr } = await runTest(folder, testFileOf(file));
      const details = `: ${file}\n${tap}${stderr}`;
      assert.ok(!isTimedOut, `A test hangs instead of a failure${details}`);
      assert.ok(hasFailed, `The tests pass without the code${details}`);
      const first = /\bStep (\d+): (.+) is still to be written/.exec(tap + stderr);
      assert.equal(first?.[1], `${number}`, `The first failure does not name the code${details}`);
      const isEmpty = names.includes(first?.[2] ?? '');
      assert.ok(isEmpty, `The first failure names code that is not empty${details}`);
      const named = new Set([...(tap + stderr).matchAll(/\bStep (\d+)/g)].map(([, step]) => step));
      assert.deepEqual([...named], [`${number}`], `A failure names another step${details}`);
    });
  }
});

/** Returns the names of all functions of a step, also of those that start the program. */
function namesOf(source: string): string[] {
  return bodiesOf(source).map(({ name }) => name);
}

/** Returns the names at the beginning of a hint or of a title: `a() and b() return …`. */
function namesAt(text: string, names: readonly string[]): string[] {
  const found: string[] = [];
  for (let rest = text; ; ) {
    const [word = '', name = ''] = /^`?((?:new )?[\w.#]+)(?:\(\))?`?/.exec(rest) ?? [];
    // `Signer()` is the constructor, and `Signer` is the whole class.
    const isConstructor = /^`?(?:new )?[A-Z]\w*\(\)/.test(word);
    const full = isConstructor ? `new ${name.replace('new ', '')}()` : name;
    found.push(...names.filter((one) => one === full || one === `${name}()`));
    const [, next] = /^(?:,| and) (.*)/s.exec(rest.slice(word.length)) ?? [];
    if (next === undefined) return found;
    rest = next;
  }
}

/** Returns the functions of a step in the order of its hints, which is from easy to hard. */
function orderOf(file: string, source: string): string[] {
  return [...new Set(hintsFor(file).flatMap((hint) => namesAt(hint, namesOf(source))))];
}

function hintsFor(file: string): string[] {
  const name = testFileOf(file).replace('.test.ts', '.hints.md');
  return hintsOf(readFileSync(join(ROOT, name), 'utf8'));
}

describe('the hints of a step', () => {
  for (const { number, file, source } of modules) {
    it(`step ${number} has hints for each function, and each begins with the name of one`, () => {
      const names = namesOf(source);
      assert.deepEqual(orderOf(file, source).sort(), names.sort());
      for (const hint of hintsFor(file)) assert.notDeepEqual(namesAt(hint, names), [], hint);
    });
  }
});

type Failure = { readonly title: string; readonly details: string };

/** Returns the tests that failed, without the groups. */
function failuresIn({ tap }: TestRun): Failure[] {
  const parts = tap.split(/^( *)(?=(?:not )?ok \d+ - )/m);
  const failures: Failure[] = [];
  for (let i = 2; i < parts.length; i += 2) {
    const part = parts[i] ?? '';
    const [, title] = /^not ok \d+ - (.*)/.exec(part) ?? [];
    if (title === undefined || /^ *type: 'suite'/m.test(part)) continue;
    failures.push({ title: title.replace(/\\(?=[\\#])/g, ''), details: part });
  }
  return failures;
}

// A function that no test can call alone: a constructor, and a method that is private or protected.
const isInner = (name: string, source: string): boolean =>
  /^new |#/.test(name) ||
  new RegExp(`protected .*\\b${name.split('.').at(-1)?.replace('()', '')}\\b`).test(source);

// Scrypt with the real cost takes seconds. These tests run for `site()` only.
const EXPENSIVE: Record<number, string> = { 21: '^(USERS|site|hashPassword.. has OWASP)' };

/**
 * If one of these functions is empty, a test of an easier function fails too. The easier function
 * calls it, or the test needs it.
 */
const NEEDED_EARLIER: Record<number, string[]> = {
  3: ['Signer.encode()'],
  5: ['Router.#find()', 'Router.get()', 'Router.post()', 'Router.handle()'],
  7: ['Session.toJSON()', 'Session.isChanged'],
  8: ['CookieSessionFactory.create()'],
  13: ['RouteGroup.with()'],
  16: ['CookieJar.headerFor()'],
  24: ['Sealer.encode()', 'Sealer.decode()'],
  25: [
    'MemoryStore.#keep()', 'MemoryStore.get()', 'MemoryStore.put()', 'StoredSessionFactory.create()',
    'StoredSessionFactory.write()', 'StoredSessionFactory.open()', 'StoredSessionFactory.save()',
  ],
  26: ['VersionedSessionFactory.#replace()', 'VersionedSessionFactory.#inOrder()'],
  27: ['SqliteStore.put()', 'SqliteStore.delete()'],
  28: ['makeDeviceSite()'],
  30: ['addApi()'],
  31: ['RespConnection.close()'],
  33: ['RedisStore.put()'],
  34: ['fileHandler()'],
  38: ['operate()'],
  39: ['FastSigner.encode()', 'FastSigner.decode()'],
};

// They start a process for each function, so they run on one Node: the newest.
const isOld = !Reflect.get(process.features, 'typescript');

describe('an empty function fails its own tests', { concurrency: CONCURRENCY }, () => {
  const skip = isOld ? false : skipSlow(FILE);
  for (const { number, file, source: original } of isOld ? [] : runnable) {
    const order = orderOf(file, original);
    for (const name of namesOf(original)) {
      it(`step ${number} without ${name}`, { skip }, async (t) => {
        const plainName = name.replace(/^new |\(\)$/g, '');
        const { source } = emptyBodies(original, number, plainName);
        const folder = await workshopWith(t, file, source);
        const expensive = name === 'site()' ? undefined : EXPENSIVE[number];
        const options = expensive ? [`--test-skip-pattern=${expensive}`] : [];
        const run = await runTest(folder, testFileOf(file), options, { TIME_LIMIT: '8' });
        const details = `: ${file}\n${run.tap}${run.stderr}`;
        assert.ok(!run.isTimedOut, `A test hangs instead of a failure${details}`);
        assert.deepEqual(run.leftovers, [], `A process did not end${details}`);
        const cause = `Step ${number}: ${name} is still to be written`;
        assert.ok(details.includes(cause), `No failure names the function${details}`);
        const failures = failuresIn(run);
        const isLoaded = failures.some(({ title }) => !title.endsWith('.js'));
        if (!isLoaded) return; // the module calls the function while it loads, so no test can run
        const own = failures.filter(({ title }) => namesAt(title, order).includes(name));
        const isNamed = own.some((failure) => failure.details.includes(cause));
        assert.ok(isNamed || isInner(name, original), `No test of its own fails${details}`);
        if (NEEDED_EARLIER[number]?.includes(name)) return;
        const earlier = order.slice(0, order.indexOf(name));
        const others = failures.filter(({ title }) => {
          const owners = namesAt(title, order);
          return owners.length > 0 && owners.every((owner) => earlier.includes(owner));
        });
        const titles = others.map(({ title }) => title);
        assert.deepEqual(titles, [], `The tests of an easier function fail${details}`);
      });
    }
  }
});

const NEVER = 'new Promise(() => {})';

/** Wrong attempts that a reader can make: the whole body of a function. */
const ATTEMPTS: [step: number, name: string, what: string, body: string][] = [
  [1, 'countVisits', 'never responds', ''],
  [1, 'serve', 'never listens', 'return setInterval(() => {}, 1000), make(listener);'],
  [2, 'parseCookies', 'is an endless loop', "for (let i = 0; i < 1; ) i = header.indexOf(';');"],
  [2, 'countVisits', 'sends headers, but no end', "response.write('Count: 1');"],
  [3, 'Signer.decode', 'is an endless loop', 'for (let text = value; ; ) text = text.slice(0);'],
  [4, 'toListener', 'never calls the handler', 'return () => {};'],
  [4, 'toListener', 'never ends the response', 'return (_, response) => response.writeHead(200);'],
  [5, 'Router.handle', 'never settles', `return ${NEVER};`],
  [7, 'Session.update', 'is an endless loop', 'for (;;) this.set(key, fn(this.get(key)));'],
  [8, 'CookieSessionFactory.open', 'never settles', `return ${NEVER};`],
  [8, 'CookieSessionFactory.save', 'never settles', `return ${NEVER};`],
  [8, 'withSession', 'never calls the page', `return () => () => ${NEVER};`],
  [11, 'withTimeouts', 'never opens', `factory.open = () => ${NEVER}; return factory;`],
  [12, 'readForm', 'never reads the body', `return ${NEVER};`],
  [13, 'RouteGroup.with', 'waits', `return new RouteGroup(this.#router, () => () => ${NEVER});`],
  [16, 'Browser.#follow', 'follows endless redirects', [
    'const { headers } = await this.request(method, path, body);',
    "return this.#follow('GET', headers.location ?? path);",
  ].join('\n')],
  [16, 'Browser.request', 'never asks the handler', `return ${NEVER};`],
  [19, 'rescue', 'never calls the page', `return () => () => ${NEVER};`],
  [22, 'withLogin', 'never calls the page', `return () => () => ${NEVER};`],
  [25, 'StoredSessionFactory.open', 'never settles', `return ${NEVER};`],
  [26, 'VersionedSessionFactory.#replace', 'tries again without an end', 'for (;;) await 0;'],
  [31, 'RespConnection.#receive', 'ignores the bytes', ''],
  [31, 'RespConnection.close', 'leaves the socket open', ''],
  [32, 'RedisClient.command', 'never settles', `return ${NEVER};`],
  [33, 'RedisStore.get', 'never settles', `return ${NEVER};`],
  [35, 'respondAndClose', 'never responds', ''],
  [38, 'stop', 'never stops', ''],
];

// Most of these tests wait.
describe('a wrong attempt fails its tests, and nothing hangs', { concurrency: 6 }, () => {
  for (const [number, name, what, body] of ATTEMPTS) {
    const skip = skipSlow(FILE);
    it(`step ${number}: ${name}() ${what}`, { skip }, async (t) => {
      const { file, source } = modules[number - 1] ?? assert.fail('There is no such step');
      const emptied = emptyBodies(source, number, name);
      assert.equal(emptied.names.length, 1, `Not one function: ${emptied.names}`);
      const attempt = emptied.source.replace(/throw new Error\('Step .*\);/, () => body);
      const folder = await workshopWith(t, file, attempt);
      const run = await runTest(folder, testFileOf(file), [], { TIME_LIMIT: '4' });
      const { isTimedOut, hasFailed, tap, stderr, leftovers } = run;
      const details = `: ${file}\n${tap}${stderr}`;
      assert.ok(!isTimedOut, `A test hangs instead of a failure${details}`);
      assert.ok(hasFailed, `The tests pass${details}`);
      const [first] = failuresIn(run);
      const text = first?.details ?? stderr; // an endless loop ends the process before the test
      assert.match(text, new RegExp(`\\bStep ${number}\\b`), `The failure names no step${details}`);
      const title = first?.title ?? stderr.replace(/^Step \d+: /, '');
      const owners = namesOf(source).map((one) => one.replace(/^new |[.(].*/g, ''));
      const isNamed = owners.some((owner) => title.startsWith(owner));
      assert.ok(isNamed, `The failure names no function and no class of the step${details}`);
      const reason = /.*(?:did not end|still waits|no complete).*/.exec(text)?.[0] ?? title;
      t.diagnostic(reason.trim());
      assert.deepEqual(leftovers, [], `A process did not end${details}`);
    });
  }
});
