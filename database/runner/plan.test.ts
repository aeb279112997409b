import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { makeFreshDatabase } from "./fresh-database.ts";
import { migrationStatus } from "./migration-status.ts";
import { newMigration } from "./new-migration.ts";
import { planMigrations, type MigrationPlan } from "./plan.ts";
import { startScratchServer, type ScratchServer } from "./scratch-server.ts";

vi.setConfig({ testTimeout: 30_000 });

let server: ScratchServer;
let folder: string;
let connection: DatabaseConnection;
let count = 0;

beforeAll(async () => {
  server = await startScratchServer();
});
afterAll(async () => server.stop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-migrations-"));
  await mkdir(join(folder, "migrations"));
  await migration(
    "001_tasks.sql",
    `CREATE TABLE tasks (id int PRIMARY KEY, title varchar(20));
     CREATE TABLE notes (id int PRIMARY KEY);`,
  );
  connection = await makeFreshDatabase(server, `live${(count += 1)}`, { folder });
  await query("INSERT INTO tasks SELECT n, 'task ' || n FROM generate_series(1, 1000) n");
  await query("ANALYZE tasks");
  return async () => rm(folder, { recursive: true });
});

const migration = async (name: string, sql: string): Promise<void> =>
  writeFile(join(folder, "migrations", name), sql);
const plan = async (): Promise<MigrationPlan> => planMigrations(connection, { folder });
async function query(sql: string): Promise<void> {
  const client = await connect(connection, "test");
  await client.query(sql);
  await disconnect(client);
}

describe("planMigrations", () => {
  it("has nothing to show when nothing is pending", async () => {
    const found = await plan();
    expect(found).toMatchObject({ triedOn: "nothing", files: [], failure: null });
  });

  it("shows locks, rewrites, scans, lint and changes, tried on a copy of the data", async () => {
    await migration(
      "002_priority.sql",
      `ALTER TABLE tasks ADD priority bigint;
CREATE TABLE more (id int PRIMARY KEY);
ALTER TABLE more ADD task int REFERENCES tasks (id);
ALTER TABLE tasks ALTER id TYPE bigint;
UPDATE tasks SET priority = 1;
CREATE INDEX tasks_title ON tasks (title);
ALTER TABLE tasks ADD CONSTRAINT named CHECK (title <> '');
`,
    );
    await migration(
      "003_index.sql",
      "-- ctm: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_priority ON tasks (priority);\n",
    );
    await migration(
      "004_link.sql",
      "CREATE TABLE links (id int PRIMARY KEY, task bigint REFERENCES tasks (id));\n",
    );
    const found = await plan();
    expect(found.triedOn).toBe("data");
    expect(found.failure).toBeNull();
    const effects = found.files.flatMap((file) =>
      file.statements.map((statement) => ({
        line: statement.line,
        locks: statement.locks.map((lock) => [lock.relation, lock.mode, lock.rows]),
        rewrites: statement.rewrites.map((table) => [table.relation, table.rows]),
        scans: statement.scans.map((table) => [table.relation, table.rows]),
      })),
    );
    const none = { locks: [], rewrites: [], scans: [] };
    expect(effects).toEqual([
      { ...none, line: 1, locks: [["public.tasks", "AccessExclusiveLock", 1000]] },
      { ...none, line: 2 },
      { ...none, line: 3 },
      // The lock of its first statement is held to the end, and is the strongest.
      { ...none, line: 4, rewrites: [["public.tasks", 1000]] },
      { ...none, line: 5, scans: [["public.tasks", 1000]] },
      { ...none, line: 6, scans: [["public.tasks", 1000]] },
      { ...none, line: 7, scans: [["public.tasks", 1000]] },
      {
        ...none,
        line: 2,
        locks: [["public.tasks", "ShareUpdateExclusiveLock", 1000]],
        scans: [["public.tasks", 1000]],
      },
      { ...none, line: 1, locks: [["public.tasks", "ShareRowExclusiveLock", 1000]] },
    ]);
    expect(
      found.findings.map(({ rule, file, line }) => [rule, file?.split("/").at(-1), line]),
    ).toEqual(
      expect.arrayContaining([
        ["changing-column-type", "002_priority.sql", 4],
        ["require-concurrent-index-creation", "002_priority.sql", 6],
        ["foreign-key-without-index", "002_priority.sql", 3],
      ]),
    );
    expect(found.changes.map(({ kind, name, difference }) => [kind, name, difference])).toEqual(
      expect.arrayContaining([
        ["column", "public.tasks.priority", "unexpected"],
        ["column", "public.tasks.id", "changed"],
        ["table", "public.more", "unexpected"],
        ["index", "public.tasks.tasks_priority", "unexpected"],
      ]),
    );

    // Nothing of it is in the database, and the copy is gone.
    const { schemaVersion } = await migrationStatus(connection, { folder });
    expect(schemaVersion).toBe("001");
    const admin = await connect(server.connection, "test");
    const { rows } = await admin.query("SELECT FROM pg_database WHERE datname LIKE 'ctm_plan%'");
    await disconnect(admin);
    expect(rows).toEqual([]);
  });

  it("says on the data that a constraint does not hold", async () => {
    await migration("002_short.sql", "ALTER TABLE tasks ADD CHECK (id < 1000);");
    const found = await plan();
    expect(found.failure?.code).toBe("migration-failed");
    expect(found.failure?.message).toContain(
      `${join(folder, "migrations/002_short.sql")}:1:1, statement 1 of 1: check constraint "tasks_id_check" of relation "tasks" is violated by some row`,
    );
  });

  it("is tried on empty tables while others are connected, with the real sizes", async () => {
    await migration("002_x.sql", "ALTER TABLE tasks ADD x bigint;");
    const other = await connect(connection, "other");
    const found = await plan();
    await disconnect(other);
    expect(found).toMatchObject({
      triedOn: "schema",
      triedOnReason: "1 other sessions are connected",
      failure: null,
      files: [{ statements: [{ locks: [{ relation: "public.tasks", rows: 1000 }] }] }],
    });
  });
});

describe("newMigration", () => {
  it("takes the next number and a name from the words", async () => {
    const made = await newMigration("Add a due date: tasks!", { folder });
    expect(made).toEqual({
      version: "002",
      path: join(folder, "migrations/002_add_a_due_date_tasks.sql"),
    });
    const { path } = await newMigration("index it", { folder, transactional: false });
    expect(path).toMatch(/003_index_it\.sql$/);
    expect(await readFile(path, "utf8")).toMatch(/^-- ctm: no-transaction\n/);
    await expect(newMigration("…", { folder })).rejects.toMatchObject({
      code: "bad-migration-title",
      exitCode: 2,
    });
  });
});
