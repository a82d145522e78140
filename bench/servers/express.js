import cookieSession from 'cookie-session';
import express from 'express';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

// The other servers send no such headers, and a page with a counter has no use for an ETag.
const app = express().disable('x-powered-by').disable('etag');
app.use(cookieSession({ name: 'session', keys: [SECRET], sameSite: 'lax' }));
app.get('/', (request, response) => {
  request.session.counter = (request.session.counter ?? 0) + 1;
  response.set(HEADERS).send(render(request.session.counter));
});
app.listen(PORT, listening);
