import { describe, expect, test } from "vitest";
import type { Backup } from "../facts/repository.ts";
import { locate, type Place, type World } from "./locate.ts";
import { filesOf } from "./marks.ts";
import { makePlan, type PlanFacts } from "./plan.ts";
import { parseBeforeDrop, parseTarget, type Target } from "./target.ts";
import { fakeBackup, fakeListing, minute, type FakeTimeline } from "./testing/fake-listing.ts";
import type { WalRecord } from "./wal-records.ts";
import { formatLsn, lsnOfSegment, segmentName } from "./wal.ts";

const name = (timeline: number, number: number): string => segmentName({ timeline, number });
const now = minute(60);

/** Timeline 2 left 1 in the middle of segment 20, timeline 3 left 1 too, in segment 15: a second restore. */
const timelines: FakeTimeline[] = [
  { timeline: 1, first: 1, last: 20 },
  { timeline: 2, first: 20, last: 30, forks: [{ parent: 1, lsn: lsnOfSegment(20) + 512n }] },
  { timeline: 3, first: 15, last: 40, forks: [{ parent: 1, lsn: lsnOfSegment(15) + 512n }] },
];

interface Scene {
  facts: PlanFacts;
  world: World;
}

/** One commit in the middle of each segment, half a minute before it was stored. */
function scene(
  given: {
    timelines?: readonly FakeTimeline[];
    backups?: readonly Backup[];
    without?: string[];
    records?: readonly WalRecord[];
    live?: PlanFacts["live"];
    files?: Record<string, string>;
    freeBytes?: number;
  } = {},
): Scene {
  const backups = given.backups ?? [fakeBackup(1, 5), fakeBackup(1, 10), fakeBackup(2, 25)];
  const listing = fakeListing(given.timelines ?? timelines, backups, new Set(given.without ?? []));
  const [archive] = listing.archives;
  if (archive === undefined) throw new Error("an archive was asked for");
  // The fake stores a timeline's history when its first segment is; here they follow each other.
  const promotedAt = new Map([
    [2, minute(20)],
    [3, minute(31)],
  ]);
  const live = given.live ?? null;
  const shown = { ...archive, promotedAt };
  return {
    facts: {
      repository: "near",
      archive: shown,
      backups,
      live,
      now,
      freeBytes: given.freeBytes ?? 100e9,
      measurements: [],
    },
    world: {
      archive: shown,
      backups,
      live,
      filesOf: (schema, table) => filesOf([{ files: given.files ?? {} }], schema, table),
      now,
      progress: { step: () => undefined, detail: () => undefined },
      signal: new AbortController().signal,
      source: {
        read: async (timeline, first, last) => {
          const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
          const commits = numbers.map((number) => commit(timeline * 1000 + number, number));
          const between = (given.records ?? []).filter(
            ({ lsn }) => lsn >= lsnOfSegment(first) && lsn < lsnOfSegment(last + 1),
          );
          return await Promise.resolve(
            [...commits, ...between].toSorted((one, other) => (one.lsn < other.lsn ? -1 : 1)),
          );
        },
      },
    },
  };
}

function commit(xid: number, segment: number, filesRemoved: string[] = []): WalRecord {
  const at = minute(segment - 0.5)
    .toISOString()
    .replace("T", " ")
    .replace("Z", "000");
  const offset = filesRemoved.length === 0 ? 1024n : 4096n;
  return {
    kind: "commit",
    lsn: lsnOfSegment(segment) + offset,
    xid,
    at,
    subtransactions: [],
    filesRemoved,
  };
}

function mark(table: string, xid: number, segment: number): WalRecord {
  return {
    kind: "mark",
    lsn: lsnOfSegment(segment) + 2048n,
    mark: {
      event: "drop",
      schema: "public",
      table,
      xid,
      role: "ctm_migrator",
      application: "psql",
    },
  };
}

const to = (text: string): Target => parseTarget(text, now);
const at = (offset: number): string => minute(offset).toISOString();

