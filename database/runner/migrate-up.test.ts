import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect as connectSocket, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { CtmError, waitFor } from "#system";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { migrateUp, type MigrateUpOptions, type MigrateUpResult } from "./migrate-up.ts";
import { migrationStatus } from "./migration-status.ts";
import { describeProgress, type MigrationProgress } from "./progress.ts";
import { startScratchServer, type ScratchServer } from "./scratch-server.ts";

vi.setConfig({ testTimeout: 30_000 });

let server: ScratchServer;
let folder: string;
let connection: DatabaseConnection;
let admin: Client;
let count = 0;

beforeAll(async () => {
  server = await startScratchServer();
  admin = await connect(server.connection, "test");
  await admin.query("CREATE ROLE ctm_owner");
});
afterAll(async () => {
  await disconnect(admin);
  await server.stop();
});
beforeEach(async () => {
  count += 1;
  await admin.query(`CREATE DATABASE d${count} OWNER ctm_owner`);
  connection = { ...server.database(`d${count}`), role: "ctm_owner" };
  await query("RESET ROLE; GRANT CREATE ON SCHEMA public TO ctm_owner");
  folder = await mkdtemp(join(tmpdir(), "ctm-migrations-"));
  await mkdir(join(folder, "migrations"));
  await mkdir(join(folder, "repeatable"));
  return async () => rm(folder, { recursive: true });
});

const migration = async (name: string, sql: string): Promise<void> =>
  writeFile(join(folder, "migrations", name), sql);
const repeatable = async (name: string, sql: string): Promise<void> =>
  writeFile(join(folder, "repeatable", name), sql);
const up = async (options: MigrateUpOptions = {}): Promise<MigrateUpResult> =>
  migrateUp(connection, { folder, lockTimeoutMs: 100, deadlineMs: 20_000, ...options });
const refused = async (action: Promise<unknown>): Promise<CtmError> => {
  const error: unknown = await action.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof CtmError) return error;
  throw new Error("expected a CtmError", { cause: error });
};
async function query<Row extends object>(sql: string): Promise<Row[]> {
  const client = await connect(connection, "test");
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await disconnect(client);
  }
}

const untilRunning = async (start: string): Promise<void> => {
  await waitFor(`the server to run ${start}`, 10_000, async () => {
    const { rowCount } = await admin.query(
      "SELECT FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND starts_with(query, $2)",
      [connection.database, start],
    );
    return rowCount === 1 ? true : undefined;
  });
};

