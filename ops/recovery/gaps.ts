import type { Backup } from "../facts/repository.ts";
import { newestHeld, type Archive, type ArchiveListing } from "./archive.ts";
import { lineageOf } from "./lineage.ts";
import {
  historyName,
  parseLsn,
  parseSegment,
  segmentName,
  segmentNumberOf,
  type Fork,
  type Segment,
} from "./wal.ts";

/** WAL that a restore would need and that the repository does not hold. */
export interface Gap {
  /** Name in the descriptor. */
  repository: string;
  /** Such as 15-1. */
  archive: string;
  timeline: number;
  /** First and last segment that is wrong, both included; or twice the history file. */
  from: string;
  to: string;
  /** How many segments; 0 for a history file. */
  segments: number;
  /**
   * `missing`: no file of that name. `duplicate`: two files with other content, of which
   * pgBackRest takes neither. `history`: the file that says where the timeline began is missing.
   */
  kind: "missing" | "duplicate" | "history";
  /** Labels of the backups that cannot be restored at all, since the hole is inside their own range. */
  backups: string[];
}

/** What shall be recoverable. */
export interface AuditWindow {
  /** Any moment from here on. */
  from: Date;
  /**
   * Newest segment that the server calls archived, so that a loss at the end is found; null when
   * nobody knows, and the newest segment of the archive is then the end.
   */
  archivedTo: string | null;
}

/** A run of segments of one timeline that a restore reads, both ends included. */
interface Range {
  timeline: number;
  first: number;
  last: number;
}

/**
 * Every hole, in the order of archive, timeline and place: in what the window needs on every
 * timeline that lived in it, and inside each backup's own range. Pure, and linear in the number of
 * segments.
 */
export function auditArchive(
  listing: ArchiveListing,
  backups: readonly Backup[],
  window: AuditWindow,
): Gap[] {
  const newest = listing.archives.at(-1);
  return listing.archives.flatMap((archive) => {
    const own = backups.filter(({ archiveId }) => archiveId === archive.id);
    const place = { repository: listing.repository, archive: archive.id };
    const archivedTo =
      archive === newest && window.archivedTo !== null
        ? parseSegment(window.archivedTo)
        : undefined;
    const ends = endsOf(archive, archivedTo);
    const ownRanges = rangesOf(own);
    const gaps = neededRanges(archive, own, window.from, ends)
      .flatMap((range) => holesIn(archive, range))
      .map(({ timeline, first, last, kind }): Gap => ({
        ...place,
        timeline,
        from: segmentName({ timeline, number: first }),
        to: segmentName({ timeline, number: last }),
        segments: last - first + 1,
        kind,
        backups: ownRanges
          .filter(
            (range) => range.timeline === timeline && range.first <= last && range.last >= first,
          )
          .map(({ label }) => label),
      }));
    return [...missingHistories(archive, own, ends).map((gap) => ({ ...place, ...gap })), ...gaps];
  });
}

/** Every segment, held or not, that the window and the backups need. */
export function* neededSegments(
  archive: Archive,
  backups: readonly Backup[],
  windowStart: Date,
): Generator<Segment> {
  const ends = endsOf(archive, undefined);
  for (const range of neededRanges(archive, backups, windowStart, ends)) {
    for (let number = range.first; number <= range.last; number += 1) {
      yield { timeline: range.timeline, number };
    }
  }
}

/**
 * The segment with which a recovery along the newest timeline ends, or undefined for an empty
 * archive. A timeline that has archived nothing yet ends where it left its parent.
 */
export function newestSegment(archive: Archive): Segment | undefined {
  const ends = endsOf(archive, undefined);
  const timeline = Math.max(0, ...ends.keys(), ...archive.histories.keys());
  const end = ends.get(timeline);
  if (end !== undefined) return { timeline, number: end };
  const fork = archive.histories.get(timeline)?.at(-1);
  const parentEnd = fork === undefined ? undefined : ends.get(fork.parent);
  if (fork === undefined || parentEnd === undefined) return undefined;
  return {
    timeline: fork.parent,
    number: Math.min(parentEnd, segmentNumberOf(fork.lsn)),
  };
}

/**
 * The moment from which on any can be recovered: the window's start, or the end of the oldest
 * backup where none is older than that; null without a backup. Holes are the audit's to tell.
 */
export function recoverableFrom(backups: readonly Backup[], windowStart: Date): Date | null {
  const [oldest] = backups;
  if (oldest === undefined) return null;
  return oldest.stoppedAt > windowStart ? oldest.stoppedAt : windowStart;
}

/** Newest segment of each timeline: of the archive, or the one that the server calls archived. */
function endsOf(archive: Archive, archivedTo: Segment | undefined): Map<number, number> {
  const ends = new Map(
    [...archive.segments.keys()].map((timeline) => [timeline, newestHeld(archive, timeline)]),
  );
  if (archivedTo !== undefined) {
    const { timeline, number } = archivedTo;
    ends.set(timeline, Math.max(number, ends.get(timeline) ?? -1));
  }
  return ends;
}

function neededRanges(
  archive: Archive,
  backups: readonly Backup[],
  from: Date,
  ends: ReadonlyMap<number, number>,
): Range[] {
  return merge([...rangesOf(backups), ...windowRanges(archive, backups, from, ends)]);
}

