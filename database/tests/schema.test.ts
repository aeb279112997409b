import { readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  runTests,
  type Assertion,
  type FileResult,
  type Problem,
} from "../pgtap-runner/src/index.ts";
import { compareCatalogs } from "../catalog/compare-catalogs.ts";
import { readCatalog } from "../catalog/read-catalog.ts";
import { connect, disconnect } from "../runner/connect.ts";
import { makeFreshDatabase } from "../runner/fresh-database.ts";
import { migrateUp } from "../runner/migrate-up.ts";
import { migrationFiles } from "../runner/migration-files.ts";
import {
  runnerConnection,
  startScratchServer,
  type ScratchServer,
} from "../runner/scratch-server.ts";

const folder = fileURLToPath(new URL(".", import.meta.url));
const smokeFile = fileURLToPath(new URL("../smoke.sql", import.meta.url));
const fixtures = new URL("../fixtures/document/", import.meta.url);
const rolesSql = new URL("../roles.sql", import.meta.url);

let server: ScratchServer;

beforeAll(async () => {
  server = await startScratchServer({
    settings: { max_connections: "30", max_prepared_transactions: "2" },
  });
  await makeFreshDatabase(server, "ours");
  await withClient("ours", (client) => client.query("CREATE EXTENSION pgtap"));
}, 120_000);

afterAll(async () => server.stop());

describe("pgTAP", { timeout: 120_000 }, () => {
  test("every file is green on the migrated schema", async () => {
    const files = await runPgTap("ours", [folder, smokeFile]);
    expect(files.length).toBeGreaterThan(10);
    expect(files.filter(({ status }) => status !== "passed").map(describeFile)).toEqual([]);
  });

  test("every defect of the document is red on the document's own SQL", async () => {
    await makeDocumentDatabase("document_v1", ["v1.sql"]);
    await makeDocumentDatabase("document_v2", ["v1.sql", "v1_writable.sql", "v2.sql"]);
    const names = (await readdir(folder)).filter((name) => /^defect_\d+_.*\.sql$/.test(name));
    const wanted = new Map<string, string[]>();
    for (const name of names) {
      const version = /^-- red on: (v1|v2)$/m.exec(await readFile(folder + name, "utf8"))?.[1];
      if (version === undefined) throw new Error(`${name} does not say what it is red on`);
      wanted.set(version, [...(wanted.get(version) ?? []), folder + name]);
    }
    const green: string[] = [];
    for (const [version, paths] of wanted) {
      const files = await runPgTap(`document_${version}`, paths);
      green.push(...files.filter(({ status }) => status === "passed").map(({ path }) => path));
    }
    expect(green).toEqual([]);
  });
});

/** Defect 4: the version was inserted by the file and by what ran it. */
test("no migration writes the ledger, which is the runner's", async () => {
  const migrations = new URL("../migrations/", import.meta.url);
  for (const name of await readdir(migrations)) {
    const text = await readFile(new URL(name, migrations), "utf8");
    expect(text, name).not.toMatch(/INSERT\s+INTO\s+schema_migrations/i);
  }
});

test("each repeatable file can run again by itself", { timeout: 60_000 }, async () => {
  const files = (await migrationFiles()).filter(({ kind }) => kind === "repeatable");
  await withClient("ours", async (client) => {
    const before = await readCatalog(client);
    for (const { name, path } of files) {
      await client.query(
        `BEGIN; SET LOCAL ROLE ctm_owner; ${await readFile(path, "utf8")}; COMMIT`,
      );
      expect(compareCatalogs(before, await readCatalog(client)), name).toEqual([]);
    }
  });
});

