// Step 1 · A server that counts.
//
// `node:http` reads and writes the messages of HTTP (RFC 9110). A variable counts the responses.
import { existsSync, realpathSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { fileURLToPath } from 'node:url';

let count = 0;

/** Sends the number of this visit as plain text: `Count: 1` and a line break. */
export const countVisits: RequestListener = (_request, response) => {
  count += 1;
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`Count: ${count}\n`);
};

/**
 * Returns a server that listens on the port in `PORT` (default 6543). When it is ready, it prints
 * `Step 1 · http://localhost:6543`, then `  open http://localhost:6543/` for each path, and then
 * `  stop with Ctrl-C`. If it cannot listen, the exit code is 1, and it prints one line with the
 * port and the message of the error. For example, if `PORT` is `80a`, it prints
 * "Cannot listen on port 80a: PORT must be a whole number from 0 to 65535. Is another step still
 * running? Stop it with Ctrl-C, or set PORT to another number." Later steps pass another `make`.
 */
export function serve(
  listener: RequestListener,
  title: string,
  paths: readonly string[],
  make: (listener: RequestListener) => Server = createServer,
  [address, name] = ['127.0.0.1', 'localhost'], // 127.0.0.1: only programs on this machine
): Server {
  const port = process.env.PORT?.trim() || '6543';
  const server = make(listener);
  server.on('error', ({ message }) => {
    console.error(`Cannot listen on port ${port}: ${message}. Is another step still running? ` +
      'Stop it with Ctrl-C, or set PORT to another number.');
    process.exitCode = 1;
  });
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
    server.emit('error', new RangeError('PORT must be a whole number from 0 to 65535'));
    return server;
  }
  return server.listen(Number(port), address, () => {
    const origin = `http://${name}:${(server.address() as { port: number }).port}`;
    console.log(`${title} · ${origin}`);
    for (const path of paths) console.log(`  open ${origin}${path}`);
    console.log('  stop with Ctrl-C');
  });
}

/**
 * Returns true in the module that was started as the program, and false in an imported module.
 * The program can also be a link to the module. Never throws.
 */
export function isMain(moduleUrl: string): boolean {
  const program = process.argv[1] ?? ''; // tsx also starts `src/01-server` and `src/01-server.js`
  const files = [program, program.replace(/(\.js)?$/, '.ts')];
  return files.some((file) => existsSync(file) && realpathSync(file) === fileURLToPath(moduleUrl));
}

if (isMain(import.meta.url)) serve(countVisits, 'Step 1', ['/']);
