// Step 31 · RESP: the language of Redis, by hand.
//
//   *2\r\n$3\r\nGET\r\n$1\r\na\r\n  →  $5\r\nhello\r\n    RESP2 (redis.io, serialization protocol)
import { connect, type Socket } from 'node:net';
import { isMain, serve } from './01-server.ts';
import { type Handler, problem, text, toListener } from './04-http.ts';

/** A reply of Redis. `null` means that there is no value. */
export type Reply = string | number | null | Error | Reply[];

const MAX_REPLY_SIZE = 1024 * 1024; // bytes: a session has at most 64 KiB
const NOT_RESP2 = 'The reply is not RESP2';

/** Returns a command as text for the socket: an array of strings, each with its length in bytes. */
export function encodeCommand(args: readonly string[]): string {
  const parts = args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`);
  return `*${args.length}\r\n${parts.join('')}`;
}

/**
 * Returns the reply that begins at `start`, and where it ends, or `undefined` until it is complete.
 * Throws a `RangeError`, for example 'The reply is not RESP2' or 'A reply of length 2000000'.
 */
export function parseReply(bytes: Buffer, start = 0): { value: Reply; end: number } | undefined {
  const lineEnd = bytes.indexOf('\r\n', start);
  if (lineEnd === -1) return undefined;
  const type = bytes.toString('latin1', start, start + 1);
  const line = bytes.toString('utf8', start + 1, lineEnd);
  let end = lineEnd + 2;
  if (type === '+') return { value: line, end };
  if (type === '-') return { value: new Error(line), end };
  if (!/^-?\d{1,15}$/.test(line) || !/[:$*]/.test(type)) throw new RangeError(NOT_RESP2);
  const number = Number(line);
  if (type === ':') return { value: number, end };
  if (number === -1) return { value: null, end };
  if (number < 0 || number > MAX_REPLY_SIZE) throw new RangeError(`A reply of length ${number}`);
  if (type === '$') {
    const stop = end + number;
    if (bytes.length < stop + 2) return undefined;
    if (bytes.toString('latin1', stop, stop + 2) !== '\r\n') throw new RangeError(NOT_RESP2);
    return { value: bytes.toString('utf8', end, stop), end: stop + 2 };
  }
  const items: Reply[] = [];
  while (items.length < number) {
    const item = parseReply(bytes, end);
    if (!item) return undefined;
    items.push(item.value);
    end = item.end;
  }
  return { value: items, end };
}

/** One connection. Commands are sent immediately, and the replies arrive in the same order. */
export class RespConnection {
  readonly #socket: Socket;
  readonly #onClose: () => void;
  readonly #pending: ((reply: Reply) => void)[] = [];
  #received = Buffer.alloc(0); // the beginning of the next reply
  #closed: Error | undefined; // why the connection was closed

  /** Calls `onClose` after the connection has closed. */
  constructor(socket: Socket, onClose = () => {}) {
    this.#socket = socket;
    this.#onClose = onClose;
    socket.on('data', (bytes) => this.#receive(bytes));
    socket.on('close', () => this.close('Redis closed the connection'));
    // If two addresses fail, for example of `localhost`, the error has a code but no message.
    socket.on('error', ({ message, code }: SocketError) => this.close(message || `${code}`));
  }

  /** Returns the reply. Throws an error of Redis, or the reason why the connection closed. */
  async command(...args: string[]): Promise<Reply> {
    if (this.#closed) throw this.#closed;
    this.#socket.write(encodeCommand(args)); // the socket keeps it until the connection exists
    const reply = await new Promise<Reply>((resolve) => this.#pending.push(resolve));
    if (reply instanceof Error) throw reply;
    return reply;
  }

  /** Closes the connection. Each command without a reply fails. Does nothing the second time. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = new Error(reason);
    this.#socket.destroy();
    this.#onClose();
    for (const resolve of this.#pending.splice(0)) resolve(this.#closed);
  }

  /** Resolves the oldest promise with each reply. */
  #receive(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    try {
      for (let reply; (reply = parseReply(this.#received)); ) {
        this.#received = this.#received.subarray(reply.end);
        const resolve = this.#pending.shift();
        if (!resolve) throw new RangeError('A reply without a command');
        resolve(reply.value);
      }
      if (this.#received.length > MAX_REPLY_SIZE) throw new RangeError('The reply is too long');
    } catch (error) {
      this.close((error as Error).message);
    }
  }
}

type SocketError = NodeJS.ErrnoException; // an `Error` with a `code`, for example ECONNREFUSED

/** The site of this step: it sends PING over a new connection and shows the reply. */
export function site(port = Number(process.env.REDIS_PORT || 6379)): Handler {
  return async () => {
    const redis = new RespConnection(connect(port, '127.0.0.1'));
    try {
      return text(`Redis replies: ${String(await redis.command('PING'))}\n`);
    } catch {
      return problem(503, `No Redis server responds on port ${port}. Start redis-server.`);
    } finally {
      redis.close('The page is complete');
    }
  };
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 31', ['/']);
