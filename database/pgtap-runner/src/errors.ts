/**
 * An error that a person can act on: a stable code, what was wrong and where, and the next step.
 * Everything that a user can cause is thrown as one of these; anything else is a defect of ours.
 */
export class RunnerError extends Error {
  /** Stable kebab-case identifier; scripts may rely on it. */
  readonly code: string;
  /** The next thing to do: a command, or a short instruction. */
  readonly next: string | undefined;
  /** 1 the run could not be done, 2 wrong usage or refused, 3 tests failed. */
  readonly exitCode: 1 | 2 | 3;

  constructor(
    code: string,
    what: string,
    options: { next?: string; exitCode?: 1 | 2 | 3; cause?: unknown } = {},
  ) {
    super(what, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "RunnerError";
    this.code = code;
    this.next = options.next;
    this.exitCode = options.exitCode ?? 1;
  }

  /** The lines that people see: `code: what`, then `next: step`. */
  get text(): string {
    return `${this.code}: ${this.message}${this.next === undefined ? "" : `\nnext: ${this.next}`}`;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof RunnerError) return error.text;
  if (error instanceof AggregateError && error.message === "") {
    return error.errors.map(messageOf).join("; ");
  }
  return error instanceof Error ? error.message : String(error);
}

/** The code of a system error (`ENOENT`, `ECONNREFUSED` …), or undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** True for "no such file or directory", also when a parent is a file. */
export function isMissing(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}
