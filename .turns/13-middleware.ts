import { check, expectEqual } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { site } from '../src/13-middleware.ts';

check('the pages of the group have the header x-page, and the style sheet does not', async () => {
  const visitor = new Visitor(site().handle);
  const paths = [['/', 'yes'], ['/articles', 'yes'], ['/style.css', undefined]] as const;
  for (const [path, value] of paths) {
    expectEqual(`The header x-page of ${path}`, (await visitor.get(path)).headers['x-page'], value);
  }
  const saved = await visitor.post('/articles', { title: 'Green', body: 'Tea' });
  expectEqual('The header x-page after POST /articles', saved.headers['x-page'], 'yes');
});
