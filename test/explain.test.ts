// What a failing test adds to its message, seen on tests that do fail: this file runs itself again
// in a process of its own, told to fail.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { curlOf, explainedIt, noteBytes, placeOf, witness } from '../.tools/explain.ts';
import { text } from '../src/02-http.ts';
import { Browser } from '../src/08-browser.ts';

/** What fails, and what must stand in its message. */
const FAILING: Record<string, { run: () => unknown; says: string[] }> = {
  'unsign() is only text': {
    run: () => assert.equal(1 as number, 2),
    says: ['1 !== 2', 'explained: LESSON.md:LINE, Step 9 · A signature'],
  },
  'a Browser was asked twice': {
    async run() {
      const browser = new Browser(() => ({ ...text('Hi'), headers: { 'set-cookie': 'a=1' } }));
      await browser.get('/first');
      await browser.request('POST', '/second?b=1', 'c=%27', { origin: "it's" });
      assert.fail('of its own');
    },
    says: [
      'of its own',
      'before it: curl -si http://localhost:6543/first',
      String.raw`curl -si -H 'cookie: a=1' -H 'origin: it'\''s' --data-binary c=%27 `,
      "'http://localhost:6543/second?b=1'",
      'came back: 200',
      'set-cookie: a=1',
      'Hi',
    ],
  },
  'a handler threw': {
    run() {
      const browser = new Browser(witness(() => assert.fail('inside')));
      return browser.request('HEAD', '/', '', { a: 'b' });
    },
    says: [
      'inside',
      "curl -si -I -H 'a: b' http://localhost:6543/",
      'came back: (nothing: the page threw)',
    ],
  },
  'fetch was answered': {
    async run() {
      const server = createServer((_, answer) => answer.writeHead(403, { 'x-why': 'no' }).end('Go'));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a`;
      const body = new URLSearchParams({ c: "'" });
      await (await fetch(url, { method: 'POST', body, headers: { 'x-mine': '1' } })).text();
      server.close();
      throw new Error('after it');
    },
    says: [
      'after it',
      "curl -si -H 'x-mine: 1' -H 'content-type: application/x-www-form-urlencoded' ",
      '--data-binary c=%27 http://localhost:6543/a',
      '403 Forbidden',
      'x-why: no',
      'Go',
    ],
  },
  'bytes were written': {
    run() {
      noteBytes("GET /%'\\ HTTP/1.1\r\n\xff", '');
      throw 'no error'; // and yet it has to be shown
    },
    says: [
      String.raw`printf 'GET /%%'\''\\ HTTP/1.1\r\n\xc3\xbf' | curl -s telnet://localhost:6543`,
      'came back: (nothing)',
      "thrown: 'no error'",
    ],
  },
  'a page forgets its response': {
    async run() {
      const page = witness(() => undefined as never);
      await new Browser(page).request('GET', '/');
    },
    says: ['Cannot read', 'came back: no response, but undefined'],
  },
  'a page fails': {
    run() {
      console.error(JSON.stringify('Error: because\n    at somewhere'));
      assert.throws(() => { throw new RangeError('the reason'); }, { name: 'TypeError' }, 'words');
    },
    says: ['words', 'logged:    "Error: because\n', 'thrown:    RangeError: the reason'],
  },
  'time is up': {
    run: () => Promise.reject(AbortSignal.abort(new DOMException('too late')).reason),
    says: ['too late', 'explained: LESSON.md:LINE, Step 9 · A signature'],
  },
  'nobody catches it': {
    run: () =>
      new Promise((resolve) => {
        setImmediate(() => {
          setImmediate(resolve);
          throw new TypeError('alone');
        });
      }),
    says: ['alone', 'explained: LESSON.md:LINE, Step 9 · A signature'],
  },
};

if (process.env.EXPLAIN_FAILING) {
  const explained = explainedIt('file:///test/09-signer.test.ts');
  describe('told to fail', () => {
    for (const [title, { run }] of Object.entries(FAILING)) explained(title, run);
  });
} else {
  describe('a failing test', () => {
    const tsx = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];
    const args = [...tsx, '--test-reporter=tap', fileURLToPath(import.meta.url)];
    const { NODE_TEST_CONTEXT: _, ...others } = process.env;
    const env = { ...others, NODE_NO_WARNINGS: '1', EXPLAIN_FAILING: '1' };
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', env });
    const messages = stdout.split(/^ {4}not ok /m).slice(1);

    it('fails as it would by itself', () => {
      assert.equal(status, 1);
      assert.equal(messages.length, Object.keys(FAILING).length, stdout);
    });

    for (const [index, [title, { says }]] of Object.entries(FAILING).entries()) {
      it(`says what was sent, what came back and where to read on, when ${title}`, () => {
        const message = messages[index] ?? '';
        const told = message.replace(/^ +/gm, '').replace(/LESSON\.md:\d+/, 'LESSON.md:LINE');
        for (const part of says) assert.ok(told.includes(part), `it lacks ${part}:\n${message}`);
      });
    }
  });

  describe('what a failing test says', () => {
    it('curlOf() asks again what was asked, and leaves to curl what is its own', () => {
      const rows: [words: Parameters<typeof curlOf>, line: string][] = [
        [['GET', '/', []], 'curl -si http://localhost:6543/'],
        [['GET', '/?a=1&b', []], "curl -si 'http://localhost:6543/?a=1&b'"],
        [['HEAD', '/', [['host', 'localhost:6543']]], 'curl -si -I http://localhost:6543/'],
        [['POST', '/', []], "curl -si --data-binary '' http://localhost:6543/"],
        [['GET', '//a/b', []], 'curl -si http://localhost:6543//a/b'],
        [['GET', '/../a', []], 'curl -si --path-as-is http://localhost:6543/../a'],
        [['POST', '/', [], 'a b'], "curl -si --data-binary 'a b' http://localhost:6543/"],
        [['PUT', '/', [], 'a'], 'curl -si -X PUT --data-binary a http://localhost:6543/'],
        [['GET', '/', [['a', undefined], ['b', 'c']]], "curl -si -H 'b: c' http://localhost:6543/"],
      ];
      for (const [words, line] of rows) assert.equal(curlOf(...words), line);
    });

    it('placeOf() finds where the lesson quotes what a title is about, or else the step', () => {
      const line = (place: string) => Number(/:(\d+),/.exec(place)?.[1]);
      const [heading, method, fn] = ['x', 'unsign() refuses', 'site()'].map((title) =>
        placeOf('09-signer', title),
      );
      assert.match(heading ?? '', /^LESSON\.md:\d+, Step 9 · A signature$/);
      assert.ok(line(heading ?? '') < line(method ?? ''), 'a method stands below the heading');
      assert.ok(line(method ?? '') < line(fn ?? ''), 'a function too, in the order of the module');
    });
  });
}
