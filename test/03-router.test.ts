import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { parseRequest, text } from '../src/02-http.ts';
import type { Handler, HttpResponse } from '../src/02-http.ts';
import { Router, site } from '../src/03-router.ts';
import type { ParamsOf } from '../src/03-router.ts';

const it = explainedIt(import.meta.url);
const page: Handler = () => text('a page');

/** A router on which each pattern answers GET with its own text. */
function routerOf(...patterns: string[]): Router {
  const router = new Router();
  for (const pattern of patterns) router.get(pattern, () => text(pattern));
  return router;
}

/** 'pattern {"name":"value"}' of what is found, or 'nothing'. */
async function lookUp(router: Router, path: string): Promise<string> {
  const found = router.find(path);
  const handler = found?.handlers.get('GET');
  if (!found || !handler) return 'nothing';
  const request = parseRequest('GET', path);
  assert.ok('path' in request, `${path} is no URL`);
  const { body } = await handler({ ...request, params: found.params });
  return `${body} ${JSON.stringify(found.params)}`;
}

/** What a router answers to a request line. */
async function ask(router: Router, method: string, target: string): Promise<HttpResponse> {
  const request = parseRequest(method, target);
  return 'status' in request ? request : witness(router.handle)(request);
}

describe('03-router', () => {
  it('find() gives the route and its parameters, decoded', async () => {
    const router = routerOf('/', '/howdy', '/hello/:name', '/a/:b/c/:d', '/dir/');
    const table: [path: string, expected: string, why: string][] = [
      ['/', '/ {}', 'the root'],
      ['/howdy', '/howdy {}', 'a static path'],
      ['/hello/Ada', '/hello/:name {"name":"Ada"}', 'a parameter'],
      ['/hello/caf%C3%A9', '/hello/:name {"name":"café"}', 'UTF-8'],
      ['/hello/a%20b+c', '/hello/:name {"name":"a b+c"}', 'a + is a + in a path'],
      ['/hello/a%2Fb', '/hello/:name {"name":"a/b"}', 'an encoded slash divides nothing'],
      ['/hello/%252F', '/hello/:name {"name":"%2F"}', 'decoded once'],
      ['/hello/:name', '/hello/:name {"name":":name"}', 'a colon is no magic in a path'],
      ['/a/1/c/2', '/a/:b/c/:d {"b":"1","d":"2"}', 'two parameters'],
      ['/dir/', '/dir/ {}', 'a slash at the end, as in the pattern'],
      ['', 'nothing', 'no path'],
      ['*', 'nothing', 'asterisk-form'],
      ['//', 'nothing', 'two slashes'],
      ['/howdy/', 'nothing', 'a slash too many'],
      ['/dir', 'nothing', 'a slash too few'],
      ['/hello', 'nothing', 'no parameter'],
      ['/hello/', 'nothing', 'an empty parameter'],
      ['/hello/Ada/', 'nothing', 'a slash after a parameter'],
      ['/a//c/2', 'nothing', 'an empty parameter between'],
      ['/Howdy', 'nothing', 'paths are case-sensitive'],
      ['/howdy/more', 'nothing', 'below a page'],
    ];
    for (const [path, expected, why] of table) {
      assert.equal(await lookUp(router, path), expected, `${path}: ${why}`);
    }
  });

  it('find() prefers a literal to a parameter, in whatever order they were added', async () => {
    for (const patterns of [['/user/new', '/user/:id'], ['/user/:id', '/user/new']]) {
      const router = routerOf(...patterns);
      assert.equal(await lookUp(router, '/user/new'), '/user/new {}');
      assert.equal(await lookUp(router, '/user/7'), '/user/:id {"id":"7"}');
    }
  });

  it('find() goes back when a literal leads nowhere, and forgets what it took', async () => {
    const router = routerOf('/a/:x/b/c', '/:y/b/:z', '/:y/:w/b/d', '/:only');
    const table: [path: string, expected: string][] = [
      ['/a/1/b/c', '/a/:x/b/c {"x":"1"}'],
      ['/a/b/1', '/:y/b/:z {"y":"a","z":"1"}'],
      ['/a/1/b/d', '/:y/:w/b/d {"y":"a","w":"1"}'],
      ['/a/b/b/d', '/:y/:w/b/d {"y":"a","w":"b"}'],
      ['/a', '/:only {"only":"a"}'],
      ['/a/1/b/e', 'nothing'],
    ];
    for (const [path, expected] of table) {
      assert.equal(await lookUp(router, path), expected, `the route of ${path}, and its parameters`);
    }
  });

  it('find() makes nothing special of the names that every object has', async () => {
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString'];
    const router = routerOf('/hello/:name', '/by/:__proto__/:constructor');
    for (const name of names) {
      assert.equal(await lookUp(router, `/${name}`), 'nothing', `/${name}`);
      assert.equal(await lookUp(router, `/hello/${name}/${name}`), 'nothing');
      assert.equal(await lookUp(router, `/hello/${name}`), `/hello/:name {"name":"${name}"}`);
    }
    const params = router.find('/by/1/2')?.params ?? {};
    assert.deepEqual(Object.entries(params), [['__proto__', '1'], ['constructor', '2']]);
    assert.equal(Reflect.get({}, 'name'), undefined, 'Object.prototype was reached');
  });

  it('find() finds each of a thousand routes', async () => {
    const numbers = [...Array(500).keys()];
    const router = routerOf(...numbers.flatMap((n) => [`/page/${n}`, `/list/${n}/:item`]));
    for (const n of numbers) {
      assert.equal(await lookUp(router, `/page/${n}`), `/page/${n} {}`);
      assert.equal(await lookUp(router, `/list/${n}/x`), `/list/${n}/:item {"item":"x"}`);
    }
    assert.equal(await lookUp(router, '/list/500/x'), 'nothing');
  });

  it('find() is not slowed by a path of slashes, nor by one that almost matches', () => {
    const router = routerOf('/:a/:b/:c/:d/:e/:f/:g/x', '/a/a/a/a/a/a/a/:h');
    assert.equal(router.find('/'.repeat(8_000)), undefined);
    assert.equal(router.find('/a'.repeat(4_000)), undefined);
  });

  it('get() and post() refuse a route that is there already', () => {
    const table: [what: string, add: (router: Router) => Router, message: RegExp][] = [
      ['twice', (r) => r.get('/a', page).get('/a', page), /^Cannot add GET '\/a': '\/a' is there/],
      ['POST twice', (r) => r.post('/a', page).post('/a', page), /^Cannot add POST '\/a'/],
      ['another name', (r) => r.get('/:a', page).get('/:b', page), /GET '\/:b': '\/:a' is there/],
      ['another method as well', (r) => r.get('/:a', page).post('/:b', page), /POST '\/:b'/],
    ];
    for (const [what, add, message] of table) {
      const story = `${what}: a TypeError, with a message like ${message}`;
      assert.throws(() => add(new Router()), { name: 'TypeError', message }, story);
    }
    assert.ok(new Router().get('/a', page).post('/a', page), 'GET and POST are two');
  });

  it('get() refuses a pattern that does not begin with a slash', () => {
    for (const pattern of ['', 'howdy', '*', ':name', 'http://host/']) {
      const message = `Cannot add '${pattern}': it must begin with '/'`;
      assert.throws(() => new Router().get(pattern, page), { name: 'TypeError', message });
    }
  });

  it('get() tells the compiler which parameters there are', async () => {
    const params: ParamsOf<'/a/:b/c/:d'> = { b: '1', d: '2' };
    const router = new Router().get('/a/:b/c/:d', ({ params: { b, d } }) => text(b + d));
    assert.equal((await ask(router, 'GET', `/a/${params.b}/c/${params.d}`)).body, '12');
    // @ts-expect-error: '/:name' has no parameter called nam
    router.get('/:name', ({ params }) => text(params.nam));
  });

  it('handle() answers GET, HEAD and POST with their handlers', async () => {
    const router = new Router()
      .get('/form', ({ method }) => text(`form for ${method}`))
      .post('/form', () => text('taken'));
    assert.deepEqual(await ask(router, 'GET', '/form?q=1'), text('form for GET'));
    assert.deepEqual(await ask(router, 'HEAD', '/form'), text('form for HEAD'));
    assert.deepEqual(await ask(router, 'POST', '/form'), text('taken'));
  });

  it('handle() says 404 where there is nothing', async () => {
    const answer = await ask(site(), 'GET', '/nowhere%0A');
    assert.equal(answer.status, 404);
    assert.equal(answer.body, '404 Not Found\n\nThere is no page at /nowhere%0A.\n');
    assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8', 'so no markup runs');
    for (const method of ['HEAD', 'POST', 'DELETE', 'OPTIONS']) {
      assert.equal((await ask(site(), method, '/nowhere')).status, 404, `${method} /nowhere`);
    }
  });

  it('handle() says 405, and in Allow what would do, to a method that a page has not', async () => {
    const router = new Router().get('/get', page).post('/post', page);
    router.get('/both', page).post('/both', page);
    const table: [method: string, path: string, allow: string][] = [
      ['POST', '/get', 'GET, HEAD, OPTIONS'],
      ['DELETE', '/get', 'GET, HEAD, OPTIONS'],
      ['GET', '/post', 'POST, OPTIONS'],
      ['HEAD', '/post', 'POST, OPTIONS'],
      ['PUT', '/both', 'GET, HEAD, POST, OPTIONS'],
      ['PATCH', '/both', 'GET, HEAD, POST, OPTIONS'],
    ];
    for (const [method, path, allow] of table) {
      const { status, headers, body } = await ask(router, method, path);
      assert.equal(status, 405, `${method} ${path}`);
      assert.equal(headers.allow, allow, `${method} ${path}`);
      assert.equal(headers['content-type'], 'text/plain; charset=utf-8', 'the path is in the body');
      assert.match(String(body), new RegExp(`^405 Method Not Allowed\n\n${path} takes ${allow},`));
    }
  });

  it('handle() answers OPTIONS with what a page allows, or the whole server', async () => {
    const table: [target: string, allow: string][] = [
      ['/howdy', 'GET, HEAD, OPTIONS'],
      ['/hello/Ada', 'GET, HEAD, OPTIONS'],
      ['*', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'],
    ];
    for (const [target, allow] of table) {
      const expected = { status: 204, headers: { allow }, body: '' };
      assert.deepEqual(await ask(site(), 'OPTIONS', target), expected, `OPTIONS ${target}`);
    }
    assert.equal((await ask(site(), 'GET', '*')).status, 404, 'GET * is no page');
  });

  it('handle() says 501 to a method that it does not know, on any path', async () => {
    for (const method of ['TRACE', 'PROPFIND', 'get', '__proto__', 'constructor', '']) {
      for (const path of ['/', '/nowhere']) {
        const { status, headers, body } = await ask(site(), method, path);
        assert.equal(status, 501, `${method} ${path}`);
        assert.equal(body, `501 Not Implemented\n\nThis server does not know ${method}.\n`);
        assert.equal(headers.allow, undefined, 'Allow belongs to 405');
      }
    }
  });

  it('pathFor() makes the path that find() takes apart', () => {
    const router = new Router().get('/a/:b/c/:d', page, 'deep').get('/12:30/:x', page, 'colon');
    const values = ['Ada', 'a/b', 'café', 'a b', '100%', '?#&=', '..%2F', '...', '日本', '__proto__'];
    for (const value of values) {
      const path = router.pathFor('deep', { b: value, d: 'x' });
      const request = parseRequest('GET', path);
      assert.ok('path' in request && request.search === '', `${path} is a path and nothing more`);
      const story = `find() must give back what pathFor() put into ${path}`;
      assert.deepEqual(router.find(request.path)?.params, { b: value, d: 'x' }, story);
    }
    assert.equal(router.pathFor('colon', { x: '1' }), '/12:30/1', 'a parameter begins a segment');
    assert.equal(site().pathFor('home'), '/');
    assert.equal(site().pathFor('hello'), '/howdy');
    assert.equal(site().pathFor('greet', { name: 'a/b' }), '/hello/a%2Fb');
  });

  it('pathFor() throws for a name that is not there, or a parameter that makes no path', () => {
    const message = "Cannot make a path: no route is named 'nobody'";
    assert.throws(() => site().pathFor('nobody'), { name: 'RangeError', message });
    assert.throws(() => site().pathFor('__proto__'), RangeError);
    const needed = { name: 'RangeError', message: /: '\/hello\/:name' needs 'name'$/ };
    for (const params of [{}, { name: '' }, { other: 'x' }, { name: '.' }, { name: '..' }]) {
      const story = `${JSON.stringify(params)}: a RangeError that says '/hello/:name' needs 'name'`;
      assert.throws(() => site().pathFor('greet', params), needed, story);
    }
  });

  it('site() has three pages, and lets a <script> in the name through', async () => {
    const names = [['/', 'Home View'], ['/howdy', 'Hello View'], ['/hello/Ada', 'Ada']];
    for (const [path, name] of names) {
      const { status, headers, body } = await ask(site(), 'GET', `${path}`);
      assert.equal(status, 200, path);
      assert.equal(headers['content-type'], 'text/html; charset=utf-8');
      assert.match(String(body), new RegExp(`<h1>Hi ${name}</h1>`), path);
    }
    const { body } = await ask(site(), 'GET', '/hello/%3Cscript%3Ealert(1)%3C%2Fscript%3E');
    // Step 4 mends it.
    assert.match(String(body), /<h1>Hi <script>alert\(1\)<\/script><\/h1>/);
  });
});
