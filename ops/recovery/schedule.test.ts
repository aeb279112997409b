import { describe, expect, test } from "vitest";
import { firstBackupPolicy, type Descriptor } from "#stack";
import type { Measurement } from "./rates.ts";
import { modelled } from "./rates.ts";
import { assess, busiestHour, contradictions, type Observed } from "./schedule.ts";

const now = new Date("2026-11-24T12:00:00Z");
const ago = (minutes: number): Date => new Date(now.getTime() - minutes * 60_000);
const policy: Descriptor["backup"]["policy"] = firstBackupPolicy;

/** A database of 10 GB, backed up half an hour ago, that fills 200 segments an hour. */
const quiet: Observed = {
  now,
  newest: { startedAt: ago(30), stoppedAt: ago(29) },
  running: false,
  work: { databaseBytes: 10e9, segments: 100, storedWalBytes: 400e6 },
  busiestHour: { segments: 200, storedWalBytes: 800e6 },
  measurements: [],
  archiver: { waitingSince: null, timeoutSeconds: 60 },
};

describe("a policy that breaks its own promise", () => {
  test.each<[what: string, change: Partial<typeof policy>, far: boolean, expected: string[]]>([
    ["none does", {}, true, []],
    ["room for the archive alone", { rpoMinutes: 1, archiveTimeoutSeconds: 59 }, false, []],
    [
      "the timeout is the RPO",
      { rpoMinutes: 1 },
      false,
      [
        "archiveTimeoutSeconds: 60 s until WAL is archived are not within rpoMinutes, which is 1: at most 59",
      ],
    ],
    [
      "the far copy comes after it",
      { rpoMinutes: 1, archiveTimeoutSeconds: 50 },
      true,
      [
        "archiveTimeoutSeconds: 50 s until WAL is archived and 10 s until the far copy has it are not within rpoMinutes, which is 1: at most 49",
      ],
    ],
    ["a long interval with few segments", { incrementalMinutes: 1440 }, false, []],
    [
      "so many segments take longer than the RTO",
      { incrementalMinutes: 1440, archiveTimeoutSeconds: 1 },
      false,
      [
        "incrementalMinutes: in 1440 min an archive_timeout of 1 s makes 86400 segments of WAL, a restore of which takes about 72 min, and rtoMinutes is 30: at most 594",
      ],
    ],
  ])("%s", (_, change, hasFarCopy, expected) => {
    const broken = contradictions({ ...policy, ...change }, { hasFarCopy });
    expect(broken.map(({ key, message }) => `${key}: ${message}`)).toEqual(expected);
  });

  test("what is called the most is accepted", () => {
    const change = { incrementalMinutes: 594, archiveTimeoutSeconds: 1 };
    expect(contradictions({ ...policy, ...change }, { hasFarCopy: false })).toEqual([]);
  });
});

test("what holds is told beside what was promised", () => {
  expect(assess(policy, quiet)).toEqual({
    objectives: { rpo_ms: 900_000, unarchived_ms: 60_000, rto_ms: 1_800_000, restore_ms: 57_000 },
    schedule: { full_at: "02:00", incremental_minutes: 60, derived: true },
    problems: [],
    warnings: [],
  });
});

test("where nobody answers, nothing is known and nothing is wrong", () => {
  const silent = { ...quiet, newest: null, work: null, busiestHour: null, archiver: null };
  expect(assess(policy, silent)).toMatchObject({
    objectives: { unarchived_ms: null, restore_ms: null },
    schedule: { incremental_minutes: 60 },
    problems: [],
    warnings: [],
  });
});

const repair =
  'npm run up; where ALTER SYSTEM set it: ctm psql --role postgres -- -c "ALTER SYSTEM RESET archive_timeout" -c "SELECT pg_reload_conf()"';

