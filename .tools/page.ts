// The form of LESSON.md. `test/lesson.test.ts` applies these rules to the lesson and runs its code.
// `test/page.test.ts` applies them to small lessons that break them. The kinds of fences:
//
//   ts                     lines of the module of the step, verbatim; `// …` stands for other lines
//   ts src/NN-name.ts      lines of another file, verbatim
//   ts sketch              code that is in no file
//   console                `$ ` begins a command, `^C` stops the server, the rest is its output
//   diff                   a bug in the module; below it is the command with the test that finds it
import assert from 'node:assert/strict';

const MAX_WORDS = 1100; // of prose in one step
const MAX_TUTORIAL_WORDS = 900; // of prose in one step of Part I
const MAX_GUIDE_WORDS = 400; // in the section "How to use this page"
const MAX_SNIPPET_LINES = 25;
const MAX_BUGS = 2; // in one step
const MAX_BYTES = 450_000; // GitHub renders at most about 500 KB

/** The steps of Part I: their titles, and whether they compare the step with Pyramid. */
export const TUTORIAL: readonly (readonly [title: string, hasPyramid: boolean])[] = [
  ['A server that counts', false],
  ['A cookie', false],
  ['A signature', true],
  ['Requests and responses are values', false],
  ['A router', false],
  ['Templates that escape', false],
  ['A session', true],
  ['A session factory', true],
  ['The tutorial, complete', true],
];

/** The parts, each with its first step. */
export const PARTS: readonly (readonly [title: string, firstStep: number])[] = [
  ['Part I · The tutorial', 1],
  ['Part II · What a session is for', 10],
  ['Part III · When a cookie is not enough', 24],
  ['Part IV · Open to strangers', 34],
];

export interface Fence {
  readonly language: string;
  readonly file: string;
  /** The line of LESSON.md in which the fence opens, from 1. */
  readonly line: number;
  readonly lines: readonly string[];
  /** The text between the fence before, or the heading, and this one. */
  readonly before: string;
  /** The text between this fence and the next fence or heading. */
  readonly after: string;
}

export interface Section {
  readonly heading: string;
  /** The text of the section without its fences. */
  readonly prose: string;
  readonly fences: readonly Fence[];
}

export interface Step {
  readonly number: number;
  readonly title: string;
  /** The navigation, the minutes and the new words: the text before the first section. */
  readonly head: string;
  readonly sections: readonly Section[];
  /** The text of the step without its fences. */
  readonly prose: string;
  readonly fences: readonly Fence[];
}

export interface Command {
  readonly line: number;
  /** A command for a shell, or `^C`. */
  text: string;
  readonly expected: string[];
}

/** A command that starts a server, with the variables that it sets. */
export interface Start {
  readonly file: string;
  readonly variables: Record<string, string>;
}

/** A bug of Break it, and the test that finds it. */
export interface Bug {
  readonly fence: Fence;
  /** The file with the bug, such as `src/03-signer.ts`. */
  readonly file: string;
  /** The step whose tests find it, and words in the name of such a test. */
  readonly step: number;
  readonly words: string;
}

// ---- Reading the page --------------------------------------------------------------------------

