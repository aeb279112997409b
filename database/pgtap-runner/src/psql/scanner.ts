import type { Location, QueryBuffer } from "./query-buffer.ts";

/** Why the scanner stopped: a whole statement, a backslash command, or no more of this line. */
export type ScanStop = "semicolon" | "backslash" | "end-of-line";

/** How an argument of a backslash command is read; the names are those of psql's source. */
export type ArgumentKind = "normal" | "whole-line";

/** One argument of a backslash command. */
export interface Argument {
  text: string;
  /** Part of it was quoted or came from a variable, so that `'-n'` is no option. */
  quoted: boolean;
}

/** Gives the value of a psql variable; undefined when there is none, or none applies here. */
export type VariableLookup = (name: string) => string | undefined;

/** An argument cannot be read without psql: it holds a shell command. */
export class BacktickArgument extends Error {}

type State =
  | "plain"
  | "quote"
  | "escape-quote"
  | "identifier-quote"
  | "dollar-quote"
  | "block-comment";

interface Input {
  text: string;
  position: number;
  /** The variable whose value this is; undefined for the line of the file itself. */
  variable: string | undefined;
  location: Location;
}

const identifierPattern = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/y;
const numberPattern = /[0-9]+/y;
const spacePattern = /[ \t\n\r\f\v]+/y;
const dollarPattern = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y;
const variablePattern =
  /:(?:([A-Za-z0-9_\u0080-\uffff]+)|'([A-Za-z0-9_\u0080-\uffff]+)'|"([A-Za-z0-9_\u0080-\uffff]+)"|\{\?([A-Za-z0-9_\u0080-\uffff]+)\})/y;
