import { setTimeout as delay } from "node:timers/promises";
import { DatabaseError, type Client } from "pg";
import { CtmError, messageOf } from "#system";
import { extensions, roles } from "../roles.ts";
import { pauseMs } from "./backoff.ts";
import type { BlockerWatch } from "./blockers.ts";
import { checkIndexBuilt, concurrentIndexOf, dropInvalidIndex } from "./concurrent-index.ts";
import { describeServer, isConnectionLoss, type DatabaseConnection } from "./connect.ts";
import {
  ensureLedger,
  forgetRepeatables,
  readLedger,
  recordMigration,
  recordRepeatable,
} from "./ledger.ts";
import { databaseFolder, type ParsedMigration } from "./migration-files.ts";
import { compareState, refuseBrokenState } from "./migration-state.ts";
import type { MigrationProgress } from "./progress.ts";
import {
  blocked,
  describeBlocked,
  endBlockers,
  failed,
  interrupted,
  lost,
  mayRetry,
  unknownAfterLoss,
  type Position,
} from "./run-errors.ts";
import { takeRunLock } from "./run-lock.ts";
import {
  closeSession,
  openSession,
  prepareSession,
  reopenSession,
  type RunSession,
} from "./session.ts";
import type { Statement } from "./split-statements.ts";

/** How a run behaves; every value is set. */
export interface RunOptions {
  onProgress: (progress: MigrationProgress) => void;
  lockTimeoutMs: number;
  deadlineMs: number;
  actor: string | null;
  gitRevision: string | null;
  signal: AbortSignal | undefined;
  folder: string;
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

/** A reconnect after a lost connection may meet a failover, which takes up to 46 s (Patroni). */
const reconnectDeadlineMs = 90_000;
/** A statement that waits is told of this often. */
const blockedReportMs = 5_000;

/** One run of pending migrations, from taking the lock to the last file. */
export class MigrationRun {
  readonly #connection: DatabaseConnection;
  readonly #options: RunOptions & RunHooks;
  #session: RunSession;
  /** The file whose notices are coming in. */
  #currentFile = "";

  private constructor(
    connection: DatabaseConnection,
    options: RunOptions & RunHooks,
    session: RunSession,
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#session = session;
    this.#forwardNotices();
  }

  static async open(
    connection: DatabaseConnection,
    options: RunOptions & RunHooks,
  ): Promise<MigrationRun> {
    const session = await openSession(connection, options.lockTimeoutMs);
    return new MigrationRun(connection, options, session);
  }

