import cookie from '@fastify/cookie';
import session from '@fastify/session';
import fastify from 'fastify';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const app = fastify();
app.register(cookie);
app.register(session, { secret: SECRET, cookieName: 'session', cookie: { secure: false } });
app.get('/', (request, reply) => {
  request.session.counter = (request.session.counter ?? 0) + 1;
  reply.headers(HEADERS).send(render(request.session.counter));
});
app.listen({ port: PORT, host: '127.0.0.1' }).then(listening);
