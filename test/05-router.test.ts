import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given, ofStep, witness } from '../.tools/explain.ts';
import { assertCookie, bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { routerOf, visit } from '../.tools/routes.ts';
import { startServer } from '../.tools/serve.ts';
import { text, toListener } from '../src/04-http.ts';
import type { HttpResponse } from '../src/04-http.ts';
import { addGreetings, Router, site } from '../src/05-router.ts';

const it = explainedIt(import.meta.url);

type Site = Pick<Router, 'handle'>;

async function send(router: Site, method: string, path: string): Promise<HttpResponse> {
  return witness(router.handle)(makeRequest(method, path));
}

/** Checks what each path shows, or that there is no page. */
async function assertPages(
  router: Router,
  table: [path: string, expected: string, why: string][],
): Promise<void> {
  for (const [path, expected, why] of table) {
    assert.equal(await visit(router, path), expected, `GET ${path}: ${why}`);
  }
}

describe('05-router: mistakes', () => {
  const page = (): HttpResponse => text('a page');

  it('Router.#add() throws a TypeError for a pattern that does not begin with a slash', () => {
    for (const pattern of ['', 'howdy', '*', ':name', 'http://host/']) {
      const message = `Cannot add '${pattern}': it must begin with /`;
      assert.throws(() => new Router().get(given(pattern), page), { name: 'TypeError', message });
    }
  });

  it('Router.#add() throws a TypeError for a method and a pattern that it has already', () => {
    const addTwice = (method: 'get' | 'post'): string => {
      const router = new Router();
      router[method]('/howdy', page);
      router[method]('/howdy/:name', page);
      let message = '';
      assert.throws(() => router[method](given('/howdy/:name'), page), (error) => {
        assert.ok(error instanceof TypeError);
        message = error.message;
        return true;
      });
      assert.match(message, /^Cannot add \w+ \/howdy\/:name twice$/);
      return message;
    };
    if (addTwice('get') === addTwice('post')) return; // Router.get() and post() have their own tests
    const router = new Router();
    router.get('/howdy', page);
    router.post(given('/howdy'), page); // another method is allowed
  });

  it('Router.#add() returns the router', () => {
    const router = new Router();
    const returned = [router.get('/a', page), router.post('/b', page)];
    assert.ok(returned.includes(router), `received ${returned[0]}`);
  });

  it('Router.get() adds a handler for GET, and returns the router', () => {
    const router = new Router();
    assert.equal(router.get(given('/a'), page), router);
    const message = 'Cannot add GET /a twice';
    assert.throws(() => router.get(given('/a'), page), { name: 'TypeError', message });
  });

  it('Router.post() adds a handler for POST, and returns the router', () => {
    const router = new Router();
    assert.equal(router.post(given('/a'), page), router);
    const message = 'Cannot add POST /a twice';
    assert.throws(() => router.post(given('/a'), page), { name: 'TypeError', message });
  });
});

describe('05-router: paths', () => {
  it('Router.#add() makes a pattern that matches the whole path', async () => {
    await assertPages(routerOf('/', '/howdy', '/hello/:name', '/a/:b/c', '/dir/'), [
      ['/howdy/', '404', 'one slash too many'],
      ['/dir', '404', 'one slash is missing'],
      ['/Howdy', '404', 'a path is case-sensitive'],
      ['/howdy/more', '404', 'one segment too many'],
      ['/hello', '404', 'the parameter is missing'],
      ['/hello/', '404', 'the parameter is empty'],
      ['/hello/Ada/more', '404', 'a parameter is one segment'],
      ['/more/hello/Ada', '404', 'the pattern is not at the beginning'],
      ['/a//c', '404', 'an empty parameter in the middle'],
      ['//', '404', 'two slashes'],
      ['*', '404', 'OPTIONS * has no page'],
      ['', '404', 'no path'],
    ]);
  });

  it('Router.#add() makes a pattern whose period is only a period', async () => {
    await assertPages(routerOf('/v1.0/:id'), [
      ['/v1X0/7', '404', 'in a regular expression, a period matches any character'],
    ]);
  });

  it('Router.#find() prefers a literal path to a parameter, in any order', async () => {
    for (const patterns of [['/howdy/you', '/howdy/:name'], ['/howdy/:name', '/howdy/you']]) {
      const literal = await visit(routerOf(...patterns), '/howdy/you');
      assert.notEqual(literal.split(' ')[0], '/howdy/:name', 'the literal path has its own page');
    }
  });

  it('Router.#find() decodes a parameter once, and never throws', async () => {
    const table: [path: string, name: string, why: string][] = [
      ['/howdy/caf%C3%A9', 'café', 'UTF-8'],
      ['/howdy/a%20b+c', 'a b+c', 'in a path, + is a plus sign'],
      ['/howdy/a%2Fb', 'a/b', 'an encoded slash starts no segment'],
      ['/howdy/%252F', '%2F', 'the result is not decoded again'],
      ['/howdy/%zz', '%zz', 'not hexadecimal'],
      ['/howdy/50%', '50%', 'no digits'],
      ['/howdy/%4', '%4', 'one digit'],
      ['/howdy/%e9', '\ufffd', 'not UTF-8: U+FFFD replaces the byte'],
      ['/howdy/:name', ':name', 'a colon in a path is a character'],
    ];
    const router = new Router();
    router.get('/howdy/:name', ({ params }) => text(JSON.stringify(params ?? 'no params')));
    for (const [path, name, why] of table) {
      const shown = await visit(router, path);
      if (/^405|"no params"/.test(shown)) continue; // Router.handle() has tests of its own
      assert.equal(shown, JSON.stringify({ name }), `GET ${path}: ${why}`);
    }
  });

  it('Router.handle() finds the page of a path', async () => {
    await assertPages(routerOf('/', '/howdy', '/a/b', '/dir/', '/v1.0'), [
      ['/', '/ {}', 'the root'],
      ['/howdy', '/howdy {}', 'one segment'],
      ['/a/b', '/a/b {}', 'two segments'],
      ['/dir/', '/dir/ {}', 'the pattern ends with a slash'],
      ['/v1.0', '/v1.0 {}', 'the pattern has a period'],
      ['/howdy?page=2', '/howdy {}', 'the query is not a part of the path'],
    ]);
  });

  it('Router.handle() gives the handler the parameters of the path', async () => {
    await assertPages(routerOf('/howdy/:name', '/a/:b/c/:d', '/v1.0/:id'), [
      ['/howdy/Ada', '/howdy/:name {"name":"Ada"}', 'one parameter'],
      ['/a/1/c/2', '/a/:b/c/:d {"b":"1","d":"2"}', 'two parameters'],
      ['/v1.0/7', '/v1.0/:id {"id":"7"}', 'the pattern has a period'],
    ]);
  });
});

describe('05-router: methods', () => {
  it('Router.handle() selects the handler by the method', async () => {
    const router = new Router()
      .get('/form', () => text('the form'))
      .post('/form', () => text('received'));
    assert.equal(bodyText(await send(router, 'GET', '/form')), 'the form');
    assert.equal(bodyText(await send(router, 'POST', '/form')), 'received');
  });

  it('Router.handle() runs the handler of GET for HEAD', async () => {
    const router = new Router().get('/', ({ method }) => text(`for ${method}`));
    assert.deepEqual(await send(router, 'HEAD', '/'), text('for HEAD'));
  });

  it('Router.handle() sends a 404 for an unknown path, with any method', async () => {
    const { status, headers, body } = await send(routerOf('/'), 'GET', '/nowhere%0A');
    assert.equal(status, 404);
    assert.equal(headers['content-type'], 'text/plain; charset=utf-8', 'the body shows the path');
    const explanation = 'There is no page at /nowhere%0A.';
    assert.equal(bodyText({ status, headers, body }), `404 Not Found\n\n${explanation}\n`);
    for (const method of ['HEAD', 'POST', 'DELETE', 'OPTIONS']) {
      assert.equal((await send(routerOf('/'), method, '/nowhere')).status, 404, method);
    }
  });

  it('Router.handle() sends a 405 with the allowed methods for another method', async () => {
    const page = (): HttpResponse => text('a page');
    const router = new Router().get('/get', page).post('/post', page);
    router.get('/both', page).post('/both', page).get('/howdy/:name', page);
    const table: [method: string, path: string, allow: string][] = [
      ['POST', '/get', 'GET, HEAD'],
      ['DELETE', '/get', 'GET, HEAD'],
      ['GET', '/post', 'POST'],
      ['HEAD', '/post', 'POST'],
      ['PUT', '/both', 'GET, HEAD, POST'],
      ['POST', '/howdy/Ada', 'GET, HEAD'],
    ];
    for (const [method, path, allow] of table) {
      const response = await send(router, method, path);
      assert.equal(response.status, 405, `${method} ${path}`);
      assert.equal(response.headers.allow, allow, `${method} ${path}`);
      const explanation = `${path} allows ${allow}, not ${method}.`;
      assert.equal(bodyText(response), `405 Method Not Allowed\n\n${explanation}\n`);
    }
  });

  it('Router.handle() gives the handler the other properties of the request', async () => {
    const router = new Router().get('/:id', ({ path, search, headers, params, address }) =>
      text([path, search, headers.cookie, params.id, address].join(' ')));
    const request = makeRequest('GET', '/7?page=2', { cookie: 'a=1' });
    assert.equal(bodyText(await witness(router.handle)(request)), '/7 ?page=2 a=1 7 127.0.0.1');
  });
});

describe('05-router: the site', () => {
  it('addGreetings() adds the cookie to the headers of each page', async () => {
    const greet = (name: string, count: number): HttpResponse =>
      text(`${name} ${count}`, 200, { 'x-mine': 'yes' });
    const router = addGreetings(new Router(), greet);
    for (const [path, name] of [['/', 'Home View'], ['/howdy', 'Hello View']] as const) {
      assert.equal(bodyText(await send(router, 'GET', path)), `${name} 1`, path);
    }
    const response = await send(router, 'GET', '/howdy/caf%C3%A9');
    assert.equal(bodyText(response), 'café 1');
    assert.equal(response.headers['x-mine'], 'yes');
    const [header = '', ...others] = setCookies(response);
    assert.deepEqual(others, []);
    const withoutValue = header.replace(/^count=[\w-]+/, 'count=x');
    assertCookie(withoutValue, 'count=x; Path=/; HttpOnly; SameSite=Lax');
  });

  it('site() has three pages that share one count', async () => {
    const ada = new Visitor(ofStep(site().handle));
    assert.equal(await ada.text('/'), '<h1>Hi Home View</h1><p>Count: 1</p>\n');
    assert.equal(await ada.text('/howdy'), '<h1>Hi Hello View</h1><p>Count: 2</p>\n');
    assert.equal(await ada.text('/howdy/Ada'), '<h1>Hi Ada</h1><p>Count: 3</p>\n');
    const { headers } = await ada.get('/');
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
  });

  it('site() does not count /favicon.ico, /nonsense or a wrong method', async () => {
    const ada = new Visitor(ofStep(site().handle));
    await ada.get('/');
    const requests = [['GET', '/favicon.ico'], ['GET', '/nonsense'], ['POST', '/']] as const;
    for (const [method, path] of requests) {
      const response = await ada.request(method, path);
      assert.deepEqual(setCookies(response), [], `${method} ${path}`);
    }
    assert.equal(await ada.text('/'), '<h1>Hi Home View</h1><p>Count: 2</p>\n');
  });

  it('site() sends 200, 404 and 405 through a real server', async (t) => {
    const server = await startServer(t, toListener(ofStep(site().handle)));
    const first = await server.get('/howdy/Ada');
    assert.equal(first.body, '<h1>Hi Ada</h1><p>Count: 1</p>\n');
    const second = await server.get('/', { cookie: first.cookie });
    assert.equal(second.body, '<h1>Hi Home View</h1><p>Count: 2</p>\n');
    assert.equal((await server.get('/nonsense')).status, 404);
    const rejected = await server.request('DELETE', '/howdy');
    assert.equal(rejected.status, 405);
    assert.equal(rejected.headers.get('allow'), 'GET, HEAD');
    const head = await server.request('HEAD', '/howdy');
    assert.deepEqual([head.status, head.body], [200, '']);
  });

  it('site() inserts a script from the URL into the page, which is a flaw', async () => {
    const path = '/howdy/%3Cscript%3Ealert(1)%3C%2Fscript%3E';
    const response = await send({ handle: ofStep(site().handle) }, 'GET', path);
    const heading = '<h1>Hi <script>alert(1)</script></h1>';
    assert.ok(bodyText(response).startsWith(heading), 'step 6 fixes this');
  });
});
