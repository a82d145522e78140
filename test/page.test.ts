// The rules for LESSON.md in `.tools/page.ts`, on small lessons. Each rule accepts a good lesson and
// rejects a lesson that breaks it, because a rule that cannot fail proves nothing.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  applyDiff, bugsOf, checkAllQuoted, checkContents, checkDiagrams, checkForm, checkGlossary,
  checkHead, checkLengths, checkLinks, checkOutput, checkPage, countWords, outcomeOf,
  parseConsole, parseLesson, parseStart, PARTS, quote, TUTORIAL,
} from '../.tools/page.ts';
import type { Fence, Step } from '../.tools/page.ts';

const SOURCE = ['const one = 1;', '', 'function add() {', '  return one + one;', '}'];

function fence(language: string, ...lines: string[]): Fence {
  return { language, file: 'src/01-add.ts', line: 10, lines, before: '', after: '' };
}

// A page with one good step, in pieces that a test can replace.
const HEAD = `## Step 2 · A cookie

[Contents](#contents)

*25 minutes · New words: [cookie](#word-cookie)*
`;
const BUG = `An attacker reads it. The bug: it adds nothing.

\`\`\`diff
-a
+b
\`\`\`

Caught by: \`npm run try 2 "returns the value"\`

Undo it: \`git checkout src/02-cookie.ts\`
`;
const FLAWS = 'Remaining flaws:\n\n- It is not signed ([step 3](#step-3)).\n';
const STEP = `${HEAD}
### Problem

A cookie is missing.

### Run it

\`\`\`console
$ curl -s http://localhost:6543/
\`\`\`

**Predict.** What is next?

<details><summary>Answer</summary>

A number.

</details>

### Idea and code

\`\`\`ts src/02-cookie.ts
### not a heading
\`\`\`

### Break it

${BUG}
### Your turn

Optional.

### What you learned

- One.
- Two.
- Three.

${FLAWS}`;
const CONTENTS = `# Course

## How to use this page

Read it.

## Contents

- [Part I](#part-i--the-tutorial)
- [A cookie](#step-2--a-cookie)
- [Glossary](#glossary)

## ${PARTS[0]?.[0]}

`;
const GLOSSARY = '\n## Glossary\n\n- <a id="word-cookie"></a>**cookie**: A name and a value.\n';

function stepIn(markdown: string): Step {
  return parseLesson(markdown)[0] ?? assert.fail('there is no step');
}

/** The good step, with another text in one place. */
function stepWith(text: string, replacement: string): Step {
  assert.ok(STEP.includes(text), text);
  return stepIn(STEP.replace(text, replacement));
}

describe('reading a lesson', () => {
  it('parseLesson() finds the steps, and their sections outside of fences', () => {
    const steps = parseLesson(`# Course\n\n${STEP}## The end\n\n### Problem\n`);
    assert.deepEqual(steps.map(({ number, title }) => [number, title]), [[2, 'A cookie']]);
    assert.deepEqual(steps[0]?.sections.map(({ heading }) => heading), [
      'Problem', 'Run it', 'Idea and code', 'Break it', 'Your turn', 'What you learned',
    ]);
    assert.match(steps[0]?.head ?? '', /^\n\[Contents\][^]*25 minutes[^]*\*\n\n$/);
    assert.doesNotMatch(steps[0]?.prose ?? '', /not a heading|curl/);
  });

  it('parseLesson() finds the fences of a step, their lines, and the text around them', () => {
    const markdown = [
      '# Lesson', '', '## Step 7 · Seven', '### Idea', '```text', '```', 'Above.',
      '```diff src/07-seven.ts', '-a', '### b', '```', '', 'Below.', '',
      '## The end', '```ts src/01-add.ts', '```', '',
    ];
    const file = 'src/07-seven.ts';
    assert.deepEqual(stepIn(markdown.join('\n')).fences, [
      { language: 'text', file: '', line: 5, lines: [], before: '### Idea\n', after: '\nAbove.\n' },
      {
        language: 'diff', file, line: 8, lines: ['-a', '### b'],
        before: '\nAbove.\n', after: '\n\nBelow.\n\n',
      },
    ]);
  });

  it('parseConsole() finds commands of several lines, and the output of each', () => {
    const commands = parseConsole(fence('console', '$ curl -s \\', '  /', 'Hi', '', '…', '^C'));
    assert.deepEqual(commands, [
      { line: 11, text: 'curl -s \\\n  /', expected: ['Hi', '', '…'] },
      { line: 16, text: '^C', expected: [] },
    ]);
    assert.throws(() => parseConsole(fence('console', 'Hi')), /LESSON\.md:10/);
  });

  it('parseStart() finds the commands that start a server, and their variables', () => {
    const main = 'src/main.ts';
    assert.deepEqual(parseStart('npm start'), { file: main, variables: {} });
    assert.deepEqual(parseStart('npx tsx src/01-server.ts')?.file, 'src/01-server.ts');
    const start = parseStart(`A=1 B='b c' C="d" node ${main}`);
    assert.deepEqual(start, { file: main, variables: { A: '1', B: 'b c', C: 'd' } });
    assert.equal(parseStart('curl -s http://localhost:6543/src/01-server.ts'), undefined);
  });
});

