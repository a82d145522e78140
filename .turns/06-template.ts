import assert from 'node:assert/strict';
import { check, expectEqual, expectParts } from '../.tools/check.ts';
import * as step from '../src/06-template.ts';

type Link = (url: string, text: string) => unknown;

check('link() returns an <a> element, and rejects another site', () => {
  const { link } = step as { link?: Link };
  assert.ok(link, 'src/06-template.ts must export the function link().');
  for (const url of ['/', '/cart?item=tea#top', 'cart']) {
    const element = link(url, 'My <cart>');
    assert.ok(element instanceof step.Html, `link('${url}', …) must return an object of Html.`);
    expectParts(`link('${url}', …)`, element.markup, '<a ', `href="${url}"`, 'My &lt;cart&gt;');
  }
  const element = link('/?" onclick="alert(1)', 'x') as step.Html;
  assert.ok(!element.markup.includes('" onclick'), 'A " in the URL must not end the attribute.');
  for (const url of [
    'javascript:alert(1)', ' javascript:alert(1)', 'https://evil.example/', '//evil.example',
    String.raw`/\evil.example`, '\t//evil.example', 'data:text/html,x',
  ]) {
    let returned: unknown;
    try {
      returned = link(url, 'x');
    } catch {
      continue;
    }
    expectEqual(`link(${JSON.stringify(url)}, …) leads to another site`, returned, 'an error');
  }
});
