// Further proofs of step 8: each cookie of real Pyramid, hostile cookies, sizes, and what is saved.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { startServer } from '../.tools/serve.ts';
import { Cookie } from '../src/02-cookie.ts';
import { type Codec, Signer, type SignerOptions } from '../src/03-signer.ts';
import { type Handler, type HttpRequest, text, toListener } from '../src/04-http.ts';
import { encodePayload, Session } from '../src/07-session.ts';
import {
  CookieSessionFactory, type FactoryOptions, MAX_COOKIE_SIZE, type SessionFactory, SessionTooLarge,
  SignedCookieSessionFactory, withSession,
} from '../src/08-session-factory.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000.25; // seconds since 1970
const SECRETS = ['itsaseekreet'];
const signer = new Signer({ secrets: SECRETS, salt: 'pyramid.session.' });

type Page = Handler<HttpRequest & { session: Session }>;
type Options = Partial<FactoryOptions<Session> & SignerOptions>;

function makeFactory(options: Options = {}): SignedCookieSessionFactory<Session> {
  const defaults = { secrets: SECRETS, sessionClass: Session, now: () => NOW };
  return new SignedCookieSessionFactory({ ...defaults, ...options });
}

function makeVisitor(page: Page, options: Options = {}): Visitor {
  return new Visitor(withSession(makeFactory(options))(page));
}

/** Returns the value of a cookie with some data. */
function cookieFor(factory: SessionFactory<Session>, data: Record<string, unknown>): string {
  const session = factory.create();
  for (const [key, value] of Object.entries(data)) session.set(key, value);
  return factory.save(session) as string;
}

/** A codec without a signature: the value is the text. */
const plainCodec: Codec = { encode: (words) => words, decode: (value) => value };

describe('08-session-factory: proofs about the signed cookie', () => {
  it('CookieSessionFactory.save() writes the cookie of real Pyramid, byte for byte', () => {
    // Python writes a space after each comma and colon.
    const codec: Codec = {
      encode: (json) => signer.encode(json.replaceAll(',', ', ').replaceAll(':', ': ')),
      decode: (value) => signer.decode(value),
    };
    const factory = new CookieSessionFactory(codec, { sessionClass: Session, now: () => NOW });
    const { cookie } = vectors.good.find(({ name }) => name === 'counter 1') ?? {};
    assert.equal(cookieFor(factory, { counter: 1 }), cookie);
  });

  it('CookieSessionFactory.open() rejects a shortened and an extended cookie', () => {
    const factory = makeFactory();
    const cookie = cookieFor(factory, { counter: 1 });
    for (let end = 0; end < cookie.length; end++) {
      assert.equal(factory.open(cookie.slice(0, end)), undefined, `the first ${end} characters`);
    }
    for (const more of ['A', 'AA', 'AAAA', '=', '==', '.', '%00', ' x', ' ', '"', cookie]) {
      assert.equal(factory.open(cookie + more), undefined, `${more} after it`);
      assert.equal(factory.open(more + cookie), undefined, `${more} before it`);
    }
  });

  it('CookieSessionFactory.open() rejects a payload without a signature', () => {
    const payload = Buffer.from(`[${NOW},${NOW},{"user":"ada"}]`);
    for (const size of [0, 32, 64]) {
      const forged = Buffer.concat([Buffer.alloc(size), payload]).toString('base64url');
      assert.equal(makeFactory().open(forged), undefined, `${size} bytes of zeros as signature`);
    }
    assert.equal(makeFactory().open(payload.toString()), undefined, 'plain JSON');
  });

  it('CookieSessionFactory.open() rejects a signed text that is not a session', () => {
    const payloads = [
      '', '{}', 'null', '7', '"abc"', '[]', `[${NOW},${NOW}]`, `[${NOW},${NOW},{},{}]`,
      `[${NOW},${NOW},null]`, `[${NOW},${NOW},7]`, `[${NOW},${NOW},""]`,
      `[${NOW},${NOW},[["counter",7]]]`, `["${NOW}",${NOW},{}]`, `[${NOW},null,{}]`,
      `[1e999,${NOW},{}]`, `[${NOW},-1e999,{}]`, `[${NOW},${NOW},{"a":NaN}]`,
      `[${NOW},${NOW},{"a":1e999}]`, `[${NOW},${NOW},{"a":9007199254740993}]`,
      `[${NOW},${NOW},{"a":[{"b":-9007199254740993}]}]`, `[${NOW},${NOW},{}] more`,
    ];
    for (const payload of payloads) {
      assert.equal(makeFactory().open(signer.encode(payload)), undefined, payload);
    }
  });

  it('CookieSessionFactory.open() rejects a cookie of another hash algorithm', () => {
    const other = makeFactory({ hashAlg: 'sha256' });
    const cookie = cookieFor(other, { counter: 7 });
    assert.equal(other.open(cookie)?.get('counter'), 7);
    assert.equal(makeFactory().open(cookie), undefined);
  });

  it('SignedCookieSessionFactory() throws if a secret or the hash algorithm is wrong', () => {
    const wrong: [Options, RegExp][] = [
      [{ secrets: [] }, /TypeError: A secret is missing/],
      [{ secrets: ['good', ''] }, /TypeError: A secret is missing/],
      [{ hashAlg: 'sha7' }, /Error: Invalid digest: sha7/],
    ];
    for (const [options, error] of wrong) assert.throws(() => makeFactory(given(options)), error);
  });

  it('CookieSessionFactory creates sessions of the class in its options', () => {
    class NamedSession extends Session<{ name: string }> {
      get greeting(): string {
        return `Hi ${this.get('name') ?? 'visitor'}`;
      }
    }
    const options = { sessionClass: NamedSession, now: () => NOW };
    const factory = new CookieSessionFactory(plainCodec, options);
    assert.equal(factory.create().greeting, 'Hi visitor');
    assert.equal(factory.open('[1,1,{"name":"Ada"}]')?.greeting, 'Hi Ada');
  });
});

