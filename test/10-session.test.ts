import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { parseRequest } from '../src/02-http.ts';
import { MAX_DEPTH, MAX_FLASH_MESSAGES, requireJson, Session, site } from '../src/10-session.ts';
import type { Json } from '../src/10-session.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000.25;

/** The session as the next request finds it: through JSON, a minute later. */
function nextRequest<Data extends object>(session: Session<Data>, now = NOW + 60): Session<Data> {
  const data = JSON.parse(JSON.stringify(session)) as object;
  return new Session<Data>(now, { data, created: session.created, accessed: Math.floor(NOW) });
}

function nested(levels: number): Json {
  let value: Json = 1;
  for (let i = 0; i < levels; i++) value = [value];
  return value;
}

describe('10-session: the dictionary', () => {
  it('Session is a dictionary that knows its keys and their types', () => {
    const session = new Session<{ counter: number; name: string }>(NOW);
    assert.equal(session.get('counter'), undefined);
    session.set('counter', 1).set('name', 'Ada');
    const counter: number | undefined = session.get('counter');
    assert.equal(counter, 1);
    // @ts-expect-error: a misspelt key does not compile
    assert.equal(session.get('conter'), undefined);
    // @ts-expect-error: nor does a value of another type
    session.set('name', 7);
    assert.equal(session.has('name'), true);
    assert.equal(session.size, 2);
    assert.deepEqual([...session.keys()], ['counter', 'name']);
    assert.deepEqual([...session.values()], [1, 7]);
    assert.deepEqual([...session.entries()], [...session]);
    assert.equal(session.delete('name'), true);
    assert.equal(session.delete('name'), false);
    session.clear();
    assert.equal(session.size, 0);
  });

  it('pop() takes a value out, and gives the fallback where there is none', () => {
    const session = new Session(NOW).set('a', 0);
    assert.equal(session.pop('a', 5), 0);
    assert.equal(session.has('a'), false);
    assert.equal(session.pop('a', 5), 5);
    assert.equal(session.pop('a'), undefined);
  });

  it('setDefault() gives what is there, or else puts there what it was given', () => {
    const session = new Session<{ cart: string[] }>(NOW);
    session.setDefault('cart', []).push('apple');
    session.setDefault('cart', []).push('pear');
    assert.deepEqual(session.get('cart'), ['apple', 'pear']);
  });

  it('update() sets several values, or one from what it was', () => {
    const session = new Session<{ counter: number; name: string }>(NOW);
    session.update({ counter: 1, name: 'Ada' });
    session.update('counter', (counter = 0) => counter + 1);
    assert.deepEqual(session.toJSON(), { counter: 2, name: 'Ada' });
  });

  it('update() keeps a change, and no plain value, for who must do it once more', () => {
    const session = new Session<{ counter: number; name: string }>(NOW);
    assert.deepEqual(session.updates, []);
    const change = (counter = 0): number => counter + 1;
    session.update({ name: 'Ada' });
    session.update('counter', change);
    assert.deepEqual(session.updates, [['counter', change]]);
  });

  it('update() refuses what set() refuses', () => {
    const session = new Session<Record<string, unknown>>(NOW);
    assert.throws(() => session.update({ when: new Date(0) }), TypeError);
    assert.throws(() => session.update('when', () => undefined), TypeError);
    assert.equal(session.size, 0);
  });

  it('Session takes __proto__ for a key like any other', () => {
    const data = JSON.parse('{"__proto__": {"admin": true}, "constructor": 1}') as object;
    const session = new Session(NOW, { data, created: NOW, accessed: NOW });
    assert.deepEqual(session.get('__proto__'), { admin: true });
    assert.equal(JSON.stringify(session), JSON.stringify(data));
    assert.equal(Reflect.get({}, 'admin'), undefined);
  });
});

