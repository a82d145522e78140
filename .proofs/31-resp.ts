// Further proofs for step 31: positions, errors inside an array, and a name with several addresses.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, Socket } from 'node:net';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { parseReply, type Reply, RespConnection } from '../src/31-resp.ts';

const it = explainedIt(import.meta.url);
const timeout = 10_000; // milliseconds

describe('proofs-31-resp: more replies', () => {
  it('parseReply() starts at any position', () => {
    const rows: [bytes: string, value: Reply][] = [['+OK\r\n', 'OK'], ['$2\r\n\r\n\r\n', '\r\n'], ['*1\r\n$-1\r\n', [null]]];
    for (const [bytes, value] of rows) {
      assert.deepEqual(parseReply(Buffer.from(`+a\r\n${bytes}`), 4)?.value, value, bytes);
    }
  });

  it('RespConnection.command() returns an array that contains an error', { timeout }, async (t) => {
    const server = createServer((socket) => {
      t.after(() => socket.destroy());
      socket.write('*2\r\n+OK\r\n-ERR no\r\n');
    }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const redis = new RespConnection(connect((server.address() as AddressInfo).port, '127.0.0.1'));
    t.after(() => redis.close('the test has ended'));
    await assert.rejects(async () => {
      const [ok, error] = (await redis.command('EXEC')) as Reply[];
      assert.equal(ok, 'OK');
      throw error;
    }, { message: 'ERR no' });
  });

  it('RespConnection.close() has a reason if Node tried several addresses', { timeout }, async () => {
    const socket = new Socket();
    const redis = new RespConnection(socket);
    const reply = redis.command('PING');
    socket.destroy(Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' })); // no message
    await assert.rejects(reply, { message: 'ECONNREFUSED' });
  });
});
