import { DatabaseError } from "pg";
import { CtmError, messageOf } from "#system";
import type { Blocked } from "./blockers.ts";
import type { ParsedMigration } from "./migration-files.ts";
import type { Statement } from "./split-statements.ts";
import { describeSqlFailure, lineOfFailure } from "./sql-failure.ts";
import { SqlFileError } from "./sql-file-error.ts";

/** Where a run is: in a statement of a file, or at the file's beginning or end. */
export interface Position {
  file: ParsedMigration;
  /** The running statement and its number, counted from 1; undefined outside of all. */
  at: { statement: Statement; number: number } | undefined;
}

/** lock_not_available, deadlock_detected, serialization_failure: worth another attempt. */
const givesWay = new Set(["55P03", "40P01", "40001"]);

/** dependent_objects_still_exist: mostly an object of somebody's own, which no file knows of. */
const hasDependents = "2BP01";

/** True when the same SQL may work in a moment. */
export function mayRetry(error: unknown): boolean {
  return error instanceof DatabaseError && givesWay.has(error.code ?? "");
}

/** The server refused a statement, or the file's COMMIT. */
export function failed(position: Position, error: unknown): unknown {
  if (error instanceof CtmError || !(error instanceof Error)) return error;
  const { file, at } = position;
  const next =
    error instanceof DatabaseError && error.code === hasDependents
      ? "drop what depends on it, which the detail names, then ctm migrate up; make it again afterwards"
      : `mend ${file.path}, then ctm migrate up`;
  if (at === undefined) {
    const what = describeWithoutPlace(error);
    const message = `${file.path}: ${what}\n${remains(file)}`;
    return new SqlFileError(
      "migration-failed",
      { file: file.path, line: null, what },
      { message, next, cause: error },
    );
  }
  const place = {
    file: file.path,
    source: file.source,
    statement: at.statement,
    number: at.number,
    of: file.statements.length,
  };
  const state = error instanceof DatabaseError ? ` (SQLSTATE ${error.code ?? "unknown"})` : "";
  return new SqlFileError(
    "migration-failed",
    { file: file.path, line: lineOfFailure(error, place), what: `${error.message}${state}` },
    { message: `${describeSqlFailure(error, place)}\n${remains(file)}`, next, cause: error },
  );
}

/** The file met locks until the deadline. */
export function blocked(
  position: Position,
  found: { error: unknown; spentMs: number; attempt: number; seen: Blocked | undefined },
): CtmError {
  const waited =
    found.seen === undefined ? messageOf(found.error) : `it needs ${describeBlocked(found.seen)}`;
  return new CtmError(
    "migration-blocked",
    `${where(position)} gave way ${found.attempt} times in ${Math.round(found.spentMs / 100) / 10} s: ${waited}; ${remains(position.file)}`,
    { next: endBlockers(found.seen), cause: found.error },
  );
}

/** The caller ended the run. */
export function interrupted(position: Position, cause: unknown): CtmError {
  return new CtmError("interrupted", `stopped at ${where(position)}; ${remains(position.file)}`, {
    next: "ctm migrate up goes on from there",
    cause,
  });
}

/** The connection was lost, and a new one showed that the file was not committed. */
export function lost(position: Position, error: unknown): CtmError {
  const { file } = position;
  return new CtmError(
    "connection-lost",
    `${where(position)}: ${messageOf(error)}; looked again on a new connection: ${file.name} is not applied${file.transactional ? " and nothing of it was kept" : ""}`,
    { next: "read the server's log for the reason, then ctm migrate up", cause: error },
  );
}

/** The connection was lost, and there is no new one to look. */
export function unknownAfterLoss(file: ParsedMigration, cause: unknown, error: unknown): CtmError {
  return new CtmError(
    "connection-lost",
    `the connection was lost during ${file.name} (${messageOf(cause)}), and it is not known whether the file was applied: ${messageOf(error)}`,
    {
      next: "ctm migrate status, once the server answers; ctm migrate up then goes on from there",
      cause: error,
    },
  );
}

/** "AccessExclusiveLock on tasks, held by pid 123 (…)". */
export function describeBlocked(seen: Blocked): string {
  const holders = seen.blockers.map((blocker) => blocker.text).join(", and ");
  return seen.lock === null ? `a lock held by ${holders}` : `${seen.lock}, held by ${holders}`;
}

/** What to do about the sessions that hold the lock. */
export function endBlockers(seen: Blocked | undefined): string {
  const pids = seen?.blockers.map((blocker) => blocker.pid).filter((pid) => pid !== 0) ?? [];
  if (pids.length === 0) return "ctm migrate up again when fewer sessions hold locks";
  return `wait for it to end, or end it (${pids.map((pid) => `SELECT pg_terminate_backend(${pid})`).join("; ")}), then ctm migrate up`;
}

function describeWithoutPlace(error: Error): string {
  if (!(error instanceof DatabaseError)) return error.message;
  const detail = error.detail === undefined ? "" : `\ndetail: ${error.detail}`;
  return `at its end: ${error.message} (SQLSTATE ${error.code ?? "unknown"})${detail}`;
}

function where({ file, at }: Position): string {
  return at === undefined ? file.path : `${file.path}:${at.statement.line}`;
}

function remains(file: ParsedMigration): string {
  return file.transactional
    ? `nothing of ${file.name} was kept`
    : `${file.name} is not recorded as applied`;
}
