import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { messageOf, systemErrorCode } from "../errors.ts";
import type { Session } from "../server/session.ts";
import { Conditions, type PendingQuery } from "./conditions.ts";
import { Conversation, type SendOptions, Stopped } from "./conversation.ts";
import { NeedsPsql } from "./needs-psql.ts";
import { type PrintOptions, pgProveOptions } from "./printer.ts";
import { type Location, QueryBuffer } from "./query-buffer.ts";
import { BacktickArgument, Scanner } from "./scanner.ts";
import { Source } from "./source.ts";
import {
  type Query,
  type ScriptError,
  type ScriptListener,
  type Statement,
  makeQuery,
  substitutedQuery,
} from "./statement.ts";
import { MetaCommandError, Variables, parseBoolean } from "./variables.ts";

export interface ScriptOptions {
  /** psql variables set from outside (`--set`). */
  variables?: Readonly<Record<string, string>>;
  /** Where `\i` looks for files. */
  workingDirectory: string;
  /** Statements answered without the server: returns true when nothing is to be sent. */
  skip?: (statement: Statement) => boolean;
}

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

/**
 * Runs a psql script on a session: statements, variables and the backslash commands that tests
 * use, with the output that `psql --no-align --quiet --tuples-only` would give.
 */
export class Script {
  readonly #session: Session;
  readonly #listener: ScriptListener;
  readonly #options: ScriptOptions;
  readonly #variables: Variables;
  readonly #print: PrintOptions = { ...pgProveOptions };
  readonly #conversation: Conversation;

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
    this.#conversation = new Conversation(session, listener, this.#variables, this.#print);
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
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
    } finally {
      // The answers still to come go where they belong before the session is used again.
      await this.#conversation.settle();
    }
    return this.#conversation.error;
  }

  /** The statement that was running when the connection was lost. */
  get lostAt(): Statement | undefined {
    return this.#conversation.lostAt;
  }

  async #runSource(source: Source, directory: string): Promise<void> {
    const conversation = this.#conversation;
    conversation.lockstep ||= lockstepPattern.test(source.text);
    const conditions = new Conditions();
    const buffer = new QueryBuffer();
    const scanner = new Scanner(
      (name) => (conditions.active ? this.#variables.get(name) : undefined),
      () => this.#session.parameter("standard_conforming_strings") !== "off",
      (text) => this.#listener.onWarning(text, placeOf(source)),
    );
    const frame: Frame = {
      source,
      directory,
      conditions,
      buffer,
      scanner,
      previous: undefined,
    };
    for (let line = source.next(); line !== undefined; line = source.next()) {
      if (line === "" && !scanner.insideQuote) continue;
      if (this.#variables.get("ECHO") === "all") {
        await conversation.drain();
        this.#listener.onText(`${line}\n`, undefined);
      }
      conversation.stopOnError = this.#variables.isOn("ON_ERROR_STOP");
      const newlineAt = buffer.length === 0 ? -1 : buffer.length + 1;
      if (newlineAt !== -1) buffer.appendNewline();
      scanner.feed(line, placeOf(source));
      for (let stop = scanner.scan(buffer); stop !== "end-of-line"; stop = scanner.scan(buffer)) {
        if (stop === "semicolon") {
          // Waiting only when there is something to wait for makes a file of many short
          // statements a good deal faster.
          const wait = conditions.active ? this.#send(this.#gathered(frame), frame) : undefined;
          scanner.statementTaken();
          if (wait !== undefined) await wait;
          continue;
        }
        // A command on a line of its own leaves no newline in the statement around it.
        if (buffer.length === newlineAt) buffer.truncate(newlineAt - 1);
        if ((await this.#runCommand(frame)) === "quit") return;
      }
    }
    // psql sends what is left at the end of a file, semicolon or not.
    if (buffer.length > 0 && conditions.active) await this.#send(this.#gathered(frame), frame);
    await conversation.drain();
    if (conditions.open) {
      conversation.fail("reached EOF without finding closing \\endif(s)", placeOf(source));
    }
  }

  /** Takes the statement that has been gathered. */
  #gathered(frame: Frame): Query {
    const { buffer, scanner, source } = frame;
    const query = makeQuery(buffer.take(), scanner.several, placeOf(source));
    frame.previous = query;
    return query;
  }

  #send(query: Query, frame: Frame, options: Partial<SendOptions> = {}): Promise<void> | undefined {
    if (this.#options.skip?.(query.statement) === true) return undefined;
    return this.#conversation.send(query, {
      copyFrom: () => frame.source.copyRows(),
      ...options,
    });
  }

  async #runCommand(frame: Frame): Promise<"quit" | undefined> {
    const location = placeOf(frame.source);
    await this.#conversation.drain();
    try {
      return await this.#command(frame, location);
    } catch (error) {
      if (error instanceof BacktickArgument) {
        throw new NeedsPsql("a shell command in backticks", location);
      }
      if (!(error instanceof MetaCommandError)) throw error;
      frame.scanner.skipLine();
      this.#conversation.fail(error.message, location);
      return undefined;
    }
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
      if (error instanceof NeedsPsql) throw error;
      const why =
        systemErrorCode(error) === "ENOENT" ? "No such file or directory" : messageOf(error);
      throw new MetaCommandError(`${named}: ${why}`);
    }
    const { stopOnError } = this.#conversation;
    await this.#runSource(source, dirname(file));
    this.#conversation.stopOnError = stopOnError;
  }

  /** Sends what has been gathered, or the previous statement again when that is nothing. */
  async #go(frame: Frame, options: Partial<SendOptions>): Promise<void> {
    // Where nothing was sent before, psql sends nothing, which is a query as well.
    const previous = frame.previous ?? substitutedQuery("", placeOf(frame.source));
    const query = frame.buffer.length === 0 ? previous : this.#gathered(frame);
    frame.scanner.reset();
    await this.#send(query, frame, options);
    await this.#conversation.drain();
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
      if (this.#variables.get("ECHO") === "all") this.#listener.onText(`${text}\n`, undefined);
      await this.#send(substitutedQuery(text, location), frame);
      await this.#conversation.drain();
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
    // With two spaces, as psql puts it together and echoes it.
    const sql = `COPY  ${target} FROM STDIN ${rest ?? ""}`;
    const query = substitutedQuery(sql, location);
    let content: Buffer | undefined;
    if (!/^stdin$/i.test(from)) {
      const path = from.startsWith("'") ? from.slice(1, -1).replace(/''/g, "'") : from;
      try {
        content = readFileSync(resolve(this.#options.workingDirectory, path));
      } catch (error) {
        throw new MetaCommandError(`${path}: ${messageOf(error)}`);
      }
    }
    const rows = content;
    await this.#send(query, frame, rows === undefined ? {} : { copyFrom: () => [rows] });
    await this.#conversation.drain();
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
  /** The statement that was sent last from this file. */
  previous: Query | undefined;
}

function placeOf(source: Source): Location {
  return { file: source.path, line: source.line, column: 1 };
}

/** What psql knows about the server, and how it got there. */
function serverVariables(session: Session): Record<string, string> {
  const name = session.parameter("server_version") ?? "";
  const [major = "0", minor = "0"] = /^(\d+)(?:\.(\d+))?/.exec(name)?.slice(1) ?? [];
  const version = String(Number(major) * 10_000 + Number(minor));
  const { host, port, user } = session.settings;
  return {
    HOST: host,
    PORT: String(port),
    USER: user,
    SERVER_VERSION_NAME: name,
    SERVER_VERSION_NUM: version,
    VERSION_NAME: name,
    VERSION_NUM: version,
    VERSION: `PostgreSQL ${name}`,
    ENCODING: "UTF8",
    LAST_ERROR_MESSAGE: "",
    LAST_ERROR_SQLSTATE: "00000",
  };
}
