// Further proofs for step 5: patterns and paths that look like regular expressions, like properties
// of every object, or like an attack on the time of the server.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { explainedIt } from '../.tools/explain.ts';
import { makeRequest } from '../.tools/request.ts';
import { routerOf, visit } from '../.tools/routes.ts';
import { text } from '../src/04-http.ts';
import { Router, site } from '../src/05-router.ts';

const it = explainedIt(import.meta.url);

describe('05-router: further proofs', () => {
  it('Router.handle() uses the first of two patterns with parameters that match', async () => {
    const router = routerOf('/a/:x/b/c', '/:y/b/:z', '/:y/:w/b/d', '/:only');
    const table: [path: string, expected: string][] = [
      ['/a/1/b/c', '/a/:x/b/c {"x":"1"}'],
      ['/a/b/1', '/:y/b/:z {"y":"a","z":"1"}'],
      ['/a/1/b/d', '/:y/:w/b/d {"y":"a","w":"1"}'],
      ['/a/b/b/d', '/:y/:w/b/d {"y":"a","w":"b"}'],
      ['/a', '/:only {"only":"a"}'],
      ['/a/1/b/e', '404'],
    ];
    for (const [path, expected] of table) assert.equal(await visit(router, path), expected, path);
  });

  it('Router.handle() treats the properties of every object as ordinary names', async () => {
    const router = routerOf('/hello/:name', '/by/:__proto__/:constructor');
    for (const name of ['__proto__', 'constructor', 'hasOwnProperty', 'toString']) {
      assert.equal(await visit(router, `/${name}`), '404');
      assert.equal(await visit(router, `/hello/${name}/${name}`), '404');
      assert.equal(await visit(router, `/hello/${name}`), `/hello/:name {"name":"${name}"}`);
    }
    const expected = '/by/:__proto__/:constructor {"__proto__":"1","constructor":"2"}';
    assert.equal(await visit(router, '/by/1/2'), expected);
    assert.equal(Reflect.get({}, 'name'), undefined, 'Object.prototype has not changed');
  });

  it('Router.handle() finds each of a thousand routes', async () => {
    const numbers = [...Array(500).keys()];
    const router = routerOf(...numbers.flatMap((n) => [`/page/${n}`, `/list/${n}/:item`]));
    for (const n of numbers) {
      assert.equal(await visit(router, `/page/${n}`), `/page/${n} {}`);
      assert.equal(await visit(router, `/list/${n}/x`), `/list/${n}/:item {"item":"x"}`);
    }
    assert.equal(await visit(router, '/list/500/x'), '404');
  });

  it('Router.handle() needs little time for a path that almost matches', () => {
    const router = routerOf('/:a/:b/:c/:d/:e/:f/:g/x', '/a/a/a/a/a/a/a/:h', '/:a/:b/:c/:d/:e');
    for (const path of ['/'.repeat(8_000), '/a'.repeat(4_000), `/${'a'.repeat(8_000)}/`]) {
      const context = createContext({ handle: router.handle, request: makeRequest('GET', path) });
      const { status } = runInContext('handle(request)', context, { timeout: 5_000 }); // ms
      assert.equal(status, 404, path.slice(0, 10));
    }
  });

  it('Router.get() gives no character of a pattern a special meaning', async () => {
    const router = routerOf('/v1.0/:x', '/c++/:x', '/a(b)/:x', '/$1|2/:x', '/[0-9]/:x', '/~a-b/:x');
    const table: [path: string, expected: string][] = [
      ['/v1.0/y', '/v1.0/:x {"x":"y"}'],
      ['/v1X0/y', '404'],
      ['/c++/y', '/c++/:x {"x":"y"}'],
      ['/ccc/y', '404'],
      ['/a(b)/y', '/a(b)/:x {"x":"y"}'],
      ['/ab/y', '404'],
      ['/$1|2/y', '/$1|2/:x {"x":"y"}'],
      ['/[0-9]/y', '/[0-9]/:x {"x":"y"}'],
      ['/7/y', '404'],
      ['/~a-b/y', '/~a-b/:x {"x":"y"}'],
    ];
    for (const [path, expected] of table) assert.equal(await visit(router, path), expected, path);
  });

  it('Router.get() reads a colon as a parameter only at the start of a segment', async () => {
    const router = routerOf('/12:30/:x');
    assert.equal(await visit(router, '/12:30/y'), '/12:30/:x {"x":"y"}');
  });

  it('Router.handle() sends a 405 for a method that no page allows', async () => {
    for (const method of ['OPTIONS', 'TRACE', 'PROPFIND', 'get', '__proto__', 'constructor', '']) {
      const known = await site().handle(makeRequest(method, '/'));
      assert.equal(known.status, 405, `${method} /`);
      assert.equal(known.headers.allow, 'GET, HEAD', `${method} /`);
      assert.equal((await site().handle(makeRequest(method, '/nowhere'))).status, 404);
    }
  });

  it('Router.handle() decodes every text that encodeURIComponent encoded', async () => {
    const texts = ['a/b', 'a b', '100%', '?#&=', '..%2F', '...', '日本', '🍪', '\0', '\n'];
    const router = new Router().get('/hello/:name', ({ params }) => text(params.name ?? ''));
    for (const name of texts) {
      const path = `/hello/${encodeURIComponent(name)}`;
      assert.equal(await visit(router, path), name, path);
    }
  });
});
