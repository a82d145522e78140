// Splits TypeScript into tokens. `npm run practice` uses them to find the body of a function, and
// `test/architecture.test.ts` uses them to count lines of code and to read comments.

export type Kind = 'comment' | 'string' | 'template' | 'regexp' | 'word' | 'sign';
export type Token = { kind: Kind; text: string; start: number; end: number };

// In this order: the first pattern that matches is the kind of the token. A template is not here,
// because it can contain other templates.
const PATTERNS: readonly (readonly [Kind, RegExp])[] = [
  ['comment', /\/\/.*|\/\*[^]*?\*\//y],
  ['string', /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/y],
  ['regexp', /\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/[\\\n])+\/\w*/y],
  ['word', /#?[\w$]+/y],
  ['sign', /=>|[=!]==?|[<>]=|[^]/y],
];
const SPACE = /\s*/y;
const BEFORE_REGEXP = /^(?:return|typeof|case|in|of|throw|await|else)$/; // and most signs

/** Returns the tokens of a source, with its comments and without its white space. */
export function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  let before = ''; // the last token that is not a comment
  for (let at = matchAt(SPACE, source, 0).length; at < source.length; ) {
    const canDivide = /[\w$)\]}'"`]$/.test(before) && !BEFORE_REGEXP.test(before);
    const token = tokenAt(source, at, canDivide);
    tokens.push(token);
    if (token.kind !== 'comment') before = token.text;
    at = token.end + matchAt(SPACE, source, token.end).length;
  }
  return tokens;
}

function tokenAt(source: string, start: number, canDivide: boolean): Token {
  if (source[start] === '`') {
    const text = templateAt(source, start);
    return { kind: 'template', text, start, end: start + text.length };
  }
  for (const [kind, pattern] of PATTERNS) {
    const text = kind === 'regexp' && canDivide ? '' : matchAt(pattern, source, start);
    if (text !== '') return { kind, text, start, end: start + text.length };
  }
  throw new SyntaxError(`Cannot read the source at character ${start}`);
}

function matchAt(pattern: RegExp, source: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0] ?? '';
}

/** Returns a template literal with the expressions in it, and with the templates in those. */
function templateAt(source: string, from: number): string {
  let depth = 0; // of braces, inside an expression
  for (let at = from + 1; at < source.length; at++) {
    if (source[at] === '\\') at++;
    else if (depth === 0 && source[at] === '`') return source.slice(from, at + 1);
    else if (depth === 0 && source.startsWith('${', at)) [depth, at] = [1, at + 1];
    else if (depth > 0 && source[at] === '`') at += templateAt(source, at).length - 1;
    else if (depth > 0 && source[at] === '{') depth++;
    else if (depth > 0 && source[at] === '}') depth--;
  }
  throw new SyntaxError('Cannot find the end of a template');
}
