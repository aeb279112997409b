/** What a piece of SQL text is. Whitespace is not reported. */
type TokenKind = "word" | "identifier" | "string" | "number" | "symbol" | "comment";

/** One token of SQL: half-open range of UTF-16 offsets in the source. */
export interface Token {
  kind: TokenKind;
  start: number;
  end: number;
}

/** Text that is no SQL, with the place where the trouble begins. */
export class SqlTextError extends Error {
  readonly offset: number;
  readonly reason: "unterminated" | "meta-command";

  constructor(reason: SqlTextError["reason"], message: string, offset: number) {
    super(message);
    this.name = "SqlTextError";
    this.reason = reason;
    this.offset = offset;
  }
}

// An identifier goes on with `$`, and every character beyond ASCII is a letter to PostgreSQL.
const word = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/y;
const number = /\d[\w.]*/y;
const dollarTag = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y;
const parameter = /\$\d+/y;
const whitespace = /[ \t\n\r\f\v]+/y;
/** Between two halves of one string: white space (or line comments) holding a line break. */
const continuation = /(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'/y;

/**
 * Reads PostgreSQL's SQL into tokens by the rules of the server's own lexer with
 * standard_conforming_strings on: `E''` strings (and their continuation lines), doubled quotes,
 * dollar quotes, nested comments.
 *
 * @throws SqlTextError for an unterminated quote or comment, and for a backslash outside quotes:
 *   no SQL has one, so it is a command of psql.
 */
export function* readTokens(source: string): Generator<Token, void, undefined> {
  let at = 0;
  while (at < source.length) {
    at = matchEnd(whitespace, source, at) ?? at;
    if (at >= source.length) return;
    const token = readToken(source, at);
    yield token;
    at = token.end;
  }
}

function readToken(source: string, start: number): Token {
  const two = source.slice(start, start + 2);
  if (two === "--") return { kind: "comment", start, end: lineEnd(source, start) };
  if (two === "/*") return { kind: "comment", start, end: blockCommentEnd(source, start) };

  const character = source.charAt(start);
  if (character === "'") return { kind: "string", start, end: plainEnd(source, start, "'") };
  if (character === '"') return { kind: "identifier", start, end: plainEnd(source, start, '"') };
  if (/^e'/i.test(two)) return { kind: "string", start, end: escapeStringEnd(source, start) };
  if (/^[bxn]'/i.test(two)) return { kind: "string", start, end: plainEnd(source, start + 1, "'") };
  if (/^u&/i.test(two)) {
    const quote = source.charAt(start + 2);
    if (quote === "'") return { kind: "string", start, end: plainEnd(source, start + 2, quote) };
    if (quote === '"')
      return { kind: "identifier", start, end: plainEnd(source, start + 2, quote) };
  }
  if (character === "$") {
    const tagEnd = matchEnd(dollarTag, source, start);
    if (tagEnd !== undefined) {
      const tag = source.slice(start, tagEnd);
      const close = source.indexOf(tag, tagEnd);
      if (close < 0) throw unterminated(`a ${tag} quote is never closed`, start);
      return { kind: "string", start, end: close + tag.length };
    }
    const parameterEnd = matchEnd(parameter, source, start);
    if (parameterEnd !== undefined) return { kind: "symbol", start, end: parameterEnd };
  }
  const wordEnd = matchEnd(word, source, start);
  if (wordEnd !== undefined) return { kind: "word", start, end: wordEnd };
  const numberEnd = matchEnd(number, source, start);
  if (numberEnd !== undefined) return { kind: "number", start, end: numberEnd };
  if (character === "\\") {
    const command = source.slice(start, lineEnd(source, start)).trim();
    throw new SqlTextError("meta-command", `"${command}" is a command of psql, not SQL`, start);
  }
  return { kind: "symbol", start, end: start + 1 };
}

function matchEnd(pattern: RegExp, source: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(source) ? pattern.lastIndex : undefined;
}

function lineEnd(source: string, start: number): number {
  const rest = /[\n\r]/g;
  rest.lastIndex = start;
  return rest.exec(source)?.index ?? source.length;
}

function blockCommentEnd(source: string, start: number): number {
  const edge = /\/\*|\*\//g;
  edge.lastIndex = start;
  let depth = 0;
  for (let match = edge.exec(source); match !== null; match = edge.exec(source)) {
    depth += match[0] === "/*" ? 1 : -1;
    if (depth === 0) return edge.lastIndex;
  }
  throw unterminated("a /* comment is never closed", start);
}

/** End of a quoted token that opens at `open`; the quote itself is written twice inside. */
function plainEnd(source: string, open: number, quote: string): number {
  let at = open + 1;
  for (;;) {
    const close = source.indexOf(quote, at);
    if (close < 0) {
      throw unterminated(`a ${quote === "'" ? "string" : "quoted name"} is never closed`, open);
    }
    if (source.charAt(close + 1) !== quote) return close + 1;
    at = close + 2;
  }
}

/** End of `E'…'`: a backslash takes the next character, on continuation lines as well. */
function escapeStringEnd(source: string, start: number): number {
  let at = start + 2;
  for (;;) {
    const character = source.charAt(at);
    if (character === "") throw unterminated("a string is never closed", start);
    if (character === "\\") at += 2;
    else if (character !== "'") at += 1;
    else if (source.charAt(at + 1) === "'") at += 2;
    else {
      const continued = matchEnd(continuation, source, at + 1);
      if (continued === undefined) return at + 1;
      at = continued;
    }
  }
}

function unterminated(message: string, offset: number): SqlTextError {
  return new SqlTextError("unterminated", message, offset);
}
