// The finished site: all steps together, configured by environment variables.
//
//   PORT, HOST, SESSION_SECRET, SESSION_COOKIE, SESSIONS, TRUSTED_ORIGINS, NODE_ENV
//
// README.md explains each of them.
import type { SignerOptions } from './03-signer.ts';
import { type Handler, type HttpResponse, toListener } from './04-http.ts';
import type { FactoryOptions, SessionFactory } from './08-session-factory.ts';
import { type Explain, explainSigned } from './10-inspector.ts';
import { SessionCookie, withTimeouts } from './11-timeouts.ts';
import { requireAcceptedCookie } from './15-jar.ts';
import { USERS } from './21-password.ts';
import { type SiteData, UserSession } from './22-login.ts';
import { makeUserSite } from './23-throttle.ts';
import { EncryptedCookieSessionFactory, explainSealed } from './24-encryption.ts';
import { explainStored, MemoryStore, type SessionStore } from './25-store.ts';
import { SqliteStore } from './27-sqlite.ts';
import { makeDeviceSite } from './28-devices.ts';
import { jwtRules } from './29-jwt.ts';
import { addApi, withCors } from './30-api.ts';
import { RedisClient } from './32-redis-client.ts';
import { RedisStore } from './33-redis-store.ts';
import { PUBLIC, withStatic } from './34-static.ts';
import { SECURITY_HEADERS } from './35-limits.ts';
import { isProgram, operate } from './38-operations.ts';
import { FastSessionFactory, sendFast } from './39-fast.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export const DEMO_SECRET = 'itsaseekreet'; // the secret of the tutorial: everyone knows it
const MIN_SECRET_LENGTH = 32; // characters: 128 bits, even in hexadecimal digits

/** The whole site. Throws a `RangeError` with an explanation if a variable has a wrong value. */
export function site(env: Environment = {}, now = () => Date.now() / 1000, users = USERS): Handler {
  const variable = (name: string): string => env[name]?.trim() ?? ''; // Windows and CRLF add spaces
  const mode = variable('NODE_ENV');
  if (!['', 'development', 'test', 'production'].includes(mode)) {
    throw reject('NODE_ENV', 'production, development, test or empty', mode);
  }
  const isProduction = mode === 'production';
  const secrets = readSecrets(variable('SESSION_SECRET') || DEMO_SECRET, isProduction);
  const cookieName = variable('SESSION_COOKIE') || (isProduction ? '__Host-session' : 'session');
  const cookie = new SessionCookie({ cookieName, secure: isProduction });
  const url = new URL(isProduction ? 'https://localhost' : 'http://localhost');
  requireAcceptedCookie(cookie.write(''), url);
  const trustedOrigins = listOf(variable('TRUSTED_ORIGINS')).filter((origin) => origin !== '');
  const kind = variable('SESSIONS') || 'signed';
  const explain = isProduction ? undefined : EXPLAIN[kind] ?? explainStored;
  const common = { explain, users, trustedOrigins, now };
  const options = { secrets, cookie, now, sessionClass: UserSession<SiteData> };
  const store = Object.hasOwn(EXPLAIN, kind) ? undefined : storeOf(kind, now);
  const { router, pages, handle } = store
    ? makeDeviceSite(store, { ...common, cookie })
    : makeUserSite({ ...common, factory: cookieSessions(kind, options) });
  const denied = store && kind !== 'memory' ? store : new MemoryStore({ now, maxEntries: 2 ** 22 });
  addApi(router, pages, jwtRules(secrets, now), denied, users);
  const headers = isProduction ? HTTPS_HEADERS : SECURITY_HEADERS;
  return withHeaders(headers, withStatic(PUBLIC, withCors(trustedOrigins, handle)));
}

const EXPLAIN: Record<string, Explain> = { signed: explainSigned(), encrypted: explainSealed };

type Sessions = SessionFactory<UserSession<SiteData>>;
type CookieSessionOptions = FactoryOptions<UserSession<SiteData>> & SignerOptions;

function cookieSessions(kind: string, options: CookieSessionOptions): Sessions {
  const Factory = kind === 'signed' ? FastSessionFactory : EncryptedCookieSessionFactory;
  return withTimeouts(new Factory(options), options);
}

function storeOf(kind: string, now: () => number): SessionStore {
  const [scheme = '', rest = ''] = kind.split(/:(.*)/s);
  if (kind === 'memory') return new MemoryStore({ now });
  if (scheme === 'sqlite' && rest !== '') return new SqliteStore(rest, now);
  try {
    if (/^rediss?$/.test(scheme)) return new RedisStore(new RedisClient(kind), now);
  } catch {} // the message below fits better
  // Behind the scheme there may be a password, so the message shows only the scheme.
  throw reject('SESSIONS', 'signed, encrypted, memory, sqlite:FILE or redis://HOST', scheme);
}

function readSecrets(variable: string, isProduction: boolean): string[] {
  const secrets = listOf(variable);
  if (secrets.includes('')) throw new RangeError('Cannot start: SESSION_SECRET has an empty part');
  const isWeak = (secret: string): boolean =>
    secret === DEMO_SECRET || secret.length < MIN_SECRET_LENGTH;
  if (!isProduction || !secrets.some(isWeak)) return secrets;
  throw new RangeError(
    'Cannot start: in production, each part of SESSION_SECRET needs ' +
      `${MIN_SECRET_LENGTH} characters or more, and it must not be the secret of the tutorial. ` +
      'Create one: npm run secret',
  );
}

function listOf(variable: string): string[] {
  return variable.split(',').map((item) => item.trim());
}

function reject(name: string, rule: string, value: string): RangeError {
  return new RangeError(`Cannot start: ${name} must be ${rule}, not ${JSON.stringify(value)}`);
}

/** In production, the site is behind https. Browsers read these two headers only there. */
const HTTPS_HEADERS = {
  ...SECURITY_HEADERS,
  'strict-transport-security': 'max-age=31536000; includeSubDomains', // https only, for a year
  'cross-origin-opener-policy': 'same-origin', // another window cannot control this one
};

/** Adds the headers that a response does not have. */
function withHeaders(common: HttpResponse['headers'], inner: Handler): Handler {
  return async (request) => {
    const response = await inner(request);
    return { ...response, headers: Object.assign({}, common, response.headers) };
  };
}

if (isProgram(import.meta.url)) {
  try {
    const paths = ['/', '/articles', '/cart', '/login'];
    operate(toListener(site(process.env), sendFast), 'Sessions from Scratch', paths);
  } catch (error) {
    const isOwn = error instanceof RangeError || error instanceof TypeError; // it explains itself
    console.error(isOwn ? error.message : error);
    process.exitCode = 1;
  }
}
