// Folders for the tests of static files. They are deleted when the process ends.
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Handler, HttpResponse } from '../src/04-http.ts';
import { witness } from './explain.ts';
import { deleteAtExit } from './plain.ts';
import { makeRequest } from './request.ts';

/** Creates a folder with these files: their paths, and what they contain. Returns its path. */
export function makeFolder(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'sessions-'));
  deleteAtExit(folder);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

/** Sends one request to a handler. A failing test shows it. */
export async function ask(
  handler: Handler,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<HttpResponse> {
  return witness(handler)(makeRequest(method, path, headers));
}
