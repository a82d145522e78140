// Step 35 · Limits: every wait has a timeout, and every input has a maximum size.
//
// This stops Slowloris. A client that breaks a limit gets a status and an explanation.
import { createServer, type RequestListener, type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { isMain, serve } from './01-server.ts';
import { toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';

/** The limits for one client. Times in milliseconds, as in `node:http`; sizes in bytes. */
export const LIMITS = {
  headersTimeout: 10_000, // a browser sends the headers in one packet
  requestTimeout: 30_000, // headers and body: 64 KiB in 30 s is slower than a modem of 1996
  timeout: 30_000, // a socket without any traffic
  keepAliveTimeout: 5_000, // an idle connection: a browser loads a page in less time
  connectionsCheckingInterval: 1_000, // Node's 30 s would turn a limit of 10 s into 40 s
  maxHeaderSize: 16 * 1024, // three full cookies of 4096 bytes, and more
};
const LINGER_TIME = 1_000; // milliseconds: a client needs one round trip to read a response

/** Headers of each response of a site (OWASP: HTTP Security Response Headers). */
export const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'", // load nothing
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin', // no other site can show this content
};

/** Sends an error response on a socket that has no `ServerResponse`, and closes it. */
export type Reject = (socket: Duplex, status: number, isHead?: boolean) => void;

/** Creates a server with limits. Tests pass smaller ones. */
export function makeLimited(
  listener: RequestListener,
  limits = LIMITS,
  reject: Reject = respondAndClose,
): Server {
  const options = { ...limits, requireHostHeader: false }; // step 37 responds with a reason
  const server = createServer(options, (request, response) => {
    const { socket } = request;
    if (!socket.writable) return; // an earlier response was the last one
    response.on('finish', () => {
      if (request.complete) return;
      setTimeout(() => request.complete || socket.destroy(), LINGER_TIME).unref();
    });
    listener(request, response);
  });
  server.timeout = limits.timeout;
  server.maxHeadersCount = 0; // no limit: maxHeaderSize is enough
  server.on('connection', (socket: Socket) => {
    socket.destroySoon = () => closeGracefully(socket);
  });
  server.on('clientError', (error, socket) => reject(socket, requestErrorStatus(error)));
  server.on('checkExpectation', (request) => {
    reject(request.resume().socket, 417, request.method === 'HEAD');
  });
  return server;
}

/** Sends an error response, for HEAD without its body, and closes the connection. */
export function respondAndClose(socket: Duplex, status: number, isHead = false): void {
  if (!socket.writable) return; // it was rejected before, or the client has left
  const title = `${status} ${STATUS_CODES[status]}`;
  const body = `${title}\n\n${EXPLANATIONS[status]}\n`;
  const headers = {
    ...SECURITY_HEADERS,
    'content-type': 'text/plain; charset=utf-8',
    'content-length': body.length,
    date: new Date().toUTCString(),
    connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/1.1 ${title}\r\n${lines.join('')}\r\n${isHead ? '' : body}`);
  closeGracefully(socket);
}

/** Ends this half of the connection, reads for a moment, and closes (RFC 9112 §9.6). */
function closeGracefully(socket: Duplex): void {
  socket.end();
  socket.resume();
  setTimeout(() => socket.destroy(), LINGER_TIME).unref();
}

type ParseError = NodeJS.ErrnoException & { rawPacket?: Buffer; bytesParsed?: number };

/** Returns the status for a request that Node cannot parse. */
function requestErrorStatus({ code = '', rawPacket, bytesParsed = 0 }: ParseError): number {
  // the line that Node could not parse
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

const EXPLANATIONS: Record<number, string> = {
  400: 'The request is not well-formed HTTP/1.1.',
  408: 'The request did not arrive in time.',
  413: 'A chunk of the body has an extension that is too long.',
  417: 'This server supports no expectation except 100-continue.',
  431: `The headers may have ${LIMITS.maxHeaderSize} bytes together.`,
  501: 'This server does not support the method of the request.',
};

if (isMain(import.meta.url)) serve(toListener(tutorial().handle), 'Step 35', ['/'], makeLimited);
