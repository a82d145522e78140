// The functions that several benches share: the median, the time of a call, a table and a bar chart.
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(values.length - 1) >> 1] + sorted[values.length >> 1]) / 2;
}

/** Returns the microseconds of processor time that this process has used. */
export function processorTime() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/**
 * Returns the microseconds of processor time of one call of each function: the median of `rounds` rounds.
 * The functions take turns. A round calls each function at least 20 times, with numbers from 0 upwards.
 */
export async function time(calls, { rounds = 15, milliseconds = 20 } = {}) {
  const entries = Object.entries(calls).map(([name, call]) => ({ name, call, i: 0, count: 0, samples: [] }));
  const repeat = async (entry, count) => {
    for (const end = entry.i + count; entry.i < end; entry.i++) {
      const result = entry.call(entry.i);
      if (result instanceof Promise) await result;
    }
  };
  for (const entry of entries) {
    // V8 compiles the function.
    for (const start = processorTime(); processorTime() - start < 5_000 * milliseconds || entry.i < 500;) {
      await repeat(entry, 10);
    }
    const start = processorTime();
    for (; processorTime() - start < 1_000 * milliseconds || entry.count < 20; entry.count += 10) {
      await repeat(entry, 10);
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const entry of entries) {
      const start = processorTime();
      await repeat(entry, entry.count);
      entry.samples.push((processorTime() - start) / entry.count);
    }
  }
  return new Map(entries.map(({ name, samples }) => [name, median(samples)]));
}

export function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

export const digits = (value) => (value < 10 ? value.toFixed(2) : Math.round(value).toString());

/** Returns an SVG with this title and content, on white, so that it is also legible on a dark page. */
export function drawing(title, [width, height], content) {
  const style = '<style>text{font:13px system-ui,sans-serif}path{stroke:#222;fill:none}</style>';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" ` +
    `height="${height}" role="img" fill="#444"><title>${title}</title>${style}` +
    `<rect width="100%" height="100%" rx="6" fill="#fff"/><text x="12" y="22">${title}</text>\n${content}</svg>\n`;
}

/** Returns an SVG with one bar for each value. A range becomes a thin line over the end of its bar. */
export function barChart(title, bars) {
  const [row, label, width] = [26, 270, 400];
  const most = Math.max(...bars.flatMap(({ value, range = [] }) => [value, ...range]));
  const x = (value) => (label + (value / most) * width).toFixed(1);
  const drawn = bars.map(({ name, value, range, isOwn }, i) => {
    const y = i * row + 38;
    const line = range
      ? `<path d="M${x(range[0])} ${y + 9}H${x(range[1])}M${x(range[0])} ${y + 5}v8M${x(range[1])} ${y + 5}v8"/>`
      : '';
    const end = Number(x(Math.max(value, ...(range ?? [])))) + 8;
    return `<text x="${label - 8}" y="${y + 14}" text-anchor="end">${name}</text>` +
      `<rect x="${label}" y="${y}" width="${(x(value) - label).toFixed(1)}" height="18" ` +
      `fill="${isOwn ? '#c2772b' : '#9aa3af'}"/>${line}` +
      `<text x="${end}" y="${y + 14}">${value.toFixed(value < 10 ? 2 : 1)}</text>`;
  });
  return drawing(title, [label + width + 60, bars.length * row + 50], drawn.join('\n'));
}
