import assert from 'node:assert/strict';
import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { makeRequest } from '../.tools/request.ts';
import { countVisits } from '../src/04-http.ts';

const get = async (path: string) => countVisits(makeRequest('GET', path));

check('/time shows the time', async () => {
  const before = Date.now();
  const response = await get('/time');
  expectEqual('The status of /time', response.status, 200);
  expectEqual('The Set-Cookie header of /time', response.headers['set-cookie'], undefined);
  const text = shownText(response);
  const time = Date.parse(text.trim());
  const what = `/time must show the time, such as ${new Date().toISOString()}, and shows: ${text}`;
  assert.ok(time >= before && time <= Date.now(), what);
});

check('/gone is a 410, and / still counts', async () => {
  const gone = await get('/gone');
  expectEqual('The status of /gone', gone.status, 410);
  const parts = ['410 Gone', 'This page was deleted.']; // problem() adds the title
  expectParts('The page /gone', shownText(gone), ...parts);
  expectParts('The page /', shownText(await get('/')), 'Count: 1');
});