describe('08-session-factory: proofs about size', () => {
  /** A factory whose cookie value has this number of characters. */
  const factoryWith = (name: string, length: number): CookieSessionFactory<Session> =>
    new CookieSessionFactory(
      { encode: () => 'x'.repeat(length), decode: () => undefined },
      { sessionClass: Session, cookie: new Cookie(name), now: () => NOW },
    );

  it('CookieSessionFactory.save() accepts each size that Pyramid accepts', () => {
    for (const { signed_bytes: bytes, cookie_chars: length, ok } of vectors.limits) {
      if (bytes === undefined || length === undefined) continue;
      assert.equal(Buffer.alloc(bytes).toString('base64url').length, length);
      const factory = factoryWith('session', length); // Pyramid stops at 4064 characters
      assert.equal(factory.save(factory.create().set('a', 1))?.length, length, `Pyramid: ${ok}`);
    }
  });

  it('SessionTooLarge causes a 500, and the browser keeps the old cookie', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const page: Page = ({ search, session }) => {
      session.set('words', 'x'.repeat(Number(search.slice(1))));
      return text('saved');
    };
    const server = await startServer(t, toListener(withSession(makeFactory())(page)));
    const small = await server.get('/?10');
    assert.match(small.cookie, /^session=/);
    const large = await server.get('/?4000', { cookie: small.cookie });
    assert.deepEqual([large.status, large.cookie], [500, '']);
    assert.doesNotMatch(large.body, /words|4002/, 'the visitor learns nothing about the session');
    const logged = String(log.mock.calls[0]?.arguments[0]);
    assert.match(logged, /^500 GET \/ .*SessionTooLarge.*words 4002/);
  });
});

