import assert from 'node:assert/strict';
import { symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'node:test';
import { explainedIt, ofStep } from '../.tools/explain.ts';
import { ask, makeFolder } from '../.tools/folder.ts';
import { bodyText, Visitor } from '../.tools/request.ts';
import { startServer } from '../.tools/serve.ts';
import { type Handler, problem, toListener } from '../src/04-http.ts';
import { fileHandler, PUBLIC, site, withStatic } from '../src/34-static.ts';

const it = explainedIt(import.meta.url);
const CSS = 'body { color: teal }\n';
const SECRET = 'a text that no visitor may read';
const MODIFIED = new Date('2021-01-15T08:00:00.750Z'); // a file system has parts of a second
const LAST_MODIFIED = 'Fri, 15 Jan 2021 08:00:00 GMT';
const EARLIER = 'Fri, 15 Jan 2021 07:59:59 GMT';
const LATER = 'Sat, 15 Jan 2022 08:00:00 GMT';

/** The files in `public/`, and two secrets outside it. */
const top = makeFolder({
  'public/style.css': CSS,
  'public/.env': SECRET,
  'public/.git/config': SECRET,
  'public/pictures/icon@2x.png': 'picture',
  'public/pictures/a b.txt': 'space',
  'public/pictures/café 日本.txt': 'unicode',
  'public/pictures/100%#1.txt': 'reserved',
  'secret.txt': SECRET,
  'private/secret.txt': SECRET,
});
utimesSync(join(top, 'public/style.css'), MODIFIED, MODIFIED);
symlinkSync(join(top, 'secret.txt'), join(top, 'public/link.txt'));
symlinkSync(join(top, 'private'), join(top, 'public/folder'), 'junction');
symlinkSync(top, join(top, 'public/up'), 'junction');

/** The page for each path that names no file. */
const inner: Handler = ({ path }) => problem(404, `There is no page at ${path}.`);

/** The handler under test. A test creates it, so an error in it fails that test. */
const files = (folder = join(top, 'public')): Handler => withStatic(folder, inner);

const swapCase = (text: string): string =>
  text.replace(/[a-z]/gi, (letter) => (letter < 'a' ? letter.toLowerCase() : letter.toUpperCase()));

async function etagOf(path: string): Promise<string> {
  return String((await ask(files(), path)).headers.etag);
}

describe('34-static: which file', () => {
  it('withStatic() responds with the files of a folder and of the folders in it', async () => {
    const table: [path: string, content: string][] = [
      ['/style.css', CSS],
      ['/style.css?v=2', CSS],
      ['/pictures/icon@2x.png', 'picture'],
      ['/pictures/a%20b.txt', 'space'],
      ['/pictures/caf%C3%A9%20%E6%97%A5%E6%9C%AC.txt', 'unicode'],
      ['/pictures/100%25%231.txt', 'reserved'],
    ];
    for (const [path, content] of table) {
      const response = await ask(files(), path);
      assert.equal(response.status, 200, `GET ${path}`);
      assert.equal(bodyText(response), content, `GET ${path}`);
    }
  });

  it('withStatic() passes every other request to the site', async () => {
    for (const path of ['/', '/howdy', '/pictures', '/pictures/', '/style.css/', '/STYLE.CSS']) {
      const response = await ask(files(), path);
      assert.match(bodyText(response), /There is no page at/, `GET ${path}`);
    }
  });

  it('withStatic() never sends a file from outside the folder', async () => {
    const TRAVERSALS = [
      '/../secret.txt', '/./../secret.txt', '/pictures/../../secret.txt', '/pictures/../style.css',
      '/%2e%2e/secret.txt', '/%2E%2E/secret.txt', '/.%2e/secret.txt', '/%2e%2e%2fsecret.txt',
      '/..%2fsecret.txt', '/..%2Fsecret.txt', '/pictures%2f..%2f..%2fsecret.txt',
      '/%252e%252e/secret.txt', '/%252e%252e%252fsecret.txt', '/..%255csecret.txt',
      '/..\\secret.txt', '/..%5csecret.txt', '/%2e%2e%5csecret.txt', '/..%c0%afsecret.txt',
      '/%c0%ae%c0%ae/secret.txt', '/%e0%80%ae%e0%80%ae/secret.txt', '/%uff0e%uff0e/secret.txt',
      '/%ef%bc%8e%ef%bc%8e/secret.txt', '/....//secret.txt', '/..;/secret.txt',
      '/..%00/secret.txt', '/%00', '/style.css%00.txt', '/style.css\0.txt', '/..%0d%0a/secret.txt',
      '//etc/passwd', '///etc/passwd', '/etc/passwd', '//../etc/passwd', '/%2fetc%2fpasswd',
      '/file:///etc/passwd', '/C:/Windows/win.ini', '/C:%5cWindows%5cwin.ini',
      '/%5c%5cserver%5cshare%5csecret.txt', '/style.css/../../secret.txt', '/style.css::$DATA',
      '/style.css.', '/pictures%2fa%20b.txt', '/__proto__', '/constructor', '../secret.txt',
      'secret.txt', 'style.css', 'file:///etc/passwd', 'http://x/../secret.txt', '/%zz', '/%', '',
    ];
    for (const path of TRAVERSALS) {
      const { status } = await ask(files(), path);
      assert.equal(status, 404, `GET ${JSON.stringify(path)} must name no file`);
    }
  });

  it('withStatic() ignores symbolic links, because a link can lead anywhere', async () => {
    for (const path of ['/link.txt', '/folder', '/folder/secret.txt', '/up/secret.txt']) {
      assert.equal((await ask(files(), path)).status, 404, `GET ${path} must not follow the link`);
    }
  });

  it('withStatic() ignores files and folders whose names begin with a period', async () => {
    for (const path of ['/.env', '/%2eenv', '/%2Eenv', '/.git/config', '/.git', '/%2egit/config']) {
      assert.equal((await ask(files(), path)).status, 404, `GET ${path} must stay hidden`);
    }
  });

  it('withStatic() finds a file under each encoding of its name', async () => {
    const names = [
      '[slug].js', 'a|b.txt', 'icon@2x.png', 'a+b.txt', 'x^y`z{}.css', "it's (1);=,.js",
      'a&b~!$.txt', 'naïve 100%.txt',
    ];
    const folder = makeFolder(Object.fromEntries(names.map((name) => [name, name])));
    const handler = files(folder);
    const escape = (byte: number): string => `%${byte.toString(16).padStart(2, '0')}`;
    for (const name of names) {
      const encodings = [
        encodeURIComponent(name),
        encodeURI(name),
        [...Buffer.from(name)].map(escape).join(''),
        new URL(`http://localhost/${name.replace('%', '%25')}`).pathname.slice(1), // in a browser
      ];
      for (const encoding of encodings) {
        const response = await ask(handler, `/${encoding}`);
        assert.equal(response.status, 200, `GET /${encoding} must name the file ${name}`);
        assert.equal(bodyText(response), name);
      }
    }
  });

  it('withStatic() responds to another method with the methods that it allows', async () => {
    for (const method of ['POST', 'PUT', 'DELETE']) {
      const { status, headers } = await ask(files(), '/style.css', {}, method);
      assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], method);
    }
    const options = await ask(files(), '/style.css', {}, 'OPTIONS');
    assert.deepEqual(options, { status: 204, headers: { allow: 'GET, HEAD' }, body: '' });
  });
});

