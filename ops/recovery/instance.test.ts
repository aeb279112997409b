import {
  mkdir,
  mkdtemp,
  rm,
  stat,
  writeFile,
  chmod,
  readdir,
  readFile,
  rename,
} from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { CtmError, run, runAs, waitFor } from "#system";
import { readRepository } from "../facts/repository.ts";
import { startScratchStack, type ScratchStack } from "../testing/scratch-stack.ts";
import type { Archive } from "./archive.ts";
import { checkNewTimeline, placeHistories } from "./histories.ts";
import { serverPid, startInstance, stopServer, type Instance, type StopPoint } from "./instance.ts";
import { replay, type ArchiveEnd, type Reached } from "./replay.ts";
import {
  instanceDirectories,
  makeInstanceDirectory,
  restoreFiles,
  type RecoverySource,
} from "./restore-files.ts";
import { parseLsn } from "./wal.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

/** A real repository: marks 1 to 6, each with a segment's end behind it. */
let stack: ScratchStack;
let source: RecoverySource;
let set: string;
let archive: ArchiveEnd;
let folder: string;
/** Where WAL stood after each mark. */
const behind: bigint[] = [];

beforeAll(async () => {
  stack = await startScratchStack();
  const { descriptor } = stack;
  folder = await mkdtemp("/tmp/ctm-instance-");
  await chmod(folder, 0o711);
  source = {
    configuration: descriptor.postgres.members[0]?.backrestConfiguration ?? "",
    stanza: descriptor.backup.stanza,
    user: descriptor.users.postgres,
  };
  await stack.sql("CREATE TABLE marks (id integer, at timestamptz DEFAULT clock_timestamp())");
  await run(
    "pgbackrest",
    [`--config=${source.configuration}`, `--stanza=${source.stanza}`, "--type=full", "backup"],
    { ...(await runAs(source.user)), cwd: "/" },
  );
  for (let mark = 1; mark <= 6; mark++) {
    const lsn = await stack.sql(
      `INSERT INTO marks VALUES (${mark}); SELECT pg_current_wal_insert_lsn()`,
    );
    behind[mark] = parseLsn(lsn) ?? 0n;
    await stack.sql("SELECT pg_switch_wal()");
  }
  const last = await stack.sql("SELECT pg_walfile_name(pg_current_wal_lsn() - 1)");
  const facts = await waitFor("the archive to hold everything", 20_000, async () => {
    const now = await readRepository(descriptor, quiet(), 10_000);
    return now.repositories[0]?.newestWal === last ? now : undefined;
  });
  const [backup] = facts.backups;
  set = backup?.label ?? "";
  archive = { from: backup?.firstWal ?? "", through: last };
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await stack.stop();
});

function quiet() {
  return {
    env: stack.env,
    signal: new AbortController().signal,
    progress: { step: () => undefined, detail: () => undefined, clear: () => undefined },
  };
}

const emptyArchive: Archive = {
  id: "15-1",
  segments: new Map(),
  partial: new Map(),
  histories: new Map(),
  promotedAt: new Map(),
};

/** Restores, replays, lets the case look at it, and takes it away. */
async function recover(
  name: string,
  stop: StopPoint,
  look: (instance: Instance, reached: Reached) => Promise<void> = async () => undefined,
  prepare: (data: string) => Promise<void> = async () => undefined,
): Promise<void> {
  const directory = join(folder, name);
  const directories = instanceDirectories(directory);
  await makeInstanceDirectory(directory, source.user);
  try {
    await restoreFiles(source, directories, { set }, quiet());
    await prepare(directories.data);
    const instance = await startInstance({
      source,
      directories,
      binaries: stack.descriptor.postgres.binaries,
      stop,
      timeline: 1,
      archiveCommand: null,
    });
    await look(instance, await replay(instance, archive, quiet()));
  } finally {
    await stopServer(directories, "immediate");
    expect(await serverPid(directories.data)).toBeUndefined();
  }
}

async function marks(instance: Instance): Promise<number[]> {
  return (await instance.query<{ id: number }>("SELECT id FROM marks ORDER BY id")).map(
    ({ id }) => id,
  );
}

