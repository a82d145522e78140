import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { parseRequest, toListener } from '../src/02-http.ts';
import type { HttpResponse } from '../src/02-http.ts';
import { Router } from '../src/03-router.ts';
import { addStaticFiles, fileHandler, PUBLIC, site } from '../src/05-static.ts';

const it = explainedIt(import.meta.url);
const MODIFIED = new Date('2021-01-15T08:00:00.750Z'); // the file system counts finer than HTTP
const LAST_MODIFIED = 'Fri, 15 Jan 2021 08:00:00 GMT';
const LATER = 'Sat, 15 Jan 2022 08:00:00 GMT';
const CSS = 'body { color: teal }\n';
const SECRET = 'what no visitor may read';

const FILES: Record<string, string> = {
  'public/style.css': CSS,
  'public/.env': SECRET,
  'public/.git/config': SECRET,
  'public/pictures/icon@2x.png': 'picture',
  'public/pictures/a b.txt': 'space',
  'public/pictures/café 日本.txt': 'unicode',
  'public/pictures/100%#1?.txt': 'reserved',
  'secret.txt': SECRET,
  'private/secret.txt': SECRET,
};

/** A folder to serve, `top/public`, with a secret beside it and links that lead to it. */
let top = '';
let router: Router | undefined;

/** Its routes. They are made when a test asks, so that what fails there is that test's failure. */
function routes(): Router {
  return (router ??= addStaticFiles(new Router(), join(top, 'public')));
}

before(() => {
  top = mkdtempSync(join(tmpdir(), 'static-'));
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(top, name)), { recursive: true });
    writeFileSync(join(top, name), text);
  }
  utimesSync(join(top, 'public/style.css'), MODIFIED, MODIFIED);
  symlinkSync(join(top, 'secret.txt'), join(top, 'public/link.txt'));
  symlinkSync(join(top, 'private'), join(top, 'public/folder'), 'junction');
  symlinkSync(top, join(top, 'public/up'), 'junction');
});

after(() => rmSync(top, { recursive: true }));

