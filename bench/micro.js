// The parts of the course next to npm packages that do the same, and next to bare calls of Node.
//
//   npm run bench -- --micro          or, on Node 22.18: node bench/micro.js
//
// Each pair first shows that it agrees. A ratio below 1 means that this project takes less time.
import assert from 'node:assert/strict';
import { createHmac, createSecretKey, hash } from 'node:crypto';
import { parseCookie as parse } from 'cookie';
import cookieSignature from 'cookie-signature';
import findMyWay from 'find-my-way';
import { jwtVerify, SignJWT } from 'jose';
import jsonwebtoken from 'jsonwebtoken';
import Keygrip from 'keygrip';
import { Trouter } from 'trouter';
import { Cookie, parseCookies } from '../src/02-cookie.ts';
import { Signer } from '../src/03-signer.ts';
import { Router } from '../src/05-router.ts';
import { escape, html } from '../src/06-template.ts';
import { signJwt, verifyJwt } from '../src/29-jwt.ts';
import { FastSigner } from '../src/39-fast.ts';
import { digits, table, time } from './measure.js';

const SECRET = 'a secret of thirty-two characters';
const rows = [];

async function compare(what, ours, peers) {
  const times = await time({ ours, ...peers });
  const mine = times.get('ours');
  for (const name of Object.keys(peers)) {
    const theirs = times.get(name);
    rows.push([what, name, `${digits(mine)} µs`, `${digits(theirs)} µs`, (mine / theirs).toFixed(2)]);
  }
}

{
  const value = '[1795258146,1795258146.123,{"counter":5}]';
  const options = { secrets: [SECRET], salt: 'pyramid.session.' };
  const [signer, simple] = [new FastSigner(options), new Signer(options)];
  const signed = signer.encode(value);
  assert.equal(simple.encode(value), signed);
  assert.equal(signer.decode(signed), value);
  const key = createSecretKey(Buffer.from(`pyramid.session.${SECRET}`));
  const bytes = Buffer.from(value);
  const block = Buffer.concat([Buffer.alloc(128), bytes]);
  const outer = Buffer.alloc(192);
  const grip = new Keygrip([SECRET], 'sha512');
  const theirs = cookieSignature.sign(value, SECRET);
  const mark = grip.sign(value);
  await compare('sign and verify', () => signer.decode(signer.encode(value)), {
    'Signer of step 3': () => simple.decode(simple.encode(value)),
    'two createHmac, bare': () => {
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
      grip.verify(value, mark);
    },
  });
}

for (const [what, header] of [
  ['1 cookie', `session=${'x'.repeat(130)}`],
  ['5 cookies', `theme=dark; _ga=GA1.1.1; session=${'x'.repeat(130)}; lang=en; consent=yes`],
]) {
  assert.deepEqual({ ...parse(header) }, Object.fromEntries(parseCookies(header)));
  await compare(`all of ${what}`, () => parseCookies(header), { cookie: () => parse(header) });
  const session = new Cookie('session');
  await compare(`one of ${what}`, () => session.read(header), {
    cookie: () => parse(header).session,
  });
}

{
  const [name, text] = ['Ada & <Bob>', 'a line of plain words, as most of them are'];
  const show = (value) => (typeof value === 'string' ? escape(value) : String(value));
  const plain = (i) =>
    `<article><h2>${show(name)}</h2><p class="${show('it')}">${show(text)}</p>${show(i)}</article>`;
  const ours = (i) =>
    html`<article><h2>${name}</h2><p class="${'it'}">${text}</p>${i}</article>`.markup;
  assert.equal(ours(1), plain(1));
  await compare('html`…`', ours, { 'concatenation and escape()': plain });
}

for (const count of [10, 1_000, 10_000]) {
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
  const peers = { 'find-my-way': (i) => way.find('GET', at(i)) };
  if (count <= 1_000) peers.trouter = (i) => trouter.find('GET', at(i)); // it looks at all routes
  await compare(`route, ${count} routes`, (i) => visit(at(i)), peers);
}

{
  const now = Math.floor(Date.now() / 1000);
  const key = Buffer.from(SECRET);
  const claims = { iss: 'us', aud: 'api', sub: 'ada', iat: now, exp: now + 900, jti: 'x'.repeat(36) };
  const token = signJwt(claims, key);
  const rules = { keys: [key], iss: 'us', aud: 'api', now: () => Date.now() / 1000 };
  const options = { algorithms: ['HS256'], issuer: 'us', audience: 'api' };
  assert.deepEqual(verifyJwt(token, rules), jsonwebtoken.verify(token, SECRET, options));
  await compare('JWT, sign', () => signJwt(claims, key), {
    jsonwebtoken: () => jsonwebtoken.sign(claims, SECRET),
    jose: () => new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(key),
  });
  await compare('JWT, verify', () => verifyJwt(token, rules), {
    jsonwebtoken: () => jsonwebtoken.verify(token, SECRET, options),
    jose: () => jwtVerify(token, key, options),
  });
}

console.log(table(['what', 'compared with', 'this project', 'the other', 'ratio'], rows));
