import { readTokens, type Token } from "./lexer.ts";

/** One SQL statement of a file, without its semicolon and the comments before it. */
export interface Statement {
  text: string;
  /** UTF-16 offset of the text in the file. */
  offset: number;
  /** Line of the first token, counted from 1. */
  line: number;
  /** The first tokens, words in upper case, quoted names as written: enough to tell what it is. */
  head: string[];
}

/** What a file consists of: its statements, and each comment with its place. */
export interface SqlText {
  statements: Statement[];
  comments: { text: string; offset: number; line: number }[];
}

const headLength = 16;

/**
 * Splits SQL where psql would: at semicolons outside quotes, comments, parentheses and
 * `BEGIN ATOMIC … END` bodies of functions.
 *
 * @throws SqlTextError as `readTokens`
 */
export function splitStatements(source: string): SqlText {
  const lineAt = lineCounter(source);
  const statements: Statement[] = [];
  const comments: SqlText["comments"] = [];
  let tokens: Token[] = [];
  let parentheses = 0;
  let atomic = 0;
  let previous = "";

  const finish = (): void => {
    const first = tokens[0];
    const last = tokens.at(-1);
    if (first !== undefined && last !== undefined) {
      statements.push({
        text: source.slice(first.start, last.end),
        offset: first.start,
        line: lineAt(first.start),
        head: tokens.slice(0, headLength).map((token) => shown(source, token)),
      });
    }
    tokens = [];
    parentheses = 0;
    atomic = 0;
    previous = "";
  };

  for (const token of readTokens(source)) {
    if (token.kind === "comment") {
      const text = source.slice(token.start, token.end);
      comments.push({ text, offset: token.start, line: lineAt(token.start) });
      continue;
    }
    const text = shown(source, token);
    if (text === ";" && parentheses === 0 && atomic === 0) {
      finish();
      continue;
    }
    tokens.push(token);
    if (token.kind === "symbol") {
      if (text === "(") parentheses += 1;
      if (text === ")") parentheses = Math.max(0, parentheses - 1);
    }
    if (token.kind === "word") {
      // CASE is the only other construct that END closes inside such a body.
      if (text === "ATOMIC" && previous === "BEGIN") atomic += 1;
      else if (text === "CASE" && atomic > 0) atomic += 1;
      else if (text === "END" && atomic > 0) atomic -= 1;
    }
    previous = text;
  }
  finish();
  return { statements, comments };
}

function shown(source: string, token: Token): string {
  const text = source.slice(token.start, token.end);
  return token.kind === "word" ? text.toUpperCase() : text;
}

/** Returns a function from offset to line number, both in the given text. */
export function lineCounter(source: string): (offset: number) => number {
  const starts = [0];
  for (let at = source.indexOf("\n"); at >= 0; at = source.indexOf("\n", at + 1))
    starts.push(at + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}
