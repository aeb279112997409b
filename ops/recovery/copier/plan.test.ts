import { describe, expect, test } from "vitest";
import { archivesOf, type Archive } from "../archive.ts";
import { fakeBackup, minute } from "../testing/fake-listing.ts";
import { lsnOfSegment, segmentName } from "../wal.ts";
import { filesToCopy, filesToRemove, isInfo, walFilesOf, type NearFiles } from "./plan.ts";

const hash = "0".repeat(40);
function wal(timeline: number, number: number): string {
  const name = segmentName({ timeline, number });
  return `archive/main/15-1/${name.slice(0, 16)}/${name}-${hash}.zst`;
}
function near(...paths: [path: string, written: number][]): NearFiles {
  return new Map(paths.map(([path, at]) => [path, { bytes: 10, writtenAt: minute(at) }]));
}
function far(...paths: string[]): Map<string, number> {
  return new Map(paths.map((path) => [path, 10]));
}

const old = fakeBackup(1, 2);
const recent = fakeBackup(1, 100);

describe("what is copied", () => {
  test("WAL goes first, oldest first, then backups; info files go apart", () => {
    const here = near(
      [`backup/main/${old.label}/bundle/1`, 1],
      [wal(1, 5), 5],
      ["backup/main/backup.info", 9],
      [wal(1, 4), 4],
    );
    expect(filesToCopy(here, far(), [old])).toEqual([
      wal(1, 4),
      wal(1, 5),
      `backup/main/${old.label}/bundle/1`,
    ]);
  });

  test("a backup goes when it is complete", () => {
    const here = near([`backup/main/${old.label}/bundle/1`, 1]);
    expect(filesToCopy(here, far(), [])).toEqual([]);
  });

  test("what the far one holds with the same size does not go again, with another one it does", () => {
    const here = near([wal(1, 4), 4]);
    expect(filesToCopy(here, far(wal(1, 4)), [])).toEqual([]);
    expect(filesToCopy(here, new Map([[wal(1, 4), 3]]), [])).toEqual([wal(1, 4)]);
  });

  test.each([
    ["archive/main/archive.info", true],
    ["backup/main/backup.info.copy", true],
    [`backup/main/${old.label}/backup.manifest`, false],
    [wal(1, 1), false],
  ])("%s is an info file: %s", (path, expected) => {
    expect(isInfo(path)).toBe(expected);
  });
});

describe("what is removed", () => {
  const archives = (here: NearFiles, there: Map<string, number>): Archive[] =>
    archivesOf(walFilesOf(here, there));
  const expired = (
    here: NearFiles,
    there: Map<string, number>,
    backups = [recent],
    windowStart = minute(0),
  ): string[] => filesToRemove(here, there, backups, archives(here, there), windowStart);

  test("an expired backup, and the WAL that only it needed", () => {
    const here = near([wal(1, 100), 100], [wal(1, 101), 101]);
    const there = far(
      `backup/main/${old.label}/bundle/1`,
      `backup/main/${recent.label}/bundle/1`,
      wal(1, 2),
      wal(1, 3),
      wal(1, 100),
    );
    expect(expired(here, there)).toEqual([
      `backup/main/${old.label}/bundle/1`,
      wal(1, 2),
      wal(1, 3),
    ]);
  });

  test("WAL that vanished in the middle of the near archive stays: the far one has the last copy", () => {
    const here = near([wal(1, 100), 100], [wal(1, 103), 103]);
    expect(expired(here, far(wal(1, 100), wal(1, 101), wal(1, 102), wal(1, 103)))).toEqual([]);
  });

  test("a backup whose files vanished near, but which is listed, stays", () => {
    expect(expired(near(), far(`backup/main/${recent.label}/bundle/1`))).toEqual([]);
  });

  test("nothing, where the near one lists no backup at all", () => {
    expect(expired(near(), far(`backup/main/${old.label}/bundle/1`, wal(1, 2)), [])).toEqual([]);
  });

  test("nothing of a timeline that only its history leads to", () => {
    const here = near([wal(1, 100), 100], ["archive/main/15-1/00000002.history", 120]);
    const there = far(wal(1, 100), wal(2, 110), wal(2, 111));
    const both = archivesOf(walFilesOf(here, there));
    both[0]?.histories.set(2, [{ parent: 1, lsn: lsnOfSegment(110) + 8n }]);
    expect(filesToRemove(here, there, [recent], both, minute(0))).toEqual([]);
  });

  test("not what is near still", () => {
    const here = near([wal(1, 2), 2], [`backup/main/${old.label}/bundle/1`, 2]);
    expect(expired(here, far(...here.keys()))).toEqual([]);
  });

  test("between two backups that are older than the window, what the near one dropped", () => {
    const here = near([wal(1, 2), 2], [wal(1, 100), 100]);
    expect(
      expired(here, far(wal(1, 2), wal(1, 50), wal(1, 100)), [old, recent], minute(200)),
    ).toEqual([wal(1, 50)]);
  });
});