describe('08-session-factory: proofs about withSession', () => {
  it('withSession() opens hostile cookies as a new session, and never throws', async () => {
    const page: Page = ({ session }) => {
      session.update('counter', (counter) => Number(counter ?? 0) + 1);
      return text(`Count: ${session.get('counter')}`);
    };
    const handle = withSession(makeFactory())(page);
    const cookie = cookieFor(makeFactory(), { counter: 7 });
    const headers = [
      '', 'session', 'session=', 'session="', 'session=""', `session="${cookie}`,
      `session="${cookie}"`, 'session=%E0%A4%A', 'session=\0', `session=${'A'.repeat(10_000)}`,
      '__proto__=x; session=__proto__', `SESSION=${cookie}`, `xsession=${cookie}`,
      `session =${cookie}`, `a="x; y=1, session=${cookie}`, 'session=x; '.repeat(1000),
    ];
    for (const header of headers) {
      const response = await handle(makeRequest('GET', '/', { cookie: header }));
      assert.equal(bodyText(response), 'Count: 1', header.slice(0, 60));
    }
  });

  it('withSession() sets no cookie in 50 parallel responses that only read', async () => {
    const visitor = makeVisitor(({ path, session }) => {
      if (path === '/set') session.set('name', 'Ada');
      return text(String(session.get('name')));
    });
    await visitor.get('/set');
    const responses = Array.from({ length: 50 }, () => visitor.get('/'));
    for (const response of await Promise.all(responses)) {
      assert.equal(bodyText(response), 'Ada');
      assert.deepEqual(setCookies(response), []);
    }
  });

  it('withSession() gives each of two parallel requests its own session', async () => {
    const visitor = makeVisitor(async ({ search, session }) => {
      session.set('name', search);
      await Promise.resolve();
      return text(String(session.get('name')));
    });
    const both = await Promise.all([visitor.text('/?a'), visitor.text('/?b')]);
    assert.deepEqual(both, ['?a', '?b']);
  });

  it('withSession() passes on the other properties of the request', async () => {
    type Routed = HttpRequest & { params: string };
    const page = withSession(makeFactory())<Routed>(({ session, params }) =>
      text(`${params} ${session.size}`),
    );
    const request = { ...makeRequest(), params: 'Ada' };
    assert.equal(bodyText(await page(request)), 'Ada 0');
    assert.equal('session' in request, false, 'the request itself is unchanged');
  });

  it('withSession() opens only its own cookie, and stops at the first valid value', async () => {
    const opened: string[] = [];
    const factory: SessionFactory<Session> = {
      cookie: new Cookie('id'),
      open: (value) => (opened.push(value), value === 'valid' ? new Session(NOW) : undefined),
      create: () => new Session(NOW),
      save: () => undefined,
    };
    const page = withSession(factory)(() => text(''));
    await page(makeRequest());
    await page(makeRequest('GET', '/', { cookie: 'session=valid; ID=valid' }));
    assert.deepEqual(opened, []);
    await page(makeRequest('GET', '/', { cookie: 'id=1; id=valid; id=3' }));
    assert.deepEqual(opened, ['1', 'valid']);
  });

  it('withSession() reads and writes only the cookie of its factory', async () => {
    const cookie = new Cookie('sid', '; Path=/app; Secure');
    const visitor = makeVisitor(({ session }) => {
      session.update('counter', (counter) => Number(counter ?? 0) + 1);
      return text(String(session.get('counter')));
    }, { cookie });
    visitor.cookies.set('session', cookieFor(makeFactory(), { counter: 7 }));
    const [header = ''] = setCookies(await visitor.get('/'));
    assert.match(header, /^sid=[\w-]+; Path=\/app; Secure$/);
    assert.equal(await visitor.text('/'), '2');
  });

  it('withSession() saves after each status below 500', async () => {
    const visitor = makeVisitor(({ search, session }) => {
      session.set('status', Number(search.slice(1)));
      return text('', Number(search.slice(1)));
    });
    for (const status of [200, 204, 303, 400, 404, 422, 499]) {
      assert.equal(setCookies(await visitor.get(`/?${status}`)).length, 1, String(status));
    }
    for (const status of [500, 503, 599]) {
      assert.deepEqual(setCookies(await visitor.get(`/?${status}`)), [], String(status));
    }
  });

  it('withSession() saves a session that changed() marks', async () => {
    const visitor = makeVisitor(({ path, session }) => {
      if (path === '/set') session.set('a', 1);
      if (path === '/changed') session.changed();
      return text('');
    });
    await visitor.get('/set');
    assert.deepEqual(setCookies(await visitor.get('/')), []);
    assert.match(setCookies(await visitor.get('/changed'))[0] ?? '', /^session=\w/);
  });

  it('withSession() fails if a value was spoiled after set(): the old cookie stays', async () => {
    const visitor = makeVisitor(({ path, session }) => {
      if (path === '/set') session.set('list', []);
      if (path === '/spoil') (session.get('list') as unknown[]).push(NaN);
      return text(JSON.stringify(session.get('list')));
    });
    await visitor.get('/set');
    await assert.rejects(async () => visitor.get('/spoil'), {
      name: 'TypeError',
      message: "Cannot keep 'list' in a session: JSON would lose or change its value",
    });
    assert.equal(await visitor.text('/'), '[]');
  });

  it('withSession() saves a session that was opened from a cookie with -0', async () => {
    const visitor = makeVisitor(({ session }) => text(String(session.set('b', 1).size)));
    visitor.cookies.set('session', signer.encode('[1700000000, 1700000000.25, {"a": -0.0}]'));
    assert.equal(await visitor.text('/'), '2');
  });
});

