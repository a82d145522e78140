// This project and its peers get the same random input. Where do they differ?
//
//   npm run bench -- --differential       10,000 cases of each kind
//   node bench/differential.js --cases=1000000 --seed=7
//
// An unknown difference ends the program and shows the case. Intended differences are counted. On
// Node 20: `node --import tsx bench/differential.js`.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createSecretKey } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseCookie, parseSetCookie } from 'cookie';
import cookieSignature from 'cookie-signature';
import findMyWay from 'find-my-way';
import { jwtVerify, SignJWT } from 'jose';
import jsonwebtoken from 'jsonwebtoken';
import Keygrip from 'keygrip';
import { createClient } from 'redis';
import { Trouter } from 'trouter';
import { parseCookies } from '../src/02-cookie.ts';
import { Signer } from '../src/03-signer.ts';
import { Router } from '../src/05-router.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { SessionCookie } from '../src/11-timeouts.ts';
import { hs256, signJwt, verifyJwt } from '../src/29-jwt.ts';
import { RedisClient } from '../src/32-redis-client.ts';
import { makeDice } from './dice.js';
import { freePort, hasRedis } from './load.js';
import { table } from './measure.js';

const { values } = parseArgs({
  options: {
    cases: { type: 'string' },
    quick: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
  },
});
const cases = Number(values.cases ?? (values.quick ? 1_000 : 10_000));
const seed = Number(values.seed);
assert.ok(cases > 0 && Number.isInteger(seed), '--cases and --seed must be whole numbers');
const SECRET = 'this secret has 32 characters...';
const SLOWER = 10; // inputs for another process have fewer cases, by this factor
const rows = [];

/** Runs one kind of case. `run` throws for an error, and returns the names of intended differences. */
async function compare(what, peers, run, count = cases) {
  const choices = new Map();
  for (let i = 0; i < count; i++) {
    try {
      for (const choice of [await run(makeDice(seed * 1_000_003 + i)) ?? []].flat()) {
        choices.set(choice, (choices.get(choice) ?? 0) + 1);
      }
    } catch (error) {
      throw new Error(`${what}, case ${i} of seed ${seed}: ${error.message}`, { cause: error });
    }
  }
  const named = [...choices].map(([choice, times]) => `${choice} (${times})`);
  rows.push([what, peers, count, named.join('; ') || 'none']);
}

await compare('a Cookie header', 'cookie', (dice) => {
  const pair = () =>
    dice.pick([`${dice.word()}=${dice.text()}`, `${dice.word()}="${dice.word()}"`, dice.text()]);
  const header = dice.many(5, pair).join(dice.pick(['; ', ';']));
  const theirs = new Map(Object.entries(parseCookie(header, { decode: (value) => value })));
  const ours = new Map(parseCookies(header).reverse()); // of two cookies with one name, the first one counts
  const names = new Set([...ours.keys(), ...theirs.keys()]);
  const choices = new Set();
  for (const name of names) {
    if (ours.get(name) === theirs.get(name)) continue;
    if (name === '') choices.add('a pair without a name');
    else if (ours.get(name)?.trim() === theirs.get(name)?.trim()) choices.add('spaces around a value stay');
    else if ([...names].some((other) => other !== name && other.trim() === name.trim())) {
      choices.add('spaces in a name stay');
    }
    else throw new Error(`${JSON.stringify([header, name])}: this project reads ${ours.get(name)}, cookie reads ${theirs.get(name)}`);
  }
  return [...choices];
});

await compare('a Set-Cookie header', 'cookie', (dice) => {
  const options = {
    ...(dice.below(2) && { maxAge: dice.below(34_560_000) }),
    ...(dice.below(2) && { domain: `${dice.word()}a.example` }),
    path: dice.pick(['/', '/a', '/a/b']),
    secure: dice.below(2) === 1,
    httpOnly: dice.below(2) === 1,
    sameSite: dice.pick(['Strict', 'Lax']),
  };
  const [name, value] = [`${dice.word()}x`, dice.word()];
  const theirs = parseSetCookie(new SessionCookie({ cookieName: name, ...options }).write(value));
  const { secure, httpOnly, ...others } = options;
  assert.deepEqual({ ...theirs }, {
    name, value, ...others, sameSite: options.sameSite.toLowerCase(),
    ...(secure && { secure }), ...(httpOnly && { httpOnly }),
  });
});

