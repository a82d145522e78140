import { check, expectParts, expectPredicted, shownText } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { site } from '../src/10-inspector.ts';

check('the flipped bit belongs to the signature', async () => {
  const visitor = new Visitor(site());
  for (let visits = 0; visits < 2; visits++) await visitor.get('/');
  const text = shownText(await visitor.get('/inspect?flip=1'));
  const verdict = text.replace(/^.*cookie /, '');
  const isRejected = verdict.includes('Not valid.');
  expectPredicted('The verdict of the inspector', isRejected ? 'Not valid.' : verdict, 'Not valid.');
  const payload = text.replace(/^.*The payload/, 'The payload');
  expectParts('The inspector, after a flipped bit', payload, '{"counter":2}');
});
