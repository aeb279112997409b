import { spawn } from "node:child_process";
import { chmod, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { run, runAs, waitFor } from "#system";
import { startScratchStack, type ScratchStack } from "../../testing/scratch-stack.ts";
import { bundleCopier } from "./build.ts";
import type { CopierConfiguration } from "./configuration.ts";
import { readCopierState, type CopierState } from "./state.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/*
 * The copier as it is installed, on a real repository; the far place is a folder, which rclone
 * treats as any other remote. Later tests stand on earlier ones.
 */

let stack: ScratchStack;
let near: string;
let far: string;
let state: string;
let asPostgres: Awaited<ReturnType<typeof runAs>>;
let stopCopier: () => Promise<void> = () => Promise.resolve();

beforeAll(async () => {
  stack = await startScratchStack();
  const { descriptor, home } = stack;
  const [repository] = descriptor.backup.repositories;
  near = repository?.path ?? "";
  asPostgres = await runAs(descriptor.users.postgres);
  const folder = join(home, "copier");
  far = join(home, "far");
  state = join(folder, "state.json");
  await mkdir(folder);
  await mkdir(far);
  const settings: CopierConfiguration = {
    stanza: descriptor.backup.stanza,
    near,
    far: "far:",
    rclone: join(folder, "rclone.conf"),
    authority: null,
    backrest: descriptor.postgres.members[0]?.backrestConfiguration ?? "",
    state,
    windowDays: 7,
    everySeconds: 0.2,
  };
  await writeFile(settings.rclone, `[far]\ntype = alias\nremote = ${far}\n`);
  await writeFile(join(folder, "copier.json"), JSON.stringify(settings));
  await writeFile(join(folder, "copier.mjs"), (await bundleCopier()).code);
  await run("chown", ["-R", descriptor.users.postgres, folder, far]);
});

afterAll(async () => {
  await stopCopier();
  await stack.stop();
});

function startCopier(): void {
  const folder = join(stack.home, "copier");
  const child = spawn(
    process.execPath,
    [join(folder, "copier.mjs"), "--config", join(folder, "copier.json")],
    { cwd: "/", stdio: "ignore", env: { ...process.env, HOME: folder }, ...asPostgres.identity },
  );
  const ended = new Promise((resolve) => child.once("close", resolve));
  stopCopier = async () => {
    child.kill("SIGTERM");
    await ended;
  };
}

/** What the copier says of itself, once it is as wanted. */
async function said(what: string, wanted: (state: CopierState) => boolean): Promise<CopierState> {
  let last = "";
  return await waitFor(
    what,
    30_000,
    async () => {
      const found = await readCopierState(state);
      last = JSON.stringify(found);
      return found !== undefined && wanted(found) ? found : undefined;
    },
    { lastState: () => last },
  );
}

/** Complete at a moment after now. */
async function complete(): Promise<CopierState> {
  const now = new Date().toISOString();
  return await said(
    "the far copy to be complete",
    ({ complete_at, behind_files, error }) =>
      error === null && behind_files === 0 && complete_at !== null && complete_at > now,
  );
}

async function files(folder: string): Promise<string[]> {
  const { stdout } = await run("find", [".", "-type", "f", "-printf", "%P %s\n"], { cwd: folder });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .toSorted();
}

async function backrest(...args: string[]): Promise<void> {
  const { backrestConfiguration } = stack.descriptor.postgres.members[0] ?? {};
  await run(
    "pgbackrest",
    [`--config=${backrestConfiguration}`, `--stanza=${stack.descriptor.backup.stanza}`, ...args],
    { ...asPostgres, cwd: "/" },
  );
}

/** Ends a WAL segment and waits until the near repository has it; returns its name. */
async function archived(): Promise<string> {
  const name = await stack.sql(
    "SELECT pg_walfile_name(lsn) FROM pg_logical_emit_message(true, 'test', 'x') AS lsn; SELECT pg_switch_wal()",
  );
  const [segment = ""] = name.split("\n");
  await waitFor(`${segment} in the repository`, 20_000, async () => {
    const folder = join(near, "archive/scratch/15-1", segment.slice(0, 16));
    const names = await readdir(folder).catch(() => []);
    return names.some((each) => each.startsWith(segment)) ? true : undefined;
  });
  return segment;
}

test("the far one becomes the near one, info files included", async () => {
  await backrest("--type=full", "backup");
  startCopier();
  await complete();
  expect(await files(far)).toEqual(await files(near));
});

test("a new segment follows, and is the newest one", async () => {
  const segment = await archived();
  const { newest_wal } = await said("the new segment", (found) => found.newest_wal === segment);
  expect(newest_wal).toBe(segment);
  await complete();
  expect(await files(far)).toEqual(await files(near));
});

test("while the far one is down, the lag is told in bytes and age; then it is made good", async () => {
  await rename(far, `${far}.away`);
  const segments = [await archived(), await archived(), await archived()];
  const behind = await said(
    "a failure",
    ({ error, behind_files }) => error !== null && (behind_files === null || behind_files >= 3),
  );
  expect(behind.failing_since).not.toBeNull();
  await rename(`${far}.away`, far);
  const after = await complete();
  expect(after).toMatchObject({ newest_wal: segments[2], error: null, behind_bytes: 0 });
  expect(await files(far)).toEqual(await files(near));
});

test("a segment that vanishes near stays far", async () => {
  const segment = await archived();
  await complete();
  const folder = join(near, "archive/scratch/15-1", segment.slice(0, 16));
  const name = (await readdir(folder)).find((each) => each.startsWith(segment)) ?? "";
  await rm(join(folder, name));
  await archived();
  await complete();
  expect(await readdir(join(far, "archive/scratch/15-1", segment.slice(0, 16)))).toContain(name);
});

test("what expired near goes far", async () => {
  await backrest("--type=full", "backup");
  await backrest("--type=full", "backup");
  await complete();
  await backrest("--repo1-retention-full=1", "expire");
  const expected = await files(near);
  const held = await waitFor("the far one to hold what the near one does", 20_000, async () => {
    const found = await files(far);
    return found.join("\n") === expected.join("\n") ? found : undefined;
  });
  expect(held.filter((path) => path.includes("F/backup.manifest "))).toHaveLength(1);
});

test("another repository in the near one's place takes nothing away", async () => {
  await stopCopier();
  const before = await files(far);
  await rename(near, `${near}.lost`);
  await mkdir(near);
  await run("chown", [stack.descriptor.users.postgres, near]);
  await chmod(near, 0o700);
  await backrest("--no-online", "stanza-create");
  startCopier();
  const { error } = await said("a refusal", (found) => found.error !== null);
  expect(error).toContain("holds the copy of another repository; nothing is copied or removed");
  expect(await files(far)).toEqual(before);
});
