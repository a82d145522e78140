import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Server } from 'node:http';
import { connect } from 'node:net';
import { describe } from 'node:test';
import type { TestContext } from 'node:test';
import { fetchReply, NODE_ARGS, ROOT, startProgram, startServer } from '../.tools/serve.ts';
import { withTimeLimit } from '../.tools/serve.ts';
import { CONNECT, HALF_BODY, hello, HUGE, KEEP, limitedIt } from '../.tools/wire.ts';
import { statusesOf, textOf } from '../.tools/wire.ts';
import { makePipelined } from '../src/36-pipeline.ts';
import { BLOCKED_PORTS, operate, stop } from '../src/38-operations.ts';

const it = limitedIt(import.meta.url);
const hasNpm = process.platform !== 'win32' && spawnSync('npm', ['--version']).status === 0;
const hasBash = process.platform !== 'win32' && spawnSync('bash', ['--version']).status === 0;

/** Restores the environment and the signal handlers after a test that calls `operate`. */
function restoreAfter(t: TestContext): void {
  const { PORT, HOST } = process.env;
  const { exitCode } = process;
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const before = signals.map((signal) => [signal, process.listeners(signal)] as const);
  t.after(() => {
    process.exitCode = exitCode;
    for (const [name, value] of Object.entries({ PORT, HOST })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    for (const [signal, listeners] of before) {
      const added = process.listeners(signal).filter((one) => !listeners.includes(one));
      for (const listener of added) process.off(signal, listener);
    }
  });
}

describe('38-operations: HOST and PORT', () => {
  it('operate() listens on HOST and PORT without white space, or on the defaults', (t) => {
    const listens: unknown[] = [];
    const listen = (...args: unknown[]): unknown => listens.push(args.slice(0, 2));
    t.mock.method(Server.prototype, 'listen', listen);
    restoreAfter(t);
    const rows = [['', ''], ['0', '::1'], ['65535', ' 0.0.0.0\r'], ['80', ' ']] as const;
    for (const [PORT, HOST] of rows) {
      Object.assign(process.env, { PORT, HOST });
      operate(hello, 'Test', ['/']);
    }
    const expected = [[6543, '127.0.0.1'], [0, '::1'], [65535, '0.0.0.0'], [80, '127.0.0.1']];
    assert.deepEqual(listens, expected);
  });

  it('operate() names HOST for each error that an address can cause', (t) => {
    t.mock.method(Server.prototype, 'listen', function (this: Server) {
      return this;
    });
    const { mock } = t.mock.method(console, 'error', () => {});
    restoreAfter(t);
    Object.assign(process.env, { PORT: '6543', HOST: 'x86_64-conda-linux-gnu' });
    t.mock.method(process, 'exit', () => {
      throw new Error('the process ends');
    });
    const server = operate(hello, 'Test', ['/']);
    for (const code of ['ENOTFOUND', 'EAI_AGAIN', 'EADDRNOTAVAIL', 'EINVAL', 'EAFNOSUPPORT']) {
      mock.resetCalls();
      const error = Object.assign(new Error(`getaddrinfo ${code}`), { code });
      assert.throws(() => server.emit('error', error), /the process ends/);
      const lines = mock.calls.map((call) => String(call.arguments[0]));
      assert.equal(lines.length, 1, code);
      assert.match(String(lines[0]), /HOST is 'x86_64-conda-linux-gnu', which is not an address/);
    }
  });

  it('operate() names PORT for each value that is not a port', (t) => {
    const { mock } = t.mock.method(console, 'error', () => {});
    restoreAfter(t);
    t.mock.method(process, 'exit', () => {
      throw new Error('the process ends');
    });
    for (const PORT of ['99999', '65536', '-1', '1.5', '1e3', '0x50', '80 x', 'http']) {
      mock.resetCalls();
      Object.assign(process.env, { PORT, HOST: '' });
      assert.throws(() => operate(hello, 'Test', []), /the process ends/, PORT);
      const lines = mock.calls.map((call) => String(call.arguments[0]));
      const rule = 'PORT must be a whole number from 0 to 65535';
      assert.deepEqual(lines, [`Cannot listen: ${rule}, not '${PORT}'.`]);
    }
  });

  it('operate() continues after an error of a connection that it accepts', async (t) => {
    restoreAfter(t);
    const exit = t.mock.method(process, 'exit', (() => {}) as () => never);
    const { mock } = t.mock.method(console, 'error', () => {});
    Object.assign(process.env, { PORT: '0', HOST: '' });
    const server = operate(hello, 'Test', []);
    t.after(() => server.close());
    await once(server, 'listening');
    server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
    assert.equal(exit.mock.callCount(), 0);
    assert.doesNotMatch(String(mock.calls[0]?.arguments[0]), /HOST/);
  });

  it('BLOCKED_PORTS has each port above 1023 that fetch() blocks, and no other', async () => {
    const ports = Array.from({ length: 6_000 }, (_, i) => 1024 + i).concat(10_079, 10_080, 10_081);
    const dispatch = (): never => {
      throw new Error('this port is not blocked');
    };
    const blocked: number[] = [];
    for (const port of ports) {
      if (port % 100 === 0) await new Promise(setImmediate); // this is no endless loop
      const options = { dispatcher: { dispatch } } as unknown as RequestInit;
      const error = await fetch(`http://127.0.0.1:${port}`, options).catch((reason) => reason);
      if (String(error.cause?.message) === 'bad port') blocked.push(port);
    }
    assert.deepEqual([...BLOCKED_PORTS], blocked, 'the list of the Fetch standard');
  });

  it('operate() warns if browsers block the port', async (t) => {
    for (const PORT of ['6697', '6666', '10080', '4190']) {
      const program = startProgram(t, ['src/38-operations.ts'], { PORT });
      const isFree = await program.printed(/stop with Ctrl-C\n/).then(() => true, () => false);
      program.kill();
      if (!isFree) continue; // another program uses this port
      const { stderr } = await program.ended();
      const warning = `Browsers do not open port ${PORT}. Set PORT to another number.\n`;
      return assert.equal(stderr, warning);
    }
  });
});

describe('38-operations: other programs', () => {
  /** Starts a server by a shell command, in a process group of its own as in a terminal. */
  function startGroup(t: TestContext, command: string, env = {}) {
    const child = spawn('bash', ['-c', command], {
      cwd: ROOT,
      detached: true,
      env: { ...process.env, NODE_NO_WARNINGS: '1', HOST: '', PORT: '0', NODE_ENV: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const killAll = (signal: NodeJS.Signals): void => {
      try {
        process.kill(-(child.pid ?? 0), signal);
      } catch {
        // each process of the group has ended
      }
    };
    t.after(() => killAll('SIGKILL'));
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    const printed = async (pattern: RegExp): Promise<string> => {
      const ended = once(child, 'exit');
      while (!pattern.test(output)) {
        const isOver = Promise.race([once(child.stdout, 'data'), ended]);
        const [code] = await withTimeLimit(isOver, command, 20_000);
        assert.ok(typeof code === 'string', `${command} has ended: ${output}`);
      }
      return pattern.exec(output)?.[1] ?? '';
    };
    return { child, killAll, printed, output: () => output };
  }

  const skip = !(hasNpm && hasBash);
  const title = 'stopOnSignals() loses no form if npm passes one Ctrl-C on as a second signal';
  it(title, { skip, timeout: 40_000 }, async (t) => {
    const group = startGroup(t, 'exec npm start', { npm_config_script_shell: 'bash' });
    const port = Number(await group.printed(/http:\/\/localhost:(\d+)\n/));
    const head = KEEP.replace('GET /', 'POST /articles').replace('\r\n\r\n', '\r\n') +
      'Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n' +
      'Content-Length: 14\r\n\r\ntitle=a';
    const visit = () => fetchReply(`http://127.0.0.1:${port}/style.css`);
    const clients = await Promise.all([1, 2, 3, 4].map(async () => {
      const socket = connect(port, '127.0.0.1', () => socket.write(head));
      t.after(() => socket.destroy());
      socket.setEncoding('latin1').on('error', () => {});
      await once(socket, 'connect');
      return { socket, received: textOf(socket) };
    }));
    // The server has read the four requests: it reads connections in the order of their packets.
    await visit();
    group.killAll('SIGINT'); // a terminal sends it to each process of the group
    while (await visit().then(() => true, () => false)); // until the server accepts no more
    for (const { socket } of clients) socket.write('&body=b');
    for (const { received } of clients) {
      assert.equal(statusesOf(await received), '303', group.output());
    }
  });

  const options = { skip: !hasBash };
  it('operate() continues after head has read one line and ended', options, async (t) => {
    const page = `(request, response) => {
      for (let i = 0; i < 100; i++) console.log('a line of the log');
      response.end('Hello');
    }`;
    const node = `'${process.execPath}' ${NODE_ARGS.join(' ')} --input-type=module --eval "$CODE"`;
    const group = startGroup(t, `${node} | head -1`, { CODE: `
      import { operate } from './src/38-operations.ts';
      operate(${page}, 'Test', ['/']);
    ` });
    const port = Number(await group.printed(/http:\/\/localhost:(\d+)\n/));
    for (const visit of [1, 2, 3]) {
      const { body } = await fetchReply(`http://127.0.0.1:${port}/`);
      assert.equal(body, 'Hello', `visit ${visit}`);
    }
  });
});

describe('38-operations: connections that are hard to stop', () => {
  it('stop() closes a connection with CONNECT, which Node does not manage', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const site = await startServer(t, (_, response) => response.end(HUGE), makePipelined);
    const arrived = once(site.server, 'connect');
    site.open(KEEP + CONNECT).pause();
    await arrived;
    const closed = once(site.server, 'close');
    stop(site.server);
    t.mock.timers.tick(10_000);
    await closed;
  });

  it('stop() called twice closes the server once', async (t) => {
    const { server } = await startServer(t, hello, makePipelined);
    const closed = once(server, 'close');
    stop(server);
    stop(server);
    await closed;
  });

  it('stop() ends many connections in every state', async (t) => {
    const site = await startServer(t, hello, makePipelined);
    const states = ['', 'GET / HT', HALF_BODY, KEEP, KEEP + KEEP, 'garbage\r\n\r\n', CONNECT];
    const clients = Array.from({ length: 70 }, (_, i) => {
      const client = site.open(states[i % states.length] ?? '');
      return new Promise((resolve) => client.resume().on('close', resolve));
    });
    await site.get('/');
    const closed = once(site.server, 'close');
    stop(site.server, 200);
    await Promise.all([closed, ...clients]);
  });
});
