import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given, ofStep, witness } from '../.tools/explain.ts';
import { assertCookie, bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { Signer } from '../src/03-signer.ts';
import { type Handler, type HttpRequest, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { Session } from '../src/07-session.ts';
import { MAX_COOKIE_SIZE, SessionTooLarge } from '../src/08-session-factory.ts';
import { SignedCookieSessionFactory, site, withSession } from '../src/08-session-factory.ts';

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

/** A page that counts each visit, and stays unsaved if it fails. */
const countPage: Page = ({ path, session }) => {
  session.update('count', (count = 0) => count + 1);
  if (path === '/throws') throw new Error('This page has a bug');
  return text(`Count: ${session.get('count')}`, path === '/fails' ? 503 : 200);
};

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
      return text(String(session.get('name')));
    };
    const visitor = new Visitor(withSession(makeFactory())(page));
    assert.deepEqual(setCookies(await visitor.get('/')), [], 'a new visitor gets no cookie');
    await visitor.get('/set');
    const response = await visitor.get('/');
    assert.equal(bodyText(response), 'Ada');
    assert.deepEqual(setCookies(response), [], 'an old value could overwrite a newer value');
  });

  it('withSession() saves a change inside a value', async () => {
    const page: Page = ({ path, session }) => {
      if (path === '/new') session.set('cart', []);
      if (path === '/add') session.get('cart')?.push('tea');
      return text(String(session.get('cart')));
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

describe('08-session-factory: the signed cookie', () => {
  it('SignedCookieSessionFactory.save() writes base64url(signature ‖ payload), as Pyramid', () => {
    const payload = '[1700000000,1700000000.25,{"count":7}]';
    const key = 'pyramid.session.' + 'itsaseekreet'; // the salt and the secret
    const signature = createHmac('sha512', key).update(payload).digest();
    const expected = Buffer.concat([signature, Buffer.from(payload)]).toString('base64url');
    assert.equal(cookieWithCount(7), expected);
  });

  it('SignedCookieSessionFactory.open() reads a cookie that real Pyramid wrote', () => {
    const file = readFileSync(new URL('./pyramid/vectors.json', import.meta.url), 'utf8');
    const { good } = JSON.parse(file) as { good: { name: string; cookie: string }[] };
    const { cookie = '' } = good.find(({ name }) => name === 'counter 12345') ?? {};
    const session = makeFactory().open(given(cookie));
    assert.deepEqual(session?.toJSON(), { counter: 12345 });
    assert.equal(session?.created, NOW);
  });

  it('SignedCookieSessionFactory.open() rejects a cookie with one flipped bit', () => {
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

  it('SignedCookieSessionFactory.open() rejects a cookie of another secret or salt', () => {
    for (const options of [{ secrets: ['another'] }, { salt: 'another.' }]) {
      const other = makeFactory(options);
      const cookie = cookieWithCount(7, other);
      assert.equal(other.open(given(cookie))?.get('count'), 7, 'its own factory accepts it');
      assert.equal(makeFactory().open(given(cookie)), undefined, JSON.stringify(options));
    }
  });

  it('SignedCookieSessionFactory.open() accepts an old secret during a rotation', () => {
    const [before, during, after] = [['old'], ['new', 'old'], ['new']].map((secrets) =>
      makeFactory({ secrets }),
    );
    const oldCookie = cookieWithCount(7, before);
    assert.equal(during?.open(given(oldCookie))?.get('count'), 7, 'the old secret still verifies');
    assert.ok(after?.open(given(cookieWithCount(8, during))), 'the first secret signs');
    assert.equal(after?.open(given(oldCookie)), undefined, 'the old secret is gone');
  });

  it('SignedCookieSessionFactory.open() rejects a number that JavaScript changes', async () => {
    const signer = new Signer({ secrets: SECRETS, salt: 'pyramid.session.' });
    const value = signer.encode('[1700000000,1700000000,{"user_id":9007199254740993}]');
    assert.equal(makeFactory().open(given(value)), undefined);
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

  it('SignedCookieSessionFactory.save() throws SessionTooLarge with the bytes of each key', () => {
    const factory = makeFactory();
    const session = factory.create().set('count', 7).set('name', 'x'.repeat(3000));
    assert.throws(() => factory.save(given(session)), (error) => {
      assert.ok(error instanceof SessionTooLarge);
      assert.match(error.message, /^\d{4} bytes, and the limit is 4096: /);
      assert.match(error.message, /\bcount 1\b/);
      assert.match(error.message, /\bname 3002\b/, '3000 characters and two quotes');
      return true;
    });
    session.set('name', 'x'.repeat(2900));
    const value = factory.save(given(session)) ?? '';
    assert.ok('session'.length + value.length <= MAX_COOKIE_SIZE, `${value.length} characters`);
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
