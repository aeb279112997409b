/**
 * An error that a person can act on: a stable code, what was wrong and where, and the next step.
 * Everything that a user can cause is thrown as one of these; anything else is a defect of ours
 * and keeps its stack trace.
 */
export class CtmError extends Error {
  /** Stable kebab-case identifier, part of the contract with scripts. */
  readonly code: string;
  /** The next thing to do: a command, or a short instruction. */
  readonly next: string | undefined;
  /** 1 failed, 2 wrong usage or refused, 3 a check found a problem. */
  readonly exitCode: 1 | 2 | 3;

  constructor(
    code: string,
    what: string,
    options: { next?: string; exitCode?: 1 | 2 | 3; cause?: unknown } = {},
  ) {
    super(what, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "CtmError";
    this.code = code;
    this.next = options.next;
    this.exitCode = options.exitCode ?? 1;
  }

  /** The two lines that people see: `code: what`, then `next: step`. */
  get text(): string {
    return `${this.code}: ${this.message}${this.next === undefined ? "" : `\nnext: ${this.next}`}`;
  }
}

/** The message of anything that was thrown, for joining into an error of ours. */
export function messageOf(error: unknown): string {
  if (error instanceof CtmError) return error.text;
  return error instanceof Error ? error.message : String(error);
}
