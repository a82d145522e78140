// Further proofs for step 21.
import assert from 'node:assert/strict';
import { scryptSync } from 'node:crypto';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { countHashes } from '../.tools/hashes.ts';
import { bodyText, makeRequest } from '../.tools/request.ts';
import { authenticator, hashPassword, isPassword, LOG_N, site } from '../src/21-password.ts';

const it = explainedIt(import.meta.url);
const CHEAP = 4; // N = 2^4

describe('21-password: further proofs', () => {
  it('hashPassword() allows exactly the memory that scrypt needs', () => {
    const [N, r, p] = [2 ** LOG_N, 8, 1];
    const maxmem = 128 * r * (N + 3) - 1; // one byte less than `derive` allows
    assert.throws(() => scryptSync('a', 'salt', 32, { N, r, p, maxmem }), /memory limit exceeded/i);
    const small = { N: 2 ** CHEAP, r, p, maxmem: 128 * r * (2 ** CHEAP + 3) };
    assert.equal(scryptSync('a', 'salt', 32, small).length, 32);
  });

  it('hashPassword() does not block other requests', async () => {
    let isDone = false;
    const hash = hashPassword('a', CHEAP).then(() => (isDone = true));
    for (let i = 0; i < 100; i++) await Promise.resolve(); // no turn of the event loop
    assert.equal(isDone, false, 'a thread computes the hash, and the event loop gets it later');
    await hash;
  });

  it('isPassword() accepts any text as a password', async () => {
    const passwords = ['', '\0', 'a\0b', ' ', '\ud800', 'p'.repeat(60_000), '🔑', '17:a:b', '__proto__'];
    for (const password of passwords) {
      const hashed = await hashPassword(password, CHEAP);
      assert.equal(await isPassword(password, hashed), true, JSON.stringify(password.slice(0, 20)));
      assert.equal(await isPassword(`${password}x`, hashed), false);
    }
  });

  it('isPassword() throws for stored text that is not a hash, because the user file is broken', async () => {
    for (const broken of ['', 'editor', '0:salt:hash', '-1:salt:hash', 'x:y:z']) {
      await assert.rejects(isPassword('a', broken), JSON.stringify(broken));
    }
    assert.equal(await isPassword('', `${CHEAP}::`), false, 'the stored hash is empty');
  });

  it('authenticator() does the same work if there are no users', async () => {
    const authenticate = authenticator(new Map());
    const { started } = await countHashes(() => authenticate('editor', 'editor', ''));
    assert.equal(started, 1);
  });

  it('site() of step 21 responds 503 to the visitors who would wait too long', async () => {
    const others = Array.from({ length: 52 }, () => hashPassword('a', CHEAP));
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const response = await site()(makeRequest('POST', '/', headers, 'password=tea'));
    assert.deepEqual([response.status, response.headers['retry-after']], [503, '10']);
    assert.match(bodyText(response), /^503 Service Unavailable\n\nMany visitors log in now\. /);
    await Promise.all(others);
  });
});
