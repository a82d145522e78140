import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, ofStep, witness } from '../.tools/explain.ts';
import { formTo } from '../.tools/forms.ts';
import { bodyText, makeRequest, setCookies } from '../.tools/request.ts';
import { cartIn, cookieOf, openShop, send, shopFactory } from '../.tools/shop.ts';
import { type Handler, problem, text } from '../src/04-http.ts';
import { SessionTooLarge, withSession } from '../src/08-session-factory.ts';
import { Browser } from '../src/16-browser.ts';
import { onTooLarge, rescue, site } from '../src/19-rescue.ts';

const it = explainedIt(import.meta.url);
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' };
const LONG_NOTE = '€'.repeat(1500); // 4500 bytes: more than a cookie can hold

class Closed extends Error {}
class ClosedToday extends Closed {}

/** Returns a page that throws. */
const throwing = (error: unknown): Handler => () => {
  throw error;
};

/** Returns a page in `rescue`, which responds with 503 to the error `Closed`. */
const rescued = (page: Handler): Handler =>
  witness(rescue(Closed, (_, { message }) => problem(503, message))(page));

function noteForm(note: string): string {
  return `note=${encodeURIComponent(note)}`;
}

describe('19-rescue: an error becomes a response', () => {
  it('rescue() returns the response of a page that works', async () => {
    const response = text('It works');
    assert.equal(await rescued(() => response)(makeRequest()), response);
  });

  it('rescue() responds if the page throws an error of the class', async () => {
    const response = await rescued(throwing(new Closed('We open at nine.')))(makeRequest());
    assert.equal(response.status, 503);
    assert.match(bodyText(response), /We open at nine\./);
  });

  it('rescue() responds to an error of a subclass', async () => {
    const response = await rescued(throwing(new ClosedToday('Sunday')))(makeRequest());
    assert.equal(response.status, 503);
  });

  it('rescue() responds to an error that a page throws later', async () => {
    const page: Handler = async () => {
      await Promise.resolve();
      throw new Closed('later');
    };
    const response = await rescued(page)(makeRequest());
    assert.equal(response.status, 503);
  });

  it('rescue() throws any other error again, unchanged', async () => {
    for (const error of [new Error('a bug'), new TypeError('a bug'), 'a text', undefined]) {
      const thrown = async () => rescued(throwing(error))(makeRequest());
      await assert.rejects(thrown, (caught) => caught === error, String(error));
    }
  });

  it('rescue() gives the request and the error to the function that responds', async () => {
    const error = new Closed('We open at nine.');
    const request = makeRequest('POST', '/save?a=1');
    const received: unknown[] = [];
    const wrap = rescue(Closed, (...values) => (received.push(...values), text('')));
    await wrap(throwing(error))(request);
    assert.equal(received[0], request);
    assert.equal(received[1], error);
  });

  it('rescue() can stand in another rescue(), and the inner one responds first', async () => {
    const inner = rescue(ClosedToday, () => text('inner'));
    const outer = rescue(Closed, () => text('outer'));
    const bodyFor = async (error: Error): Promise<string> =>
      bodyText(await outer(inner(throwing(error)))(makeRequest()));
    assert.equal(await bodyFor(new ClosedToday('')), 'inner');
    assert.equal(await bodyFor(new Closed('')), 'outer');
  });
});

describe('19-rescue: a session that is too large', () => {
  type Page = Parameters<ReturnType<typeof withSession<ReturnType<typeof shopFactory.create>>>>[0];
  const session = withSession(shopFactory);
  const fill: Page = (request) => {
    request.session.set('cart', { items: {}, note: LONG_NOTE });
    return text('saved');
  };

  it('rescue() stands outside withSession(), because save() throws after the page', async () => {
    const respond = rescue(SessionTooLarge, () => text('full', 422));
    const outside = await respond(session(fill))(makeRequest());
    assert.equal(outside.status, 422);
    assert.deepEqual(setCookies(outside), []);
    const inside = session((request) => respond(() => fill(request))(request));
    await assert.rejects(async () => inside(makeRequest()), SessionTooLarge);
  });

  it('rescue() can respond with a page that sees the session as it was before', async () => {
    const browser = openShop();
    await send(browser, '/cart/add', 'item=tea');
    const show: Page = (request) => text(JSON.stringify(request.session.get('cart')), 422);
    const handle = rescue(SessionTooLarge, session(show))(session(fill));
    const request = makeRequest('GET', '/', { cookie: cookieOf(browser) });
    const response = await handle(request);
    assert.equal(bodyText(response), '{"items":{"tea":1},"note":""}');
    assert.equal(response.headers.vary, 'Cookie');
  });

  it('onTooLarge() explains what happened, and what the visitor can do', async () => {
    const response = await onTooLarge(makeRequest());
    assert.equal(response.status, 422);
    assert.match(bodyText(response), /<title>The session is full<\/title>/);
    assert.match(bodyText(response), /Your <a href="\/cart">cart<\/a> is as it was before\./);
    assert.doesNotMatch(bodyText(response), /<pre>/, 'this request had no form, so it has no note');
  });

  it('onTooLarge() shows the note as text, so that the visitor can copy it', async () => {
    const form = noteForm('<b>For Ada</b>');
    const response = await onTooLarge(makeRequest('POST', '/cart/note', FORM_TYPE, form));
    assert.match(bodyText(response), /<pre>&lt;b&gt;For Ada&lt;\/b&gt;<\/pre>/);
  });

  it('onTooLarge() shows no other field: one could be a password', async () => {
    const form = 'username=ada&password=secret&csrf_token=123456';
    const response = await onTooLarge(makeRequest('POST', '/login', FORM_TYPE, form));
    assert.doesNotMatch(bodyText(response), /ada|secret|123456/);
  });

  it('onTooLarge() is the response too if one more product does not fit', async () => {
    const browser = openShop(shopFactory, rescue(SessionTooLarge, onTooLarge));
    await send(browser, '/cart/add', 'item=tea');
    let length = 1001;
    let status = 422;
    while (status === 422) {
      length -= 1;
      ({ status } = await send(browser, '/cart/note', noteForm('€'.repeat(length))));
    }
    const response = await send(browser, '/cart/add', 'item=honey');
    assert.equal(response.status, 422);
    assert.match(bodyText(response), /The session is full/);
    assert.deepEqual(cartIn(cookieOf(browser))?.items, { tea: 1 });
    assert.equal((await send(browser, '/cart/note', noteForm('short'))).status, 303);
    assert.equal((await send(browser, '/cart/add', 'item=honey')).status, 303);
  });

  it('site() of step 19 explains that the session is full, and loses nothing', async () => {
    const browser = new Browser(ofStep(site()));
    const { fields } = formTo(bodyText(await browser.get('/cart')), '/cart/note');
    await browser.post('/cart/add', { ...fields, item: 'tea' });
    await browser.post('/cart/note', { ...fields, note: 'short' });
    const before = bodyText(await browser.get('/cart'));

    const full = await browser.post('/cart/note', { ...fields, note: LONG_NOTE });
    assert.equal(full.status, 422);
    assert.match(bodyText(full), /The session is full/);
    assert.ok(bodyText(full).includes(`<pre>${LONG_NOTE}</pre>`), 'what the visitor typed');
    assert.deepEqual(setCookies(full), [], 'the old cookie stays');

    assert.equal(bodyText(await browser.get('/cart')), before, 'the cart is as it was');
    const next = await browser.post('/cart/add', { ...fields, item: 'mug' });
    assert.match(bodyText(next), /Total: € 17\.45/, 'the visitor can continue');
  });
});
