import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { RunResult } from "../src/results.ts";
import { type RunOptions, runTests } from "../src/run/run-tests.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let directory: string;

beforeAll(async () => {
  server = await startServer({
    configuration: ["max_prepared_transactions=2", "wal_level=logical"],
  });
});

afterAll(() => server.stop());

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pgtap-faults-"));
  // The first two files are still at it when the fault strikes.
  await writeFile(join(directory, "1-waits.sql"), waiting);
  await writeFile(join(directory, "2-waits.sql"), waiting);
  for (const number of [3, 4, 5, 6]) await writeFile(join(directory, `${number}-short.sql`), short);
});

afterEach(async () => {
  await server.start();
  await rm(directory, { recursive: true, force: true });
});

const waiting =
  "BEGIN;\nSELECT plan(2);\nSELECT pass('before');\nSELECT pg_sleep(600);\nSELECT pass('after');\nSELECT * FROM finish();\nROLLBACK;\n";
const short =
  "BEGIN;\nSELECT plan(1);\nSELECT pass('short');\nSELECT * FROM finish();\nROLLBACK;\n";

function run(options: Partial<RunOptions> = {}): Promise<RunResult> {
  return runTests({
    files: ["."],
    workers: 2,
    workingDirectory: directory,
    connection: { url: server.url },
    ...options,
  });
}

async function until<T>(what: string, check: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const found = await check();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`waited 20 s for ${what}`);
    await delay(20);
  }
}

/** Process ids of the backends that wait, once there are so many. */
function waitingBackends(count: number, besides: readonly number[] = []): Promise<number[]> {
  return until(`${count} waiting files`, async () => {
    const rows = await server.sql(
      "SELECT pid FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' AND state = 'active'",
    );
    const found = rows.map(([pid]) => Number(pid)).filter((pid) => !besides.includes(pid));
    return found.length >= count ? found : undefined;
  });
}

async function clones(): Promise<string[]> {
  const rows = await server.sql("SELECT datname FROM pg_database WHERE datname ~ '^pgtap_runner'");
  return rows.map(([name]) => name ?? "");
}

function statuses(result: RunResult): Record<string, string> {
  return Object.fromEntries(
    result.files.map((file) => [
      file.path,
      [file.status, ...file.problems.map(({ code }) => code)].join(" "),
    ]),
  );
}

const allShort = Object.fromEntries(
  [3, 4, 5, 6].map((number) => [`${number}-short.sql`, "passed"]),
);

describe("a worker that is killed", () => {
  test("makes its file red; the others run", async () => {
    const running = run();
    for (const pid of await waitingBackends(2)) {
      await server.sql(`SELECT pg_terminate_backend(${pid})`);
    }
    const result = await running;
    expect(statuses(result)).toEqual({
      "1-waits.sql": "failed connection-lost",
      "2-waits.sql": "failed connection-lost",
      ...allShort,
    });
    expect(result.files[0]?.problems[0]).toMatchObject({
      message: "terminating connection due to administrator command",
      location: { file: "1-waits.sql", line: 4 },
      sql: "SELECT pg_sleep(600);",
    });
    expect(result.files[0]?.counts.passed).toBe(1);
    expect(result.exitCode).toBe(3);
    expect(await clones()).toEqual([]);
  });
});

describe("a server that goes away", () => {
  test("and comes back: what was under way is red, the rest runs, copies are dropped", async () => {
    const running = run();
    await waitingBackends(2);
    await server.restart("immediate");
    const result = await running;
    expect(statuses(result)).toEqual({
      "1-waits.sql": "failed connection-lost",
      "2-waits.sql": "failed connection-lost",
      ...allShort,
    });
    expect(result.exitCode).toBe(3);
    expect(await clones()).toEqual([]);
  });

  test("for good: what did not run is named, and the next run removes the copies", async () => {
    const running = run({ reconnectTimeoutMs: 300 });
    await waitingBackends(2);
    await server.halt("fast");
    const result = await running;
    expect(result.exitCode).toBe(1);
    // A worker that connects again before the server refuses it loses that connection, too.
    expect(result.interrupted).toMatch(/^connection-(failed|lost): /);
    expect(statuses(result)).toEqual({
      "1-waits.sql": "failed connection-lost",
      "2-waits.sql": "failed connection-lost",
      ...Object.fromEntries(Object.keys(allShort).map((name) => [name, "not-run"])),
    });
    await server.start();
    const left = await clones();
    expect(left).toHaveLength(2);
    for (const name of left) {
      const told = `database ${name} was not dropped: `;
      expect(result.problems.some((problem) => problem.startsWith(told))).toBe(true);
    }
    const next = await run({ files: ["3-short.sql"] });
    expect(next.exitCode).toBe(0);
    expect(await clones()).toEqual([]);
  });

  test("before the start", async () => {
    await server.halt("fast");
    try {
      await expect(run()).rejects.toMatchObject({ code: "connection-failed" });
    } finally {
      await server.start();
    }
  });
});

