import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { messageOf, systemErrorCode } from "../errors.ts";
import type { QueryHandler, ServerMessage, Session, TransactionStatus } from "../server/session.ts";
import { Conditions, type PendingQuery } from "./conditions.ts";
import { type PrintOptions, UnalignedPrinter, pgProveOptions } from "./printer.ts";
import { type Location, QueryBuffer } from "./query-buffer.ts";
import { BacktickArgument, Scanner } from "./scanner.ts";
import { Source } from "./source.ts";
import { MetaCommandError, Variables, parseBoolean } from "./variables.ts";

/** A statement of a test file. */
export interface Statement {
  /** As it was sent, variables put in. */
  sql: string;
  location: Location;
  /** Its first two words in lower case. */
  words: readonly [string, string];
}

/** Something that went wrong in a script, with its place. */
export interface ScriptError {
  message: string;
  location: Location | undefined;
  /** The statement that failed; undefined for a backslash command. */
  statement: Statement | undefined;
  server: ServerMessage | undefined;
}

/** What a finished statement did to the transaction. */
export interface StatementReport {
  statement: Statement;
  before: TransactionStatus;
  after: TransactionStatus;
  /** One command tag for each statement of the query: `INSERT 0 1`. */
  tags: readonly string[];
  /** SQLSTATE codes of its notices. */
  noticeCodes: readonly string[];
  failed: boolean;
}

/** What a script produces, in order. */
export interface ScriptListener {
  /** Standard output, in pieces of any size. */
  onText(text: string, statement: Statement | undefined): void;
  /** What psql would write to standard error of its own accord. */
  onWarning(text: string, location: Location | undefined): void;
  onNotice(notice: ServerMessage, statement: Statement): void;
  /** An error that the script lives on from: ON_ERROR_STOP is off. */
  onTolerated(error: ScriptError): void;
  onStatement(report: StatementReport): void;
}

export interface ScriptOptions {
  /** psql variables set from outside (`--set`). */
  variables?: Readonly<Record<string, string>>;
  /** Where `\i` looks for files. */
  workingDirectory: string;
  /** Statements answered without the server: returns true when nothing is to be sent. */
  skip?: (statement: Statement) => boolean;
}

/** The script uses something of psql that is not done here: psql has to run it. */
export class NeedsPsql extends Error {
  readonly location: Location | undefined;

  constructor(what: string, location: Location | undefined) {
    super(what);
    this.location = location;
  }
}

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

/** Every backslash command of psql 18, but those that begin with d. */
const psqlCommands: ReadonlySet<string> = new Set(
  (
    "! ? C H T a bind bind_named c cd close_prepared conninfo connect copy copyright crosstabview " +
    "e echo ed edit ef elif else encoding endif endpipeline errverbose ev f flush flushrequest g " +
    "gdesc getenv getresults gexec gset gx h help html i if include include_relative ir l l+ list " +
    "list+ lo_export lo_import lo_list lo_unlink o out p parse password print prompt pset q qecho " +
    "quit r reset restrict s sendpipeline set setenv sf sf+ startpipeline sv sv+ syncpipeline t " +
    "timing unrestrict unset w warn watch write x z zS"
  ).split(" "),
);

