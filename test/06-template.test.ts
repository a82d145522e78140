import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt, given, ofStep } from '../.tools/explain.ts';
import { bodyText, Visitor } from '../.tools/request.ts';
import { Router } from '../src/05-router.ts';
import { addStyle, escape, html, Html, Page, page, site, type Value } from '../src/06-template.ts';

const it = explainedIt(import.meta.url);

describe('06-template: escaping', () => {
  it('new Html() keeps the markup', () => {
    assert.equal(new Html('<b>').markup, '<b>');
  });

  it('escape() replaces the five characters that have a meaning in markup', () => {
    const escaped = '&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;&lt;/a&gt;';
    assert.equal(escape(given(`<a href="x" id='y'>&</a>`)), escaped);
    assert.equal(escape(given('Zoë 日本 🍪 / ` = $1')), 'Zoë 日本 🍪 / ` = $1');
    assert.equal(escape(given('')), '');
  });

  it('escape() escapes & too, so the reader sees exactly what the visitor wrote', () => {
    assert.equal(escape(given('&lt;')), '&amp;lt;');
  });

  it('html escapes a value in text', () => {
    const name = '<b>Ada & Bob</b>';
    assert.equal(html`<p>${given(name)}</p>`?.markup, '<p>&lt;b&gt;Ada &amp; Bob&lt;/b&gt;</p>');
  });

  it('html escapes both quotes, so a value cannot end its attribute', () => {
    const title = `"' onclick="alert(1)`;
    const escaped = '&quot;&#39; onclick=&quot;alert(1)';
    assert.equal(
      html`<p title="${given(title)}" lang='${title}'>x</p>`.markup,
      `<p title="${escaped}" lang='${escaped}'>x</p>`,
      'a quote ends the attribute, and the attacker writes the next attribute',
    );
  });

  it('html inserts the markup of another template without escaping it again', () => {
    const link = html`<a href="/">${given('<home>')}</a>`;
    assert.ok(link instanceof Html);
    assert.equal(html`<p>${given(link)}</p>`.markup, '<p><a href="/">&lt;home&gt;</a></p>');
  });

  it('html shows numbers and true as text, and undefined, null and false as nothing', () => {
    for (const value of [7, 0, -1.5, NaN, true]) {
      assert.equal(html`[${given(value)}]`.markup, `[${value}]`);
    }
    for (const value of [undefined, null, false, '']) {
      assert.equal(html`[${given(value)}]`.markup, '[]');
    }
  });

  it('html shows the items of an array one after another, at any depth', () => {
    assert.equal(html`<p>${given(['a', 'b'])}</p>`.markup, '<p>ab</p>');
    const items = ['<1>', html`<b>2</b>`, [3, [undefined, '&']]];
    assert.equal(html`<p>${given(items)}</p>`.markup, '<p>&lt;1&gt;<b>2</b>3&amp;</p>');
    assert.equal(html`<p>${given([])}</p>`.markup, '<p></p>');
  });

  it('html throws a TypeError that shows the template and the value it cannot show', () => {
    const wrong: [value: unknown, message: RegExp][] = [
      [new Date(0), /^Cannot show 1970-01-01T00:00:00.000Z in html`<p>…<\/p>`$/],
      [10n, /^Cannot show 10n in html`<p>…<\/p>`$/],
      [{}, /^Cannot show {} in html`<p>…<\/p>`$/],
      [() => 1, /^Cannot show \[Function .*\] in html`<p>…<\/p>`$/],
      [Symbol('s'), /^Cannot show Symbol\(s\) in html`<p>…<\/p>`$/],
      [new Map(), /^Cannot show Map\(0\) {} in html`<p>…<\/p>`$/],
      [Promise.resolve('x'), /^Cannot show Promise [^]* in html`<p>…<\/p>`$/], // without `await`
    ];
    for (const [value, message] of wrong) {
      const expected = { name: 'TypeError', message };
      assert.throws(() => html`<p>${given(value as Value)}</p>`, expected);
      assert.throws(() => html`<p>${given([[value]] as Value)}</p>`, expected, 'in an array');
    }
  });

  it('html rejects an object from JSON that only looks like markup', () => {
    const forged = JSON.parse('{"markup":"<script>alert(1)</script>"}') as Value;
    assert.throws(() => html`<p>${given(forged)}</p>`, TypeError);
  });
});

