// Single parts of the course next to npm packages that do the same, and next to bare calls of Node.
//
//   npm run bench -- --micro          or, on Node 22.18: node bench/micro.js
//
// First, each pair shows that both agree. Then their processor time is measured. A ratio below 1 means
// that this project takes less time. With Redis, the time is the time of the client alone.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createCipheriv, createDecipheriv, createHmac, createSecretKey, hash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Store } from '@fastify/session';
import { parseCookie as parse } from 'cookie';
import cookieSignature from 'cookie-signature';
import findMyWay from 'find-my-way';
import { sealData, unsealData } from 'iron-session';
import { jwtVerify, SignJWT } from 'jose';
import jsonwebtoken from 'jsonwebtoken';
import Keygrip from 'keygrip';
import { createClient } from 'redis';
import sodium from 'sodium-native';
import { Trouter } from 'trouter';
import { Cookie, parseCookies } from '../src/02-cookie.ts';
import { Signer } from '../src/03-signer.ts';
import { Router } from '../src/05-router.ts';
import { escape, html } from '../src/06-template.ts';
import { Sealer } from '../src/24-encryption.ts';
import { MemoryStore } from '../src/25-store.ts';
import { SqliteStore } from '../src/27-sqlite.ts';
import { signJwt, verifyJwt } from '../src/29-jwt.ts';
import { RedisClient } from '../src/32-redis-client.ts';
import { FastSigner } from '../src/39-fast.ts';
import { freePort, hasRedis, pinTo } from './load.js';
import { digits, table, time } from './measure.js';

pinTo('0'); // with Redis: on another core, it sleeps, and this program pays for waking it
const SECRET = 'this secret has 32 characters...';
const rows = [];
const options = process.argv.includes('--quick') ? { rounds: 3, milliseconds: 2 } : {};

async function compare(what, ours, peers) {
  const times = await time({ ours, ...peers }, options);
  const mine = times.get('ours');
  for (const name of Object.keys(peers)) {
    const theirs = times.get(name);
    rows.push([what, name, `${digits(mine)} µs`, `${digits(theirs)} µs`, (mine / theirs).toFixed(2)]);
  }
}

{
  const value = '[1795258146,1795258146.123,{"counter":5}]';
  const secret = { secrets: [SECRET], salt: 'pyramid.session.' };
  const [signer, simple] = [new FastSigner(secret), new Signer(secret)];
  const signed = signer.encode(value);
  assert.equal(simple.encode(value), signed);
  assert.equal(signer.decode(signed), value);
  const key = createSecretKey(Buffer.from(`pyramid.session.${SECRET}`));
  const bytes = Buffer.from(value);
  const block = Buffer.concat([Buffer.alloc(128), bytes]);
  const outer = Buffer.alloc(192);
  const grip = new Keygrip([SECRET], 'sha512');
  const theirs = cookieSignature.sign(value, SECRET);
  const signature = grip.sign(value);
  await compare('FastSigner, sign and verify', () => signer.decode(signer.encode(value)), {
    'Signer of step 3': () => simple.decode(simple.encode(value)),
    'two createHmac (sha256), bare': () => {
      createHmac('sha256', key).update(bytes).digest();
      createHmac('sha256', key).update(bytes).digest();
    },
    'two createHmac (sha512), bare': () => {
      createHmac('sha512', key).update(bytes).digest();
      createHmac('sha512', key).update(bytes).digest();
    },
    'four hash, bare': () => {
      for (const data of [block, outer, block, outer]) hash('sha512', data, 'binary');
    },
    'cookie-signature (sha256)': () => {
      cookieSignature.sign(value, SECRET);
      cookieSignature.unsign(theirs, SECRET);
    },
    'keygrip (sha512)': () => {
      grip.sign(value);
      grip.verify(value, signature);
    },
  });
}

for (const [what, header] of [
  ['1 cookie', `session=${'x'.repeat(130)}`],
  ['5 cookies', `theme=dark; _ga=GA1.1.1; session=${'x'.repeat(130)}; lang=en; consent=yes`],
]) {
  assert.deepEqual({ ...parse(header) }, Object.fromEntries(parseCookies(header)));
  await compare(`parseCookies, ${what}`, () => parseCookies(header), { cookie: () => parse(header) });
  const session = new Cookie('session');
  await compare(`Cookie, one of ${what}`, () => session.read(header), {
    cookie: () => parse(header).session,
  });
}

{
  const [name, text] = ['Ada & <Bob>', 'a line of plain words'];
  const show = (value) => (typeof value === 'string' ? escape(value) : String(value));
  const plain = (i) =>
    `<article><h2>${show(name)}</h2><p class="${show('it')}">${show(text)}</p>${show(i)}</article>`;
  const ours = (i) =>
    html`<article><h2>${name}</h2><p class="${'it'}">${text}</p>${i}</article>`.markup;
  assert.equal(ours(1), plain(1));
  await compare('html`…`', ours, { 'concatenation and escape()': plain });
}

for (const count of [10, 100, 1_000]) {
  const ours = new Router();
  const way = findMyWay();
  const trouter = new Trouter();
  const paths = [];
  for (let i = 0; i < count; i++) {
    const pattern = i % 2 ? `/part${i % 100}/item${i}` : `/part${i % 100}/list${i}/:id`;
    ours.get(pattern, ({ params }) => params);
    way.on('GET', pattern, () => undefined);
    trouter.get(pattern, () => undefined);
    paths.push(pattern.replace(':id', String(i)));
  }
  const at = (i) => paths[(i * 7919) % count];
  const visit = (path) => ours.handle({ method: 'GET', path });
  for (let i = 0; i < 20; i++) {
    assert.deepEqual({ ...visit(at(i)) }, { ...way.find('GET', at(i)).params });
  }
  await compare(`Router with ${count} routes`, (i) => visit(at(i)), {
    'find-my-way': (i) => way.find('GET', at(i)),
    trouter: (i) => trouter.find('GET', at(i)),
  });
}

