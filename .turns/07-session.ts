import { check, expectParts, shownText } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { Signer } from '../src/03-signer.ts';
import { site } from '../src/07-session.ts';

const DAY = 86_400; // seconds

check('the page shows the whole days since the first visit', async () => {
  const signer = new Signer({ secrets: ['itsaseekreet'], salt: 'pyramid.session.' });
  const now = Math.floor(Date.now() / 1000);
  for (const [age, days] of [[0, 0], [0.9, 0], [2.5, 2], [400.5, 400]] as const) {
    const visitor = new Visitor(site().handle);
    const state = [now, now - age * DAY, { count: 6 }];
    visitor.cookies.set('session', signer.encode(JSON.stringify(state)));
    const text = shownText(await visitor.get('/'));
    expectParts(`The page for a session that is ${age} days old`, text, `Days: ${days}`);
  }
});
