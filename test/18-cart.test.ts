import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { bodyText, setCookies } from '../.tools/request.ts';
import { requestBytes, startServer } from '../.tools/serve.ts';
import { cartIn, cookieOf, openShop, send, shopFactory } from '../.tools/shop.ts';
import { type Handler, type HttpResponse, text, toListener } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { escape } from '../src/06-template.ts';
import { Session } from '../src/07-session.ts';
import { withSession } from '../src/08-session-factory.ts';
import type { SessionRequest } from '../src/09-tutorial.ts';
import { RouteGroup } from '../src/13-middleware.ts';
import { Browser } from '../src/16-browser.ts';
import { addCart, type Cart, type CartData, CATALOGUE } from '../src/18-cart.ts';
import { countOf, MAX_QUANTITY, site, totalOf } from '../src/18-cart.ts';

const it = explainedIt(import.meta.url);

/** Returns the error on a page, or `undefined`. */
function errorOf(response: HttpResponse): string | undefined {
  return /<p class="flash error" role="alert">([^<]*)/.exec(bodyText(response))?.[1];
}

describe('18-cart: the data', () => {
  it('countOf() counts the things in the cart', () => {
    const session = new Session<CartData>(0);
    assert.equal(countOf(given(session)), 0, 'a session without a cart');
    session.set('cart', { items: { tea: 2, mug: 1 }, note: '' });
    assert.equal(countOf(given(session)), 3);
  });

  it('totalOf() adds whole cents, so it never shows 30.000000000000004', () => {
    const items = { tea: 3, honey: 99, mug: 7, pot: 1 };
    assert.equal(totalOf(given({ items, note: '' })), 3 * 495 + 99 * 610 + 7 * 1250 + 3800);
    assert.equal(totalOf(given({ items: {}, note: '' })), 0);
    for (const { cents } of CATALOGUE.values()) assert.ok(Number.isSafeInteger(cents) && cents > 0);
  });

  it('addCart() starts with an empty cart', async () => {
    const browser = openShop();
    const body = bodyText(await browser.get('/cart'));
    assert.match(body, /<title>Cart<\/title>/);
    assert.match(body, /Your cart is empty\./);
    assert.match(body, /<textarea [^>]*>\n<\/textarea>/);
    await send(browser, '/cart/add', 'item=tea');
    assert.deepEqual(cartIn(cookieOf(browser)), { items: { tea: 1 }, note: '' });
  });

  it('addCart() adds, changes, removes and empties, each with a redirect to /cart', async () => {
    const browser = openShop();
    const steps: [path: string, form: string, items: Cart['items']][] = [
      ['/cart/add', 'item=tea', { tea: 1 }],
      ['/cart/add', 'item=tea', { tea: 2 }],
      ['/cart/add', 'item=mug', { tea: 2, mug: 1 }],
      ['/cart/change', 'item=mug&quantity=99', { tea: 2, mug: 99 }],
      ['/cart/remove', 'item=tea', { mug: 99 }],
      ['/cart/remove', 'item=tea', { mug: 99 }],
      ['/cart/empty', '', {}],
      ['/cart/empty', '', {}],
    ];
    for (const [path, form, items] of steps) {
      const { status, headers } = await send(browser, path, form);
      assert.deepEqual([status, headers.location], [303, '/cart'], `POST ${path} ${form}`);
      assert.deepEqual(cartIn(cookieOf(browser))?.items, items, `POST ${path} ${form}`);
    }
    assert.match(bodyText(await browser.get('/cart')), /Your cart is empty\./);
  });

  it('addCart() shows each product, the total and the note', async () => {
    const browser = openShop();
    for (const item of ['tea', 'tea', 'pot']) await send(browser, '/cart/add', `item=${item}`);
    await send(browser, '/cart/note', 'note=%0d%0aFor+<b>Ada</b>%0d%0aand+Grace');
    const body = bodyText(await browser.get('/cart'));
    assert.match(body, /<strong>Tea, a tin<\/strong> 2 for € 9\.90/);
    assert.match(body, /<strong>Teapot<\/strong> 1 for € 38\.00/);
    assert.match(body, /Total: € 47\.90/);
    assert.match(body, /<textarea [^>]*>\nFor &lt;b&gt;Ada&lt;\/b&gt;\nand Grace<\/textarea>/);
  });

  it('addCart() needs no changed(): a change inside the cart reaches the cookie', async (t) => {
    const changed = t.mock.method(Session.prototype, 'changed');
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    const add: Handler<SessionRequest<CartData>> = ({ session }) => {
      const cart = session.get('cart');
      if (cart) cart.items.tea = 7; // no set, no update, no changed
      return text('added');
    };
    const headers = { cookie: cookieOf(browser) };
    const inside = new Browser(withSession(shopFactory)(add));
    const [setCookie = ''] = setCookies(await inside.request('GET', '/', '', headers));
    assert.deepEqual(cartIn(setCookie)?.items, { tea: 7 });
    assert.equal(changed.mock.callCount(), 0);
  });
});

