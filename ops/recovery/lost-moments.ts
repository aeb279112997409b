import type { ArchiveListing } from "./archive.ts";
import type { Gap } from "./gaps.ts";
import { lineageOf, newestTimeline } from "./lineage.ts";
import { parseSegment, segmentNumberOf } from "./wal.ts";

/** Moments that no restore reaches. */
export interface LostMoments {
  /** When the segment before the hole was stored: what was committed until then is there. */
  from: Date;
  /** When the next backup ended: what follows can be restored from it; null where none followed. */
  to: Date | null;
}

/**
 * When the holes were, in the order of time: names say which WAL is missing, its neighbours say of
 * when it was. Only of the way to the newest state; other branches are beside it.
 */
export function lostMoments(
  { archives, backups }: ArchiveListing,
  gaps: readonly Gap[],
): LostMoments[] {
  const archive = archives.at(-1);
  if (archive === undefined) return [];
  const newest = newestTimeline(archive, null);
  const way = lineageOf(newest, archive.histories.get(newest) ?? []);
  return gaps
    .flatMap((gap): LostMoments[] => {
      const first = parseSegment(gap.from);
      const last = parseSegment(gap.to);
      const stretch = way.find(({ timeline }) => timeline === gap.timeline);
      if (gap.archive !== archive.id || first === undefined || last === undefined) return [];
      if (stretch === undefined || first.number < segmentNumberOf(stretch.from)) return [];
      if (stretch.until !== null && first.number > segmentNumberOf(stretch.until)) return [];
      const before = [...(archive.segments.get(gap.timeline) ?? [])]
        .filter(([number]) => number < first.number)
        .map(([, { storedAt }]) => storedAt);
      const from = latest(before) ?? backups[0]?.stoppedAt;
      if (from === undefined) return [];
      const next = backups.find(({ archiveId, damaged, firstWal, stoppedAt }) => {
        const start = parseSegment(firstWal);
        if (archiveId !== archive.id || damaged || start === undefined) return false;
        return stoppedAt > from && start.number > last.number;
      });
      return [{ from, to: next?.stoppedAt ?? null }];
    })
    .toSorted((one, other) => one.from.getTime() - other.from.getTime());
}

function latest(dates: readonly Date[]): Date | undefined {
  return dates.reduce<Date | undefined>(
    (most, date) => (most === undefined || date > most ? date : most),
    undefined,
  );
}
