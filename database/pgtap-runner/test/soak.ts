// What takes longer than a test may: more files, longer files, scripts of chance beside psql, faults
// of chance. `node database/pgtap-runner/test/soak.ts [ROUNDS] [SEED]`
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RunResult } from "../src/results.ts";
import { runTests } from "../src/run/run-tests.ts";
import { natively, withPsql } from "./both-ways.ts";
import { manySmallFiles, muchOutput, oneLongFile } from "./scale.ts";
import { startServer, type TestServer } from "./server.ts";

/** A generator of numbers that a seed decides (mulberry32), so that a failure can be repeated. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % below;
  };
}

/** Pieces of scripts. A place marked % becomes a number, @ a name of a variable. */
const pieces: readonly string[] = [
  "SELECT %;",
  "SELECT %, NULL, 'it''s %' AS \"a b\";",
  "SELECT ':@', :'@', :@;",
  "SELECT :{?@}, $x$;:@$x$, E'\\'; %';",
  "SELECT generate_series(1, 3);",
  "SELECT 1 WHERE false;",
  "SELECT % AS @ \\gset",
  "SELECT NULL AS @, % AS v% \\gset p_",
  "SELECT '%' AS a, 'x' AS b WHERE % < 5 \\gset",
  "\\set @ %",
  "\\set @ 'two words' \"and three\" :@",
  "\\unset @",
  "\\echo :@ ':@' \":@\" :'@' %",
  "\\echo -n %",
  "\\qecho a  b",
  "\\if :{?@}",
  "\\if :@",
  "\\if true",
  "\\if %",
  "\\elif true",
  "\\elif :@",
  "\\else",
  "\\endif",
  "\\endif",
  "\\endif",
  "\\pset tuples_only",
  "\\pset null 'n%'",
  "\\pset fieldsep ','",
  "\\t",
  "\\t on",
  "BEGIN;",
  "BEGIN;",
  "COMMIT;",
  "ROLLBACK;",
  "SAVEPOINT s;",
  "ROLLBACK TO s;",
  "CREATE TEMP TABLE t% (i int);",
  "INSERT INTO pg_temp.t% VALUES (%);",
  "SELECT count(*) FROM pg_temp.t%;",
  "COPY pg_temp.t% FROM STDIN;\n%\n\\.",
  "\\copy pg_temp.t% from stdin\n%\n%\n\\.",
  "COPY (SELECT %, 'x') TO STDOUT;",
  "SELECT 1/(% - 3);",
  "SELECT no_such_column;",
  "SELECT %\\; SELECT %;",
  "-- a comment; \\echo no",
  "/* a comment; '% */",
  "SELECT %",
  ", %",
  ";",
  "(",
  ")",
  "",
  "\\g",
  "SELECT 'SELECT %' \\gexec",
  "\\set ECHO all",
  "\\set ECHO none",
  "\\set ECHO queries",
  "\\set QUIET off",
  "\\set QUIET on",
  "\\set ON_ERROR_STOP off",
  "\\set ON_ERROR_STOP on",
  "SELECT :'SQLSTATE', :ROW_COUNT, :'ERROR';",
  "\\r",
  "\\i half.sql",
  "\\ir whole.sql",
  "DO $$ BEGIN RAISE NOTICE 'n%'; END $$;",
  "PREPARE q% AS SELECT %;",
  "EXECUTE q%;",
  "SET search_path = public;",
];

function randomScript(random: (below: number) => number): string {
  const names = ["a", "b", "x_1"];
  const lines = Array.from({ length: 3 + random(25) }, () =>
    (pieces[random(pieces.length)] ?? "")
      .replace(/%/g, () => String(random(7)))
      .replace(/@/g, () => names[random(names.length)] ?? "a"),
  );
  return `${lines.join(random(8) === 0 ? " " : "\n")}\n`;
}

