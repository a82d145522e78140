import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given } from '../.tools/explain.ts';
import { assertCookie, bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { Cookie } from '../src/02-cookie.ts';
import { type Handler, type HttpRequest, text } from '../src/04-http.ts';
import { Session } from '../src/07-session.ts';
import { type SessionFactory, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { withSession } from '../src/08-session-factory.ts';
import { site as tutorial, type TutorialData } from '../src/09-tutorial.ts';
import { type CookieOptions, SessionCookie, site } from '../src/11-timeouts.ts';
import { type TimeoutOptions, withTimeouts } from '../src/11-timeouts.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970

/** The tutorial with timeouts, a clock, and a visitor. */
function makeTutorial(options: TimeoutOptions = {}) {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const { handle } = tutorial(withTimeouts(makeFactory(now), { now, ...options }));
  return { clock, visitor: new Visitor(handle) };
}

function makeFactory(now = () => NOW) {
  const demo = { secrets: ['itsaseekreet'], sessionClass: Session<TutorialData> };
  return new SignedCookieSessionFactory({ ...demo, now });
}

/** Opens the page and returns its count. */
async function count(visitor: Visitor): Promise<number> {
  const body = await visitor.text('/');
  return Number(/<p>Count: (\d+)<\/p>/.exec(body)?.[1]);
}

/** A page that writes only at `/set`, a clock, and a visitor who has been there. */
async function makeReader(options: TimeoutOptions = {}) {
  const clock = { now: NOW };
  const now = (): number => clock.now;
  const page: Handler<HttpRequest & { session: Session<TutorialData> }> = ({ path, session }) => {
    if (path === '/set') session.set('counter', 7);
    return text(`Count: ${session.get('counter')}`);
  };
  const factory = withTimeouts(makeFactory(now), { now, ...options });
  const visitor = new Visitor(withSession(factory)(page));
  await visitor.get('/set');
  return { clock, visitor };
}

describe('11-timeouts: the idle timeout and the absolute timeout', () => {
  it('withTimeouts() ends a session after the idle timeout, and not earlier', async () => {
    const { clock, visitor } = makeTutorial();
    assert.equal(await count(visitor), 1);
    clock.now += 1200; // the default: 20 minutes
    assert.equal(await count(visitor), 2, 'after exactly 1200 seconds');
    clock.now += 1200.001;
    assert.equal(await count(visitor), 1, 'after 1200.001 seconds');
  });

  it('withTimeouts() keeps a session while the visitor sends requests', async () => {
    const { clock, visitor } = makeTutorial({ idleTimeout: 60 });
    for (let visit = 1; visit <= 20; visit++, clock.now += 50) {
      assert.equal(await count(visitor), visit, `${clock.now - NOW} seconds after the first visit`);
    }
  });

  it('withTimeouts() ends each session after the absolute timeout', async () => {
    const { clock, visitor } = makeTutorial();
    for (let visit = 1; visit <= 37; visit++, clock.now += 1200) {
      assert.equal(await count(visitor), visit, `${clock.now - NOW} seconds after the first visit`);
    }
    assert.equal(await count(visitor), 1, '12 hours and 20 minutes after the first visit');
  });

  it('withTimeouts() ends a session one moment after the absolute timeout', async () => {
    const { clock, visitor } = makeTutorial({ absoluteTimeout: 100 });
    assert.equal(await count(visitor), 1);
    clock.now = NOW + 100;
    assert.equal(await count(visitor), 2, 'after exactly 100 seconds');
    clock.now = NOW + 100.001;
    assert.equal(await count(visitor), 1, 'the last request was 1 millisecond ago');
  });

  it('withTimeouts() rejects an old copy of a cookie, which an attacker can keep forever', async () => {
    const { clock, visitor } = makeTutorial();
    await count(visitor);
    const copy = visitor.cookies.get('session') ?? '';
    clock.now += 1200;
    visitor.cookies.set('session', copy);
    assert.equal(await count(visitor), 2, 'a copy that is 1200 seconds old');
    clock.now += 1;
    visitor.cookies.set('session', copy);
    assert.equal(await count(visitor), 1, 'a copy that is 1201 seconds old');
  });

  it('withTimeouts() replaces an expired session by a session that is new in every way', async () => {
    const cookie = makeFactory().save(makeFactory().create().set('counter', 7)) ?? '';
    const now = (): number => NOW + 1201;
    let received: Session<TutorialData> | undefined;
    const handle = withSession(withTimeouts(makeFactory(now), { now }))(({ session }) => {
      received = session;
      return text('');
    });
    await handle(makeRequest('GET', '/', { cookie: `session=${cookie}` }));
    assert.deepEqual([received?.isNew, received?.created, received?.size], [true, NOW + 1201, 0]);
  });

  it('withTimeouts() sets the time at which a store can delete the session', async () => {
    const factory = withTimeouts(makeFactory(), { absoluteTimeout: 3600, now: () => NOW });
    const session = factory.create().set('counter', 7);
    await factory.save(session);
    assert.equal(session.expires, NOW + 1200);
    session.created = NOW - 3000;
    await factory.save(session);
    assert.equal(session.expires, NOW + 600, 'the absolute timeout is the earlier one');
  });

  it('withTimeouts() counts the idle time from this save, not from the save before', async () => {
    const clock = { now: NOW };
    const now = (): number => clock.now;
    const factory = withTimeouts(makeFactory(now), { now });
    const value = await factory.save(factory.create().set('counter', 7));
    clock.now += 1000;
    const session = (await factory.open(value ?? '')) ?? assert.fail('the session is still valid');
    await factory.save(session.set('counter', 8));
    assert.equal(session.accessed, NOW, 'the save before');
    assert.equal(session.expires, NOW + 1000 + 1200);
  });

  it('withTimeouts() never ends a session if the timeouts are Infinity', async () => {
    const { clock, visitor } = makeTutorial({ idleTimeout: Infinity, absoluteTimeout: Infinity });
    await count(visitor);
    clock.now *= 2;
    assert.equal(await count(visitor), 2);
  });
});

describe('11-timeouts: renewal', () => {
  it('withTimeouts() renews an unchanged cookie that is older than reissueTime', async () => {
    const { clock, visitor } = await makeReader();
    clock.now = NOW + 120.9; // the default is 1200 / 10, and a cookie contains whole seconds
    assert.deepEqual(setCookies(await visitor.get('/')), [], 'the cookie is 120 seconds old');
    clock.now = NOW + 121;
    assert.match(setCookies(await visitor.get('/'))[0] ?? '', /^session=/, '121 seconds old');
    clock.now = NOW + 121 + 1200;
    assert.equal(await visitor.text('/'), 'Count: 7', 'the idle time starts again with this cookie');
  });

  it('withTimeouts() renews after one second if reissueTime is 0, and never if Infinity', async () => {
    for (const [reissueTime, isRenewed] of [[0, true], [Infinity, false]] as const) {
      const { clock, visitor } = await makeReader({ reissueTime });
      assert.deepEqual(setCookies(await visitor.get('/')), [], 'in the same second');
      clock.now += 1;
      const { length } = setCookies(await visitor.get('/'));
      assert.equal(length, isRenewed ? 1 : 0, `reissueTime ${reissueTime}`);
    }
  });

  it('withTimeouts() wraps any factory', async () => {
    const clock = { now: NOW };
    const sessions: Session<TutorialData>[] = []; // a store in memory
    const store: SessionFactory<Session<TutorialData>> = {
      cookie: new Cookie('id'),
      open: async (value) => sessions[Number(value)],
      create: () => new Session<TutorialData>(clock.now),
      save: async (session) => {
        if (sessions.includes(session)) return undefined;
        return String(sessions.push(session) - 1);
      },
    };
    const { handle } = tutorial(withTimeouts(store, { idleTimeout: 60, now: () => clock.now }));
    const visitor = new Visitor(handle);
    assert.deepEqual([await count(visitor), await count(visitor)], [1, 2]);
    clock.now += 61;
    assert.equal(await count(visitor), 1);
    assert.deepEqual([...visitor.cookies], [['id', '1']]);
  });

  it('withTimeouts() throws for times that make no sense', () => {
    const table: [options: TimeoutOptions, message: string][] = [
      [{ idleTimeout: -1 }, 'idleTimeout must be 0 seconds or more, not -1'],
      [{ idleTimeout: NaN }, 'idleTimeout must be 0 seconds or more, not NaN'],
      [{ absoluteTimeout: -0.5 }, 'absoluteTimeout must be 0 seconds or more, not -0.5'],
      [{ reissueTime: -1 }, 'reissueTime must be 0 seconds or more, not -1'],
      [{ reissueTime: 1200 }, 'reissueTime 1200 must be less than idleTimeout 1200'],
      [{ idleTimeout: 60, reissueTime: 61 }, 'reissueTime 61 must be less than idleTimeout 60'],
    ];
    for (const [options, message] of table) {
      const wrap = (): unknown => withTimeouts(makeFactory(), given(options));
      assert.throws(wrap, { name: 'RangeError', message });
    }
  });
});

describe('11-timeouts: the cookie', () => {
  it('SessionCookie.write() writes exactly these attributes', () => {
    const every: CookieOptions = {
      cookieName: 'sid', path: '/app', domain: 'example.org', maxAge: 1200, secure: true,
      httpOnly: false, sameSite: 'Strict',
    };
    const table: [options: CookieOptions, header: string][] = [
      [{}, 'session=x; Path=/; HttpOnly; SameSite=Lax'],
      [{ maxAge: 0 }, 'session=x; Max-Age=0; Path=/; HttpOnly; SameSite=Lax'],
      [{ maxAge: undefined, domain: undefined }, 'session=x; Path=/; HttpOnly; SameSite=Lax'],
      [{ secure: true, sameSite: 'None' }, 'session=x; Path=/; Secure; HttpOnly; SameSite=None'],
      [every, 'sid=x; Domain=example.org; Max-Age=1200; Path=/app; Secure; SameSite=Strict'],
    ];
    for (const [options, header] of table) {
      assertCookie(new SessionCookie(given(options)).write('x'), header);
    }
  });

  it('SessionCookie() rejects an option that would start another attribute or header', () => {
    const endings = ['; Domain=evil.example', ';', '\r\nSet-Cookie: a=1', '\n', '\0', ' ', 'é'];
    for (const ending of endings) {
      const table: CookieOptions[] = [
        { cookieName: `a${ending}` },
        { path: `/a${ending}` },
        { domain: `a${ending}` },
        { sameSite: `Lax${ending}` as 'Lax' },
        { maxAge: `60${ending}` as unknown as number },
      ];
      for (const options of table) {
        assert.throws(() => new SessionCookie(given(options)), TypeError);
      }
    }
  });

  it('site() of step 11 ends a session after 5 seconds, and its cookie lasts an hour', async (t) => {
    t.mock.method(Date, 'now', () => clock.now * 1000);
    const clock = { now: NOW };
    const visitor = new Visitor(site().handle);
    const response = await visitor.get('/');
    const header = setCookies(response)[0]?.replace(/^session=[\w-]+/, 'session=x');
    assertCookie(header, 'session=x; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax');
    assert.match(bodyText(response), /Count: 1</);
    clock.now += 5;
    assert.equal(await count(visitor), 2);
    clock.now += 6;
    assert.equal(await count(visitor), 1);
  });
});
