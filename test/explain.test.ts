// What a failing test adds to its message. This file runs itself again in another process, with
// tests that fail, and reads their messages. `paste.test.ts` pastes the commands.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { explainedIt, given, noteBytes, ofStep, waitingFor, witness } from '../.tools/explain.ts';
import { makeRequest } from '../.tools/request.ts';
import { curlOf, placeOf, printfOf } from '../.tools/story.ts';
import { type Handler, type HttpRequest, text } from '../src/04-http.ts';
import { readForm } from '../src/12-forms.ts';
import { Browser } from '../src/16-browser.ts';

/** Tests that fail, and the text that their messages must contain. */
const FAILING: Record<string, { run: () => unknown; says: string[] }> = {
  'Signer.decode() compares two numbers': {
    run: () => assert.equal(1 as number, 2),
    says: [
      'strictly equal:\n\nexpected:  2\nreceived:  1\nfailed at: test/explain.test.ts:LINE',
      'explained: LESSON.md:LINE, Step 3 · A signature',
    ],
  },
  'a function throws a TypeError': {
    run() {
      const value = undefined as unknown as string;
      assert.equal(given(value).length, 1);
    },
    says: [
      'input:     undefined\ntest line: assert.equal(given(value).length, 1);\n',
      'failed at: test/explain.test.ts:LINE (TypeError)\n',
    ],
  },
  'an assertion is far from the last input': {
    run() {
      given('far');
      // These lines stand for other code of a test. The assertion below them is about something
      // else, so that the input above them would mislead the reader.
      //
      //
      //
      //
      assert.fail('of its own');
    },
    says: ['of its own\n\nfailed at: '],
  },
  'a request follows a call of a function': {
    async run() {
      given('old');
      await new Browser(() => text('')).get('/');
      assert.fail('of its own');
    },
    says: ['of its own\n\nsent:      GET / (to a site of the test)\n'],
  },
  'two long values differ at one place': {
    run() {
      const long = 'x'.repeat(1000);
      assert.equal(`${long}1${long}`, `${long}2${long}`, 'words');
    },
    says: [
      `words\n\nexpected:  … ${'x'.repeat(47)}2xxx`,
      `received:  … ${'x'.repeat(47)}1xxx`,
      'xxx …\n',
    ],
  },
  'two values differ in a character that looks like a space': {
    run: () => assert.equal(given('\u00a0a\ufeff\u{e0001}'), ' a', 'Cookie: "\u2028a=1"'),
    says: [
      String.raw`Cookie: "\u2028a=1"`,
      String.raw`received:  '\u00a0a\ufeff\u{e0001}'`,
      String.raw`input:     '\u00a0a\ufeff\u{e0001}'`,
    ],
  },
  'a page does not match a pattern': {
    run: () => assert.match(`${'<p>'.repeat(99)}<h1>Hi Ada</h1>\n`, /<h1>Hi Bob<\/h1>/),
    says: [
      'The text does not match the pattern.\n\npattern:   /<h1>Hi Bob<\\/h1>/\n',
      String.raw`received:  … '<h1>Hi Ada</h1>\n'`,
    ],
  },
  'a function throws another error': {
    run() {
      const error = { name: 'TypeError', message: 'right' };
      assert.throws(() => { throw new TypeError('wrong'); }, error);
    },
    says: [
      "expected:  { name: 'TypeError', message: 'right' }\n" +
        "received:  { name: 'TypeError', message: 'wrong' }\n",
    ],
  },
  'a Browser sends two requests': {
    async run() {
      const page: Handler = () => ({ ...text('Hi'), headers: { 'set-cookie': 'a=1' } });
      const browser = new Browser(ofStep(page));
      await browser.get('/first');
      await browser.request('POST', '/second?b=1', 'c=%27', { origin: "it's" });
      assert.fail('of its own');
    },
    says: [
      'of its own',
      'before it: curl -si http://localhost:7101/first',
      String.raw`curl -si -H 'cookie: a=1' -H 'origin: it'\''s' --data-binary c=%27 `,
      "'http://localhost:7101/second?b=1'",
      'came back: 200',
      'set-cookie: a=1',
      'Hi',
    ],
  },
  'a handler throws': {
    run() {
      const browser = new Browser(witness(ofStep(() => assert.fail('inside'))));
      return browser.request('HEAD', '/', '', { a: 'b' });
    },
    says: [
      'inside',
      "curl -si -I -H 'a: b' http://localhost:7101/",
      'came back: (nothing: the page threw)',
    ],
  },
  'a handler reads forms': {
    async run() {
      const page: Handler = async (request) => {
        await readForm(request);
        return text('');
      };
      const form = { 'content-type': 'application/x-www-form-urlencoded' };
      await witness(ofStep(page))(makeRequest('POST', '/first', form, 'a=1&b=%27'));
      await new Browser(ofStep(page)).post('/second', { a: '2' });
      const gzip = { 'content-encoding': 'gzip' };
      await witness(ofStep(page))(makeRequest('POST', '/third', gzip, 'a=3'));
      assert.fail('of its own');
    },
    says: [
      "--data-binary 'a=1&b=%27' http://localhost:7101/first",
      '--data-binary a=2 http://localhost:7101/second',
      "curl -si -H content-type: -H 'content-encoding: gzip' --data-binary a=3 ", // not read
    ],
  },
  'a body arrives at two handlers': {
    async run() {
      const request = makeRequest('POST', '/', {}, 'a=1');
      const read = witness(async ({ body }) => {
        for await (const _ of body) break;
        return text('');
      });
      await read(request);
      const bodies = new Set();
      const remember = witness(ofStep(({ body }: HttpRequest) => text(`${bodies.add(body).size}`)));
      await remember(request);
      await remember({ ...request, path: '/copy' });
      assert.fail(`${bodies.size} body`);
    },
    says: ['1 body', '--data-binary a=1 http://localhost:7101/copy'],
  },
  'no command sends the same request': {
    async run() {
      const page = witness(ofStep(() => text('')));
      await page(makeRequest('OPTIONS', '*'));
      await page(makeRequest('GET', '/', { cookie: `a=${'x'.repeat(500)}` }));
      await page({ ...makeRequest('POST', '/'), body: new Blob(['a']).stream() });
      assert.fail('of its own');
    },
    says: [
      'before it: OPTIONS * (cannot be pasted)',
      'before it: GET / with the cookie a=xxxx',
      'xxxx (too long to paste)',
      'sent:      POST / (cannot be pasted)',
    ],
  },
  'fetch receives a response': {
    async run() {
      const server = createServer(ofStep((_: IncomingMessage, response: ServerResponse) => {
        response.writeHead(403, { 'x-why': 'no' }).end('Go');
      }));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a`;
      const body = new URLSearchParams({ c: "'" });
      await (await fetch(url, { method: 'POST', body, headers: { 'x-mine': '1' } })).text();
      server.close();
      throw new Error('after it');
    },
    says: [
      'after it',
      "curl -si -H 'x-mine: 1' --data-binary c=%27 http://localhost:7101/a",
      '403 Forbidden',
      'x-why: no',
      'Go',
    ],
  },
  'a test writes bytes to a socket': {
    run() {
      noteBytes("GET /%'\\ HTTP/1.1\r\n\xff", () => '');
      throw 'no error'; // a message must show this value too
    },
    says: [
      String.raw`sent:      GET /%'\ HTTP/1.1 … (to a site of the test)`,
      'came back: (nothing)',
      "thrown: 'no error'",
    ],
  },
  'a page returns no response': {
    async run() {
      const page = witness(() => undefined as never);
      await new Browser(page).request('GET', '/');
    },
    says: ['Cannot destructure', 'came back: no response, but undefined'],
  },
  'a page fails': {
    run() {
      console.error(JSON.stringify('Error: because\n    at somewhere'));
      assert.throws(() => { throw new RangeError('the reason'); }, { name: 'TypeError' }, 'words');
    },
    says: ['words', 'logged:    "Error: because\n', "received:  { name: 'RangeError' }\n"],
  },
  'everything is long': {
    async run() {
      const long = 'long '.repeat(500);
      const headers = { 'set-cookie': [long, long], a: long };
      const page: Handler = () => text(`<main>${long}`, 200, headers);
      const browser = new Browser(ofStep(page));
      for (let i = 0; i < 5; i++) await browser.post(`/${i}`, { body: 'x'.repeat(200) });
      console.error(long);
      assert.equal(given([long]).join(), `${long}.`, long);
    },
    says: ['long long', 'expected:', 'input:', 'sent:      POST /4', 'came back: 200', 'logged:'],
  },
  'its words and its response can control a terminal': {
    async run() {
      await new Browser(() => text('<main>a\x9b1mb')).get('/');
      assert.equal(1 as number, 2, 'a\x9b2J\x1b[2J\x7f');
    },
    says: [String.raw`a\x9B2J\x1B[2J\x7F`, String.raw`a\x9B1mb`],
  },
  'the time limit is over': {
    run: () => Promise.reject(AbortSignal.abort(new DOMException('too late')).reason),
    says: ['too late', 'explained: LESSON.md:LINE, Step 3 · A signature'],
  },
  'an error is thrown later': {
    run: () =>
      new Promise((resolve) => {
        setImmediate(() => {
          setImmediate(resolve);
          throw new TypeError('alone');
        });
      }),
    says: ['alone', 'explained: LESSON.md:LINE, Step 3 · A signature'],
  },
};

