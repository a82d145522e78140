// Step 1 · A server that answers, holds out against slow clients, and stops cleanly.
//
// node:http parses requests and frames responses (HTTP/1.1, RFC 9112). What it leaves to us: how
// long a client may take, how much it may ask at once, what a broken request is told, and how to
// stop. Time is the threat. A client that sends one byte a minute, on a thousand connections, keeps
// a thousand sockets busy for nothing: the attack is called Slowloris.
import { existsSync, realpathSync } from 'node:fs';
import { createServer, STATUS_CODES } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** What one client may cost us. Times in milliseconds, as node:http counts; sizes in bytes. */
export const LIMITS = {
  headersTimeout: 10_000, // a browser sends its header in one packet; 10 s forgives a tunnel
  requestTimeout: 30_000, // header and body: 64 KiB in 30 s is slower than a modem of 1996
  timeout: 30_000, // a socket on which nothing moves, such as a client that never reads
  keepAliveTimeout: 5_000, // an idle connection: longer than a click takes, shorter than a visit
  connectionsCheckingInterval: 1_000, // node's own 30 s would turn a limit of 10 s into 40
  maxHeaderSize: 16 * 1024, // request line and header: three full cookies of 4096, and room
};
const MAX_WAITING = 100; // requests on one connection, behind the one that is being answered
const STOP_TIMEOUT = 10_000; // how long a stopping server waits for what is in flight
const STOP_INTERVAL = 20; // how often it looks for what has been answered meanwhile
const LINGER_TIME = 1_000; // how long a refused client may go on sending before it is cut off

/** The handler of this step: one function for every method and every URL. */
export const hello: RequestListener = (_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
  response.end('Hello, whoever you are.\n');
};

/** An HTTP server with our limits, not yet listening. Tests pass smaller ones. */
export function makeServer(listener: RequestListener, limits = LIMITS): Server {
  const lines = new Map<Duplex, Line>();
  const options = { ...limits, requireHostHeader: false }; // node's own refusal has no words
  const refuse = ({ socket }: IncomingMessage, status: number): void => {
    lines.get(socket)?.refuse(status);
  };
  const server = createServer(options, (request, response) => {
    // node:http drops what a client has sent behind an Upgrade: so that it knows, we hang up. And
    // who is told when we stop sends nothing more to a server that is about to go.
    const isLast = request.headers.upgrade !== undefined || !server.listening;
    if (isLast) response.shouldKeepAlive = false;
    const fault = faultOf(request);
    if (fault !== undefined) return refuse(request.resume(), fault);
    lines.get(request.socket)?.serve(request, response, () => listener(request, response));
  });
  server.timeout = limits.timeout;
  server.maxHeadersCount = 0; // any number: maxHeaderSize is the limit, and none is passed over
  Object.assign(server, { httpAllowHalfOpen: true }); // who has said all still wants the answer
  server.on('connection', (socket: Duplex) => {
    lines.set(socket, new Line(socket));
    socket.on('close', () => lines.delete(socket));
  });
  server.on('clientError', (error, socket) => lines.get(socket)?.refuse(statusOf(error)));
  server.on('checkExpectation', (request) => refuse(request.resume(), 417));
  server.on('connect', (request, socket: Socket) => {
    // node:http has let go of it. An error that nobody hears would end the process, and now both
    // the errors and the clock are ours.
    socket.on('error', () => socket.destroy());
    socket.setTimeout(limits.timeout, () => socket.destroy());
    refuse(request, 501); // we are no proxy
  });
  server.closeAllConnections = () => lines.forEach((_, socket) => socket.destroy());
  server.closeIdleConnections = () => {
    // node:http asks for this as it closes. Then it is too soon: somebody is just asking.
    for (const [socket, line] of lines) {
      if (server.listening) line.endWithThis();
      else if (line.isIdle) socket.destroy();
    }
  };
  return server;
}

/** One connection: it is served one request at a time, in their order (RFC 9112 §9.3.2). */
class Line {
  readonly #socket: Duplex;
  readonly #waiting: (() => void)[] = [];
  #latest: IncomingMessage | undefined; // may be waiting, or still on its way
  #answer: ServerResponse | undefined; // that is being given, or was the last
  #isRefused = false;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** The client has had all of its answers, or never asked. */
  get isIdle(): boolean {
    const isAnswered = this.#answer === undefined || this.#answer.writableFinished;
    return isAnswered && this.#waiting.length === 0 && !this.#socket.writableEnded;
  }