describe("migrateUp", () => {
  it("applies numbered files in order, then repeatable ones, and then finds nothing to do", async () => {
    await migration("001_tasks.sql", "CREATE TABLE tasks (id int); INSERT INTO tasks VALUES (1);");
    await migration("002_title.sql", "ALTER TABLE tasks ADD title text;");
    await repeatable("views.sql", "CREATE OR REPLACE VIEW v AS SELECT id FROM tasks;");

    expect(await migrationStatus(connection, { folder })).toMatchObject({
      schemaVersion: null,
      applied: [],
      pending: [{ name: "001_tasks.sql" }, { name: "002_title.sql" }, { name: "views.sql" }],
    });
    const first = await up({ actor: "Ada", gitRevision: "abc123" });
    expect(first.applied).toMatchObject([
      { version: "001", name: "001_tasks.sql", statements: 2, attempts: 1 },
      { version: "002", name: "002_title.sql" },
      { version: null, name: "views.sql", kind: "repeatable" },
    ]);
    expect(first).toMatchObject({ schemaVersion: "002", adopted: [] });
    expect(await migrationStatus(connection, { folder })).toMatchObject({
      schemaVersion: "002",
      applied: [
        {
          version: "001",
          description: "tasks",
          actor: "Ada",
          gitRevision: "abc123",
          adopted: false,
        },
        { version: "002" },
      ],
      pending: [],
      edited: [],
      missing: [],
    });
    // The document's own query shows versions only, newest first.
    const rows = await query<{ version: string }>(
      "SELECT version, applied_at FROM schema_migrations ORDER BY applied_at DESC",
    );
    expect(rows.map((row) => row.version)).toEqual(["002", "001"]);
    expect((await up()).applied).toEqual([]);

    await repeatable("views.sql", "CREATE OR REPLACE VIEW v AS SELECT id, title FROM tasks;");
    expect((await up()).applied).toMatchObject([{ name: "views.sql" }]);
    await query("SELECT title FROM v");
    expect((await up()).applied).toEqual([]);
  });

  it("stops at a target and leaves repeatable files for later", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    await migration("002_b.sql", "CREATE TABLE b ();");
    await repeatable("v.sql", "CREATE VIEW v AS SELECT FROM b;");
    expect(await up({ target: "001" })).toMatchObject({
      schemaVersion: "001",
      applied: [{ name: "001_a.sql" }],
    });
    expect((await refused(up({ target: "009" }))).text).toBe(
      "no-such-version: no migration has the number 009\nnext: ctm migrate status lists them",
    );
    expect((await up()).applied).toHaveLength(2);
  });

  it("shows file, line, statement and a caret, and keeps nothing of a failed file", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    await migration(
      "002_b.sql",
      "CREATE TABLE b (id int);\n-- 😀 é\nSELECT '😀',\n\tnothing\n  FROM b;\nSELECT 1;\n",
    );
    const error = await refused(up());
    const path = join(folder, "migrations/002_b.sql");
    expect(error.text).toBe(
      `migration-failed: ${path}:4:2, statement 2 of 3: column "nothing" does not exist (SQLSTATE 42703)
  4 | \tnothing
    | \t^
nothing of 002_b.sql was kept
next: mend ${path}, then ctm migrate up`,
    );
    expect((await migrationStatus(connection, { folder })).schemaVersion).toBe("001");
    await migration("002_b.sql", "CREATE TABLE b (id int);");
    expect((await up()).applied).toMatchObject([{ version: "002" }]);
  });

  it("names what somebody made on top of what a file replaces", async () => {
    await migration("001_a.sql", "CREATE TABLE a (id int);");
    await up();
    await query("CREATE VIEW of_somebody AS SELECT id FROM a");
    await migration("002_b.sql", "DROP TABLE a;");
    const { text } = await refused(up());
    expect(text).toContain("detail: view of_somebody depends on table a");
    expect(text).toContain(
      "next: drop what depends on it, which the detail names, then ctm migrate up; make it again afterwards",
    );
  });

  it("says that a constraint fails at the file's end", async () => {
    await migration(
      "001_a.sql",
      `CREATE TABLE a (id int PRIMARY KEY, other int REFERENCES a DEFERRABLE INITIALLY DEFERRED);
       INSERT INTO a VALUES (1, 2);`,
    );
    const path = join(folder, "migrations/001_a.sql");
    expect((await refused(up())).text).toBe(
      `migration-failed: ${path}: at its end: insert or update on table "a" violates foreign key constraint "a_other_fkey" (SQLSTATE 23503)
detail: Key (other)=(2) is not present in table "a".
nothing of 001_a.sql was kept
next: mend ${path}, then ctm migrate up`,
    );
  });

  it("refuses a server that accepts no writes", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    const readOnly = { ...connection, options: "-c default_transaction_read_only=on" };
    const error = await refused(migrateUp(readOnly, { folder }));
    expect(error.code).toBe("read-only-server");
    expect(error.message).toMatch(/ accepts no writes$/);
  });

  it("says what this project needs and the server lacks", async () => {
    const error = await refused(migrateUp(connection));
    expect(error.code).toBe("database-not-prepared");
    expect(error.message).toMatch(/does not have: role ctm_key_lookup, .*, extension uuid-ossp/);
    expect(error.next).toBe(
      "apply database/roles.sql to this database as a superuser, then ctm migrate up",
    );
  });

  it("does not let a file's settings or role reach the next one", async () => {
    await migration("001_a.sql", "SET search_path = pg_catalog; SET ROLE pg_monitor;");
    await migration("002_b.sql", "CREATE TABLE b ();");
    await up();
    const rows = await query("SELECT tableowner, schemaname FROM pg_tables WHERE tablename = 'b'");
    expect(rows).toEqual([{ tableowner: "ctm_owner", schemaname: "public" }]);
  });

  it("adopts a ledger of v1.0 and never runs nor compares its versions", async () => {
    await query(
      `CREATE TABLE schema_migrations (version varchar(50) PRIMARY KEY, description text,
         applied_at timestamptz DEFAULT now(), checksum varchar(64));
       INSERT INTO schema_migrations (version, description) VALUES ('001', 'by hand')`,
    );
    await migration("001_a.sql", "SELECT 1 / 0;");
    await migration("002_b.sql", "CREATE TABLE b ();");
    expect(await migrationStatus(connection, { folder })).toMatchObject({
      schemaVersion: "001",
      applied: [{ version: "001", description: "by hand", checksum: null, adopted: true }],
      pending: [{ version: "002" }],
    });
    expect(await up()).toMatchObject({ adopted: ["001"], applied: [{ version: "002" }] });
    expect(await up()).toMatchObject({ adopted: [], applied: [] });
    // A version that somebody added by hand since.
    await query("INSERT INTO schema_migrations VALUES ('003', 'by hand too')");
    await migration("003_c.sql", "SELECT 1 / 0;");
    expect(await up()).toMatchObject({ adopted: ["003"], applied: [], schemaVersion: "003" });
  });

  it("refuses an applied file that was edited", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    await up();
    await migration("001_a.sql", "CREATE TABLE a (id int);");
    const path = join(folder, "migrations/001_a.sql");
    const error = await refused(up());
    expect(error.code).toBe("migration-edited");
    expect(error.message).toMatch(
      /001_a\.sql was changed after it was applied: applied with sha256 [0-9a-f]{64}, now [0-9a-f]{64}$/,
    );
    expect(error.next).toBe(
      `restore the file as it was (git log -p ${path}) and make the change in a new one: ctm migrate new NAME`,
    );
    expect((await migrationStatus(connection, { folder })).edited).toMatchObject([
      { version: "001" },
    ]);
  });

  it("refuses when an applied file is gone, or an older one appears", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    await migration("003_c.sql", "CREATE TABLE c ();");
    await up({ gitRevision: "abc123" });
    await migration("002_b.sql", "CREATE TABLE b ();");
    expect((await refused(up())).text).toBe(
      `migration-out-of-order: ${join(folder, "migrations/002_b.sql")} is not applied, and the database is already at 003: a fresh database would run them in another order
next: rename it to a number after 003`,
    );
    await rm(join(folder, "migrations/002_b.sql"));
    await rm(join(folder, "migrations/003_c.sql"));
    expect((await refused(up())).text).toBe(
      `migration-missing: the database has 003 (c), for which there is no file here
next: update this checkout to contain revision abc123, which applied it`,
    );
  });

  it("lets one run at a time: the second waits and finds nothing to do", async () => {
    await query("CREATE TABLE released ()");
    await migration(
      "001_a.sql",
      `CREATE TABLE a ();
       DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM released) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$;`,
    );
    const first = up();
    await untilRunning("DO ");
    const seen: MigrationProgress[] = [];
    const second = up({ onProgress: (progress) => seen.push(progress) });
    await waitFor("the second run to wait", 10_000, () =>
      seen.some(({ kind }) => kind === "waiting-for-runner") ? true : undefined,
    );
    await query("INSERT INTO released DEFAULT VALUES");
    expect([(await first).applied.length, (await second).applied.length]).toEqual([1, 0]);
    expect(seen.filter(({ kind }) => kind === "waiting-for-runner")).toHaveLength(1);
  });

  it("says who runs when the deadline passes", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    const other = await connect(connection, "ctm migrate");
    await other.query("SELECT pg_advisory_lock(6517869, 1)");
    const error = await refused(up({ deadlineMs: 300 }));
    await disconnect(other);
    expect(error.text).toMatch(
      /^migration-running: another migration run \(pid \d+, user postgres, connected since 2\S+Z\) has not finished within 0 s\nnext: wait for it and run ctm migrate up again; if it hangs, SELECT pg_terminate_backend\(\d+\)$/,
    );
  });

  it("gives way to a lock, tries again, and names the idle transaction when it must give up", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    await up();
    await migration("002_b.sql", "CREATE TABLE b ();\nALTER TABLE a ADD id int;");
    const holder = await connect(connection, "nightly report");
    await holder.query("BEGIN");
    await holder.query("SELECT * FROM a");
    const error = await refused(up({ deadlineMs: 1_200 }));
    expect(error.text).toMatch(
      /^migration-blocked: \S+002_b\.sql:2 gave way \d+ times in [\d.]+ s: it needs AccessExclusiveLock on a, held by pid \d+ \(nightly report, user postgres, idle in transaction, in its transaction for [\d.]+ s, last query [\d.]+ s ago: SELECT \* FROM a\); nothing of 002_b\.sql was kept\nnext: wait for it to end, or end it \(SELECT pg_terminate_backend\(\d+\)\), then ctm migrate up$/,
    );
    expect(await query("SELECT to_regclass('b') AS b")).toEqual([{ b: null }]);

    const lines: string[] = [];
    const waiting = up({
      onProgress: (progress) => {
        const line = describeProgress(progress);
        if (line !== undefined) lines.push(line);
        if (progress.kind === "retrying" && progress.attempt === 3) void holder.query("COMMIT");
      },
    });
    const result = await waiting;
    await disconnect(holder);
    expect(result.applied[0]?.attempts).toBeGreaterThanOrEqual(3);
    expect(lines.some((line) => line.includes("held by pid"))).toBe(true);
  });

  it("survives the loss of its connection and says what became of the file", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();\nSELECT pg_sleep(30);");
    const running = refused(up());
    await waitFor("the migration to sleep", 10_000, async () => {
      const { rowCount } = await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = 'd${count}' AND query LIKE 'SELECT pg_sleep%'`,
      );
      return rowCount === 1 ? true : undefined;
    });
    const error = await running;
    expect(error.text).toBe(
      `connection-lost: ${join(folder, "migrations/001_a.sql")}:2: terminating connection due to administrator command; looked again on a new connection: 001_a.sql is not applied and nothing of it was kept
next: read the server's log for the reason, then ctm migrate up`,
    );
    await migration("001_a.sql", "CREATE TABLE a ();");
    expect((await up()).applied).toHaveLength(1);
  });
});

