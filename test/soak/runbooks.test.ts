import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exists, run, waitFor } from "#system";
import { backendFiles } from "#stack";
import { RunbookStack } from "./runbook-stack.ts";

/*
 * A stack is broken as each runbook describes, and then the runbook's own commands are run. Later
 * tests stand on earlier ones.
 */

let stack: RunbookStack;

beforeAll(async () => {
  stack = await RunbookStack.create();
  await stack.must("npm run up");
});

afterAll(async () => {
  await stack.end();
});

async function supervisor(...args: string[]): Promise<void> {
  const { supervisor: paths } = await stack.home.descriptor();
  await run("supervisorctl", ["-c", paths.configuration, ...args], { timeoutMs: 180_000 });
}

it("the stack does not start: everything was killed", async () => {
  await stack.home.killAll();
  await stack.follow(await stack.step("stack-does-not-start", "Check", "ctm status"));
  await stack.follow(await stack.step("stack-does-not-start", "Act", "ctm start"));
  await stack.healthy();
  await stack.followAll("stack-does-not-start", "Verify");
});

it("the stack does not start: its certificates are gone, and its authority", async () => {
  await rm(stack.home.paths.tls, { recursive: true });
  await stack.must("npm run up");
  await stack.healthy();
  expect(await stack.home.json("up")).toMatchObject({ changes: 0 });
});

it("the cluster has no leader: etcd is stopped", async () => {
  await supervisor("stop", "etcd");
  await stack.problem("leader-unknown");
  await stack.follow(await stack.step("cluster-has-no-leader", "Act", "ctm start"));
  await stack.healthy();
});

it("the cluster has no leader: it is paused", async () => {
  const { leader } = await stack.roles();
  const resume = await stack.step("cluster-has-no-leader", "Act", "resume");
  await stack.follow(
    { ...resume, output: undefined },
    { instead: { "patronictl resume": "patronictl pause", resume: "pause" } },
  );
  await supervisor("stop", leader);
  await stack.problem("no-leader");
  await stack.follow(resume);
  await waitFor("another leader", 60_000, async () =>
    (await stack.status()).postgres.primary === null ? undefined : true,
  );
  await stack.must("npx ctm start");
  await stack.healthy();
});

it("the cluster has no leader: the standby was not in step", async () => {
  const { leader, standby } = await stack.roles();
  await supervisor("stop", standby);
  await waitFor("the leader to go on alone", 60_000, async () => {
    await stack.addTasks("only on the leader", 1);
    return true;
  });
  await supervisor("stop", leader);
  await supervisor("start", standby);
  await stack.problem("no-leader");
  const act = await stack.step("cluster-has-no-leader", "Act", "failover");
  // The page's m2 is whoever stands by here.
  await stack.follow(act, { instead: { m2: standby }, input: "y\ny\n" });
  await stack.must("npx ctm start");
  await stack.healthy();
  await stack.follow(await stack.step("cluster-has-no-leader", "Verify", "backup full"));
});

it("the passphrase of Pulumi's state is lost, and no other one is made", async () => {
  const phrase = "correct horse battery staple\n";
  const { passphrase } = backendFiles(stack.home.paths);
  await stack.writeEscrow(phrase);
  await rm(passphrase);
  const refused = await stack.shell("npm run up");
  expect([refused.code, refused.stderr]).toEqual([
    2,
    expect.stringContaining("pulumi-passphrase-lost: "),
  ]);
  expect(await exists(passphrase)).toBe(false);
  const act = await stack.step("lost-checkout-or-pulumi-state", "Act", "escrow.txt");
  await stack.follow(act, { input: phrase });
  expect(await stack.home.json("up")).toMatchObject({ changes: 0 });
});

it("Pulumi's state is lost, and made anew around what is there", async () => {
  const before = await stack.tasks();
  await rm(stack.home.paths.pulumi, { recursive: true });
  await stack.adoptWhatIsThere();
  expect(await stack.home.json("up")).toMatchObject({ changes: 0 });
  expect(await stack.tasks()).toBe(before);
});

it("a restore from what down kept", async () => {
  await stack.addTasks("kept", 500);
  await stack.home.must("backup", "full");
  await stack.addTasks("after the backup", 1);
  const before = await stack.tasks();
  await stack.home.must("down", "--yes");
  const page = "restore-from-kept";
  // One shell: later blocks use the variables of earlier ones.
  const sections = ["", "Check", "Act", "Verify"];
  const steps = await Promise.all(sections.map((section) => stack.steps(page, section)));
  await stack.followTogether(steps.flat());
  expect(await stack.unfollowed(page)).toEqual([]);
  expect(await stack.tasks()).toBe(before);
  await stack.healthy();
});
