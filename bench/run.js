// How much processor time does the counter page need? This project, two floors and other frameworks.
//
//   npm run bench                          one complete run, and all parts
//   npm run bench -- --runs=2 --write      two runs and their difference, into results/node-NN.md
//   npm run bench -- --quick               a trial in two minutes: do not quote its figures
//   npm run bench -- --only=step9,floor    these rows alone; --rounds=3 changes the number of rounds
//   npm run bench -- --other=FOLDER        also step 9, step 39 and the site of another work tree
//   npm run bench -- --micro               a part alone; also --growth, --kinds, --scale
//   npm run bench -- --differential        a proof; also --soak, --slow, --scan, --mutants
//
// Each sample uses a new process of the server. All rows take turns, and each round has another random
// order. So a slow minute of the machine affects all rows. Before the measurement, each server must count,
// and must reject a cookie with one changed byte.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { makeDice } from './dice.js';
import {
  canCount, cookieOf, countInstructions, hasRedis, hasWrk, isBeside, isPinned, load, memoryOf, pinTo,
  processorTime, start,
} from './load.js';
import { barChart, digits, median, table } from './measure.js';
import { installed, MORE, own, PRODUCTION, ROOT, ROWS, tsx, versions } from './rows.js';

const PARTS = [
  ['micro', 'Single parts next to npm packages that do the same', 'micro.js'],
  ['growth', 'What happens when something grows', 'growth.ts'],
  ['kinds', 'The kinds of session', 'kinds.ts'],
  ['scale', 'More connections, and more processes', 'scale.js'],
];
const PROOFS = ['differential', 'soak', 'slow', 'scan', 'mutants'];

const options = readOptions();
if (!existsSync(`${ROOT}bench/node_modules`)) stop('First install the packages: npm install --prefix bench');
if (tsx.length > 0 && !existsSync(`${ROOT}node_modules/tsx`)) stop('First install tsx: npm install');
if (!hasRedis) console.error('Not measured: Redis. Install redis-server');
const isQuick = options.quick !== undefined;
const rounds = countIn('rounds', isQuick ? 1 : 9);
const runs = countIn('runs', 1);
// The system counts processor time in steps of 10 ms, so a sample needs about two seconds of it.
const seconds = isQuick ? 1 : 2;
const warmUp = isQuick ? 1 : 2; // seconds, in which V8 compiles the code
const only = options.only?.split(',');
const PAGE = readFileSync(`${ROOT}bench/servers/page.html`, 'utf8').replace('{count}', '1');
const countOf = async (response) => Number(/Count: (\d+)/.exec(await response.text())?.[1]);

function readOptions() {
  const [flag, word] = [{ type: 'boolean' }, { type: 'string' }];
  const flags = ['quick', 'write', ...PARTS.map(([key]) => key), ...PROOFS];
  const words = ['rounds', 'runs', 'only', 'other'];
  const pairs = [...flags.map((name) => [name, flag]), ...words.map((name) => [name, word])];
  try {
    return parseArgs({ options: Object.fromEntries(pairs) }).values;
  } catch ({ message }) {
    return stop(message);
  }
}

function countIn(name, otherwise) {
  const text = options[name] ?? String(otherwise);
  return /^[1-9]\d{0,2}$/.test(text) ? Number(text) : stop(`--${name} must be a number from 1 to 999`);
}

function stop(message) {
  console.error(message);
  process.exit(1);
}

/** Shows that a server counts and rejects a changed cookie. Returns a cookie for the load. */
async function prove(key, url) {
  const first = await fetch(url);
  const cookie = cookieOf(first);
  const hasOwnPage = /^(site|inspected)/.test(key); // these two send a larger page
  if (!hasOwnPage && (await first.clone().text()) !== PAGE) throw new Error(`${key} sends another page`);
  if (key === 'bare') return '';
  if (key.startsWith('layer')) return cookie; // a part of a site
  const visit = async (sent) => countOf(await fetch(url, { headers: { cookie: sent } }));
  const one = await countOf(first);
  const two = await visit(cookie);
  const half = cookie.indexOf('=') + Math.floor((cookie.length - cookie.indexOf('=')) / 3);
  const damaged = cookie.slice(0, half) + (cookie[half] === 'A' ? 'B' : 'A') + cookie.slice(half + 1);
  const three = await visit(damaged);
  if (one !== 1 || two !== 2 || three !== 1) throw new Error(`${key} counts ${one}, ${two}, ${three}`);
  return cookie;
}

