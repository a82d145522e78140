// The progress of a reader, in the folder of git, where it is not part of any commit. Two windows can
// use the same file, so each change reads the file again and replaces it in one operation.
import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

export type Progress = {
  readonly step: number; // the last step that was open
  readonly finished: readonly number[];
  readonly hints: Readonly<Record<string, number>>; // shown, for each function: '3 keyBytes()'
};

const NONE: Progress = { step: 1, finished: [], hints: {} };

/** Returns the file for the progress, or `undefined` without git. */
export function progressFile(root: string): string | undefined {
  const words = ['rev-parse', '--git-path', 'lesson.json'];
  const { status, stdout } = spawnSync('git', words, { cwd: root, encoding: 'utf8' });
  return status === 0 ? resolve(root, stdout.trim()) : undefined;
}

/** Returns the progress in the file. Ignores a file that is missing or damaged. */
export function readProgress(file: string | undefined): Progress {
  try {
    const { step, finished, hints } = JSON.parse(readFileSync(file ?? '', 'utf8'));
    const isNumber = (value: unknown): value is number => Number.isSafeInteger(value);
    const shown = Object.entries(hints ?? {}).filter(([, count]) => isNumber(count));
    return {
      step: isNumber(step) ? step : NONE.step,
      finished: Array.isArray(finished) ? finished.filter(isNumber) : [],
      hints: Object.fromEntries(shown) as Record<string, number>,
    };
  } catch {
    return NONE;
  }
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
