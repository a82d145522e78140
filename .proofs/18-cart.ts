// Further proofs of step 18: hostile forms, and a cookie that is full to the last byte.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { bodyText, setCookies } from '../.tools/request.ts';
import { cartIn, cookieOf, openShop, send } from '../.tools/shop.ts';
import { escape } from '../src/06-template.ts';
import { Session } from '../src/07-session.ts';
import { SessionTooLarge } from '../src/08-session-factory.ts';
import type { Browser } from '../src/16-browser.ts';
import { type CartData, CATALOGUE } from '../src/18-cart.ts';

const it = explainedIt(import.meta.url);

/** Whether the shop stores a note of so many euro signs. Each has three bytes. */
async function canSave(browser: Browser, length: number): Promise<boolean> {
  try {
    await send(browser, '/cart/note', `note=${encodeURIComponent('€'.repeat(length))}`);
    return true;
  } catch (error) {
    if (error instanceof SessionTooLarge) return false;
    throw error;
  }
}

describe('18-cart: hostile forms', () => {
  it('addCart() responds to hostile forms with 303, 400 or 422', async () => {
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    const paths = ['/cart/add', '/cart/change', '/cart/remove', '/cart/note', '/cart/empty'];
    const values = ['<img src=x onerror=1>', '"\'>', 'a\r\nSet-Cookie: x=1', '\0', '\x1b[2J'];
    const names = ['__proto__', 'constructor', 'toString', '\ud800', '9'.repeat(20_000)];
    const raw = ['', 'x=1', 'item=%ED%A0%80', 'item=%zz', 'note=%ff', 'item=\0', 'item', '&&'];
    const lists = ['item=tea&item=mug', 'item[]=tea', 'note[a]=1', 'quantity=1&quantity=2'];
    const encode = (fields: Record<string, string>) => new URLSearchParams(fields).toString();
    const fields = ['item', 'quantity', 'note'].flatMap((field) =>
      [...values, ...names].flatMap((value) => [
        encode({ [field]: value }),
        encode({ item: 'tea', [field]: value }),
        `item=tea&${encode({ [value]: field })}`,
      ]),
    );
    for (const path of paths) {
      for (const form of [...raw, ...lists, ...fields]) {
        const response = await send(browser, path, form);
        const what = `POST ${path} ${form.slice(0, 60)}: ${response.status}`;
        assert.ok([303, 400, 422].includes(response.status), what);
        assert.doesNotMatch(bodyText(response), /<img|<b>/, what);
        assert.ok(setCookies(response).every((header) => /^session=[\w-]*;/.test(header)), what);
        const ids = Object.keys(cartIn(cookieOf(browser))?.items ?? {});
        assert.ok(ids.every((id) => CATALOGUE.has(id)), `${what} ${ids}`);
      }
    }
    assert.deepEqual(Object.keys(Object.prototype), [], 'no prototype has changed');
    assert.equal((await browser.get('/cart')).status, 200);
  });

  it('addCart() saves any text as a note, and shows it as text', async () => {
    const browser = openShop();
    for (const note of ['</textarea><script>', '__proto__', '{"a":1}', 'a'.repeat(2000)]) {
      const { status } = await send(browser, '/cart/note', `note=${encodeURIComponent(note)}`);
      assert.equal(status, 303, note);
      assert.equal(cartIn(cookieOf(browser))?.note, note);
      const body = bodyText(await browser.get('/cart'));
      assert.ok(body.includes(`>\n${escape(note)}</textarea>`), note);
    }
  });

  it('addCart() relies on a session that sees a change inside a value', () => {
    const data = { cart: { items: { tea: 1 }, note: '' } };
    const session = new Session<CartData>(0, { data, created: 0, accessed: 0 });
    const cart = session.get('cart');
    assert.equal(session.isChanged, false);
    if (cart) cart.items.tea = 2;
    assert.equal(session.isChanged, true);
  });
});

describe('18-cart: a full cookie', () => {
  it('addCart() can remove a product if the cookie is full to the last byte', async () => {
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    let length = 1000;
    while (!(await canSave(browser, length))) length -= 1;
    await assert.rejects(send(browser, '/cart/add', 'item=honey'), SessionTooLarge);
    assert.deepEqual(cartIn(cookieOf(browser))?.items, { tea: 1 });
    assert.equal((await send(browser, '/cart/remove', 'item=tea')).status, 303);
    assert.deepEqual(cartIn(cookieOf(browser))?.items, {});
  });

  it('addCart() shows the cart after a note that fills the cookie of a new session', async () => {
    for (let length = 1000; length > 900; length -= 1) {
      const browser = openShop(); // the session expired while the visitor typed the note
      if (!(await canSave(browser, length))) continue;
      const { status } = await browser.get('/cart');
      assert.equal(status, 200, `a note of ${length} is stored, so its page must work`);
      return;
    }
    assert.fail('a note of 900 euro signs fits');
  });
});
