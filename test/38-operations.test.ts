import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener, Server } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { fetchReply, type Program, ROOT, startProgram, startServer } from '../.tools/serve.ts';
import { closeOf, HALF_BODY, HALF_HEADERS, hello, HUGE, KEEP } from '../.tools/wire.ts';
import { limitedIt, openHalf, readBody, statusesOf, textOf } from '../.tools/wire.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { stop, stopOnSignals } from '../src/38-operations.ts';

const it = limitedIt(import.meta.url);
const MODULE = 'src/38-operations.ts';
const hasIPv6 = Object.values(networkInterfaces()).flat().some((one) => one?.address === '::1');

/** Starts a program that serves `page`, the source of a request listener. */
function startOperated(t: TestContext, page: string, env = {}): Program {
  return startProgram(t, ['--input-type=module', '--eval', `
    import { operate } from './src/38-operations.ts';
    operate(${page}, 'Test', ['/']);
  `], env);
}

/** A page that prints a line, and responds when the whole body has arrived. */
const SLOW = `(request, response) => {
  console.log('arrived');
  request.resume().on('end', () => response.end('complete'));
}`;

async function portOf(program: Program): Promise<number> {
  return Number(await program.printed(/^Test · http:\/\/[^\n]*:(\d+)\n/));
}

/** Starts a request whose body is not complete, and waits until the page has it. */
async function startSlowRequests(t: TestContext, program: Program, count: number) {
  const port = await portOf(program);
  const clients = Array.from({ length: count }, () => {
    const socket = connect(port, '127.0.0.1', () => socket.write(HALF_BODY));
    t.after(() => socket.destroy());
    socket.setEncoding('latin1').on('error', () => {});
    return { socket, received: textOf(socket) };
  });
  await program.printed(new RegExp('(?:arrived\\n[^]*){' + count + '}'));
  return clients;
}

describe('38-operations: a graceful stop', () => {
  /** A server whose time does not pass: no time limit can help. */
  async function startStill(t: TestContext, listener: RequestListener) {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const site = await startServer(t, listener, makePipelined);
    const stopNow = (server: Server = site.server): Promise<unknown> => {
      const closed = once(server, 'close');
      stop(server);
      return closed;
    };
    return { site, server: site.server, stopNow };
  }

  it('stop() lets the current request finish, and accepts no new connection', async (t) => {
    const { site, server, stopNow } = await startStill(t, readBody);
    const arrived = once(server, 'request');
    const client = site.open(HALF_BODY);
    await arrived;
    const closed = stopNow();
    const [error] = await once(connect(site.port, '127.0.0.1'), 'error');
    assert.equal(error.code, 'ECONNREFUSED', 'a new connection');
    const received = textOf(client);
    client.write('done.');
    assert.match(await received, /^HTTP\/1\.1 200 OK\r\n[^]*complete/);
    await closed; // although the client would have kept the connection
  });

  it('stop() does not wait for connections without a request', async (t) => {
    const { site, server, stopNow } = await startStill(t, hello);
    for (const sent of ['', HALF_HEADERS]) {
      const connected = once(server, 'connection');
      site.open(sent);
      await connected;
    }
    const client = site.open(KEEP);
    await once(client, 'data'); // this browser keeps its connection for the next page
    await stopNow();
  });

  it('stop() sends the whole response to a client that reads slowly', async (t) => {
    const { site, server, stopNow } = await startStill(t, (_, response) => response.end(HUGE));
    const arrived = once(server, 'request');
    const client = site.open(KEEP).pause();
    const [, response] = await arrived;
    assert.equal(response.writableEnded, true, 'the page has written all, and most of it waits');
    const closed = stopNow();
    let size = 0;
    client.on('data', (chunk: string) => (size += chunk.length)).resume();
    await closed;
    await closeOf(client);
    assert.ok(size > HUGE.length, `${size} bytes of ${HUGE.length} and the headers have arrived`);
  });

  it('stop() closes each connection after ten seconds', async (t) => {
    const { site, server, stopNow } = await startStill(t, readBody);
    const arrived = once(server, 'request');
    const client = site.open(HALF_BODY).resume();
    await arrived;
    const closed = stopNow();
    t.mock.timers.tick(9_999);
    assert.equal(client.closed, false, 'a millisecond is left');
    t.mock.timers.tick(1);
    await closed;
  });

  it('stop() announces with Connection: close that a response is the last one', async (t) => {
    const { site, server, stopNow } = await startStill(t, readBody);
    const arrived = once(server, 'request');
    const client = site.open(HALF_BODY);
    await arrived;
    const closed = stopNow();
    const received = textOf(client);
    client.write(`done.${KEEP}`);
    assert.equal(statusesOf(await received), '200', 'the second request is not handled');
    assert.match(await received, /\r\nConnection: close\r\n/);
    await closed;
  });

  it('stop() still responds to requests that wait behind the current one', async (t) => {
    let respond = (): void => {};
    const listener: RequestListener = (_request, response) => {
      respond = () => response.end('page');
    };
    const { site, server, stopNow } = await startStill(t, listener);
    const arrived = once(server, 'request');
    const received = textOf(site.open(KEEP + KEEP));
    await arrived;
    await new Promise(setImmediate); // by now the second request is parsed, and waits
    const closed = stopNow();
    const first = respond;
    first();
    while (respond === first) await new Promise(setImmediate);
    respond();
    assert.equal(statusesOf(await received), '200 200');
    await closed;
  });

  it('stop() gives a client with an error response the time to read it', async (t) => {
    const { site, server, stopNow } = await startStill(t, hello);
    const connected = once(server, 'connection');
    const client = openHalf(t, site, 'garbage\r\n\r\n').resume();
    const [socket] = await connected;
    await once(client, 'end');
    const closed = stopNow();
    server.closeIdleConnections();
    assert.equal(socket.destroyed, false, 'the client may still send');
    t.mock.timers.tick(1_000);
    assert.equal(socket.destroyed, true);
    await closed;
  });

  it('stop() responds to a request that arrives while the server stops', async (t) => {
    const site = await startServer(t, hello, makePipelined);
    const client = site.open(KEEP);
    let received = '';
    client.on('data', (chunk: string) => (received += chunk));
    await once(client, 'data');
    t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
    stop(site.server);
    client.write(KEEP);
    await closeOf(client);
    assert.equal(statusesOf(received), '200 200');
    assert.match(received, /\r\nConnection: close\r\n/);
  });

  it('stop() waits for a server that does not listen yet', async (t) => {
    const server = makePipelined(hello);
    t.after(() => server.close());
    server.listen(0, '127.0.0.1');
    const closed = once(server, 'close');
    stop(server);
    await closed;
  });
});

