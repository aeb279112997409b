import { mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeDirectory, run, waitFor, writeFileAtomic } from "#system";
import { Home } from "../e2e/home.ts";
import { RunbookStack } from "./runbook-stack.ts";

/*
 * The commands of docs/runbooks/disk-full.md, on a stack whose home is a small disk of its own: data,
 * WAL and repository share it, as they do by default.
 */

const page = "disk-full";
/** `up` refuses a disk with less than 2 GB left; a stack and its checkout then take 1 GB. */
const newMegabytes = 2700;
const spareMegabytes = 300;

let stack: RunbookStack;
/** A larger disk. */
let larger: string;
const mounted: string[] = [];

async function mount(directory: string, megabytes: number): Promise<void> {
  await run("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=0755`, "ctm-test", directory]);
  mounted.push(directory);
}

beforeAll(async () => {
  larger = await mkdtemp(join(tmpdir(), "ctm-larger-"));
  const home = await Home.create();
  await mount(home.directory, newMegabytes);
  // What step 1 removes is this test's own, not the machine's.
  const apt = join(home.directory, "apt");
  await makeDirectory(join(apt, "archives/partial"), { mode: 0o755 });
  const configuration = join(home.directory, "apt.conf");
  await writeFileAtomic(configuration, `Dir::Cache "${apt}";\n`, { mode: 0o644 });
  stack = await RunbookStack.in(home, {
    APT_CONFIG: configuration,
    GOCACHE: join(home.directory, "go/build"),
    GOMODCACHE: join(home.directory, "go/modules"),
  });
  await stack.must(`eval "$(npx ctm env)"
    pulumi config set ctm:memory 256MB
    npm run up`);
  // What is filled is memory: no more of it than the test needs.
  const { blocks, bfree, bsize } = await statfs(home.directory);
  const size = Math.ceil(((blocks - bfree) * bsize) / 2 ** 20) + spareMegabytes;
  await run("mount", ["-o", `remount,size=${size}m`, home.directory]);
});

afterAll(async () => {
  try {
    await stack.home.ctm("down", "--yes", "--purge");
  } finally {
    // Nothing is left mounted, whoever still has a file open.
    if (await isMountedTwice()) mounted.push(stack.home.directory);
    for (const directory of mounted) await run("umount", ["-l", directory]);
    await rm(larger, { recursive: true, force: true });
    await stack.end();
  }
});

/** Whether the larger disk stands over the first one. */
async function isMountedTwice(): Promise<boolean> {
  const { stdout } = await run("findmnt", ["-rno", "TARGET"]);
  return stdout.split("\n").filter((line) => line === stack.home.directory).length > 1;
}

/** Takes all that is left of the disk, in a file at a place of the home. */
async function fill(place: string): Promise<void> {
  const file = join(stack.home.directory, place);
  const ended = await stack.shell(`mkdir -p "$(dirname ${file})" && cat /dev/zero > ${file}`);
  expect(ended.stderr).toContain("No space left on device");
  const { bavail } = await statfs(stack.home.directory);
  expect(bavail).toBe(0);
}

/** Writes until the database refuses: its WAL has no room for another segment. */
async function fillWal(): Promise<number> {
  let acknowledged = await stack.tasks();
  await waitFor("the disk to be felt", 120_000, async () => {
    try {
      await stack.addTasks("x".repeat(200), 2000);
      acknowledged += 2000;
      return undefined;
    } catch {
      return true;
    }
  });
  return acknowledged;
}

it("nothing that was acknowledged is lost, and downloaded packages make room", async () => {
  await fill("go/modules/cache/download/large");
  await fill("apt/archives/large.deb");
  const acknowledged = await fillWal();
  await stack.followAll(page, "");
  await stack.followAll(page, "Check");
  await stack.follow(await stack.step(page, "Act", "apt-get clean"));
  await stack.followAll(page, "Verify");
  expect(await stack.tasks()).toBeGreaterThanOrEqual(acknowledged);
});

it("a kept stack makes room", async () => {
  const kept = "local-20261124T095727Z";
  await fill(`kept/${kept}/repository/large`);
  const acknowledged = await fillWal();
  for (const words of ["ls ", "rm -r"]) await stack.follow(await stack.step(page, "Act", words));
  await stack.followAll(page, "Verify");
  expect(await stack.tasks()).toBeGreaterThanOrEqual(acknowledged);
});

it("backups are kept for fewer days", async () => {
  // Backups of this stack are minutes old: none is past its days. That an expiry removes what is, and
  // no more, is shown in ops/recovery/expiry.test.ts.
  await stack.follow(await stack.step(page, "Act", "fullBackupDays"));
  const { backup } = await stack.home.descriptor();
  expect(backup.policy).toMatchObject({ fullDays: 7, windowDays: 3 });
  await stack.healthy();
});

it("everything moves to a larger disk", async () => {
  await mount(larger, newMegabytes);
  await fill("of-somebody");
  const acknowledged = await fillWal();
  await stack.follow(await stack.step(page, "Act", "ctm stop"), {
    instead: { "/mnt/larger": larger },
  });
  await stack.followAll(page, "Verify");
  expect(await stack.tasks()).toBeGreaterThanOrEqual(acknowledged);
  const { bavail } = await statfs(stack.home.directory);
  expect(bavail).toBeGreaterThan(0);
});

it("each command of the page was run", async () => {
  expect(await stack.unfollowed(page)).toEqual([]);
});
