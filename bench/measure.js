// What the small benches share: rounds that are interleaved, medians, a table.
export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Microseconds for one call of each, awaited where it promises: the median of `rounds` rounds. */
export async function time(calls, { rounds = 15, milliseconds = 20 } = {}) {
  const samples = new Map(Object.keys(calls).map((name) => [name, []]));
  const counts = new Map();
  for (const [name, call] of Object.entries(calls)) {
    const start = performance.now();
    let count = 0;
    for (; performance.now() - start < 10 * milliseconds; count++) await call(count); // the compiler
    counts.set(name, Math.max(1, Math.round(count / 10)));
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, call] of Object.entries(calls)) {
      const count = counts.get(name);
      const start = process.hrtime.bigint();
      let result;
      for (let i = 0; i < count; i++) {
        result = call(i);
        if (result instanceof Promise) await result;
      }
      samples.get(name).push(Number(process.hrtime.bigint() - start) / 1000 / count);
    }
  }
  return new Map([...samples].map(([name, all]) => [name, median(all)]));
}

export function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

export const digits = (value) => (value < 10 ? value.toFixed(2) : Math.round(value).toString());
