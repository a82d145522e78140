import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, ofStep, witness } from '../.tools/explain.ts';
import { named, withGreeting } from '../.tools/middleware.ts';
import { bodyText, makeRequest, Visitor } from '../.tools/request.ts';
import { type Handler, problem, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { addTutorial, DEMO } from '../src/09-tutorial.ts';
import type { SessionRequest, TutorialData } from '../src/09-tutorial.ts';
import { addArticles } from '../src/12-forms.ts';
import { emptySite, type Middleware, RouteGroup, sessionFrom, site } from '../src/13-middleware.ts';

const it = explainedIt(import.meta.url);

type Data = TutorialData & { name: string };

const factory = new SignedCookieSessionFactory({ secrets: ['x'], sessionClass: Session<Data> });

/** Middleware that lets only requests with a key pass. */
const withKey: Middleware<{ key: string }> = (page) => (request) => {
  const key = request.headers['x-key'];
  return key === undefined ? problem(403, 'Send a key.') : page({ ...request, key });
};

async function open(router: Router, path: string, method = 'GET'): Promise<string> {
  return bodyText(await router.handle(makeRequest(method, path)));
}

describe('13-middleware: RouteGroup', () => {
  it('RouteGroup.of() makes a group that adds its pages to the router', async () => {
    const router = new Router();
    RouteGroup.of(router)
      .get('/', () => text('read'))
      .post('/', () => text('written'))
      .get('/about', () => text('about'));
    assert.equal(await open(router, '/'), 'read');
    assert.equal(await open(router, '/', 'POST'), 'written');
    assert.equal(await open(router, '/about'), 'about');
    assert.equal((await router.handle(makeRequest('GET', '/nonsense'))).status, 404);
  });

  it('RouteGroup.with() adds a property to the request of each page', async () => {
    const router = new Router();
    RouteGroup.of(router)
      .with(named('a'))
      .get('/', ({ names }) => text(`read ${names}:`))
      .post('/', ({ names }) => text(`written ${names}:`));
    assert.equal(await open(router, '/'), 'read a: a');
    assert.equal(await open(router, '/', 'POST'), 'written a: a');
  });

  it('RouteGroup.with() puts the new middleware inside all others', async () => {
    const router = new Router();
    const group = RouteGroup.of(router).with(named('a')).with(named('b')).with(named('c'));
    group.get('/', ({ names }) => text(`${names}:`));
    // The request passes a, b and c on its way in. The response passes c, b and a on its way out.
    assert.equal(await open(router, '/'), 'a,b,c: c b a');
  });

  it('RouteGroup.with() does not change the group that it extends', async () => {
    const router = new Router();
    const outer = RouteGroup.of(router).with(named('a'));
    outer.with(named('b')).get('/inner', () => text('inner'));
    outer.get('/outer', () => text('outer'));
    RouteGroup.of(router).get('/bare', () => text('bare'));
    assert.equal(await open(router, '/inner'), 'inner b a');
    assert.equal(await open(router, '/outer'), 'outer a');
    assert.equal(await open(router, '/bare'), 'bare');
  });

  it('RouteGroup.get() and RouteGroup.post() wrap each page in the middleware', async () => {
    const router = new Router();
    const group = RouteGroup.of(router).with(withKey);
    const page: Handler = () => assert.fail('the page ran without a key');
    for (const path of ['/a', '/b', '/c']) group.get(path, page).post(path, page);
    for (const path of ['/a', '/b', '/c']) {
      for (const method of ['GET', 'HEAD', 'POST']) {
        const { status } = await router.handle(makeRequest(method, path));
        assert.equal(status, 403, `${method} ${path}`);
      }
    }
  });

  it('RouteGroup.get() runs no inner middleware if an outer middleware responds', async () => {
    const router = new Router();
    const ran: string[] = [];
    const noting: Middleware<object> = (page) => (request) => {
      ran.push('inner');
      return page(request);
    };
    RouteGroup.of(router).with(withKey).with(noting).get('/', ({ key }) => text(`key ${key}`));
    assert.equal((await router.handle(makeRequest())).status, 403);
    assert.deepEqual(ran, []);
    const response = await router.handle(makeRequest('GET', '/', { 'x-key': '7' }));
    assert.equal(bodyText(response), 'key 7');
    assert.deepEqual(ran, ['inner']);
  });

  it('RouteGroup.wrap() wraps a page without a route', async () => {
    const router = new Router();
    const group = RouteGroup.of(router).with(named('a')).with(named('b'));
    const handler = group.wrap(({ names }) => text(`${names}:`));
    assert.equal(bodyText(await handler(makeRequest())), 'a,b: b a');
    assert.equal((await router.handle(makeRequest())).status, 404);
  });
});

describe('13-middleware: sessions', () => {
  it('sessionFrom() opens and saves one session for all pages of the group', async () => {
    const router = new Router();
    addTutorial(RouteGroup.of(router).with(sessionFrom(factory)));
    const [ada, bob] = [new Visitor(router.handle), new Visitor(router.handle)];
    assert.match(await ada.text('/'), /<p>Count: 1<\/p>/);
    assert.match(await ada.text('/howdy'), /<p>Count: 2<\/p>/);
    assert.match(await bob.text('/howdy'), /<p>Count: 1<\/p>/, 'another visitor');
    assert.match(await ada.text('/'), /<p>Count: 3<\/p>/);
  });

  it('emptySite() has a style sheet, and no other page and no middleware', async () => {
    const { router, group } = emptySite(Session<Data>);
    assert.equal((await router.handle(makeRequest('GET', '/style.css'))).status, 200);
    assert.equal((await router.handle(makeRequest('GET', '/'))).status, 404);
    group.get('/', (request) => text(`session: ${'session' in request}`));
    assert.equal(await open(router, '/'), 'session: false');
  });

  it('emptySite() opens sessions of the class that it receives', async () => {
    class NamedSession extends Session<Data> {
      readonly hello = 'Hello';
    }
    const { router, group, session } = emptySite(NamedSession);
    group.with(session).get('/', ({ session }) => {
      session.set('name', 'Ada');
      return text(`${session.hello}, ${session.isNew ? 'new' : 'known'} visitor`);
    });
    const visitor = new Visitor(router.handle);
    assert.equal(await visitor.text('/'), 'Hello, new visitor');
    assert.equal(await visitor.text('/'), 'Hello, known visitor');
  });

  it('emptySite() has signed sessions, which end after 20 minutes', async () => {
    const { factory } = emptySite(Session<Data>);
    for (const minutes of [19, 21]) {
      const now = () => Date.now() / 1000 - minutes * 60;
      const past = new SignedCookieSessionFactory({ ...DEMO, sessionClass: Session<Data>, now });
      const session = past.create();
      session.set('name', 'Ada');
      const opened = await factory.open(past.save(session) ?? '');
      assert.equal(opened?.get('name'), minutes < 20 ? 'Ada' : undefined, `${minutes} minutes old`);
    }
  });

  it('site() of step 13 opens the session for each of its pages', async () => {
    const handle = witness(ofStep(site().handle));
    for (const path of ['/', '/howdy', '/articles']) {
      for (const method of ['GET', 'POST']) {
        const { status, headers } = await handle(makeRequest(method, path));
        const isPage = status !== 405;
        assert.equal(headers.vary, isPage ? 'Cookie' : undefined, `${method} ${path}`);
      }
    }
    const style = await handle(makeRequest('GET', '/style.css'));
    assert.equal(style.headers.vary, undefined, 'a style sheet is the same for each visitor');
  });
});

// A line below `@ts-expect-error` must not compile: `npm run check` reports it if it compiles.
describe('13-middleware: what the compiler rejects', () => {
  it('RouteGroup.with() does not compile if the request lacks what the middleware needs', () => {
    const router = new Router();
    const inOrder = RouteGroup.of(router).with(sessionFrom(factory)).with(withGreeting);
    // @ts-expect-error: without a session
    RouteGroup.of(router).with(withGreeting);
    // @ts-expect-error: the order matters, because the session is opened too late
    RouteGroup.of(router).with(withGreeting).with(sessionFrom(factory));
    const other = { secrets: ['x'], sessionClass: Session<{ theme: string }> };
    const themes = RouteGroup.of(router).with(sessionFrom(new SignedCookieSessionFactory(other)));
    // @ts-expect-error: a session with other keys
    themes.with(withGreeting);
    assert.ok(inOrder instanceof RouteGroup);
  });

  it('RouteGroup.get() does not compile if the page needs more than the group adds', () => {
    const needsSession: Handler<SessionRequest<Data>> = ({ session }) => text(`${session.size}`);
    const router = new Router();
    const bare = RouteGroup.of(router);
    // @ts-expect-error: a page without its session
    bare.get('/a', needsSession);
    // @ts-expect-error: the same for POST
    bare.post('/a', needsSession);
    // @ts-expect-error: the same for a page without a route
    bare.wrap(needsSession);
    // @ts-expect-error: the group adds a session, and no greeting
    bare.with(sessionFrom(factory)).get('/b', ({ greeting }) => text(greeting));
    const pages = bare.with(sessionFrom(factory)).get('/c', needsSession);
    assert.ok(pages instanceof RouteGroup);
  });

  it('RouteGroup.get() does not compile if a page misspells a key of the session', () => {
    const pages = RouteGroup.of(new Router()).with(sessionFrom(factory));
    pages.get('/right', ({ session }) => text(`${session.get('name')}`));
    // @ts-expect-error: a misspelled key
    pages.get('/misspelled', ({ session }) => text(`${session.get('nmae')}`));
    // @ts-expect-error: a value of another type
    pages.get('/type', ({ session }) => text(`${session.set('name', 7).size}`));
    assert.ok(pages instanceof RouteGroup);
  });

  it('addTutorial() and addArticles() compile only in a group with what they need', () => {
    const bare = RouteGroup.of(new Router());
    // @ts-expect-error: the tutorial counts in a session
    addTutorial(bare);
    const other = { secrets: ['x'], sessionClass: Session<{ theme: string }> };
    const themes = bare.with(sessionFrom(new SignedCookieSessionFactory(other)));
    // @ts-expect-error: a session without the key `counter`
    addTutorial({ get: (path, page) => themes.get(`/themes${path}`, page) });
    addArticles(bare.with(named('a')), ({ names }) => assert.ok(names));
    // @ts-expect-error: the message after saving needs a session
    const add = () => addArticles(bare, ({ session }) => session.clear());
    assert.equal(typeof add, 'function');
  });
});
