import type { Client } from "pg";

/** One applied version, as `schema_migrations` has it. */
export interface AppliedMigration {
  version: string;
  description: string | null;
  /** ISO 8601, UTC. */
  appliedAt: string | null;
  /** SHA-256 of the file as it was applied; null where somebody applied it by hand. */
  checksum: string | null;
  durationMs: number | null;
  gitRevision: string | null;
  actor: string | null;
  /** Found in the database, not applied by this runner: its file is never compared nor run. */
  adopted: boolean;
}

/** One repeatable file as it was last applied. */
interface AppliedRepeatable {
  name: string;
  checksum: string;
  appliedAt: string;
}

/** What a database says about its migrations. */
export interface Ledger {
  /** False when there is no `schema_migrations` yet. */
  exists: boolean;
  /** False when a table or column of ours is missing, so `ensureLedger` has something to do. */
  complete: boolean;
  applied: AppliedMigration[];
  repeatables: AppliedRepeatable[];
}

/**
 * The documented table (first four columns), and columns of ours after it. Repeatable files have a
 * table of their own, so that `SELECT version, applied_at FROM schema_migrations` shows versions
 * and nothing else.
 */
const tables = {
  schema_migrations: {
    comment: "Which migrations this database has; written by ctm migrate only",
    key: "version varchar(50) PRIMARY KEY",
    columns: {
      description: { type: "text", comment: "The file's name in words" },
      applied_at: { type: "timestamptz DEFAULT now()", comment: "When it was applied" },
      checksum: {
        type: "varchar(64)",
        comment: "SHA-256 of the file as it was applied; null where it was applied by hand",
      },
      duration_ms: { type: "integer", comment: "How long the file took, in milliseconds" },
      git_revision: { type: "text", comment: "Revision of the repository that the file came from" },
      actor: { type: "text", comment: "Who applied it" },
      adopted_at: {
        type: "timestamptz",
        comment: "When ctm found this version already present; null where ctm applied it",
      },
    },
  },
  schema_repeatables: {
    comment: "Which repeatable files this database has, in which text; written by ctm migrate only",
    key: "name text PRIMARY KEY",
    columns: {
      applied_at: {
        type: "timestamptz NOT NULL DEFAULT now()",
        comment: "When it was last applied",
      },
      checksum: {
        type: "varchar(64) NOT NULL",
        comment: "SHA-256 of the file as it was last applied",
      },
      duration_ms: { type: "integer NOT NULL", comment: "How long the file took, in milliseconds" },
      git_revision: { type: "text", comment: "Revision of the repository that the file came from" },
      actor: { type: "text", comment: "Who applied it" },
    },
  },
} as const;

type TableName = keyof typeof tables;
const tableNames: readonly TableName[] = ["schema_migrations", "schema_repeatables"];

/** Reads the ledger and changes nothing; works on a read-only server and on a v1.0 ledger. */
export async function readLedger(client: Client): Promise<Ledger> {
  const columns = await readColumns(client);
  const migrations = columns.get("schema_migrations");
  const repeatables = columns.get("schema_repeatables");
  return {
    exists: migrations !== undefined,
    complete: tableNames.every((table) =>
      Object.keys(tables[table].columns).every((column) => columns.get(table)?.has(column)),
    ),
    applied: migrations === undefined ? [] : await readApplied(client, migrations),
    repeatables: repeatables === undefined ? [] : await readRepeatables(client),
  };
}

/**
 * Creates the ledger, or adds our columns to one that v1.0 or a person made. Rows found in such a
 * ledger, and rows that somebody added by hand since, are marked as adopted.
 *
 * @returns the versions adopted by this call
 */
export async function ensureLedger(client: Client): Promise<string[]> {
  const present = await readColumns(client);
  for (const table of tableNames) {
    const { key, columns, comment } = tables[table];
    const known = present.get(table);
    const missing = Object.entries(columns).filter(([name]) => known?.has(name) !== true);
    if (known !== undefined && missing.length === 0) continue;
    const definitions = missing.map(([name, column]) => `${name} ${column.type}`);
    await client.query(
      known === undefined
        ? `CREATE TABLE public.${table} (${[key, ...definitions].join(", ")})`
        : `ALTER TABLE public.${table} ${definitions.map((text) => `ADD COLUMN ${text}`).join(", ")}`,
    );
    await client.query(`COMMENT ON TABLE public.${table} IS ${client.escapeLiteral(comment)}`);
    for (const [name, column] of Object.entries(columns)) {
      await client.query(
        `COMMENT ON COLUMN public.${table}.${name} IS ${client.escapeLiteral(column.comment)}`,
      );
    }
  }
  // Our own rows always have a duration; the checksum alone would not tell, for v1.0's tools
  // wrote checksums of files that are not ours.
  const { rows } = await client.query<{ version: string }>(
    `UPDATE public.schema_migrations SET adopted_at = now()
      WHERE adopted_at IS NULL AND duration_ms IS NULL
      RETURNING version`,
  );
  return rows.map((row) => row.version);
}

