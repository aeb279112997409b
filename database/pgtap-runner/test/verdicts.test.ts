import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FileResult, RunResult } from "../src/results.ts";
import { runTests } from "../src/run/run-tests.ts";
import { startServer, type TestServer } from "./server.ts";

/** Why each broken file is red; the word is the problem's code, or `failed` for an assertion. */
const reasons: Readonly<Record<string, string>> = {
  "bail-out": "bail-out",
  "connection-lost": "connection-lost",
  "custom-setting-leaked": "setting-leaked",
  empty: "no-tests",
  "failed-assertion": "failed",
  "failed-subtest": "failed",
  "fewer-tests-than-planned": "plan-mismatch",
  "line-separator": "failed",
  "missing-include": "psql-error",
  "more-tests-than-planned": "plan-mismatch",
  "no-plan-at-all": "no-plan",
  "no-test": "no-tests",
  "not-utf8": "sql-error",
  "out-of-sequence": "out-of-sequence",
  "plan-for-no-test": "no-tests",
  "plan-in-the-middle": "output-after-plan",
  "plan-with-words": "no-plan",
  "role-leaked": "role-leaked",
  "session-user-leaked": "role-leaked",
  "setting-leaked": "setting-leaked",
  "setting-leaked-by-a-function": "setting-leaked",
  "setting-left-that-breaks-everything": "setting-leaked",
  "sql-error": "sql-error",
  "sql-error-after-the-last-test": "sql-error",
  "sql-error-outside-a-transaction": "sql-error",
  "sql-error-with-stop-off": "sql-error",
  "syntax-error": "sql-error",
  "tap-version": "tap-version",
  "test-after-the-plan": "output-after-plan",
  "transaction-committed": "transaction-ended-early",
  "transaction-ended-early": "transaction-ended-early",
  "transaction-open": "transaction-open",
  "two-plans": "plan-twice",
  "unbalanced-if": "psql-error",
  "unknown-command": "psql-error",
  "unterminated-quote": "sql-error",
};

const here = import.meta.dirname;
let server: TestServer;
let directory: string;
let databaseCount = 0;

beforeAll(async () => {
  server = await startServer();
  directory = await mkdtemp(join(tmpdir(), "pgtap-verdicts-"));
  await server.sql(
    `CREATE FUNCTION become(who text) RETURNS text LANGUAGE sql AS
       $$ SELECT set_config('app.became', who, false) $$`,
    "app",
  );
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

async function names(folder: string): Promise<string[]> {
  const files = await readdir(join(here, folder));
  return files.map((file) => basename(file, ".sql")).toSorted();
}

/** pg_prove's verdict of one file, in a database of its own so that nothing stays behind. */
async function withPgProve(file: string, database: string): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { cwd: here, env: { ...server.environment, PGDATABASE: database } };
    execFile("pg_prove", ["--ext", ".sql", file], options, (error) => resolve(error === null));
  });
}

async function pgProveVerdicts(files: readonly string[]): Promise<Map<string, boolean>> {
  const verdicts = new Map<string, boolean>();
  const queue = [...files];
  const work = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      databaseCount += 1;
      const database = `prove_${databaseCount}`;
      await server.sql(`CREATE DATABASE ${database} TEMPLATE app`);
      verdicts.set(file, await withPgProve(file, database));
    }
  };
  await Promise.all([work(), work()]);
  return verdicts;
}

function ours(files: readonly string[], workers = 2): Promise<RunResult> {
  return runTests({
    files,
    workers,
    workingDirectory: here,
    connection: { url: server.url },
  });
}

function whyRed(result: FileResult): string[] {
  const codes = result.problems.map((problem) => problem.code as string);
  return result.counts.failed > 0 ? ["failed", ...codes] : codes;
}

async function databases(): Promise<string[]> {
  const rows = await server.sql("SELECT datname FROM pg_database WHERE datname ~ '^pgtap_runner'");
  return rows.map(([name]) => name ?? "");
}

