// The processor time of a request when something grows: routes, data or stored sessions.
//
//   npm run bench -- --growth         or, on Node 22.18: node bench/growth.ts
//
// The requests do not use a socket. In the plot, each line is relative to its own first point: a line
// that stays near 1 is flat. Both axes are logarithmic.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeRequest } from '../.tools/request.ts';
import { type Handler, type HttpRequest, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import type { Session } from '../src/07-session.ts';
import { type SessionFactory, SignedCookieSessionFactory, withSession } from '../src/08-session-factory.ts';
import { FlashSession, withFlash } from '../src/14-flash.ts';
import { Browser } from '../src/16-browser.ts';
import { MemoryStore, type SessionStore } from '../src/25-store.ts';
import { VersionedSessionFactory } from '../src/26-versions.ts';
import { SqliteStore } from '../src/27-sqlite.ts';
import { digits, drawing, table, time } from './measure.js';

type Data = Record<string, unknown>;
type Line = { name: string; unit: string; points: [size: number, µs: number][]; note?: string };

const isQuick = process.argv.includes('--quick');
const secrets = ['this secret has 32 characters...'];
const lines: Line[] = [];
const options = isQuick ? { rounds: 5, milliseconds: 5 } : { rounds: 11, milliseconds: 20 };

async function grow(
  line: Omit<Line, 'points'>,
  sizes: readonly number[],
  make: (size: number) => (i: number) => unknown,
): Promise<void> {
  const times = await time(Object.fromEntries(sizes.map((s) => [String(s), make(s)])), options);
  lines.push({ ...line, points: [...times].map(([size, µs]) => [Number(size), µs]) });
}

function get(path: string, cookie?: string): HttpRequest {
  return makeRequest('GET', path, cookie === undefined ? {} : { cookie });
}

type BenchSession = FlashSession<Data>;
const sessionClass = FlashSession<Data>;
const factory: SessionFactory<BenchSession> = new SignedCookieSessionFactory({ secrets, sessionClass });

/** Returns a function that visits the page with a session that `fill` has filled. */
async function visitor(
  kind: SessionFactory<BenchSession>,
  fill: (session: Session<Data>) => void,
): Promise<(i: number) => unknown> {
  const inner = withFlash<HttpRequest & { session: BenchSession }>(({ session, method }) => {
    if (method === 'POST') fill(session);
    else session.update('counter', (n) => Number(n ?? 0) + 1);
    return text('ok');
  });
  const page: Handler = withSession(kind)(inner);
  const browser = new Browser(page);
  await browser.post('/', {});
  const cookie = browser.jar.headerFor(new URL('http://localhost:6543/'), Date.now() / 1000);
  const request = get('/', cookie);
  return () => page(request);
}

const COUNTS = [10, 100, 1_000, 10_000];
for (const [name, pattern] of [['fixed paths', ''], ['paths with a parameter', '/:id']]) {
  await grow({ name: `routes: ${name}`, unit: 'routes' }, COUNTS, (count) => {
    const router = new Router();
    const found = text('ok');
    for (let i = 0; i < count; i++) router.get(`/part${i % 100}/item${i}${pattern}`, () => found);
    const requests = Array.from({ length: 64 }, (_, k) => {
      const i = (k * 7919) % count;
      return get(`/part${i % 100}/item${i}${pattern && '/7'}`);
    });
    return (i) => router.handle(requests[i % 64] as HttpRequest);
  });
}

const TEXT = (size: number) => (s: Session<Data>) => s.set('text', 'x'.repeat(size));
const LIST = (size: number) => (s: Session<Data>) =>
  s.set('cart', Array.from({ length: size }, (_, id) => ({ id, n: 1 })));
for (const [name, unit, sizes, fill] of [
  ['a text in the session', 'bytes', [10, 100, 1_000, 2_700], TEXT],
  ['a list in the session', 'items', [1, 10, 50, 150], LIST],
] as const) {
  const calls = new Map<number, (i: number) => unknown>();
  for (const size of sizes) calls.set(size, await visitor(factory, fill(size)));
  await grow({ name, unit }, sizes, (size) => calls.get(size) ?? (() => undefined));
}

const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const most = isQuick ? 10_000 : 1_000_000;
const stores: [string, () => SessionStore][] = [
  ['MemoryStore', () => new MemoryStore({ maxEntries: 2_000_000, maxSize: Infinity })],
];
if (process.getBuiltinModule?.('node:sqlite')) {
  stores.push(['SqliteStore', () => new SqliteStore(join(folder, `${Math.random()}.sqlite`))]);
}
for (const [name, open] of stores) {
  const store = open();
  const expires = Date.now() / 1000 + 86_400;
  const points: [number, number][] = [];
  const call = await visitor(new VersionedSessionFactory(store, { sessionClass }), (s) => s.set('counter', 1));
  const before = process.memoryUsage();
  let count = 1;
  for (let size = 1; size <= most; size *= 100) {
    for (; count < size; count++) {
      const entry = { text: `[1795258146,1795258146.123,{"counter":${count}}]`, expires };
      await store.put(`key${count}`.padEnd(43, 'x'), entry, 0);
    }
    const [[, µs] = ['', NaN]] = await time({ visit: call }, options);
    points.push([size, µs]);
  }
  const after = process.memoryUsage();
  const kept = (after.heapUsed + after.external - before.heapUsed - before.external) / count;
  const isTelling = name === 'MemoryStore' && !isQuick; // with few sessions, the garbage is larger
  const note = isTelling ? `about ${Math.round(kept)} bytes of memory per session` : '';
  lines.push({ name: `stored sessions, ${name}`, unit: 'sessions', points, note });
}
rmSync(folder, { recursive: true, force: true });

console.log(
  table(
    ['what grows', 'processor time of a request, µs'],
    lines.map(({ name, unit, points, note }) => [
      name,
      points.map(([size, µs]) => `${count(size)} ${size === 1 ? unit.slice(0, -1) : unit}: ${digits(µs)}`).join(', ') +
        (note ? `; ${note}` : ''),
    ]),
  ),
);

function count(size: number): string {
  return size.toLocaleString('en');
}

/** Returns an SVG with one line for each row. Each line is relative to its own first point. */
function plot(): string {
  const [width, height, left, top] = [420, 220, 66, 38];
  const x = (size: number): number => Math.round(left + (Math.log10(size) / 6) * width);
  const y = (ratio: number): number => Math.round(top + height - ((Math.log10(ratio) + 0.4) / 3.5) * height);
  const colors = ['#a85d16', '#c53030', '#2b6cb0', '#2c7a7b', '#805ad5', '#4a5568'];
  const drawn = lines.map(({ name, points }, i) => {
    const [[, first] = [1, 1]] = points;
    const path = points.map(([s, µs]) => `${x(s)},${y(µs / first)}`).join(' ');
    const key = `<text x="${left + width + 16}" y="${top + 20 + i * 18}" fill="${colors[i]}">${name}</text>`;
    return `<polyline points="${path}" fill="none" stroke="${colors[i]}" stroke-width="2"/>${key}`;
  });
  const scale = [1, 10, 100, 1_000].map((r) => `<text x="12" y="${y(r) + 4}">× ${count(r)}</text>` +
    `<path d="M${left} ${y(r)}h${width}" stroke-opacity="0.2"/>`);
  const sizes = [1, 100, 10_000, 1_000_000].map((size) =>
    `<text x="${x(size)}" y="${top + height + 16}" text-anchor="middle">${count(size)}</text>`);
  const title = 'Processor time of a request when something grows';
  const axis = `<text x="${left + width + 50}" y="${top + height + 16}">routes, bytes, items or sessions</text>`;
  const content = scale.join('') + sizes.join('') + axis + drawn.join('\n');
  return drawing(title, [left + width + 260, top + height + 30], content);
}

const [, file] = process.argv.find((word) => word.startsWith('--plot='))?.split('=') ?? [];
if (file) writeFileSync(file, plot());
process.exit();
