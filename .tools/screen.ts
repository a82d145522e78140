// Writes the screen of `npm run lesson` as lines of text. This file reads no files and no keys.
import type { Step } from './exercise.ts';
import { countWritten, nextOf, signOf, type View } from './next.ts';
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
  const { step, outcome, needs, isOriginal } = view;
  if (needs !== undefined) return wrap(needs, columns);
  const next = nextOf(view);
  const { file, tests, number, lines, breakIt, yourTurn } = step;
  const placeOf = (name: string | undefined): string[] => {
    const place = name && outcome?.places.get(name);
    return place ? labelled('explained', place, columns, 2) : [];
  };
  if (next.kind === 'running') return [];
  if (next.kind === 'empty') {
    return [
      ...wrap(`▸ Write ${next.name}`, columns),
      ...labelled('place', `${file}:${next.line}`, columns, 2),
      ...placeOf(next.name),
    ];
  }
  if (next.kind === 'stuck') {
    const running = next.title === '' ? `✖ ${file} did not load.` : `✖ ${next.title}`;
    const reason = 'This did not end. Is there a promise that never settles, or an endless loop?';
    return [...wrap(running, columns), ...wrap(`  ${reason}`, columns), ...placeOf(next.name)];
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
  if (next.kind === 'failing') return failureLines(next.failure, step, columns, placeOf(next.name));
  const read = `LESSON.md:${lines[0]}-${lines[1]}`;
  if (isOriginal) {
    const text = `This step is complete. Read ${read}.`;
    return [...wrap(text, columns), ...wrap('To write the functions yourself, press e.', columns)];
  }
  const done = `✔ Well done! All functions of step ${number} are written, and all tests pass.`;
  const rest = `Next: "Break it" (LESSON.md:${breakIt}), "Your turn" (LESSON.md:${yourTurn}), then n.`;
  return [...wrap(done, columns), ...wrap(rest, columns)];
}

/** Returns a failed test in at most 15 lines: the title, the values, the request, the paragraph. */
function failureLines(
  failure: Failure,
  step: Step,
  columns: number,
  place: readonly string[],
): string[] {
  const { text, story } = storyIn(failure.message);
  const { expected, received } = failure;
  const isCompared = expected !== undefined && received !== undefined;
  const width = Math.max(columns - LABEL, 10);
  const [want, got] = isCompared ? aroundDifference(expected, received, width * 2) : ['', ''];
  const note = failure.isGenerated ? '' : (text.split('\n')[0] ?? '');
  const at = isCompared ? undefined : /src[\\/][\w-]+\.ts:\d+/.exec(failure.stack)?.[0];
  const error = failure.name === 'Error' ? note : `${failure.name}: ${note}`;
  const lines = [
    ...wrap(`✖ ${failure.title}`, columns).slice(0, 2),
    ...(isCompared
      ? [
          ...(note === '' ? [] : labelled('case', note, columns, 1)),
          ...labelled('expected', want, columns, 2),
          ...labelled('received', got, columns, 2),
        ]
      : labelled('error', error, columns, 3)),
    ...(at ? labelled('place', at.replaceAll('\\', '/'), columns, 1) : []),
    ...(story.logged ? labelled('logged', story.logged, columns, 2) : []),
  ];
  const paragraph = place.length > 0 ? place : labelled('explained', story.explained ?? '', columns, 2);
  const sent = story.sent?.replace(/\n\s*/g, ' ');
  const free = MAX_LINES - lines.length - paragraph.length;
  if (sent !== undefined) {
    // A terminal wraps a long line by itself, so that the reader can copy it as one line.
    const line = '  sent'.padEnd(LABEL) + sent;
    const isShort = Math.ceil(line.length / columns) <= free;
    const command = `npm run try ${step.number} "${failure.title.slice(0, 40)}"`;
    lines.push(...(isShort ? [line] : labelled('request', command, columns, 2)));
  }
  return [...lines, ...paragraph];
}

/** Separates the message of an assertion from the lines that `.tools/explain.ts` adds below it. */
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

/** Cuts both values to a length, so that the first difference is visible. */
export function aroundDifference(a: string, b: string, length: number): [string, string] {
  let same = 0;
  while (same < a.length && a[same] === b[same]) same++;
  const isLong = Math.max(a.length, b.length) > length;
  const from = isLong && same < Math.min(a.length, b.length) ? Math.max(same - 20, 0) : 0;
  const cut = (text: string): string => {
    const part = text.slice(from, from + length - 2);
    return (from > 0 ? '…' : '') + part + (from + length - 2 < text.length ? '…' : '');
  };
  return isLong ? [cut(a), cut(b)] : [a, b];
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

/** Returns the line with colors. A sign at the beginning selects the color. */
export function paint(line: string): string {
  return line
    .replace(/^✖.*/, '\x1b[31m$&\x1b[0m')
    .replace(/✔/g, '\x1b[32m$&\x1b[0m')
    .replace(/▸ (?:new |Write )*\S+/, '\x1b[1m$&\x1b[0m')
    .replace(/^ {2}(?:expected|received|sent|place|explained|error|logged|case|request|types)\b/, '\x1b[2m$&\x1b[0m');
}