// Cookies that real Pyramid 2.0 wrote (test/pyramid), and what Pyramid makes of unusual cookies.

type Vector = {
  name: string;
  options: { secret: string; salt: string | null; hashalg: string };
  cookie: string;
  cookie_header?: string;
  now: number;
  outcome: 'new' | 'kept' | 'empty' | 'error';
  created: number;
  accessed: number;
  dict: Record<string, unknown>;
};
type GoodVector = Vector & { made_at: number; payload_json: string };
type Limit = { signed_bytes?: number; cookie_chars?: number; case?: string; ok: boolean };

const vectors = JSON.parse(
  readFileSync(new URL('../test/pyramid/vectors.json', import.meta.url), 'utf8'),
) as { good: GoodVector[]; special: Vector[]; limits: Limit[] };

const NODE_NAMES: Record<string, string> = { blake2b: 'blake2b512', sha3_256: 'sha3-256' };

const STRICT = 'a value has exactly one encoding here: canonical base64url';
const AS_IT_IS = 'a browser returns the value as it was set, without quotes, escapes or spaces';
const TIMES_ARE_NUMBERS = 'a time is a JSON number; float() in Python accepts more';
const NOT_JSON = 'JSON has no NaN and no Infinity; Python writes them';
const STATE_IS_OBJECT = 'the data is a JSON object; dict() accepts pairs, or raises';
const NO_500 = 'no input causes a 500 here; Pyramid raises';
const TOO_LARGE = 'JavaScript cannot read this number exactly, so the session is rejected';
const NO_TIMEOUT = 'step 8 has no timeout; step 11 proves these vectors';

/** Where this site differs from Pyramid on purpose. */
const DIFFERENCES: Record<string, readonly [outcome: 'new' | 'kept', reason: string]> = {
  'created large': ['new', TOO_LARGE],
  'created exponent': ['new', TOO_LARGE],
  'big ints': ['new', TOO_LARGE],
  'NaN and Infinity (not JSON)': ['new', NOT_JSON],
  'last character, unused bits changed': ['new', STRICT],
  'with its = padding': ['new', STRICT],
  'with one = too many': ['new', STRICT],
  'two junk characters inside': ['new', STRICT],
  'four junk characters inside': ['new', STRICT],
  'junk characters in front': ['new', STRICT],
  '==== in front': ['new', STRICT],
  'quoted value': ['new', AS_IT_IS],
  'escape in an unquoted value': ['new', AS_IT_IS],
  'space in front': ['new', AS_IT_IS],
  'quoted, four utf-8 encoded characters inside': ['new', AS_IT_IS],
  'quoted, invalid utf-8 byte': ['new', NO_500],
  'signed: a 3-character string': ['new', 'a string is not an array; Python unpacks it'],
  'signed: state is null': ['new', STATE_IS_OBJECT],
  'signed: state is a number': ['new', STATE_IS_OBJECT],
  'signed: state is an empty string': ['new', STATE_IS_OBJECT],
  'signed: state is a string of pairs': ['new', STATE_IS_OBJECT],
  'signed: state is a list of pairs': ['new', STATE_IS_OBJECT],
  'signed: state is a list of numbers': ['new', STATE_IS_OBJECT],
  'signed: state is a list with an unhashable key': ['new', STATE_IS_OBJECT],
  'signed: state is false': ['new', STATE_IS_OBJECT],
  'expired and state not a dict': ['new', STATE_IS_OBJECT],
  'signed: renewed is a numeric string with spaces': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is a numeric string with _': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is a string in exponent form': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is Arabic-Indic digits': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is "inf"': ['new', TIMES_ARE_NUMBERS],
  'signed: renewed is NaN': ['new', NOT_JSON],
  'signed: renewed is Infinity': ['new', NOT_JSON],
  'signed: created is NaN': ['new', NOT_JSON],
  'signed: renewed is 1e999 (inf)': ['new', TOO_LARGE],
  'signed: created is an int of 400 digits': ['new', NO_500],
  'signed: nesting of 1400': ['kept', NO_500],
  'signed: renewed is negative': ['kept', NO_TIMEOUT],
  'expired: 1200 s + 1 us after renewed': ['kept', NO_TIMEOUT],
  'expired long ago': ['kept', NO_TIMEOUT],
  'timeout negative': ['kept', NO_TIMEOUT],
  'timeout "1200" (string, int() is applied)': ['kept', NO_TIMEOUT],
  'header: two cookies of the name: good then bad': ['kept', 'the valid cookie is used'],
  'header: comma between cookies': ['new', 'RFC 6265 separates cookies by semicolons only'],
};

