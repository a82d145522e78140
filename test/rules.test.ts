// The appendix of LESSON.md, "Rules, and where they are kept", is held to what it says: each test
// that it names is there, each step is, each row says whether its rule is kept, and no requirement
// of the sources that have numbers is left out. First the rules, then the appendix itself, and then
// tables that lie: a check that cannot fail is none.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const APPENDIX = 'Rules, and where they are kept';
const HEADER = '| rule | step | test |';

/** How many requirements each section has: '3.2': 3 is 3.2.1, 3.2.2 and 3.2.3. */
type Sections = Readonly<Record<string, number>>;

/** By the tables' headings: OWASP ASVS, tag v5.0.0_release (May 2025), and RFC 8725 (2020). */
const REQUIRED: Readonly<Record<string, Sections>> = {
  'OWASP ASVS 5.0.0, V3: Web Frontend Security': {
    '3.1': 1, '3.2': 3, '3.3': 5, '3.4': 8, '3.5': 8, '3.6': 1, '3.7': 5,
  },
  'OWASP ASVS 5.0.0, V7: Session Management': {
    '7.1': 3, '7.2': 4, '7.3': 2, '7.4': 5, '7.5': 3, '7.6': 2,
  },
  'OWASP ASVS 5.0.0, V9: Self-contained Tokens': { '9.1': 3, '9.2': 4 },
  'RFC 8725: JSON Web Token Best Current Practices': { '3': 12 },
};

/** What the last cell of a row may be. What stands in backticks there is the title of a test. */
const TITLES = '`[^`]+`(?:, `[^`]+`)*';
const WORDS = '(?:[^`]|`[^`]+`)+'; // titles may stand in them too
const KINDS: Readonly<Record<string, RegExp>> = {
  'shown by a test': new RegExp(`^${TITLES}$`),
  'in part': new RegExp(`^in part: ${TITLES}; not ${WORDS}, because ${WORDS}$`),
  'not covered': new RegExp(`^not covered, because ${WORDS}$`),
};

/** A row of a table, with the heading above it. */
type Row = { source: string; rule: string; step: string; test: string };

function numbersOf(sections: Sections): string[] {
  return Object.entries(sections).flatMap(([section, count]) =>
    Array.from({ length: count }, (_, i) => `${section}.${i + 1}`),
  );
}

/** The text without its fences, in which a `#` begins no heading. */
function proseOf(markdown: string): string {
  return markdown.replace(/^```[^]*?^```$/gm, '');
}

/**
 * Each heading under the anchor that GitHub makes of it: in lower case, with `-` for a space, and
 * of other signs only letters, digits, `-` and `_`. The second of one name has `-1` behind it.
 */
function anchorsOf(markdown: string): Map<string, string> {
  const anchors = new Map<string, string>();
  const seen = new Map<string, number>();
  for (const [, heading = ''] of proseOf(markdown).matchAll(/^#{1,6} (.+)$/gm)) {
    const slug = heading.toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '');
    const anchor = slug.replaceAll(' ', '-');
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    anchors.set(count === 0 ? anchor : `${anchor}-${count}`, heading);
  }
  return anchors;
}

