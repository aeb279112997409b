import { randomBytes } from "node:crypto";
import { DatabaseError, type Client } from "pg";
import { CtmError } from "#system";
import { compareCatalogs, type CatalogDifference } from "../catalog/compare-catalogs.ts";
import { readCatalog } from "../catalog/read-catalog.ts";
import type { LintFinding } from "../lint/finding.ts";
import { lintCatalog } from "../lint/lint-catalog.ts";
import { lintText } from "../lint/lint-text.ts";
import { concurrentIndexOf } from "./concurrent-index.ts";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { makeFreshDatabase } from "./fresh-database.ts";
import { readLedger } from "./ledger.ts";
import { runMigrations } from "./migrate-up.ts";
import { compareVersions, readMigrations, type ParsedMigration } from "./migration-files.ts";
import type { RunHooks } from "./migration-run.ts";
import { compareState, refuseBrokenState, type MigrationState } from "./migration-state.ts";
import { findBinaries, startScratchServer } from "./scratch-server.ts";
import { EffectWatch, effectsOutsideTransaction, type TakenLock } from "./statement-effects.ts";

/** A relation of the real database, with its size there. */
interface SizedRelation {
  relation: string;
  /** The server's estimate; null when it has none yet, or the relation is not there yet. */
  rows: number | null;
  bytes: number | null;
}

type PlannedLock = TakenLock & SizedRelation;

interface PlannedStatement {
  sql: string;
  line: number;
  locks: PlannedLock[];
  /** Tables that it writes anew as a whole. */
  rewrites: SizedRelation[];
  /** Tables that it reads as a whole. */
  scans: SizedRelation[];
  /** On the clone, where tables may be empty. */
  durationMs: number;
}

interface PlannedFile {
  kind: "numbered" | "repeatable";
  version: string | null;
  name: string;
  path: string;
  transactional: boolean;
  statements: PlannedStatement[];
}

/** What `migrateUp` would do to a database, tried on a copy of it. */
export interface MigrationPlan {
  schemaVersion: string | null;
  /** In the order in which they will run; statements only as far as the trial came. */
  files: PlannedFile[];
  /**
   * "data": a copy of the database itself. "schema": a database that the applied files made, with
   * empty tables. "nothing": nothing is pending.
   */
  triedOn: "data" | "schema" | "nothing";
  /** Why not on the data; null when it was. */
  triedOnReason: string | null;
  /** Of the pending files, and of the schema that they make where the one before has it not. */
  findings: LintFinding[];
  /** How the catalog will change. */
  changes: CatalogDifference[];
  /** Null when every file ran. */
  failure: CtmError | null;
}

/** Copying more would load the server, its WAL archive too, and keep new connections waiting. */
const largestCopyBytes = 256 * 1024 ** 2;

/**
 * Shows what the pending migrations would do: tries them on a copy, watches the locks they take,
 * and changes nothing of the database.
 *
 * The copy holds the data when nobody else is connected, the user may create databases, and the
 * database is at most 256 MiB; else it is a database with empty tables on a scratch server.
 *
 * @throws CtmError as `migrateUp` for edited, missing and disordered files, and
 *   `postgres-not-installed`
 */
export async function planMigrations(
  connection: DatabaseConnection,
  options: {
    folder?: string;
    onProgress?: (text: string) => void;
    /** Ends the trial and removes the copy. */
    signal?: AbortSignal;
  } = {},
): Promise<MigrationPlan> {
  const files = await readMigrations(options.folder);
  const client = await connect(connection, "ctm migrate plan");
  try {
    const state = compareState(files, await readLedger(client));
    refuseBrokenState(state);
    const { schemaVersion, pending } = state;
    if (pending.length === 0) {
      const nothing = { files: [], findings: [], changes: [], failure: null };
      return { schemaVersion, triedOn: "nothing", triedOnReason: null, ...nothing };
    }
    options.onProgress?.("reading the pending files");
    const textFindings = await lintText(pending);
    const trial = await tryOnCopy(connection, client, { files, state, ...options });
    const sizes = await readSizes(client);
    return {
      schemaVersion,
      files: pending.map((file) => planned(file, trial.statements.get(file.name) ?? [], sizes)),
      triedOn: trial.reason === null ? "data" : "schema",
      triedOnReason: trial.reason,
      findings: [...textFindings, ...trial.findings],
      changes: trial.changes,
      failure: trial.failure,
    };
  } finally {
    await disconnect(client);
  }
}

