// Copies of the project that Node can run without a loader. Newer Nodes run TypeScript natively. On
// an older Node, tsx needs a third of a second for each process, and the tests start 200 processes.
// So a copy has a `.js` file next to each `.ts` file, with the types erased once by esbuild, which
// is a part of tsx.
import { existsSync, rmSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PARTS = ['src', 'public', 'test', '.tools', 'LESSON.md', 'package.json'];
const isNative = Boolean(Reflect.get(process.features, 'typescript'));

let project: Promise<string> | undefined;

/** Returns a folder to read and run, not to change: the project, or one copy for all tests. */
export function plainProject(): Promise<string> {
  return (project ??= isNative ? Promise.resolve(ROOT) : copyProject());
}

/** Returns the file that Node runs for a `.ts` file of such a folder. */
export function plain(file: string): string {
  return isNative ? file : file.replace(/\.ts$/, '.js');
}

/** Returns a copy of the project that a test may change. It is deleted when this process ends. */
export async function copyProject(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sessions-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const part of PARTS) await cp(join(ROOT, part), join(folder, part), { recursive: true });
  const packages = join(ROOT, 'node_modules'); // absent if this Node needs no tsx
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

/** Writes a `.ts` file of a copy, and the `.js` file that Node runs for it. */
export async function writeSource(file: string, source: string): Promise<void> {
  await writeFile(file, source);
  if (!isNative) await writeFile(plain(file), await eraseTypes(source));
}

async function eraseTypes(source: string): Promise<string> {
  const { transform } = await import('esbuild');
  const { code } = await transform(source, { loader: 'ts', target: 'node20' });
  return code.replace(/((?:from|import)[ (]*["']\.{1,2}\/[^"']*)\.ts(["'])/g, '$1.js$2');
}

/** Returns the environment of a reader: without the variables of a test run, of CI or of a site. */
export function readerEnvironment(variables: Record<string, string> = {}): NodeJS.ProcessEnv {
  const isOwn = ([name]: [string, unknown]): boolean => !SETTINGS.includes(name);
  const others = Object.entries(process.env).filter(isOwn);
  const quick = { NODE_COMPILE_CACHE: COMPILE_CACHE, NODE_NO_WARNINGS: '1', no_proxy: '*' };
  return { ...Object.fromEntries(others), ...quick, ...variables };
}

const COMPILE_CACHE = join(tmpdir(), 'node-compile-cache'); // processes start faster with it
const SETTINGS = [
  'NODE_TEST_CONTEXT', 'NODE_ENV', 'HOST', 'PORT', 'SESSION_SECRET', 'SESSION_COOKIE', 'SESSIONS',
  'SQLITE_FILE', 'REDIS_URL', 'TRUSTED_ORIGINS',
];
