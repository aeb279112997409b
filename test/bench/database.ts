import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { Client } from "pg";
import { CtmError } from "#system";
import { connect, disconnect } from "../../database/runner/connect.ts";
import { makeFreshDatabase } from "../../database/runner/fresh-database.ts";
import { startScratchServer, type ScratchServer } from "../../database/runner/scratch-server.ts";

/** Each way is measured so often, in turns with the others, and its best time counts. */
const rounds = 3;
const fixtures = new URL("../../database/fixtures/document/", import.meta.url);

/** A way to do something, in one of the two databases. */
interface Way {
  name: string;
  database: "document" | "ours";
  /** Not measured. */
  before?: string;
  statement: string;
  /** Not measured. */
  after?: string;
}

interface Contest {
  title: string;
  /** The first is what the others are compared with. */
  ways: readonly Way[];
}

/**
 * The schema beside the document's own, untuned: writes with and without audit and indexes, retention,
 * the dependency tree, the guarded log. Prints a table of milliseconds and ratios.
 * Linux only, for it reads how much processor time the server took.
 *
 * @param args `--scale N`: the size of the data; default 1, 2.5 million log rows and 100,000 tasks
 * @throws CtmError `bad-usage`
 */
export async function benchDatabase(args: readonly string[]): Promise<void> {
  const scale = readScale(args);
  const server = await startScratchServer({
    settings: { shared_buffers: "256MB", max_wal_size: "4GB", autovacuum: "off" },
  });
  try {
    await makeDatabases(server);
    const clients = {
      document: await connect(server.database("document"), "bench"),
      ours: await connect(server.database("ours"), "bench"),
    };
    for (const contest of contests(scale)) await hold(contest, clients);
    for (const client of Object.values(clients)) await disconnect(client);
  } finally {
    await server.stop();
  }
}

function readScale(args: readonly string[]): number {
  const { values } = parseArgs({
    args: [...args],
    options: { scale: { type: "string", default: "1" } },
  });
  const scale = Number(values.scale);
  if (scale > 0) return scale;
  throw new CtmError("bad-usage", `--scale ${values.scale} is no number above 0`, {
    next: "npm run bench -- database --scale 0.1",
    exitCode: 2,
  });
}

async function makeDatabases(server: ScratchServer): Promise<void> {
  await makeFreshDatabase(server, "ours");
  const admin = await connect(server.connection, "bench");
  await admin.query("CREATE DATABASE document");
  await disconnect(admin);
  const client = await connect(server.database("document"), "bench");
  await client.query("CREATE EXTENSION pgcrypto");
  for (const file of ["v1.sql", "v1_writable.sql", "v2.sql"]) {
    await client.query(await readFile(new URL(file, fixtures), "utf8"));
  }
  // The document's own, which are in no migration of its.
  await client.query(
    `CREATE INDEX ON tasks (status, priority); CREATE INDEX ON tasks (assigned_to, status);
     CREATE INDEX ON tasks USING GIN (tags); CREATE INDEX ON tasks USING GIN (requirements)`,
  );
  await disconnect(client);
}

interface Taken {
  wallMs: number;
  /** Of the server's process: what other work on the machine does not change. */
  cpuMs: number;
}

async function hold(
  contest: Contest,
  clients: Readonly<Record<Way["database"], Client>>,
): Promise<void> {
  const best = new Map<string, Taken>();
  for (let round = 0; round < rounds; round += 1) {
    for (const way of contest.ways) {
      const client = clients[way.database];
      if (way.before !== undefined) await client.query(way.before);
      const taken = await measure(client, way.statement);
      if (way.after !== undefined) await client.query(way.after);
      const before = best.get(way.name) ?? { wallMs: Infinity, cpuMs: Infinity };
      best.set(way.name, {
        wallMs: Math.min(before.wallMs, taken.wallMs),
        cpuMs: Math.min(before.cpuMs, taken.cpuMs),
      });
    }
  }
  const reference = best.get(contest.ways[0]?.name ?? "")?.cpuMs ?? 0;
  process.stdout.write(`\n${contest.title.padEnd(48)} TIME ms   CPU ms    RATIO\n`);
  for (const [name, { wallMs, cpuMs }] of best) {
    const numbers = [wallMs.toFixed(0), cpuMs.toFixed(0), (reference / cpuMs).toFixed(2)];
    process.stdout.write(
      `  ${name.padEnd(44)}${numbers.map((number) => number.padStart(9)).join("")}\n`,
    );
  }
}

