// More connections to one process, and more processes that share one Redis.
//
//   npm run bench -- --scale          or, on Node 22.18: node bench/scale.js
//
// With two cores, the processes compete with Redis and with the load. Then a third process cannot help,
// and the figures do not show what more machines can do.
import { spawn } from 'node:child_process';
import { cookieOf, freePort, hasRedis, load, pinTo, start } from './load.js';
import { digits, table } from './measure.js';
import { own, PRODUCTION } from './rows.js';

const isQuick = process.argv.includes('--quick');
const [seconds, warmUp] = isQuick ? [1, 1] : [4, 2];
const rows = [];
const show = (name, { rps, p50, p99 }) =>
  rows.push([name, Math.round(rps).toLocaleString('en'), digits(p50), digits(p99)]);

{
  pinTo('1');
  const { child, url } = await start(own('step9', 'step 9', '09-tutorial.ts'));
  const cookie = cookieOf(await fetch(url));
  await load(url, cookie, warmUp, { isNear: false });
  for (const connections of [1, 10, 100, 1000]) {
    show(`step 9, connections: ${connections}`, await load(url, cookie, seconds, { connections, isNear: false }));
  }
  child.kill('SIGKILL');
  pinTo();
}

if (hasRedis) {
  const port = String(await freePort());
  const redis = spawn('redis-server', ['--port', port, '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
  const settings = { SESSIONS: `redis://127.0.0.1:${port}`, ...PRODUCTION };
  for (const count of [1, 2, 3]) {
    const site = { ...own('site', 'the finished site', 'main.ts', settings), core: null };
    const servers = await Promise.all(Array.from({ length: count }, () => start(site)));
    const visits = servers.map(async ({ url }) => {
      const cookie = cookieOf(await fetch(url));
      const options = { connections: Math.round(64 / count), isNear: false };
      const page = `${url}articles`; // it reads the session and changes nothing
      await load(page, cookie, warmUp, options);
      return load(page, cookie, seconds, options);
    });
    const all = await Promise.all(visits);
    const worst = (what) => Math.max(...all.map((one) => one[what]));
    const rps = all.reduce((sum, one) => sum + one.rps, 0);
    show(`the site on one Redis, processes: ${count}`, { rps, p50: worst('p50'), p99: worst('p99') });
    for (const { child } of servers) child.kill('SIGKILL');
  }
  redis.kill();
}

console.log(table(['', 'requests/s', 'p50 ms', 'p99 ms'], rows));
process.exit();
