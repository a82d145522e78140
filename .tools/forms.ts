// The forms of a page, for tests. A page of this project is regular enough for a few patterns: its
// attributes have double quotes, and no form contains another form.

/** A form, with the fields that a browser would send if the visitor changes nothing. */
export type PageForm = {
  readonly method: string; // 'get' or 'post'
  readonly action: string; // '' means the page itself
  readonly fields: Readonly<Record<string, string>>;
};

/** Returns the forms of a page, in their order. */
export function formsOf(markup: string): PageForm[] {
  const forms = markup.matchAll(/<form\b([^>]*)>([^]*?)<\/form>/g);
  return [...forms].map(([, tag = '', content = '']) => ({
    method: attribute(tag, 'method')?.toLowerCase() ?? 'get',
    action: attribute(tag, 'action') ?? '',
    fields: Object.fromEntries(fieldsOf(content)),
  }));
}

/** Returns the form with this action. Throws if the page has none. */
export function formTo(markup: string, action: string): PageForm {
  const form = formsOf(markup).find((one) => one.action === action);
  if (form) return form;
  throw new Error(`The page has no form to ${action}:\n${markup}`);
}

/** Returns the token of the first form that has one, or `''`. */
export function tokenOf(markup: string): string {
  const forms = formsOf(markup);
  return forms.map(({ fields }) => fields.csrf_token).find((token) => token !== undefined) ?? '';
}

function fieldsOf(content: string): (readonly [name: string, value: string])[] {
  const fields: (readonly [string, string])[] = [];
  for (const [, tag = ''] of content.matchAll(/<input\b([^>]*)>/g)) {
    const name = attribute(tag, 'name');
    if (name !== undefined) fields.push([name, attribute(tag, 'value') ?? '']);
  }
  for (const [, tag = '', text = ''] of content.matchAll(/<textarea\b([^>]*)>\n?([^<]*)</g)) {
    fields.push([attribute(tag, 'name') ?? '', unescape(text)]);
  }
  return fields;
}

function attribute(tag: string, name: string): string | undefined {
  const value = new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(tag)?.[1];
  return value === undefined ? undefined : unescape(value);
}

function unescape(text: string): string {
  return text.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => CHARACTERS[entity] ?? entity);
}

const CHARACTERS: Record<string, string> =
  { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'" };
