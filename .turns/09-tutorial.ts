import { check, expectParts, shownText } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { site } from '../src/09-tutorial.ts';

check('/bye shows the Bye View, and shares the count', async () => {
  const visitor = new Visitor(site().handle);
  await visitor.get('/');
  expectParts('The page /bye', shownText(await visitor.get('/bye')), 'Hi Bye View', 'Count: 2');
  expectParts('The next page', shownText(await visitor.get('/howdy')), 'Hi Hello View', 'Count: 3');
});
