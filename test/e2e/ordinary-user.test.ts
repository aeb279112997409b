import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cacheRoot, sharedCacheRoot } from "#stack";
import { endProcesses, stackProcesses } from "#runtime";
import { exists, identityOf, isRoot, makeDirectory, run, type Identity } from "#system";
import { checkout, execute, mustSucceed, plainEnvironment, type Ended } from "./home.ts";

/** Made for this test and removed after it. */
const user = "ctm-e2e-user";

let folder: string;
let identity: Identity;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  if (!isRoot()) return;
  folder = await mkdtemp(join(tmpdir(), "ctm-user-"));
  await makeDirectory(folder, { mode: 0o755 });
  await run("useradd", ["--home-dir", join(folder, "home"), "--create-home", user]);
  identity = await identityOf(user);
  env = { ...plainEnvironment(), HOME: join(folder, "home"), USER: user, LOGNAME: user };
  // Cloning from a folder of root's needs git's leave; an archive is what a download would be.
  const archive = join(folder, "checkout.tar");
  await run("git", ["-C", checkout, "archive", "--output", archive, "HEAD"]);
  await makeDirectory(join(folder, "home", "checkout"), { mode: 0o755, owner: identity });
  await inCheckout("tar", "-xf", archive);
});

afterAll(async () => {
  if (!isRoot()) return;
  await as("npm", "run", "down", "--", "--yes", "--purge").catch(() => undefined);
  await endProcesses(await stackProcesses(stateFolder()), 20_000);
  await run("userdel", ["--remove", user], { accept: [0, 6, 12] });
  await rm(folder, { recursive: true, force: true });
  await rm(`/tmp/ctm-${identity.uid}`, { recursive: true, force: true });
});

function stateFolder(): string {
  return join(folder, "home", ".local/share/ctm/local");
}

async function as(command: string, ...args: string[]): Promise<Ended> {
  return await execute(command, args, {
    cwd: join(folder, "home", "checkout"),
    env,
    ...identity,
  });
}

async function inCheckout(command: string, ...args: string[]): Promise<string> {
  return mustSucceed([command, ...args].join(" "), await as(command, ...args));
}

describe.runIf(isRoot())("an ordinary user", () => {
  it("brings a stack up below the home folder, with the packages there and root's cache", async () => {
    expect(await inCheckout("npm", "run", "up")).toContain('The stack "local" is up');
    expect(await exists(join(stateFolder(), "descriptor.json"))).toBe(true);
    const status = JSON.parse(await inCheckout("npx", "ctm", "status", "--json")) as {
      healthy: boolean;
    };
    expect(status.healthy).toBe(true);
    const own = join(folder, "home", ".cache/ctm/pulumi");
    const shared = cacheRoot() === sharedCacheRoot;
    expect(await exists(own)).toBe(!shared);
  });

  it("changes nothing the second time, and takes it away again", async () => {
    const again = JSON.parse(await inCheckout("npx", "ctm", "up", "--json")) as { changes: number };
    expect(again.changes).toBe(0);
    await inCheckout("npm", "run", "down", "--", "--yes");
    expect(await exists(stateFolder())).toBe(false);
    expect(await stackProcesses(stateFolder())).toEqual([]);
  });
});
