import { z } from "zod";
import type { Descriptor } from "#stack";
import { durationText } from "../text.ts";
import { modelled, predict, type Durations, type Measurement, type Work } from "./rates.ts";

type Policy = Descriptor["backup"]["policy"];

/** Seconds between two rounds of the far copy's service: its share of the lag when all is well. */
export const farRoundSeconds = 10;

/** What is wrong, and what to do about it. */
export const findingDocument = z.strictObject({
  code: z.string(),
  message: z.string(),
  next: z.string(),
});
export type Finding = z.infer<typeof findingDocument>;

/** What backups promise, beside what holds now; null where that is unknown. */
export const objectivesDocument = z.strictObject({
  rpo_ms: z.int(),
  /** How old the oldest work outside of the near repository can be. */
  unarchived_ms: z.int().nullable(),
  rto_ms: z.int(),
  /** How long a restore in place of everything that is archived would take. */
  restore_ms: z.int().nullable(),
});

/** When backups are due. */
export const scheduleDocument = z.strictObject({
  /** UTC, such as 02:00; daily. */
  full_at: z.string(),
  incremental_minutes: z.int(),
  /** Not configured: the longest interval with which a restore stays within the RTO. */
  derived: z.boolean(),
});

/** What a policy is held against. */
export interface Observed {
  now: Date;
  /** The newest backup that can be restored; null where there is none, or nobody knows. */
  newest: { startedAt: Date; stoppedAt: Date } | null;
  /** A backup runs now. */
  running: boolean;
  /** Of restoring all that is archived, from that backup. */
  work: Work | null;
  /** WAL of the busiest hour of the last day; null where the archive cannot be listed. */
  busiestHour: Wal | null;
  measurements: readonly Measurement[];
  /** What the leader says; null where none answers. */
  archiver: {
    waitingSince: Date | null;
    /** The leader's own archive_timeout; 0 where that is off. */
    timeoutSeconds: number;
  } | null;
}

export type Wal = Pick<Work, "segments" | "storedWalBytes">;

export interface Assessment {
  objectives: z.infer<typeof objectivesDocument>;
  schedule: z.infer<typeof scheduleDocument>;
  /** A promise that is broken. */
  problems: Finding[];
  /** Means that are not kept, with the promise still whole. */
  warnings: Finding[];
}

/** Minutes between incrementals: an hour at most, and shares of it, so that each hour is alike. */
const longestInterval = 60;
const shortestInterval = 5;
const intervals = [longestInterval, 30, 20, 15, 10, shortestInterval];

/** By how much a restore may take longer than predicted (docs/decisions/0076). */
const predictionError = 1.25;

const minuteMs = 60_000;

/** `up` writes Patroni's settings anew; those of ALTER SYSTEM are over them. */
const repairTimeout =
  'npm run up; where ALTER SYSTEM set it: ctm psql --role postgres -- -c "ALTER SYSTEM RESET archive_timeout" -c "SELECT pg_reload_conf()"';

/** Where no backup more often helps. */
const noFasterWay = "faster disks, more cores (ctm:cores), or a longer ctm:rtoMinutes";

/**
 * What of a policy cannot be held whatever the stack does, by its key. Pure, so that it can be
 * refused before anything exists.
 */
