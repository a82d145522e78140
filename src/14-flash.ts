// Step 14 · Flash messages: a message that appears once, on the next page.
//
//   POST /articles → 303 → GET /articles, and there "Article saved", once
import { isMain, serve } from './01-server.ts';
import { type Handler, problem, toListener } from './04-http.ts';
import { html, Page } from './06-template.ts';
import { Session } from './07-session.ts';
import { addTutorial, type TutorialData } from './09-tutorial.ts';
import { fillSlot } from './10-inspector.ts';
import { addArticles } from './12-forms.ts';
import { emptySite, type Middleware } from './13-middleware.ts';

export const MAX_MESSAGES = 20; // in a queue; then the oldest is removed

/** A session with messages. A message can be any JSON value, as in Pyramid. */
export class FlashSession<Data extends object> extends Session<Data> {
  /**
   * Adds a message at the end of a queue, which keeps its newest 20 messages. Throws (see `set`) if
   * the message is not a JSON value.
   */
  flash(message: unknown, queue = ''): void {
    this.all.update(FLASH_KEY + queue, (messages) =>
      [...(Array.isArray(messages) ? messages : []), message].slice(-MAX_MESSAGES));
  }

  /** Returns the messages of a queue, the oldest first, and removes them. */
  popFlash(queue = ''): unknown[] {
    const messages = this.peekFlash(queue);
    this.all.delete(FLASH_KEY + queue);
    return messages;
  }

  /** Returns the messages of a queue, the oldest first, and keeps them. */
  peekFlash(queue = ''): unknown[] {
    const messages = this.all.get(FLASH_KEY + queue);
    return Array.isArray(messages) ? messages : [];
  }

  /** This session, but TypeScript allows each key. */
  protected get all(): Session {
    return this as unknown as Session;
  }
}

const FLASH_KEY = '_f_'; // Pyramid's key; the name of the queue follows

/** The queues that pages show. A screen reader reads an alert immediately, and a status later. */
const ROLES = Object.entries({ error: 'alert', success: 'status', info: 'status', '': 'status' });

/**
 * Appends the messages of these queues to the slot `notices`, errors first, and removes them from
 * the session: `<p class="flash info" role="status">Hello</p>`. A message that is not a string is
 * shown as JSON. A redirect, a failure, and a body that is not a `Page` stay as they are.
 */
export const withFlash: Middleware<object, { session: FlashSession<object> }> =
  (page) => async (request) => {
    const response = await page(request);
    const isSeen = response.status < 300 || (response.status >= 400 && response.status < 500);
    if (!isSeen || !(response.body instanceof Page)) return response;
    const { session } = request;
    const notices = ROLES.flatMap(([queue, role]) =>
      session.popFlash(queue).map((message) => {
        const text = typeof message === 'string' ? message : JSON.stringify(message);
        return html`<p class="flash ${queue}" role="${role}">${text}</p>\n`;
      }),
    );
    return notices.length > 0 ? fillSlot(response, 'notices', html`${notices}`) : response;
  };

/** Responds 503 to a request for a page that the browser loads in advance. */
export const rejectPrefetch: Middleware<object> = (page) => async (request) => {
  const { 'sec-purpose': secPurpose, purpose, 'x-moz': xMoz } = request.headers;
  const isPrefetch = [secPurpose, purpose, xMoz].some((value) => value?.startsWith('prefetch'));
  return isPrefetch ? problem(503, 'This page is not loaded in advance.') : page(request);
};

/** The site of this step: the pages of step 13. A saved article flashes a success message. */
export function site(): Handler {
  const { router, group, session } = emptySite(FlashSession<TutorialData>);
  const pages = group.with(rejectPrefetch).with(session).with(withFlash);
  addTutorial(pages);
  addArticles(pages, ({ session }) => session.flash('Article saved', 'success'));
  return router.handle;
}

if (isMain(import.meta.url)) serve(toListener(site()), 'Step 14', ['/articles', '/']);
