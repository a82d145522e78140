// Step 18 · A shopping cart: data inside data, and the end of a cookie.
//
//   session = { "cart": { "items": { "tea": 2, "mug": 1 }, "note": "It is a present." } }
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import { type Html, html, page } from './06-template.ts';
import type { Session } from './07-session.ts';
import { checkText, fieldOf, form, type FormRequest, seeOther, withForm } from './12-forms.ts';
import { emptySite, type RouteGroup } from './13-middleware.ts';
import { CsrfSession, withCsrf } from './17-csrf.ts';

/** The cart of a visitor, without prices. */
export type Cart = {
  items: { [id: string]: number }; // the quantity of each product, from 1 to MAX_QUANTITY
  note: string; // for the shop
};

/** The part of a session that this step adds. */
export type CartData = { cart: Cart };

/** The products, with prices in cents. */
export const CATALOGUE: ReadonlyMap<string, { name: string; cents: number }> = new Map([
  ['tea', { name: 'Tea, a tin', cents: 495 }],
  ['honey', { name: 'Honey, a jar', cents: 610 }],
  ['mug', { name: 'Mug', cents: 1250 }],
  ['pot', { name: 'Teapot', cents: 3800 }],
]);

/** Returns a product. A product that is no longer sold has the price 0, and its id as its name. */
const productOf = (id: string) => CATALOGUE.get(id) ?? { name: id, cents: 0 };

export const MAX_QUANTITY = 99; // of each product

/** Returns the number of things in the cart. */
export const countOf = (session: Session<CartData>): number =>
  Object.values(session.get('cart')?.items ?? {}).reduce((sum, n) => sum + n, 0);

/** Returns the price of the cart in cents. */
export const totalOf = ({ items }: Cart): number =>
  Object.entries(items).reduce((sum, [id, n]) => sum + n * productOf(id).cents, 0);

type Action = (cart: Cart, id: string, form: URLSearchParams) => unknown;

/** The actions of the forms. An action changes a cart. It returns a text if there is an error. */
const CART_ACTIONS: Record<string, Action> = {
  add({ items }, id) {
    if (!CATALOGUE.has(id)) return 'This product is not in the catalogue.';
    if ((items[id] ?? 0) >= MAX_QUANTITY) return `The limit is ${MAX_QUANTITY} of each product.`;
    items[id] = (items[id] ?? 0) + 1;
    return undefined;
  },
  change({ items }, id, form) {
    const quantity = fieldOf(form, 'quantity'); // a text: Number('') is 0, and Number('1e1') is 10
    if (!Object.hasOwn(items, id)) return 'This product is not in your cart.';
    if (!/^[1-9]\d?$/.test(quantity)) return `Enter a whole number from 1 to ${MAX_QUANTITY}.`;
    items[id] = Number(quantity);
    return undefined;
  },
  remove: ({ items }, id) => delete items[id],
  empty: (cart) => Object.assign(cart, emptyCart()),
  note(cart, _id, form) {
    cart.note = fieldOf(form, 'note');
    return checkText('The note', cart.note, 0, 2000);
  },
};

type CartRequest = FormRequest & { session: Session<CartData>; form?: URLSearchParams };

/**
 * Adds `/cart` and a POST route for each action, such as `/cart/add`. The response redirects to
 * `/cart`. After an error, it is the page with status 422, and the session is unchanged.
 */
export function addCart<R extends CartRequest>(pages: RouteGroup<R>): void {
  pages.get('/cart', (request) => cartPage(request));
  for (const [name, action] of Object.entries(CART_ACTIONS)) {
    pages.post(`/cart/${name}`, withForm((request) => {
      const { session, form } = request;
      const id = fieldOf(form, 'item');
      const copy = structuredClone(session.get('cart')) ?? emptyCart();
      const error = action(copy, id, form); // dry run
      if (typeof error === 'string') return cartPage(request, error);
      session.update('cart', (cart = emptyCart()) => {
        action(cart, id, form);
        return cart;
      });
      return seeOther('/cart');
    }));
  }
}

const emptyCart = (): Cart => ({ items: {}, note: '' });

/** The cart and the catalogue. After an error, the form contains the typed note. */
function cartPage(request: CartRequest, error?: string): HttpResponse {
  const cart = request.session.get('cart') ?? emptyCart();
  /** A form with one button. */
  const button = (label: string, id: string, field?: Html): Html =>
    form(request, `/cart/${label.toLowerCase()}`, html`<input type="hidden" name="item"
value="${id}">${field}<button aria-label="${label}: ${productOf(id).name}">${label}</button>`);
  const lines = Object.entries(cart.items).map(([id, n]) => html`<li>
<strong>${productOf(id).name}</strong> ${n} for ${euros(n * productOf(id).cents)}
${button('Change', id, html`<input type="number" name="quantity" value="${n}" min="1"
max="${MAX_QUANTITY}" aria-label="Quantity: ${productOf(id).name}">`)}
${button('Remove', id)}</li>`);
  const offers = [...CATALOGUE].map(([id, { name, cents }]) => html`<li>
<strong>${name}</strong> ${euros(cents)} ${button('Add', id)}</li>`);
  const contents = html`<ul class="lines">${lines}</ul>
<p class="total">Total: ${euros(totalOf(cart))}</p>
${form(request, '/cart/empty', html`<button class="quiet">Empty the cart</button>`)}`;
  const note = html`<label>Note <textarea name="note" rows="3" maxlength="2000">
${request.form?.get('note') ?? cart.note}</textarea></label><button>Save the note</button>`;
  const main = html`${error && html`<p class="flash error" role="alert">${error}</p>`}<h1>Cart</h1>
${lines.length > 0 ? contents : html`<p>Your cart is empty.</p>`}
<h2>Catalogue</h2><ul class="lines">${offers}</ul>
<h2>A note for the shop</h2>${form(request, '/cart/note', note)}`;
  return page('Cart', main, error === undefined ? 200 : 422);
}

const euros = (cents: number): string => `€ ${(cents / 100).toFixed(2)}`;

/** The site of this step. */
export function site(): Handler {
  const { router, group, session } = emptySite(CsrfSession<CartData>);
  addCart(group.with(session).with(withCsrf()));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 18', ['/cart']);
