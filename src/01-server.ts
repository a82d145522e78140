// Step 1 · A server that answers, holds out against slow clients, and stops cleanly.
//
// node:http parses requests and frames responses (HTTP/1.1, RFC 9112). What it leaves to us: how
// long a client may take, what a broken request is told, and how to stop. Time is the threat. A
// client that sends one byte a minute, on a thousand connections, keeps a thousand sockets busy
// for nothing: the attack is called Slowloris.
import { existsSync, realpathSync } from 'node:fs';
import { createServer, STATUS_CODES } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
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
  const latest: Latest = new Map();
  const options = { ...limits, requireHostHeader: false }; // node's own refusal has no words
  const server = createServer(options, (request, response) => {
    latest.set(request.socket, response);
    // node:http drops what a client has sent behind an Upgrade: so that it knows, we hang up.
    if (request.headers.upgrade !== undefined) response.shouldKeepAlive = false;
    const fault = faultOf(request);
    if (fault === undefined) listener(request, response);
    else end(response, fault);
  });
  server.timeout = limits.timeout;
  Object.assign(server, { httpAllowHalfOpen: true }); // who has said all still wants the answer
  server.closeIdleConnections = () => closeIdle(latest); // node's own cuts what is being sent
  server.on('clientError', (error, socket) => refuse(error, socket, latest.get(socket)));
  server.on('connect', (_request, socket: Duplex) => {
    refuseInTurn(socket, 501, latest.get(socket)); // we are no proxy
  });
  server.on('checkExpectation', (_request, response) => end(response, 417));
  server.on('connection', (socket) => {
    latest.set(socket, undefined);
    socket.on('close', () => latest.delete(socket));
  });
  return server;
}

/** What node:http lets pass: another version, and any number of Hosts (RFC 9112 §2.5 and §3.2). */
function faultOf({ rawHeaders, httpVersion }: IncomingMessage): number | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 505;
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
  server.close(); // and with it those that are idle now
  setTimeout(() => server.closeAllConnections(), timeout).unref();
  const timer = setInterval(() => server.closeIdleConnections(), STOP_INTERVAL);
  server.on('close', () => clearInterval(timer));
}

/** Of each connection the answer to its latest request; `undefined` before the first. */
type Latest = Map<Duplex, ServerResponse | undefined>;

/** Cuts what has been answered, and who never asked: browsers open connections ahead of need. */
function closeIdle(latest: Latest): void {
  for (const [socket, response] of latest) {
    const isIdle = response === undefined || response.writableFinished; // the client has all of it
    if (isIdle && !socket.writableEnded) socket.destroy();
  }
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
  if (!socket.writable) return; // refused already: the parser complains of each packet that follows
  socket.on('error', () => socket.destroy()); // a reset by the client must not end the process
  const words = `${status} ${STATUS_CODES[status]}`;
  socket.end(
    `HTTP/1.1 ${words}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${words.length + 1}\r\nConnection: close\r\n\r\n${words}\n`,
  );
  socket.resume();
  setTimeout(() => socket.destroy(), LINGER_TIME).unref();
}

/** A refusal in words, in its turn, after which the connection ends. */
function end(response: ServerResponse, status: number): void {
  response.shouldKeepAlive = false;
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
  response.end(`${status} ${STATUS_CODES[status]}\n`);
}

/** Answers a request that could not be parsed, in words; node:http itself would send none. */
function refuse(error: ParseError, socket: Duplex, latest: ServerResponse | undefined): void {
  if (error.code === 'ECONNRESET') return void socket.destroy();
  const { rawPacket, bytesParsed = 0 } = error;
  const start = rawPacket ? rawPacket.lastIndexOf('\n', bytesParsed - 1) + 1 : 0;
  const line = rawPacket?.toString('latin1', start, start + 32) ?? '';
  const isUnknownMethod = error.code === 'HPE_INVALID_METHOD' && /^[A-Z][A-Z-]* \//.test(line);
  refuseInTurn(socket, isUnknownMethod ? 501 : (REFUSALS[error.code ?? ''] ?? 400), latest);
}

/** Refuses once the request before is answered, or the refusal would pass for its answer. */
function refuseInTurn(socket: Duplex, status: number, latest: ServerResponse | undefined): void {
  if (latest?.writableEnded && !latest.shouldKeepAlive) return; // it ends with that answer
  const isWaiting = latest?.req.complete && !latest.writableFinished;
  if (isWaiting) latest.on('finish', () => answerAndClose(socket, status));
  else answerAndClose(socket, status); // nothing is to come, or its own body is what is broken
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
