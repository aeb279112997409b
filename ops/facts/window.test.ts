import { expect, test } from "vitest";
import type { RepositoryFacts } from "./repository.ts";
import type { ArchiverFacts } from "./server.ts";
import { recoverableWindow } from "./window.ts";

const at = (minute: number): Date => new Date(Date.UTC(2026, 10, 24, 2, minute));

function repository(newestWal: string | null, ...stops: number[]): RepositoryFacts {
  return {
    running: false,
    repositories: [
      { number: 1, status: "ok", ok: true, cipher: null, oldestWal: newestWal, newestWal },
    ],
    backups: stops.map((minute) => ({
      label: String(minute),
      type: "full",
      repository: 1,
      prior: null,
      startedAt: at(minute - 1),
      stoppedAt: at(minute),
      databaseBytes: 1,
      storedBytes: 1,
      firstWal: "",
      lastWal: "",
      startLsn: null,
      stopLsn: null,
      archiveId: "15-1",
      damaged: false,
    })),
  };
}

function archiver(lastWal: string | null, completed: Record<string, number>): ArchiverFacts {
  return {
    lastWal,
    lastArchivedAt: lastWal === null ? null : at(20),
    completed: new Map(Object.entries(completed).map(([name, minute]) => [name, at(minute)])),
    timeoutSeconds: 60,
    failing: false,
    failedWal: null,
    failedAt: null,
    waiting: 0,
    waitingSince: null,
  };
}

const five = "000000010000000000000005";
const six = "000000010000000000000006";
const other = "000000020000000000000005";

test.each([
  ["no backup, no window", archiver(five, { [five]: 9 }), repository(five), null, null],
  ["to the end of the archive", archiver(five, { [five]: 9 }), repository(five, 1, 4), 1, 9],
  ["a new leader has archived nothing yet", archiver(null, {}), repository(five, 1, 4), 1, 4],
  ["the newest backup is newer", archiver(five, { [five]: 3 }), repository(five, 1, 4), 1, 4],
  ["the server forgot the segment", archiver(five, {}), repository(five, 1, 4), 1, 20],
  // After a crash an old segment was archived again, and is the last one.
  ["an old one was archived last", archiver(five, { [six]: 9 }), repository(six, 1, 4), 1, 9],
  ["an old one last, the newest forgotten", archiver(five, {}), repository(six, 1, 4), 1, 4],
  ["the repository lacks what was archived", archiver(six, {}), repository(five, 1, 4), 1, null],
  ["the repository lacks a timeline", archiver(other, {}), repository(six, 1), 1, null],
  ["the leader does not answer", null, repository(five, 1, 4), 1, null],
])("%s", (_, leader, held, from, to) => {
  expect(recoverableWindow(leader, held, at(0))).toEqual({
    from: from === null ? null : at(from),
    to: to === null ? null : at(to),
  });
});

test("a backup that is older than the window is a point, and not its start", () => {
  const held = repository(five, 1, 4);
  expect(recoverableWindow(archiver(five, { [five]: 9 }), held, at(2)).from).toEqual(at(2));
});
