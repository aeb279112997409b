import { copyFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { endProcesses, stackProcesses } from "#runtime";
import { makeDirectory, waitFor } from "#system";
import { FarPlace } from "./far-place.ts";
import { RunbookStack } from "./runbook-stack.ts";

/*
 * The machine is lost, and then the region of the far copy: the commands of docs/runbooks/lost-region.md
 * on a real stack and a real S3 server.
 */

const page = "lost-region";
const phrase = "correct horse battery staple\n";

let stack: RunbookStack;
let far: FarPlace;
let outside: string;

beforeAll(async () => {
  far = await FarPlace.start("first", "second");
  stack = await RunbookStack.create();
  outside = `${stack.home.directory}-escrow`;
  await makeDirectory(outside, { mode: 0o700 });
  await stack.must(`${far.configuration("first")}
    npm run up`);
});

afterAll(async () => {
  await stack.end();
  await far.stop();
  await rm(outside, { recursive: true, force: true });
});

/** What was written is in the far copy too. */
async function copied(): Promise<void> {
  const { rows } = await stack.home.superuser("SELECT pg_walfile_name(pg_switch_wal()) AS name");
  const segment = String(rows[0]?.["name"]);
  await waitFor(`${segment} in the far copy`, 120_000, async () => {
    const { backup } = await stack.home.json<{
      backup: { repositories: { name: string; newest_wal: string | null }[] };
    }>("status");
    const copy = backup.repositories.find(({ name }) => name === "far");
    if (copy === undefined || copy.newest_wal === null || copy.newest_wal < segment) {
      throw new Error(`it has ${copy?.newest_wal}`);
    }
    return true;
  });
}

/** Every process of the machine, and every file; a person comes to a new one with a clone and the escrow. */
async function loseMachine(): Promise<void> {
  await stack.home.killAll();
  await endProcesses(await stackProcesses(stack.home.paths.state), 10_000);
  await rm(stack.home.directory, { recursive: true });
  await makeDirectory(stack.home.directory, { mode: 0o755 });
  await stack.makeClone();
  await copyFile(join(outside, "escrow.txt"), join(stack.clone, "escrow.txt"));
}

it("the machine is lost", async () => {
  await stack.addTasks("before the loss", 100);
  await writeFile(join(outside, "phrase"), phrase);
  await stack.must(
    `npx ctm backup passphrase --output ${outside}/escrow.txt --passphrase-file ${outside}/phrase --yes`,
  );
  await copied();
  await loseMachine();

  await stack.followAll(page, "", { input: phrase });
  await stack.followAll(page, "Check");
  const restore = await stack.step(page, "Act", "restore machine");
  await stack.follow(restore);
  // Somebody has a reason to begin again.
  await stack.followAll(page, "Undo");
  await stack.follow(restore);
  await stack.follow(await upAfter(restore));
  expect(await stack.tasks()).toBe(100);
  await copied();
  await stack.healthy();
});

async function upAfter(restore: { shell: string }): ReturnType<RunbookStack["step"]> {
  const steps = await stack.steps(page, "Act");
  const up = steps[steps.findIndex(({ shell }) => shell === restore.shell) + 1];
  if (up === undefined) throw new Error("the page does not say what follows the restore");
  return up;
}

it("the far region is lost for good", async () => {
  const move = await stack.step(page, "Act", "farRepository");
  const named = /'(\{.*\})'/.exec(move.shell)?.[1] ?? "";
  const { access, secret } = FarPlace.keys;
  await stack.follow(move, {
    instead: {
      [named]: JSON.stringify(far.repository("second")),
      // A terminal asks for them.
      "--secret ctm:farAccessKey": `--secret ctm:farAccessKey ${access}`,
      "--secret ctm:farSecretKey": `--secret ctm:farSecretKey ${secret}`,
    },
  });
  await copied();
  await stack.healthy();
  await stack.followAll(page, "Verify");
  const { repositories } = await stack.home.json<{
    repositories: { name: string; recoverable_from: string | null }[];
  }>("backup", "audit");
  const copy = repositories.find(({ name }) => name === "far");
  expect(copy?.recoverable_from).not.toBeNull();
});

it("each command of the page was run", async () => {
  expect(await stack.unfollowed(page)).toEqual([]);
});
