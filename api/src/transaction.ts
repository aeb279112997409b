import { DatabaseError, escapeLiteral, type Pool, type PoolClient, type QueryResultRow } from "pg";
import { ApiError } from "./api-error.ts";

/** Who a transaction works for; triggers and policies read it from the session's settings. */
export interface TransactionContext {
  userId: string;
  apiKeyId: string;
  requestId: string;
  clientAddress: string;
  userAgent: string;
  environment: string;
  /** Longest time for one statement, milliseconds. */
  statementMs: number;
}

export interface Statement {
  /** Statements with a name are prepared once for each connection. */
  name?: string;
  text: string;
  values: readonly unknown[];
}

/** Runs one statement in the transaction and returns its rows. */
export type Run = <Row extends QueryResultRow>(statement: Statement) => Promise<Row[]>;

/** The connection to the database broke or never came to be; nothing is known about its work. */
export class ConnectionLost extends Error {
  constructor(cause: unknown) {
    super("the connection to the database was lost", { cause });
    this.name = "ConnectionLost";
  }
}

/**
 * Runs `work` in one transaction with the caller's settings. Once, and only where it is certain
 * that nothing was done, it tries again on another connection: that hides a failover's broken
 * connections, deadlocks, and a proxy that had not yet noticed a demoted primary.
 *
 * @throws ConnectionLost, DatabaseError, or what `work` throws
 */
export async function transact<T>(
  pool: Pool,
  context: TransactionContext,
  kind: "read" | "write",
  work: (run: Run) => Promise<T>,
): Promise<T> {
  try {
    return await attempt(pool, context, kind, work);
  } catch (error) {
    if (!nothingWasDone(error)) throw error;
    return await attempt(pool, context, kind, work);
  }
}

async function attempt<T>(
  pool: Pool,
  context: TransactionContext,
  kind: "read" | "write",
  work: (run: Run) => Promise<T>,
): Promise<T> {
  return await withConnection(pool, async (client) => {
    // Sent without waiting: the pool's connections are pipelined, so the first statement of `work`
    // travels with it. Should BEGIN fail, that statement fails too (aborted or lost connection).
    const begun = send(client, { text: beginText(context, kind), values: [] });
    begun.catch(() => undefined);
    let result: T;
    try {
      result = await work((statement) => send(client, statement));
      await begun;
    } catch (error) {
      if (!(error instanceof ConnectionLost)) await send(client, { text: "ROLLBACK", values: [] });
      throw error;
    }
    try {
      await send(client, { text: "COMMIT", values: [] });
    } catch (error) {
      if (kind === "read" || !(error instanceof ConnectionLost)) throw error;
      throw new ApiError(
        "SERVICE_UNAVAILABLE",
        "The connection to the database was lost while the change was being committed: it may or may not have been made. Look before trying again.",
        { retryAfterSeconds: 5, cause: error },
      );
    }
    return result;
  });
}

/**
 * Runs one statement outside a transaction, on the API's own behalf; tries again once where the
 * connection broke before anything was sent, and, if `idempotent`, also after.
 */
export async function runStatement<Row extends QueryResultRow>(
  pool: Pool,
  statement: Statement,
  options: { idempotent: boolean },
): Promise<Row[]> {
  const once = (): Promise<Row[]> =>
    withConnection(pool, async (client) => await send<Row>(client, statement));
  try {
    return await once();
  } catch (error) {
    if (!options.idempotent || !nothingWasDone(error)) throw error;
    return await once();
  }
}

/**
 * Since when a pool's older connections are not trusted: one of them broke, or met a server that is
 * no longer the primary. The others probably lead to the same place.
 */
const distrustedSince = new WeakMap<Pool, number>();
const connectedAt = new WeakMap<PoolClient, number>();

/** Notes when the pool's connections were made, so that old ones can be told from new ones. */
export function rememberConnectTimes(pool: Pool): void {
  pool.on("connect", (client) => connectedAt.set(client, performance.now()));
}

/** Lends a connection; one that broke, or is still in a transaction, does not return to the pool. */
async function withConnection<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await trustedConnection(pool);
  // A connection that breaks while lent out reports it here as well as to its query.
  const ignore = (): void => undefined;
  client.on("error", ignore);
  let broken = false;
  try {
    return await work(client);
  } catch (error) {
    broken = error instanceof ConnectionLost || isFromWrongServer(error);
    if (broken) distrustedSince.set(pool, performance.now());
    throw error;
  } finally {
    client.removeListener("error", ignore);
    client.release(broken || client.getTransactionStatus() !== "I");
  }
}

async function trustedConnection(pool: Pool): Promise<PoolClient> {
  for (;;) {
    let client: PoolClient;
    try {
      client = await pool.connect();
    } catch (error) {
      throw new ConnectionLost(error);
    }
    const isOld = (connectedAt.get(client) ?? 0) < (distrustedSince.get(pool) ?? 0);
    if (!isOld) return client;
    client.release(true);
  }
}

async function send<Row extends QueryResultRow>(
  client: PoolClient,
  statement: Statement,
): Promise<Row[]> {
  try {
    const result = await client.query<Row>({ ...statement, values: [...statement.values] });
    return result.rows;
  } catch (error) {
    // pg has an error class for what the server said; everything else is the connection's end.
    throw error instanceof DatabaseError && !isEndOfConnection(error)
      ? error
      : new ConnectionLost(error);
  }
}

/** BEGIN and the local settings as one message; they are literals because it takes no parameters. */
export function beginText(context: TransactionContext, kind: "read" | "write"): string {
  const settings: Record<string, string> = {
    "app.current_user_id": context.userId,
    "app.current_environment": context.environment,
    "app.api_key_id": context.apiKeyId,
    "app.request_id": context.requestId,
    "app.client_address": context.clientAddress,
    "app.user_agent": context.userAgent,
    statement_timeout: String(context.statementMs),
  };
  const calls = Object.entries(settings).map(
    ([name, value]) => `set_config('${name}', ${escapeLiteral(value)}, true)`,
  );
  return `BEGIN${kind === "read" ? " READ ONLY" : ""}; SELECT ${calls.join(", ")}`;
}

/** True where the transaction certainly left nothing behind and another try can succeed. */
function nothingWasDone(error: unknown): boolean {
  if (error instanceof ConnectionLost) return true;
  if (!(error instanceof DatabaseError)) return false;
  // 40001 serialization failure, 40P01 deadlock.
  return error.code === "40001" || error.code === "40P01" || isFromWrongServer(error);
}

/** 25006, read-only transaction: a write met a server that is no longer the primary. */
function isFromWrongServer(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === "25006";
}

/** 57P01 to 57P05: the server ends this connection (shutdown, crash, start, dropped database). */
export function isEndOfConnection(error: DatabaseError): boolean {
  return error.code?.startsWith("57P") === true;
}
