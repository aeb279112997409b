import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rename, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "./server.ts";

const program = join(import.meta.dirname, "..", "bin", "pgtap-runner.js");
let server: TestServer;
let directory: string;

beforeAll(async () => {
  server = await startServer();
  await server.sql(
    `CREATE SCHEMA unit;
     CREATE FUNCTION unit.test_one() RETURNS SETOF text LANGUAGE sql AS $$ SELECT pass('one') $$;
     CREATE FUNCTION unit.test_two() RETURNS SETOF text LANGUAGE sql AS $$ SELECT fail('two') $$;
     CREATE FUNCTION unit.other() RETURNS SETOF text LANGUAGE sql AS $$ SELECT fail('other') $$`,
    "app",
  );
});

afterAll(() => server.stop());

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pgtap-command-"));
  await writeFile(join(directory, "good.sql"), sound('fine <&> "quoted"'));
  return () => rm(directory, { recursive: true, force: true });
});

function sound(description: string): string {
  return `BEGIN;\nSELECT plan(1);\nSELECT pass('${description}');\nSELECT * FROM finish();\nROLLBACK;\n`;
}

const bad = `BEGIN;
SELECT plan(3);
DO $$ BEGIN RAISE NOTICE 'look here' USING DETAIL = 'closely'; END $$;
SELECT 'some output';
SELECT is(
  E'one\\ntwo'::text,
  E'one\\nthree'::text,
  'two, lines');
SELECT todo('later', 1);
SELECT fail('not yet');
SELECT skip('not here', 1);
SELECT * FROM finish();
ROLLBACK;
`;

interface Finished {
  code: number;
  stdout: string;
  stderr: string;
}

