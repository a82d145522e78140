import { check, expectPredicted } from '../.tools/check.ts';
import { RetryLater } from '../src/21-password.ts';
import { throttled } from '../src/23-throttle.ts';

check('a name has three attempts without a wait, and an address has 20', async () => {
  const login = throttled(async () => false, () => 1_800_000_000); // all guesses in one moment
  /** Returns how many of these guesses the server checks. */
  const countChecked = async (names: string[], address: string): Promise<number> => {
    let count = 0;
    for (const name of names) {
      try {
        await login(name, 'guess', address);
        count += 1;
      } catch (error) {
        if (!(error instanceof RetryLater)) throw error;
      }
    }
    return count;
  };
  const same = Array.from({ length: 10 }, () => 'editor');
  expectPredicted('The checked guesses for one name', await countChecked(same, '192.0.2.1'), 3);
  const different = Array.from({ length: 30 }, (_, i) => `user${i}`);
  const count = await countChecked(different, '192.0.2.2');
  expectPredicted('The checked guesses for 30 names from one address', count, 20);
});
