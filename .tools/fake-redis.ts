// A server for the tests of steps 31 to 33. It sends the bytes that a test chooses.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { parseReply } from '../src/31-resp.ts';
import { RedisClient } from '../src/32-redis-client.ts';
import { StoreUnavailable } from '../src/25-store.ts';
import { onFreePort } from './port.ts';
import { soon } from './soon.ts';

const MAX_WAIT = 5_000; // milliseconds: more than the longest time limit of the client

/** Returns the bytes of the reply to a command, or `undefined` for no reply. */
export type Respond = (command: string[], socket: Socket) => string | undefined;

export type FakeRedis = {
  readonly port: number;
  readonly url: string;
  /** The commands that arrived, without the PING that ends each login. */
  readonly commands: string[][];
  /** The number of connections so far. */
  readonly sockets: Socket[];
  /** Closes the port and all connections. */
  stop(): Promise<void>;
};

/** The login of the client ends with PING. Each other command gets the reply of the test. */
export const afterLogin = (respond: Respond): Respond => (command, socket) =>
  command[0] === 'PING' ? '+PONG\r\n' : respond(command, socket);

/** Starts a server on a free port, or on this one, until the test ends. */
export async function startFakeRedis(
  t: TestContext,
  respond: Respond,
  { port, host = '127.0.0.1' }: { port?: number; host?: string } = {},
): Promise<FakeRedis> {
  const commands: string[][] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (let found; (found = parseReply(bytes)); bytes = bytes.subarray(found.end)) {
        const command = found.value as string[]; // a command has the form of a reply
        if (command[0] !== 'PING') commands.push(command);
        const reply = respond(command, socket);
        if (reply !== undefined) socket.write(reply);
      }
    });
  });
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  };
  t.after(() => void (server.listening && stop()));
  const listen = async (at: number) => {
    server.listen(at, host);
    await once(server, 'listening');
    return { port: at, url: `redis://127.0.0.1:${at}`, commands, sockets, stop };
  };
  return port === undefined ? onFreePort(listen) : listen(port);
}

/** Returns a client that is closed when the test ends. A command that hangs fails with a sentence. */
export function makeClient(t: TestContext, url: string): RedisClient {
  const client = new RedisClient(url);
  const { command } = client;
  client.command = (...args) => {
    const message = `RedisClient.command() still waits for the reply to ${args.join(' ')}`;
    return soon(command.apply(client, args), message, MAX_WAIT);
  };
  const keepAlive = createServer().listen(0, '127.0.0.1'); // a client does not keep a process alive
  t.after(() => {
    keepAlive.close(); // first, because the reader may be writing client.close()
    client.close();
  });
  return client;
}

/** Asserts that the promise rejects with `StoreUnavailable` and a reason that matches. */
export async function assertUnavailable(promise: Promise<unknown>, reason: RegExp): Promise<void> {
  const fail = (reply: unknown) => assert.fail(`The command must fail, but it returned ${reply}`);
  const error = await promise.then(fail, (cause) => cause);
  assert.ok(error instanceof StoreUnavailable, `not StoreUnavailable: ${String(error)}`);
  assert.match(error.message, reason);
}
