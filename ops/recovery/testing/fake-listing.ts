import type { Backup } from "../../facts/repository.ts";
import { archivesOf, type ArchiveFile, type ArchiveListing } from "../archive.ts";
import { formatLsn, historyName, lsnOfSegment, segmentName, type Fork } from "../wal.ts";

/** A timeline of an invented archive: its segments, and where it left its parents. */
export interface FakeTimeline {
  timeline: number;
  first: number;
  last: number;
  forks?: Fork[];
}

const epoch = Date.parse("2026-11-01T00:00:00Z");

/** A repository as it would be listed, one segment a minute. */
export function fakeListing(
  timelines: readonly FakeTimeline[],
  backups: readonly Backup[],
  without: ReadonlySet<string> = new Set(),
): ArchiveListing {
  const files: ArchiveFile[] = [];
  for (const { timeline, first, last, forks } of timelines) {
    if (forks !== undefined) {
      files.push({ path: `15-1/${historyName(timeline)}`, bytes: 64, storedAt: minute(first) });
    }
    for (let number = first; number <= last; number += 1) {
      const name = segmentName({ timeline, number });
      if (without.has(name)) continue;
      files.push({
        path: `15-1/${name.slice(0, 16)}/${name}-${"0".repeat(40)}.zst`,
        bytes: 1_000_000,
        storedAt: minute(number),
      });
    }
  }
  const archives = archivesOf(files);
  for (const { timeline, forks } of timelines) {
    if (forks !== undefined) archives[0]?.histories.set(timeline, forks);
  }
  return { repository: "near", archives, backups: [...backups] };
}

/** A full backup that began and ended in these segments. */
export function fakeBackup(timeline: number, first: number, last = first): Backup {
  const startedAt = minute(first);
  return {
    label: `${startedAt.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-")}F`,
    type: "full",
    repository: 1,
    prior: null,
    startedAt,
    stoppedAt: minute(last + 0.5),
    databaseBytes: 1_000_000_000,
    storedBytes: 100_000_000,
    firstWal: segmentName({ timeline, number: first }),
    lastWal: segmentName({ timeline, number: last }),
    startLsn: formatLsn(lsnOfSegment(first) + 40n),
    stopLsn: formatLsn(lsnOfSegment(last) + 256n),
    archiveId: "15-1",
    damaged: false,
  };
}

/** When the segment of that number was complete. */
export function minute(number: number): Date {
  return new Date(epoch + number * 60_000);
}