type WatchedStatement = Omit<PlannedStatement, "locks" | "rewrites" | "scans"> & {
  locks: TakenLock[];
  rewrites: string[];
  scans: string[];
};

interface Trial {
  statements: Map<string, WatchedStatement[]>;
  findings: LintFinding[];
  changes: CatalogDifference[];
  failure: CtmError | null;
  /** Why the copy is without data. */
  reason: string | null;
}

interface TrialOptions {
  files: readonly ParsedMigration[];
  state: MigrationState<ParsedMigration>;
  folder?: string;
  onProgress?: (text: string) => void;
  signal?: AbortSignal;
}

async function tryOnCopy(
  connection: DatabaseConnection,
  client: Client,
  options: TrialOptions,
): Promise<Trial> {
  const copy = `ctm_plan_${randomBytes(4).toString("hex")}`;
  const reason = (await whyNotCopied(client)) ?? (await copyDatabase(client, copy, options));
  if (reason !== null) return { ...(await tryOnSchema(client, options)), reason };
  try {
    return { ...(await tryFiles(atDatabase(connection, client, copy), options)), reason: null };
  } finally {
    await client.query(`DROP DATABASE IF EXISTS ${client.escapeIdentifier(copy)}`);
  }
}

/** Why the database cannot be copied; null when it can. */
async function whyNotCopied(client: Client): Promise<string | null> {
  await client.query("RESET ROLE");
  const { rows } = await client.query<{
    replica: boolean;
    may: boolean;
    user: string;
    bytes: string;
    others: number;
  }>(
    `SELECT pg_is_in_recovery() AS replica, r.rolsuper OR r.rolcreatedb AS may, session_user AS user,
            pg_database_size(current_database())::text AS bytes,
            (SELECT count(*)::integer FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()) AS others
       FROM pg_roles r WHERE r.rolname = session_user`,
  );
  const [found] = rows;
  if (found === undefined) return "the user has no role";
  if (found.replica) return "this is a replica";
  if (!found.may) return `${found.user} may not create databases`;
  if (found.others > 0) return `${found.others} other sessions are connected`;
  if (Number(found.bytes) > largestCopyBytes) {
    return `the database has ${Math.round(Number(found.bytes) / 1024 ** 2)} MiB, more than ${largestCopyBytes / 1024 ** 2}`;
  }
  return null;
}

/** Copies the database to a new one; returns why it could not, or null. */
async function copyDatabase(
  client: Client,
  copy: string,
  { onProgress }: TrialOptions,
): Promise<string | null> {
  onProgress?.("copying the database");
  const source = client.database ?? "";
  try {
    await client.query(
      `CREATE DATABASE ${client.escapeIdentifier(copy)} TEMPLATE ${client.escapeIdentifier(source)}`,
    );
    return null;
  } catch (error) {
    // 55006: somebody connected meanwhile; 42501: neither superuser nor the database's owner.
    if (!(error instanceof DatabaseError) || !["55006", "42501"].includes(error.code ?? "")) {
      throw error;
    }
    return error.message;
  }
}

/** The same server and user, another database, however the connection was written. */
function atDatabase(
  connection: DatabaseConnection,
  client: Client,
  database: string,
): DatabaseConnection {
  const { connectionString: _url, ...config } = connection;
  const { host, port, user, password, ssl } = client;
  return { ...config, host, port, user, password, ssl, database };
}

