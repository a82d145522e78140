import assert from 'node:assert/strict';
import { scryptSync } from 'node:crypto';
import { describe } from 'node:test';
import { explainedIt, given, ofStep, witness } from '../.tools/explain.ts';
import { countHashes } from '../.tools/hashes.ts';
import { bodyText, makeRequest } from '../.tools/request.ts';
import { text } from '../src/04-http.ts';
import { authenticator, hashPassword, isPassword, LOG_N } from '../src/21-password.ts';
import { RetryLater, site, USERS, withRetryLater } from '../src/21-password.ts';

const it = explainedIt(import.meta.url);
const CHEAP = 4; // N = 2^4: too weak for a real site, and fast enough for a test

/** Users whose password is their name. */
async function makeUsers(...names: string[]): Promise<Map<string, string>> {
  const hashes = names.map(async (name) => [name, await hashPassword(given(name), CHEAP)] as const);
  return new Map(await Promise.all(hashes));
}

describe('21-password: a hash', () => {
  it('isPassword() accepts the password that was hashed, and no other', async () => {
    const hashed = await hashPassword(given('correct horse'), CHEAP);
    assert.equal(await isPassword(given('correct horse'), hashed), true);
    for (const wrong of ['', 'Correct horse', 'correct horse ', 'correct', hashed]) {
      assert.equal(await isPassword(given(wrong), hashed), false, `'${wrong}' is another password`);
    }
  });

  it('hashPassword() adds a random salt, so two equal passwords have different hashes', async () => {
    const [one, two] = await Promise.all([hashPassword('a', CHEAP), hashPassword('a', CHEAP)]);
    assert.notEqual(one, two, 'the stolen file shows that two users have the same password');
    assert.match(one, /^4:[\w-]{22}:[\w-]{43}$/, '16 bytes of salt, and a hash of 32 bytes');
    assert.deepEqual(
      [await isPassword(given('a'), one), await isPassword(given('a'), two)],
      [true, true],
    );
  });

  it('isPassword() agrees with the example of RFC 7914', async () => {
    // §12: scrypt(P="pleaseletmein", S="SodiumChloride", N=16384, r=8, p=1), the first 32 bytes
    const hex = '7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2';
    const stored = `14:SodiumChloride:${Buffer.from(hex, 'hex').toString('base64url')}`;
    assert.equal(await isPassword(given('pleaseletmein'), stored), true);
    assert.equal(await isPassword(given('pleaseletmeout'), stored), false);
  });

  it("hashPassword() has OWASP's cost by default: N = 2^17, r = 8, p = 1", async () => {
    const [logN, salt = '', hash] = (await hashPassword(given('ada'))).split(':');
    const options = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 2 ** 20 };
    const expected = scryptSync('ada', salt, 32, options).toString('base64url');
    assert.deepEqual([LOG_N, logN, hash], [17, '17', expected]);
  });

  it('isPassword() accepts an accent, whatever the keyboard sends for it', async () => {
    const hashed = await hashPassword(given('caf\u00e9'), CHEAP); // é as one character
    assert.equal(await isPassword(given('cafe\u0301'), hashed), true, 'e and a combining accent');
    assert.equal(await isPassword(given('cafe'), hashed), false, 'without the accent');
    const digits = await hashPassword(given('2024'), CHEAP);
    assert.equal(
      await isPassword(given('\uff12\uff10\uff12\uff14'), digits),
      true,
      'full-width digits',
    );
  });

  it('isPassword() rejects a stored hash that is too short, too long or empty', async () => {
    const hashed = await hashPassword(given('a'), CHEAP);
    const start = hashed.slice(0, hashed.lastIndexOf(':') + 1);
    for (const damaged of [hashed.slice(0, -1), `${hashed}A`, start, start.slice(0, -1)]) {
      assert.equal(await isPassword(given('a'), damaged), false, damaged);
    }
  });

  it('USERS are editor and viewer, and the password is the name', async () => {
    assert.deepEqual([...USERS.keys()], ['editor', 'viewer']);
    const checks = [...USERS].map(([name, hashed]) => isPassword(given(name), hashed));
    assert.deepEqual(await Promise.all(checks), [true, true]);
  });
});