describe("one finding", () => {
  test.each<[what: string, change: Partial<Observed>, of: Partial<typeof policy>, text: string]>([
    [
      "archiving hangs",
      { archiver: { waitingSince: ago(15), timeoutSeconds: 60 } },
      {},
      "problem rpo-exceeded: work of the last 16 min is not archived yet, and the RPO is 15 min -> ctm doctor",
    ],
    [
      "somebody raised the timeout",
      { archiver: { waitingSince: null, timeoutSeconds: 3600 } },
      {},
      `problem rpo-exceeded: work of the last 60 min is not archived yet, and the RPO is 15 min: archive_timeout is 3600 s -> ${repair}`,
    ],
    [
      "somebody switched the timeout off",
      { archiver: { waitingSince: null, timeoutSeconds: 0 } },
      {},
      `problem rpo-exceeded: archive_timeout is off on the leader: nobody knows how old work may be that is not archived, and the RPO is 15 min -> ${repair}`,
    ],
    [
      "too much WAL since the backup",
      { work: { databaseBytes: 10e9, segments: 20_000, storedWalBytes: 60e9 } },
      {},
      "problem rto-exceeded: a restore would take about 42 min, 42 s of it without any WAL to replay, and the RTO is 30 min -> ctm backup incr",
    ],
    [
      "one backup was missed and another",
      { newest: { startedAt: ago(121), stoppedAt: ago(120) } },
      {},
      "warning backup-late: the newest backup is 2 h old, and one is due every 60 min -> ctm backup incr",
    ],
    [
      "an interval that somebody chose is too long for the busiest hour",
      { busiestHour: { segments: 3_000, storedWalBytes: 30e9 } },
      { incrementalMinutes: 240 },
      "warning interval-too-long: with incrementals every 240 min and the WAL of the last day's busiest hour, a restore may take 76 min, and the RTO is 30 min -> pulumi config set ctm:incrementalMinutes 60, and npm run up",
    ],
  ])("%s", (_, change, of, text) => {
    const { problems, warnings } = assess({ ...policy, ...of }, { ...quiet, ...change });
    const told = [
      ...problems.map((each) => ({ kind: "problem", ...each })),
      ...warnings.map((each) => ({ kind: "warning", ...each })),
    ].map(({ kind, code, message, next }) => `${kind} ${code}: ${message} -> ${next}`);
    expect(told).toEqual([text]);
  });

  test("that no backup mends says so", () => {
    const work = { databaseBytes: 1e12, segments: 1, storedWalBytes: 0 };
    const { problems, warnings } = assess(policy, { ...quiet, work });
    expect(warnings).toEqual([]);
    expect(problems.map((each) => [each.code, each.next])).toEqual([
      ["rto-exceeded", "faster disks, more cores (ctm:cores), or a longer ctm:rtoMinutes"],
    ]);
  });
});

test("a backup that runs is not late", () => {
  const late = { newest: { startedAt: ago(500), stoppedAt: ago(499) }, running: true };
  expect(assess(policy, { ...quiet, ...late }).warnings).toEqual([]);
});

describe("the derived interval", () => {
  const hour = (gigabytes: number) => ({
    segments: 64 * gigabytes,
    storedWalBytes: gigabytes * 1e9,
  });
  test.each<[what: string, change: Partial<Observed>, rtoMinutes: number, minutes: number]>([
    ["an idle database", { busiestHour: { segments: 0, storedWalBytes: 0 } }, 30, 60],
    ["a busy one", { busiestHour: hour(80) }, 30, 30],
    ["a busier one", { busiestHour: hour(300) }, 30, 5],
    ["a short RTO", { busiestHour: hour(20) }, 5, 20],
    ["nothing helps", { busiestHour: hour(10_000) }, 30, 60],
    [
      "a long backup, of no use before its end",
      { busiestHour: hour(80), newest: { startedAt: ago(30), stoppedAt: ago(10) } },
      30,
      15,
    ],
    [
      "a disk that is measured to be slow",
      { busiestHour: hour(20), measurements: [measured(8)] },
      30,
      10,
    ],
    [
      "files that alone take too long",
      { work: { databaseBytes: 1e12, segments: 1, storedWalBytes: 0 } },
      30,
      60,
    ],
    [
      "one that is measured to be fast",
      { busiestHour: hour(80), measurements: [measured(0.4)] },
      30,
      60,
    ],
  ])("of %s", (_, change, rtoMinutes, minutes) => {
    const { schedule } = assess({ ...policy, rtoMinutes }, { ...quiet, ...change });
    expect(schedule).toEqual({ full_at: "02:00", incremental_minutes: minutes, derived: true });
  });

  test("is not what somebody set", () => {
    const { schedule } = assess({ ...policy, incrementalMinutes: 45 }, quiet);
    expect(schedule).toEqual({ full_at: "02:00", incremental_minutes: 45, derived: false });
  });
});

test("the busiest hour of the last day is found, and older ones are not", () => {
  const of = (minutes: number, count: number, bytes: number) =>
    Array.from({ length: count }, () => ({ storedAt: ago(minutes), bytes }));
  const segments = [
    ...of(1500, 900, 5e6),
    ...of(200, 30, 5e6),
    ...of(90, 60, 100),
    ...of(10, 5, 9),
  ];
  expect(busiestHour(segments, now)).toEqual({ segments: 30, storedWalBytes: 150e6 });
  expect(busiestHour([], now)).toEqual({ segments: 0, storedWalBytes: 0 });
});

function measured(factor: number): Measurement {
  const work = { databaseBytes: 10e9, segments: 100, storedWalBytes: 400e6 };
  const { filesMs, replayMs, otherMs } = modelled(work);
  return {
    at: "2026-11-24T02:00:00Z",
    kind: "in-place",
    ...work,
    filesMs: filesMs * factor,
    replayMs: replayMs * factor,
    otherMs: otherMs * factor,
  };
}
