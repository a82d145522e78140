import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given, ofStep, witness } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { Cookie } from '../src/02-cookie.ts';
import type { HttpResponse } from '../src/04-http.ts';
import { Session } from '../src/07-session.ts';
import { type SessionFactory, SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { addTutorial, DEMO, site, TutorialViews } from '../src/09-tutorial.ts';
import type { Pages, SessionRequest, TutorialData } from '../src/09-tutorial.ts';

const it = explainedIt(import.meta.url);
const YEAR = 365 * 86_400; // seconds

/** Returns the number that the visitor sees. */
async function count(response: HttpResponse | Promise<HttpResponse>): Promise<number> {
  const body = bodyText(await response);
  const [, digits] = /<p>Count: (\d+)<\/p>/.exec(body) ?? [];
  assert.ok(digits, `this page shows no count:\n${body}`);
  return Number(digits);
}

function makeFactory(secret = 'itsaseekreet', now = () => Date.now() / 1000) {
  return new SignedCookieSessionFactory({
    secrets: [secret], sessionClass: Session<TutorialData>, now,
  });
}

function makeRequestWithSession(): SessionRequest<TutorialData> {
  return { ...makeRequest(), session: new Session<TutorialData>(0) };
}

describe('09-tutorial: the view class', () => {
  it('new TutorialViews() keeps the request', () => {
    const request = makeRequestWithSession();
    assert.equal(new TutorialViews(given(request)).request, request);
  });

  it('TutorialViews.counter counts when it is read', () => {
    const request = makeRequestWithSession();
    const views = new TutorialViews(given(request));
    assert.equal(request.session.get('counter'), undefined, 'a new object is not a visit');
    assert.equal(views.counter, 1);
    assert.equal(views.counter, 2);
    assert.equal(request.session.get('counter'), 2);
  });

  it('TutorialViews.render() shows the name and the count', async () => {
    const body = bodyText(new TutorialViews(given(makeRequestWithSession())).render('Ada'));
    assert.match(body, /<title>Quick Tutorial: Ada<\/title>/);
    assert.match(body, /<h1>Hi Ada<\/h1>\n<p>Count: 1<\/p>/);
  });

  it('TutorialViews.render() reads counter once', async () => {
    const reads: string[] = [];
    class WatchedViews extends TutorialViews {
      override get counter(): number {
        reads.push(this.request.path);
        return 7;
      }
    }
    const views = new WatchedViews(given(makeRequestWithSession()));
    assert.equal(await count(views.render('Ada')), 7, 'the page shows the overridden counter');
    assert.deepEqual(reads, ['/'], 'each further read would count one more visit');
  });

  it('TutorialViews.render() escapes the name in the title and in the heading', () => {
    const views = new TutorialViews(given(makeRequestWithSession()));
    const body = bodyText(views.render('</title><script>alert(1)</script>'));
    assert.doesNotMatch(body, /<script/);
    assert.match(body, /<title>Quick Tutorial: &lt;\/title&gt;/);
    assert.match(body, /<h1>Hi &lt;\/title&gt;/);
  });

  it('TutorialViews.home() shows Home View', () => {
    const views = new TutorialViews(given(makeRequestWithSession()));
    assert.match(bodyText(views.home()), /<h1>Hi Home View<\/h1>/);
  });

  it('TutorialViews.hello() shows Hello View', () => {
    const views = new TutorialViews(given(makeRequestWithSession()));
    assert.match(bodyText(views.hello()), /<h1>Hi Hello View<\/h1>/);
  });
});

describe('09-tutorial: the routes', () => {
  it('addTutorial() adds / and /howdy', async () => {
    const pages = new Map<string, (request: SessionRequest<TutorialData>) => unknown>();
    addTutorial({ get: (path, page) => pages.set(path, page) });
    assert.deepEqual([...pages.keys()], ['/', '/howdy']);
    for (const [path, name] of [['/', 'Home View'], ['/howdy', 'Hello View']] as const) {
      const request = given(makeRequestWithSession());
      const body = bodyText((await pages.get(path)?.(request)) as HttpResponse);
      assert.match(body, new RegExp(`<h1>Hi ${name}</h1>\n<p>Count: 1</p>`), 'a request of its own');
    }
  });

  it('addTutorial() does not compile if the routes have no session with a counter', () => {
    const get = (): void => {};
    const otherPages: Pages<SessionRequest<{ conuter: number }>> = { get };
    // @ts-expect-error: a misspelled key
    addTutorial(otherPages);
    const plainPages: Pages<ReturnType<typeof makeRequest>> = { get };
    // @ts-expect-error: requests without a session
    addTutorial(plainPages);
    const request = makeRequestWithSession();
    // @ts-expect-error: a misspelled key
    request.session.get('conuter');
    // @ts-expect-error: a string, where a number is required
    request.session.set('counter', '7');
    assert.ok(request);
  });

  it('site() of step 9 accepts a factory that keeps its sessions in memory', async () => {
    const sessions: Session<TutorialData>[] = [];
    const factory: SessionFactory<Session<TutorialData>> = {
      cookie: new Cookie('id'),
      open: async (value) => sessions[Number(value)],
      create: () => new Session<TutorialData>(0),
      save: async (session) => {
        if (sessions.includes(session)) return undefined; // the browser has the id
        return String(sessions.push(session) - 1);
      },
    };
    const { handle } = site(factory);
    const [ada, bob] = [new Visitor(handle), new Visitor(handle)];
    assert.equal(await count(ada.get('/')), 1);
    assert.equal(await count(bob.get('/')), 1);
    assert.equal(await count(ada.get('/howdy')), 2);
    assert.deepEqual([...ada.cookies, ...bob.cookies], [['id', '0'], ['id', '1']]);
  });

  it('site() of step 9 opens a session only for the two pages', async () => {
    const opened: string[] = [];
    const factory = makeFactory();
    const { handle: unwatched } = site({
      cookie: factory.cookie,
      open: (value) => (opened.push(value), undefined),
      create: () => (opened.push('new'), factory.create()),
      save: () => undefined,
    });
    const handle = witness(unwatched);
    const requests = [
      ['GET', '/style.css'], ['GET', '/favicon.svg'], ['GET', '/nonsense'], ['POST', '/'],
    ] as const;
    for (const [method, path] of requests) {
      const { headers } = await handle(makeRequest(method, path, { cookie: 'session=x' }));
      assert.equal(headers.vary, undefined, `${path} does not depend on the cookie`);
    }
    assert.deepEqual(opened, []);
    await handle(makeRequest('GET', '/', { cookie: 'session=x' }));
    assert.deepEqual(opened, ['x', 'new']);
  });
});

describe('09-tutorial: what the visitor sees', () => {
  it('site() of step 9 shows the title, the heading and the count of the original', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    const pages = [['/', 'Home View'], ['/howdy', 'Hello View']] as const;
    for (const [i, [path, name]] of pages.entries()) {
      const response = await visitor.get(path);
      assert.equal(response.status, 200, path);
      const body = bodyText(response);
      assert.match(body, new RegExp(`<title>Quick Tutorial: ${name}</title>`), path);
      assert.match(body, new RegExp(`<h1>Hi ${name}</h1>\n<p>Count: ${i + 1}</p>`), path);
    }
  });

  it('site() of step 9 shares one count between / and /howdy', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    for (const [i, path] of ['/', '/', '/howdy', '/', '/howdy'].entries()) {
      assert.equal(await count(visitor.get(path)), i + 1, `visit ${i + 1} opens ${path}`);
    }
  });

  it('site() of step 9 counts for each browser separately', async () => {
    const handle = ofStep(site().handle);
    const [ada, bob] = [new Visitor(handle), new Visitor(handle)];
    assert.equal(await count(ada.get('/')), 1);
    assert.equal(await count(ada.get('/')), 2);
    assert.equal(await count(bob.get('/')), 1, 'this is the first visit of the second browser');
    assert.equal(await count(ada.get('/howdy')), 3);
  });

  /** Counts twice on one server, and then once on a server that was started later. */
  async function countAfterRestart(secret: string): Promise<number> {
    const server = { handle: ofStep(site().handle) };
    const visitor = new Visitor((request) => server.handle(request));
    await visitor.get('/');
    await visitor.get('/howdy');
    server.handle = site(makeFactory(secret)).handle;
    return count(visitor.get('/'));
  }

  it('site() of step 9 continues the count after a restart', async () => {
    assert.equal(await countAfterRestart('itsaseekreet'), 3, 'the cookie contains the count');
  });

  it('site() of step 9 loses the count if the secret changes', async () => {
    assert.equal(await countAfterRestart('another'), 1, 'the signature is no longer valid');
  });

  it('site() of step 9 starts again at 1 if the visitor changes the cookie', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    await visitor.get('/');
    await visitor.get('/');
    const value = visitor.cookies.get('session') ?? '';
    const bytes = Buffer.from(value, 'base64url').toString('latin1');
    const forged = Buffer.from(bytes.replace('"counter":2', '"counter":9'), 'latin1');
    visitor.cookies.set('session', forged.toString('base64url'));
    assert.equal(await count(visitor.get('/')), 1);
  });

  it('site() of step 9 does not count HEAD, other methods, files and unknown paths', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    let expected = await count(visitor.get('/'));
    const requests = [
      ['HEAD', '/', 200], ['HEAD', '/howdy', 200], ['POST', '/', 405], ['DELETE', '/howdy', 405],
      ['GET', '/style.css', 200], ['GET', '/favicon.svg', 200], ['GET', '/favicon.ico', 404],
      ['GET', '/howdy/', 404], ['GET', '/nonsense', 404],
    ] as const;
    for (const [method, path, status] of requests) {
      const response = await visitor.request(method, path);
      assert.equal(response.status, status, `${method} ${path}`);
      assert.deepEqual(setCookies(response), [], `${method} ${path}`);
      expected += 1;
      assert.equal(await count(visitor.get('/')), expected, `after ${method} ${path}`);
    }
  });

  it('site() of step 9 continues the count of a cookie that real Pyramid wrote', async () => {
    const file = readFileSync(new URL('./pyramid/vectors.json', import.meta.url), 'utf8');
    const { good } = JSON.parse(file) as { good: { name: string; cookie: string }[] };
    const { cookie = '' } = good.find(({ name }) => name === 'counter 12345') ?? {};
    const visitor = new Visitor(ofStep(site().handle));
    visitor.cookies.set('session', cookie);
    assert.equal(await count(visitor.get('/')), 12346);
  });

  it('site() of step 9 accepts a cookie that is a year old: step 11 fixes it', async () => {
    const clock = { now: 1_700_000_000 };
    const visitor = new Visitor(site(makeFactory(DEMO.secrets[0], () => clock.now)).handle);
    await visitor.get('/');
    clock.now += YEAR;
    assert.equal(await count(visitor.get('/')), 2);
  });
});
