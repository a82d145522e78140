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

/** Returns the number on a page of plain text. */
function countOn({ body }: { body: string }): number {
  assert.match(body, /^Count: \d+\n$/);
  return Number(body.slice('Count: '.length));
}

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

/** Sets PORT, and calls serve(). Returns its server. */
function serveOn(PORT: string | undefined): Server {
  given({ PORT });
  if (PORT === undefined) delete process.env.PORT;
  else process.env.PORT = PORT;
  const server: unknown = serve(countVisits, 'Test', ['/']);
  assert.ok(server instanceof Server, 'serve() must return the server');
  return server;
}

/** Replaces a function of the console during the test. Returns the lines that it was given. */
function linesOf(t: TestContext, method: 'log' | 'error'): string[] {
  const lines: string[] = [];
  t.mock.method(console, method, (...words: unknown[]) => void lines.push(words.join(' ')));
  return lines;
}

/** Replaces `listen` during the test. Returns the port and the address of each call. */
function listensOf(t: TestContext): unknown[][] {
  const listens: unknown[][] = [];
  t.mock.method(Server.prototype, 'listen', function (this: Server, ...args: unknown[]) {
    listens.push(args.slice(0, 2));
    return this;
  });
  return listens;
}

/** Waits until the server listens. Returns its address. The server ends after the test. */
async function addressOf(t: TestContext, start: () => Server): Promise<AddressInfo> {
  const { listen } = Server.prototype;
  let calls = 0;
  t.mock.method(Server.prototype, 'listen', function (this: Server, ...args: unknown[]) {
    calls += 1;
    t.after(() => {
      this.close();
      this.closeAllConnections(); // of a request that gets no response
    });
    return Reflect.apply(listen, this, args);
  });
  const server = start();
  assert.equal(calls, 1, 'serve() must call listen() once');
  await once(server, 'listening');
  return server.address() as AddressInfo;
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

  it('countVisits() counts the first visit of a new process as 1', async (t) => {
    const program = startProgram(t, ['--input-type=module', '--eval', `
      import { createServer } from 'node:http';
      import { countVisits } from './src/01-server.ts';
      const server = createServer(countVisits).listen(0, '127.0.0.1', () => {
        console.log('http://localhost:' + server.address().port);
      });
    `]);
    assert.equal((await fetchReply(await program.origin())).body, 'Count: 1\n');
  });

  it('countVisits() counts a request for /favicon.ico too, which is a flaw', async (t) => {
    const site = await startServer(t, ofStep(countVisits));
    const first = countOn(await site.get('/'));
    assert.equal(countOn(await site.get('/favicon.ico')), first + 1, 'step 5 fixes this');
    assert.equal(countOn(await site.request('POST', '/nonsense')), first + 2);
  });
});