describe("two at once", () => {
  /** One transaction adds a -> b, the other b -> a, each before the other has committed. */
  const halves = async (
    isolation: string,
    check: (second: Promise<unknown>) => Promise<void>,
  ): Promise<void> =>
    withClient("ours", async (first) =>
      withClient("ours", async (second) => {
        const [a, b] = await addTasks(first, 2);
        await first.query(`BEGIN ISOLATION LEVEL ${isolation}`);
        await second.query(`BEGIN ISOLATION LEVEL ${isolation}`);
        // Under the higher levels the snapshot is taken now, before the other one commits.
        await second.query("SELECT count(*) FROM task_dependencies");
        await first.query(addDependency, [a, b]);
        const waiting = second.query(addDependency, [b, a]);
        waiting.catch(() => undefined);
        await blockedBy(second);
        await first.query("COMMIT");
        await check(waiting);
        await second.query("ROLLBACK");
      }),
    );

  test("cannot close a cycle between them", async () => {
    await halves("READ COMMITTED", async (second) => {
      await expect(second).rejects.toMatchObject({
        code: "23514",
        constraint: "task_dependencies_no_cycle",
        message: expect.stringMatching(/^dependency cycle: \S+ -> \S+ -> \S+$/),
      });
    });
  });

  test.each(["REPEATABLE READ", "SERIALIZABLE"])("nor under %s", async (isolation) => {
    await halves(isolation, async (second) => {
      await expect(second).rejects.toMatchObject({ code: "40001" });
    });
  });

  test("a dependency of other tasks waits, and is then added", async () => {
    await withClient("ours", async (first) =>
      withClient("ours", async (second) => {
        const [a, b, c, d] = await addTasks(first, 4);
        await first.query("BEGIN");
        await first.query(addDependency, [a, b]);
        const waiting = second.query(addDependency, [c, d]);
        await blockedBy(second);
        await first.query("COMMIT");
        expect((await waiting).rowCount).toBe(1);
      }),
    );
  });

  describe("of whom one gives a task of its own its first dependency", () => {
    test("does not wait for the turn", async () => {
      await withClient("ours", async (first) =>
        withClient("ours", async (second) => {
          const [a, b] = await addTasks(first, 2);
          await first.query("BEGIN");
          await first.query(addDependency, [a, b]);
          // As the API adds a task.
          await second.query("SET statement_timeout = '5s'");
          const { rowCount } = await second.query(
            `WITH task AS (INSERT INTO tasks (title) VALUES ('waits for a') RETURNING id)
             INSERT INTO task_dependencies (parent_task_id, child_task_id) SELECT $1, id FROM task`,
            [a],
          );
          expect(rowCount).toBe(1);
          await first.query("COMMIT");
        }),
      );
    });

    const cycle = { code: "23514", constraint: "task_dependencies_no_cycle" };
    /** Both a and b stand; the first writes b, as if it were its own, and lets it wait for a. */
    const ownAndOther = async (
      check: (given: { first: Client; second: Client; a: string; b: string }) => Promise<void>,
    ): Promise<void> =>
      withClient("ours", async (first) =>
        withClient("ours", async (second) => {
          const [a = "", b = ""] = await addTasks(first, 2);
          await first.query("BEGIN");
          await first.query("UPDATE tasks SET priority = 1 WHERE id = $1", [b]);
          await check({ first, second, a, b });
          for (const client of [first, second]) await client.query("ROLLBACK");
        }),
      );

    test("the other half of a cycle, later, waits and is refused", async () => {
      await ownAndOther(async ({ first, second, a, b }) => {
        await first.query(addDependency, [a, b]);
        const waiting = second.query(addDependency, [b, a]);
        waiting.catch(() => undefined);
        await blockedBy(second);
        await first.query("COMMIT");
        await expect(waiting).rejects.toMatchObject(cycle);
      });
    });

    test("it waits for the other half, when that was earlier, and is refused", async () => {
      await ownAndOther(async ({ first, second, a, b }) => {
        await second.query("BEGIN");
        await second.query(addDependency, [b, a]);
        const waiting = first.query(addDependency, [a, b]);
        waiting.catch(() => undefined);
        await blockedBy(first);
        await second.query("COMMIT");
        await expect(waiting).rejects.toMatchObject(cycle);
      });
    });

    test("the other half, made of a dependency that said nothing about order, is refused", async () => {
      await ownAndOther(async ({ first, second, a, b }) => {
        await second.query(addRelated, [b, a]);
        await first.query(addDependency, [a, b]);
        const waiting = second.query(
          "UPDATE task_dependencies SET dependency_type = 'blocks' WHERE parent_task_id = $1",
          [b],
        );
        waiting.catch(() => undefined);
        await blockedBy(second);
        await first.query("COMMIT");
        await expect(waiting).rejects.toMatchObject(cycle);
      });
    });

    test.each(["REPEATABLE READ", "SERIALIZABLE"])(
      "the other half fails under %s, where it cannot see it",
      async (isolation) => {
        await ownAndOther(async ({ first, second, a, b }) => {
          await second.query(`BEGIN ISOLATION LEVEL ${isolation}`);
          await second.query("SELECT count(*) FROM task_dependencies");
          await first.query(addDependency, [a, b]);
          await first.query("COMMIT");
          await expect(second.query(addDependency, [b, a])).rejects.toMatchObject({
            code: "40001",
          });
        });
      },
    );

    test("a task that others wait for already is no such task", async () => {
      await ownAndOther(async ({ first, a, b }) => {
        await first.query(addDependency, [b, a]);
        await expect(first.query(addDependency, [a, b])).rejects.toMatchObject(cycle);
      });
    });

    test("not under REPEATABLE READ itself", async () => {
      await withClient("ours", async (first) =>
        withClient("ours", async (second) => {
          const [a, b] = await addTasks(first, 2);
          await second.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
          await second.query("UPDATE tasks SET priority = 1 WHERE id = $1", [b]);
          await first.query(addDependency, [b, a]);
          await expect(second.query(addDependency, [a, b])).rejects.toMatchObject({
            code: "40001",
          });
        }),
      );
    });
  });

  test("an hour is not sealed while somebody writes it, and is whole when it is", async () => {
    await withClient("ours", async (writer) =>
      withClient("ours", async (sealer) => {
        await writer.query("BEGIN");
        await writer.query("INSERT INTO tasks (title) VALUES ('in flight')");
        const sealing = sealer.query("SELECT seal_audit_log(including_now => true) AS rows");
        await waitingFor(sealer, "PgSleep");
        // Others go on writing meanwhile.
        await withClient("ours", (other) =>
          other.query("INSERT INTO tasks (title) VALUES ('other')"),
        );
        await writer.query("COMMIT");
        await sealing;
        const { rows } = await sealer.query(
          `SELECT intact, rows_not_sealed,
                  EXISTS (SELECT FROM audit_logs WHERE new_values ->> 'title' = 'in flight'
                          AND "timestamp" < (SELECT max(period_end) FROM audit_seals)) AS sealed
           FROM verify_audit_log()`,
        );
        expect(rows).toEqual([{ intact: true, rows_not_sealed: "1", sealed: true }]);
      }),
    );
  });

  test("nor while a prepared transaction waits, which no process belongs to", async () => {
    await withClient("ours", async (client) => {
      await client.query("BEGIN");
      await addTasks(client, 1);
      await client.query("PREPARE TRANSACTION 'audited'");
      const { rows } = await client.query("SELECT count(*)::integer AS marks FROM audit_writers()");
      await client.query("COMMIT PREPARED 'audited'");
      expect(rows).toEqual([{ marks: 1 }]);
    });
  });

  test("a lock that anybody may take stops nobody from working", async () => {
    await withClient("ours", async (hostile) =>
      withClient("ours", async (writer) => {
        await hostile.query(
          `SELECT pg_advisory_lock(1635000000 + hour, xid)
           FROM (SELECT floor(extract(epoch FROM clock_timestamp()) / 3600)::integer AS hour,
                        pg_current_xact_id()::text::integer AS now) moment,
                generate_series(now, now + 100) xid`,
        );
        await writer.query("SET statement_timeout = '5s'");
        const { rowCount } = await writer.query("INSERT INTO tasks (title) VALUES ('unhindered')");
        expect(rowCount).toBe(1);
      }),
    );
  });

  test("an older hour that somebody still writes stays open", async () => {
    await withClient("ours", async (writer) =>
      withClient("ours", async (sealer) => {
        // As a transaction does that began to write two hours ago.
        await writer.query("BEGIN");
        await writer.query(
          `SELECT pg_advisory_xact_lock_shared(
             audit_lock_class() + floor(extract(epoch FROM clock_timestamp()) / 3600)::integer - 2, 1)`,
        );
        const before = await sealer.query("SELECT max(period_end) AS sealed FROM audit_seals");
        await sealer.query("DELETE FROM audit_seals");
        await sealer.query("SELECT seal_audit_log()");
        const { rows } = await sealer.query(
          `SELECT max(period_end) <= date_trunc('hour', now()) - interval '2 hours' AS open
           FROM audit_seals`,
        );
        expect(before.rows).toHaveLength(1);
        expect(rows).toEqual([{ open: true }]);
        await writer.query("ROLLBACK");
      }),
    );
  });
});

