// The functions that several benches share: the median, the time of a call, a table and a bar chart.
export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/**
 * Returns the microseconds of one call of each function: the median of `rounds` rounds. The functions
 * take turns. If a function returns a promise, the time includes the wait for it.
 */
export async function time(calls, { rounds = 15, milliseconds = 20 } = {}) {
  const samples = new Map(Object.keys(calls).map((name) => [name, []]));
  const counts = new Map();
  for (const [name, call] of Object.entries(calls)) {
    const start = performance.now();
    let count = 0;
    // Warms up: V8 compiles the function.
    for (; performance.now() - start < 10 * milliseconds; count++) await call(count);
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

/** Returns an SVG with one bar for each value. A range becomes a thin line over the end of its bar. */
export function barChart(title, bars) {
  const [row, label, width] = [26, 270, 400];
  const most = Math.max(...bars.flatMap(({ value, range = [] }) => [value, ...range]));
  const x = (value) => (label + (value / most) * width).toFixed(1);
  const drawn = bars.map(({ name, value, range, isOwn }, i) => {
    const y = i * row + 34;
    const line = range
      ? `<path d="M${x(range[0])} ${y + 9}H${x(range[1])}M${x(range[0])} ${y + 5}v8M${x(range[1])} ${y + 5}v8"/>`
      : '';
    const end = Number(x(Math.max(value, ...(range ?? [])))) + 8;
    return `<text x="${label - 8}" y="${y + 14}" text-anchor="end">${name}</text>` +
      `<rect x="${label}" y="${y}" width="${(x(value) - label).toFixed(1)}" height="18" ` +
      `fill="${isOwn ? '#c2772b' : '#9aa3af'}"/>${line}` +
      `<text x="${end}" y="${y + 14}">${value.toFixed(2)}</text>`;
  });
  const style = '<style>text{font:13px system-ui,sans-serif;fill:#777}path{stroke:#444;fill:none}</style>';
  const [w, h] = [label + width + 60, bars.length * row + 42];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" role="img">` +
    `<title>${title}</title>${style}<text x="8" y="18">${title}</text>\n${drawn.join('\n')}</svg>\n`;
}