describe("as ctm_migrator, who is no superuser", () => {
  let migrator: DatabaseConnection;

  beforeEach(async () => {
    const roles = await readFile(new URL("../roles.sql", import.meta.url), "utf8");
    await query(
      `RESET ROLE; ${roles}; ALTER ROLE ctm_migrator PASSWORD 'm'; ALTER ROLE ctm_api PASSWORD 'a'`,
    );
    migrator = { ...connection, user: "ctm_migrator", password: "m" };
  });
  const upAsMigrator = async (options: MigrateUpOptions = {}): Promise<MigrateUpResult> =>
    migrateUp(migrator, { folder, lockTimeoutMs: 100, deadlineMs: 20_000, ...options });

  it("names who holds its lock, and what that session does", async () => {
    await migration("001_a.sql", "CREATE TABLE a (); GRANT SELECT ON a TO ctm_api;");
    await upAsMigrator();
    await migration("002_b.sql", "ALTER TABLE a ADD id int;");
    const { role: _role, ...login } = connection;
    const holder = await connect({ ...login, user: "ctm_api", password: "a" }, "report");
    await holder.query("BEGIN");
    await holder.query("SELECT * FROM a");
    const error = await refused(upAsMigrator({ deadlineMs: 1_000 }));
    await disconnect(holder);
    expect(error.message).toMatch(
      /it needs AccessExclusiveLock on a, held by pid \d+ \(report, user ctm_api, idle in transaction, in its transaction for [\d.]+ s, last query [\d.]+ s ago: SELECT \* FROM a\)/,
    );
  });

  it("says since when another run is connected", async () => {
    const other = await connect(migrator, "ctm migrate");
    await other.query("SELECT pg_advisory_lock(6517869, 1)");
    const error = await refused(upAsMigrator({ deadlineMs: 300 }));
    await disconnect(other);
    expect(error.message).toMatch(/\(pid \d+, user ctm_migrator, connected since 2\S+Z\)/);
  });

  it("cancels its own statement when it is interrupted", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();\nSELECT pg_sleep(60);");
    const controller = new AbortController();
    const running = refused(upAsMigrator({ signal: controller.signal }));
    await untilRunning("SELECT pg_sleep");
    controller.abort();
    expect((await running).code).toBe("interrupted");
    expect(await query("SELECT to_regclass('a') AS a")).toEqual([{ a: null }]);
  });
});

