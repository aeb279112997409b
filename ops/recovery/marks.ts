import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "pg";
import { z } from "zod";
import type { StackPaths } from "#stack";
import { isMissing, writeFileAtomic } from "#system";
import { connected, stackConnection } from "../facts/connection.ts";
import type { Stack } from "../open-stack.ts";
import { readTableName } from "./table-name.ts";

const mark = z.strictObject({
  at: z.iso.datetime(),
  timeline: z.int(),
  /** A recovery that stops just before this place holds exactly these rows. */
  lsn: z.string(),
  /** Transactions that were open: one that had written its commit already makes the counts inexact. */
  open: z.array(z.string()),
  /** Rows by table; a table that takes too long to count is left out. */
  rows: z.record(z.string(), z.int()),
  /** File by table, such as base/16384/16500. Older marks have none. */
  files: z.record(z.string(), z.string()).default({}),
});

/** What the tables held at a place in WAL: what a drill compares a recovery with. */
export type Mark = z.infer<typeof mark>;

/** Enough for a week of hourly backups and daily drills. */
const kept = 250;
const tries = 50;
/** Counting may not weigh on the leader: what is not counted by then is left out. */
const countMs = 10_000;

/** Every table of ours, partitions through their parent. */
export const tablesQuery = `
  SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_relation_filepath(c.oid) AS file
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
     AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
     AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
   ORDER BY 1`;

/**
 * Counts the rows of every table in one snapshot and remembers where in WAL that was.
 *
 * @returns the mark, or undefined where the leader writes so fast that no place can be named
 */
export async function takeMark(stack: Stack): Promise<Mark | undefined> {
  const { owner } = stack.descriptor.postgres;
  const config = await stackConnection(stack, "ctm_migrator");
  const taken = await connected(config, async (client) => {
    await client.query(`SET ROLE ${client.escapeIdentifier(owner)}`);
    const place = await snapshotAtKnownPlace(client);
    if (place === undefined) return undefined;
    const { rows: tables } = await client.query<{ name: string; file: string | null }>(tablesQuery);
    const files: Record<string, string> = {};
    for (const { name, file } of tables) if (file !== null) files[name] = file;
    const rows: Record<string, number> = {};
    const deadline = Date.now() + countMs;
    for (const { name } of tables) {
      const left = deadline - Date.now();
      if (left <= 0) break;
      const count = await countWithin(client, name, left);
      if (count !== undefined) rows[name] = count;
    }
    // A recovery stops before the first record that begins at the place: there has to be one.
    await client.query("SELECT pg_logical_emit_message(false, 'ctm.mark', $1)", [place.lsn]);
    await client.query("COMMIT");
    return { at: new Date().toISOString(), ...place, rows, files };
  });
  if (taken !== undefined) await remember(stack.paths, taken);
  return taken;
}

/** The marks that were taken, oldest first. */
export async function readMarks(paths: StackPaths): Promise<Mark[]> {
  try {
    return z.array(mark).parse(JSON.parse(await readFile(marksPath(paths), "utf8")));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Every file that a table was seen to have. */
export function filesOf(
  marks: readonly Pick<Mark, "files">[],
  schema: string,
  table: string,
): Set<string> {
  const entries = marks.flatMap(({ files }) => Object.entries(files));
  const own = entries.filter(([name]) => {
    const read = readTableName(name);
    return read?.schema === schema && read.name === table;
  });
  return new Set(own.map(([, file]) => file));
}

/**
 * Begins a transaction whose snapshot stands at a known place: nothing was written between reading
 * the place and taking the snapshot.
 */
async function snapshotAtKnownPlace(
  client: Client,
): Promise<Pick<Mark, "lsn" | "timeline" | "open"> | undefined> {
  for (let attempt = 0; attempt < tries; attempt++) {
    const before = await client.query<{ lsn: string }>(
      "SELECT pg_current_wal_insert_lsn()::text AS lsn",
    );
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const { rows } = await client.query<{ lsn: string; timeline: number; open: string[] }>(
      `SELECT pg_current_wal_insert_lsn()::text AS lsn,
              ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer AS timeline,
              ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())::text) AS open`,
    );
    const [now] = rows;
    if (now !== undefined && now.lsn === before.rows[0]?.lsn) return now;
    await client.query("ROLLBACK");
    await delay(Math.random() * 20);
  }
  return undefined;
}

async function countWithin(
  client: Client,
  table: string,
  timeoutMs: number,
): Promise<number | undefined> {
  await client.query("SAVEPOINT count");
  await client.query(`SET LOCAL statement_timeout = ${Math.max(1, Math.ceil(timeoutMs))}`);
  try {
    const { rows } = await client.query<{ count: string }>(`SELECT count(*) FROM ${table}`);
    return Number(rows[0]?.count);
  } catch (error) {
    // 57014: the statement took too long.
    if (!(error instanceof Error && "code" in error && error.code === "57014")) throw error;
    await client.query("ROLLBACK TO SAVEPOINT count");
    return undefined;
  }
}

async function remember(paths: StackPaths, taken: Mark): Promise<void> {
  const marks = [...(await readMarks(paths)), taken].slice(-kept);
  await writeFileAtomic(marksPath(paths), `${JSON.stringify(marks)}\n`, { mode: 0o600 });
}

function marksPath(paths: StackPaths): string {
  return join(paths.state, "marks.json");
}
