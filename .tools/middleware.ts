// Middleware for the tests of step 13: one that adds a name, and one that needs a session.
import type { Middleware } from '../src/13-middleware.ts';
import type { Session } from '../src/07-session.ts';
import { bodyText } from './request.ts';

/** Returns middleware that adds its name to the list of the request, and to the response. */
export function named(name: string): Middleware<{ names: string[] }> {
  return (page) => async (request) => {
    const before = (request as { names?: string[] }).names ?? [];
    const response = await page({ ...request, names: [...before, name] });
    return { ...response, body: `${bodyText(response)} ${name}` };
  };
}

/** Middleware that reads the session, as flash messages do in step 14. */
export const withGreeting: Middleware<{ greeting: string }, { session: Session<{ name: string }> }> =
  (page) => (request) =>
    page({ ...request, greeting: `Hello ${request.session.get('name') ?? 'visitor'}` });