describe("a database made by hand", { timeout: 120_000 }, () => {
  test("loses no row and no secret on its way", async () => {
    await makeDocumentDatabase("by_hand", ["v1.sql", "v1_writable.sql", "v2.sql"]);
    await withClient("by_hand", async (client) => {
      await client.query(`
        INSERT INTO tasks (title) SELECT 'task ' || n FROM generate_series(1, 100) n;
        INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id)
          VALUES ('n', repeat('e', 64), 'p', 'u');
        UPDATE api_keys SET key_hash = repeat('f', 64);
        INSERT INTO configuration_settings (setting_key, setting_value, setting_type, is_encrypted)
          VALUES ('password', '"in clear"', 'encrypted', true);
        INSERT INTO api_access_logs (request_id, endpoint, method, created_at)
          VALUES ('r', '/', 'GET', NULL), ('r', '/', 'GET', 'infinity'),
                 ('r', '/', 'GET', now() + interval '400 days');
        INSERT INTO performance_metrics (metric_type, timestamp) VALUES ('query', '-infinity')`);
    });
    const before = await counts("by_hand");
    await withClient("by_hand", async (client) => client.query(await readFile(rolesSql, "utf8")));
    await migrateUp({ ...server.database("by_hand"), role: "ctm_owner" });
    expect(await counts("by_hand")).toMatchObject({
      ...before,
      // The upgrade's own changes of settings and of the ledger come before the audit of them.
      audit_logs: expect.any(Number),
    });
    await withClient("by_hand", async (client) => {
      const { rows: leaked } = await client.query(
        `SELECT id FROM audit_logs WHERE audit_logs::text ~ 'e{64}|f{64}|in clear'`,
      );
      expect(leaked).toEqual([]);
      const { rows: setting } = await client.query(
        `SELECT setting_type, is_encrypted, is_sensitive, setting_value
         FROM configuration_settings WHERE setting_key = 'password'`,
      );
      expect(setting).toEqual([
        {
          setting_type: "string",
          is_encrypted: false,
          is_sensitive: true,
          setting_value: "in clear",
        },
      ]);
      const { rows: places } = await client.query(
        `SELECT tableoid::regclass::text AS place, count(*)::integer FROM api_access_logs GROUP BY 1`,
      );
      expect(places).toEqual([{ place: "api_access_logs_legacy", count: 3 }]);
      const { rows: later } = await client.query(
        `INSERT INTO api_access_logs (request_id, endpoint, method, created_at)
         VALUES ('r', '/', 'GET', now() + interval '3 years') RETURNING tableoid::regclass::text AS place`,
      );
      expect(later).toEqual([{ place: "api_access_logs_default" }]);
    });
  });
});

