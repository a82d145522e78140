// How fast is the counter page? Ours, the floors, and the peers, each in a fresh process.
//
//   npm run bench                          all, 7 rounds, then the parts: 12 minutes
//   npm run bench -- --quick               under two minutes, and no figure to be quoted
//   npm run bench -- --only=ours,floor     --rounds=9 --seconds=4 --warm=4
//   npm run bench -- --micro               or --growth, or --scale: the parts alone
//   npm run bench -- --differential        or --soak, --slow, --scan: nothing timed, but proven
//
// Rounds are interleaved and each has another order, so that a slow minute of the machine is
// everybody's. Before it is timed, each server is shown to count up, and to refuse a cookie with one
// byte changed. A whole run writes results/node-NN.md and its plots.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { cookieOf, hasWrk, load, start } from './load.js';
import { median, table } from './measure.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const tsx = process.features.typescript ? [] : ['--import', `${ROOT}node_modules/tsx/dist/loader.mjs`];
const PEERS = [
  ['bare', 'node:http, a constant answer'],
  ['floor', 'node:http, FLOOR B'],
  ['limit', 'node:http, all by hand'],
  ['fastify-cookie', 'fastify + @fastify/cookie'],
  ['fastify-secure-session', 'fastify + @fastify/secure-session'],
  ['fastify-session', 'fastify + @fastify/session'],
  ['polka', 'polka + cookie-session'],
  ['koa', 'koa + koa-session'],
  ['hono', 'hono + signed cookie'],
  ['express', 'express + cookie-session'],
  ['hono-iron', 'hono + iron-session'],
];
const PRODUCTION = { NODE_ENV: 'production', SESSION_SECRET: 'a secret of thirty-two characters' };
const CONTENDERS = [
  ['ours', 'step 9', process.execPath, [...tsx, `${ROOT}src/09-tutorial.ts`]],
  ['site', 'the finished site', process.execPath, [...tsx, `${ROOT}src/main.ts`], PRODUCTION],
  ['inspected', 'the finished site with its inspector', process.execPath, [...tsx, `${ROOT}src/main.ts`]],
  ...PEERS.map(([key, name]) => [key, name, process.execPath, [`${ROOT}bench/servers/${key}.js`]]),
];
if (spawnSync('/usr/bin/python3', ['-c', 'import pyramid, waitress']).status === 0) {
  const app = `${ROOT}bench/servers/pyramid_server.py`;
  CONTENDERS.push(['pyramid', 'Pyramid + waitress', '/usr/bin/python3', [app]]);
}

const options = Object.fromEntries(
  process.argv.slice(2).map((word) => word.replace(/^--/, '').split('=')).map(([k, v = 'yes']) => [k, v]),
);
const isQuick = options.quick !== undefined;
const rounds = Number(options.rounds ?? (isQuick ? 1 : 7));
const seconds = Number(options.seconds ?? (isQuick ? 1 : 2));
const warmUp = Number(options.warm ?? (isQuick ? 1 : 2)); // seconds: the compiler's turn
const only = options.only?.split(',');
const PAGE = readFileSync(`${ROOT}bench/servers/page.html`, 'utf8').replace('{count}', '1');
const countOf = async (response) => Number(/Count: (\d+)/.exec(await response.text())?.[1]);

/** Shows that it counts and refuses what was changed; gives a cookie for the load. */
async function prove(key, url) {
  const first = await fetch(url);
  const cookie = cookieOf(first);
  const isSite = key === 'site' || key === 'inspected'; // they send more, and are named so
  if (!isSite && (await first.clone().text()) !== PAGE) throw new Error(`${key} sends another page`);
  if (key === 'bare') return '';
  const ask = async (sent) => countOf(await fetch(url, { headers: { cookie: sent } }));
  const one = await countOf(first);
  const two = await ask(cookie);
  const half = cookie.indexOf('=') + Math.floor((cookie.length - cookie.indexOf('=')) / 3);
  const damaged = cookie.slice(0, half) + (cookie[half] === 'A' ? 'B' : 'A') + cookie.slice(half + 1);
  const three = await ask(damaged);
  if (one !== 1 || two !== 2 || three !== 1) throw new Error(`${key} counts ${one}, ${two}, ${three}`);
  return cookie;
}

const memoryOf = (pid) => {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
  } catch {
    return NaN; // no Linux
  }
};

