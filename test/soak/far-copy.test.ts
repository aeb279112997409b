import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { endProcesses, stackProcesses } from "#runtime";
import { makeDirectory, waitFor } from "#system";
import type { Home } from "../e2e/home.ts";
import { FarPlace } from "./far-place.ts";
import { RunbookStack } from "./runbook-stack.ts";

/*
 * A stack with a copy of its backups in another region, which is a real S3 server here: the region
 * goes away and comes back, and then the machine is lost. Later tests stand on earlier ones.
 */

interface Status {
  healthy: boolean;
  problems: { code: string; message: string }[];
  backup: {
    gaps: unknown[] | null;
    repositories: {
      name: string;
      status: string | null;
      newest_wal: string | null;
      behind_bytes: number | null;
      behind_ms: number | null;
    }[];
  };
}

interface Audit {
  gaps: unknown[];
  repositories: { name: string; segments: number; recoverable_from: string | null }[];
}

/** Segments that an hour of archive_timeout 60 s makes. */
const hourOfSegments = 60;

let far: FarPlace;
let stack: RunbookStack;
let home: Home;

beforeAll(async () => {
  far = await FarPlace.start("backups");
  stack = await RunbookStack.create();
  ({ home } = stack);
  await stack.must(`${far.configuration("backups")}
    npm run up`);
});

afterAll(async () => {
  await stack.end();
  await far.stop();
});

async function status(): Promise<Status> {
  return await home.json<Status>("status");
}

async function repository(name: "near" | "far"): Promise<Status["backup"]["repositories"][number]> {
  const found = (await status()).backup.repositories.find((each) => each.name === name);
  if (found === undefined) throw new Error(`status names no repository ${name}`);
  return found;
}

/** Writes `count` segments, each with a row; returns the name of the last one. */
async function writeSegments(count: number): Promise<string> {
  let last = "";
  for (let each = 0; each < count; each += 1) {
    await home.superuser("INSERT INTO marks DEFAULT VALUES");
    const { rows } = await home.superuser("SELECT pg_walfile_name(pg_switch_wal()) AS name");
    last = String(rows[0]?.["name"]);
  }
  return last;
}

async function marks(): Promise<number> {
  const { rows } = await home.superuser("SELECT count(*)::int AS count FROM marks");
  return Number(rows[0]?.["count"]);
}

async function holds(name: "near" | "far", segment: string): Promise<void> {
  await waitFor(`${segment} in the ${name} repository`, 240_000, async () => {
    const { newest_wal, status: state } = await repository(name);
    if (newest_wal === null || newest_wal < segment) throw new Error(`${newest_wal}, ${state}`);
    return true;
  });
}

it("the far copy follows, and both places are audited", async () => {
  await home.superuser(
    "CREATE TABLE marks (id bigserial, at timestamptz DEFAULT clock_timestamp())",
  );
  const last = await writeSegments(3);
  await holds("far", last);
  const audit = await home.json<Audit>("backup", "audit");
  expect(audit.gaps).toEqual([]);
  expect(audit.repositories.map(({ name }) => name)).toEqual(["near", "far"]);
  for (const { recoverable_from: from } of audit.repositories) expect(from).not.toBeNull();
  expect(await status()).toMatchObject({ healthy: true, problems: [] });
});

it("a drill restores from there", async () => {
  expect(await home.json("drill", "--repository", "far")).toMatchObject({
    ok: true,
    repository: "far",
    gaps: [],
    restores: [{ failure: null }, { failure: null }],
  });
});

it("its keys stand in no descriptor, no state in clear and no process list", async () => {
  const { access, secret } = FarPlace.keys;
  // The clone has this very file.
  const found = await stack.shell(
    `grep -rlE --exclude-dir=clone "${access}|${secret}" ${home.directory} || true
     ps axww -o args | grep -E "${access}|${secret}" | grep -v grep || true`,
  );
  expect(found.stdout.trim().split("\n").toSorted()).toEqual([
    join(home.paths.state, "far", "pgbackrest.conf"),
    join(home.paths.state, "far", "rclone.conf"),
  ]);
});

it("while the region is away for an hour of WAL, the near one stays current; then it is drained", async () => {
  await far.region.close();
  const last = await writeSegments(hourOfSegments);
  await holds("near", last);
  const behind = await waitFor("the copier to know", 180_000, async () => {
    const copy = await repository("far");
    return copy.status !== "ok" && copy.status !== null ? copy : undefined;
  });
  expect(behind.status).toContain("connection refused");
  expect((await status()).backup.gaps).toEqual([]);
  await far.region.open();
  await holds("far", last);
  const audit = await home.json<Audit>("backup", "audit");
  expect(audit.gaps).toEqual([]);
});

it("a blank machine gets the stack back from the far copy and the escrow alone", async () => {
  const last = await writeSegments(1);
  await holds("far", last);
  const before = await marks();
  const folder = `${home.directory}-escrow`;
  await makeDirectory(folder, { mode: 0o700 });
  try {
    const phrase = join(folder, "phrase");
    const escrow = join(folder, "escrow.txt");
    await writeFile(phrase, "a passphrase of some length\n");
    await home.must(
      "backup",
      "passphrase",
      ...["--output", escrow, "--passphrase-file", phrase, "--yes"],
    );

    // The machine is gone: every process, and every file of the home.
    await home.killAll();
    await endProcesses(await stackProcesses(home.paths.state), 10_000);
    await rm(home.directory, { recursive: true });
    await makeDirectory(home.directory, { mode: 0o755 });
    await stack.makeClone();

    const restored = await home.json<{ reached: { by: string; timeline: number } }>(
      ...["restore", "machine", escrow, "--passphrase-file", phrase, "--yes"],
    );
    expect(restored.reached).toMatchObject({ by: "archive-end" });
    await stack.must("npm run up");
    expect(await marks()).toBe(before);
    const next = await writeSegments(1);
    expect(next.slice(0, 8) > last.slice(0, 8)).toBe(true);
    await holds("far", next);
    expect(await home.json<Audit>("backup", "audit")).toMatchObject({ gaps: [] });
    expect(await status()).toMatchObject({ healthy: true, problems: [] });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
