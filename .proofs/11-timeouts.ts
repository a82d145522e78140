// Further proofs of step 11: old cookies compared with real Pyramid, unusual clocks, and the picture
// of a cookie.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { assertCookie, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { parseCookies } from '../src/02-cookie.ts';
import { Signer } from '../src/03-signer.ts';
import { type Handler, text } from '../src/04-http.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory, withSession } from '../src/08-session-factory.ts';
import { explainSigned } from '../src/10-inspector.ts';
import { SessionCookie, type TimeoutOptions, withTimeouts } from '../src/11-timeouts.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds since 1970
const SECRETS = ['itsaseekreet'];
const signer = new Signer({ secrets: SECRETS, salt: 'pyramid.session.' });

function makeFactory(now: number, options: TimeoutOptions = {}, secrets = SECRETS) {
  const clock = { now: () => now };
  const signed = new SignedCookieSessionFactory({ secrets, sessionClass: Session, ...clock });
  return withTimeouts(signed, { ...clock, ...options });
}

/** Returns the `Set-Cookie` header after a page that does nothing, if there is one. */
async function setCookieAfter(factory: ReturnType<typeof makeFactory>, cookie: string) {
  const page = withSession(factory)(() => text(''));
  return setCookies(await page(makeRequest('GET', '/', { cookie: `session=${cookie}` })))[0];
}

// Results of real Pyramid 2.0 (test/pyramid).

type Special = {
  name: string;
  options: { secret: string; timeout: number | string | null };
  cookie: string;
  now: number;
  outcome: 'new' | 'kept' | 'empty' | 'error';
};
type Reissue = {
  reissue_time: number | null;
  cookie: string;
  now: number;
  op: 'none' | 'read'; // whether the page used the session
  sent: boolean;
  payload_json: string | null;
};

const { special, reissue } = JSON.parse(
  readFileSync(new URL('../test/pyramid/vectors.json', import.meta.url), 'utf8'),
) as { special: Special[]; reissue: Reissue[] };

describe('11-timeouts: old cookies and real Pyramid', () => {
  it('withTimeouts() expires the cookies that Pyramid expires', async () => {
    const names = [
      'at the limit: 1200 s after renewed', 'expired: 1200 s + 1 us after renewed', 'expired long ago',
      'timeout 0, same second', 'timeout "1200" (string, int() is applied)',
      'timeout null, years later', 'signed: renewed is negative', 'expired and state not a dict',
    ];
    for (const name of names) {
      const { options, cookie, now, outcome } = special.find((one) => one.name === name) ?? assert.fail(name);
      const idleTimeout = options.timeout === null ? Infinity : Number(options.timeout);
      const timeouts = { idleTimeout, absoluteTimeout: Infinity, reissueTime: Infinity };
      const session = await makeFactory(now, timeouts, [options.secret]).open(cookie);
      // Pyramid keeps an expired session without its data, and this site creates a new session.
      assert.equal(session === undefined ? 'empty' : 'kept', outcome, name);
    }
    const timed = special.filter(({ options }) => options.timeout !== 1200).map(({ name }) => name);
    const others = timed.filter((name) => !names.includes(name));
    assert.deepEqual(others, ['timeout negative'], 'a negative timeout throws here');
    assert.throws(() => makeFactory(NOW, { idleTimeout: -1 }), RangeError);
  });

  it('withTimeouts() renews when Pyramid renews, except what has expired', async () => {
    let tried = 0;
    for (const { reissue_time, cookie, now, op, sent, payload_json } of reissue) {
      if (reissue_time === -1 || op === 'none') continue; // withSession always opens the session
      const what = `reissueTime ${reissue_time}, ${now - NOW} seconds`;
      const factory = makeFactory(now, { reissueTime: reissue_time ?? Infinity });
      const header = await setCookieAfter(factory, cookie);
      const isExpired = now - NOW > 1200; // Pyramid sends an empty session, this site sends nothing
      assert.equal(header !== undefined, sent && !isExpired, what);
      tried += 1;
      if (header === undefined) continue;
      const payload = signer.decode(/=([\w-]+)/.exec(header)?.[1] ?? '');
      assert.deepEqual(JSON.parse(payload ?? ''), JSON.parse(payload_json ?? ''), what);
    }
    assert.deepEqual([reissue.length, tried], [70, 28]);
  });
});

