import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { createServer, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { fetchReply, ROOT, startProgram, startServer } from '../.tools/serve.ts';
import { countVisits, isMain, serve } from '../src/01-server.ts';

const it = explainedIt(import.meta.url);
const MODULE = join(ROOT, 'src/01-server.ts');
const ADVICE =
  'Is another step still running? Stop it with Ctrl-C, or set PORT to another number.';

/** The number on a page of plain text. */
const countOn = ({ body }: { body: string }): number => Number(/^Count: (\d+)\n$/.exec(body)?.[1]);

/** Restores PORT, the program and the exit code after a test that changes them. */
function restoreAfter(t: TestContext): void {
  const { PORT } = process.env;
  const { exitCode } = process;
  const [, program] = process.argv;
  t.after(() => {
    process.exitCode = exitCode;
    process.argv[1] = program ?? '';
    if (PORT === undefined) delete process.env.PORT;
    else process.env.PORT = PORT;
  });
}

describe('01-server: the page', () => {
  it('countVisits() adds 1 for each visit', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const first = countOn(await site.get('/'));
    assert.equal(countOn(await site.get('/')), first + 1);
    assert.equal(countOn(await site.get('/')), first + 2);
  });

  it('countVisits() sends plain text in UTF-8', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const { status, headers, body } = await site.get('/');
    assert.equal(status, 200);
    assert.equal(headers.get('content-type'), 'text/plain; charset=utf-8');
    assert.match(body, /^Count: \d+\n$/);
  });

  it('countVisits() counts a request for /favicon.ico too, which is a flaw', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const first = countOn(await site.get('/'));
    assert.equal(countOn(await site.get('/favicon.ico')), first + 1, 'step 5 fixes this');
    assert.equal(countOn(await site.request('POST', '/nonsense')), first + 2);
  });
});

describe('01-server: starting the server', () => {
  it('serve() prints the pages to open and responds there', async (t) => {
    const program = startProgram(t, ['src/01-server.ts']);
    const origin = await program.printed(/^Step 1 · (http:\/\/localhost:\d+)\n/);
    await program.printed(/stop with Ctrl-C\n/);
    for (const expected of ['Count: 1\n', 'Count: 2\n']) {
      assert.equal((await fetchReply(await program.origin())).body, expected);
    }
    program.kill();
    const { stdout, stderr } = await program.ended();
    assert.equal(stderr, '');
    assert.equal(stdout, `Step 1 · ${origin}\n  open ${origin}/\n  stop with Ctrl-C\n`);
  });

  it('serve() starts again at 1 after a restart, which is a flaw', async (t) => {
    for (const run of ['first run', 'second run']) {
      const program = startProgram(t, ['src/01-server.ts']);
      const { body } = await fetchReply(await program.origin());
      assert.equal(body, 'Count: 1\n', `${run}: step 2 fixes this`);
      program.kill();
      await program.ended();
    }
  });

  it('serve() reports a port that is in use in one line and exits with 1', async (t) => {
    const { port } = await startServer(t, countVisits);
    const program = startProgram(t, ['src/01-server.ts'], { PORT: String(port) });
    const { code, stdout, stderr } = await program.ended();
    assert.match(stderr, new RegExp(`^Cannot listen on port ${port}: .*in use.*\\n$`));
    assert.ok(stderr.endsWith(`. ${ADVICE}\n`), stderr);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
  });

  it('serve() listens on PORT or on 6543, and only on this machine', (t) => {
    const listens: unknown[] = [];
    const listen = (...args: unknown[]): unknown => listens.push(args.slice(0, 2));
    t.mock.method(Server.prototype, 'listen', listen);
    restoreAfter(t);
    for (const port of ['', ' ', '0', ' 8080\r\n', '65535']) {
      process.env.PORT = given(port);
      serve(countVisits, 'Test', ['/']);
    }
    delete process.env.PORT;
    serve(countVisits, 'Test', ['/']);
    const ports = [6543, 6543, 0, 8080, 65535, 6543];
    assert.deepEqual(listens, ports.map((port) => [port, '127.0.0.1']));
  });

  it('serve() rejects a PORT that is not a whole number from 0 to 65535', (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    restoreAfter(t);
    for (const port of ['80a', '65536', '-1', '1.5', '1e3', '0x50', '８０', './socket']) {
      process.env.PORT = given(port);
      mock.resetCalls();
      assert.equal(serve(countVisits, 'Test', ['/']).listening, false, `PORT='${port}'`);
      const lines = mock.calls.map((call) => call.arguments[0]);
      const rule = 'PORT must be a whole number from 0 to 65535';
      const line = `Cannot listen on port ${port}: ${rule}. ${ADVICE}`;
      assert.deepEqual(lines, [line]);
      assert.equal(process.exitCode, 1, `PORT='${port}' must set the exit code to 1`);
      process.exitCode = undefined;
    }
  });

  it('serve() reports every other error of the server in one line too', (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    t.mock.method(Server.prototype, 'listen', function (this: Server) {
      return this;
    });
    restoreAfter(t);
    process.env.PORT = '80';
    const reason = 'listen EACCES: permission denied 127.0.0.1:80';
    serve(countVisits, 'Test', ['/']).emit('error', new Error(reason));
    const line = `Cannot listen on port 80: ${reason}. ${ADVICE}`;
    assert.deepEqual(mock.calls.map((call) => call.arguments), [[line]]);
    assert.equal(process.exitCode, 1);
  });

  it('serve() uses the server of make and the place of a later step', async (t) => {
    const { mock } = t.mock.method(console, 'log', () => {});
    restoreAfter(t);
    process.env.PORT = '0';
    const made: unknown[] = [];
    const make = (listener: typeof countVisits): Server => {
      made.push(listener);
      return createServer(listener);
    };
    const place = ['127.0.0.1', 'example.test'];
    const server = serve(countVisits, 'Test', ['/', '/howdy'], make, place as [string, string]);
    t.after(() => server.close());
    await once(server, 'listening');
    assert.deepEqual(made, [countVisits]);
    const { address, port } = server.address() as AddressInfo;
    assert.equal(address, '127.0.0.1');
    const origin = `http://example.test:${port}`;
    const pages = [`  open ${origin}/`, `  open ${origin}/howdy`];
    const lines = mock.calls.map((call) => call.arguments[0]);
    assert.deepEqual(lines, [`Test · ${origin}`, ...pages, '  stop with Ctrl-C']);
  });
});