describe('10-session: JSON values only', () => {
  class Point {
    readonly x = 1;
  }
  const circle: { self?: unknown } = {};
  circle.self = circle;
  const REFUSED: [what: string, value: unknown, words: RegExp][] = [
    ['undefined', undefined, /'key'.*it is undefined/],
    ['NaN', Number.NaN, /it is NaN/],
    ['Infinity', -Infinity, /it is -Infinity/],
    ['a bigint', 1n, /it is bigint/],
    ['a function', () => 1, /it is function/],
    ['a symbol', Symbol('s'), /it is symbol/],
    ['a Date', new Date(0), /it is a Date/],
    ['a Map', new Map(), /it is a Map/],
    ['a Set', new Set(), /it is a Set/],
    ['bytes', new Uint8Array(1), /it is a Uint8Array/],
    ['an object of a class', new Point(), /it is a Point/],
    ['undefined deep inside', { a: [1, { b: undefined }] }, /'key'\["a"\]\[1\]\["b"\].*undefined/],
    ['a hole in an array', [1, , 3], /'key'\[1\].*it is undefined/],
    ['a circle', circle, /it is inside itself/],
    ['more levels than the limit', nested(MAX_DEPTH), /more than 100 levels deep/],
  ];
  for (const [what, value, words] of REFUSED) {
    it(`set() refuses ${what}, and says where it is`, () => {
      const session = new Session<{ key: unknown }>(NOW);
      assert.throws(() => session.set('key', value), { name: 'TypeError', message: words });
      assert.equal(session.has('key'), false);
    });
  }

  it('flash() refuses what set() refuses', () => {
    const message = /^Cannot keep the flash message/;
    for (const [, value] of REFUSED) {
      assert.throws(() => new Session(NOW).flash(value as Json), { name: 'TypeError', message });
    }
  });

  it('set() takes what JSON gives back as it was', () => {
    const shared = { twice: 'is no circle' };
    const accepted: unknown[] = [
      '', 'café 日本語 🍪', '\ud800', '\0', 0, -1.5, 1e300, true, false, null, [], {},
      [1, [2, { three: null }]], nested(MAX_DEPTH - 1), [shared, shared], Object.create(null),
    ];
    for (const value of accepted) {
      const session = new Session<{ key: unknown }>(NOW).set('key', value);
      assert.equal(
        JSON.stringify(nextRequest(session).get('key')),
        JSON.stringify(value),
        `set ${JSON.stringify(value)}, and another value came back`,
      );
      assert.equal(session.json, JSON.stringify(session), 'it is kept as it is');
    }
  });

  it('flash() counts the levels around a message, and says what it refuses', () => {
    const session = new Session(NOW);
    session.flash(nested(MAX_DEPTH - 2)); // one in a list of messages, and that in the session
    assert.equal(session.json, JSON.stringify(session));
    const words = /^TypeError: Cannot keep the flash message\[0\].* more than 100 levels deep$/;
    assert.throws(() => session.flash(nested(MAX_DEPTH - 1)), words);
    assert.equal(session.peekFlash().length, 1);
  });

  it('json is the data as it is kept, and says what was spoilt after it was set', () => {
    const session = new Session<{ cart: unknown[] }>(NOW).set('cart', [1]);
    assert.equal(session.json, '{"cart":[1]}');
    assert.equal(session.isChangedTo('{}'), false, 'as it was');
    session.get('cart')?.push(undefined);
    assert.throws(() => session.json, /Cannot keep the session\["cart"\]\[1\]: .* is undefined/);
  });

  it('requireJson() names the place in the words that it was given', () => {
    const parents: object[] = [];
    const check = (): void => requireJson([Number.NaN], 'the session', parents);
    assert.throws(check, /the session\[0\].*NaN/);
    assert.deepEqual(parents, [], 'the list is as it was');
  });
});

describe('10-session: what it knows of itself', () => {
  it('isChanged is false for a session that was only read, and for the same value set', () => {
    const session = nextRequest(new Session(NOW).set('cart', ['apple']));
    session.get('cart');
    session.has('nothing');
    session.peekFlash();
    assert.equal(session.isChanged, false);
    session.set('cart', ['apple']);
    assert.equal(session.isChanged, false);
  });

  it('isChanged is true for a change deep inside a value, with no changed() called', () => {
    const session = nextRequest(new Session<{ cart: { n: number }[] }>(NOW).set('cart', [{ n: 1 }]));
    const [item] = session.get('cart') ?? [];
    assert.ok(item);
    item.n = 2;
    assert.equal(session.isChanged, true, 'cart[0].n was 1 and is 2: unnoticed, it is not saved');
  });

  it('changed() says that it must be written though nothing is new', () => {
    const session = nextRequest(new Session(NOW));
    session.changed();
    assert.equal(session.isChanged, true);
  });

  it('created, accessed and isNew tell a new session from one that was kept', () => {
    const fresh = new Session(NOW);
    assert.deepEqual([fresh.created, fresh.accessed, fresh.isNew], [NOW, NOW, true]);
    const kept = nextRequest(fresh);
    assert.deepEqual([kept.created, kept.accessed, kept.isNew], [NOW, Math.floor(NOW), false]);
  });

  it('invalidate() forgets all, and what is set after it begins a new session', () => {
    const session = nextRequest(new Session(NOW).set('a', 1), NOW + 60);
    const token = session.csrfToken();
    session.flash('hello');
    session.invalidate();
    assert.equal(session.size, 0);
    assert.deepEqual([session.isNew, session.isEnded, session.isChanged], [true, true, true]);
    assert.equal(session.created, NOW + 60);
    assert.notEqual(session.csrfToken(), token);
  });

  it('regenerateId() keeps the data, with a new beginning and a new token', () => {
    const session = nextRequest(new Session(NOW).set('cart', ['apple']), NOW + 60);
    const token = session.csrfToken();
    session.regenerateId();
    assert.deepEqual(session.get('cart'), ['apple']);
    assert.equal(session.created, NOW + 60);
    assert.deepEqual([session.isChanged, session.isEnded], [true, false]);
    assert.notEqual(session.csrfToken(), token);
  });
});