const grip = new Keygrip([SECRET], 'sha512');
const [long, short] = ['sha512', 'sha256'].map((hashAlg) => new Signer({ secrets: [SECRET], hashAlg }));
const signatureOf = (signed, size) => Buffer.from(signed, 'base64url').subarray(0, size);
await compare('a signature', 'keygrip, cookie-signature', (dice) => {
  const value = Buffer.from(dice.text() + dice.text()).toString();
  const theirs = Buffer.from(grip.sign(value), 'base64');
  assert.deepEqual(signatureOf(long.encode(value), 64), theirs);
  const mark = cookieSignature.sign(value, SECRET).slice(value.length + 1);
  assert.deepEqual(signatureOf(short.encode(value), 32), Buffer.from(mark, 'base64'));
});

await compare('routes', 'find-my-way, trouter', async (dice) => {
  const [ours, way, trouter] = [new Router(), findMyWay(), new Trouter()];
  const shapes = new Set();
  const segment = () => dice.pick(['a', 'b', 'c', ':']);
  for (let i = 0; i < 12; i++) {
    const shape = ['', segment(), ...dice.many(3, segment)].join('/');
    if (shapes.has(shape)) continue;
    shapes.add(shape);
    let names = 0;
    const pattern = shape.replace(/:/g, () => `:p${names++}`);
    ours.get(pattern, ({ params }) => ({ shape, params }));
    way.on('GET', pattern, () => {}, shape);
    trouter.get(pattern, () => shape);
  }
  const path = ['', ...dice.many(4, () => dice.pick(['a', 'b', 'c', 'x', 'a%20b', 'é'.normalize()]))].join('/');
  const sent = encodeURI(decodeURI(path)) || '/';
  const response = await ours.handle({ method: 'GET', path: sent });
  const found = 'shape' in response ? response : undefined;
  const theirs = way.find('GET', sent);
  if (!found && Object.values(theirs?.params ?? {}).includes('')) return 'a parameter that is empty';
  const all = trouter.find('GET', sent).handlers.map((handler) => handler());
  if (found) assert.ok(all.includes(found.shape), sent);
  else assert.deepEqual(all, [], sent);
  if (found?.shape !== theirs?.store) return 'two patterns with parameters: the first one wins';
  assert.deepEqual({ ...found?.params }, { ...theirs?.params }, sent);
});

const key = createSecretKey(Buffer.from(SECRET));
const now = Math.floor(Date.now() / 1000);
const rules = { keys: [key], iss: 'us', aud: 'api', now: () => now };
const options = { algorithms: ['HS256'], issuer: 'us', audience: 'api', clockTolerance: 5,
  clockTimestamp: now, currentDate: new Date(now * 1000) };
const verifyTheirs = (token) => {
  try {
    return jsonwebtoken.verify(token, SECRET, options);
  } catch {
    return undefined;
  }
};
const isTakenByJose = (token) => jwtVerify(token, key, options).then(() => true, () => false);
await compare('a JWT of this project', 'jsonwebtoken, jose', async (dice) => {
  const time = () => now + dice.pick([-1000, -1, 1000, 1.5, '9', null, 1e300]);
  const claims = {
    iss: dice.pick(['us', 'us', 'us', 'them']),
    aud: dice.pick(['api', 'api', ['x', 'api'], 'x', []]),
    exp: dice.pick([now + 1000, now + 1000, time()]),
    ...(dice.below(3) === 0 && { nbf: time() }),
    ...(dice.below(3) === 0 && { iat: time() }),
    jti: dice.word(),
    more: dice.json(),
  };
  const header = dice.below(8) ? undefined : dice.pick([
    '{"alg":"none"}', '{"alg":"HS256"}', '{"alg":"HS512","typ":"JWT"}', '{"typ":"JWT"}', '[]', '{"alg":"HS256","crit":["x"],"x":1}',
  ]);
  const parts = [header ?? '{"alg":"HS256","typ":"JWT"}', JSON.stringify(claims)];
  const signed = parts.map((part) => Buffer.from(part).toString('base64url')).join('.');
  const whole = `${signed}.${hs256(signed, key)}`;
  const token = dice.below(2) ? whole : dice.damaged(whole);
  const ours = verifyJwt(token, rules);
  const theirs = verifyTheirs(token);
  const jose = await isTakenByJose(token);
  if (ours) {
    assert.deepEqual(ours, theirs, token);
    assert.ok(jose, token);
    return;
  }
  if (!theirs && !jose) return;
  if (header?.includes('crit')) return 'crit, which jsonwebtoken ignores';
  if (typeof claims.iat === 'string') return 'an iat that is not a number';
  if (claims.iat > now) return 'issued in the future';
  const bytesOf = (text) => text.split('.').map((part) => Buffer.from(part, 'base64url'));
  const isSame = bytesOf(token).every((bytes, i) => bytesOf(whole)[i]?.equals(bytes));
  if (token !== whole && isSame) return 'another encoding of the same bytes, which jose accepts';
  throw new Error(`only this project rejects ${token}`);
});

