import { expect, test } from "vitest";
import { auditArchive } from "./gaps.ts";
import { lostMoments } from "./lost-moments.ts";
import { fakeBackup, fakeListing, minute, type FakeTimeline } from "./testing/fake-listing.ts";
import { lsnOfSegment, segmentName } from "./wal.ts";

/** Timeline 2 left 1 in segment 20; its own begin there. */
const timelines: FakeTimeline[] = [
  { timeline: 1, first: 1, last: 30 },
  { timeline: 2, first: 20, last: 60, forks: [{ parent: 1, lsn: lsnOfSegment(20) + 512n }] },
];
const backups = [fakeBackup(1, 5), fakeBackup(2, 40)];

test.each<[what: string, without: [timeline: number, number: number][], lost: unknown[]]>([
  ["no hole", [], []],
  [
    "one before a backup ends with that backup",
    [
      [1, 10],
      [1, 11],
    ],
    [{ from: minute(9), to: backups[1]?.stoppedAt }],
  ],
  ["one behind the last backup has no end yet", [[2, 50]], [{ from: minute(49), to: null }]],
  [
    "two, in the order of time",
    [
      [2, 50],
      [1, 10],
    ],
    [
      { from: minute(9), to: backups[1]?.stoppedAt },
      { from: minute(49), to: null },
    ],
  ],
  ["one of a branch that was given up is beside the way", [[1, 25]], []],
])("%s", (_, without, lost) => {
  const names = without.map(([timeline, number]) => segmentName({ timeline, number }));
  const listing = fakeListing(timelines, backups, new Set(names));
  const gaps = auditArchive(listing, backups, { from: minute(0), archivedTo: null });
  expect(gaps).toHaveLength(lost.length === 0 ? without.length : lost.length);
  expect(lostMoments(listing, gaps)).toEqual(lost);
});