async function ask(
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<HttpResponse> {
  const request = parseRequest(method, path, headers);
  return 'status' in request ? request : witness(routes().handle)(request);
}

async function etagOf(path: string): Promise<string> {
  return String((await ask(path)).headers.etag);
}

const WAYS_OUT = [
  '/../secret.txt',
  '/./../secret.txt',
  '/pictures/../../secret.txt',
  '/pictures/../style.css',
  '/%2e%2e/secret.txt',
  '/%2E%2E/secret.txt',
  '/.%2e/secret.txt',
  '/%2e%2e%2fsecret.txt',
  '/..%2fsecret.txt',
  '/..%2Fsecret.txt',
  '/pictures%2f..%2f..%2fsecret.txt',
  '/%252e%252e/secret.txt',
  '/%252e%252e%252fsecret.txt',
  '/..%255csecret.txt',
  '/..\\secret.txt',
  '/..%5csecret.txt',
  '/%2e%2e%5csecret.txt',
  '/..%c0%afsecret.txt',
  '/%c0%ae%c0%ae/secret.txt',
  '/%e0%80%ae%e0%80%ae/secret.txt',
  '/%uff0e%uff0e/secret.txt',
  '/%ef%bc%8e%ef%bc%8e/secret.txt',
  '/....//secret.txt',
  '/..;/secret.txt',
  '/..%00/secret.txt',
  '/%00',
  '/style.css%00.txt',
  '/style.css\0.txt',
  '/..%0d%0a/secret.txt',
  '//etc/passwd',
  '///etc/passwd',
  '/etc/passwd',
  '//../etc/passwd',
  '/%2fetc%2fpasswd',
  '/file:///etc/passwd',
  '/C:/Windows/win.ini',
  '/C:%5cWindows%5cwin.ini',
  '/%5c%5cserver%5cshare%5csecret.txt',
  '/style.css/',
  '/style.css/../../secret.txt',
  '/style.css::$DATA',
  '/style.css.',
  '/STYLE.CSS',
  '/pictures',
  '/pictures/',
  '/',
  '/__proto__',
  '/constructor',
  '../secret.txt',
  'secret.txt',
  'file:///etc/passwd',
  'http://x/../secret.txt',
];

describe('05-static', () => {
  it('addStaticFiles() opens no way out of the folder', async () => {
    for (const path of WAYS_OUT) {
      const { status, body } = await ask(path);
      const sent = `GET ${JSON.stringify(path)}`;
      assert.ok(!String(body).includes(SECRET), `${sent} led out of the folder, to the secret`);
      assert.ok(status === 404 || status === 400, `${sent} must give 404 or 400, and gave ${status}`);
    }
  });

  it('addStaticFiles() passes over a link to a file and a link to a folder', async () => {
    for (const path of ['/link.txt', '/folder', '/folder/secret.txt', '/up/secret.txt']) {
      assert.equal((await ask(path)).status, 404, `GET ${path} went through a symbolic link`);
    }
  });

  it('addStaticFiles() passes over names that begin with a dot, and all below', async () => {
    const hidden = ['/.env', '/%2eenv', '/%2Eenv', '/.git/config', '/.git', '/%2egit%2fconfig'];
    for (const path of hidden) {
      assert.equal((await ask(path)).status, 404, `GET ${path} gave a hidden file`);
    }
  });

  it('addStaticFiles() serves folders too, under the names that browsers send', async () => {
    const served: Record<string, string> = {
      '/style.css': CSS,
      '/%73tyle.css': CSS,
      '/style.css?v=2': CSS,
      '/pictures/icon@2x.png': 'picture',
      '/pictures/a%20b.txt': 'space',
      '/pictures/caf%C3%A9%20%E6%97%A5%E6%9C%AC.txt': 'unicode',
      '/pictures/caf%c3%a9%20%e6%97%a5%e6%9c%ac.txt': 'unicode',
      '/pictures/100%25%231%3F.txt': 'reserved',
    };
    for (const [path, text] of Object.entries(served)) {
      const { status, body } = await ask(path);
      assert.equal(status, 200, `GET ${path}`);
      assert.equal(String(body), text, `GET ${path}`);
    }
  });

  it('addStaticFiles() makes no parameter of a name that begins with a colon', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'colon-'));
    try {
      // Windows allows no such name, and then there is nothing to take wrongly.
      if (process.platform !== 'win32') writeFileSync(join(folder, ':any'), SECRET);
      if (process.platform !== 'win32') writeFileSync(join(folder, '12:30'), 'half past');
      const files = addStaticFiles(new Router(), folder);
      assert.equal(files.find('/style.css'), undefined, 'the file `:any` answers for every path');
      const isThere = files.find('/12:30') !== undefined;
      assert.equal(isThere, process.platform !== 'win32', 'a browser leaves other colons alone');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('addStaticFiles() throws when there is no such folder', () => {
    assert.throws(() => addStaticFiles(new Router(), join(top, 'nowhere')), { code: 'ENOENT' });
  });

  it('addStaticFiles() answers POST with 405 and names what is allowed', async () => {
    const { status, headers } = await ask('/style.css', {}, 'POST');
    assert.equal(status, 405);
    assert.equal(headers.allow, 'GET, HEAD, OPTIONS');
  });

  it('fileHandler() sends the type of the ending, and a download for any other', async () => {
    const types: Record<string, string> = {
      'a.css': 'text/css; charset=utf-8',
      'a.html': 'text/html; charset=utf-8',
      'a.ico': 'image/x-icon',
      'a.jpg': 'image/jpeg',
      'a.js': 'text/javascript; charset=utf-8',
      'a.json': 'application/json',
      'a.png': 'image/png',
      'a.svg': 'image/svg+xml',
      'a.txt': 'text/plain; charset=utf-8',
      'a.webp': 'image/webp',
      'a.woff2': 'font/woff2',
      'B.CSS': 'text/css; charset=utf-8',
      'a.css.exe': 'application/octet-stream',
      'a.constructor': 'application/octet-stream',
      'no-ending': 'application/octet-stream',
    };
    const folder = join(top, 'types');
    mkdirSync(folder);
    for (const name of Object.keys(types)) writeFileSync(join(folder, name), 'x');
    const files = addStaticFiles(new Router(), folder);
    for (const [name, type] of Object.entries(types)) {
      const request = parseRequest('GET', `/${name}`);
      assert.ok('path' in request);
      const { headers } = await witness(files.handle)(request);
      assert.equal(headers['content-type'], type, name);
      assert.equal(headers['x-content-type-options'], 'nosniff', name);
    }
  });

  it('fileHandler() lets a browser keep a copy, and run nothing in it', async () => {
    const { headers } = await ask('/style.css');
    assert.equal(headers['cache-control'], 'no-cache');
    assert.equal(headers['last-modified'], LAST_MODIFIED);
    assert.equal(headers['content-security-policy'], "default-src 'none'; frame-ancestors 'none'");
  });

  it('fileHandler() dates a file no later than now, whatever its own date', async (t) => {
    const now = Date.UTC(2021, 0, 15, 8, 0, 0, 250);
    t.mock.method(Date, 'now', () => now);
    const file = join(top, 'ahead.txt');
    writeFileSync(file, 'x');
    for (const ahead of [0.5, 3600, 10 * 365 * 86_400]) {
      utimesSync(file, now / 1000 + ahead, now / 1000 + ahead);
      const handler = fileHandler(file);
      const askFile = async (headers = {}): Promise<HttpResponse> => {
        const request = parseRequest('GET', '/ahead.txt', headers);
        return 'status' in request ? request : handler(request);
      };
      const sent = (await askFile()).headers['last-modified'];
      assert.equal(sent, LAST_MODIFIED, `a file that is dated ${ahead} s ahead`);
      const { status } = await askFile({ 'if-modified-since': LAST_MODIFIED });
      assert.equal(status, 304, 'and a copy of it is good');
    }
  });

  it('fileHandler() makes a strong ETag of the content, and of nothing else', async () => {
    const etag = await etagOf('/style.css');
    assert.match(etag, /^"[\w-]{22}"$/, 'RFC 9110 §8.8.3: in quotes, and without W/');
    const same = join(top, 'same.css');
    const other = join(top, 'other.css');
    writeFileSync(same, CSS);
    writeFileSync(other, CSS.toUpperCase()); // as long as the first
    const handlers = [fileHandler(same), fileHandler(other)];
    const request = parseRequest();
    assert.ok('path' in request);
    const [again, different] = await Promise.all(handlers.map((handler) => handler(request)));
    assert.equal(again?.headers.etag, etag, 'the same content, at another time');
    assert.notEqual(different?.headers.etag, etag, 'another content of the same length');
  });

  it('fileHandler() answers If-None-Match with 304 where the tag is among those sent', async () => {
    const etag = await etagOf('/style.css');
    const table: [string, number][] = [
      [etag, 304],
      [`W/${etag}`, 304], // a compressing proxy made it weak; weak comparison (RFC 9110 §13.1.2)
      ['*', 304],
      [`"other", ${etag}`, 304],
      [`"other",W/${etag} , "third"`, 304],
      [`  ${etag}\t`, 304],
      ['"other"', 200],
      ['"other", W/"third"', 200],
      [etag.slice(1, -1), 200],
      [etag.toLowerCase() === etag ? '""' : etag.toLowerCase(), 200],
      [`w/${etag}`, 200], // W is case-sensitive (RFC 9110 §8.8.3)
      ['""', 200],
      ['', 200],
      [',,,', 200],
      ['"*"', 200],
    ];
    for (const [sent, expected] of table) {
      const { status, body } = await ask('/style.css', { 'if-none-match': sent });
      assert.equal(status, expected, `If-None-Match: ${sent}`);
      assert.equal(String(body), expected === 304 ? '' : CSS, `If-None-Match: ${sent}`);
    }
  });

  it('fileHandler() answers If-Modified-Since by the second, if it is a date', async () => {
    const table: [string, number][] = [
      [LAST_MODIFIED, 304],
      ['Fri, 15 Jan 2021 08:00:01 GMT', 304],
      [LATER, 304],
      ['Fri, 15 Jan 2021 07:59:59 GMT', 200],
      ['Thu, 01 Jan 1970 00:00:00 GMT', 200],
      ['yesterday', 200],
      ['', 200],
      ['Invalid Date', 200],
      ['2099', 200],
      ['9999999999999', 200],
      ['2099-01-01T00:00:00Z', 200],
      ['Fri, 15 Jan 2021 08:00:00 GMT-0500', 200],
      ['Mon, 15 Jan 2021 08:00:00 GMT', 200], // that was no Monday
      [`${LAST_MODIFIED}, ${LAST_MODIFIED}`, 200],
    ];
    for (const [sent, expected] of table) {
      const { status } = await ask('/style.css', { 'if-modified-since': sent });
      assert.equal(status, expected, `If-Modified-Since: ${sent}`);
    }
  });

  it('fileHandler() reads If-Modified-Since in all three forms: RFC 9110 §5.6.7', async () => {
    const table: [string, number][] = [
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
      ['Sunday, 06-Nov-94 08:49:37 GMT', 200], // the RFC's own, of 1994
      ['Sunday, 08-Nov-21 08:49:37 GMT', 200], // that was a Monday
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
    ];
    for (const [sent, expected] of table) {
      const { status } = await ask('/style.css', { 'if-modified-since': sent });
      assert.equal(status, expected, `If-Modified-Since: ${sent}`);
    }
  });

  it('fileHandler() takes two digits for a year of up to fifty years from now', async (t) => {
    const table: [year: number, sent: string, expected: number][] = [
      [2021, 'Friday, 15-Jan-71 08:00:00 GMT', 200], // 2071, and that is a Thursday
      [2021, 'Thursday, 15-Jan-71 08:00:00 GMT', 304],
      [2021, 'Saturday, 15-Jan-72 08:00:00 GMT', 200], // 1972, though that was one
      [2021, 'Friday, 15-Jan-72 08:00:00 GMT', 200],
      [2022, 'Friday, 15-Jan-72 08:00:00 GMT', 304],
      [2060, 'Thursday, 15-Jan-71 08:00:00 GMT', 304],
      [2060, 'Friday, 15-Jan-10 08:00:00 GMT', 200], // 2110, and that is a Wednesday
      [2060, 'Wednesday, 15-Jan-10 08:00:00 GMT', 304],
    ];
    for (const [year, sent, expected] of table) {
      t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(year, 5) });
      const { status } = await ask('/style.css', { 'if-modified-since': sent });
      assert.equal(status, expected, `in ${year}, If-Modified-Since: ${sent}`);
      t.mock.timers.reset();
    }
  });

  it('fileHandler() lets If-None-Match alone decide where both are sent', async () => {
    const etag = await etagOf('/style.css');
    const older = 'Wed, 15 Jan 2020 08:00:00 GMT';
    const both = (tag: string, date: string): Promise<HttpResponse> =>
      ask('/style.css', { 'if-none-match': tag, 'if-modified-since': date });
    assert.equal((await both('"other"', LATER)).status, 200, 'another tag, though the date is new');
    assert.equal((await both(etag, older)).status, 304, 'our tag, though the date is old');
  });

  it('fileHandler() heeds no condition where the answer would be no 200', async () => {
    const condition = { 'if-none-match': '*', 'if-modified-since': LAST_MODIFIED };
    assert.equal((await ask('/nowhere', condition)).status, 404);
    assert.equal((await ask('/style.css', condition, 'POST')).status, 405);
    assert.equal((await ask('/style.css', condition, 'OPTIONS')).status, 204);
    assert.equal((await ask('/style.css', condition, 'HEAD')).status, 304, 'as GET');
  });

  it('fileHandler() sends the whole file to who asks for a part of it', async () => {
    for (const range of ['bytes=0-1', 'bytes=-1', 'bytes=99-', 'bytes=0-0,2-2', 'lines=1-2']) {
      const { status, body } = await ask('/style.css', { range });
      assert.deepEqual([status, String(body)], [200, CSS], range);
    }
  });

  it('fileHandler() repeats in a 304 what a copy is kept by, and nothing else', async () => {
    const full = await ask('/style.css');
    const { etag, 'cache-control': cacheControl } = full.headers;
    for (const condition of [{ 'if-none-match': String(etag) }, { 'if-modified-since': LATER }]) {
      const { status, headers } = await ask('/style.css', condition);
      assert.equal(status, 304, JSON.stringify(condition));
      assert.deepEqual(headers, { etag, 'cache-control': cacheControl }, 'RFC 9110 §15.4.5');
    }
  });

  it('fileHandler() answers with the file as it was at the start', async () => {
    const file = join(top, 'changing.txt');
    writeFileSync(file, 'before');
    const handler = fileHandler(file);
    writeFileSync(file, 'after, and longer');
    const request = parseRequest();
    assert.ok('path' in request);
    assert.equal(String((await handler(request)).body), 'before');
  });

  it('addStaticFiles() sends a body on the wire, and none to HEAD or in a 304', async (t) => {
    const server = createServer(toListener(routes().handle));
    t.after(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/style.css`;
    const once = { connection: 'close' };
    const full = await fetch(url, { headers: once });
    const head = await fetch(url, { method: 'HEAD', headers: once });
    const etag = full.headers.get('etag') ?? '';
    const fresh = await fetch(url, { headers: { ...once, 'if-none-match': etag } });
    assert.equal(await full.text(), CSS);
    assert.equal(head.status, 200);
    assert.equal(await head.text(), '');
    assert.equal(head.headers.get('content-length'), String(CSS.length));
    assert.equal(head.headers.get('etag'), etag);
    assert.equal(fresh.status, 304);
    assert.equal(await fresh.text(), '');
  });

  it('site() serves the home page and each file that the page asks for', async () => {
    const { handle } = site();
    const open = async (path: string): Promise<HttpResponse> => {
      const request = parseRequest('GET', path);
      return 'status' in request ? request : witness(handle)(request);
    };
    const { status, body } = await open('/');
    assert.equal(status, 200);
    assert.equal(site().pathFor('home'), '/');
    assert.match(String(body), /<title>Quick Tutorial: Home View<\/title>/);
    assert.match(String(body), /<main><h1>Hi Home View<\/h1><\/main>/);
    const wanted = [...String(body).matchAll(/<link [^>]*href="([^"]*)"/g)].map(([, path]) => path);
    assert.deepEqual(wanted, ['/favicon.svg', '/style.css']);
    for (const path of wanted) {
      assert.equal((await open(path ?? '')).status, 200, `${path} is not in ${PUBLIC}`);
    }
  });
});