/** Each backup's own range: without all of it, the backup is none. */
function rangesOf(backups: readonly Backup[]): (Range & { label: string })[] {
  return backups.flatMap((backup) => {
    const range = rangeOf(backup);
    return range === undefined ? [] : [{ ...range, label: backup.label }];
  });
}

/** What a recovery to the end of each timeline that lived in the window reads. */
function windowRanges(
  { histories }: Archive,
  backups: readonly Backup[],
  from: Date,
  ends: ReadonlyMap<number, number>,
): Range[] {
  const base = backups.findLast(({ stoppedAt }) => stoppedAt <= from) ?? backups[0];
  const firstTimeline = base === undefined ? undefined : rangeOf(base)?.timeline;
  if (firstTimeline === undefined) return [];
  return [...tipsOf(histories, ends)].flatMap(([timeline, end]) => {
    // Timelines are numbered in the order of their birth: an older one had ended by then.
    if (timeline < firstTimeline) return [];
    const path = pathTo(timeline, end, histories.get(timeline) ?? []);
    const reachable = backups.filter((backup) => isOn(path, backup));
    const root = reachable.findLast(({ stoppedAt }) => stoppedAt <= from) ?? reachable[0];
    const start = root === undefined ? undefined : rangeOf(root);
    if (start === undefined) return [];
    return path.flatMap((part): Range[] => {
      if (part.timeline < start.timeline) return [];
      const first = part.timeline === start.timeline ? start.first : part.first;
      return first > part.last ? [] : [{ timeline: part.timeline, first, last: part.last }];
    });
  });
}

/**
 * Where a recovery along each timeline ends. One of which no WAL is archived yet needs its parents'
 * all the same: when Patroni recovers a crashed leader, it forgets which segments still wait to be
 * archived (cleanup_archive_status of patroni/postgresql/rewind.py).
 */
function tipsOf(
  histories: Archive["histories"],
  ends: ReadonlyMap<number, number>,
): Map<number, number> {
  const tips = new Map(ends);
  for (const [timeline, forks] of histories) {
    const fork = forks.at(-1);
    if (fork === undefined || tips.has(timeline)) continue;
    tips.set(timeline, segmentNumberOf(fork.lsn) - 1);
  }
  return tips;
}

/** A timeline's share of the way to another; `left` is where the next one leaves it. */
interface PathPart extends Range {
  left: bigint | null;
}

/** The WAL from the log's beginning to the end of a timeline, through its ancestors. */
function pathTo(timeline: number, end: number, forks: readonly Fork[]): PathPart[] {
  return lineageOf(timeline, forks).map(({ timeline: each, from, until }) => ({
    timeline: each,
    first: segmentNumberOf(from),
    // The child begins with a copy of the segment in which it left its parent.
    last: until === null ? end : segmentNumberOf(until) - 1,
    left: until,
  }));
}

/** Whether a recovery that starts with the backup can follow the path to its end. */
function isOn(path: readonly PathPart[], backup: Backup): boolean {
  const timeline = parseTimeline(backup.firstWal);
  const part = path.find((each) => each.timeline === timeline);
  if (part === undefined || part.left === null) return part !== undefined;
  const stop = parseLsn(backup.stopLsn ?? "");
  return stop !== undefined && stop <= part.left;
}

function parseTimeline(segment: string): number {
  return Number.parseInt(segment.slice(0, 8), 16);
}

function rangeOf({ firstWal, lastWal }: Backup): Range | undefined {
  const first = parseSegment(firstWal);
  const last = parseSegment(lastWal);
  if (first === undefined || last === undefined) return undefined;
  return { timeline: first.timeline, first: first.number, last: last.number };
}

/** The same segments as ranges that neither overlap nor touch, by timeline and place. */
function merge(ranges: readonly Range[]): Range[] {
  const merged: Range[] = [];
  const sorted = ranges.toSorted(
    (one, other) => one.timeline - other.timeline || one.first - other.first,
  );
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last?.timeline === range.timeline && range.first <= last.last + 1) {
      last.last = Math.max(last.last, range.last);
    } else {
      merged.push({ timeline: range.timeline, first: range.first, last: range.last });
    }
  }
  return merged;
}

function holesIn(
  { segments }: Archive,
  { timeline, first, last }: Range,
): (Range & { kind: "missing" | "duplicate" })[] {
  const held = segments.get(timeline);
  const holes: (Range & { kind: "missing" | "duplicate" })[] = [];
  for (let number = first; number <= last; number += 1) {
    const segment = held?.get(number);
    if (segment !== undefined && !segment.duplicate) continue;
    const kind = segment === undefined ? "missing" : "duplicate";
    const previous = holes.at(-1);
    if (previous?.last === number - 1 && previous.kind === kind) previous.last = number;
    else holes.push({ timeline, first: number, last: number, kind });
  }
  return holes;
}

/** Without its history file, no recovery finds the way to a timeline from a backup of another. */
function missingHistories(
  { histories }: Archive,
  backups: readonly Backup[],
  ends: ReadonlyMap<number, number>,
): Omit<Gap, "repository" | "archive">[] {
  const own = new Set(backups.map(({ firstWal }) => parseTimeline(firstWal)));
  return [...ends.keys()]
    .filter((timeline) => timeline > 1 && !histories.has(timeline) && !own.has(timeline))
    .toSorted((one, other) => one - other)
    .map((timeline) => ({
      timeline,
      from: historyName(timeline),
      to: historyName(timeline),
      segments: 0,
      kind: "history",
      backups: [],
    }));
}
