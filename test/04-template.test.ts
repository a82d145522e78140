import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { explainedIt, witness } from '../.tools/explain.ts';
import { parseRequest } from '../src/02-http.ts';
import type { HttpResponse } from '../src/02-http.ts';
import { escape, html, Html, page, raw, site } from '../src/04-template.ts';

const it = explainedIt(import.meta.url);

/** What a browser asks for, by its path as sent, answered by the whole site with no socket. */
async function get(path: string): Promise<HttpResponse> {
  const request = parseRequest('GET', path);
  return 'status' in request ? request : witness(site().handle)(request);
}

const ATTACKS = [
  `<script>alert(1)</script>`,
  `<img src=x onerror=alert(1)>`,
  `<svg/onload=alert(1)>`,
  `</h1></title><script>alert(1)</script>`,
  `</TITLE><ScRiPt>alert(1)</ScRiPt>`,
  `"><script>alert(1)</script>`,
  `' autofocus onfocus='alert(1)`,
  `" autofocus onfocus="alert(1)`,
  `<a href="javascript:alert(1)">x</a>`,
  `<!--<img src="--><img src=x onerror=alert(1)//">`,
  `<base href="//evil.example/">`,
  `<meta http-equiv="refresh" content="0;url=//evil.example">`,
  `&lt;script&gt;alert(1)&lt;/script&gt;`,
  `&#60;script&#62;alert(1)`,
  `<<script>alert(1)//<</script>`,
  `\${alert(1)}`,
  `$& $1 $\` $'`,
];

