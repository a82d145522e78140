// A reader may write `HttpOnly; Path=/` instead of `Path=/; HttpOnly`. This file reverses the
// attributes in a copy of the project. Only the test about their order may fail.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { copyProject, plain, readerEnvironment, writeSource } from '../.tools/plain.ts';
import { NODE_ARGS } from '../.tools/serve.ts';

const TIME_LIMIT = 120_000; // milliseconds for all steps
const CHANGES = {
  'src/02-cookie.ts': ["'; Path=/; HttpOnly; SameSite=Lax'", "'; SameSite=Lax; HttpOnly; Path=/'"],
  'src/11-timeouts.ts': ['Object.entries(all)', 'Object.entries(all).reverse()'],
} as const;

// The steps whose tests compare whole `Set-Cookie` headers. Locally, the first ones are enough.
const STEPS = process.env.CI
  ? ['02', '03', '05', '08', '10', '11', '15', '16', '22', '24', '25']
  : ['02', '03', '08'];

it('each test except one accepts the attributes of a cookie in another order', async () => {
  const root = await copyProject();
  for (const [file, [before, after]] of Object.entries(CHANGES)) {
    const source = await readFile(join(root, file), 'utf8');
    assert.ok(source.includes(before), `${file} has no ${before}`);
    await writeSource(join(root, file), source.replace(before, () => after));
  }
  const files = ['test', '.proofs'].flatMap((folder) => {
    const names = readdirSync(join(root, folder)).filter((name) => /^\d\d-.*\.ts$/.test(name));
    const wanted = names.filter((name) => STEPS.includes(name.slice(0, 2)));
    return wanted.map((name) => plain(`${folder}/${name}`));
  });
  const reporter = '--test-reporter=./.tools/short.js';
  const args = [...NODE_ARGS, '--test', '--test-concurrency=2', reporter, ...files];
  const env = readerEnvironment();
  const options = { cwd: root, env, timeout: TIME_LIMIT, encoding: 'utf8' } as const;
  const { stdout } = spawnSync(process.execPath, args, options);
  const failed = [...stdout.matchAll(/^✖ (.*)/gm)].map(([, title]) => title);
  const title = 'Cookie.write() writes Path, HttpOnly and SameSite in this order, as Pyramid does';
  assert.deepEqual(failed, [title], stdout);
  assert.ok((stdout.match(/^✔ /gm)?.length ?? 0) >= 50, stdout);
});
