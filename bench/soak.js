// One million requests to the whole site: does its memory stay flat, and does it close all descriptors?
//
//   npm run bench -- --soak               1,000,000 requests, some minutes
//   node bench/soak.js --requests=20000 --sessions=memory
//
// Each visitor has a cookie. Visitors read pages, fill their carts, log in, log out, send invalid forms,
// and break connections. The memory must not grow after the first quarter. At the end, no descriptor may
// stay open. With SESSIONS=memory, the server keeps the sessions, so there is no limit for the memory.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeDice } from './dice.js';
import { start } from './load.js';
import { table } from './measure.js';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '1000000' },
    sessions: { type: 'string', default: 'signed' },
    quick: { type: 'boolean', default: false },
  },
});
const requests = values.quick ? 20_000 : Number(values.requests);
const VISITORS = 64; // at the same time
const VISITS = 40; // of each visitor
const MAX_GROWTH = 0.1; // relative to the memory after the first quarter

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const tsx = process.features.typescript ? [] : ['--import', `${ROOT}node_modules/tsx/dist/loader.mjs`];
const server = await start({
  name: 'the site',
  command: process.execPath,
  // The heap is small. Otherwise V8 would keep garbage, and the memory would show nothing.
  args: ['--max-semi-space-size=16', '--max-old-space-size=192', ...tsx, `${ROOT}src/main.ts`],
  settings: {
    SESSIONS: values.sessions, NODE_ENV: 'production', NODE_NO_WARNINGS: '',
    SESSION_SECRET: 'this secret has 32 characters...',
  },
  stderr: 'pipe',
});
let printed = '';
server.child.stderr.setEncoding('utf8').on('data', (text) => (printed += text));
const { port } = new URL(server.url);
const agent = new Agent({ keepAlive: true, maxSockets: VISITORS });

function ask(method, path, cookie, form) {
  return new Promise((resolve, reject) => {
    const headers = { cookie, 'sec-fetch-site': 'same-origin' };
    if (form !== undefined) headers['content-type'] = 'application/x-www-form-urlencoded';
    const asked = request({ port, host: '127.0.0.1', method, path, headers, agent }, (response) => {
      const [header] = response.headers['set-cookie'] ?? [];
      const found = header?.split(';')[0];
      response.resume().on('end', () => resolve({ status: response.statusCode, cookie: found ?? cookie }));
    });
    asked.on('error', reject).end(form);
  });
}

const PAGES = ['/', '/howdy', '/articles', '/cart', '/login', '/dashboard', '/style.css', '/nowhere', '/%zz'];
const FORMS = [
  ['/cart/add', 'item=pot'], ['/cart/note', 'note=hello'], ['/cart/empty', ''],
  ['/articles', 'title=a&body=b'], ['/articles', ''], ['/logout', ''], ['/cart/add', '%zz'],
];
const LOGINS = 500; // one visitor of 500 logs in, because a password takes a third of a second

const statuses = new Map();
let done = 0;
let visitors = 0;
let [logins, inside] = [0, 0];
async function visit() {
  const number = visitors++;
  const dice = makeDice(number);
  let cookie = '';
  for (let i = 0; i < VISITS && done < requests; i++) {
    done += 1;
    const [path, form] = dice.below(4) ? [dice.pick(PAGES)] : dice.pick(FORMS);
    const method = form === undefined ? dice.pick(['GET', 'GET', 'GET', 'HEAD']) : 'POST';
    const isLogin = number % LOGINS === 0 && i === 5;
    const response = isLogin
      ? await ask('POST', '/login', cookie, 'username=editor&password=editor')
      : await ask(method, path, cookie, form);
    ({ cookie } = response);
    if (isLogin) {
      logins += 1;
      if ((await ask('GET', '/dashboard', cookie)).status === 200) inside += 1;
    }
    statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
  }
  if (number % 10 === 0) await leave(dice);
}

/** Sends a part of a request, and resets the connection. */
function leave(dice) {
  return new Promise((resolve) => {
    const socket = connect(Number(port), '127.0.0.1', () => {
      const whole = 'POST /cart/add HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nitem=';
      socket.write(whole.slice(0, dice.below(whole.length)), () => socket.resetAndDestroy());
    });
    socket.on('error', () => {}).on('close', resolve);
  });
}

const isLinux = existsSync('/proc/self');
const look = () => {
  if (!isLinux) return { memory: NaN, descriptors: NaN };
  const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8');
  const memory = Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024;
  return { memory, descriptors: readdirSync(`/proc/${server.child.pid}/fd`).length };
};

const rows = [];
const marks = [0.01, 0.1, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * requests));
const before = look();
const began = performance.now();
for (const mark of marks) {
  const worker = async () => {
    while (done < mark) await visit();
  };
  await Promise.all(Array.from({ length: VISITORS }, worker));
  const { memory, descriptors } = look();
  rows.push([done, Math.round(memory), descriptors]);
}
const rate = done / (performance.now() - began) * 1000;
agent.destroy();
for (let tries = 0; look().descriptors > before.descriptors + 2 && tries < 100; tries++) {
  await new Promise((resolve) => setTimeout(resolve, 100)); // the server closes broken connections
}
const after = look();
rows.push(['after the last connection', Math.round(after.memory), after.descriptors]);
const ended = once(server.child, 'exit');
server.child.kill('SIGTERM');
const [code] = await ended;

console.log(table([`requests, SESSIONS=${values.sessions.split(':')[0]}`, 'memory in MB', 'open descriptors'], rows));
const counts = [...statuses].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`);
console.log(`\nNode ${process.version}, ${Math.round(rate)} requests/s, ${visitors} visitors; ${counts.join(', ')}`);
assert.ok(![...statuses.keys()].some((status) => status >= 500), 'The site sent a 5xx');
for (const [status, share] of Object.entries({ 200: 0.4, 303: 0.2, 400: 0.05, 404: 0.05, 422: 0.02 })) {
  const found = (statuses.get(Number(status)) ?? 0) / done;
  assert.ok(found > share, `Too few responses have the status ${status}: ${found.toFixed(3)} of all`);
}
assert.ok(inside > 0 && inside === logins, `${inside} of ${logins} logins succeeded`);
assert.equal(code, 0, 'The server did not stop after SIGTERM');
assert.doesNotMatch(printed, /Warning: (?!Type Stripping|SQLite)|Error/, 'The server printed a warning or an error');
if (isLinux) {
  const quarter = rows[2]; // now V8 has compiled the code, and the heap has its size
  const growth = rows.at(-2)[1] / quarter[1] - 1;
  const isJudged = !values.quick && values.sessions !== 'memory';
  assert.ok(!isJudged || growth <= MAX_GROWTH, `The memory grew by ${Math.round(growth * 100)} %`);
  assert.ok(after.descriptors <= before.descriptors + 2, `${after.descriptors - before.descriptors} descriptors are still open`);
}
