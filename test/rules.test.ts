// These tests check the tables in rules.md. Each test and each step that a row names must exist.
// Each row must say whether the project follows the rule. A source with numbers must be complete.
// The first part checks the tables. The second part checks the checker: it must find each error in
// a table that was changed.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { withoutFences } from '../.tools/page.ts';
import { ROOT } from '../.tools/serve.ts';

const HEADER = '| rule | step | test |';

/** The number of requirements in each section. '3.2': 3 means 3.2.1, 3.2.2 and 3.2.3. */
type Sections = Readonly<Record<string, number>>;

/** By the headings of the tables: OWASP ASVS, tag v5.0.0_release (2025), and RFC 8725 (2020). */
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

/** The forms of the last cell. Text in backticks is the title of a test. */
const TITLES = '`[^`]+`(?:, `[^`]+`)*';
const WORDS = '(?:[^`]|`[^`]+`)+'; // a reason can contain titles too
const KINDS: Readonly<Record<string, RegExp>> = {
  'shown by a test': new RegExp(`^${TITLES}$`),
  'in part': new RegExp(`^in part: ${TITLES}; not ${WORDS}, because ${WORDS}$`),
  'not covered': new RegExp(`^not covered, because ${WORDS}$`),
};

/** A row of a table, with the heading above the table. */
type Row = { source: string; rule: string; step: string; test: string };

function numbersOf(sections: Sections): string[] {
  return Object.entries(sections).flatMap(([section, count]) =>
    Array.from({ length: count }, (_, i) => `${section}.${i + 1}`),
  );
}

/** Returns the anchor of a heading on GitHub: lower case, no punctuation, `-` for a space. */
function anchorOf(heading: string): string {
  const plain = heading.toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '');
  return plain.replaceAll(' ', '-');
}

