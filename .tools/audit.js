// `audit()` runs in a page of the browser and returns its problems as lines of text.
// It checks these rules of WCAG 2.2: contrast (1.4.3, 1.4.11), reflow (1.4.10), title (2.4.2), focus
// (2.4.7, 2.4.13), size of a target (2.5.8), and language (3.1.1).

const MIN_TEXT = 4.5; // 1.4.3, for text of any size
const MIN_BORDER = 3; // 1.4.11, the border of a field
const MIN_RING = 2; // 2.4.13: CSS pixels
const MIN_TARGET = 24; // 2.5.8: CSS pixels, for a finger

/** Returns all problems. */
function audit() {
  const root = document.documentElement;
  const all = [...document.body.querySelectorAll('*')].filter((element) => isSeen(element));
  const faults = [];
  if (root.lang === '') faults.push('the page has no language');
  if (document.title.trim() === '') faults.push('the page has no title');
  for (const tag of ['h1', 'main', 'nav']) {
    const found = document.querySelectorAll(tag).length;
    if (found !== 1) faults.push(`${found} <${tag}>`);
  }
  if (root.scrollWidth > innerWidth) {
    const widest = all.reduce((a, b) => (rightOf(b) > rightOf(a) ? b : a));
    faults.push(`${root.scrollWidth} px wide in ${innerWidth} px, for ${nameOf(widest)}`);
  }
  for (const element of all) {
    for (const pseudo of [null, '::before']) {
      const style = getComputedStyle(element, pseudo);
      if (pseudo ? style.content === 'none' : !hasText(element)) continue;
      const ratio = contrast(style.color, backgroundOf(element));
      if (ratio < MIN_TEXT) faults.push(`${nameOf(element)} has contrast ${ratio.toFixed(2)}`);
    }
    if (element.matches('textarea, input:not([type=checkbox])')) {
      const border = getComputedStyle(element).borderTopColor;
      const ratio = contrast(border, backgroundOf(element.parentElement));
      if (ratio < MIN_BORDER) faults.push(`${nameOf(element)}: its border has ${ratio.toFixed(2)}`);
    }
    if (element.naturalWidth === 0) faults.push(`${nameOf(element)} is broken`);
    if (element.matches('button, summary, textarea, input, nav a')) {
      const target = element.type === 'checkbox' ? element.closest('label') : element;
      const { width, height } = (target ?? element).getBoundingClientRect();
      if (Math.min(width, height) < MIN_TARGET) faults.push(`${nameOf(element)} is too small`);
    }
  }
  return faults;
}

/** Returns the elements where the Tab key should stop, in the order of the page. */
function stops() {
  const focusable = 'a[href], button, summary, textarea, input:not([type=hidden])';
  return [...document.querySelectorAll(focusable)].filter((element) => isSeen(element));
}

/** Returns the place of the focus in this order, and the problems of the ring around it. */
function focus() {
  const element = document.activeElement;
  const { outlineStyle, outlineWidth, outlineOffset, outlineColor } = getComputedStyle(element);
  const { top, left, bottom, right } = element.getBoundingClientRect();
  const width = outlineStyle === 'none' ? 0 : parseFloat(outlineWidth);
  const ratio = contrast(outlineColor, backgroundOf(element.parentElement));
  const reach = width + parseFloat(outlineOffset); // from the element to the outer edge of the ring
  const isInside = Math.min(top, left, innerWidth - right, innerHeight - bottom) >= reach;
  const faults = [];
  if (width < MIN_RING) faults.push('no ring');
  if (ratio < MIN_BORDER) faults.push(`a ring of contrast ${ratio.toFixed(2)}`);
  if (!isInside) faults.push('not all in sight');
  return { index: stops().indexOf(element), name: nameOf(element), faults };
}

const isSeen = (element) => element.checkVisibility() && element.getClientRects().length > 0;
const rightOf = (element) => element.getBoundingClientRect().right;

function hasText(element) {
  if (element.matches('textarea, input:not([type=checkbox])')) return true; // the typed text
  return [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '');
}

/** `<a href="/cart"> Cart`, to find it by. */
function nameOf(element) {
  const [tag] = /^<[^>]*>/.exec(element.outerHTML) ?? [''];
  return `${tag} ${element.textContent.trim().slice(0, 30)}`.trim();
}

/** The first colour behind an element; no part of our pages is half transparent. */
function backgroundOf(element) {
  for (let here = element; here; here = here.parentElement) {
    const { backgroundColor } = getComputedStyle(here);
    if (channelsOf(backgroundColor)[3] !== 0) return backgroundColor;
  }
  return 'rgb(255, 255, 255)';
}

/** WCAG: (lighter + 0.05) / (darker + 0.05). */
function contrast(one, other) {
  const [dark, light] = [one, other].map(luminanceOf).sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

function luminanceOf(colour) {
  const [red, green, blue] = channelsOf(colour).map((channel) => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** `rgb(1, 2, 3)` or `rgba(1, 2, 3, 0)`, as computed styles are written, in numbers. */
function channelsOf(colour) {
  if (!colour.startsWith('rgb')) throw new Error(`Cannot read the colour ${colour}`);
  return colour.match(/[\d.]+/g).map(Number);
}