async function measure(client: Client, statement: string): Promise<Taken> {
  const cpuBefore = await cpuMsOf(client);
  const began = performance.now();
  await client.query(statement);
  const wallMs = performance.now() - began;
  return { wallMs, cpuMs: (await cpuMsOf(client)) - cpuBefore };
}

/** Linux counts in hundredths of a second. */
async function cpuMsOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  const stat = await readFile(`/proc/${rows[0]?.pid ?? 0}/stat`, "utf8");
  // The name of the program, in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function contests(scale: number): Contest[] {
  const rows = Math.max(100, Math.round(10_000 * scale));
  const logRows = Math.round(2_500_000 * scale);
  const groups = Math.max(1, Math.round(10_000 * scale));
  const withoutTriggers = "SET session_replication_role = replica";
  const withTriggers = "RESET session_replication_role; TRUNCATE tasks CASCADE";

  /** One statement a row, as a service sends them. */
  const each = (statement: string): string =>
    `DO $$ BEGIN FOR i IN 1 .. ${rows} LOOP ${statement}; END LOOP; END $$`;
  const insert = each(
    `INSERT INTO tasks (id, title, description, priority, assigned_to, tags)
     VALUES (md5('task' || i)::uuid, 'task ' || i, 'description of ' || md5(i::text), i % 11,
             'person ' || i % 100, '["a", "b"]')`,
  );
  const status = each("UPDATE tasks SET status = 'in_progress' WHERE id = md5('task' || i)::uuid");
  const hours = each("UPDATE tasks SET actual_hours = i % 100 WHERE id = md5('task' || i)::uuid");
  const prepared = (before: string): string =>
    `TRUNCATE tasks CASCADE; ${before}; ${insert}; ANALYZE tasks`;
  const search = `CREATE INDEX IF NOT EXISTS idx_tasks_search
    ON tasks USING GIN (title gin_trgm_ops, description gin_trgm_ops)`;
  const noSearch = "DROP INDEX IF EXISTS idx_tasks_search";

  const way = (
    database: Way["database"],
    name: string,
    first: string,
  ): Pick<Way, "database" | "name"> & { first: string } => ({ database, name, first });
  const writes = (
    title: string,
    statement: string,
    before: (first: string) => string,
  ): Contest => ({
    title: `${title}, ${rows} statements`,
    ways: [
      way("document", "document", "SELECT"),
      way("document", "document, without triggers", withoutTriggers),
      way("ours", "ours", search),
      way("ours", "ours, without triggers", `${search}; ${withoutTriggers}`),
      way("ours", "ours, without the search index", noSearch),
      way("ours", "ours, without both", `${noSearch}; ${withoutTriggers}`),
    ].map(({ first, ...rest }) => ({
      ...rest,
      before: before(first),
      statement,
      after: withTriggers,
    })),
  });

  const oldLogs = (database: Way["database"]): string => `
    ${database === "ours" ? monthsOfThePast : ""}
    TRUNCATE audit_logs, performance_metrics;
    INSERT INTO system_metrics (metric_category, metric_name, metric_value, timestamp)
    SELECT 'api', 'metric ' || n % 100, n % 1000,
           date_trunc('month', now()) - interval '4 months' - n * (interval '150 days' / ${logRows})
    FROM generate_series(1, ${logRows}) n`;

  // Three diamonds in a row: eight ways to the last of ten tasks, so that the document's can finish.
  const diamonds = `
    ${withoutTriggers};
    INSERT INTO tasks (id, title)
    SELECT md5('task' || n)::uuid, 'task ' || n FROM generate_series(10, ${groups} * 10 + 9) n;
    INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
    SELECT md5('task' || g * 10 + d * 3 + a)::uuid, md5('task' || g * 10 + d * 3 + b)::uuid, 'depends_on'
    FROM generate_series(1, ${groups}) g, generate_series(0, 2) d,
         (VALUES (0, 1), (0, 2), (1, 3), (2, 3)) AS edge (a, b);
    ANALYZE tasks; ANALYZE task_dependencies; RESET session_replication_role`;

  const accessLog = `
    TRUNCATE api_access_logs;
    INSERT INTO api_access_logs (request_id, endpoint, method, user_id, created_at)
    SELECT 'r' || n, '/api/database/tasks', 'GET', 'user ' || n % 1000, now() - n * interval '1 second'
    FROM generate_series(1, ${Math.round(logRows * 0.4)}) n;
    ANALYZE api_access_logs;
    SET app.current_user_id = 'user 7'`;
  const list = "SELECT * FROM api_access_logs ORDER BY created_at DESC LIMIT 20";
  const often = (statement: string): string =>
    `DO $$ BEGIN FOR i IN 1 .. 2000 LOOP PERFORM * FROM (${statement}) answer; END LOOP; END $$`;

  return [
    writes("Insert tasks", insert, (first) => `TRUNCATE tasks CASCADE; ${first}`),
    writes("Change their status", status, prepared),
    writes("Change a column without index", hours, prepared),
    {
      title: `Retention of ${logRows} rows`,
      ways: (["document", "ours"] as const).map((database) => ({
        name: database === "document" ? "document: DELETE" : "ours: months dropped, counted",
        database,
        before: oldLogs(database),
        statement:
          database === "document"
            ? "DELETE FROM system_metrics WHERE timestamp < now() - interval '90 days'"
            : "SELECT cleanup_old_logs(90)",
      })),
    },
    {
      title: `Dependency tree of ${groups * 10} tasks with ${groups * 3} diamonds`,
      ways: (["document", "ours"] as const).map((database) => ({
        name: database,
        database,
        before: diamonds,
        statement: "REFRESH MATERIALIZED VIEW task_dependency_tree",
        after: withTriggers,
      })),
    },
    {
      title: "A person's access log, 2,000 times",
      ways: [
        {
          name: "document: its policy",
          database: "document",
          before: `${accessLog}; SET ROLE authenticated_users`,
          statement: often(list),
          after: "RESET ROLE",
        },
        {
          name: "ours: our policy",
          database: "ours",
          before: `${accessLog}; SET ROLE authenticated_users`,
          statement: often(list),
          after: "RESET ROLE",
        },
        {
          name: "ours: no row security, the same condition",
          database: "ours",
          before: accessLog,
          statement: often(
            list.replace("ORDER", "WHERE user_id = ''user 7'' ORDER").replaceAll("''", "'"),
          ),
        },
      ],
    },
  ];
}

/** A database in its second year: every month has a partition. */
const monthsOfThePast = `
  DO $$
  DECLARE
      month timestamptz;
  BEGIN
      SET LOCAL ROLE ctm_owner;
      IF to_regclass('system_metrics_legacy') IS NOT NULL THEN
          DROP TABLE system_metrics_legacy;
      END IF;
      FOR i IN 1 .. 12 LOOP
          month := (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => i)) AT TIME ZONE 'UTC';
          EXECUTE format('CREATE TABLE IF NOT EXISTS system_metrics_%s PARTITION OF system_metrics'
                         ' FOR VALUES FROM (%L) TO (%L)', to_char(month AT TIME ZONE 'UTC', 'YYYY_MM'),
                         month, (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
      END LOOP;
      RESET ROLE;
  END
  $$;`;