await compare('a JWT of the packages', 'jsonwebtoken, jose', async (dice) => {
  const more = dice.json();
  const claims = { iss: 'us', aud: 'api', iat: now, exp: now + 1000, jti: 'a', more };
  const tokens = [
    jsonwebtoken.sign(claims, SECRET),
    await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(key),
  ];
  for (const token of tokens) {
    assert.deepEqual(verifyJwt(token, rules)?.more, JSON.parse(JSON.stringify(more)));
    const changed = dice.damaged(token);
    if (changed !== token) assert.equal(verifyJwt(changed, rules), undefined, changed);
  }
});

if (spawnSync('/usr/bin/python3', ['-c', 'import pyramid']).status === 0) {
  const script = fileURLToPath(new URL('pyramid_session.py', import.meta.url));
  const python = spawn('/usr/bin/python3', [script, SECRET], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  const ask = async (question) => {
    python.stdin.write(`${JSON.stringify(question)}\n`);
    return JSON.parse((await lines.next()).value);
  };
  const factory = new SignedCookieSessionFactory({ secrets: [SECRET], sessionClass: Session });
  const read = (value) => factory.open(value)?.toJSON();
  await compare('a session cookie', 'Pyramid', async (dice) => {
    const data = Object.fromEntries(dice.many(4, () => [dice.key(), dice.json()]));
    const session = new Session(now);
    try {
      for (const [name, value] of Object.entries(data)) session.set(name, value);
    } catch (error) {
      if (error instanceof RangeError) return 'a number of 2^53 or more';
      throw error;
    }
    session.changed();
    const cookie = factory.save(session);
    if (cookie === '') return 'an empty session has no cookie';
    assert.deepEqual(await ask({ read: cookie }), data, 'Pyramid must read the cookie of this project');
    const theirs = await ask({ write: data });
    assert.deepEqual({ ...read(theirs) }, data, 'This project must read the cookie of Pyramid');
    const changed = dice.damaged(cookie);
    if (!/^[\w.%+=-]*$/.test(changed)) return; // a Cookie header cannot contain it
    const [isOurs, isTheirs] = [read(changed) !== undefined, await ask({ read: changed })];
    if (changed === cookie || (!isOurs && isTheirs === null)) return;
    if (!isOurs) return 'another encoding of the same bytes';
    throw new Error(`only this project accepts ${changed}`);
  }, cases / SLOWER);
  python.kill();
}

if (hasRedis) {
  const port = String(await freePort());
  const server = spawn('redis-server', ['--port', port, '--save', '', '--appendonly', 'no']);
  await once(server.stdout, 'data');
  const theirs = await createClient({ url: `redis://127.0.0.1:${port}`, RESP: 2 }).connect();
  const ours = new RedisClient(`redis://127.0.0.1:${port}`);
  await compare('a command and its reply', 'redis', async (dice) => {
    const [name, text] = [dice.text(), Buffer.from(dice.text()).toString()];
    const field = Buffer.from(dice.text()).toString();
    await ours.command('HSET', `h${name}`, field, text);
    const asked = [
      ['HGETALL', `h${name}`], ['HGET', `h${name}`, field], ['HGET', `h${name}`, 'none'],
      ['ECHO', text], ['TTL', `h${name}`], ['OBJECT', 'ENCODING', `h${name}`], ['GET', `h${name}`],
      ['EVAL', 'return {1, {2, false, ARGV[1]}, {}}', '0', text],
    ];
    const reply = (promise) => promise.catch((error) => error.message);
    for (const words of asked) {
      const [a, b] = [await reply(ours.command(...words)), await reply(theirs.sendCommand(words))];
      assert.deepEqual(a, b, JSON.stringify(words));
    }
  }, cases / SLOWER);
  ours.close();
  theirs.destroy();
  server.kill('SIGKILL');
}

console.log(table(['input', 'compared with', 'cases', 'intended differences'], rows));