describe("broken files", () => {
  test("none is green, each for its reason; the table in the README is this one", async () => {
    const all = await names("broken");
    expect(Object.keys(reasons).toSorted()).toEqual(all);
    // A file that bails out ends the run: it gets one of its own.
    const bailing = join("broken", "bail-out.sql");
    const files = all
      .map((name) => join("broken", `${name}.sql`))
      .filter((file) => file !== bailing);
    const result = await ours(files);
    expect(result.exitCode).toBe(3);
    const bailed = await ours([bailing]);
    const results = [...result.files, ...bailed.files].toSorted((a, b) =>
      a.path.localeCompare(b.path, "en"),
    );
    const found = Object.fromEntries(
      results.map((file) => [basename(file.path, ".sql"), [file.status, whyRed(file)[0]]]),
    );
    expect(found).toEqual(
      Object.fromEntries(
        Object.entries(reasons).map(([name, reason]) => [name, ["failed", reason]]),
      ),
    );
    const proved = await pgProveVerdicts(results.map((file) => file.path));
    const rows = results.map(
      (file) =>
        `| ${basename(file.path)} | ${proved.get(file.path) === true ? "green" : "red"} | red: ${whyRed(file)[0]} |`,
    );
    const readme = await readFile(join(here, "..", "README.md"), "utf8");
    const table = /\| broken file[^\n]*\n\|[^\n]*\n((?:\|[^\n]*\n)*)/.exec(readme)?.[1] ?? "";
    const cells = (text: string): string[] => text.split("|").map((cell) => cell.trim());
    expect(table.trim().split("\n").map(cells)).toEqual(rows.map(cells));
    expect(await databases()).toEqual([]);
  }, 60_000);

  test("they are as red when psql runs them", async () => {
    const folder = join(directory, "by-psql");
    await mkdir(folder);
    const all = (await names("broken")).filter((name) => name !== "bail-out");
    for (const name of all) {
      const content = await readFile(join(here, "broken", `${name}.sql`));
      const text = Buffer.concat([Buffer.from("\\! true\n"), content]);
      await writeFile(join(folder, `${name}.sql`), text);
    }
    const result = await ours(all.map((name) => join(folder, `${name}.sql`)));
    expect(result.files.map((file) => file.interpreter)).toEqual(all.map(() => "psql"));
    const found = result.files.map((file) => [basename(file.path, ".sql"), whyRed(file)[0]]);
    // psql does not tell when a transaction ended, so that one way to be red is out of reach.
    const expected = { ...reasons, "transaction-ended-early": undefined };
    expect(Object.fromEntries(found)).toEqual(
      Object.fromEntries(Object.entries(expected).filter(([name]) => name !== "bail-out")),
    );
  }, 60_000);
});

describe("sound files", () => {
  test("what pg_prove passes, passes", async () => {
    const files = (await names("sound")).map((name) => join("sound", `${name}.sql`));
    const result = await ours(files);
    const red = result.files.filter((file) => file.status === "failed");
    expect(red.map((file) => [file.path, whyRed(file), file.problems[0]?.message])).toEqual([]);
    const proved = await pgProveVerdicts(files);
    expect(files.filter((file) => proved.get(file) !== true)).toEqual([]);
    expect(result.files.find((file) => file.path.endsWith("skip-all.sql"))?.status).toBe("skipped");
    expect(result.counts).toMatchObject({ failed: 0, skipped: 2, todo: 2 });
    expect(result.exitCode).toBe(0);
    expect(await databases()).toEqual([]);
  }, 60_000);

  test("in any order, on one worker", async () => {
    const files = (await names("sound")).map((name) => join("sound", `${name}.sql`)).toReversed();
    const result = await ours(files, 1);
    expect(result.files.filter((file) => file.status === "failed").map(whyRed)).toEqual([]);
  });

  test("a run in which every file is skipped is red", async () => {
    const result = await ours([join("sound", "skip-all.sql")]);
    expect(result.files[0]?.status).toBe("skipped");
    expect(result.exitCode).toBe(3);
    expect(result.problems).toEqual(["no test ran: every file was skipped"]);
  });

  test("what only psql can do goes to psql", async () => {
    const files = ["psql-only", "psql-aligned", "plan"].map((name) => join("sound", `${name}.sql`));
    const result = await ours(files);
    expect(result.files.map((file) => file.interpreter)).toEqual(["psql", "psql", "native"]);
  });

  test("without psql, such a file is red and says so", async () => {
    const result = await runTests({
      files: [join("sound", "psql-only.sql")],
      workingDirectory: here,
      connection: { url: server.url },
      psqlProgram: "no-such-psql",
    });
    expect(result.files[0]?.problems[0]).toMatchObject({ code: "psql-missing" });
  });
});

test("a file that another left changes for would notice", async () => {
  const folder = join(directory, "neighbours");
  await mkdir(folder);
  await copyFile(join(here, "sound", "no-transaction.sql"), join(folder, "1.sql"));
  await copyFile(join(here, "sound", "no-transaction.sql"), join(folder, "2.sql"));
  await copyFile(join(here, "broken", "transaction-committed.sql"), join(folder, "3.sql"));
  await copyFile(join(here, "sound", "no-transaction.sql"), join(folder, "4.sql"));
  const result = await ours([folder], 1);
  expect(result.files.map((file) => file.status)).toEqual(["passed", "passed", "failed", "passed"]);
});
