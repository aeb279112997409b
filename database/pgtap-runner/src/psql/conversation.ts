import type { ConnectionLost, QueryHandler, QueryOutcome, Session } from "../server/session.ts";
import { NeedsPsql } from "./needs-psql.ts";
import { type PrintOptions, UnalignedPrinter } from "./printer.ts";
import type { Location } from "./query-buffer.ts";
import type { Query, ScriptError, ScriptListener, Statement } from "./statement.ts";
import type { Variables } from "./variables.ts";

/** Departures from sending a statement and printing what comes back. */
export interface SendOptions {
  /** Takes the rows in place of the printer. */
  rows?: Pick<QueryHandler, "onColumns" | "onRow">;
  /** What COPY … FROM STDIN reads. */
  copyFrom: () => Iterable<string | Buffer>;
}

/** Unwinds the script; why is in the conversation's error. */
export class Stopped extends Error {}

/** Statements that must be answered before anything else is sent. */
const lonely: ReadonlySet<string> = new Set([
  "abort",
  "begin",
  "commit",
  "copy",
  "end",
  "release",
  "rollback",
  "savepoint",
  "start",
]);

/** These need not be answered: nothing but a lost connection keeps them from what they do. */
const plainBegin = /^(begin(\s+(work|transaction))?|start\s+transaction)\s*;?$/i;
const plainRollback = /^(rollback|abort)(\s+(work|transaction))?\s*;?$/i;

/** Statements sent together, and how many may wait for their answers: two batches. */
const batchSize = 64;
const mostUnderWay = 2 * batchSize;

/**
 * Sends the statements of a script and prints their answers.
 *
 * Inside a transaction, statements are sent without waiting for the answers of those before them.
 * That changes nothing but the time it takes: once one fails, the server skips or refuses the rest.
 */
export class Conversation {
  readonly #session: Session;
  readonly #listener: ScriptListener;
  readonly #variables: Variables;
  readonly #print: PrintOptions;
  #underWay = 0;
  /** A BEGIN is under way: what follows is inside of its transaction, as far as we know. */
  #beginning = false;
  #waiting: { atMost: number; wake: () => void } | undefined;
  #error: ScriptError | undefined;
  #lost: { error: ConnectionLost; statement: Statement } | undefined;
  /** An error ends the script. psql looks at ON_ERROR_STOP once for each line that it reads. */
  stopOnError = true;
  /** Wait for each answer: the script looks at what the last one left in variables. */
  lockstep = false;

  constructor(
    session: Session,
    listener: ScriptListener,
    variables: Variables,
    print: PrintOptions,
  ) {
    this.#session = session;
    this.#listener = listener;
    this.#variables = variables;
    this.#print = print;
  }

  /** What stopped the script. */
  get error(): ScriptError | undefined {
    return this.#error;
  }

  /** The statement that was running when the connection was lost. */
  get lostAt(): Statement | undefined {
    return this.#lost?.statement;
  }

