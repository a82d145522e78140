// The progress of a reader, in the folder of git, where it is not part of any commit. Two windows can
// use the same file, so each change reads the file again and replaces it in one operation.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';

export type Progress = {
  readonly step: number; // the last step that was open
  readonly finished: readonly number[];
  readonly hints: Readonly<Record<string, number>>; // shown, for each function: '3 keyBytes()'
  readonly marks: Readonly<Record<string, Mark>>; // of a function: '3 keyBytes()', or a step: '3 '
};

/** A function was empty once, or the reader has skipped it. A step was done. */
export type Mark = 'empty' | 'skipped' | 'done';

const NONE: Progress = { step: 1, finished: [], hints: {}, marks: {} };

/** Returns the file for the progress, or `undefined` without git. */
export function progressFile(root: string): string | undefined {
  const path = gitPath(root, 'lesson.json');
  return path && resolve(root, path);
}

/** Returns the path of a file in the folder of git, as a reader in `root` writes it. */
function gitPath(root: string, name: string): string | undefined {
  const words = ['rev-parse', '--git-path', name];
  const { status, stdout } = spawnSync('git', words, { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Returns the path of the copy that `keepCopy` writes, such as .git/practice/03-signer.ts. */
export function copyOf(root: string, file: string): string | undefined {
  return gitPath(root, `practice/${basename(file)}`);
}

/** Keeps the version of the reader, because `git checkout` deletes it. */
export function keepCopy(root: string, file: string, source: string): void {
  const path = resolve(root, copyOf(root, file) ?? '');
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, source);
}

/** Whether git wrote the file: after the files of `git checkout`, git writes its index. */
export function isFromGit(root: string, file: string): boolean {
  const timeOf = (path: string): number =>
    statSync(resolve(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const index = gitPath(root, 'index');
  return index !== undefined && timeOf(index) >= timeOf(file);
}

/** Returns the progress in the file. Ignores a file that is missing or damaged. */
export function readProgress(file: string | undefined): Progress {
  try {
    const { step, finished, hints, marks } = JSON.parse(readFileSync(file ?? '', 'utf8'));
    const isNumber = (value: unknown): value is number => Number.isSafeInteger(value);
    const shown = Object.entries(hints ?? {}).filter(([, count]) => isNumber(count));
    return {
      step: isNumber(step) ? step : NONE.step,
      finished: Array.isArray(finished) ? finished.filter(isNumber) : [],
      hints: Object.fromEntries(shown) as Record<string, number>,
      marks: Object.fromEntries(Object.entries(marks ?? {}).filter(isMark)),
    };
  } catch {
    return NONE;
  }
}

function isMark(entry: [string, unknown]): entry is [string, Mark] {
  return ['empty', 'skipped', 'done'].some((mark) => mark === entry[1]);
}

/** Changes the progress in the file. Returns false if it cannot be saved. */
export function saveProgress(
  file: string | undefined,
  change: (progress: Progress) => Partial<Progress>,
): boolean {
  if (file === undefined) return false;
  const progress = readProgress(file);
  const copy = `${file}.${process.pid}`;
  try {
    writeFileSync(copy, JSON.stringify({ ...progress, ...change(progress) }));
    renameSync(copy, file);
    return true;
  } catch {
    return false; // for example, the folder is read-only
  }
}
