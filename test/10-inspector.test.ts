import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { bodyText, makeRequest, setCookies, Visitor } from '../.tools/request.ts';
import { Signer } from '../src/03-signer.ts';
import { type Handler, problem, text } from '../src/04-http.ts';
import { html, page } from '../src/06-template.ts';
import { Session } from '../src/07-session.ts';
import { SignedCookieSessionFactory } from '../src/08-session-factory.ts';
import { site as tutorial, type TutorialData } from '../src/09-tutorial.ts';
import { addInspector, dateOf, explainSigned, fillSlot, site } from '../src/10-inspector.ts';
import { withInspector } from '../src/10-inspector.ts';

const it = explainedIt(import.meta.url);
const NOW = 1_700_000_000; // seconds: Tue, 14 Nov 2023 22:13:20 GMT
const SECRET = 'a secret that no page may show';

function makeFactory(now = () => NOW) {
  return new SignedCookieSessionFactory({
    secrets: [SECRET], sessionClass: Session<TutorialData>, now,
  });
}

/** The tutorial with the page `/inspect`, and without the panel. */
function inspected(factory = makeFactory()): Handler {
  const router = tutorial(factory);
  addInspector(router, factory, explainSigned());
  return router.handle;
}

/** The site of this step with another secret and another clock. */
function makeSite(): Handler {
  return withInspector(makeFactory(), explainSigned(), inspected());
}

/** Returns the session cookie of a visitor who counts `visits` visits. */
async function cookieAfter(visits: number, factory = makeFactory()): Promise<string> {
  const visitor = new Visitor(tutorial(factory).handle);
  for (let i = 0; i < visits; i++) await visitor.get('/');
  return visitor.cookies.get('session') ?? '';
}

/** Opens a page with this `Cookie` header. */
async function open(handle: Handler, path: string, cookie: string): Promise<string> {
  return bodyText(await handle(makeRequest('GET', path, { cookie })));
}

/** Returns what the page says about the payload: the text that everyone can read. */
function payloadOn(body: string): string {
  return /Everyone can read it: (.*?)<\/dd>/.exec(body)?.[1]?.replaceAll('&quot;', '"') ?? '';
}

describe('10-inspector: the parts of a cookie', () => {
  it('explainSigned() reads the payload without the secret', async () => {
    const cookie = await cookieAfter(7);
    const [signature, payload] = explainSigned()(cookie);
    assert.equal(signature?.name, 'signature');
    assert.equal(payload?.name, 'payload');
    assert.equal(payload?.meaning, `Everyone can read it: [${NOW},${NOW},{"counter":7}]`);
  });

  it('explainSigned() splits the value after the characters of the signature', async () => {
    const cookie = await cookieAfter(1);
    const texts = explainSigned()(cookie).map((part) => part.text);
    assert.deepEqual(texts, [cookie.slice(0, 86), cookie.slice(86)]); // 64 bytes: 85⅓ characters
    const signer = new Signer({ secrets: [SECRET], hashAlg: 'sha256' }); // 32 bytes: 42⅔ characters
    const short = signer.encode('the payload');
    const [signature, payload] = explainSigned(given(signer.digestSize))(short);
    assert.deepEqual([signature?.text, payload?.text], [short.slice(0, 43), short.slice(43)]);
    assert.equal(payload?.meaning, 'Everyone can read it: the payload');
  });

  it('fillSlot() appends to a slot of a page', () => {
    const first = fillSlot(given(page('t', html`<p>main</p>`)), 'footer', html`<i>1</i>`);
    const second = fillSlot(given(first), 'footer', html`<i>2</i>`);
    assert.match(bodyText(second), /<\/main>\n<i>1<\/i><i>2<\/i><\/body>/);
    assert.match(bodyText(first), /<\/main>\n<i>1<\/i><\/body>/, 'the first response is unchanged');
  });

  it('fillSlot() leaves a response without a page as it is', () => {
    for (const response of [text('</body>'), problem(404, 'No.'), text(Buffer.from('<main>'))]) {
      assert.equal(fillSlot(given(response), 'footer', html`<i>1</i>`), response);
    }
  });
});

