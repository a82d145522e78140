// The page that each server of this bench sends: the page of step 9, byte for byte.
import { readFileSync } from 'node:fs';

export const SECRET = 'this secret has 32 characters...';
export const PORT = Number(process.env.PORT);
export const listening = () => console.log('listening');

const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
export const HEADERS = JSON.parse(read('headers.json'));

const [before, after] = read('page.html').split('{count}');
export const render = (count) => before + count + after;