/** Psql sets these after each query: a script that reads them runs in lockstep. */
const lockstepPattern =
  /:['"{?]*(?:ROW_COUNT|ERROR|SQLSTATE|LAST_ERROR_\w+)\b|standard_conforming_strings/i;

/** Enough to keep the server busy; little enough to stop soon after an error. */
const windowSize = 64;

/**
 * Runs a psql script on a session: statements, variables and the backslash commands that tests
 * use, with the output that `psql --no-align --quiet --tuples-only` would give.
 *
 * Inside a transaction, statements are sent without waiting for the answers of those before them.
 * That changes nothing but the time it takes: once one fails, the server refuses the rest.
 */
export class Script {
  readonly #session: Session;
  readonly #listener: ScriptListener;
  readonly #options: ScriptOptions;
  readonly #variables: Variables;
  readonly #print: PrintOptions = { ...pgProveOptions };
  #lockstep = false;
  #underWay = 0;
  #waiting: { atMost: number; wake: () => void } | undefined;
  #error: ScriptError | undefined;
  #failure: unknown;
  #previous: Query | undefined;

  constructor(session: Session, listener: ScriptListener, options: ScriptOptions) {
    this.#session = session;
    this.#listener = listener;
    this.#options = options;
    this.#variables = new Variables({
      ...serverVariables(session),
      QUIET: "1",
      ON_ERROR_STOP: "1",
      ...options.variables,
    });
  }

  /**
   * Runs a file to its end or to the first error.
   *
   * @returns the error that stopped it, or undefined
   * @throws NeedsPsql, ConnectionLost
   */
  async run(source: Source, directory: string): Promise<ScriptError | undefined> {
    try {
      await this.#runSource(source, directory);
      await this.#drain();
    } catch (error) {
      // Let the answers that are still to come go where they belong, before the session is reused.
      await this.#untilUnderWay(0);
      if (!(error instanceof Stopped)) throw error;
    }
    return this.#error;
  }

  async #runSource(source: Source, directory: string): Promise<void> {
    this.#lockstep ||= lockstepPattern.test(source.text);
    const conditions = new Conditions();
    const buffer = new QueryBuffer();
    const scanner = new Scanner(
      (name) => (conditions.active ? this.#variables.get(name) : undefined),
      () => this.#session.parameter("standard_conforming_strings") !== "off",
      (text) => this.#listener.onWarning(text, { file: source.path, line: source.line, column: 1 }),
    );
    const frame: Frame = { source, directory, conditions, buffer, scanner };
    for (let line = source.next(); line !== undefined; line = source.next()) {
      if (line === "" && !scanner.insideQuote) continue;
      if (this.#variables.get("ECHO") === "all") {
        await this.#drain();
        this.#listener.onText(`${line}\n`, undefined);
      }
      let newlineAt = -1;
      if (buffer.length > 0) {
        buffer.appendNewline();
        newlineAt = buffer.length;
      }
      scanner.feed(line, { file: source.path, line: source.line, column: 1 });
      if ((await this.#runLine(frame, newlineAt)) === "quit") return;
    }
    // psql sends what is left at the end of a file, semicolon or not.
    if (buffer.length > 0 && conditions.active) await this.#send(this.#gathered(frame), source);
    if (conditions.open) {
      await this.#drain();
      this.#stop("reached EOF without finding closing \\endif(s)", {
        file: source.path,
        line: source.line,
        column: 1,
      });
    }
  }

  async #runLine(frame: Frame, newlineAt: number): Promise<"quit" | undefined> {
    const { buffer, scanner, conditions, source } = frame;
    for (;;) {
      const stop = scanner.scan(buffer);
      if (stop === "end-of-line") return undefined;
      if (stop === "semicolon") {
        if (conditions.active) await this.#send(this.#gathered(frame), source);
        scanner.statementTaken();
        continue;
      }
      // A command on a line of its own leaves no newline in the statement around it.
      if (buffer.length === newlineAt) buffer.truncate(newlineAt - 1);
      const location = { file: source.path, line: source.line, column: 1 };
      await this.#drain();
      try {
        if ((await this.#command(frame, location)) === "quit") return "quit";
      } catch (error) {
        if (error instanceof BacktickArgument) {
          throw new NeedsPsql("a shell command in backticks", location);
        }
        if (!(error instanceof MetaCommandError)) throw error;
        scanner.skipLine();
        this.#stop(error.message, location);
      }
    }
  }

  // Statements.

  /** Takes the statement that has been gathered. */
  #gathered(frame: Frame): Query {
    const { buffer, scanner, source } = frame;
    const query = makeQuery(buffer.snapshot(), scanner.several, source);
    buffer.clear();
    this.#previous = query;
    return query;
  }

  async #send(query: Query, source: Source, extra: Extra = {}): Promise<void> {
    const { statement } = query;
    const { sql, words, location } = statement;
    if (this.#options.skip?.(statement) === true) return;
    if (!this.#variables.isOn("AUTOCOMMIT")) throw new NeedsPsql("AUTOCOMMIT off", location);
    const stopOnError = this.#variables.isOn("ON_ERROR_STOP");
    if (!stopOnError && this.#variables.isOn("ON_ERROR_ROLLBACK")) {
      throw new NeedsPsql("ON_ERROR_ROLLBACK without ON_ERROR_STOP", location);
    }
    const mayRunAhead =
      !this.#lockstep &&
      stopOnError &&
      !query.several &&
      extra.rows === undefined &&
      !lonely.has(words[0]) &&
      !(words[0] === "prepare" && words[1] === "transaction");
    if (!mayRunAhead) await this.#drain();
    if (this.#variables.get("ECHO") === "queries") {
      await this.#drain();
      this.#listener.onText(`${sql}\n`, undefined);
    }
    this.#underWay += 1;
    void this.#exchange(query, source, extra)
      .catch((error: unknown) => (this.#failure ??= error))
      .finally(() => this.#answered());
    // Outside a transaction each statement commits, so nothing may run ahead of an error.
    if (!mayRunAhead || this.#session.status !== "T") await this.#drain();
    else if (this.#underWay >= windowSize) await this.#untilUnderWay(windowSize / 2);
    this.#raise();
  }

  async #exchange(query: Query, source: Source, extra: Extra): Promise<void> {
    const { statement, buffer } = query;
    const quiet = this.#variables.isOn("QUIET");
    const tags: string[] = [];
    const noticeCodes: string[] = [];
    let printer: UnalignedPrinter | undefined;
    let hasRows = false;
    let copiedOut = false;
    const write = (text: string): void => this.#listener.onText(text, statement);
    const handler: QueryHandler = {
      onColumns: (names) => {
        hasRows = true;
        if (extra.rows !== undefined) {
          extra.rows.onColumns?.(names);
          return;
        }
        printer = new UnalignedPrinter(this.#print, write);
        printer.start(names);
      },
      onRow: (values) => {
        extra.rows?.onRow?.(values);
        printer?.row(values);
      },
      onComplete: (tag) => {
        tags.push(tag);
        printer?.end();
        printer = undefined;
        this.#variables.set("ROW_COUNT", /(\d+)$/.exec(tag)?.[1] ?? "0");
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
      onCopyIn: () => extra.copyFrom ?? source.copyRows(),
    };
    const before = this.#underWay > 1 ? "T" : this.#session.status;
    const outcome = await this.#session.send(buffer.text, handler);
    const failed = outcome.error !== undefined;
    this.#variables.set("ERROR", String(failed));
    this.#variables.set("SQLSTATE", outcome.error?.code ?? "00000");
    this.#listener.onStatement({
      statement,
      before,
      after: outcome.status,
      tags,
      noticeCodes,
      failed,
    });
    // Statements behind the first failure only report that the transaction is aborted.
    if (outcome.error === undefined || this.#error !== undefined) return;
    this.#variables.set("ROW_COUNT", "0");
    this.#variables.set("LAST_ERROR_MESSAGE", outcome.error.message);
    this.#variables.set("LAST_ERROR_SQLSTATE", outcome.error.code);
    const { position, message } = outcome.error;
    const error: ScriptError = {
      message,
      location:
        (position === undefined ? undefined : buffer.locate(position)) ?? statement.location,
      statement,
      server: outcome.error,
    };
    if (this.#variables.isOn("ON_ERROR_STOP")) this.#error = error;
    else this.#listener.onTolerated(error);
  }

  #answered(): void {
    this.#underWay -= 1;
    if (this.#waiting === undefined || this.#underWay > this.#waiting.atMost) return;
    this.#waiting.wake();
    this.#waiting = undefined;
  }

  async #untilUnderWay(atMost: number): Promise<void> {
    if (this.#underWay <= atMost) return;
    await new Promise<void>((wake) => {
      this.#waiting = { atMost, wake };
    });
  }

  /** Waits for every answer; throws what went wrong meanwhile. */
  async #drain(): Promise<void> {
    await this.#untilUnderWay(0);
    this.#raise();
  }

  #raise(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#error !== undefined) throw new Stopped();
  }

  /** An error that the server has no part in. */
  #stop(message: string, location: Location): void {
    const error: ScriptError = { message, location, statement: undefined, server: undefined };
    if (!this.#variables.isOn("ON_ERROR_STOP")) {
      this.#listener.onTolerated(error);
      return;
    }
    this.#error = error;
    throw new Stopped();
  }

  // Backslash commands. Each name is psql's.

  async #command(frame: Frame, location: Location): Promise<"quit" | undefined> {
    const { scanner, conditions } = frame;
    const name = scanner.readCommand();
    const branching = this.#branch(name, frame);
    if (!branching && !conditions.active) {
      // psql refuses a command that it does not know even in a branch that is not taken.
      if (!psqlCommands.has(name)) throw new NeedsPsql(`\\${name}`, location);
      while (scanner.readArgument("normal", false) !== undefined);
      scanner.endCommand();
      return undefined;
    }
    let result: "quit" | undefined;
    if (!branching) result = await this.#activeCommand(name, frame, location);
    for (;;) {
      const extra = scanner.readArgument("normal", conditions.active);
      if (extra === undefined) break;
      if (conditions.active) {
        this.#listener.onWarning(`\\${name}: extra argument "${extra.text}" ignored`, location);
      }
    }
    scanner.endCommand();
    return result;
  }

  #branch(name: string, frame: Frame): boolean {
    const { scanner, conditions, buffer } = frame;
    const pending: PendingQuery = {
      length: buffer.length,
      parentheses: scanner.parentheses,
      restore: (length, parentheses) => {
        buffer.truncate(length);
        scanner.parentheses = parentheses;
      },
    };
    const evaluate = (active: boolean): boolean => {
      const words: string[] = [];
      for (;;) {
        const word = scanner.readArgument("normal", active);
        if (word === undefined) break;
        words.push(word.text);
      }
      if (!active) return false;
      const value = parseBoolean(words.join(" "));
      if (value === undefined) {
        this.#listener.onWarning(
          `unrecognized value "${words.join(" ")}" for "\\${name} expression": Boolean expected`,
          undefined,
        );
      }
      return value ?? false;
    };
    switch (name) {
      case "if":
        conditions.if(pending, evaluate);
        return true;
      case "elif":
        conditions.elif(pending, evaluate);
        return true;
      case "else":
        conditions.else(pending);
        return true;
      case "endif":
        conditions.endif(pending);
        return true;
      default:
        return false;
    }
  }

  async #activeCommand(
    name: string,
    frame: Frame,
    location: Location,
  ): Promise<"quit" | undefined> {
    const { scanner, buffer } = frame;
    const needsPsql = (what: string): NeedsPsql => new NeedsPsql(what, location);
    const argument = (): string | undefined => scanner.readArgument("normal")?.text;
    const required = (): string => {
      const value = argument();
      if (value === undefined) {
        throw new MetaCommandError(`\\${name}: missing required argument`);
      }
      return value;
    };
    switch (name) {
      case "set":
        this.#set(argument, needsPsql);
        return undefined;
      case "unset":
        this.#variables.unset(required());
        return undefined;
      case "getenv": {
        const variable = required();
        const value = process.env[required()];
        if (value !== undefined) this.#variables.set(variable, value);
        return undefined;
      }
      case "pset":
        this.#pset(argument(), argument(), needsPsql);
        return undefined;
      case "t":
        this.#pset("tuples_only", argument(), needsPsql);
        return undefined;
      case "f":
        this.#pset("fieldsep", argument(), needsPsql);
        return undefined;
      case "C":
        this.#pset("title", argument(), needsPsql);
        return undefined;
      case "x":
        this.#pset("expanded", argument(), needsPsql);
        return undefined;
      case "timing":
        if (parseBoolean(argument() ?? "on") !== false) throw needsPsql("\\timing");
        return undefined;
      case "echo":
      case "qecho":
      case "warn":
        this.#echo(name, frame, location);
        return undefined;
      case "i":
      case "include":
      case "ir":
      case "include_relative":
        await this.#include(required(), /^(ir|include_relative)$/.test(name), frame, needsPsql);
        return undefined;
      case "g":
        if (argument() !== undefined) throw needsPsql("\\g with an argument");
        await this.#go(frame, {});
        return undefined;
      case "gset":
        await this.#gset(argument() ?? "", frame, location);
        return undefined;
      case "gexec":
        await this.#gexec(frame, location);
        return undefined;
      case "copy":
        await this.#copy(frame, location);
        return undefined;
      case "r":
      case "reset":
        buffer.clear();
        scanner.reset();
        if (!this.#variables.isOn("QUIET")) {
          this.#listener.onText("Query buffer reset (cleared).\n", undefined);
        }
        return undefined;
      case "encoding":
        if (!/^(utf-?8|unicode)$/i.test(argument() ?? "")) throw needsPsql("\\encoding");
        return undefined;
      case "errverbose":
        return undefined;
      case "q":
      case "quit":
        return "quit";
      default:
        throw needsPsql(`\\${name}`);
    }
  }

  #set(argument: () => string | undefined, needsPsql: (what: string) => NeedsPsql): void {
    const variable = argument();
    if (variable === undefined) throw needsPsql("\\set without a name");
    let value = "";
    for (let part = argument(); part !== undefined; part = argument()) value += part;
    this.#variables.set(variable, value);
    if (this.#variables.isOn("SINGLELINE") || this.#variables.isOn("SINGLESTEP")) {
      throw needsPsql(variable);
    }
  }

  #pset(
    option: string | undefined,
    value: string | undefined,
    needsPsql: (what: string) => NeedsPsql,
  ): void {
    const print = this.#print;
    const flag = (now: boolean): boolean => {
      if (value === undefined) return !now;
      const parsed = parseBoolean(value);
      if (parsed === undefined) {
        throw new MetaCommandError(
          `unrecognized value "${value}" for "\\pset ${option}": Boolean expected`,
        );
      }
      return parsed;
    };
    // With QUIET off, psql says what has been set.
    if (option === undefined || !this.#variables.isOn("QUIET")) throw needsPsql("\\pset");
    switch (option) {
      case "format":
        if (value !== undefined && value !== "" && "unaligned".startsWith(value)) return;
        throw needsPsql("\\pset format");
      case "tuples_only":
      case "t":
        print.tuplesOnly = flag(print.tuplesOnly);
        return;
      case "footer":
        print.footer = flag(print.footer);
        return;
      case "fieldsep":
        if (value !== undefined) print.fieldSeparator = value;
        return;
      case "fieldsep_zero":
        print.fieldSeparator = "\0";
        return;
      case "recordsep":
        if (value !== undefined) print.recordSeparator = value;
        return;
      case "recordsep_zero":
        print.recordSeparator = "\0";
        return;
      case "null":
        if (value !== undefined) print.nullText = value;
        return;
      case "title":
      case "C":
        print.title = value;
        return;
      case "expanded":
      case "x":
      case "vertical":
        if (value !== undefined && parseBoolean(value) === false) return;
        throw needsPsql("\\pset expanded");
      case "numericlocale":
        if (value !== undefined && parseBoolean(value) === false) return;
        throw needsPsql("\\pset numericlocale");
      case "pager":
      case "pager_min_lines":
      case "border":
      case "columns":
      case "linestyle":
      case "tableattr":
      case "T":
      case "csv_fieldsep":
      case "unicode_border_linestyle":
      case "unicode_column_linestyle":
      case "unicode_header_linestyle":
        // No effect on unaligned output that does not go to a terminal.
        return;
      default:
        throw needsPsql(`\\pset ${option}`);
    }
  }

  #echo(name: string, frame: Frame, location: Location): void {
    const words: string[] = [];
    let newline = "\n";
    for (;;) {
      const word = frame.scanner.readArgument("normal");
      if (word === undefined) break;
      if (word.text === "-n" && !word.quoted && words.length === 0 && newline !== "") newline = "";
      else words.push(word.text);
    }
    const text = words.join(" ") + newline;
    if (name === "warn") this.#listener.onWarning(text.trimEnd(), location);
    else this.#listener.onText(text, undefined);
  }

  async #include(
    named: string,
    relative: boolean,
    frame: Frame,
    needsPsql: (what: string) => NeedsPsql,
  ): Promise<void> {
    if (named === "-") throw needsPsql("\\i -");
    const path = named.startsWith("~/") ? join(homedir(), named.slice(2)) : named;
    const file = isAbsolute(path)
      ? path
      : relative
        ? join(frame.directory, path)
        : resolve(this.#options.workingDirectory, path);
    const shown = isAbsolute(path) || !relative ? path : join(dirname(frame.source.path), path);
    let source: Source;
    try {
      source = Source.read(file, shown);
    } catch (error) {
      const why =
        systemErrorCode(error) === "ENOENT" ? "No such file or directory" : messageOf(error);
      throw new MetaCommandError(`${named}: ${why}`);
    }
    await this.#runSource(source, dirname(file));
    await this.#drain();
  }

  /** Sends what has been gathered, or the previous statement again when that is nothing. */
  async #go(frame: Frame, extra: Extra): Promise<void> {
    const query = frame.buffer.length === 0 ? this.#previous : this.#gathered(frame);
    frame.scanner.reset();
    if (query === undefined) return;
    await this.#send(query, frame.source, extra);
    await this.#drain();
  }

  async #gset(prefix: string, frame: Frame, location: Location): Promise<void> {
    let names: string[] = [];
    let count = 0;
    let values: (string | null)[] = [];
    let hasResult = false;
    await this.#go(frame, {
      rows: {
        onColumns: (columns) => {
          names = columns;
          count = 0;
          hasResult = true;
        },
        onRow: (row) => {
          count += 1;
          values = row;
        },
      },
    });
    if (!hasResult) return;
    if (count === 0) throw new MetaCommandError("no rows returned for \\gset");
    if (count > 1) throw new MetaCommandError("more than one row returned for \\gset");
    for (const [index, column] of names.entries()) {
      const variable = prefix + column;
      if (this.#variables.isSpecial(variable)) {
        this.#listener.onWarning(
          `attempt to \\gset into specially treated variable "${variable}" ignored`,
          location,
        );
        continue;
      }
      const value = values[index];
      if (value === null || value === undefined) this.#variables.unset(variable);
      else this.#variables.set(variable, value);
    }
  }

  /** Runs every value of the result as a statement of its own. */
  async #gexec(frame: Frame, location: Location): Promise<void> {
    const texts: string[] = [];
    await this.#go(frame, {
      rows: {
        onRow: (row) => {
          for (const cell of row) if (cell !== null) texts.push(cell);
        },
      },
    });
    for (const text of texts) {
      await this.#send(substitutedQuery(text, frame.source, location), frame.source);
      await this.#drain();
    }
  }

  async #copy(frame: Frame, location: Location): Promise<void> {
    const text = frame.scanner.readArgument("whole-line")?.text.replace(/;$/, "") ?? "";
    const match =
      /^((?:\((?:[^'"()]|\([^()]*\))*\)|(?:"[^"]*"|[\w.$])+(?:\s*\([^()]*\))?))\s+from\s+('(?:[^']|'')*'|\S+)\s*([\s\S]*)$/i.exec(
        text,
      );
    const [, target, from, rest] = match ?? [];
    if (target === undefined || from === undefined || /^(program|pstdin|binary)$/i.test(from)) {
      throw new NeedsPsql("\\copy", location);
    }
    const sql = `COPY ${target} FROM STDIN ${rest ?? ""}`;
    const query = substitutedQuery(sql, frame.source, location);
    let copyFrom: Buffer[] | undefined;
    if (!/^stdin$/i.test(from)) {
      const path = from.startsWith("'") ? from.slice(1, -1).replace(/''/g, "'") : from;
      try {
        copyFrom = [readFileSync(resolve(this.#options.workingDirectory, path))];
      } catch (error) {
        throw new MetaCommandError(`${path}: ${messageOf(error)}`);
      }
    }
    await this.#send(query, frame.source, copyFrom === undefined ? {} : { copyFrom });
    await this.#drain();
  }
}

/** One file that is being run. */
interface Frame {
  source: Source;
  /** Where `\ir` looks for files. */
  directory: string;
  conditions: Conditions;
  buffer: QueryBuffer;
  scanner: Scanner;
}

/** A statement that is ready to be sent. */
interface Query {
  statement: Statement;
  buffer: QueryBuffer;
  /** It holds `\;`: several statements in one. */
  several: boolean;
}

interface Extra {
  /** Takes the rows in place of the printer. */
  rows?: Pick<QueryHandler, "onColumns" | "onRow">;
  /** What COPY … FROM STDIN gets in place of the lines that follow. */
  copyFrom?: readonly Buffer[];
}

/** Unwinds the script; why is in its error. */
class Stopped extends Error {}

const openingPattern =
  /^((?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*)([a-z_]*)(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*([a-z_]*)/i;

/** What comes before a statement's first word, and its first two words in lower case. */
export function openingWords(sql: string): { lead: string; words: readonly [string, string] } {
  const [, lead = "", first = "", second = ""] = openingPattern.exec(sql) ?? [];
  return { lead, words: [first.toLowerCase(), second.toLowerCase()] };
}

function makeQuery(buffer: QueryBuffer, several: boolean, source: Source): Query {
  const { lead, words } = openingWords(buffer.text);
  const location = buffer.locateOffset(lead.length) ?? {
    file: source.path,
    line: source.line,
    column: 1,
  };
  return {
    statement: { sql: buffer.text.slice(lead.length).trim(), location, words },
    buffer,
    several,
  };
}

/** A statement that does not stand in the file as it is sent. */
function substitutedQuery(sql: string, source: Source, location: Location): Query {
  const buffer = new QueryBuffer();
  buffer.append(sql, location, true);
  return makeQuery(buffer, false, source);
}

/** What psql knows about the server. */
function serverVariables(session: Session): Record<string, string> {
  const name = session.parameter("server_version") ?? "";
  const [major = "0", minor = "0"] = /^(\d+)(?:\.(\d+))?/.exec(name)?.slice(1) ?? [];
  const version = String(Number(major) * 10_000 + Number(minor));
  return {
    SERVER_VERSION_NAME: name,
    SERVER_VERSION_NUM: version,
    VERSION_NAME: name,
    VERSION_NUM: version,
    VERSION: `PostgreSQL ${name}`,
    ENCODING: "UTF8",
    ERROR: "false",
    SQLSTATE: "00000",
    ROW_COUNT: "0",
    LAST_ERROR_MESSAGE: "",
    LAST_ERROR_SQLSTATE: "00000",
  };
}