describe('01-server: the main module', () => {
  it('isMain() returns true only in the module that was started', async (t) => {
    restoreAfter(t);
    const folder = await mkdtemp(join(tmpdir(), 'sessions-'));
    t.after(() => rm(folder, { recursive: true }));
    await symlink(join(ROOT, 'src'), join(folder, 'link'), 'junction');
    const table: [program: string, isStarted: boolean, why: string][] = [
      [MODULE, true, 'the file itself'],
      [join(folder, 'link/01-server.ts'), true, 'a symbolic link to the file'],
      [MODULE.replace('.ts', ''), true, 'tsx adds the file extension'],
      [MODULE.replace('.ts', '.js'), true, 'tsx finds the .ts file'],
      [join(folder, 'link/01-server'), true, 'a link without a file extension'],
      [join(ROOT, 'src/02-cookie.ts'), false, 'another module'],
      [join(ROOT, 'src/02-cookie'), false, 'another module without a file extension'],
      [join(ROOT, 'src'), false, 'a folder'],
      [join(ROOT, 'src/01'), false, 'the beginning of the name'],
      [join(folder, 'absent.ts'), false, 'a file that does not exist'],
      ['word', false, 'not a file'],
      ['', false, 'no program'],
    ];
    for (const [program, isStarted, why] of table) {
      process.argv[1] = given(program);
      assert.equal(isMain(pathToFileURL(MODULE).href), isStarted, `${program}: ${why}`);
    }
  });

  const skip = existsSync(join(ROOT, 'node_modules/tsx')) ? false : 'tsx is not installed';
  for (const file of ['src/01-server', 'src/01-server.js']) {
    it(`isMain() lets npx tsx ${file} start the server`, { skip }, async (t) => {
      const program = startProgram(t, [file], {}, ['--import', 'tsx']);
      await program.printed(/^Step 1 · http:\/\/localhost:\d+\n/);
    });
  }

  it('isMain() does not start a server in a module that is only imported', async (t) => {
    const code = `console.log(typeof (await import('./src/01-server.ts')).isMain)`;
    for (const words of [[], ['word'], ['src/02-cookie.ts']]) {
      const program = startProgram(t, ['--input-type=module', '--eval', code, ...words]);
      const ended = await program.ended();
      const expected = { code: 0, signal: null, stdout: 'function\n', stderr: '' };
      assert.deepEqual(ended, expected, 'it must print no address');
    }
  });
});
