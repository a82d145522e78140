// Writes the screen of `npm run lesson` as lines of text. This file reads no files and no keys.
import type { Step } from './exercise.ts';
import { countOf, countWritten, nextOf, signOf, type View } from './next.ts';
import { placeOf } from './story.ts';
import type { Failure } from './test-run.ts';

const MAX_LINES = 15; // of a failure
const LABEL = 12; // columns of a label, with the indent

/** Returns the lines at the top: the part, the step, the progress, and its functions. */
export function headOf(view: View, columns: number): string[] {
  const { step, functions, finished } = view;
  const { number, part, title, minutes, file } = step;
  const next = nextOf(view);
  const current = 'name' in next ? next.name : undefined;
  const names = functions.map((one) => {
    const sign = one.name === current ? '▸' : signOf(one, view);
    return `${sign} ${one.name}`;
  });
  const steps = finished === 1 ? '1 step finished' : `${finished} steps finished`;
  const others = (['skipped', 'given'] as const).flatMap((author) => {
    const count = countOf(author, view);
    return count > 0 ? [`${count} ${author}`] : [];
  });
  const { crash, stuck } = view.outcome ?? {};
  const count = crash || stuck !== undefined ? 'not all tests ran'
    : `${countWritten(view)} of ${functions.length} written`;
  const written = [count, ...others].join(', ');
  const lines = [
    part,
    `Step ${number} of ${step.count} · ${title} · ${minutes} minutes`,
    `${file} · ${written} · ${steps}`,
  ];
  return [...lines.flatMap((line) => wrap(line, columns)), ...wrapItems(names, columns)];
}

/** Returns the lines of the main part: at most 15 lines, and the reason why a test of a done step fails. */
export function bodyOf(view: View, columns: number): string[] {
  const isExpected = view.marks[''] === 'done' && /failing|stuck|types/.test(nextOf(view).kind);
  const reason = 'The tests of the step can fail during Your turn and Break it.';
  return [...(isExpected ? wrap(reason, columns) : []), ...taskOf(view, columns)];
}

function taskOf(view: View, columns: number): string[] {
  const { step, needs, isOriginal, copy } = view;
  if (needs !== undefined) return wrap(needs, columns);
  const next = nextOf(view);
  const { file, tests, lines } = step;
  const explained = 'name' in next ? explainedAt(step, next.name, columns) : [];
  if (next.kind === 'running') return [];
  if (next.kind === 'missing') {
    return [
      ...wrap(`✖ ${file} is empty or missing.`, columns),
      ...wrap(`  git checkout ${file} brings the original back.`, columns),
    ];
  }
  if (next.kind === 'empty') {
    return [
      ...wrap(laterText(view), columns).filter(Boolean),
      ...wrap(`▸ Write ${next.name}`, columns),
      ...labelled('place', `${file}:${next.line}`, columns, 2),
      ...explained,
    ];
  }
  if (next.kind === 'stuck') {
    const running = next.title === '' ? `✖ ${file} did not load.` : `✖ ${next.title}`;
    const reason = 'This did not end. Is there a promise that never settles, or an endless loop?';
    return [...wrap(running, columns), ...wrap(`  ${reason}`, columns), ...explained];
  }
  if (next.kind === 'broken') {
    const place = next.place || tests;
    const first = wrap(`✖ ${file} does not load.`, columns);
    return [
      ...first,
      ...labelled('error', next.message, columns, 6),
      ...labelled('place', place, columns, 2),
      ...labelled('types', 'npm run check', columns, 1),
    ];
  }
  if (next.kind === 'types') {
    return [
      ...wrap('✖ The tests pass, but the compiler finds a mistake.', columns),
      ...labelled('error', next.message, columns, 6),
      ...labelled('place', next.place, columns, 2),
      ...labelled('types', 'npm run check', columns, 1),
    ];
  }
  if (next.kind === 'earlier') {
    const text = `✖ This step needs step ${next.step}, where ${next.name} is still to be written.`;
    const advice = `Write it first: npm run lesson ${next.step}`;
    return [...wrap(text, columns), ...wrap(`  ${advice}`, columns)];
  }
  if (next.kind === 'failing') return failureLines(next.failure, view, columns);
  const read = `LESSON.md:${lines[0]}-${lines[1]}`;
  if (isOriginal && countWritten(view) === 0) {
    const text = `This step is complete. Read ${read}.`;
    return [...wrap(text, columns), ...wrap('To write the functions yourself, press e.', columns)];
  }
  const kept = copy === undefined ? '' : ` Your version is kept in ${copy}.`;
  return [
    doneText(view),
    `Next: "Break it" (LESSON.md:${step.breakIt}), "Your turn" (LESSON.md:${step.yourTurn}), then n.`,
    's shows the original functions, so you can compare.',
    `git checkout ${file} brings the original back.${kept}`,
  ].flatMap((line) => wrap(line, columns));
}

