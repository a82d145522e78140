// Step 30 · An API: what a token can do, and what logout means for it.
//
// A token is valid until it expires, whatever happens on the server. To revoke it, the server must
// look up its id in a deny-list: then the token costs the same lookup as a session. A browser never
// sends `Authorization: Bearer` by itself, so these routes need no protection against forged forms.
// The errors are those of RFC 6750 §3.1.
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpResponse, problem, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle } from './06-template.ts';
import { DEMO } from './09-tutorial.ts';
import type { RouteGroup } from './13-middleware.ts';
import { USERS } from './21-password.ts';
import type { UserRequest } from './22-login.ts';
import { MemoryStore } from './25-store.ts';
import { addDeviceSite } from './28-devices.ts';
import { addToken, type Claims, json, type JwtRules, jwtRules, verifyJwt } from './29-jwt.ts';

/** The ids of revoked tokens. Each is kept until its token would expire. */
export class DenyList {
  readonly #ends = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  add({ jti, exp = 0 }: Claims): void {
    for (const [old, end] of this.#ends) {
      if (end > this.#now()) break; // all tokens live equally long: the first expires first
      this.#ends.delete(old);
    }
    if (jti !== undefined) this.#ends.set(jti, exp + 60); // longer than any leeway
  }

  has(jti: string): boolean {
    return this.#ends.has(jti);
  }
}

/** Adds `/api/token` for users, and `/api/counter` and `/api/logout` for programs with a token. */
export function addApi(
  router: Router,
  pages: RouteGroup<UserRequest>,
  rules: JwtRules,
  users = USERS,
): void {
  addToken(pages, rules, users);
  const denied = new DenyList(rules.now ?? (() => Date.now() / 1000));
  const checked: JwtRules = { isDenied: (jti) => denied.has(jti), ...rules };
  const withToken = (inner: (claims: Claims) => HttpResponse): Handler => ({ headers }) => {
    const [, token] = /^Bearer +([\w.-]+)$/i.exec(headers.authorization ?? '') ?? [];
    if (token === undefined) return unauthorized('Bearer');
    const claims = verifyJwt(token, checked);
    const isUser = users.has(claims?.sub ?? ''); // the user may have been removed since
    return claims && isUser ? inner(claims) : unauthorized('Bearer error="invalid_token"');
  };
  const counts = new Map<string, number>();
  router.get('/api/counter', withToken(({ sub = '' }) => {
    counts.set(sub, (counts.get(sub) ?? 0) + 1);
    return json({ sub, count: counts.get(sub) });
  }));
  router.post('/api/logout', withToken((claims) => {
    denied.add(claims);
    return { status: 204, headers: {}, body: '' };
  }));
}

function unauthorized(challenge: string): HttpResponse {
  const headers = { 'www-authenticate': challenge };
  return problem(401, 'Send a valid token: Authorization: Bearer …', headers);
}

/** The site of this step. */
export function site(users = USERS): Handler {
  const router = addStyle(new Router());
  const { pages, handle } = addDeviceSite(router, new MemoryStore(), { users });
  addApi(router, pages, jwtRules(DEMO.secrets), users);
  return handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 30', ['/login']);
