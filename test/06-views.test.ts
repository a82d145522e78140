import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { parseRequest } from '../src/02-http.ts';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';
import { site, TutorialViews } from '../src/06-views.ts';

const it = explainedIt(import.meta.url);
/** Made for each request: where `site` fails, that is a test's failure, and not the whole file's. */
const handle: Handler = (request) => site().handle(request);

function requestFor(
  path: string,
  method = 'GET',
  headers: Record<string, string> = {},
): HttpRequest {
  const request = parseRequest(method, path, headers);
  assert.ok('path' in request, `${method} ${path} is well formed`);
  return request;
}

async function open(
  path: string,
  method = 'GET',
  headers: Record<string, string> = {},
): Promise<HttpResponse> {
  return witness(handle)(requestFor(path, method, headers));
}

function countOn({ body }: HttpResponse): number {
  const [, count] = /<p>Count: (\d+)<\/p>/.exec(String(body)) ?? [];
  assert.ok(count, `there is no count on this page:\n${body}`);
  return Number(count);
}

describe('06-views', () => {
  it('TutorialViews shows the title, heading and count of the original', async () => {
    for (const [path, name] of [['/', 'Home View'], ['/howdy', 'Hello View']] as const) {
      const response = await open(path);
      assert.equal(response.status, 200, path);
      const body = String(response.body);
      const title = /<title>(.*)<\/title>/.exec(body)?.[1];
      assert.equal(title, `Quick Tutorial: ${name}`, `the title of ${path}`);
      assert.equal(/<h1>(.*)<\/h1>/.exec(body)?.[1], `Hi ${name}`, `the heading of ${path}`);
      assert.match(body, /<p>Count: \d+<\/p>/, `the count on ${path}`);
    }
  });

  it('TutorialViews keeps one count for both pages', async () => {
    const first = countOn(await open('/'));
    assert.equal(countOn(await open('/howdy')), first + 1);
    assert.equal(countOn(await open('/')), first + 2);
  });

  it('TutorialViews counts when `counter` is read, and not when the view is made', () => {
    const view = new TutorialViews(requestFor('/'));
    const count = view.counter;
    new TutorialViews(requestFor('/'));
    assert.equal(view.counter, count + 1);
  });

  it('TutorialViews counts once for a page, wherever the page shows it', async () => {
    const reads: string[] = [];
    class WatchedViews extends TutorialViews {
      override get counter(): number {
        reads.push(this.request.path);
        return 7;
      }
    }
    const views = new WatchedViews(requestFor('/howdy'));
    assert.equal(countOn(views.hello()), 7, 'an override of `counter` is what the page shows');
    assert.deepEqual(reads, ['/howdy'], 'to read `counter` is to count: once for each page');
  });

  it('TutorialViews puts the headers that a view asked for beside those of the page', () => {
    class CookieViews extends TutorialViews {
      override get counter(): number {
        this.headers['set-cookie'] = 'count=1';
        return 1;
      }
    }
    const { headers } = new CookieViews(requestFor('/')).home();
    assert.equal(headers['set-cookie'], 'count=1');
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
    const next = new TutorialViews(requestFor('/')).home();
    assert.equal(next.headers['set-cookie'], undefined, 'the next request has headers of its own');
  });

  it('TutorialViews escapes the name, as every template does', () => {
    const { body } = new TutorialViews(requestFor('/')).render('</title><script>');
    assert.doesNotMatch(String(body), /<script/);
  });

  it('site() of step 6 gives its routes the names that the original gives them', () => {
    const routes = ['home', 'hello'].map((name) => site().pathFor(name));
    assert.deepEqual(routes, ['/', '/howdy']);
  });

  it('site() does not count the favicon, the style sheet, a 404 or a HEAD', async () => {
    let count = countOn(await open('/'));
    const others: [string, string, number][] = [
      ['GET', '/favicon.svg', 200],
      ['GET', '/style.css', 200],
      ['GET', '/favicon.ico', 404],
      ['GET', '/howdy/', 404],
      ['GET', '/nowhere', 404],
      ['HEAD', '/', 200],
      ['HEAD', '/howdy', 200],
      ['OPTIONS', '/', 204],
      ['POST', '/', 405],
      ['BREW', '/', 501],
    ];
    for (const [method, path, status] of others) {
      assert.equal((await open(path, method)).status, status, `${method} ${path}`);
      assert.equal(countOn(await open('/')), ++count, `the count of / after ${method} ${path}`);
    }
  });

  it('site() answers HEAD with the page that GET would give next', async () => {
    const head = await open('/', 'HEAD');
    assert.deepEqual(await open('/'), head);
  });

  it('site() gives two visitors one count: the flaw that step 7 mends', async () => {
    const ada = await open('/', 'GET', { 'user-agent': 'Ada', cookie: 'visitor=ada' });
    const bob = await open('/', 'GET', { 'user-agent': 'Bob', cookie: 'visitor=bob' });
    assert.equal(countOn(bob), countOn(ada) + 1, 'Bob, behind Ada: one counter for both');
  });

  it('site() made anew goes on counting: a site does not own the count', async () => {
    const count = countOn(await open('/'));
    const response = await witness(site().handle)(requestFor('/'));
    assert.equal(countOn(response), count + 1);
  });
});
