// The cost of each kind of session: bytes in the cookie, bytes in the store, processor time per visit.
//
//   npm run bench -- --kinds          or, on Node 22.18: node bench/kinds.ts --quick
//
// A visit is the work of the server for the counter page of step 9, without a socket. With a JWT, the
// page verifies a token and saves nothing. The kinds take turns. Each median is relative to the median
// of the signed cookie. With Redis, the time is the time of the server alone, without Redis.
import { spawn } from 'node:child_process';
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
const ROUNDS = isQuick ? 3 : 15;
const VISITS = isQuick ? 200 : 2_000; // per round
const secrets = ['a secret of thirty-two characters'];
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const stores: Record<string, SessionStore> = { memory: new MemoryStore() };
if (process.getBuiltinModule?.('node:sqlite')) {
  stores.SQLite = new SqliteStore(join(folder, 'sessions.sqlite'));
}
const port = hasRedis ? await freePort() : 0;
const words = ['--port', String(port), '--save', '', '--appendonly', 'no'];
const redis = hasRedis ? spawn('redis-server', words) : undefined;
if (redis) {
  for await (const chunk of redis.stdout) if (/ready to accept/i.test(String(chunk))) break;
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
const token = signJwt(claims, rules.keys[0] as Uint8Array);
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

const runs = Object.entries(kinds).map(([name, { factory, store }]) => {
  return { name, store, visit: visitor(site(factory)), times: [] as number[] };
});

for (const { visit } of runs) for (let i = 0; i < VISITS; i++) await visit(); // V8 compiles the code
for (let round = 0; round < ROUNDS; round++) {
  for (const { visit, times } of runs) {
    const start = processorTime();
    for (let i = 0; i < VISITS; i++) await visit();
    times.push((processorTime() - start) / VISITS);
  }
}

const base = median(runs[0]?.times ?? []);
const rows = [];
const bars = [];
for (const { name, store, visit, times } of runs) {
  const cookie = await visit();
  const kept = (await store?.get(hashId(cookie.slice('session='.length))))?.text.length ?? 0;
  const [least, value, most] = [Math.min(...times), median(times), Math.max(...times)];
  const range = `${least.toFixed(1)} – ${most.toFixed(1)}`;
  rows.push([name, cookie.length, kept, value.toFixed(1), range, (value / base).toFixed(2)]);
  bars.push({ name, value, range: [least, most] as [number, number], isOwn: true });
}
console.log(table(['kind', 'cookie, bytes', 'in the store, bytes', 'µs per visit', 'range, µs', 'ratio'], rows));

const [, file] = process.argv.find((word) => word.startsWith('--plot='))?.split('=') ?? [];
if (file) writeFileSync(file, barChart('Processor time per visit, µs. A shorter bar is better.', bars));
redis?.kill();
rmSync(folder, { recursive: true, force: true });
process.exit();
