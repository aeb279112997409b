import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { run, waitFor } from "#system";
import { checkout, execute, Home, mustSucceed } from "../e2e/home.ts";

/*
 * A stack is broken as each runbook describes, and then the runbook's own commands are run. What
 * fills a disk needs a disk of its own and is left to people.
 */

/** A block that is shown to be typed, and the first line of the output that stands below it. */
interface Step {
  section: string;
  shell: string;
  output: string | undefined;
}

interface Status {
  healthy: boolean;
  problems: { code: string }[];
  postgres: { primary: string | null };
}

let home: Home;
let clone: string;

beforeAll(async () => {
  home = await Home.create();
  clone = join(home.directory, "clone");
  await run("git", ["clone", "--quiet", checkout, clone]);
  mustSucceed("npm run up", await shell("npm run up"));
});

afterAll(async () => {
  await home.end();
});

async function shell(script: string, input = ""): Promise<Awaited<ReturnType<typeof execute>>> {
  const options = { cwd: clone, env: home.env, input };
  return await execute("bash", ["-euo", "pipefail", "-c", script], options);
}

async function stepsOf(name: string, section: string): Promise<Step[]> {
  const text = await readFile(join(checkout, "docs/runbooks", `${name}.md`), "utf8");
  // The home of this test stands where root's stands in the runbook.
  const moved = text
    .replaceAll("/var/lib/ctm", home.directory)
    .replaceAll("/var/log/ctm", join(home.directory, "log"));
  const own = moved.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? "";
  const steps: Step[] = [];
  for (const [, indent = "", kind, block = ""] of own.matchAll(
    /^( *)```(sh|text)\n([^]*?)^ *```$/gm,
  )) {
    const lines = block.replaceAll(new RegExp(`^${indent}`, "gm"), "");
    const last = steps.at(-1);
    if (kind === "sh") steps.push({ section, shell: lines, output: undefined });
    else if (last !== undefined) last.output ??= lines.split("\n")[0];
  }
  return steps;
}

/** The one step whose commands hold these words. */
async function step(name: string, section: string, words: string): Promise<Step> {
  const found = (await stepsOf(name, section)).find((one) => one.shell.includes(words));
  if (found === undefined) throw new Error(`${name}.md, ${section}: no block with "${words}"`);
  return found;
}

/** Output as documented, but for numbers, times and blanks. */
function like(line: string): RegExp {
  const literal = line.trim().replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(literal.replaceAll(/\d+/g, "\\d+").replaceAll(/\s+/g, "\\s+"));
}

async function follow({ shell: script, output, section }: Step, input = ""): Promise<void> {
  const ended = await shell(script, input);
  // A check that finds what it looks for exits 3.
  if (section !== "Check") mustSucceed(script, ended);
  expect(`${ended.stdout}\n${ended.stderr}`).toMatch(like(output ?? ""));
}

async function status(): Promise<Status> {
  return await home.json<Status>("status");
}

async function healthy(): Promise<void> {
  await waitFor("the stack to be healthy", 120_000, async () => {
    const { healthy: is, problems } = await status();
    if (!is) throw new Error(problems.map(({ code }) => code).join(", "));
    return true;
  });
}

async function problem(code: string): Promise<void> {
  await waitFor(`the problem ${code}`, 120_000, async () =>
    (await status()).problems.some((each) => each.code === code) ? true : undefined,
  );
}

async function supervisor(...args: string[]): Promise<void> {
  const { supervisor: paths } = await home.descriptor();
  await run("supervisorctl", ["-c", paths.configuration, ...args], { timeoutMs: 180_000 });
}

async function taskCount(): Promise<number> {
  const { rows } = await home.owner("SELECT count(*)::int AS tasks FROM tasks");
  return (rows[0] as { tasks: number }).tasks;
}

it("the stack does not start: everything was killed", async () => {
  await home.killAll();
  await follow(await step("stack-does-not-start", "Check", "ctm status"));
  await follow(await step("stack-does-not-start", "Act", "ctm start"));
  await healthy();
  for (const each of await stepsOf("stack-does-not-start", "Verify")) await follow(each);
});

it("the cluster has no leader: etcd is stopped", async () => {
  await supervisor("stop", "etcd");
  await problem("leader-unknown");
  await follow(await step("cluster-has-no-leader", "Act", "ctm start"));
  await healthy();
});