/** Measures a new process of one row. */
async function sample({ key, ...row }) {
  const { child, url, startup } = await start(row);
  try {
    const cookie = await prove(key, url);
    await load(url, cookie, warmUp);
    const stop = await countInstructions(child.pid);
    const before = processorTime(child.pid);
    const speed = await load(url, cookie, seconds);
    const total = (processorTime(child.pid) - before) * 1e6; // µs
    const cpu = total / speed.requests;
    const instructions = (await stop()) / speed.requests;
    return { ...speed, cpu, total, instructions, startup, memory: memoryOf(child.pid) };
  } finally {
    child.kill('SIGKILL');
  }
}

/** Runs one of the parts in its own process, and returns its output. */
function part(file, ...words) {
  process.stderr.write(`${file} …\n`);
  const args = [...tsx, `${ROOT}bench/${file}`, ...words, ...(isQuick ? ['--quick'] : [])];
  const { stdout, status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status === 0) return stdout.trim();
  process.exitCode = 1; // the other results are still written
  return `${file} ended with ${status}:\n\n${stderr}`;
}

for (const proof of PROOFS) {
  if (options[proof] === undefined) continue;
  console.log(part(`${proof}.js`));
  process.exit();
}

const isPart = PARTS.some(([key]) => options[key] !== undefined);
const isComplete = !isQuick && !only && !isPart && !options.other;
if (options.write && !isComplete) stop('--write needs a complete run');
if (options.write && !isBeside) stop('--write needs wrk, taskset, chrt and two cores');
const file = `${ROOT}bench/results/node-${process.versions.node.split('.')[0]}`;

const others = !options.other ? [] : [
  own('step9-other', 'step 9, the other tree', '09-tutorial.ts', {}, `${options.other}/`),
  own('step39-other', 'step 39, the other tree', '39-fast.ts', {}, `${options.other}/`),
  own('site-other', 'the finished site, the other tree', 'main.ts', PRODUCTION, `${options.other}/`),
];
const all = [...ROWS, ...others, ...MORE.filter(({ key }) => only?.includes(key))];
for (const key of only ?? []) {
  if (!all.some((row) => row.key === key)) stop(`There is no row ${key}. ${all.map((row) => row.key).join(', ')}`);
}
const rows = all
  .filter(({ key }) => (only ? only.includes(key) || key.endsWith('-other') : !isPart))
  .map((row) => ({ ...row, samples: [] }));

const { shuffled } = makeDice(1);
pinTo('1');
for (let run = 0; run < runs; run++) {
  for (let round = 0; round < rounds; round++) {
    for (const row of shuffled(rows)) {
      const result = await sample(row);
      row.samples.push({ ...result, run });
      const place = `run ${run + 1}, round ${round + 1} of ${rounds}`;
      process.stderr.write(`${place}: ${row.key.padEnd(24)} ${result.cpu.toFixed(1)} µs\n`);
    }
  }
}
pinTo();

const values = (row, what, run) =>
  row.samples.filter((one) => run === undefined || one.run === run).map((one) => one[what]);
const middle = (row, what, run) => median(values(row, what, run));
const floorRow = rows.find(({ key }) => key === 'floor');
const floor = floorRow ? middle(floorRow, 'cpu') : NaN;
const results = rows.map((row) => {
  const cpu = values(row, 'cpu');
  const byRun = Array.from({ length: runs }, (_, run) => middle(row, 'cpu', run));
  return {
    ...row, cpu: middle(row, 'cpu'), least: Math.min(...cpu), most: Math.max(...cpu), byRun,
    difference: byRun[runs - 1] / byRun[0] - 1, ratio: floor / middle(row, 'cpu'),
  };
}).sort((a, b) => a.cpu - b.cpu);
const percent = (part) => `${part < 0 ? '−' : '+'}${Math.abs(part * 100).toFixed(1)} %`;

