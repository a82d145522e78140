// Step 36 · Pipelining: one request at a time on each connection.
//
// The responses to a thousand requests could fill the memory (RFC 9112 §9.3.2).
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { isMain, serve } from './01-server.ts';
import { toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';
import { LIMITS, makeLimited, type Reject, respondAndClose } from './35-limits.ts';

const MAX_WAITING = 100; // requests on one connection; a browser never has more than one

/** Creates a server with limits that handles the requests of each connection in order. */
export function makePipelined(listener: RequestListener, limits = LIMITS): Server {
  const queues = new Map<Duplex, RequestQueue>();
  const reject: Reject = (socket, ...response) => queues.get(socket)?.reject(...response);
  const server = makeLimited((request, response) => {
    // When the server stops, it closes each connection after the response.
    const isLast = request.headers.upgrade !== undefined || !server.listening;
    if (isLast) response.shouldKeepAlive = false;
    queues.get(request.socket)?.add(request, response, () => listener(request, response));
  }, limits, reject);
  Object.assign(server, { httpAllowHalfOpen: true }); // a client that has sent all still reads
  server.on('connection', (socket: Duplex) => {
    queues.set(socket, new RequestQueue(socket));
    socket.on('close', () => queues.delete(socket));
  });
  server.on('connect', (_request, socket: Socket) => {
    // Without this listener, an error would end the process.
    socket.on('error', () => socket.destroy());
    socket.setTimeout(limits.timeout, () => socket.destroy());
    reject(socket, 501); // this server is not a proxy
  });
  server.closeAllConnections = () => queues.forEach((_, socket) => socket.destroy());
  server.closeIdleConnections = () => {
    for (const [socket, queue] of queues) {
      if (server.listening) queue.closeAfterResponse(); // `close()` has just begun
      else if (queue.isIdle) socket.destroy();
    }
  };
  return server;
}

/** The requests of one connection. */
class RequestQueue {
  readonly #socket: Duplex;
  readonly #waiting: (() => void)[] = [];
  #latest: IncomingMessage | undefined; // it may wait, or its body may still arrive
  #response: ServerResponse | undefined; // the current one, or the last one
  #isRejected = false;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** Whether the client has all of its responses. */
  get isIdle(): boolean {
    const isFinished = this.#response === undefined || this.#response.writableFinished;
    return isFinished && this.#waiting.length === 0 && !this.#socket.writableEnded;
  }

  add(request: IncomingMessage, response: ServerResponse, handle: () => void): void {
    if (this.#isRejected) return;
    this.#latest = request;
    this.#enqueue(() => {
      this.#response = response;
      handle();
    });
  }

  /** Tells the client that the current response is the last one, if its headers are not sent. */
  closeAfterResponse(): void {
    const isOpen = this.#response?.headersSent === false && this.#waiting.length === 0;
    if (this.#response && isOpen) this.#response.shouldKeepAlive = false;
  }

  /** Sends an error response after all earlier responses, and closes the connection. */
  reject(status: number, isHead = false): void {
    if (this.#isRejected) return; // Node reports each later packet too
    this.#isRejected = true;
    const respond = (): void => respondAndClose(this.#socket, status, isHead);
    if (this.#latest?.complete !== false) return this.#enqueue(respond);
    if (this.#waiting.length > 0) this.#waiting.splice(-1, 1, respond);
    else if (this.#response?.headersSent) this.#socket.end();
    else respond();
  }

  /** The client has left, or knows that the current response is the last one. */
  get #isOver(): boolean {
    return !this.#socket.writable || this.#response?.shouldKeepAlive === false;
  }

  #enqueue(work: () => void): void {
    if (this.#isOver) return;
    if (this.isIdle) return work();
    const count = this.#waiting.push(work);
    if (count > MAX_WAITING) this.#socket.destroy(); // an error response would have to wait too
    else if (count === 1) this.#response?.on('close', () => this.#next());
  }

  #next(): void {
    if (this.#isOver) return;
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) this.#response?.on('close', () => this.#next());
  }
}

if (isMain(import.meta.url)) serve(toListener(tutorial().handle), 'Step 36', ['/'], makePipelined);
