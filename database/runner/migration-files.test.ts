import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { CtmError } from "#system";
import { compareVersions, migrationFiles, parseMigration } from "./migration-files.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-migrations-"));
  await mkdir(join(folder, "migrations"));
  await mkdir(join(folder, "repeatable"));
  return async () => rm(folder, { recursive: true });
});

async function refusal(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof CtmError) return error.text;
    throw error;
  }
  throw new Error("expected a refusal");
}

describe("migrationFiles", () => {
  it("lists numbered files by number, then repeatable ones by name, with their sha256", async () => {
    const sql = "SELECT 1;\n";
    await writeFile(join(folder, "migrations/010_ten.sql"), sql);
    await writeFile(join(folder, "migrations/1000_thousand.sql"), sql);
    await writeFile(join(folder, "migrations/002_two_words.sql"), `-- ctm: no-transaction\n${sql}`);
    await writeFile(join(folder, "migrations/README.md"), "not SQL");
    await writeFile(join(folder, "repeatable/b.sql"), sql);
    await writeFile(join(folder, "repeatable/a.sql"), sql);
    const files = await migrationFiles(folder);
    expect(files.map(({ version, name }) => [version, name])).toEqual([
      ["002", "002_two_words.sql"],
      ["010", "010_ten.sql"],
      ["1000", "1000_thousand.sql"],
      [null, "a.sql"],
      [null, "b.sql"],
    ]);
    expect(files[0]).toMatchObject({ description: "two words", transactional: false });
    expect(files[1]).toEqual({
      kind: "numbered",
      version: "010",
      name: "010_ten.sql",
      description: "ten",
      path: join(folder, "migrations/010_ten.sql"),
      sha256: createHash("sha256").update(sql).digest("hex"),
      transactional: true,
    });
  });

  it("refuses names without a number, and two of one number", async () => {
    await writeFile(join(folder, "migrations/tasks.sql"), "");
    expect(await refusal(() => migrationFiles(folder))).toBe(
      `bad-migration-name: ${join(folder, "migrations/tasks.sql")}: a numbered migration is called NNN_what_it_does.sql, in lower case, digits and underscores
next: rename the file; ctm migrate new NAME makes one with the next number`,
    );
    await rm(join(folder, "migrations/tasks.sql"));
    await writeFile(join(folder, "migrations/001_a.sql"), "");
    await writeFile(join(folder, "migrations/0001_b.sql"), "");
    expect(await refusal(() => migrationFiles(folder))).toMatch(
      /^migration-number-taken: 0001_b\.sql and 001_a\.sql have the same number\n|^migration-number-taken: 001_a\.sql and 0001_b\.sql have the same number\n/,
    );
  });

  it("reads this project's own files", async () => {
    const files = await migrationFiles();
    expect(files[0]).toMatchObject({ version: "001", name: "001_initial_schema.sql" });
  });
});

describe("parseMigration", () => {
  const parse = (sql: string | Uint8Array): (() => unknown) => {
    const bytes = typeof sql === "string" ? Buffer.from(sql) : sql;
    return () =>
      parseMigration({ path: "/m/003_x.sql", name: "003_x.sql", kind: "numbered", bytes });
  };
  const rules: [what: string, sql: string | Uint8Array, said: string][] = [
    [
      "commands of psql",
      "SELECT 1;\n\\set ON_ERROR_STOP on\n",
      '/m/003_x.sql:2: "\\set ON_ERROR_STOP on" is a command of psql, not SQL\nnext: write plain SQL: migrations are sent to the server, not to psql',
    ],
    [
      "an open quote",
      "SELECT 1;\nSELECT 'x;\n",
      "/m/003_x.sql:2: a string is never closed\nnext: close it",
    ],
    [
      "the end of the transaction",
      "SELECT 1;\nCOMMIT;",
      "/m/003_x.sql:2: COMMIT would end the transaction that the runner holds\nnext: remove it: each file already runs in one transaction",
    ],
    [
      "rows after COPY",
      "COPY a (x)\n  FROM stdin;\n1\n\\.\n",
      '/m/003_x.sql:4: "\\." is a command of psql, not SQL\nnext: write plain SQL: migrations are sent to the server, not to psql',
    ],
    [
      "COPY without rows",
      "COPY a FROM STDIN;",
      "/m/003_x.sql:1: COPY … FROM STDIN needs a client that sends the rows\nnext: write the rows as INSERT … VALUES",
    ],
    [
      "CONCURRENTLY in a transaction",
      "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (x);",
      '/m/003_x.sql:1: CREATE … CONCURRENTLY cannot run in a transaction\nnext: put it alone into a file that begins with "-- ctm: no-transaction"',
    ],
    [
      "CONCURRENTLY that cannot be repeated",
      "-- ctm: no-transaction\nDROP INDEX CONCURRENTLY i;",
      "/m/003_x.sql:2: DROP … CONCURRENTLY without IF EXISTS cannot be run again after an interruption\nnext: add IF EXISTS",
    ],
    [
      "a second statement outside a transaction",
      "-- ctm: no-transaction\nVACUUM a;\nVACUUM b;",
      "/m/003_x.sql:3: a no-transaction file holds one statement, and this is a second one\nnext: put it into a file of its own: with one statement a failure leaves nothing half done",
    ],
    [
      "an unknown directive",
      "-- ctm: no-transactions\nSELECT 1;",
      '/m/003_x.sql:1: "-- ctm: no-transactions" is not known\nnext: the only one is "-- ctm: no-transaction"',
    ],
    [
      "a directive too late",
      "SELECT 1;\n-- ctm: no-transaction\n",
      '/m/003_x.sql:2: "-- ctm: no-transaction" stands after the first statement\nnext: move it to the top of the file',
    ],
    [
      "another encoding",
      new Uint8Array([0x2d, 0x2d, 0xe9]),
      "/m/003_x.sql:1: the file is not UTF-8\nnext: save it as UTF-8",
    ],
    [
      "a zero byte",
      "SELECT 1;\n--\0",
      "/m/003_x.sql:2: the file holds a zero byte\nnext: remove it",
    ],
  ];
  it.each(rules)("refuses %s", async (_what, sql, said) => {
    expect(await refusal(parse(sql))).toBe(`bad-migration: ${said}`);
  });

  it("accepts savepoints, blocks of code and CONCURRENTLY where it may stand", () => {
    expect(parse("SAVEPOINT a; ROLLBACK TO a; DO $$ BEGIN COMMIT; END $$;")).not.toThrow();
    expect(parse("REFRESH MATERIALIZED VIEW CONCURRENTLY v;")).not.toThrow();
    expect(
      parse("-- why\n-- ctm: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (x)"),
    ).not.toThrow();
    expect(parse("\ufeffSELECT 1;")).not.toThrow();
  });
});

describe("compareVersions", () => {
  it("compares as numbers", () => {
    expect(compareVersions("002", "010")).toBe(-1);
    expect(compareVersions("1000", "999")).toBe(1);
    expect(compareVersions("2", "002")).toBe(0);
    expect(compareVersions("002", "by-hand")).toBe(-1);
  });
});
