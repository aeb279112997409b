import { spawn } from "node:child_process";
import { readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCredential } from "#stack";
import { makeDirectory, readFileIfExists, waitFor } from "#system";
import { portsFile } from "../../infra/runtime/local/ports.ts";
import { scramVerifier } from "../../infra/provider/types/secret.ts";
import { connected } from "../../ops/facts/connection.ts";
import { checkout, Home, shown } from "./home.ts";

/*
 * One stack, taken back again and again. Each test leaves a running stack, and counts rows: what was
 * committed before a target is there, and nothing after it. Later tests stand on earlier ones: look
 * at the first failure.
 */

interface Restored {
  action: "restored";
  timeline: number;
  reached: { evidence: string; lsn: string; last_commit_at: string | null };
}

interface Planned {
  plan: {
    target: string;
    timeline: number;
    found: string | null;
    problems: { code: string }[];
    drops: { event: string; xid: number; role: string }[];
  };
}

let home: Home;

beforeAll(async () => {
  home = await Home.create();
  // While its ports are closed, another stack of this machine would take the preferred ones.
  await makeDirectory(home.paths.state, { mode: 0o755 });
  const names = ["readWrite", "readOnly", "api", "admin", "etcdClient", "etcdPeer"];
  const members = ["m1", "m2"].flatMap((name) => [`${name}-postgres`, `${name}-rest`]);
  const ports = Object.fromEntries(
    [...names, ...members].map((name, index) => [name, 28_400 + index]),
  );
  await writeFile(join(home.paths.state, portsFile), JSON.stringify(ports));
  await home.must("up");
  await home.owner("CREATE TABLE marks (name text PRIMARY KEY, at timestamptz DEFAULT now())");
});

afterAll(async () => {
  await home.end();
});

/** A row, and the server's clock after its commit: times of two machines are never compared. */
async function mark(name: string): Promise<{ after: string; lsn: string }> {
  await home.owner(`INSERT INTO marks VALUES ('${name}')`);
  const { rows } = await home.superuser(
    "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"Z\"') AS after, pg_current_wal_lsn()::text AS lsn",
  );
  const [row] = rows as { after: string; lsn: string }[];
  if (row === undefined) throw new Error("the server has no clock");
  return row;
}

async function marks(): Promise<string[]> {
  const { rows } = await home.owner("SELECT name FROM marks ORDER BY at");
  return (rows as { name: string }[]).map(({ name }) => name);
}

async function restore(...args: string[]): Promise<Restored> {
  const ended = await home.ctm("restore", ...args, "--yes", "--json");
  if (ended.code !== 0) throw new Error(`ctm restore ${args.join(" ")}:\n${shown(ended)}`);
  return JSON.parse(ended.stdout) as Restored;
}

async function confirm(): Promise<void> {
  await home.must("restore", "--confirm", "--yes");
}

async function plan(...args: string[]): Promise<Planned["plan"]> {
  return (await home.json<Planned>("restore", ...args, "--plan")).plan;
}

async function timeline(): Promise<number> {
  const { rows } = await home.superuser(
    "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline",
  );
  return (rows[0] as { timeline: number }).timeline;
}

/** Files of segments in the repository, by the segment's name. */
async function stored(segment: string): Promise<string> {
  const root = join(home.paths.state, "repository/archive/main");
  const [id = ""] = (await readdir(root)).filter((name) => /^\d/.test(name));
  const folder = join(root, id, segment.slice(0, 16));
  const file = (await readdir(folder)).find((name) => name.startsWith(`${segment}-`));
  if (file === undefined) throw new Error(`${segment} is not in the repository`);
  return join(folder, file);
}

async function switchSegment(): Promise<string> {
  const { rows } = await home.superuser("SELECT pg_walfile_name(pg_switch_wal()) AS segment");
  const { segment } = rows[0] as { segment: string };
  await waitFor(`${segment} in the repository`, 60_000, async () => {
    return await stored(segment);
  });
  return segment;
}