describe("a run that is stopped", () => {
  test.each(["SIGINT", "SIGTERM"] as const)("by %s", async (signal) => {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, "..", "bin", "pgtap-runner.js"), "-j2", "."],
      { cwd: directory, env: server.environment, stdio: ["ignore", "pipe", "pipe"] },
    );
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    const exit = once(child, "exit");
    await waitingBackends(2);
    child.kill(signal);
    expect(await exit).toEqual([1, null]);
    expect(stdout).toContain("? 1-waits.sql  did not run: interrupted\n");
    expect(stdout).toContain("? 6-short.sql  did not run: interrupted\n");
    expect(stdout).toContain("stopped: interrupted; 6 of 6 files did not run\n");
    expect(await clones()).toEqual([]);
  });

  test("by kill -9: the next run removes its copies, and only its", async () => {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, "..", "bin", "pgtap-runner.js"), "-j2", "."],
      { cwd: directory, env: server.environment, stdio: "ignore" },
    );
    const exit = once(child, "exit");
    const killed = await waitingBackends(2);
    child.kill("SIGKILL");
    await exit;
    const leftBehind = await clones();
    expect(leftBehind).toHaveLength(2);
    await until("the server to notice that the killed run is gone", async () => {
      const rows = await server.sql(
        "SELECT FROM pg_stat_activity WHERE application_name LIKE 'pgtap-runner %'",
      );
      return rows.length === 0 ? true : undefined;
    });
    const interruption = new AbortController();
    const other = run({ signal: interruption.signal });
    try {
      await waitingBackends(2, killed);
      // A run removes what others left beside its own work.
      await until("the copies of the killed run to be gone", async () =>
        (await clones()).some((name) => leftBehind.includes(name)) ? undefined : true,
      );
      expect(await clones()).toHaveLength(2);
      const third = await run({ files: ["3-short.sql"] });
      expect(third.exitCode).toBe(0);
      expect(await clones()).toHaveLength(2);
    } finally {
      interruption.abort();
    }
    expect((await other).exitCode).toBe(1);
    expect(await clones()).toEqual([]);
  });

  test("by --bail", async () => {
    await writeFile(join(directory, "0-fails.sql"), short.replace("pass(", "fail("));
    const result = await run({ bail: 1, workers: 1 });
    expect(result.exitCode).toBe(3);
    expect(statuses(result)).toMatchObject({ "0-fails.sql": "failed", "1-waits.sql": "not-run" });
    expect(result.interrupted).toBe("a file failed, and --bail was given");
    expect(await clones()).toEqual([]);
  });

  test("one file, by its time limit", async () => {
    const result = await run({ timeoutMs: 200 });
    expect(statuses(result)).toEqual({
      "1-waits.sql": "failed timeout",
      "2-waits.sql": "failed timeout",
      ...allShort,
    });
    expect(result.files[0]?.counts.passed).toBe(1);
    expect(result.files[0]?.problems[0]).toMatchObject({
      message: "not done after 0.2 s",
      location: { file: "1-waits.sql", line: 4 },
    });
    expect(result.exitCode).toBe(3);
    expect(await clones()).toEqual([]);
  });

  test("one file that psql runs, by its time limit", async () => {
    await writeFile(join(directory, "7-psql.sql"), `\\! true\n${waiting}`);
    const result = await run({ files: ["7-psql.sql"], timeoutMs: 300 });
    expect(statuses(result)).toEqual({ "7-psql.sql": "failed timeout" });
  });
});

test("what keeps a database from being dropped is removed first", async () => {
  await writeFile(
    join(directory, "obstacles.sql"),
    `-- @isolate database
SELECT plan(1);
SELECT 'made' FROM pg_create_logical_replication_slot('left_behind', 'pgoutput');
BEGIN;
CREATE TABLE prepared (id int);
PREPARE TRANSACTION 'left behind';
SELECT pass('both are there');
SELECT * FROM finish();
`,
  );
  const result = await run({ files: ["obstacles.sql"] });
  expect(statuses(result)).toEqual({ "obstacles.sql": "passed" });
  expect(result.exitCode).toBe(0);
  expect(await clones()).toEqual([]);
  expect(await server.sql("SELECT FROM pg_prepared_xacts")).toEqual([]);
  expect(await server.sql("SELECT FROM pg_replication_slots")).toEqual([]);
});

describe("a server that refuses", () => {
  test("the copy, since somebody is connected to the database", async () => {
    const { Session } = await import("../src/server/session.ts");
    const session = await Session.connect(server.settings, "app", "somebody");
    try {
      await expect(run()).rejects.toMatchObject({
        code: "clone-refused",
        next: expect.stringContaining("--in-place") as unknown,
      });
      const inPlace = await run({ isolation: "in-place", files: ["3-short.sql", "4-short.sql"] });
      expect(inPlace.exitCode).toBe(0);
    } finally {
      await session.close();
    }
  }, 30_000);

  test("an unknown database, an unknown host, a wrong port", async () => {
    const missing = run({ connection: { url: server.url, database: "no_such_database" } });
    await expect(missing).rejects.toMatchObject({ code: "database-missing", exitCode: 2 });
    const port = run({ connection: { url: server.url, port: 1 } });
    await expect(port).rejects.toMatchObject({ code: "connection-failed", exitCode: 1 });
  });

  test("more than three connections: workers wait for one another", async () => {
    await server.sql("CREATE ROLE narrow LOGIN CREATEDB CONNECTION LIMIT 3");
    await server.sql("CREATE DATABASE narrow_app TEMPLATE app OWNER narrow");
    const files = [3, 4, 5, 6].map((number) => `${number}-short.sql`);
    const connection = { url: server.url, user: "narrow", database: "narrow_app" };
    const result = await run({ connection, files, workers: 4 });
    expect(result.files.map((file) => file.status)).toEqual(files.map(() => "passed"));
    expect(result.exitCode).toBe(0);
    expect(await clones()).toEqual([]);
  });
});