describe("where a target is", () => {
  test.each<[string, Target, Partial<Place>]>([
    ["the end", to("latest"), { timeline: 3, stop: { kind: "end" } }],
    [
      "a time, before the next commit",
      to(at(12.2)),
      { timeline: 1, stop: { kind: "lsn", lsn: lsnOfSegment(13) + 1024n, inclusive: false } },
    ],
    [
      "the very time of a commit, which is then in",
      to(at(12.5)),
      { timeline: 1, stop: { kind: "lsn", lsn: lsnOfSegment(14) + 1024n, inclusive: false } },
    ],
    [
      "a time on a timeline that was given up since",
      to(at(24)),
      { timeline: 2, stop: { kind: "lsn", lsn: lsnOfSegment(25) + 1024n, inclusive: false } },
    ],
    ["a time after the last commit", to(at(59)), { timeline: 3, stop: { kind: "end" } }],
    [
      "a transaction",
      to("xid:3038"),
      { timeline: 3, stop: { kind: "lsn", lsn: lsnOfSegment(38) + 1024n, inclusive: true } },
    ],
    [
      "a backup, on its own timeline",
      to(fakeBackup(2, 25).label),
      { timeline: 2, stop: { kind: "consistent", label: fakeBackup(2, 25).label } },
    ],
  ])("%s", async (_, target, place) => {
    expect(await locate(target, scene().world)).toMatchObject(place);
  });

  test("a named point, the newest of several", async () => {
    const records: WalRecord[] = [12, 33].map((segment) => ({
      kind: "restore-point",
      lsn: lsnOfSegment(segment) + 3000n,
      name: "release",
    }));
    expect(await locate(to("name:release"), scene({ records }).world)).toMatchObject({
      stop: { kind: "lsn", lsn: lsnOfSegment(33) + 3000n, inclusive: true },
    });
  });

  test("before a drop: before its commit, and only of one that was committed", async () => {
    const records = [
      mark("tasks", 501, 16),
      commit(501, 16, ["base/1/2"]),
      mark("tasks", 502, 30),
      commit(502, 31, ["base/1/3"]),
      mark("tasks", 503, 34),
      mark("other", 504, 35),
      commit(504, 35, ["base/1/4"]),
    ];
    const { world } = scene({ records });
    const newest = await locate(parseBeforeDrop("tasks", 1), world);
    expect(newest).toMatchObject({
      stop: { kind: "lsn", lsn: lsnOfSegment(31) + 4096n, inclusive: false },
      found: `public.tasks was dropped at ${at(30.5)} by ctm_migrator (psql), transaction 502`,
      drops: [{ xid: 502 }, { xid: 501 }],
    });
    const earlier = await locate(parseBeforeDrop("tasks", 2), world);
    expect(earlier.stop).toEqual({
      kind: "lsn",
      lsn: lsnOfSegment(16) + 4096n,
      inclusive: false,
    });
    await expect(locate(parseBeforeDrop("tasks", 3), world)).rejects.toThrow(
      "public.tasks was dropped or truncated 2 times, not 3",
    );
  });

  test("without a mark, transactions that removed files are shown for what they are", async () => {
    const { world } = scene({ records: [commit(777, 33, ["base/5/16385", "base/5/16388"])] });
    await expect(locate(parseBeforeDrop("tasks", 1), world)).rejects.toMatchObject({
      code: "drop-not-found",
      exitCode: 3,
      message: expect.stringMatching(
        new RegExp(
          `WAL does not tell a DROP from a rewrite such as VACUUM FULL:\n  --to before:${formatLsn(lsnOfSegment(33) + 4096n)}  .*, transaction 777: base/5/16385 base/5/16388`,
        ),
      ),
    });
  });

  test("without a mark, the file that the table is known to have had tells, and says so", async () => {
    const files = { "public.tasks": "base/5/16385", 'sales."Old Tasks"': "base/5/16400" };
    const records = [
      commit(776, 32, ["base/5/16400"]),
      commit(777, 33, ["base/5/16388", "base/5/16385"]),
    ];
    const { world } = scene({ records, files });
    expect(await locate(parseBeforeDrop("tasks", 1), world)).toMatchObject({
      stop: { kind: "lsn", lsn: lsnOfSegment(33) + 4096n, inclusive: false },
      found: expect.stringContaining("by its file alone: public.tasks lost base/5/16385 at"),
      drops: [],
    });
    expect(await locate(parseBeforeDrop("sales.Old Tasks", 1), world)).toMatchObject({
      stop: { lsn: lsnOfSegment(32) + 4096n },
    });
    await expect(locate(parseBeforeDrop("tasks", 2), world)).rejects.toMatchObject({
      code: "drop-not-found",
    });
  });

  test("without a mark, those of other tables are shown: the schema may be another", async () => {
    const elsewhere = mark("tasks", 777, 33);
    if (elsewhere.kind === "mark") elsewhere.mark.schema = "sales";
    // A partitioned table has no files of its own.
    const { world } = scene({ records: [elsewhere, commit(777, 34)] });
    await expect(locate(parseBeforeDrop("tasks", 1), world)).rejects.toMatchObject({
      message: expect.stringContaining(
        `of other tables there are marks, newest first:\n  sales.tasks was dropped at ${at(33.5)} by`,
      ),
    });
    expect(await locate(parseBeforeDrop("sales.tasks", 1), world)).toMatchObject({
      stop: { kind: "lsn", lsn: lsnOfSegment(34) + 1024n, inclusive: false },
    });
  });

  const removal: WalRecord = {
    kind: "database-removal",
    lsn: lsnOfSegment(33) + 3000n,
    xid: 777,
    directory: "1663/16384",
  };

  test("a database that was dropped is there before its files go, which is before the commit", async () => {
    const dropped = commit(777, 33, ["base/1/2"]);
    if (dropped.kind === "commit") dropped.filesRemoved = [];
    const { world } = scene({ records: [removal, dropped] });
    await expect(locate(parseBeforeDrop("tasks", 1), world)).rejects.toMatchObject({
      message: expect.stringContaining(
        `  --to before:${formatLsn(removal.lsn)}  ${at(32.5).replace("00Z", "00000Z")}, transaction 777: DROP DATABASE, 1663/16384`,
      ),
    });
  });

  test("a time between that and another's commit is before its files go too", async () => {
    const stop = { kind: "lsn", lsn: removal.lsn, inclusive: false };
    const whole = scene({ records: [removal, commit(777, 36)] });
    expect(await locate(to(at(33.1)), whole.world)).toMatchObject({ stop });
    // Afterwards it is gone, and that was committed.
    const next = { kind: "lsn", lsn: lsnOfSegment(38) + 1024n, inclusive: false };
    expect(await locate(to(at(36.6)), whole.world)).toMatchObject({ stop: next });
  });

  test.each([
    [at(1), "target-too-early"],
    ["xid:99", "target-not-found"],
    ["name:none", "target-not-found"],
    ["20200101-000000F", "no-such-backup"],
  ])("%s is refused: %s", async (text, code) => {
    await expect(locate(to(text), scene().world)).rejects.toMatchObject({ code, exitCode: 2 });
  });
});

