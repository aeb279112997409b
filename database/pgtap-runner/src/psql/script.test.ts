import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { natively, withPsql } from "../../test/both-ways.ts";
import { startServer, type TestServer } from "../../test/server.ts";

let server: TestServer;
let directory: string;

beforeAll(async () => {
  server = await startServer();
  directory = await mkdtemp(join(tmpdir(), "pgtap-script-"));
  for (const [name, text] of Object.entries(includedFiles)) {
    await writeFile(join(directory, name), text);
  }
}, 60_000);

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

const includedFiles: Readonly<Record<string, string>> = {
  "included.sql": "SELECT 'included', :x;\n\\set x 2\n",
  "outer.sql": "\\ir included.sql\nSELECT 'outer', :x;\n",
  "quits.sql": "SELECT 'before';\n\\q\nSELECT 'after';\n",
  "rows.csv": '1,one\n2,"two, too"\n',
  "half.sql": "SELECT 'no semicolon'",
};

/** Each script gives the same output, and the same end, here and in psql. */
const scripts: Readonly<Record<string, string>> = {
  "several statements on a line": "SELECT 1; SELECT 2; SELECT 3\n;",
  "a statement without semicolon at the end": "SELECT 1;\nSELECT 2",
  "columns and nulls": "SELECT 1, NULL, 'x', true, ARRAY[1,2], '{\"a\": 1}'::jsonb;",
  "no rows": "SELECT 1 WHERE false; SELECT; SELECT FROM generate_series(1, 3);",
  "multi-line values": "SELECT E'a\\nb', 'c\nd';",
  "semicolons in quotes": `SELECT ';', $$;$$, $a$;$$;$a$, ";" FROM (SELECT 1 AS ";") x; SELECT E'\\';';`,
  "semicolons in parentheses":
    "CREATE TEMP TABLE t (i int);\nCREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);\nSELECT 'ok';",
  "begin atomic":
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\nSELECT pg_temp.f();",
  comments:
    "-- ; \\echo no\nSELECT 1 -- ; two\n, 2; /* ; /* nested ; */ ; */ SELECT 3; SELECT '--', 4;",
  "backslash semicolon": "SELECT 1\\; SELECT 2\\; SELECT 3;\nSELECT 4;",
  "dollar in names": "SELECT 1 AS a$b$c, 2 AS d$b$;",
  "prefixed strings": "SELECT E'it\\'s; one', N'n', U&'\\0041', B'101', X'1F', e'\\x41';",
  "nonstandard strings":
    "SET standard_conforming_strings = off;\nSELECT 'a\\';b';\nSET standard_conforming_strings = on;\nSELECT 'a\\';",
  "empty lines in a quote": "SELECT 'a\n\n\nb';",
  "windows line ends": "SELECT 1;\r\nSELECT 'a\r\nb';\r\n\\set x 1\r\nSELECT :x;\r\n",
  "byte order mark": "\uFEFFSELECT 1;",
  "outside ASCII": 'SELECT \'žluťoučký 🐘\', "kůň" FROM (SELECT 1 AS "kůň") x;',

  "\\set and :var":
    "\\set x 1\n\\set y 'two words'\nSELECT :x, :'y', :\"y\" FROM (SELECT 3 AS :\"y\") q;",
  "\\set joins its values": "\\set x 'a' b  \"c\" :missing\n\\echo :x\nSELECT :'x';",
  "\\set with escapes": "\\set x 'a''b\\n\\101\\x42\\\\'\nSELECT :'x';\n\\echo :x",
  "\\set that holds SQL":
    "\\set q 'SELECT 1; SELECT'\n:q 2;\n\\set from pg_class\nSELECT count(*) > 0 FROM :from;",
  "\\set of a recursive value": "\\set x ':x'\nSELECT ':x', 1 :x ;",
  "\\set of a variable in a value": "\\set a 1\n\\set b ':a + 1'\nSELECT :b;",
  "\\set of a bad Boolean": "\\set QUIET perhaps\nSELECT 'not reached';",
  "\\set of a bad name": "\\set a-b 1\nSELECT 'not reached';",
  "\\set ECHO":
    "\\set ECHO all\nSELECT 1;\n\n-- comment\nSELECT 2;\n\\set ECHO queries\nSELECT\n  3;\n\\unset ECHO\nSELECT 4;",
  "\\set ECHO to nothing": "\\set ECHO\nSELECT 1;",
  "\\set QUIET":
    "\\set QUIET off\nCREATE TEMP TABLE t (i int);\nINSERT INTO t VALUES (1) RETURNING i;\nUPDATE t SET i = 2;\nBEGIN;\nSELECT 1;\nCOMMIT;\n\\set QUIET\nDELETE FROM t;",
  "\\set ON_ERROR_STOP off":
    "\\set ON_ERROR_STOP off\nSELECT 1/0;\nSELECT 'reached', :'SQLSTATE', :ERROR, :'LAST_ERROR_MESSAGE';\n\\set ON_ERROR_STOP 1\nSELECT 1/0;\nSELECT 'not reached';",
  "variables of the last query":
    "SELECT generate_series(1, 3);\nSELECT :ROW_COUNT, :'SQLSTATE', :'ERROR';\nSELECT 1; SELECT :ROW_COUNT;",
  "variables of the server":
    "SELECT :'SERVER_VERSION_NAME' = current_setting('server_version'), :SERVER_VERSION_NUM = current_setting('server_version_num')::int, :'DBNAME';",
  "variables of the connection": "\\echo :HOST :PORT :USER :ENCODING",
  "\\unset":
    "\\set x 1\n\\unset x\n\\echo :x :{?x}\n\\unset never_set\nSELECT 'a:x', '::', 1::int, (ARRAY[1,2,3])[2:3];",
  ":{?var}": "\\set x\nSELECT :{?x}, :{?y};\n\\echo :{?x} :{?y}",
  "undefined quoted variables": "SELECT ':x', $$:'x'$$;\n\\echo :'x' :\"x\" :x:x",
  "\\pset":
    "\\pset format unaligned\n\\pset tuples_only off\n\\pset pager\n\\pset null '(null)'\n\\pset fieldsep ,\nSELECT 1 AS a, NULL AS b;\n\\pset footer off\nSELECT 1 AS a WHERE false;\n\\pset title here\nSELECT 2;\n\\pset title\n\\pset recordsep '~'\nSELECT generate_series(1, 3);\n\\pset tuples_only\nSELECT generate_series(1, 2);\n\\pset border 2\n\\pset linestyle unicode\nSELECT 1;",
  "\\pset of a bad Boolean": "\\pset tuples_only perhaps\nSELECT 'not reached';",
  "\\t and \\f": "\\t off\n\\f '\\t'\nSELECT 1 AS a, 2 AS b;\n\\t\nSELECT 3, 4;",
  "\\i": "\\set x 1\n\\i included.sql\nSELECT :x;",
  "\\i in a statement": "SELECT 'outer'\n\\set x 1\n\\i included.sql\n, 'goes on';",
  "\\i of a file without semicolon": "\\i half.sql\nSELECT 1;",
  "\\i of a missing file": "\\i missing.sql\nSELECT 'not reached';",
  "\\i without a file": "\\i\nSELECT 'not reached';",
  "\\ir": "\\set x 1\n\\ir outer.sql\nSELECT 'main', :x;\n\\include_relative included.sql",
  "\\q ends one file": "\\i quits.sql\nSELECT 'reached';\n\\q\nSELECT 'not reached';",
  "\\echo":
    "\\echo one 'two  three' \"four  five\" :x\n\\echo -n no newline\n\\echo\n\\echo '-n' quoted\n\\qecho query\n\\warn standard error\n\\echo a\\\\ \\echo b",
  "\\echo after a statement on the line":
    "SELECT 1 AS x \\echo two\n;\nSELECT 3; \\echo four\nSELECT 5;",
  "\\gset":
    "SELECT 1 AS a, 'it''s' AS b, NULL AS c \\gset\nSELECT :a, :'b', :{?c};\nSELECT 2 AS a \\gset p_\nSELECT :a, :p_a;\n\\gset q_\n\\echo :q_a",
  "\\gset on several lines": "SELECT 1 AS a,\n  2 AS b\n\\gset\n\\echo :a :b",
  "\\gset of no row": "SELECT 1 AS a WHERE false \\gset\nSELECT 'not reached';",
  "\\gset of two rows": "SELECT generate_series(1,2) AS a \\gset\nSELECT 'not reached';",
  "\\gset of a special variable": "SELECT 'x' AS \"ECHO\", 1 AS a \\gset\nSELECT :a;",
  "\\gset of a failing query": "SELECT 1/0 AS a \\gset\nSELECT 'not reached';",
  "\\g": "SELECT 1 \\g\n\\g\nSELECT 2 \\g\n",
  "\\g after a file": "SELECT 1;\n\\i included.sql\n\\g\n",
  "variables before the first query": "\\echo :ERROR :SQLSTATE :ROW_COUNT :LAST_ERROR_SQLSTATE",
  "arguments with a quote that does not end":
    "\\echo a 'b c\n\\echo d \"e f\n\\set x 'a\n\\echo :x\nSELECT 1;",
  "\\set ON_ERROR_STOP on the line of an error":
    "\\set ON_ERROR_STOP off \\\\ SELECT 1/0;\nSELECT 'not reached';",
  "\\set ON_ERROR_STOP in the last line": "\\if true\n\\set ON_ERROR_STOP off\n",
  "\\gexec":
    "SELECT 'SELECT ' || i, 'SELECT 10 + ' || i FROM generate_series(1, 2) i \\gexec\nSELECT 'done';",
  "\\gexec stops at an error":
    "VALUES ('SELECT 1'), ('SELECT 1/0'), ('SELECT 2') \\gexec\nSELECT 'not reached';",
  "\\if":
    "\\if true\nSELECT 'yes';\n\\else\nSELECT 'no';\n\\endif\n\\if off\nSELECT 'no';\n\\elif 1\nSELECT 'elif';\n\\elif 1\nSELECT 'second elif';\n\\else\nSELECT 'no';\n\\endif",
  "\\if nested":
    "\\if 0\n\\if 1\nSELECT 'no';\n\\else\nSELECT 'no';\n\\endif\n\\watch 5\n\\i missing.sql\n\\else\n\\if :{?x}\nSELECT 'no';\n\\else\nSELECT 'deep';\n\\endif\n\\endif",
  "\\if inside a statement":
    "SELECT\n\\if true\n1\n\\else\n(2\n\\endif\n, 3;\nSELECT 4\n\\if false\n, 5; SELECT 6\n\\endif\n;",
  "\\if of a variable":
    "SELECT count(*) > 0 AS any FROM pg_class \\gset\n\\if :any\n\\echo any\n\\endif\n\\if :undefined\n\\echo no\n\\else\n\\echo undefined is false\n\\endif\n\\if nonsense\n\\echo no\n\\endif\n\\if t\n\\echo t\n\\endif",
  "\\elif of a variable":
    "\\set x 1\n\\if 0\n\\elif :x\n\\echo x\n\\else\n\\echo no\n\\endif\n\\if :{?y}\n\\elif :{?x}\n\\echo x\n\\endif\n\\if 1\n\\elif :x\n\\echo no\n\\endif\n\\if 0\n\\elif 0\nSELECT :x;\n\\endif",
  "\\if without \\endif": "\\if true\nSELECT 1;",
  "\\endif without \\if": "SELECT 1;\n\\endif\nSELECT 'not reached';",
  "\\else twice": "\\if true\n\\else\n\\else\n\\endif\nSELECT 'not reached';",
  "\\elif after \\else": "\\if true\n\\else\n\\elif true\n\\endif\nSELECT 'not reached';",
  "\\copy from stdin":
    'CREATE TEMP TABLE t (i int, x text);\n\\copy t from stdin\n1\tone\n2\t\\N\n\\.\nSELECT * FROM t;\n\\copy t (x, i) from stdin with (format csv)\n"a,b",3\n\\.\nSELECT * FROM t ORDER BY i;',
  "\\copy from a file":
    "CREATE TEMP TABLE t (i int, x text);\n\\copy t from 'rows.csv' csv\nSELECT * FROM t;\n\\copy t(i, x) FROM rows.csv (FORMAT csv);\nSELECT count(*) FROM t;",
  "\\copy of a missing file":
    "CREATE TEMP TABLE t (i int);\n\\copy t from 'missing.csv'\nSELECT 'not reached';",
  "\\copy of bad rows":
    "CREATE TEMP TABLE t (i int);\n\\copy t from stdin\nx\n\\.\nSELECT 'not reached';",
  "COPY FROM STDIN":
    "CREATE TEMP TABLE t (i int);\nBEGIN;\nCOPY t FROM STDIN;\n1\n2\n\\.\nSELECT sum(i) FROM t;\nCOMMIT;\nCOPY t FROM STDIN;\n5",
  "COPY TO STDOUT":
    "COPY (SELECT i, 'x' FROM generate_series(1, 3) i) TO STDOUT WITH (FORMAT csv);\nSELECT 1;",
  "\\getenv": "\\getenv place PLACE\n\\getenv none NO_SUCH_VARIABLE\n\\echo :place :none",
  "\\r": "SELECT 1\n\\r\nSELECT 2;",
  "an error in a transaction": "BEGIN;\nSELECT 1;\nSELECT 1/0;\nSELECT 2;\nCOMMIT;\nSELECT 3;",
  "an error outside a transaction": "SELECT 1;\nSELECT no_such_column;\nSELECT 3;",
  savepoints:
    "BEGIN;\nSAVEPOINT a;\nSELECT 1;\nROLLBACK TO a;\nSELECT 2;\nRELEASE a;\nCOMMIT;\nSELECT 3;",
  notifications: "LISTEN x;\nSELECT 1;\nUNLISTEN x;",
  "unterminated quote": "SELECT 'abc;\nSELECT 2;",
};

describe("same output as psql", () => {
  test.each(Object.entries(scripts))("%s", async (name, text) => {
    const file = join(directory, "script.sql");
    await writeFile(file, text);
    const expected = await withPsql(server, file);
    const { stdout, failed } = await natively(server, file);
    expect({ name, stdout, failed }).toEqual({ name, ...expected });
  });
});