/** Returns the link that a row needs for each step of the lesson: '[Step 3](../LESSON.md#…)'. */
function linksOf(lesson: string): Set<string> {
  const headings = withoutFences(lesson).matchAll(/^## ((Step \d+) · .+|The finished site)$/gm);
  const links = [...headings].map(([, heading = '', step]) =>
    `[${step ?? heading}](../LESSON.md#${anchorOf(heading)})`);
  return new Set(links);
}

/** Returns the rows of all tables. Throws if a line of a table does not have three cells. */
function parseRows(page: string): Row[] {
  const rows: Row[] = [];
  let source = '';
  for (const line of withoutFences(page).split('\n')) {
    source = /^#+ (.+)$/.exec(line)?.[1] ?? source;
    if (!line.startsWith('|') || line === HEADER || line === '|---|---|---|') continue;
    const cells = /^\| ?([^|]*?) ?\| ?([^|]*?) ?\| ?([^|]*?) ?\|$/.exec(line);
    assert.ok(cells, `A row must have three cells: ${line}`);
    const [, rule = '', step = '', test = ''] = cells;
    rows.push({ source, rule, step, test });
  }
  return rows;
}

/**
 * Returns the titles in a test file as they are in the source, for example `${name}: it ends`. If a
 * constant contains the title, the last constant with this name before the test counts.
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

/** Returns the kind of a row, or `undefined` if its last cell has none of the forms. */
function kindOf({ test }: Row): string | undefined {
  return Object.keys(KINDS).find((kind) => KINDS[kind]?.test(test));
}

/** Returns the errors in a row as sentences, or [] if the row is correct. */
function errorsOf(row: Row, titles: ReadonlySet<string>, links: ReadonlySet<string>): string[] {
  const errors: string[] = [];
  if (row.rule === '') errors.push('the row names no rule');
  const isUnclear = kindOf(row) === undefined;
  if (isUnclear) errors.push(`the row has neither a test nor a reason: '${row.test}'`);
  for (const [, title = ''] of row.test.matchAll(/`([^`]*)`/g)) {
    if (!titles.has(title)) errors.push(`no test has the title '${title}'`);
  }
  if (!links.has(row.step)) errors.push(`LESSON.md has no such step: '${row.step}'`);
  return errors.map((error) => `${row.source}: ${row.rule}: ${error}`);
}

/** Returns the errors in the numbers of the tables: a missing, an unknown or a repeated number. */
function errorsOfNumbers(rows: Row[], required: typeof REQUIRED): string[] {
  return Object.entries(required).flatMap(([source, sections]) => {
    const table = rows.filter((row) => row.source === source);
    const found = table.map(({ rule }) => /^\d+(?:\.\d+)+(?= )/.exec(rule)?.[0] ?? rule);
    const wanted = numbersOf(sections);
    const missing = wanted.filter((number) => !found.includes(number));
    const unknown = found.filter((number) => !wanted.includes(number));
    const repeated = found.filter((number, index) => found.indexOf(number) < index);
    return [
      ...missing.map((number) => `${source}: ${number} is missing`),
      ...unknown.map((number) => `${source}: ${number} does not exist`),
      ...repeated.map((number) => `${source}: ${number} occurs twice`),
    ];
  });
}

/** Returns the counts: `3 rules: 1 shown by a test, 1 in part, 1 not covered`. */
function countsOf(rows: Row[]): string {
  const counts = Object.keys(KINDS).map(
    (kind) => `${rows.filter((row) => kindOf(row) === kind).length} ${kind}`,
  );
  return `${rows.length} rules: ${counts.join(', ')}`;
}

function read(...path: string[]): string {
  return readFileSync(join(ROOT, ...path), 'utf8');
}

describe('rules: the tables in rules.md', () => {
  const rows = parseRows(read('test', 'rules.md'));
  const links = linksOf(read('LESSON.md'));
  const filesIn = (folder: string): string[] =>
    readdirSync(join(ROOT, folder)).map((name) => join(folder, name));
  const tests = filesIn('test').filter((path) => path.endsWith('.test.ts'));
  const titles = new Set([...tests, ...filesIn('.proofs')].flatMap((path) => titlesOf(read(path))));

  it('each row names a rule, a step, and tests that exist or a reason', () => {
    assert.ok(rows.length > 200, `there are only ${rows.length} rows`);
    assert.deepEqual(rows.flatMap((row) => errorsOf(row, titles, links)), []);
  });

  it('the tables contain each requirement of ASVS V3, V7 and V9 and of RFC 8725', () => {
    const counts = Object.values(REQUIRED).map((sections) => numbersOf(sections).length);
    assert.deepEqual(counts, [31, 19, 7, 12]);
    assert.deepEqual(errorsOfNumbers(rows, REQUIRED), []);
  });

  it('no table contains the same rule twice', () => {
    const rules = rows.map(({ source, rule }) => `${source}: ${rule}`);
    assert.deepEqual(rules.filter((rule, index) => rules.indexOf(rule) < index), []);
  });

  it('rules.md and README.md contain the number of rules of each kind', () => {
    for (const path of [['test', 'rules.md'], ['README.md']]) {
      const text = read(...path).replaceAll('\n', ' '); // a line of README.md can end anywhere
      assert.ok(text.includes(countsOf(rows)), `${path.join('/')} must contain: ${countsOf(rows)}`);
    }
  });
});

describe('rules: the checker finds errors', () => {
  const LESSON = [
    '## Step 1 · A sum, and more', '### Code', '```ts src/01-sum.ts', '## Step 9 · In a fence',
    '```', '## Step 2 · Product', '### Code', '## The finished site', '### Step 8 · Not a step',
  ].join('\n');
  const PAGE = [
    '# Rules', '### Source', HEADER, '|---|---|---|',
    '| 1.1 1 | [Step 1](../LESSON.md#step-1--a-sum-and-more) | `sum() adds`, `${name}: it ends` |',
    '| 1.2 2 | [Step 2](../LESSON.md#step-2--product) | in part: `sum() adds`; not a, because b |',
    '```', '| in | a | fence |', '```',
    '| 1.3 3 | [The finished site](../LESSON.md#the-finished-site) | not covered, because y |',
  ].join('\n');
  const EXISTING = new Set(['sum() adds', '${name}: it ends']);
  const NUMBERS = { Source: { '1': 3 } };

  /** Returns all errors in the page after one change. */
  function errorsAfter(from: string, to: string): string[] {
    assert.equal(PAGE.split(from).length, 2, `'${from}' must occur once`);
    const rows = parseRows(PAGE.replace(from, () => to));
    const errors = rows.flatMap((row) => errorsOf(row, EXISTING, linksOf(LESSON)));
    return [...errors, ...errorsOfNumbers(rows, NUMBERS)];
  }

  it('errorsOf() finds no error in a correct table', () => {
    assert.deepEqual(errorsAfter('1.1 1 ', '1.1 The first '), []);
    const counts = '3 rules: 1 shown by a test, 1 in part, 1 not covered';
    assert.equal(countsOf(parseRows(PAGE)), counts);
  });

  const FIRST = '`sum() adds`, `${name}: it ends` |';
  const LINK = '[Step 1](../LESSON.md#step-1--a-sum-and-more)';
  const ERRORS: [what: string, from: string, to: string, error: RegExp][] = [
    ['a test that does not exist', FIRST, '`sum() subtracts` |', /title 'sum\(\) subtracts'/],
    ['a test in a reason that does not exist', 'because y', 'because `y`', /the title 'y'/],
    ['a title without an end', 'because y', 'because `y', /neither a test nor a reason/],
    ['a title that was filled in', FIRST, '`memory: it ends` |', /the title 'memory: it ends'/],
    ['one of two tests that does not exist', FIRST, '`sum() adds`, `x()` |', /title 'x\(\)'/],
    ['an empty title', FIRST, '`` |', /neither a test nor a reason/],
    ['an empty cell', FIRST, '|', /neither a test nor a reason: ''/],
    ['a title without backticks', FIRST, 'sum() adds |', /neither a test nor a reason/],
    ['words beside a title', FIRST, '`sum() adds`, mostly |', /neither a test nor a reason/],
    ['a missing reason', FIRST, 'not covered |', /neither a test nor a reason/],
    ['an empty reason', FIRST, 'not covered, because |', /neither a test nor a reason/],
    ['a part without the rest', FIRST, 'in part: `sum() adds` |', /neither a test nor a reason/],
    ['a part without a test', FIRST, 'in part: it; not all, because x |', /neither a test nor/],
    ['an empty rule', '1.1 1', '', /names no rule/],
    ['an empty step', LINK, '', /has no such step: ''/],
    ['a step without a link', LINK, 'Step 1', /no such step: 'Step 1'/],
    ['a step that does not exist', '[Step 1]', '[Step 3]', /no such step: '\[Step 3\]/],
    ['a step in a fence', LINK, '[Step 9](../LESSON.md#step-9--in-a-fence)', /no such step/],
    ['a heading that is not a step', LINK, '[Step 8](../LESSON.md#step-8--not-a-step)', /no such/],
    ['the anchor of another step', '#step-1--a-sum-and-more', '#step-2--product', /no such step/],
    ['an anchor with one dash', 'step-1--a-sum', 'step-1-a-sum', /no such step/],
    ['an anchor with a comma', 'a-sum-and', 'a-sum,-and', /no such step/],
    ['a link to another page', '../LESSON.md#step-1', '../README.md#step-1', /no such step/],
    ['a missing number', '1.2 2', '1.1 2', /1\.2 is missing/],
    ['a repeated number', '1.2 2', '1.1 2', /1\.1 occurs twice/],
    ['an unknown number', '1.3 3', '1.4 3', /1\.4 does not exist/],
    ['a number that only begins with the right digits', '1.1 1', '1.10 1', /1\.1 is missing/],
    ['a rule without a number', '1.3 3', 'Three', /Three does not exist/],
    ['a table under another heading', '### Source', '### Sources', /Source: 1\.1 is missing/],
  ];
  for (const [what, from, to, error] of ERRORS) {
    it(`errorsOf() and errorsOfNumbers() find ${what}`, () => {
      const errors = errorsAfter(from, to);
      assert.match(errors.join('\n'), error, `found: ${errors.join('; ') || 'nothing'}`);
    });
  }

  it('parseRows() throws for a row that does not have three cells', () => {
    for (const row of ['| 1.1 1 | `sum() adds` |', '| a | b | c | d |', '| a | b | c', '| a']) {
      const changed = PAGE.replace('| 1.3 3', () => `${row}\n| 1.3 Three`);
      assert.throws(() => parseRows(changed), /A row must have three cells/, row);
    }
  });

  it('linksOf() returns the anchors that GitHub makes', () => {
    const table: [heading: string, link: string][] = [
      ['Step 7 · A session', '[Step 7](../LESSON.md#step-7--a-session)'],
      ['Step 9 · The tutorial, complete', '[Step 9](../LESSON.md#step-9--the-tutorial-complete)'],
      ['Step 5 · `a_b` is 1.5 (or so)?', '[Step 5](../LESSON.md#step-5--a_b-is-15-or-so)'],
      ['Step 6 · Été à la carte', '[Step 6](../LESSON.md#step-6--été-à-la-carte)'],
    ];
    for (const [heading, link] of table) {
      assert.deepEqual([...linksOf(`## ${heading}`)], [link], heading);
    }
    assert.deepEqual([...linksOf(LESSON)], [
      LINK, '[Step 2](../LESSON.md#step-2--product)',
      '[The finished site](../LESSON.md#the-finished-site)',
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
