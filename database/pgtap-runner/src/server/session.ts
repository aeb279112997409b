import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { Client, type ClientConfig, DatabaseError, Query } from "pg";
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

interface InFlight {
  handler: QueryHandler;
  error: ServerMessage | undefined;
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

/**
 * A query whose rows go straight to a handler instead of being collected. It extends pg's own
 * class because pg's pipeline mode accepts no other; when it ended is told by the connection
 * (readyForQuery), since pg does not say so for a query that failed.
 */
class StreamedQuery extends Query {
  readonly #inFlight: InFlight;

  constructor(text: string, inFlight: InFlight) {
    super({ text });
    this.#inFlight = inFlight;
  }

  handleRowDescription(message: RowDescription): void {
    this.#inFlight.handler.onColumns?.(message.fields.map((field) => field.name));
  }

  handleDataRow(message: DataRow): void {
    this.#inFlight.handler.onRow?.(message.fields);
  }

  handleCommandComplete(message: { text: string }): void {
    this.#inFlight.handler.onComplete?.(message.text);
  }

  handleEmptyQuery(): void {
    // Nothing but comments: there is nothing to tell.
  }

  handleError(error: Error): void {
    // Errors of the connection itself end up in onLost.
    if (error instanceof DatabaseError) this.#inFlight.error = toServerMessage(error);
  }

  handleReadyForQuery(): void {
    // Told by the connection, see above.
  }

  handleCopyInResponse(channel: CopyChannel): void {
    const rows = this.#inFlight.handler.onCopyIn?.();
    if (rows === undefined) {
      channel.sendCopyFail("there is no data to copy from");
      return;
    }
    for (const chunk of rows) {
      channel.sendCopyFromChunk(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
    }
    channel.endCopyFrom();
  }

  handleCopyData(message: { chunk: Buffer }): void {
    this.#inFlight.handler.onCopyData?.(message.chunk);
  }
}

/**
 * One connection that sends queries in the simple protocol, as psql does, and may have several
 * under way: their answers come in the order in which they were sent.
 */
export class Session {
  readonly #client: Client;
  readonly #inFlight: InFlight[] = [];
  readonly #parameters = new Map<string, string>();
  #status: TransactionStatus = "I";
  #lost: ConnectionLost | undefined;
  #lastFatal: string | undefined;
  #corked = false;
  /** Told about LISTEN's notifications. */
  onNotification: ((channel: string, payload: string, processId: number) => void) | undefined;

  private constructor(client: Client) {
    this.#client = client;
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
      const session = new Session(client);
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
    client.connection.on("errorMessage", (message: unknown) => {
      if (message instanceof DatabaseError && /^(FATAL|PANIC)$/.test(message.severity ?? "")) {
        this.#lastFatal = message.message;
      }
    });
    client.connection.on("readyForQuery", (message: { status: TransactionStatus }) => {
      this.#status = message.status;
      const ended = this.#inFlight.shift();
      ended?.handler.onEnd({ error: ended.error, status: message.status });
    });
    client.on("notice", (notice) => {
      this.#inFlight[0]?.handler.onNotice?.(toServerMessage(notice));
    });
    client.on("notification", (message) => {
      this.onNotification?.(message.channel, message.payload ?? "", message.processId);
    });
    client.on("error", (error) => this.#lose(messageOf(error)));
    client.on("end", () => this.#lose("the connection was closed"));
  }

  #lose(why: string): void {
    this.#lost ??= new ConnectionLost(this.#lastFatal ?? why);
    for (const waiting of this.#inFlight.splice(0)) waiting.handler.onLost(this.#lost);
  }

  /** As of the newest answer. */
  get status(): TransactionStatus {
    return this.#status;
  }

  /** How many queries wait for their answer. */
  get underWay(): number {
    return this.#inFlight.length;
  }

  /** Why the connection is gone, or undefined while it stands. */
  get lost(): ConnectionLost | undefined {
    return this.#lost;
  }

  /** A parameter that the server reports (`server_version`), in its present value. */
  parameter(name: string): string | undefined {
    return this.#parameters.get(name);
  }

  /** Sends a query without waiting for those before it; the handler is told how it ends. */
  send(text: string, handler: QueryHandler): void {
    if (this.#lost !== undefined) {
      const lost = this.#lost;
      queueMicrotask(() => handler.onLost(lost));
      return;
    }
    const inFlight: InFlight = { handler, error: undefined };
    this.#inFlight.push(inFlight);
    this.#cork();
    this.#client.query(new StreamedQuery(text, inFlight));
  }

  /** What is sent in one go leaves in one packet, which saves both sides a wake-up for each. */
  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    const { stream } = this.#client.connection;
    stream.cork();
    process.nextTick(() => {
      this.#corked = false;
      stream.uncork();
    });
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

  /** Drops the connection at once, whatever is under way. */
  destroy(why: string): void {
    this.#lose(why);
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