/** Returns the steps of a lesson: its sections that begin with `## Step N · `. */
export function parseLesson(markdown: string): Step[] {
  const steps: Step[] = [];
  let line = 1;
  for (const text of markdown.split(/^(?=## )/m)) {
    const [, number, title = ''] = /^## Step (\d+) · (.*)/.exec(text) ?? [];
    if (number !== undefined) steps.push(parseStep(Number(number), title, text, line));
    line += linesOf(text).length;
  }
  return steps;
}

function parseStep(number: number, title: string, text: string, firstLine: number): Step {
  const sections: Section[] = [];
  let head = '';
  let line = firstLine;
  for (const part of splitAtHeadings(text)) {
    const heading = /^### (.+)/.exec(part)?.[1];
    const prose = withoutFences(part);
    if (heading === undefined) head = prose.replace(/^## .*\n/, '');
    sections.push({ heading: heading ?? '', prose, fences: fencesOf(part, line) });
    line += linesOf(part).length;
  }
  const fences = sections.flatMap((section) => section.fences);
  const named = sections.filter(({ heading }) => heading !== '');
  return { number, title, head, sections: named, prose: withoutFences(text), fences };
}

/** Splits a step before each `### ` heading that is not in a fence. */
function splitAtHeadings(text: string): string[] {
  const parts: string[] = [];
  for (const part of text.split(/^(?=### )/m)) {
    const isInFence = ((parts.at(-1) ?? '').match(/^```/gm)?.length ?? 0) % 2 === 1;
    if (isInFence) parts.push(parts.pop() + part);
    else parts.push(part);
  }
  return parts;
}

const FENCE = /^```(\w*) ?(.*)\n([^]*?)^```$/gm;

function fencesOf(section: string, firstLine: number): Fence[] {
  const matches = [...section.matchAll(FENCE)];
  return matches.map((match, i) => {
    const [whole, language = '', file = '', text = ''] = match;
    const last = matches[i - 1];
    const line = firstLine + linesOf(section.slice(0, match.index)).length;
    const before = section.slice(last ? last.index + last[0].length : 0, match.index);
    const after = section.slice(match.index + whole.length, matches[i + 1]?.index);
    return { language, file, line, lines: linesOf(text), before, after };
  });
}

export function withoutFences(markdown: string): string {
  return markdown.replace(FENCE, '');
}

/** Returns the lines of a text. The newline at its end does not begin another line. */
export function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}

/** Returns the fences of the section with this `## ` heading. */
export function fencesIn(markdown: string, heading: string): Fence[] {
  const section = pageSection(markdown, heading);
  return fencesOf(section, linesOf(markdown.slice(0, markdown.indexOf(section))).length + 1);
}

/** Returns the section of the page with this `## ` heading, or `''`. */
function pageSection(markdown: string, heading: string): string {
  const sections = markdown.split(/^(?=## )/m);
  return sections.find((text) => text.startsWith(`## ${heading}\n`)) ?? '';
}

/** Returns the commands of a console fence, each with the lines that it should print. */
export function parseConsole(fence: Fence): Command[] {
  const commands: Command[] = [];
  fence.lines.forEach((text, index) => {
    const last = commands.at(-1);
    if (text === '^C' || text.startsWith('$ ')) {
      commands.push({ line: fence.line + 1 + index, text: text.replace(/^\$ /, ''), expected: [] });
    } else if (last === undefined) {
      assert.fail(`LESSON.md:${fence.line}: a console fence must begin with "$ " or ^C`);
    } else if (last.text.endsWith('\\')) {
      last.text += `\n${text}`;
    } else {
      last.expected.push(text);
    }
  });
  return commands;
}

/** Returns the file and the variables of a command that starts a server. */
export function parseStart(command: string): Start | undefined {
  const program = /^((?:\w+=(?:'[^']*'|"[^"]*"|\S*) +)*)(?:npm start|(?:npx tsx|node) (src\/\S+))$/;
  const match = program.exec(command);
  if (match === null) return undefined;
  const words = (match[1] ?? '').matchAll(/(\w+)=(?:'([^']*)'|"([^"]*)"|(\S*))/g);
  const variables: Record<string, string> = {};
  for (const [, name = '', single, double, bare = ''] of words) {
    variables[name] = single ?? double ?? bare;
  }
  return { file: match[2] ?? 'src/main.ts', variables };
}

/** Returns the bugs of a step. Throws if a test, its command or the way to undo is missing. */
export function bugsOf(step: Step): Bug[] {
  return step.fences.flatMap((fence) => {
    if (fence.language !== 'diff') return [];
    const where = `LESSON.md:${fence.line}`;
    const [, step, words] = CAUGHT_BY.exec(fence.after) ?? [];
    assert.ok(words, `${where}: below a diff stands: Caught by: \`npm run try 3 "a test"\``);
    const file = /^Undo it: `git checkout (src\/[\w-]+\.ts)`$/m.exec(fence.after)?.[1];
    assert.ok(file, `${where}: below it stands: Undo it: \`git checkout src/NN-name.ts\``);
    return [{ fence, file, step: Number(step), words }];
  });
}

const CAUGHT_BY = /^Caught by: `npm run try (\d+) "([^"$`\\!]+)"`$/m; // the same in each shell

// ---- The form of a step ------------------------------------------------------------------------

/** Throws unless a step has its sections in their order, and each section has its form. */
export function checkForm(step: Step): void {
  checkHeadings(step);
  const section = (name: string): Section | undefined =>
    step.sections.find(({ heading }) => heading === name);
  const run = section('Run it');
  const question = /\*\*Predict\.\*\*[^]*?<details>\s*<summary>[^]+?<\/summary>[^]+?<\/details>/;
  assert.match(run?.prose ?? '', question, 'Run it has a **Predict.** with its <details>');
  const hasConsole = run?.fences.some(({ language }) => language === 'console');
  assert.ok(hasConsole, 'Run it has a ```console fence');
  checkBreakIt(section('Break it'), bugsOf(step));
  const turn = section('Your turn');
  const isOptional = turn === undefined || /^### .*\n+Optional\./.test(turn.prose);
  assert.ok(isOptional, 'Your turn begins with: Optional.');
  checkLearned(step, section('What you learned'));
}

function checkHeadings({ number, title, sections }: Step): void {
  const [tutorialTitle, hasPyramid] = TUTORIAL[number - 1] ?? [];
  assert.equal(title, tutorialTitle ?? title, `the title of step ${number}`);
  const headings = sections.map(({ heading }) => heading);
  const isWanted = (name: string): boolean => {
    if (name === 'In Pyramid') return hasPyramid ?? headings.includes(name);
    return name === 'Your turn' ? headings.includes(name) : true;
  };
  assert.deepEqual(headings, HEADINGS.filter(isWanted), 'the ### headings of a step, in order');
}

const HEADINGS = [
  'Problem', 'Run it', 'Idea and code', 'Break it', 'In Pyramid', 'Your turn', 'What you learned',
];

function checkBreakIt(section: Section | undefined, bugs: readonly Bug[]): void {
  const count = bugs.length;
  assert.ok(count >= 1 && count <= MAX_BUGS, `Break it has 1 or 2 diff fences, and not ${count}`);
  for (const { fence } of bugs) {
    const where = `LESSON.md:${fence.line}`;
    assert.ok(section?.fences.includes(fence), `${where}: a diff fence belongs to Break it`);
    assert.match(fence.before, /(?:^|\s)The bug:\s/, `${where}: a sentence begins with The bug:`);
  }
}

function checkLearned({ number }: Step, section: Section | undefined): void {
  const [points = '', flaws] = (section?.prose ?? '').split(/^Remaining flaws?:$/m);
  const count = points.match(/^- /gm)?.length;
  assert.equal(count, 3, 'What you learned has three points');
  if (number > TUTORIAL.length && flaws === undefined) return;
  assert.ok(flaws, 'What you learned ends with Remaining flaws: and a list');
  const items = flaws.split(/^- /m).slice(1);
  assert.notEqual(items.length, 0, 'Remaining flaws is a list');
  for (const item of items) {
    assert.match(item, /\b[Ss]teps?\s+\d/, 'a remaining flaw names the step that fixes it');
  }
}

/** Throws if a step has too many words of prose, or a snippet with too many lines. */
export function checkLengths(step: Step): void {
  const most = step.number <= TUTORIAL.length ? MAX_TUTORIAL_WORDS : MAX_WORDS;
  const count = countWords(step.prose.replace(step.head, ''));
  assert.ok(count <= most, `step ${step.number} has ${count} words, and the limit is ${most}`);
  for (const { language, line, lines } of step.fences) {
    const isLong = language !== 'console' && lines.length > MAX_SNIPPET_LINES;
    const problem = `${lines.length} lines, and the limit is ${MAX_SNIPPET_LINES}`;
    assert.ok(!isLong, `LESSON.md:${line}: ${problem}`);
  }
}

/** Returns the number of words, without headings, HTML tags, URLs and the names of tests. */
export function countWords(prose: string): number {
  const text = prose
    .replace(/^(?:#{1,6} |Caught by: `).*$/gm, '')
    .replace(/<[^>\n]*>/g, ' ')
    .replace(/\]\([^)]*\)/g, ' ');
  return text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
}

/** Throws unless the head of a step has its navigation, its minutes and its new words. */
export function checkHead(step: Step, steps: readonly Step[], markdown: string): void {
  const link = (number: number, text: string): string[] => {
    const other = steps.find((one) => one.number === number);
    return other ? [`[${text}](#${anchorOf(headingOf(other))})`] : [];
  };
  const [navigation, minutes = ''] = step.head.trim().split(/\n\s*\n/);
  const before = link(step.number - 1, `‹ Step ${step.number - 1}`);
  const after = link(step.number + 1, `Step ${step.number + 1} ›`);
  const links = [...before, '[Contents](#contents)', ...after];
  assert.equal(navigation, links.join(' · '), `the navigation of step ${step.number}`);
  const head = minutes.replaceAll('\n', ' ');
  const form = '*25 minutes · New words: [cookie](#word-cookie)*';
  const isHead = /^\*\d+ minutes(?: · Needs [^·*]+)?(?: · New words?: [^·*]+)?\*$/.test(head);
  assert.ok(isHead, `the head of step ${step.number} has the form ${form}, and is ${head}`);
  const terms = glossaryOf(markdown);
  const prose = step.sections.map((section) => section.prose).join('\n');
  const text = prose.toLowerCase().replace(/\s+/g, ' ');
  for (const [, word = '', anchor] of head.matchAll(/\[([^\]]+)\]\(#([^)]*)\)/g)) {
    const term = terms.find((one) => one.term.toLowerCase() === word.toLowerCase());
    if (!/^step \d/i.test(word)) {
      assert.equal(anchor, term?.anchor, `'${word}' links to its entry in the glossary`);
      assert.ok(text.includes(word.toLowerCase()), `step ${step.number} does not use '${word}'`);
    }
  }
}

// ---- The form of the page ----------------------------------------------------------------------

/** Throws if the page is too large, or the guide at its beginning too long. */
export function checkPage(markdown: string): void {
  const size = Buffer.byteLength(markdown);
  assert.ok(size <= MAX_BYTES, `LESSON.md has ${size} bytes, and the limit is ${MAX_BYTES}`);
  const guide = pageSection(markdown, 'How to use this page');
  const count = countWords(withoutFences(guide));
  assert.ok(count > 0, 'LESSON.md has a section "How to use this page"');
  assert.ok(count < MAX_GUIDE_WORDS, `How to use this page has ${count} words: too many`);
}

/** Throws unless each part begins before its first step, and the contents link each of them. */
export function checkContents(markdown: string): void {
  const steps = parseLesson(markdown);
  const headings = [...withoutFences(markdown).matchAll(/^## ((?:Part|Step) .+)$/gm)];
  const wanted = steps.flatMap((step) => {
    const parts = PARTS.filter(([, first]) => first === step.number).map(([title]) => title);
    return [...parts, headingOf(step)];
  });
  assert.deepEqual(headings.map(([, heading]) => heading), wanted, 'the parts and steps, in order');
  const anchors = new Set(wanted.map(anchorOf));
  const links = linksIn(pageSection(markdown, 'Contents')).filter((link) => anchors.has(link));
  assert.deepEqual(links, [...anchors], 'Contents links each part and step, in order');
}

/** Throws for a link within the page that leads nowhere. */
export function checkLinks(markdown: string): void {
  const anchors = anchorsOf(withoutFences(markdown));
  const dead = linksIn(markdown).filter((anchor) => !anchors.has(anchor));
  assert.deepEqual(dead, [], 'links of LESSON.md, without their #, that lead to no heading');
}

function linksIn(markdown: string): string[] {
  const links = withoutFences(markdown).matchAll(/\]\(#([^)]*)\)/g);
  return [...links].map(([, anchor = '']) => anchor);
}

function headingOf({ number, title }: Step): string {
  return `Step ${number} · ${title}`;
}

/** Returns the anchors of a page: those that GitHub gives to headings, and `<a id="…">`. */
function anchorsOf(prose: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of prose.matchAll(/^#{1,6} (.+)$/gm)) {
    const first = anchorOf(heading);
    let anchor = first;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${first}-${count}`;
    anchors.add(anchor);
  }
  for (const [, id = ''] of prose.matchAll(/<a id="([^"]*)"><\/a>/g)) anchors.add(id);
  return anchors;
}

/** Returns the anchor of a heading on GitHub: lower case, no punctuation, `-` for a space. */
function anchorOf(heading: string): string {
  const plain = heading.toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '');
  return plain.replaceAll(' ', '-');
}

// The word can have a note: `**parameter** (of a route): …`.
const GLOSSARY_ENTRY = /^- <a id="([^"]+)"><\/a>\*\*(.+?)\*\*(?: \([^)]*\))?: .+\.$/;

type Term = { readonly term: string; readonly anchor: string };

/** Returns the entries of the glossary. Throws for an entry that has another form. */
function glossaryOf(markdown: string): Term[] {
  const entries = linesOf(pageSection(markdown, 'Glossary')).filter((line) => line.startsWith('-'));
  return entries.map((entry) => {
    const [, anchor = '', term] = GLOSSARY_ENTRY.exec(entry) ?? [];
    const form = '- <a id="word-a"></a>**a**: one sentence.';
    assert.ok(term, `an entry of the glossary has the form ${form}, and is ${entry}`);
    return { term, anchor };
  });
}

/** Throws for a glossary that is not in alphabetical order, or has a word twice. */
export function checkGlossary(markdown: string): void {
  const terms = glossaryOf(markdown);
  assert.notEqual(terms.length, 0, 'LESSON.md has a section "Glossary", with a line for each word');
  let last = '';
  for (const { term } of terms) {
    const order = sortKey(term);
    assert.ok(order > last, `'${term}' is in the wrong place of the glossary, or is there twice`);
    last = order;
  }
}

/** Returns the text by which the glossary is sorted: letters and digits only. */
function sortKey(term: string): string {
  return term.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
}

/** Throws for a `;` in a sequence diagram. For Mermaid it is the end of a line; write `#59;`. */
export function checkDiagrams(markdown: string): void {
  for (const [diagram] of markdown.matchAll(/^```mermaid\nsequenceDiagram\n[^]*?^```$/gm)) {
    const broken = diagram.split('\n').filter((line) => line.replace(/#\d+;/g, '').includes(';'));
    assert.deepEqual(broken, [], 'lines of a sequence diagram with a ;');
  }
}

// ---- Comparing the page with the code ----------------------------------------------------------

/** Lines of a module, quoted without a gap. */
interface Excerpt {
  readonly line: number;
  readonly lines: string[];
}

/** Adds the indices of the lines that a fence quotes to `quoted`. Throws if it is not verbatim. */
export function quote(fence: Fence, source: readonly string[], quoted: Set<number>): void {
  for (const excerpt of excerptsOf(fence)) {
    const places = placesOf(excerpt.lines, source);
    const place = places.find((start) => !quoted.has(start)) ?? places[0];
    if (place === undefined) assert.fail(explainMisquote(fence.file, excerpt, source));
    for (const index of excerpt.lines.keys()) quoted.add(place + index);
  }
}

/** Returns the lines between one `// …` and the next, without the blank lines around them. */
function excerptsOf(fence: Fence): Excerpt[] {
  const excerpts: Excerpt[] = [];
  let isOpen = false;
  fence.lines.forEach((text, index) => {
    if (text.trim() === '// …') isOpen = false;
    else if (isOpen) excerpts.at(-1)?.lines.push(text);
    else if (text !== '') {
      excerpts.push({ line: fence.line + 1 + index, lines: [text] });
      isOpen = true;
    }
  });
  for (const { lines } of excerpts) while (lines.at(-1) === '') lines.pop();
  return excerpts;
}

/** Returns every index of `source` at which these lines begin. */
function placesOf(lines: readonly string[], source: readonly string[]): number[] {
  return [...source.keys()].filter((start) => lines.every((line, i) => line === source[start + i]));
}

/** Returns a message with the first line that differs, where the most lines before it are equal. */
function explainMisquote(
  file: string,
  { line, lines }: Excerpt,
  source: readonly string[],
): string {
  const lengths = source.map((_, at) => lines.findIndex((text, i) => text !== source[at + i]));
  const length = Math.max(0, ...lengths);
  if (length === 0) return `LESSON.md:${line} quotes a line that is not in ${file}:\n  ${lines[0]}`;
  const index = lengths.indexOf(length) + length;
  return (
    `LESSON.md:${line + length} does not quote ${file}:${index + 1}\n` +
    `  lesson: ${lines[length]}\n  module: ${source[index] ?? '(the end of the file)'}`
  );
}

/** Throws with the lines that no fence quotes. Blank lines are ignored. */
export function checkAllQuoted(
  file: string,
  source: readonly string[],
  quoted: ReadonlySet<number>,
): void {
  const missing = [...source.entries()].filter(([i, text]) => text.trim() !== '' && !quoted.has(i));
  const list = missing.map(([index, text]) => `  ${file}:${index + 1}  ${text}`).join('\n');
  assert.equal(missing.length, 0, `The lesson does not quote ${missing.length} line(s):\n${list}`);
}

/**
 * Throws unless `output` is what the lesson expects. A `…` in a line stands for any text. A line
 * with only `…` stands for any number of lines. Spaces and blank lines at the end are ignored.
 */
export function checkOutput(what: string, expected: readonly string[], output: string): void {
  const actual = tidy(linesOf(output.replaceAll('\r', '')));
  const wanted = tidy(expected);
  const text = actual.map((line) => `${line}\n`).join('');
  if (new RegExp(`^${patternOf(wanted)}$`).test(text)) return;
  const isBeginning = (length: number): boolean =>
    new RegExp(`^${patternOf(wanted.slice(0, length))}`).test(text);
  const wrong = wanted.findIndex((_, index) => !isBeginning(index + 1));
  const marked = wanted.map((line, i) => `${i === wrong ? '>' : ' '} ${line}`);
  if (wrong === -1) marked.push('> (nothing more)');
  const shown = actual.map((line) => `  ${line}`);
  assert.fail([what, 'expected:', ...marked, 'actual:', ...shown].join('\n'));
}

function patternOf(expected: readonly string[]): string {
  const patterns = expected.map((line) =>
    line === '…' ? '(?:[^\\n]*\\n)*' : `${line.split('…').map(escapeRegExp).join('[^\\n]*')}\\n`,
  );
  return patterns.join('');
}

function tidy(lines: readonly string[]): string[] {
  const trimmed = lines.map((line) => line.trimEnd());
  return trimmed.slice(0, trimmed.findLastIndex((line) => line !== '') + 1);
}

/** Returns a regular expression that matches exactly this text. */
export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** Returns the source with the bug. Throws unless the lines to change are there exactly once. */
export function applyDiff(fence: Fence, source: readonly string[]): string {
  const where = `LESSON.md:${fence.line}`;
  const isDiff = fence.lines.every((line) => /^(?:[-+ ]|$)/.test(line));
  assert.ok(isDiff, `${where}: the lines of a diff begin with -, + or a space`);
  const before = fence.lines.filter((line) => !line.startsWith('+')).map((line) => line.slice(1));
  const after = fence.lines.filter((line) => !line.startsWith('-')).map((line) => line.slice(1));
  assert.notDeepEqual(before, after, `${where}: this diff changes nothing`);
  const [place = NaN, ...others] = placesOf(before, source);
  const count = Number.isNaN(place) ? 0 : 1 + others.length;
  const problem = `${where}: these lines must be in ${fence.file} once, and are ${count} times`;
  assert.ok(count === 1, `${problem}:\n${before.join('\n')}`);
  const changed = [...source.slice(0, place), ...after, ...source.slice(place + before.length)];
  return changed.map((line) => `${line}\n`).join('');
}

/** Returns the result of the tests with these words in TAP output. `absent`: none of them ran. */
export function outcomeOf(words: string, tap: string): 'failed' | 'passed' | 'absent' {
  const tapWords = escapeRegExp(words.replace(/[\\#]/g, '\\$&')); // TAP escapes these two
  const result = new RegExp(`^ *((?:not )?ok) \\d+ - (?!.* # SKIP).*${tapWords}.*$`, 'gm');
  const outcomes = [...tap.matchAll(result)].map(([, outcome]) => outcome);
  if (outcomes.length === 0) return 'absent';
  return outcomes.includes('not ok') ? 'failed' : 'passed';
}