/** Says why a function that the reader has just written shows no result, or returns ''. */
function laterText(view: View): string {
  const edited = view.functions.find(({ name, isEmpty }) => name === view.edited && !isEmpty);
  if (!view.outcome || view.isRunning || !edited || signOf(edited, view) !== '?') return '';
  return `? ${edited.name} is saved. Its tests need another function too, so they run later.`;
}

function doneText(view: View): string {
  const written = countWritten(view);
  const [skipped, given] = [countOf('skipped', view), countOf('given', view)];
  if (written === 0) return '✔ All tests pass, but you have written no function of this step.';
  if (skipped > 0) return `✔ All tests pass. You have written ${written}, and skipped ${skipped}.`;
  if (given > 0) return `✔ Well done! All tests pass. You have written ${written}. The course gave you ${given}.`;
  return `✔ Well done! All functions of step ${view.step.number} are written, and all tests pass.`;
}

// The values come before the places. A failure shows the first parts that fit, in this order.
const PARTS = [
  'expected', 'pattern', 'forbidden', 'received', 'input', 'thrown', 'printed', 'logged',
  'explained', 'failed at', 'sent',
];

/** Returns a failed test in at most 15 lines: the title, the values, the request, the paragraph. */
function failureLines({ title, message, ownWords }: Failure, view: View, columns: number): string[] {
  const { text, story } = storyIn(message);
  const [first = ''] = text.split('\n\n');
  const isKnown = !ownWords && ['expected', 'pattern', 'forbidden'].some((name) => name in story);
  const lines = [
    ...wrap(`✖ ${title}`, columns).slice(0, 2),
    ...(isKnown || text === '' ? [] : labelled(ownWords ? 'case' : 'error', first, columns, 2)),
  ];
  let free = MAX_LINES - lines.length;
  for (const label of PARTS) {
    const value = story[label];
    if (value === undefined) continue;
    const part = label === 'sent' ? sentLines(value, view, title, columns, free)
      : label === 'printed' ? printedLines(value, columns)
      : labelled(label, value, columns, 2);
    if (part.length > free) continue;
    lines.push(...part);
    free -= part.length;
  }
  return lines;
}

/** Returns what the reader printed: each line on a line of its own, and the spaces in it. */
function printedLines(text: string, columns: number): string[] {
  return text.split(/\n {0,11}/).map((line, i) => {
    const label = (i === 0 ? '  printed' : '').padEnd(LABEL);
    return cutLine(label + line, columns);
  });
}

/** Returns a request on one line, because the reader can paste it. The terminal wraps the line. */
function sentLines(sent: string, view: View, title: string, columns: number, rows: number): string[] {
  const { step, mustServe } = view;
  const line = '  sent'.padEnd(LABEL) + sent.replace(/\n\s*/g, ' ');
  const advice = mustServe && sent.includes('curl ') ? [`${' '.repeat(LABEL)}(press r first)`] : [];
  if (rowsOf(line, columns) + advice.length <= rows) return [line, ...advice];
  return labelled('request', `npm run try ${step.number} "${title.slice(0, 40)}"`, columns, 2);
}

function explainedAt(step: Step, name = '', columns = 80): string[] {
  const module = step.file.slice('src/'.length, -'.ts'.length);
  return name === '' ? [] : labelled('explained', placeOf(module, name), columns, 2);
}

/** Separates the message of an assertion from the lines that `.tools/story.ts` adds below it. */
export function storyIn(message: string): { text: string; story: Record<string, string> } {
  const at = message.search(/\n\n(?:[a-z]+(?: [a-z]+)?:) +\S/);
  const text = (at === -1 ? message : message.slice(0, at)).trim();
  const story: Record<string, string> = {};
  for (const entry of message.slice(at === -1 ? message.length : at).trim().split(/\n(?=\S)/)) {
    const [, label, value = ''] = /^([a-z]+(?: [a-z]+)?): +([^]*)$/.exec(entry) ?? [];
    if (label !== undefined) story[label] = value.trim();
  }
  return { text, story };
}