export function contradictions(
  policy: Pick<
    Policy,
    "archiveTimeoutSeconds" | "incrementalMinutes" | "rpoMinutes" | "rtoMinutes"
  >,
  { hasFarCopy }: { hasFarCopy: boolean },
): { key: keyof Policy; message: string }[] {
  const { archiveTimeoutSeconds, incrementalMinutes, rpoMinutes, rtoMinutes } = policy;
  const found: { key: keyof Policy; message: string }[] = [];
  const roundSeconds = hasFarCopy ? farRoundSeconds : 0;
  const rpoSeconds = rpoMinutes * 60;
  if (archiveTimeoutSeconds + roundSeconds >= rpoSeconds) {
    const far = hasFarCopy ? ` and ${roundSeconds} s until the far copy has it` : "";
    found.push({
      key: "archiveTimeoutSeconds",
      message: `${archiveTimeoutSeconds} s until WAL is archived${far} are not within rpoMinutes, which is ${rpoMinutes}: at most ${rpoSeconds - roundSeconds - 1}`,
    });
  }
  if (incrementalMinutes === null) return found;
  const leastMs = (minutes: number): number =>
    total(modelled({ databaseBytes: 0, ...leastWal(minutes, archiveTimeoutSeconds) }));
  if (leastMs(incrementalMinutes) > rtoMinutes * minuteMs) {
    let longest = incrementalMinutes;
    while (longest > shortestInterval && leastMs(longest) > rtoMinutes * minuteMs) longest -= 1;
    const { segments } = leastWal(incrementalMinutes, archiveTimeoutSeconds);
    found.push({
      key: "incrementalMinutes",
      message: `in ${incrementalMinutes} min an archive_timeout of ${archiveTimeoutSeconds} s makes ${segments} segments of WAL, a restore of which takes about ${durationText(leastMs(incrementalMinutes))}, and rtoMinutes is ${rtoMinutes}: at most ${longest}`,
    });
  }
  return found;
}

/** A policy held against what there is. */
export function assess(policy: Policy, observed: Observed): Assessment {
  const schedule = scheduleOf(policy, observed);
  const unarchivedMs = unarchived(observed);
  const restoreMs =
    observed.work === null ? null : total(predict(observed.measurements, observed.work));
  const tooSlow = judgeDuration(policy, observed, restoreMs);
  return {
    objectives: {
      rpo_ms: policy.rpoMinutes * minuteMs,
      unarchived_ms: unarchivedMs,
      rto_ms: policy.rtoMinutes * minuteMs,
      restore_ms: restoreMs,
    },
    schedule,
    problems: [...judgeLoss(policy, observed, unarchivedMs), ...tooSlow],
    warnings: [
      // What is too slow now needs no forecast.
      ...(tooSlow.length > 0 ? [] : judgeInterval(policy, observed, schedule)),
      ...judgeLateness(observed, schedule.incremental_minutes),
    ],
  };
}

/**
 * The WAL of the busiest hour of the last day: what an interval between backups has to be ready for.
 *
 * @param segments what the archive stores of each, on every timeline
 */
export function busiestHour(segments: Iterable<{ bytes: number; storedAt: Date }>, now: Date): Wal {
  const hours = Array.from({ length: 24 }, () => ({ segments: 0, storedWalBytes: 0 }));
  for (const { bytes, storedAt } of segments) {
    const hour = hours[Math.floor((now.getTime() - storedAt.getTime()) / (60 * minuteMs))];
    if (hour === undefined) continue;
    hour.segments += 1;
    hour.storedWalBytes += bytes;
  }
  const replayMs = (wal: Wal): number => modelled({ databaseBytes: 0, ...wal }).replayMs;
  return hours.reduce((most, hour) => (replayMs(hour) > replayMs(most) ? hour : most));
}

function scheduleOf(policy: Policy, observed: Observed): Assessment["schedule"] {
  const { fullAt, incrementalMinutes, rtoMinutes } = policy;
  const fits = (minutes: number): boolean =>
    longestRestore(policy, observed, minutes) <= rtoMinutes * minuteMs;
  // Where one backup after the other would not do, no interval does.
  const derived = fits(0) ? (intervals.find(fits) ?? shortestInterval) : longestInterval;
  return {
    full_at: fullAt,
    incremental_minutes: incrementalMinutes ?? derived,
    derived: incrementalMinutes === null,
  };
}

/** How long a restore may take at worst, just before the next backup is of use. */
function longestRestore(policy: Policy, observed: Observed, minutes: number): number {
  const { newest, work, busiestHour: hour, measurements } = observed;
  // A backup needs the WAL from its start, and is of no use before its end.
  const backupMs = newest === null ? 0 : newest.stoppedAt.getTime() - newest.startedAt.getTime();
  const hours = (minutes + backupMs / minuteMs) / 60;
  const least = leastWal(hours * 60, policy.archiveTimeoutSeconds);
  const expected = predict(measurements, {
    databaseBytes: work?.databaseBytes ?? 0,
    segments: Math.max(least.segments, Math.ceil((hour?.segments ?? 0) * hours)),
    storedWalBytes: Math.ceil((hour?.storedWalBytes ?? 0) * hours),
  });
  return total(expected) * predictionError;
}

