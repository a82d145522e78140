// Further proofs for step 39: the fast signer passes each test of step 3, `sendFast` passes each test
// of step 4, and the profile of a site shows its modules.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { copyProject, plain, readerEnvironment, writeSource } from '../.tools/plain.ts';
import { skipSlow } from '../.tools/quick.ts';
import { sharesOf } from '../.tools/profile.ts';

const it = explainedIt(import.meta.url);
const options = { timeout: 60_000, skip: skipSlow('.proofs/39-fast.ts') }; // other processes

function run(folder: string, ...words: string[]): string {
  const { stdout, status } = spawnSync(process.execPath, words, {
    cwd: folder, env: readerEnvironment(), encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL',
  });
  assert.equal(status, 0, stdout);
  return stdout;
}

/** Runs a test file of a copy, in which an import is replaced. All its tests must pass. */
async function passes(name: string, before: string | RegExp, after: string): Promise<void> {
  const folder = await copyProject();
  const file = join(folder, name);
  const source = await readFile(file, 'utf8');
  const changed = source.replace(before, after);
  assert.notEqual(changed, source, 'the import');
  await writeSource(file, changed);
  const tap = run(folder, '--test-reporter=tap', plain(name));
  assert.match(tap, /^# fail 0$/m);
  assert.match(tap, /^# skipped 0$/m);
  const written = source.match(/^ +it\(/gm)?.length ?? NaN; // a loop can make more
  assert.ok(Number(/^# pass (\d+)$/m.exec(tap)?.[1]) >= written, tap);
}

describe('39-fast: further proofs', () => {
  for (const name of ['test/03-signer.test.ts', '.proofs/03-signer.ts']) {
    it(`FastSigner passes the tests in ${name}`, options, async () => {
      const before = ", Signer } from '../src/03-signer.ts';";
      const after = " } from '../src/03-signer.ts';\n" +
        "import { FastSigner as Signer } from '../src/39-fast.ts';";
      await passes(name, before, after);
    });
  }

  for (const name of ['test/04-http.test.ts', '.proofs/04-http.ts']) {
    it(`sendFast passes the tests in ${name}`, options, async () => {
      const before = /(?: send,)?( text), toListener } from '..\/src\/04-http.ts';/;
      const after = "$1, toListener as makeListener } from '../src/04-http.ts';\n" +
        "import { sendFast as send } from '../src/39-fast.ts';\n" +
        'const toListener = (page: Handler, write = send) => makeListener(page, write);';
      await passes(name, before, after);
    });
  }

  it('the profile names the signer of a site', options, async () => {
    const folder = await copyProject();
    for (const [step, module] of [['9', '03-signer'], ['39', '39-fast']] as const) {
      const output = run(folder, plain('.tools/profile.ts'), step);
      assert.match(output, new RegExp(`^Step ${step}: [\\d.]+ µs per request\n`));
      assert.match(output, new RegExp(`^ +\\d+ %  ${module}\\.[jt]s$`, 'm'));
    }
  });

  it('sharesOf() counts the time of a function of Node for the module that called it', () => {
    const node = (id: number, url: string, ...children: number[]) => {
      const callFrame = { functionName: '', scriptId: '', url, lineNumber: 0, columnNumber: 0 };
      return { id, callFrame, children };
    };
    const nodes = [node(1, '', 2, 5), node(2, 'file:///a/src/b.ts', 3), node(3, 'node:x', 4),
      node(4, 'file:///a/src/c.ts'), node(5, 'node:y')];
    const profile = { nodes, startTime: 0, endTime: 1, samples: [3, 2, 2, 3, 4, 4, 4, 5] };
    assert.deepEqual(sharesOf(profile), [['b.ts', 0.5], ['c.ts', 0.375], ['other', 0.125]]);
    assert.deepEqual(sharesOf({ ...profile, samples: [] }), []);
  });
});