  serve(request: IncomingMessage, response: ServerResponse, listen: () => void): void {
    if (this.#isRefused) return;
    this.#latest = request;
    this.#inTurn(() => {
      this.#answer = response;
      listen();
    });
  }

  /** Tells the client, while there is time, that the answer to come is the last. */
  endWithThis(): void {
    const canBeTold = this.#answer?.headersSent === false && this.#waiting.length === 0;
    if (this.#answer && canBeTold) this.#answer.shouldKeepAlive = false;
  }

  /** Ends it with a refusal, but not before what came earlier is answered. */
  refuse(status: number): void {
    if (this.#isRefused) return; // the parser complains of each packet that follows
    this.#isRefused = true;
    const refuse = (): void => answerAndClose(this.#socket, status);
    const isBroken = this.#latest?.complete === false; // it is the body of this one that is wrong
    if (!isBroken) return this.#inTurn(refuse);
    if (this.#waiting.length > 0) this.#waiting.splice(-1, 1, refuse);
    else if (this.#answer?.headersSent) this.#socket.end();
    else refuse();
  }

  /** It was refused, is gone, or was told that this is the last answer. Nothing more is done. */
  get #isOver(): boolean {
    return !this.#socket.writable || this.#answer?.shouldKeepAlive === false;
  }

  #inTurn(work: () => void): void {
    if (this.#isOver) return;
    if (this.isIdle) return work();
    const count = this.#waiting.push(work);
    if (count > MAX_WAITING) this.#socket.destroy();
    else if (count === 1) this.#answer?.on('close', () => this.#next());
  }

  #next(): void {
    if (this.#isOver) return;
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) this.#answer?.on('close', () => this.#next());
  }
}

/** What node:http lets pass: another version, and any number of Hosts (RFC 9112 §2.5 and §3.2). */
function faultOf({ rawHeaders, httpVersion, headers }: IncomingMessage): number | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 505;
  if (httpVersion === '1.0' && headers['transfer-encoding']) return 400; // it had no chunks (§6.1)
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === 'host') count += 1;
  }
  return count === 1 || (count === 0 && httpVersion === '1.0') ? undefined : 400;
}

/**
 * Listens on `PORT` (default 6543, Pyramid's own) and `HOST` (default 127.0.0.1: this machine
 * only), prints what to open, and stops on Ctrl-C. A hint that begins with `/` is a page to open;
 * any other is printed as it is. A port that cannot be had is one line and exit code 1.
 */
export function serve(listener: RequestListener, title: string, ...hints: string[]): Server {
  const port = process.env.PORT || '6543';
  const server = makeServer(listener);
  server.on('error', (error: NodeJS.ErrnoException) => {
    const why = PORT_TROUBLE[error.code ?? ''] ?? error.message;
    console.error(`Cannot listen on port ${port}: ${why}`);
    process.exitCode = 1;
  });
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
    server.emit('error', new RangeError('PORT must be a whole number from 0 to 65535'));
    return server;
  }
  server.listen(Number(port), process.env.HOST || '127.0.0.1', () => {
    const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
    console.log(`${title} · ${origin}`);
    for (const h of hints) console.log(h[0] === '/' ? `  open ${origin}${h}` : `  ${h}`);
    console.log('  stop with Ctrl-C');
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop(server));
  return server;
}

/** Accepts nobody new, lets what is in flight finish, and leaves the process with nothing to do. */
export function stop(server: Server, timeout = STOP_TIMEOUT): void {
  server.close();
  setTimeout(() => server.closeAllConnections(), timeout).unref();
  const timer = setInterval(() => server.closeIdleConnections(), STOP_INTERVAL);
  server.on('close', () => clearInterval(timer));
}

/** True in the module that was started as the program, false in one that was imported. */
export function isMain(moduleUrl: string): boolean {
  const program = process.argv[1];
  if (program === undefined || !existsSync(program)) return false; // as in `node -e`
  return realpathSync(program) === fileURLToPath(moduleUrl); // npx starts us through a link
}

/**
 * Answers on a bare socket, ends our half, reads on for a moment, then cuts (RFC 9112 §9.6). A
 * socket closed with bytes unread makes TCP reset the connection, and the answer may be lost.
 */
export function answerAndClose(socket: Duplex, status: number): void {
  if (!socket.writable) return; // it was refused already, or is gone
  const words = `${status} ${STATUS_CODES[status]}`;
  socket.end(
    `HTTP/1.1 ${words}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      'X-Content-Type-Options: nosniff\r\n' + // it is text, as it says
      `Date: ${new Date().toUTCString()}\r\n` + // RFC 9110 §6.6.1
      `Content-Length: ${words.length + 1}\r\nConnection: close\r\n\r\n${words}\n`,
  );
  socket.resume();
  setTimeout(() => socket.destroy(), LINGER_TIME).unref();
}

/** The status for a request that could not be parsed; node:http itself would say nothing. */
function statusOf({ code = '', rawPacket, bytesParsed = 0 }: ParseError): number {
  const start = rawPacket ? rawPacket.subarray(0, bytesParsed).lastIndexOf('\n') + 1 : 0;
  const line = rawPacket?.toString('latin1', start, start + 32) ?? '';
  const isUnknownMethod = code === 'HPE_INVALID_METHOD' && /^[A-Z][A-Z-]* \//.test(line);
  return isUnknownMethod ? 501 : (REFUSALS[code] ?? 400);
}

type ParseError = NodeJS.ErrnoException & { rawPacket?: Buffer; bytesParsed?: number };

/** What node:http's parser complains of, and the status that says so (RFC 9110 §15). */
const REFUSALS: Record<string, number> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

const PORT_TROUBLE: Record<string, string> = {
  EADDRINUSE: 'another program listens there. Stop it, or choose another port with PORT',
  EACCES: 'this user may not use it. Choose one above 1023 with PORT',
};

if (isMain(import.meta.url)) serve(hello, 'Step 1', '/', '/any/other/path');
