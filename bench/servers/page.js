// The page that each server of this bench renders: the page of step 9, byte for byte.
import { readFileSync } from 'node:fs';

export const SECRET = 'a secret of thirty-two characters';
export const PORT = Number(process.env.PORT);
export const listening = () => console.log('listening');

export const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; " +
    "frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cache-control': 'private, no-cache',
  vary: 'Cookie',
};

const page = readFileSync(new URL('page.html', import.meta.url), 'utf8');
const [before, after] = page.split('{count}');
export const render = (count) => before + count + after;