function factoryLikePyramid({ options, now }: Vector): SignedCookieSessionFactory<Session> {
  const { secret, salt, hashalg } = options;
  const hashAlg = NODE_NAMES[hashalg] ?? hashalg;
  return makeFactory({ secrets: [secret], salt: salt ?? '', hashAlg, now: () => now });
}

/** Returns the session that a page receives for a `Cookie` header. */
async function sessionFor(factory: SessionFactory<Session>, cookie: string): Promise<Session> {
  let received: Session | undefined;
  const page: Page = ({ session }) => {
    received = session;
    return text('');
  };
  await withSession(factory)(page)(makeRequest('GET', '/', { cookie }));
  assert.ok(received);
  return received;
}

describe('08-session-factory: cookies of real Pyramid', () => {
  it('withSession() treats each of 154 cookies as Pyramid does, or as the table says', async () => {
    const unseen = new Set(Object.keys(DIFFERENCES));
    for (const vector of [...vectors.good, ...vectors.special]) {
      const { name, cookie, cookie_header: header = `session=${cookie}` } = vector;
      const session = await sessionFor(factoryLikePyramid(vector), header);
      const outcome = session.isNew ? 'new' : session.size === 0 ? 'empty' : 'kept';
      const [expected, reason] = DIFFERENCES[name] ?? [vector.outcome, 'the same as in Pyramid'];
      assert.equal(outcome, expected, `${name}: ${reason}`);
      const isDifferent = unseen.delete(name);
      if (isDifferent) assert.notEqual(outcome, vector.outcome, `${name} is not a difference`);
      if (isDifferent || outcome === 'new') continue;
      assert.equal(session.created, vector.created, name);
      assert.equal(session.accessed, vector.accessed, name);
      assert.deepEqual(session.toJSON(), vector.dict, name);
    }
    assert.deepEqual([...unseen], [], 'differences that no vector shows');
    assert.equal(vectors.good.length, 50);
    assert.equal(vectors.special.length, 104);
  });

  it('CookieSessionFactory.save() keeps the data that Pyramid wrote', () => {
    let tried = 0;
    for (const vector of vectors.good) {
      const factory = factoryLikePyramid(vector);
      const session = factory.open(vector.cookie);
      if (session === undefined || session.get('p') !== undefined) continue; // 'p' fills the cookie
      session.set('more', 1);
      const next = factory.open(factory.save(session) ?? '');
      assert.deepEqual(next?.toJSON(), { ...vector.dict, more: 1 }, vector.name);
      assert.equal(next?.created, vector.created, vector.name);
      assert.equal(next?.accessed, Math.floor(vector.now), vector.name);
      tried += 1;
    }
    assert.equal(tried, 43);
  });

  it('CookieSessionFactory.open() returns __proto__ from Pyramid as an ordinary key', () => {
    const vector = vectors.special.find(({ name }) => name === 'signed: __proto__ key');
    assert.ok(vector);
    const session = factoryLikePyramid(vector).open(vector.cookie);
    assert.deepEqual([...(session?.keys() ?? [])], ['__proto__']);
    assert.equal(Reflect.get({}, 'admin'), undefined, 'no prototype was changed');
  });

  it('Session.set() rejects what Pyramid cannot write: bytes, a set, keys that are tuples', () => {
    const values = {
      'bytes value': Buffer.from('x'),
      'set value': new Set(),
      'tuple key': new Map([[['a', 1], 2]]), // in Python: a dict whose key is a tuple
    };
    for (const [name, value] of Object.entries(values)) {
      assert.equal(vectors.limits.find((limit) => limit.case === name)?.ok, false, name);
      assert.throws(() => new Session(NOW).set('key', value), TypeError, name);
    }
  });

  it('encodePayload() writes a payload that is equal to the payload of Pyramid', () => {
    for (const { name, dict, made_at: time, payload_json: json } of vectors.good) {
      if (DIFFERENCES[name] || name === 'changed() only: accessed is a float') continue;
      const session = new Session(JSON.parse(json)[1]);
      for (const [key, value] of Object.entries(dict)) session.set(key, value);
      assert.deepEqual(JSON.parse(encodePayload(session, time)), JSON.parse(json), name);
    }
  });
});
