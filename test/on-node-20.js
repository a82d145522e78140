// Node 20 does not see `.ts` test files: a bare `node --test` would find none of them, and exit 0.
// It does see this file, which brings them in through tsx. Newer Nodes run them by themselves.
import { readdirSync } from 'node:fs';

if (!process.features.typescript) {
  const { register } = await import('tsx/esm/api').catch(() => {
    throw new Error('On this Node the tests need tsx: run `npm install` first.');
  });
  register();
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'));
  for (const name of files.sort()) await import(`./${name}`);
}
