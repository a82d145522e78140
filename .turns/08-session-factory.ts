import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { setCookies, Visitor } from '../.tools/request.ts';
import { site } from '../src/08-session-factory.ts';

check('/forget deletes the session', async () => {
  const visitor = new Visitor(site().handle);
  await visitor.get('/');
  expectParts('The second visit', shownText(await visitor.get('/')), 'Count: 2');
  const response = await visitor.get('/forget');
  expectParts('The page /forget', shownText(response), 'Goodbye');
  expectParts('The Set-Cookie header of /forget', setCookies(response).join('\n'), 'session=;', 'Max-Age=0');
  expectEqual('A Set-Cookie header for a visitor without a session', setCookies(await visitor.get('/forget')), []);
  expectParts('The visit after /forget', shownText(await visitor.get('/')), 'Count: 1');
});
