import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { Client, type ClientConfig, type Connection, DatabaseError, Query } from "pg";
import { RunnerError, messageOf, systemErrorCode } from "../errors.ts";
import type { ConnectionSettings } from "./connection-settings.ts";

/** What the server says about an error or a notice; the fields of the protocol. */
export interface ServerMessage {
  severity: string;
  /** SQLSTATE. */
  code: string;
  message: string;
  detail?: string | undefined;
  hint?: string | undefined;
  where?: string | undefined;
  /** Place in the query that was sent: characters, counted from 1. */
  position?: number | undefined;
}

/** I idle, T in a transaction, E in a failed transaction. */
export type TransactionStatus = "I" | "T" | "E";

/** How a query ended. A query of several statements ends at the first that fails. */
export interface QueryOutcome {
  error: ServerMessage | undefined;
  status: TransactionStatus;
}

/** Receives what one query produces, in order. Every part is optional. */
export interface QueryHandler {
  onColumns?(names: string[]): void;
  onRow?(values: (string | null)[]): void;
  /** A statement has ended: `INSERT 0 1`. */
  onComplete?(tag: string): void;
  onNotice?(notice: ServerMessage): void;
  /** Rows of COPY … TO STDOUT, as they come. */
  onCopyData?(chunk: Buffer): void;
  /** The server waits for rows of COPY … FROM STDIN: return them all. */
  onCopyIn?(): Iterable<string | Buffer>;
  /** The answer is complete. */
  onEnd(outcome: QueryOutcome): void;
  /** A statement before it in its batch failed, so the server has not run it. */
  onSkipped?(): void;
  /** The answer will not come. */
  onLost(error: ConnectionLost): void;
}

/** The connection is gone: every query under way or sent later ends with this. */
export class ConnectionLost extends RunnerError {
  constructor(why: string) {
    super("connection-lost", why);
    this.name = "ConnectionLost";
  }
}

interface Statement {
  text: string;
  handler: QueryHandler;
  /** The server need not say what columns its rows have. */
  onlyRows?: boolean;
}

// pg's own declarations leave out the handlers that its client calls on a query.
interface RowDescription {
  fields: { name: string }[];
}
interface DataRow {
  fields: (string | null)[];
}
interface CopyChannel {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}
// Messages of the protocol that are the same for every statement, each with its type, its length
// and, here, empty names: the unnamed statement and portal, no parameters, no limit of rows.
// https://www.postgresql.org/docs/current/protocol-message-formats.html
const bindMessage = [0x42, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0];
const describeMessage = [0x44, 0, 0, 0, 6, 0x50, 0];
const executeMessage = [0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0];
const syncMessage = Buffer.from([0x53, 0, 0, 0, 4]);
const withColumns = Buffer.from([...bindMessage, ...describeMessage, ...executeMessage]);
const withoutColumns = Buffer.from([...bindMessage, ...executeMessage]);
/** Of a Parse message: type, length, the empty name, the end of the text, no parameter types. */
const parseOverhead = 1 + 4 + 1 + 1 + 2;

/** A batch as one piece: a write for each message would cost more than all else on our side. */
function encodeBatch(statements: readonly Statement[]): Buffer {
  let size = syncMessage.length;
  const lengths = statements.map(({ text }) => Buffer.byteLength(text));
  for (const length of lengths) size += parseOverhead + length + withColumns.length;
  const buffer = Buffer.allocUnsafe(size);
  let at = 0;
  for (const [index, { text, onlyRows }] of statements.entries()) {
    const length = lengths[index] ?? 0;
    at = buffer.writeUInt8(0x50, at);
    at = buffer.writeInt32BE(parseOverhead - 1 + length, at);
    at = buffer.writeUInt8(0, at);
    at += buffer.write(text, at);
    at = buffer.writeUInt8(0, at);
    at = buffer.writeInt16BE(0, at);
    const rest = onlyRows === true ? withoutColumns : withColumns;
    at += rest.copy(buffer, at);
  }
  at += syncMessage.copy(buffer, at);
  return buffer.subarray(0, at);
}

/**
 * What the server answers with one ReadyForQuery: a query in the simple protocol, or a batch of
 * statements in the extended one, of which the server skips those behind the first that fails. Rows
 * go straight to the handlers. It extends pg's own class because pg's pipeline mode takes no other.
 */
class Exchange extends Query {
  readonly #statements: readonly Statement[];
  readonly #batch: boolean;
  #position = 0;
  #lastHasEnded = false;
  #error: ServerMessage | undefined;

