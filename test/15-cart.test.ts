import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import type { Handler, HttpRequest, HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { escape, html, page } from '../src/04-template.ts';
import { Browser } from '../src/08-browser.ts';
import { Session } from '../src/10-session.ts';
import { SessionTooLarge, SignedCookieSessionFactory } from '../src/11-session-factory.ts';
import { withSession } from '../src/11-session-factory.ts';
import type { Mount, SessionRequest } from '../src/11-session-factory.ts';
import { seeOther, withFlash } from '../src/13-flash.ts';
import { withCsrf } from '../src/14-csrf.ts';
import { CATALOGUE, countOf, MAX_QUANTITY, site, totalOf, withRoom } from '../src/15-cart.ts';
import type { Cart } from '../src/15-cart.ts';

const it = explainedIt(import.meta.url);
const ORIGIN = 'http://localhost:6543';
const SAME = { 'sec-fetch-site': 'same-origin' };

type Data = { counter: number; cart: Cart };

const NOW = 1_700_000_000; // 2023-11-14T22:13:20Z
const now = (): number => NOW;

function makeFactory(): SignedCookieSessionFactory<Data> {
  return new SignedCookieSessionFactory<Data>({ secrets: ['x'], now });
}

function cookieOf({ jar }: Browser): string {
  return jar.headerFor(new URL(ORIGIN), NOW) ?? '';
}

/** The cart that a `Cookie` or `Set-Cookie` header has. */
function cartIn(header: unknown): Cart | undefined {
  const [, value = ''] = /^session=([^;]*)/.exec(String(header)) ?? [];
  return new Session<Data>(NOW, makeFactory().read(value)).get('cart');
}

/** A browser at the shop, and the cart that its cookie has. */
function visit(): {
  browser: Browser;
  send: (path: string, body?: string) => Promise<HttpResponse>;
  cart: () => Cart | undefined;
} {
  const browser = new Browser(site(makeFactory()).handle, ORIGIN, now);
  const cart = (): Cart | undefined => cartIn(cookieOf(browser));
  const send = (path: string, body = ''): Promise<HttpResponse> =>
    browser.request('POST', path, body, SAME);
  return { browser, send, cart };
}

function faultOf({ body }: HttpResponse): string | undefined {
  return /<p class="flash error" role="alert">([^<]*)/.exec(String(body))?.[1];
}

describe('15-cart: the cart', () => {
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

  it('addCart() begins with an empty cart and no note, on a page that has a name', async () => {
    const { browser, send, cart } = visit();
    const body = String((await browser.get('/cart')).body);
    assert.match(body, /<title>Cart<\/title>/);
    assert.match(body, /<textarea [^>]*>\n<\/textarea>/);
    await send('/cart/add', 'item=tea');
    assert.deepEqual(cart(), { items: { tea: 1 }, note: '' });
    assert.equal(site().router.pathFor('cart'), '/cart');
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

  it('addCart() needs no changed(): a cart changed in place is in the cookie', async (t) => {
    const changed = t.mock.method(Session.prototype, 'changed');
    const { browser, send } = visit();
    await send('/cart/add', 'item=tea');
    const add: Handler<SessionRequest<Data>> = ({ session }) => {
      const cart = session.get('cart');
      if (cart) cart.items.tea = 7; // and neither set, nor update, nor changed
      return seeOther('/cart');
    };
    const cookie = cookieOf(browser);
    const inPlace = new Browser(withSession(makeFactory(), add), ORIGIN, now);
    const { headers } = await inPlace.request('GET', '/', '', { cookie });
    assert.deepEqual(cartIn(headers['set-cookie'])?.items, { tea: 7 });
    assert.equal(changed.mock.callCount(), 0);
  });

  it('addCart() refuses a quantity that is not whole, from 1 to 99', async () => {
    const { send, cart } = visit();
    await send('/cart/add', 'item=tea');
    const numbers = ['0', '100', '-1', '+1', '1.5', '1,5', '1e1', '1e2', '0x9', '00', '01'];
    const words = ['٣', '５', 'two', 'NaN', 'Infinity', '1 2', '1\0', '5\r\n6', '<b>1</b>', ''];
    const huge = ['9'.repeat(400), '9'.repeat(20_000), '__proto__'];
    for (const quantity of [...numbers, ...words, ...huge]) {
      const sent = encodeURIComponent(quantity);
      const response = await send('/cart/change', `item=tea&quantity=${sent}`);
      const what = `quantity=${sent.slice(0, 40)}, and now in the cart: ${cart()?.items.tea}`;
      assert.equal(response.status, 422, what);
      assert.equal(faultOf(response), 'A quantity is whole, from 1 to 99.', what);
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
    await send('/cart/change', `item=tea&quantity=${MAX_QUANTITY - 1}`);
    assert.equal((await send('/cart/add', 'item=tea')).status, 303);
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
      assert.equal(response.status, 422, `sold, and not in the catalogue: ${JSON.stringify(name)}`);
      assert.equal(faultOf(response), 'There is no such thing in the catalogue.');
      const change = await send('/cart/change', `item=${encodeURIComponent(name)}&quantity=5`);
      assert.equal(faultOf(change), 'That is not in your cart.', name);
      assert.equal((await send('/cart/remove', `item=${encodeURIComponent(name)}`)).status, 303);
    }
    assert.deepEqual(Object.keys(cart()?.items ?? {}), []);
    assert.equal(({} as { quantity?: number }).quantity, undefined, 'no prototype was touched');
  });

  it('addCart() answers hostile forms with words: never a 5xx', async () => {
    const { browser, send, cart } = visit();
    await send('/cart/add', 'item=tea');
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
      for (const body of [...raw, ...lists, ...fields]) {
        const response = await send(path, body);
        const what = `POST ${path} ${body.slice(0, 60)}: ${response.status}`;
        assert.ok([303, 400, 422].includes(response.status), what);
        assert.doesNotMatch(String(response.body), /<img|<b>/, what);
        const set = [response.headers['set-cookie'] ?? []].flat();
        assert.ok(set.every((line) => /^session=[\w-]*;/.test(line)), what);
        for (const id of Object.keys(cart()?.items ?? {})) assert.ok(CATALOGUE.has(id), what);
      }
    }
    assert.deepEqual(Object.keys(Object.prototype), [], 'no prototype was touched');
    assert.equal((await browser.get('/cart')).status, 200);
  });

  it('addCart() shows a note that it refuses, or keeps, as text and never as markup', async () => {
    const { browser, send, cart } = visit();
    const markup = ['</textarea><script>\0', '"\'>\x1b', '<!--\x7f', '&amp;\x85'];
    const refused = ['a'.repeat(2001), ...markup];
    for (const note of refused) {
      const response = await send('/cart/note', `note=${encodeURIComponent(note)}`);
      const what = JSON.stringify(note.slice(0, 40));
      assert.equal(response.status, 422, what);
      assert.equal(faultOf(response), 'A note is plain text, of 2000 characters at most.', what);
      const shown = `>\n${escape(note)}</textarea>`;
      assert.ok(String(response.body).includes(shown), `${what}: what was typed is still there`);
      assert.equal(cart(), undefined, `${what}: and is not kept`);
    }
    const kept = ['</textarea><script>', '__proto__', '{"a":1}', '\ufffd', 'a'.repeat(2000)];
    for (const note of kept) {
      const { status } = await send('/cart/note', `note=${encodeURIComponent(note)}`);
      assert.equal(status, 303, note);
      assert.equal(cart()?.note, note);
      const { body } = await browser.get('/cart');
      assert.ok(String(body).includes(`>\n${escape(note)}</textarea>`), note);
    }
  });

  it('addCart() shows what is sold no more, for nothing, and lets it go', async () => {
    const factory = makeFactory();
    const browser = new Browser(site(factory).handle, ORIGIN, now);
    const session = new Session<Data>(NOW);
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
    assert.equal(new Set(names).size, 4 * CATALOGUE.size + 1, `and the meter: ${names.join()}`);
    assert.doesNotMatch(body, /<button>(Add|Change|Remove)/);
    const inputs = body.match(/<input[^>]*>/g);
    const buttons = body.match(/<button[^]*?<\/button>/g);
    const seen = (inputs ?? []).filter((tag) => !tag.includes('type="hidden"'));
    assert.equal(seen.length, CATALOGUE.size, 'one quantity for each line');
    for (const tag of seen) {
      assert.match(tag, /type="number" name="quantity" min="1" max="99" value="1"\s/);
      assert.match(tag, /aria-label="Quantity: [^"]+"/);
    }
    for (const tag of buttons ?? []) assert.match(tag, /aria-label="\w+: \w|>\w[\w ]+</, tag);
    assert.match(body, /<label>Note <textarea /);
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
    assert.equal(response.headers['set-cookie'], undefined, 'the old cookie stays');
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

  it('addCart() keeps room for the token of the next page', async () => {
    for (let length = 1000; length > 900; length -= 1) {
      const { browser, send } = visit(); // its session ended while the note was typed
      if ((await send('/cart/note', euros(length))).status === 422) continue;
      const { status } = await browser.get('/cart');
      assert.equal(status, 200, `a note of ${length} is kept, so there is a page to change it`);
      return;
    }
    assert.fail('a note of 900 euro signs fits');
  });

  it('withRoom() asks the second page for nothing but a session that is too large', async (t) => {
    t.mock.method(console, 'error', () => {});
    const factory = makeFactory();
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
    assert.equal(headers.vary, 'Cookie', 'and that page is mounted too');
    const failing = withFull(() => {
      throw new SessionTooLarge('a page that throws is a page that failed');
    });
    assert.equal((await new Browser(failing).get('/')).status, 500);
    // Only the first page fails here: who asked the second for this too would get an answer.
    const broken: Mount<Data> = (inner) => () =>
      inner === full ? seeOther('/full') : Promise.reject(new TypeError('other'));
    const passed = withRoom(broken, full)(() => seeOther('/'));
    await assert.rejects(async () => new Browser(passed).get('/'), /other/);
  });
});

describe('15-cart: two tabs', () => {
  it('a cookie session loses one of two additions at the same moment', async () => {
    const { browser, send } = visit();
    await send('/cart/add', 'item=pot');
    const cookie = cookieOf(browser); // one browser, two tabs: both will send this one
    const factory = makeFactory();
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
    const mount: Mount<Data> = (inner) => withSession(slow, withCsrf(withFlash(inner)));
    const tabs = new Browser(site(factory, mount).handle, ORIGIN, now);
    const add = (item: string): Promise<HttpResponse> =>
      tabs.request('POST', '/cart/add', `item=${item}`, { ...SAME, cookie });
    const [tea, mug] = await Promise.all([add('tea'), add('mug')]);
    assert.deepEqual(cartIn(tea.headers['set-cookie'])?.items, { pot: 1, tea: 1 });
    assert.deepEqual(cartIn(mug.headers['set-cookie'])?.items, { pot: 1, mug: 1 });
    assert.deepEqual(cartIn(cookieOf(tabs))?.items, { pot: 1, mug: 1 }, 'the tea is gone');
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
    // @ts-expect-error nor can it be put into a router as it is: the request has no session
    assert.ok(new Router().get('/cart', needy));
  });
});
