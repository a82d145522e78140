// Step 30 · An API: what a token can do, and what logout means for it.
//
//   Authorization: Bearer eyJhbGciOi…                               request
//   WWW-Authenticate: Bearer realm="api", error="invalid_token"     response 401 (RFC 6750 §3)
//
import { isMain, serve } from './01-server.ts';
import { type Awaitable, type Handler, type HttpResponse, problem, toListener } from './04-http.ts';
import type { Router } from './05-router.ts';
import { DEMO } from './09-tutorial.ts';
import type { RouteGroup } from './13-middleware.ts';
import { USERS } from './21-password.ts';
import type { UserRequest } from './22-login.ts';
import { hashId, MemoryStore, type SessionStore } from './25-store.ts';
import { rescueStore } from './27-sqlite.ts';
import { makeDeviceSite } from './28-devices.ts';
import { addToken, type Claims, json, type JwtRules, jwtRules, verifyJwt } from './29-jwt.ts';

/** Returns the key of a revoked token. No id contains a space, so no cookie can open its entry. */
const revokedKey = ({ jti }: Claims): string => hashId(`revoked ${jti}`);

/**
 * Adds `/api/token` for users, and `/api/counter` and `/api/logout` for programs with a token.
 * `denied` keeps the revoked tokens until they expire. A full `MemoryStore` deletes some of them.
 */
export function addApi(
  router: Router,
  pages: RouteGroup<UserRequest>,
  rules: JwtRules,
  denied: SessionStore,
  users = USERS,
): void {
  addToken(pages, rules, users);
  const withToken = (inner: (claims: Claims) => Awaitable<HttpResponse>): Handler =>
    rescueStore(async ({ headers }) => {
      const [, token] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '') ?? [];
      if (token === undefined) return unauthorized(''); // an error code needs a token
      const claims = verifyJwt(token, rules);
      const isUser = users.has(claims?.sub ?? ''); // the operator can remove a user
      const isValid = claims && isUser && !(await denied.get(revokedKey(claims)));
      return isValid ? inner(claims) : unauthorized(', error="invalid_token"');
    });
  const counts = new Map<string, number>(); // by user
  router.get('/api/counter', withToken(({ sub = '' }) => {
    counts.set(sub, (counts.get(sub) ?? 0) + 1);
    return json({ sub, count: counts.get(sub) });
  }));
  router.post('/api/logout', withToken(async (claims) => {
    const expires = Number(claims.exp) + 60; // a minute is longer than the leeway
    await denied.put(revokedKey(claims), { text: '', expires }, 0);
    return { status: 204, headers: {}, body: '' };
  }));
}

function unauthorized(error: string): HttpResponse {
  const headers = { 'www-authenticate': `Bearer realm="api"${error}` };
  return problem(401, 'Send a valid token: Authorization: Bearer …', headers);
}

/** Lets scripts on the pages of these origins call the API with a token and read the response. */
export function withCors(origins: readonly string[], inner: Handler): Handler {
  return async (request) => {
    const response = await inner(request);
    const { path, headers: { origin = '' } } = request;
    if (!path.startsWith('/api/')) return response;
    const allow = origins.includes(origin) && {
      'access-control-allow-origin': origin, // and no header that allows credentials
      'access-control-allow-headers': 'authorization',
    };
    const vary = response.headers.vary ? `${response.headers.vary}, Origin` : 'Origin';
    return { ...response, headers: { ...response.headers, vary, ...allow } };
  };
}

/** The site of this step. Step 1 on port 7000 is another origin, for experiments. */
export function site(users = USERS, origins = ['http://localhost:7000']): Handler {
  const { router, pages, handle } = makeDeviceSite(new MemoryStore(), { users });
  addApi(router, pages, jwtRules(DEMO.secrets), new MemoryStore(), users);
  return withCors(origins, handle);
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 30', ['/login']);
