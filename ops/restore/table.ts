import { Transform, type TransformCallback } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DatabaseError, type Client } from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import { z } from "zod";
import { CtmError, messageOf } from "#system";
import type { Context } from "../command.ts";
import { asOwner, connected } from "../facts/connection.ts";
import type { Stack } from "../open-stack.ts";
import { Unreadable, type Reader } from "../parameters.ts";
import { serverPid } from "../recovery/instance.ts";
import { instanceDirectories } from "../recovery/restore-files.ts";
import { scratchNoteOf } from "../recovery/scratch.ts";
import { readTableName, type TableName } from "../recovery/table-name.ts";
import { bytesText, countText } from "../text.ts";

/** What a copied table is, as the document of `ctm restore --table` has it. */
export const copiedDocument = z.strictObject({
  action: z.literal("copied"),
  /** Folder of the scratch instance that it came from. */
  from: z.string(),
  /** The table there, quoted where SQL needs it. */
  source: z.string(),
  /** Its new name in the live database. */
  table: z.string(),
  rows: z.int(),
  bytes: z.int(),
});
export type CopiedDocument = z.infer<typeof copiedDocument>;

/** TABLE, in the schema public, or SCHEMA.TABLE. */
export const tableName: Reader<TableName> = (given) => {
  const name = readTableName(given);
  if (name === undefined) throw new Unreadable(`"${given}" is no table`);
  return name;
};

interface Column {
  name: string;
  type: string;
  /** With its schema, as SQL; null for the type's own. */
  collation: string | null;
  required: boolean;
}

/** PostgreSQL cuts longer names off (NAMEDATALEN). */
const longestNameBytes = 63;

export function copiedText({ source, from, table, rows, bytes }: CopiedDocument): string {
  return [
    `${countText(rows, "row")} of ${source} (${bytesText(bytes)}) came from ${from} and are in the live database as ${table}`,
    "it has the columns alone, belongs to the database's owner, and nobody else may read it",
    "",
    "next: ctm psql",
  ].join("\n");
}

/**
 * Copies a table's rows out of a scratch instance into the live database under a new name, in one
 * transaction: all of them or nothing. The new table has the old one's columns and no constraint,
 * index or trigger, belongs to the database's owner, and nobody else may read it.
 *
 * @param options.as the new name; by default the table's own with the time
 * @throws CtmError `no-such-instance`, `instance-not-running`, `no-such-table`, `table-exists`,
 *   `type-missing` (exit 2), `rows-differ`
 */
export async function copyTable(
  stack: Stack,
  options: { directory: string; table: TableName; as: string | undefined },
  context: Pick<Context, "signal" | "progress">,
): Promise<CopiedDocument> {
  const { directory, table } = options;
  await scratchNoteOf(stack.paths, directory);
  if ((await serverPid(instanceDirectories(directory).data)) === undefined) {
    throw new CtmError("instance-not-running", `no server runs in ${directory}`, {
      next: "ctm restore --to TARGET --into DIR makes another one",
    });
  }
  const name = newName(table, options.as);
  const { database, owner } = stack.descriptor.postgres;
  const source = { host: directory, port: 5432, user: "postgres", database };
  return await connected(source, async (from) => {
    // With no search path, every name in what follows is written with its schema.
    await from.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''");
    const columns = await columnsOf(from, table, directory);
    const place = quoted(from, table);
    return await asOwner(stack, async (to) => {
      const target = quoted(to, { schema: "public", name });
      await createTable(to, target, columns, { owner, directory, database });
      context.progress.step(`copying ${place}`);
      const bytes = await copyRows({ from, place }, { to, target }, columns, context);
      const [there, here] = await Promise.all([countRows(from, place), countRows(to, target)]);
      if (there !== here) {
        throw new CtmError("rows-differ", `${place} has ${there} rows, and ${here} arrived`);
      }
      return { action: "copied", from: directory, source: place, table: target, rows: here, bytes };
    });
  });
}

