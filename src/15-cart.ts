// Step 15 · A shopping cart: data inside data, and where a cookie ends.
//
//   session = { "cart": { "items": { "tea": 2, "mug": 1 }, "note": "It is a present." } }
//
// A page takes the cart out of the session and changes it where it is. Nobody calls `changed()`:
// step 10 compares what will be written with what was read. Two limits show. A cookie is full at
// 4096 bytes, and then the visitor must be told, and keep what there was. And two tabs that add at
// the same moment both start from the same cookie, so the later answer takes away the earlier one:
// a lost update, which no code on this page can prevent. Step 18 does, on the server.
import { isMain, serve } from './01-server.ts';
import { toListener, withForm } from './02-http.ts';
import type { Handler, HttpResponse } from './02-http.ts';
import type { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import type { Html } from './04-template.ts';
import type { Session } from './10-session.ts';
import { DEMO, SessionTooLarge } from './11-session-factory.ts';
import { SignedCookieSessionFactory, withSession } from './11-session-factory.ts';
import type { Mount, SessionRequest } from './11-session-factory.ts';
import { fieldOf, seeOther, withFlash } from './13-flash.ts';
import { site as protectedSite, withCsrf } from './14-csrf.ts';

export type Cart = {
  items: { [id: string]: number }; // how many of what, from 1 to MAX_QUANTITY
  note: string; // for the shop, from the visitor
};

/** Prices in cents: 0.1 + 0.2 is 0.30000000000000004, and 10 + 20 is 30. */
export const CATALOGUE: ReadonlyMap<string, { name: string; cents: number }> = new Map([
  ['tea', { name: 'Tea, a tin', cents: 495 }],
  ['honey', { name: 'Honey, a jar', cents: 610 }],
  ['mug', { name: 'Mug', cents: 1250 }],
  ['pot', { name: 'Teapot', cents: 3800 }],
]);

export const MAX_QUANTITY = 99;

type CartSession = Session<{ cart: Cart }>;
type CartRequest = SessionRequest<{ cart: Cart }>;
type CartForm = CartRequest & { form: URLSearchParams };

/** How many things are in the cart. */
export function countOf(session: CartSession): number {
  return Object.values(session.get('cart')?.items ?? {}).reduce((sum, n) => sum + n, 0);
}

/** What they cost together, in cents. A thing that is sold no more costs nothing, and is shown. */
export function totalOf(cart: Cart): number {
  const costs = Object.entries(cart.items).map(([id, n]) => n * (CATALOGUE.get(id)?.cents ?? 0));
  return costs.reduce((sum, cents) => sum + cents, 0);
}

/**
 * Mounts a page with another for when the session has no room for what it did: then nothing is
 * saved, and `whenFull` answers the same request with the session as it was.
 */
export function withRoom<Data extends object>(
  mount: Mount<Data>,
  whenFull: Handler<SessionRequest<Data>>,
): Mount<Data> {
  const full = mount(whenFull);
  return (inner) => {
    const mounted = mount(inner);
    return async (request) => {
      try {
        return await mounted(request);
      } catch (error) {
        if (error instanceof SessionTooLarge) return full(request);
        throw error;
      }
    };
  };
}

/** What a form does to a cart, or the reason in words why it must not. */
const CHANGES: Record<string, (cart: Cart, form: URLSearchParams) => string | undefined> = {
  '/cart/add': ({ items }, form) => {
    const id = fieldOf(form, 'item');
    if (!CATALOGUE.has(id)) return 'There is no such thing in the catalogue.';
    const quantity = (items[id] ?? 0) + 1;
    if (quantity > MAX_QUANTITY) return `You can have ${MAX_QUANTITY} of a thing at most.`;
    items[id] = quantity; // deep inside the session, and it is noticed
    return undefined;
  },
  '/cart/change': ({ items }, form) => {
    const [id, quantity] = [fieldOf(form, 'item'), fieldOf(form, 'quantity')];
    if (!Object.hasOwn(items, id)) return 'That is not in your cart.';
    if (!/^[1-9]\d?$/.test(quantity)) return `A quantity is whole, from 1 to ${MAX_QUANTITY}.`;
    items[id] = Number(quantity);
    return undefined;
  },
  '/cart/remove': ({ items }, form) => {
    delete items[fieldOf(form, 'item')]; // what is gone already is removed as well
    return undefined;
  },
  '/cart/note': (cart, form) => {
    const note = fieldOf(form, 'note');
    if (!NOTE.test(note)) return 'A note is plain text, of 2000 characters at most.';
    cart.note = note;
    return undefined;
  },
};

const NOTE = /^[^\0-\x08\x0b-\x1f\x7f-\x9f]{0,2000}$/u; // 2000 of '€' do not fit into a cookie

/** Adds `/cart`, and what its forms post to. */
export function addCart(router: Router, mount: Mount<{ cart: Cart }>): Router {
  const mountWithRoom = withRoom(mount, withForm(fullPage));
  for (const [path, change] of Object.entries(CHANGES)) {
    const save = ({ session, form }: CartForm): HttpResponse => {
      const fault = change(structuredClone(session.get('cart')) ?? emptyCart(), form); // on trial
      if (fault !== undefined) return refusedPage(session, form, fault);
      session.csrfToken(); // its room is taken now: the next page's forms cannot do without
      session.update('cart', (cart = emptyCart()) => {
        change(cart, form); // where it is, deep inside; a store may do it once more (step 18)
        return cart;
      });
      return seeOther('/cart');
    };
    router.post(path, mountWithRoom(withForm(save)));
  }
  const empty = ({ session }: CartRequest): HttpResponse => {
    session.delete('cart');
    return seeOther('/cart');
  };
  return router
    .post('/cart/empty', mount(empty))
    .get('/cart', mount(({ session }) => cartPage(session)), 'cart');
}

function fullPage({ session, form }: CartForm): HttpResponse {
  return refusedPage(session, form, 'There is no room for that. Your cart is as it was before.');
}

/** The cart as it is, what is wrong, and what was typed. */
function refusedPage(session: CartSession, form: URLSearchParams, fault: string): HttpResponse {
  session.flash(fault, 'error');
  return { ...cartPage(session, form.get('note') ?? undefined), status: 422 };
}

function cartPage(session: CartSession, typedNote?: string): HttpResponse {
  const cart = session.get('cart') ?? emptyCart();
  const main = html`<main>
<h1>Cart</h1>
${countOf(session) > 0 ? contentsOf(cart) : html`<p>Your cart is empty.</p>`}
<h2>Catalogue</h2>
<ul class="lines">${[...CATALOGUE].map(offerOf)}</ul>
<h2>A note for the shop</h2>
<form method="post" action="/cart/note">
<label>Note <textarea name="note" rows="3" maxlength="2000">
${typedNote ?? cart.note}</textarea></label>
<button>Keep the note</button>
</form>
</main>`;
  return page('Cart', main);
}

function contentsOf(cart: Cart): Html {
  return html`<ul class="lines">${Object.entries(cart.items).map(lineOf)}</ul>
<p class="total">Total: ${moneyOf(totalOf(cart))}</p>
<form method="post" action="/cart/empty"><button class="quiet">Empty the cart</button></form>`;
}

function lineOf([id, quantity]: [string, number]): Html {
  const { name, cents } = CATALOGUE.get(id) ?? { name: id, cents: 0 };
  return html`<li><strong>${name}</strong> ${quantity} for ${moneyOf(quantity * cents)}
<form method="post" action="/cart/change"><input type="hidden" name="item" value="${id}">
<input type="number" name="quantity" min="1" max="${MAX_QUANTITY}" value="${quantity}"
aria-label="Quantity: ${name}"><button aria-label="Change: ${name}">Change</button></form>
<form method="post" action="/cart/remove"><input type="hidden" name="item" value="${id}">
<button class="quiet" aria-label="Remove: ${name}">Remove</button></form></li>
`;
}

function offerOf([id, { name, cents }]: [string, { name: string; cents: number }]): Html {
  return html`<li><strong>${name}</strong> ${moneyOf(cents)}
<form method="post" action="/cart/add"><input type="hidden" name="item" value="${id}">
<button aria-label="Add: ${name}">Add</button></form></li>
`;
}

const moneyOf = (cents: number): string => `€ ${(cents / 100).toFixed(2)}`;
const emptyCart = (): Cart => ({ items: {}, note: '' });

/** The site of this step: step 14's, with a shop. */
export function site(
  factory = new SignedCookieSessionFactory<{ counter: number; cart: Cart }>(DEMO),
  mount: Mount<{ counter: number; cart: Cart }> = (inner) =>
    withSession(factory, withCsrf(withFlash(inner))),
): { router: Router; handle: Handler } {
  const { router, handle } = protectedSite(factory, mount);
  return { router: addCart(router, mount), handle };
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 15', '/cart', '/articles', '/');
