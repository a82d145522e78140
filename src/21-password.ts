// Step 21 · Passwords: a hash that is slow, salted, and limited in parallel.
//
//   stored = logN:salt:hash              scrypt (RFC 7914) with N = 2^logN blocks of 1 KiB
//
// Each guess is expensive (OWASP: Password Storage), also for this server. So it has a queue.

import { randomBytes, scrypt, type ScryptOptions, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, problem, toListener } from './04-http.ts';
import { html, page } from './06-template.ts';
import { Session } from './07-session.ts';
import { form, withForm } from './12-forms.ts';
import { emptySite } from './13-middleware.ts';
import { rescue } from './19-rescue.ts';

export const LOG_N = 17; // the first choice of OWASP for scrypt
const MAX_PARALLEL = 2; // hashes, of 128 MiB each
const MAX_WAITING = 50; // requests: the last one waits about 8 seconds

/** The client must wait before the next attempt. `message` is a sentence for the visitor. */
export class RetryLater extends Error {
  readonly status: number;
  readonly seconds: number;

  constructor(status: number, seconds: number, message: string) {
    super(message);
    this.status = status;
    this.seconds = seconds;
  }
}

/** If the page throws `RetryLater`, the response says how long to wait (RFC 9110 §10.2.3). */
export const withRetryLater = rescue(RetryLater, (_request, { status, seconds, message }) => {
  const time = seconds === 1 ? '1 second' : `${seconds} seconds`;
  return problem(status, `${message} Try again in ${time}.`, { 'retry-after': String(seconds) });
});

/** Returns `logN:salt:hash`, the last two in base64url. */
export async function hashPassword(password: string, logN = LOG_N): Promise<string> {
  const salt = randomBytes(16).toString('base64url');
  const hash = await derive(password, salt, logN);
  return `${logN}:${salt}:${hash.toString('base64url')}`;
}

/** Returns true if this password was hashed. Throws `RetryLater` if too many requests wait. */
export async function isPassword(password: string, hashed: string): Promise<boolean> {
  const [logN, salt = '', hash = ''] = hashed.split(':');
  const stored = Buffer.from(hash, 'base64url');
  const found = await derive(password, salt, Number(logN));
  return found.length === stored.length && timingSafeEqual(found, stored);
}

const scryptAsync = promisify<string, string, number, ScryptOptions, Buffer>(scrypt);
const waiting: (() => void)[] = []; // for all sites of this process
let running = 0;

async function derive(password: string, salt: string, logN: number): Promise<Buffer> {
  const text = password.normalize('NFKC'); // keyboards write é in two ways (NIST SP 800-63B)
  const N = 2 ** logN;
  const options = { N, maxmem: 1024 * (N + 3) }; // N blocks of 1 KiB, and three more
  if (waiting.length >= MAX_WAITING) throw new RetryLater(503, 10, 'Many visitors log in now.');
  if (running === MAX_PARALLEL) await new Promise<void>((resolve) => waiting.push(resolve));
  else running += 1;
  try {
    return await scryptAsync(text, salt, 32, options);
  } finally {
    const next = waiting.shift();
    if (next) next(); // it takes the place of this one
    else running -= 1;
  }
}

/** User names and the hashes of their passwords. Here, the password is the name, as in Pyramid. */
export const USERS: ReadonlyMap<string, string> = new Map([
  ['editor', '17:YxAKj2r17x4dhWf1tEDkZg:MfWUIs2Q--W_TtCi8IyYREFkefdUdaObxcuP1YzwWOM'],
  ['viewer', '17:gSw8NXNhbgBg4prN63trGg:PCr1NpeVLOgqnxjkz-P4XMdddEFICilnuEZEiDgv5kA'],
]);

/** Returns whether the password is right. Throws `RetryLater`. Step 23 uses the address. */
export type Authenticate = (name: string, password: string, address: string) => Promise<boolean>;

/** Returns a function that does the same work for an unknown name as for a known one. */
export function authenticator(users: ReadonlyMap<string, string>): Authenticate {
  const [decoy = `${LOG_N}::`] = users.values();
  return async (username, password) => {
    const isRight = await isPassword(password, users.get(username) ?? decoy);
    return isRight && users.has(username); // the decoy opens nothing
  };
}

/** The site of this step: a form for a password, and then its hash in a `code` element. */
export function site(): Handler {
  const { router, group } = emptySite(Session);
  const fields = html`<label>Password <input name="password" autocomplete="off"></label>
<button>Hash it</button>`;
  const show = (request: HttpRequest, hash?: string) => page('Hash', html`<h1>Hash</h1>
${form(request, '/', fields)}${hash && html`<p><code>${hash}</code></p>\n`}`);
  const pages = group.with(withRetryLater).get('/', (request) => show(request));
  pages.post('/', withForm(async (request) => {
    return show(request, await hashPassword(request.form.get('password') ?? ''));
  }));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 21', ['/']);
