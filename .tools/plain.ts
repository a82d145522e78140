// What bare node can run. Newer Nodes read TypeScript by themselves. On older ones tsx reads it,
// and takes a third of a second for each process; the tests start two hundred. So there, in a copy,
// a `.js` file stands beside each `.ts`, with its types erased once: by esbuild, which tsx has with
// it. That tsx itself runs each step, `test/architecture.test.ts` shows.
import { existsSync, rmSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PARTS = ['src', 'public', 'test', '.tools', 'LESSON.md', 'package.json'];
const isNative = Boolean(Reflect.get(process.features, 'typescript'));

let project: Promise<string> | undefined;

/** The folder of the project, or a copy that bare node can run: one for all who change nothing. */
export function plainProject(): Promise<string> {
  return (project ??= isNative ? Promise.resolve(ROOT) : copyProject());
}

/** The file to run for a file of such a folder. */
export function plain(file: string): string {
  return isNative ? file : file.replace(/\.ts$/, '.js');
}

/** A copy of the project, to change at will. It is gone when this process ends. */
export async function copyProject(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sessions-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const part of PARTS) await cp(join(ROOT, part), join(folder, part), { recursive: true });
  const packages = join(ROOT, 'node_modules'); // none on a Node that needs no tsx
  if (existsSync(packages)) await symlink(packages, join(folder, 'node_modules'), 'junction');
  if (isNative) return folder;
  for (const part of ['src', 'test', '.tools']) {
    const names = await readdir(join(folder, part));
    for (const name of names.filter((name) => name.endsWith('.ts'))) {
      const file = join(folder, part, name);
      await writeSource(file, await readFile(file, 'utf8'));
    }
  }
  return folder;
}

/** Writes a `.ts` file of a copy, and what bare node runs in its place. */
export async function writeSource(file: string, source: string): Promise<void> {
  await writeFile(file, source);
  if (!isNative) await writeFile(plain(file), await eraseTypes(source));
}

async function eraseTypes(source: string): Promise<string> {
  const { transform } = await import('esbuild');
  const { code } = await transform(source, { loader: 'ts', target: 'node20' });
  return code.replace(/((?:from|import)[ (]*["']\.{1,2}\/[^"']*)\.ts(["'])/g, '$1.js$2');
}
