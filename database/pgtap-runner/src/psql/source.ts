import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { NeedsPsql } from "./needs-psql.ts";

/** Only psql sends the bytes of such a file as they are, for the server to judge. */
export const notUtf8 = "a text that is not UTF-8";

/** One file of a script, read line by line. */
export class Source {
  /** As it is shown to people: the way the test named it. */
  readonly path: string;
  readonly text: string;
  #offset = 0;
  #line = 0;

  constructor(path: string, text: string) {
    this.path = path;
    this.text = text.startsWith("\uFEFF") ? text.slice(1) : text;
  }

  /** @throws NeedsPsql when it is not UTF-8; a system error when the file cannot be read */
  static read(path: string, shownAs: string): Source {
    const content = readFileSync(path);
    if (!isUtf8(content)) throw new NeedsPsql(notUtf8, { file: shownAs, line: 1, column: 1 });
    return new Source(shownAs, content.toString("utf8"));
  }

  /** The number of the line that was read last, counted from 1. */
  get line(): number {
    return this.#line;
  }

  /** The next line without its newline, or undefined at the end. */
  next(): string | undefined {
    if (this.#offset >= this.text.length) return undefined;
    const newline = this.text.indexOf("\n", this.#offset);
    const end = newline === -1 ? this.text.length : newline;
    const line = this.text.slice(this.#offset, end);
    this.#offset = end + 1;
    this.#line += 1;
    return line;
  }

  /** The rows that follow COPY … FROM STDIN, up to the line `\.`. */
  *copyRows(): Iterable<string> {
    let chunk = "";
    for (let line = this.next(); line !== undefined; line = this.next()) {
      if (line === "\\." || line === "\\.\r") break;
      chunk += `${line}\n`;
      if (chunk.length > 65_536) {
        yield chunk;
        chunk = "";
      }
    }
    if (chunk !== "") yield chunk;
  }
}
