// A real Redis for a test. Each caller gets databases of its own, as empty as a new file.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { onFreePort } from './port.ts';

const MAX_DATABASES = 500; // of one Redis
const hasRedis = spawnSync('redis-server', ['--version']).status === 0;

/** The reason to skip a test that needs Redis, or `false`. Where CI is set, no test is skipped. */
export const skipRedis =
  !hasRedis && !process.env.CI
    ? 'needs Redis: on Debian or Ubuntu, apt-get install redis-server'
    : false;

export type Redis = {
  readonly port: number;
  readonly child: ChildProcess;
  /** Returns the URL of a database that no other test uses. */
  nextUrl(): string;
  stop(): void;
};

/** Starts Redis on a free port, or on this one. It stores nothing on disk, except if `more` says so. */
export async function startRedis(port?: number, more: readonly string[] = []): Promise<Redis> {
  assert.ok(hasRedis, 'Where CI is set, no test is skipped: install redis-server');
  return port === undefined ? onFreePort((free) => startOn(free, more)) : startOn(port, more);
}

async function startOn(port: number, more: readonly string[]): Promise<Redis> {
  const folder = mkdtempSync(join(tmpdir(), 'redis-'));
  const words = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder];
  words.push('--databases', `${MAX_DATABASES}`, ...more); // a later setting replaces an earlier one
  const child = spawn('redis-server', words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = (): void => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  let printed = '';
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    printed += chunk;
    if (printed.includes('Ready to accept connections')) break;
  }
  child.stdout.resume();
  if (!printed.includes('Ready to accept connections')) {
    stop();
    assert.fail(`Redis did not start:\n${printed}`);
  }
  let databases = 0;
  return { port, child, nextUrl: () => `redis://127.0.0.1:${port}/${databases++}`, stop };
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
