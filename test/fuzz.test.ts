// Random hostile input. The generators have a seed, so each run has the same cases.
//
//   node --test test/fuzz.test.ts               200 cases of each kind, and in CI 1,000
//   FUZZ=1000000 node --test test/fuzz.test.ts  more cases; FUZZ_SEED=7 selects other cases
//
// The properties: a function that never throws does not throw, no response is a 5xx, nothing changes
// Object.prototype, a value survives encoding and decoding, and no case takes long.
import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { once } from 'node:events';
import { IncomingMessage, type RequestListener, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { sizeOf } from '../.tools/quick.ts';
import { makeRequest } from '../.tools/request.ts';
import { Cookie, parseCookies } from '../src/02-cookie.ts';
import { Signer } from '../src/03-signer.ts';
import { text, toListener } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { html } from '../src/06-template.ts';
import { decodePayload, encodePayload, Session } from '../src/07-session.ts';
import { readForm } from '../src/12-forms.ts';
import { explainCookie, parseDate } from '../src/15-jar.ts';
import { safeRedirectPath } from '../src/22-login.ts';
import { Sealer } from '../src/24-encryption.ts';
import { hs256, signJwt, verifyJwt } from '../src/29-jwt.ts';
import { parseReply } from '../src/31-resp.ts';
import { PUBLIC, withStatic } from '../src/34-static.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { strict } from '../src/37-strict.ts';
import { sendFast } from '../src/39-fast.ts';
import { site } from '../src/main.ts';

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

const CASES = sizeOf('FUZZ', 200, 1_000);
const SEED = Number(process.env.FUZZ_SEED || 1);
const SLOW = 10_000; // milliseconds for one case: longer is a hang, not a slow machine
const NOW = 1_700_000_000;
const SECRETS = ['a secret of thirty-two characters'];

/** Random numbers. The same seed returns the same numbers (xorshift32, Marsaglia 2003). */
class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761) | 1;
  }
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
  many<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }
}

const NASTY = [
  '', ' ', '\t', '\0', '\r\n', '"', "'", ';', '=', ',', '&', '%', '%%', '%0', '%zz', '%00',
  '%2e%2e%2f', '%C0%AF', '%ff', '+', '/', '//', '..', '\\', ':', '?', '#', '<script>', '&amp;',
  '$&', '`', '\u2028', 'é', '日本', '🍪', '\ud800', '\ufffd', '__proto__', 'constructor',
  'toString', 'session', 'counter', '1e999', '-0', '0x10', 'null', 'true', '[]', '{}',
  'x'.repeat(300), '__Host-', '; Domain=evil',
];

function textOf(dice: Dice): string {
  return dice
    .many(6, () => {
      if (dice.below(3) > 0) return dice.pick(NASTY);
      return String.fromCharCode(...dice.many(8, () => dice.below(dice.below(9) ? 0x80 : 0xffff)));
    })
    .join('');
}

/** Replaces half a surrogate pair, as UTF-8 does. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}

/** Changes, doubles, removes or moves some characters of a text. */
function damaged(dice: Dice, text: string): string {
  const letters = [...text];
  for (let times = 1 + dice.below(3); times > 0; times--) {
    const at = dice.below(letters.length + 1);
    const [drop, put] = dice.pick([[1, 0], [0, 1], [1, 1], [8, 0], [0, 8]]);
    const from = dice.below(2) && letters.length ? letters : NASTY;
    letters.splice(at, drop ?? 0, ...Array.from({ length: put ?? 0 }, () => dice.pick(from)));
  }
  return letters.join('');
}

/**
 * Returns a key of JSON with more than one character. Node 24 and 26 read the key of {"\\\\t": 1} as a
 * backslash after they have read one (an error of V8: github.com/nodejs/node/issues/63785).
 */
function keyOf(dice: Dice): string {
  const key = textOf(dice);
  return key.length === 1 ? key + key : key;
}

function jsonOf(dice: Dice, depth = 0): Json {
  switch (dice.below(depth < 4 ? 7 : 5)) {
    case 0:
      return textOf(dice);
    case 1:
      return dice.pick([0, -1.5, 1e15, 2 ** 53 - 1, -(2 ** 31), 1e-7]);
    case 2:
      return dice.pick([true, false, null]);
    case 3:
      return dice.below(1_000_000);
    case 4:
      return '';
    case 5:
      return dice.many(4, () => jsonOf(dice, depth + 1));
    default:
      return Object.fromEntries(dice.many(4, () => [keyOf(dice), jsonOf(dice, depth + 1)]));
  }
}

