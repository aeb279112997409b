import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { run, runAs } from "#system";
import { createProgress } from "../progress.ts";
import { startScratchStack, type ScratchStack } from "../testing/scratch-stack.ts";
import { nearRepositories } from "./archive.ts";
import { checksumFault, parseVerify, verifyRepository, type Verification } from "./verify.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

let stack: ScratchStack;
let repository: string;
const labels: string[] = [];

beforeAll(async () => {
  stack = await startScratchStack();
  repository = nearRepositories(stack.descriptor)[0]?.path ?? "";
  for (const type of ["full", "incr"]) {
    await backup(type);
    await stack.sql(
      `CREATE TABLE after_${type} AS SELECT generate_series(1, 100000)`,
      "taskmaster",
    );
  }
  const names = await readdir(join(repository, "backup/scratch"));
  labels.push(...names.filter((name) => /^\d{8}-/.test(name)).toSorted());
});
afterAll(async () => {
  await stack.stop();
});

async function backup(type: string): Promise<void> {
  const { backrestConfiguration } = stack.descriptor.postgres.members[0] ?? {};
  await run(
    "pgbackrest",
    [`--config=${backrestConfiguration}`, "--stanza=scratch", `--type=${type}`, "backup"],
    { ...(await runAs(stack.descriptor.users.postgres)), cwd: "/" },
  );
}

async function verify(): Promise<Verification> {
  const [near] = nearRepositories(stack.descriptor);
  if (near === undefined) throw new Error("no repository");
  const { signal } = new AbortController();
  return await verifyRepository(stack.descriptor, near, {
    env: stack.env,
    signal,
    progress: createProgress({ write: () => true, isTTY: false }),
  });
}

/** Changes one bit in the middle of a file. */
async function flip(path: string): Promise<void> {
  const file = await open(join(repository, path), "r+");
  try {
    const { size } = await file.stat();
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, Math.floor(size / 2));
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, Math.floor(size / 2));
  } finally {
    await file.close();
  }
}

test("a sound repository is read as a whole", async () => {
  const { damages, backups, walFiles } = await verify();
  expect(damages).toEqual([]);
  expect(backups.map(({ label }) => label)).toEqual(labels);
  for (const { files } of backups) expect(files).toBeGreaterThan(100);
  expect(walFiles).toBeGreaterThan(2);
});

test("one flipped bit is found in any file of any backup, in WAL, and in what is kept twice", async () => {
  const paths = (await readdir(repository, { recursive: true })).toSorted();
  const segment = paths.find((path) => /\/[0-9A-F]{24}-[0-9a-f]{40}/.test(path)) ?? "";
  const [full = "", incremental = ""] = labels;
  const flipped = [
    segment,
    "archive/scratch/archive.info",
    "backup/scratch/backup.info.copy",
    ...paths.filter((path) => path.startsWith(`backup/scratch/${full}/bundle/1`)),
    `backup/scratch/${full}/backup.manifest.copy`,
    `backup/scratch/${incremental}/pg_data/backup_label.zst`,
    `backup/scratch/${incremental}/backup.manifest`,
  ];
  for (const path of flipped) await flip(path);
  const { damages } = await verify();
  const files = damages.map(({ file }) => file);
  expect(files).toContain(segment.replace("archive/scratch/", ""));
  for (const path of flipped.filter((each) => /info|manifest/.test(each))) {
    expect(files).toContain(path);
  }
  expect(files).toContain(`${incremental}/pg_data/backup_label.zst`);
  // Inside a bundle pgBackRest names the file of the database.
  expect(damages).toContainEqual({
    repository: "near",
    file: expect.stringMatching(new RegExp(`^${full}/pg_data/`)),
    what: "invalid checksum",
    backup: full,
  });
});

test("what the report names is not lost where no line names it", () => {
  const output = `P00   INFO: verify command begin
stanza: main
status: error
  archiveId: 15-1, total WAL checked: 9, total valid WAL: 7
    missing: 0, checksum invalid: 2, size invalid: 0, other: 0
  backup: 20261124-020000F, status: manifest missing, total files checked: 0, total valid files: 0
`;
  expect(parseVerify(output, "far").damages).toEqual([
    {
      repository: "far",
      file: "20261124-020000F",
      what: "is manifest missing",
      backup: "20261124-020000F",
    },
    { repository: "far", file: "15-1", what: "2 of 9 WAL files are invalid", backup: null },
  ]);
});

test("an info file without its checksum is damaged", () => {
  expect(checksumFault("[backrest]\nbackrest-format=5\n")).toBe("has lost its checksum");
});
