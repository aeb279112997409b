import type { ClientConfig } from "pg";
import { connected } from "./connection.ts";

/** What the leader says of its WAL archiving. */
export interface ArchiverFacts {
  /**
   * The segment that was archived last; null before the first one. Not always the newest: after a
   * crash, old segments whose status was lost are archived again.
   */
  lastWal: string | null;
  lastArchivedAt: Date | null;
  /** When each segment was complete, of those that are archived and still known to the server. */
  completed: ReadonlyMap<string, Date>;
  /** The last attempt failed. */
  failing: boolean;
  failedWal: string | null;
  failedAt: Date | null;
  /** Complete segments that wait to be archived, and since when the oldest does. */
  waiting: number;
  waitingSince: Date | null;
  /** Its archive_timeout, in seconds; 0 where that is off. */
  timeoutSeconds: number;
}

/** A server reached through one of the proxy's ports. */
export interface DoorFacts {
  /** Address of the member behind it, as that member knows it. */
  address: string | null;
  port: number | null;
  inRecovery: boolean;
}

/** Deadlines for a probe: it must answer about dead servers too. */
function bounded(config: ClientConfig, timeoutMs: number): ClientConfig {
  return { ...config, connectionTimeoutMillis: timeoutMs, query_timeout: timeoutMs };
}

/** Who answers behind a port of the proxy. Needs no privilege but to log in. */
export async function readDoor(config: ClientConfig, timeoutMs: number): Promise<DoorFacts> {
  return await connected(bounded(config, timeoutMs), async (client) => {
    const { rows } = await client.query<{
      address: string | null;
      port: number | null;
      in_recovery: boolean;
    }>(
      `SELECT host(inet_server_addr()) AS address, inet_server_port() AS port,
              pg_is_in_recovery() AS in_recovery`,
    );
    const [row] = rows;
    return {
      address: row?.address ?? null,
      port: row?.port ?? null,
      inRecovery: row?.in_recovery ?? false,
    };
  });
}

/** The leader's archiver. Needs pg_monitor. */
export async function readArchiver(
  config: ClientConfig,
  timeoutMs: number,
): Promise<ArchiverFacts> {
  return await connected(bounded(config, timeoutMs), async (client) => {
    // A segment's .done file is its .ready file renamed, so its time is when the segment was
    // complete. It goes when the segment does.
    const { rows } = await client.query<{
      last: string | null;
      last_at: Date | null;
      failed: string | null;
      failed_at: Date | null;
      failing: boolean;
      waiting: number;
      waiting_since: Date | null;
      completed: { name: string; at: string }[] | null;
      timeout: number;
    }>(
      `WITH files AS (SELECT name, modification FROM pg_ls_archive_statusdir())
       SELECT last_archived_wal AS last, last_archived_time AS last_at,
              last_failed_wal AS failed, last_failed_time AS failed_at,
              last_failed_time IS NOT NULL AND
                last_failed_time > coalesce(last_archived_time, '-infinity') AS failing,
              (SELECT count(*)::integer FROM files WHERE name LIKE '%.ready') AS waiting,
              (SELECT min(modification) FROM files WHERE name LIKE '%.ready') AS waiting_since,
              (SELECT json_agg(json_build_object('name', left(name, 24), 'at', modification))
                 FROM files WHERE name ~ '^[0-9A-F]{24}[.]done$') AS completed,
              (SELECT setting::integer FROM pg_settings WHERE name = 'archive_timeout') AS timeout
         FROM pg_stat_archiver`,
    );
    const [row] = rows;
    if (row === undefined) throw new Error("pg_stat_archiver is empty");
    return {
      lastWal: segmentOf(row.last),
      lastArchivedAt: row.last_at,
      completed: new Map((row.completed ?? []).map(({ name, at }) => [name, new Date(at)])),
      failing: row.failing,
      failedWal: row.failed,
      failedAt: row.failed_at,
      waiting: row.waiting,
      waitingSince: row.waiting_since,
      timeoutSeconds: row.timeout,
    };
  });
}

/**
 * The whole segment that an archived file proves: itself, or the one that a backup label belongs
 * to. A new leader begins with a history file and its predecessor's unfinished segment
 * (`…0D.partial`): neither says how far the archive reaches.
 */
export function segmentOf(archivedFile: string | null): string | null {
  return archivedFile?.match(/^([0-9A-F]{24})(\.[0-9A-F]{8}\.backup)?$/)?.[1] ?? null;
}
