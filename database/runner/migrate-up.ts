import { CtmError } from "#system";
import type { DatabaseConnection } from "./connect.ts";
import {
  compareVersions,
  databaseFolder,
  readMigrations,
  type ParsedMigration,
} from "./migration-files.ts";
import { MigrationRun, type AppliedFile, type RunHooks } from "./migration-run.ts";
import type { MigrationProgress } from "./progress.ts";

export interface MigrateUpOptions {
  /** Told what happens, as it happens; `describeProgress` makes a line of it. */
  onProgress?: (progress: MigrationProgress) => void;
  /**
   * How long a statement may wait for a lock, in milliseconds, and so how long it may make others
   * wait behind it. Default 1,000.
   */
  lockTimeoutMs?: number;
  /**
   * How long to wait for another run, and how long to go on retrying one file that meets locks, in
   * milliseconds. A statement that works is never cut short. Default 10 minutes.
   */
  deadlineMs?: number;
  /** Who does this, for the ledger; by default the database user that logged in. */
  actor?: string;
  /** The repository's revision, for the ledger. */
  gitRevision?: string;
  /** The last version to apply; repeatable files are then left for the next run. */
  target?: string;
  /** Ends the run: the running statement is cancelled and its file rolled back. */
  signal?: AbortSignal;
  /** Holds `migrations/` and `repeatable/`; this project's own by default. */
  folder?: string;
}

export interface MigrateUpResult {
  applied: AppliedFile[];
  /** Versions found in a ledger that this runner did not write, taken over as they are. */
  adopted: string[];
  /** The newest version that the database has now. */
  schemaVersion: string | null;
  durationMs: number;
}

const defaultLockTimeoutMs = 1_000;
const defaultDeadlineMs = 600_000;

/**
 * Applies every pending migration: numbered files in order, then repeatable files that are new or
 * changed. Each file runs in one transaction together with its row of the ledger, so it is either
 * applied and recorded or has changed nothing.
 *
 * One run at a time in a database; a second one waits, and then finds nothing to do. A statement
 * that waits for a lock longer than `lockTimeoutMs` gives way, and its file is tried again.
 *
 * @throws CtmError `migration-failed`, `migration-blocked`, `migration-running`,
 *   `migration-edited`, `migration-missing`, `migration-out-of-order`, `no-such-version`,
 *   `database-not-prepared`, `ledger-failed`, `read-only-server`, `index-not-built`, `interrupted`,
 *   `connection-lost`, and those of `connect` and `migrationFiles`
 */
export async function migrateUp(
  connection: DatabaseConnection,
  options: MigrateUpOptions = {},
): Promise<MigrateUpResult> {
  const { target } = options;
  if (target === undefined) return await runMigrations(connection, options);
  const files = await readMigrations(options.folder);
  if (!files.some((file) => file.version === target)) {
    throw new CtmError("no-such-version", `no migration has the number ${target}`, {
      next: "ctm migrate status lists them",
      exitCode: 2,
    });
  }
  return await runMigrations(
    connection,
    options,
    ({ version }) => version !== null && compareVersions(version, target) <= 0,
  );
}

/** As `migrateUp`, for some of the pending files, telling the hooks of each statement. */
export async function runMigrations(
  connection: DatabaseConnection,
  options: MigrateUpOptions & RunHooks,
  select?: (file: ParsedMigration) => boolean,
): Promise<MigrateUpResult> {
  const start = performance.now();
  const { folder = databaseFolder, beforeFile, afterStatement } = options;
  const files = await readMigrations(folder);
  const run = await MigrationRun.open(connection, {
    onProgress: options.onProgress ?? (() => undefined),
    lockTimeoutMs: options.lockTimeoutMs ?? defaultLockTimeoutMs,
    deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
    actor: options.actor ?? null,
    gitRevision: options.gitRevision ?? null,
    signal: options.signal,
    folder,
    ...(beforeFile === undefined ? {} : { beforeFile }),
    ...(afterStatement === undefined ? {} : { afterStatement }),
  });
  try {
    const result = await run.apply(files, select);
    return { ...result, durationMs: Math.round(performance.now() - start) };
  } finally {
    await run.close();
  }
}
