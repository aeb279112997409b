// A copy of this checkout with a planted mistake of each kind: each is named with its file and line.
import { appendFile, cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { run, type Finished } from "#system";
import { reportDocument, type FindingDocument, type ReportDocument } from "./document.ts";

vi.setConfig({ testTimeout: 120_000 });

const checkout = fileURLToPath(new URL("../..", import.meta.url));
/** What `ctm check` is made of, and what it looks at. */
const parts = ["bin", "database", "docs", "infra", "ops", "system", "package.json"];

/** What a shell may hold for another server, and for another country. */
const hostile = {
  ...{ PGHOST: "nowhere.invalid", PGHOSTADDR: "192.0.2.1", PGPORT: "1", PGUSER: "nobody" },
  ...{ PGDATABASE: "none", PGOPTIONS: "-c search_path=pg_catalog", PGSSLMODE: "verify-full" },
  ...{ PGSERVICE: "none", LC_ALL: "C", TZ: "Pacific/Kiritimati" },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-check-"));
  for (const part of [...parts, "package-lock.json"]) {
    await cp(join(checkout, part), join(folder, part), {
      recursive: true,
      filter: (path) => !/\/(node_modules|dist)(\/|$)/.test(path),
    });
  }
  await symlink(join(checkout, "node_modules"), join(folder, "node_modules"));
  await git("init", "-q", "-b", "main");
  await git("add", "database");
  await git("commit", "-q", "-m", "what others have");
});
afterEach(async () => rm(folder, { recursive: true }));

async function git(...args: string[]): Promise<void> {
  await run("git", ["-C", folder, "-c", "user.name=t", "-c", "user.email=t@t", ...args]);
}

async function plant(path: string, text: string): Promise<void> {
  await writeFile(join(folder, path), text);
}

/** A second line that the generator does not know. */
async function editByHand(path: string): Promise<void> {
  const text = await readFile(join(folder, path), "utf8");
  await plant(path, text.replace("\n", "\n-- edited by hand\n"));
}

/** As a stranger starts it: in a process of its own, from any folder. */
async function ctm(...args: string[]): Promise<Finished> {
  return await run(process.execPath, [join(folder, "bin/ctm"), "check", ...args], {
    cwd: tmpdir(),
    env: { ...process.env, ...hostile },
    accept: [0, 1, 2, 3],
    timeoutMs: 110_000,
  });
}

async function check(...args: string[]): Promise<ReportDocument> {
  const { stdout, stderr } = await ctm("--json", ...args);
  return reportDocument.parse(JSON.parse(stdout === "" ? stderr : stdout));
}

/** check, file, line and the beginning of the message: what has to be right about a finding. */
function named(findings: readonly FindingDocument[], longest = 70): string[] {
  return findings.map(
    ({ check: name, file, line, message }) =>
      `${name} ${file ?? "?"}:${line ?? "?"} ${message.slice(0, longest)}`,
  );
}