async function compareWithPsql(
  server: TestServer,
  rounds: number,
  seed: number,
): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), "pgtap-soak-"));
  const failures: string[] = [];
  let unlike = 0;
  try {
    await writeFile(join(directory, "half.sql"), "SELECT 'half'");
    await writeFile(join(directory, "whole.sql"), "SELECT 'whole';\n\\set a 7\n");
    for (let round = 0; round < rounds; round++) {
      const text = randomScript(randomNumbers(seed + round));
      const file = join(directory, "script.sql");
      await writeFile(file, text);
      const expected = await withPsql(server, file);
      try {
        const found = await natively(server, file);
        if (found.stdout === expected.stdout && found.failed === expected.failed) continue;
        failures.push(
          `seed ${seed + round}: ${JSON.stringify({ text, found, expected }, undefined, 1)}`,
        );
      } catch (error) {
        // Handing a script to psql is right by definition.
        if (!(error instanceof Error) || error.constructor.name !== "NeedsPsql") throw error;
        unlike += 1;
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  console.log(`${rounds} scripts beside psql: ${failures.length} differ, ${unlike} were psql's`);
  return failures;
}

/** One run of many files while something is broken at a moment of chance. */
async function breakSomething(
  server: TestServer,
  random: (below: number) => number,
): Promise<string[]> {
  const faults = [
    "terminate a backend",
    "kill -9 a backend",
    "restart fast",
    "restart immediate",
    "SIGINT",
  ] as const;
  const fault = faults[random(faults.length)] ?? "SIGINT";
  const directory = await mkdtemp(join(tmpdir(), "pgtap-soak-"));
  const failures: string[] = [];
  const files = 60;
  try {
    for (let number = 0; number < files; number++) {
      const body = "SELECT pass('one');\nSELECT pg_sleep(0.02);\nSELECT pass('two');";
      const text = `BEGIN;\nSELECT plan(2);\n${body}\nSELECT * FROM finish();\nROLLBACK;\n`;
      await writeFile(
        join(directory, `${number}.sql`),
        number % 10 === 0 ? `\\! true\n${text}` : text,
      );
    }
    const moment = 100 + random(900);
    let result: RunResult | undefined;
    let code: number | null = 0;
    if (fault === "SIGINT") {
      const program = join(import.meta.dirname, "..", "bin", "pgtap-runner.js");
      const child = spawn(process.execPath, [program, "-j2", "."], {
        cwd: directory,
        env: server.environment,
        stdio: "ignore",
      });
      const exit = once(child, "exit");
      await delay(moment);
      child.kill("SIGINT");
      await exit;
      code = child.exitCode;
    } else {
      const running = runTests({
        files: ["."],
        workers: 2,
        workingDirectory: directory,
        connection: { url: server.url },
      }).catch((error: unknown) => String(error));
      await delay(moment);
      if (fault === "restart fast") await server.restart("fast");
      else if (fault === "restart immediate") await server.restart("immediate");
      else {
        const rows = await server.sql(
          "SELECT pid FROM pg_stat_activity WHERE datname ~ '^pgtap_runner' LIMIT 1",
        );
        const pid = Number(rows[0]?.[0] ?? 0);
        if (pid !== 0 && fault === "kill -9 a backend") process.kill(pid, "SIGKILL");
        else if (pid !== 0) await server.sql(`SELECT pg_terminate_backend(${pid})`);
      }
      const outcome = await running;
      if (typeof outcome === "string") failures.push(`the run threw ${outcome}`);
      else result = outcome;
    }
    if (result !== undefined) {
      const counted = new Map<string, number>();
      for (const { status } of result.files) counted.set(status, (counted.get(status) ?? 0) + 1);
      code = result.exitCode;
      if (result.files.length !== files)
        failures.push(`${result.files.length} files were reported`);
      const red = result.files.some(({ status }) => status === "failed" || status === "not-run");
      if (red && result.exitCode === 0) failures.push("red files, but exit code 0");
      for (const file of result.files) {
        if (file.status === "passed" && file.counts.passed !== 2) {
          failures.push(`${file.path} passed with ${file.counts.passed} tests`);
        }
      }
    }
    // The server may still be starting after a crash.
    let left: string[] | undefined;
    for (const deadline = Date.now() + 20_000; left === undefined && Date.now() < deadline;) {
      try {
        const rows = await server.sql(
          "SELECT datname FROM pg_database WHERE datname ~ '^pgtap_runner'",
        );
        left = rows.map(([name]) => name ?? "");
      } catch {
        await delay(100);
      }
    }
    if (left === undefined) failures.push("the server did not come back");
    else if (left.length > 0) failures.push(`left behind: ${left.join(", ")}`);
    console.log(`${fault} after ${moment} ms: exit code ${code}, ${failures.length} faults`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return failures.map((failure) => `${fault}: ${failure}`);
}

async function grow(server: TestServer): Promise<string[]> {
  const outcomes = {
    "5,000 files": await manySmallFiles(server, 5000),
    "50,000 assertions in a file": await oneLongFile(server, 50_000, "pass"),
    "20,000 failures in a file": await oneLongFile(server, 20_000, "fail"),
    "3,000,000 rows of output": await muchOutput(server, 3_000_000),
  };
  const failures: string[] = [];
  for (const [name, outcome] of Object.entries(outcomes)) {
    console.log(`${name}: ${JSON.stringify(outcome)}`);
    if (outcome.passed !== (outcome.failed === 0)) failures.push(`${name}: wrong verdict`);
  }
  return failures;
}

/** Returns what went wrong; nothing, when all is well. */
export async function soak(rounds: number, seed: number): Promise<string[]> {
  const server = await startServer();
  try {
    const failures = await compareWithPsql(server, rounds * 100, seed);
    const random = randomNumbers(seed);
    for (let round = 0; round < rounds * 2; round++) {
      failures.push(...(await breakSomething(server, random)));
    }
    return [...failures, ...(await grow(server))];
  } finally {
    await server.stop();
  }
}

if (import.meta.main) {
  const [rounds = "10", seed = String(Date.now() % 1_000_000)] = process.argv.slice(2);
  console.log(`pgtap-runner soak: ${rounds} rounds, seed ${seed}`);
  const failures = await soak(Number(rounds), Number(seed));
  for (const failure of failures) console.log(failure);
  console.log(failures.length === 0 ? "passed" : `${failures.length} failures`);
  process.exitCode = failures.length === 0 ? 0 : 1;
}
