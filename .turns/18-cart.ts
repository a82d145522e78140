import { check, expectEqual } from '../.tools/check.ts';
import { totalOf } from '../src/18-cart.ts';

check('totalOf() subtracts 10 % from € 100 or more, and returns whole cents', () => {
  const carts = [
    [{}, [0]], [{ tea: 1, mug: 2 }, [2995]], [{ mug: 7, honey: 2 }, [9970]], [{ mug: 8 }, [9000]],
    [{ pot: 3 }, [10_260]], [{ pot: 3, tea: 1 }, [10_705, 10_706]], // exactly: 10,705.5
  ] as const;
  for (const [items, totals] of carts) {
    const total = totalOf({ items, note: '' });
    if ((totals as readonly number[]).includes(total)) continue;
    const what = `totalOf() for ${JSON.stringify(items)}, in cents`;
    expectEqual(what, String(total), totals.join(' or '));
  }
});