/** What the runner writes about a file that it has run. */
export interface LedgerEntry {
  checksum: string;
  durationMs: number;
  gitRevision: string | null;
  actor: string | null;
}

export async function recordMigration(
  client: Client,
  migration: { version: string; description: string },
  entry: LedgerEntry,
): Promise<void> {
  // clock_timestamp, so that the versions of one run sort by applied_at as they were applied.
  await client.query(
    `INSERT INTO public.schema_migrations AS known
       (version, description, applied_at, checksum, duration_ms, git_revision, actor)
     VALUES ($1, $2, clock_timestamp(), $3, $4, $5, coalesce($6, session_user))
     ON CONFLICT (version) DO UPDATE SET
       (description, applied_at, checksum, duration_ms, git_revision, actor, adopted_at) =
       (excluded.description, excluded.applied_at, excluded.checksum, excluded.duration_ms,
        excluded.git_revision, excluded.actor, NULL)`,
    [
      migration.version,
      migration.description,
      entry.checksum,
      entry.durationMs,
      entry.gitRevision,
      entry.actor,
    ],
  );
}

export async function recordRepeatable(
  client: Client,
  name: string,
  entry: LedgerEntry,
): Promise<void> {
  await client.query(
    `INSERT INTO public.schema_repeatables
       (name, checksum, applied_at, duration_ms, git_revision, actor)
     VALUES ($1, $2, clock_timestamp(), $3, $4, coalesce($5, session_user))
     ON CONFLICT (name) DO UPDATE SET
       (checksum, applied_at, duration_ms, git_revision, actor) =
       (excluded.checksum, excluded.applied_at, excluded.duration_ms, excluded.git_revision,
        excluded.actor)`,
    [name, entry.checksum, entry.durationMs, entry.gitRevision, entry.actor],
  );
}

/** Forgets repeatable files that are gone: what they defined is dropped by a numbered one. */
export async function forgetRepeatables(client: Client, names: string[]): Promise<void> {
  await client.query("DELETE FROM public.schema_repeatables WHERE name = ANY ($1)", [names]);
}

async function readColumns(client: Client): Promise<Map<string, Set<string>>> {
  const { rows } = await client.query<{ table: string; column: string }>(
    `SELECT c.relname AS table, a.attname AS column
       FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE c.relnamespace = to_regnamespace('public') AND c.relname::text = ANY ($1)`,
    [tableNames],
  );
  const columns = new Map<string, Set<string>>();
  for (const row of rows) {
    const known = columns.get(row.table) ?? new Set();
    columns.set(row.table, known.add(row.column));
  }
  return columns;
}

async function readApplied(client: Client, columns: Set<string>): Promise<AppliedMigration[]> {
  const optional = (column: string): string => (columns.has(column) ? column : "NULL");
  const { rows } = await client.query<{
    version: string;
    description: string | null;
    applied_at: Date | null;
    checksum: string | null;
    duration_ms: number | null;
    git_revision: string | null;
    actor: string | null;
  }>(
    `SELECT version, ${optional("description")} AS description,
            ${optional("applied_at")}::timestamptz AS applied_at,
            ${optional("checksum")} AS checksum, ${optional("duration_ms")}::integer AS duration_ms,
            ${optional("git_revision")} AS git_revision, ${optional("actor")} AS actor
       FROM public.schema_migrations`,
  );
  return rows.map((row) => ({
    version: row.version,
    description: row.description,
    appliedAt: row.applied_at?.toISOString() ?? null,
    checksum: row.checksum,
    durationMs: row.duration_ms,
    gitRevision: row.git_revision,
    actor: row.actor,
    adopted: row.duration_ms === null,
  }));
}

async function readRepeatables(client: Client): Promise<AppliedRepeatable[]> {
  const { rows } = await client.query<{ name: string; checksum: string; applied_at: Date }>(
    "SELECT name, checksum, applied_at FROM public.schema_repeatables ORDER BY name",
  );
  return rows.map((row) => ({
    name: row.name,
    checksum: row.checksum,
    appliedAt: row.applied_at.toISOString(),
  }));
}
