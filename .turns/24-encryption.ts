import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { explainSealed, Sealer, site } from '../src/24-encryption.ts';

check('the length of each text is a multiple of 256 bytes', () => {
  const sealer = new Sealer({ secrets: ['itsaseekreet'] });
  const texts = [
    ["'tea'", 'tea', 256],
    ['128 letters é, which have 256 bytes', 'é'.repeat(128), 256],
    ['128 letters é and an x, which have 257 bytes', `${'é'.repeat(128)}x`, 512],
  ] as const;
  for (const [name, text, expected] of texts) {
    const value = sealer.encode(text);
    const length = Number(/(\d+) bytes/.exec(explainSealed(value)[1]?.meaning ?? '')?.[1]);
    expectEqual(`The length of the ciphertext, in bytes, of the text: ${name}`, length, expected);
    expectEqual('The text without the spaces at its end', sealer.decode(value)?.trimEnd(), text);
  }
});

check('the site still counts', async () => {
  const visitor = new Visitor(site());
  await visitor.get('/');
  expectParts('The second visit', shownText(await visitor.get('/')), 'Count: 2');
});
