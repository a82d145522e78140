// The rules of the house, as tests.
//
// Floors: a module imports only `node:` built-ins and modules with a lower number, so you can read,
// run and copy each step without the later steps. Sizes: a module is short enough to read at one
// time. Names: the module, the test and the step in LESSON.md have the same number.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { plain, plainSite, readerEnvironment } from '../.tools/plain.ts';
import { skipSlow } from '../.tools/quick.ts';
import { tokensOf } from '../.tools/tokens.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAIN = 'main.ts';
const MODULE_NAME = /^(\d\d)-([a-z][a-z0-9-]*)\.ts$/;

// Lines of code: a blank line and a line with only a comment do not count.
const MAX_LINES = 100;
const MAX_LINES_OF: Record<string, number> = {
  '01-server.ts': 45,
  '02-cookie.ts': 60,
  '03-signer.ts': 60,
  '04-http.ts': 60,
  [MAIN]: 110, // it combines all steps
};
const MAX_TUTORIAL = 560; // steps 1 to 9 together
const MAX_SRC = 3100; // all modules together
const MAX_COLUMNS = 100; // code points
const MAX_EQUAL_LINES = 5; // consecutive lines that two modules may share
const MAX_PICTURE_SIZE = 60 * 1024; // bytes: eight pictures load quickly on a phone
const RUN_TIMEOUT = 20_000; // milliseconds for a server to start, respond and stop

const TOP_LEVEL = [
  'LESSON.md', 'LICENSE', 'README.md', 'bench', 'node_modules', 'package-lock.json',
  'package.json', 'public', 'src', 'test', 'tsconfig.json',
];
/** The module that may write a form with POST: all other modules call `form()`. */
const FORM_MODULE = '12-forms.ts';

