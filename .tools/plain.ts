// Copies of the project that Node runs quickly. Many tests start a process, about 200 in all. To
// read TypeScript costs each of them time: with tsx a third of a second, and natively half of that.
// So a copy has a `.js` file next to each `.ts` file, with the types erased once by esbuild, which
// is a part of tsx. Without esbuild, a newer Node runs the `.ts` files.
import { existsSync, rmSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CODE = ['src', 'test', '.proofs', '.turns', '.tools'];
const PARTS = [...CODE, 'public', 'LESSON.md', 'package.json'];
const esbuild = await import('esbuild').catch(() => undefined);

const SITE = ['src', 'public', 'package.json']; // what a server reads

const projects = new Map<readonly string[], Promise<string>>();

/** Returns a folder whose servers can run: a copy, or the project without esbuild. */
export function plainSite(): Promise<string> {
  return plainCopy(SITE);
}

/** Returns a folder to read and run, not to change. Each process makes it once. */
function plainCopy(parts: readonly string[]): Promise<string> {
  const made = projects.get(parts) ?? (esbuild ? makePlain(parts) : Promise.resolve(ROOT));
  projects.set(parts, made);
  return made;
}

/** Returns the file that Node runs for a `.ts` file of such a folder. */
export function plain(file: string): string {
  return esbuild ? file.replace(/\.ts$/, '.js') : file;
}

/** Returns a copy of the project that a test may change. It is deleted when this process ends. */
export async function copyProject(): Promise<string> {
  const source = await plainCopy(PARTS);
  const folder = await makeFolder();
  const names = await readdir(source);
  for (const part of names.filter((name) => PARTS.includes(name))) {
    await cp(join(source, part), join(folder, part), { recursive: true });
  }
  return folder;
}

async function makePlain(parts: readonly string[]): Promise<string> {
  const folder = await makeFolder();
  for (const part of parts) await cp(join(ROOT, part), join(folder, part), { recursive: true });
  for (const part of CODE.filter((name) => parts.includes(name))) {
    const names = await readdir(join(folder, part));
    const files = names.filter((name) => name.endsWith('.ts')).map((name) => join(folder, part, name));
    await Promise.all(files.map(async (file) => writeSource(file, await readFile(file, 'utf8'))));
  }
  return folder;
}

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sessions-'));
  deleteAtExit(folder);
  const packages = join(ROOT, 'node_modules'); // absent if this Node needs no tsx
  if (existsSync(packages)) await symlink(packages, join(folder, 'node_modules'), 'junction');
  return folder;
}

/** Deletes a folder when this process ends. A file that another process still writes may stay. */
export function deleteAtExit(folder: string): void {
  process.on('exit', () => {
    try {
      rmSync(folder, { recursive: true, force: true, maxRetries: 9 });
    } catch {} // here, an error would change the exit code
  });
}

/** Writes a `.ts` file of a copy, and the `.js` file that Node runs for it. */
export async function writeSource(file: string, source: string): Promise<void> {
  await writeFile(file, source);
  if (!esbuild) return;
  const { code } = await esbuild.transform(source, { loader: 'ts', target: 'node20' });
  const withJs = code.replace(/((?:from|import)[ (]*["']\.{1,2}\/[^"']*)\.ts(["'])/g, '$1.js$2');
  await writeFile(plain(file), withJs);
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
  'SQLITE_FILE', 'REDIS_URL', 'REDIS_PORT', 'TRUSTED_ORIGINS',
];
