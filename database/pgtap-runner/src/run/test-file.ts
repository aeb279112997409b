import { readFileSync } from "node:fs";

/** A test file as read, before it runs. */
export interface TestFile {
  /** As it was named, or found. */
  path: string;
  text: string;
  /** `-- @isolate database`: it gets a copy of the database for itself, and may commit. */
  isolated: boolean;
  /** A command that only psql can carry out, seen without running the file. */
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
  return testFile(path, readFileSync(absolutePath, "utf8"));
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