  /**
   * Sends a statement.
   *
   * @returns what to wait for before the next one, or undefined when it may follow at once
   * @throws NeedsPsql, Stopped, ConnectionLost
   */
  send(query: Query, options: SendOptions): Promise<void> | undefined {
    this.#raise();
    const { words, location } = query.statement;
    if (!this.#variables.isOn("AUTOCOMMIT")) throw new NeedsPsql("AUTOCOMMIT off", location);
    if (!this.stopOnError && this.#variables.isOn("ON_ERROR_ROLLBACK")) {
      throw new NeedsPsql("ON_ERROR_ROLLBACK without ON_ERROR_STOP", location);
    }
    const echo = this.#variables.get("ECHO") === "queries";
    const mayShareBatch =
      !this.lockstep && !echo && this.stopOnError && !query.several && options.rows === undefined;
    if (mayShareBatch && lonely.has(words[0])) {
      const { sql } = query.statement;
      if (this.#underWay === 0 && this.#session.status === "I" && plainBegin.test(sql)) {
        this.#exchange(query, options, true);
        this.#beginning = true;
        return undefined;
      }
      if (this.#underWay > 0 && plainRollback.test(sql)) {
        this.#exchange(query, options, true);
        return this.drain();
      }
    }
    const mayRunAhead =
      mayShareBatch &&
      !lonely.has(words[0]) &&
      !(words[0] === "prepare" && words[1] === "transaction");
    // Outside a transaction each statement commits, so nothing may run ahead of an error.
    if (mayRunAhead && (this.#session.status === "T" || this.#beginning)) {
      this.#exchange(query, options, true);
      // Only what is in one batch with BEGIN is sure not to run without it.
      if (this.#beginning) return this.#underWay < batchSize ? undefined : this.drain();
      return this.#underWay < mostUnderWay ? undefined : this.#untilUnderWay(batchSize);
    }
    return this.#sendAlone(query, options, echo);
  }

  async #sendAlone(query: Query, options: SendOptions, echo: boolean): Promise<void> {
    await this.drain();
    if (echo) this.#listener.onText(`${query.buffer.text}\n`, undefined);
    this.#exchange(query, options, false);
    await this.drain();
  }

  /** Waits for every answer; throws what went wrong meanwhile. */
  async drain(): Promise<void> {
    await this.#untilUnderWay(0);
    this.#raise();
  }

  /** Waits for every answer, whatever it is. */
  async settle(): Promise<void> {
    await this.#untilUnderWay(0);
  }

  /** An error that the server has no part in. */
  fail(message: string, location: Location): void {
    const error: ScriptError = { message, location, statement: undefined, server: undefined };
    if (!this.stopOnError) {
      this.#listener.onTolerated(error);
      return;
    }
    this.#error = error;
    throw new Stopped();
  }

  #raise(): void {
    if (this.#lost !== undefined) throw this.#lost.error;
    if (this.#error !== undefined) throw new Stopped();
  }

  #exchange(query: Query, options: SendOptions, ahead: boolean): void {
    const { statement } = query;
    const quiet = this.#variables.isOn("QUIET");
    const before = this.#underWay > 0 ? "T" : this.#session.status;
    const tags: string[] = [];
    const noticeCodes: string[] = [];
    let printer: UnalignedPrinter | undefined;
    let hasRows = false;
    let rowCount = "0";
    let copiedOut = false;
    const write = (text: string): void => this.#listener.onText(text, statement);
    this.#underWay += 1;
    const handler: QueryHandler = {
      onColumns: (names) => {
        hasRows = true;
        if (options.rows === undefined) {
          printer = new UnalignedPrinter(this.#print, write);
          printer.start(names);
        } else options.rows.onColumns?.(names);
      },
      onRow: (values) => {
        if (options.rows !== undefined) {
          options.rows.onRow?.(values);
          return;
        }
        printer ??= new UnalignedPrinter(this.#print, write);
        printer.row(values);
      },
      onComplete: (tag) => {
        tags.push(tag);
        // psql counts no rows that COPY wrote out.
        rowCount = (copiedOut ? undefined : /(\d+)$/.exec(tag)?.[1]) ?? "0";
        printer?.end();
        printer = undefined;
        const changesRows = /^(INSERT|UPDATE|DELETE)/.test(tag);
        if (!quiet && !copiedOut && (!hasRows || changesRows)) write(`${tag}\n`);
        hasRows = false;
        copiedOut = false;
      },
      onNotice: (notice) => {
        noticeCodes.push(notice.code);
        this.#listener.onNotice(notice, statement);
      },
      onCopyData: (chunk) => {
        copiedOut = true;
        write(chunk.toString("utf8"));
      },
      onCopyIn: options.copyFrom,
      onEnd: (outcome) => {
        const failed = outcome.error !== undefined;
        const { status: after } = outcome;
        this.#listener.onStatement({ statement, before, after, tags, noticeCodes, failed });
        this.#setResultVariables(outcome, rowCount);
        if (failed) this.#serverError(query, outcome);
        this.#answered();
      },
      onSkipped: () => this.#answered(),
      onLost: (error) => {
        this.#lost ??= { error, statement };
        this.#answered();
      },
    };
    const { text } = query.buffer;
    if (!ahead) this.#session.send(text, handler);
    else {
      // Names of columns are printed above rows, and tell what gave rows from what has a tag.
      const onlyRows = this.#print.tuplesOnly && quiet;
      const queued = this.#session.enqueue(text, handler, onlyRows);
      if (queued >= batchSize) this.#session.flush();
    }
  }

  #setResultVariables(outcome: QueryOutcome, rowCount: string): void {
    const { error } = outcome;
    // Nobody looks at them unless the script runs in lockstep.
    if (error === undefined && !this.lockstep) return;
    this.#variables.set("ROW_COUNT", error === undefined ? rowCount : "0");
    this.#variables.set("ERROR", error === undefined ? "false" : "true");
    this.#variables.set("SQLSTATE", error?.code ?? "00000");
    if (error === undefined) return;
    this.#variables.set("LAST_ERROR_MESSAGE", error.message);
    this.#variables.set("LAST_ERROR_SQLSTATE", error.code);
  }

  #serverError(query: Query, outcome: QueryOutcome): void {
    // Statements behind the first failure only report that the transaction is aborted.
    if (outcome.error === undefined || this.#error !== undefined) return;
    const { position, message } = outcome.error;
    const place = position === undefined ? undefined : query.buffer.locate(position);
    const error = {
      message,
      location: place ?? query.statement.location,
      statement: query.statement,
      server: outcome.error,
    };
    if (this.stopOnError) this.#error = error;
    else this.#listener.onTolerated(error);
  }

  #answered(): void {
    this.#underWay -= 1;
    if (this.#waiting === undefined || this.#underWay > this.#waiting.atMost) return;
    const { wake } = this.#waiting;
    this.#waiting = undefined;
    wake();
  }

  async #untilUnderWay(atMost: number): Promise<void> {
    this.#session.flush();
    if (this.#underWay > atMost) {
      await new Promise<void>((wake) => {
        this.#waiting = { atMost, wake };
      });
    }
    if (atMost === 0) this.#beginning = false;
  }
}
