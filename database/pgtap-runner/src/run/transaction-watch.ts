import type { StatementReport } from "../psql/statement.ts";
import type { Location, Problem } from "../results.ts";
import type { TransactionStatus } from "../server/session.ts";

/** Statements that leave nothing behind in a database, when they run outside a transaction. */
const harmless =
  /^(BEGIN|START TRANSACTION|COMMIT|ROLLBACK|SET|RESET|SHOW|DISCARD|DEALLOCATE|PREPARE|LISTEN|UNLISTEN|NOTIFY|LOAD|SET CONSTRAINTS)\b/;

/** duplicate_object: `CREATE EXTENSION IF NOT EXISTS` found it there. */
const alreadyThere = "42710";

/**
 * Follows what a file does with its transaction. A test's transaction is what keeps its changes
 * from the tests after it: it has to be there to the last assertion, and to end by ROLLBACK.
 */
export class TransactionWatch {
  #open: Location | undefined;
  #ended: Location | undefined;
  #committed: { location: Location; sql: string } | undefined;
  #testAfterEnd: { location: Location | undefined } | undefined;
  #outside = false;
  #changed = false;
  #status: TransactionStatus = "I";

  /** Something ran in no transaction, so that it may have left traces in the session. */
  get outside(): boolean {
    return this.#outside || this.#committed !== undefined;
  }

  /** Changes may have stayed in the database. */
  get changed(): boolean {
    return this.#changed || this.#committed !== undefined;
  }

  statement(report: StatementReport): void {
    const { before, after, tags, statement } = report;
    this.#status = after;
    if (before === "I" && after === "I") {
      if (tags.length === 0) return;
      if (tags.every((tag) => /^(BEGIN|COMMIT|ROLLBACK)\b/.test(tag))) return;
      this.#outside = true;
      this.#changed ||= tags.some((tag) => !harmless.test(tag) && !wasThere(tag, report));
      return;
    }
    if (before === "I") {
      this.#open = statement.location;
      return;
    }
    const commit = tags.includes("COMMIT") || tags.includes("PREPARE TRANSACTION");
    if (commit && before === "T") {
      this.#committed ??= { location: statement.location, sql: statement.sql };
    }
    if (after === "I") {
      this.#open = undefined;
      this.#ended = statement.location;
    }
  }

  /** A test has reported its result. */
  test(location: Location | undefined): void {
    if (this.#status === "I" && this.#ended !== undefined) this.#testAfterEnd ??= { location };
  }

  /** The file has come to its end by itself. */
  problems(): Problem[] {
    const problems: Problem[] = [];
    if (this.#committed !== undefined) {
      problems.push({
        code: "transaction-ended-early",
        message: "the transaction was committed: what it wrote stays for the files that follow",
        ...this.#committed,
        next: "end it with ROLLBACK, or give the file its own database: -- @isolate database",
      });
    } else if (this.#testAfterEnd !== undefined) {
      problems.push({
        code: "transaction-ended-early",
        message: `a test ran after the transaction had ended${at(this.#ended)}`,
        location: this.#testAfterEnd.location ?? this.#ended,
        next: "move ROLLBACK to the end of the file",
      });
    }
    if (this.#open !== undefined && this.#status !== "I") {
      problems.push({
        code: "transaction-open",
        message: "the file ends inside the transaction that it began",
        location: this.#open,
        next: "end the file with ROLLBACK",
      });
    }
    return problems;
  }
}

function at(location: Location | undefined): string {
  return location === undefined ? "" : ` at ${location.file}:${location.line}`;
}

function wasThere(tag: string, report: StatementReport): boolean {
  return tag === "CREATE EXTENSION" && report.noticeCodes.includes(alreadyThere);
}
