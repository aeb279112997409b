import { describe, expect, it } from "vitest";
import { SqlTextError } from "./lexer.ts";
import { splitStatements } from "./split-statements.ts";

const texts = (source: string): string[] =>
  splitStatements(source).statements.map((statement) => statement.text);

describe("splitStatements", () => {
  const one: [rule: string, statement: string][] = [
    ["a semicolon in a string", "SELECT 'a;b', 'it''s; so'"],
    ["a backslash in a plain string ends nothing", String.raw`SELECT 'a\', 'b;'`],
    ["a backslash in an E string escapes the quote", String.raw`SELECT E'a\';b', e'\\', ';'`],
    ["an E string goes on over a line break", "SELECT E'a'\n  -- between\n  '\\';b'"],
    ["an identifier ending in e is no E string", String.raw`SELECT type'x\', ';'`],
    ["a semicolon in a quoted name", 'SELECT "a;""b" FROM "x;y"'],
    ["Unicode strings and names", String.raw`SELECT U&'\0061;', U&"d\0061;t", B'1', X'f', n';'`],
    ["dollar quotes", "SELECT $$a;b$$, $tag$ ; $$ ; $tag$, $Ünï1$;$Ünï1$"],
    ["a dollar inside a name opens nothing", "SELECT a$b$c FROM x$ WHERE y = '$$;'"],
    ["parameters", "PREPARE p AS SELECT $1, $2::text, ';'"],
    ["a line comment", "SELECT 1 -- not; here ' $$ /*\n + 2"],
    ["nested comments", "SELECT /* a; /* b; */ ' c; */ 1"],
    ["a rule with several actions", "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; SELECT 1)"],
    [
      "a body that begins atomic, with CASE",
      "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1 = 1 THEN 2 END; SELECT 3; END",
    ],
    [
      "a string in a body that begins atomic",
      "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 'END;'; END",
    ],
  ];
  it.each(one)("%s", (_rule, statement) => {
    expect(texts(`${statement};\nSELECT 'next';`)).toEqual([statement, "SELECT 'next'"]);
  });

  it("drops empty statements and what stands around them", () => {
    expect(texts(";; -- nothing\n ; SELECT 1 ;\n/* end */ ;")).toEqual(["SELECT 1"]);
    expect(texts("")).toEqual([]);
  });

  it("does not need the last semicolon", () => {
    expect(texts("SELECT 1; SELECT 2")).toEqual(["SELECT 1", "SELECT 2"]);
  });

  it("says where each statement begins, after its comments", () => {
    const { statements } = splitStatements("-- why\nSELECT 1;\n\n/* and\n*/ create Table t ();");
    expect(statements.map(({ line, offset, head }) => ({ line, offset, head }))).toEqual([
      { line: 2, offset: 7, head: ["SELECT", "1"] },
      { line: 5, offset: 28, head: ["CREATE", "TABLE", "T", "(", ")"] },
    ]);
  });

  const broken: [reason: string, source: string, offset: number][] = [
    ["unterminated", "SELECT 'a", 7],
    ["unterminated", 'SELECT 1; SELECT "a', 17],
    ["unterminated", "SELECT $x$ $$ $y$", 7],
    ["unterminated", "SELECT /* /* */ 1", 7],
    ["unterminated", String.raw`SELECT E'a\'`, 7],
    ["meta-command", "SELECT 1;\n\\i other.sql\n", 10],
    ["meta-command", "SELECT 1 \\gset", 9],
  ];
  it.each(broken)("refuses what is %s: %s", (reason, source, offset) => {
    const failure = (() => {
      try {
        splitStatements(source);
        return undefined;
      } catch (error) {
        return error;
      }
    })();
    expect(failure).toBeInstanceOf(SqlTextError);
    expect(failure).toMatchObject({ reason, offset });
  });
});