/** What archive_timeout alone makes of a database that is written to: segments that are almost empty. */
function leastWal(minutes: number, archiveTimeoutSeconds: number): Wal {
  return { segments: Math.ceil((minutes * 60) / archiveTimeoutSeconds), storedWalBytes: 0 };
}

function total({ filesMs, replayMs, otherMs }: Durations): number {
  return filesMs + replayMs + otherMs;
}

function unarchived({ now, archiver }: Observed): number | null {
  if (archiver === null || archiver.timeoutSeconds === 0) return null;
  const { waitingSince, timeoutSeconds } = archiver;
  const waitingMs = waitingSince === null ? 0 : Math.max(0, now.getTime() - waitingSince.getTime());
  // A segment's first commit may be older than its completion by the timeout.
  return waitingMs + timeoutSeconds * 1000;
}

function judgeLoss(policy: Policy, { archiver }: Observed, ms: number | null): Finding[] {
  const rpo = `the RPO is ${policy.rpoMinutes} min`;
  const code = "rpo-exceeded";
  if (archiver?.timeoutSeconds === 0) {
    const message = `archive_timeout is off on the leader: nobody knows how old work may be that is not archived, and ${rpo}`;
    return [{ code, message, next: repairTimeout }];
  }
  if (ms === null || ms <= policy.rpoMinutes * minuteMs) return [];
  const message = `work of the last ${durationText(ms)} is not archived yet, and ${rpo}`;
  const isLate = (archiver?.waitingSince ?? null) !== null;
  return [
    {
      code,
      message: isLate ? message : `${message}: archive_timeout is ${archiver?.timeoutSeconds} s`,
      next: isLate ? "ctm doctor" : repairTimeout,
    },
  ];
}

function judgeDuration(policy: Policy, observed: Observed, ms: number | null): Finding[] {
  const { work, measurements } = observed;
  const rtoMs = policy.rtoMinutes * minuteMs;
  if (work === null || ms === null || ms <= rtoMs) return [];
  const afresh = total(predict(measurements, { ...work, segments: 1, storedWalBytes: 0 }));
  return [
    {
      code: "rto-exceeded",
      message: `a restore would take about ${durationText(ms)}, ${durationText(afresh)} of it without any WAL to replay, and the RTO is ${policy.rtoMinutes} min`,
      next: afresh <= rtoMs ? "ctm backup incr" : noFasterWay,
    },
  ];
}

function judgeInterval(
  policy: Policy,
  observed: Observed,
  { incremental_minutes: minutes }: Assessment["schedule"],
): Finding[] {
  const longestMs = longestRestore(policy, observed, minutes);
  if (longestMs <= policy.rtoMinutes * minuteMs) return [];
  const better = scheduleOf({ ...policy, incrementalMinutes: null }, observed).incremental_minutes;
  return [
    {
      code: "interval-too-long",
      message: `with incrementals every ${minutes} min and the WAL of the last day's busiest hour, a restore may take ${durationText(longestMs)}, and the RTO is ${policy.rtoMinutes} min`,
      next:
        better < minutes
          ? `pulumi config set ctm:incrementalMinutes ${better}, and npm run up`
          : noFasterWay,
    },
  ];
}

/** Late is what was missed twice: a backup takes its time, and one may meet another. */
function judgeLateness({ now, newest, running }: Observed, minutes: number): Finding[] {
  if (newest === null || running) return [];
  const ageMs = now.getTime() - newest.startedAt.getTime();
  if (ageMs <= 2 * minutes * minuteMs) return [];
  return [
    {
      code: "backup-late",
      message: `the newest backup is ${durationText(ageMs)} old, and one is due every ${minutes} min`,
      next: "ctm backup incr",
    },
  ];
}