describe('10-inspector: the page /inspect', () => {
  it('dateOf() returns a time in seconds as text, in UTC', () => {
    assert.equal(dateOf(given(0)), 'Thu, 01 Jan 1970 00:00:00 GMT');
    assert.equal(dateOf(given(NOW)), 'Tue, 14 Nov 2023 22:13:20 GMT');
  });

  it('addInspector() shows a message if there is no session', async () => {
    for (const path of ['/inspect', '/inspect?flip=1']) {
      const body = await new Visitor(inspected()).text(path);
      assert.match(body, /<p>There is no session\.<\/p>/, path);
      assert.doesNotMatch(body, /<button/, 'there is no bit to flip');
    }
  });

  it('addInspector() shows the signature, the payload, the times and the size', async () => {
    const clock = { now: NOW };
    const visitor = new Visitor(inspected(makeFactory(() => clock.now)));
    await visitor.get('/');
    clock.now += 180;
    await visitor.get('/howdy');
    const cookie = visitor.cookies.get('session') ?? '';
    const body = await visitor.text('/inspect');
    assert.match(body, /<title>Inspector<\/title>/);
    assert.ok(body.includes(`<b class="signature">${cookie.slice(0, 86)}</b>`), 'the signature');
    assert.ok(body.includes(`<b class="payload">${cookie.slice(86)}</b>`), 'the payload');
    assert.equal(payloadOn(body), `[${NOW + 180},${NOW},{"counter":2}]`);
    assert.match(body, /<strong>Valid\.</);
    assert.match(body, />Accessed<\/dt><dd>Tue, 14 Nov 2023 22:16:20 GMT<\/dd>/);
    assert.match(body, />Created<\/dt><dd>Tue, 14 Nov 2023 22:13:20 GMT<\/dd>/);
    assert.match(body, /<pre>\{\n {2}&quot;counter&quot;: 2\n\}<\/pre>/);
    assert.match(body, new RegExp(`\n${'session'.length + cookie.length} of 4096 bytes<`));
  });

  it('addInspector() shows whether the site accepts the cookie', async () => {
    const own = await cookieAfter(1);
    assert.match(await open(inspected(), '/inspect', `session=${own}`), /<strong>Valid\.</);
    const other = new SignedCookieSessionFactory({
      secrets: ['another'], sessionClass: Session<TutorialData>,
    });
    const body = await open(inspected(), '/inspect', `session=${await cookieAfter(1, other)}`);
    assert.match(body, /<strong>Not valid\.</);
    assert.match(payloadOn(body), /"counter":1/, 'everyone can read an invalid cookie too');
  });

  it('addInspector() shows a copy with exactly one flipped bit', async () => {
    const cookie = await cookieAfter(2);
    const body = await open(inspected(), '/inspect?flip=1', `session=${cookie}`);
    const parts = /signature">([\w-]*)<\/b>.*?payload">([\w-]*)<\/b>/;
    const [, signature, payload] = parts.exec(body) ?? [];
    const before = Buffer.from(cookie, 'base64url');
    const after = Buffer.from(`${signature}${payload}`, 'base64url');
    assert.equal(after.length, before.length);
    const changes = [...before].map((byte, i) => byte ^ (after[i] ?? 0)).filter((bits) => bits > 0);
    assert.deepEqual(changes, [1], 'one byte differs, in one bit');
    assert.equal(payloadOn(body), `[${NOW},${NOW},{"counter":3}]`);
    assert.match(body, /<strong>Not valid\.</);
  });

  it('addInspector() does not change the cookie if it shows a flipped bit', async () => {
    const visitor = new Visitor(inspected());
    assert.match(await visitor.text('/'), /Count: 1</);
    assert.match(await visitor.text('/'), /Count: 2</);
    assert.match(await visitor.text('/inspect'), /<button name="flip" value="1">/);
    assert.deepEqual(setCookies(await visitor.get('/inspect?flip=1')), []);
    assert.match(await visitor.text('/'), /Count: 3</);
  });

  it('addInspector() forbids each cache to store a page that shows a cookie', async () => {
    const { headers } = await inspected()(makeRequest('GET', '/inspect', { cookie: 'session=x' }));
    assert.equal(headers['cache-control'], 'no-store');
  });
});

