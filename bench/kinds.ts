// The cost of each kind of session: bytes in the cookie, bytes in the store, processor time per visit.
//
//   npm run bench -- --kinds          or, on Node 22.18: node bench/kinds.ts --quick
//
// A visit is the work of the server for the counter page of step 9, without a socket. With a JWT, the
// page verifies a token and saves nothing. The kinds take turns, and each sample uses a new process. Each
// median is relative to the median of the signed cookie. With Redis, the time is the time of the server
// alone, without Redis.
import { spawn, spawnSync } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { type SessionFactory, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { site, type TutorialData } from '../src/09-tutorial.ts';
import { UserSession } from '../src/22-login.ts';
import { EncryptedCookieSessionFactory } from '../src/24-encryption.ts';
import { hashId, MemoryStore, type SessionStore } from '../src/25-store.ts';
import { VersionedSessionFactory } from '../src/26-versions.ts';
import { SqliteStore } from '../src/27-sqlite.ts';
import { jwtRules, signJwt, verifyJwt } from '../src/29-jwt.ts';
import { RedisClient } from '../src/32-redis-client.ts';
import { RedisStore } from '../src/33-redis-store.ts';
import { FastSessionFactory } from '../src/39-fast.ts';
import { freePort, hasRedis, pinTo } from './load.js';
import { barChart, median, processorTime, table } from './measure.js';

type BenchSession = UserSession<TutorialData>;
type Kind = { factory: SessionFactory<BenchSession>; store?: SessionStore };

pinTo('0'); // with Redis: on another core, it sleeps, and this program pays for waking it
const isQuick = process.argv.includes('--quick');
const ROUNDS = isQuick ? 1 : 9;
const VISITS = isQuick ? 200 : 20_000; // in a sample
const secrets = ['this secret has 32 characters...'];
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const stores: Record<string, SessionStore> = { memory: new MemoryStore() };
if (process.getBuiltinModule?.('node:sqlite')) {
  stores.SQLite = new SqliteStore(join(folder, 'sessions.sqlite'));
}
const port = Number(process.env.REDIS_PORT) || (hasRedis ? await freePort() : 0);
const words = ['--port', String(port), '--save', '', '--appendonly', 'no'];
const redis = hasRedis && !process.env.REDIS_PORT ? spawn('redis-server', words) : undefined;
if (redis) for await (const chunk of redis.stdout) if (/ready to accept/i.test(String(chunk))) break;
if (hasRedis) {
  stores.Redis = new RedisStore(new RedisClient(`redis://127.0.0.1:${port}`));
}

const sessionClass = UserSession<TutorialData>;
const kinds: Record<string, Kind> = {
  'signed cookie': { factory: new SignedCookieSessionFactory({ secrets, sessionClass }) },
  'signed cookie, fast signer': { factory: new FastSessionFactory({ secrets, sessionClass }) },
  'encrypted cookie': { factory: new EncryptedCookieSessionFactory({ secrets, sessionClass }) },
};
for (const [name, store] of Object.entries(stores)) {
  kinds[`stored, ${name}`] = { factory: new VersionedSessionFactory(store, { sessionClass }), store };
}

const rules = jwtRules(secrets);
const iat = Math.floor(Date.now() / 1000);
const claims = { iss: rules.iss, aud: rules.aud, sub: 'ada', iat, exp: iat + 900, jti: 'x'.repeat(36) };
const token = signJwt(claims, rules.keys[0] as KeyObject);
kinds.JWT = { factory: tokenFactory(new SignedCookieSessionFactory({ secrets, sessionClass })) };

/** For this measurement, the token is in the cookie. It never changes, so no visit saves it again. */
function tokenFactory(base: SessionFactory<BenchSession>): SessionFactory<BenchSession> {
  const { cookie } = base;
  const open = (value: string): BenchSession | undefined => {
    const found = verifyJwt(value, rules);
    return found && new sessionClass(iat, { accessed: iat, created: iat, data: { counter: 1 } });
  };
  return { cookie, create: () => base.create(), open, save: ({ isNew }) => isNew ? token : undefined };
}

/** Returns a visitor: each call loads the page, and keeps the cookie of the response. */
function visitor({ handle }: ReturnType<typeof site>) {
  let cookie = '';
  return async (): Promise<string> => {
    const response = await handle(makeRequest('GET', '/', { cookie }));
    bodyText(response); // the adapter renders the page
    const [header = cookie] = setCookies(response);
    cookie = header.replace(/;.*/, '');
    return cookie;
  };
}

type Sample = { cookie: number; kept: number; µs: number };

/** Measures one kind in this process. */
async function sample({ factory, store }: Kind): Promise<Sample> {
  const visit = visitor(site(factory));
  for (let i = 0; i < VISITS; i++) await visit(); // V8 compiles the code
  const start = processorTime();
  for (let i = 0; i < VISITS; i++) await visit();
  const µs = (processorTime() - start) / VISITS;
  const cookie = await visit();
  const kept = (await store?.get(hashId(cookie.slice('session='.length))))?.text.length ?? 0;
  return { cookie: cookie.length, kept, µs };
}

const one = kinds[process.env.KIND ?? ''];
if (one) {
  console.log(JSON.stringify(await sample(one)));
  rmSync(folder, { recursive: true, force: true });
  process.exit();
}

const samples = new Map<string, Sample[]>();
for (let round = 0; round < ROUNDS; round++) {
  for (const name of Object.keys(kinds)) {
    const env = { ...process.env, KIND: name, REDIS_PORT: String(port) };
    const args = [...process.execArgv, ...process.argv.slice(1)];
    const { stdout } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
    samples.set(name, [...(samples.get(name) ?? []), JSON.parse(stdout)]);
  }
}

const middle = (name: string): number => median((samples.get(name) ?? []).map(({ µs }) => µs));
const base = middle('signed cookie');
const rows = [];
const bars = [];
for (const [name, all] of samples) {
  const times = all.map(({ µs }) => µs);
  const [low, value, high] = [Math.min(...times), middle(name), Math.max(...times)];
  const range = `${low.toFixed(1)} – ${high.toFixed(1)}`;
  const most = (what: 'cookie' | 'kept') => Math.max(...all.map((one) => one[what]));
  rows.push([name, most('cookie'), most('kept'), value.toFixed(1), range, (value / base).toFixed(2)]);
  bars.push({ name, value, range: [low, high] as [number, number], isOwn: true });
}
console.log(table(['kind', 'cookie, bytes', 'in the store, bytes', 'µs per visit', 'range, µs', 'ratio'], rows));

const [, file] = process.argv.find((word) => word.startsWith('--plot='))?.split('=') ?? [];
if (file) writeFileSync(file, barChart('Processor time per visit, µs. A shorter bar is better.', bars));
redis?.kill();
rmSync(folder, { recursive: true, force: true });
process.exit();