/** Runs one of the parts in a process of its own, and gives what it prints. */
function part(file, ...words) {
  process.stderr.write(`${file} …\n`);
  const args = [...tsx, `${ROOT}bench/${file}`, ...words, ...(isQuick ? ['--quick'] : [])];
  const { stdout, status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file} ended with ${status}: ${stderr}`);
  return stdout.trim();
}

const results = new Map();
for (const proof of ['differential', 'soak', 'slow', 'scan']) {
  if (options[proof] === undefined) continue;
  console.log(part(`${proof}.js`));
  process.exit();
}
const isPart = options.micro || options.growth || options.scale;
const contenders = CONTENDERS.filter(([key]) => (only ? only.includes(key) : !isPart));
for (let round = 0; round < rounds; round++) {
  const from = (round * 5) % contenders.length;
  for (const contender of [...contenders.slice(from), ...contenders.slice(0, from)]) {
    const [key, name, command, args, settings] = contender;
    const { child, url, startup } = await start({ name, command, args, settings });
    try {
      const cookie = await prove(key, url);
      await load(url, cookie, warmUp);
      const sample = await load(url, cookie, seconds);
      const samples = results.get(key) ?? results.set(key, []).get(key);
      samples.push({ ...sample, startup, memory: memoryOf(child.pid) });
      process.stderr.write(`round ${round + 1} ${key.padEnd(24)} ${Math.round(sample.rps)}/s\n`);
    } finally {
      child.kill('SIGKILL');
    }
  }
}

const floor = median((results.get('floor') ?? [{ rps: NaN }]).map(({ rps }) => rps));
const rows = contenders.map(([key, name]) => {
  const samples = results.get(key);
  const of = (what) => median(samples.map((sample) => sample[what]));
  const all = samples.map(({ rps }) => rps);
  const spread = (Math.max(...all) - Math.min(...all)) / of('rps') / 2;
  return { name, rps: of('rps'), share: of('rps') / floor, spread, p50: of('p50'), p99: of('p99'),
    memory: of('memory'), startup: of('startup') };
});
rows.sort((a, b) => b.rps - a.rps);

const weightOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, path, name }) => {
      return sum + readFileSync(`${parentPath ?? path}/${name}`).length;
    }, 0);

/** Bytes that an npm package brings, with all that it needs. */
function installed(names) {
  const seen = new Set();
  const visit = (name) => {
    const folder = `${ROOT}bench/node_modules/${name}`;
    if (seen.has(name) || !existsSync(folder)) return;
    seen.add(name);
    const { dependencies = {} } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
    Object.keys(dependencies).forEach(visit);
  };
  names.forEach(visit);
  const bytes = [...seen].reduce((sum, name) => sum + weightOf(`${ROOT}bench/node_modules/${name}`), 0);
  return { packages: seen.size, bytes };
}

const STACKS = {
  'fastify + @fastify/cookie': ['fastify', '@fastify/cookie'],
  'fastify + @fastify/secure-session': ['fastify', '@fastify/secure-session'],
  'fastify + @fastify/session': ['fastify', '@fastify/cookie', '@fastify/session'],
  'polka + cookie-session': ['polka', 'cookie-session'],
  'koa + koa-session': ['koa', 'koa-session'],
  'hono + signed cookie': ['hono', '@hono/node-server'],
  'express + cookie-session': ['express', 'cookie-session'],
  'hono + iron-session': ['hono', '@hono/node-server', 'iron-session'],
};

function weight(name) {
  if (isOwn(name)) return `0 packages, ${Math.round(weightOf(`${ROOT}src`) / 1024)} kB`;
  if (!STACKS[name]) return '';
  const { packages, bytes } = installed(STACKS[name]);
  return `${packages} packages, ${Math.round(bytes / 1024)} kB`;
}

const cpu = cpus()[0]?.model.trim();
const tool = hasWrk ? 'wrk -t1' : 'autocannon';
const caption =
  `Node ${process.versions.node}, ${cpu}, ${availableParallelism()} cores; ${tool} with 64 connections, ` +
  `${rounds} rounds of ${seconds} s after ${warmUp} s, a fresh process for each sample; medians, and ` +
  '± is half the distance between the best and the worst sample.';
const HEAD = ['', 'requests/s', 'of FLOOR B', '±', 'p50 ms', 'p99 ms', 'memory MB', 'first answer ms', 'brings'];
const body = rows.map((r) => [
  r.name, Math.round(r.rps), r.share.toFixed(2), `${Math.round(r.spread * 100)} %`, r.p50.toFixed(1),
  r.p99.toFixed(1), Math.round(r.memory), Math.round(r.startup), weight(r.name),
]);

const BAR = { height: 26, width: 420, label: 260 };
const most = Math.max(...rows.map(({ share }) => share));
const bars = rows.map((r, i) => {
  const [y, width] = [i * BAR.height + 8, (r.share / most) * BAR.width];
  const colour = isOwn(r.name) ? '#8a4b08' : '#9aa3af';
  return `<text x="${BAR.label - 8}" y="${y + 14}" text-anchor="end">${r.name}</text>` +
    `<rect x="${BAR.label}" y="${y}" width="${width.toFixed(1)}" height="18" fill="${colour}"/>` +
    `<text x="${(BAR.label + width + 6).toFixed(1)}" y="${y + 14}">${r.share.toFixed(2)}</text>`;
});
const size = `width="${BAR.label + BAR.width + 60}" height="${rows.length * BAR.height + 16}"`;
const style = '<style>text{font:13px system-ui,sans-serif;fill:#777}</style>';

const name = `${ROOT}bench/results/node-${process.versions.node.split('.')[0]}`;
const isWhole = !isQuick && !only && !isPart;
if (isWhole) mkdirSync(`${ROOT}bench/results`, { recursive: true });
const report = contenders.length > 0 ? [`## The counter page\n\n${caption}\n\n${table(HEAD, body)}`] : [];
if (options.micro || (!only && !isPart)) {
  report.push(`## The parts, beside npm packages that do the same\n\n${part('micro.js')}`);
}
if (options.growth || (!only && !isPart)) {
  const words = isWhole ? [`--plot=${name}-growth.svg`] : [];
  report.push(`## What grows\n\n${part('growth.ts', ...words)}`);
}
if (options.scale || (!only && !isPart)) report.push(`## More at once\n\n${part('scale.js')}`);
console.log(report.join('\n\n'));
if (isWhole) {
  writeFileSync(`${name}.svg`,
    `<svg xmlns="http://www.w3.org/2000/svg" ${size}>${style}${bars.join('\n')}</svg>\n`);
  writeFileSync(`${name}.md`, `# Measured on ${process.version}\n\n${report.join('\n\n')}\n`);
}
process.exit();

/** The rows of this project, which has no package to weigh. */
function isOwn(name) {
  return name.startsWith('step 9') || name.startsWith('the finished site');
}
