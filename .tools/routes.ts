// A router whose pages show which pattern was found, for the tests of the router.
import { text } from '../src/04-http.ts';
import { Router } from '../src/05-router.ts';
import { given, witness } from './explain.ts';
import { bodyText, makeRequest } from './request.ts';

/** Returns a router. The page of each pattern shows the pattern and the parameters. */
export function routerOf(...patterns: string[]): Router {
  const router = new Router();
  for (const pattern of patterns) {
    router.get(given(pattern), ({ params }) => text(`${pattern} ${JSON.stringify(params)}`));
  }
  return router;
}

/** Returns the text of a page, or the status if there is no page. */
export async function visit(router: Router, path: string): Promise<string> {
  const response = await witness(router.handle)(makeRequest('GET', path));
  return response.status === 200 ? bodyText(response) : String(response.status);
}
