import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readFileIfExists, waitFor } from "#system";
import { checkout, Home } from "../e2e/home.ts";

/*
 * A restore in place that somebody stops, or whose standby cannot come. Whatever happens, the ports
 * end open, and the error says which data is behind them.
 */

let home: Home;
let target: string;

beforeAll(async () => {
  home = await Home.create();
  await home.configure("ctm:memory", "1GB");
  await home.must("up", "--yes");
  await home.owner("CREATE TABLE marks (name text PRIMARY KEY)");
  await home.owner("INSERT INTO marks VALUES ('before')");
  const { rows } = await home.superuser(
    "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"Z\"') AS now",
  );
  target = (rows[0] as { now: string }).now;
  await home.owner("INSERT INTO marks VALUES ('after')");
});

afterAll(async () => {
  await home.end();
});

async function marks(): Promise<string[]> {
  const { rows } = await home.owner("SELECT name FROM marks ORDER BY name DESC");
  return (rows as { name: string }[]).map(({ name }) => name);
}

/** Restores, and sends a signal as soon as that step has begun. */
async function interruptedIn(step: string, signal: NodeJS.Signals) {
  const state = join(home.paths.state, "restore.json");
  const child = spawn("node", [join(checkout, "bin/ctm"), "restore", "--to", target, "--yes"], {
    cwd: "/",
    env: home.env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = once(child, "close");
  await waitFor(
    `the step ${step}`,
    120_000,
    async () =>
      (await readFileIfExists(state))?.includes(`"step": "${step}"`) === true ? true : undefined,
    { intervalMs: 5 },
  );
  child.kill(signal);
  const [code] = (await ended) as [number | null];
  return { code, stderr };
}

it.each<[string, NodeJS.Signals]>([
  ["stopping", "SIGINT"],
  ["restoring", "SIGHUP"],
])("stopped while %s by %s, it puts the old data back and serves it", async (step, signal) => {
  const { code, stderr } = await interruptedIn(step, signal);
  expect(code, stderr).toBe(130);
  expect(stderr).toContain("interrupted: the restore was stopped by a signal");
  expect(stderr).toContain("nothing was restored: the old data is back and serves again");
  expect(await marks()).toEqual(["before", "after"]);
});

it.each<[string, NodeJS.Signals]>([
  ["promoting", "SIGTERM"],
  ["done", "SIGINT"],
])("stopped while %s by %s, it is done and serves, and can be undone", async (step, signal) => {
  const { code, stderr } = await interruptedIn(step, signal);
  expect(code, stderr).toBe(130);
  expect(stderr).toMatch(/the restore to .+ is done: m\d leads on it and the ports are open/);
  expect(await marks()).toEqual(["before"]);
  await home.must("restore", "--undo", "--yes");
  expect(await marks()).toEqual(["before", "after"]);
});

it("whose standby cannot start ends soon, says so, and is done", async () => {
  const { postgres } = await home.descriptor();
  const { primary } = (await home.json<{ postgres: { primary: string } }>("status")).postgres;
  const standby = postgres.members.find(({ name }) => name !== primary);
  const path = join(standby?.patroniConfiguration ?? "", "patroni.yml");
  const whole = await readFile(path, "utf8");
  const broken = JSON.parse(whole) as { postgresql: { parameters: Record<string, string> } };
  broken.postgresql.parameters["shared_preload_libraries"] = "nothing_there";
  await writeFile(path, JSON.stringify(broken));
  try {
    const begun = Date.now();
    const ended = await home.ctm("restore", "--to", target, "--yes");
    expect(Date.now() - begun).toBeLessThan(5 * 60_000);
    expect(ended.code, ended.stderr).toBe(1);
    expect(ended.stderr).toContain(
      `standby-failed: ${standby?.name} does not come: "start failed"`,
    );
    expect(ended.stderr).toContain(`next: ctm logs ${standby?.name}`);
    expect(await marks()).toEqual(["before"]);
    await home.must("restore", "--confirm", "--yes");
  } finally {
    await writeFile(path, whole);
  }
});
