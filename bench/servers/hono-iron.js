import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import { getIronSession } from 'iron-session';
import { HEADERS, listening, PORT, render, SECRET } from './page.js';

const app = new Hono();
const cookieOptions = { secure: false, httpOnly: true, sameSite: 'lax', path: '/' };
const options = { cookieName: 'session', password: SECRET, cookieOptions };
app.get('/', async (context) => {
  const store = {
    get: (name) => ({ name, value: getCookie(context, name) ?? '' }),
    set: (name, value) => setCookie(context, name, value, { path: '/', httpOnly: true, sameSite: 'Lax' }),
  };
  const session = await getIronSession(store, options);
  session.counter = (session.counter ?? 0) + 1;
  await session.save();
  return context.html(render(session.counter), 200, HEADERS);
});
serve({ fetch: app.fetch, port: PORT, hostname: '127.0.0.1' }, listening);
