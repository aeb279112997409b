import { chmod, chown, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { isMissing, makeDirectory, run, runAs, waitFor } from "#system";
import { Home } from "../e2e/home.ts";

/*
 * What goes wrong with an archive of WAL, done to a real stack. Rows are counted by batches, each
 * noted only when its commit was acknowledged.
 */

interface Gap {
  from: string;
  to: string;
}

interface Status {
  healthy: boolean;
  problems: { code: string; message: string }[];
  postgres: { primary: string | null };
  backup: { gaps: Gap[] | null; archive: { failing: boolean; waiting_segments: number } | null };
}

interface Plan {
  plan: { gaps: Gap[]; problems: { code: string; what: string }[] };
}

const batchRows = 100;
const mebibyte = 1024 ** 2;

let home: Home;
let repository: string;
let acknowledged: string[] = [];
/** Puts back what a test broke, newest first; each may be called twice. */
let mend: (() => Promise<void>)[] = [];

beforeAll(async () => {
  home = await Home.create();
  await home.configure("ctm:memory", "1GB");
  await home.must("up", "--yes");
  const [near] = (await home.descriptor()).backup.repositories;
  if (near?.kind !== "posix") throw new Error("the first repository is no folder");
  repository = near.path;
});

afterEach(async () => {
  for (const undo of mend.toReversed()) await undo();
  mend = [];
});

afterAll(async () => {
  await home.end();
});

/** Writes batches, each into a WAL segment of its own. Returns the segments. */
async function write(batches: number): Promise<string[]> {
  const segments: string[] = [];
  for (let count = 0; count < batches; count += 1) {
    const title = `batch ${acknowledged.length + 1} of ${Date.now()}`;
    await home.owner(
      `INSERT INTO tasks (title) SELECT '${title}' FROM generate_series(1, ${batchRows})`,
    );
    acknowledged.push(title);
    const { rows } = await home.superuser("SELECT pg_walfile_name(pg_switch_wal() - 1) AS name");
    segments.push((rows[0] as { name: string }).name);
  }
  return segments;
}

/** Acknowledged batches that are not whole, among titles and how many rows each has. */
function lost(rows: readonly { title: string; held: number }[]): string[] {
  const held = new Map(rows.map((row) => [row.title, row.held]));
  return acknowledged.filter((title) => held.get(title) !== batchRows);
}

const countRows =
  "SELECT title, count(*)::int AS held FROM tasks WHERE title LIKE 'batch %' GROUP BY title";

async function expectAllRows(): Promise<void> {
  const { rows } = await home.owner(countRows);
  expect(lost(rows as { title: string; held: number }[])).toEqual([]);
  console.log(`${acknowledged.length * batchRows} acknowledged rows are there`);
}

/** Restores the end of the archive beside the stack, and counts there. */
async function expectAllRowsArchived(): Promise<void> {
  const directory = join(home.directory, "beside");
  await home.must("restore", "--to", "latest", "--into", directory);
  const { users, postgres } = await home.descriptor();
  const query = `SELECT coalesce(json_agg(counted), '[]') FROM (${countRows}) counted`;
  const { stdout } = await run(
    "psql",
    ["-XAt", "-h", directory, "-U", "postgres", "-d", postgres.database, "-c", query],
    { cwd: "/", ...(await runAs(users.postgres)) },
  );
  await home.must("restore", "remove", directory);
  expect(lost(JSON.parse(stdout) as { title: string; held: number }[])).toEqual([]);
  console.log(`${acknowledged.length * batchRows} rows came out of the archive`);
}

async function status(): Promise<Status> {
  return await home.json<Status>("status");
}

async function codes(): Promise<string[]> {
  return (await status()).problems.map(({ code }) => code);
}

async function expectHealthy(): Promise<void> {
  await waitFor("the stack to be healthy", 180_000, async () => {
    const { healthy, problems } = await status();
    if (!healthy) throw new Error(problems.map(({ message }) => message).join("; "));
    return true;
  });
}

/** The audit's exit code and gaps, which it has to give in less than ten seconds. */
async function audit(): Promise<{ code: number; gaps: Gap[] }> {
  const begun = Date.now();
  const { code, stdout } = await home.ctm("backup", "audit", "--json");
  const took = Date.now() - begun;
  expect(took).toBeLessThan(10_000);
  console.log(`audit: exit ${code} in ${took} ms`);
  return { code, gaps: (JSON.parse(stdout) as { gaps: Gap[] }).gaps };
}

async function plan(...target: string[]): Promise<Plan["plan"] & { code: number }> {
  const { code, stdout } = await home.ctm("restore", ...target, "--plan", "--json");
  return { code, ...(JSON.parse(stdout) as Plan).plan };
}

/** The repository's files of WAL, by segment. */
async function archived(): Promise<Map<string, string>> {
  const folder = join(repository, "archive");
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  return new Map(
    names
      .filter((entry) => entry.isFile())
      .map((entry) => [entry.name.slice(0, 24), join(entry.parentPath, entry.name)]),
  );
}

async function waitUntilArchived(segments: readonly string[]): Promise<void> {
  await waitFor(`${segments.at(-1)} in the archive`, 180_000, async () => {
    const held = await archived();
    return segments.every((name) => held.has(name)) ? true : undefined;
  });
}

/** The repository refuses everybody but root, until the returned function is called. */
async function refuse(): Promise<() => Promise<void>> {
  const { mode } = await stat(repository);
  await chmod(repository, 0);
  const allow = async (): Promise<void> => chmod(repository, mode & 0o7777);
  mend.push(allow);
  return allow;
}

/** Changes every member's pgbackrest.conf, until the returned function is called. */
async function configure(change: (text: string) => string): Promise<() => Promise<void>> {
  const { members } = (await home.descriptor()).postgres;
  const files = await Promise.all(
    members.map(async ({ backrestConfiguration: path }) => ({
      path,
      text: await readFile(path, "utf8"),
    })),
  );
  const restore = async (): Promise<void> => {
    for (const { path, text } of files) await writeFile(path, text);
  };
  mend.push(restore);
  for (const { path, text } of files) {
    const changed = change(text);
    expect(changed).not.toBe(text);
    await writeFile(path, changed);
  }
  return restore;
}

/** Name, size and time of everything in the repository. */
async function repositoryState(): Promise<string[]> {
  const { stdout } = await run("find", [repository, "-type", "f", "-printf", "%p %s %T@\n"]);
  return stdout.split("\n").toSorted();
}

it("a wrong passphrase: each command says so, and nothing is changed", async () => {
  await waitUntilArchived(await write(1));
  await expectHealthy();
  const before = await repositoryState();
  const restore = await configure((text) =>
    text.replace(/^repo1-cipher-pass=.*$/m, "repo1-cipher-pass=not the one"),
  );
  const words =
    "repository 1 cannot be deciphered: the passphrase in pgbackrest.conf is not the one that it was made with";
  for (const command of [
    "backup full",
    "backup audit",
    "backup verify",
    "restore --to latest --plan",
  ]) {
    const { code, stderr } = await home.ctm(...command.split(" "));
    expect([command, code, stderr]).toEqual([
      command,
      1,
      expect.stringContaining(`passphrase-wrong: ${words}`),
    ]);
  }
  const { healthy, problems } = await status();
  expect(healthy).toBe(false);
  expect(problems).toContainEqual(
    expect.objectContaining({ code: "repository-unreadable", message: words }),
  );
  expect(problems.map(({ code }) => code)).not.toContain("no-full-backup");
  expect(await repositoryState()).toEqual(before);
  await restore();
  await expectHealthy();
  await expectAllRows();
});

it("a repository that is moved away: WAL waits for it, and none is missing afterwards", async () => {
  const away = `${repository}.away`;
  await rename(repository, away);
  const bringBack = async (): Promise<void> => {
    await rename(away, repository).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  };
  mend.push(bringBack);
  const waiting = await write(8);
  await waitFor("status to say that archiving fails", 120_000, async () => {
    const { backup } = await status();
    const { failing = false, waiting_segments: segments = 0 } = backup.archive ?? {};
    return failing && segments >= waiting.length ? true : undefined;
  });
  expect(await codes()).toEqual(expect.arrayContaining(["archiving-fails", "repository-missing"]));
  expect(await codes()).not.toContain("no-full-backup");
  await bringBack();
  const begun = Date.now();
  await waitUntilArchived(waiting);
  console.log(`${waiting.length} segments were drained ${Date.now() - begun} ms after`);
  await expectHealthy();
  expect(await audit()).toEqual({ code: 0, gaps: [] });
  await expectAllRows();
  await expectAllRowsArchived();
});

it("a segment that is deleted in the middle is named by everybody", async () => {
  const segments = await write(3);
  await waitUntilArchived(segments);
  const name = segments[1] ?? "";
  const path = (await archived()).get(name) ?? "";
  const content = await readFile(path);
  const { uid, gid } = await stat(path);
  const putBack = async (): Promise<void> => {
    await writeFile(path, content);
    await chown(path, uid, gid);
  };
  mend.push(putBack);
  await rm(path);

  const gap = { from: name, to: name };
  expect(await audit()).toMatchObject({ code: 3, gaps: [gap] });
  const verified = await home.ctm("backup", "verify", "--json");
  expect([verified.code, JSON.parse(verified.stdout)]).toMatchObject([
    3,
    { damages: [{ file: name, what: "is missing" }] },
  ]);
  const { healthy, backup } = await status();
  expect([healthy, backup.gaps]).toMatchObject([false, [gap]]);
  expect(await codes()).toContain("wal-gap");
  expect(await plan("--to", "latest")).toMatchObject({
    code: 3,
    gaps: [gap],
    problems: [{ code: "wal-missing", what: expect.stringContaining(name) }],
  });
  expect(await expectRefused("restore", "--to", "latest", "--yes")).toContain(name);
  await expectAllRows();

  await putBack();
  expect(await audit()).toEqual({ code: 0, gaps: [] });
  await expectHealthy();
});

async function expectRefused(...command: string[]): Promise<string> {
  const { code, stderr } = await home.ctm(...command);
  expect([code, stderr]).toEqual([3, expect.stringContaining("wal-missing")]);
  return stderr;
}

/** Puts a member's pg_wal on a volume of its own. The stack stands still meanwhile. */
async function walOnVolume(member: string, freeBytes: number): Promise<string> {
  const { postgres } = await home.descriptor();
  const { dataDirectory } = postgres.members.find(({ name }) => name === member) ?? {};
  const folder = join(dataDirectory ?? "", "pg_wal");
  const disk = `${folder}.disk`;
  await home.superuser("CHECKPOINT");
  await home.must("stop");
  const { stdout } = await run("du", ["-s", "--block-size=1", folder]);
  const size = Number.parseInt(stdout, 10) + freeBytes;
  await rename(folder, disk);
  const { uid, gid } = await stat(disk);
  await makeDirectory(folder, { mode: 0o700 });
  const options = `size=${size},mode=0700,uid=${uid},gid=${gid}`;
  await run("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder]);
  mend.push(async () => {
    await home.must("stop");
    const fresh = `${folder}.fresh`;
    await run("cp", ["-a", folder, fresh]);
    await run("umount", [folder]);
    await rm(folder, { recursive: true });
    await rename(fresh, folder);
    await home.must("start");
  });
  await run("cp", ["-a", `${disk}/.`, folder]);
  await rm(disk, { recursive: true });
  await chown(folder, uid, gid);
  await home.must("start");
  return folder;
}

it("a full WAL volume stops the leader, and costs no row and no WAL", async () => {
  const leader = (await status()).postgres.primary ?? "";
  const volume = await walOnVolume(leader, 160 * mebibyte);
  await waitFor("the same leader", 60_000, async () =>
    (await status()).postgres.primary === leader ? true : undefined,
  );
  await expectHealthy();
  const allow = await refuse();
  const before = acknowledged.length;
  // A volume of this size holds fewer: what ends this is the server.
  const failure = await write(200).then(
    () => "200 segments were written",
    (error: unknown) => String(error),
  );
  console.log(`after ${acknowledged.length - before} batches: ${failure}`);
  // Patroni forgets by that what waits to be archived.
  await waitFor("it to fail again after recovering from the crash", 120_000, async () => {
    const log = await readFile(join(home.paths.log, `${leader}.log`), "utf8");
    const failures = log.match(/(PANIC|FATAL): .*pg_wal.*No space left on device/g) ?? [];
    return failures.length > 1 && log.includes("in a single user mode") ? true : undefined;
  });
  expect((await status()).healthy).toBe(false);

  await allow();
  await run("mount", ["-o", `remount,size=${1024 * mebibyte}`, volume]);
  const begun = Date.now();
  await waitFor("the cluster to take writes again", 180_000, async () => {
    await write(1);
    return true;
  });
  console.log(`writes again ${Date.now() - begun} ms after there was room`);
  await expectAllRows();
  // PostgreSQL finds what it had not archived when it removes old segments.
  await waitFor("an archive without a gap", 300_000, async () => {
    await write(1);
    await home.superuser("CHECKPOINT");
    return (await audit()).code === 0 ? true : undefined;
  });
  console.log(`no gap ${Date.now() - begun} ms after there was room`);
  await expectHealthy();
  await expectAllRows();
  await expectAllRowsArchived();
});

it("WAL that archive-push-queue-max dropped is named, and a new full backup ends the loss", async () => {
  await waitUntilArchived(await write(1));
  const allow = await refuse();
  const dropped = await write(4);
  const [first = "", last = ""] = [dropped[0], dropped.at(-1)];
  const restore = await configure((text) =>
    text.replace(
      "[global:archive-push]\n",
      "[global:archive-push]\narchive-push-queue-max=16MiB\n",
    ),
  );
  await waitFor("the server to call them archived", 180_000, async () => {
    const { rows } = await home.superuser("SELECT last_archived_wal AS name FROM pg_stat_archiver");
    return (rows[0] as { name: string }).name >= last ? true : undefined;
  });
  await restore();
  await allow();
  const held = await archived();
  expect(dropped.filter((name) => held.has(name))).toEqual([]);

  // At the end of the archive, where only the server knows of it.
  const range = { from: first, to: expect.stringMatching(/^[0-9A-F]{24}$/) };
  expect(await audit()).toMatchObject({ code: 3, gaps: [range] });
  expect(await codes()).toEqual(expect.arrayContaining(["wal-missing"]));
  expect(await plan("--to", "latest")).toMatchObject({ code: 3, gaps: [range] });

  // In its middle, once pgBackRest's own check has archived a segment behind it.
  const { users, postgres, backup } = await home.descriptor();
  const primary = (await status()).postgres.primary;
  const leader = postgres.members.find(({ name }) => name === primary);
  const pgbackrest = async (...args: string[]): Promise<string> => {
    const options = [`--config=${leader?.backrestConfiguration}`, `--stanza=${backup.stanza}`];
    const as = { cwd: "/", ...(await runAs(users.postgres)) };
    return (await run("pgbackrest", [...options, ...args], as)).stdout;
  };
  await pgbackrest("check");
  expect(
    JSON.parse(await pgbackrest("info", "--output=json", "--log-level-console=off")),
  ).toMatchObject([{ status: { code: 0, message: "ok" } }]);
  const found = await audit();
  expect(found).toMatchObject({ code: 3, gaps: [range] });
  const [gap] = found.gaps;
  expect((gap?.to ?? "") >= last).toBe(true);
  const { healthy, backup: shown } = await status();
  expect([healthy, shown.gaps]).toMatchObject([false, [gap]]);
  expect(await codes()).toContain("wal-gap");
  expect(await plan("--to", "latest")).toMatchObject({
    code: 3,
    gaps: [{ from: first, to: gap?.to }],
    problems: [{ code: "wal-missing", what: expect.stringContaining(first) }],
  });
  expect(await expectRefused("restore", "--to", "latest", "--yes")).toContain(first);
  await expectAllRows();

  await home.must("backup", "full");
  await waitUntilArchived(await write(2));
  expect(await plan("--to", "latest")).toMatchObject({ code: 0, gaps: [], problems: [] });
  await expectAllRows();
  await expectAllRowsArchived();
  // What was lost stays lost, and is told as long as the window reaches back to it.
  expect(await audit()).toMatchObject({ code: 3, gaps: [gap] });
});