  constructor(statements: readonly Statement[], batch: boolean) {
    super({ text: statements[0]?.text ?? "" });
    this.#statements = statements;
    this.#batch = batch;
    this.submit = (connection) => this.#write(connection);
  }

  #write(connection: Connection): void {
    if (!this.#batch) {
      for (const { text } of this.#statements) connection.query(text);
      return;
    }
    connection.stream.write(encodeBatch(this.#statements));
  }

  get #handler(): QueryHandler | undefined {
    return this.#statements[this.#position]?.handler;
  }

  handleRowDescription(message: RowDescription): void {
    this.#handler?.onColumns?.(message.fields.map((field) => field.name));
  }

  handleDataRow(message: DataRow): void {
    this.#handler?.onRow?.(message.fields);
  }

  handleCommandComplete(message: { text: string }): void {
    this.#handler?.onComplete?.(message.text);
    this.#endInBatch("T");
  }

  handleEmptyQuery(): void {
    this.#endInBatch("T");
  }

  handleError(error: Error): void {
    // Errors that end the connection end in lose().
    if (!(error instanceof DatabaseError) || endsConnection(error)) return;
    this.#error = toServerMessage(error);
    this.#endInBatch("E");
  }

  handleReadyForQuery(): void {
    // The session tells, see finish(): pg does not, for a query that failed.
  }

  handleCopyInResponse(connection: CopyChannel): void {
    const rows = this.#handler?.onCopyIn?.();
    if (rows === undefined) {
      connection.sendCopyFail("there is no data to copy from");
      return;
    }
    for (const chunk of rows) {
      connection.sendCopyFromChunk(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
    }
    connection.endCopyFrom();
  }

  handleCopyData(message: { chunk: Buffer }): void {
    this.#handler?.onCopyData?.(message.chunk);
  }

  notice(notice: ServerMessage): void {
    this.#handler?.onNotice?.(notice);
  }

  /** The server is ready for the next. */
  finish(status: TransactionStatus): void {
    if (!this.#batch || this.#lastHasEnded) this.#endStatement(status);
    for (; this.#handler !== undefined; this.#position++) this.#handler.onSkipped?.();
  }

  /** No more answers will come. */
  lose(error: ConnectionLost): void {
    for (; this.#handler !== undefined; this.#position++) this.#handler.onLost(error);
  }

  /** A statement of a batch has ended; what became of the transaction is told after the last. */
  #endInBatch(status: TransactionStatus): void {
    if (!this.#batch) return;
    if (this.#position === this.#statements.length - 1) this.#lastHasEnded = true;
    else this.#endStatement(status);
  }

  #endStatement(status: TransactionStatus): void {
    const handler = this.#handler;
    this.#position += 1;
    handler?.onEnd({ error: this.#error, status });
  }
}

/** A server process that does not end within this time is left to itself. */
const terminateMs = 2000;

/**
 * One connection, which may have several queries under way: their answers come in the order in
 * which they were sent.
 */
export class Session {
  readonly #client: Client;
  readonly #exchanges: Exchange[] = [];
  #queued: Statement[] = [];
  readonly #parameters = new Map<string, string>();
  #status: TransactionStatus = "I";
  #lost: ConnectionLost | undefined;
  #lastFatal: string | undefined;
  #processId: number | undefined;
  /** Told about LISTEN's notifications. */
  onNotification: ((channel: string, payload: string, processId: number) => void) | undefined;

  /** What it was connected by, but for the database. */
  readonly settings: ConnectionSettings;
  readonly #database: string;

  private constructor(client: Client, settings: ConnectionSettings, database: string) {
    this.#client = client;
    this.settings = settings;
    this.#database = database;
  }

  /** @throws RunnerError `connection-failed`, `connection-refused` */
  static async connect(
    settings: ConnectionSettings,
    database: string,
    applicationName: string,
  ): Promise<Session> {
    const worked = workingSsl.get(settings);
    const attempts = worked === undefined ? sslAttempts(settings) : [worked];
    for (const [index, ssl] of attempts.entries()) {
      const client = new Client({
        host: settings.host,
        port: settings.port,
        user: settings.user,
        database,
        password: () => settings.password ?? "",
        application_name: applicationName,
        // Test files are UTF-8, whatever the encoding of the database.
        options: `${settings.serverOptions} -c client_encoding=UTF8`.trim(),
        ssl,
        connectionTimeoutMillis: settings.connectTimeoutMs,
        keepAlive: true,
        pipeline: true,
      });
      const session = new Session(client, settings, database);
      session.#listen();
      try {
        await client.connect();
        workingSsl.set(settings, ssl);
        return session;
      } catch (error) {
        const refused = systemErrorCode(error) === "ECONNREFUSED";
        if (index < attempts.length - 1 && !refused && sslMayMatter(error)) continue;
        throw connectionFailed(settings, database, error);
      }
    }
    throw new RunnerError("connection-failed", "no way to connect was left to try");
  }

  /**
   * Waits until the server takes connections to the database again.
   *
   * @returns false when the time has passed, or the signal came
   */
  static async untilReachable(
    settings: ConnectionSettings,
    database: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!signal.aborted && performance.now() < deadline) {
      try {
        const session = await Session.connect(settings, database, "pgtap-runner");
        await session.close();
        return true;
      } catch {
        // Not yet: starting up refuses connections with an error of its own.
        await delay(100, undefined, { signal }).catch(() => undefined);
      }
    }
    return false;
  }

  #listen(): void {
    const client = this.#client;
    // Attached before connecting: the server tells its parameters while we connect.
    client.connection.on(
      "parameterStatus",
      (message: { parameterName: string; parameterValue: string }) => {
        this.#parameters.set(message.parameterName, message.parameterValue);
      },
    );
    client.connection.on("backendKeyData", (message: { processID: number }) => {
      this.#processId = message.processID;
    });
    client.connection.on("errorMessage", (message: unknown) => {
      if (message instanceof DatabaseError && endsConnection(message)) {
        this.#lastFatal = message.message;
      }
    });
    client.connection.on("readyForQuery", (message: { status: TransactionStatus }) => {
      this.#status = message.status;
      this.#exchanges.shift()?.finish(message.status);
    });
    client.on("notice", (notice) => {
      this.#exchanges[0]?.notice(toServerMessage(notice));
    });
    client.on("notification", (message) => {
      this.onNotification?.(message.channel, message.payload ?? "", message.processId);
    });
    client.on("error", (error) => this.#lose(messageOf(error)));
    client.on("end", () => this.#lose("the connection was closed"));
  }

  #lose(why: string): void {
    this.#lost ??= new ConnectionLost(this.#lastFatal ?? why);
    for (const exchange of this.#exchanges.splice(0)) exchange.lose(this.#lost);
    for (const { handler } of this.#queued.splice(0)) handler.onLost(this.#lost);
  }

  /** As of the newest answer. */
  get status(): TransactionStatus {
    return this.#status;
  }

  /** Why the connection is gone, or undefined while it stands. */
  get lost(): ConnectionLost | undefined {
    return this.#lost;
  }

  /** A parameter that the server reports (`server_version`), in its present value. */
  parameter(name: string): string | undefined {
    return this.#parameters.get(name);
  }

  /** Sends a query in the simple protocol, as psql does, behind what has been enqueued. */
  send(text: string, handler: QueryHandler): void {
    this.flush();
    this.#exchange([{ text, handler }], false);
  }

  /**
   * Takes a statement that is sent with the next flush, in one batch with those before it. The
   * answers of a batch arrive together, which costs both sides far less than one at a time. For use
   * inside a transaction, which the batch may itself begin or end: there, and only there, the
   * server treats each as it would by itself.
   *
   * @param onlyRows rows are wanted, but not the names of their columns
   * @returns how many wait to be sent
   */
  enqueue(text: string, handler: QueryHandler, onlyRows: boolean): number {
    return this.#queued.push({ text, handler, onlyRows });
  }

  /** Sends what has been enqueued. */
  flush(): void {
    if (this.#queued.length === 0) return;
    const statements = this.#queued;
    this.#queued = [];
    this.#exchange(statements, true);
  }

  #exchange(statements: readonly Statement[], batch: boolean): void {
    const exchange = new Exchange(statements, batch);
    if (this.#lost !== undefined) {
      const lost = this.#lost;
      queueMicrotask(() => exchange.lose(lost));
      return;
    }
    this.#exchanges.push(exchange);
    this.#client.query(exchange);
  }

  /**
   * Sends a query and collects the rows of all its statements.
   *
   * @throws SqlError, ConnectionLost
   */
  async rows(text: string): Promise<(string | null)[][]> {
    const rows: (string | null)[][] = [];
    const outcome = await new Promise<QueryOutcome>((onEnd, onLost) => {
      this.send(text, { onRow: (values) => rows.push(values), onEnd, onLost });
    });
    if (outcome.error !== undefined) throw new SqlError(outcome.error, text);
    return rows;
  }

  /** Says goodbye to the server. */
  async close(): Promise<void> {
    if (this.#lost !== undefined) return;
    this.#lost = new ConnectionLost("the connection was closed");
    await this.#client.end();
  }

  /**
   * Ends the connection from the server's side, whatever is under way: so the answers that the
   * server has ready still arrive, and tell how far it came. Whoever waits learns that it is lost.
   */
  async terminate(): Promise<void> {
    try {
      const other = await Session.connect(this.settings, this.#database, "pgtap-runner");
      await other.rows(`SELECT pg_terminate_backend(${this.#processId})`);
      await other.close();
      const deadline = performance.now() + terminateMs;
      while (this.#lost === undefined && performance.now() < deadline) await delay(10);
    } catch {
      // The server cannot be asked; then it has to do without.
    }
    this.#lose("the connection was given up");
    this.#client.connection.stream.destroy();
  }
}

/** A query of ours, not of a test, that the server refused. */
export class SqlError extends RunnerError {
  readonly server: ServerMessage;

  constructor(server: ServerMessage, query: string) {
    super("sql-failed", `${server.message} (SQLSTATE ${server.code}) in: ${firstLine(query)}`);
    this.name = "SqlError";
    this.server = server;
  }
}

function endsConnection(error: DatabaseError): boolean {
  return error.severity === "FATAL" || error.severity === "PANIC";
}

function firstLine(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length > 120 ? `${line.slice(0, 120)}…` : line;
}

function toServerMessage(message: {
  severity?: string | undefined;
  code?: string | undefined;
  message?: string | undefined;
  detail?: string | undefined;
  hint?: string | undefined;
  where?: string | undefined;
  position?: string | undefined;
}): ServerMessage {
  return {
    severity: message.severity ?? "ERROR",
    code: message.code ?? "",
    message: message.message ?? "",
    detail: message.detail,
    hint: message.hint,
    where: message.where,
    position: message.position === undefined ? undefined : Number(message.position),
  };
}

type Ssl = NonNullable<ClientConfig["ssl"]>;

/** The way that worked for the first connection; "prefer" then asks the server only once. */
const workingSsl = new WeakMap<ConnectionSettings, Ssl>();

/** The ways to connect that an sslmode allows, the preferred one first. */
function sslAttempts(settings: ConnectionSettings): Ssl[] {
  if (settings.host.startsWith("/") || settings.sslMode === "disable") return [false];
  const certificates = {
    ...(settings.sslCertificate === undefined
      ? {}
      : { cert: readFileSync(settings.sslCertificate) }),
    ...(settings.sslKey === undefined ? {} : { key: readFileSync(settings.sslKey) }),
  };
  const root =
    settings.sslRootCertificate === undefined || settings.sslRootCertificate === "system"
      ? {}
      : { ca: readFileSync(settings.sslRootCertificate) };
  const unverified = { ...certificates, rejectUnauthorized: false };
  switch (settings.sslMode) {
    case "allow":
      return [false, unverified];
    case "prefer":
      return [unverified, false];
    case "require":
      // libpq: with a root certificate at hand, require means verify-ca.
      if (settings.sslRootCertificate === undefined) return [unverified];
      return [{ ...certificates, ...root, checkServerIdentity: () => undefined }];
    case "verify-ca":
      return [{ ...certificates, ...root, checkServerIdentity: () => undefined }];
    case "verify-full":
      return [{ ...certificates, ...root }];
  }
}

/** With "prefer" and "allow", only a refusal that TLS may explain is worth the other way. */
function sslMayMatter(error: unknown): boolean {
  if (error instanceof DatabaseError) return error.code === "28000";
  return true;
}

function connectionFailed(
  settings: ConnectionSettings,
  database: string,
  error: unknown,
): RunnerError {
  const where = settings.host.startsWith("/")
    ? `${settings.host}/.s.PGSQL.${settings.port}`
    : `${settings.host}:${settings.port}`;
  // A server that starts up or shuts down may be tried again; one that says no has said it.
  const refused = error instanceof DatabaseError && !/^57P0[1-3]$/.test(error.code ?? "");
  return new RunnerError(
    refused ? "connection-refused" : "connection-failed",
    `${where} as ${settings.user}, database ${database}: ${messageOf(error)}`,
    { next: "check PGHOST, PGPORT, PGUSER, PGDATABASE or --url", cause: error },
  );
}
