import { check, expectEqual, expectPredicted } from '../.tools/check.ts';
import { Signer, countVisit } from '../src/03-signer.ts';

check('the signer of the count uses sha256', () => {
  const { count, setCookie } = countVisit(undefined);
  const [pair = ''] = setCookie.split(';');
  const value = pair.replace('count=', '');
  expectPredicted('The number of characters of the cookie value', value.length, 44);
  const options = { secrets: ['itsaseekreet'], salt: 'count.', hashAlg: 'sha256' };
  expectEqual('The count that sha256 has signed', new Signer(options).decode(value), String(count));
  const others = new Signer({ secrets: ['itsaseekreet'] });
  const what = 'Change only the signer of the count. The digestSize of another signer';
  expectEqual(what, others.digestSize, 64);
  expectEqual('The count of the next visit', countVisit(pair).count, 2);
});
