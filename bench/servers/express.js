import cookieSession from 'cookie-session';
import express from 'express';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const app = express();
app.use(cookieSession({ name: 'session', keys: [SECRET], sameSite: 'lax' }));
app.get('/', (request, response) => {
  request.session.counter = (request.session.counter ?? 0) + 1;
  response.set(HEADERS).send(render(request.session.counter));
});
app.listen(PORT, listening);
