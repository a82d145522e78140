import assert from 'node:assert/strict';
import { check, expectParts, startServer } from '../.tools/check.ts';
import { countVisits } from '../src/02-cookie.ts';

check('the page shows the time in the cookie `first`', async (t) => {
  let thrown = 'the status is 500';
  const send = await startServer(t, (request, response) => {
    try {
      countVisits(request, response);
    } catch (error) {
      thrown = `countVisits throws an error, and the server ends: ${error}`;
      response.writeHead(500).end();
    }
  });
  const pairsOf = ({ headers }: Response) =>
    headers.getSetCookie().map((header) => header.split(';')[0] ?? '');
  const visit = await send('/');
  const setCookies = pairsOf(visit);
  const sent = setCookies.join(', ');
  expectParts('The Set-Cookie headers of the first visit', sent, 'count=1', 'first=');
  const [, time] = /\bfirst=(\d{4}-\d\d-\d\dT[\d:.]+Z)/.exec(sent) ?? [];
  assert.ok(time, `The cookie \`first\` must be a time like ${new Date().toISOString()}: ${sent}`);
  expectParts('The page of the first visit', await visit.text(), 'Count: 1', time);
  const first = '2020-02-20T20:20:20.020Z';
  const again = await send('/', { headers: { cookie: `count=7; first=${first}` } });
  expectParts(`The page for the cookie first=${first}`, await again.text(), 'Count: 8', first);
  // A browser sends the new value of a cookie, and otherwise the old one.
  const pairs = pairsOf(again);
  if (!pairs.some((pair) => pair.startsWith('first='))) pairs.push(`first=${first}`);
  const third = await send('/', { headers: { cookie: pairs.join('; ') } });
  expectParts('The page of the visit after that', await third.text(), 'Count: 9', first);
  // A visitor can write any text into the cookie. An error in a listener ends the server.
  for (const value of ['"x"', 'a\\b', 'x,y', '']) {
    const cookie = `first=${value}`;
    const { status } = await send('/', { headers: { cookie } });
    const what = `A visitor can send any text. For the cookie ${cookie}, ${thrown}.`;
    assert.notEqual(status, 500, what);
  }
});
