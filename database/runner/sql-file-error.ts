import { CtmError } from "#system";

/** What is wrong in one place of a file: for those who show it there. */
export class SqlFileError extends CtmError {
  readonly file: string;
  /** Counted from 1; null for the file as a whole. */
  readonly line: number | null;
  /** What is wrong, without the place. */
  readonly what: string;

  constructor(
    code: string,
    place: { file: string; line: number | null; what: string },
    options: { next: string; exitCode?: 1 | 2; message?: string; cause?: unknown },
  ) {
    const { file, line, what } = place;
    const { message = `${file}${line === null ? "" : `:${line}`}: ${what}`, ...others } = options;
    super(code, message, others);
    this.file = file;
    this.line = line;
    this.what = what;
  }
}