describe("a target", () => {
  let first: { after: string; lsn: string };
  let second: { after: string; lsn: string };

  it("that is a time: everything until then, and nothing after", async () => {
    first = await mark("first");
    second = await mark("second");
    const before = await timeline();
    const done = await restore("--to", first.after);
    expect(await marks()).toEqual(["first"]);
    expect(done.reached.evidence).toContain("recovery stopping before WAL location");
    expect(done.timeline).toBeGreaterThan(before);
    expect(await timeline()).toBe(done.timeline);
    const found = await home.json<{ healthy: boolean; problems: unknown[] }>("status");
    expect(found, JSON.stringify(found.problems)).toMatchObject({ healthy: true });
  });

  it("is final only when it was confirmed: another one is refused", async () => {
    const refused = await home.ctm("restore", "--to", "latest", "--yes");
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain("restore-unconfirmed");
    await confirm();
  });

  it("on the timeline that was given up is reached too, by its time: two in a row", async () => {
    await mark("other");
    const there = await plan("--to", second.after);
    expect(there.timeline).toBe(1);
    await restore("--to", second.after);
    expect(await marks()).toEqual(["first", "second"]);
    await confirm();
  });

  it("of any kind is found in WAL, and replay stops there", async () => {
    await mark("before the kinds");
    const { rows } = await home
      .superuser(
        `BEGIN; INSERT INTO marks VALUES ('counted'); SELECT pg_current_xact_id()::text AS xid; COMMIT`,
      )
      .then((answers) => (answers as unknown as { rows: { xid: string }[] }[])[2] ?? { rows: [] });
    const third = await mark("placed");
    await home.superuser("SELECT pg_create_restore_point('named point')");
    await mark("after the kinds");
    await switchSegment();
    const until = ["first", "second", "before the kinds", "counted"];
    expect(await beside(`xid:${rows[0]?.xid}`)).toEqual(until);
    expect(await beside(third.lsn)).toEqual([...until, "placed"]);
    expect(await beside("name:named point")).toEqual([...until, "placed"]);
    expect(await beside("latest")).toEqual([...until, "placed", "after the kinds"]);
    const { label } = await home.json<{ label: string }>("backup", "full");
    await mark("after the backup");
    expect(await beside(label)).toEqual([...until, "placed", "after the kinds"]);
  });

  it.each([
    ["2026-11-24 02:10:44", "target-without-zone", 2],
    ["2020-01-01 00:00:00Z", "target-too-early", 2],
    ["9999-01-01 00:00:00Z", "target-in-future", 2],
    ["FF/0", "target-not-reached", 3],
    ["name:nowhere", "target-not-found", 2],
  ])("%s is refused, or planned with what is wrong: %s", async (to, code, exitCode) => {
    const ended = await home.ctm("restore", "--to", to, "--plan", "--json");
    expect(ended.code).toBe(exitCode);
    expect(`${ended.stdout}${ended.stderr}`).toContain(code);
  });

  it("on a timeline that is not in the archive is refused", async () => {
    const ended = await home.ctm("restore", "--to", "latest", "--timeline", "99", "--plan");
    expect(ended).toMatchObject({ code: 2 });
    expect(ended.stderr).toContain("no-such-timeline");
  });
});

describe("a table that is gone", () => {
  it("is brought back to just before its DROP", async () => {
    await mark("before the drop");
    await home.owner("DROP TABLE marks");
    const found = await plan("--before-drop", "marks");
    expect(found.drops).toMatchObject([{ event: "drop", role: "ctm_migrator" }]);
    await restore("--before-drop", "marks");
    expect((await marks()).at(-1)).toBe("before the drop");
    await confirm();
  });

  it("or was emptied, comes back, and undoing that brings the emptiness back", async () => {
    await home.owner(
      "INSERT INTO tasks (title) SELECT 'task ' || n FROM generate_series(1, 100) n",
    );
    await home.owner("TRUNCATE tasks CASCADE");
    expect((await plan("--before-drop", "tasks")).drops).toMatchObject([{ event: "truncate" }]);
    await restore("--before-drop", "tasks");
    expect(await tasks()).toBe(100);
    await home.owner("INSERT INTO tasks (title) VALUES ('since the restore')");
    await home.must("restore", "--undo", "--yes");
    expect(await tasks()).toBe(0);
    expect((await marks()).at(-1)).toBe("before the drop");
    await home.owner("INSERT INTO tasks (title) VALUES ('after undoing')");
    const found = await home.json<{ healthy: boolean; problems: unknown[] }>("status");
    expect(found, JSON.stringify(found.problems)).toMatchObject({ healthy: true });
  });
});