describe('34-static: the headers of a file', () => {
  it('fileHandler() sends the type of the file extension', async () => {
    const TYPES: Record<string, string> = {
      'a.css': 'text/css; charset=utf-8',
      'a.html': 'text/html; charset=utf-8',
      'a.jpg': 'image/jpeg',
      'a.js': 'text/javascript; charset=utf-8',
      'a.png': 'image/png',
      'a.svg': 'image/svg+xml',
      'a.txt': 'text/plain; charset=utf-8',
      'B.CSS': 'text/css; charset=utf-8',
      'a.css.exe': 'application/octet-stream',
      'a.constructor': 'application/octet-stream',
      'no-extension': 'application/octet-stream',
    };
    const folder = makeFolder(TYPES);
    for (const [name, type] of Object.entries(TYPES)) {
      const { headers } = await ask(fileHandler(join(folder, name)), `/${name}`);
      assert.equal(headers['content-type'], type, name);
      assert.equal(headers['x-content-type-options'], 'nosniff', `${name}: no browser may guess`);
    }
  });

  it('fileHandler() lets a browser keep a copy, and forbids scripts in the file', async () => {
    const { headers } = await ask(files(), '/style.css');
    assert.equal(headers['cache-control'], 'no-cache', 'keep it, and ask before each use');
    assert.equal(headers['last-modified'], LAST_MODIFIED);
    assert.equal(headers['content-security-policy'], "default-src 'none'; frame-ancestors 'none'");
  });

  it('fileHandler() computes a strong ETag from the content and from nothing else', async () => {
    const etag = await etagOf('/style.css');
    assert.match(etag, /^"[\w-]{22}"$/, 'RFC 9110 §8.8.3: in quotes, without W/');
    const folder = makeFolder({ 'same.css': CSS, 'other.css': CSS.toUpperCase() });
    const [same, other] = await Promise.all(['same.css', 'other.css'].map((name) =>
      ask(fileHandler(join(folder, name)), `/${name}`)));
    assert.equal(same?.headers.etag, etag, 'the same content in another file');
    assert.notEqual(other?.headers.etag, etag, 'another content with the same length');
  });
});