describe('38-operations: signals', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`stopOnSignals() lets a request finish after ${signal}, and exits with 0`, async (t) => {
      const program = startOperated(t, SLOW);
      const [client] = await startSlowRequests(t, program, 1);
      program.kill(signal);
      const port = await portOf(program);
      while (await fetchReply(`http://127.0.0.1:${port}/`).then(() => true, () => false));
      client?.socket.write('done.');
      assert.match(await (client?.received ?? ''), /^HTTP\/1\.1 200 OK\r\n[^]*complete/);
      const { code, signal: killer, stderr } = await program.ended();
      assert.deepEqual({ code, killer, stderr }, { code: 0, killer: null, stderr: '' });
    });
  }

  it('stopOnSignals() counts a signal that npm passes on as the same Ctrl-C', async (t) => {
    const program = startOperated(t, `(...all) => (${SLOW})(...all)`);
    const clients = await startSlowRequests(t, program, 4);
    for (let i = 0; i < 3; i++) program.kill('SIGINT');
    const port = await portOf(program);
    while (await fetchReply(`http://127.0.0.1:${port}/`).then(() => true, () => false));
    for (const { socket } of clients) socket.write('done.');
    for (const { received } of clients) assert.equal(statusesOf(await received), '200');
    assert.equal((await program.ended()).code, 0);
  });

  it('stopOnSignals() ends the process at a second signal after more than a second', async (t) => {
    const clock = t.mock.method(performance, 'now', () => 5_000);
    const exit = t.mock.method(process, 'exit', (() => {}) as () => never);
    const stopping = await startServer(t, readBody, (inner) => {
      const server = makePipelined(inner);
      stopOnSignals(server);
      return server;
    });
    const arrived = once(stopping.server, 'request');
    const client = stopping.open(HALF_BODY).resume();
    await arrived;
    process.emit('SIGINT');
    clock.mock.mockImplementation(() => 6_000);
    process.emit('SIGINT');
    assert.equal(exit.mock.callCount(), 0, 'after a second it is still the same Ctrl-C');
    clock.mock.mockImplementation(() => 6_001);
    process.emit('SIGINT');
    assert.deepEqual(exit.mock.calls.map((call) => call.arguments[0] as unknown), [1]);
    client.write('done.');
    await once(stopping.server, 'close');
  });

  it('stopOnSignals() removes its handlers when the server has closed', async (t) => {
    const before = process.listenerCount('SIGTERM');
    const { server } = await startServer(t, hello);
    stopOnSignals(server);
    assert.equal(process.listenerCount('SIGTERM'), before + 1);
    const closed = once(server, 'close');
    stop(server);
    await closed;
    assert.equal(process.listenerCount('SIGTERM'), before);
  });
});

