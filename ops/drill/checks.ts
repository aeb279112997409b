import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CtmError, messageOf, runAs } from "#system";
import { runTests } from "../../database/pgtap-runner/src/index.ts";
import type { Context } from "../command.ts";
import { connected } from "../facts/connection.ts";
import type { Stack } from "../open-stack.ts";
import { stopServer, type Instance } from "../recovery/instance.ts";
import type { Mark } from "../recovery/marks.ts";
import { cleanEnvironment, createShell } from "../shell.ts";
import { bytesText, countText } from "../text.ts";
import type { CheckResult } from "./report.ts";

/** What a check needs: the recovered server, its place, and what is known of the rows there. */
export interface Examined {
  stack: Stack;
  instance: Instance;
  /** Rows that were counted at the very place of the recovery. */
  mark: Mark | undefined;
  context: Pick<Context, "env" | "signal" | "progress">;
}

/** Its detail; a check that finds a problem throws. */
type Check = (examined: Examined) => Promise<string | Skipped>;
class Skipped {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

const smokeFile = fileURLToPath(new URL("../../database/smoke.sql", import.meta.url));
const smokeMs = 5 * 60_000;

/** In this order: the last one stops the server. */
const checks: Readonly<Record<string, Check>> = {
  queries: answersQueries,
  rows: countsRows,
  dump: readsEveryTable,
  indexes: verifiesIndexes,
  smoke: passesSmokeTests,
  checksums: verifiesChecksums,
};

/** Makes every check, also after one failed: a report names all that is wrong. */
export async function examine(examined: Examined): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const [name, check] of Object.entries(checks)) {
    examined.context.signal.throwIfAborted();
    examined.context.progress.step(`checking the restored server: ${name}`);
    const begun = Date.now();
    const outcome = await check(examined).catch((error: unknown) => new Failed(messageOf(error)));
    results.push({
      name,
      result:
        outcome instanceof Failed ? "failed" : outcome instanceof Skipped ? "skipped" : "passed",
      detail: typeof outcome === "string" ? outcome : outcome.why,
      took_ms: Date.now() - begun,
    });
  }
  return results;
}

class Failed extends Skipped {}

/** Reads and writes as an application would. */
async function answersQueries({ stack, instance }: Examined): Promise<string> {
  return await connected(databaseOf(stack, instance), async (client) => {
    const { rows } = await client.query<{ newest: Date | null; tables: number }>(
      `SELECT (SELECT max(updated_at) FROM tasks) AS newest,
              (SELECT count(*)::integer FROM pg_tables WHERE schemaname = 'public') AS tables`,
    );
    await client.query("BEGIN");
    await client.query("INSERT INTO tasks (title) VALUES ('written by a drill')");
    await client.query("ROLLBACK");
    const newest = rows[0]?.newest?.toISOString();
    return `${countText(rows[0]?.tables ?? 0, "table")}, ${newest === undefined ? "no task" : `newest task of ${newest}`}; a row can be written`;
  });
}

/** The recovery stopped where the mark was taken: every count has to be the same. */
async function countsRows({ stack, instance, mark }: Examined): Promise<string | Skipped> {
  if (mark === undefined) return new Skipped("no rows were counted at this place");
  return await connected(databaseOf(stack, instance), async (client) => {
    const { rows: committing } = await client.query<{ xid: string }>(
      `SELECT xid FROM unnest($1::text[]) AS xid
        WHERE pg_xact_status(xid::xid8) = 'committed'`,
      [mark.open],
    );
    if (committing.length > 0) {
      return new Skipped(
        `${countText(committing.length, "transaction")} committed while the rows were counted`,
      );
    }
    const wrong: string[] = [];
    let total = 0;
    for (const [table, expected] of Object.entries(mark.rows)) {
      const { rows } = await client.query<{ count: string }>(`SELECT count(*) FROM ${table}`);
      const found = Number(rows[0]?.count);
      total += found;
      if (found !== expected) wrong.push(`${table} has ${found}, not ${expected}`);
    }
    if (wrong.length > 0) throw new Error(`rows as of ${mark.at}: ${wrong.join(", ")}`);
    const tables = Object.keys(mark.rows).length;
    return `${countText(total, "row")} in ${countText(tables, "table")}, as counted at ${mark.at}`;
  });
}

