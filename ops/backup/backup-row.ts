import { z } from "zod";
import type { Backup } from "../facts/repository.ts";

/** One backup, as the documents of `ctm backup` and `ctm backup list` have it. */
export const backupDocument = z.strictObject({
  label: z.string(),
  type: z.enum(["full", "diff", "incr"]),
  repository: z.int(),
  prior: z.string().nullable(),
  started_at: z.iso.datetime(),
  stopped_at: z.iso.datetime(),
  took_ms: z.int(),
  database_bytes: z.int(),
  stored_bytes: z.int(),
  first_wal: z.string(),
  last_wal: z.string(),
  damaged: z.boolean(),
});

export type BackupRow = z.infer<typeof backupDocument>;

export function backupRow(backup: Backup): BackupRow {
  return {
    label: backup.label,
    type: backup.type,
    repository: backup.repository,
    prior: backup.prior,
    started_at: backup.startedAt.toISOString(),
    stopped_at: backup.stoppedAt.toISOString(),
    took_ms: backup.stoppedAt.getTime() - backup.startedAt.getTime(),
    database_bytes: backup.databaseBytes,
    stored_bytes: backup.storedBytes,
    first_wal: backup.firstWal,
    last_wal: backup.lastWal,
    damaged: backup.damaged,
  };
}