{
  const now = Math.floor(Date.now() / 1000);
  const key = createSecretKey(Buffer.from(SECRET)); // for all three: to prepare a key takes time
  const claims = { iss: 'us', aud: 'api', sub: 'ada', iat: now, exp: now + 900, jti: 'x'.repeat(36) };
  const token = signJwt(claims, key);
  const rules = { keys: [key], iss: 'us', aud: 'api', now: () => Date.now() / 1000 };
  const expected = { algorithms: ['HS256'], issuer: 'us', audience: 'api' };
  assert.deepEqual(verifyJwt(token, rules), jsonwebtoken.verify(token, key, expected));
  await compare('signJwt', () => signJwt(claims, key), {
    jsonwebtoken: () => jsonwebtoken.sign(claims, key),
    jose: () => new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(key),
  });
  await compare('verifyJwt', () => verifyJwt(token, rules), {
    jsonwebtoken: () => jsonwebtoken.verify(token, key, expected),
    jose: () => jwtVerify(token, key, expected),
  });
}

{
  const state = { counter: 5, created: 1795258146 };
  const text = JSON.stringify(state);
  const sealer = new Sealer({ secrets: [SECRET] });
  assert.equal(sealer.decode(sealer.encode(text)), text);
  const iron = { password: SECRET };
  assert.deepEqual(await unsealData(await sealData(state, iron), iron), state);
  const bytes = randomBytes(32);
  const key = createSecretKey(bytes); // on Node 24, this is faster than the bytes of the key
  await compare('Sealer, encrypt and decrypt', () => JSON.parse(sealer.decode(sealer.encode(text))), {
    'AES-256-GCM, bare': () => {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      const sealed = Buffer.concat([cipher.update(text), cipher.final()]);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAuthTag(cipher.getAuthTag());
      return decipher.update(sealed, undefined, 'utf8') + decipher.final('utf8');
    },
    'secretbox of libsodium, bare': () => {
      const nonce = Buffer.allocUnsafe(sodium.crypto_secretbox_NONCEBYTES);
      sodium.randombytes_buf(nonce);
      const plain = Buffer.from(text);
      const box = Buffer.allocUnsafe(plain.length + sodium.crypto_secretbox_MACBYTES);
      sodium.crypto_secretbox_easy(box, plain, nonce, bytes);
      sodium.crypto_secretbox_open_easy(plain, box, nonce, bytes);
    },
    'iron-session': async () => unsealData(await sealData(state, iron), iron),
  });
}

{
  // A visit reads an entry and writes its next version. There are 1,000 sessions.
  const entry = { text: '[1795258146,1795258146.123,{"counter":5}]', expires: Date.now() / 1000 + 86_400 };
  const keys = Array.from({ length: 1_000 }, () => randomBytes(32).toString('base64url'));
  const visit = (store) => (i) => {
    const id = keys[i % keys.length];
    assert.ok(store.put(id, entry, store.get(id)?.version ?? 0));
  };
  const map = new Map();
  const store = new Store();
  await compare('MemoryStore, get and put', visit(new MemoryStore()), {
    'Map, bare': (i) => map.set(keys[i % keys.length], { ...map.get(keys[i % keys.length]), ...entry }),
    '@fastify/session': (i) => {
      const id = keys[i % keys.length];
      store.get(id, () => store.set(id, entry, () => undefined));
    },
  });

  const { DatabaseSync } = process.getBuiltinModule?.('node:sqlite') ?? {};
  if (DatabaseSync) {
    const folder = mkdtempSync(join(tmpdir(), 'bench-'));
    const database = new DatabaseSync(join(folder, 'bare.sqlite'));
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    database.exec('CREATE TABLE entries (key TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID');
    const get = database.prepare('SELECT text FROM entries WHERE key = ?');
    const put = database.prepare('REPLACE INTO entries VALUES (?, ?)');
    await compare('SqliteStore, get and put', visit(new SqliteStore(join(folder, 'store.sqlite'))), {
      'node:sqlite, two statements': (i) => {
        get.get(keys[i % keys.length]);
        put.run(keys[i % keys.length], entry.text);
      },
    });
    rmSync(folder, { recursive: true, force: true });
  }
}

if (hasRedis) {
  const port = String(await freePort());
  const server = spawn('redis-server', ['--port', port, '--save', '', '--appendonly', 'no']);
  for await (const chunk of server.stdout) if (/ready to accept/i.test(chunk)) break;
  const peer = await createClient({ url: `redis://127.0.0.1:${port}` }).connect();
  const client = new RedisClient(`redis://127.0.0.1:${port}`);
  assert.equal(await client.command('SET', 'name', 'Ada'), 'OK');
  assert.equal(await peer.get('name'), await client.command('GET', 'name'));
  await compare('RedisClient, GET', () => client.command('GET', 'name'), { redis: () => peer.get('name') });
  const many = Array.from({ length: 20 });
  await compare('RedisClient, 20 GET in parallel', () => Promise.all(many.map(() => client.command('GET', 'name'))), {
    redis: () => Promise.all(many.map(() => peer.get('name'))),
  });
  client.close();
  peer.destroy();
  server.kill();
}

console.log(table(['part', 'compared with', 'this project', 'the other', 'ratio'], rows));
process.exit();
