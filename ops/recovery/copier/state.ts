import { z } from "zod";
import { readFileIfExists } from "#system";

/** What the copier says of itself, in a file that everybody may read. */
export const copierState = z.strictObject({
  /** When this was written: at least once a minute while the copier lives. */
  at: z.iso.datetime(),
  /** When the far copy was last seen to hold all that the near repository held. */
  complete_at: z.iso.datetime().nullable(),
  /** Bytes and files that the far one lacks; null before it could be listed. */
  behind_bytes: z.int().nullable(),
  behind_files: z.int().nullable(),
  /** Age of the oldest of them. */
  behind_since: z.iso.datetime().nullable(),
  /** Newest WAL segment of the far one. */
  newest_wal: z.string().nullable(),
  /** Since when every attempt fails, and the last one's words. */
  failing_since: z.iso.datetime().nullable(),
  error: z.string().nullable(),
});

export type CopierState = z.infer<typeof copierState>;

/** What the copier last wrote; undefined before its first round. */
export async function readCopierState(path: string): Promise<CopierState | undefined> {
  const text = await readFileIfExists(path);
  return text === undefined ? undefined : copierState.parse(JSON.parse(text));
}
