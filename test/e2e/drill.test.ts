import { spawn } from "node:child_process";
import { once } from "node:events";
import { chown, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { waitFor } from "#system";
import type { DrillDocument } from "../../ops/drill/report.ts";
import { checkout, Home } from "./home.ts";

/*
 * Drills on a real stack: one that is well passes, one that meets damage names it, and none leaves
 * anything behind.
 */

let home: Home;
let repository: string;
/** Puts back what a test damaged. */
let mend: (() => Promise<void>)[] = [];

beforeAll(async () => {
  home = await Home.create();
  await home.must("up");
  const [near] = (await home.descriptor()).backup.repositories;
  repository = near?.path ?? "";
  await home.owner(
    "INSERT INTO tasks (title) SELECT 'before ' || n FROM generate_series(1, 300) n",
  );
  await home.must("backup", "incr");
  await home.owner("INSERT INTO tasks (title) SELECT 'after ' || n FROM generate_series(1, 200) n");
  await archiveAll();
});

afterAll(async () => {
  await home.end();
});

afterEach(async () => {
  for (const undo of mend) await undo();
  mend = [];
  const left = await leftovers();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});

/** Ends the current segment and waits until the repository has it. */
async function archiveAll(): Promise<string> {
  const { rows } = await home.superuser("SELECT pg_walfile_name(pg_switch_wal() - 1) AS name");
  const { name } = rows[0] as { name: string };
  await waitFor(`${name} in the archive`, 60_000, async () =>
    (await files("archive")).some((path) => path.includes(`/${name}-`)) ? true : undefined,
  );
  return name;
}

/** Files below a folder of the repository, oldest name first. */
async function files(folder: string): Promise<string[]> {
  const names = await readdir(join(repository, folder), { recursive: true, withFileTypes: true });
  return names
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

/** Changes one bit in the middle of a file, in place. */
async function flip(path: string): Promise<void> {
  const before = await readFile(path);
  const after = Buffer.from(before);
  const middle = Math.floor(after.length / 2);
  after[middle] = (after[middle] ?? 0) ^ 1;
  await writeFile(path, after);
  mend.push(() => writeFile(path, before));
}

async function leftovers(): Promise<string[]> {
  const names = await readdir(home.paths.state);
  const notes = await readdir(join(home.paths.state, "scratch")).catch(() => []);
  return [...names.filter((name) => name.startsWith("drill-")), ...notes];
}

async function drill(): Promise<DrillDocument & { code: number }> {
  const ended = await home.ctm("drill", "--json");
  return { ...(JSON.parse(ended.stdout) as DrillDocument), code: ended.code };
}

test("a healthy stack passes, and status says so", async () => {
  const document = await drill();
  expect(document.restores.flatMap(({ checks, failure }) => [failure, ...checks])).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ name: "rows", result: "passed" }),
      expect.objectContaining({ name: "checksums", result: "passed" }),
      expect.objectContaining({ name: "smoke", result: "passed" }),
    ]),
  );
  expect(document).toMatchObject({ code: 0, ok: true, gaps: [], repository: "near" });
  expect(document.rto_ms).toBeGreaterThan(0);
  expect(document.rpo_ms).toBeGreaterThanOrEqual(0);
  const [newest, counted] = document.restores;
  expect(newest?.reached?.evidence).toMatch(/the archive ends with/);
  expect(counted?.reached?.evidence).toMatch(/recovery stopping before WAL location/);
  const rows = counted?.checks.find(({ name }) => name === "rows");
  expect(rows?.detail).toMatch(/^\d+ rows in \d+ tables, as counted at/);
  expect(await readFile(document.report, "utf8")).toContain("Nothing is wrong.");
  const { at, ok, rto_ms, rpo_ms } = document;
  expect((await home.json<{ backup: unknown }>("status")).backup).toMatchObject({
    last_drill: { at, ok, rto_ms, rpo_ms },
  });
});

test("a backup reads the files of the replica", async () => {
  const { postgres } = await home.json<{ postgres: { primary: string } }>("status");
  const { copied_from } = await home.json<{ copied_from: string }>("backup", "incr");
  expect(copied_from).toBe(postgres.primary === "m1" ? "m2" : "m1");
});

