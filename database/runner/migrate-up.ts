import { setTimeout as delay } from "node:timers/promises";
import { DatabaseError, type Client } from "pg";
import { CtmError, messageOf } from "#system";
import { extensions, roles } from "../roles.ts";
import { BlockerWatch, type Blocked } from "./blockers.ts";
import { checkIndexBuilt, concurrentIndexOf, dropInvalidIndex } from "./concurrent-index.ts";
import {
  connect,
  describeServer,
  disconnect,
  isConnectionLoss,
  type DatabaseConnection,
} from "./connect.ts";
import {
  ensureLedger,
  forgetRepeatables,
  readLedger,
  recordMigration,
  recordRepeatable,
} from "./ledger.ts";
import {
  compareVersions,
  databaseFolder,
  readMigrations,
  type ParsedMigration,
} from "./migration-files.ts";
import { compareState, refuseBrokenState } from "./migration-state.ts";
import type { MigrationProgress } from "./progress.ts";
import { takeRunLock } from "./run-lock.ts";
import { describeSqlFailure } from "./sql-failure.ts";
import type { Statement } from "./split-statements.ts";

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
  /** Holds `migrations/` and `repeatable/`; this project's own by default. */
  folder?: string;
  /** Ends the run: the running statement is cancelled and its file rolled back. */
  signal?: AbortSignal;
}

/** One file that a run has applied. */
export interface AppliedFile {
  kind: "numbered" | "repeatable";
  version: string | null;
  name: string;
  statements: number;
  /** How often it was begun: more than once when it gave way to locks. */
  attempts: number;
  durationMs: number;
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
const shortestPauseMs = 250;
const longestPauseMs = 15_000;
/** A reconnect after a lost connection may meet a failover, which takes up to 46 s (Patroni). */
const reconnectDeadlineMs = 90_000;

/** lock_not_available, deadlock_detected, serialization_failure. */
const givesWay = new Set(["55P03", "40P01", "40001"]);

/**
 * Applies every pending migration: numbered files in order, then repeatable files that are new or
 * changed. Each file runs in one transaction together with its row of the ledger, so it is either
 * applied and recorded or has changed nothing.
 *
 * One run at a time in a database; a second one waits, and then finds nothing to do. A statement
 * that waits for a lock longer than `lockTimeoutMs` gives way, and its file is tried again.
 *
 * @throws CtmError `migration-failed`, `migration-blocked`, `migration-running`,
 *   `migration-edited`, `migration-missing`, `migration-out-of-order`, `connection-lost`, and those
 *   of `connect` and `migrationFiles`
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

/** Where a plan looks at what a statement did. */
export interface RunHooks {
  /** Called in the file's transaction, before its first statement. */
  beforeFile?: (client: Client, file: ParsedMigration) => Promise<void>;
  /** Called in the file's transaction, after each statement. */
  afterStatement?: (
    client: Client,
    file: ParsedMigration,
    done: { statement: Statement; durationMs: number },
  ) => Promise<void>;
}

/** As `migrateUp`, for some of the pending files, telling `hooks` of each statement. */
export async function runMigrations(
  connection: DatabaseConnection,
  options: MigrateUpOptions & RunHooks,
  select?: (file: ParsedMigration) => boolean,
): Promise<MigrateUpResult> {
  const start = performance.now();
  const files = await readMigrations(options.folder);
  const run = await MigrationRun.open(connection, options);
  try {
    const result = await run.apply(files, select);
    return { ...result, durationMs: Math.round(performance.now() - start) };
  } finally {
    await run.close();
  }
}

/** Where in a file the run is, for messages. */
interface Position {
  statement: Statement;
  number: number;
}

class MigrationRun {
  readonly #connection: DatabaseConnection;
  readonly #options: MigrateUpOptions & RunHooks;
  readonly #lockTimeoutMs: number;
  readonly #deadlineMs: number;
  #client: Client;
  #watch: BlockerWatch;
  /** The file whose notices are coming in. */
  #currentFile = "";

  private constructor(
    connection: DatabaseConnection,
    options: MigrateUpOptions & RunHooks,
    opened: { client: Client; watch: BlockerWatch },
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#lockTimeoutMs = options.lockTimeoutMs ?? defaultLockTimeoutMs;
    this.#deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
    this.#client = opened.client;
    this.#watch = opened.watch;
    this.#forwardNotices();
  }