/** The rows of the appendix. Throws where a line of a table is no row of three cells. */
function parseRows(markdown: string): Row[] {
  const rows: Row[] = [];
  const [, after = ''] = proseOf(markdown).split(new RegExp(`^## ${APPENDIX}$`, 'm'));
  const [appendix = ''] = after.split(/^## /m);
  let source = '';
  for (const line of appendix.split('\n')) {
    source = /^### (.+)$/.exec(line)?.[1] ?? source;
    if (!line.startsWith('|') || line === HEADER || line === '|---|---|---|') continue;
    const cells = /^\| ?([^|]*?) ?\| ?([^|]*?) ?\| ?([^|]*?) ?\|$/.exec(line);
    assert.ok(cells, `a row has three cells: ${line}`);
    const [, rule = '', step = '', test = ''] = cells;
    rows.push({ source, rule, step, test });
  }
  return rows;
}

/**
 * The titles in a test file, as they are written: of `${name}: it ends` not what it becomes. Where
 * a title stands in a constant, it is the last constant of that name before the test.
 */
function titlesOf(source: string): string[] {
  const calls = /^\s*(?:it|test|describeRows)\(\s*(?:(['"`])((?:\\.|(?!\1)[^])*)\1|(\w+),)/gm;
  return [...source.matchAll(calls)].flatMap(({ 2: literal, 3: name, index }) => {
    if (literal !== undefined) return [literal.replace(/\\(.)/g, '$1')];
    const text = new RegExp(`const ${name} =\\s*(['"\`])((?:(?!\\1).)*)\\1;`, 'g');
    const found = [...source.slice(0, index).matchAll(text)].at(-1)?.[2];
    return found === undefined ? [] : [found];
  });
}

/** Of which kind a row is; `undefined`: it says too little. */
function kindOf({ test }: Row): string | undefined {
  return Object.keys(KINDS).find((kind) => KINDS[kind]?.test(test));
}

/** What is wrong with a row, in words: nothing, if all is well. */
function faultsOf(
  row: Row,
  titles: ReadonlySet<string>,
  anchors: ReadonlyMap<string, string>,
): string[] {
  const faults: string[] = [];
  if (row.rule === '') faults.push('it names no rule');
  if (kindOf(row) === undefined) faults.push(`it says neither a test nor why not: '${row.test}'`);
  for (const [, title = ''] of row.test.matchAll(/`([^`]*)`/g)) {
    if (!titles.has(title)) faults.push(`no test is called '${title}'`);
  }
  const [, number = '', anchor = ''] = /^\[Step (\d+)\]\(#([^)\s]+)\)$/.exec(row.step) ?? [];
  if (anchor === '') faults.push(`it links to no step: '${row.step}'`);
  else if (!anchors.get(anchor)?.startsWith(`Step ${number} · `)) {
    faults.push(`step ${number} is not at #${anchor}`);
  }
  return faults.map((fault) => `${row.source}: ${row.rule}: ${fault}`);
}

/** What is wrong with the numbers of a table: one that is missing, unknown, or there twice. */
function faultsOfNumbers(rows: Row[], required: typeof REQUIRED): string[] {
  return Object.entries(required).flatMap(([source, sections]) => {
    const own = rows.filter((row) => row.source === source);
    const found = own.map(({ rule }) => /^\d+(?:\.\d+)+(?= )/.exec(rule)?.[0] ?? rule);
    const wanted = numbersOf(sections);
    const missing = wanted.filter((number) => !found.includes(number));
    const unknown = found.filter((number) => !wanted.includes(number));
    const twice = found.filter((number, index) => found.indexOf(number) < index);
    return [
      ...missing.map((number) => `${source}: ${number} is missing`),
      ...unknown.map((number) => `${source}: there is no ${number}`),
      ...twice.map((number) => `${source}: ${number} is there twice`),
    ];
  });
}

/** `3 rules: 1 shown by a test, 1 in part, 1 not covered` */
function countsOf(rows: Row[]): string {
  const counts = Object.keys(KINDS).map(
    (kind) => `${rows.filter((row) => kindOf(row) === kind).length} ${kind}`,
  );
  return `${rows.length} rules: ${counts.join(', ')}`;
}

function read(...path: string[]): string {
  return readFileSync(join(ROOT, ...path), 'utf8');
}

describe('rules: the appendix', () => {
  const lesson = read('LESSON.md');
  const rows = parseRows(lesson);
  const anchors = anchorsOf(lesson);
  const files = readdirSync(join(ROOT, 'test')).filter((name) => name.endsWith('.test.ts'));
  const titles = new Set(files.flatMap((name) => titlesOf(read('test', name))));

  it('each row names a rule, a step, and tests that exist, or why there is none', () => {
    assert.ok(rows.length > 200, `${rows.length} rows`);
    assert.deepEqual(rows.flatMap((row) => faultsOf(row, titles, anchors)), []);
  });

  it('no requirement of ASVS V3, V7 and V9 is left out, nor a section of RFC 8725', () => {
    const asvs = Object.values(REQUIRED).map((sections) => numbersOf(sections).length);
    assert.deepEqual(asvs, [31, 19, 7, 12]);
    assert.deepEqual(faultsOfNumbers(rows, REQUIRED), []);
  });

  it('no table has one rule twice', () => {
    const rules = rows.map(({ source, rule }) => `${source}: ${rule}`);
    assert.deepEqual(rules.filter((rule, index) => rules.indexOf(rule) < index), []);
  });

  it('LESSON.md and README.md count the rules as they are', () => {
    for (const name of ['LESSON.md', 'README.md']) {
      assert.ok(read(name).includes(countsOf(rows)), `${name} should say: ${countsOf(rows)}`);
    }
  });
});

describe('rules: tried on tables that lie', () => {
  const LESSON = [
    '## Step 1 · A sum, and more', '### Code', '```ts src/01-sum.ts', '# no heading', '```',
    '## Step 2 · A product', '### Code', `## ${APPENDIX}`, '### Source', HEADER, '|---|---|---|',
    '| 1.1 One | [Step 1](#step-1--a-sum-and-more) | `sum() adds`, `${name}: it ends` |',
    '| 1.2 Two | [Step 2](#step-2--a-product) | in part: `sum() adds`; not all, because of x |',
    '| 1.3 Three | [Step 2](#step-2--a-product) | not covered, because of y |',
    '## Behind it', '| not | a | row |',
  ].join('\n');
  const TITLES_THERE = new Set(['sum() adds', '${name}: it ends']);
  const NUMBERS = { Source: { '1': 3 } };

  /** All that is wrong with the lesson after one change to it. */
  function faultsAfter(from: string, to: string): string[] {
    assert.equal(LESSON.split(from).length, 2, `'${from}' is there once`);
    const changed = LESSON.replace(from, () => to);
    const rows = parseRows(changed);
    const anchors = anchorsOf(changed);
    const faults = rows.flatMap((row) => faultsOf(row, TITLES_THERE, anchors));
    return [...faults, ...faultsOfNumbers(rows, NUMBERS)];
  }

  it('faultsOf() finds nothing wrong with a table that is right', () => {
    assert.deepEqual(faultsAfter('1.1 One', '1.1 The first'), []);
    const counts = '3 rules: 1 shown by a test, 1 in part, 1 not covered';
    assert.equal(countsOf(parseRows(LESSON)), counts);
  });

  const FIRST = '`sum() adds`, `${name}: it ends` |';
  const LIES: [what: string, from: string, to: string, fault: RegExp][] = [
    ['a test that is not there', FIRST, '`sum() subtracts` |', /no test is called 'sum\(\) sub/],
    ['a test that is not there, as a reason', 'because of y', 'because of `y`', /called 'y'/],
    ['a title that has no end', 'because of y', 'because of `y', /neither a test nor why not/],
    ['the name that a title becomes', FIRST, '`memory: it ends` |', /no test is called 'memory: /],
    ['one of two that is not there', FIRST, '`sum() adds`, `x()` |', /no test is called 'x\(\)'/],
    ['an empty title', FIRST, '`` |', /neither a test nor why not/],
    ['an empty test', FIRST, '|', /neither a test nor why not: ''/],
    ['words that are no title', FIRST, 'sum() adds |', /neither a test nor why not/],
    ['words beside a title', FIRST, '`sum() adds`, mostly |', /neither a test nor why not/],
    ['no reason', FIRST, 'not covered |', /neither a test nor why not/],
    ['a reason that is empty', FIRST, 'not covered, because |', /neither a test nor why not/],
    ['a part without the rest', FIRST, 'in part: `sum() adds` |', /neither a test nor why not/],
    ['a part without a test', FIRST, 'in part: it; not all, because |', /neither a test nor why/],
    ['an empty rule', '1.1 One', '', /it names no rule/],
    ['an empty step', '[Step 1](#step-1--a-sum-and-more)', '', /it links to no step: ''/],
    ['a step without a link', '[Step 1](#step-1--a-sum-and-more)', 'Step 1', /links to no step/],
    ['a step that is not there', '[Step 1]', '[Step 3]', /step 3 is not at #step-1--a-sum/],
    ['the anchor of another step', '(#step-1--a-sum-and-more)', '(#step-2--a-product)', /step 1/],
    ['an anchor with one dash', '(#step-1--a-sum-and-more)', '(#step-1-a-sum-and-more)', /step 1/],
    ['an anchor with a comma', '(#step-1--a-sum-and-more)', '(#step-1--a-sum,-and-more)', /step 1/],
    ['a heading with another name', 'A sum, and more', 'A sum', /step 1 is not at #step-1--a-sum-/],
    ['a number that is missing', '1.2 Two', '1.1 Two', /1\.2 is missing/],
    ['a number that is there twice', '1.2 Two', '1.1 Two', /1\.1 is there twice/],
    ['a number that nobody has', '1.3 Three', '1.4 Three', /there is no 1\.4/],
    ['a number that only begins so', '1.1 One', '1.10 One', /1\.1 is missing/],
    ['a rule without a number', '1.3 Three', 'Three', /there is no Three/],
    ['another heading above them', '### Source', '### Sources', /Source: 1\.1 is missing/],
  ];
  for (const [what, from, to, fault] of LIES) {
    it(`faultsOf() and faultsOfNumbers() notice ${what}`, () => {
      const faults = faultsAfter(from, to);
      assert.match(faults.join('\n'), fault, `found: ${faults.join('; ') || 'nothing'}`);
    });
  }

  it('parseRows() takes no row that has not three cells', () => {
    for (const row of ['| 1.1 One | `sum() adds` |', '| a | b | c | d |', '| a | b | c', '| a']) {
      const changed = LESSON.replace('| 1.3 Three', () => `${row}\n| 1.3 Three`);
      assert.throws(() => parseRows(changed), /a row has three cells/, row);
    }
    assert.deepEqual(parseRows(LESSON.replace(`## ${APPENDIX}`, '## Other')), []);
  });

  it('anchorsOf() makes the anchors that GitHub makes', () => {
    const ROWS: [heading: string, anchor: string][] = [
      ['## Which one should I use?', 'which-one-should-i-use'],
      ['## Step 7 · Cookies', 'step-7--cookies'],
      ['### Step 5 · Files, and no others', 'step-5--files-and-no-others'],
      ['# What `a_b` is: 1.5 (or so)', 'what-a_b-is-15-or-so'],
      ['## Été à la carte', 'été-à-la-carte'],
    ];
    for (const [heading, anchor] of ROWS) {
      assert.deepEqual([...anchorsOf(heading).keys()], [anchor], heading);
    }
    assert.deepEqual([...anchorsOf(LESSON).keys()].slice(0, 4), [
      'step-1--a-sum-and-more', 'code', 'step-2--a-product', 'code-1',
    ]);
  });

  it('titlesOf() finds titles of every form, and none in a comment or in a string', () => {
    const source = [
      "it('one', () => {});", '  it("it\'s two", async () => {});', "it('it\\'s three', () => {});",
      'it(`${name}: four`, () => {});', "test(\n  'five',\n  () => {});", "describeRows('six');",
      "const title = 'no';", "const title =\n  'seven';", 'it(title, { timeout }, () => {});',
      "// it('a comment', () => {});", "const text = \"it('a string')\";", 'it(unknown, () => {});',
      "wait('a function that ends in it', () => {});", "describe('a group', () => {});",
    ].join('\n');
    const expected = ['one', "it's two", "it's three", '${name}: four', 'five', 'six', 'seven'];
    assert.deepEqual(titlesOf(source), expected);
  });
});
