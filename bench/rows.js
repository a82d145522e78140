// The servers that `run.js` measures. Each of them sends the same page, and signs one cookie.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The options of Node that run TypeScript. */
export const tsx = process.features.typescript
  ? []
  : ['--import', `${ROOT}node_modules/tsx/dist/loader.mjs`];

const SECRET = 'this secret has 32 characters...';
export const PRODUCTION = { NODE_ENV: 'production', SESSION_SECRET: SECRET };

/** Returns a row of this project. With a `folder`, the source code comes from another work tree. */
export const own = (key, name, file, settings = {}, folder = ROOT) => ({
  key, name, settings, isOwn: true, seal: 'HMAC-SHA-512', command: process.execPath,
  args: [...tsx, `${folder}src/${file}`], packages: [],
});

const peer = (key, name, seal, packages = []) => ({
  key, name, seal, packages, settings: { NODE_ENV: 'production' }, command: process.execPath,
  args: [`${ROOT}bench/servers/${key}.js`],
});

/** Step 39 with the hash of @fastify/cookie: it shows how much of a difference is the hash. */
const withSha256 = {
  ...own('sha256', 'step 39 with SHA-256', ''), seal: 'HMAC-SHA-256',
  args: [...tsx, `${ROOT}bench/servers/sha256.ts`],
};

const layer = (key, name) => ({
  ...own(`layer-${key}`, name, ''), seal: 'no signature', settings: { LAYER: key },
  args: [...tsx, `${ROOT}bench/servers/layers.ts`],
});

const HONO = ['hono', '@hono/node-server'];

export const ROWS = [
  own('step9', 'step 9', '09-tutorial.ts'),
  own('step39', 'step 39', '39-fast.ts'),
  withSha256,
  own('site', 'the finished site', 'main.ts', PRODUCTION),
  peer('bare', 'FLOOR A: a constant response', 'no cookie'),
  peer('floor', 'FLOOR B: two createHmac', 'HMAC-SHA-512'),
  peer('limit', 'node:http, written by hand', 'HMAC-SHA-512'),
  peer('fastify-cookie', 'fastify + @fastify/cookie', 'HMAC-SHA-256', ['fastify', '@fastify/cookie']),
  peer('fastify-secure-session', 'fastify + @fastify/secure-session', 'secretbox',
    ['fastify', '@fastify/secure-session']),
  peer('hono', 'hono + signed cookie', 'HMAC-SHA-256', HONO),
  peer('koa', 'koa + koa-session', 'HMAC-SHA-1', ['koa', 'koa-session']),
  peer('express', 'express + cookie-session', 'HMAC-SHA-1', ['express', 'cookie-session']),
  peer('hono-iron', 'hono + iron-session', 'AES-256, HMAC-SHA-256', [...HONO, 'iron-session']),
];

const PYTHON = 'import importlib.metadata as m, platform; print("Python", platform.python_version(), end=""); ' +
  '[print(", " + name, m.version(name), end="") for name in ("pyramid", "webob", "waitress")]';
const python = spawnSync('/usr/bin/python3', ['-c', PYTHON], { encoding: 'utf8' });
if (python.status === 0) {
  const args = [`${ROOT}bench/servers/pyramid_server.py`];
  const program = { command: '/usr/bin/python3', args, versions: [python.stdout] };
  ROWS.push({ ...peer('pyramid', 'Pyramid + waitress', 'HMAC-SHA-512'), ...program });
} else {
  console.error('Not measured: Pyramid + waitress. Install python3-pyramid and python3-waitress');
}

/** Rows that are measured only if `--only` names them. */
export const MORE = [
  layer('page', 'step 39: HTTP, router and page alone'),
  layer('session', 'step 39: also the session, without a signature'),
  own('inspected', 'the finished site with its inspector', 'main.ts'),
  peer('polka', 'polka + cookie-session', 'HMAC-SHA-1', ['polka', 'cookie-session']),
  // This row does more than the others: it also keeps the session in memory.
  peer('fastify-session', 'fastify + @fastify/session', 'HMAC-SHA-256',
    ['fastify', '@fastify/cookie', '@fastify/session']),
];

const sizeOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, path, name }) => {
      return sum + readFileSync(`${parentPath ?? path}/${name}`).length;
    }, 0);

/** Returns the number and the size of all packages that a row installs. */
export function installed({ packages, isOwn }) {
  const kB = (bytes) => `${Math.round(bytes / 1024).toLocaleString('en')} kB`;
  if (isOwn) return `${kB(sizeOf(`${ROOT}src`))} ${tsx.length ? 'and tsx' : 'and no package'}`;
  if (packages.length === 0) return '';
  const seen = new Set();
  const visit = (name) => {
    const folder = `${ROOT}bench/node_modules/${name}`;
    if (seen.has(name) || !existsSync(folder)) return;
    seen.add(name);
    const { dependencies = {} } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
    Object.keys(dependencies).forEach(visit);
  };
  packages.forEach(visit);
  const bytes = [...seen].reduce((sum, name) => sum + sizeOf(`${ROOT}bench/node_modules/${name}`), 0);
  return `${kB(bytes)} in ${seen.size} packages`;
}

/** Returns the programs and packages of these rows, with their versions. */
export function versions(rows) {
  const name = (one) => `${one} ${JSON.parse(readFileSync(`${ROOT}bench/node_modules/${one}/package.json`, 'utf8')).version}`;
  const all = rows.flatMap((row) => row.versions ?? row.packages.map(name));
  return [...new Set([`Node ${process.versions.node}`, ...all])];
}
