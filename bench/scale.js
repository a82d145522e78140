// More at once: connections to one process, and processes that share one Redis.
//
//   npm run bench -- --scale          or: node bench/scale.js
//
// On a machine with two cores the processes share them with Redis and with the load: there a third
// process only gets in the way, and it shows nothing of what a tenth machine would win.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cookieOf, freePort, hasRedis, load, start } from './load.js';
import { table } from './measure.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const tsx = process.features.typescript ? [] : ['--import', `${ROOT}node_modules/tsx/dist/loader.mjs`];
const seconds = process.argv.includes('--quick') ? 1 : 3;
const rows = [];
const ours = (module, settings, core) => ({
  name: 'ours', command: process.execPath, args: [...tsx, `${ROOT}src/${module}`], settings, core,
});

{
  const { child, url } = await start(ours('09-tutorial.ts'));
  const cookie = cookieOf(await fetch(url));
  await load(url, cookie, 2);
  for (const connections of [1, 10, 100, 1000]) {
    const { rps, p50, p99 } = await load(url, cookie, seconds, { connections });
    rows.push([`${connections} connections, step 9`, Math.round(rps), p50.toFixed(1), p99.toFixed(1)]);
  }
  child.kill('SIGKILL');
}

if (hasRedis) {
  const port = String(await freePort());
  const redis = spawn('redis-server', ['--port', port, '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
  const settings = { SESSIONS: `redis://127.0.0.1:${port}`, NODE_ENV: 'production',
    SESSION_SECRET: 'a secret of thirty-two characters' };
  for (const count of [1, 2, 3]) {
    const site = ours('main.ts', settings, null);
    const servers = await Promise.all(Array.from({ length: count }, () => start(site)));
    const visits = servers.map(async ({ url }) => {
      const cookie = cookieOf(await fetch(url));
      const options = { connections: Math.round(64 / count), core: null };
      const page = `${url}articles`; // it reads the session and changes nothing: no turns to take
      await load(page, cookie, 2, options);
      return load(page, cookie, seconds, options);
    });
    const all = await Promise.all(visits);
    const worst = (what) => Math.max(...all.map((one) => one[what])).toFixed(1);
    const rps = all.reduce((sum, one) => sum + one.rps, 0);
    rows.push([`/articles of ${count} ${count > 1 ? 'processes' : 'process'} on one Redis`, Math.round(rps), worst('p50'), worst('p99')]);
    for (const { child } of servers) child.kill('SIGKILL');
  }
  redis.kill();
}

console.log(table(['at once', 'requests/s', 'p50 ms', 'p99 ms'], rows));
process.exit();
