import { CtmError } from "#system";
import type { Backup } from "../facts/repository.ts";
import { newestHeld, type Archive } from "./archive.ts";
import { lineageOf, newestTimeline, type LiveWal, type Stretch } from "./lineage.ts";
import { tooEarly, type Place } from "./locate.ts";
import { predict, type Durations, type Measurement, type Work } from "./rates.ts";
import { targetText, type Target } from "./target.ts";
import {
  defaultSegmentBytes,
  formatLsn,
  lsnOfSegment,
  parseLsn,
  parseSegment,
  segmentName,
  segmentNumberOf,
} from "./wal.ts";

/** What a plan is made from; nothing of it is read by the planner itself. */
export interface PlanFacts {
  /** Name of the repository that it restores from. */
  repository: string;
  archive: Archive;
  /** Of this archive, oldest first. */
  backups: readonly Backup[];
  /** The running leader; null when none answers. */
  live: LiveWal | null;
  now: Date;
  /** Free bytes where the data will stand. */
  freeBytes: number;
  measurements: readonly Measurement[];
}

/** A run of segments of one timeline, both ends included. */
export interface WalRange {
  timeline: number;
  from: string;
  to: string;
  segments: number;
}

/** What a restore would do; making it touches nothing. */
export interface Plan {
  target: Target;
  place: Place;
  repository: string;
  backup: Backup;
  /** WAL to replay, in order. */
  wal: WalRange[];
  work: Work;
  /** Segments that the server has to archive yet, which a clean stop does. */
  unarchived: number;
  gaps: WalRange[];
  space: { neededBytes: number; freeBytes: number };
  predicted: Durations;
  /** What lies between the target and now, and will be gone from the database. */
  lost: {
    /** Null where the target's time is not known. */
    ms: number | null;
    /** WAL on the live timeline after the target; null where none can be counted. */
    walBytes: number | null;
  };
  /** Why it cannot be done; empty when it can. */
  problems: CtmError[];
}

/** PostgreSQL keeps WAL until the next checkpoint, and pgBackRest reads ahead. */
const mostWalBytes = 3 * 1024 ** 3;

/**
 * Chooses the backup and the WAL for a place, and says what is in the way.
 *
 * @throws CtmError `no-backup`, `target-too-early`, `timeline-not-child`: there is nothing to plan
 */
export function makePlan(target: Target, place: Place, facts: PlanFacts): Plan {
  const { archive, live, now, freeBytes } = facts;
  const stretches = lineageOf(place.timeline, archive.histories.get(place.timeline) ?? []);
  checkTimeline(place.timeline, facts);
  const backup = chooseBackup(target, place, stretches, facts);
  const ranges = rangesFrom(backup, place.stop, stretches, facts);
  const { gaps, unarchived } = holesOf(ranges, facts);
  const work = workOf(backup, ranges, archive);
  const neededBytes =
    backup.databaseBytes + Math.min(mostWalBytes, work.segments * defaultSegmentBytes);
  const problems = [
    ...gaps.map((gap) => gapProblem(gap)),
    ...(neededBytes > freeBytes ? [spaceProblem(neededBytes, freeBytes)] : []),
    ...beyondEnd(target, place, facts),
  ];
  return {
    target,
    place,
    repository: facts.repository,
    backup,
    wal: ranges,
    work,
    unarchived,
    gaps,
    space: { neededBytes, freeBytes },
    predicted: predict(facts.measurements, work),
    lost: {
      ms: place.at === null ? null : Math.max(0, now.getTime() - place.at.getTime()),
      walBytes: lostBytes(place, live),
    },
    problems,
  };
}

/** What restoring all that is archived would take now; null without a backup to begin with. */
export function workToLatest(archive: Archive, backups: readonly Backup[]): Work | null {
  const timeline = newestTimeline(archive, null);
  const stretches = lineageOf(timeline, archive.histories.get(timeline) ?? []);
  const backup = backups.findLast((each) => !each.damaged && isOn(stretches, each));
  if (backup === undefined) return null;
  const ranges = rangesFrom(backup, { kind: "end" }, stretches, { archive, live: null });
  return workOf(backup, ranges, archive);
}