// Everything that means nothing to the scanner, so that it passes in one step.
const dullPattern = /[,.=+<>*!@#%^&|`?~[\]{}]+/y;

/** SQL's quoting of a value, as libpq does it: backslashes need an E string. */
export function quoteLiteral(value: string): string {
  const doubled = value.replace(/'/g, "''");
  return doubled.includes("\\") ? ` E'${doubled.replace(/\\/g, "\\\\")}'` : `'${doubled}'`;
}

/** SQL's quoting of a name. */
export function quoteIdentifier(name: string): string {
  return `"${name.replace(/"/g, '""')}"`;
}

/**
 * psql's lexer: it splits a script into statements and backslash commands, line by line, and puts
 * the values of variables in. Its rules are those of psql 15 (`psqlscan.l`, `psqlscanslash.l`).
 */
export class Scanner {
  readonly #lookup: VariableLookup;
  readonly #standardStrings: () => boolean;
  readonly #onWarning: (text: string) => void;
  #inputs: Input[] = [];
  #state: State = "plain";
  #parentheses = 0;
  #beginDepth = 0;
  #commentDepth = 0;
  #dollarTag = "";
  /** First letters of the words that may start CREATE [OR REPLACE] FUNCTION. */
  #opening = "";
  #words = 0;
  #several = false;

  constructor(
    lookup: VariableLookup,
    standardStrings: () => boolean,
    onWarning: (text: string) => void,
  ) {
    this.#lookup = lookup;
    this.#standardStrings = standardStrings;
    this.#onWarning = onWarning;
  }

  /** Gives the scanner its next line, without the newline at its end. */
  feed(line: string, location: Location): void {
    this.#inputs = [{ text: line, position: 0, variable: undefined, location }];
  }

  /** What was read so far ends inside a quote or a comment. */
  get insideQuote(): boolean {
    return this.#state !== "plain";
  }

  /** The statement holds `\;`: the server gets several statements in one query. */
  get several(): boolean {
    return this.#several;
  }

  get parentheses(): number {
    return this.#parentheses;
  }

  set parentheses(depth: number) {
    this.#parentheses = depth;
  }

  /** Starts a new statement: what came before has been sent or thrown away. */
  reset(): void {
    this.#state = "plain";
    this.#parentheses = 0;
    this.#beginDepth = 0;
    this.#startStatement();
  }

  #startStatement(): void {
    this.#opening = "";
    this.#words = 0;
    this.#several = false;
  }

  /** The caller has taken the statement that ended at a semicolon. */
  statementTaken(): void {
    this.#startStatement();
  }

  /** Reads on into `buffer` until there is something to do. */
  scan(buffer: QueryBuffer): ScanStop {
    for (;;) {
      const input = this.#inputs.at(-1);
      if (input === undefined) return "end-of-line";
      if (input.position >= input.text.length) {
        if (this.#inputs.length === 1) return "end-of-line";
        this.#inputs.pop();
        continue;
      }
      if (this.#state === "plain") {
        const stop = this.#plain(input, buffer);
        if (stop !== undefined) return stop;
      } else {
        this.#enclosed(input, buffer);
      }
    }
  }

  #take(input: Input, end: number, buffer: QueryBuffer): void {
    this.#emit(input, input.text.slice(input.position, end), buffer);
    input.position = end;
  }

  #emit(input: Input, text: string, buffer: QueryBuffer): void {
    const substituted = input !== this.#inputs[0];
    buffer.append(text, input.location, substituted ? 0 : input.position, substituted);
  }

  /** Where the scanner stands; inside a variable's value, where the variable is used. */
  #locationOf(input: Input): Location {
    if (input !== this.#inputs[0]) return input.location;
    return { ...input.location, column: input.location.column + input.position };
  }

  #match(pattern: RegExp, input: Input): RegExpExecArray | null {
    pattern.lastIndex = input.position;
    return pattern.exec(input.text);
  }

  #plain(input: Input, buffer: QueryBuffer): ScanStop | undefined {
    const { text, position } = input;
    const space = this.#match(spacePattern, input);
    if (space !== null) {
      // Before a statement, space means nothing and is not part of it.
      if (buffer.length > 0) this.#emit(input, space[0], buffer);
      input.position += space[0].length;
      return undefined;
    }
    const word = this.#match(identifierPattern, input);
    if (word !== null) {
      this.#word(word[0], input, buffer);
      return undefined;
    }
    const pass = this.#match(numberPattern, input) ?? this.#match(dullPattern, input);
    if (pass !== null) {
      this.#take(input, position + pass[0].length, buffer);
      return undefined;
    }
    const character = text.charAt(position);
    const following = text.charAt(position + 1);
    switch (character) {
      case ";":
        this.#take(input, position + 1, buffer);
        return this.#parentheses === 0 && this.#beginDepth === 0 ? "semicolon" : undefined;
      case "\\":
        if (following === ";" || following === ":") {
          input.position += 1;
          if (following === ";") {
            this.#several = true;
            this.#opening = "";
            this.#words = 0;
          }
          this.#take(input, position + 2, buffer);
          return undefined;
        }
        input.position += 1;
        return "backslash";
      case "'":
        this.#take(input, position + 1, buffer);
        this.#state = this.#standardStrings() ? "quote" : "escape-quote";
        return undefined;
      case '"':
        this.#take(input, position + 1, buffer);
        this.#state = "identifier-quote";
        return undefined;
      case "$": {
        const tag = this.#match(dollarPattern, input);
        if (tag === null) {
          this.#take(input, position + 1, buffer);
        } else {
          this.#dollarTag = tag[0];
          this.#state = "dollar-quote";
          this.#take(input, position + tag[0].length, buffer);
        }
        return undefined;
      }
      case "-":
        if (following === "-") {
          if (buffer.length > 0) this.#take(input, text.length, buffer);
          else input.position = text.length;
          return undefined;
        }
        this.#take(input, position + 1, buffer);
        return undefined;
      case "/":
        if (following === "*") {
          this.#state = "block-comment";
          this.#commentDepth = 1;
          this.#take(input, position + 2, buffer);
          return undefined;
        }
        this.#take(input, position + 1, buffer);
        return undefined;
      case ":":
        this.#colon(input, buffer);
        return undefined;
      case "(":
        this.#parentheses += 1;
        this.#take(input, position + 1, buffer);
        return undefined;
      case ")":
        if (this.#parentheses > 0) this.#parentheses -= 1;
        this.#take(input, position + 1, buffer);
        return undefined;
      default:
        this.#take(input, position + 1, buffer);
        return undefined;
    }
  }

  #word(word: string, input: Input, buffer: QueryBuffer): void {
    const end = input.position + word.length;
    const next = input.text.charAt(end);
    if (next === "'" && /^[eEbBxXnN]$/.test(word)) {
      // E'…' takes backslash escapes; the other prefixes change nothing for us.
      this.#take(input, end + 1, buffer);
      this.#state = /^[eE]$/.test(word)
        ? "escape-quote"
        : /^[nN]$/.test(word) && !this.#standardStrings()
          ? "escape-quote"
          : "quote";
      return;
    }
    if (/^[uU]$/.test(word) && next === "&" && /['"]/.test(input.text.charAt(end + 1))) {
      this.#state = input.text.charAt(end + 1) === '"' ? "identifier-quote" : "quote";
      this.#take(input, end + 2, buffer);
      return;
    }
    const lower = word.toLowerCase();
    // A function's BEGIN ATOMIC … END holds semicolons that do not end the statement.
    if (this.#words < 4 && /^(create|function|procedure|or|replace)$/.test(lower)) {
      this.#opening = this.#opening.padEnd(this.#words, " ") + lower.charAt(0);
    }
    this.#words += 1;
    if (this.#parentheses === 0 && /^c(or)?[fp]/.test(this.#opening)) {
      if (lower === "begin") this.#beginDepth += 1;
      else if (lower === "case" && this.#beginDepth > 0) this.#beginDepth += 1;
      else if (lower === "end" && this.#beginDepth > 0) this.#beginDepth -= 1;
    }
    this.#take(input, end, buffer);
  }

  #colon(input: Input, buffer: QueryBuffer): void {
    const { text, position } = input;
    const following = text.charAt(position + 1);
    if (following === ":" || following === "=") {
      this.#take(input, position + 2, buffer);
      return;
    }
    const match = this.#match(variablePattern, input);
    if (match === null) {
      this.#take(input, position + 1, buffer);
      return;
    }
    const [whole, plain, literal, identifier, test] = match;
    if (test !== undefined) {
      this.#emit(input, this.#lookup(test) === undefined ? "FALSE" : "TRUE", buffer);
      input.position += whole.length;
      return;
    }
    const value = this.#lookup(plain ?? literal ?? identifier ?? "");
    if (value === undefined) {
      this.#take(input, position + whole.length, buffer);
      return;
    }
    const location = this.#locationOf(input);
    if (plain === undefined) {
      const quoted = literal === undefined ? quoteIdentifier(value) : quoteLiteral(value);
      buffer.append(quoted, location, 0, true);
      input.position += whole.length;
      return;
    }
    if (this.#inputs.some((open) => open.variable === plain)) {
      this.#onWarning(`skipping recursive expansion of variable "${plain}"`);
      this.#take(input, position + whole.length, buffer);
      return;
    }
    input.position += whole.length;
    // The value is read as if it stood here: it may hold quotes, semicolons, other variables.
    this.#inputs.push({ text: value, position: 0, variable: plain, location });
  }

  /** Reads on inside a quote or a block comment. */
  #enclosed(input: Input, buffer: QueryBuffer): void {
    const { text } = input;
    let at = input.position;
    const end = text.length;
    switch (this.#state) {
      case "quote":
      case "escape-quote":
      case "identifier-quote": {
        const mark = this.#state === "identifier-quote" ? '"' : "'";
        const escapes = this.#state === "escape-quote";
        for (; at < end; at++) {
          const character = text.charAt(at);
          if (escapes && character === "\\") at += 1;
          else if (character === mark) {
            if (text.charAt(at + 1) === mark) at += 1;
            else {
              this.#state = "plain";
              at += 1;
              break;
            }
          }
        }
        this.#take(input, Math.min(at, end), buffer);
        return;
      }
      case "dollar-quote": {
        const close = text.indexOf(this.#dollarTag, at);
        if (close !== -1) this.#state = "plain";
        this.#take(input, close === -1 ? end : close + this.#dollarTag.length, buffer);
        return;
      }
      case "block-comment": {
        const pattern = /\/\*|\*\//g;
        pattern.lastIndex = at;
        let stop = end;
        for (;;) {
          const match = pattern.exec(text);
          if (match === null) break;
          this.#commentDepth += match[0] === "/*" ? 1 : -1;
          if (this.#commentDepth === 0) {
            this.#state = "plain";
            stop = pattern.lastIndex;
            break;
          }
        }
        this.#take(input, stop, buffer);
        return;
      }
      case "plain":
        return;
    }
  }

  // The rest reads backslash commands; a command stands on one line.

  #line(): Input {
    // A command inside a variable's value goes on to the end of that value, as in psql.
    const input = this.#inputs.at(-1);
    if (input === undefined) throw new Error("no line has been fed");
    return input;
  }

  /** The command's name, after its backslash. */
  readCommand(): string {
    const input = this.#line();
    const name = /[^\s\\]*/y;
    name.lastIndex = input.position;
    const found = name.exec(input.text)?.[0] ?? "";
    input.position += found.length;
    return found;
  }

  /**
   * The next argument, or undefined when there is none.
   *
   * @param substitute false in a branch that is not taken: nothing is looked up or run there
   * @throws BacktickArgument
   */
  readArgument(kind: ArgumentKind, substitute = true): Argument | undefined {
    const input = this.#line();
    const { text } = input;
    const skipped = this.#match(spacePattern, input);
    if (skipped !== null) input.position += skipped[0].length;
    if (kind === "whole-line") {
      const rest = text.slice(input.position).trimEnd();
      input.position = text.length;
      return rest === "" ? undefined : { text: rest, quoted: false };
    }
    const start = input.position;
    let result = "";
    let quoted = false;
    while (input.position < text.length) {
      const character = text.charAt(input.position);
      if (/[\s\\]/.test(character)) break;
      quoted ||= /['":]/.test(character);
      if (character === "'") {
        const value = this.#singleQuoted(input);
        if (value === undefined) return this.#unterminated(input);
        result += value;
      } else if (character === '"') {
        const close = text.indexOf('"', input.position + 1);
        if (close === -1) return this.#unterminated(input);
        result += text.slice(input.position, close + 1);
        input.position = close + 1;
      } else if (character === "`") {
        if (substitute) throw new BacktickArgument();
        const close = text.indexOf("`", input.position + 1);
        input.position = close === -1 ? text.length : close + 1;
      } else if (character === ":") result += this.#argumentVariable(input, substitute);
      else {
        result += character;
        input.position += 1;
      }
    }
    if (input.position === start) return undefined;
    return { text: result, quoted };
  }

  /** psql drops such an argument, and what follows it. */
  #unterminated(input: Input): undefined {
    this.#onWarning("unterminated quoted string");
    input.position = input.text.length;
    return undefined;
  }

  /** The value of a quoted string, or undefined if it does not end. */
  #singleQuoted(input: Input): string | undefined {
    const { text } = input;
    let result = "";
    let at = input.position + 1;
    for (; at < text.length; at++) {
      const character = text.charAt(at);
      if (character === "'") {
        if (text.charAt(at + 1) !== "'") {
          input.position = at + 1;
          return result;
        }
        result += "'";
        at += 1;
      } else if (character === "\\") {
        const code = /\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|([\s\S]))/y;
        code.lastIndex = at;
        const match = code.exec(text);
        if (match === null) break;
        const [whole, octal, hexadecimal, letter] = match;
        if (octal !== undefined) result += String.fromCharCode(Number.parseInt(octal, 8));
        else if (hexadecimal !== undefined) {
          result += String.fromCharCode(Number.parseInt(hexadecimal, 16));
        } else result += controlCharacters[letter ?? ""] ?? letter ?? "";
        at += whole.length - 1;
      } else result += character;
    }
    return undefined;
  }

  #argumentVariable(input: Input, substitute: boolean): string {
    const match = this.#match(variablePattern, input);
    if (match === null) {
      input.position += 1;
      return ":";
    }
    const [whole, plain, literal, identifier, test] = match;
    input.position += whole.length;
    if (!substitute) return whole;
    if (test !== undefined) return this.#lookup(test) === undefined ? "FALSE" : "TRUE";
    const value = this.#lookup(plain ?? literal ?? identifier ?? "");
    if (value === undefined) return whole;
    if (literal !== undefined) return quoteLiteral(value);
    return identifier === undefined ? value : quoteIdentifier(value);
  }

  /** Takes the `\\` that ends a command, if there is one. */
  endCommand(): void {
    const input = this.#line();
    const match = /\s*\\\\/y;
    match.lastIndex = input.position;
    input.position += match.exec(input.text)?.[0].length ?? 0;
  }

  /** Gives up the rest of the line. */
  skipLine(): void {
    this.#line().position = this.#line().text.length;
  }
}

const controlCharacters: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  b: "\b",
  r: "\r",
  f: "\f",
};
