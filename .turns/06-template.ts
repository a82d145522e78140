import { check, expectEqual, expectParts } from '../.tools/check.ts';
import * as step from '../src/06-template.ts';

type Link = (url: string, text: string) => unknown;

check('link() returns an <a> element, and rejects another site', () => {
  const { link } = step as { link?: Link };
  if (!link) return expectEqual('src/06-template.ts must export link()', link, 'a function');
  for (const url of ['/', '/cart?item=tea#top', 'cart']) {
    const element = link(url, 'My <cart>');
    expectEqual(`link('${url}', …) returns an object of Html`, element instanceof step.Html, true);
    expectParts(`link('${url}', …)`, (element as step.Html).markup, '<a ', `href="${url}"`, 'My &lt;cart&gt;');
  }
  const element = link('/?" onclick="alert(1)', 'x') as step.Html;
  expectEqual('A " in the URL ends the attribute', element.markup.includes('" onclick'), false);
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
