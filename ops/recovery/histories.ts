import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { CtmError, runAs, writeFileAtomic } from "#system";
import type { Archive } from "./archive.ts";
import { newestTimeline } from "./lineage.ts";
import { formatLsn, historyName, parseHistoryName } from "./wal.ts";

/**
 * Puts the history file of every timeline that was ever begun into a server's pg_wal, before it
 * begins a new one.
 *
 * PostgreSQL numbers a new timeline after the newest one whose history file it finds, in the archive
 * or in pg_wal, and takes anything that keeps restore_command from answering for there being none
 * (findNewestTimeLine, src/backend/access/transam/timeline.c). It fails once the archive's end was
 * reached (`freeze`), and while the archive is away. A number would be taken twice, and two histories
 * of the cluster would claim the same names (docs/decisions/0094-a-new-timeline-is-newer.md).
 *
 * @param options.before data directory whose own timelines may not be in the archive
 * @param options.user OS user that runs PostgreSQL
 */
export async function placeHistories(
  data: string,
  { histories }: Pick<Archive, "histories">,
  options: { user: string; before?: string },
): Promise<void> {
  const texts = new Map(
    [...histories].map(([timeline, forks]) => [
      historyName(timeline),
      forks.map(({ parent, lsn }) => `${parent}\t${formatLsn(lsn)}\tas archived\n`).join(""),
    ]),
  );
  if (options.before !== undefined) {
    const folder = join(options.before, "pg_wal");
    for (const name of await readdir(folder)) {
      if (parseHistoryName(name) === undefined || texts.has(name)) continue;
      texts.set(name, await readFile(join(folder, name), "utf8"));
    }
  }
  const { identity } = await runAs(options.user);
  const folder = join(data, "pg_wal");
  const there = new Set(await readdir(folder));
  for (const [name, text] of texts) {
    if (there.has(name)) continue;
    await writeFileAtomic(join(folder, name), text, { mode: 0o600, owner: identity });
  }
}

/**
 * A timeline that was begun must be newer than every other one.
 *
 * @throws CtmError `timeline-taken`
 */
export function checkNewTimeline(timeline: number, archive: Archive): void {
  const newest = newestTimeline(archive, null);
  if (timeline > newest) return;
  throw new CtmError(
    "timeline-taken",
    `the server began timeline ${timeline}, and the archive knows timelines up to ${newest}: their WAL has the same names`,
    { next: "ctm backup audit" },
  );
}
