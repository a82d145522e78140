// A real Redis for a test. Each caller gets databases of its own, as empty as a new file.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

const MAX_DATABASES = 500; // of one Redis
const hasRedis = spawnSync('redis-server', ['--version']).status === 0;

/** The reason to skip a test that needs Redis, or `false`. Where CI is set, no test is skipped. */
export const skipRedis =
  !hasRedis && !process.env.CI
    ? 'needs Redis: on Debian or Ubuntu, apt-get install redis-server'
    : false;

export type Redis = {
  /** Returns the URL of a database that no other test uses. */
  nextUrl(): string;
  stop(): void;
};

/** Starts Redis on a free port. */
export async function startRedis(): Promise<Redis> {
  assert.ok(hasRedis, 'Where CI is set, no test is skipped: install redis-server');
  const folder = mkdtempSync(join(tmpdir(), 'redis-'));
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder];
  const more = ['--databases', `${MAX_DATABASES}`];
  const child = spawn('redis-server', [...args, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    printed += chunk;
    if (printed.includes('Ready to accept connections')) break;
  }
  child.stdout.resume();
  assert.match(printed, /Ready to accept connections/, printed);
  let databases = 0;
  return {
    nextUrl: () => `redis://127.0.0.1:${port}/${databases++}`,
    stop() {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Throws unless `site` uses the Redis in REDIS_URL, or the Redis on this machine. */
export function checkRedisUrl(t: TestContext, site: () => unknown): void {
  const { REDIS_URL } = process.env;
  t.after(() => {
    if (REDIS_URL === undefined) delete process.env.REDIS_URL;
    else process.env.REDIS_URL = REDIS_URL;
  });
  process.env.REDIS_URL = '';
  assert.doesNotThrow(site);
  process.env.REDIS_URL = 'http://localhost';
  assert.throws(site, /^TypeError: A Redis URL/);
}
