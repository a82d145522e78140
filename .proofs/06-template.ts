// Further proofs of step 6: every character, a table of attacks, and each template in `src/`.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { explainedIt } from '../.tools/explain.ts';
import { Visitor } from '../.tools/request.ts';
import { tokensOf } from '../.tools/tokens.ts';
import { escape, html, site } from '../src/06-template.ts';

const it = explainedIt(import.meta.url);

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

describe('06-template: proofs', () => {
  it('site() of step 6 shows each attack as text, and the tags stay the same', async () => {
    const visitor = new Visitor(site().handle);
    const tags = (body: string): string[] => body.match(/<[^>]*>/g) ?? [];
    const harmless = tags(await visitor.text('/howdy/Ada'));
    for (const attack of ATTACKS) {
      const body = await visitor.text(`/howdy/${encodeURIComponent(attack)}`);
      assert.deepEqual(tags(body), harmless, `${attack} inserts a tag:\n${body}`);
      assert.ok(body.includes(`<h1>Hi ${escape(attack)}</h1>`), `${attack}:\n${body}`);
    }
  });

  it('escape() changes five characters of Unicode, and a browser decodes its result', () => {
    const changed: string[] = [];
    for (let code = 0; code <= 0x10ffff; code++) {
      const character = String.fromCodePoint(code);
      const escaped = escape(character);
      if (escaped !== character) changed.push(character);
      else assert.doesNotMatch(character, /[&<>"']/);
    }
    assert.deepEqual(changed, ['"', '&', "'", '<', '>']);
    const text = ATTACKS.join('\n');
    assert.doesNotMatch(escape(text), /[<>"']/);
    assert.equal(decodeEntities(escape(text)), text);
  });

  it('html shows each attack as text in an attribute, with either quote', () => {
    for (const attack of ATTACKS) {
      const [, double, single] = /^<p a="([^"]*)" b='([^']*)'>$/.exec(
        html`<p a="${attack}" b='${attack}'>`.markup,
      ) ?? [];
      assert.equal(decodeEntities(double ?? ''), attack);
      assert.equal(decodeEntities(single ?? ''), attack);
    }
  });
});

/** Decodes what a browser decodes: named and numeric character references. */
function decodeEntities(markup: string): string {
  const names: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"' };
  return markup.replace(/&(?:#(\d+)|(\w+));/g, (all, code, name) =>
    code ? String.fromCodePoint(Number(code)) : (names[name] ?? all),
  );
}

// The templates in `src/`, read from the source. ◆ stands for a value.

describe('06-template: the templates in src', () => {
  const src = new URL('../src/', import.meta.url);
  const sources = readdirSync(src).map((name) => ({
    name,
    source: readFileSync(new URL(name, src), 'utf8'),
  }));

  it('unquotedAttributes() of this test finds each attribute without quotes', () => {
    const unsafe = [
      '<a href=◆>', '<a href= ◆>', '<a href=\n  ◆>', '<a href=/hello/◆>', '<a id=x>',
      '<a class="◆" href=◆>', '<a title="a > b" href=◆>', `<a title='two words' href=◆>`,
      `<a title="it's" href=◆>`, '<P>1</P><A HREF=◆>', '<p>◆</p><input value=◆>', ' id=◆',
    ];
    for (const text of unsafe) assert.equal(unquotedAttributes(text).length, 1, text);
    const safe = [
      '<a href="/?page=◆">', `<a href='/?a=1&amp;b=◆'>`, '<p>1 + 1 = ◆</p>', '<a id="a" ◆>',
      `<p>it's "so" a=◆</p>`, '<a href="/"◆>', ' id="◆"', '<input required name="a=b">◆ = ◆',
    ];
    for (const text of safe) assert.deepEqual(unquotedAttributes(text), [], text);
  });

  it('templatesIn() of this test finds a template inside a template', () => {
    const source = [
      '// html`<p>a comment</p>`',
      'const list = html`<ul title="${t}">${items.map((i) => {',
      '  return html`<li>${`${i}`} it\'s ${{ a: html`}` }.a}</li>`;',
      '})}</ul>`;',
    ].join('\n');
    assert.deepEqual(templatesIn(source), ['<ul title="◆">◆</ul>', "<li>◆ it's ◆</li>", '}']);
  });

  it('html templates in src have quotes around each attribute value', () => {
    const templates = sources.flatMap(({ source }) => templatesIn(source));
    assert.ok(templates.length > 5, `only ${templates.length} templates were found`);
    for (const { name, source } of sources) {
      for (const text of templatesIn(source)) {
        assert.deepEqual(unquotedAttributes(text), [], `src/${name}: html\`${text}\``);
      }
    }
  });

  it('html templates in src have no value in a script, a style element or a comment', () => {
    for (const { name, source } of sources) {
      for (const text of templatesIn(source)) {
        assert.doesNotMatch(text, /<(script|style)\b[^>]*>[^<]*◆|<!--[^>]*◆/i, `src/${name}`);
      }
    }
  });

  it('Html is created only by html, in step 6', () => {
    for (const { name, source } of sources) {
      const expected = name === '06-template.ts' ? 1 : 0;
      assert.equal(source.match(/\bnew Html\(/g)?.length ?? 0, expected, `src/${name}`);
      assert.doesNotMatch(source, /\bextends Html\b/, `src/${name}`);
    }
  });
});

/** Returns the text of each html`…` in a source, with ◆ for each value. */
function templatesIn(source: string): string[] {
  const tokens = tokensOf(source).filter(({ kind }) => kind !== 'comment');
  return tokens.flatMap(({ kind, text }, i) => {
    if (kind !== 'template') return [];
    const [markup, values] = splitTemplate(text);
    const own = tokens[i - 1]?.text === 'html' ? [markup] : [];
    return [...own, ...values.flatMap(templatesIn)];
  });
}

/** Returns the text of a template literal, with ◆ for each value, and the source of each value. */
function splitTemplate(template: string): [text: string, values: string[]] {
  let text = '';
  const values: string[] = [];
  const modes = ['text']; // the innermost mode is the last one
  for (let at = 1, start = 0; at < template.length - 1; at++) {
    const depth = modes.length;
    const [character = '', next = ''] = template.slice(at, at + 2);
    const isText = modes.at(-1) === 'text';
    if (isText && character === '$' && next === '{') modes.push('value');
    else if (isText ? character === '`' : character === '}') modes.pop();
    else if (!isText && /[`{]/.test(character)) modes.push(character === '`' ? 'text' : 'value');
    else if (depth === 1) text += character;
    if (depth === 1 && modes.length === 2) [text, start] = [`${text}◆`, at + 2];
    if (depth === 2 && modes.length === 1) values.push(template.slice(start, at));
    if (character === '\\' || (isText && modes.length > depth)) at += 1; // two characters
  }
  return [text, values];
}

/** Returns each tag with an attribute whose value has no quotes. */
function unquotedAttributes(text: string): string[] {
  let tags = /^\s[\w-]+\s*=/.test(text) ? `<fragment${text}>` : text;
  for (let before = ''; before !== tags; ) {
    before = tags; // each round replaces the first value with quotes in each tag
    tags = tags.replace(/(<[^<>"']*=\s*)(?:"[^"]*"|'[^']*')/g, '$1✓');
  }
  return tags.match(/<[^<>]*=\s*[^\s✓<>][^<>]*/g) ?? [];
}