function run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Finished> {
  return new Promise((resolve) => {
    const env = { ...server.environment, GITHUB_ACTIONS: undefined, ...environment };
    execFile(
      process.execPath,
      [program, ...args],
      { cwd: directory, env },
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

/** Times differ: they are no part of what is compared. */
function withoutTimes(text: string): string {
  return text.replace(/\d+(\.\d+)? (ms|s)\b/g, "TIME").replace(/time="[\d.]+"/g, 'time="TIME"');
}

describe("reporters", () => {
  beforeEach(async () => {
    await writeFile(join(directory, "bad.sql"), bad);
  });

  test("spec: what failed, where, got and wanted, and what the file said", async () => {
    const { code, stdout } = await run(["-j1", "--slowest", "0", "bad.sql", "good.sql"]);
    expect(code).toBe(3);
    expect(withoutTimes(stdout)).toBe(`✗ bad.sql  0 passed, 1 failed, 1 skipped, 1 todo  TIME
  not ok 1 - two, lines
    at bad.sql:5
    | SELECT is(
    |   E'one\\ntwo'::text,
    |   E'one\\nthree'::text,
    |   'two, lines');
    - wanted  + got
      one
    - three
    + two
  output:
    bad.sql:3: NOTICE: look here
    bad.sql:3: DETAIL: closely
    bad.sql:4: some output
✓ good.sql  1 passed  TIME
failed files:
  bad.sql
FAILED: 2 files, 1 failed; tests: 1 passed, 1 failed, 1 skipped, 1 todo (TIME, 1 worker)
`);
  });

  test("spec: an SQL error with its statement, and the place the server points at", async () => {
    const text = "BEGIN;\nSELECT plan(1);\nSELECT ok(true,\n  no_such_column::text);\nROLLBACK;\n";
    await writeFile(join(directory, "error.sql"), text);
    const { stdout } = await run(["--slowest=0", "error.sql"]);
    expect(stdout).toContain(`  sql-error: 42703: column "no_such_column" does not exist
    at error.sql:4
    | SELECT ok(true,
    |   no_such_column::text);
`);
  });

  test("tap", async () => {
    const { stdout } = await run(["-j1", "--reporter", "tap", "bad.sql", "good.sql"]);
    expect(stdout).toBe(
      `TAP version 14
1..2
# Subtest: bad.sql
    not ok 1 - two, lines
    # at bad.sql:5
    # Failed test 1: "two, lines"
    #         have: one
    # two
    #         want: one
    # three
    not ok 2 - not yet # TODO later
    # at bad.sql:10
    # Failed (TODO) test 2: "not yet"
    ok 3 # SKIP not here
    1..3
not ok 1 - bad.sql
# output:
#   bad.sql:3: NOTICE: look here
#   bad.sql:3: DETAIL: closely
#   bad.sql:4: some output
# Subtest: good.sql
    ok 1 - fine <&> "quoted"
    1..1
ok 2 - good.sql
`,
    );
  });

  test("junit, into a file beside spec on the terminal", async () => {
    const { stdout } = await run([
      "-j1",
      "--reporter=spec",
      "--reporter=junit=report.xml",
      "bad.sql",
      "good.sql",
    ]);
    expect(stdout).toContain("FAILED: 2 files");
    const xml = withoutTimes(await readFile(join(directory, "report.xml"), "utf8"));
    expect(xml).toContain(
      `<testsuite name="bad.sql" tests="3" failures="1" errors="0" skipped="2" time="TIME">`,
    );
    expect(xml).toContain(
      `<testcase name="1 - two, lines" classname="bad.sql" file="bad.sql" line="5"><failure message="two, lines">`,
    );
    expect(xml).toContain(
      `<testcase name="2 - not yet" classname="bad.sql" file="bad.sql" line="10"><skipped message="todo: later"/></testcase>`,
    );
    expect(xml).toContain(
      `<testcase name="1 - fine &lt;&amp;&gt; &quot;quoted&quot;" classname="good.sql" file="good.sql" line="3"/>`,
    );
    expect(xml).toMatch(/<\/testsuites>\n$/);
  });

  test("github, by itself in its actions", async () => {
    const { stdout } = await run(["-j1", "bad.sql"], { GITHUB_ACTIONS: "true" });
    expect(stdout).toContain(
      "::error file=bad.sql,line=5,title=not ok 1 - two%2C lines::- wanted  + got%0A  one%0A- three%0A+ two\n",
    );
    expect(stdout).toContain("FAILED: 1 file, 1 failed");
  });

  test("json: one document and nothing else", async () => {
    const { code, stdout } = await run(["--json", "bad.sql"]);
    expect(code).toBe(3);
    const document: unknown = JSON.parse(stdout);
    expect(document).toMatchObject({
      passed: false,
      exitCode: 3,
      counts: { passed: 0, failed: 1, skipped: 1, todo: 1 },
      files: [
        { path: "bad.sql", status: "failed", failures: [{ number: 1, location: { line: 5 } }] },
      ],
    });
  });

  test("--verbose shows the output of files that passed", async () => {
    await writeFile(
      join(directory, "talks.sql"),
      sound("x").replace("ROLLBACK", "SELECT 'said this';\nROLLBACK"),
    );
    expect((await run(["talks.sql"])).stdout).not.toContain("said this");
    expect((await run(["-v", "talks.sql"])).stdout).toContain("talks.sql:5: said this");
  });

  test("colour only on a terminal, or when asked for", async () => {
    expect((await run(["good.sql"])).stdout).not.toContain("\u001B[");
    expect((await run(["--color", "good.sql"])).stdout).toContain("\u001B[32m✓ good.sql");
  });
});

describe("what is run", () => {
  test("runtests(), of a schema, of names that match", async () => {
    const all = await run(["-R", "-s", "unit", "-x", "^test"]);
    expect(all.code).toBe(3);
    expect(all.stdout).toContain("runtests('unit'::name, '^test'::text)  1 passed, 1 failed");
    expect(all.stdout).toContain("    not ok 1 - two\n");
    const one = await run(["--schema", "unit", "--match", "one$"]);
    expect(one.code).toBe(0);
    const none = await run(["--schema", "it's none"]);
    expect(none.code).toBe(3);
  });

  test("directories, globs, each file once, in order", async () => {
    await mkdir(join(directory, "deep", "er"), { recursive: true });
    for (const name of ["deep/2.sql", "deep/er/1.pg", "deep/er/3.sql", "deep/notes.txt"]) {
      await writeFile(join(directory, name), sound(name));
    }
    const { stdout } = await run(["-j1", "--slowest=0", "deep/**/3.sql", "deep", "good.sql"]);
    expect(stdout.match(/^✓ \S+/gm)).toEqual([
      "✓ deep/er/3.sql",
      "✓ deep/2.sql",
      "✓ deep/er/1.pg",
      "✓ good.sql",
    ]);
    const pg = await run(["--ext", ".pg", "--slowest=0", "deep"]);
    expect(pg.stdout.match(/^✓ \S+/gm)).toEqual(["✓ deep/er/1.pg"]);
  });

  test("shards: every file in exactly one", async () => {
    for (const number of [1, 2, 3, 4, 5])
      await writeFile(join(directory, `${number}.sql`), sound("x"));
    const shards = await Promise.all(
      ["1/3", "2/3", "3/3"].map(
        async (shard) => (await run(["--shard", shard, "."])).stdout.match(/^✓ \S+/gm) ?? [],
      ),
    );
    expect(shards.flat().toSorted()).toEqual(
      ["1", "2", "3", "4", "5", "good"].map((name) => `✓ ${name}.sql`),
    );
    expect(shards.map((files) => files.length)).toEqual([2, 2, 2]);
    const empty = await run(["--shard", "7/7", "."]);
    expect(empty.code).toBe(2);
    expect(empty.stderr).toBe(
      "empty-shard: shard 7/7 has no file: there are only 6\nnext: use at most 6 shards\n",
    );
  });

  test("psql variables, and settings that may leak", async () => {
    await writeFile(
      join(directory, "variable.sql"),
      `SET work_mem = '1MB';\n${sound("x").replace("plan(1)", "plan(:count)")}`,
    );
    const refused = await run(["-S", "count=1", "variable.sql"]);
    expect(refused.stdout).toContain("setting-leaked: the session was left with work_mem = '1024'");
    const allowed = await run([
      "--set",
      "count=1",
      "--allow-leak",
      "work_mem,search_path",
      "variable.sql",
    ]);
    expect(allowed.code).toBe(0);
  });
});

describe("wrong usage is exit code 2, and says what to do", () => {
  test.each([
    [[], "no-files: there is nothing to run\nnext: name test files, directories or globs\n"],
    [
      ["nothing.sql"],
      "no-files: nothing.sql stands for no test file\nnext: name files, directories with files ending in .sql or .pg, or quoted globs\n",
    ],
    [
      ["good.sql", "--reporter", "pdf"],
      'wrong-usage: there is no reporter "pdf": spec, tap, junit, github, json\nnext: pgtap-runner --help\n',
    ],
    [
      ["good.sql", "--workers", "none"],
      "wrong-usage: --workers none is no whole number of at least 1\nnext: pgtap-runner --help\n",
    ],
    [
      ["good.sql", "--shard", "3/2"],
      "wrong-usage: --shard 3/2 is not of the form 1/3\nnext: pgtap-runner --help\n",
    ],
    [
      ["good.sql", "--set", "x"],
      "wrong-usage: --set x is not of the form NAME=VALUE\nnext: pgtap-runner --help\n",
    ],
    [
      ["good.sql", "--json", "--reporter", "spec"],
      "wrong-usage: reporters spec and json cannot share standard output\nnext: pgtap-runner --help\n",
    ],
    [
      ["-R", "good.sql"],
      "wrong-usage: --runtests takes no files, but good.sql was named\nnext: pgtap-runner --help\n",
    ],
    [
      ["good.sql", "-d", "no_such"],
      'database-missing: there is no database "no_such"\nnext: name the tested database with -d, PGDATABASE or --url\n',
    ],
  ])("%j", async (args, stderr) => {
    const finished = await run(args);
    expect(finished).toEqual({ code: 2, stdout: "", stderr });
  });

  test("an unknown option", async () => {
    const { code, stderr } = await run(["--nonsense"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^wrong-usage: Unknown option '--nonsense'/);
  });

  test("help and version are no error", async () => {
    expect(await run(["--help"])).toMatchObject({ code: 0, stderr: "" });
    expect((await run(["--version"])).stdout).toMatch(/^pgtap-runner \d+\.\d+\.\d+\n$/);
  });
});

test("a report that nobody reads any more ends the run, and leaves nothing behind", async () => {
  for (let number = 0; number < 30; number++)
    await writeFile(join(directory, `${number}.sql`), sound("x"));
  const child = spawn(process.execPath, [program, "-j1", "."], {
    cwd: directory,
    env: server.environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const exit = once(child, "close");
  await once(child.stdout, "data");
  child.stdout.destroy();
  await exit;
  expect(stderr).toBe("");
  const left = await server.sql("SELECT FROM pg_database WHERE datname ~ '^pgtap_runner'");
  expect(left).toEqual([]);
});

test("--watch runs again what changes", async () => {
  await writeFile(join(directory, "other.sql"), sound("other"));
  const child = spawn(process.execPath, [program, "-j1", "--slowest=0", "--watch", "."], {
    cwd: directory,
    env: server.environment,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let stdout = "";
  const waits = (): number => stdout.split("waiting for changes\n").length - 1;
  let told = 0;
  /** What was said since the last time, once it waits again. */
  const nextWait = async (count: number): Promise<string> => {
    while (waits() < count) await once(child.stdout, "data");
    const said = stdout.slice(told);
    told = stdout.length;
    return said;
  };
  /** As an editor saves: nobody sees a file without its content. */
  const save = async (path: string, content: string): Promise<void> => {
    await writeFile(`${path}.new`, content);
    await rename(`${path}.new`, path);
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  const exit = once(child, "exit");
  await nextWait(1);
  expect(stdout.match(/^[✓✗] \S+/gm)).toEqual(["✓ good.sql", "✓ other.sql"]);
  await save(join(directory, "good.sql"), sound("x").replace("pass", "fail"));
  expect((await nextWait(2)).match(/^[✓✗] \S+/gm)).toEqual(["✗ good.sql"]);
  await mkdir(join(directory, "more"));
  await save(join(directory, "more", "new.sql"), sound("new"));
  expect((await nextWait(3)).match(/^[✓✗] \S+/gm)).toEqual(["✓ more/new.sql"]);
  child.kill("SIGINT");
  expect(await exit).toEqual([0, null]);
}, 60_000);