describe('04-template', () => {
  it('escape() replaces the five characters that mean something in markup', () => {
    const escaped = '&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;&lt;/a&gt;';
    assert.equal(escape(`<a href="x" id='y'>&</a>`), escaped);
    assert.equal(escape('Zoë 日本 🍪 / ` = $1'), 'Zoë 日本 🍪 / ` = $1');
    assert.equal(escape(''), '');
  });

  it('escape() escapes what is escaped already, so that the reader sees what was written', () => {
    assert.equal(escape('&lt;'), '&amp;lt;');
  });

  it('html escapes a value in text', () => {
    const name = '<b>Ada & Bob</b>';
    assert.equal(String(html`<p>${name}</p>`), '<p>&lt;b&gt;Ada &amp; Bob&lt;/b&gt;</p>');
  });

  it('html escapes a value in a quoted attribute, so that it cannot end the quote', () => {
    const title = `"' onclick="alert(1)`;
    const escaped = '&quot;&#39; onclick=&quot;alert(1)';
    assert.equal(
      String(html`<p title="${title}" lang='${title}'>x</p>`),
      `<p title="${escaped}" lang='${escaped}'>x</p>`,
      'a quote that is not escaped ends the attribute, and the next one is the attacker\'s',
    );
  });

  it('html puts what html made into what html makes, without escaping it twice', () => {
    const link = html`<a href="/">${'<home>'}</a>`;
    assert.ok(link instanceof Html);
    assert.equal(String(html`<p>${link}</p>`), '<p><a href="/">&lt;home&gt;</a></p>');
  });

  it('html does not take an object that only looks like markup for markup', () => {
    const forged = JSON.parse('{"markup":"<script>","toString":"<script>"}');
    assert.equal(String(html`<p>${forged}</p>`), '<p></p>');
  });

  it('html shows the items of an array one after the other, each escaped, at any depth', () => {
    const items = ['<1>', html`<b>2</b>`, [3, [undefined, '&']]];
    assert.equal(String(html`<p>${items}</p>`), '<p>&lt;1&gt;<b>2</b>3&amp;</p>');
    assert.equal(String(html`<p>${[]}</p>`), '<p></p>');
  });

  it('html shows nothing for undefined, null and false, and the word for 0, true and NaN', () => {
    assert.equal(String(html`[${undefined}${null}${false}${''}]`), '[]');
    assert.equal(String(html`[${0} ${true} ${-1.5} ${NaN}]`), '[0 true -1.5 NaN]');
  });

  it('html refuses an attribute without quotes with a TypeError that quotes the template', () => {
    const refused: Record<string, () => Html> = {
      'no quote': () => html`<a href=${'x'}>`,
      'a space after =': () => html`<a href= ${'x'}>`,
      'a line end after =': () => html`<a href=
        ${'x'}>`,
      'something before it': () => html`<a href=/hello/${'x'}>`,
      'after a quoted value': () => html`<a class="${'a'}" href=${'x'}>`,
      'after a quoted >': () => html`<a title="a > b" href=${'x'}>`,
      'after a value in apostrophes': () => html`<a title='two words' href=${'x'}>`,
      'after an apostrophe': () => html`<a title="it's" href=${'x'}>`,
      'upper case': () => html`<P>1</P><A HREF=${'x'}>`,
      'the second tag': () => html`<p>${'1'}</p><input value=${'x'}>`,
    };
    for (const [what, make] of Object.entries(refused)) {
      assert.throws(make, TypeError, `html must refuse this attribute: ${what}`);
      assert.throws(make, TypeError, `and the second time too: ${what}`);
    }
    const message = /^TypeError: Cannot fill a template: put quotes around .* after `<a href=`$/;
    assert.throws(() => html`<a href=${'x'}>`, message);
  });

  it('html takes what only looks like an attribute without quotes', () => {
    const v = 'x';
    assert.equal(String(html`<a href="/?page=${v}">`), '<a href="/?page=x">');
    assert.equal(String(html`<a href='/?a=1&amp;b=${v}'>`), `<a href='/?a=1&amp;b=x'>`);
    assert.equal(String(html`<p>1 + 1 = ${v}</p>`), '<p>1 + 1 = x</p>');
    assert.equal(String(html`<p>it's "so" a=${v}</p>`), `<p>it's "so" a=x</p>`);
    assert.equal(String(html`<a href="/"${html` id="b"`}>`), '<a href="/" id="b">');
    assert.equal(String(html`<a id="a" ${false}>`), '<a id="a" >');
    assert.equal(String(html`${v}<a href=`), 'x<a href=', 'where no value stands');
  });

  it('raw() lets markup through as it is, and is the only word that does', () => {
    assert.equal(String(html`<p>${raw('<b>&nbsp;</b>')}</p>`), '<p><b>&nbsp;</b></p>');
  });

  it('page() sends its type with the charset, and forbids the browser to guess', () => {
    const { status, headers } = page('Title', html`<main></main>`);
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['referrer-policy'], 'same-origin');
    assert.equal(page('Gone', html``, 404).status, 404);
  });

  it('page() sends a policy under which no script runs', () => {
    const policy = String(page('Title', html``).headers['content-security-policy']);
    const directives = new Map<string | undefined, string | undefined>(
      policy.split('; ').map((part) => [part.split(' ')[0], part.split(' ').slice(1).join(' ')]),
    );
    assert.equal(directives.get('default-src'), "'none'", policy);
    assert.ok(!directives.has('script-src'), `nothing may loosen default-src: ${policy}`);
    assert.doesNotMatch(policy, /unsafe|\*|data:|https?:/, 'each of these opens the door again');
    for (const name of ['style-src', 'img-src']) assert.equal(directives.get(name), "'self'", name);
    // default-src does not stand in for these three (CSP Level 3 §6.3 and §6.4).
    for (const name of ['base-uri', 'frame-ancestors', 'form-action']) {
      assert.match(directives.get(name) ?? '', /^'(none|self)'$/, `${name} in: ${policy}`);
    }
  });

  it('page() obeys its own policy: no script, no style and no handler inside it', () => {
    const body = String(page('T', html`<main></main>`).body);
    assert.doesNotMatch(body, /<script|<style|\sstyle=|\son\w+=/i);
  });

  it('page() escapes the title, takes the body as it is, and names the language', () => {
    const body = String(page('</title><script>', html`<main>${'<'}</main>`).body);
    assert.match(body, /<title>&lt;\/title&gt;&lt;script&gt;<\/title>/);
    assert.match(body, /^<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">/);
    const inside = /<body>[^]*<\/body>/.exec(body)?.[0];
    assert.equal(inside, '<body>\n<main>&lt;</main>\n</body>', 'the body, on lines of its own');
  });

  it('site() shows the three pages of step 3', async () => {
    const pages = { '/': 'Home View', '/howdy': 'Hello View', '/hello/Ada': 'Ada' };
    for (const [path, name] of Object.entries(pages)) {
      const { status, body } = await get(path);
      assert.equal(status, 200, path);
      const [, title] = /<title>(.*)<\/title>/.exec(String(body)) ?? [];
      assert.equal(title, `Quick Tutorial: ${name}`, `the title of ${path}`);
      const [main] = /<main>.*<\/main>/.exec(String(body)) ?? [];
      assert.equal(main, `<main><h1>Hi ${name}</h1></main>`, `what ${path} shows`);
    }
  });

  it('site() of step 4 gives its routes the names that the original gives them', () => {
    const routes = ['home', 'hello'].map((name) => site().pathFor(name));
    assert.deepEqual(routes, ['/', '/howdy']);
    assert.equal(site().pathFor('greet', { name: 'Ada' }), '/hello/Ada');
  });

  it('site() shows each attack as text, and its markup stays as it was', async () => {
    const tags = (body: unknown): string[] => String(body).match(/<[^>]*>/g) ?? [];
    const harmless = tags((await get('/hello/Ada')).body);
    for (const attack of ATTACKS) {
      const sent = `/hello/${encodeURIComponent(attack)}`;
      const { status, body } = await get(sent);
      assert.equal(status, 200, sent);
      assert.deepEqual(tags(body), harmless, `${sent} put a tag into the page:\n${body}`);
      assert.ok(String(body).includes(`<h1>Hi ${escape(attack)}</h1>`), `${sent}:\n${body}`);
    }
  });
});
