// FLOOR A: node:http with a constant response. It has no cookie and no session.
import { createServer } from 'node:http';
import { HEADERS, listening, PORT, render } from './page.js';

const body = render(1);
const headers = { ...HEADERS, 'content-length': Buffer.byteLength(body) };
createServer((_, response) => response.writeHead(200, headers).end(body)).listen(PORT, listening);