/** A connection without a network: it sends `pieces`, and collects what the server writes. */
class Connection extends Duplex {
  readonly ended: Promise<string>;
  readonly #pieces: unknown[];
  #received = '';

  constructor(pieces: unknown[]) {
    super();
    this.#pieces = [...pieces, null]; // null: the client has sent everything
    this.ended = new Promise((resolve) => this.on('close', () => resolve(this.#received)));
  }
  override _read(): void {
    this.push(this.#pieces.shift());
  }
  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.#received += chunk.toString('latin1');
    done();
  }
}

/** Runs one kind of case. A failure states its number and the seed, so it can be repeated. */
function fuzz(name: string, run: (dice: Dice) => unknown): void {
  it(`${name}: ${CASES} cases`, async () => {
    const before = Reflect.ownKeys(Object.prototype).length;
    for (let i = 0; i < CASES; i++) {
      const started = performance.now();
      try {
        const result = run(new Dice(SEED * 1_000_003 + i));
        if (result instanceof Promise) await result;
      } catch (error) {
        throw new Error(`case ${i} of seed ${SEED}: ${String(error)}`, { cause: error });
      }
      const took = performance.now() - started;
      assert.ok(took < SLOW, `case ${i} of seed ${SEED} took ${Math.round(took)} ms`);
    }
    assert.equal(Reflect.ownKeys(Object.prototype).length, before, 'Object.prototype has changed');
  });
}

/** Returns what a strict server makes of a request: a status, or the URL that the page receives. */
async function strictUrl(target: string): Promise<number | string> {
  const request = new IncomingMessage(new Socket());
  Object.assign(request, { method: 'GET', url: target, httpVersion: '1.1', complete: true });
  request.headers = { host: 'localhost' };
  request.rawHeaders = ['Host', 'localhost'];
  const response = new ServerResponse(request);
  let url: string | undefined;
  const listener: RequestListener = (received) => (url = received.url);
  await (strict(listener)(request, response) as unknown); // a rejection is sent later
  return url ?? response.statusCode;
}

describe('fuzz: parsers', () => {
  fuzz('a Cookie header', (dice) => {
    const pairs = dice.many(5, () => `${textOf(dice)}=${textOf(dice)}`);
    const header = pairs.join(dice.pick(['; ', ';']));
    const cookies = parseCookies(header);
    for (const name of [...cookies.map(([first]) => first), ...dice.many(2, () => textOf(dice))]) {
      const first = cookies.find(([other]) => other === name);
      assert.equal(new Cookie(name).read(header), first?.[1], JSON.stringify([header, name]));
    }
  });

  fuzz('a Set-Cookie header', (dice) => {
    const attributes = damaged(dice, 'Max-Age=60; Path=/; Domain=a.b; SameSite=Lax');
    const expires = damaged(dice, '; Expires=Sun, 06 Nov 1994 08:49:37 GMT');
    const header = `${textOf(dice)}=${textOf(dice)}; ${attributes}${expires}`;
    explainCookie(header, { url: new URL('https://a.b/'), now: NOW });
    const time = parseDate(damaged(dice, 'Sunday, 06-Nov-94 08:49:37 GMT'));
    assert.ok(time === undefined || Number.isInteger(time));
  });

  for (const [name, codec] of Object.entries({
    signed: new Signer({ secrets: SECRETS }),
    encrypted: new Sealer({ secrets: SECRETS }),
  })) {
    fuzz(`a value that is ${name}`, (dice) => {
      const value = wellFormed(textOf(dice));
      const encoded = codec.encode(value);
      assert.equal(codec.decode(encoded), value, JSON.stringify(value));
      const changed = damaged(dice, encoded);
      if (changed !== encoded) assert.equal(codec.decode(changed), undefined, changed);
    });
  }

  fuzz('a session payload that is signed but damaged', (dice) => {
    const whole = JSON.stringify([NOW, NOW - 10.5, { counter: 1, deep: jsonOf(dice) }]);
    const payload = dice.below(2) ? damaged(dice, whole) : JSON.stringify(jsonOf(dice));
    const state = decodePayload(payload);
    if (state) assert.ok(decodePayload(encodePayload(new Session(NOW, state), NOW)));
  });

  fuzz('a session that is saved and opened', (dice) => {
    const values = Object.entries(Object(jsonOf(dice, 0)) as object).slice(0, 3);
    const session = new Session(NOW);
    for (const [key, value] of values) session.set(key, value);
    const next = new Session(NOW, decodePayload(encodePayload(session, NOW)));
    assert.equal(next.isChanged, false);
    assert.deepEqual(next.toJSON(), session.toJSON());
  });

  fuzz('a form', async (dice) => {
    const fields = dice.many(5, (): [string, string] => [textOf(dice), textOf(dice)]);
    const body = new URLSearchParams(fields).toString();
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    const form = await readForm(makeRequest('POST', '/', type, body));
    if (!body.includes('%EF%BF%BD')) assert.equal(String(form), body); // U+FFFD: bad UTF-8
    const other = await readForm(makeRequest('POST', '/', type, damaged(dice, body)));
    assert.ok(other instanceof URLSearchParams || other.status === 400, 'a form or a 400');
  });

  fuzz('a URL', async (dice) => {
    const target = dice.pick(['/', '', '*', '//', 'http://', 'http://a', '/a?']) + textOf(dice);
    const url = await strictUrl(dice.below(2) ? encodeURI(wellFormed(target)) : target);
    if (typeof url === 'number') return assert.match(`${url}`, /^4(00|14)$|^204$/);
    assert.match(url, /^\/[!"$->@-~]*(\?[!"$-~]*)?$/, 'visible ASCII and no fragment');
    assert.equal(await strictUrl(url), url, 'a normal URL does not change');
  });

  fuzz('a path with parameters', async (dice) => {
    let params: unknown;
    const router = new Router().get('/a/:b/c/:d', (request) => ((params = request.params), text('')));
    const [b, d] = [wellFormed(textOf(dice)), wellFormed(textOf(dice))];
    const path = `/a/${encodeURIComponent(b)}/c/${encodeURIComponent(d)}`;
    const { status } = await router.handle(makeRequest('GET', path));
    if (b === '' || d === '') return assert.equal(status, 404);
    assert.deepEqual({ ...(params as object) }, { b, d }, path);
  });

  const files = withStatic(PUBLIC, () => text('no file', 404));
  fuzz('a path of a static file', async (dice) => {
    const path = damaged(dice, dice.pick(['/style.css', '/../src/main.ts', '/%2e%2e/package.json']));
    const { status, headers } = await files(makeRequest('GET', path));
    assert.ok([200, 404].includes(status), path);
    if (status === 200) assert.match(String(headers['content-type']), /^(text\/css|image\/svg)/);
  });

  fuzz('the page after the login', (dice) => {
    const next = dice.pick(['', '/', '//', '/\\', 'https:', '/cart']) + textOf(dice);
    const path = safeRedirectPath(next);
    assert.equal(new URL(path, 'http://own.example').origin, 'http://own.example', path);
  });

  fuzz('a template', (dice) => {
    const { markup } = html`<p title="${textOf(dice)}">${textOf(dice)}</p>`;
    assert.match(markup, /^<p title="[^"<>]*">[^<>]*<\/p>$/, markup);
  });

  const key = createSecretKey(Buffer.from(SECRETS[0] ?? ''));
  const rules = { keys: [key], iss: 'this', aud: 'api', now: () => NOW };
  fuzz('a JWT', (dice) => {
    const claims = { iss: 'this', aud: 'api', exp: NOW + 60, jti: '1', more: jsonOf(dice) };
    const token = signJwt(claims, key);
    assert.deepEqual(verifyJwt(token, rules), JSON.parse(JSON.stringify(claims)));
    const changed = damaged(dice, token);
    if (changed !== token) assert.equal(verifyJwt(changed, rules), undefined, changed);
    const parts = [textOf(dice), JSON.stringify(jsonOf(dice))].map((part) => Buffer.from(part));
    const signed = parts.map((part) => part.toString('base64url')).join('.');
    verifyJwt(`${signed}.${hs256(signed, key)}`, rules); // never throws
  });

  fuzz('a reply of Redis', (dice) => {
    const item = (): string => {
      const bulk = textOf(dice);
      const bulks = [`$${Buffer.byteLength(bulk)}\r\n${bulk}\r\n`, '$-1\r\n', ':42\r\n', '*0\r\n'];
      return dice.pick([...bulks, '+OK\r\n', '-ERR no\r\n']);
    };
    const items = dice.many(4, item);
    const whole = `*${items.length}\r\n${items.join('')}`;
    const bytes = Buffer.from(whole);
    assert.equal(parseReply(bytes)?.end, bytes.length, JSON.stringify(whole));
    for (const cut of [1, dice.below(bytes.length), bytes.length - 1]) {
      assert.equal(parseReply(bytes.subarray(0, cut)), undefined, 'the reply is not complete');
    }
    try {
      parseReply(Buffer.from(damaged(dice, whole)));
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error)); // the only error it throws
    }
  });
});