/** Returns the section about the counter page. */
function counterPage() {
  const names = Array.from({ length: runs }, (_, run) => `run ${run + 1}, µs`);
  const times = table(
    ['', 'signs with', 'µs per request', 'range, µs', ...(floorRow ? ['× FLOOR B', 'range'] : []),
      ...(canCount ? ['instructions'] : []), ...(runs > 1 ? [...names, 'difference'] : [])],
    results.map((r) => [
      r.name, r.seal, r.cpu.toFixed(1), `${r.least.toFixed(1)} – ${r.most.toFixed(1)}`,
      ...(floorRow ? [r.ratio.toFixed(2), `${(floor / r.most).toFixed(2)} – ${(floor / r.least).toFixed(2)}`] : []),
      ...(canCount ? [Math.round(middle(r, 'instructions')).toLocaleString('en')] : []),
      ...(runs > 1 ? [...r.byRun.map((one) => one.toFixed(1)), percent(r.difference)] : []),
    ]),
  );
  const others = table(
    ['', 'requests/s', 'p50 ms', 'p99 ms', 'memory MB', 'first response ms', 'installs'],
    results.map((r) => [
      r.name, Math.round(middle(r, 'rps')).toLocaleString('en'), digits(middle(r, 'p50')),
      digits(middle(r, 'p99')), Math.round(middle(r, 'memory')), Math.round(middle(r, 'startup')), installed(r),
    ]),
  );
  const apart = isPinned ? 'on another core than the server' : 'without fixed cores';
  const cores = isBeside ? 'on the core of the server' : `${apart}: do not quote these figures`;
  const far = results.toSorted((a, b) => Math.abs(b.difference) - Math.abs(a.difference))[0];
  const largest = `The largest difference between the two runs is ${percent(far.difference)} (${far.name}).`;
  const count = canCount ? '' : ' `perf stat` is missing, or cannot count instructions on this machine.';
  const shortest = Math.min(...results.flatMap((r) => values(r, 'total'))) / 1e6;
  return [
    `Node ${process.versions.node}, ${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, ` +
      `${new Date().toISOString().slice(0, 10)}. 64 connections of ${hasWrk ? 'wrk' : 'autocannon'}, ${cores}. Samples per row: ${rounds * runs}` +
      `${runs > 1 ? ` in ${runs} runs` : ''}, each in a new process. Every sample uses at least ` +
      `${shortest.toFixed(1)} s of processor time. The figures are medians.${count}`,
    `Versions: ${versions(rows).join(', ')}.`,
    '**Processor time.** The user and system time of the server, divided by the number of requests. ' +
      '× FLOOR B is the time of FLOOR B divided by the time of the row: a higher number is better. The range ' +
      'goes from the lowest sample to the highest.',
    ...(options.write ? [`![Requests per second of processor time, relative to FLOOR B](node-${process.versions.node.split('.')[0]}.svg)`] : []),
    times,
    ...(runs === 2 ? [largest] : []),
    '**Throughput, latency, memory and start.** From the same samples. Memory is the resident memory (VmRSS) ' +
      'right after the load. The first response counts from the start of the process. The last column counts ' +
      'all files that npm installs for the server.',
    others,
  ].join('\n\n');
}

const report = rows.length > 0 ? [`## The counter page\n\n${counterPage()}`] : [];
for (const [key, title, script] of PARTS) {
  if (options[key] === undefined && (only || isPart)) continue;
  const plot = options.write && ['growth', 'kinds'].includes(key) ? [`--plot=${file}-${key}.svg`] : [];
  const picture = plot.length > 0 ? `![${title}](${file.split('/').at(-1)}-${key}.svg)\n\n` : '';
  report.push(`## ${title}\n\n${picture}${part(script, ...plot)}`);
}
console.log(report.join('\n\n'));
if (options.write) {
  mkdirSync(`${ROOT}bench/results`, { recursive: true });
  const bars = results.map((r) => ({
    name: r.name, value: r.ratio, range: [floor / r.most, floor / r.least], isOwn: r.isOwn,
  }));
  writeFileSync(`${file}.svg`, barChart('Requests per second of processor time, relative to FLOOR B. A longer bar is better.', bars));
  writeFileSync(`${file}.md`, `# Measured on Node ${process.versions.node.split('.')[0]}\n\n${report.join('\n\n')}\n`);
}
process.exit();
