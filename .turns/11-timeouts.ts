import { check, expectPredicted, shownText } from '../.tools/check.ts';
import { Visitor } from '../.tools/request.ts';
import { site } from '../src/11-timeouts.ts';

/** Returns the counts of visits at these seconds. */
async function countsAt(...seconds: number[]): Promise<number[]> {
  const start = Date.now();
  const { now } = Date;
  const visitor = new Visitor(site().handle);
  const counts: number[] = [];
  try {
    for (const second of seconds) {
      Date.now = () => start + second * 1000;
      counts.push(Number(/Count: (\d+)/.exec(shownText(await visitor.get('/')))?.[1]));
    }
  } finally {
    Date.now = now;
  }
  return counts;
}

check('a session ends after 8 seconds, or after 5 seconds without a request', async () => {
  const each = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  const expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2];
  expectPredicted('The counts of 11 requests, one each second', await countsAt(...each), expected);
  expectPredicted('The counts of two requests, 7 seconds apart', await countsAt(0, 7), [1, 1]);
  expectPredicted('The counts of two requests, 4 seconds apart', await countsAt(0, 4), [1, 2]);
});
