import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { bodyText, Visitor } from '../.tools/request.ts';
import { decodePayload, encodePayload, greet, Session, site } from '../src/07-session.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000.25; // seconds since 1970

/** Returns the session as the next request sees it, a minute later. */
function nextRequest<Data extends object>(session: Session<Data>): Session<Data> {
  const data = JSON.parse(JSON.stringify(session)) as object;
  return new Session<Data>(NOW + 60, { accessed: Math.floor(NOW), created: session.created, data });
}

describe('07-session: the dictionary', () => {
  it('new Session() is new and empty without a state', () => {
    const session = new Session(given(NOW));
    assert.deepEqual([session.isNew, session.size], [true, 0]);
    assert.deepEqual([session.created, session.accessed], [NOW, NOW]);
  });

  it('new Session() copies the data and the times of a state, and does not check the data', () => {
    const when = new Date(0); // set() would throw
    const state = { accessed: 9, created: 8, data: { count: 7, when } };
    const session = new Session(NOW, given(state));
    assert.deepEqual([...session], [['count', 7], ['when', when]]);
    assert.deepEqual([session.isNew, session.created, session.accessed], [false, 8, 9]);
  });

  it('new Session() remembers its data, so that isChanged is false at first', () => {
    const state = { accessed: NOW, created: NOW, data: { count: 7 } };
    for (const session of [new Session(NOW), new Session(NOW, given(state))]) {
      const before = session.isChanged;
      session.clear();
      Map.prototype.set.call(session, 'name', 'Ada');
      // Session.isChanged has tests of its own. Here it must not be true at both times.
      assert.ok(!(before && session.isChanged), 'isChanged is true before any change');
    }
  });

  it('Session.get() returns a value of the session, or undefined', () => {
    const data = { count: 1, name: 'Ada' };
    const session = new Session(NOW, { accessed: NOW, created: NOW, data });
    assert.equal(session.get(given('count')), 1);
    assert.equal(session.get(given('name')), 'Ada');
    assert.equal(session.get(given('cart')), undefined);
  });

  it('Session.set() stores a value', () => {
    const session = new Session(NOW);
    assert.equal(session.set('count', given(1)), session, 'set() returns the session');
    session.set('name', 'Ada').set('count', given(2));
    assert.deepEqual([...session], [['count', 2], ['name', 'Ada']]);
  });

  it('Session.set() adds keys that delete() and clear() remove', () => {
    const session = new Session(NOW).set('count', 1).set('name', 'Ada');
    assert.equal(session.delete(given('name')), true);
    assert.equal(session.delete(given('name')), false);
    assert.deepEqual([session.has('name'), session.has('count')], [false, true]);
    session.clear();
    assert.equal(session.size, 0);
  });

  it('Session.update() computes a value from the value before', () => {
    const session = new Session<{ count: number }>(NOW);
    session.update(given('count'), (count = 0) => count + 1);
    session.update(given('count'), (count = 0) => count + 1);
    assert.equal(session.get('count'), 2);
    const wrong = (): void => new Session(NOW).update('count', () => undefined);
    assert.throws(wrong, { name: 'TypeError', message: /^Cannot keep 'count' in a session/ });
  });

  it('Session.update() adds the key and the function to updates', () => {
    const session = new Session<{ count: number; name: string }>(NOW);
    const increment = (count = 0): number => count + 1;
    session.set('name', 'Ada');
    assert.deepEqual(session.updates, [], 'set() is not listed');
    session.update('count', increment);
    session.update('count', increment);
    assert.deepEqual(session.updates, [['count', increment], ['count', increment]]);
  });

  it('Session.update() and set() do not compile with a misspelled key or a value of the wrong type', () => {
    const session = new Session<{ count: number; name: string }>(NOW);
    const count: number | undefined = session.set('count', 1).get('count');
    assert.equal(count, 1);
    // `npx tsc` reports an error if one of the lines after @ts-expect-error compiles.
    // @ts-expect-error: a misspelled key
    session.get('conut');
    // @ts-expect-error: a misspelled key
    session.has('conut');
    // @ts-expect-error: a misspelled key
    session.delete('conut');
    // @ts-expect-error: a misspelled key
    session.set('conut', 1);
    // @ts-expect-error: a number, where a string is required
    session.set('name', 7);
    // @ts-expect-error: a string, where a number is required
    session.update('count', () => '7');
    // @ts-expect-error: the value may be absent
    const wrong: number = session.get('count');
    assert.equal(wrong, '7', 'update() stored a string: only the compiler prevents this');
  });
});

