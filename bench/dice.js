// Hostile random input. The same seed always creates the same input (mulberry32, T. Ettinger 2017).
const NASTY = [
  '', ' ', '\t', '\0', '\r\n', '"', "'", ';', '; ', '=', ',', '&', '%', '%zz', '%20', '%C3%A9', '+', '/', '..',
  '\\', 'é', '日本', '🍪', '\ud800', '__proto__', 'constructor', 'session', '1e999', '-0', 'null', '[]', '{}', '.',
];

export function makeDice(seed) {
  let state = seed >>> 0;
  const below = (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
  const pick = (items) => items[below(items.length)];
  const many = (most, make) => Array.from({ length: below(most + 1) }, make);
  const word = () => String.fromCharCode(...many(6, () => 97 + below(26)));
  const text = () => many(4, () => (below(2) ? pick(NASTY) : word())).join('');
  // No key has only one character: JSON.parse of V8 has a bug with such keys. After it has seen a
  // backslash as a key, Node 24 and 26 read the key of {"\\t": 1} as a backslash, too
  // (github.com/nodejs/node/issues/63785).
  const key = () => {
    const name = text();
    return name.length === 1 ? name + name : name;
  };
  const json = (depth = 0) => {
    const plain = [text(), below(1e6), -1.5, 1e300, 2 ** 53, true, false, null];
    if (depth === 3 || below(3) > 0) return pick(plain);
    if (below(2)) return many(3, () => json(depth + 1));
    return Object.fromEntries(many(3, () => [key(), json(depth + 1)]));
  };
  /** Returns a text with one character removed, doubled or replaced. */
  const damaged = (whole) => {
    const at = below(whole.length);
    const put = pick(['', whole[at] + whole[at], whole[below(whole.length)], pick(NASTY)]);
    return whole.slice(0, at) + put + whole.slice(at + 1);
  };
  /** Returns the items in another order. */
  const shuffled = (items) =>
    items.map((item) => ({ item, at: below(2 ** 32) })).sort((a, b) => a.at - b.at).map(({ item }) => item);
  return { below, pick, many, word, text, key, json, damaged, shuffled };
}