describe("a connection lost at COMMIT", () => {
  /**
   * Stands between client and server: passes a COMMIT on, and drops the client before the answer.
   * The connection is then as lost as it can be, and the file is applied.
   */
  async function startDroppingProxy(options: { thenGone: boolean }): Promise<{
    connection: DatabaseConnection;
    stop(): Promise<void>;
  }> {
    const socketFolder = await mkdtemp(join(tmpdir(), "ctm-proxy-"));
    let toDrop = 1;
    const proxy = createServer((client) => {
      const upstream = connectSocket(`${connection.host}/.s.PGSQL.5432`);
      const close = (): void => {
        client.destroy();
        upstream.destroy();
      };
      client.on("error", close).on("close", close);
      upstream.on("error", close).on("close", close);
      upstream.pipe(client);
      client.on("data", (bytes: Buffer) => {
        // The ledger's own commit comes first; the file's is the second.
        if (bytes.includes("COMMIT") && (toDrop -= 1) === -1) {
          if (options.thenGone) proxy.close();
          upstream.unpipe(client);
          upstream.end(bytes);
          upstream.once("data", close).resume();
          return;
        }
        upstream.write(bytes);
      });
    });
    await new Promise<void>((resolve) => {
      proxy.listen(join(socketFolder, ".s.PGSQL.5432"), resolve);
    });
    return {
      connection: { ...connection, host: socketFolder },
      stop: async () => {
        proxy.close();
        await rm(socketFolder, { recursive: true });
      },
    };
  }

  beforeEach(async () => {
    await migration("001_a.sql", "CREATE TABLE a ();");
    await migration("002_b.sql", "CREATE TABLE b ();");
  });

  it("is looked into on a new one, and the run goes on", async () => {
    const proxy = await startDroppingProxy({ thenGone: false });
    const seen: MigrationProgress[] = [];
    const result = await migrateUp(proxy.connection, {
      folder,
      deadlineMs: 10_000,
      onProgress: (progress) => seen.push(progress),
    });
    await proxy.stop();
    expect(seen.filter(({ kind }) => kind === "connection-lost")).toEqual([
      {
        kind: "connection-lost",
        name: "001_a.sql",
        message: "Connection terminated unexpectedly",
      },
    ]);
    expect(result).toMatchObject({
      schemaVersion: "002",
      applied: [{ version: "001" }, { version: "002" }],
    });
  });

  it("is said to be unknown when there is no new one", async () => {
    const proxy = await startDroppingProxy({ thenGone: true });
    const error = await refused(migrateUp(proxy.connection, { folder, deadlineMs: 1_000 }));
    await proxy.stop();
    expect(error.code).toBe("connection-lost");
    expect(error.message).toMatch(
      /^the connection was lost during 001_a\.sql \(Connection terminated unexpectedly\), and it is not known whether the file was applied: no-connection: /,
    );
    expect(error.next).toBe(
      "ctm migrate status, once the server answers; ctm migrate up then goes on from there",
    );
    expect((await up()).applied).toMatchObject([{ version: "002" }]);
  });
});

