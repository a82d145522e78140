// Further proofs of step 7: more values, hostile payloads, numbers, and unusual keys.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { decodePayload, encodePayload, Session } from '../src/07-session.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000.25; // seconds since 1970

/** Returns a payload with one value, written as JSON. */
const payloadWith = (json: string): string => `[1700000000,1700000000.25,{"key":${json}}]`;

/** Returns an array inside an array, and so on. */
function nested(levels: number): unknown {
  let value: unknown = [];
  for (let level = 1; level < levels; level++) value = [value];
  return value;
}

function errorOf(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('07-session: proofs about the dictionary', () => {
  it('Session has the other members of a Map', () => {
    const session = new Session<{ counter: number; name: string }>(NOW);
    session.set('counter', 1).set('name', 'Ada');
    assert.ok(session instanceof Map);
    assert.equal(session.size, 2);
    assert.deepEqual([...session.keys()], ['counter', 'name']);
    assert.deepEqual([...session.values()], [1, 'Ada']);
    assert.deepEqual([...session.entries()], [...session]);
    assert.deepEqual(session.toJSON(), { counter: 1, name: 'Ada' });
  });

  it('Session.update() changes nothing if its function throws or returns a wrong value', () => {
    const session = new Session<Record<string, unknown>>(NOW);
    assert.throws(() => session.update('when', () => new Date(0)), TypeError);
    const fails = (): never => {
      throw new Error('a bug');
    };
    assert.throws(() => session.update('when', fails), /a bug/);
    assert.deepEqual([session.size, session.updates], [0, []]);
  });

  it('Session accepts __proto__ and the names of Object.prototype as keys', () => {
    const json = '{"__proto__":{"admin":true},"constructor":1,"toString":2,"hasOwnProperty":3}';
    const state = decodePayload(`[1,1,${json}]`);
    assert.ok(state);
    const session = new Session(NOW, state);
    assert.deepEqual(session.get('__proto__'), { admin: true });
    assert.equal(session.has('valueOf'), false, 'an inherited name is not a key');
    assert.equal(session.isChanged, false);
    assert.equal(encodePayload(session, 1), `[1,1,${json}]`);
    session.set('__proto__', { admin: false }).set('nested', JSON.parse(json));
    assert.deepEqual(decodePayload(encodePayload(session, 1))?.data, session.toJSON());
    assert.equal(Reflect.get({}, 'admin'), undefined, 'no prototype was changed');
  });

  it('Session.isChanged is false for a new session, and after a key is set and deleted', () => {
    const session = new Session(NOW);
    assert.equal(session.isChanged, false);
    session.set('name', 'Ada').delete('name');
    assert.equal(session.isChanged, false);
  });
});

describe('07-session: proofs about JSON values', () => {
  class Point {
    readonly x = 1;
  }
  const shared = { twice: 'is not a circle' };
  const accepted: unknown[] = [
    '\ud800', '\0', '\u2028', '9007199254740993', -(2 ** 53 - 1), 5e-324, 1.7e-300,
    [shared, shared], nested(500), JSON.parse('{"__proto__":{"admin":true}}'),
  ];
  const circle: unknown[] = [];
  circle.push([circle]);
  const rejected: [what: string, value: unknown][] = [
    ['a symbol', Symbol('s')],
    ['a Set', new Set()],
    ['bytes', new Uint8Array(1)],
    ['a Buffer', Buffer.from('x')],
    ['a regular expression', /x/],
    ['a Number object', Object(1)],
    ['a String object', Object('x')],
    ['an object of a class', new Point()],
    ['an object with toJSON', { toJSON: () => 1 }],
    ['an object without a prototype', Object.create(null)],
    ['a hole in an array', [1, , 3]],
    ['an array with a further property', Object.assign([1], { x: 1 })],
    ['a property whose key is a symbol', { [Symbol('s')]: 1 }],
    ['undefined at depth 3', { a: [1, { b: undefined }] }],
    ['-0 at depth 2', [{ x: -0 }]],
    ['NaN at depth 2', [{ x: NaN }]],
    ['-Infinity', -Infinity],
    ['-2^53', -(2 ** 53)],
    ['1e300', 1e300],
    ['2^53 at depth 2', [{ x: 2 ** 53 }]],
    ['a circle at depth 2', circle],
    ['100,000 levels', nested(100_000)],
  ];

  it('Session.set() accepts unusual values that JSON returns unchanged', () => {
    for (const value of accepted) {
      const session = new Session(NOW).set('key', value);
      const payload = encodePayload(session, NOW);
      assert.equal(Buffer.from(payload).toString(), payload, 'UTF-8 does not change it');
      assert.deepEqual(decodePayload(payload)?.data, { key: value });
    }
  });

  it('Session.set() rejects unusual values that JSON loses or changes', () => {
    for (const [what, value] of rejected) {
      const session = new Session(NOW);
      const error = errorOf(() => session.set('key', value));
      assert.ok(error instanceof TypeError || error instanceof RangeError, what);
      assert.equal(session.size, 0, what);
    }
  });

  it('encodePayload() rejects each value that set() rejects', () => {
    for (const [what, value] of rejected) {
      const list: unknown[] = [];
      const session = new Session(NOW).set('list', list);
      list.push(value);
      assert.ok(errorOf(() => encodePayload(session, NOW)) instanceof Error, what);
    }
  });
});

describe('07-session: proofs about the text in the cookie', () => {
  it('decodePayload() rejects exactly the numbers that set() rejects', () => {
    const numbers = [
      '0', '1', '-1', '1.0', '0.1', '-1.5e-7', '1e3', '1e15', '5e-324', '1e-400',
      '9007199254740991', '-9007199254740991', '9007199254740991.0',
      '9007199254740992', '-9007199254740992', '9007199254740993', '-9007199254740993',
      '9007199254740992.0', '1e16', '12345678901234567890', '1e300', '1e999', '-1e999',
    ];
    const nestings = ['◆', '[◆]', '{"a":[1,{"b":◆}]}'];
    let rejected = 0;
    for (const number of numbers) {
      for (const nesting of nestings) {
        const json = nesting.replace('◆', number);
        const isAccepted = decodePayload(payloadWith(json)) !== undefined;
        const error = errorOf(() => new Session(NOW).set('key', JSON.parse(json)));
        assert.equal(isAccepted, error === undefined, `${json}: decodePayload() and set() differ`);
        if (!isAccepted) rejected += 1;
      }
    }
    assert.equal(rejected, 10 * nestings.length);
  });

  it('decodePayload() accepts a large number that is a string or a key', () => {
    const json = '{"9007199254740993":"9007199254740993"}';
    const { key } = (decodePayload(payloadWith(json))?.data ?? {}) as { key?: object };
    assert.equal(JSON.stringify(key), json);
  });

  it('decodePayload() returns a state that encodePayload() can write again', () => {
    const values = ['-0', '-0.0', '[{"a":-0}]', '1.0', '1e-400', '"\\ud800"', '{"__proto__":1}'];
    for (const json of values) {
      const state = decodePayload(payloadWith(json));
      assert.ok(state, json);
      const session = new Session(NOW, state);
      session.set('other', 1);
      assert.doesNotThrow(() => encodePayload(session, NOW), `${json} was read, but not written`);
    }
  });

  it('decodePayload() returns undefined for hostile texts, and never throws', () => {
    const texts = [
      'undefined', 'NaN', "['a']", '[1,1,{}', '[1,1,{},]', '[1,1,{"a":}]', '[1,1,{"a":01}]',
      '[NaN,1,{}]', '[1,Infinity,{}]', '[1,1,{"a":NaN}]', '[1,1,{"a":"\n"}]', '\ufeff[1,1,{}]',
      '[1e999,1,{}]', '[1,-1e999,{}]', '[9007199254740993,1,{}]', '[1,9007199254740993,{}]',
      '["1",1,{}]', '[1,"1",{}]', '[" 1 ",1,{}]', '[[1],1,{}]', '[{},1,{}]', '[true,1,{}]',
      '[1,1]', '[1,1,{},null]', '[1,1,false]', '[1,1,[["count",7]]]', '[1,1,"count=7"]',
      '{"0":1,"1":1,"2":{}}', '{"length":3}', '"11{}"', 'true', '\0', '[1,1,{}]\0',
      '['.repeat(100_000), `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
      `[1,1,{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}]`,
      `[1,1,{"a":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}]`,
    ];
    for (const text of texts) assert.equal(decodePayload(text), undefined, text.slice(0, 60));
  });

  it('decodePayload() returns a session or undefined for each change of one character', () => {
    const text = '[1700000000,1700000000.25,{"count":7,"cart":["a\\u00e9",{"n":-1.5e3}]}]';
    for (let at = 0; at < text.length; at++) {
      for (const character of ['', ...'"\\[]{},:-.0e9 tn\0\ud800']) {
        const changed = text.slice(0, at) + character + text.slice(at + 1);
        const state = decodePayload(changed);
        if (state === undefined) continue;
        const session = new Session(NOW, state);
        assert.ok(Number.isFinite(session.created) && Number.isFinite(session.accessed), changed);
        assert.equal(session.isChanged, false, changed);
      }
      assert.equal(decodePayload(text.slice(0, at)), undefined, `cut after ${at} characters`);
    }
  });

  it('encodePayload() keeps the fraction of created, with all its digits', () => {
    const session = new Session(1795227193.4514558).set('count', 1);
    const text = encodePayload(session, 1795227200.9);
    assert.equal(text, '[1795227200,1795227193.4514558,{"count":1}]');
    assert.equal(decodePayload(text)?.created, 1795227193.4514558);
  });
});
