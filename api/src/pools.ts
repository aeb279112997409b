import { readFile } from "node:fs/promises";
import { Client, Pool, type ClientConfig, type PoolConfig } from "pg";
import type { Settings } from "./config.ts";
import { rememberConnectTimes } from "./transaction.ts";

/**
 * Deadlines of database work, milliseconds (spec, "Pools"). `connect` is ours: a new connection
 * that takes longer is given up, so that a dead server is noticed before callers lose patience.
 */
export const databaseDeadlines = {
  connect: 5_000,
  acquire: 30_000,
  acquirePriority: 5_000,
  idle: 10_000,
  statement: 60_000,
  lock: 30_000,
  idleInTransaction: 60_000,
  /** POST /query. */
  adminStatement: 30_000,
} as const;

/**
 * How long after the time that a statement is allowed its connection counts as dead. A server that
 * vanished without closing its connections (a lost machine, not a stopped one) can only be noticed
 * from here.
 */
const vanishedMs = 5_000;

export type PoolName = "primary" | "readonly" | "priority" | "background";

export interface Pools {
  named: Readonly<Record<PoolName, Pool>>;
  /** POST /query, as the role that may only read: a new connection for each query. */
  query: Readonly<Record<"primary" | "readonly", Pool>>;
  /** Opens the connections that the pools keep; failures only delay that. */
  warm(): Promise<void>;
  end(): Promise<void>;
}

export interface PoolStatistics {
  total: number;
  idle: number;
  waiting: number;
  min: number;
  max: number;
}

/**
 * Makes the pools; connections open when first needed.
 *
 * @param onError told about connections that broke while idle (the pool has dropped them)
 */
export async function openPools(
  settings: Settings,
  onError: (pool: string, error: Error) => void,
): Promise<Pools> {
  const { database } = settings;
  const authority =
    database.authority === null ? undefined : await readFile(database.authority, "utf8");

  const open = (
    name: string,
    server: { host: string; port: number },
    role: { user: string; passwordFile: string },
    options: PoolConfig & { statementMs: number; answerMs: number },
  ): Pool => {
    const { statementMs, answerMs, ...pool } = options;
    const connection: ClientConfig = {
      host: server.host,
      port: server.port,
      database: database.name,
      user: role.user,
      password: async () => (await readFile(role.passwordFile, "utf8")).trimEnd(),
      // pg hands host and servername to the handshake, so the name is checked too: verify-full.
      ssl: authority === undefined ? false : { ca: authority },
      application_name: `ctm-api ${name}`,
      connectionTimeoutMillis: databaseDeadlines.connect,
      statement_timeout: statementMs,
      query_timeout: answerMs + vanishedMs,
      lock_timeout: databaseDeadlines.lock,
      idle_in_transaction_session_timeout: databaseDeadlines.idleInTransaction,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      pipeline: pool.maxUses === undefined,
    };
    // The pool's own time limit covers waiting for a free connection; a class of our own gives
    // the new connection a shorter one.
    class ImpatientClient extends Client {
      constructor() {
        super(connection);
      }
    }
    const made = new Pool({
      idleTimeoutMillis: databaseDeadlines.idle,
      connectionTimeoutMillis: databaseDeadlines.acquire,
      ...pool,
      Client: ImpatientClient,
    });
    made.on("error", (error) => onError(name, error));
    rememberConnectTimes(made);
    return made;
  };

  const statementMs = databaseDeadlines.statement;
  // Requests allow their statements less than the pools do (TransactionContext.statementMs); keys
  // and limits are looked up in a millisecond.
  const answerMs = settings.http.requestTimeoutMs;
  const named: Record<PoolName, Pool> = {
    primary: open("primary", database.primary, database, {
      ...settings.pools.primary,
      statementMs,
      answerMs,
    }),
    readonly: open("readonly", database.readonly, database, {
      ...settings.pools.readonly,
      statementMs,
      answerMs,
    }),
    priority: open("priority", database.primary, database, {
      ...settings.pools.priority,
      connectionTimeoutMillis: databaseDeadlines.acquirePriority,
      statementMs,
      answerMs: 0,
    }),
    background: open("background", database.primary, database, {
      ...settings.pools.background,
      statementMs,
      answerMs: statementMs,
    }),
  };
  // One use each: whatever a query did to its session (settings, locks) dies with it.
  const queryMs = databaseDeadlines.adminStatement;
  const single = { max: 3, maxUses: 1, statementMs: queryMs, answerMs: queryMs };
  const query = {
    primary: open("query primary", database.primary, settings.query, single),
    readonly: open("query readonly", database.readonly, settings.query, single),
  };
  const all = [...Object.values(named), ...Object.values(query)];

  return {
    named,
    query,
    warm: async () => {
      await Promise.allSettled(
        Object.values(named).flatMap((pool) =>
          Array.from({ length: pool.options.min ?? 0 }, async () => {
            const client = await pool.connect();
            client.release();
          }),
        ),
      );
    },
    end: async () => {
      await Promise.all(all.map((pool) => pool.end()));
    },
  };
}

export function poolStatistics(pool: Pool): PoolStatistics {
  return {
    total: pool.totalCount,
    idle: pool.idleCount,
    waiting: pool.waitingCount,
    min: pool.options.min ?? 0,
    max: pool.options.max,
  };
}
