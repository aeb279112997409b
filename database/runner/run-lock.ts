import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "pg";
import { CtmError } from "#system";
import type { MigrationProgress } from "./progress.ts";

/** The advisory lock that one runner holds in a database: "ctm" in ASCII, and 1 for migrations. */
const lockKey = [0x63746d, 1] as const;
const pollMs = 250;

/**
 * Takes the lock that only one migration run can hold, waiting for another run to finish.
 *
 * It polls instead of waiting inside the server: a waiting query is a snapshot, and the other
 * run's CREATE INDEX CONCURRENTLY would wait for that snapshot, both for ever.
 *
 * The lock belongs to the session. When a runner dies, the server keeps the lock until it has
 * ended what that session was doing, so whoever gets the lock next sees a settled ledger.
 */
export async function takeRunLock(
  client: Client,
  options: {
    deadlineMs: number;
    signal: AbortSignal | undefined;
    onProgress: (progress: MigrationProgress) => void;
  },
): Promise<void> {
  const { deadlineMs, signal, onProgress } = options;
  const start = performance.now();
  let reported = -Infinity;
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>(
      "SELECT pg_try_advisory_lock($1, $2) AS taken",
      [...lockKey],
    );
    if (rows[0]?.taken === true) return;
    if (signal?.aborted === true) {
      throw new CtmError("interrupted", "stopped while waiting for another migration run", {
        next: "ctm migrate up",
      });
    }
    const waitedMs = performance.now() - start;
    const holder = await readHolder(client);
    if (waitedMs >= deadlineMs) {
      throw new CtmError(
        "migration-running",
        `another migration run (${holder.text}) has not finished within ${Math.round(waitedMs / 1000)} s`,
        {
          next:
            holder.pid === undefined
              ? "ctm migrate up again"
              : `wait for it and run ctm migrate up again; if it hangs, SELECT pg_terminate_backend(${holder.pid})`,
        },
      );
    }
    if (waitedMs - reported >= 5_000) {
      reported = waitedMs;
      onProgress({ kind: "waiting-for-runner", holder: holder.text, waitedMs });
    }
    await delay(Math.min(pollMs, Math.max(1, deadlineMs - waitedMs)));
  }
}

async function readHolder(client: Client): Promise<{ pid?: number; text: string }> {
  const { rows } = await client.query<{ pid: number; user: string | null; since: Date | null }>(
    `SELECT l.pid, a.usename AS user, a.backend_start AS since
       FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
        AND l.classid = $1 AND l.objid = $2
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    [...lockKey],
  );
  const [row] = rows;
  if (row === undefined) return { text: "just ended" };
  const user = row.user === null ? "" : `, user ${row.user}`;
  const since = row.since === null ? "" : `, connected since ${row.since.toISOString()}`;
  return { pid: row.pid, text: `pid ${row.pid}${user}${since}` };
}
