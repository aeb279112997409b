import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Assertion, FileResult } from "../src/results.ts";
import { runTests } from "../src/run/run-tests.ts";
import { takeShortcuts } from "../src/run/shortcuts.ts";
import { Session } from "../src/server/session.ts";
import { startServer, type TestServer } from "./server.ts";

/** Files that meet pgTAP's counters in every way there is. */
const counting: Readonly<Record<string, string>> = {
  "failures-among-others": `BEGIN; SELECT plan(5);
    SELECT ok(true, 'one'); SELECT ok(false, 'two'); SELECT ok(NULL, 'three'); SELECT ok(true);
    SELECT ok(true, E'five\\nin two lines # not a directive');
    SELECT num_failed(), _get('curr_test'); SELECT * FROM finish(); ROLLBACK;`,
  "no-description": `BEGIN; SELECT plan(3); SELECT ok(true, ''); SELECT ok(true, NULL); SELECT pass();
    SELECT * FROM finish(); ROLLBACK;`,
  "todo-in-every-form": `BEGIN; SELECT plan(9);
    SELECT * FROM todo('soon', 2); SELECT ok(true, 'a'); SELECT ok(false, 'b'); SELECT ok(true, 'c');
    SELECT * FROM todo_start('later'); SELECT ok(false, 'd'); SELECT in_todo();
    SELECT * FROM todo(1, 'inner'); SELECT ok(true, 'e'); SELECT ok(false, 'f');
    SELECT * FROM todo_end(); SELECT ok(true, 'g'); SELECT in_todo();
    SELECT * FROM todo('skipped', 2); SELECT todo_skip('why', 2);
    SELECT * FROM finish(); ROLLBACK;`,
  "rolled-back-in-part": `BEGIN; SELECT plan(4); SELECT ok(true, 'kept');
    SAVEPOINT here; SELECT ok(true, 'forgotten'); SELECT * FROM todo_start('gone');
    ROLLBACK TO here; SELECT _get('curr_test'); SELECT ok(true, 'three');
    SAVEPOINT there; SELECT ok(true, 'four'); ROLLBACK TO there;
    SELECT * FROM finish(); ROLLBACK;`,
  "caught-in-a-function": `BEGIN; SELECT plan(2);
    CREATE FUNCTION try() RETURNS text LANGUAGE plpgsql AS $$
      BEGIN PERFORM ok(true, 'lost'); RAISE division_by_zero;
      EXCEPTION WHEN division_by_zero THEN RETURN ok(true, 'after'); END $$;
    SELECT try(); SELECT * FROM finish(); ROLLBACK;`,
  "no-plan-at-all": `BEGIN; SELECT ok(true, 'one'); ROLLBACK;`,
  "plan-again": `BEGIN; SELECT plan(1); SELECT plan(1); ROLLBACK;`,
  "no-plan": `BEGIN; SELECT * FROM no_plan(); SELECT ok(true, 'one'); SELECT * FROM finish(); ROLLBACK;`,
  "failure-as-an-exception": `BEGIN; SELECT plan(1); SELECT ok(false, 'one');
    SELECT * FROM finish(true); ROLLBACK;`,
  "short-of-the-plan": `BEGIN; SELECT plan(3); SELECT ok(true, 'one'); SELECT * FROM finish(); ROLLBACK;`,
  "nothing-run": `BEGIN; SELECT plan(3); SELECT * FROM finish(); ROLLBACK;`,
  "no-transaction": `SELECT plan(1); SELECT ok(true, 'one'); SELECT * FROM finish();`,
  "setting-before": `SET client_min_messages TO warning; BEGIN; SELECT plan(1); SELECT ok(true, 'one');
    SELECT * FROM finish(); ROLLBACK;`,
  "reset-inside": `BEGIN; SELECT plan(2); SET LOCAL work_mem = '1MB'; SELECT ok(true, 'one'); RESET ALL;
    SELECT ok(true, 'two'); SELECT * FROM finish(); ROLLBACK;`,
  "empty-search-path": `BEGIN; SELECT plan(2); SELECT ok(true, 'one');
    SET LOCAL search_path = ''; SELECT public.ok(true, 'two'); ROLLBACK;`,
  "another-role": `BEGIN; SET LOCAL ROLE nobody_special; SELECT plan(2); SELECT ok(true, 'one');
    SELECT ok(false, 'two'); SELECT * FROM finish(); ROLLBACK;`,
  "another-role-runs-tests": `BEGIN; CREATE SCHEMA unit; GRANT ALL ON SCHEMA unit TO nobody_special;
    SET LOCAL ROLE nobody_special;
    CREATE FUNCTION unit.test_one() RETURNS SETOF text LANGUAGE sql AS
      $$ SELECT ok(true, 'a'); SELECT ok(false, 'b') $$;
    CREATE FUNCTION unit.test_two() RETURNS SETOF text LANGUAGE sql AS $$ SELECT pass('c') $$;
    SELECT * FROM runtests('unit'::name); ROLLBACK;`,
  "another-role-checks-a-test": `BEGIN; SET LOCAL ROLE nobody_special; SELECT plan(3);
    SELECT * FROM check_test(ok(false, 'inner'), false, 'a failure', 'inner'); ROLLBACK;`,
  "runs-tests-after-others": `BEGIN;
    CREATE FUNCTION test_failing() RETURNS SETOF text LANGUAGE sql AS
      $$ SELECT pass('fine'); SELECT fail('not fine') $$;
    SELECT * FROM runtests('^test_'); ROLLBACK;`,
  "looks-at-the-counters": `BEGIN; SELECT plan(1); SELECT ok(true, 'one');
    SELECT label, value FROM __tcache__ WHERE label <> 'failed' ORDER BY id;
    SELECT currval('__tresults___numb_seq'); SELECT * FROM finish(); ROLLBACK;`,
  "asks-the-catalog": `BEGIN; SELECT plan(8); CREATE TABLE t (id int PRIMARY KEY, name text);
    CREATE INDEX by_name ON t (name);
    SELECT has_table('t'); SELECT hasnt_table('nothing'); SELECT has_column('t', 'name');
    SELECT has_column('t', 'nothing'); SELECT has_pk('t'); SELECT has_index('t', 'by_name');
    SELECT has_type('nothing'); DROP TABLE t; SELECT hasnt_table('t'); SELECT * FROM finish(); ROLLBACK;`,
};

