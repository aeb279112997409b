import type { Client } from "pg";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";

/** A session that holds what ours waits for. */
export interface Blocker {
  /** Backend process; 0 for a transaction prepared for two-phase commit, which has none. */
  pid: number;
  user: string | null;
  application: string | null;
  state: string | null;
  /** How long its transaction has been open, in milliseconds; null when we may not know. */
  transactionAgeMs: number | null;
  /** How long its present or last query has been its query, in milliseconds. */
  queryAgeMs: number | null;
  query: string | null;
  /** The whole of it in one sentence part. */
  text: string;
}

/** What a waiting session waits for. */
export interface Blocked {
  /** "AccessExclusiveLock on tasks", or null when it could not be seen. */
  lock: string | null;
  blockers: Blocker[];
}

const shownQueryLength = 120;

/**
 * Looks, from a second connection that is opened only when needed, at who blocks a backend: after
 * a lock time-out the server says that somebody did, not who.
 */
export class BlockerWatch {
  readonly #connection: DatabaseConnection;
  readonly #pid: number;
  readonly #intervalMs: number;
  #observer: Promise<Client> | undefined;
  #last: Blocked | undefined;

  constructor(connection: DatabaseConnection, pid: number, intervalMs: number) {
    this.#connection = connection;
    this.#pid = pid;
    this.#intervalMs = intervalMs;
  }

  /** What was seen last while the running or just failed action waited. */
  get last(): Blocked | undefined {
    return this.#last;
  }

  /** Runs an action and looks every interval who blocks it. */
  async during<T>(
    action: () => Promise<T>,
    onBlocked: (blocked: Blocked, waitedMs: number) => void,
  ): Promise<T> {
    this.#last = undefined;
    const start = performance.now();
    let looking = Promise.resolve();
    let busy = false;
    const timer = setInterval(() => {
      if (busy) return;
      busy = true;
      looking = this.#look(start, onBlocked)
        // An observer that cannot connect or was ended costs us the names, not the migration.
        .catch(() => {
          this.#observer = undefined;
        })
        .finally(() => {
          busy = false;
        });
    }, this.#intervalMs);
    try {
      return await action();
    } finally {
      clearInterval(timer);
      await looking;
    }
  }

  /** Cancels what the watched backend is running. */
  async cancel(): Promise<void> {
    this.#observer ??= connect(this.#connection, "ctm migrate (observer)");
    // When it cannot be cancelled the statement runs to its end, and the run stops after it.
    await this.#observer
      .then(async (observer) => observer.query("SELECT pg_cancel_backend($1)", [this.#pid]))
      .catch(() => undefined);
  }

  async close(): Promise<void> {
    const observer = await this.#observer?.catch(() => undefined);
    if (observer !== undefined) await disconnect(observer);
  }

  async #look(
    start: number,
    onBlocked: (blocked: Blocked, waitedMs: number) => void,
  ): Promise<void> {
    this.#observer ??= connect(this.#connection, "ctm migrate (observer)");
    const blocked = await readBlocked(await this.#observer, this.#pid);
    if (blocked === undefined) return;
    this.#last = blocked;
    onBlocked(blocked, performance.now() - start);
  }
}

/** Who blocks a backend now; undefined when nobody does. */
export async function readBlocked(client: Client, pid: number): Promise<Blocked | undefined> {
  // For roles without pg_read_all_stats the server leaves state, query and times of other users'
  // sessions null, and shows pid, user and application.
  const { rows } = await client.query<{
    pid: number;
    user: string | null;
    application: string | null;
    state: string | null;
    transaction_ms: number | null;
    query_ms: number | null;
    query: string | null;
    lock: string | null;
  }>(
    `SELECT b.pid, a.usename AS user, nullif(a.application_name, '') AS application, a.state,
            (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::float8 AS transaction_ms,
            (extract(epoch FROM clock_timestamp() - a.query_start) * 1000)::float8 AS query_ms,
            CASE WHEN a.state IS NOT NULL THEN a.query END AS query,
            (SELECT l.mode || CASE WHEN l.relation IS NOT NULL
                                   THEN ' on ' || l.relation::regclass ELSE '' END
               FROM pg_locks l WHERE l.pid = $1 AND NOT l.granted LIMIT 1) AS lock
       FROM (SELECT DISTINCT unnest(pg_blocking_pids($1)) AS pid) b
       LEFT JOIN pg_stat_activity a ON a.pid = b.pid
      ORDER BY a.xact_start NULLS LAST, b.pid`,
    [pid],
  );
  if (rows.length === 0) return undefined;
  const blockers = rows.map((row) => {
    const known = {
      pid: row.pid,
      user: row.user,
      application: row.application,
      state: row.state,
      transactionAgeMs: row.transaction_ms,
      queryAgeMs: row.query_ms,
      query: row.query,
    };
    return { ...known, text: describe(known) };
  });
  return { lock: rows[0]?.lock ?? null, blockers };
}

function describe(blocker: Omit<Blocker, "text">): string {
  if (blocker.pid === 0) {
    return "a prepared transaction (SELECT * FROM pg_prepared_xacts names it)";
  }
  const query = blocker.query?.replace(/\s+/g, " ").trim() ?? "";
  const parts = [
    blocker.application ?? "no application name",
    blocker.user === null ? undefined : `user ${blocker.user}`,
    blocker.state ?? undefined,
    blocker.transactionAgeMs === null
      ? undefined
      : `in its transaction for ${seconds(blocker.transactionAgeMs)}`,
    blocker.queryAgeMs === null
      ? undefined
      : `${blocker.state === "active" ? "running" : "last query"} ${seconds(blocker.queryAgeMs)}${blocker.state === "active" ? "" : " ago"}: ${query.length > shownQueryLength ? `${query.slice(0, shownQueryLength)}…` : query}`,
  ].filter((part) => part !== undefined);
  return `pid ${blocker.pid} (${parts.join(", ")})`;
}

function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 100) / 10} s`;
}
