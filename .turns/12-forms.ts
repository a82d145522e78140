import assert from 'node:assert/strict';
import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { formTo } from '../.tools/forms.ts';
import { Visitor } from '../.tools/request.ts';
import { site } from '../src/12-forms.ts';

check('an article has an author', async () => {
  const visitor = new Visitor(site().handle);
  const { fields } = formTo(await visitor.text('/articles'), '/articles');
  assert.ok('author' in fields, 'The form must have a field author.');
  const save = (author: Record<string, string>) =>
    visitor.post('/articles', { title: 'Green', body: 'Tea', ...author });
  expectEqual('The status without an author', (await save({})).status, 422);
  const long = await save({ author: 'x'.repeat(51) });
  expectEqual('The status for an author with 51 characters', long.status, 422);
  expectEqual('The status for the author <Ada>', (await save({ author: '<Ada>' })).status, 303);
  const text = shownText(await visitor.get('/articles')).replace(/^.*?Save/, '');
  expectParts('The article', text, 'Green <Ada>', 'Tea');
});
