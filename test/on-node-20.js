// On Node 20, a bare `node --test` finds no `.ts` file and exits with 0. It finds this file, which
// loads the tests through tsx. Newer Nodes run the tests by themselves.
import { readdirSync } from 'node:fs';

if (!process.features.typescript) {
  const { register } = await import('tsx/esm/api').catch(() => {
    console.error('On this Node, the tests need tsx. Run `npm install` first.');
    process.exit(1);
  });
  register();
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'));
  for (const name of files.sort()) await import(`./${name}`);
}