  async close(): Promise<void> {
    await closeSession(this.#session);
  }

  /** Applies those of the pending files that are selected. */
  async apply(
    files: readonly ParsedMigration[],
    select: ((file: ParsedMigration) => boolean) | undefined,
  ): Promise<{ applied: AppliedFile[]; adopted: string[]; schemaVersion: string | null }> {
    await this.#takeLock(this.#options.deadlineMs);
    await this.#prepare();
    const before = compareState(files, await readLedger(this.#client));
    refuseBrokenState(before);
    await this.#checkPrepared();

    const adopted = await this.#writeLedger(() => ensureLedger(this.#client));
    if (adopted.length > 0) this.#report({ kind: "adopted", versions: adopted });
    const pending = select === undefined ? before.pending : before.pending.filter(select);
    const applied = await this.#applyAll(pending);
    if (select === undefined && before.goneRepeatables.length > 0) {
      await this.#writeLedger(() => forgetRepeatables(this.#client, before.goneRepeatables));
    }
    const after = compareState(files, await readLedger(this.#client));
    return { applied, adopted, schemaVersion: after.schemaVersion };
  }

  async #applyAll(pending: readonly ParsedMigration[]): Promise<AppliedFile[]> {
    const applied: AppliedFile[] = [];
    for (const [index, file] of pending.entries()) {
      const { name } = file;
      this.#currentFile = name;
      this.#report({ kind: "file-started", name, number: index + 1, of: pending.length });
      const done = await this.#applyFile(file);
      applied.push(done);
      this.#report({ kind: "file-applied", name, durationMs: done.durationMs });
    }
    return applied;
  }

  /** Runs one file, again and again while it only meets locks, until the deadline. */
  async #applyFile(file: ParsedMigration): Promise<AppliedFile> {
    const start = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      const position: Position = { file, at: undefined };
      const attemptStart = performance.now();
      try {
        await (file.transactional ? this.#runInTransaction(position) : this.#runAlone(position));
      } catch (error) {
        if (this.#options.signal?.aborted === true) throw interrupted(position, error);
        if (isConnectionLoss(error)) {
          if (!(await this.#wasCommitted(file, error))) throw lost(position, error);
        } else if (mayRetry(error)) {
          await this.#giveWay(position, { error, attempt, spentMs: performance.now() - start });
          continue;
        } else {
          throw failed(position, error);
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

  async #runInTransaction(position: Position): Promise<void> {
    const { file } = position;
    const start = performance.now();
    await this.#prepare();
    await this.#client.query("DISCARD TEMP");
    await this.#client.query("BEGIN");
    try {
      await this.#options.beforeFile?.(this.#client, file);
      for (const [index, statement] of file.statements.entries()) {
        this.#enter(position, statement, index + 1);
        await this.#query(position, statement);
      }
      // What fails from here on is the file as a whole: a deferred constraint, mostly.
      position.at = undefined;
      await this.#client.query("SET CONSTRAINTS ALL IMMEDIATE");
      await this.#prepare();
      await this.#record(file, start);
      await this.#client.query("COMMIT");
    } catch (error) {
      if (!isConnectionLoss(error)) await this.#client.query("ROLLBACK");
      throw error;
    }
  }

  /** For the one statement that refuses a transaction, mostly CREATE INDEX CONCURRENTLY. */
  async #runAlone(position: Position): Promise<void> {
    const { file } = position;
    const [statement] = file.statements;
    const start = performance.now();
    const index = statement === undefined ? undefined : concurrentIndexOf(statement.text);
    // CONCURRENTLY waits with locks that let readers and writers pass, so it may take its time.
    const patient = statement?.head.includes("CONCURRENTLY") === true;
    await this.#prepare(patient ? this.#options.deadlineMs : this.#options.lockTimeoutMs);
    await this.#options.beforeFile?.(this.#client, file);
    if (statement !== undefined) {
      this.#enter(position, statement, 1);
      if (index !== undefined) {
        const drop = (): Promise<boolean> => dropInvalidIndex(this.#client, index);
        const dropped = await this.#watched(position, drop);
        if (dropped) this.#report({ kind: "index-dropped", name: file.name, index: index.index });
      }
      try {
        await this.#query(position, statement);
      } catch (error) {
        if (index !== undefined && !isConnectionLoss(error)) {
          // What cannot be dropped at once, the next attempt or run drops.
          await this.#prepare();
          await dropInvalidIndex(this.#client, index).catch(() => undefined);
        }
        throw error;
      }
      if (index !== undefined) await checkIndexBuilt(this.#client, index);
    }
    await this.#prepare();
    await this.#record(file, start);
  }

  #enter(position: Position, statement: Statement, number: number): void {
    position.at = { statement, number };
    this.#report({
      kind: "statement-started",
      name: position.file.name,
      line: statement.line,
      number,
      of: position.file.statements.length,
    });
  }

  async #query(position: Position, statement: Statement): Promise<void> {
    const start = performance.now();
    await this.#watched(position, () => this.#client.query(statement.text));
    const durationMs = Math.round(performance.now() - start);
    await this.#options.afterStatement?.(this.#client, position.file, { statement, durationMs });
  }

  /** Does something that may have to wait, telling for whom, and can be cancelled. */
  async #watched<T>({ file, at }: Position, action: () => Promise<T>): Promise<T> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const { watch } = this.#session;
    const cancel = (): void => void watch.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    let told = -Infinity;
    try {
      return await watch.during(action, ({ blockers }, waitedMs) => {
        if (waitedMs - told < blockedReportMs) return;
        told = waitedMs;
        const line = at?.statement.line ?? 1;
        this.#report({ kind: "blocked", name: file.name, line, waitedMs, blockers });
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Pauses before the next attempt. @throws CtmError `migration-blocked` after the deadline */
  async #giveWay(
    position: Position,
    found: { error: unknown; attempt: number; spentMs: number },
  ): Promise<void> {
    const leftMs = this.#options.deadlineMs - found.spentMs;
    if (leftMs <= 0) throw blocked(position, { ...found, seen: this.#watch.last });
    const delayMs = Math.min(pauseMs(found.attempt), leftMs);
    this.#report({
      kind: "retrying",
      name: position.file.name,
      line: position.at?.statement.line ?? 1,
      attempt: found.attempt + 1,
      delayMs,
      why: this.#why(found.error),
    });
    try {
      await delay(delayMs, undefined, this.#delayOptions);
    } catch (error) {
      throw interrupted(position, error);
    }
  }

  async #record(file: ParsedMigration, start: number): Promise<void> {
    const entry = {
      checksum: file.sha256,
      durationMs: Math.round(performance.now() - start),
      gitRevision: this.#options.gitRevision,
      actor: this.#options.actor,
    };
    const { version, description } = file;
    await (version === null
      ? recordRepeatable(this.#client, file.name, entry)
      : recordMigration(this.#client, { version, description }, entry));
  }

  /**
   * After a lost connection: connects again, waits until the server has ended the old session
   * (which holds the run's lock until then), and reads whether the file was committed.
   *
   * @throws CtmError `connection-lost` when it cannot be found out
   */
  async #wasCommitted(file: ParsedMigration, cause: unknown): Promise<boolean> {
    this.#report({ kind: "connection-lost", name: file.name, message: messageOf(cause) });
    await this.close();
    const { lockTimeoutMs, deadlineMs } = this.#options;
    const deadline = performance.now() + Math.min(reconnectDeadlineMs, deadlineMs);
    try {
      this.#session = await reopenSession(this.#connection, lockTimeoutMs, deadline);
      this.#forwardNotices();
      await this.#takeLock(Math.max(0, deadline - performance.now()));
      await this.#prepare();
      const ledger = await readLedger(this.#client);
      return file.version === null
        ? ledger.repeatables.some((row) => row.name === file.name && row.checksum === file.sha256)
        : ledger.applied.some((row) => row.version === file.version);
    } catch (error) {
      throw unknownAfterLoss(file, cause, error);
    }
  }

  /** @throws CtmError `database-not-prepared` when roles or extensions of this project lack */
  async #checkPrepared(): Promise<void> {
    if (this.#options.folder !== databaseFolder) return;
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

  /** A short transaction on the ledger, retried like a file when it meets locks. */
  async #writeLedger<T>(action: () => Promise<T>): Promise<T> {
    const start = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      await this.#prepare();
      await this.#client.query("BEGIN");
      try {
        const value = await this.#watch.during(action, () => undefined);
        await this.#client.query("COMMIT");
        return value;
      } catch (error) {
        if (!isConnectionLoss(error)) await this.#client.query("ROLLBACK");
        const leftMs = this.#options.deadlineMs - (performance.now() - start);
        if (mayRetry(error) && leftMs > 0) {
          await delay(Math.min(pauseMs(attempt), leftMs), undefined, this.#delayOptions);
          continue;
        }
        throw new CtmError(
          "ledger-failed",
          `schema_migrations could not be written: ${messageOf(error)}`,
          {
            next: mayRetry(error)
              ? endBlockers(this.#watch.last)
              : "apply database/roles.sql as a superuser, which hands the schema to ctm_owner, then ctm migrate up",
            cause: error,
          },
        );
      }
    }
  }

  async #takeLock(deadlineMs: number): Promise<void> {
    await takeRunLock(this.#client, {
      deadlineMs,
      signal: this.#options.signal,
      onProgress: (progress) => this.#report(progress),
    });
  }

  async #prepare(lockTimeoutMs: number = this.#options.lockTimeoutMs): Promise<void> {
    await prepareSession(this.#client, this.#connection, lockTimeoutMs);
  }

  #why(error: unknown): string {
    const seen = this.#watch.last;
    if (!(error instanceof DatabaseError)) return messageOf(error);
    if (error.code !== "55P03" || seen === undefined) return error.message;
    return `waiting ${this.#options.lockTimeoutMs} ms for ${describeBlocked(seen)}`;
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

  #report(progress: MigrationProgress): void {
    this.#options.onProgress(progress);
  }

  get #client(): Client {
    return this.#session.client;
  }

  get #watch(): BlockerWatch {
    return this.#session.watch;
  }

  get #delayOptions(): { signal?: AbortSignal } {
    const { signal } = this.#options;
    return signal === undefined ? {} : { signal };
  }
}
