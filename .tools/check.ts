// The checks of `npm run turn` are tests with short messages. A message shows the expected value and
// the received value.
import { AssertionError, fail } from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { it, type TestContext } from 'node:test';
import { inspect, isDeepStrictEqual } from 'node:util';
import type { HttpResponse } from '../src/04-http.ts';
import { bodyText } from './request.ts';

const MAX_SHOWN = 300; // characters

/** Adds a test. If the code under test throws, the message names the line of the module. */
export function check(title: string, run: (t: TestContext) => unknown): void {
  void it(title, async (t) => {
    try {
      await run(t);
    } catch (error) {
      if (error instanceof AssertionError || !(error instanceof Error)) throw error;
      const [place] = /src[\\/][\w-]+\.[jt]s:\d+/.exec(error.stack ?? '') ?? [];
      fail(`${error.name}: ${error.message}${place ? `, at ${place}` : ''}`);
    }
  });
}

/** Fails unless both values are equal. */
export function expectEqual(what: string, received: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(received, expected)) report(what, show(expected), show(received));
}

/**
 * Fails unless both values are equal. The exercise asks the reader to predict the value, so the
 * message does not show it.
 */
export function expectPredicted(what: string, received: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(received, expected)) report(what, PREDICTION, show(received));
}

const PREDICTION = '(your prediction)';

/** Fails unless the text contains all parts. */
export function expectParts(what: string, text: string, ...parts: string[]): void {
  for (const part of parts) {
    if (!text.includes(part)) report(what, `a text with: ${part}`, show(text));
  }
}

function report(what: string, expected: string, received: string): never {
  return fail(`${what}\n  expected: ${expected}\n  received: ${received}`);
}

function show(value: unknown): string {
  const options = { breakLength: Infinity, compact: true };
  const text = typeof value === 'string' ? value : inspect(value, options);
  const line = text.replace(/\s+/g, ' ').trim() || '(nothing)';
  return line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN)}… (cut here)` : line;
}

/** Returns what a visitor reads: the content of a page without its tags, or a text as it is. */
export function shownText(response: HttpResponse): string {
  const body = bodyText(response);
  if (!String(response.headers['content-type']).startsWith('text/html')) return body;
  const main = /<main\b[^]*<\/main>/.exec(body)?.[0] ?? body;
  const words = main.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').trim();
  return words.replace(/&(?:quot|#39|lt|gt|amp);/g, (entity) => CHARACTERS[entity] ?? '');
}

const CHARACTERS: Record<string, string> =
  { '&quot;': '"', '&#39;': "'", '&lt;': '<', '&gt;': '>', '&amp;': '&' };

/** Starts a server until the test ends. Returns a function that sends a request to it. */
export async function startServer(t: TestContext, listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return (path: string, options = {}) => fetch(`http://127.0.0.1:${port}${path}`, options);
}