describe('18-cart: what a form can send', () => {
  it('addCart() accepts a whole quantity from 1 to 99, and no other text', async () => {
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    const numbers = ['0', '100', '-1', '+1', '1.5', '1,5', '1e1', '1e2', '0x9', '00', '01'];
    const words = ['٣', '５', 'two', 'NaN', 'Infinity', '1 2', '5\r\n6', '<b>1</b>', ''];
    for (const quantity of [...numbers, ...words, '9'.repeat(20_000), '__proto__']) {
      const sent = encodeURIComponent(quantity);
      const response = await send(browser, '/cart/change', `item=tea&quantity=${sent}`);
      const items = cartIn(cookieOf(browser))?.items;
      const what = `quantity=${sent.slice(0, 40)}, and the cart contains ${JSON.stringify(items)}`;
      assert.equal(response.status, 422, what);
      assert.equal(errorOf(response), 'Enter a whole number from 1 to 99.', what);
      assert.deepEqual(items, { tea: 1 }, 'the cart is as it was');
    }
    for (const quantity of ['1', '99', ' 7 ']) {
      const { status } = await send(browser, '/cart/change', `item=tea&quantity=${quantity}`);
      assert.equal(status, 303, quantity);
      assert.equal(cartIn(cookieOf(browser))?.items.tea, Number(quantity));
    }
  });

  it('addCart() stops at 99 of each product', async () => {
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    await send(browser, '/cart/change', `item=tea&quantity=${MAX_QUANTITY - 1}`);
    assert.equal((await send(browser, '/cart/add', 'item=tea')).status, 303);
    const response = await send(browser, '/cart/add', 'item=tea');
    assert.equal(response.status, 422);
    assert.equal(errorOf(response), 'The limit is 99 of each product.');
    assert.equal(cartIn(cookieOf(browser))?.items.tea, MAX_QUANTITY);
  });

  it('addCart() sells only what is in the catalogue', async () => {
    const browser = openShop();
    const names = ['', 'gold', '__proto__', 'constructor', 'toString', 'TEA', 'tea\0', '<b>', 'é'];
    for (const name of names) {
      const item = encodeURIComponent(name);
      const response = await send(browser, '/cart/add', `item=${item}`);
      assert.equal(response.status, 422, `the shop sold ${JSON.stringify(name)}`);
      assert.equal(errorOf(response), 'This product is not in the catalogue.');
      const change = await send(browser, '/cart/change', `item=${item}&quantity=5`);
      assert.equal(errorOf(change), 'This product is not in your cart.', name);
      assert.equal((await send(browser, '/cart/remove', `item=${item}`)).status, 303, name);
    }
    assert.deepEqual(Object.keys(cartIn(cookieOf(browser))?.items ?? {}), []);
    assert.equal(({} as { quantity?: number }).quantity, undefined, 'no prototype has changed');
  });

  it('addCart() rejects a wrong note, and the form still contains what was typed', async () => {
    const browser = openShop();
    const markup = ['</textarea><script>\0', '"\'>\x1b', '<!--\x7f', '&amp;\x84.'];
    for (const note of ['a'.repeat(2001), ...markup]) {
      const response = await send(browser, '/cart/note', `note=${encodeURIComponent(note)}`);
      const what = JSON.stringify(note.slice(0, 40));
      assert.equal(response.status, 422, what);
      const error = /^The note (must have 0 to 2000|contains the character U\+)/;
      assert.match(errorOf(response) ?? '', error, what);
      assert.ok(bodyText(response).includes(`>\n${escape(note)}</textarea>`), what);
      assert.equal(cartIn(cookieOf(browser)), undefined, `${what} is not in the session`);
    }
  });

  it('addCart() keeps the old note and the old quantity after an error', async () => {
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    await send(browser, '/cart/note', 'note=the+old+note');
    const wrong = [['/cart/note', `note=${'a'.repeat(2001)}`], ['/cart/note', 'note=wrong%00'],
      ['/cart/change', 'item=tea&quantity=100'], ['/cart/add', 'item=gold']];
    for (const [path = '', form] of wrong) {
      assert.equal((await send(browser, path, form)).status, 422, path);
      const stored = { items: { tea: 1 }, note: 'the old note' };
      assert.deepEqual(cartIn(cookieOf(browser)), stored, `POST ${path} changed the session`);
      assert.match(bodyText(await browser.get('/cart')), />\nthe old note<\/textarea>/);
    }
  });

  it('addCart() gives its change to update(), which can apply it to a newer cart', async (t) => {
    const update = t.mock.method(Session.prototype, 'update');
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    const [key, change] = update.mock.calls[0]?.arguments ?? [];
    assert.equal(key, 'cart', 'addCart() must call session.update()');
    const newer: Cart = { items: { tea: 4, mug: 1 }, note: 'of another tab' };
    const added = { items: { tea: 5, mug: 1 }, note: 'of another tab' };
    assert.deepEqual((change as (cart: Cart) => Cart)(newer), added);
  });

  it('addCart() shows a product that is no longer sold, and removes it', async () => {
    const session = shopFactory.create();
    session.set('cart', { items: { 'a <b>lamp</b>': 2, tea: 1 }, note: '' });
    const headers = { cookie: `session=${shopFactory.save(session)}` };
    const browser = openShop();
    const body = bodyText(await browser.request('GET', '/cart', '', headers));
    assert.match(body, /<strong>a &lt;b&gt;lamp&lt;\/b&gt;<\/strong> 2 for € 0\.00/);
    assert.match(body, /Total: € 4\.95/);
    const removed = await send(browser, '/cart/remove', 'item=a+<b>lamp</b>', headers);
    assert.equal(removed.status, 303);
    assert.doesNotMatch(bodyText(await browser.get('/cart')), /lamp/);
  });

  it('addCart() gives each button and each field a name for a screen reader', async () => {
    const browser = openShop();
    for (const item of CATALOGUE.keys()) await send(browser, '/cart/add', `item=${item}`);
    const body = bodyText(await browser.get('/cart'));
    const names = [...body.matchAll(/aria-label="([^"]*)"/g)].map(([, name]) => name);
    assert.equal(new Set(names).size, 4 * CATALOGUE.size, `four for each: ${names}`);
    const inputs = [...body.matchAll(/<input\b[^>]*>/g)].map(([tag]) => tag.replaceAll('\n', ' '));
    const visible = inputs.filter((tag) => !tag.includes('type="hidden"'));
    assert.equal(visible.length, CATALOGUE.size, 'one quantity for each product');
    for (const tag of visible) {
      assert.match(tag, /type="number" name="quantity" value="1" min="1" max="99"/);
      assert.match(tag, /aria-label="Quantity: [^"]+"/);
    }
    for (const [tag] of body.matchAll(/<button[^]*?<\/button>/g)) {
      assert.match(tag, /aria-label="\w+: \w|>\w[\w ]+</, tag);
    }
    assert.match(body, /<label>Note <textarea /);
    for (const label of ['Empty the cart', 'Save the note']) {
      assert.match(body, new RegExp(`<button[^>]*>${label}</button>`));
    }
  });
});

describe('18-cart: two limits', () => {
  it('addCart() loses one of two products from two tabs', { timeout: 10_000 }, async () => {
    const browser = openShop();
    await send(browser, '/cart/add', 'item=pot');
    const cookie = cookieOf(browser); // one browser, two tabs: both send this cookie
    let opened = 0;
    let bothAreOpen = (): void => {};
    const barrier = new Promise<void>((resolve) => (bothAreOpen = resolve));
    const tabs = openShop({
      cookie: shopFactory.cookie,
      create: () => shopFactory.create(),
      save: (session) => shopFactory.save(session),
      async open(value) {
        if (++opened === 2) bothAreOpen();
        await barrier; // no request continues before both have read the same cookie
        return shopFactory.open(value);
      },
    });
    const add = (item: string) => send(tabs, '/cart/add', `item=${item}`, { cookie });
    const [tea, mug] = await Promise.all([add('tea'), add('mug')]);
    assert.deepEqual(cartIn(String(setCookies(tea)[0]))?.items, { pot: 1, tea: 1 });
    assert.deepEqual(cartIn(String(setCookies(mug)[0]))?.items, { pot: 1, mug: 1 });
    assert.deepEqual(cartIn(cookieOf(tabs))?.items, { pot: 1, mug: 1 }, 'the tea is lost');
  });

  it('addCart() compiles only for a session that can contain a cart', () => {
    const session = new Session<CartData>(0);
    const cart: Cart | undefined = session.get('cart');
    assert.equal(cart, undefined);
    // @ts-expect-error this key is misspelled
    session.get('card');
    // @ts-expect-error a quantity is a number
    const wrong: CartData['cart'] = { items: { tea: '1' }, note: '' };
    assert.ok(wrong);
    const plain = RouteGroup.of(new Router());
    // @ts-expect-error the requests of this group have no session
    addCart(plain);
  });

  it('site() of step 18 sends a 500 if a note does not fit, and the cart stays', async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const { exchange } = await startServer(t, toListener(ofStep(site())));
    const post = (path: string, form: string, more = ''): Promise<string> => {
      const type = 'Content-Type: application/x-www-form-urlencoded\r\n';
      const headers = `${type}Sec-Fetch-Site: same-origin\r\nContent-Length: ${form.length}\r\n`;
      return exchange(requestBytes('POST', path, headers + more, form));
    };
    const added = await post('/cart/add', 'item=tea');
    const [, cookie = ''] = /^set-cookie: (session=[^;]+)/m.exec(added) ?? [];
    const note = encodeURIComponent('€'.repeat(2000)); // 6000 bytes
    const received = await post('/cart/note', `note=${note}`, `Cookie: ${cookie}\r\n`);
    assert.match(received, /^HTTP\/1\.1 500 /);
    assert.doesNotMatch(received, /^set-cookie/m);
    const [line = ''] = log.mock.calls.map(({ arguments: [text] }) => String(text));
    assert.match(line, /^500 POST \/cart\/note .*the limit is 4096: .*cart \d{4}/);
    const page = await exchange(requestBytes('GET', '/cart', `Cookie: ${cookie}\r\n`));
    assert.match(page, /Tea, a tin<\/strong> 1 for/);
  });
});