describe('07-session: only JSON values', () => {
  const accepted: unknown[] = [
    '', 'café 日本語 🍪', 0, -1.5, 0.1, 2 ** 53 - 1, true, false, null, [], {},
    [1, [2, { three: null }]],
  ];
  const circle: { self?: unknown } = {};
  circle.self = circle;
  const rejected: [what: string, value: unknown][] = [
    ['a Date', new Date(0)],
    ['undefined', undefined],
    ['NaN', NaN],
    ['Infinity', Infinity],
    ['a function', () => 1],
    ['a bigint', 10n],
    ['a Map inside an object', { cart: new Map() }],
    ['undefined inside an array', [1, { two: undefined }]],
    ['an object that contains itself', circle],
    ['-0', -0],
    ['2^53', 2 ** 53],
  ];

  it('Session.set() accepts a value if JSON returns the same value', () => {
    for (const value of accepted) {
      const session = nextRequest(new Session(NOW).set('key', given(value)));
      assert.deepEqual(session.get('key'), value);
    }
  });

  it('Session.set() throws for a value that JSON would lose or change', () => {
    for (const [what, value] of rejected) {
      const session = new Session(NOW).set('key', 'before');
      assert.throws(() => session.set('key', given(value)), /TypeError|RangeError/, what);
      assert.equal(session.get('key'), 'before', `the session is unchanged: ${what}`);
    }
  });

  it('Session.set() names the key and the reason in its message', () => {
    const message = "Cannot keep 'when' in a session: JSON would lose or change its value";
    const session = new Session(NOW);
    assert.throws(() => session.set('when', given(new Date(0))), { name: 'TypeError', message });
  });

  it('Session.toJSON() returns the data as an object', () => {
    const state = { accessed: NOW, created: NOW, data: { count: 7, name: 'Ada' } };
    assert.deepEqual(new Session(NOW, state).toJSON(), { count: 7, name: 'Ada' });
  });

  it('encodePayload() throws if a value was spoiled after set()', () => {
    const list: unknown[] = [1];
    const session = new Session(NOW).set('list', list);
    list.push(new Date(0)); // no call of set(), so only encodePayload() can notice it
    assert.throws(() => encodePayload(given(session), NOW), {
      name: 'TypeError',
      message: "Cannot keep 'list' in a session: JSON would lose or change its value",
    });
  });
});

describe('07-session: what a session knows about itself', () => {
  it('Session.isChanged is false if a page only reads', () => {
    const session = nextRequest(new Session(NOW).set('cart', ['apple']));
    session.get('cart');
    session.has('name');
    assert.equal(session.isChanged, false);
    session.set('cart', ['apple']);
    assert.equal(session.isChanged, false, 'the same value again is not a change');
  });

  it('Session.isChanged notices set(), delete() and a change inside a value', () => {
    const open = () => nextRequest(new Session<{ cart: string[] }>(NOW).set('cart', ['apple']));
    assert.equal(open().set('cart', []).isChanged, true, 'set()');
    const session = open();
    session.delete('cart');
    assert.equal(session.isChanged, true, 'delete()');
    const nested = open();
    nested.get('cart')?.push('pear');
    assert.equal(nested.isChanged, true, 'the page changed the array and did not call set()');
  });

  it('Session.changed() marks a session that has the same values', () => {
    const session = nextRequest(new Session(NOW).set('count', 1));
    session.changed();
    assert.equal(session.isChanged, true);
  });
});

