import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { getSignedCookie, setSignedCookie } from 'hono/cookie';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const app = new Hono();
app.get('/', async (context) => {
  const sent = await getSignedCookie(context, SECRET, 'session');
  const session = sent ? JSON.parse(sent) : { counter: 0, created: Date.now() };
  session.counter += 1;
  const options = { path: '/', httpOnly: true, sameSite: 'Lax' };
  await setSignedCookie(context, 'session', JSON.stringify(session), SECRET, options);
  return context.html(render(session.counter), 200, HEADERS);
});
serve({ fetch: app.fetch, port: PORT, hostname: '127.0.0.1' }, listening);
