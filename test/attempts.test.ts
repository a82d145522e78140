// What a reader sees who writes a step after `npm run practice`. These tests run the tests of each
// step on a copy of the project, without the code of the step, and with wrong attempts that hang.
//
// The quick suite empties each step. In CI, each function is emptied alone too.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { emptyBodies } from '../.tools/practice.ts';
import { skipSlow } from '../.tools/quick.ts';
import { runTest, testFileOf, workshopWith } from '../.tools/workshop.ts';

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

const NEVER = 'new Promise(() => {})';

/** Wrong attempts that a reader can make: the whole body of a function. */
const ATTEMPTS: [step: number, name: string, what: string, body: string][] = [
  [1, 'countVisits', 'never responds', ''],
  [1, 'serve', 'never listens', 'return setInterval(() => {}, 1000), make(listener);'],
  [2, 'parseCookies', 'is an endless loop', "for (let i = 0; i !== -1; ) i = header.indexOf(';', 0);"],
  [2, 'countVisits', 'sends headers, but no end', "response.write('Count: 1');"],
  [3, 'Signer.decode', 'is an endless loop', 'for (let text = value; ; ) text = text.slice(0);'],
  [4, 'toListener', 'never calls the handler', 'return () => {};'],
  [4, 'toListener', 'never ends the response', 'return (_, response) => response.writeHead(200);'],
  [5, 'Router.handle', 'never settles', `return ${NEVER};`],
  [7, 'Session.update', 'is an endless loop', 'for (;;) this.set(key, change(this.get(key)));'],
  [8, 'CookieSessionFactory.open', 'never settles', `return ${NEVER};`],
  [8, 'CookieSessionFactory.save', 'never settles', `return ${NEVER};`],
  [8, 'withSession', 'never calls the page', `return () => ${NEVER};`],
  [11, 'withTimeouts', 'opens with itself', 'return { ...factory, open(v) { return this.open(v); } };'],
  [12, 'readForm', 'never reads the body', `return ${NEVER};`],
  [13, 'RouteGroup.get', 'waits for nothing', `this.router.get(pattern, () => ${NEVER}); return this;`],
  [16, 'Browser.#follow', 'follows endless redirects', [
    'const { headers } = await this.request(method, path, body);',
    "return this.#follow('GET', headers.location ?? path);",
  ].join('\n')],
  [16, 'Browser.request', 'never asks the handler', `return ${NEVER};`],
  [19, 'rescue', 'never calls the page', `return () => () => ${NEVER};`],
  [22, 'withLogin', 'never calls the page', `return ${NEVER};`],
  [25, 'MemoryStore.get', 'never settles', `return ${NEVER};`],
  [26, 'VersionedSessionFactory.#replace', 'tries again without an end', 'for (;;) await 0;'],
  [31, 'RespConnection.#receive', 'ignores the bytes', ''],
  [31, 'RespConnection.close', 'leaves the socket open', ''],
  [32, 'RedisClient.command', 'never settles', `return ${NEVER};`],
  [33, 'RedisStore.get', 'never settles', `return ${NEVER};`],
  [35, 'respondAndClose', 'never responds', ''],
  [38, 'stop', 'never stops', ''],
];

describe('a wrong attempt fails its tests, and nothing hangs', { concurrency: 4 }, () => {
  const skip = skipSlow(FILE);
  for (const [number, name, what, body] of ATTEMPTS) {
    it(`step ${number}: ${name}() ${what}`, { skip }, async (t) => {
      const { file, source } = modules[number - 1] ?? assert.fail('There is no such step');
      const emptied = emptyBodies(source, number, name);
      assert.equal(emptied.names.length, 1, `Not one function: ${emptied.names}`);
      const attempt = emptied.source.replace(/throw new Error\('Step .*\);/, () => body);
      const folder = await workshopWith(t, file, attempt);
      const run = await runTest(folder, testFileOf(file), [], { TIME_LIMIT: '4' });
      const { isTimedOut, hasFailed, tap, stderr, leftovers } = run;
      const details = `: ${file}\n${tap}${stderr}`;
      if (process.env.SHOW) console.log(`@@ ${number} ${name} ${what}\n${tap.match(/.*not ok.*|.*error: [^]*?code:/g)?.slice(0,3).join('\n')}\n${stderr.slice(0,300)}`);
      assert.ok(!isTimedOut, `A test hangs instead of a failure${details}`);
      assert.ok(hasFailed, `The tests pass${details}`);
      assert.match(tap + stderr, new RegExp(`\\bStep ${number}\\b`), `No step${details}`);
      assert.deepEqual(leftovers, [], `A process did not end${details}`);
    });
  }
});
