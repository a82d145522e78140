// On Node 20, a bare `node --test` finds no `.ts` file and exits with 0. It finds the two files in
// test/ whose names begin with `on-node-20`. They load the tests through tsx, in two processes.
// Newer Nodes run the tests by themselves.
import { readdirSync } from 'node:fs';

/** Loads the test files of a folder whose names `isIncluded` accepts, if this is an older Node. */
export async function loadTests(folder, isIncluded) {
  if (process.features.typescript) return;
  const { register } = await import('tsx/esm/api').catch(() => {
    console.error('On this Node, the tests need tsx. Run `npm install` first.');
    process.exit(1);
  });
  register();
  const isTest = (name) => name.endsWith('.test.ts') && isIncluded(name);
  for (const name of readdirSync(folder).filter(isTest).sort()) await import(new URL(name, folder));
}
