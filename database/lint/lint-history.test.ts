import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import { run } from "#system";
import { describeFinding } from "./finding.ts";
import { lintHistory } from "./lint-history.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-history-"));
  await mkdir(join(folder, "migrations"));
  await git("init", "-q", "-b", "main");
  await file("001_a.sql", "CREATE TABLE a ();\n-- one\n-- two\n");
  await file("002_b.sql", "CREATE TABLE b ();\n");
  await commit();
  return async () => rm(folder, { recursive: true });
});

const git = async (...args: string[]): Promise<string> =>
  (await run("git", ["-C", folder, "-c", "user.name=t", "-c", "user.email=t@t", ...args])).stdout;
const file = async (name: string, text: string): Promise<void> =>
  writeFile(join(folder, "migrations", name), text);
async function commit(): Promise<string> {
  await git("add", ".");
  await git("commit", "-q", "-m", "x");
  return (await git("rev-parse", "HEAD")).trim();
}

it("names an edited file with its first changed line, and a renamed one", async () => {
  expect((await lintHistory({ folder }))?.findings).toEqual([]);
  await file("001_a.sql", "CREATE TABLE a ();\n-- one\n-- 2\n");
  await rename(join(folder, "migrations/002_b.sql"), join(folder, "migrations/003_b.sql"));
  const path = (name: string): string => join(folder, "migrations", name);
  const help = "\n  restore it, and make the change in a new file: ctm migrate new NAME";
  expect((await lintHistory({ folder }))?.findings.map(describeFinding)).toEqual([
    `${path("001_a.sql")}:3: error: 001_a.sql is not what it was at HEAD, where others may have applied it (migration-edited)${help}`,
    `${path("002_b.sql")}: error: 002_b.sql was there at HEAD, where others may have applied it (migration-removed)${help}`,
  ]);
});

it("lets files of this branch be edited until they are shared", async () => {
  await git("update-ref", "refs/remotes/origin/main", "HEAD");
  await file("003_c.sql", "CREATE TABLE c ();\n");
  await commit();
  await file("003_c.sql", "CREATE TABLE c (id int);\n");
  expect((await lintHistory({ folder }))?.findings).toEqual([]);
  await file("001_a.sql", "CREATE TABLE a (id int);\n");
  const base = await commit();
  expect((await lintHistory({ folder }))?.findings.map(({ rule, line }) => [rule, line])).toEqual([
    ["migration-edited", 1],
  ]);
  expect(await lintHistory({ folder, base })).toEqual({ base, findings: [] });
});

it("names a new file that comes before one which may be applied, committed or not", async () => {
  await file("000_before.sql", "CREATE TABLE c ();\n");
  await file("003_after.sql", "CREATE TABLE d ();\n");
  expect((await lintHistory({ folder }))?.findings.map(describeFinding)).toEqual([
    `${join(folder, "migrations/000_before.sql")}:1: error: 000_before.sql comes before 002, which was there at HEAD and may be applied already (migration-out-of-order)
  give it the next free number`,
  ]);
  await git("update-ref", "refs/remotes/origin/main", "HEAD");
  await commit();
  expect((await lintHistory({ folder }))?.findings.map(({ rule }) => rule)).toEqual([
    "migration-out-of-order",
  ]);
});

it("does not pass for want of what to compare with", async () => {
  await expect(lintHistory({ folder, base: "f".repeat(40) })).rejects.toMatchObject({
    code: "history-unknown",
  });
  await git("remote", "add", "origin", folder);
  await expect(lintHistory({ folder })).rejects.toMatchObject({ code: "history-unknown" });
  // The revision before a branch's first one, as GitHub names it: as if none were given.
  await git("update-ref", "refs/remotes/origin/main", "HEAD");
  expect((await lintHistory({ folder, base: "0".repeat(40) }))?.findings).toEqual([]);
});

it("says that it does not know outside a checkout", async () => {
  await rm(join(folder, ".git"), { recursive: true });
  expect(await lintHistory({ folder })).toBeNull();
});
