// Step 35 · Limits: every wait has a timeout, and every input has a maximum size.
//
// A client that sends one byte per minute on a thousand connections keeps a thousand sockets busy.
// This attack is called Slowloris. Node's own limits are generous: a minute for the headers, five
// minutes for a request. A client that breaks a limit gets a status and an explanation.
import { createServer, type RequestListener, type Server, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { isMain, serve } from './01-server.ts';
import { toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';

/** What one client may use. Times in milliseconds, as in `node:http`; sizes in bytes. */
export const LIMITS = {
  headersTimeout: 10_000, // a browser sends the headers in one packet
  requestTimeout: 30_000, // headers and body: 64 KiB in 30 s is slower than a modem of 1996
  timeout: 30_000, // a socket without any traffic, for example a client that never reads
  keepAliveTimeout: 5_000, // an idle connection: longer than a click, shorter than a visit
  connectionsCheckingInterval: 1_000, // Node's 30 s would turn a limit of 10 s into 40 s
  maxHeaderSize: 16 * 1024, // three full cookies of 4096 bytes, and more
};
const LINGER_TIME = 1_000; // how long a rejected client may continue to send

/** Sends an error response on a socket that has no `ServerResponse`, and closes it. */
export type Reject = (socket: Duplex, status: number) => void;

/** Creates a server with limits. Tests pass smaller ones. */
export function makeLimited(
  listener: RequestListener,
  limits = LIMITS,
  reject: Reject = respondAndClose,
): Server {
  const options = { ...limits, requireHostHeader: false }; // step strict responds with a reason
  const server = createServer(options, (request, response) => {
    response.on('finish', () => {
      if (!request.complete) setTimeout(() => request.socket.destroy(), LINGER_TIME).unref();
    });
    listener(request, response);
  });
  server.timeout = limits.timeout;
  server.maxHeadersCount = 0; // no limit, because maxHeaderSize is one; Node would ignore the rest
  server.on('clientError', (error: ParseError, socket) => reject(socket, requestErrorStatus(error)));
  server.on('checkExpectation', (request, response) => {
    response.writeHead(417, { connection: 'close' }).end();
    request.resume();
  });
  return server;
}

/**
 * Responds, ends this half of the connection, reads for a moment, and closes (RFC 9112 §9.6). If a
 * socket is closed with unread bytes, TCP resets the connection, and the response may be lost.
 */
export function respondAndClose(socket: Duplex, status: number): void {
  if (!socket.writable) return; // it was rejected before, or the client has left
  const body = `${status} ${STATUS_CODES[status]}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `X-Content-Type-Options: nosniff\r\nDate: ${new Date().toUTCString()}\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
  socket.resume();
  setTimeout(() => socket.destroy(), LINGER_TIME).unref();
}

type ParseError = NodeJS.ErrnoException & { rawPacket?: Buffer; bytesParsed?: number };

/** Returns the status for a request that Node cannot parse. */
function requestErrorStatus({ code = '', rawPacket, bytesParsed = 0 }: ParseError): number {
  const start = rawPacket ? rawPacket.subarray(0, bytesParsed).lastIndexOf('\n') + 1 : 0;
  const line = rawPacket?.toString('latin1', start, start + 32) ?? '';
  const isUnknownMethod = code === 'HPE_INVALID_METHOD' && /^[A-Z][A-Z-]* \//.test(line);
  return isUnknownMethod ? 501 : (PARSE_ERROR_STATUS[code] ?? 400);
}

const PARSE_ERROR_STATUS: Record<string, number> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

if (isMain(import.meta.url)) serve(toListener(tutorial().handle), 'Step 35', ['/'], makeLimited);
