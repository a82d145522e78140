import { ask } from '../.tools/folder.ts';
import { check, expectEqual, expectPredicted, shownText } from '../.tools/check.ts';
import { site } from '../src/34-static.ts';

check('the site sends robots.txt', async () => {
  const response = await ask(site(), '/robots.txt');
  expectPredicted('The status of /robots.txt', response.status, 200);
  const lines = shownText(response).trim().split(/\r?\n/);
  expectEqual('The lines', lines, ['User-agent: *', 'Allow: /']);
  expectPredicted('The type', response.headers['content-type'], 'text/plain; charset=utf-8');
});
