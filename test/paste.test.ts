// Each command in the message of a failing test can be pasted into a shell. In a copy of the
// project, all tests of some steps fail. This file pastes their commands. The program of the step
// must send the same responses as in the messages.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { copyProject, plain, readerEnvironment, writeSource } from '../.tools/plain.ts';
import { NODE_ARGS, withTimeLimit } from '../.tools/serve.ts';

const SHELLS = ['bash', 'zsh'].filter((shell) => spawnSync(shell, ['-c', ':']).status === 0);
const hasCurl = spawnSync('curl', ['--version']).status === 0;
const isReady = hasCurl && SHELLS.length > 0;
const skip = isReady || process.env.CI ? false : 'needs curl and bash';
const TIME_LIMIT = 60_000; // milliseconds for one step: its tests wait for processes

/** A step, and the number of different commands that its messages show at least. */
const STEPS: [module: string, commands: number][] = process.env.CI
  ? [['02-cookie', 8], ['04-http', 2], ['05-router', 6], ['09-tutorial', 8], ['14-flash', 3],
    ['18-cart', 1], ['20-layout', 2]]
  : [['02-cookie', 8], ['09-tutorial', 8]];

type Step = { command: string; came: string };

/** Returns the commands in the messages of a run, each with the beginning of its response. */
function commandsIn(output: string): Step[] {
  const sent = /^ {2}(?:before it|sent): +((?:curl|printf) .*)/;
  const response = /(?:\n {2}came back: (.*(?:\n {13}.*)*))?/;
  const found = output.matchAll(new RegExp(sent.source + response.source, 'gm'));
  return [...found].map(([, command = '', came = '']) => ({ command, came }));
}

/** Runs the tests of a step. Each test fails at its end, and its message shows the requests. */
async function failAll(root: string, module: string): Promise<string> {
  const args = [
    ...NODE_ARGS, '--test', '--test-reporter=./.tools/short.js',
    plain(`test/${module}.test.ts`),
  ];
  const child = spawn(process.execPath, args, { cwd: root, env: readerEnvironment() });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  const ended = new Promise((resolve) => child.on('close', resolve));
  await withTimeLimit(ended, module, TIME_LIMIT).finally(() => child.kill('SIGKILL'));
  return output;
}

describe('the commands in a message', { skip, concurrency: 2 }, () => {
  const copied = skip === false ? copyWithFailures() : Promise.resolve('');

  for (const [module, count] of STEPS) {
    it(`step ${module}: each command sends the request to the program of the step`, async (t) => {
      const root = await copied;
      const output = await failAll(root, module);
      assert.doesNotMatch(output, /^✔/m, 'each test must fail');
      const steps = commandsIn(output);
      assert.ok(new Set(steps.map(({ command }) => command)).size >= count, output);
      const env = readerEnvironment({ PORT: '0' });
      const args = [...NODE_ARGS, plain(`src/${module}.ts`)];
      const server = spawn(process.execPath, args, { cwd: root, env });
      t.after(() => server.kill('SIGKILL'));
      const printed = new Promise<string>((resolve) => {
        let text = '';
        server.stdout.on('data', (chunk) => {
          text += chunk;
          const [, host] = /http:\/\/(localhost:\d+)\n/.exec(text) ?? [];
          if (host) resolve(host);
        });
      });
      const host = await withTimeLimit(printed, `src/${module}.ts`, TIME_LIMIT);
      for (const [i, { command, came }] of steps.entries()) {
        const shell = SHELLS[i % SHELLS.length] ?? 'bash';
        const pasted = command.replaceAll('localhost:6543', host);
        const { stdout, stderr } = await run(shell, pasted);
        assert.match(stdout, /^HTTP\/1\.1 \d{3} /, `${shell}: ${command}\n${stderr}`);
        const [, status = ''] = /^(?:HTTP\/1\.1 )?(\d{3})\b/.exec(came) ?? [];
        if (status !== '') assert.match(stdout, new RegExp(`^HTTP/1\\.1 ${status} `), command);
        const [counted] = /Count: \d+/.exec(came) ?? [];
        if (counted) assert.ok(stdout.includes(counted), `${counted}: ${command}\n${stdout}`);
      }
    });
  }
});

it('ofStep() is used only for the handlers that the program of a step serves', async () => {
  const folder = new URL('.', import.meta.url);
  const names = (await readdir(folder)).filter((name) => /^\d\d-.*\.test\.ts$/.test(name));
  const uses: string[] = [];
  for (const name of names) {
    const source = await readFile(new URL(name, folder), 'utf8');
    uses.push(...[...source.matchAll(/\bofStep\((.*)/g)].map(([, rest]) => `${name}: ${rest}`));
  }
  const isAllowed = /: (?:countVisits|site\(\)|site\(\)\.handle)\)/;
  assert.deepEqual(uses.filter((use) => !isAllowed.test(use)), []);
  assert.ok(uses.length >= 30, `${uses.length} uses`);
});

/** Returns a copy of the project in which each test of a step throws an error at its end. */
async function copyWithFailures(): Promise<string> {
  const root = await copyProject();
  const file = join(root, '.tools/explain.ts');
  const source = await readFile(file, 'utf8');
  const failing = source.replace('await run(t);', "await run(t); throw new Error('at the end');");
  assert.notEqual(failing, source);
  await writeSource(file, failing);
  return root;
}

/** Runs a command in a shell, as a reader pastes it. */
async function run(shell: string, command: string): Promise<{ stdout: string; stderr: string }> {
  const child = spawn(shell, ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const closed = new Promise((resolve) => child.on('close', resolve));
  await withTimeLimit(closed, command, TIME_LIMIT).finally(() => child.kill('SIGKILL'));
  return { stdout, stderr };
}