describe("a restore that cannot succeed", () => {
  let segment: string;
  let target: string;

  it("for WAL that is missing is refused before anything is touched", async () => {
    await home.must("backup", "full");
    await mark("in the segment");
    segment = await switchSegment();
    target = (await mark("behind it")).after;
    await switchSegment();
    await mark("at the end");
    const file = await stored(segment);
    const aside = join(home.directory, "segment");
    await rename(file, aside);
    try {
      expect((await plan("--to", target)).problems).toMatchObject([{ code: "wal-missing" }]);
      const ended = await home.ctm("restore", "--to", target, "--yes");
      expect(ended).toMatchObject({ code: 3 });
      expect(ended.stderr).toContain(segment);
      expect((await marks()).at(-1)).toBe("at the end");
    } finally {
      await rename(aside, file);
    }
  });

  it("for WAL that cannot be read fails loudly, and the old data is back", async () => {
    const file = await stored(segment);
    const bytes = await readFile(file);
    const broken = Buffer.from(bytes);
    broken.fill(0x55, Math.floor(bytes.length / 2), Math.floor(bytes.length / 2) + 64);
    await writeFile(file, broken);
    try {
      const ended = await home.ctm("restore", "--to", target, "--yes");
      expect(ended.code, shown(ended)).not.toBe(0);
      expect(ended.stderr).toContain("the old data is back and serves again");
      expect(ended.stderr).toContain(segment);
      expect((await marks()).at(-1)).toBe("at the end");
      await mark("written after it failed");
    } finally {
      await writeFile(file, bytes);
    }
  });

  it("for a wrong passphrase says so and touches nothing", async () => {
    const { postgres } = await home.descriptor();
    const path = postgres.members[0]?.backrestConfiguration ?? "";
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace(/(cipher-pass=).*/, "$1wrong"));
    try {
      const ended = await home.ctm("restore", "--to", "latest", "--yes");
      expect(ended).toMatchObject({ code: 1 });
      expect(ended.stderr).toContain("passphrase-wrong");
      expect((await marks()).at(-1)).toBe("written after it failed");
    } finally {
      await writeFile(path, text);
    }
  });

  it("because it was killed says so, keeps others from starting, and is undone", async () => {
    const run = spawn("node", [join(checkout, "bin/ctm"), "restore", "--to", target, "--yes"], {
      cwd: "/",
      env: home.env,
      detached: true,
      stdio: "ignore",
    });
    const path = join(home.paths.state, "restore.json");
    await waitFor(
      "the restore to be in the middle",
      60_000,
      async () =>
        (await readFileIfExists(path))?.includes('"restoring"') === true ? true : undefined,
      { intervalMs: 20 },
    );
    process.kill(-(run.pid ?? 0), "SIGKILL");
    for (const command of [["restore", "--to", "latest", "--yes"], ["start"], ["up"]]) {
      const refused = await home.ctm(...command);
      expect(refused).toMatchObject({ code: 2 });
      expect(refused.stderr).toContain("ctm restore --undo brings the old data back");
    }
    await home.must("restore", "--undo", "--yes");
    expect((await marks()).at(-1)).toBe("written after it failed");
    await mark("after the undo");
  });
});

describe("what is newer than the target", () => {
  it("passwords, roles and migrations are repaired, and the API works", async () => {
    const made = await home.json<{ key: string }>(
      "key",
      "create",
      ...["--name", "restore", "--user", "tester", "--permission", "read:tasks"],
    );
    // As it was before a rotation, a migration and a new role.
    await home.superuser(
      "ALTER ROLE ctm_api PASSWORD 'of before'; ALTER ROLE ctm_replicator PASSWORD 'of before'",
    );
    await home.superuser("DELETE FROM schema_repeatables WHERE name LIKE '60_comments%'");
    const { after } = await mark("before the rotation");
    for (const role of ["ctm_api", "ctm_replicator"] as const) {
      const verifier = scramVerifier(await readCredential(home.paths, role));
      await home.superuser(`ALTER ROLE ${role} PASSWORD '${verifier}'`);
    }
    await home.must("migrate", "up");
    await mark("after the rotation");
    await restore("--to", after);
    expect((await marks()).at(-1)).toBe("before the rotation");
    const { pending } = await home.json<{ pending: { name: string }[] }>("migrate", "status");
    expect(JSON.stringify(pending)).toContain("60_comments");
    await home.must("up");
    expect(await home.json("up")).toMatchObject({ changes: 0 });
    const { api } = await home.descriptor();
    const answer = await fetch(`${api.url}/api/database/tasks`, {
      headers: { "x-api-key": made.key },
    });
    expect(answer.status).toBe(200);
    await confirm();
    expect(await home.json("status")).toMatchObject({ healthy: true });
  });
});

async function tasks(): Promise<number> {
  const { rows } = await home.owner("SELECT count(*)::int AS tasks FROM tasks");
  return (rows[0] as { tasks: number }).tasks;
}

/** The marks that a server beside the stack has when it stands at the target. */
async function beside(to: string): Promise<string[]> {
  const directory = join(home.directory, "beside");
  await home.json("restore", "--to", to, "--into", directory);
  const found = await connected(
    { host: directory, user: "postgres", database: "taskmaster" },
    (client) => client.query<{ name: string }>("SELECT name FROM marks ORDER BY at"),
  );
  await home.json("restore", "remove", directory);
  return found.rows.map(({ name }) => name);
}
