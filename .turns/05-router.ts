import { check, expectParts, shownText } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { site } from '../src/05-router.ts';

check('/bye/:name shows the name in capital letters, and counts', async () => {
  const visitor = new Visitor(site().handle);
  const pages = [
    ['/bye/Ada', 'Hi ADA', 'Count: 1'], ['/bye/gr%C3%A5ce', 'Hi GRÅCE', 'Count: 2'],
    ['/howdy/Ada', 'Hi Ada', 'Count: 3'],
  ] as const;
  for (const [path, ...parts] of pages) {
    expectParts(`The page ${path}`, shownText(await visitor.get(path)), ...parts);
  }
});