describe('10-session: flash messages and the token', () => {
  it('flash() leaves messages that popFlash() gives once, in order, queue by queue', () => {
    let session = new Session(NOW);
    session.flash('saved');
    session.flash('saved too');
    session.flash({ text: 'careful' }, 'warn');
    session = nextRequest(session);
    assert.deepEqual(session.peekFlash(), ['saved', 'saved too']);
    assert.deepEqual(session.popFlash(), ['saved', 'saved too']);
    assert.deepEqual(session.popFlash(), [], 'what was given once is gone');
    assert.deepEqual(session.popFlash('warn'), [{ text: 'careful' }]);
    assert.equal(session.size, 0);
  });

  it('flash() with allowDuplicate false leaves one message once, be it an object', () => {
    const session = new Session(NOW);
    for (const message of ['a', 'a', { k: [1] }, { k: [1] }]) session.flash(message, 'info', false);
    assert.deepEqual(session.peekFlash('info'), ['a', { k: [1] }]);
    session.flash('a', 'info');
    assert.deepEqual(session.peekFlash('info'), ['a', { k: [1] }, 'a']);
  });

  it('flash() keeps the newest MAX_FLASH_MESSAGES of a queue', () => {
    const session = new Session(NOW);
    for (let i = 0; i <= MAX_FLASH_MESSAGES; i++) session.flash(i);
    assert.deepEqual(session.peekFlash(), Array.from({ length: MAX_FLASH_MESSAGES }, (_, i) => i + 1));
  });

  it('peekFlash() gives nothing where another program has left no list', () => {
    const session = new Session(NOW, { data: { _f_: 'x' }, created: NOW, accessed: NOW });
    assert.deepEqual(session.peekFlash(), []);
  });

  it('flash() and csrfToken() use the keys that real Pyramid uses', () => {
    const file = new URL('./pyramid/vectors.json', import.meta.url);
    const { good } = JSON.parse(readFileSync(file, 'utf8')) as {
      good: { name: string; dict: object }[];
    };
    const dict = (name: string): object => good.find((vector) => vector.name === name)?.dict ?? {};
    const session = new Session(NOW);
    session.flash('a', 'warn', false);
    session.flash({ k: [1] }, 'info', false);
    session.flash('x');
    assert.deepEqual(session.toJSON(), dict('flash, two queues, no duplicates'));
    const data = dict('csrf token');
    const theirs = new Session(NOW, { data, created: NOW, accessed: NOW });
    assert.equal(theirs.csrfToken(), '000102030405060708090a0b0c0d0e0f10111213');
    assert.equal(theirs.isChanged, false);
  });

  it('csrfToken() is 160 random bits, the same until newCsrfToken()', () => {
    const session = new Session(NOW);
    const token = session.csrfToken();
    assert.match(token, /^[0-9a-f]{40}$/);
    assert.equal(nextRequest(session).csrfToken(), token);
    const second = session.newCsrfToken();
    assert.notEqual(second, token);
    assert.equal(session.csrfToken(), second);
    assert.notEqual(new Session(NOW).csrfToken(), token);
  });

  it('site() shows the flaw of this step: the session is kept nowhere', async () => {
    const request = parseRequest('GET', '/');
    assert.ok('path' in request);
    for (let visit = 0; visit < 2; visit++) {
      const { body } = await witness(site().handle)(request);
      assert.equal(body, 'isNew: true\ncounter: 1\n');
    }
  });
});