describe('38-operations: starting', () => {
  it('operate() prints the pages to open, responds there, and stops at SIGTERM', async (t) => {
    const program = startProgram(t, [MODULE]);
    const origin = await program.printed(/^Step 38 · (http:\/\/localhost:\d+)\n/);
    assert.match((await fetchReply(await program.origin())).body, /Count: 1/);
    program.kill('SIGTERM');
    const { code, stdout, stderr } = await program.ended();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    const pages = `  open ${origin}/\n  open ${origin}/howdy\n`;
    assert.equal(stdout, `Step 38 · ${origin}\n${pages}  stop with Ctrl-C\n`);
  });

  it('operate() prints an address that responds, for each HOST', async (t) => {
    const table: [host: string, printed: string, isHere: boolean][] = [
      ['127.0.0.1', 'localhost', true],
      [' \r\n', 'localhost', true],
      ['127.0.0.2', '127.0.0.2', process.platform === 'linux'],
      ['localhost', 'localhost', true],
      ['0.0.0.0', 'localhost', true],
      ['::', 'localhost', hasIPv6],
      ['::1', '[::1]', hasIPv6],
    ];
    const rows = table.filter(([, , isHere]) => isHere);
    const program = startProgram(t, ['--input-type=module', '--eval', `
      import { operate } from './src/38-operations.ts';
      for (const [i, host] of ${JSON.stringify(rows.map(([host]) => host))}.entries()) {
        process.env.HOST = host;
        operate((request, response) => response.end(host), 'Test ' + i, ['/']);
      }
    `]);
    for (const [i, [host, name]] of rows.entries()) {
      const origin = await program.printed(new RegExp(`^Test ${i} · (http://.*)\\n`, 'm'));
      assert.equal(origin.replace(/:\d+$/, ''), `http://${name}`, `HOST='${host}'`);
      assert.equal((await fetchReply(`${origin}/`)).body, host, `${origin} for HOST='${host}'`);
    }
  });

  it('operate() names HOST if it is not an address of this machine', async (t) => {
    const HOST = '192.0.2.1'; // an address for examples, which no machine has (RFC 5737)
    const { code, stdout, stderr } = await startProgram(t, [MODULE], { HOST }).ended();
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
    assert.match(stderr, /HOST is '192\.0\.2\.1', which is not an address of this machine\./);
    assert.match(stderr, /Unset HOST/);
    assert.equal(stderr.split('\n').length, 2, 'one line, without a stack trace');
  });

  it('operate() names PORT and its value if it is not a port', async (t) => {
    const { code, stdout, stderr } = await startProgram(t, [MODULE], { PORT: 'abc' }).ended();
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
    const rule = 'PORT must be a whole number from 0 to 65535';
    assert.equal(stderr, `Cannot listen: ${rule}, not 'abc'.\n`);
  });

  it('operate() reports a port that is in use, and does not blame HOST', async (t) => {
    const { port } = await startServer(t, hello);
    const program = startProgram(t, [MODULE], { PORT: String(port) });
    const { code, stderr } = await program.ended();
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`^Cannot listen on port ${port}: .*in use.*\\n$`));
    assert.doesNotMatch(stderr, /HOST/);
  });

  it('isProgram() is true if the process manager pm2 imports the program', async (t) => {
    const importIt = ['--input-type=module', '--eval', `import './${MODULE}';`];
    const managed = startProgram(t, importIt, { pm_exec_path: join(ROOT, MODULE) });
    const others = [join(ROOT, 'src/37-strict.ts'), join(ROOT, 'absent.js')];
    await Promise.all(others.map(async (pm_exec_path) => {
      const { code, stdout } = await startProgram(t, importIt, { pm_exec_path }).ended();
      assert.deepEqual({ code, stdout }, { code: 0, stdout: '' }, `pm2 runs ${pm_exec_path}`);
    }));
    assert.equal((await fetchReply(await managed.origin())).status, 200);
  });
});

describe('38-operations: the log', () => {
  it('operate() responds although no program reads its log any more', async (t) => {
    const page = `(request, response) => {
      console.error('a line of the log');
      console.log('another line');
      response.end('Hello');
    }`;
    const program = startOperated(t, page);
    const port = await portOf(program);
    program.child.stderr.destroy();
    program.child.stdout.destroy();
    for (const visit of [1, 2, 3]) {
      const { body } = await fetchReply(`http://127.0.0.1:${port}/`);
      assert.equal(body, 'Hello', `visit ${visit}`);
    }
    const closed = once(program.child, 'exit');
    program.kill('SIGTERM');
    assert.deepEqual(await closed, [0, null], 'a clean stop');
  });
});
