import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AccessDeclaration, defineAccess } from "../src/access/declaration.ts";
import { type AccessResult, checkAccess } from "../src/access/matrix.ts";
import { accessHtml, accessMarkdown } from "../src/access/render.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let directory: string;

const schema = `
CREATE ROLE person; CREATE ROLE service; CREATE ROLE reader; CREATE ROLE boss;
CREATE TABLE people (id int PRIMARY KEY);
CREATE TABLE notes (id int PRIMARY KEY, owner_id uuid NOT NULL, text text DEFAULT '');
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY notes_own ON notes TO person
  USING (owner_id = nullif(current_setting('app.user', true), '')::uuid)
  WITH CHECK (owner_id = nullif(current_setting('app.user', true), '')::uuid);
CREATE POLICY notes_read ON notes FOR SELECT TO reader USING (text <> 'secret');
CREATE POLICY notes_boss ON notes TO boss USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO person, boss;
GRANT SELECT ON notes TO reader;
GRANT TRUNCATE ON notes TO boss;
GRANT INSERT ON people TO service;
CREATE VIEW notes_view WITH (security_invoker = on) AS SELECT * FROM notes;
CREATE VIEW notes_count AS SELECT count(*) AS total FROM notes;
CREATE MATERIALIZED VIEW notes_snapshot AS SELECT id, owner_id FROM notes;
GRANT SELECT ON notes_view TO person;
GRANT SELECT ON notes_count, notes_snapshot TO reader;
CREATE FUNCTION all_notes() RETURNS SETOF notes LANGUAGE sql SECURITY DEFINER SET search_path = public
  AS 'SELECT * FROM notes';
CREATE FUNCTION add(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b';
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT EXECUTE ON FUNCTION all_notes() TO boss;
GRANT EXECUTE ON FUNCTION add(int, int) TO person;
`;

const anna = "00000000-0000-4000-8000-00000000000a";
const bert = "00000000-0000-4000-8000-00000000000b";
const rows = { annas: `owner_id = '${anna}'`, berts: `owner_id = '${bert}'` };
const everything = { select: "all", update: "all", delete: "all", insert: ["annas"] } as const;

function declare(): AccessDeclaration {
  return defineAccess({
    title: "Notes",
    setup: `
      INSERT INTO notes VALUES (1, '${anna}', 'open'), (2, '${anna}', 'secret'), (3, '${bert}', 'open');
      REFRESH MATERIALIZED VIEW notes_snapshot;`,
    actors: {
      owner: { role: "person", settings: { "app.user": anna } },
      other: { role: "person", settings: { "app.user": bert } },
      "no context": { role: "person" },
      "malformed context": { role: "person", settings: { "app.user": "x' OR 'a'='a" } },
      service: { role: "service" },
      reader: { role: "reader" },
      boss: { role: "boss" },
    },
    objects: {
      people: { expect: { service: { insert: ["new"] } } },
      notes: {
        rows: { ...rows, "annas secret": `owner_id = '${anna}' AND text = 'secret'` },
        insert: {
          annas: `INSERT INTO notes VALUES (9, '${anna}')`,
          berts: `INSERT INTO notes VALUES (8, '${bert}')`,
        },
        update: "text = text",
        expect: {
          owner: {
            select: ["annas", "annas secret"],
            insert: ["annas"],
            update: ["annas", "annas secret"],
            delete: ["annas", "annas secret"],
          },
          other: { select: ["berts"], insert: ["berts"], update: ["berts"], delete: ["berts"] },
          "no context": { select: "none", update: "none", delete: "none" },
          "malformed context": {
            select: "error 22P02",
            insert: "error 22P02",
            update: "error 22P02",
            delete: "error 22P02",
          },
          reader: { select: ["annas", "berts"] },
          boss: { ...everything, insert: ["annas", "berts"], truncate: "allowed" },
        },
      },
      notes_view: {
        rows,
        insert: { annas: `INSERT INTO notes_view VALUES (9, '${anna}')` },
        expect: {
          owner: { select: ["annas"] },
          other: { select: ["berts"] },
          "no context": { select: "none" },
          "malformed context": { select: "error 22P02" },
        },
      },
      notes_count: { expect: { reader: { select: "all" } } },
      notes_snapshot: { rows, expect: { reader: { select: "all" } } },
      all_notes: { rows, call: "SELECT * FROM all_notes()", expect: { boss: { execute: "all" } } },
      add: {
        call: "SELECT add(1, 2)",
        expect: Object.fromEntries(
          ["owner", "other", "no context", "malformed context"].map((actor) => [
            actor,
            { execute: "allowed" as const },
          ]),
        ),
      },
    },
  });
}

