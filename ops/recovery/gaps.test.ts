import { describe, expect, test } from "vitest";
import type { Backup } from "../facts/repository.ts";
import { auditArchive, recoverableFrom, type Gap } from "./gaps.ts";
import { fakeBackup, fakeListing, minute, type FakeTimeline } from "./testing/fake-listing.ts";
import { lsnOfSegment, segmentName } from "./wal.ts";

const name = (timeline: number, number: number): string => segmentName({ timeline, number });

/** What is found in these timelines without those segments, as short texts. */
function audit(
  timelines: readonly FakeTimeline[],
  backups: readonly Backup[],
  options: { without?: readonly string[]; from?: Date; archivedTo?: string } = {},
): string[] {
  const listing = fakeListing(timelines, backups, new Set(options.without));
  return auditArchive(listing, backups, {
    from: options.from ?? minute(0),
    archivedTo: options.archivedTo ?? null,
  }).map((gap) => shown(gap));
}

function shown({ kind, from, to, segments, backups }: Gap): string {
  return `${kind} ${from}..${to} (${segments})${backups.length === 0 ? "" : ` in ${backups.join(", ")}`}`;
}

const steady: FakeTimeline[] = [{ timeline: 1, first: 1, last: 600 }];
const first = fakeBackup(1, 2);

describe("one timeline", () => {
  test("a whole archive has no gap", () => {
    expect(audit(steady, [first])).toEqual([]);
  });

  test("a lost range is named with both ends, across a change of the log file", () => {
    const without = [254, 255, 256, 257].map((number) => name(1, number));
    expect(audit(steady, [first], { without })).toEqual([
      "missing 0000000100000000000000FE..000000010000000100000001 (4)",
    ]);
  });

  test("a loss at the end is found by what the server calls archived", () => {
    expect(audit(steady, [first], { archivedTo: name(1, 603) })).toEqual([
      `missing ${name(1, 601)}..${name(1, 603)} (3)`,
    ]);
  });

  test("a segment that is stored twice with other content is no segment", () => {
    const listing = fakeListing([...steady, { timeline: 1, first: 9, last: 9 }], [first]);
    expect(auditArchive(listing, [first], { from: minute(0), archivedTo: null })).toMatchObject([
      { kind: "duplicate", from: name(1, 9), segments: 1 },
    ]);
  });

  test("between two backups that are older than the window nothing is needed, inside them all is", () => {
    const backups = [fakeBackup(1, 2, 6), fakeBackup(1, 100, 103), fakeBackup(1, 400)];
    const without = [name(1, 5), name(1, 50), name(1, 102), name(1, 300), name(1, 401)];
    expect(audit(steady, backups, { without, from: minute(500) })).toEqual([
      `missing ${name(1, 5)}..${name(1, 5)} (1) in ${backups[0]?.label}`,
      `missing ${name(1, 102)}..${name(1, 102)} (1) in ${backups[1]?.label}`,
      `missing ${name(1, 401)}..${name(1, 401)} (1)`,
    ]);
  });

  test("without a backup nothing is needed", () => {
    expect(audit(steady, [], { without: [name(1, 5)] })).toEqual([]);
  });
});

/** A failover in segment 100, a recovery back to 150 from there at 200. */
const forked: FakeTimeline[] = [
  { timeline: 1, first: 1, last: 99 },
  { timeline: 2, first: 100, last: 200, forks: [{ parent: 1, lsn: lsnOfSegment(100) + 96n }] },
  {
    timeline: 3,
    first: 150,
    last: 300,
    forks: [
      { parent: 1, lsn: lsnOfSegment(100) + 96n },
      { parent: 2, lsn: lsnOfSegment(150) + 8n },
    ],
  },
];

