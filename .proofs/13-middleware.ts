// Further proofs of step 13: a group is the same as functions that are nested by hand.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { named, withGreeting } from '../.tools/middleware.ts';
import { bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { type Handler, text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory, withSession } from '../src/08-session-factory.ts';
import type { SessionRequest } from '../src/09-tutorial.ts';
import { type Middleware, RouteGroup, sessionFrom, site } from '../src/13-middleware.ts';

const it = explainedIt(import.meta.url);

type Data = { name: string };

const factory = new SignedCookieSessionFactory({ secrets: ['x'], sessionClass: Session<Data> });

describe('13-middleware: proofs', () => {
  it('RouteGroup.with() does the same as functions that are nested by hand', async () => {
    const router = new Router();
    const page: Handler<SessionRequest<Data> & { greeting: string }> = ({ greeting, session }) => {
      session.set('name', 'Ada');
      return text(greeting);
    };
    const group = RouteGroup.of(router).with(named('a')).with(sessionFrom(factory));
    group.with(withGreeting).get('/', page);
    const byHand: Handler = named('a')(withSession(factory)(withGreeting(page)));
    const [inGroup, nested] = [new Visitor(router.handle), new Visitor(byHand)];
    for (const expected of ['Hello visitor a', 'Hello Ada a']) {
      assert.equal(await inGroup.text('/'), expected);
      assert.equal(await nested.text('/'), expected);
    }
  });

  it('RouteGroup.get() lets an outer middleware catch the error of a page', async () => {
    const router = new Router();
    const rescued: Middleware<object> = (page) => async (request) => {
      try {
        return await page(request);
      } catch (error) {
        return text(`caught ${(error as Error).message}`);
      }
    };
    const fails: Handler = () => {
      throw new Error('a bug');
    };
    RouteGroup.of(router).with(rescued).with(named('a')).get('/', fails);
    assert.equal(bodyText(await router.handle(makeRequest())), 'caught a bug');
  });

  it('RouteGroup.get() throws for a path that has a page, also in another group', () => {
    const router = new Router();
    RouteGroup.of(router).get('/', () => text('first'));
    const second = RouteGroup.of(router).with(named('a'));
    const message = 'Cannot add GET / twice';
    assert.throws(() => second.get('/', () => text('second')), { name: 'TypeError', message });
  });

  it('site() of step 13 sets no cookie for a visitor who only reads the articles', async () => {
    const visitor = new Visitor(site().handle);
    const response = await visitor.get('/articles');
    assert.deepEqual([response.status, setCookies(response)], [200, []]);
    assert.match(await visitor.text('/'), /Count: 1/);
  });
});