describe('fuzz: the whole site', () => {
  const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS'];
  const handle = site({ SESSIONS: 'memory' }, () => NOW);
  const PATHS = [
    '/', '/howdy', '/articles', '/cart', '/cart/add', '/login', '/logout', '/dashboard', '/inspect',
    '/inspect/cookie', '/sessions', '/style.css', '/api/token', '/api/counter',
  ];
  fuzz('a request', async (dice) => {
    const method = dice.pick([...METHODS, 'get', '__proto__']);
    const search = dice.below(2) ? `?header=${textOf(dice)}&url=${textOf(dice)}` : '';
    const headers: Record<string, string> = { host: dice.pick(['localhost', textOf(dice)]) };
    for (const name of ['cookie', 'accept', 'origin', 'content-type', 'x-csrf-token']) {
      if (dice.below(3) === 0) headers[name] = textOf(dice);
    }
    if (dice.below(2)) headers['content-type'] = 'application/x-www-form-urlencoded';
    if (dice.below(2)) headers['sec-fetch-site'] = 'same-origin';
    if (dice.below(2)) headers.accept = 'text/html';
    const body = `${dice.pick(['title', 'body', 'item', 'next', 'quantity'])}=${textOf(dice)}`;
    const target = (dice.below(4) ? dice.pick(PATHS) : `/${textOf(dice)}`) + search;
    const bytes = Buffer.from(target, 'latin1').toString('latin1'); // as Node reads a URL
    const sent = dice.below(2) ? encodeURI(wellFormed(target)) : bytes;
    const response = await handle(makeRequest(method, sent, headers, body));
    assert.ok(response.status < 500, `${response.status} for ${method} ${sent}`);
    const values = Object.values(response.headers).flat().join('');
    assert.doesNotMatch(values, /[\r\n\0]/);
  });

  // It listens, because a server that does not listen closes each connection.
  const server = makePipelined(strict(toListener(handle, sendFast))).listen(0, '127.0.0.1').unref();
  const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
  fuzz('bytes on a connection', async (dice) => {
    if (!server.listening) await once(server, 'listening');
    const lines = [
      `${dice.pick(METHODS)} ${dice.pick([...PATHS, '*'])} HTTP/1.1`,
      'Host: localhost',
      `Cookie: session=${dice.pick(NASTY)}; a=${dice.pick(NASTY)}`,
      'Content-Type: application/x-www-form-urlencoded',
      'Origin: http://localhost',
      dice.pick(['Content-Length: 8', 'Transfer-Encoding: chunked', 'Expect: 100-continue', 'X: y']),
    ];
    const body = dice.pick(['item=pot', '8\r\nitem=pot\r\n0\r\n\r\n', '']);
    const whole = `${lines.join('\r\n')}\r\n\r\n${body}`;
    const bytes = Buffer.from(dice.below(8) ? damaged(dice, whole) : whole, 'latin1');
    const cut = dice.below(bytes.length + 1); // it arrives in two pieces, with a good request behind
    const connection = new Connection([bytes.subarray(0, cut), bytes.subarray(cut), LAST]);
    server.emit('connection', connection);
    const received = await connection.ended;
    for (const [, status] of received.matchAll(/HTTP\/1\.1 (\d{3}) /g)) {
      assert.match(`${status}`, /^([1-4]\d\d|501|505)$/, JSON.stringify(String(bytes)));
    }
  });
});
