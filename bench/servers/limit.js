// The work of FLOOR B in as little time as possible. The HMAC consists of single hashes over prepared
// blocks, and all memory is allocated once. It has no router, no session, no template and no limits.
// Do not use it as a server: it only shows what is possible.
import { hash, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const [BLOCK, DIGEST] = [128, 64]; // bytes, of SHA-512
const inner = Buffer.alloc(BLOCK + 8192, 0x36);
const outer = Buffer.alloc(BLOCK + DIGEST, 0x5c);
for (const [i, byte] of Buffer.from(`pyramid.session.${SECRET}`).entries()) {
  inner[i] ^= byte;
  outer[i] ^= byte;
}
const cookie = Buffer.alloc(8192);
const [sent, expected] = [Buffer.alloc(DIGEST), Buffer.alloc(DIGEST)];

/** Returns the HMAC of the `size` bytes behind the inner block. */
function hmac(size) {
  outer.latin1Write(hash('sha512', inner.subarray(0, BLOCK + size), 'latin1'), BLOCK);
  return hash('sha512', outer, 'latin1');
}

createServer((request, response) => {
  let [created, count] = [Date.now() / 1000, 0];
  const header = request.headers.cookie ?? '';
  const start = header.indexOf('session=');
  if (start >= 0) {
    const end = header.indexOf(';', start);
    const size = cookie.base64urlWrite(header.slice(start + 8, end < 0 ? undefined : end)) - DIGEST;
    const payload = cookie.latin1Slice(DIGEST, DIGEST + size);
    inner.latin1Write(payload, BLOCK);
    cookie.copy(sent, 0, 0, DIGEST);
    expected.latin1Write(hmac(size));
    if (timingSafeEqual(sent, expected)) {
      const state = JSON.parse(payload);
      [created, count] = [state[1], state[2].counter];
    }
  }
  count += 1;
  const now = Math.floor(Date.now() / 1000);
  const payload = JSON.stringify([now, created, { counter: count }]);
  inner.latin1Write(payload, BLOCK);
  cookie.latin1Write(hmac(payload.length), 0);
  cookie.latin1Write(payload, DIGEST);
  const value = cookie.base64urlSlice(0, DIGEST + payload.length);
  const body = render(count);
  response.writeHead(200, {
    ...HEADERS,
    'content-length': Buffer.byteLength(body),
    'set-cookie': `session=${value}; Path=/; HttpOnly; SameSite=Lax`,
  });
  response.end(body);
}).listen(PORT, listening);
