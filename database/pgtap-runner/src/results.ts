import type { Location } from "./psql/query-buffer.ts";

export type { Location };

/** A way for a file to be red other than a failed assertion. The words are part of the API. */
export type ProblemCode =
  | "bail-out"
  | "connection-lost"
  | "file-unreadable"
  | "no-plan"
  | "no-tests"
  | "out-of-sequence"
  | "output-after-plan"
  | "plan-mismatch"
  | "plan-twice"
  | "psql-error"
  | "psql-missing"
  | "role-leaked"
  | "setting-leaked"
  | "sql-error"
  | "tap-version"
  | "timeout"
  | "transaction-ended-early"
  | "transaction-open";

export interface Problem {
  code: ProblemCode;
  /** What was wrong, in one line. */
  message: string;
  location?: Location | undefined;
  /** What to do about it, where that is not obvious. */
  next?: string | undefined;
  /** The statement concerned, and where in it the server points. */
  sql?: string | undefined;
  /** DETAIL, HINT and CONTEXT of the server. */
  detail?: readonly string[];
}

export interface Assertion {
  number: number;
  passed: boolean;
  description: string;
  directive?: { kind: "todo" | "skip"; reason: string } | undefined;
  /** The comment lines that follow it, without their `# `. */
  diagnostics: readonly string[];
  location?: Location | undefined;
  sql?: string | undefined;
  /** Failures inside it, when it stands for a subtest (`runtests()`). */
  subtests: readonly Assertion[];
}

/** A line of output that is no TAP, or what the server or psql had to say. */
export interface OutputLine {
  kind: "output" | "notice" | "warning";
  text: string;
  location?: Location | undefined;
}

export type FileStatus = "passed" | "failed" | "skipped" | "not-run";

export interface FileResult {
  /** As it was named, or found. */
  path: string;
  status: FileStatus;
  /** Why it was skipped or not run. */
  reason?: string | undefined;
  /** undefined: there was no plan. */
  planned: number | undefined;
  counts: Counts;
  /** Failed assertions, at most {@link keptFailures} of them. */
  failures: readonly Assertion[];
  /** TODO assertions that passed: the TODO may be dropped. */
  unexpectedlyPassed: readonly Assertion[];
  problems: readonly Problem[];
  /** The last lines of its output, for a file that failed or when asked for. */
  output: readonly OutputLine[];
  /** Lines of output before those that were kept. */
  outputOmitted: number;
  durationMs: number;
  /** Who interpreted psql's language. */
  interpreter: "native" | "psql";
}

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
  /** Failed, but marked as TODO: no failure. */
  todo: number;
}

export interface RunResult {
  /** Everything ran and everything passed. */
  passed: boolean;
  /** 0 passed; 1 something did not run; 3 tests failed. */
  exitCode: 0 | 1 | 3;
  files: readonly FileResult[];
  counts: Counts;
  /** Why the run ended before its end, if it did. */
  interrupted?: string | undefined;
  /** Problems of the run, not of one file: nothing ran, databases that could not be dropped. */
  problems: readonly string[];
  /** What did not change the verdict: a worker that had to give up. */
  warnings: readonly string[];
  /** That there were; more than one only where a copy more paid. */
  workers: number;
  durationMs: number;
}

/** Assertions and lines kept of one file, so that a file of any length takes the same memory. */
export const keptFailures = 50;
export const keptOutputLines = 200;

export function addCounts(sum: Counts, other: Counts): Counts {
  return {
    passed: sum.passed + other.passed,
    failed: sum.failed + other.failed,
    skipped: sum.skipped + other.skipped,
    todo: sum.todo + other.todo,
  };
}

export const noCounts: Readonly<Counts> = { passed: 0, failed: 0, skipped: 0, todo: 0 };
