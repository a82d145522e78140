// FLOOR B: node:http, one createHmac to verify and one to sign. It parses and writes JSON, and it sends
// the same page and cookie as step 9.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const KEY = `pyramid.session.${SECRET}`;
const hmac = (bytes) => createHmac('sha512', KEY).update(bytes).digest();

createServer((request, response) => {
  let [created, count] = [Date.now() / 1000, 0];
  const sent = /(?:^|; )session=([\w-]*)/.exec(request.headers.cookie ?? '')?.[1];
  if (sent) {
    const bytes = Buffer.from(sent, 'base64url');
    const [signature, payload] = [bytes.subarray(0, 64), bytes.subarray(64)];
    if (signature.length === 64 && timingSafeEqual(signature, hmac(payload))) {
      const state = JSON.parse(payload.toString());
      [created, count] = [state[1], state[2].counter];
    }
  }
  count += 1;
  const now = Math.floor(Date.now() / 1000);
  const payload = Buffer.from(JSON.stringify([now, created, { counter: count }]));
  const cookie = Buffer.concat([hmac(payload), payload]).toString('base64url');
  const body = render(count);
  response.writeHead(200, {
    ...HEADERS,
    'content-length': Buffer.byteLength(body),
    'set-cookie': `session=${cookie}; Path=/; HttpOnly; SameSite=Lax`,
  });
  response.end(body);
}).listen(PORT, listening);
