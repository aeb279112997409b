import { type Location, QueryBuffer } from "./query-buffer.ts";
import { Scanner } from "./scanner.ts";
import { Source } from "./source.ts";

/** The first COMMIT of a script that follows a BEGIN, found without running it. */
export function findCommit(path: string, text: string): Location | undefined {
  const source = new Source(path, text);
  const buffer = new QueryBuffer();
  const scanner = new Scanner(
    () => undefined,
    () => true,
    () => undefined,
  );
  let begun = false;
  for (let line = source.next(); line !== undefined; line = source.next()) {
    if (buffer.length > 0) buffer.appendNewline();
    scanner.feed(line, { file: path, line: source.line, column: 1 });
    for (let stop = scanner.scan(buffer); stop !== "end-of-line"; stop = scanner.scan(buffer)) {
      if (stop === "backslash") {
        scanner.skipLine();
        continue;
      }
      scanner.statementTaken();
      const statement = buffer.text.replace(/\/\*[\s\S]*?\*\//g, "").trim();
      if (/^(begin|start\s+transaction)\b/i.test(statement)) begun = true;
      const commits = /^(commit|end)\b(?!\s+prepared)/i.test(statement);
      const location = buffer.locateOffset(0);
      buffer.clear();
      if (begun && commits) return location;
    }
  }
  return undefined;
}
