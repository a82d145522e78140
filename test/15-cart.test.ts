import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';
import { page } from '../src/04-template.ts';
import { html } from '../src/04-template.ts';
import { Browser } from '../src/08-browser.ts';
import { Session } from '../src/10-session.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from '../src/11-session-factory.ts';
import { withSession } from '../src/11-session-factory.ts';
import type { Mount, SessionRequest } from '../src/11-session-factory.ts';
import { seeOther } from '../src/13-flash.ts';
import { CATALOGUE, countOf, MAX_QUANTITY, site, totalOf, withRoom } from '../src/15-cart.ts';
import type { Cart } from '../src/15-cart.ts';

const ORIGIN = 'http://localhost:6543';
const SAME = { 'sec-fetch-site': 'same-origin' };

type Data = { counter: number; cart: Cart };

/** A browser at the shop, and the cart that its cookie has. */
function visit(): {
  browser: Browser;
  send: (path: string, body?: string) => Promise<HttpResponse>;
  cart: () => Cart | undefined;
} {
  const factory = new SignedCookieSessionFactory<Data>({ secrets: ['x'] });
  const browser = new Browser(site(factory).handle, ORIGIN);
  const cart = (): Cart | undefined => {
    const cookie = browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000) ?? '';
    return new Session<Data>(0, factory.read(cookie.slice('session='.length))).get('cart');
  };
  const send = (path: string, body = ''): Promise<HttpResponse> =>
    browser.request('POST', path, body, SAME);
  return { browser, send, cart };
}

function faultOf({ body }: HttpResponse): string | undefined {
  return /<p class="flash error" role="alert">([^<]*)/.exec(String(body))?.[1];
}

