// Further proofs of step 9: the site as a process, HEAD, replayed cookies, and many visits.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { startProgram } from '../.tools/serve.ts';
import { site } from '../src/09-tutorial.ts';

const it = explainedIt(import.meta.url);
const SLOW = { timeout: 30_000 }; // milliseconds: three processes start one after another

const countIn = (body: string): string | undefined => /Count: \d+/.exec(body)?.[0];

describe('09-tutorial: proofs', () => {
  it('site() of step 9 continues the count after its process ended', SLOW, async (t) => {
    let cookie = '';
    const counts: (string | undefined)[] = [];
    for (const path of ['/', '/howdy', '/']) {
      const program = startProgram(t, ['src/09-tutorial.ts']);
      const port = await program.printed(/http:\/\/localhost:(\d+)/);
      const headers = { cookie, connection: 'close' };
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
      assert.equal(response.headers.get('content-type'), 'text/html; charset=utf-8');
      counts.push(countIn(await response.text()));
      cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? '';
      program.kill('SIGKILL');
      await program.ended();
    }
    assert.deepEqual(counts, ['Count: 1', 'Count: 2', 'Count: 3']);
  });

  it('site() of step 9 responds to HEAD with the page that GET returns next', async () => {
    const visitor = new Visitor(site().handle);
    await visitor.get('/');
    for (const path of ['/', '/howdy']) {
      const head = await visitor.request('HEAD', path);
      const get = await visitor.get(path);
      assert.equal(bodyText(head), bodyText(get), path);
      const { 'set-cookie': setCookie, ...headers } = get.headers;
      assert.deepEqual(head.headers, headers, path);
      assert.ok(setCookie, path);
    }
  });

  it('site() of step 9 accepts an old cookie again: step 25 fixes it', async () => {
    const visitor = new Visitor(site().handle);
    await visitor.get('/');
    const [copy = ''] = visitor.cookies.values();
    for (let visit = 0; visit < 3; visit++) await visitor.get('/');
    visitor.cookies.set('session', copy);
    assert.equal(countIn(await visitor.text('/')), 'Count: 2');
  });

  it('site() of step 9 loses visits that happen in parallel: step 26 fixes it', async () => {
    const visitor = new Visitor(site().handle);
    await visitor.get('/');
    const bodies = await Promise.all([1, 2, 3].map(() => visitor.text('/')));
    assert.deepEqual(bodies.map(countIn), ['Count: 2', 'Count: 2', 'Count: 2']);
  });

  it('site() of step 9 counts 1,000 visits in a cookie that stays small', async () => {
    const visitor = new Visitor(site().handle);
    for (let visit = 0; visit < 999; visit++) await visitor.get('/');
    const response = await visitor.get('/howdy');
    assert.equal(countIn(bodyText(response)), 'Count: 1000');
    assert.ok((setCookies(response)[0] ?? '').length < 200, String(setCookies(response)));
  });

  it('site() of step 9 starts at 1 for hostile cookies, and never fails', async () => {
    const { handle } = site();
    const cookies = [
      'session', 'session=', 'session=\0', 'session=%', '=', ';;;', 'session=é',
      `session=${'A'.repeat(8000)}`, 'session=[1,1,{"counter":7}]', '__proto__=1; constructor=2',
    ];
    for (const cookie of cookies) {
      const response = await handle(makeRequest('GET', '/', { cookie }));
      assert.equal(response.status, 200, cookie);
      assert.equal(countIn(bodyText(response)), 'Count: 1', cookie);
    }
  });
});
