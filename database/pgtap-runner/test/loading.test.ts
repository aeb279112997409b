import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunResult } from "../src/results.ts";
import { assertionsFile } from "../src/run/prepare-template.ts";
import { type RunOptions, runTests } from "../src/run/run-tests.ts";
import { serverPrograms, startServer, type TestServer } from "./server.ts";

const execute = promisify(execFile);
const assertions = join(import.meta.dirname, "assertions", "assertions.sql");
let server: TestServer;
let directory: string;
let extensionFolder: string;

beforeAll(async () => {
  server = await startServer();
  directory = await mkdtemp(join(tmpdir(), "pgtap-loading-"));
  await server.sql("CREATE DATABASE bare");
  const configuration = join(serverPrograms(), "pg_config");
  const { stdout } = await execute(configuration, ["--sharedir"]).catch(() =>
    execute("pg_config", ["--sharedir"]),
  );
  extensionFolder = join(stdout.trim(), "extension");
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

function run(files: string[], options: Partial<RunOptions> = {}): Promise<RunResult> {
  return runTests({ files, connection: { url: server.url }, ...options });
}

async function file(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

const sound = "BEGIN;\nSELECT plan(1);\nSELECT pass('one');\nSELECT * FROM finish();\nROLLBACK;\n";

describe("the assertions that pgTAP lacks", () => {
  test("pass, fail and explain themselves", async () => {
    const result = await run([assertions], { assertions: true });
    expect(result.files[0]?.failures).toEqual([]);
    expect(result.files[0]?.problems).toEqual([]);
    expect(result.counts.passed).toBeGreaterThan(100);
  });

  test("also under pg_prove, where a file includes them", async () => {
    const text = await readFile(assertions, "utf8");
    const path = await file(
      "assertions.sql",
      text.replace("BEGIN;\n", `BEGIN;\n\\i ${assertionsFile}\n`),
    );
    const { stdout } = await execute("pg_prove", [path], { env: server.environment });
    expect(stdout).toContain("All tests successful.");
    expect((await run([path])).exitCode).toBe(0);
  });

  test("bring pgTAP with them where the database has none", async () => {
    const connection = { url: server.url, database: "bare" };
    const path = await file("bare.sql", `CREATE EXTENSION pgtap;\n${sound}`);
    expect((await run([path, assertions], { assertions: true, connection })).exitCode).toBe(0);
  });
});

describe("pgTAP's own SQL", () => {
  const connection = (): { url: string; database: string } => ({
    url: server.url,
    database: "bare",
  });

  test("is loaded from a directory, and CREATE EXTENSION has nothing left to do", async () => {
    const path = await file("creates.sql", `CREATE EXTENSION IF NOT EXISTS pgtap;\n${sound}`);
    const result = await run([path], { pgtap: extensionFolder, connection: connection() });
    expect(result.files[0]?.problems).toEqual([]);
    expect(result.exitCode).toBe(0);
  });

  test("is loaded from a file", async () => {
    const path = await file("sound.sql", sound);
    const options = { pgtap: join(extensionFolder, "pgtap.sql"), connection: connection() };
    expect((await run([path], options)).exitCode).toBe(0);
    const without = await run([path], { connection: connection() });
    expect(without.files[0]?.problems[0]).toMatchObject({
      code: "sql-error",
      next: "CREATE EXTENSION pgtap, or load pgTAP with --pgtap PATH",
    });
  });

  test("is not loaded where it is", async () => {
    const path = await file("sound.sql", sound);
    expect((await run([path], { pgtap: "no-such-package" })).exitCode).toBe(0);
  });

  test("must be somewhere", async () => {
    const path = await file("sound.sql", sound);
    const running = run([path], { pgtap: "no-such-package", connection: connection() });
    await expect(running).rejects.toMatchObject({ code: "pgtap-missing", exitCode: 2 });
  });
});

describe("SQL files to load", () => {
  test("are run once, before the tests", async () => {
    const load = await file(
      "load.sql",
      "CREATE TABLE loaded (id int);\nINSERT INTO loaded VALUES (:value);\n".replace(":value", "1"),
    );
    const path = await file(
      "uses.sql",
      "BEGIN;\nSELECT plan(1);\nSELECT is(count(*)::int, 1) FROM loaded;\nSELECT * FROM finish();\nROLLBACK;\n",
    );
    expect((await run([path], { load: [load] })).exitCode).toBe(0);
    expect(await server.sql("SELECT to_regclass('loaded')", "app")).toEqual([[null]]);
  });

  test("that fail stop everything, with their place", async () => {
    const load = await file("broken.sql", "SELECT 1;\nSELECT no_such_column;\n");
    await expect(run([load], { load: [load] })).rejects.toMatchObject({
      code: "load-failed",
      message: `${load}:2: column "no_such_column" does not exist`,
    });
    const missing = run([load], { load: ["no-such-file.sql"] });
    await expect(missing).rejects.toMatchObject({ code: "load-failed", exitCode: 2 });
  });

  test("are refused in place", async () => {
    const path = await file("sound.sql", sound);
    const running = run([path], { assertions: true, isolation: "in-place" });
    await expect(running).rejects.toMatchObject({ code: "in-place-load", exitCode: 2 });
  });
});

describe("what CREATE DATABASE does not copy", () => {
  test("settings, owner and privileges of the database are the same in the copy", async () => {
    await server.sql("CREATE ROLE keeper");
    await server.sql("CREATE DATABASE kept TEMPLATE app OWNER keeper");
    await server.sql('ALTER DATABASE kept SET search_path = public, pg_catalog, "odd name"');
    await server.sql("ALTER DATABASE kept SET app.stage = 'it''s a test'");
    await server.sql("ALTER ROLE postgres IN DATABASE kept SET work_mem = '5MB'");
    await server.sql("REVOKE TEMP ON DATABASE kept FROM PUBLIC");
    await server.sql("GRANT CREATE ON DATABASE kept TO pg_monitor WITH GRANT OPTION");
    const path = await file(
      "kept.sql",
      `BEGIN;
SELECT plan(6);
SELECT is(current_setting('search_path'), 'public, pg_catalog, "odd name"');
SELECT is(current_setting('app.stage'), 'it''s a test');
SELECT is(current_setting('work_mem'), '5MB');
SELECT is(pg_get_userbyid(datdba)::text, 'keeper') FROM pg_database WHERE datname = current_database();
SELECT set_eq(
  'SELECT a.* FROM pg_database, aclexplode(datacl) a WHERE datname = current_database()',
  $$SELECT a.* FROM pg_database, aclexplode(datacl) a WHERE datname = 'kept'$$);
SELECT ok(NOT has_database_privilege('pg_read_all_data', current_database(), 'TEMP'));
SELECT * FROM finish();
ROLLBACK;
`,
    );
    const result = await run([path], { connection: { url: server.url, database: "kept" } });
    expect(result.files[0]?.failures.map((failure) => failure.diagnostics)).toEqual([]);
    expect(result.exitCode).toBe(0);
  });
});