async function tryOnSchema(client: Client, options: TrialOptions): Promise<Omit<Trial, "reason">> {
  const { state, folder } = options;
  options.onProgress?.("making a database like it on a scratch server");
  const { rows } = await client.query<{ major: number }>(
    "SELECT current_setting('server_version_num')::integer / 10000 AS major",
  );
  const binaries = await findBinaries({ version: rows[0]?.major ?? 0 });
  const server = await startScratchServer({ binaries });
  try {
    const pending = new Set(state.pending.map((file) => file.name));
    const copy = await makeFreshDatabase(server, "plan", {
      ...(folder === undefined ? {} : { folder }),
      select: (file) =>
        file.version === null
          ? !pending.has(file.name)
          : compareVersions(file.version, state.schemaVersion ?? "0") <= 0,
    });
    return await tryFiles(copy, options);
  } finally {
    await server.stop();
  }
}

/** Runs the pending files on a copy, and says what they did. */
async function tryFiles(
  copy: DatabaseConnection,
  options: TrialOptions,
): Promise<Omit<Trial, "reason">> {
  const { files, folder, signal } = options;
  const client = await connect(copy, "ctm migrate plan");
  try {
    const catalogBefore = await readCatalog(client);
    const findingsBefore = await lintCatalog(client);
    const { hooks, statements } = watchStatements();
    options.onProgress?.("trying the pending files");
    let failure: CtmError | null = null;
    try {
      await runMigrations(copy, {
        ...(folder === undefined ? {} : { folder }),
        ...(signal === undefined ? {} : { signal }),
        ...hooks,
      });
    } catch (error) {
      if (!(error instanceof CtmError) || signal?.aborted === true) throw error;
      failure = error;
    }
    const known = new Set(findingsBefore.map((finding) => `${finding.rule} ${finding.object}`));
    const findings = await lintCatalog(client, { files });
    return {
      statements,
      findings: findings.filter((finding) => !known.has(`${finding.rule} ${finding.object}`)),
      changes: compareCatalogs(catalogBefore, await readCatalog(client)),
      failure,
    };
  } finally {
    await disconnect(client);
  }
}

function watchStatements(): { hooks: RunHooks; statements: Map<string, WatchedStatement[]> } {
  const statements = new Map<string, WatchedStatement[]>();
  let watch: EffectWatch | undefined;
  const hooks: RunHooks = {
    beforeFile: async (client, file) => {
      statements.set(file.name, []);
      watch = await EffectWatch.start(client);
    },
    afterStatement: async (_client, file, { statement, durationMs }) => {
      const table = concurrentIndexOf(statement.text)?.table ?? null;
      const effects = file.transactional
        ? await watch?.effects()
        : effectsOutsideTransaction(statement.head, table);
      statements.get(file.name)?.push({
        sql: statement.text,
        line: statement.line,
        ...(effects ?? { locks: [], rewrites: [], scans: [] }),
        durationMs,
      });
    },
  };
  return { hooks, statements };
}

type Sizes = Map<string, SizedRelation>;

/** Rows and bytes of each table, a partitioned one with its partitions. */
async function readSizes(client: Client): Promise<Sizes> {
  const { rows } = await client.query<{ relation: string; rows: string | null; bytes: string }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS relation, s.rows::text, s.bytes::text
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL (
        SELECT sum(nullif(p.reltuples, -1))::bigint AS rows, sum(pg_total_relation_size(p.oid)) AS bytes
          FROM pg_class p
         WHERE p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf)) s
      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND c.relkind IN ('r', 'p', 'm')`,
  );
  return new Map(
    rows.map(({ relation, rows: count, bytes }) => [
      relation,
      { relation, rows: count === null ? null : Number(count), bytes: Number(bytes) },
    ]),
  );
}

function planned(
  file: ParsedMigration,
  statements: readonly WatchedStatement[],
  sizes: Sizes,
): PlannedFile {
  const sized = (relation: string): SizedRelation =>
    sizes.get(relation.includes(".") ? relation : `public.${relation}`) ?? {
      relation,
      rows: null,
      bytes: null,
    };
  const { kind, version, name, path, transactional } = file;
  return {
    kind,
    version,
    name,
    path,
    transactional,
    statements: statements.map((statement) => ({
      ...statement,
      locks: statement.locks.map((lock) => ({ ...lock, ...sized(lock.relation) })),
      rewrites: statement.rewrites.map(sized),
      scans: statement.scans.map(sized),
    })),
  };
}