describe('21-password: a limited number of hashes', () => {
  it('hashPassword() runs two hashes at a time, and each request gets its turn', async () => {
    const order: number[] = [];
    const hash = (_: unknown, i: number) => hashPassword('a', CHEAP).then(() => order.push(i));
    const counted = await countHashes(() => Promise.all(Array.from({ length: 20 }, hash)));
    assert.deepEqual(counted, { started: 20, parallel: 2 });
    assert.equal(order.length, 20, 'the queue is empty');
    assert.ok(order.indexOf(19) >= 18, `the last request came last: ${order}`);
  });

  it('hashPassword() throws RetryLater if fifty requests wait, and works again later', async () => {
    const hash = (): Promise<string> => hashPassword(given('a'), CHEAP);
    const results = await Promise.allSettled(Array.from({ length: 60 }, hash));
    const errors = results.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
    assert.equal(errors.length, 60 - 2 - 50, 'two are hashed, fifty wait, and eight are rejected');
    for (const error of errors) {
      assert.ok(error instanceof RetryLater);
      assert.deepEqual([error.status, error.seconds], [503, 10]);
    }
    assert.match(await hash(), /^4:/, 'the queue is empty again');
  });

  it('hashPassword() frees its place if a hash fails', { timeout: 10_000 }, async () => {
    for (let i = 0; i < 5; i++) {
      await assert.rejects(isPassword(given('a'), '0.5:salt:hash'), 'N is not a power of two');
    }
    assert.match(await hashPassword(given('a'), CHEAP), /^4:/, 'two places would have been lost');
  });

  it('withRetryLater sends the time to wait in Retry-After and in a sentence', async () => {
    const responses = [[503, 10], [429, 1]].map(async ([status = 0, seconds = 0]) => {
      const page = withRetryLater(() => {
        throw new RetryLater(status, seconds, 'Many visitors log in now.');
      });
      const response = await page(makeRequest());
      const [, sentence] = bodyText(response).split('\n\n');
      return [response.status, response.headers['retry-after'], sentence];
    });
    assert.deepEqual(await Promise.all(responses), [
      [503, '10', 'Many visitors log in now. Try again in 10 seconds.\n'],
      [429, '1', 'Many visitors log in now. Try again in 1 second.\n'],
    ]);
    assert.equal((await withRetryLater(() => text('ok'))(makeRequest())).status, 200);
  });
});

describe('21-password: users', () => {
  it('authenticator() accepts a user with the right password, and no one else', async () => {
    const authenticate = authenticator(await makeUsers('editor', 'viewer'));
    const rows: [name: string, password: string, isRight: boolean][] = [
      ['editor', 'editor', true], ['viewer', 'viewer', true],
      ['editor', 'viewer', false], ['editor', '', false], ['Editor', 'editor', false],
      ['__proto__', '', false], ['constructor', 'editor', false], ['', '', false],
    ];
    for (const [name, password, isRight] of rows) {
      assert.equal(await authenticate(name, password, ''), isRight, `${name}, ${password}`);
    }
  });

  it('authenticator() accepts no password for an unknown name', async () => {
    const authenticate = authenticator(await makeUsers('editor', 'viewer'));
    for (const password of ['editor', 'viewer', 'unknown', '']) { // one is the password of the decoy
      assert.equal(await authenticate('unknown', password, ''), false, password);
    }
    assert.equal(await authenticator(new Map())('editor', '', ''), false, 'there are no users');
  });

  it('authenticator() does the same work for an unknown name as for a known name', async () => {
    const authenticate = authenticator(await makeUsers('editor', 'viewer'));
    for (const name of ['editor', 'viewer', 'unknown', '__proto__', '']) {
      const { started } = await countHashes(() => authenticate(name, 'wrong', ''));
      assert.equal(started, 1, `the login of '${name}' computes one hash`);
    }
  });
});

describe('21-password: the page', () => {
  it('site() of step 21 shows the hash of a password, which is another one each time', async () => {
    const handle = witness(ofStep(site()));
    assert.match(bodyText(await handle(makeRequest())), /<form method="post" action="\/">/);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const hashes: string[] = [];
    for (let i = 0; i < 2; i++) {
      const body = bodyText(await handle(makeRequest('POST', '/', headers, 'password=tea')));
      const [, hash = body] = /<code>(17:.*)<\/code>/.exec(body) ?? [];
      assert.equal(await isPassword(given('tea'), hash), true, hash);
      hashes.push(hash);
    }
    assert.notEqual(hashes[0], hashes[1]);
  });
});