describe("several timelines", () => {
  test("a fork is no gap", () => {
    expect(audit(forked, [first])).toEqual([]);
  });

  test("what the dead leader had not archived is one", () => {
    expect(audit(forked, [first], { without: [name(1, 98), name(1, 99)] })).toEqual([
      `missing ${name(1, 98)}..${name(1, 99)} (2)`,
    ]);
  });

  test("a timeline that has archived nothing yet needs its parents up to where it left them", () => {
    const [one, two] = forked as [FakeTimeline, FakeTimeline];
    const three = { timeline: 3, first: 200, last: 199, forks: forked[2]?.forks ?? [] };
    const without = [name(2, 148), name(2, 149)];
    expect(audit([one, { ...two, last: 149 }, three], [first], { without })).toEqual([
      `missing ${name(2, 148)}..${name(2, 149)} (2)`,
    ]);
  });

  test("a branch that was left is still part of the window", () => {
    expect(audit(forked, [first], { without: [name(2, 180)] })).toEqual([
      `missing ${name(2, 180)}..${name(2, 180)} (1)`,
    ]);
  });

  test("a branch that was left before the window began is not", () => {
    const backups = [first, fakeBackup(3, 250)];
    expect(audit(forked, backups, { without: [name(2, 180)], from: minute(260) })).toEqual([]);
  });

  test("a backup behind the fork does not lead to the child", () => {
    // Taken on timeline 2 at 170, which timeline 3 left at 150: it needs the first one's WAL.
    const backups = [first, fakeBackup(2, 170)];
    expect(audit(forked, backups, { without: [name(1, 50)], from: minute(180) })).toEqual([
      `missing ${name(1, 50)}..${name(1, 50)} (1)`,
    ]);
  });

  test("a backup that ended in the very segment of the fork leads to the child", () => {
    const backups = [first, { ...fakeBackup(2, 148, 150), stopLsn: "0/96000008" }];
    expect(audit(forked, backups, { without: [name(1, 50)], from: minute(180) })).toEqual([]);
  });

  test("a timeline without its history file cannot be reached", () => {
    const [one, two, { forks: _, ...three }] = [...forked] as [
      FakeTimeline,
      FakeTimeline,
      FakeTimeline,
    ];
    expect(audit([one, two, three], [first])).toEqual([
      "history 00000003.history..00000003.history (0)",
    ]);
  });
});

test("the window begins with its first day, or with the oldest backup", () => {
  expect(recoverableFrom([], minute(0))).toBeNull();
  expect(recoverableFrom([first], minute(0))).toEqual(first.stoppedAt);
  expect(recoverableFrom([first], minute(500))).toEqual(minute(500));
});

/** A small generator with a seed (mulberry32): a failure names the seed that repeats it. */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

test("of segments deleted by chance exactly those are found", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = chance(seed);
    const timelines: FakeTimeline[] = [{ timeline: 1, first: 1, last: 50 + random(600) }];
    for (let timeline = 2; timeline <= 1 + random(5); timeline += 1) {
      const parent = timelines[random(timelines.length)] ?? steady[0];
      if (parent === undefined) break;
      const fork = parent.first + 5 + random(parent.last - parent.first - 5);
      const lsn = lsnOfSegment(fork) + BigInt(random(1000));
      timelines.push({
        timeline,
        first: fork,
        last: fork + 20 + random(300),
        forks: [...(parent.forks ?? []), { parent: parent.timeline, lsn }],
      });
    }
    const needed = timelines.flatMap(({ timeline, first: from, last }) =>
      // The first backup begins in segment 2, and nothing before it is needed.
      Array.from({ length: last - from + 1 }, (_, index) => from + index)
        .filter((number) => timeline > 1 || number >= 2)
        .map((number) => name(timeline, number)),
    );
    // The newest segment of a timeline is its end: nobody knows what came after.
    const ends = new Set(timelines.map(({ timeline, last }) => name(timeline, last)));
    const deletable = needed.filter((each) => !ends.has(each));
    const deleted = new Set(
      Array.from({ length: random(12) }, () => deletable[random(deletable.length)] ?? ""),
    );
    deleted.delete("");
    const listing = fakeListing(timelines, [first], deleted);
    const gaps = auditArchive(listing, [first], { from: minute(0), archivedTo: null });
    const found = gaps.flatMap(({ timeline, from, segments }) => {
      const start =
        Number.parseInt(from.slice(8, 16), 16) * 256 + Number.parseInt(from.slice(16), 16);
      return Array.from({ length: segments }, (_, index) => name(timeline, start + index));
    });
    expect(found.toSorted(), `seed ${seed}`).toEqual([...deleted].toSorted());
  }
});

test("10,000 segments and 200 backups are audited in a moment", () => {
  const many: FakeTimeline[] = [{ timeline: 1, first: 1, last: 10_000 }];
  const backups = Array.from({ length: 200 }, (_, index) => fakeBackup(1, 2 + index * 50));
  const listing = fakeListing(many, backups, new Set([name(1, 9_000)]));
  const before = process.cpuUsage();
  const gaps = auditArchive(listing, backups, { from: minute(2_000), archivedTo: null });
  expect(gaps).toHaveLength(1);
  // Of the processor's time, which nobody else on the machine can lengthen.
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000).toBeLessThan(1_000);
});