/** Syntax that Node cannot run by erasing types: it would have to generate code. */
const NOT_ERASABLE: Record<string, RegExp> = {
  'an enum': /^\s*(?:export )?(?:declare )?(?:const )?enum \w/m,
  'a namespace': /^\s*(?:export )?(?:declare )?(?:namespace|module) [\w'"]/m,
  'a parameter property':
    /constructor\s*\((?:[^)]*,)?\s*(?:(?:public|private|protected|readonly)\s+)+\w+\s*[?:=]/,
  'a decorator': /^\s*@[a-z][\w.]*(?:\(.*\))?$/im,
};
/** Code that edits or inspects rendered HTML. A page is a value, and steps append to its slots. */
const ON_HTML: readonly RegExp[] = [
  /\.(?:replace|replaceAll|split|match|search)\(\s*(?:['"`]<|\/<)/,
  /\.(?:startsWith|endsWith|includes|indexOf|lastIndexOf)\(\s*['"`]<\/?[a-z!]/i,
  /\.split\(\s*['"`]\\n\\n/,
];

const files = readdirSync(join(ROOT, 'src')).sort();
const modules = files.filter((name) => MODULE_NAME.test(name));
const tests = readdirSync(join(ROOT, 'test')).filter((name) => name.endsWith('.ts')).sort();
const proofs = readdirSync(join(ROOT, '.proofs')).sort();

function read(...path: string[]): string {
  return readFileSync(join(ROOT, ...path), 'utf8');
}

/** Returns 5 for `05-router.ts` and for `05-router.test.ts`. `main.ts` is above all modules. */
function floorOf(name: string): number {
  return name === MAIN ? Infinity : Number(name.slice(0, 2));
}

// ---- Imports -----------------------------------------------------------------------------------

/** Returns what a source imports, exports from another module, or imports at run time. */
function importsOf(source: string): string[] {
  const statements = source.matchAll(/^(?:import|export)\b[^'"`;]*?\bfrom\s*['"](.+?)['"]/gm);
  const bare = source.matchAll(/^import\s*['"](.+?)['"]/gm);
  const dynamic = source.matchAll(/(?<!(?:\/\/|\*).*)\bimport\(\s*(?:['"](.+?)['"]|(.+))/g);
  return [...statements, ...bare, ...dynamic].map(([, name, computed]) => name ?? computed ?? '');
}

/** Whether a module may import this: a built-in, or a lower module by its full name. */
function isBelow(name: string, specifier: string): boolean {
  if (specifier.startsWith('node:')) return true;
  const imported = /^\.\/(.*)$/.exec(specifier)?.[1] ?? '';
  return modules.includes(imported) && floorOf(imported) < floorOf(name);
}

/** Whether the test of a step may import this: its own module or a lower one, or a tool. */
function isBelowTest(name: string, specifier: string): boolean {
  if (specifier.startsWith('node:') || specifier.startsWith('../.tools/')) return true;
  const imported = /^\.\.?\/src\/(.*)$/.exec(specifier)?.[1] ?? ''; // `./`: from the top level
  return modules.includes(imported) && floorOf(imported) <= floorOf(name);
}

// ---- Lines of code -----------------------------------------------------------------------------

/** Returns the code of each line without comments, with one space between tokens, or `''`. */
function codeLinesOf(source: string): string[] {
  const lines: string[] = source.split('\n').map(() => '');
  for (const { kind, text, start } of tokensOf(source)) {
    if (kind === 'comment') continue;
    const first = lineAt(source, start);
    for (const [i, part] of text.split('\n').entries()) {
      if (part.trim() !== '') lines[first + i] += `${lines[first + i] === '' ? '' : ' '}${part}`;
    }
  }
  return lines;
}

/** Returns the index of the line of a character. */
function lineAt(source: string, at: number): number {
  return source.slice(0, at).split('\n').length - 1;
}

function countCode(source: string): number {
  return codeLinesOf(source).filter((line) => line !== '').length;
}

// A brace after one of these tokens opens a type or an object, where `;` does not end a statement.
const BEFORE_NO_BLOCK = /^(?:[:|&<,=([?]|extends|is|as)$/;
const CONTINUES = /^(?:else|while|catch|finally|as|satisfies)$/; // the same statement

/** Returns the indices of the lines with two statements. */
function crowdedLines(source: string): number[] {
  const tokens = tokensOf(source).filter(({ kind }) => kind !== 'comment');
  const textAt = (i: number): string => tokens[i]?.text ?? '';
  const open: string[] = [];
  const crowded = new Set<number>();
  tokens.forEach(({ text, start }, i) => {
    if (text === '(' || text === '[') open.push(text);
    if (text === '{') {
      const isMember = /^\w+$/.test(textAt(i + 1)) && /^\??:$/.test(textAt(i + 2) + textAt(i + 3));
      const isReturnType = textAt(i - 1) === '=>' && (isMember || textAt(i + 2) === ':');
      open.push(BEFORE_NO_BLOCK.test(textAt(i - 1)) || isReturnType ? 'type' : 'block');
    }
    if (/^[)\]}]$/.test(text)) open.pop();
    if (text !== ';' || (open.at(-1) ?? 'block') !== 'block') return;
    let next = i + 1;
    while (/^[)}]$/.test(textAt(next))) next++;
    const isSameLine = (tokens[next]?.start ?? Infinity) < (source + '\n').indexOf('\n', start);
    const isAfterBlock = next > i + 1 && tokens[next]?.kind !== 'word';
    if (isSameLine && !isAfterBlock && !CONTINUES.test(textAt(next))) {
      crowded.add(lineAt(source, start));
    }
  });
  return [...crowded];
}

// ---- Duplicates --------------------------------------------------------------------------------

type CodeLine = { readonly file: string; readonly line: number; readonly text: string };

/** Returns the lines that count as a duplicate: no imports, and more than punctuation. */
function comparableLines(file: string, source: string): CodeLine[] {
  const isImport = /^(?:import|export)\b[^'"`;]*?\bfrom\b.*$|^import\b.*$/gm;
  const withoutImports = source.replace(isImport, (text) => text.replace(/[^\n]/g, ' '));
  const lines = codeLinesOf(withoutImports).map((text, i) => ({ file, line: i + 1, text }));
  return lines.filter(({ text }) => /\w/.test(text));
}

/** Returns the places where two modules share more consecutive lines than they may. */
function duplicatesIn(sources: ReadonlyMap<string, string>): string[] {
  const seen = new Map<string, CodeLine>();
  const found: string[] = [];
  for (const [file, source] of sources) {
    const lines = comparableLines(file, source);
    for (const [i, first] of lines.entries()) {
      const window = lines.slice(i, i + MAX_EQUAL_LINES + 1);
      if (window.length <= MAX_EQUAL_LINES) break;
      const key = window.map(({ text }) => text).join('\n');
      const other = seen.get(key);
      if (other === undefined) seen.set(key, first);
      else if (other.file !== file) found.push(`${placeOf(other)} = ${placeOf(first)}`);
    }
  }
  return found;
}

function placeOf({ file, line }: CodeLine): string {
  return `${file}:${line}`;
}

// ---- Comments ----------------------------------------------------------------------------------

/** Returns the sentences in the comments and strings of a source. */
function sentencesOf(source: string): string[] {
  const texts: string[] = [];
  let last = { end: -1, isLine: false };
  for (const { kind, text, start, end } of tokensOf(source)) {
    const isLine = text.startsWith('//') && /(?:^|\n)[ \t]*$/.test(source.slice(0, start));
    const isNext = last.isLine && isLine && /^\n[ \t]*$/.test(source.slice(last.end, start));
    const plainText = text.replace(/^\s*(?:\/\/|\/?\*+(?!\/)) ?|\*\/$/gm, '');
    if (kind === 'comment' && isNext) texts.push(`${texts.pop()}\n${plainText}`);
    else if (kind === 'comment' || kind === 'string' || kind === 'template') texts.push(plainText);
    last = { end, isLine: kind === 'comment' && isLine };
  }
  return texts.flatMap((text) => text.split(/(?<=[.!?])\s+|\n[ \t]*\n/));
}

// "step csrf" names a step, and "this step" or "step by step" does not. The tutorial of Pyramid has
// a step 17 too.
const DETERMINER = new RegExp(
  '\\b(?:an?|the|this|that|each|every|one|any|no|per|another|same|own|single|new|later|earlier|' +
    'previous|next|first|second|third|last) $',
  'i',
);
const NO_NAME = /^(?:by|is|are|of|has|in|to|that|with|and|or|before|after)$/;

/** Returns the later steps that a sentence names, by their number, name or file. */
function laterSteps(name: string, sentence: string): string[] {
  const floor = floorOf(name);
  const known = modules.filter((other) => floorOf(other) <= floor);
  const names = known.map((other) => MODULE_NAME.exec(other)?.[2]);
  const later: string[] = [];
  for (const match of sentence.matchAll(/\bsteps? ((?:\d+(?:,? and |,? or | to |, )?)+)/gi)) {
    const numbers = match[1]?.match(/\d+/g)?.map(Number) ?? [];
    const isPyramid = sentence.slice(0, match.index).endsWith('tutorial, ');
    if (!isPyramid && numbers.some((number) => number > floor)) later.push(match[0]);
  }
  for (const [text, step = ''] of sentence.matchAll(/(?<![.-])\bstep ([a-z][a-z-]*)/gi)) {
    const before = sentence.slice(0, sentence.indexOf(text));
    const isName = !DETERMINER.test(before) && !NO_NAME.test(step);
    if (isName && floor < Infinity && !names.includes(step)) later.push(text);
  }
  for (const [text, number] of sentence.matchAll(/\b(\d\d)-[a-z][a-z-]*\.ts\b/g)) {
    if (Number(number) > floor) later.push(text);
  }
  return later;
}

const EXPORT =
  /^export (?:async |abstract )*(?:function\*?|class|const|let|type|interface) (\w+)(.*)/gm;

/** Returns the names that a source exports. */
function exportsOf(source: string): string[] {
  return [...new Set([...source.matchAll(EXPORT)].map(([, name = '']) => name))];
}

/** Returns the exports without a doc comment. For a constant, a trailing comment is enough. */
function undocumented(source: string): string[] {
  const documented = new Set<string>();
  for (const { 1: name = '', 2: rest = '', 0: text, index } of source.matchAll(EXPORT)) {
    const hasDoc = /(?:^|\n)\/\*\*(?:(?!\*\/)[^])*\*\/\n$/.test(source.slice(0, index));
    const hasTrailing = text.startsWith('export const') && /; \/\/ \S/.test(rest);
    if (hasDoc || hasTrailing) documented.add(name);
  }
  return exportsOf(source).filter((name) => !documented.has(name));
}

/** Returns the syntax in `NOT_ERASABLE` that a source contains. */
function notErasable(source: string): string[] {
  return Object.keys(NOT_ERASABLE).filter((what) => NOT_ERASABLE[what]?.test(source));
}

/** Returns the lines that edit or inspect rendered HTML. */
function onHtml(source: string): string[] {
  return codeOf(source, '\n').split('\n').filter((line) => ON_HTML.some((rule) => rule.test(line)));
}

/** Returns a source without its comments. */
function codeOf(source: string, between = ' '): string {
  let code = '';
  let end = 0;
  for (const token of tokensOf(source).filter(({ kind }) => kind === 'comment')) {
    code += source.slice(end, token.start) + between;
    end = token.end;
  }
  return code + source.slice(end);
}

/** Returns the titles in a test file. A title with `${…}` is as in the source. */
function titlesOf(source: string): string[] {
  const calls = source.matchAll(/^\s*(?:it|test)\(\s*(['"`])((?:\\.|(?!\1)[^])*)\1/gm);
  return [...calls].map(([, , title = '']) => title);
}

// ---- The tests ---------------------------------------------------------------------------------

describe('the floors', () => {
  it('src/ contains modules NN-name.ts, main.ts, and nothing else', () => {
    const others = files.filter((name) => !MODULE_NAME.test(name) && name !== MAIN);
    assert.deepEqual(others, [], 'no helper, no barrel and no folder: shared code is a step');
    assert.deepEqual(modules.filter((name) => name.includes('utils')), []);
  });

  it('modules have the numbers from 01, without a gap', () => {
    const numbers = modules.map(floorOf);
    assert.deepEqual(numbers, [...numbers.keys()].map((index) => index + 1));
  });

  for (const name of files) {
    it(`src/${name} imports node: built-ins and lower modules, and re-exports nothing`, () => {
      const wrong = importsOf(read('src', name)).filter((from) => !isBelow(name, from));
      assert.deepEqual(wrong, [], `${name} may import node:… and ./NN-name.ts with a lower number`);
      assert.doesNotMatch(read('src', name), /^export\b[^'"`;=]*\bfrom\s*['"]/m, 'this is a barrel');
    });
  }

  for (const name of tests.filter((name) => /^\d/.test(name))) {
    it(`test/${name} imports no later module`, () => {
      const wrong = importsOf(read('test', name)).filter((from) => !isBelowTest(name, from));
      assert.deepEqual(wrong, [], 'a reader who wrote the first steps can run their tests');
    });
  }

  it('isBelow() accepts a lower module by its full name, and no other', () => {
    const source = [
      "import { a } from './02-cookie.ts';",
      "import type {\n  B,\n} from './01-server.ts';",
      "export * from './03-signer.ts';", // the module itself
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
    const allowed = imports.filter((from) => isBelow('03-signer.ts', from));
    assert.deepEqual(allowed, ['./02-cookie.ts', './01-server.ts', 'node:fs']);
  });

  it('isBelowTest() accepts the module of the test, lower modules and tools', () => {
    const imports = ['node:test', '../.tools/a.ts', '../src/02-cookie.ts', '../src/03-signer.ts'];
    const wrong = ['../src/04-http.ts', '../src/main.ts', './02-cookie.test.ts', 'express'];
    const allowed = [...imports, ...wrong].filter((from) => isBelowTest('03-signer.test.ts', from));
    assert.deepEqual(allowed, imports);
  });
});

describe('the names', () => {
  it('every module has a test file with its name, and every numbered test has a module', () => {
    const numbered = tests.filter((name) => /^\d/.test(name));
    assert.deepEqual(numbered.map((name) => name.replace('.test', '')), modules);
  });

  it('every module has a step in LESSON.md, and every step has a module, in order', () => {
    const steps = read('LESSON.md').matchAll(/^## Step (\d+) · \S/gm);
    assert.deepEqual([...steps].map(([, number]) => Number(number)), modules.map(floorOf));
  });

  it('.proofs/ contains proofs of modules, with the name of the module, and nothing else', () => {
    assert.deepEqual(proofs.filter((name) => !modules.includes(name)), []);
  });

  it('test/ contains no TypeScript except tests: newer Nodes would run a helper as a test', () => {
    assert.deepEqual(tests.filter((name) => !name.endsWith('.test.ts')), []);
  });

  it('titles of tests are unique, because the lesson names them', () => {
    const owners = new Map<string, string>();
    const paths = [
      ...tests.map((name) => join('test', name)), ...proofs.map((name) => join('.proofs', name)),
    ];
    for (const name of paths) {
      for (const title of titlesOf(read(name))) {
        assert.equal(owners.get(title), undefined, `'${title}' in ${name} exists already`);
        owners.set(title, name);
      }
    }
    assert.ok(owners.size > paths.length, 'titlesOf() has found the titles');
  });

  it('the top level contains only the files and folders of the design', () => {
    // Only the files that git tracks: the notes and cookie jars of a reader may lie there too.
    const { stdout } = spawnSync('git', ['ls-files'], { cwd: ROOT, encoding: 'utf8' });
    const names = (stdout ?? '').split('\n').map((path) => path.replace(/\/.*/, ''));
    const others = names.filter((name) => !name.startsWith('.') && !TOP_LEVEL.includes(name));
    assert.deepEqual([...new Set(others)].filter((name) => name !== ''), []);
  });

  it('package.json has no dependencies, and three packages for development', () => {
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
    return [...found].map(([, description = '', path = '']) => ({ description, path }));
  });

  it('every picture on a page exists, and has a description for readers who cannot see it', () => {
    for (const { description, path } of pictures) {
      assert.ok(existsSync(join(ROOT, path)), path);
      assert.ok(description.length >= 40, `the description of ${path} is "${description}"`);
    }
  });

  it('.pictures/ contains the pictures on the pages and nothing else, each small', () => {
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
  for (const name of files) {
    const most = MAX_LINES_OF[name] ?? MAX_LINES;
    it(`src/${name} has at most ${most} lines of code`, () => {
      const count = countCode(read('src', name));
      assert.ok(count <= most, `${name} has ${count} lines of code`);
    });

    it(`src/${name} has at most ${MAX_COLUMNS} columns, and one statement per line`, () => {
      const source = read('src', name);
      const lines = [...source.split('\n').entries()];
      const long = lines.filter(([, text]) => [...text].length > MAX_COLUMNS).map(([i]) => i);
      const where = (indices: number[]) => indices.map((index) => `src/${name}:${index + 1}`);
      assert.deepEqual(where(long), [], 'lines that are too long');
      assert.deepEqual(where(crowdedLines(source)), [], 'lines with two statements');
    });
  }

  it(`steps 1 to 9 have at most ${MAX_TUTORIAL} lines of code`, () => {
    const counts = modules.slice(0, 9).map((name) => countCode(read('src', name)));
    const sum = counts.reduce((total, count) => total + count, 0);
    assert.ok(sum <= MAX_TUTORIAL, `${counts.join(' + ')} = ${sum}`);
  });

  it(`src/ has at most ${MAX_SRC} lines of code`, () => {
    const sum = files.reduce((total, name) => total + countCode(read('src', name)), 0);
    assert.ok(sum <= MAX_SRC, `src/ has ${sum} lines of code`);
  });

  it('countCode() counts no blank line and no line with only a comment', () => {
    const source = [
      '// a comment', '', 'const a = 1; // a trailing comment', '/* a', ' * comment */', '',
      'const b = `// text', '', 'in a template`;', "const c = '/* text */';", '',
    ].join('\n');
    assert.equal(countCode(source), 4);
    assert.equal(countCode("if (/'/.test(a)) b(); // ' and `\nreturn /`/; // `\n"), 2);
  });

  it('crowdedLines() finds two statements on a line, and accepts a type on one line', () => {
    const crowded = [
      'a(); b();', 'function f() { return 1; } a();', 'if (x) { a(); b(); }',
      'class A { a = 1; b = 2; }', 'on(() => { a(); b(); });', "case 'a': b(); break;",
    ];
    for (const line of crowded) assert.deepEqual(crowdedLines(`${line}\n`), [0], line);
    const single = [
      'for (let i = 0; i < 9; i++) a();', 'type A = { a: string; b: number };', 'a(); // b();',
      'if (x) a(); else b();', 'try { a(); } catch { b(); }', 'f<{ a: string; b: number }>(1);',
      'type F = (a: number) => { a: string; b: number };', 'const a = () => { b(); };',
      'const f = ({ a }: { a: number; b: number }): void => g(a);', "const a = 'b; c'; // d; e",
      'a(() => { b(); }, c);',
    ];
    for (const line of single) assert.deepEqual(crowdedLines(`${line}\n`), [], line);
  });
});

describe('the code', () => {
  for (const name of files) {
    it(`src/${name} is JavaScript after its types are erased`, () => {
      assert.deepEqual(notErasable(read('src', name)), [], `Node cannot run this in src/${name}`);
    });

    it(`src/${name} names later steps in one sentence at most`, () => {
      const sentences = sentencesOf(read('src', name));
      const forward = sentences.filter((sentence) => laterSteps(name, sentence).length > 0);
      assert.ok(forward.length <= 1, `${name} has ${forward.length}:\n${forward.join('\n')}`);
    });

    it(`src/${name} has a doc comment for each export`, () => {
      assert.deepEqual(undocumented(read('src', name)), [], `exports of ${name} without /** … */`);
    });

    it(`src/${name} does not edit or inspect rendered HTML`, () => {
      assert.deepEqual(onHtml(read('src', name)), []);
    });
  }

  it('every export of src/ is used in src/, or the lesson explains it', () => {
    const sources = new Map(files.map((name) => [name, codeOf(read('src', name))]));
    const prose = read('LESSON.md').replace(/^```[^]*?^```$/gm, '');
    const count = (text: string, word: string): number =>
      text.match(new RegExp(`(?<![\\w$])${word}(?![\\w$])`, 'g'))?.length ?? 0;
    for (const [name, source] of sources) {
      for (const word of exportsOf(source)) {
        const declared = [...source.matchAll(EXPORT)].filter(([, other]) => other === word).length;
        const own = count(source, word) - declared;
        const others = [...sources].filter(([other]) => other !== name);
        const used = others.reduce((sum, [, text]) => sum + count(text, word), own);
        assert.ok(used > 0 || count(prose, word) > 0, `${name} exports ${word}, which has no use`);
      }
    }
  });

  it(`two modules share at most ${MAX_EQUAL_LINES} consecutive lines of code`, () => {
    const found = duplicatesIn(new Map(files.map((name) => [name, read('src', name)])));
    assert.deepEqual(found, [], 'a later step calls the code of an earlier step');
  });

  it('every form with POST comes from form(), which a later step can extend', () => {
    const hasForm = (name: string): boolean =>
      /<form\b[^>]*\bmethod=["']?post/i.test(codeOf(read('src', name)));
    assert.deepEqual(files.filter((name) => name !== FORM_MODULE && hasForm(name)), []);
  });

  it('notErasable() finds what Node cannot run, and ignores similar code', () => {
    assert.deepEqual(notErasable('export const enum A { B }'), ['an enum']);
    assert.deepEqual(notErasable('namespace A {}'), ['a namespace']);
    assert.deepEqual(notErasable('constructor(a: A, private readonly b: B) {}'), [
      'a parameter property',
    ]);
    assert.deepEqual(notErasable('@sealed\nclass A {}'), ['a decorator']);
    const harmless = 'constructor(all: readonly A[]) {}\n/**\n * @see enum A\n */\nmodule.a();';
    assert.deepEqual(notErasable(harmless), []);
  });

  it('laterSteps() finds a later step by its number, its name or its file', () => {
    const name = '03-signer.ts';
    const rows: [sentence: string, later: string[]][] = [
      ['Step 6 shows the danger.', ['Step 6']],
      ['Steps 2 and 24 use it.', ['Steps 2 and 24']],
      ['Step middleware has a class for it.', ['Step middleware']],
      ['SameSite: step csrf explains it.', ['step csrf']],
      ['See src/12-forms.ts.', ['12-forms.ts']],
      ['The page of step 2, step by step: steps 1 to 3, and step cookie.', []],
      ['A later step passes a `make`, and this step is short.', []],
      ["Pyramid's tutorial, step 17, complete.", []],
    ];
    for (const [sentence, later] of rows) {
      assert.deepEqual(laterSteps(name, sentence), later, sentence);
    }
    assert.deepEqual(laterSteps(MAIN, 'Step 38, and step csrf.'), []);
  });

  it('sentencesOf() joins the lines of a comment, and reads strings', () => {
    const source = [
      '// One sentence in', '// two lines. Another.', '//', '// A paragraph', "const a = 'b c';",
      '', '/** Doc. */', 'const d = 1; // trailing', '// below it',
    ].join('\n');
    const sentences = sentencesOf(source).map((text) => text.trim().replace(/\s+/g, ' '));
    assert.deepEqual(sentences.filter((text) => text !== ''), [
      'One sentence in two lines.', 'Another.', 'A paragraph', "'b c'", 'Doc.', 'trailing',
      'below it',
    ]);
  });

  it('undocumented() finds an export without a doc comment', () => {
    const source = [
      '/** A. */', 'export class A {}', 'export type B = 1;', '/** Not directly above. */', '',
      'export function c(): void {}', 'export const D = 1; // seconds', '// not a doc comment',
      'export const e = () => {};', 'export interface A {}', '/** F. */',
      'export async function f() {}',
    ].join('\n');
    assert.deepEqual(undocumented(source), ['B', 'c', 'e']);
  });

  it('onHtml() finds code that edits or inspects a rendered page', () => {
    const edits = [
      "body.replace('<main>', '')", 'body.replace(/<main>/, a)', "body.startsWith('<!doctype')",
      "text.split('\\n\\n')", 'body.includes("</body>")',
    ];
    for (const line of edits) assert.deepEqual(onHtml(`${line};\n`), [`${line};`]);
    const others = [
      'text.replace(/[&<>]/g, escape);', "html`<p>${text.replace('a', 'b')}</p>`;",
      "// body.replace('<main>', '')", "text.split('\\n');",
    ];
    for (const line of others) assert.deepEqual(onHtml(`${line}\n`), [], line);
  });

  it('duplicatesIn() finds lines that two modules share, in any layout', () => {
    const lines = ['a();', 'b(1);', 'if (c) {', 'd();', '}', 'e();', 'f();', 'g();'];
    const sources = (first: string[], second: string[]) =>
      new Map([['01-a.ts', first.join('\n')], ['02-b.ts', second.join('\n')]]);
    const copy = lines.map((line) => `  ${line} // copied`);
    assert.deepEqual(duplicatesIn(sources(lines, ['h();', ...copy])), [
      '01-a.ts:1 = 02-b.ts:2', '01-a.ts:2 = 02-b.ts:3',
    ]);
    assert.deepEqual(duplicatesIn(sources(lines, lines.with(3, 'x();'))), []);
    const imports = lines.map((_, i) => `import { x${i} } from 'node:fs';`);
    assert.deepEqual(duplicatesIn(sources(imports, imports)), []);
    assert.deepEqual(duplicatesIn(sources([...lines, ...lines], [])), [], 'within one module');
  });
});

describe('the steps run', { concurrency: Math.min(2, availableParallelism()) }, () => {
  const isNative = Boolean(Reflect.get(process.features, 'typescript'));
  const hasSqlite = process.getBuiltinModule?.('node:sqlite') !== undefined;
  const timeout = RUN_TIMEOUT;
  const environment = readerEnvironment({
    PORT: '0',
    SQLITE_FILE: ':memory:',
    REDIS_URL: 'redis://127.0.0.1:1', // no program listens there
    REDIS_PORT: '1',
  });
  /** Pages with another status than 200, by path. */
  const STATUS: Record<string, number> = { '/crash': 500, '/nonsense': 404 };
  /** Steps that need Redis. Without Redis their pages are 503. */
  const DOWN = ['31-resp.ts', '32-redis-client.ts', '33-redis-store.ts'];
  const stops = files.findLast((name) => name === MAIN || name.endsWith('-operations.ts'));

  /** How a reader runs a file: with tsx on an older Node. The copy of the others starts faster. */
  async function command(name: string): Promise<string[]> {
    const isLast = name === files.at(-1);
    if (!isLast || isNative) return [join(await plainSite(), 'src', plain(name))];
    return ['--import', import.meta.resolve('tsx'), join(ROOT, 'src', name)];
  }

  for (const name of files) {
    const what = `src/${name} prints its pages, responds to each, and stops at SIGTERM`;
    const isSample = name === MAIN || floorOf(name) === 9; // the others run in CI
    const skip = !isSample && skipSlow('test/architecture.test.ts');
    it(what, { timeout, skip }, async (t) => {
      const child = spawn(process.execPath, await command(name), {
        env: environment,
        signal: t.signal, // the server ends with this test
        killSignal: 'SIGKILL',
      });
      child.on('error', () => {}); // the signal above is not an error of this test
      let output = '';
      let errors = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
      const closed = once(child, 'close');

      const title = name === MAIN ? '.+' : `Step ${floorOf(name)}`;
      const start = `^${title} · http://localhost:(\\d+)\n([^]+)  stop with Ctrl-C\n`;
      const place = new RegExp(start, 'm');
      while (!place.test(output)) {
        await Promise.race([once(child.stdout, 'data'), closed]);
        if (child.exitCode === null && child.signalCode === null) continue;
        if (!hasSqlite && /^Cannot open .*SQLite needs Node 22\.13/.test(errors)) return;
        assert.fail(`It ended before it printed ${place}:\n${output}${errors}`);
      }
      const [, port, hints = ''] = place.exec(output) ?? [];
      for (const hint of hints.slice(0, -1).split('\n')) {
        const [, path] = /^ {2}open http:\/\/localhost:\d+(\/.*)$/.exec(hint) ?? [];
        const isText = /^ {2}(?!open )\S/.test(hint);
        assert.ok(path !== undefined || isText, `a hint without a path or a text:\n${hints}`);
        const response = await fetch(`http://127.0.0.1:${port}${path ?? '/'}`);
        const status = DOWN.includes(name) ? 503 : (STATUS[path ?? '/'] ?? 200);
        assert.equal(response.status, status, `${hint}: ${await response.text()}`);
      }
      child.kill('SIGTERM');
      // Without a handler for signals, the signal ends the process.
      const end = await closed;
      const isClean = end[0] === 0 || (end[1] === 'SIGTERM' && name !== stops);
      assert.ok(isClean, `exit code and signal after SIGTERM: ${end}\n${errors}`);
      const others = errors.replace(/^50[03] GET \/.*\n/gm, ''); // the log of the pages above
      assert.equal(others, '', 'the server prints nothing else on stderr');
    });
  }
});
