// The house rules, as tests. Floors: a module imports only what `node:` brings and what stands
// below it, so each step can be read, run and copied without the later ones. Sizes: a module is
// read in one sitting. Names: module, test and step of the lesson carry the same number.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MIN_LINES = 40; // less is not a step
const MAX_LINES = 200; // 150 is the aim; beyond 200 it is two steps
const MAX_LINES_OF: Record<string, number> = {
  '01-server.ts': 235, // what node:http leaves open between two requests is more than one thinks
  '10-session.ts': 230, // a dictionary has many words, and what it takes is half of it
  '16-login.ts': 205, // what a guess costs, and whom, is told in one piece
  '18-store.ts': 320, // the contract of a store and what keeps it are read side by side
  '19-sqlite.ts': 260, // a store that waits and fails as it should, and what its user sees of it
  '20-redis.ts': 270, // a client and a store, and the one has no use here without the other
  'main.ts': 230, // the roof: a line for each of the steps below, and what belongs to none of them
};
const MAX_COLUMNS = 100; // code points, so that `…` counts as what it looks like: one
const MAX_PICTURE_SIZE = 60 * 1024; // bytes: who reads on a train has eight of them to load
const RUN_TIMEOUT = 20_000; // milliseconds, for a server to start, answer and stop
const MODULE_NAME = /^(\d\d)-[a-z][a-z0-9-]*\.ts$/;
const TOP_LEVEL = [
  'LESSON.md', 'LICENSE', 'README.md', 'bench', 'node_modules', 'package-lock.json',
  'package.json', 'public', 'src', 'test', 'tsconfig.json',
];

