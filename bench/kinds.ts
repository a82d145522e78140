// What each kind of session costs: bytes that travel, bytes that are kept, time for a visit.
//
//   node bench/kinds.ts          Node 22.18 or newer; REDIS_URL adds Redis
//
// A visit is step 11's counter page in memory, with no socket: open, count, render, save. Rounds of
// all kinds are interleaved, and the median of each is set against that of the signed cookie.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Handler } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { Browser } from '../src/08-browser.ts';
import { addCounter, SignedCookieSessionFactory, withSession } from '../src/11-session-factory.ts';
import type { SessionFactory } from '../src/11-session-factory.ts';
import { EncryptedCookieSessionFactory } from '../src/17-encryption.ts';
import { keyOf, MemoryStore, StoredSessionFactory } from '../src/18-store.ts';
import type { SessionStore } from '../src/18-store.ts';
import { SqliteStore } from '../src/19-sqlite.ts';
import { RedisClient, RedisStore } from '../src/20-redis.ts';
import { apiRules, signJwt, verifyJwt } from '../src/21-jwt.ts';

type Data = { counter: number };

const ROUNDS = 9;
const VISITS = 2_000; // in a round
const secrets = ['a secret of thirty-two characters'];
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const stores: Record<string, SessionStore> = { memory: new MemoryStore() };
if (process.getBuiltinModule?.('node:sqlite')) {
  stores.SQLite = new SqliteStore(join(folder, 'sessions.sqlite'));
}
if (process.env.REDIS_URL) stores.Redis = new RedisStore(new RedisClient(process.env.REDIS_URL));

const kinds: Record<string, { factory: SessionFactory<Data>; store?: SessionStore }> = {
  'signed cookie': { factory: new SignedCookieSessionFactory<Data>({ secrets }) },
  'encrypted cookie': { factory: new EncryptedCookieSessionFactory<Data>({ secrets }) },
};
for (const [name, store] of Object.entries(stores)) {
  kinds[`stored, ${name}`] = { factory: new StoredSessionFactory<Data>(store), store };
}

const runs = Object.entries(kinds).map(([name, { factory, store }]) => {
  const handle: Handler = addCounter(new Router(), (p) => withSession(factory, p)).handle;
  return { name, store, browser: new Browser(handle), times: [] as number[] };
});

for (let round = 0; round < ROUNDS; round++) {
  for (const { browser, times } of runs) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < VISITS; i++) await browser.get('/');
    times.push(Number(process.hrtime.bigint() - start) / VISITS / 1000);
  }
}

const median = (times: number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
const base = median(runs[0]?.times ?? []);
console.log(`Node ${process.versions.node}, ${process.platform} ${process.arch}`);
for (const { name, store, browser, times } of runs) {
  const cookie = browser.jar.headerFor(new URL('http://localhost:6543/'), Date.now() / 1000) ?? '';
  const kept = (await store?.get(keyOf(cookie.slice('session='.length))))?.text.length ?? 0;
  const [time, ratio] = [median(times), median(times) / base];
  const figures = `cookie ${cookie.length} bytes, kept ${kept}, ${time.toFixed(0)} µs`;
  console.log(`${name.padEnd(18)} ${figures}, × ${ratio.toFixed(2)}`);
}

const rules = apiRules(secrets);
const now = Math.floor(Date.now() / 1000);
const [key = new Uint8Array()] = rules.keys;
const claims = { iss: rules.iss, aud: 'api', sub: 'ada', iat: now, exp: now + 900, jti: 'x'.repeat(36) };
const token = signJwt(claims, key);
const times = Array.from({ length: ROUNDS }, () => {
  const start = process.hrtime.bigint();
  for (let i = 0; i < VISITS; i++) verifyJwt(token, rules);
  return Number(process.hrtime.bigint() - start) / VISITS / 1000;
});
console.log(`JWT                token ${token.length} bytes, verify alone ${median(times).toFixed(0)} µs`);
rmSync(folder, { recursive: true, force: true });
process.exit();