test("everything that the archive holds, private, and a timeline of its own that nobody archives", async () => {
  await recover("end", { kind: "end" }, async (instance, reached) => {
    expect(reached).toMatchObject({
      by: "archive-end",
      evidence: `the archive ends with ${archive.through}`,
      timeline: 1,
    });
    expect(await marks(instance)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await instance.promote()).toBe(2);
    await instance.query("CREATE TABLE only_here ()");
    const shown = await instance.query<{ name: string; setting: string }>(
      "SELECT name, setting FROM pg_settings WHERE name IN ('listen_addresses', 'archive_mode')",
    );
    expect(shown.map(({ setting }) => setting).toSorted()).toEqual(["", "off"]);
    const { mode } = await stat(instance.options.directories.work);
    expect(mode & 0o777).toBe(0o700);
  });
});

test.each<[string, (marks: bigint[]) => StopPoint, number[], RegExp]>([
  [
    "a place",
    (places) => ({ kind: "lsn", lsn: places[2] ?? 0n, inclusive: false }),
    [1, 2],
    /stopping before WAL location/,
  ],
  [
    "a record",
    (places) => ({ kind: "lsn", lsn: places[3] ?? 0n, inclusive: true }),
    [1, 2, 3],
    /stopping after WAL location/,
  ],
  ["the backup", () => ({ kind: "consistent" }), [], /stopping after reaching consistency/],
])("%s is reached by the server's own words", async (name, stop, expected, words) => {
  await recover(name.replace(" ", "-"), stop(behind), async (instance, reached) => {
    expect(reached.by).toBe("target");
    expect(reached.evidence).toMatch(words);
    expect(await marks(instance)).toEqual(expected);
    expect(await instance.promote()).toBe(2);
    expect(await marks(instance)).toEqual(expected);
  });
});

test("a new timeline is newer than every one that was, though at its end the archive answers no more", async () => {
  const fork = { parent: 1, lsn: behind[1] ?? 0n };
  const histories = new Map([
    [2, [fork]],
    [3, [fork]],
  ]);
  // As data that was in place before has it: not archived yet.
  const before = join(folder, "before");
  await mkdir(join(before, "pg_wal"), { recursive: true });
  await writeFile(join(before, "pg_wal", "00000004.history"), "1\t0/7000000\tnot archived\n");
  await recover(
    "histories",
    { kind: "end" },
    async (instance) => {
      const timeline = await instance.promote();
      expect(timeline).toBe(5);
      const archived: Archive = { ...emptyArchive, histories };
      expect(() => checkNewTimeline(timeline, archived)).not.toThrow();
      expect(() => checkNewTimeline(3, archived)).toThrow("archive knows timelines up to 3");
      expect(await marks(instance)).toEqual([1, 2, 3, 4, 5, 6]);
    },
    (data) => placeHistories(data, { histories }, { user: source.user, before }),
  );
});

test("a target that the archive does not reach is an error, whatever was replayed", async () => {
  const stop: StopPoint = { kind: "lsn", lsn: 0x7000_0000n, inclusive: true };
  await expect(recover("beyond", stop)).rejects.toMatchObject({
    code: "target-not-reached",
    message: expect.stringMatching(
      new RegExp(`ends with ${archive.through}, at .* before LSN 0/70000000`),
    ),
  });
});

test("a hole is named, and nothing is promoted at it", async () => {
  const lost = archive.through.slice(0, -1) + "5";
  const place = join(stack.descriptor.backup.repositories[0]?.path ?? "", "archive/scratch/15-1");
  const segments = join(place, archive.through.slice(0, 16));
  const file = (await readdir(segments)).find((name) => name.startsWith(lost)) ?? "";
  await rename(join(segments, file), join(folder, file));
  await expect(recover("hole", { kind: "end" })).rejects.toMatchObject({
    code: "wal-missing",
    message: `the archive does not hold ${lost}, but newer segments up to ${archive.through}: a restore cannot go beyond it`,
  });

  const content = await readFile(join(folder, file));
  const middle = Math.floor(content.length / 2);
  content[middle] = (content[middle] ?? 0) ^ 1;
  await writeFile(join(segments, file), content, { mode: 0o644 });
  const error = await recover("flipped", { kind: "end" }).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(CtmError);
  expect(error).toMatchObject({ code: "wal-unreadable" });
  expect(error).toHaveProperty("message", expect.stringContaining(lost));
});