const addDependency = `INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
  VALUES ($1, $2, 'depends_on')`;
const addRelated = addDependency.replace("depends_on", "related");

async function addTasks(client: Client, count: number): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    "INSERT INTO tasks (title) SELECT 'task ' || n FROM generate_series(1, $1::integer) n RETURNING id",
    [count],
  );
  return rows.map(({ id }) => id);
}

async function counts(database: string): Promise<Record<string, number>> {
  return withClient(database, async (client) => {
    const tables = [
      ...["tasks", "task_contexts", "workflow_states", "audit_logs", "task_dependencies"],
      ...["performance_metrics", "deployment_scripts", "error_logs", "webhook_events"],
      ...["api_keys", "api_access_logs", "system_metrics", "configuration_settings"],
    ];
    const columns = tables.map((name) => `(SELECT count(*)::integer FROM ${name}) AS ${name}`);
    const { rows } = await client.query<Record<string, number>>(`SELECT ${columns.join(", ")}`);
    return rows[0] ?? {};
  });
}

/** Waits until the client's statement waits for a lock. */
const blockedBy = async (client: Client): Promise<void> => waitingFor(client, "transactionid");

/** Waits until the server says that the client's statement waits for this. */
async function waitingFor(client: Client, event: string): Promise<void> {
  const { processID } = client as Client & { processID: number };
  await withClient("ours", async (watcher) => {
    const waits = async (): Promise<string | null | undefined> => {
      const { rows } = await watcher.query<{ wait_event: string | null }>(
        "SELECT wait_event FROM pg_stat_activity WHERE pid = $1",
        [processID],
      );
      return rows[0]?.wait_event;
    };
    await expect.poll(waits, { timeout: 10_000, interval: 20 }).toBe(event);
  });
}

async function makeDocumentDatabase(name: string, files: readonly string[]): Promise<void> {
  await withClient("postgres", (client) => client.query(`CREATE DATABASE ${name}`));
  await withClient(name, async (client) => {
    await client.query("CREATE EXTENSION pgtap");
    await client.query("CREATE EXTENSION pgcrypto");
    for (const file of files) await client.query(await readFile(new URL(file, fixtures), "utf8"));
  });
}

async function runPgTap(
  database: string,
  files: readonly string[],
): Promise<readonly FileResult[]> {
  const result = await runTests({
    files: [...files],
    connection: runnerConnection(server, database),
    workers: 2,
  });
  return result.files;
}

function describeFile(file: FileResult): string {
  const lines = [
    ...file.failures.map((failure: Assertion) =>
      [failure.description, ...failure.diagnostics].join("\n  "),
    ),
    ...file.problems.map((problem: Problem) => `${problem.code}: ${problem.message}`),
  ];
  return `${file.path}\n${lines.join("\n")}`;
}

async function withClient<T>(database: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect(server.database(database), "schema test");
  try {
    return await work(client);
  } finally {
    await disconnect(client);
  }
}