it("the cluster has no leader: it is paused", async () => {
  const leader = (await status()).postgres.primary ?? "";
  const resume = await step("cluster-has-no-leader", "Act", "resume");
  mustSucceed("pause", await shell(resume.shell.replace("resume", "pause")));
  await supervisor("stop", leader);
  await problem("no-leader");
  await follow(resume);
  await waitFor("another leader", 60_000, async () =>
    (await status()).postgres.primary === null ? undefined : true,
  );
  await follow({ section: "Act", shell: "npx ctm start", output: undefined });
  await healthy();
});

it("the cluster has no leader: the standby was not in step", async () => {
  const leader = (await status()).postgres.primary ?? "";
  const standby = leader === "m1" ? "m2" : "m1";
  await supervisor("stop", standby);
  await waitFor("the leader to go on alone", 60_000, async () => {
    await home.owner("INSERT INTO tasks (title) VALUES ('only on the leader')");
    return true;
  });
  await supervisor("stop", leader);
  await supervisor("start", standby);
  await problem("no-leader");
  const act = await step("cluster-has-no-leader", "Act", "failover");
  // The runbook's m2 is whoever stands by here.
  const script = act.shell.replaceAll("m2", standby);
  await follow({ ...act, shell: script, output: act.output?.replace("m2", standby) }, "y\ny\n");
  await follow({ section: "Act", shell: "npx ctm start", output: undefined });
  await healthy();
  await follow(await step("cluster-has-no-leader", "Verify", "backup full"));
});

it("Pulumi's state is lost, and made anew around what is there", async () => {
  const before = await taskCount();
  await rm(home.paths.pulumi, { recursive: true });
  const first = await shell("npm run up");
  expect(first.code).toBe(1);
  expect(`${first.stdout}${first.stderr}`).toContain("already exists (42710)");
  await follow(await step("lost-checkout-or-pulumi-state", "Act", "pulumi import"));
  mustSucceed("npm run up", await shell("npm run up"));
  expect(await home.json("up")).toMatchObject({ changes: 0 });
  expect(await taskCount()).toBe(before);
});

/** As a person would answer at a terminal, which a test has not. */
function answered(each: Step): Step {
  const asks = /^(npx ctm restore (?!.*--plan).*)$/gm;
  return { ...each, shell: each.shell.replaceAll(asks, "$1 --yes") };
}

it("a table was emptied, and then dropped", async () => {
  await home.owner("TRUNCATE tasks CASCADE");
  await home.owner("INSERT INTO tasks (title) SELECT 'lost ' || n FROM generate_series(1, 100) n");
  await home.owner("DROP TABLE tasks CASCADE");
  for (const section of ["Check", "Act", "Undo", "Act", "Verify"]) {
    for (const each of await stepsOf("dropped-table", section)) await follow(answered(each));
  }
  expect(await taskCount()).toBe(100);
  await healthy();
});

it("the primary's data is corrupted: a standby takes over", async () => {
  const leader = (await status()).postgres.primary ?? "";
  const standby = leader === "m1" ? "m2" : "m1";
  const act = await step("corrupted-primary", "Act", "switchover");
  // The runbook's m1 is whoever leads here.
  const named = (text: string): string =>
    text.replaceAll(/\bm[12]\b/g, (name) => (name === "m1" ? leader : standby));
  await follow({ ...act, shell: named(act.shell), output: named(act.output ?? "") });
  await healthy();
  expect((await status()).postgres.primary).toBe(standby);
});

it("the primary's data is corrupted: both are, and the newest moment is restored", async () => {
  const before = await taskCount();
  for (const section of ["Check", "Act", "Verify", "Undo"]) {
    for (const each of await stepsOf("corrupted-primary", section)) {
      if (!each.shell.includes("patronictl")) await follow(answered(each));
    }
  }
  expect(await taskCount()).toBe(before);
  await healthy();
});

it("a restore from what down kept", async () => {
  await home.owner("INSERT INTO tasks (title) SELECT 'kept ' || n FROM generate_series(1, 500) n");
  await home.must("backup", "full");
  await home.owner("INSERT INTO tasks (title) VALUES ('after the backup')");
  const before = await taskCount();
  await home.must("down", "--yes");
  const sections = ["Check", "Act", "Verify"];
  const steps = await Promise.all(sections.map((section) => stepsOf("restore-from-kept", section)));
  // One shell: later blocks use the variables of earlier ones.
  const script = steps.flat().map((each) => each.shell);
  const ended = await shell(script.join("\n"));
  mustSucceed("the restore", ended);
  for (const { output } of steps.flat()) {
    expect(`${ended.stdout}\n${ended.stderr}`).toMatch(like(output ?? ""));
  }
  expect(await taskCount()).toBe(before);
  await healthy();
});
