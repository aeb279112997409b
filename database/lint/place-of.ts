import { readTokens } from "../runner/lexer.ts";
import type { ParsedMigration } from "../runner/migration-files.ts";

interface Place {
  file: string | null;
  line: number | null;
}

/**
 * The statement that most probably made an object what it is: the last one that names it, or names
 * the table that it is on, as the server named many a constraint. The catalog does not remember
 * where an object came from.
 */
export function placeOf(object: string, files: readonly ParsedMigration[]): Place {
  const [, ...names] = object.replace(/\(.*$/, "").split(".");
  for (const name of names.toReversed()) {
    const place = lastMention(name.replaceAll('"', ""), files);
    if (place !== undefined) return place;
  }
  return { file: null, line: null };
}

function lastMention(name: string, files: readonly ParsedMigration[]): Place | undefined {
  for (const file of files.toReversed()) {
    for (const statement of file.statements.toReversed()) {
      for (const token of readTokens(statement.text)) {
        if (token.kind !== "word" && token.kind !== "identifier") continue;
        const word = statement.text.slice(token.start, token.end);
        if (word.toLowerCase() !== name && word !== `"${name}"`) continue;
        const before = statement.text.slice(0, token.start);
        return { file: file.path, line: statement.line + before.split("\n").length - 1 };
      }
    }
  }
  return undefined;
}
