// Writes the screen of `npm run lesson` as lines of text. This file reads no files and no keys.
import type { Step } from './exercise.ts';
import { countWritten, nextOf, signOf, type View } from './next.ts';
import { placeOf } from './story.ts';
import type { Failure } from './test-run.ts';

const MAX_LINES = 15; // of a failure
const LABEL = 12; // columns of a label, with the indent

/** Returns the lines at the top: the part, the step, the progress, and its functions. */
export function headOf(view: View, columns: number): string[] {
  const { step, functions, finished } = view;
  const { number, count, part, title, minutes, file } = step;
  const next = nextOf(view);
  const current = 'name' in next ? next.name : undefined;
  const names = functions.map((one) => {
    const sign = one.name === current ? '▸' : signOf(one, view);
    return `${sign} ${one.name}`;
  });
  const steps = finished === 1 ? '1 step finished' : `${finished} steps finished`;
  const lines = [
    part,
    `Step ${number} of ${count} · ${title} · ${minutes} minutes`,
    `${file} · ${countWritten(view)} of ${functions.length} written · ${steps}`,
  ];
  return [...lines.flatMap((line) => wrap(line, columns)), ...wrapItems(names, columns)];
}

/** Returns the lines of the main part, at most 15 lines. */
export function bodyOf(view: View, columns: number): string[] {
  const { step, needs, isOriginal } = view;
  if (needs !== undefined) return wrap(needs, columns);
  const next = nextOf(view);
  const { file, tests, number, lines, breakIt, yourTurn } = step;
  const explained = 'name' in next ? explainedAt(step, next.name, columns) : [];
  if (next.kind === 'running') return [];
  if (next.kind === 'empty') {
    return [
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
  if (next.kind === 'earlier') {
    const text = `✖ This step needs step ${next.step}, where ${next.name} is still to be written.`;
    const advice = `Write it first: npm run lesson ${next.step}`;
    return [...wrap(text, columns), ...wrap(`  ${advice}`, columns)];
  }
  if (next.kind === 'failing') return failureLines(next.failure, step, columns);
  const read = `LESSON.md:${lines[0]}-${lines[1]}`;
  if (isOriginal) {
    const text = `This step is complete. Read ${read}.`;
    return [...wrap(text, columns), ...wrap('To write the functions yourself, press e.', columns)];
  }
  const done = `✔ Well done! All functions of step ${number} are written, and all tests pass.`;
  const rest = `Next: "Break it" (LESSON.md:${breakIt}), "Your turn" (LESSON.md:${yourTurn}), then n.`;
  return [...wrap(done, columns), ...wrap(rest, columns)];
}

// The values come before the places. A failure shows the first parts that fit, in this order.
const PARTS = [
  'expected', 'pattern', 'received', 'input', 'thrown', 'logged', 'explained', 'failed at', 'sent',
];

/** Returns a failed test in at most 15 lines: the title, the values, the request, the paragraph. */
function failureLines({ title, message, ownWords }: Failure, step: Step, columns: number): string[] {
  const { text, story } = storyIn(message);
  const [first = ''] = text.split('\n\n');
  const isKnown = !ownWords && ('expected' in story || 'pattern' in story);
  const lines = [
    ...wrap(`✖ ${title}`, columns).slice(0, 2),
    ...(isKnown || text === '' ? [] : labelled(ownWords ? 'case' : 'error', first, columns, 2)),
  ];
  let free = MAX_LINES - lines.length;
  for (const label of PARTS) {
    const value = story[label];
    if (value === undefined) continue;
    const part = label === 'sent' ? sentLines(value, step, title, columns, free)
      : labelled(label, value, columns, 2);
    if (part.length > free) continue;
    lines.push(...part);
    free -= part.length;
  }
  return lines;
}

/** Returns a request on one line, because the reader can paste it. The terminal wraps the line. */
function sentLines(sent: string, step: Step, title: string, columns: number, rows: number): string[] {
  const line = '  sent'.padEnd(LABEL) + sent.replace(/\n\s*/g, ' ');
  if (Math.ceil(line.length / columns) <= rows) return [line];
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