describe('the form of a step', () => {
  it('checkForm() accepts the sections in their order, with or without Your turn', () => {
    checkForm(stepIn(STEP));
    checkForm(stepWith('### Your turn\n\nOptional.\n\n', ''));
  });

  it('checkForm() rejects other titles, headings and orders', () => {
    const rows: [text: string, replacement: string, error: RegExp][] = [
      ['A cookie\n', 'Cookies\n', /the title of step 2/],
      ['### Problem', '### The problem', /headings of a step, in order/],
      ['### Idea and code', '### Break it', /headings of a step, in order/],
      ['### Your turn', '### In Pyramid', /headings of a step, in order/],
      ['### Your turn', '### Your turn\n\n### Your turn', /headings of a step, in order/],
    ];
    for (const [text, replacement, error] of rows) {
      assert.throws(() => checkForm(stepWith(text, replacement)), error, replacement);
    }
  });

  it('checkForm() requires In Pyramid in some steps of Part I, and allows it later', () => {
    const pyramid = STEP.replace('### Your turn', '### In Pyramid\n\n### Your turn');
    const titled = (number: number, text: string): Step =>
      stepIn(text.replace('Step 2 · A cookie', `Step ${number} · ${TUTORIAL[number - 1]?.[0]}`));
    checkForm(titled(3, pyramid));
    assert.throws(() => checkForm(titled(3, STEP)), /headings of a step, in order/);
    for (const text of [STEP, pyramid]) checkForm(titled(10, text));
  });

  it('checkForm() rejects a section that lacks a part', () => {
    const rows: [text: string, replacement: string, error: RegExp][] = [
      ['**Predict.**', 'Think.', /has a \*\*Predict/],
      ['<summary>Answer</summary>', '', /has a \*\*Predict/],
      ['```console', '```text', /has a ```console/],
      [BUG, 'No bug.\n', /1 or 2 diff fences, and not 0/],
      [BUG, BUG + BUG + BUG, /1 or 2 diff fences, and not 3/],
      ['The bug: it', 'It', /a sentence begins with The bug/],
      ['Optional.', 'Write it.', /Your turn begins with/],
      ['- Three.\n', '', /three points/],
      ['- Three.\n', '- Three.\n- Four.\n', /three points/],
      [FLAWS, '', /ends with Remaining flaws/],
      ['- It is', 'It is', /is a list/],
      ['step 3', 'later', /names the step that fixes it/],
    ];
    for (const [text, replacement, error] of rows) {
      assert.throws(() => checkForm(stepWith(text, replacement)), error, replacement);
    }
    const moved = STEP.replace(BUG, '').replace('### Problem', `### Problem\n\n${BUG}`);
    assert.throws(() => checkForm(stepIn(moved)), /belongs to Break it/);
  });

  it('bugsOf() returns each bug with the step and the words of its command', () => {
    const bugs = bugsOf(stepIn(STEP)).map(({ fence, ...bug }) => bug);
    const file = 'src/02-cookie.ts';
    assert.deepEqual(bugs, [{ file, step: 2, words: 'returns the value' }]);
  });

  it('bugsOf() rejects a bug without its command or its undo', () => {
    const rows: [text: string, replacement: string, error: RegExp][] = [
      ['Caught by: `', 'Found by: `', /below a diff stands: Caught by/],
      ['npm run try 2', 'npm run test 2', /below a diff stands: Caught by/],
      ['the value"', '$value"', /below a diff stands: Caught by/], // a shell would replace it
      ['`git checkout', '`git restore', /below it stands: Undo it/],
    ];
    for (const [text, replacement, error] of rows) {
      assert.throws(() => bugsOf(stepWith(text, replacement)), error, replacement);
    }
  });

  it('countWords() counts prose, and no headings, tags, URLs and names of tests', () => {
    const prose = '### A heading\n\nOne `two` — [three four](https://a.example), <b>five</b>.\n';
    assert.equal(countWords(`${prose}\nCaught by: \`a b c\`\n`), 5);
  });

  it('checkLengths() rejects too many words, and 900 is the limit in Part I', () => {
    const step = (number: number, count: number): Step =>
      stepIn(STEP.replace('Step 2', `Step ${number}`).replace('A number.', 'word '.repeat(count)));
    const own = 45; // the words of the good step are fewer
    for (const [number, limit] of [[2, 900], [9, 900], [10, 1100]] as const) {
      checkLengths(step(number, limit - own));
      assert.throws(() => checkLengths(step(number, limit + 1)), /words, and the limit is/);
    }
  });

  it('checkLengths() rejects a snippet of more than 25 lines, and accepts a long output', () => {
    const lines = (count: number): string => 'a\n'.repeat(count);
    checkLengths(stepWith('### not a heading\n', lines(25)));
    checkLengths(stepWith('6543/\n', `6543/\n${lines(40)}`));
    assert.throws(() => checkLengths(stepWith('### not a heading\n', lines(26))), /26 lines/);
  });

  it('checkHead() requires the links, the minutes, and new words with their entries', () => {
    const check = (text: string | RegExp, replacement: string): void => {
      const page = (CONTENTS + STEP + GLOSSARY).replace(text, replacement);
      const steps = parseLesson(page);
      checkHead(steps.at(-1) as Step, steps, page);
    };
    check('', '');
    check('25 minutes', '25 minutes · Needs step 1');
    check(' · New words: [cookie](#word-cookie)', '');
    check('## Glossary', '## Glossary\n\n- <a id="word-code"></a>**code** (of a program): A text.');
    const first = '## Step 1 · A server that counts\n\n## Step 2';
    assert.throws(() => check('## Step 2', first), /\+ actual[^]*‹ Step 1\]\(#step-1--a-server/);
    assert.throws(() => check('[Contents](#contents)', ''), /the navigation of step 2/);
    assert.throws(() => check('*25 minutes', '*A while'), /the head of step 2 has the form/);
    assert.throws(() => check('[cookie](#word', '[biscuit](#word'), /'biscuit' links to its entry/);
    assert.throws(() => check('(#word-cookie)', '(#glossary)'), /'cookie' links to its entry/);
    const renamed = '$1jar](#word-jar)*$2- <a id="word-jar"></a>**jar**: A place.';
    const word = /(words: \[)cookie.*([^]*)- <a id="word-cookie.*/;
    assert.throws(() => check(word, renamed), /step 2 does not use 'jar'/);
    assert.throws(() => check('**cookie**: A', '**cookie** is a'), /an entry of the glossary/);
  });
});

describe('the form of the page', () => {
  it('checkPage() rejects a page that is too large, and a long guide', () => {
    checkPage(CONTENTS);
    assert.throws(() => checkPage(CONTENTS + 'é'.repeat(300_000)), /bytes, and the limit is/);
    const long = CONTENTS.replace('Read it.', 'word '.repeat(400));
    assert.throws(() => checkPage(long), /How to use this page has 400 words/);
    assert.throws(() => checkPage('# Course\n'), /has a section "How to use this page"/);
  });

  it('checkContents() requires each part and step, in order, with a link to each', () => {
    const page = (CONTENTS + STEP).replace('Step 2', 'Step 1').replace('step-2', 'step-1');
    checkContents(page);
    const wrong: [text: string | RegExp, replacement: string][] = [
      ['## Part', '### Part'],
      ['- [A cookie](#step-1--a-cookie)\n', ''],
      ['- [Part I](#part-i--the-tutorial)\n', ''],
      [/^(- .*Part.*\n)(- .*cookie.*\n)/m, '$2$1'],
      ['## Contents', '## Overview'],
    ];
    for (const [text, replacement] of wrong) {
      const lie = page.replace(text, replacement);
      assert.notEqual(lie, page);
      assert.throws(() => checkContents(lie), /in order/, String(text));
    }
  });

  it('checkLinks() requires a heading or an anchor for each link', () => {
    const page =
      '## Step 9 · A `b`, c\n### Idea\n### Idea\n- <a id="word-d"></a>d\n' +
      '```sh\n# no\n[a](#nor)\n```\n';
    checkLinks(`${page}[a](#step-9--a-b-c), [b](#idea), [c](#idea-1) and [d](#word-d)`);
    for (const anchor of ['step-9-a-b-c', 'Idea', 'idea-2', 'no', 'word-e', '']) {
      assert.throws(() => checkLinks(`${page}[a](#${anchor})`), /lead to no heading/, anchor);
    }
  });

  it('checkGlossary() requires entries in alphabetical order, each once', () => {
    const check = (...words: string[]): void => {
      const entries = words.map((word) => `- <a id="word-a"></a>${word}: What it is.\n`);
      checkGlossary(`## Step 9 · A\n\n## Glossary\n\n${entries.join('')}`);
    };
    check('**alpha**', '**`Beta`**', '**gamma** (of a)', '**gamma ray**');
    assert.throws(() => check('**Beta**', '**alpha**'), /'alpha' is in the wrong place/);
    assert.throws(() => check('**alpha**', '**`Alpha`**'), /'`Alpha`' is in the wrong place/);
    assert.throws(() => check('alpha'), /and is - <a id="word-a"><\/a>alpha/);
    assert.throws(() => check(), /has a section "Glossary"/);
  });

  it('checkDiagrams() rejects a semicolon, which ends a line, and accepts an escaped one', () => {
    const diagram = (line: string): string => `\`\`\`mermaid\nsequenceDiagram\n${line}\n\`\`\`\n`;
    checkDiagrams(diagram('  B->>S: a=1#59; Path=/'));
    assert.throws(() => checkDiagrams(diagram('  B->>S: a=1; Path=/')), /with a ;/);
  });
});

describe('comparing a lesson with the code', () => {
  const quotes = (...lines: string[]): Set<number> => {
    const quoted = new Set<number>();
    quote(fence('ts', ...lines), SOURCE, quoted);
    return quoted;
  };

  it('quote() finds consecutive lines, and continues after `// …` anywhere', () => {
    assert.deepEqual([...quotes('function add() {', '  return one + one;')], [2, 3]);
    assert.deepEqual([...quotes('const one = 1;', '', '// …', '', '}')], [0, 4]);
  });

  it('quote() names the first line that differs from the file', () => {
    const misquote = (): unknown => quotes('function add() {', '  return one + 1;');
    assert.throws(misquote, /LESSON\.md:12 does not quote src\/01-add\.ts:4\n.*one \+ 1;\n.*one;/);
    assert.throws(() => quotes('const two = 2;'), /LESSON\.md:11 quotes a line that is not in src/);
    assert.throws(() => quotes('}', 'more'), /LESSON\.md:12 .*\n.*more\n.*\(the end of the file\)/);
    assert.throws(() => quotes('const one = 1;', 'function add() {'), /LESSON\.md:12/); // a gap
  });

  it('checkAllQuoted() names each line that no fence quotes, and ignores blank lines', () => {
    checkAllQuoted('src/01-add.ts', SOURCE, new Set([0, 2, 3, 4]));
    const incomplete = (): void => checkAllQuoted('src/01-add.ts', SOURCE, new Set([0, 2, 4]));
    assert.throws(incomplete, /does not quote 1 line\(s\):\n {2}src\/01-add\.ts:4 {4}return one/);
  });

  it('checkOutput() accepts any text for …, any lines for a line with …, and no more', () => {
    const rows: [output: string, expected: string[], passes: boolean][] = [
      ['a\r\nb\r\n\r\n', ['a', 'b'], true],
      ['Date: today\n', ['Date: …'], true],
      ['a\nb\nc\n', ['a', '…', 'c'], true],
      ['a\nc\n', ['a', '…', 'c'], true],
      ['', [], true],
      ['a\n', ['b'], false],
      ['a\nb\n', ['a…b'], false],
      ['a\nb\n', ['a'], false],
      ['a\n', ['a', 'b'], false],
      ['axb\n', ['a.b'], false],
      ['a\nb\n', ['…', 'a'], false],
      ['a\n', [], false],
    ];
    for (const [output, expected, passes] of rows) {
      const check = (): void => checkOutput('$ command', expected, output);
      const row = `${JSON.stringify(output)} against ${JSON.stringify(expected)}`;
      if (passes) assert.doesNotThrow(check, row);
      else assert.throws(check, /^AssertionError.*\$ command\nexpected:\n[^]*> [^]*actual:/, row);
    }
  });

  it('applyDiff() changes lines that it finds once, and rejects all others', () => {
    const diff = (...lines: string[]): string => applyDiff(fence('diff', ...lines), SOURCE);
    const broken = SOURCE.with(3, '  return 3;').join('\n');
    assert.equal(diff(' function add() {', '-  return one + one;', '+  return 3;'), `${broken}\n`);
    assert.throws(() => diff('-const two = 2;'), /in src\/01-add\.ts once, and are 0 times/);
    assert.throws(() => applyDiff(fence('diff', '-}', '+;'), ['}', '}']), /are 2 times/);
    assert.throws(() => diff(' }'), /changes nothing/);
    assert.throws(() => diff('@@ -1 +1 @@', '-}'), /begin with -, \+ or a space/);
  });

  it('outcomeOf() distinguishes a test that failed, that passed, and that did not run', () => {
    assert.equal(outcomeOf('add() #1', 'TAP\n    not ok 2 - add() \\#1\n'), 'failed');
    assert.equal(outcomeOf('add()', '    ok 1 - add()\nok 1 - math\n'), 'passed');
    assert.equal(outcomeOf('add()', 'ok 1 - add() # SKIP test name does not match\n'), 'absent');
    assert.equal(outcomeOf('add()', 'not ok 1 - math\nok 2 - add() twice\n'), 'passed');
    assert.equal(outcomeOf('add(', 'not ok 1 - add\n'), 'absent');
  });
});
