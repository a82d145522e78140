//   npm run try 11                 runs the tests of step 11
//   npm run try 11 "Max-Age"        runs those whose names contain these words, literally
//
// If no test has such a name, the command reports an error: a green run without a test proves nothing.
// A test that does not end within 4 seconds fails, also in an endless loop.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [number = '', ...words] = process.argv.slice(2);
const isOfStep = new RegExp(`^0?${Number(number)}-.*\\.ts$`);
const files = ['test', '.proofs'].flatMap((folder) => {
  const names = readdirSync(join(root, folder)).filter((name) => isOfStep.test(name));
  return names.map((name) => `${folder}/${name}`);
});

if (files.length === 0) {
  console.error(`There is no step ${number}. Name a step: npm run try 11 "Max-Age"`);
  process.exitCode = 1;
} else {
  const isNative = Boolean(Reflect.get(process.features, 'typescript'));
  const pattern = words.join(' ').replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  const options = [
    ...(isNative ? [] : ['--import', 'tsx']),
    '--test', '--test-reporter=./.tools/short.js',
    ...(pattern === '' ? [] : [`--test-name-pattern=${pattern}`]),
  ];
  const { status } = spawnSync(process.execPath, [...options, ...files], {
    cwd: root,
    stdio: 'inherit',
    env: { TIME_LIMIT: '4', ...process.env, WORDS: words.join(' '), NODE_NO_WARNINGS: '1' },
  });
  process.exitCode = status ?? 1;
}
