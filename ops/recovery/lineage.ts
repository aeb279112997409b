import type { Archive } from "./archive.ts";
import { segmentNumberOf, type Fork } from "./wal.ts";

/** A part of the way that recovery takes through the timelines. */
export interface Stretch {
  timeline: number;
  /** Where it begins: its fork from its parent. */
  from: bigint;
  /** Where its child forked; null for the last one, which goes on. */
  until: bigint | null;
}

/** What a running server has beyond the archive. */
export interface LiveWal {
  timeline: number;
  /** Its write position. */
  lsn: bigint;
  /** The segment that it archived last, by its own account; null before the first one. */
  archivedTo: string | null;
  /** Its pg_wal. */
  directory: string;
}

/** The way from the log's beginning to a timeline, oldest first. */
export function lineageOf(timeline: number, forks: readonly Fork[]): Stretch[] {
  let from = 0n;
  const ancestors = forks.map(({ parent, lsn }) => {
    const stretch = { timeline: parent, from, until: lsn };
    from = lsn;
    return stretch;
  });
  return [...ancestors, { timeline, from, until: null }];
}

/** The newest timeline that anybody knows of: the one that lives, or lived last. */
export function newestTimeline({ segments, histories }: Archive, live: LiveWal | null): number {
  return Math.max(1, live?.timeline ?? 1, ...segments.keys(), ...histories.keys());
}

/**
 * The timeline on which commits of a time are. Timelines are numbered in the order of their birth,
 * and one lived at a time: that of the newest promotion until then.
 */
export function timelineAt({ promotedAt }: Archive, at: Date): number {
  const born = [...promotedAt].filter(([, when]) => when <= at).map(([timeline]) => timeline);
  return Math.max(1, ...born);
}

/** A segment on the way, with where it can be read. */
export interface Step {
  timeline: number;
  number: number;
  /** When the repository received it; null where only the server has it. */
  storedAt: Date | null;
}

/** Every segment on a lineage that can be read, oldest first. */
export function stepsOf(
  stretches: readonly Stretch[],
  { segments }: Archive,
  live: LiveWal | null,
): Step[] {
  return stretches.flatMap(({ timeline, from, until }) => {
    const first = segmentNumberOf(from);
    // The child begins with a copy of the segment in which it left its parent.
    const end = until === null ? Infinity : segmentNumberOf(until);
    const archived = [...(segments.get(timeline) ?? [])]
      .filter(([number]) => number >= first && number < end)
      .map(([number, { storedAt }]): Step => ({ timeline, number, storedAt }))
      .toSorted((one, other) => one.number - other.number);
    if (live?.timeline !== timeline) return archived;
    // At a segment's very beginning, its file may not be there yet.
    const last = segmentNumberOf(live.lsn - 1n);
    const begin = (archived.at(-1)?.number ?? first - 1) + 1;
    const unarchived = Array.from({ length: Math.max(0, last - begin + 1) }, (_, index) => ({
      timeline,
      number: begin + index,
      storedAt: null,
    }));
    return [...archived, ...unarchived];
  });
}
