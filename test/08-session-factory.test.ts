import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given, ofStep, witness } from '../.tools/explain.ts';
import { assertCookie, bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { Cookie } from '../src/02-cookie.ts';
import { type Codec, Signer } from '../src/03-signer.ts';
import { type Handler, type HttpRequest, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { Session } from '../src/07-session.ts';
import {
  CookieSessionFactory, MAX_COOKIE_SIZE, type SessionFactory, SessionTooLarge,
  SignedCookieSessionFactory, site, withSession,
} from '../src/08-session-factory.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000.25; // seconds since 1970
const SECRETS = ['itsaseekreet'];

type Data = { count: number; cart: string[]; name: string };
type Page = Handler<HttpRequest & { session: Session<Data> }>;

function makeFactory(options: { secrets?: string[]; salt?: string } = {}) {
  const defaults = { secrets: SECRETS, sessionClass: Session<Data>, now: () => NOW };
  return new SignedCookieSessionFactory(given({ ...defaults, ...options }));
}

/** Returns the value of a cookie that keeps a count. */
function cookieWithCount(count: number, factory = makeFactory()): string {
  return factory.save(given(factory.create().set('count', count))) ?? '';
}

/** A codec without a signature: the value is the text. */
const plainCodec: Codec = { encode: (words) => words, decode: (value) => value };

/** Returns a factory whose cookie values can be read. */
function makePlainFactory(codec = plainCodec, cookie = new Cookie('session')) {
  return new CookieSessionFactory(codec, { sessionClass: Session<Data>, cookie, now: () => NOW });
}

/** A page that counts each visit, and stays unsaved if it fails. */
const countPage: Page = ({ path, session }) => {
  session.update('count', (count = 0) => count + 1);
  if (path === '/throws') throw new Error('This page has a bug');
  return text(`Count: ${session.get('count')}`, path === '/fails' ? 503 : 200);
};

describe('08-session-factory: a cookie without a signature', () => {
  it('new CookieSessionFactory() has the cookie of its options, or the cookie session', () => {
    const options = { sessionClass: Session<Data> };
    const cookie = new Cookie('id');
    assert.equal(new CookieSessionFactory(plainCodec, { ...options, cookie }).cookie, cookie);
    assert.equal(new CookieSessionFactory(plainCodec, options).cookie?.name, 'session');
  });

  it('new CookieSessionFactory() has the clock of the machine by default, in seconds', (t) => {
    t.mock.method(Date, 'now', () => NOW * 1000);
    const times: unknown[] = [];
    class TimedSession extends Session<Data> {
      constructor(now: number) {
        super(now);
        if (now !== undefined) times.push(now); // CookieSessionFactory.create() has its own test
      }
    }
    const options = { sessionClass: TimedSession };
    new CookieSessionFactory(plainCodec, options).create();
    new CookieSessionFactory(plainCodec, { ...options, now: () => 5 }).create();
    const expected = times.length === 0 ? [] : [NOW, 5];
    assert.deepEqual(times, expected, 'the time of the machine, and of the clock in the options');
  });

  it('CookieSessionFactory.create() returns a new session, or one with a saved state', () => {
    const factory = makePlainFactory();
    const session = factory.create();
    assert.deepEqual([session?.isNew, session?.created, session?.size], [true, NOW, 0]);
    const saved = factory.create({ accessed: 9, created: 8, data: { count: 7 } });
    assert.deepEqual([saved.isNew, saved.created, saved.get('count')], [false, 8, 7]);
  });

  it('CookieSessionFactory.save() returns undefined for a session that did not change', () => {
    const factory = makePlainFactory();
    const data = { count: 7 };
    const session = factory.create({ accessed: 9, created: 8, data });
    assert.equal(factory.save(given(session)), undefined, 'an old value could overwrite a newer one');
    assert.equal(factory.save(factory.create()), undefined, 'a new session without data');
  });

  it("CookieSessionFactory.save() returns '' for a session that became empty", () => {
    const factory = makePlainFactory();
    const session = factory.create({ accessed: 9, created: 8, data: { count: 7 } });
    session.clear();
    assert.equal(factory.save(given(session)), '', 'withSession() deletes the cookie');
  });

  it('CookieSessionFactory.save() encodes the time, the time of creation, and the data', () => {
    const factory = makePlainFactory();
    const session = factory.create().set('count', 7);
    assert.equal(factory.save(given(session)), '[1700000000,1700000000.25,{"count":7}]');
    const marked = makePlainFactory({ ...plainCodec, encode: (words) => `<${words}>` });
    const value = marked.save(given(marked.create().set('count', 7)));
    assert.equal(value, '<[1700000000,1700000000.25,{"count":7}]>', 'encode() of the codec');
  });

  it('CookieSessionFactory.save() accepts 4096 bytes of name and value, and no more', () => {
    const save = (name: string, length: number): number | undefined => {
      const codec: Codec = { encode: () => 'x'.repeat(length), decode: () => undefined };
      const factory = makePlainFactory(codec, new Cookie(name));
      return factory.save(given(factory.create().set('count', 7)))?.length;
    };
    assert.equal(save('sessions', 4088), MAX_COOKIE_SIZE - 8);
    assert.throws(() => save('sessionss', 4088), /^RangeError: 4097 bytes/, 'the name counts too');
    assert.throws(() => save('sessions', 4089), /^RangeError: 4097 bytes/);
  });

  it('CookieSessionFactory.save() throws SessionTooLarge with the bytes of each key', () => {
    const factory = makePlainFactory({ ...plainCodec, encode: () => 'x'.repeat(4150) });
    const session = factory.create().set('count', 7).set('name', 'é'.repeat(1500));
    assert.throws(() => factory.save(given(session)), (error) => {
      assert.ok(error instanceof SessionTooLarge, String(error));
      // é has two bytes, and JSON adds two quotes.
      assert.equal(error.message, '4157 bytes, and the limit is 4096: count 1, name 3002');
      return true;
    });
  });

  it('CookieSessionFactory.open() returns the session of a value, or undefined', () => {
    const factory = makePlainFactory();
    const session = factory.open(given('[5,1.5,{"count":7}]'));
    assert.deepEqual(session?.toJSON(), { count: 7 });
    assert.deepEqual([session.isNew, session.accessed, session.created], [false, 5, 1.5]);
    for (const value of ['', 'not JSON', '[5,1.5]', '[5,1.5,null]']) {
      assert.equal(factory.open(given(value)), undefined, `'${value}' is not a session`);
    }
    const codec: Codec = { encode: String, decode: () => undefined };
    assert.equal(makePlainFactory(codec).open(given('[5,1.5,{}]')), undefined, 'decode() rejects it');
  });

  it('CookieSessionFactory.open() rejects a number that JavaScript changes', () => {
    const value = '[1700000000,1700000000,{"user_id":9007199254740993}]';
    assert.equal(makePlainFactory().open(given(value)), undefined);
  });
});

describe('08-session-factory: the signed cookie', () => {
  it('new SignedCookieSessionFactory() signs with the salt of Pyramid and the secret', () => {
    const payload = '[1700000000,1700000000.25,{"count":7}]';
    const key = 'pyramid.session.' + 'itsaseekreet'; // the salt and the secret
    const signature = createHmac('sha512', key).update(payload).digest('hex');
    const bytes = Buffer.from(cookieWithCount(7), 'base64url');
    assert.equal(bytes.subarray(64).toString(), payload, 'the text after the signature');
    const why = 'the text is equal and the signature differs: check the salt and the secret';
    assert.equal(bytes.subarray(0, 64).toString('hex'), signature, why);
  });

  it('new SignedCookieSessionFactory() reads a cookie that real Pyramid wrote', () => {
    const file = readFileSync(new URL('./pyramid/vectors.json', import.meta.url), 'utf8');
    const { good } = JSON.parse(file) as { good: { name: string; cookie: string }[] };
    const { cookie = '' } = good.find(({ name }) => name === 'counter 12345') ?? {};
    const session = makeFactory().open(given(cookie));
    assert.deepEqual(session?.toJSON(), { counter: 12345 });
    assert.equal(session?.created, NOW);
  });

  it('new SignedCookieSessionFactory() rejects a cookie with one flipped bit', () => {
    const factory = makeFactory();
    const bytes = Buffer.from(cookieWithCount(7), 'base64url');
    assert.ok(factory.open(given(bytes.toString('base64url'))), 'the unchanged cookie is valid');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      assert.equal(
        factory.open(given(flipped.toString('base64url'))),
        undefined,
        `bit ${bit} is flipped`,
      );
    }
  });

  it('new SignedCookieSessionFactory() rejects a cookie of another secret or salt', () => {
    for (const options of [{ secrets: ['another'] }, { salt: 'another.' }]) {
      const other = makeFactory(options);
      const cookie = cookieWithCount(7, other);
      assert.equal(other.open(given(cookie))?.get('count'), 7, 'its own factory accepts it');
      assert.equal(makeFactory().open(given(cookie)), undefined, JSON.stringify(options));
    }
  });

  it('new SignedCookieSessionFactory() accepts an old secret during a rotation', () => {
    const [before, during, after] = [['old'], ['new', 'old'], ['new']].map((secrets) =>
      makeFactory({ secrets }),
    );
    const oldCookie = cookieWithCount(7, before);
    assert.equal(during?.open(given(oldCookie))?.get('count'), 7, 'the old secret still verifies');
    assert.ok(after?.open(given(cookieWithCount(8, during))), 'the first secret signs');
    assert.equal(after?.open(given(oldCookie)), undefined, 'the old secret is gone');
  });
});

describe('08-session-factory: withSession', () => {
  it('withSession() opens the session before the page and saves it after the page', async () => {
    const visitor = new Visitor(withSession(makeFactory())(countPage));
    for (const count of [1, 2, 3]) assert.equal(await visitor.text('/'), `Count: ${count}`);
    const { accessed, created } = makeFactory().open(visitor.cookies.get('session') ?? '') ?? {};
    assert.deepEqual([accessed, created], [1_700_000_000, NOW]);
  });

  it('withSession() sets no cookie if a page only reads', async () => {
    const page: Page = ({ path, session }) => {
      if (path === '/set') session.set('name', 'Ada');
      return text(session.get('name') ?? '(no name)');
    };
    const visitor = new Visitor(withSession(makeFactory())(page));
    assert.deepEqual(setCookies(await visitor.get('/')), [], 'a new visitor gets no cookie');
    await visitor.get('/set');
    const response = await visitor.get('/');
    assert.equal(bodyText(response), 'Ada');
    assert.deepEqual(setCookies(response), [], 'an old value could overwrite a newer value');
  });

  it('withSession() waits for an asynchronous page before it saves', async () => {
    const page: Page = async ({ session }) => {
      await Promise.resolve();
      session.update('count', (count = 0) => count + 1);
      return text(`Count: ${session.get('count')}`);
    };
    const visitor = new Visitor(withSession(makeFactory())(page));
    assert.equal(await visitor.text('/'), 'Count: 1');
    assert.equal(await visitor.text('/'), 'Count: 2', 'the page of the first visit changed the session');
  });

  it('withSession() waits for a factory that opens and saves asynchronously', async () => {
    const saved = new Map<string, Session<Data>>();
    const factory: SessionFactory<Session<Data>> = {
      cookie: new Cookie('id'),
      open: async (value) => saved.get(value),
      create: () => new Session<Data>(NOW),
      save: async (session) => (saved.set('1', session), '1'),
    };
    const visitor = new Visitor(withSession(factory)(countPage));
    visitor.cookies.set('id', 'unknown'); // open() returns a promise of undefined
    assert.equal(await visitor.text('/'), 'Count: 1');
    assert.deepEqual([...visitor.cookies], [['id', '1']]);
    assert.equal(await visitor.text('/'), 'Count: 2');
  });

  it('withSession() saves a change inside a value', async () => {
    const page: Page = ({ path, session }) => {
      if (path === '/new') session.set('cart', []);
      if (path === '/add') session.get('cart')?.push('tea');
      return text(session.get('cart')?.join() ?? '(no cart)');
    };
    const visitor = new Visitor(withSession(makeFactory())(page));
    for (const path of ['/new', '/add', '/add']) await visitor.get(path);
    assert.equal(await visitor.text('/'), 'tea,tea');
  });

  it('withSession() deletes the cookie if the session becomes empty', async () => {
    const page: Page = ({ path, session }) => {
      if (path === '/end') session.clear();
      else session.set('count', 7);
      return text('');
    };
    const visitor = new Visitor(withSession(makeFactory())(page));
    await visitor.get('/');
    assert.deepEqual([...visitor.cookies.keys()], ['session']);
    const [header, ...others] = setCookies(await visitor.get('/end'));
    assert.deepEqual(others, []);
    assertCookie(header, 'session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0');
  });

  it('withSession() does not save for a HEAD request', async () => {
    const visitor = new Visitor(withSession(makeFactory())(countPage));
    assert.equal(await visitor.text('/'), 'Count: 1');
    const response = await visitor.request('HEAD', '/');
    assert.deepEqual(setCookies(response), []);
    assert.equal(response.headers.vary, 'Cookie', 'the other headers are the headers of GET');
    assert.equal(await visitor.text('/'), 'Count: 2', 'the HEAD request is not a visit');
  });

  it('withSession() does not save if the page fails or throws', async () => {
    const visitor = new Visitor(withSession(makeFactory())(countPage));
    assert.equal(await visitor.text('/'), 'Count: 1');
    const failed = await visitor.get('/fails');
    assert.deepEqual([failed.status, setCookies(failed)], [503, []]);
    await assert.rejects(async () => visitor.get('/throws'), /This page has a bug/);
    assert.equal(await visitor.text('/'), 'Count: 2');
  });

  it('withSession() sets Vary and Cache-Control, so a shared cache keeps no page', async () => {
    const { headers } = await witness(withSession(makeFactory())(countPage))(makeRequest());
    assert.equal(headers.vary, 'Cookie');
    assert.equal(headers['cache-control'], 'private, no-cache');
  });

  it('withSession() keeps the Cache-Control of the page', async () => {
    const page: Page = () => text('', 200, { 'cache-control': 'no-store' });
    const { headers } = await witness(withSession(makeFactory())(page))(makeRequest());
    assert.equal(headers['cache-control'], 'no-store');
  });

  it('withSession() adds Cookie to the Vary of the page', async () => {
    const page: Page = () => text('', 200, { vary: 'Accept' });
    const { headers } = await witness(withSession(makeFactory())(page))(makeRequest());
    const names = String(headers.vary).split(/, */).sort();
    assert.deepEqual(names, ['Accept', 'Cookie'], 'a cache could show one visitor to another');
  });

  it('withSession() keeps the Set-Cookie headers of the page and adds its own', async () => {
    for (const own of ['theme=dark', ['theme=dark', 'language=id']]) {
      const page: Page = ({ session }) => {
        session.set('count', 1);
        return text('', 200, { 'set-cookie': own });
      };
      const headers = setCookies(await witness(withSession(makeFactory())(page))(makeRequest()));
      assert.deepEqual(headers.slice(0, -1), [own].flat(), 'the cookies of the page are lost');
      assert.match(headers.at(-1) ?? '', /^session=/);
    }
  });

  it('withSession() finds the valid cookie behind the cookie of another program', async () => {
    const handle = witness(withSession(makeFactory())(countPage));
    const other = cookieWithCount(99, makeFactory({ secrets: ['another program'] }));
    const own = cookieWithCount(7);
    const headers = [
      `session=${other}; session=${own}`,
      `theme=dark; session=; session=${other}; session=x; session=${own}`,
    ];
    for (const header of headers) {
      const response = await handle(makeRequest('GET', '/', { cookie: header }));
      assert.equal(bodyText(response), 'Count: 8', header);
    }
  });

  it('withSession() tries four cookies and ignores the fifth', async () => {
    const cookie = `${'session=forged; '.repeat(4)}session=${cookieWithCount(7)}`;
    const handle = witness(withSession(makeFactory())(countPage));
    const response = await handle(makeRequest('GET', '/', { cookie }));
    assert.equal(bodyText(response), 'Count: 1', 'an attacker could make each request slow');
  });

  it('withSession() replaces a cookie with a number that JavaScript changes', async () => {
    const signer = new Signer({ secrets: SECRETS, salt: 'pyramid.session.' });
    const value = signer.encode('[1700000000,1700000000,{"user_id":9007199254740993}]');
    const page = witness(withSession(makeFactory())(({ path, session }) => {
      if (path === '/set') session.set('name', 'Ada');
      return text('');
    }));
    const cookie = `session=${value}`;
    const read = await page(makeRequest('GET', '/', { cookie }));
    assert.deepEqual(setCookies(read), [], 'the cookie stays as it is');
    const [header] = setCookies(await page(makeRequest('GET', '/set', { cookie })));
    const [, saved = ''] = /^session=([^;]*)/.exec(header ?? '') ?? [];
    assert.equal(signer.decode(saved), '[1700000000,1700000000.25,{"name":"Ada"}]');
  });

  it('withSession() is required: without it, a page that needs a session does not compile', () => {
    const router = new Router().get('/with', withSession(makeFactory())(countPage));
    // @ts-expect-error: the request of a router has no session
    router.get('/without', countPage);
    withSession(makeFactory())(({ session }) => {
      // @ts-expect-error: a misspelled key
      return text(String(session.get('conut')));
    });
    const other = { secrets: SECRETS, sessionClass: Session<{ theme: string }> };
    // @ts-expect-error: a factory whose sessions have other keys
    withSession(new SignedCookieSessionFactory(other))(countPage);
    // @ts-expect-error: a factory needs the class of its sessions
    const make = () => new SignedCookieSessionFactory({ secrets: SECRETS });
    assert.ok(make);
  });
});

describe('08-session-factory: the site', () => {
  it('site() of step 8 shares one count between / and /howdy, and neither page saves', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    for (const [i, path] of ['/', '/howdy', '/howdy', '/'].entries()) {
      assert.match(await visitor.text(path), new RegExp(`<p>Count: ${i + 1}</p>`), path);
    }
  });
});