/** Returns a label and its text, in at most `max` lines. */
export function labelled(label: string, text: string, columns: number, max: number): string[] {
  const lines = wrap(text.replace(/\s+/g, ' '), Math.max(columns - LABEL, 10));
  const cut = lines.slice(0, max);
  if (lines.length > max) cut[max - 1] = `${(cut[max - 1] ?? '').slice(0, -1)}…`;
  return cut.map((line, i) => (i === 0 ? `  ${label}` : '').padEnd(LABEL) + line);
}

/** Returns the rows of a line, which the terminal wraps. */
function rowsOf(line: string, columns: number): number {
  return Math.max(Math.ceil(line.length / columns), 1);
}

/** Returns a line that fits. Its spaces stay, because it can be code. */
function cutLine(line: string, columns: number): string {
  return line.length > columns ? `${line.slice(0, columns - 1)}…` : line;
}

/** Returns one part of some code, in at most `rows` rows below a line that names it. */
export function pageOf(title: string, code: string, part: number, columns: number, rows: number): string[] {
  const parts: string[][] = [[]];
  let free = Math.max(rows - 1, 3);
  for (const line of code.split('\n')) {
    const height = rowsOf(line, columns); // the terminal wraps the line, so that it can be copied
    if (height > free && parts.at(-1)?.length) {
      parts.push([]);
      free = Math.max(rows - 1, 3);
    }
    parts.at(-1)?.push(line);
    free -= height;
  }
  const at = part % parts.length;
  const place = `${title}, part ${at + 1} of ${parts.length} (s shows the next part)`;
  return [cutLine(parts.length === 1 ? title : place, columns), ...(parts[at] ?? [])];
}

/** Returns the lines that fit in a terminal. The title stays: the main part and then the end are cut. */
export function fit(
  { head, body, notes }: { head: string[]; body: string[]; notes: string[] },
  columns: number,
  rows: number,
): string[] {
  const heightOf = (lines: string[]): number =>
    lines.reduce((sum, line) => sum + rowsOf(line, columns), 0);
  const first = (lines: string[], space: number): string[] => {
    const count = lines.findIndex((_, i) => heightOf(lines.slice(0, i + 1)) > space);
    return count === -1 ? lines : lines.slice(0, count);
  };
  const space = rows - heightOf(head) - heightOf(notes) - 2; // an empty line, and the cursor
  return first([...head, '', ...first(body, Math.max(space, 3)), ...notes], rows - 1);
}

/** Wraps a text at spaces. A longer word is cut. The indent of the text stays. */
export function wrap(text: string, columns: number): string[] {
  const indent = /^ */.exec(text)?.[0] ?? '';
  const lines: string[] = [];
  let line = indent;
  for (const word of text.trim().split(/ +/)) {
    let rest = word;
    const isFirst = line === indent;
    if (!isFirst && line.length + 1 + rest.length > columns) {
      lines.push(line);
      line = indent;
    } else if (!isFirst) {
      line += ' ';
    }
    while (line.length + rest.length > columns) {
      const space = Math.max(columns - line.length, 1);
      lines.push(line + rest.slice(0, space));
      rest = rest.slice(space);
      line = indent;
    }
    line += rest;
  }
  return [...lines, line];
}

/** Puts items on lines. An item is not broken. */
export function wrapItems(items: readonly string[], columns: number): string[] {
  const lines: string[] = [];
  for (const item of items) {
    const last = lines.at(-1);
    const isShort = last !== undefined && last.length + 2 + item.length <= columns;
    if (isShort) lines[lines.length - 1] = `${last}  ${item}`;
    else lines.push(item);
  }
  return lines;
}

const LABELS = new RegExp(`^ {2}(?:${[...PARTS, 'case', 'error', 'place', 'request', 'types'].join('|')}) `);

/** Returns the line with colors. A sign at the beginning selects the color. */
export function paint(line: string): string {
  return line
    .replace(/^✖.*/, '\x1b[31m$&\x1b[0m')
    .replace(/✔/g, '\x1b[32m$&\x1b[0m')
    .replace(/▸ (?:new |Write )*\S+/, '\x1b[1m$&\x1b[0m')
    .replace(LABELS, '\x1b[2m$&\x1b[0m');
}
