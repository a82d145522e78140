// Step 6 · A view class, and the first counter: a variable.
//
// Pyramid groups pages that belong together in a class, made anew for each request. Both pages here
// share one template, and one property, `counter`, that counts when it is read. Where the count is
// kept is the question of this whole course, so `counter` is all that later steps override. In this
// first attempt it is a variable of the process: everybody shares it, and a restart forgets it.
import { isMain, serve } from './01-server.ts';
import { toListener } from './02-http.ts';
import type { HttpRequest, HttpResponse } from './02-http.ts';
import { Router } from './03-router.ts';
import { html, page } from './04-template.ts';
import { addStaticFiles, PUBLIC } from './05-static.ts';

let visits = 0;

/** The two pages of Pyramid's tutorial. An object of this class serves one request. */
export class TutorialViews<R extends HttpRequest = HttpRequest> {
  readonly request: R;
  /** Headers that a view wants on its response, as Pyramid's `request.response.headers`. */
  readonly headers: Record<string, string | string[]> = {};

  constructor(request: R) {
    this.request = request;
  }

  /** The number of this visit, from 1. Reading it counts the visit, as in the original. */
  get counter(): number {
    if (this.request.method === 'HEAD') return visits + 1; // a look at the headers is no visit
    visits += 1;
    return visits;
  }

  home(): HttpResponse {
    return this.render('Home View');
  }

  hello(): HttpResponse {
    return this.render('Hello View');
  }

  render(name: string): HttpResponse {
    const response = page(
      `Quick Tutorial: ${name}`,
      html`<main>
<h1>Hi ${name}</h1>
<p>Count: ${this.counter}</p>
</main>`,
    );
    if (Object.keys(this.headers).length === 0) return response;
    return { ...response, headers: { ...response.headers, ...this.headers } };
  }
}

/** The site of this step: the tutorial's two routes, under their names in the original. */
export function site(): Router {
  return addStaticFiles(new Router(), PUBLIC)
    .get('/', (request) => new TutorialViews(request).home(), 'home')
    .get('/howdy', (request) => new TutorialViews(request).hello(), 'hello');
}

if (isMain(import.meta.url)) serve(toListener(site().handle), 'Step 6', '/', '/howdy');
