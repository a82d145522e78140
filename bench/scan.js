// Wapiti, an independent scanner, tests the finished site in production mode behind HTTPS.
//
//   npm run bench -- --scan           two minutes; needs wapiti and openssl
//
// All modules of wapiti run. A new finding ends this program with an error. Two findings are intended:
// - X-Frame-Options is missing: `frame-ancestors` in the Content-Security-Policy replaces it.
// - X-XSS-Protection is missing: the HTTP Headers Cheat Sheet of OWASP advises against it.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start } from './load.js';
import { table } from './measure.js';

const CHOICES = ['X-Frame-Options is not set', 'X-XSS-Protection is not set'];
const SCAN_TIME = 300; // seconds, at most
if (spawnSync('wapiti', ['--list-modules']).error || spawnSync('openssl', ['version']).error) {
  console.log('This needs wapiti and openssl: on Debian or Ubuntu, apt-get install wapiti openssl');
  process.exit();
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const tsx = process.features.typescript ? [] : ['--import', `${ROOT}node_modules/tsx/dist/loader.mjs`];
const { child, url } = await start({
  name: 'the site',
  command: process.execPath,
  args: [...tsx, `${ROOT}src/main.ts`],
  settings: { NODE_ENV: 'production', SESSION_SECRET: 'this secret has 32 characters...' },
});

const folder = mkdtempSync(join(tmpdir(), 'scan-'));
const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
const words = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=localhost'];
spawnSync('openssl', [...words, '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
const files = { key: readFileSync(keyFile), cert: readFileSync(certFile) };
let asked = 0;
const failures = [];
const proxy = createServer(files, (incoming, outgoing) => {
  asked += 1;
  const { method, headers } = incoming;
  const { hostname, port } = new URL(url);
  const forward = request({ hostname, port, path: incoming.url, method, headers }, (response) => {
    if (response.statusCode >= 500 && response.statusCode !== 501) failures.push(`${method} ${incoming.url}`);
    outgoing.writeHead(response.statusCode, response.headers);
    response.pipe(outgoing);
  });
  forward.on('error', () => outgoing.destroy());
  incoming.pipe(forward);
}).listen(0, '127.0.0.1');
await once(proxy, 'listening');

const report = join(folder, 'report.json');
const wapiti = spawn('wapiti', [
  '-u', `https://localhost:${proxy.address().port}/`, '--verify-ssl', '0', '--flush-session', '-m', 'all',
  '-f', 'json', '-o', report, '--max-scan-time', `${SCAN_TIME}`, '--max-attack-time', '60',
], { stdio: 'ignore', env: { ...process.env, HOME: folder } });
const [scanned] = await once(wapiti, 'exit');
assert.equal(scanned, 0, 'The scanner failed');
assert.equal(child.exitCode, null, 'The site has stopped');
const gone = once(child, 'exit');
child.kill('SIGTERM');
await gone;

const { vulnerabilities, anomalies, infos } = JSON.parse(readFileSync(report, 'utf8'));
const findings = Object.values({ ...vulnerabilities, ...anomalies }).flat();
const rows = findings.map(({ method, path, info }) => [
  `${method} ${path}`, info.trim(), CHOICES.includes(info.trim()) ? 'intended' : 'A NEW FINDING',
]);
console.log(`${infos.version}, ${asked} requests, responses with a 5xx: ${failures.length}\n`);
console.log(table(['where', 'what', ''], rows));
rmSync(folder, { recursive: true });
assert.ok(asked > 100, 'The scanner sent too few requests');
assert.deepEqual(failures, []);
assert.ok(rows.every(([, , kind]) => kind === 'intended'), 'There is a new finding');
process.exit();
