// Step 9 · Pyramid's tutorial, step 17, complete.
import { isMain, serve } from './01-server.ts';
import { type Handler, type HttpRequest, type HttpResponse, toListener } from './04-http.ts';
import { Router } from './05-router.ts';
import { addStyle, html, page } from './06-template.ts';
import { Session } from './07-session.ts';
import { SignedCookieSessionFactory, withSession } from './08-session-factory.ts';
import type { SessionFactory } from './08-session-factory.ts';

/** The data in the session of the tutorial. */
export type TutorialData = { counter: number };

/** A request with a session. `Data` names the keys of the session and their types. */
export type SessionRequest<Data extends object> = HttpRequest & { session: Session<Data> };

/** The two pages of the tutorial. */
export class TutorialViews {
  readonly request: SessionRequest<TutorialData>;

  constructor(request: SessionRequest<TutorialData>) {
    this.request = request;
  }

  /** The number of this visit. Reading it counts the visit, as in the original. */
  get counter(): number {
    const { session } = this.request;
    session.update('counter', (counter = 0) => counter + 1);
    return session.get('counter') ?? 1;
  }

  /** Returns the page at `/`, for 'Home View'. */
  home(): HttpResponse {
    return this.render('Home View');
  }

  /** Returns the page at `/howdy`, for 'Hello View'. */
  hello(): HttpResponse {
    return this.render('Hello View');
  }

  /** Returns the page with the template of the tutorial. Reads `counter` one time. */
  render(name: string): HttpResponse {
    const main = html`<h1>Hi ${name}</h1>\n<p>Count: ${this.counter}</p>`;
    return page(`Quick Tutorial: ${name}`, main);
  }
}

/** Routes for pages with a request of type `R`. */
export type Pages<R extends HttpRequest> = { get(path: string, page: Handler<R>): unknown };

/** Adds the two pages. Each request gets its own object of `TutorialViews`. */
export function addTutorial(pages: Pages<SessionRequest<TutorialData>>): void {
  pages.get('/', (request) => new TutorialViews(request).home());
  pages.get('/howdy', (request) => new TutorialViews(request).hello());
}

/** The secret of the tutorial. Everyone can read it. */
export const DEMO = { secrets: ['itsaseekreet'] };

const demo = { ...DEMO, sessionClass: Session<TutorialData> };

/** The tutorial with any kind of session. The default is a signed cookie. */
export function site(
  factory: SessionFactory<Session<TutorialData>> = new SignedCookieSessionFactory(demo),
): Router {
  const router = addStyle(new Router());
  addTutorial({ get: (path, page) => router.get(path, withSession(factory)(page)) });
  return router;
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 9', ['/', '/howdy']);