/** pg_dump reads every row of every table; it is whole when its last line says so. */
async function readsEveryTable({ stack, instance, context }: Examined): Promise<string> {
  const { binaries, database } = stack.descriptor.postgres;
  const asUser = await runAs(stack.descriptor.users.postgres);
  const child = spawn(join(binaries, "pg_dump"), ["--dbname", database], {
    cwd: "/",
    env: {
      ...cleanEnvironment(context.env),
      PGHOST: instance.options.directories.work,
      PGUSER: "postgres",
    },
    signal: context.signal,
    stdio: ["ignore", "pipe", "pipe"],
    ...asUser.identity,
  });
  const ended = once(child, "close");
  let bytes = 0;
  let tables = 0;
  let tail = "";
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  for await (const chunk of child.stdout.setEncoding("utf8")) {
    const text = String(chunk);
    bytes += Buffer.byteLength(text);
    // A statement may lie across two chunks.
    const joined = tail + text;
    tables +=
      (joined.match(/^COPY .* FROM stdin;$/gm)?.length ?? 0) -
      (tail.match(/^COPY .* FROM stdin;$/gm)?.length ?? 0);
    tail = joined.slice(-4096);
  }
  const [code] = await ended;
  if (code !== 0 || !tail.includes("-- PostgreSQL database dump complete")) {
    throw new Error(`pg_dump did not reach the end: ${complaint.trim().split("\n").at(-1)}`);
  }
  return `${bytesText(bytes)} of ${countText(tables, "table")} read to their end`;
}

/** Every B-tree against its table: each row has its entry, in order. */
async function verifiesIndexes({ stack, instance }: Examined): Promise<string | Skipped> {
  return await connected(databaseOf(stack, instance), async (client) => {
    const { rows: available } = await client.query(
      "SELECT FROM pg_available_extensions WHERE name = 'amcheck'",
    );
    if (available.length === 0) return new Skipped("amcheck is not installed");
    await client.query("CREATE EXTENSION IF NOT EXISTS amcheck");
    const { rows: indexes } = await client.query<{ oid: number; name: string }>(
      `SELECT i.indexrelid AS oid, i.indexrelid::regclass::text AS name
         FROM pg_index i
         JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
        WHERE c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisready AND i.indisvalid
        ORDER BY 1`,
    );
    const broken: string[] = [];
    for (const { oid, name } of indexes) {
      try {
        await client.query("SELECT bt_index_check($1::oid::regclass, true)", [oid]);
      } catch (error) {
        broken.push(`${name}: ${messageOf(error)}`);
      }
    }
    if (broken.length > 0) throw new Error(broken.slice(0, 5).join("; "));
    return `${countText(indexes.length, "index", "indexes")} agree with their tables`;
  });
}

async function passesSmokeTests({ stack, instance, context }: Examined): Promise<string | Skipped> {
  const { database, binaries } = stack.descriptor.postgres;
  const { rows: available } = await connected(databaseOf(stack, instance), (client) =>
    client.query("SELECT FROM pg_available_extensions WHERE name = 'pgtap'"),
  );
  if (available.length === 0) {
    return new Skipped(`postgresql-${stack.descriptor.postgres.version}-pgtap is not installed`);
  }
  await connected(databaseOf(stack, instance), (client) =>
    client.query("CREATE EXTENSION IF NOT EXISTS pgtap"),
  );
  const { files, counts } = await runTests({
    files: [smokeFile],
    connection: { host: instance.options.directories.work, port: 5432, user: "postgres", database },
    // The server is thrown away: no copy of a database that may be large is made.
    isolation: "in-place",
    workers: 1,
    timeoutMs: smokeMs,
    psqlProgram: join(binaries, "psql"),
    signal: context.signal,
  });
  const [file] = files;
  if (file?.status !== "passed") {
    const failed = file?.failures.map(({ description }) => description);
    const problems = file?.problems.map(({ message }) => message);
    throw new Error([...(failed ?? []), ...(problems ?? [])].slice(0, 5).join("; "));
  }
  return `${countText(counts.passed, "assertion")} of database/smoke.sql hold`;
}

/** Every page of every file, on the stopped server. */
async function verifiesChecksums({
  stack,
  instance,
  context,
}: Examined): Promise<string | Skipped> {
  const { users, postgres } = stack.descriptor;
  const [row] = await instance.query<{ on: string }>(
    "SELECT current_setting('data_checksums') AS on",
  );
  if (row?.on !== "on") return new Skipped("the cluster has no data checksums");
  await stopServer(instance.options.directories, "fast");
  const shell = createShell(context, await runAs(users.postgres));
  const finished =
    await shell`${join(postgres.binaries, "pg_checksums")} --check --pgdata ${instance.options.directories.data}`;
  const bad = /^Bad checksums: +(\d+)$/m.exec(finished.stdout)?.[1];
  const blocks = /^Blocks scanned: +(\d+)$/m.exec(finished.stdout)?.[1];
  if (bad !== "0" || blocks === undefined) {
    const first = finished.stderr.trim().split("\n")[0] ?? "";
    throw new CtmError("checksums-wrong", `${bad ?? "unknown"} bad pages: ${first}`);
  }
  return `${blocks} pages have the right checksum`;
}

function databaseOf({ descriptor }: Stack, { connection }: Instance) {
  return { ...connection, database: descriptor.postgres.database };
}