/** A timeline that nobody has heard of is a slip of the finger, not an empty one. */
function checkTimeline(timeline: number, { archive, live }: PlanFacts): void {
  const known = timeline === 1 || archive.segments.has(timeline) || archive.histories.has(timeline);
  if (known || live?.timeline === timeline) return;
  throw new CtmError("no-such-timeline", `timeline ${timeline} is not in the archive`, {
    next: `the newest is ${newestTimeline(archive, live)}; ctm backup audit`,
    exitCode: 2,
  });
}

/** The newest backup from which the place can be reached. */
function chooseBackup(
  target: Target,
  place: Place,
  stretches: readonly Stretch[],
  { backups }: PlanFacts,
): Backup {
  const whole = backups.filter(({ damaged }) => !damaged);
  if (whole.length === 0) {
    throw new CtmError("no-backup", "the repository holds no backup to restore from", {
      next: "ctm backup list",
    });
  }
  const { stop } = place;
  if (stop.kind === "consistent") {
    const chosen = backups.find(({ label }) => label === stop.label);
    if (chosen !== undefined) return chosen;
  }
  const onTheWay = whole.filter((backup) => isOn(stretches, backup));
  if (onTheWay.length === 0) {
    throw new CtmError(
      "timeline-not-child",
      `timeline ${place.timeline} is no child of the timeline of any backup: ${whole
        .map(({ label, lastWal }) => `${label} is on ${parseSegment(lastWal)?.timeline}`)
        .slice(-5)
        .join(", ")}`,
      { next: "leave --timeline out, or choose another", exitCode: 2 },
    );
  }
  const reaching = onTheWay.filter((backup) => stop.kind !== "lsn" || endOf(backup) <= stop.lsn);
  const chosen = reaching.at(-1);
  const [oldest] = onTheWay;
  if (chosen === undefined && oldest !== undefined) throw tooEarly(target, oldest);
  if (chosen === undefined) throw new Error("a backup was there a moment ago");
  return chosen;
}

/** Whether recovery from the backup meets these timelines at all. */
function isOn(stretches: readonly Stretch[], backup: Backup): boolean {
  const timeline = parseSegment(backup.lastWal)?.timeline;
  const stretch = stretches.find((each) => each.timeline === timeline);
  if (stretch === undefined) return false;
  return stretch.until === null || endOf(backup) <= stretch.until;
}

/** Where a backup becomes consistent; the end of its last segment where it does not say. */
function endOf({ stopLsn, lastWal }: Backup): bigint {
  const lsn = stopLsn === null ? undefined : parseLsn(stopLsn);
  return lsn ?? lsnOfSegment((parseSegment(lastWal)?.number ?? 0) + 1);
}

function rangesFrom(
  backup: Backup,
  stop: Place["stop"],
  stretches: readonly Stretch[],
  { archive, live }: Pick<PlanFacts, "archive" | "live">,
): WalRange[] {
  const begin = parseSegment(backup.firstWal);
  if (begin === undefined) return [];
  return stretches.flatMap(({ timeline, from, until }) => {
    if (timeline < begin.timeline) return [];
    const first = timeline === begin.timeline ? begin.number : segmentNumberOf(from);
    // A child begins with a copy of its parent's last segment, and recovery reads that one.
    const end = until === null ? Infinity : segmentNumberOf(until) - 1;
    const wanted =
      stop.kind === "lsn"
        ? segmentNumberOf(stop.lsn)
        : stop.kind === "consistent"
          ? (parseSegment(backup.lastWal)?.number ?? first)
          : // A parent is needed up to where its child left it, whatever of that is held.
            until === null
            ? newestOn(timeline, archive, live)
            : Infinity;
    const last = Math.min(end, wanted);
    return last < first ? [] : [rangeOf(timeline, first, last)];
  });
}