describe('10-inspector: the panel on each page', () => {
  it('withInspector() shows what the request sent and what the response sets', async () => {
    const visitor = new Visitor(makeSite());
    const first = await visitor.get('/');
    assert.match(bodyText(first), /<dt>The request sent<\/dt>\n<dd>no cookie<\/dd>/);
    const sent = visitor.cookies.get('session');
    const second = await visitor.get('/howdy');
    const body = bodyText(second);
    assert.match(body, /<details class="inspector"><summary>Look inside the session<\/summary>/);
    assert.ok(body.includes(`<code>Cookie: session=${sent}</code>`), body);
    assert.ok(body.includes(`<code>Set-Cookie: ${setCookies(second)[0]}</code>`), body);
    assert.equal(payloadOn(body), `[${NOW},${NOW},{"counter":2}]`, 'the parts of the new value');
    assert.ok(body.endsWith('</details></footer>\n</body>\n</html>\n'), 'at the end of the page');
  });

  it('withInspector() shows the sent cookie if the response sets no cookie', async () => {
    const cookie = await cookieAfter(7);
    const handle = withInspector(makeFactory(), explainSigned(), () => page('t', html`<h1>t</h1>`));
    const body = await open(handle, '/', `theme=dark; session=${cookie}`);
    assert.ok(body.includes(`<code>Cookie: theme=dark; session=${cookie}</code>`), body);
    assert.match(body, /<dt>The response sets<\/dt>\n<dd>nothing<\/dd>/);
    assert.match(payloadOn(body), /"counter":7/);
  });

  it('withInspector() escapes a cookie, also what is hidden in base64url', async () => {
    const script = '<script>alert(1)</script>';
    const image = '"><img src=x onerror=alert(1)>';
    const hide = (text: string) => Buffer.from('x'.repeat(64) + text).toString('base64url');
    const cookies = [
      script, image, "'onmouseover='alert(1)", '</body>', hide(script), hide(image),
      '%3Cscript%3E', '\xff\xfe', 'A'.repeat(8000),
    ];
    const handle = withInspector(makeFactory(), explainSigned(), () => page('t', html`<h1>t</h1>`));
    for (const cookie of cookies) {
      const body = await open(handle, '/', `session=${cookie}`);
      const story = `Cookie: session=${cookie.slice(0, 60)}`;
      assert.doesNotMatch(body, /<script|<img|'onmouse|<\/body>[^]*<\/body>/, story);
      assert.match(body, /<strong>Not valid\.</, story);
    }
    const body = await open(handle, '/', `session=${hide(script)}`);
    assert.match(body, /&lt;script&gt;alert\(1\)&lt;/);
  });

  it('withInspector() leaves /inspect, files, errors and plain text as they are', async () => {
    const handle = makeSite();
    for (const path of ['/style.css', '/favicon.svg', '/nonsense', '/inspect']) {
      const body = await open(handle, path, '');
      assert.doesNotMatch(body, /class="inspector"/, path);
    }
    const failed = { ...page('t', html`<h1>t</h1>`), status: 503 };
    for (const response of [text('<body></body>'), text(Buffer.from('<main></main>')), failed]) {
      const bare = withInspector(makeFactory(), explainSigned(), () => response);
      assert.equal(await bare(makeRequest()), response);
    }
  });

  it('site() of step 10 never shows a secret', async () => {
    const visitors = [new Visitor(ofStep(site())), new Visitor(makeSite())];
    for (const visitor of visitors) {
      for (const path of ['/', '/howdy', '/inspect', '/inspect?flip=1', '/nonsense']) {
        const response = await visitor.get(path);
        const shown = JSON.stringify(response.headers) + bodyText(response);
        assert.ok(!shown.includes(SECRET) && !shown.includes('itsaseekreet'), path);
      }
    }
  });
});