describe('34-static: conditions', () => {
  it('fileHandler() responds with 304 if If-None-Match contains the ETag', async () => {
    const etag = await etagOf('/style.css');
    const table: [sent: string, status: number][] = [
      [etag, 304],
      [`W/${etag}`, 304], // weak comparison (RFC 9110 §13.1.2): a proxy has compressed the file
      ['*', 304],
      [`"other", ${etag}`, 304],
      [`"other",W/${etag} , "third"`, 304],
      [`  ${etag}\t`, 304],
      ['"other"', 200],
      ['"other", W/"third"', 200],
      [etag.slice(1, -1), 200], // without its quotes it is not an ETag
      [`w/${etag}`, 200], // W is case-sensitive (RFC 9110 §8.8.3)
      [swapCase(etag), 200],
      ['""', 200],
      ['', 200],
      [',,,', 200],
      ['"*"', 200],
      ['"a,*,b"', 200], // one ETag that contains commas
    ];
    for (const [sent, status] of table) {
      const response = await ask(files(), '/style.css', { 'if-none-match': sent });
      assert.equal(response.status, status, `If-None-Match: ${sent}`);
      assert.equal(bodyText(response), status === 304 ? '' : CSS, `If-None-Match: ${sent}`);
    }
  });

  it('fileHandler() responds with 304 if no version is newer than If-Modified-Since', async () => {
    const table: [sent: string, status: number][] = [
      [LAST_MODIFIED, 304],
      ['Fri, 15 Jan 2021 08:00:01 GMT', 304],
      [LATER, 304],
      [EARLIER, 200],
      ['Thu, 01 Jan 1970 00:00:00 GMT', 200],
      ['yesterday', 200],
      ['', 200],
      ['Invalid Date', 200],
      ['2099', 200],
      ['9999999999999', 200],
      ['2099-01-01T00:00:00Z', 200],
      ['Fri, 15 Jan 2021 08:00:00 GMT-0500', 200],
      ['Mon, 15 Jan 2021 08:00:00 GMT', 200], // that day was not a Monday
      [`${LAST_MODIFIED}, ${LAST_MODIFIED}`, 200],
    ];
    for (const [sent, status] of table) {
      const response = await ask(files(), '/style.css', { 'if-modified-since': sent });
      assert.equal(response.status, status, `If-Modified-Since: ${sent}`);
    }
  });

  it('fileHandler() ignores If-Modified-Since if If-None-Match is there', async () => {
    const both = async (tag: string, date: string): Promise<number> => {
      const conditions = { 'if-none-match': tag, 'if-modified-since': date };
      return (await ask(files(), '/style.css', conditions)).status;
    };
    assert.equal(await both('"other"', LATER), 200, 'another ETag, although the date is late');
    assert.equal(await both(await etagOf('/style.css'), EARLIER), 304, 'the same ETag');
  });

  it('fileHandler() responds with 412 if If-Match names another version', async () => {
    const etag = await etagOf('/style.css');
    const table: [sent: string, status: number][] = [
      ['"xyz"', 412],
      [etag, 200],
      [`"xyz", ${etag}`, 200],
      ['*', 200],
      [`W/${etag}`, 412], // strong comparison (RFC 9110 §13.1.1): a weak tag never matches
      ['', 412],
      ['"a,*,b"', 412],
    ];
    for (const [sent, status] of table) {
      const response = await ask(files(), '/style.css', { 'if-match': sent });
      assert.equal(response.status, status, `If-Match: ${sent}`);
      assert.equal(response.headers.etag, etag, 'the client learns the current version');
    }
  });

  it('fileHandler() sends the ETag and Cache-Control with 304, and no other header', async () => {
    const { headers } = await ask(files(), '/style.css');
    const kept = { etag: headers.etag, 'cache-control': headers['cache-control'] };
    const conditions = [{ 'if-none-match': String(kept.etag) }, { 'if-modified-since': LATER }];
    for (const condition of conditions) {
      const response = await ask(files(), '/style.css', condition);
      assert.deepEqual(response, { status: 304, headers: kept, body: '' }, 'RFC 9110 §15.4.5');
    }
  });
});

describe('34-static: the site', () => {
  it('withStatic() sends the file with GET, and only headers with HEAD and 304', async (t) => {
    const server = await startServer(t, toListener(files()));
    const full = await server.get('/style.css');
    const head = await server.request('HEAD', '/style.css');
    const etag = full.headers.get('etag') ?? '';
    const fresh = await server.get('/style.css', { 'if-none-match': etag });
    assert.equal(full.body, CSS);
    assert.deepEqual([head.status, head.body], [200, '']);
    assert.equal(head.headers.get('content-length'), String(CSS.length));
    assert.equal(head.headers.get('etag'), etag);
    assert.deepEqual([fresh.status, fresh.body], [304, '']);
  });

  it('site() has each file that its pages name, and sets no cookie with a file', async () => {
    const visitor = new Visitor(ofStep(site()));
    const wanted = [...(await visitor.text('/')).matchAll(/<link [^>]*href="([^"]*)"/g)];
    assert.deepEqual(wanted.map(([, path]) => path), ['/favicon.svg', '/style.css']);
    for (const [, path = ''] of wanted) {
      const { status, headers } = await ask(ofStep(site()), path);
      assert.equal(status, 200, `${path} must be in ${PUBLIC}`);
      assert.equal(headers['set-cookie'], undefined, path);
    }
    assert.match(await visitor.text('/howdy'), /Count: 2/);
  });
});
