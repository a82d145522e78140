import secureSession from '@fastify/secure-session';
import fastify from 'fastify';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const app = fastify();
const cookie = { path: '/', httpOnly: true, sameSite: 'lax' };
app.register(secureSession, { key: Buffer.from(SECRET), cookie, cookieName: 'session' });
app.get('/', (request, reply) => {
  const counter = (request.session.get('counter') ?? 0) + 1;
  request.session.set('counter', counter);
  reply.headers(HEADERS).send(render(counter));
});
app.listen({ port: PORT, host: '127.0.0.1' }).then(listening);