describe('06-template: pages', () => {
  it('new Page() keeps the title and the content, and its slots are empty', () => {
    const { title, main, slots } = new Page('Tea', new Html('<p>'));
    const empty = { header: [], notices: [], footer: [] };
    assert.deepEqual([title, main.markup, slots], ['Tea', '<p>', empty]);
    const later = { ...empty, notices: [new Html('<p>Saved</p>')] };
    assert.deepEqual(new Page('Tea', main, later).slots, later, 'the slots of the third parameter');
  });

  it('Page.render() puts the slots around the content: header, notices, footer', () => {
    const body = new Page('Title', html`<h1>Title</h1>`);
    const header = [html`<nav>1</nav>`, html`<nav>2</nav>`];
    const slots = { header, notices: [html`<p>Saved</p>`], footer: [html`<footer>3</footer>`] };
    const later = new Page(body.title, body.main, slots);
    const order = /<nav>1<\/nav><nav>2<\/nav><main .*>\n<p>Saved<\/p><h1>.*\n<\/main>\n<footer>3</;
    assert.match(later.render(), order);
    assert.doesNotMatch(body.render(), /<nav>|Saved|<footer>/, 'the first page is unchanged');
  });

  it('Page.render() shows the title and the content', () => {
    const rendered = new Page('News', html`<h1>${'News & more'}</h1>`).render();
    assert.equal(typeof rendered, 'string', 'render() returns a text');
    assert.match(rendered, /^<!doctype html>\n<html lang="en"><head><meta charset="utf-8">/);
    assert.match(rendered, /<title>News<\/title>/);
    const main = /<main id="content" tabindex="-1">\n<h1>News &amp; more<\/h1>\n<\/main>/;
    assert.match(rendered, main);
  });

  it('Page.render() refers to the icon and to the style sheet', () => {
    const rendered = new Page('News', html``).render();
    const urls = [...rendered.matchAll(/ (?:href|src)="([^"]*)"/g)].map(([, url]) => url);
    assert.deepEqual(urls.sort(), ['/favicon.svg', '/style.css']);
  });

  it('Page.render() escapes the title', () => {
    const rendered = new Page('</title><script>alert(1)</script>', html``).render();
    const title = /<title>&lt;\/title&gt;&lt;script&gt;alert\(1\)&lt;\/script&gt;<\/title>/;
    assert.match(rendered, title);
  });

  it('page() returns a response with a page, and the status 200 by default', () => {
    const response = page(given('News'), html`<h1>News</h1>`);
    assert.equal(response?.status, 200);
    const { body } = response;
    assert.ok(body instanceof Page, 'the body is a Page, so that later steps can add to it');
    assert.deepEqual([body.title, body.main.markup], ['News', '<h1>News</h1>']);
    assert.equal(page(given('Gone'), html``, 404).status, 404);
  });

  it('page() sends its type with the charset, and forbids the browser to guess another', () => {
    const { headers } = page(given('Title'), html``);
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['referrer-policy'], 'same-origin');
  });

  it('page() sends a Content-Security-Policy that allows no script', () => {
    const policy = String(page(given('Title'), html``).headers['content-security-policy']);
    const directives = new Map(
      policy.split('; ').map((part) => part.split(/ (.*)/) as [string, string]),
    );
    assert.equal(directives.get('default-src'), "'none'", policy);
    assert.ok(!directives.has('script-src'), `default-src decides about scripts: ${policy}`);
    assert.doesNotMatch(policy, /unsafe|\*|data:|https?:/, 'each of these weakens the policy');
    for (const name of ['style-src', 'img-src']) assert.equal(directives.get(name), "'self'", name);
    // default-src does not include these three (CSP Level 3 §6.3 and §6.4).
    for (const name of ['base-uri', 'frame-ancestors', 'form-action']) {
      assert.match(directives.get(name) ?? '', /^'(none|self)'$/, `${name} in: ${policy}`);
    }
  });

  it('Page.render() obeys the policy: no script, no style element, no event handler', () => {
    const body = new Page('Title', html`<h1>Title</h1>`).render();
    assert.doesNotMatch(body, /<script|<style|\sstyle=|\son\w+=/i);
  });
});

describe('06-template: the site', () => {
  it('addStyle() adds the style sheet and the icon, and neither needs a cookie', async () => {
    const visitor = new Visitor(addStyle(new Router()).handle);
    const files = { '/style.css': 'text/css', '/favicon.svg': 'image/svg+xml' };
    for (const [path, type] of Object.entries(files)) {
      const response = await visitor.get(path);
      assert.equal(response.status, 200, path);
      assert.equal(response.headers['content-type'], type, path);
      assert.equal(response.headers['set-cookie'], undefined, path);
      assert.deepEqual(response.body, readFileSync(new URL(`../public${path}`, import.meta.url)));
    }
  });

  it('page() refers only to files that addStyle() adds', async () => {
    const visitor = new Visitor(addStyle(new Router()).handle);
    const body = bodyText(page(given('Title'), html``));
    const urls = [...body.matchAll(/ (?:href|src)="([^"]*)"/g)].map(([, url = '']) => url);
    assert.equal(urls.length, 2, String(urls));
    for (const url of urls) assert.equal((await visitor.get(url)).status, 200, url);
  });

  it('site() of step 6 counts on the three pages of step 5', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    const pages = [['/', 'Home View'], ['/howdy', 'Hello View'], ['/howdy/Ada', 'Ada']] as const;
    for (const [i, [path, name]] of pages.entries()) {
      const body = await visitor.text(path);
      assert.match(body, new RegExp(`<title>Quick Tutorial: ${name}</title>`), path);
      assert.match(body, new RegExp(`<h1>Hi ${name}</h1>\n<p>Count: ${i + 1}</p>`), path);
    }
  });

  it('site() of step 6 has the style sheet', async () => {
    const visitor = new Visitor(ofStep(site().handle));
    assert.equal((await visitor.get('/style.css')).status, 200);
  });

  it('site() of step 6 shows a script in the URL as text', async () => {
    const script = '<script>alert(1)</script>';
    const visitor = new Visitor(ofStep(site().handle));
    const body = await visitor.text(`/howdy/${encodeURIComponent(script)}`);
    assert.ok(!body.includes('<script'), `the browser runs this script:\n${body}`);
    assert.ok(body.includes('<h1>Hi &lt;script&gt;alert(1)&lt;/script&gt;</h1>'), body);
  });
});