describe("the plan", () => {
  const lsn = (segment: number): string => formatLsn(lsnOfSegment(segment) + 5000n);
  const plan = async (
    text: string,
    given: Parameters<typeof scene>[0] = {},
    timeline?: number,
  ): Promise<ReturnType<typeof makePlan>> => {
    const { facts, world } = scene(given);
    const target = to(text);
    return makePlan(target, await locate(target, world, timeline), facts);
  };

  test("takes the newest backup before the target, and its WAL through the timelines", async () => {
    expect(await plan(lsn(35))).toMatchObject({
      backup: { label: fakeBackup(1, 10).label },
      wal: [
        { timeline: 1, from: name(1, 10), to: name(1, 14), segments: 5 },
        { timeline: 3, from: name(3, 15), to: name(3, 35), segments: 21 },
      ],
      work: { segments: 26, storedWalBytes: 26_000_000, databaseBytes: 1_000_000_000 },
      gaps: [],
      problems: [],
    });
    expect(await plan(lsn(7))).toMatchObject({
      backup: { label: fakeBackup(1, 5).label },
      wal: [{ timeline: 1, from: name(1, 5), to: name(1, 7) }],
    });
  });

  test("follows a timeline that was given up, when asked to or when the time was there", async () => {
    const wanted = {
      backup: { label: fakeBackup(2, 25).label },
      wal: [{ timeline: 2, from: name(2, 25), to: name(2, 28), segments: 4 }],
    };
    expect(await plan(lsn(28), {}, 2)).toMatchObject(wanted);
    expect(await plan(at(27.2))).toMatchObject(wanted);
  });

  test("says what is lost", async () => {
    const live = {
      timeline: 3,
      lsn: lsnOfSegment(41) + 6000n,
      archivedTo: name(3, 40),
      directory: "/",
    };
    const made = await plan(at(38), { live });
    expect(made.lost).toEqual({
      ms: 22 * 60_000,
      walBytes: Number(lsnOfSegment(41) + 6000n - lsnOfSegment(39) - 1024n),
    });
    expect(await plan("latest", { live })).toMatchObject({ unarchived: 1, problems: [] });
    expect(await plan("latest", { live: { ...live, archivedTo: name(3, 41) } })).toMatchObject({
      unarchived: 0,
      gaps: [{ from: name(3, 41), to: name(3, 41) }],
    });
  });

  test("needs all that a parent wrote until its child left it, though nothing of it is held", async () => {
    const without = [13, 14, 15, 16, 17, 18, 19, 20].map((number) => name(1, number));
    expect(await plan("latest", { backups: [fakeBackup(1, 10)], without })).toMatchObject({
      gaps: [{ timeline: 1, from: name(1, 13), to: name(1, 14) }],
    });
  });

  test.each<[string, string, Parameters<typeof scene>[0], string]>([
    [
      "a hole in the way",
      lsn(35),
      { without: [name(3, 20), name(3, 21)] },
      `wal-missing: the archive does not hold ${name(3, 20)} to ${name(3, 21)} (2 segments): nothing after it can be restored from this backup\nnext: ctm backup audit; an earlier --to, or a label of ctm backup list`,
    ],
    [
      "a full disk",
      lsn(35),
      { freeBytes: 1e9 },
      "disk-too-small: the restored data needs 1.4 GB beside what is there, and 1.0 GB are free\nnext: make room: docs/runbooks/disk-full.md",
    ],
    [
      "a place that is not there yet",
      lsn(50),
      {},
      `target-not-reached: LSN ${lsn(50)} is beyond ${formatLsn(lsnOfSegment(41))}, where timeline 3 ends\nnext: --to latest for everything that is archived`,
    ],
  ])("shows %s", async (_, text, given, problem) => {
    const { problems } = await plan(text, given);
    expect(problems.map((each) => each.text)).toContain(problem);
  });

  test("a hole after the target is in nobody's way", async () => {
    expect(await plan(lsn(35), { without: [name(3, 36)] })).toMatchObject({ problems: [] });
  });

  test.each<[string, string, Parameters<typeof scene>[0], number | undefined, string]>([
    [
      "no timeline that a backup is on",
      lsn(28),
      { backups: [fakeBackup(3, 30)] },
      2,
      "timeline-not-child",
    ],
    // It ended on timeline 1 after timeline 3 had left it.
    [
      "a backup beyond the fork",
      lsn(28),
      { backups: [fakeBackup(1, 18)] },
      3,
      "timeline-not-child",
    ],
    ["a timeline that never was", lsn(28), {}, 9, "no-such-timeline"],
    ["an LSN before every backup", lsn(3), {}, undefined, "target-too-early"],
  ])("refuses %s", async (_, text, given, timeline, code) => {
    await expect(plan(text, given, timeline)).rejects.toMatchObject({ code, exitCode: 2 });
  });

  test("refuses when there is no backup", async () => {
    await expect(plan("latest", { backups: [] })).rejects.toMatchObject({ code: "no-backup" });
  });

  test("is made in under two seconds from 10,000 segments and 200 backups", async () => {
    const backups = Array.from({ length: 200 }, (_, index) => fakeBackup(1, 1 + index * 50));
    const given = { timelines: [{ timeline: 1, first: 1, last: 10_000 }], backups };
    const ready = scene(given);
    const before = process.cpuUsage();
    const target = to("latest");
    const made = makePlan(target, await locate(target, ready.world), ready.facts);
    expect(made.work.segments).toBe(50);
    const old = to(lsn(49));
    expect(makePlan(old, await locate(old, ready.world), ready.facts).work.segments).toBe(49);
    // Of the processor's time, which nobody else on the machine can lengthen.
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(2_000);
  });
});