describe("a planted mistake", () => {
  test("of each kind is named with its file and line, in every report", async () => {
    await appendFile(
      join(folder, "database/migrations/004_validate_constraints.sql"),
      "-- later\n",
    );
    const before = await readFile(join(folder, "database/migrations/004_validate_constraints.sql"));
    const edited = before.toString().trimEnd().split("\n").length;
    await plant(
      "database/migrations/901_secrets.sql",
      [
        "-- A table that nobody was thought of for.",
        "CREATE TABLE secrets (id bigint PRIMARY KEY, secret text NOT NULL);",
        "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;",
        "ALTER TABLE secrets FORCE ROW LEVEL SECURITY;",
        "CREATE INDEX tasks_secret ON tasks (title, status);",
        "",
      ].join("\n"),
    );
    await plant(
      "database/tests/planted.sql",
      [
        "BEGIN;",
        "SELECT plan(2);",
        "SELECT count(*) FROM tasks;",
        "DO $$ BEGIN RAISE NOTICE 'look here'; END $$;",
        "SELECT is(",
        "  1 + 1, 3, 'arithmetic');",
        "SELECT ok(nothing);",
        "SELECT * FROM finish();",
        "ROLLBACK;",
        "",
      ].join("\n"),
    );
    await editByHand("docs/schema.md");
    await editByHand("database/roles.sql");
    const markdown = join(folder, "report.md");
    const quality = join(folder, "quality.json");
    const report = await check("--markdown", markdown, "--gitlab", quality);

    expect(report.ok).toBe(false);
    const found = named(report.findings);
    expect(found).toEqual(
      expect.arrayContaining([
        `history database/migrations/004_validate_constraints.sql:${edited} migration-edited: 004_validate_constraints.sql is not what it was at H`,
        "lint database/migrations/901_secrets.sql:5 require-concurrent-index-creation: During normal index creation, table",
        "catalog database/migrations/901_secrets.sql:4 row-security-without-policy: public.secrets has row security and no po",
        "access database/migrations/901_secrets.sql:4 table secrets is not declared",
        "pgtap database/tests/planted.sql:5 not ok 1 - arithmetic",
        'pgtap database/tests/planted.sql:7 sql-error: 42703: column "nothing" does not exist',
        "documents database/roles.sql:2 database/roles.sql is stale: from line 2 on it is not what would be ge",
        "documents docs/schema.md:2 docs/schema.md is stale: from line 2 on it is not what would be genera",
      ]),
    );
    expect(found.filter((line) => line.startsWith("access"))).toHaveLength(1);
    const arithmetic = report.findings.find(({ message }) => message.endsWith("arithmetic"));
    expect(arithmetic?.detail).toBe(
      "| SELECT is(\n|   1 + 1, 3, 'arithmetic');\n- wanted  + got\n- 3\n+ 2",
    );
    const error = report.findings.find(({ message }) => message.startsWith("sql-error"));
    expect(error?.detail).toBe(
      [
        "| SELECT ok(nothing);",
        "output:",
        "  database/tests/planted.sql:3: 0",
        "  database/tests/planted.sql:4: NOTICE: look here",
      ].join("\n"),
    );

    const summary = await readFile(markdown, "utf8");
    for (const { file, line } of report.findings) {
      expect(summary).toContain(`\`${file}${line === null ? "" : `:${line}`}\``);
    }
    const issues = JSON.parse(await readFile(quality, "utf8")) as {
      fingerprint: string;
      location: { path: string; lines: { begin: number } };
    }[];
    expect(issues.map(({ location }) => `${location.path}:${location.lines.begin}`)).toEqual(
      report.findings.map(({ file, line }) => `${file}:${line ?? 1}`),
    );
    expect(new Set(issues.map(({ fingerprint }) => fingerprint)).size).toBe(issues.length);
  });

  test("in the matrix's document alone is the only problem", async () => {
    await editByHand("docs/access.md");
    const report = await check();
    expect(named(report.findings)).toEqual([
      "documents docs/access.md:2 docs/access.md is stale: from line 2 on it is not what would be genera",
    ]);
    expect(report.findings[0]?.next).toBe("node database/access-document.ts, and commit it");
  });

  test("of syntax or of meaning stops the migrations, with the server's words", async () => {
    await plant(
      "database/migrations/901_typo.sql",
      "-- A typo.\nALTER TABLE tasks ADD COLUMN a text;\nALTER TABEL tasks ADD COLUMN b text;\n",
    );
    const syntax = await check();
    expect(named(syntax.findings)).toEqual([
      'migrations database/migrations/901_typo.sql:3 syntax error at or near "TABEL" (SQLSTATE 42601)',
    ]);
    expect(syntax.findings[0]?.detail).toContain("ALTER TABEL tasks");
    expect(syntax.checks.map(({ outcome }) => outcome).join(" ")).toBe(
      "passed passed failed skipped skipped skipped passed",
    );
  });

  test("reaches GitHub and GitLab by the commands of docs/ci.md", async () => {
    await plant(
      "database/migrations/901_index.sql",
      "CREATE INDEX CONCURRENTLY a ON tasks (title);\n",
    );
    const [github, gitlab] = await snippets();
    const summary = join(folder, "summary.md");
    // What is nothing but zeros stands for "no revision before".
    const none = "0".repeat(40);
    const onGitHub = await shell(github, { GITHUB_STEP_SUMMARY: summary, BASE: none });
    expect(onGitHub.code).toBe(3);
    expect(onGitHub.stdout).toContain(
      "::error file=database/migrations/901_index.sql,line=1,title=ctm check%3A lint::CREATE … CONCURRENTLY cannot run in a transaction%0Anext: put it alone",
    );
    expect(await readFile(summary, "utf8")).toContain("`database/migrations/901_index.sql:1`");
    const onGitLab = await shell(gitlab, { CI_COMMIT_BEFORE_SHA: none });
    expect(onGitLab.code).toBe(3);
    const quality: unknown = JSON.parse(await readFile(join(folder, "code-quality.json"), "utf8"));
    expect(quality).toMatchObject([
      {
        check_name: "ctm-check-lint",
        location: { path: "database/migrations/901_index.sql", lines: { begin: 1 } },
      },
    ]);
  });
});

/** The command that each of the two services runs. */
async function snippets(): Promise<[string, string]> {
  const text = await readFile(join(folder, "docs/ci.md"), "utf8");
  const [github, gitlab, ...others] = [...text.matchAll(/^ +- (?:run: )?(node bin\/ctm .*)$/gm)];
  expect(others).toEqual([]);
  return [github?.[1] ?? "", gitlab?.[1] ?? ""];
}

async function shell(line: string, env: NodeJS.ProcessEnv): Promise<Finished> {
  return await run("bash", ["-c", line], {
    cwd: folder,
    env: { ...process.env, ...env },
    accept: [0, 1, 2, 3],
  });
}
