// Further proofs for step 30: unusual requests with a token.
import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { logIn, makeUsers, send } from '../.tools/login.ts';
import { bodyText } from '../.tools/request.ts';
import type { Handler } from '../src/04-http.ts';
import { Browser } from '../src/16-browser.ts';
import { jwtRules, signJwt, verifyJwt } from '../src/29-jwt.ts';
import { site } from '../src/30-api.ts';

const it = explainedIt(import.meta.url);

/** A program: it has no cookies, and it sends this header with each request. */
function program(handle: Handler, authorization: string) {
  const browser = new Browser(handle);
  return (method: string, path: string) => browser.request(method, path, '', { authorization });
}

/** The site of step 30, and a token of ada. */
async function visit() {
  const handle = site(await makeUsers('ada'));
  const response = await send(await logIn(handle, 'ada'), '/api/token');
  const { token } = JSON.parse(bodyText(response)) as { token: string };
  return { handle, token, ask: program(handle, `Bearer ${token}`) };
}

describe('proofs-30-api: requests with a token', () => {
  it('addApi() accepts the word Bearer in any case (RFC 9110 §11.1)', async () => {
    const { handle, token } = await visit();
    for (const word of ['Bearer', 'bearer', 'BEARER', 'Bearer  ']) {
      const { status } = await program(handle, `${word} ${token}`)('GET', '/api/counter');
      assert.equal(status, 200, word);
    }
  });

  it('addApi() rejects a token without a user', async () => {
    const { handle, token } = await visit();
    const rules = jwtRules(['itsaseekreet']);
    const { sub: _, ...claims } = verifyJwt(token, rules) ?? {};
    const authorization = `Bearer ${signJwt(claims, rules.keys[0] as KeyObject)}`;
    assert.equal((await program(handle, authorization)('GET', '/api/counter')).status, 401);
  });

  it('addApi() returns only JSON, whatever callback the query names', async () => {
    const { ask } = await visit();
    for (const query of ['callback=f', 'jsonp=f', 'cb=alert(1)//']) {
      const response = await ask('GET', `/api/counter?${query}`);
      assert.equal(response.headers['content-type'], 'application/json', query);
      assert.equal(JSON.parse(bodyText(response)).sub, 'ada', query);
    }
  });
});
