import Koa from 'koa';
import * as koaSession from 'koa-session';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const app = new Koa();
app.keys = [SECRET];
const make = koaSession.default ?? koaSession.createSession;
// Without `maxAge: 'session'`, the cookie would also contain its age.
app.use(make({ key: 'session', sameSite: 'lax', maxAge: 'session' }, app));
app.use((context) => {
  context.session.counter = (context.session.counter ?? 0) + 1;
  context.set(HEADERS);
  context.body = render(context.session.counter);
});
app.listen(PORT, listening);