describe('15-cart: the cart', () => {
  it('addCart() adds, changes, removes and empties, and answers each with 303', async () => {
    const { browser, send, cart } = visit();
    const steps: [path: string, body: string, items: Cart['items'] | undefined][] = [
      ['/cart/add', 'item=tea', { tea: 1 }],
      ['/cart/add', 'item=tea', { tea: 2 }],
      ['/cart/add', 'item=mug', { tea: 2, mug: 1 }],
      ['/cart/change', 'item=mug&quantity=99', { tea: 2, mug: 99 }],
      ['/cart/remove', 'item=tea', { mug: 99 }],
      ['/cart/remove', 'item=tea', { mug: 99 }],
      ['/cart/empty', '', undefined],
      ['/cart/empty', '', undefined],
    ];
    for (const [path, body, items] of steps) {
      const response = await send(path, body);
      assert.equal(response.status, 303, `POST ${path} ${body}`);
      assert.equal(response.headers.location, '/cart');
      assert.deepEqual(cart()?.items, items, `POST ${path} ${body}`);
    }
    assert.match(String((await browser.get('/cart')).body), /Your cart is empty\./);
  });

  it('addCart() shows each line, its sum, the total, and keeps the note', async () => {
    const { browser, send } = visit();
    for (const item of ['tea', 'tea', 'pot']) await send('/cart/add', `item=${item}`);
    await send('/cart/note', 'note=%0d%0aFor+<b>Ada</b>%0d%0aand+Grace');
    const body = String((await browser.get('/cart')).body);
    assert.match(body, /<strong>Tea, a tin<\/strong> 2 for € 9\.90/);
    assert.match(body, /<strong>Teapot<\/strong> 1 for € 38\.00/);
    assert.match(body, /Total: € 47\.90/);
    assert.match(body, /<textarea [^>]*>\nFor &lt;b&gt;Ada&lt;\/b&gt;\nand Grace<\/textarea>/);
  });

  it('addCart() notices what changed deep inside, and nobody has called changed()', () => {
    const state = { data: { cart: { items: { tea: 1 }, note: '' } }, created: 0, accessed: 0 };
    const session = new Session<Data>(0, state);
    const cart = session.get('cart');
    assert.equal(session.isChanged, false);
    if (cart) cart.items.tea = 2;
    assert.equal(session.isChanged, true);
  });

  it('addCart() refuses a quantity that is not whole, from 1 to 99', async () => {
    const { send, cart } = visit();
    await send('/cart/add', 'item=tea');
    const numbers = ['0', '100', '-1', '1.5', '1e1', '0x9', '00', '01', '٣', '５', '9'.repeat(400)];
    for (const quantity of [...numbers, '', 'two', 'NaN', 'Infinity', '1 2', '1\0', '<b>1</b>']) {
      const sent = encodeURIComponent(quantity);
      const response = await send('/cart/change', `item=tea&quantity=${sent}`);
      assert.equal(response.status, 422, quantity);
      assert.equal(faultOf(response), 'A quantity is whole, from 1 to 99.', quantity);
      assert.deepEqual(cart()?.items, { tea: 1 }, 'and it is as it was');
    }
    for (const quantity of ['1', '99', ' 7 ']) {
      const response = await send('/cart/change', `item=tea&quantity=${quantity}`);
      assert.deepEqual([response.status, cart()?.items.tea], [303, Number(quantity)], quantity);
    }
  });

  it('addCart() stops at 99 of a thing', async () => {
    const { send, cart } = visit();
    await send('/cart/add', 'item=tea');
    await send('/cart/change', `item=tea&quantity=${MAX_QUANTITY}`);
    const response = await send('/cart/add', 'item=tea');
    assert.equal(response.status, 422);
    assert.equal(faultOf(response), 'You can have 99 of a thing at most.');
    assert.equal(cart()?.items.tea, MAX_QUANTITY);
  });

  it('addCart() sells only what is in the catalogue, whatever it is called', async () => {
    const { send, cart } = visit();
    const names = ['', 'gold', '__proto__', 'constructor', 'toString', 'TEA', 'tea\0', '<b>', 'é'];
    for (const name of names) {
      const response = await send('/cart/add', `item=${encodeURIComponent(name)}`);
      assert.equal(response.status, 422, name);
      assert.equal(faultOf(response), 'There is no such thing in the catalogue.');
      const change = await send('/cart/change', `item=${encodeURIComponent(name)}&quantity=5`);
      assert.equal(faultOf(change), 'That is not in your cart.', name);
      assert.equal((await send('/cart/remove', `item=${encodeURIComponent(name)}`)).status, 303);
    }
    assert.deepEqual(Object.keys(cart()?.items ?? {}), []);
    assert.equal(({} as { quantity?: number }).quantity, undefined, 'no prototype was touched');
  });

  it('addCart() answers hostile forms with words: never a 5xx', async () => {
    const { browser, send } = visit();
    const bodies = ['', 'item=tea&item=mug', 'item[]=tea', 'item=%ED%A0%80', 'item=%zz', 'x=1'];
    const notes = ['note=%00', 'note=%1b[2J', 'note=</textarea><script>', 'note=%ff'];
    for (const path of ['/cart/add', '/cart/change', '/cart/remove', '/cart/note', '/cart/empty']) {
      for (const body of [...bodies, ...notes]) {
        const { status } = await send(path, body);
        assert.ok([303, 400, 422].includes(status), `POST ${path} ${body.slice(0, 40)}: ${status}`);
      }
    }
    const long = await send('/cart/note', `note=${'a'.repeat(2001)}`);
    assert.equal(faultOf(long), 'A note is plain text, of 2000 characters at most.');
    assert.ok(String(long.body).includes('a'.repeat(2001)), 'what was typed is still there');
    await send('/cart/note', 'note=</textarea><script>');
    assert.doesNotMatch(String((await browser.get('/cart')).body), /<script/);
  });

  it('addCart() shows what is sold no more, for nothing, and lets it go', async () => {
    const factory = new SignedCookieSessionFactory<Data>({ secrets: ['x'] });
    const browser = new Browser(site(factory).handle, ORIGIN);
    const session = new Session<Data>(Date.now() / 1000);
    session.set('cart', { items: { 'a <b>lamp</b>': 2, tea: 1 }, note: '' });
    const cookie = `session=${factory.write(session)}`;
    const { body } = await browser.request('GET', '/cart', '', { cookie });
    assert.match(String(body), /<strong>a &lt;b&gt;lamp&lt;\/b&gt;<\/strong> 2 for € 0\.00/);
    assert.match(String(body), /Total: € 4\.95/);
    const headers = { ...SAME, cookie };
    const { status } = await browser.request('POST', '/cart/remove', 'item=a+<b>lamp</b>', headers);
    assert.equal(status, 303);
    assert.doesNotMatch(String((await browser.get('/cart')).body), /lamp/);
  });

  it('addCart() gives each button and field a name that can be read out', async () => {
    const { browser, send } = visit();
    for (const item of CATALOGUE.keys()) await send('/cart/add', `item=${item}`);
    const body = String((await browser.get('/cart')).body);
    const names = [...body.matchAll(/aria-label="([^"]*)"/g)].map(([, name]) => name);
    assert.equal(new Set(names).size, 4 * CATALOGUE.size, names.join());
    assert.doesNotMatch(body, /<button>(Add|Change|Remove)/);
  });

  it('totalOf() counts in whole cents', () => {
    const items = { tea: 3, honey: 99, mug: 7, pot: 1 };
    assert.equal(totalOf({ items, note: '' }), 3 * 495 + 99 * 610 + 7 * 1250 + 3800);
    assert.equal(totalOf({ items: {}, note: '' }), 0);
    for (const { cents } of CATALOGUE.values()) assert.ok(Number.isSafeInteger(cents) && cents > 0);
  });

  it('countOf() counts things, and none where there is no cart', () => {
    const session = new Session<Data>(0);
    assert.equal(countOf(session), 0);
    session.set('cart', { items: { tea: 2, mug: 1 }, note: '' });
    assert.equal(countOf(session), 3);
  });
});

