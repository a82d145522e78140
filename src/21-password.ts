// Step 21 · Passwords: a hash that is slow, salted, and limited in parallel.
//
//   stored = logN : salt : hash                  scrypt (RFC 7914), N = 2^logN, r = 8, p = 1
//
// If a user file is stolen, the attacker guesses passwords offline. scrypt makes each guess cost 128
// MiB and a third of a second (OWASP: Password Storage). It costs this server the same, so the
// server runs two at a time, and lets a limited number of requests wait.
import { randomBytes, scrypt, type ScryptOptions, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { isMain, serve } from './01-server.ts';
import { type HttpRequest, type HttpResponse, problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import { form, withForm } from './12-forms.ts';

export const LOG_N = 17; // the first choice of OWASP for scrypt
const MAX_PARALLEL = 2; // hashes: 128 MiB each, and half of the four threads of Node
const MAX_WAITING = 50; // requests that wait for a hash; then the server rejects the next ones

/** Too many passwords wait to be hashed. The client can try again later. */
export class PasswordsBusy extends Error {}

/** Returns `logN:salt:hash`, with salt and hash in base64url. Two equal passwords look different. */
export async function hashPassword(password: string, logN = LOG_N): Promise<string> {
  const salt = randomBytes(16).toString('base64url');
  return `${logN}:${salt}:${await derive(password, salt, logN)}`;
}

/** Returns true if this password was hashed. Throws `PasswordsBusy`. */
export async function isPassword(password: string, hashed: string): Promise<boolean> {
  const [logN, salt = '', hash = ''] = hashed.split(':');
  const found = await derive(password, salt, Number(logN));
  return found.length === hash.length && timingSafeEqual(Buffer.from(found), Buffer.from(hash));
}

const scryptAsync = promisify<string, string, number, ScryptOptions, Buffer>(scrypt);
const waiting: (() => void)[] = []; // one queue for the process, because its memory is one
let running = 0;

async function derive(password: string, salt: string, logN: number): Promise<string> {
  if (waiting.length >= MAX_WAITING) throw new PasswordsBusy('Too many passwords are waiting');
  if (running === MAX_PARALLEL) await new Promise<void>((resolve) => waiting.push(resolve));
  else running += 1;
  const [N, r] = [2 ** logN, 8];
  const options = { N, r, p: 1, maxmem: 128 * r * (N + 3) }; // Node's default limit is 32 MiB
  const text = password.normalize('NFKC'); // keyboards write é in two ways (NIST SP 800-63B)
  try {
    return (await scryptAsync(text, salt, 32, options)).toString('base64url');
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

/** Returns whether the password is right, or an error response. */
export type Authenticate = (
  username: string,
  password: string,
  address: string,
) => Promise<boolean | HttpResponse>;

/** Checks a password. For an unknown name it takes as long as for a known one. */
export function authenticator(users: ReadonlyMap<string, string>): Authenticate {
  const [decoy = `${LOG_N}::`] = users.values();
  return async (username, password) => {
    try {
      return (await isPassword(password, users.get(username) ?? decoy)) && users.has(username);
    } catch (error) {
      if (error instanceof PasswordsBusy) return retryLater(503, 10);
      throw error;
    }
  };
}

/** Returns an error response that says when the client may try again. */
export function retryLater(status: number, seconds: number): HttpResponse {
  const detail = `Too many attempts to log in. Try again in ${seconds} seconds.`;
  return problem(status, detail, { 'retry-after': String(seconds) });
}

/** The site of this step: it hashes a password twice, and the results differ. */
export function site(): Router {
  const show = async (request: HttpRequest, password?: string): Promise<HttpResponse> => {
    const hashes = [];
    for (let i = 0; password !== undefined && i < 2; i++) hashes.push(await hashPassword(password));
    const fields = html`<label>Password <input name="password"></label><button>Hash it twice</button>`;
    return page('Hash', html`<h1>Hash</h1>
${form(request, '/', fields)}${hashes.map((hash) => html`<p><code>${hash}</code></p>`)}`);
  };
  return addStyle(new Router())
    .get('/', (request) => show(request))
    .post('/', withForm((request) => show(request, request.form.get('password') ?? '')));
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 21', ['/']);