describe("an ended run", () => {
  /** A run in a process of its own, which can be killed. */
  const runInProcess = (): ReturnType<typeof spawn> => {
    const script = `import { migrateUp } from ${JSON.stringify(new URL("migrate-up.ts", import.meta.url).href)};
      await migrateUp({ role: "ctm_owner" }, { folder: process.argv[1] });`;
    return spawn(process.execPath, ["--input-type=module", "--eval", script, folder], {
      stdio: "inherit",
      env: {
        ...process.env,
        PGHOST: connection.host,
        PGUSER: connection.user,
        PGPASSWORD: String(connection.password),
        PGDATABASE: connection.database,
      },
    });
  };
  it("killed in the middle of a file, leaves nothing, and the next one finishes", async () => {
    // Before 14 a server does not notice that its client is gone until the statement ends.
    const seconds = server.version < 14 ? 4 : 60;
    await migration("001_a.sql", `CREATE TABLE a ();\nSELECT pg_sleep(${seconds});`);
    const child = runInProcess();
    await untilRunning("SELECT pg_sleep");
    child.kill("SIGKILL");
    await migration("001_a.sql", "CREATE TABLE a (id int);");
    expect(await up()).toMatchObject({ applied: [{ version: "001", attempts: 1 }] });
    expect(await query("SELECT id FROM a")).toEqual([]);
  });

  it("killed while it builds an index, leaves an invalid one, and the next one rebuilds it", async () => {
    await migration("001_a.sql", "CREATE TABLE a (id int);");
    await up();
    await migration(
      "002_index.sql",
      "-- ctm: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id);",
    );
    const holder = await connect(connection, "test");
    await holder.query("BEGIN; INSERT INTO a VALUES (1)");
    const child = runInProcess();
    await untilRunning("CREATE INDEX CONCURRENTLY");
    child.kill("SIGKILL");
    const seen: MigrationProgress[] = [];
    const running = up({ onProgress: (progress) => seen.push(progress) });
    // Before 14 the server goes on building for a client that is gone, and the next run waits.
    const notices = server.version >= 14;
    const awaited = notices ? "blocked" : "waiting-for-runner";
    await waitFor("the next run to meet what the first one left", 10_000, async () =>
      seen.some((progress) => progress.kind === awaited) ? true : undefined,
    );
    await holder.query("COMMIT");
    await disconnect(holder);
    expect((await running).applied).toMatchObject([{ version: "002" }]);
    expect(seen.some((progress) => progress.kind === "index-dropped")).toBe(notices);
    expect(
      await query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"),
    ).toEqual([{ indisvalid: true }]);
  });

  it("interrupted by its caller, cancels the statement and keeps nothing of the file", async () => {
    await migration("001_a.sql", "CREATE TABLE a ();\nSELECT pg_sleep(60);");
    const controller = new AbortController();
    const running = refused(up({ signal: controller.signal }));
    await untilRunning("SELECT pg_sleep");
    controller.abort();
    expect((await running).text).toBe(
      `interrupted: stopped at ${join(folder, "migrations/001_a.sql")}:2; nothing of 001_a.sql was kept
next: ctm migrate up goes on from there`,
    );
    expect(await query("SELECT to_regclass('a') AS a")).toEqual([{ a: null }]);
  });
});