describe('01-server: starting the server', () => {
  it('serve() listens on PORT or on 6543, and only on this machine', (t) => {
    const listens = listensOf(t);
    restoreAfter(t);
    const table: [PORT: string | undefined, port: number][] = [
      ['8080', 8080], ['0', 0], ['65535', 65535], [undefined, 6543], ['', 6543], [' ', 6543],
      [' 8080\r\n', 8080],
    ];
    for (const [PORT, port] of table) {
      listens.length = 0;
      serveOn(PORT);
      assert.equal(listens.length, 1, 'serve() must call listen() once');
      assert.deepEqual(listens[0], [port, '127.0.0.1']);
    }
  });

  it('serve() prints the pages to open when it listens, and responds there', async (t) => {
    const lines = linesOf(t, 'log');
    restoreAfter(t);
    const { port } = await addressOf(t, () => {
      const server = serveOn('0');
      assert.deepEqual(lines, [], 'serve() must not print before the server listens');
      return server;
    });
    const origin = `http://localhost:${port}`;
    assert.equal(lines[0], `Test · ${origin}`);
    assert.deepEqual(lines.slice(1), [`  open ${origin}/`, '  stop with Ctrl-C']);
    const first = countOn(await fetchReply(`http://127.0.0.1:${port}/`));
    assert.equal(countOn(await fetchReply(`http://127.0.0.1:${port}/`)), first + 1);
  });

  it('serve() reports each error of the server in one line', (t) => {
    const lines = linesOf(t, 'error');
    listensOf(t);
    restoreAfter(t);
    const server = serveOn('80');
    assert.ok(server.listenerCount('error') > 0, 'serve() must handle the event error');
    const reason = 'listen EACCES: permission denied 127.0.0.1:80';
    server.emit('error', new Error(reason));
    assert.deepEqual(lines, [`Cannot listen on port 80: ${reason}. ${ADVICE}`]);
    assert.equal(process.exitCode, 1, 'serve() must set the exit code to 1');
  });

  it('serve() reports a port that is in use in one line and exits with 1', async (t) => {
    const { port } = await startServer(t, countVisits);
    const [{ message }] = await once(createServer().listen(port, '127.0.0.1'), 'error');
    const program = startProgram(t, ['src/01-server.ts'], { PORT: String(given(port)) });
    const { code, stdout, stderr } = await program.ended();
    assert.equal(stderr, `Cannot listen on port ${port}: ${message}. ${ADVICE}\n`);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
  });

  it('serve() rejects a PORT that is not a whole number from 0 to 65535', (t) => {
    const lines = linesOf(t, 'error');
    const listens = listensOf(t);
    restoreAfter(t);
    const rule = 'PORT must be a whole number from 0 to 65535';
    for (const PORT of ['80a', '65536', '-1', '1.5', '1e3', '0x50', '８０', './socket']) {
      [lines.length, process.exitCode] = [0, undefined];
      serveOn(PORT);
      assert.deepEqual(lines, [`Cannot listen on port ${PORT}: ${rule}. ${ADVICE}`]);
      assert.equal(process.exitCode, 1, 'serve() must set the exit code to 1');
      assert.deepEqual(listens, [], 'serve() must not call listen()');
    }
  });

  it('serve() uses the server of make and the place of a later step', async (t) => {
    const lines = linesOf(t, 'log');
    restoreAfter(t);
    process.env.PORT = '0';
    const made: unknown[] = [];
    const make = (listener: typeof countVisits): Server => {
      made.push(listener);
      return createServer(listener);
    };
    const place: [address: string, name: string] = ['127.0.0.1', 'example.test'];
    const { address, port } = await addressOf(t, () =>
      serve(countVisits, 'Test', ['/', '/howdy'], make, place));
    assert.deepEqual(made, [countVisits], 'serve() must create the server with make');
    assert.equal(address, '127.0.0.1');
    const origin = `http://example.test:${port}`;
    const pages = [`  open ${origin}/`, `  open ${origin}/howdy`];
    assert.deepEqual(lines, [`Test · ${origin}`, ...pages, '  stop with Ctrl-C']);
  });

  it('serve() starts again at 1 after a restart, which is a flaw', async (t) => {
    for (const run of ['first run', 'second run']) {
      const program = startProgram(t, ['src/01-server.ts']);
      const { body } = await fetchReply(await program.origin());
      assert.equal(body, 'Count: 1\n', `${run}: step 2 fixes this`);
      program.kill();
      const { stdout, stderr } = await program.ended();
      assert.match(stdout, /^Step 1 · http:.*\n {2}open http:.*\n {2}stop with Ctrl-C\n$/);
      assert.equal(stderr, '');
    }
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
      assert.match(await program.origin(), /^http:/);
    });
  }

  it('isMain() does not start a server in a module that is only imported', async (t) => {
    const code = `
      import { Server } from 'node:http';
      Server.prototype.listen = () => console.log('The import started a server.');
      console.log(typeof (await import('./src/01-server.ts')).isMain);
    `;
    for (const words of [[], ['word'], ['src/02-cookie.ts']]) {
      const program = startProgram(t, ['--input-type=module', '--eval', code, ...given(words)]);
      const { stdout, stderr } = await program.ended();
      assert.deepEqual({ stdout, stderr }, { stdout: 'function\n', stderr: '' });
    }
  });
});
