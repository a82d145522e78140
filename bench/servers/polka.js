import cookieSession from 'cookie-session';
import polka from 'polka';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

polka()
  .use(cookieSession({ name: 'session', keys: [SECRET], sameSite: 'lax' }))
  .get('/', (request, response) => {
    request.session.counter = (request.session.counter ?? 0) + 1;
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    response.end(render(request.session.counter));
  })
  .listen(PORT, listening);
