// Step 38 · Operations: how other programs start, watch and stop this server.
import { existsSync, realpathSync } from 'node:fs';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { isMain, serve } from './01-server.ts';
import { toListener } from './04-http.ts';
import { site as tutorial } from './09-tutorial.ts';
import { makePipelined } from './36-pipeline.ts';
import { strict } from './37-strict.ts';

const STOP_TIMEOUT = 10_000; // milliseconds for the current requests
const STOP_INTERVAL = 20; // milliseconds between two checks for idle connections
const REPEAT_TIME = 1_000; // milliseconds: an earlier second signal is the same Ctrl-C
const PORT_ERRORS = ['EADDRINUSE', 'EACCES']; // another program uses the port, or no permission

/** Serves with all protections of part IV, on `HOST` (default 127.0.0.1) and `PORT`. */
export function operate(
  listener: RequestListener,
  title: string,
  paths: readonly string[],
): Server {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {}); // EPIPE
  const host = process.env.HOST?.trim() || '127.0.0.1';
  const make = (inner: RequestListener): Server => {
    const server = makePipelined(strict(inner));
    server.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      if (server.listening || PORT_ERRORS.includes(code ?? '')) return; // step 1 prints the error
      const wrongHost = `HOST is '${host}', which is not an address of this machine. Unset HOST`;
      const wrongPort = `${message}, not '${process.env.PORT}'`; // the message names the rule
      console.error(`Cannot listen: ${code === undefined ? wrongPort : wrongHost}.`);
      process.exit(1);
    });
    server.on('listening', () => warnIfBlocked(server.address() as AddressInfo));
    stopOnSignals(server);
    return server;
  };
  return serve(listener, title, paths, make, [host, nameOf(host)]);
}

/** The ports above 1023 that browsers block (Fetch standard: "bad port"). */
export const BLOCKED_PORTS = new Set([
  1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669,
  6679, 6697, 10080,
]);

function warnIfBlocked({ port }: AddressInfo): void {
  if (!BLOCKED_PORTS.has(port)) return;
  console.error(`Browsers do not open port ${port}. Set PORT to another number.`);
}

/** Returns the name that a browser on this machine can open. */
function nameOf(host: string): string {
  if (['127.0.0.1', '0.0.0.0', '::'].includes(host)) return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/** Stops the server after SIGINT or SIGTERM. A second signal ends the process immediately. */
export function stopOnSignals(server: Server): void {
  let first: number | undefined; // the time of the first signal
  const onSignal = (): void => {
    const time = performance.now();
    if (first === undefined) stop(server);
    else if (time - first > REPEAT_TIME) process.exit(1);
    first ??= time;
  };
  // Not SIGHUP: a program that `nohup` starts ignores it.
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  server.on('close', () => signals.forEach((signal) => process.off(signal, onSignal)));
}

/** Accepts no new connections, and closes each connection after its current response. */
export function stop(server: Server, timeout = STOP_TIMEOUT): void {
  if (!server.listening) {
    server.once('listening', () => stop(server, timeout)); // the name in HOST is being looked up
    return;
  }
  server.close();
  setTimeout(() => server.closeAllConnections(), timeout).unref();
  const timer = setInterval(() => server.closeIdleConnections(), STOP_INTERVAL);
  server.on('close', () => clearInterval(timer));
}

/** Returns true in the program, also if the process manager pm2 imports it. */
export function isProgram(moduleUrl: string): boolean {
  const file = process.env.pm_exec_path ?? ''; // pm2 sets it
  return isMain(moduleUrl) || (existsSync(file) && realpathSync(file) === fileURLToPath(moduleUrl));
}

if (isProgram(import.meta.url)) operate(toListener(tutorial().handle), 'Step 38', ['/', '/howdy']);