beforeAll(async () => {
  server = await startServer();
  directory = await mkdtemp(join(tmpdir(), "pgtap-access-"));
  await server.sql("CREATE DATABASE notes");
  await server.sql(schema, "notes");
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

/** The matrix, after something has been changed behind the declaration's back. */
async function check(change?: string, declaration = declare()): Promise<AccessResult> {
  const database = change === undefined ? "notes" : "changed";
  if (change !== undefined) {
    await server.sql("DROP DATABASE IF EXISTS changed");
    await server.sql("CREATE DATABASE changed TEMPLATE notes");
    await server.sql(change, "changed");
  }
  return checkAccess({ declaration, connection: { url: server.url, database } });
}

describe("a database as it is declared", () => {
  test("every actor, object and command is tried, and agrees", async () => {
    const result = await check();
    expect(result.problems).toEqual([]);
    expect(result.passed).toBe(true);
    const commandsByObject = Object.fromEntries(
      result.objects.map(({ name, commands }) => [name, commands]),
    );
    expect(commandsByObject).toEqual({
      people: ["select", "insert", "update", "delete", "truncate"],
      notes: ["select", "insert", "update", "delete", "truncate"],
      notes_view: ["select", "insert", "update", "delete"],
      notes_count: ["select"],
      notes_snapshot: ["select"],
      all_notes: ["execute"],
      add: ["execute"],
    });
    expect(result.counts.cells).toBe(7 * (5 + 5 + 4 + 1 + 1 + 1 + 1));
  });

  test("nothing of it stays", async () => {
    await check();
    expect(await server.sql("SELECT count(*) FROM notes", "notes")).toEqual([["0"]]);
    const left = await server.sql("SELECT FROM pg_database WHERE datname ~ '^pgtap_runner'");
    expect(left).toEqual([]);
    const connection = { url: server.url, database: "notes" };
    const inPlace = await checkAccess({
      declaration: declare(),
      connection,
      isolation: "in-place",
    });
    expect(inPlace.passed).toBe(true);
    expect(await server.sql("SELECT count(*) FROM notes", "notes")).toEqual([["0"]]);
  });
});

describe("every difference is named", () => {
  const cases: readonly [string, string, string][] = [
    [
      "a policy is dropped",
      "DROP POLICY notes_own ON notes",
      "notes: owner select: expected annas, annas secret, found none",
    ],
    [
      "a policy is too wide",
      "ALTER POLICY notes_read ON notes USING (true)",
      "notes: reader select: expected annas, berts, found all",
    ],
    [
      "row-level security is off",
      "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
      "notes: other delete: expected berts, found all",
    ],
    [
      "a privilege is missing",
      "REVOKE DELETE ON notes FROM person",
      "notes: owner delete: expected annas, annas secret, found denied (permission denied for table notes)",
    ],
    [
      "a privilege is too much",
      "GRANT TRUNCATE ON notes TO person",
      "notes: owner truncate: expected denied, found allowed",
    ],
    [
      "a column may be changed",
      "GRANT SELECT, UPDATE (text) ON notes TO service; CREATE POLICY open ON notes TO service USING (true)",
      "notes: service update: expected denied, found all",
    ],
    [
      "a view reads with its owner's rights",
      "ALTER VIEW notes_view RESET (security_invoker)",
      "notes_view: other select: expected berts, found all",
    ],
    [
      "a snapshot is open",
      "GRANT SELECT ON notes_snapshot TO person",
      "notes_snapshot: no context select: expected denied, found all",
    ],
    [
      "a function is open",
      "GRANT EXECUTE ON FUNCTION all_notes() TO person",
      "all_notes: owner execute: expected denied, found all",
    ],
    [
      "rows may be given away",
      "ALTER POLICY notes_own ON notes WITH CHECK (true)",
      "notes: owner insert: expected annas, found annas, berts",
    ],
    ["a table is new", "CREATE TABLE forgotten ()", "table forgotten is not declared"],
    [
      "a function is new",
      "CREATE FUNCTION forgotten() RETURNS int LANGUAGE sql AS 'SELECT 1'",
      "function forgotten is not declared",
    ],
    ["a table is gone", "DROP TABLE people", "people is declared, but there is no such object"],
  ];
  test.each(cases)("%s", async (_, change, problem) => {
    const result = await check(change);
    expect(result.problems).toContain(problem);
    expect(result.passed).toBe(false);
  });

  test("a label that no row has shows nothing", async () => {
    const declaration = declare();
    const result = await check(undefined, {
      ...declaration,
      objects: {
        ...declaration.objects,
        people: { rows: { first: "id = 1" }, expect: { service: { insert: ["new"] } } },
      },
    });
    expect(result.problems).toEqual([
      "people: no row is labelled first, so nothing shows who reaches it",
    ]);
  });

  test("a name with a star covers what is not named itself", async () => {
    const declaration = declare();
    const result = await check(
      "CREATE TABLE log_1 (); CREATE TABLE log_2 (); GRANT DELETE ON log_2 TO boss",
      {
        ...declaration,
        objects: { ...declaration.objects, "log_*": { rows: { any: "true" } } },
      },
    );
    expect(result.problems).toEqual(["log_2: boss delete: expected denied, found none"]);
  });
});

describe("declarations that are wrong", () => {
  test.each([
    ["no object", 1, "it is no object with actors and objects"],
    ["no actor", { actors: {}, objects: {} }, "there is no actor"],
    [
      "unknown names",
      {
        actors: { a: { role: "person" } },
        objects: { notes: { expect: { b: { select: "all" }, a: { copy: "all", select: ["x"] } } } },
      },
      "objects.notes.expect names b, which is no actor\n" +
        "objects.notes.expect.a names copy, which is no command\n" +
        "objects.notes.expect.a.select names x, which labels no row",
    ],
  ])("%s", async (_, declaration, message) => {
    const running = check(undefined, declaration as unknown as AccessDeclaration);
    await expect(running).rejects.toMatchObject({ code: "bad-declaration", exitCode: 2, message });
  });

  test("a role that does not exist", async () => {
    const running = check(undefined, { actors: { a: { role: "nobody_at_all" } }, objects: {} });
    await expect(running).rejects.toThrow(/nobody_at_all/);
  });

  test("a setup that fails, with its line", async () => {
    const running = check(undefined, { ...declare(), setup: "SELECT 1;\nSELECT no_such_column;" });
    await expect(running).rejects.toMatchObject({
      code: "setup-failed",
      message: `the declaration's setup in line 2: column "no_such_column" does not exist`,
    });
  });
});

describe("the matrix as a document", () => {
  test("Markdown and HTML are the same each time, and show what is wrong", async () => {
    const [first, second] = [await check(), await check()];
    expect(accessMarkdown(second)).toBe(accessMarkdown(first));
    expect(accessHtml(second)).toBe(accessHtml(first));
    expect(accessMarkdown(first).replace(/ +/g, " ")).toContain(
      "| owner | annas, annas secret | annas | annas, annas secret | annas, annas secret | denied |",
    );
    const wrong = await check("GRANT TRUNCATE ON notes TO person");
    expect(accessMarkdown(wrong)).toContain("**allowed**, not denied");
    expect(accessHtml(wrong)).toContain('<td class="wrong">allowed <del>denied</del></td>');
    expect(accessHtml(wrong)).not.toContain("x' OR 'a'='a\"");
  });

  test("the command prints it, writes it and gives its verdict", async () => {
    const declaration = join(directory, "access.json");
    await writeFile(declaration, JSON.stringify(declare()));
    const program = join(import.meta.dirname, "..", "bin", "pgtap-runner.js");
    const run = (
      database: string,
      ...more: string[]
    ): Promise<{ code: number; stdout: string; stderr: string }> =>
      new Promise((resolve) => {
        const args = [program, "rls", "--url", server.url, "-d", database, declaration, ...more];
        execFile(process.execPath, args, { cwd: directory }, (error, stdout, stderr) =>
          resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
        );
      });
    const good = await run("notes", "--html", "access.html", "--markdown", "access.md");
    expect(good.code).toBe(0);
    expect(good.stdout).toContain("  reader             annas, berts");
    expect(good.stdout).toMatch(/passed: 7 actors, 7 objects, 126 cells, 0 wrong/);
    expect(await readFile(join(directory, "access.html"), "utf8")).toContain(
      "Everything is as declared.",
    );
    expect(await readFile(join(directory, "access.md"), "utf8")).toMatch(/^# Notes\n/);
    await check("GRANT TRUNCATE ON notes TO person");
    const bad = await run("changed", "--only-wrong");
    expect(bad.code).toBe(3);
    expect(bad.stdout).toContain("! allowed, not denied");
    expect(bad.stdout).not.toContain("people (table)");
    const json: unknown = JSON.parse((await run("notes", "--json")).stdout);
    expect(json).toMatchObject({ passed: true, counts: { wrong: 0 } });
    expect((await run("notes", "--nonsense")).code).toBe(2);
  });
});