let server: TestServer;
let directory: string;

beforeAll(async () => {
  server = await startServer();
  directory = await mkdtemp(join(tmpdir(), "pgtap-shortcuts-"));
  await server.sql(
    "CREATE ROLE nobody_special; GRANT CREATE ON SCHEMA public TO nobody_special",
    "app",
  );
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

/**
 * Everything that a run says of its files, but for how long they took, where in pgTAP's functions
 * an error arose, and which of them is the first that an empty search_path hides.
 */
async function everything(
  files: readonly string[],
  stockPgtap: boolean,
): Promise<{ files: FileResult[]; assertions: [string, Assertion][] }> {
  const assertions: [string, Assertion][] = [];
  const result = await runTests({
    files,
    workers: 1,
    workingDirectory: import.meta.dirname,
    connection: { url: server.url },
    keepOutput: true,
    stockPgtap,
    reporters: [{ onAssertion: (path, assertion) => assertions.push([path, assertion]) }],
  });
  return {
    files: result.files.map((file) => ({
      ...file,
      durationMs: 0,
      output: file.output.filter(({ text }) => !text.startsWith("Time: ")),
      problems: file.problems.map((problem) => ({
        ...problem,
        message: problem.message.replace(/function (_todo\(\)|diag\(text\)) does/, "function does"),
        detail: (problem.detail ?? []).filter(
          (line) => !line.startsWith("CONTEXT: PL/pgSQL function "),
        ),
      })),
    })),
    assertions: assertions.toSorted(([a], [b]) => a.localeCompare(b, "en")),
  };
}

async function inCopy<T>(name: string, work: (session: Session) => Promise<T>): Promise<T> {
  await server.sql(`CREATE DATABASE ${name} TEMPLATE app`);
  const session = await Session.connect(server.settings, name, "test");
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

/** Values to call pgTAP's functions with, by the type of the parameter. */
const values: Readonly<Record<string, readonly string[]>> = {
  name: ["app_table", "public", "by_name", "id", "name", "int4", "postgres", "nothing"].map(
    (word) => `'${word}'`,
  ),
  "name[]": ["ARRAY['id']", "ARRAY['name', 'id']", "'{}'"],
  "text[]": ["ARRAY['id']", "ARRAY['name']", "'{}'"],
  character: ["'p'", "'u'"],
  "character[]": ["'{r,p}'", "'{v,i,S}'", "'{b,c,d}'"],
};

/** The answers of every function that asks whether something exists, to all of these and NULL. */
async function askEverything(session: Session): Promise<Map<string, string>> {
  const functions = await session.rows(
    `SELECT p.proname, array_to_string(p.proargtypes::regtype[], ',') FROM pg_proc p
     WHERE p.pronamespace = 'public'::regnamespace
       AND p.prosrc ~ '^(BEGIN RETURN [(])?\\s*SELECT\\s+EXISTS'
     ORDER BY 1, 2`,
  );
  const answers = new Map<string, string>();
  for (const [name, parameters] of functions) {
    const types = (parameters ?? "").split(",");
    const lists = types.map((type, index) => {
      const some = values[type];
      if (some === undefined) throw new Error(`${name}: no values of type ${type}`);
      // All of them with all of the others are too many where there are many parameters.
      const few = types.length > 3 ? some.slice(0, 3) : some;
      const rows = [...few, "NULL"].map((value) => `(${value}::${type})`).join(", ");
      return `(VALUES ${rows}) v${index} (v${index})`;
    });
    const call = `${name}(${types.map((_, index) => `v${index}.v${index}`).join(", ")})`;
    const [row] = await session.rows(
      `SELECT string_agg(coalesce(${call}::text, '-'), '') FROM ${lists.join(", ")}`,
    );
    answers.set(`${name}(${parameters})`, row?.[0] ?? "");
  }
  return answers;
}

const pgtapSources = `SELECT string_agg(oid::regprocedure || prosrc, '' ORDER BY oid::regprocedure::text)
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace`;

describe("with and without shortcuts", () => {
  test.each([
    ["sound", []],
    ["broken", ["bail-out.sql"]],
  ])(
    "every result of the %s files is the same",
    async (folder, left) => {
      const names = await readdir(join(import.meta.dirname, folder));
      const files = names.filter((name) => !left.includes(name)).map((name) => join(folder, name));
      const shortened = await everything(files, false);
      expect(shortened.assertions.length).toBeGreaterThan(20);
      expect(shortened).toEqual(await everything(files, true));
    },
    60_000,
  );

  test("every result of files that meet the counters in every way is the same", async () => {
    const folder = join(directory, "counting");
    await mkdir(folder);
    for (const [name, text] of Object.entries(counting)) {
      await writeFile(join(folder, `${name}.sql`), `${text}\n`);
    }
    const shortened = await everything([folder], false);
    expect(shortened.assertions.length).toBeGreaterThan(40);
    expect(shortened).toEqual(await everything([folder], true));
  }, 60_000);

  test("every question to the catalog is answered the same", async () => {
    const [stock, shortened] = await inCopy("asked", async (session) => {
      await session.rows(
        "CREATE TABLE app_table (id int4 PRIMARY KEY, name text); CREATE INDEX by_name ON app_table (name)",
      );
      const before = await askEverything(session);
      expect(await takeShortcuts(session)).toBe(true);
      return [before, await askEverything(session)];
    });
    expect(stock.size).toBeGreaterThan(40);
    const answers = [...stock.values()].join("");
    expect(answers).toContain("t");
    expect(answers).toContain("f");
    expect(shortened).toEqual(stock);
  }, 60_000);
});

describe("pgTAP is left as it is", () => {
  test("where it is none that we know", async () => {
    await inCopy("unknown", async (session) => {
      await session.rows(
        "CREATE OR REPLACE FUNCTION num_failed() RETURNS int LANGUAGE sql AS 'SELECT 0'; " +
          "CREATE OR REPLACE FUNCTION add_result(bool, bool, text, text, text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
      );
      const before = await session.rows(pgtapSources);
      expect(await takeShortcuts(session)).toBe(false);
      expect(await session.rows(pgtapSources)).toEqual(before);
    });
  });

  test("where definitions are watched", async () => {
    await inCopy("watched", async (session) => {
      await session.rows(
        `CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch()`,
      );
      const before = await session.rows(pgtapSources);
      expect(await takeShortcuts(session)).toBe(false);
      expect(await session.rows(pgtapSources)).toEqual(before);
    });
  });

  test("where it belongs to somebody else", async () => {
    await inCopy("foreign_pgtap", async (session) => {
      const before = await session.rows(pgtapSources);
      await session.rows("SET ROLE nobody_special");
      expect(await takeShortcuts(session)).toBe(false);
      expect(await session.rows(pgtapSources)).toEqual(before);
    });
  });

  test("where there is none", async () => {
    await inCopy("without_pgtap", async (session) => {
      await session.rows("DROP EXTENSION pgtap");
      expect(await takeShortcuts(session)).toBe(false);
    });
  });
});

test("shortcuts taken once are not taken again, and each session gets its counters", async () => {
  await inCopy("twice", async (first) => {
    expect(await takeShortcuts(first)).toBe(true);
    const before = await first.rows(pgtapSources);
    const second = await Session.connect(server.settings, "twice", "test");
    expect(await takeShortcuts(second)).toBe(true);
    await second.close();
    expect(await first.rows(pgtapSources)).toEqual(before);
  });
});

test("the tested database itself is not touched", async () => {
  const before = await server.sql(pgtapSources, "app");
  await everything([join("sound", "plan.sql")], false);
  expect(await server.sql(pgtapSources, "app")).toEqual(before);
});
