// Step 13 · Middleware: a group of routes with one list of wrappers.
//
// The compiler finds a page that needs more than the group adds.
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle } from './06-template.ts';
import { Session } from './07-session.ts';
import type { FactoryOptions, SessionFactory } from './08-session-factory.ts';
import { SignedCookieSessionFactory, withSession } from './08-session-factory.ts';
import { addTutorial, DEMO, type TutorialData } from './09-tutorial.ts';
import { withTimeouts } from './11-timeouts.ts';
import { addArticles } from './12-forms.ts';

/**
 * Wraps a page. The page receives `Added` in its request. The middleware itself reads `Needed`. No
 * code sets `needs`: only the compiler uses it.
 */
export type Middleware<Added, Needed = unknown> = {
  <R extends HttpRequest & Needed>(page: Handler<R & Added>): Handler<R>;
  readonly needs?: ((request: Needed) => void) | undefined;
};

/** Routes with the same middleware. `R` is the type of the request that their pages receive. */
export class RouteGroup<R extends HttpRequest = HttpRequest> {
  readonly #router: Router;
  /** Wraps a page in the middleware of the group. */
  readonly wrap: (page: Handler<R>) => Handler;

  private constructor(router: Router, wrap: (page: Handler<R>) => Handler) {
    this.#router = router;
    this.wrap = wrap;
  }

  /** Returns a group without middleware. */
  static of(router: Router): RouteGroup {
    return new RouteGroup(router, (page) => page);
  }

  /** Returns a new group with one more middleware, inside all others. */
  with<Added>(middleware: Middleware<Added, R>): RouteGroup<R & Added> {
    return new RouteGroup<R & Added>(this.#router, (page) => this.wrap(middleware<R>(page)));
  }

  /** Adds a wrapped page for GET. Returns the group. */
  get(path: string, page: Handler<R>): this {
    this.#router.get(path, this.wrap(page));
    return this;
  }

  /** Adds a wrapped page for POST. Returns the group. */
  post(path: string, page: Handler<R>): this {
    this.#router.post(path, this.wrap(page));
    return this;
  }
}

/** Returns middleware that adds `session` to the request. */
export function sessionFrom<S extends Session<object>>(
  factory: SessionFactory<S>,
): Middleware<{ session: S }> {
  return withSession(factory);
}

/**
 * Returns a router with the style sheet, a group without middleware, a factory of signed sessions
 * with timeouts, and the middleware that opens these sessions.
 */
export function emptySite<S extends Session<object>>(sessionClass: SessionClass<S>) {
  const factory = withTimeouts(new SignedCookieSessionFactory({ ...DEMO, sessionClass }));
  const router = addStyle(new Router());
  return { router, group: RouteGroup.of(router), factory, session: sessionFrom(factory) };
}

type SessionClass<S> = FactoryOptions<S>['sessionClass'];

/** The site of this step. */
export function site(): Router {
  const { router, group, session } = emptySite(Session<TutorialData>);
  const pages = group.with(session);
  addTutorial(pages);
  addArticles(pages);
  return router;
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 13', ['/', '/articles']);
