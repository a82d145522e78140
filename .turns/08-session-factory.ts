import { check, expectEqual, expectParts, expectPredicted, shownText } from '../.tools/check.ts';
import { setCookies, Visitor } from '../.tools/request.ts';
import { site } from '../src/08-session-factory.ts';

check('/forget deletes the session', async () => {
  const visitor = new Visitor(site().handle);
  await visitor.get('/');
  expectParts('The second visit', shownText(await visitor.get('/')), 'Count: 2');
  const response = await visitor.get('/forget');
  expectParts('The page /forget', shownText(response), 'Goodbye');
  const [header = ''] = setCookies(response);
  const isDeleted = header.startsWith('session=;') && header.includes('Max-Age=0');
  const received = isDeleted ? 'deletes the cookie' : header;
  expectPredicted('The Set-Cookie header of /forget', received, 'deletes the cookie');
  const headers = setCookies(await visitor.get('/forget'));
  expectEqual('The Set-Cookie headers for a visitor without a session', headers, []);
  expectParts('The visit after /forget', shownText(await visitor.get('/')), 'Count: 1');
});
