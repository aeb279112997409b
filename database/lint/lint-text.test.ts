import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseMigration, type MigrationFile } from "../runner/migration-files.ts";
import { lintText } from "./lint-text.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-lint-"));
});
afterAll(async () => rm(folder, { recursive: true }));

async function file(name: string, sql: string): Promise<MigrationFile> {
  const path = join(folder, name);
  await writeFile(path, sql);
  return parseMigration({ path, name, kind: "numbered", bytes: Buffer.from(sql) });
}

it("names what blocks readers or writers, with file and line", async () => {
  const blocking = await file(
    "003_a.sql",
    "-- why\nCREATE INDEX a_x ON a (x);\nALTER TABLE a ALTER x SET NOT NULL;\n",
  );
  const found = await lintText([blocking]);
  expect(found.map(({ file: path, line, rule, level }) => [path, line, rule, level])).toEqual([
    [blocking.path, 2, "require-concurrent-index-creation", "warning"],
    [blocking.path, 3, "adding-not-nullable-field", "warning"],
  ]);
});

it("knows which files run without a transaction, and what the document prescribes", async () => {
  const files = [
    await file("001_a.sql", "CREATE TABLE a (id int PRIMARY KEY, name varchar(20));"),
    await file(
      "003_b.sql",
      "-- ctm: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a_x ON a (x);\n",
    ),
    await file("004_c.sql", "CREATE TABLE c (name varchar(20));"),
  ];
  const found = await lintText(files);
  expect(found.map(({ line, rule }) => [line, rule])).toEqual([[1, "prefer-text-field"]]);
});

it("names wrong syntax", async () => {
  const [found] = await lintText([
    await file("003_d.sql", "CREATE TABLE d (id bigint);\nSELEC 1;"),
  ]);
  expect(found).toMatchObject({ line: 2, rule: "syntax-error", level: "error" });
});

it("has nothing to say about no files", async () => {
  expect(await lintText([])).toEqual([]);
});