function newestOn(timeline: number, archive: Archive, live: LiveWal | null): number {
  const newest = newestHeld(archive, timeline);
  return live?.timeline === timeline ? Math.max(newest, segmentNumberOf(live.lsn - 1n)) : newest;
}

function holesOf(
  ranges: readonly WalRange[],
  { archive, live }: PlanFacts,
): { gaps: WalRange[]; unarchived: number } {
  const gaps: WalRange[] = [];
  let unarchived = 0;
  for (const { timeline, from, to } of ranges) {
    const held = archive.segments.get(timeline);
    const liveTo = live?.timeline === timeline ? segmentNumberOf(live.lsn - 1n) : -1;
    // What the server calls archived it will not archive again.
    const called = parseSegment(live?.archivedTo ?? "");
    const archivedTo = Math.max(
      newestHeld(archive, timeline),
      called?.timeline === timeline ? called.number : -1,
    );
    const last = numberOf(to);
    let hole: number | undefined;
    for (let number = numberOf(from); number <= last + 1; number += 1) {
      const segment = held?.get(number);
      const pending = number > archivedTo && number <= liveTo;
      if (pending && number <= last) unarchived += 1;
      const whole = number > last || pending || (segment !== undefined && !segment.duplicate);
      if (!whole) hole ??= number;
      else if (hole !== undefined) {
        gaps.push(rangeOf(timeline, hole, number - 1));
        hole = undefined;
      }
    }
  }
  return { gaps, unarchived };
}

function workOf(backup: Backup, ranges: readonly WalRange[], { segments }: Archive): Work {
  let count = 0;
  let storedWalBytes = 0;
  for (const range of ranges) {
    const held = segments.get(range.timeline);
    for (let number = numberOf(range.from); number <= numberOf(range.to); number += 1) {
      count += 1;
      storedWalBytes += held?.get(number)?.bytes ?? 0;
    }
  }
  return { databaseBytes: backup.databaseBytes, segments: count, storedWalBytes };
}

function lostBytes({ stop, timeline }: Place, live: LiveWal | null): number | null {
  if (stop.kind !== "lsn" || live === null || live.timeline !== timeline) return null;
  return Number(live.lsn > stop.lsn ? live.lsn - stop.lsn : 0n);
}

/** A place that was given, and not found, may be where no WAL is yet. */
function beyondEnd(target: Target, { stop, timeline }: Place, facts: PlanFacts): CtmError[] {
  if (stop.kind !== "lsn") return [];
  const newest = newestOn(timeline, facts.archive, facts.live);
  const end =
    facts.live?.timeline === timeline ? facts.live.lsn : lsnOfSegment(Math.max(0, newest + 1));
  if (stop.lsn < end) return [];
  return [
    new CtmError(
      "target-not-reached",
      `${targetText(target)} is beyond ${formatLsn(end)}, where timeline ${timeline} ends`,
      { next: "--to latest for everything that is archived", exitCode: 2 },
    ),
  ];
}

function gapProblem({ from, to, segments }: WalRange): CtmError {
  const which = segments === 1 ? from : `${from} to ${to} (${segments} segments)`;
  return new CtmError(
    "wal-missing",
    `the archive does not hold ${which}: nothing after it can be restored from this backup`,
    { next: "ctm backup audit; an earlier --to, or a label of ctm backup list", exitCode: 3 },
  );
}

function spaceProblem(neededBytes: number, freeBytes: number): CtmError {
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  return new CtmError(
    "disk-too-small",
    `the restored data needs ${gigabytes(neededBytes)} beside what is there, and ${gigabytes(freeBytes)} are free`,
    { next: "make room: docs/runbooks/disk-full.md" },
  );
}

function rangeOf(timeline: number, first: number, last: number): WalRange {
  return {
    timeline,
    from: segmentName({ timeline, number: first }),
    to: segmentName({ timeline, number: last }),
    segments: last - first + 1,
  };
}

function numberOf(name: string): number {
  return parseSegment(name)?.number ?? 0;
}
