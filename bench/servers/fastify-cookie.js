import cookie from '@fastify/cookie';
import fastify from 'fastify';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const app = fastify();
app.register(cookie, { secret: SECRET });
app.get('/', (request, reply) => {
  const sent = request.cookies.session ? request.unsignCookie(request.cookies.session) : {};
  const session = sent.valid ? JSON.parse(sent.value) : { counter: 0, created: Date.now() };
  session.counter += 1;
  const options = { signed: true, path: '/', httpOnly: true, sameSite: 'lax' };
  reply.setCookie('session', JSON.stringify(session), options);
  reply.headers(HEADERS).send(render(session.counter));
});
app.listen({ port: PORT, host: '127.0.0.1' }).then(listening);
