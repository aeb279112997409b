import { open } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "#system";
import { RunbookStack } from "./runbook-stack.ts";

/*
 * The commands of docs/runbooks/dropped-table.md and corrupted-primary.md, on a table that is dropped
 * and on pages that are overwritten. Later tests stand on earlier ones.
 */

let stack: RunbookStack;

beforeAll(async () => {
  stack = await RunbookStack.create();
  await stack.must("npm run up");
});

afterAll(async () => {
  await stack.end();
});

describe("a table was emptied, and then dropped", () => {
  const page = "dropped-table";

  it("in place, undone, and in place again", async () => {
    await stack.home.owner("TRUNCATE tasks CASCADE");
    await stack.addTasks("lost", 100);
    await stack.home.owner("DROP TABLE tasks CASCADE");
    await stack.followAll(page, "");
    await stack.followAll(page, "Check");
    const inPlace = (await stack.steps(page, "Act"))[0];
    if (inPlace === undefined) throw new Error("the page does not say how to act");
    await stack.follow(inPlace);
    expect(await stack.tasks()).toBe(100);
    await stack.followAll(page, "Undo");
    await expect(stack.tasks()).rejects.toThrow('relation "tasks" does not exist');
    await stack.follow(inPlace);
    await stack.followAll(page, "Verify");
    expect(await stack.tasks()).toBe(100);
    await stack.healthy();
  });

  it("beside it, while others write", async () => {
    await stack.home.owner("TRUNCATE tasks CASCADE");
    await stack.addTasks("of others", 7);
    // Other users have to reach the folder, and a test keeps to its own.
    const instead = { "/var/tmp/before": join(stack.home.directory, "before") };
    const [, ...beside] = await stack.steps(page, "Act");
    for (const step of beside) await stack.follow(step, { instead });
    expect(await stack.tasks()).toBe(107);
    expect(await stack.home.json("restore", "list")).toEqual({ instances: [] });
    await stack.healthy();
  });

  it("each command of the page was run", async () => {
    expect(await stack.unfollowed(page)).toEqual([]);
  });
});

describe("the primary's data is corrupted", () => {
  const page = "corrupted-primary";
  const readAll = "SELECT count(title) FROM tasks";

  /** Overwrites part of a page of the tasks on these members, and has them forget the sound one. */
  async function corrupt(members: readonly string[]): Promise<void> {
    const { rows } = await stack.home.superuser(
      "SELECT pg_relation_filepath(tableoid::regclass) AS path FROM tasks LIMIT 1",
    );
    await stack.home.superuser("CHECKPOINT");
    const { postgres } = await stack.home.descriptor();
    for (const { name, dataDirectory, patroniConfiguration } of postgres.members) {
      if (!members.includes(name)) continue;
      await stack.must(
        `(cd / && runuser -u postgres -- psql -XAtqc CHECKPOINT -h ${join(stack.home.paths.run, "members", name)} -p ${postgres.members.find((each) => each.name === name)?.port} postgres)`,
      );
      const file = await open(join(dataDirectory, String(rows[0]?.["path"])), "r+");
      await file.write(Buffer.alloc(64, 0xa5), 0, 64, 4000);
      await file.close();
      await stack.must(
        `(cd / && runuser -u postgres -- patronictl -c ${patroniConfiguration} restart main ${name} --force)`,
      );
    }
    await waitFor("the damage to be met", 60_000, async () => {
      const failure = await stack.home.owner(readAll).then(
        () => "all rows were read",
        (error: unknown) => String(error),
      );
      if (!failure.includes("invalid page in block")) throw new Error(failure);
      return true;
    });
  }

  it("only an index is", async () => {
    await stack.follow(await stack.step(page, "Act", "REINDEX"));
  });

  it("the leader's is: a standby takes over, and the old leader is made anew", async () => {
    const before = await stack.tasks();
    const { leader, standby } = await stack.roles();
    await corrupt([leader]);
    await stack.followAll(page, "");
    await stack.followAll(page, "Check");
    // The leader started anew, and the page says what to wait for.
    await waitFor(`${standby} to be synchronous`, 60_000, async () => {
      const { members } = (await stack.status()).postgres;
      return members.find(({ name }) => name === standby)?.role === "sync_standby" || undefined;
    });
    const act = await stack.step(page, "Act", "switchover");
    await stack.follow(act, { instead: { m1: leader, m2: standby } });
    await stack.healthy();
    expect((await stack.roles()).leader).toBe(standby);
    expect(await stack.tasks()).toBe(before);
    const { rows } = await stack.home.owner(readAll, "ro");
    expect(rows).toEqual([{ count: String(before) }]);
  });

  it("a restore to the newest moment can be undone", async () => {
    await stack.follow(await restore("--to latest\n"));
    await stack.addTasks("after the restore", 3);
    const after = await stack.tasks();
    await stack.followAll(page, "Undo");
    expect(await stack.tasks()).toBe(after - 3);
    await stack.healthy();
  });

  it("both are: the newest moment is restored", async () => {
    const before = await stack.tasks();
    const { leader, standby } = await stack.roles();
    await corrupt([standby, leader]);
    await stack.follow(await restore("--plan"));
    await stack.follow(await restore("--to latest\n"));
    await stack.healthy();
    expect(await stack.tasks()).toBe(before);
    await stack.followAll(page, "Verify");
    await stack.healthy();
  });

  async function restore(words: string): ReturnType<RunbookStack["step"]> {
    return await stack.step(page, "Act", words);
  }

  it("each command of the page was run", async () => {
    expect(await stack.unfollowed(page)).toEqual([]);
  });
});