/** What Node cannot run by reading types away, because there code would have to be generated. */
const NOT_ERASABLE: Record<string, RegExp> = {
  'an enum': /^\s*(?:export )?(?:declare )?(?:const )?enum \w/m,
  'a namespace': /^\s*(?:export )?(?:declare )?(?:namespace|module) [\w'"]/m,
  'a parameter property':
    /constructor\s*\((?:[^)]*,)?\s*(?:(?:public|private|protected|readonly)\s+)+\w+\s*[?:=]/,
  'a decorator': /^\s*@[a-z][\w.]*(?:\(.*\))?$/im,
};

const files = readdirSync(join(ROOT, 'src')).sort();
const modules = files.filter((name) => MODULE_NAME.test(name));
const tests = readdirSync(join(ROOT, 'test')).filter((name) => name.endsWith('.ts')).sort();

function read(...path: string[]): string {
  return readFileSync(join(ROOT, ...path), 'utf8');
}

/** `03-router.ts` is 3, and `main.ts`, the roof, is above them all. */
function floorOf(name: string): number {
  return name === 'main.ts' ? Infinity : Number(name.slice(0, 2));
}

/** What a source imports, exports from, or asks for at run time. */
function importsOf(source: string): string[] {
  const statements = source.matchAll(/^(?:import|export)\b[^'"`;]*?\bfrom\s*['"](.+?)['"]/gm);
  const bare = source.matchAll(/^import\s*['"](.+?)['"]/gm);
  const dynamic = source.matchAll(/(?<!(?:\/\/|\*).*)\bimport\(\s*(?:['"](.+?)['"]|(.+))/g);
  return [...statements, ...bare, ...dynamic].map(([, name, computed]) => name ?? computed ?? '');
}

/** Whether a module may import this: a built-in, or by its full name a module of a lower floor. */
function isBelow(name: string, specifier: string): boolean {
  if (specifier.startsWith('node:')) return true;
  const imported = /^\.\/(.*)$/.exec(specifier)?.[1] ?? '';
  return modules.includes(imported) && floorOf(imported) < floorOf(name);
}

/** The patterns of `NOT_ERASABLE` that a source has. */
function notErasable(source: string): string[] {
  return Object.keys(NOT_ERASABLE).filter((what) => NOT_ERASABLE[what]?.test(source));
}

/** The titles written in a test file; a title with `${…}` is as it is written. */
function titlesOf(source: string): string[] {
  const calls = source.matchAll(/^\s*(?:it|test)\(\s*(['"`])((?:\\.|(?!\1)[^])*)\1/gm);
  return [...calls].map(([, , title = '']) => title);
}

describe('the floors', () => {
  it('src/ holds modules NN-name.ts, main.ts, and nothing else', () => {
    const strange = files.filter((name) => !MODULE_NAME.test(name) && name !== 'main.ts');
    assert.deepEqual(strange, [], 'no helper, no barrel, no folder: what is shared is a step');
  });

  it('modules are numbered from 01 without a gap', () => {
    const numbers = modules.map(floorOf);
    assert.deepEqual(numbers, [...numbers.keys()].map((index) => index + 1));
  });

  for (const name of files) {
    it(`src/${name} imports node: built-ins and lower floors, by their names with .ts`, () => {
      const strange = importsOf(read('src', name)).filter((from) => !isBelow(name, from));
      assert.deepEqual(strange, [], `${name} may import node:… and ./NN-name.ts of a lower number`);
    });
  }

  it('isBelow() tells a floor below from one above, and .ts from other endings', () => {
    const source = [
      "import { a } from './02-http.ts';",
      "import type {\n  B,\n} from './01-server.ts';",
      "export * from './03-router.ts';", // itself
      "import 'express';",
      "const c = await import('./main.ts');",
      "import { d } from './01-server.js';",
      "import e from './01-server';",
      'import(`./${f}`);',
      "// import('./a-comment')",
      "import { readFileSync as g } from 'node:fs';",
    ].join('\n');
    const imports = importsOf(source);
    assert.equal(imports.length, 9, imports.join('\n'));
    const allowed = imports.filter((from) => isBelow('03-router.ts', from));
    assert.deepEqual(allowed, ['./02-http.ts', './01-server.ts', 'node:fs']);
  });
});

describe('the names', () => {
  it('every module has a test of its name, and every numbered test has a module', () => {
    const numbered = tests.filter((name) => /^\d/.test(name));
    assert.deepEqual(numbered.map((name) => name.replace('.test', '')), modules);
  });

  it('every module has a step in LESSON.md, and every step a module, in order', () => {
    const steps = read('LESSON.md').matchAll(/^## Step (\d+) · \S/gm);
    assert.deepEqual([...steps].map(([, number]) => Number(number)), modules.map(floorOf));
  });

  it('test/ holds no TypeScript but tests: newer Nodes would run a helper as one', () => {
    assert.deepEqual(tests.filter((name) => !name.endsWith('.test.ts')), []);
  });

  it('titles of tests are unique, since the lesson names them', () => {
    const owners = new Map<string, string>();
    for (const name of tests) {
      for (const title of titlesOf(read('test', name))) {
        assert.equal(owners.get(title), undefined, `'${title}' in ${name} is taken`);
        owners.set(title, name);
      }
    }
    assert.ok(owners.size > tests.length, 'titlesOf() has found the titles');
  });

  it('the top level holds only what the design names', () => {
    // What git tracks: a learner's notes and cookie jars lie there too, and are nobody's business.
    const { stdout } = spawnSync('git', ['ls-files'], { cwd: ROOT, encoding: 'utf8' });
    const names = (stdout ?? '').split('\n').map((path) => path.replace(/\/.*/, ''));
    const others = names.filter((name) => !name.startsWith('.') && !TOP_LEVEL.includes(name));
    assert.deepEqual([...new Set(others)].filter((name) => name !== ''), []);
  });

  it('package.json depends on nothing, and is developed with three packages', () => {
    const manifest = JSON.parse(read('package.json')) as Record<string, object | undefined>;
    for (const kind of ['dependencies', 'optionalDependencies', 'peerDependencies']) {
      assert.equal(manifest[kind], undefined, `package.json has ${kind}`);
    }
    const packages = Object.keys(manifest.devDependencies ?? {}).sort();
    assert.deepEqual(packages, ['@types/node', 'tsx', 'typescript']);
  });
});

describe('the pictures', () => {
  const pictures = ['README.md', 'LESSON.md'].flatMap((page) => {
    const prose = read(page).replace(/^```[^]*?^```$/gm, '');
    const found = prose.matchAll(/!\[([^\]]*)\]\(([^)]+)\)/g);
    return [...found].map(([, words = '', path = '']) => ({ words, path }));
  });

  it('every picture on a page is there, and words say what it shows to who cannot see it', () => {
    assert.ok(pictures.length > 0, 'there are some');
    for (const { words, path } of pictures) {
      assert.ok(existsSync(join(ROOT, path)), path);
      assert.ok(words.length >= 40, `${path} is described by "${words}"`);
    }
  });

  it('.pictures/ holds what the pages show and nothing else, each small', () => {
    const names = readdirSync(join(ROOT, '.pictures')).sort();
    const shown = pictures.map(({ path }) => path).filter((path) => path.startsWith('.pictures/'));
    assert.deepEqual(names.map((name) => `.pictures/${name}`), [...new Set(shown)].sort());
    for (const name of names) {
      const { size } = statSync(join(ROOT, '.pictures', name));
      assert.ok(size <= MAX_PICTURE_SIZE, `${name} has ${size} bytes: npm run screenshots`);
    }
  });
});

describe('the sizes', () => {
  for (const name of modules) {
    const most = MAX_LINES_OF[name] ?? MAX_LINES;
    it(`src/${name} is ${MIN_LINES} to ${most} lines`, () => {
      const count = read('src', name).trimEnd().split('\n').length;
      assert.ok(count >= MIN_LINES && count <= most, `${name} has ${count} lines`);
    });
  }

  for (const name of files) {
    it(`src/${name} has no line over ${MAX_COLUMNS} columns`, () => {
      const lines = read('src', name).split('\n');
      const long = [...lines.entries()].filter(([, text]) => [...text].length > MAX_COLUMNS);
      assert.deepEqual(long.map(([index]) => `src/${name}:${index + 1}`), []);
    });
  }
});

describe('the language', () => {
  for (const name of files) {
    it(`src/${name} is JavaScript once its types are erased`, () => {
      assert.deepEqual(notErasable(read('src', name)), [], `what Node cannot run, in src/${name}`);
    });
  }

  it('notErasable() knows what it looks for, and leaves alone what looks alike', () => {
    assert.deepEqual(notErasable('export const enum A { B }'), ['an enum']);
    assert.deepEqual(notErasable('namespace A {}'), ['a namespace']);
    assert.deepEqual(notErasable('constructor(a: A, private readonly b: B) {}'), [
      'a parameter property',
    ]);
    assert.deepEqual(notErasable('@sealed\nclass A {}'), ['a decorator']);
    const harmless = 'constructor(all: readonly A[]) {}\n/**\n * @see enum A\n */\nmodule.a();';
    assert.deepEqual(notErasable(harmless), []);
  });
});

describe('the steps run', { concurrency: Math.min(2, availableParallelism()) }, () => {
  const isNative = Boolean(Reflect.get(process.features, 'typescript'));
  const words = isNative ? [] : ['--import', import.meta.resolve('tsx')];
  const timeout = RUN_TIMEOUT;
  const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;
  const ENVIRONMENT = {
    HOST: '127.0.0.1',
    PORT: '0',
    NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'), // node's own: they start sooner
    NODE_NO_WARNINGS: '1',
    SQLITE_FILE: ':memory:',
    REDIS_URL: 'redis://127.0.0.1:1', // where nobody listens
  };

  for (const name of modules) {
    it(`src/${name} says where it listens, answers, stops at SIGTERM`, { timeout }, async (t) => {
      const child = spawn(process.execPath, [...words, join(ROOT, 'src', name)], {
        env: { ...process.env, ...ENVIRONMENT },
        signal: t.signal, // however this test ends, so does the server
        killSignal: 'SIGKILL',
      });
      child.on('error', () => {}); // that signal, which is no news
      let output = '';
      let errors = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
      const closed = once(child, 'close');

      if (name === '19-sqlite.ts' && !hasSqlite) {
        assert.deepEqual(await closed, [1, null], 'it cannot run on this Node');
        assert.match(errors, /^Cannot open .*: SQLite needs Node 22\.13 or newer.*\n$/);
        return;
      }
      const start = `^Step ${floorOf(name)} · http://localhost:(\\d+)\n([^]+)  stop with Ctrl-C\n`;
      const place = new RegExp(start, 'm');
      while (!place.test(output)) {
        await Promise.race([once(child.stdout, 'data'), closed]);
        const story = `it printed nothing like ${place}, and ended:\n${output}${errors}`;
        assert.ok(child.exitCode === null && child.signalCode === null, story);
      }
      const [, port, hints = ''] = place.exec(output) ?? [];
      const isDown = name === '20-redis.ts'; // with no Redis there, all that it can say is 503
      for (const hint of hints.slice(0, -1).split('\n')) {
        const [, path] = /^ {2}open http:\/\/localhost:\d+(\/.*)$/.exec(hint) ?? [];
        assert.ok(path !== undefined || /^ {2}\S/.test(hint), `a hint that says nothing:\n${hints}`);
        const response = await fetch(`http://127.0.0.1:${port}${path ?? '/'}`);
        assert.equal(response.status, isDown ? 503 : 200, `${hint}: ${await response.text()}`);
      }
      child.kill('SIGTERM');
      assert.deepEqual(await closed, [0, null], `exit code and signal after SIGTERM:\n${errors}`);
      if (isDown) errors = errors.replace(/^503 GET \/.*\n/gm, '');
      assert.equal(errors, '', 'a page, and nothing on stderr');
    });
  }
});
