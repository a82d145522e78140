import { check, expectEqual, shownText } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { site } from '../src/14-flash.ts';

check('the next page shows the message once', async () => {
  const visitor = new Visitor(site());
  const save = () => visitor.post('/articles', { title: 'Green', body: 'Tea' });
  const count = async () => shownText(await visitor.get('/')).split('Article saved').length - 1;
  await save();
  await save();
  expectEqual('The number of messages after two articles', await count(), 1);
  expectEqual('The number of messages on the page after it', await count(), 0);
  await save();
  expectEqual('The number of messages after one more article', await count(), 1);
});
