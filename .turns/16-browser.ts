import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { check, expectEqual } from '../.tools/check.ts';

const isJs = import.meta.url.endsWith('.js'); // a copy for tests, without types
const path = fileURLToPath(new URL(`../try.${isJs ? 'js' : 'ts'}`, import.meta.url));

check('try.ts prints the count of each visit', () => {
  assert.ok(existsSync(path), 'The folder of the project must have a file try.ts.');
  const words = [...process.execArgv, path]; // on Node 20, the first words load tsx
  const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  const counts = (stdout + stderr).trim().split(/\s*\n\s*/);
  expectEqual('The output of try.ts', counts, ['Count: 1', 'Count: 2', 'Count: 1']);
});