test("a server beside the stack, and a table out of it", async () => {
  await home.owner(`CREATE TABLE "Odd, Name" ("select" integer PRIMARY KEY, b text COLLATE "C" NOT NULL,
                      c numeric(10, 2), d uuid[], e text GENERATED ALWAYS AS (upper(b)) STORED)`);
  await home.owner(`INSERT INTO "Odd, Name" SELECT n, E'tab\t and "quotes" ' || n, n / 3.0, ARRAY[gen_random_uuid()]
                      FROM generate_series(1, 5000) n`);
  await home.owner("CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE typed (mood mood)");
  const { rows: before } = await home.owner(
    'SELECT md5(string_agg(t::text, \'\' ORDER BY "select")) FROM "Odd, Name" t',
  );
  const { rows: place } = await home.owner("SELECT pg_current_wal_insert_lsn() AS lsn");
  await home.owner('DROP TABLE "Odd, Name"; DROP TABLE typed; DROP TYPE mood');
  const { lsn } = place[0] as { lsn: string };
  const directory = join(home.directory, "beside");
  const recovered = await home.json<{ reached: { evidence: string } }>(
    ...["restore", "--to", `before:${lsn}`, "--into", directory],
  );
  expect(recovered.reached.evidence).toMatch(/recovery stopping before WAL location/);
  expect(await home.json("restore", "list")).toMatchObject({
    instances: [{ directory, running: true, purpose: "look" }],
  });
  const table = ["restore", "--into", directory, "--table", "Odd, Name", "--as", "Back, again"];
  expect(await home.json(...table)).toMatchObject({
    action: "copied",
    table: '"public"."Back, again"',
    rows: 5000,
  });
  const { rows: after } = await home.owner(
    'SELECT md5(string_agg(t::text, \'\' ORDER BY "select")) FROM "Back, again" t',
  );
  expect(after).toEqual(before);
  const { rows: owners } = await home.owner(
    "SELECT pg_get_userbyid(relowner) AS owner, relacl IS NULL OR relacl::text ~ '^{ctm_owner=[^,]*}$' AS alone FROM pg_class WHERE relname = 'Back, again'",
  );
  expect(owners).toEqual([{ owner: "ctm_owner", alone: true }]);
  expect((await home.ctm(...table)).code).toBe(2);
  const untyped = await home.ctm("restore", "--into", directory, "--table", "typed");
  expect(untyped).toMatchObject({ code: 2 });
  expect(untyped.stderr).toContain(
    'type-missing: in the live database, type "public.mood" does not',
  );
  await home.must("restore", "remove", directory);
  expect(await home.json("restore", "list")).toEqual({ instances: [] });
  expect(await stat(directory).catch(() => undefined)).toBeUndefined();
  await home.owner('DROP TABLE "Back, again"');
});

test("rows that are not as they were counted are named", async () => {
  const path = join(home.paths.state, "marks.json");
  const before = await readFile(path, "utf8");
  mend.push(() => writeFile(path, before));
  const marks = JSON.parse(before) as { rows: Record<string, number> }[];
  for (const mark of marks) mark.rows["public.tasks"] = (mark.rows["public.tasks"] ?? 0) + 1;
  await writeFile(path, JSON.stringify(marks));
  const document = await drill();
  expect(document).toMatchObject({ code: 3, ok: false });
  expect(document.restores[1]?.checks.find(({ name }) => name === "rows")).toMatchObject({
    result: "failed",
    detail: expect.stringMatching(/public\.tasks has \d+, not \d+/),
  });
});

test("a flipped byte in a backup is met", async () => {
  const bundles = (await files("backup")).filter((path) => path.includes("/bundle/"));
  const sized = await Promise.all(
    bundles.map(async (path) => ({ path, size: (await stat(path)).size })),
  );
  const [largest] = sized.toSorted((one, other) => other.size - one.size);
  await flip(largest?.path ?? "");
  const document = await drill();
  expect(document).toMatchObject({ code: 3, ok: false });
  expect(document.restores[0]?.failure?.code).toBe("restore-failed");
  const { healthy, problems } = await home.json<{
    healthy: boolean;
    problems: { code: string }[];
  }>("status");
  expect(healthy).toBe(false);
  expect(problems.map(({ code }) => code)).toContain("drill-failed");
});

test("a flipped byte in WAL is met, and named", async () => {
  const newest = await archiveAll();
  const path = (await files("archive")).findLast((each) => each.includes(`/${newest}-`));
  await flip(path ?? "");
  const document = await drill();
  expect(document).toMatchObject({ code: 3, ok: false });
  expect(document.restores[0]?.failure).toMatchObject({
    code: "wal-unreadable",
    message: expect.stringContaining(newest),
  });
});

test("a segment that was deleted is met, and named; an interrupted drill leaves nothing", async () => {
  const lost = await archiveAll();
  await home.owner("INSERT INTO tasks (title) VALUES ('behind the hole')");
  await archiveAll();
  const path = (await files("archive")).findLast((each) => each.includes(`/${lost}-`)) ?? "";
  const content = await readFile(path);
  const { uid, gid } = await stat(path);
  await rm(path);
  const document = await drill();
  await writeFile(path, content);
  await chown(path, uid, gid);
  expect(document).toMatchObject({ code: 3, ok: false });
  expect(document.gaps).toEqual([{ from: lost, to: lost, kind: "missing" }]);
  expect(document.restores[0]?.failure).toMatchObject({
    code: "wal-missing",
    message: expect.stringContaining(lost),
  });

  const child = spawn("node", [join(checkout, "bin/ctm"), "drill"], {
    cwd: "/",
    env: home.env,
    stdio: "ignore",
  });
  const ended = once(child, "exit");
  await waitFor("the drill to restore", 60_000, async () =>
    (await leftovers()).some((name) => name.startsWith("drill-")) ? true : undefined,
  );
  child.kill("SIGINT");
  expect((await ended)[0]).toBe(130);
});

test("what a killed drill left is removed by the next one, which passes", async () => {
  const child = spawn("node", [join(checkout, "bin/ctm"), "drill"], {
    cwd: "/",
    env: home.env,
    stdio: "ignore",
    detached: true,
  });
  const ended = once(child, "exit");
  const left = await waitFor("its server to run", 60_000, async () => {
    const folder = (await leftovers()).find((name) => name.startsWith("drill-")) ?? "";
    await stat(join(home.paths.state, folder, "data/postmaster.pid"));
    return folder;
  });
  process.kill(-(child.pid ?? 0), "SIGKILL");
  await ended;
  expect(await leftovers()).toContain(left);
  expect(await drill()).toMatchObject({ code: 0, ok: true });
});