describe('15-cart: the end of the cookie', () => {
  const euros = (length: number): string => `note=${encodeURIComponent('€'.repeat(length))}`;

  it('addCart() says that a note does not fit, shows it, and keeps the cart it had', async () => {
    const { browser, send, cart } = visit();
    await browser.get('/cart'); // and now the session has a token for its forms
    await send('/cart/add', 'item=tea');
    await send('/cart/note', 'note=short');
    const response = await send('/cart/note', euros(2000));
    assert.equal(response.status, 422);
    assert.equal(faultOf(response), 'There is no room for that. Your cart is as it was before.');
    const typed = `>\n${'€'.repeat(2000)}</textarea>`;
    assert.ok(String(response.body).includes(typed), 'what was typed');
    assert.equal(response.headers['set-cookie'], undefined);
    assert.deepEqual(cart(), { items: { tea: 1 }, note: 'short' });
    assert.equal((await send('/cart/add', 'item=mug')).status, 303, 'and one can go on');
    assert.match(String((await browser.get('/cart')).body), /Total: € 17\.45/);
  });

  it('addCart() says so for an item too, when a cookie is full to the last byte', async () => {
    const { send, cart } = visit();
    await send('/cart/add', 'item=tea');
    let length = 1000;
    while ((await send('/cart/note', euros(length))).status === 422) length -= 1;
    const response = await send('/cart/add', 'item=honey');
    assert.equal(response.status, 422);
    assert.match(faultOf(response) ?? '', /no room/);
    assert.deepEqual(cart()?.items, { tea: 1 });
    assert.equal((await send('/cart/remove', 'item=tea')).status, 303, 'less always fits');
  });

  it('withRoom() asks the second page for nothing but a session that is too large', async (t) => {
    t.mock.method(console, 'error', () => {});
    const factory = new SignedCookieSessionFactory<Data>({ secrets: ['x'] });
    const mount: Mount<Data> = (inner) => withSession(factory, inner);
    const full: Handler<SessionRequest<Data>> = ({ session }) =>
      page('Full', html`<main>full, ${session.get('counter') ?? 'new'}</main>`, 422);
    const withFull = withRoom(mount, full);
    const fill = withFull(({ session }) => {
      session.set('counter', 1);
      session.set('cart', { items: {}, note: 'x'.repeat(4000) });
      return seeOther('/');
    });
    const { status, body, headers } = await new Browser(fill).request('GET', '/');
    assert.equal(status, 422);
    assert.match(String(body), /full, new/, 'the session as it was before');
    assert.equal(headers['set-cookie'], undefined);
    const failing = withFull(() => {
      throw new SessionTooLarge('a page that throws is a page that failed');
    });
    assert.equal((await new Browser(failing).get('/')).status, 500);
    const broken = withRoom<Data>(() => () => Promise.reject(new TypeError('other')), full);
    await assert.rejects(async () => new Browser(broken(() => seeOther('/'))).get('/'), /other/);
  });
});

describe('15-cart: two tabs', () => {
  it('a cookie session loses one of two additions at the same moment', async () => {
    const factory = new SignedCookieSessionFactory<Data>({ secrets: ['x'] });
    let opened = 0;
    let bothAreOpen = (): void => {};
    const barrier = new Promise<void>((resolve) => (bothAreOpen = resolve));
    const slow = {
      async open(request: HttpRequest) {
        const session = factory.open(request);
        if (++opened === 2) bothAreOpen();
        await barrier; // nobody writes before both have read
        return session;
      },
      save: factory.save.bind(factory),
    };
    const add: Handler<SessionRequest<Data>> = ({ session, search }) => {
      session.setDefault('cart', { items: {}, note: '' }).items[search.slice(1)] = 1;
      return seeOther('/cart');
    };
    const browser = new Browser(withSession(slow, add), ORIGIN);
    await Promise.all([browser.request('GET', '/?tea'), browser.request('GET', '/?mug')]);
    const cookie = browser.jar.headerFor(new URL(ORIGIN), Date.now() / 1000) ?? '';
    const data = factory.read(cookie.slice('session='.length))?.data;
    assert.deepEqual(data, { cart: { items: { mug: 1 }, note: '' } }, 'the tea is gone');
  });
});

describe('15-cart: types', () => {
  it('Session knows the cart, and the compiler refuses what is not one', () => {
    const session = new Session<Data>(0);
    const cart: Cart | undefined = session.get('cart');
    assert.equal(cart, undefined);
    // @ts-expect-error a misspelt key
    session.get('card');
    // @ts-expect-error a quantity is a number
    const wrong: Data['cart'] = { items: { tea: '1' }, note: '' };
    assert.ok(wrong);
    const needy: Handler<SessionRequest<{ cart: Cart }>> = () => seeOther('/');
    const plain: Handler = () => seeOther('/');
    const mount: Mount<{ counter: number }> = () => plain;
    // @ts-expect-error a page that needs a cart cannot be mounted where sessions have none
    assert.equal(mount(needy), plain);
  });
});