describe("CREATE INDEX CONCURRENTLY", () => {
  const build =
    "-- ctm: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_id ON public.a (id);";
  const valid = async (): Promise<unknown> =>
    query("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('a_id')");

  beforeEach(async () => {
    await migration("001_a.sql", "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (1);");
    await up();
    await migration("002_index.sql", build);
  });

  it("leaves no invalid index behind when it fails", async () => {
    const error = await refused(up());
    expect(error.code).toBe("migration-failed");
    expect(error.message).toContain("could not create unique index");
    expect(await valid()).toEqual([]);
  });

  it("drops an invalid index that an interrupted run left, and builds it anew", async () => {
    await expect(query(build)).rejects.toThrow("could not create unique index");
    expect(await valid()).toEqual([{ indisvalid: false }]);
    await query("DELETE FROM a WHERE ctid = (SELECT max(ctid) FROM a)");
    const seen: MigrationProgress[] = [];
    await up({ onProgress: (progress) => seen.push(progress) });
    expect(seen).toContainEqual({ kind: "index-dropped", name: "002_index.sql", index: "a_id" });
    expect(await valid()).toEqual([{ indisvalid: true }]);
  });

  it("is not fooled by something else of that name", async () => {
    await query("CREATE TABLE other (id int); CREATE INDEX a_id ON other (id)");
    expect((await refused(up())).text).toBe(
      `index-not-built: something else is called a_id already, so IF NOT EXISTS built nothing on public.a
next: look at it with ctm psql -- -c '\\d a_id', remove it, then ctm migrate up`,
    );
  });
});