describe('07-session: the text in the cookie', () => {
  it('encodePayload() writes [accessed, created, {…}], and accessed has no fraction', () => {
    const session = new Session(NOW).set('count', 7).set('name', 'Ada');
    const payload = encodePayload(given(session), NOW + 60.9);
    assert.equal(payload, '[1700000061,1700000000.25,{"count":7,"name":"Ada"}]');
  });

  it('decodePayload() reads a payload that real Pyramid wrote', () => {
    const file = readFileSync(new URL('./pyramid/vectors.json', import.meta.url), 'utf8');
    const { good } = JSON.parse(file) as { good: { payload_json: string }[] };
    const text = good[0]?.payload_json;
    assert.equal(text, '[1700000000, 1700000000.25, {"counter": 1}]');
    const expected = { accessed: 1_700_000_000, created: NOW, data: { counter: 1 } };
    assert.deepEqual(decodePayload(given(text)), expected);
  });

  it('decodePayload() returns undefined for a text that is not a session, and never throws', () => {
    const texts = [
      undefined, '', 'null', '7', '"abc"', '{}', '[]', 'not JSON', '[1,1,{}] more',
      '[1,1]', '[1,1,{},{}]', '[1,1,null]', '[1,1,[]]', '[1,1,"x"]', '["1",1,{}]', '[1,null,{}]',
    ];
    for (const text of texts) assert.equal(decodePayload(given(text)), undefined, text);
  });

  it('decodePayload() rejects a number that JavaScript would change', () => {
    const exact = decodePayload(given('[1,1,{"user_id":9007199254740991}]')); // 2^53 - 1
    assert.deepEqual(exact?.data, { user_id: 9007199254740991 });
    const tooLarge = '[1,1,{"user_id":9007199254740993}]'; // 2^53 + 1 would become 2^53
    assert.equal(decodePayload(given(tooLarge)), undefined, 'another user may have the changed id');
  });
});

describe('07-session: the site', () => {
  it('greet() counts the visit, and shows the name, the count and the first visit', () => {
    const session = new Session<{ count: number; name: string }>(NOW);
    const partsOf = (name?: string): string[] =>
      bodyText(greet(session, name)).match(/<h1>.*<\/h1>|<p>(?:Count|First visit): .*<\/p>/g) ?? [];
    const time = '<p>First visit: Tue, 14 Nov 2023 22:13:20 GMT</p>';
    assert.deepEqual(partsOf(), ['<h1>Hi visitor</h1>', '<p>Count: 1</p>', time]);
    assert.deepEqual(partsOf('Ada'), ['<h1>Hi Ada</h1>', '<p>Count: 2</p>', time]);
    assert.equal(session.get('name'), 'Ada', 'the name is stored');
  });

  it('site() of step 7 keeps the count, the name and the first visit in one cookie', async () => {
    const clock = { now: NOW };
    const visitor = new Visitor(site(() => clock.now).handle);
    const first = await visitor.text('/howdy/Ada');
    assert.match(first, /<h1>Hi Ada<\/h1>\n<p>Count: 1<\/p>/);
    clock.now += 86_400; // a day
    const second = await visitor.text('/');
    assert.match(second, /<h1>Hi Ada<\/h1>\n<p>Count: 2<\/p>/);
    assert.match(second, /<p>First visit: Tue, 14 Nov 2023 22:13:20 GMT<\/p>/);
    assert.deepEqual([...visitor.cookies.keys()], ['session']);
  });

  it('site() of step 7 forgets to save on /howdy: this flaw motivates step 8', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    await visitor.get('/');
    for (let visit = 0; visit < 3; visit++) {
      assert.match(await visitor.text('/howdy'), /<p>Count: 2<\/p>/, 'the count is frozen');
    }
  });
});
