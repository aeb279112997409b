import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { notUtf8 } from "../psql/source.ts";

/** A test file as read, before it runs. */
export interface TestFile {
  /** As it was named, or found. */
  path: string;
  text: string;
  /** `-- @isolate database`: it gets a copy of the database for itself, and may commit. */
  isolated: boolean;
  /** What only psql can do, seen without running the file. */
  needsPsql: string | undefined;
}

const isolatePattern = /^[ \t]*--[ \t]*@isolate[ \t]+database[ \t]*\r?$/m;

/**
 * Commands that always go to psql, where they start a line. Seeing them first saves running the
 * file in vain up to there.
 */
const psqlPattern =
  /^[ \t]*\\(![^\n]*|(?:a|c|cd|connect|crosstabview|d[A-Za-z]*[S+]*|gdesc|gx|H|html|o|out|prompt|setenv|watch|x)(?![A-Za-z_])|pset[ \t]+format[ \t]+(?!u)\w+)/m;

/** @throws a system error when it cannot be read */
export function readTestFile(path: string, absolutePath: string): TestFile {
  const content = readFileSync(absolutePath);
  const file = testFile(path, content.toString("utf8"));
  return isUtf8(content) ? file : { ...file, needsPsql: notUtf8 };
}

/** A test file that is already at hand. */
export function testFile(path: string, text: string): TestFile {
  return {
    path,
    text,
    isolated: isolatePattern.test(text),
    needsPsql: text.includes("\\") ? psqlPattern.exec(text)?.[0].trim() : undefined,
  };
}