const FORM = [['content-type', 'application/x-www-form-urlencoded']] as const;

if (process.env.EXPLAIN_BLOCKED) {
  const word = new Int32Array(new SharedArrayBuffer(4));
  const explained = explainedIt('file:///test/01-server.test.ts');
  explained('serve() blocks the process', () => Atomics.wait(word, 0, 0));
} else if (process.env.EXPLAIN_WAITING) {
  const forever = new Promise<never>(() => {});
  const explained = explainedIt('file:///test/01-server.test.ts');
  let end = (): void => {};
  explained('countVisits() throws outside its test, so Node starts the next test', async () => {
    setImmediate(() => { throw new Error('outside'); });
    await new Promise<void>((resolve) => (end = resolve));
  });
  explained('serve() starts', async () => {
    end(); // the next test must not look as if no test ran
    await waitingFor(Promise.resolve(), () => 'the first process printed nothing');
    await waitingFor(forever, () => 'node a.ts printed nothing');
  });
} else if (process.env.EXPLAIN_FAILING) {
  const explained = explainedIt('file:///test/03-signer.test.ts');
  describe('these tests fail', () => {
    for (const [title, { run }] of Object.entries(FAILING)) explained(title, run);
  });
} else {
  describe('a failing test', () => {
    const tsx = Reflect.get(process.features, 'typescript') ? [] : ['--import', 'tsx'];
    const args = [...tsx, '--test-reporter=tap', fileURLToPath(import.meta.url)];
    const { NODE_TEST_CONTEXT: _, ...others } = process.env;
    const env = { ...others, NODE_NO_WARNINGS: '1', EXPLAIN_FAILING: '1', PORT: '7101' };
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', env });
    const messages = stdout.split(/^ {4}not ok /m).slice(1);

    it('explainedIt() says what a process printed if the test waits for the process', () => {
      const variables = { ...others, NODE_NO_WARNINGS: '1', EXPLAIN_WAITING: '1', TIME_LIMIT: '3' };
      const run = spawnSync(process.execPath, args, { encoding: 'utf8', env: variables });
      assert.match(run.stdout, /serve\(\) did not end within 3 seconds\. node a\.ts printed nothing\./);
    });

    it('explainedIt() names no loop if the process is blocked, but computes nothing', () => {
      const variables = { NODE_NO_WARNINGS: '1', EXPLAIN_BLOCKED: '1', TIME_LIMIT: '1' };
      const env = { ...others, ...variables };
      const { stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env });
      assert.match(stderr, /^Step 1: serve\(\) did not end within \d+ seconds\. A loop, another /m);
    });

    it('explainedIt() reports each failure', () => {
      assert.equal(status, 1);
      assert.equal(messages.length, Object.keys(FAILING).length, stdout);
    });

    it('explainedIt() writes at most 15 lines of 80 columns below the title', () => {
      for (const message of messages) {
        const [, shown = ''] = /error: \|-\n([^]*?)\n {8}\w+: /.exec(message) ?? [];
        const lines = shown.trimEnd().replace(/^ {10}/gm, '').split('\n');
        const rows = lines.map((line) => Math.ceil((line.length + 2) / 80) || 1);
        const sum = rows.reduce((total, count) => total + count, 0);
        assert.ok(sum > 0 && sum <= 15, `${sum} lines:\n${shown}`);
      }
    });

    for (const [index, [title, { says }]] of Object.entries(FAILING).entries()) {
      it(`explainedIt() adds the traffic and a place in the lesson if ${title}`, () => {
        const message = messages[index] ?? '';
        const withoutLines = message.replace(/\b(LESSON\.md|test\.ts):\d+/g, '$1:LINE');
        const shown = withoutLines.replace(/^ +/gm, '');
        for (const part of says) assert.ok(shown.includes(part), `it lacks ${part}:\n${message}`);
      });
    }
  });

  describe('what a failing test says', () => {
    it('curlOf() returns a command that sends the same request', () => {
      const rows: [words: Parameters<typeof curlOf>, line: string | undefined][] = [
        [['GET', '/', []], 'curl -si http://localhost:6543/'],
        [['GET', '/?a=1&b', []], "curl -si 'http://localhost:6543/?a=1&b'"],
        [['HEAD', '/', [['host', 'localhost:6543']]], 'curl -si -I http://localhost:6543/'],
        [['POST', '/', []], "curl -si -H content-type: --data-binary '' http://localhost:6543/"],
        [['POST', '/', FORM, 'a'], 'curl -si --data-binary a http://localhost:6543/'],
        [['POST', '/', FORM, '@a'], "curl -si --data-raw @a http://localhost:6543/"],
        [
          ['POST', '/', FORM, "it's\n\\"],
          String.raw`curl -si --data-binary $'it\'s\012\\' http://localhost:6543/`,
        ],
        [['GET', '//a/b', []], 'curl -si http://localhost:6543//a/b'],
        [['GET', '/../a', []], 'curl -si --path-as-is http://localhost:6543/../a'],
        [['POST', '/', FORM, 'a b'], "curl -si --data-binary 'a b' http://localhost:6543/"],
        [['PUT', '/', FORM, 'a'], 'curl -si -X PUT --data-binary a http://localhost:6543/'],
        [['GET', '/', [['a', undefined], ['b', 'c']]], "curl -si -H 'b: c' http://localhost:6543/"],
        [['GET', '/', [['a', '']]], "curl -si -H 'a;' http://localhost:6543/"],
        [['GET', '/[1-3]', []], "curl -si -g 'http://localhost:6543/[1-3]'"],
        [['GET', '*', []], undefined],
        [['GET', '/ ', []], undefined],
        [['GET', '/#a', []], undefined],
        [['POST', '/', FORM, '\0'], undefined],
        [['POST', '/', FORM, '\x9b'], undefined],
      ];
      for (const [words, line] of rows) assert.equal(curlOf(...words), line);
    });

    it('printfOf() returns a command that sends the same bytes', () => {
      const line = String.raw`printf 'GET /%%'\''\\ HTTP/1.1\r\n\303\277\0001'`;
      const telnet = `${line} | curl -s telnet://localhost:6543`;
      assert.equal(printfOf("GET /%'\\ HTTP/1.1\r\n\xff\x001"), telnet);
    });

    it('placeOf() finds the paragraph above a definition, or else the heading of the step', () => {
      const lesson = readFileSync(new URL('../LESSON.md', import.meta.url), 'utf8').split('\n');
      const lineOf = (title: string): number => {
        const place = placeOf('03-signer', title);
        const [, line = '', step] = /^LESSON\.md:(\d+), (.+)$/.exec(place) ?? [];
        assert.equal(step, 'Step 3 · A signature');
        return Number(line);
      };
      assert.equal(lesson[lineOf('x') - 1], '## Step 3 · A signature');
      const indexOf = (text: string): number => lesson.findIndex((line) => line.startsWith(text));
      const rows = [
        ['Signer.decode() rejects', '  decode(value: string): string | undefined {'],
        ['new Signer() throws', 'export class Signer implements'],
        ['countVisit() counts', 'export function countVisit('],
      ] as const;
      for (const [title, text] of rows) {
        const place = lineOf(title);
        const above = lesson.slice(place, indexOf(text));
        const fences = above.filter((line) => line.startsWith('```')).length;
        assert.equal(fences, 1, `${title}: only the fence of ${text} begins below line ${place}`);
      }
    });

    it('placeOf() prefers a paragraph about the symbol to a paragraph about another one', () => {
      const lesson = readFileSync(new URL('../LESSON.md', import.meta.url), 'utf8').split('\n');
      const rows = [
        ['01-server', 'serve() prints', '<details><summary>You can skip this: how the '],
        ['02-cookie', 'Cookie.read() returns', '`read` finds a value'],
        ['05-router', 'Router.#find() decodes', 'The keys of the `Map` are patterns. `#find`'],
        ['07-session', 'Session.isNew is', 'The constructor receives the saved `state`'],
        ['08-session-factory', 'SignedCookieSessionFactory.open() x', '`CookieSessionFactory`'],
        ['19-rescue', 'rescue() responds', 'So **rescue** is middleware'],
        ['21-password', 'hashPassword() adds', '**A salt.**'],
        ['23-throttle', 'throttled() rejects', '**Count first.** `throttled` wraps'],
        ['26-versions', 'VersionedSessionFactory.writeNew() stores', '**The save.**'],
      ] as const;
      for (const [module, title, text] of rows) {
        const [, line] = /:(\d+),/.exec(placeOf(module, title)) ?? [];
        const paragraph = lesson[Number(line) - 1] ?? '';
        assert.ok(paragraph.startsWith(text), `${title}: line ${line} is ${paragraph}`);
      }
    });
  });
}
