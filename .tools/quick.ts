// `node --test` runs the quick suite. Where CI is set, every test runs with its full size, and none
// is skipped: `CI=true node --test`.

/** Whether every test must run. */
export const isComplete = Boolean(process.env.CI);

const NODE = Reflect.get(process.features, 'typescript') ? 'node' : 'npx tsx';

/** Returns why a slow test is skipped and how to run it, or `false` if every test must run. */
export function skipSlow(file: string, variable = 'CI=true'): string | false {
  return !isComplete && `slow; to run it: ${variable} ${NODE} --test ${file}`;
}

/** Returns the value of a variable such as FUZZ, or a small default, which is large in CI. */
export function sizeOf(variable: string, quick: number, complete: number): number {
  return Number(process.env[variable] || (isComplete ? complete : quick));
}
