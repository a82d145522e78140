import assert from 'node:assert/strict';
import { utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { ask, makeFolder } from '../.tools/folder.ts';
import { bodyText } from '../.tools/request.ts';
import { type Handler, problem } from '../src/04-http.ts';
import { fileHandler, withStatic } from '../src/34-static.ts';

const it = explainedIt(import.meta.url);
const CSS = 'body { color: teal }\n';
const LAST_MODIFIED = 'Fri, 15 Jan 2021 08:00:00 GMT';
const folder = makeFolder({ 'style.css': CSS });
utimesSync(join(folder, 'style.css'), new Date(LAST_MODIFIED), new Date(LAST_MODIFIED));

const inner: Handler = () => problem(404, 'There is no page.');
const files = (where = folder): Handler => withStatic(where, inner);

/** Checks the status for each value of one header. */
async function assertStatuses(
  header: string,
  table: [sent: string, status: number][],
  where = '',
): Promise<void> {
  for (const [sent, status] of table) {
    const response = await ask(files(), '/style.css', { [header]: sent });
    assert.equal(response.status, status, `${where}${header}: ${sent}`);
  }
}

describe('34-static: names and files', () => {
  it('withStatic() throws if the folder does not exist', () => {
    assert.throws(() => files(join(folder, 'absent')), { code: 'ENOENT' });
  });

  it('withStatic() treats a colon and a name such as constructor as ordinary', async () => {
    const names = process.platform === 'win32' ? [] : [':any', '12:30', 'a:b'];
    const where = makeFolder(Object.fromEntries([...names, 'constructor'].map((n) => [n, n])));
    for (const name of [...names, 'constructor']) {
      assert.equal(bodyText(await ask(files(where), `/${name}`)), name);
    }
    assert.equal((await ask(files(where), '/style.css')).status, 404, ':any is not a parameter');
    assert.equal((await ask(files(where), '/toString')).status, 404);
  });

  it('withStatic() finds each character of ASCII in a name, encoded or not', async () => {
    const forbidden = process.platform === 'win32' ? /[<>:"|?*\\]/ : /\//;
    const characters = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
    const names = characters.filter((c) => !forbidden.test(c) && c !== '/').map((c) => `x${c}y`);
    const where = makeFolder(Object.fromEntries(names.map((name) => [name, name])));
    const handler = files(where);
    for (const name of names) {
      const code = name.charCodeAt(1).toString(16);
      // A browser reads ? and # as the end of a path, \ as a slash, and % as an escape.
      const isSent = !/[?#%\\]/.test(name);
      const sent = isSent ? new URL(`http://localhost/${name}`).pathname : `/x%${code}y`;
      for (const path of [`/x%${code}y`, sent]) {
        assert.equal(bodyText(await ask(handler, path)), name, `GET ${path}`);
      }
    }
  });

  it('fileHandler() sends the content that the file had at the start', async () => {
    const where = makeFolder({ 'changing.txt': 'before' });
    const handler = fileHandler(join(where, 'changing.txt'));
    writeFileSync(join(where, 'changing.txt'), 'after, and longer');
    assert.equal(bodyText(await ask(handler, '/changing.txt')), 'before');
  });

  it('fileHandler() sends the whole file if a client asks for a range', async () => {
    for (const range of ['bytes=0-1', 'bytes=-1', 'bytes=99-', 'bytes=0-0,2-2', 'lines=1-2']) {
      const response = await ask(files(), '/style.css', { range });
      assert.deepEqual([response.status, bodyText(response)], [200, CSS], range);
    }
  });
});

describe('34-static: dates', () => {
  it('fileHandler() never sends a Last-Modified in the future', async (t) => {
    const now = Date.UTC(2021, 0, 15, 8, 0, 0, 250);
    t.mock.method(Date, 'now', () => now);
    const file = join(makeFolder({ 'ahead.txt': 'x' }), 'ahead.txt');
    for (const ahead of [0.5, 3600, 10 * 365 * 86_400]) {
      utimesSync(file, now / 1000 + ahead, now / 1000 + ahead);
      const handler = fileHandler(file);
      const { headers } = await ask(handler, '/ahead.txt');
      assert.equal(headers['last-modified'], LAST_MODIFIED, `a file with a date in ${ahead} s`);
      const conditions = { 'if-modified-since': LAST_MODIFIED };
      const { status } = await ask(handler, '/ahead.txt', conditions);
      assert.equal(status, 304, 'a copy of the file is still good');
    }
  });

  it('fileHandler() reads a date in each of the three formats (RFC 9110 §5.6.7)', async () => {
    await assertStatuses('if-modified-since', [
      ['Friday, 15-Jan-21 08:00:00 GMT', 304],
      ['Friday, 15-Jan-21 07:59:59 GMT', 200],
      ['Fri Jan 15 08:00:00 2021', 304],
      ['Fri Jan 15 07:59:59 2021', 200],
      ['Sat Feb  6 08:00:00 2021', 304],
      ['Sat Feb 06 08:00:00 2021', 304],
      ['Mon Jan  4 08:00:00 2021', 200],
      ['Sunday, 07-Nov-21 08:49:37 GMT', 304],
      ['Monday, 08-Nov-21 08:49:37 GMT', 304],
      ['Tuesday, 09-Nov-21 08:49:37 GMT', 304],
      ['Wednesday, 10-Nov-21 08:49:37 GMT', 304],
      ['Thursday, 11-Nov-21 08:49:37 GMT', 304],
      ['Saturday, 13-Nov-21 08:49:37 GMT', 304],
      ['Sunday, 06-Nov-94 08:49:37 GMT', 200], // the example of the RFC: 1994
      ['Sunday, 08-Nov-21 08:49:37 GMT', 200], // that day was a Monday
      ['Tuesyday, 09-Nov-21 08:49:37 GMT', 200],
      ['Sun, 07-Nov-21 08:49:37 GMT', 200],
      ['Sunday, 07-Nov-2021 08:49:37 GMT', 200],
      ['Sunday, 07 Nov 21 08:49:37 GMT', 200],
      ['Sunday, 07-Nov-21 08:49:37', 200],
      ['Sunday, 07-Nov-21 08:49:37 GMT+1', 200],
      ['Sat Feb 6 08:00:00 2021', 200],
      ['Sat Feb  6 08:00:00 2021 GMT', 200],
      ['Sat Feb  6 08:00:00 21', 200],
      ['Sat Feb  6 8:00:00 2021', 200],
      ['Wed Feb 31 08:00:00 2021', 200],
      ['Sat,  6 Feb 2021 08:00:00 GMT', 200],
    ]);
  });

  it('fileHandler() reads a year of two digits as at most 50 years from now', async (t) => {
    const table: [year: number, sent: string, status: number][] = [
      [2021, 'Friday, 15-Jan-71 08:00:00 GMT', 200], // 2071, and that day is a Thursday
      [2021, 'Thursday, 15-Jan-71 08:00:00 GMT', 304],
      [2021, 'Saturday, 15-Jan-72 08:00:00 GMT', 200], // 1972
      [2021, 'Friday, 15-Jan-72 08:00:00 GMT', 200],
      [2022, 'Friday, 15-Jan-72 08:00:00 GMT', 304],
      [2060, 'Thursday, 15-Jan-71 08:00:00 GMT', 304],
      [2060, 'Friday, 15-Jan-10 08:00:00 GMT', 200], // 2110, and that day is a Wednesday
      [2060, 'Wednesday, 15-Jan-10 08:00:00 GMT', 304],
    ];
    for (const [year, sent, status] of table) {
      t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(year, 5) });
      await assertStatuses('if-modified-since', [[sent, status]], `in ${year}, `);
      t.mock.timers.reset();
    }
  });

  it('fileHandler() responds with 412 if the file is newer than If-Unmodified-Since', async () => {
    await assertStatuses('if-unmodified-since', [
      [LAST_MODIFIED, 200],
      ['Sat, 15 Jan 2022 08:00:00 GMT', 200],
      ['Fri, 15 Jan 2021 07:59:59 GMT', 412],
      ['Friday, 15-Jan-21 07:59:59 GMT', 412],
      ['Fri Jan 15 07:59:59 2021', 412],
      ['Thu, 01 Jan 1970 00:00:00 GMT', 412],
      ['not a date', 200], // a recipient must ignore it (RFC 9110 §13.1.4)
      ['', 200],
    ]);
  });
});

describe('34-static: conditions together', () => {
  it('fileHandler() evaluates conditions in the order of RFC 9110 §13.2.2', async () => {
    const etag = String((await ask(files(), '/style.css')).headers.etag);
    const tags = [undefined, etag, '"other"', '*'];
    const dates = [undefined, LAST_MODIFIED, 'Fri, 15 Jan 2021 07:59:59 GMT'];
    /** The steps of the RFC, as written there. */
    const expected = (match?: string, unmodified?: string, none?: string, modified?: string) => {
      const isMatch = (tag: string): boolean => tag === '*' || tag === etag;
      if (match !== undefined && !isMatch(match)) return 412;
      if (match === undefined && (unmodified ?? LAST_MODIFIED) !== LAST_MODIFIED) return 412;
      if (none !== undefined) return isMatch(none) ? 304 : 200;
      return modified === LAST_MODIFIED ? 304 : 200;
    };
    for (const match of tags) {
      for (const unmodified of dates) {
        for (const none of tags) {
          for (const modified of dates) {
            const conditions = Object.entries({
              'if-match': match,
              'if-unmodified-since': unmodified,
              'if-none-match': none,
              'if-modified-since': modified,
            }).filter((entry): entry is [string, string] => entry[1] !== undefined);
            for (const method of ['GET', 'HEAD']) {
              const headers = Object.fromEntries(conditions);
              const { status } = await ask(files(), '/style.css', headers, method);
              const wanted = expected(match, unmodified, none, modified);
              assert.equal(status, wanted, `${method} ${JSON.stringify(headers)}`);
            }
          }
        }
      }
    }
  });

  it('fileHandler() ignores conditions if the response would not be a 200', async () => {
    const dates = { 'if-modified-since': LAST_MODIFIED, 'if-unmodified-since': LAST_MODIFIED };
    const conditions = { 'if-match': '"x"', 'if-none-match': '*', ...dates };
    assert.equal((await ask(files(), '/absent', conditions)).status, 404);
    assert.equal((await ask(files(), '/style.css', conditions, 'POST')).status, 405);
    assert.equal((await ask(files(), '/style.css', conditions, 'OPTIONS')).status, 204);
  });

  it('fileHandler() sends the version and an explanation with 412', async () => {
    const { headers } = await ask(files(), '/style.css');
    const response = await ask(files(), '/style.css', { 'if-match': '"xyz"' });
    assert.match(bodyText(response), /^412 Precondition Failed\n\nThis file is not the version/);
    assert.equal(response.headers.etag, headers.etag);
    assert.equal(response.headers['x-content-type-options'], 'nosniff');
  });
});
