// Step 18 · A shopping cart: data inside data, and the end of a cookie.
//
//   session = { "cart": { "items": { "tea": 2, "mug": 1 }, "note": "It is a present." } }
//
// A page changes the cart inside the session, and the session notices. Prices are integers in
// cents: 0.1 + 0.2 is 0.30000000000000004, and 10 + 20 is 30. Two limits appear. A cookie is full at
// 4096 bytes. And if two tabs add at the same moment, one addition is lost: step versions fixes it.
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, type Html, html, page } from './06-template.ts';
import type { Session } from './07-session.ts';
import { SignedCookieSessionFactory } from './08-session-factory.ts';
import { DEMO } from './09-tutorial.ts';
import { checkText, fieldOf, form, type FormRequest, seeOther, withForm } from './12-forms.ts';
import { RouteGroup, sessionFrom } from './13-middleware.ts';
import { CsrfSession, withCsrf } from './17-csrf.ts';

export type Cart = {
  items: { [id: string]: number }; // the quantity of each product, from 1 to MAX_QUANTITY
  note: string; // a note of the visitor for the shop
};

/** The products, with prices in cents. */
export const CATALOGUE: ReadonlyMap<string, { name: string; cents: number }> = new Map([
  ['tea', { name: 'Tea, a tin', cents: 495 }],
  ['honey', { name: 'Honey, a jar', cents: 610 }],
  ['mug', { name: 'Mug', cents: 1250 }],
  ['pot', { name: 'Teapot', cents: 3800 }],
]);

export const MAX_QUANTITY = 99;

export type CartData = { cart: Cart };
type CartRequest = FormRequest & { session: Session<CartData> };

/** Returns the number of things in the cart. */
export function countOf(session: Session<CartData>): number {
  return Object.values(session.get('cart')?.items ?? {}).reduce((sum, n) => sum + n, 0);
}

/** Returns the price of the cart in cents. A product that is no longer sold costs nothing. */
export function totalOf(cart: Cart): number {
  const costs = Object.entries(cart.items).map(([id, n]) => n * (CATALOGUE.get(id)?.cents ?? 0));
  return costs.reduce((sum, cents) => sum + cents, 0);
}

/** Each action changes a cart, or returns the reason why it must not. */
const CART_ACTIONS: Record<string, (cart: Cart, form: URLSearchParams) => string | undefined> = {
  add({ items }, form) {
    const id = fieldOf(form, 'item');
    if (!CATALOGUE.has(id)) return 'This product is not in the catalogue.';
    if ((items[id] ?? 0) >= MAX_QUANTITY) return `The limit is ${MAX_QUANTITY} of each product.`;
    items[id] = (items[id] ?? 0) + 1;
    return undefined;
  },
  change({ items }, form) {
    const [id, quantity] = [fieldOf(form, 'item'), fieldOf(form, 'quantity')];
    if (!Object.hasOwn(items, id)) return 'This product is not in your cart.';
    if (!/^[1-9]\d?$/.test(quantity)) return `A quantity is a whole number up to ${MAX_QUANTITY}.`;
    items[id] = Number(quantity);
    return undefined;
  },
  remove({ items }, form) {
    delete items[fieldOf(form, 'item')];
    return undefined;
  },
  note(cart, form) {
    const note = fieldOf(form, 'note');
    const error = checkText('The note', note, 0, 2000);
    if (error === undefined) cart.note = note;
    return error;
  },
};

/** Adds `/cart` and the actions of its forms. */
export function addCart<R extends CartRequest>(pages: RouteGroup<R>): void {
  pages.get('/cart', (request) => cartPage(request));
  for (const [name, action] of Object.entries(CART_ACTIONS)) {
    const post = (request: R & { form: URLSearchParams }): HttpResponse => {
      const { session, form } = request;
      const error = action(structuredClone(session.get('cart')) ?? EMPTY(), form); // on a copy
      if (error !== undefined) return cartPage(request, error, form.get('note') ?? undefined);
      session.update('cart', (cart = EMPTY()) => {
        action(cart, form); // inside the session: no code calls `changed()`
        return cart;
      });
      return seeOther('/cart');
    };
    pages.post(`/cart/${name}`, withForm(post));
  }
  pages.post('/cart/empty', ({ session }) => {
    session.delete('cart');
    return seeOther('/cart');
  });
}

function cartPage(request: CartRequest, error?: string, note?: string): HttpResponse {
  const cart = request.session.get('cart') ?? EMPTY();
  const button = (path: string, id: string, label: string, content?: Html): Html =>
    form(request, `/cart/${path}`, html`<input type="hidden" name="item" value="${id}">${content}
<button aria-label="${label}: ${CATALOGUE.get(id)?.name ?? id}">${label}</button>`);
  const quantity = (n: number): Html =>
    html`<input type="number" name="quantity" min="1" max="${MAX_QUANTITY}" value="${n}" aria-label="Quantity">`;
  const items = Object.entries(cart.items).map(([id, n]) => html`<li>
<strong>${CATALOGUE.get(id)?.name ?? id}</strong> ${n} for ${euros(n * (CATALOGUE.get(id)?.cents ?? 0))}
${button('change', id, 'Change', quantity(n))}${button('remove', id, 'Remove')}</li>`);
  const offers = [...CATALOGUE].map(([id, { name, cents }]) => html`<li>
<strong>${name}</strong> ${euros(cents)} ${button('add', id, 'Add')}</li>`);
  const contents = html`<ul class="lines">${items}</ul>
<p class="total">Total: ${euros(totalOf(cart))}</p>
${form(request, '/cart/empty', html`<button class="quiet">Empty the cart</button>`)}`;
  const noteFields = html`<label>Note <textarea name="note" rows="3" maxlength="2000">
${note ?? cart.note}</textarea></label><button>Save the note</button>`;
  const main = html`${error && html`<p class="flash error" role="alert">${error}</p>`}<h1>Cart</h1>
${items.length > 0 ? contents : html`<p>Your cart is empty.</p>`}
<h2>Catalogue</h2><ul class="lines">${offers}</ul>
<h2>A note for the shop</h2>${form(request, '/cart/note', noteFields)}`;
  return page('Cart', main, error === undefined ? 200 : 422);
}

const euros = (cents: number): string => `€ ${(cents / 100).toFixed(2)}`;
const EMPTY = (): Cart => ({ items: {}, note: '' });

/** The site of this step. A note that is too long for the cookie is a 500: step 19 fixes it. */
export function site(): Handler {
  const factory = new SignedCookieSessionFactory({ ...DEMO, sessionClass: CsrfSession<CartData> });
  const router = addStyle(new Router());
  addCart(RouteGroup.of(router).with(sessionFrom(factory)).with(withCsrf()));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 18', ['/cart']);
