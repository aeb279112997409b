import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { run, runAs } from "#system";
import { startScratchStack, type ScratchStack } from "../testing/scratch-stack.ts";
import { nearRepositories, readArchive, type ArchiveListing } from "./archive.ts";
import { breaksWindow, expire, fullsOfWindow, parseExpiry } from "./expiry.ts";
import { auditArchive } from "./gaps.ts";
import { fakeBackup, fakeListing, minute } from "./testing/fake-listing.ts";
import { lsnOfSegment, segmentName } from "./wal.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const old = fakeBackup(1, 10);
const base = fakeBackup(1, 100);
const young = fakeBackup(1, 200);
const listing = fakeListing([{ timeline: 1, first: 1, last: 300 }], [old, base, young]);
const name = (timeline: number, number: number): string => segmentName({ timeline, number });
const removal = (from: string, to: string) => ({ archive: "15-1", from, to });

test("the fulls that reach back to the window's start are counted", () => {
  expect(fullsOfWindow(listing.backups, minute(150))).toBe(2);
  expect(fullsOfWindow(listing.backups, minute(250))).toBe(1);
  expect(fullsOfWindow(listing.backups, minute(0))).toBe(3);
  const incremental = { ...fakeBackup(1, 120), type: "incr" as const, label: `${base.label}_x` };
  expect(fullsOfWindow([old, base, incremental, young], minute(150))).toBe(2);
});

describe("an expiry is refused before it happens", () => {
  const start = minute(150);

  test("when it takes the backup that the window begins with, or one that this builds on", () => {
    const expiry = { backups: [base.label], wal: [] };
    expect(breaksWindow(expiry, listing, start)).toBe(
      `${base.label} would be removed, and the window from 2026-11-01T02:30:00.000Z begins with it`,
    );
    const incremental = { ...fakeBackup(1, 120), type: "incr" as const, prior: base.label };
    const chain = { ...listing, backups: [old, base, incremental, young] };
    expect(breaksWindow(expiry, chain, start)).toContain(base.label);
  });

  test("when it takes WAL of the window, or of a kept backup's own range", () => {
    const inside = { backups: [], wal: [removal(name(1, 90), name(1, 100))] };
    expect(breaksWindow(inside, listing, start)).toBe(
      `WAL ${name(1, 90)} to ${name(1, 100)} would be removed, and ${name(1, 100)} is needed`,
    );
    const own = { backups: [], wal: [removal(name(1, 1), name(1, 10))] };
    expect(breaksWindow(own, listing, start)).toContain(`${name(1, 10)} is needed`);
  });

  test("when a branch needs older WAL than the newest timeline does", () => {
    const branched = fakeListing(
      [
        { timeline: 1, first: 1, last: 300 },
        { timeline: 2, first: 50, last: 90, forks: [{ parent: 1, lsn: lsnOfSegment(50) + 8n }] },
      ],
      [old, base],
    );
    const expiry = { backups: [], wal: [removal(name(1, 11), name(1, 99))] };
    expect(breaksWindow(expiry, branched, start)).toContain(`${name(1, 11)} is needed`);
  });

  test("and not when it takes what is past", () => {
    const expiry = {
      backups: [old.label],
      wal: [removal(name(1, 1), name(1, 99))],
    };
    expect(breaksWindow(expiry, listing, start)).toBeUndefined();
  });
});

test("pgBackRest's own words are understood", () => {
  expect(
    parseExpiry(`P00   INFO: [DRY-RUN] repo1: expire full backup 20261124-110559F
P00   INFO: [DRY-RUN] repo1: remove expired backup 20261124-110559F
P00   INFO: [DRY-RUN] repo1: 15-1 remove archive, start = 000000010000000000000001, stop = 000000010000000000000008
P00   INFO: [DRY-RUN] expire command end: completed successfully`),
  ).toEqual({
    backups: ["20261124-110559F"],
    wal: [removal("000000010000000000000001", "000000010000000000000008")],
  });
});

describe("on a real repository", () => {
  let stack: ScratchStack;
  beforeAll(async () => {
    stack = await startScratchStack();
  });
  afterAll(async () => {
    await stack.stop();
  });

  async function list(): Promise<ArchiveListing> {
    const [near] = nearRepositories(stack.descriptor);
    if (near === undefined) throw new Error("no repository");
    return await readArchive(stack.descriptor, context(), near);
  }
  const context = () => ({ env: stack.env, signal: new AbortController().signal });

  test("WAL between older backups goes, and neither the window nor a backup has a gap", async () => {
    const { backrestConfiguration } = stack.descriptor.postgres.members[0] ?? {};
    const asPostgres = await runAs(stack.descriptor.users.postgres);
    for (let count = 0; count < 3; count += 1) {
      await run(
        "pgbackrest",
        [
          `--config=${backrestConfiguration}`,
          ..."--stanza=scratch --type=full --no-expire-auto backup".split(" "),
        ],
        { ...asPostgres, cwd: "/" },
      );
      for (let each = 0; each < 3; each += 1) {
        await stack.sql("SELECT pg_logical_emit_message(true, 'a', 'b'); SELECT pg_switch_wal()");
      }
    }
    const before = await list();
    const middle = before.backups[1]?.stoppedAt ?? new Date();
    const { policy } = stack.descriptor.backup;
    // Seen from a week after the second backup, it is the base of the window.
    const now = new Date(middle.getTime() + policy.windowDays * 86_400_000);
    const { backups, wal } = await expire(stack.descriptor, context(), now);
    expect(backups).toEqual([]);
    expect(wal.length).toBeGreaterThan(0);
    const after = await list();
    expect(after.backups).toHaveLength(3);
    expect(auditArchive(after, after.backups, { from: middle, archivedTo: null })).toEqual([]);
    const held = (each: ArchiveListing): number => each.archives[0]?.segments.get(1)?.size ?? 0;
    expect(held(after)).toBeLessThan(held(before));
    // From the first day on, it would not be whole.
    expect(auditArchive(after, after.backups, { from: minute(0), archivedTo: null })).not.toEqual(
      [],
    );
  });
});
