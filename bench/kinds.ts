// The cost of each kind of session: bytes in the cookie, bytes in the store, time per visit.
//
//   node bench/kinds.ts          Node 22.18 or newer; REDIS_URL adds Redis
//
// A visit is the counter page of step 9 in memory, without a socket. The rounds of all kinds are
// interleaved. Each median is relative to the median of the signed cookie.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type SessionFactory, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { site, type TutorialData } from '../src/09-tutorial.ts';
import { Browser } from '../src/16-browser.ts';
import { UserSession } from '../src/22-login.ts';
import { EncryptedCookieSessionFactory } from '../src/24-encryption.ts';
import { hashId, MemoryStore, type SessionStore } from '../src/25-store.ts';
import { VersionedSessionFactory } from '../src/26-versions.ts';
import { SqliteStore } from '../src/27-sqlite.ts';
import { jwtRules, signJwt, verifyJwt } from '../src/29-jwt.ts';
import { RedisClient } from '../src/32-redis-client.ts';
import { RedisStore } from '../src/33-redis-store.ts';

type BenchSession = UserSession<TutorialData>;

const ROUNDS = 9;
const VISITS = 2_000; // per round
const secrets = ['a secret of thirty-two characters'];
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const stores: Record<string, SessionStore> = { memory: new MemoryStore() };
if (process.getBuiltinModule?.('node:sqlite')) {
  stores.SQLite = new SqliteStore(join(folder, 'sessions.sqlite'));
}
if (process.env.REDIS_URL) stores.Redis = new RedisStore(new RedisClient(process.env.REDIS_URL));

const sessionClass = UserSession<TutorialData>;
const kinds: Record<string, { factory: SessionFactory<BenchSession>; store?: SessionStore }> = {
  'signed cookie': { factory: new SignedCookieSessionFactory({ secrets, sessionClass }) },
  'encrypted cookie': { factory: new EncryptedCookieSessionFactory({ secrets, sessionClass }) },
};
for (const [name, store] of Object.entries(stores)) {
  kinds[`stored, ${name}`] = { factory: new VersionedSessionFactory(store, { sessionClass }), store };
}

const runs = Object.entries(kinds).map(([name, { factory, store }]) => {
  return { name, store, browser: new Browser(site(factory).handle), times: [] as number[] };
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
  const kept = (await store?.get(hashId(cookie.slice('session='.length))))?.text.length ?? 0;
  const [time, ratio] = [median(times), median(times) / base];
  const figures = `cookie ${cookie.length} bytes, kept ${kept}, ${time.toFixed(0)} µs`;
  console.log(`${name.padEnd(18)} ${figures}, × ${ratio.toFixed(2)}`);
}

const rules = jwtRules(secrets);
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