/** `table_restored_20261124t021044`, cut where PostgreSQL would cut it, but never the time. */
function newName({ name }: TableName, given: string | undefined): string {
  if (given !== undefined) {
    if (given !== "" && Buffer.byteLength(given) <= longestNameBytes) return given;
    throw new CtmError("bad-usage", `"${given}" is no name for a table`, { exitCode: 2 });
  }
  const time = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").toLowerCase();
  const suffix = `_restored_${time}`;
  let stem = name;
  while (Buffer.byteLength(stem + suffix) > longestNameBytes) stem = stem.slice(0, -1);
  return stem + suffix;
}

/** @throws CtmError `no-such-table` (exit 2) */
async function columnsOf(from: Client, table: TableName, directory: string): Promise<Column[]> {
  const { rows } = await from.query<Column>(
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
            CASE WHEN a.attcollation <> t.typcollation
              THEN format('%I.%I', cn.nspname, co.collname) END AS collation,
            a.attnotnull AS required
       FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
       LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
       LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
      WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'm')
      ORDER BY a.attnum`,
    [table.schema, table.name],
  );
  if (rows.length > 0) return rows;
  throw new CtmError("no-such-table", `${quoted(from, table)} is not in ${directory}`, {
    next: "an earlier --to, or another --table",
    exitCode: 2,
  });
}

/** @throws CtmError `table-exists`, `type-missing` (both exit 2) */
async function createTable(
  to: Client,
  target: string,
  columns: readonly Column[],
  { owner, directory, database }: { owner: string; directory: string; database: string },
): Promise<void> {
  const definitions = columns.map(
    ({ name, type, collation, required }) =>
      `${to.escapeIdentifier(name)} ${type}${collation === null ? "" : ` COLLATE ${collation}`}${required ? " NOT NULL" : ""}`,
  );
  try {
    await to.query(`CREATE TABLE ${target} (${definitions.join(", ")})`);
  } catch (error) {
    const code = error instanceof DatabaseError ? error.code : undefined;
    // 42704, 3F000: a type or a collation, or their schema, went since.
    if (code === "42704" || code === "3F000") {
      throw new CtmError("type-missing", `in the live database, ${messageOf(error)}`, {
        next: `create it there as it was (pg_dump --schema-only -h ${directory} -U postgres ${database} shows it), then copy again`,
        exitCode: 2,
        cause: error,
      });
    }
    // 42P07: the name is taken.
    if (code !== "42P07") throw error;
    throw new CtmError("table-exists", `${target} is in the live database already`, {
      next: "choose another name with --as",
      exitCode: 2,
      cause: error,
    });
  }
  // Default privileges would show every group what the old table may have kept from it.
  const { rows: grantees } = await to.query<{ grantee: string }>(
    `SELECT DISTINCT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee
       FROM pg_class, aclexplode(relacl)
      WHERE oid = $1::regclass AND grantee <> relowner`,
    [target],
  );
  for (const { grantee } of grantees) {
    await to.query(`REVOKE ALL ON ${target} FROM ${grantee}`);
  }
  await to.query(`ALTER TABLE ${target} OWNER TO ${to.escapeIdentifier(owner)}`);
}

/** Row by row from one server to the other: no more than a buffer is in memory. */
async function copyRows(
  { from, place }: { from: Client; place: string },
  { to, target }: { to: Client; target: string },
  columns: readonly Column[],
  { signal, progress }: Pick<Context, "signal" | "progress">,
): Promise<number> {
  const names = columns.map(({ name }) => from.escapeIdentifier(name)).join(", ");
  let bytes = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      bytes += chunk.length;
      progress.detail(bytesText(bytes));
      done(null, chunk);
    },
  });
  await pipeline(
    from.query(copyTo(`COPY (SELECT ${names} FROM ${place}) TO STDOUT`)),
    meter,
    to.query(copyFrom(`COPY ${target} (${names}) FROM STDIN`)),
    { signal },
  );
  return bytes;
}

async function countRows(client: Client, table: string): Promise<number> {
  const { rows } = await client.query<{ count: string }>(`SELECT count(*) FROM ${table}`);
  return Number(rows[0]?.count);
}

function quoted(client: Client, { schema, name }: TableName): string {
  return `${client.escapeIdentifier(schema)}.${client.escapeIdentifier(name)}`;
}
