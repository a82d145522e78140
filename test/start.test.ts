// `npm start`, tried on a small project: the loader starts a TypeScript file on each Node that can
// run it. If something is missing, it prints one line, and no stack trace.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  engines: { node: string };
  scripts: Record<string, string>;
};

/** A server in miniature. `process.argv` tells it that it is the program. */
const PROGRAM = `
const words: string[] = process.argv.slice(1);
const timer = setInterval(() => {}, 1000);
process.on('SIGTERM', () => {
  console.log('stopped');
  clearInterval(timer);
});
console.log('started ' + words.join(' '));
`;
const HAS_ITS_OWN_ERROR = "import { a } from 'not-installed';\nconsole.log(a as number);\n";

/** The beginning of the error message of esbuild in a container with the packages of a Mac. */
const FOR_A_MAC = 'You installed esbuild for another platform than the one you are using.';

/** Runs before the loader: this Node claims to be another version, or to run no TypeScript. */
const PRETEND = `
const { PRETEND_VERSION: node, PRETEND_NO_TYPESCRIPT } = process.env;
if (node) {
  Object.defineProperty(process, 'version', { value: 'v' + node });
  Object.defineProperty(process, 'versions', { value: { ...process.versions, node } });
}
if (PRETEND_NO_TYPESCRIPT) Object.defineProperty(process.features, 'typescript', { value: false });
`;

type Ending = { code: number | null; stdout: string; stderr: string };

describe('npm start', { concurrency: availableParallelism(), timeout: 60_000 }, () => {
  let complete = ''; // a project with its packages
  let bare = ''; // the same project before `npm install`
  let pretending = ''; // the same project with a package tsx that does nothing

  before(async () => {
    [complete, bare, pretending] = [await makeProject(), await makeProject(), await makeProject()];
    const packages = join(ROOT, 'node_modules');
    if (existsSync(packages)) await symlink(packages, join(complete, 'node_modules'), 'junction');
    const tsx = join(pretending, 'node_modules/tsx');
    await mkdir(tsx, { recursive: true });
    await writeFile(join(tsx, 'package.json'), '{ "exports": { "./esm/api": "./api.mjs" } }');
    await writeFile(join(tsx, 'api.mjs'), 'export const register = () => {};\n');
    await writeFile(join(pretending, 'plain.js'), PROGRAM.replace(': string[]', ''));
    await writeFile(join(pretending, 'mac.js'), `throw new Error(${JSON.stringify(FOR_A_MAC)});\n`);
  });

  after(async () => {
    for (const root of [complete, bare, pretending]) {
      await rm(root, { recursive: true, force: true });
    }
  });

  /** Runs the loader. A program that starts is stopped with SIGTERM, as by a process manager. */
  async function start(root: string, env = {}, ...words: string[]): Promise<Ending> {
    const options = ['--require', join(root, 'pretend.cjs')];
    const child = spawn(process.execPath, [...options, '.tools/start.js', ...words], {
      cwd: root,
      env: { ...process.env, NODE_NO_WARNINGS: '1', TSX_DISABLE_CACHE: '1', ...env },
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (text.startsWith('started')) child.kill('SIGTERM');
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout, stderr };
  }

  it('npm start runs src/main.ts as the program, and SIGTERM reaches it', async () => {
    const program = join(complete, 'src/main.ts');
    const ending = { code: 0, stdout: `started ${program}\nstopped\n`, stderr: '' };
    assert.deepEqual(await start(complete), ending);
  });

  it('start.js runs another file with the words that follow it', async () => {
    const program = join(complete, 'src/other.ts');
    const { stdout } = await start(complete, {}, 'src/other.ts', '3', '--hint');
    assert.equal(stdout, `started ${program} 3 --hint\nstopped\n`);
  });

  for (const version of ['14.21.3', '18.20.8', '20.9.0', '20.19.9']) {
    it(`npm start on Node ${version} prints one line that names the minimum`, async () => {
      const stderr =
        `Cannot start: This project needs Node 20.20 or newer, and this is Node ${version}.\n`;
      const ending = await start(complete, { PRETEND_VERSION: version });
      assert.deepEqual(ending, { code: 1, stdout: '', stderr });
    });
  }

  for (const version of ['20.20.0', '21.0.0', '100.0.0']) {
    it(`npm start accepts Node ${version}`, async () => {
      const env = { PRETEND_VERSION: version, PRETEND_NO_TYPESCRIPT: '1' };
      const { code, stderr } = await start(pretending, env, 'plain.js');
      assert.deepEqual([code, stderr], [0, '']);
    });
  }

  it('npm start without tsx prints one line with both ways to continue', async () => {
    const ending = await start(bare, { PRETEND_NO_TYPESCRIPT: '1' });
    const stderr =
      `Cannot start: Node ${process.versions.node} needs the package tsx, and it is not ` +
      'installed. Run `npm install --include=dev`, or use Node 22.18 or newer, which needs no ' +
      'package.\n';
    assert.deepEqual(ending, { code: 1, stdout: '', stderr });
  });

  it('npm start with the packages of another computer prints one line too', async () => {
    const env = { PRETEND_NO_TYPESCRIPT: '1' };
    const { code, stdout, stderr } = await start(pretending, env, 'mac.js');
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /^Cannot start: .* needs esbuild .*`npm ci --include=dev .*\.\n$/);
  });

  it('npm start shows an error of the program as it is', async () => {
    const { code, stderr } = await start(complete, {}, 'src/broken.ts');
    assert.equal(code, 1);
    assert.match(stderr, /Cannot find package 'not-installed'/);
    assert.doesNotMatch(stderr, /Cannot start/);
  });
});

describe('.tools/start.js', () => {
  const source = readFileSync(join(ROOT, '.tools/start.js'), 'utf8');

  it('start.js is the start of `npm start`, and has the minimum of package.json', () => {
    assert.equal(manifest.scripts.start, 'node .tools/start.js');
    const [, major, minor] = /MINIMUM = \[(\d+), (\d+)\]/.exec(source) ?? [];
    assert.equal(manifest.engines.node, `>=${major}.${minor}`);
  });

  it('start.js uses only what Node 14 can read', () => {
    const newer = /from 'node:|\?\?=|\|\|=|&&=|^\s*await |\.(?:at|replaceAll|findLast|hasOwn)\(/m;
    assert.doesNotMatch(source, newer);
  });
});

/** Returns the folder of a project with the loader and three programs, without packages. */
async function makeProject(): Promise<string> {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'start-')));
  await mkdir(join(root, 'src'));
  await cp(join(ROOT, '.tools/start.js'), join(root, '.tools/start.js'));
  await writeFile(join(root, 'package.json'), '{ "type": "module" }\n');
  await writeFile(join(root, 'pretend.cjs'), PRETEND);
  for (const name of ['main.ts', 'other.ts']) await writeFile(join(root, 'src', name), PROGRAM);
  await writeFile(join(root, 'src/broken.ts'), HAS_ITS_OWN_ERROR);
  return root;
}
