import { type Location, QueryBuffer } from "./query-buffer.ts";
import { Scanner } from "./scanner.ts";
import { openingWords } from "./statement.ts";
import { Source } from "./source.ts";

/** A statement as it stands in a file, without having been run. */
export interface ListedStatement {
  /** Its first two words in lower case. */
  words: readonly [string, string];
  location: Location;
  lastLine: number;
}

/** The statements of a script in their order, whether its conditions take them or not. */
export function listStatements(path: string, text: string): ListedStatement[] {
  const source = new Source(path, text);
  const buffer = new QueryBuffer();
  const scanner = new Scanner(
    () => undefined,
    () => true,
    () => undefined,
  );
  const statements: ListedStatement[] = [];
  for (let line = source.next(); line !== undefined; line = source.next()) {
    if (buffer.length > 0) buffer.appendNewline();
    scanner.feed(line, { file: path, line: source.line, column: 1 });
    for (let stop = scanner.scan(buffer); stop !== "end-of-line"; stop = scanner.scan(buffer)) {
      if (stop === "backslash") {
        scanner.skipLine();
        continue;
      }
      scanner.statementTaken();
      const { lead, words } = openingWords(buffer.text);
      const location = buffer.locateOffset(lead.length);
      if (location !== undefined) statements.push({ words, location, lastLine: source.line });
      buffer.clear();
    }
  }
  return statements;
}