  static async open(
    connection: DatabaseConnection,
    options: MigrateUpOptions & RunHooks,
  ): Promise<MigrationRun> {
    const opened = await openSession(connection, options.lockTimeoutMs ?? defaultLockTimeoutMs);
    return new MigrationRun(connection, options, opened);
  }

  async close(): Promise<void> {
    await this.#watch.close();
    await disconnect(this.#client);
  }

  async apply(
    files: readonly ParsedMigration[],
    select: ((file: ParsedMigration) => boolean) | undefined,
  ): Promise<Omit<MigrateUpResult, "durationMs">> {
    await this.#takeLock(this.#deadlineMs);
    await prepareSession(this.#client, this.#connection, this.#lockTimeoutMs);
    const before = compareState(files, await readLedger(this.#client));
    refuseBrokenState(before);
    await this.#checkPrepared();

    const adopted = await this.#inTransaction("the ledger", () => ensureLedger(this.#client));
    if (adopted.length > 0) this.#report({ kind: "adopted", versions: adopted });
    const pending = select === undefined ? before.pending : before.pending.filter(select);
    const applied = await this.#applyAll(pending);
    if (select === undefined && before.goneRepeatables.length > 0) {
      await forgetRepeatables(this.#client, before.goneRepeatables);
    }
    const after = compareState(files, await readLedger(this.#client));
    return { applied, adopted, schemaVersion: after.schemaVersion };
  }

  async #takeLock(deadlineMs: number): Promise<void> {
    await takeRunLock(this.#client, {
      deadlineMs,
      signal: this.#options.signal,
      onProgress: (progress) => this.#report(progress),
    });
  }

  async #applyAll(pending: readonly ParsedMigration[]): Promise<AppliedFile[]> {
    const applied: AppliedFile[] = [];
    for (const [index, file] of pending.entries()) {
      this.#currentFile = file.name;
      this.#report({
        kind: "file-started",
        name: file.name,
        number: index + 1,
        of: pending.length,
      });
      const done = await this.#applyFile(file);
      applied.push(done);
      this.#report({ kind: "file-applied", name: file.name, durationMs: done.durationMs });
    }
    return applied;
  }

  /** Runs one file, again and again while it only meets locks, until the deadline. */
  async #applyFile(file: ParsedMigration): Promise<AppliedFile> {
    const start = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      let position: Position | undefined;
      const enter = (entered: Position): void => {
        position = entered;
        this.#report({
          kind: "statement-started",
          name: file.name,
          line: entered.statement.line,
          number: entered.number,
          of: file.statements.length,
        });
      };
      const attemptStart = performance.now();
      try {
        await (file.transactional
          ? this.#runInTransaction(file, enter)
          : this.#runAlone(file, enter));
      } catch (error) {
        if (this.#options.signal?.aborted === true) {
          throw interrupted(file, position, error);
        } else if (isConnectionLoss(error)) {
          if (!(await this.#recorded(file, error))) throw lost(file, position, error);
        } else if (!mayRetry(error)) {
          throw failed(file, position, error);
        } else {
          const spentMs = performance.now() - start;
          const leftMs = this.#deadlineMs - spentMs;
          const delayMs = Math.min(pause(attempt), leftMs);
          if (leftMs <= 0) {
            throw blocked(file, position, { error, spentMs, attempt, seen: this.#watch.last });
          }
          this.#report({
            kind: "retrying",
            name: file.name,
            line: position?.statement.line ?? 1,
            attempt: attempt + 1,
            delayMs,
            why: this.#why(error),
          });
          await delay(delayMs, undefined, this.#delayOptions);
          continue;
        }
      }
      return {
        kind: file.kind,
        version: file.version,
        name: file.name,
        statements: file.statements.length,
        attempts: attempt,
        durationMs: Math.round(performance.now() - attemptStart),
      };
    }
  }

  async #runInTransaction(file: ParsedMigration, enter: (at: Position) => void): Promise<void> {
    const start = performance.now();
    await prepareSession(this.#client, this.#connection, this.#lockTimeoutMs);
    await this.#client.query("BEGIN");
    try {
      await this.#options.beforeFile?.(this.#client, file);
      for (const [index, statement] of file.statements.entries()) {
        enter({ statement, number: index + 1 });
        await this.#query(file, statement);
      }
      await prepareSession(this.#client, this.#connection, this.#lockTimeoutMs);
      await this.#record(file, start);
      await this.#client.query("COMMIT");
    } catch (error) {
      if (!isConnectionLoss(error)) await this.#client.query("ROLLBACK");
      throw error;
    }
  }

  /** For the one statement that refuses a transaction, mostly CREATE INDEX CONCURRENTLY. */
  async #runAlone(file: ParsedMigration, enter: (at: Position) => void): Promise<void> {
    const start = performance.now();
    // Its locks let readers and writers pass, so it may wait as long as it likes.
    await prepareSession(this.#client, this.#connection, this.#deadlineMs);
    const [statement] = file.statements;
    await this.#options.beforeFile?.(this.#client, file);
    if (statement !== undefined) {
      enter({ statement, number: 1 });
      const index = concurrentIndexOf(statement.text);
      const dropped =
        index !== undefined &&
        (await this.#watched(file, statement, () => dropInvalidIndex(this.#client, index)));
      if (dropped) {
        this.#report({ kind: "index-dropped", name: file.name, index: index.index });
      }
      try {
        await this.#query(file, statement);
      } catch (error) {
        if (index !== undefined && !isConnectionLoss(error)) {
          // What cannot be dropped at once, the next attempt or run drops.
          await prepareSession(this.#client, this.#connection, this.#lockTimeoutMs);
          await dropInvalidIndex(this.#client, index).catch(() => undefined);
        }
        throw error;
      }
      if (index !== undefined) await checkIndexBuilt(this.#client, index);
    }
    await prepareSession(this.#client, this.#connection, this.#lockTimeoutMs);
    await this.#record(file, start);
  }

  async #query(file: ParsedMigration, statement: Statement): Promise<void> {
    const start = performance.now();
    await this.#watched(file, statement, () => this.#client.query(statement.text));
    const durationMs = Math.round(performance.now() - start);
    await this.#options.afterStatement?.(this.#client, file, { statement, durationMs });
  }

  /** Does something for a statement that may have to wait, and can be cancelled. */
  async #watched<T>(
    file: ParsedMigration,
    statement: Statement,
    action: () => Promise<T>,
  ): Promise<T> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const cancel = (): void => void this.#watch.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      return await this.#watch.during(action, ({ blockers }, waitedMs) => {
        const { line } = statement;
        this.#report({ kind: "blocked", name: file.name, line, waitedMs, blockers });
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  async #record(file: ParsedMigration, start: number): Promise<void> {
    const entry = {
      checksum: file.sha256,
      durationMs: Math.round(performance.now() - start),
      gitRevision: this.#options.gitRevision ?? null,
      actor: this.#options.actor ?? null,
    };
    const { version, description } = file;
    await (version === null
      ? recordRepeatable(this.#client, file.name, entry)
      : recordMigration(this.#client, { version, description }, entry));
  }

  /**
   * After a lost connection: connects again, waits until the server has ended the old session
   * (which holds the run's lock until then), and reads whether the file was committed.
   */
  async #recorded(file: ParsedMigration, cause: unknown): Promise<boolean> {
    this.#report({ kind: "connection-lost", name: file.name, message: messageOf(cause) });
    await this.close();
    const deadline = performance.now() + Math.min(reconnectDeadlineMs, this.#deadlineMs);
    try {
      const opened = await reopenSession(this.#connection, this.#lockTimeoutMs, deadline);
      this.#client = opened.client;
      this.#watch = opened.watch;
      this.#forwardNotices();
      await this.#takeLock(Math.max(0, deadline - performance.now()));
      await prepareSession(this.#client, this.#connection, this.#lockTimeoutMs);
      const ledger = await readLedger(this.#client);
      return file.version === null
        ? ledger.repeatables.some((row) => row.name === file.name && row.checksum === file.sha256)
        : ledger.applied.some((row) => row.version === file.version);
    } catch (error) {
      throw new CtmError(
        "connection-lost",
        `the connection was lost during ${file.name} (${messageOf(cause)}), and it is not known whether the file was applied: ${messageOf(error)}`,
        {
          next: "ctm migrate status, once the server answers; ctm migrate up then goes on from there",
          cause: error,
        },
      );
    }
  }

  /** @throws CtmError `database-not-prepared` when roles or extensions of this project lack */
  async #checkPrepared(): Promise<void> {
    if (this.#options.folder !== undefined && this.#options.folder !== databaseFolder) return;
    const { rows } = await this.#client.query<{ name: string }>(
      `SELECT 'role ' || name AS name FROM unnest($1::text[]) name
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
       UNION ALL
       SELECT 'extension ' || name FROM unnest($2::text[]) name
        WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = name)`,
      [roles.map((role) => role.name), extensions],
    );
    if (rows.length === 0) return;
    throw new CtmError(
      "database-not-prepared",
      `the migrations need what ${describeServer(this.#client)} does not have: ${rows.map((row) => row.name).join(", ")}`,
      { next: "apply database/roles.sql to this database as a superuser, then ctm migrate up" },
    );
  }

  /** A short transaction of ours, retried like a file when it meets locks. */
  async #inTransaction<T>(what: string, action: () => Promise<T>): Promise<T> {
    const start = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      await prepareSession(this.#client, this.#connection, this.#lockTimeoutMs);
      await this.#client.query("BEGIN");
      try {
        const value = await this.#watch.during(action, () => undefined);
        await this.#client.query("COMMIT");
        return value;
      } catch (error) {
        if (!isConnectionLoss(error)) await this.#client.query("ROLLBACK");
        const leftMs = this.#deadlineMs - (performance.now() - start);
        if (mayRetry(error) && leftMs > 0) {
          await delay(Math.min(pause(attempt), leftMs), undefined, this.#delayOptions);
          continue;
        }
        throw new CtmError("ledger-failed", `${what} could not be written: ${messageOf(error)}`, {
          next: mayRetry(error)
            ? endBlockers(this.#watch.last)
            : "connect as the owner of schema_migrations (ctm_owner), then ctm migrate up",
          cause: error,
        });
      }
    }
  }

  #why(error: unknown): string {
    const seen = this.#watch.last;
    if (!(error instanceof DatabaseError)) return messageOf(error);
    if (error.code !== "55P03" || seen === undefined) return error.message;
    return `waiting ${this.#lockTimeoutMs} ms for ${describeBlocked(seen)}`;
  }

  get #delayOptions(): { signal?: AbortSignal } {
    const { signal } = this.#options;
    return signal === undefined ? {} : { signal };
  }

  #report(progress: MigrationProgress): void {
    this.#options.onProgress?.(progress);
  }

  #forwardNotices(): void {
    this.#client.on("notice", (notice) => {
      this.#report({
        kind: "notice",
        name: this.#currentFile,
        severity: notice.severity ?? "NOTICE",
        message: notice.message ?? "",
      });
    });
  }
}

/**
 * Opens the session that does the work, and the watch over it. Who holds a lock is asked as the
 * user that logged in, who may see more of other sessions than the owner of the schema.
 */
async function openSession(
  connection: DatabaseConnection,
  lockTimeoutMs: number,
): Promise<{ client: Client; watch: BlockerWatch }> {
  const client = await connect(connection, "ctm migrate");
  await client.query("RESET ROLE");
  const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  const intervalMs = Math.max(50, Math.min(500, lockTimeoutMs / 4));
  const { role: _role, ...login } = connection;
  return { client, watch: new BlockerWatch(login, rows[0]?.pid ?? 0, intervalMs) };
}

async function reopenSession(
  connection: DatabaseConnection,
  lockTimeoutMs: number,
  deadline: number,
): Promise<{ client: Client; watch: BlockerWatch }> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await openSession(connection, lockTimeoutMs);
    } catch (error) {
      const delayMs = Math.min(pause(attempt), 2_000);
      if (performance.now() + delayMs > deadline) throw error;
      await delay(delayMs);
    }
  }
}

/**
 * Puts every setting that could change what a file means, or that the file before left behind,
 * back to a known value, and says when to give way. A dead client's statement is ended by the
 * server within a second (from 14 on), not when it next writes to the socket.
 */
async function prepareSession(
  client: Client,
  connection: DatabaseConnection,
  lockTimeoutMs: number,
): Promise<void> {
  const role = connection.role === undefined ? "NONE" : client.escapeIdentifier(connection.role);
  await client.query(`
    RESET SESSION AUTHORIZATION; RESET ALL; SET ROLE ${role};
    SET search_path = public;
    SET client_encoding = 'UTF8'; SET standard_conforming_strings = on;
    SET check_function_bodies = on; SET default_tablespace = ''; SET default_table_access_method = heap;
    SET DateStyle = ISO; SET IntervalStyle = postgres; SET TimeZone = 'UTC';
    SET row_security = on; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET lock_timeout = ${Math.max(1, Math.round(lockTimeoutMs))};
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SELECT set_config(name, '1000', false) FROM pg_settings
     WHERE name = 'client_connection_check_interval'`);
}

function mayRetry(error: unknown): boolean {
  return error instanceof DatabaseError && givesWay.has(error.code ?? "");
}

/** Exponential, with full jitter so that two programs do not meet again and again. */
function pause(attempt: number): number {
  const ceiling = Math.min(longestPauseMs, shortestPauseMs * 2 ** attempt);
  return Math.round(shortestPauseMs + Math.random() * (ceiling - shortestPauseMs));
}

function interrupted(
  file: ParsedMigration,
  position: Position | undefined,
  cause: unknown,
): CtmError {
  return new CtmError(
    "interrupted",
    `stopped at ${where(file, position)}; ${file.transactional ? `nothing of ${file.name} was kept` : `${file.name} is not recorded as applied`}`,
    { next: "ctm migrate up goes on from there", cause },
  );
}

function failed(file: ParsedMigration, position: Position | undefined, error: unknown): unknown {
  if (error instanceof CtmError) return error;
  if (position === undefined) return error;
  return new CtmError(
    "migration-failed",
    `${describeSqlFailure(error, place(file, position))}\n${file.transactional ? `nothing of ${file.name} was kept` : `${file.name} is not recorded as applied`}`,
    {
      next: `mend ${file.path}, then ctm migrate up`,
      cause: error,
    },
  );
}

function blocked(
  file: ParsedMigration,
  position: Position | undefined,
  found: { error: unknown; spentMs: number; attempt: number; seen: Blocked | undefined },
): CtmError {
  const waited =
    found.seen === undefined ? messageOf(found.error) : `it needs ${describeBlocked(found.seen)}`;
  return new CtmError(
    "migration-blocked",
    `${where(file, position)} gave way ${found.attempt} times in ${Math.round(found.spentMs / 100) / 10} s: ${waited}; nothing of ${file.name} was kept`,
    { next: endBlockers(found.seen), cause: found.error },
  );
}

function lost(file: ParsedMigration, position: Position | undefined, error: unknown): CtmError {
  return new CtmError(
    "connection-lost",
    `${where(file, position)}: ${messageOf(error)}; looked again on a new connection: ${file.name} is not applied${file.transactional ? " and nothing of it was kept" : ""}`,
    { next: "read the server's log for the reason, then ctm migrate up", cause: error },
  );
}

function where(file: ParsedMigration, position: Position | undefined): string {
  return position === undefined ? file.path : `${file.path}:${position.statement.line}`;
}

function describeBlocked(seen: Blocked): string {
  const holders = seen.blockers.map((blocker) => blocker.text).join(", and ");
  return seen.lock === null ? `a lock held by ${holders}` : `${seen.lock}, held by ${holders}`;
}

function endBlockers(seen: Blocked | undefined): string {
  const pids = seen?.blockers.map((blocker) => blocker.pid).filter((pid) => pid !== 0) ?? [];
  if (pids.length === 0) return "ctm migrate up again when fewer sessions hold locks";
  return `wait for it to end, or end it (${pids.map((pid) => `SELECT pg_terminate_backend(${pid})`).join("; ")}), then ctm migrate up`;
}

function place(
  file: ParsedMigration,
  position: Position,
): Parameters<typeof describeSqlFailure>[1] {
  return {
    file: file.path,
    source: file.source,
    statement: position.statement,
    number: position.number,
    of: file.statements.length,
  };
}
