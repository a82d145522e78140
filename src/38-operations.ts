// Step 38 · Operations: how other programs start, watch and stop this server.
//
// A process manager sets HOST, reads the log through a pipe, and sends SIGTERM to stop the server.
// A stop is graceful: the server accepts no new connections, finishes the current requests, and
// ends. A pipe without a reader must not end the server, because a log is not part of a response.
import type { RequestListener, Server } from 'node:http';
import { isMain, serve } from './01-server.ts';
import { toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';
import { makePipelined } from './36-pipeline.ts';
import { strict } from './37-strict.ts';

const STOP_TIMEOUT = 10_000; // milliseconds for the current requests
const STOP_INTERVAL = 20; // milliseconds between two looks at the connections
const REPEAT_TIME = 1_000; // milliseconds: npm passes one Ctrl-C on as a second signal

/** Serves with all protections of part IV, on `HOST` (default 127.0.0.1) and `PORT`. */
export function operate(listener: RequestListener, title: string, paths: readonly string[]): Server {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {}); // EPIPE
  const host = process.env.HOST?.trim() || '127.0.0.1';
  const make = (inner: RequestListener): Server => {
    const server = makePipelined(strict(inner));
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (!HOST_ERRORS.includes(error.code ?? '')) return;
      error.message = `HOST is '${host}', which is not an address of this machine. Unset HOST`;
    });
    stopOnSignals(server);
    return server;
  };
  return serve(listener, title, paths, make, [host, nameOf(host)]);
}

const HOST_ERRORS = ['ENOTFOUND', 'EAI_AGAIN', 'EADDRNOTAVAIL', 'EINVAL'];

/** Returns the name that a browser on this machine can open. */
function nameOf(host: string): string {
  if (['127.0.0.1', '0.0.0.0', '::'].includes(host)) return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/** Stops the server after SIGINT or SIGTERM. A later second signal ends the process immediately. */
export function stopOnSignals(server: Server): void {
  let stopped: number | undefined;
  const onSignal = (): void => {
    if (stopped !== undefined && Date.now() - stopped > REPEAT_TIME) process.exit(1);
    stopped ??= Date.now();
    stop(server);
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  server.on('close', () => signals.forEach((signal) => process.off(signal, onSignal)));
}

/** Accepts no new connections, and closes each connection after its current response. */
export function stop(server: Server, timeout = STOP_TIMEOUT): void {
  if (!server.listening) return;
  server.close();
  setTimeout(() => server.closeAllConnections(), timeout).unref();
  const timer = setInterval(() => server.closeIdleConnections(), STOP_INTERVAL);
  server.on('close', () => clearInterval(timer));
}

if (isMain(import.meta.url)) operate(toListener(tutorial().handle), 'Step 38', ['/', '/howdy']);
