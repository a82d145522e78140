// The finished site: the steps put together, in one frame, set up by the environment.
//
//   PORT, HOST       where to listen (step 1)
//   SESSION_SECRET   the secret; several with commas between, the newest first (step 9)
//   SESSIONS         where sessions are kept: signed, in a cookie (step 11)
//   NODE_ENV         production: Secure cookies, no inspector, and no start with the printed secret
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { Handler } from './02-http.ts';
import { html, page } from './04-template.ts';
import { site as tutorial, SignedCookieSessionFactory } from './11-session-factory.ts';
import { site as inspected } from './12-inspector.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export const DEMO_SECRET = 'itsaseekreet'; // the original's; printed in every copy, so no secret
const MIN_SECRET_LENGTH = 32; // characters: 128 bits even when they are hexadecimal digits

/** The whole site. Throws a `RangeError` in words for an environment that it cannot work in. */
export function site(env: Environment = {}, now?: () => number): { handle: Handler } {
  const isProduction = env.NODE_ENV === 'production';
  const factory = new SignedCookieSessionFactory<{ counter: number }>({
    secrets: secretsOf(env, isProduction),
    secure: isProduction,
    ...(now && { now }),
  });
  const kind = env.SESSIONS || 'signed';
  if (kind !== 'signed') {
    throw new RangeError(`Cannot start: SESSIONS must be signed: it is ${JSON.stringify(kind)}`);
  }
  const pages = isProduction ? tutorial(factory) : inspected(factory);
  return { handle: withFrame(withErrorPages(pages.handle), !isProduction) };
}

function secretsOf(env: Environment, isProduction: boolean): string[] {
  const secrets = (env.SESSION_SECRET || DEMO_SECRET).split(',').map((secret) => secret.trim());
  if (secrets.includes('')) throw new RangeError('Cannot start: SESSION_SECRET has an empty part');
  const weak = secrets.find((s) => s === DEMO_SECRET || s.length < MIN_SECRET_LENGTH);
  if (isProduction && weak !== undefined) {
    throw new RangeError(
      `Cannot start: in production each part of SESSION_SECRET must be ${MIN_SECRET_LENGTH} ` +
        'characters or more, and not the printed one. Make one: openssl rand -hex 32',
    );
  }
  return secrets;
}

/** Puts a refusal in words into a page, where a browser asked for one. */
export function withErrorPages(inner: Handler): Handler {
  return async (request) => {
    const response = await inner(request);
    const wantsPage = request.headers.accept?.includes('text/html');
    if (response.status < 400 || typeof response.body !== 'string' || !wantsPage) return response;
    const [title = '', detail = ''] = response.body.split('\n\n');
    const body = html`<main><h1>${title}</h1><p>${detail}</p></main>`;
    const framed = page(title, body, response.status);
    return { ...framed, headers: { ...response.headers, ...framed.headers } };
  };
}

/** Puts the site's header and footer around the page that `inner` made. */
export function withFrame(inner: Handler, hasInspector: boolean): Handler {
  const links = [
    ['/', 'Home'],
    ['/howdy', 'Howdy'],
    ...(hasInspector ? [['/inspect', 'Inspector']] : []),
  ] as const;
  return async (request) => {
    const response = await inner(request);
    const { body } = response;
    if (typeof body !== 'string' || !body.startsWith('<!doctype')) return response;
    const header = html`<body>
<header><a class="skip" href="#content">To the content</a>
<strong>Sessions from Scratch</strong>
<nav aria-label="Pages">${links.map(
      ([path = '', name]) =>
        html`<a href="${path}"${path === request.path && html` aria-current="page"`}>${name}</a>`,
    )}</nav></header>`;
    const framed = body
      .replace('<body>', () => String(header))
      .replace('<main>', '<main id="content" tabindex="-1">');
    return { ...response, body: framed };
  };
}

if (isMain(import.meta.url)) {
  try {
    const { handle } = site(process.env);
    serve(toListener(handle), 'Sessions from Scratch', '/', '/howdy');
  } catch (error) {
    console.error(error instanceof RangeError ? error.message : error);
    process.exitCode = 1;
  }
}