describe('11-timeouts: proofs about time', () => {
  it('withTimeouts() accepts a cookie from the future: the clock was set back', async () => {
    const cookie = signer.encode(`[${NOW},${NOW},{"counter":7}]`);
    const session = await makeFactory(NOW - 3600).open(cookie);
    assert.equal(session?.get('counter'), 7);
    assert.equal(session?.isChanged, false);
  });

  it('withTimeouts() has the clock of the machine by default, in seconds', async (t) => {
    t.mock.method(Date, 'now', () => clock.now * 1000);
    const clock = { now: NOW };
    const options = { secrets: SECRETS, sessionClass: Session<{ counter: number }> };
    const factory = withTimeouts(new SignedCookieSessionFactory(options));
    const value = await factory.save(factory.create().set('counter', 7));
    clock.now = NOW + 1200;
    assert.ok(await factory.open(value ?? ''));
    clock.now = NOW + 1201;
    assert.equal(await factory.open(value ?? ''), undefined);
  });

  it('withTimeouts() renews no session of infinite idle time, unless reissueTime says so', async () => {
    const cookie = signer.encode(`[${NOW},${NOW},{"counter":7}]`);
    const forever = { idleTimeout: Infinity, absoluteTimeout: Infinity };
    assert.equal(await setCookieAfter(makeFactory(2 * NOW, forever), cookie), undefined);
    const renewed = makeFactory(2 * NOW, { ...forever, reissueTime: 60 });
    assert.match((await setCookieAfter(renewed, cookie)) ?? '', /^session=[\w-]+;/);
  });

  it('withTimeouts() keeps `created` at a renewal, so the absolute timeout comes nearer', async () => {
    const cookie = signer.encode(`[${NOW},${NOW - 100},{"counter":7}]`);
    const header = await setCookieAfter(makeFactory(NOW + 500), cookie);
    const payload = signer.decode(/=([\w-]+)/.exec(header ?? '')?.[1] ?? '');
    assert.equal(payload, `[${NOW + 500},${NOW - 100},{"counter":7}]`);
  });

  it('withTimeouts() creates a new session after an empty, a forged and an expired cookie', async () => {
    const expired = signer.encode(`[${NOW - 1201},${NOW - 1201},{"counter":7}]`);
    for (const value of ['', 'forged', expired]) {
      assert.equal(await makeFactory(NOW).open(value), undefined, value);
    }
  });

  it('withSession() deletes a cookie with Max-Age=0 after its other attributes', async () => {
    const cookie = new SessionCookie({ maxAge: 3600, secure: true });
    const sessionClass = Session<{ counter: number }>;
    const options = { secrets: SECRETS, sessionClass, now: () => NOW, cookie };
    const factory = withTimeouts(new SignedCookieSessionFactory(options), { now: () => NOW });
    const page: Handler = withSession(factory)(({ path, session }) => {
      if (path === '/end') session.clear();
      else session.set('counter', 7);
      return text('');
    });
    const visitor = new Visitor(page);
    await visitor.get('/');
    assert.equal(visitor.cookies.size, 1);
    const header = 'session=; Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0';
    // If an attribute occurs twice, the last one counts (RFC 6265bis §5.6).
    const [sent, ...others] = setCookies(await visitor.get('/end'));
    assert.deepEqual(others, []);
    assertCookie(sent, header);
  });
});

describe('11-timeouts: the picture of a cookie', () => {
  const picture = readFileSync(new URL('../public/cookie.svg', import.meta.url), 'utf8');

  /** Returns the text of the elements that the pattern finds, without markup. */
  const textOf = (pattern: RegExp): string =>
    [...picture.matchAll(pattern)].map(([, part = '']) => part.replace(/<[^>]*>|\n/g, '')).join('');

  it('cookie.svg shows a header that this site would set, and its parts', () => {
    const header = textOf(/<g id="line">([^]*?)<\/g>/g);
    const [[, value = ''] = []] = parseCookies(header);
    assert.equal(signer.decode(value), textOf(/<text id="json"[^>]*>(.*?)<\/text>/g));
    assert.equal(signer.decode(value), '[1700000180,1700000000,{"counter":2}]');
    const whole = new SessionCookie({ maxAge: 1200, secure: true }).write(value);
    assertCookie(header.replaceAll(' ', '').replaceAll(';', '; '), whole, 'without line breaks');
    for (const { name, text } of explainSigned()(value)) {
      const colored = textOf(new RegExp(`<tspan class="${name}" fill="#\\w+">([\\w-]+)<`, 'g'));
      assert.equal(colored, text, name);
    }
    for (const attribute of whole.split('; ').slice(1)) {
      assert.ok(picture.includes(`>${attribute}</text>`), `a row for ${attribute}`);
    }
  });
});
