import { readFile } from "node:fs/promises";
import { cpus, loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "pg";
import { messageOf } from "#system";
import { describeDifference } from "../catalog/compare-catalogs.ts";
import { readBlocked } from "../runner/blockers.ts";
import { connect, disconnect, type DatabaseConnection } from "../runner/connect.ts";
import { migrateUp } from "../runner/migrate-up.ts";
import type { AppliedFile } from "../runner/migration-run.ts";
import { describeBlocked } from "../runner/run-errors.ts";
import type { ScratchServer } from "../runner/scratch-server.ts";
import { verifyMigrations } from "../runner/verify.ts";

/** What a live database went through while it was upgraded. */
export interface LiveUpgrade {
  upgradeMs: number;
  files: AppliedFile[];
  statements: number;
  failures: string[];
  /** Statements that took two seconds or more, each with what it was seen waiting for. */
  tooSlow: string[];
  /** The longest time that a statement took, and which it was. */
  slowestMs: number;
  slowest: string;
  rowsBefore: Record<string, number>;
  rowsAfter: Record<string, number>;
  /** What the catalog has otherwise than a fresh installation's. */
  drift: string[];
}

const perSecond = 200;
const sessions = 8;
const loadName = "live load";
const tooSlowMs = 2000;
/** A statement that runs so long already is looked at, so often. */
const lookedAtMs = 200;
const fixtures = new URL("../fixtures/document/", import.meta.url);

/** Statements that were valid on version 1.0 and still are; $1 is a number that changes. */
const statements: readonly [name: string, text: string][] = [
  [
    "insert task",
    `INSERT INTO tasks (title, description, priority)
     VALUES ('live', 'while it is upgraded', $1::integer % 11)`,
  ],
  [
    "start task",
    `UPDATE tasks SET status = 'in_progress' WHERE id = md5('task' || $1::integer)::uuid`,
  ],
  [
    "complete task",
    `UPDATE tasks SET status = 'completed', completed_at = now()
     WHERE id = md5('task' || $1::integer)::uuid`,
  ],
  [
    "insert context",
    `INSERT INTO task_contexts (task_id, context_type, context_data)
     VALUES (md5('task' || $1::integer)::uuid, 'workflow', '{"live": true}')`,
  ],
  [
    "insert state",
    `INSERT INTO workflow_states (workflow_id, step, status)
     VALUES ('live ' || $1::integer, 'build', 'running')`,
  ],
  [
    "insert dependency",
    `INSERT INTO task_dependencies (parent_task_id, child_task_id)
     VALUES (md5('task' || $1::integer)::uuid, md5('task' || $1::integer + 2000)::uuid)
     ON CONFLICT DO NOTHING`,
  ],
  [
    "insert metric",
    `INSERT INTO performance_metrics (metric_type, metric_name, metric_value)
     VALUES ('query', 'live', $1::integer)`,
  ],
  ["read task", `SELECT * FROM tasks WHERE id = md5('task' || $1::integer)::uuid`],
  [
    "read children",
    `SELECT id, title FROM tasks WHERE parent_task_id = md5('task' || $1::integer)::uuid`,
  ],
  ["read view", `SELECT id FROM active_tasks WHERE id = md5('task' || $1::integer)::uuid`],
  [
    "read audit",
    `SELECT * FROM audit_logs WHERE entity_type = 'tasks'
     AND entity_id = md5('task' || $1::integer)::uuid`,
  ],
];

/**
 * Makes a database of version 1.0 with so many tasks and log rows, works on it with 200 statements a
 * second, and upgrades it meanwhile.
 */
export async function upgradeWhileInUse(
  server: ScratchServer,
  size: { tasks: number; logRows: number },
): Promise<LiveUpgrade> {
  const name = "live_upgrade";
  const connection = server.database(name);
  await withClient(server.connection, (client) => client.query(`CREATE DATABASE ${name}`));
  await withClient(connection, async (client) => {
    for (const file of ["v1.sql", "v1_writable.sql"]) {
      await client.query(await readFile(new URL(file, fixtures), "utf8"));
    }
    await fill(client, size);
    await client.query(await readFile(new URL("../roles.sql", import.meta.url), "utf8"));
  });
  const rowsBefore = await countRows(connection);

  const load = new Load(connection);
  await load.start();
  const start = performance.now();
  const result = await migrateUp({ ...connection, role: "ctm_owner" });
  const upgradeMs = Math.round(performance.now() - start);
  await load.stop();
  const { drift } = await verifyMigrations(connection);

  return {
    upgradeMs,
    files: result.applied,
    statements: load.answered,
    failures: load.failures,
    tooSlow: load.tooSlow,
    slowestMs: Math.round(load.slowestMs),
    slowest: load.slowest,
    rowsBefore,
    rowsAfter: await countRows(connection),
    drift: drift?.map(describeDifference) ?? ["not compared"],
  };
}

async function fill(client: Client, size: { tasks: number; logRows: number }): Promise<void> {
  await client.query("SET session_replication_role = replica");
  await client.query(
    `INSERT INTO tasks (id, title, description, status, priority, assigned_to, created_at)
     SELECT md5('task' || n)::uuid, 'task ' || n, 'description of ' || md5(n::text),
            CASE WHEN n % 10 < 7 THEN 'completed' ELSE 'pending' END, n % 11, 'person ' || n % 500,
            now() - n * interval '1 minute'
     FROM generate_series(0, $1::integer) n`,
    [size.tasks],
  );
  await client.query(
    `INSERT INTO audit_logs (entity_type, entity_id, action, new_values, timestamp)
     SELECT 'tasks', md5('task' || n % $2::integer)::uuid, 'update', jsonb_build_object('priority', n % 11),
            now() - n * interval '2 seconds'
     FROM generate_series(1, $1::integer) n`,
    [Math.round(size.logRows * 0.6), size.tasks],
  );
  await client.query(
    `INSERT INTO performance_metrics (metric_type, metric_name, metric_value, timestamp)
     SELECT 'query', 'metric ' || n % 100, n % 1000, now() - n * interval '2 seconds'
     FROM generate_series(1, $1::integer) n`,
    [Math.round(size.logRows * 0.4)],
  );
  await client.query("RESET session_replication_role");
  await client.query("VACUUM ANALYZE");
}

async function countRows(connection: DatabaseConnection): Promise<Record<string, number>> {
  return withClient(connection, async (client) => {
    const { rows } = await client.query<Record<string, number>>(
      // What the load adds is counted apart.
      `SELECT (SELECT count(*) FROM tasks WHERE title <> 'live')::integer AS tasks,
              (SELECT count(*) FROM audit_logs WHERE entity_type = 'tasks'
                 AND new_values ? 'priority' AND NOT new_values ? 'title')::integer AS audit_logs,
              (SELECT count(*) FROM performance_metrics WHERE metric_name <> 'live')::integer
                AS performance_metrics`,
    );
    return rows[0] ?? {};
  });
}

/** So many statements a second, each due at its time whether or not the one before is answered. */
class Load {
  readonly #connection: DatabaseConnection;
  readonly #clients: Client[] = [];
  readonly #end = new AbortController();
  #workers: Promise<void>[] = [];
  /** What each session was seen waiting for last, by its pid. */
  readonly #seen = new Map<number, string>();
  answered = 0;
  failures: string[] = [];
  tooSlow: string[] = [];
  slowestMs = 0;
  slowest = "";

  constructor(connection: DatabaseConnection) {
    this.#connection = connection;
  }

  async start(): Promise<void> {
    for (let index = 0; index < sessions; index += 1) {
      const client = await connect(this.#connection, loadName);
      this.#clients.push(client);
    }
    const began = performance.now();
    this.#workers = this.#clients.map((client, index) => this.#work(client, began, index));
    this.#workers.push(this.#look());
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await Promise.all(this.#workers);
    for (const client of this.#clients) await disconnect(client);
  }

  /** Notes what slow statements wait for while they do; afterwards nobody could say. */
  async #look(): Promise<void> {
    await withClient(this.#connection, async (watcher) => {
      while (!this.#end.signal.aborted) {
        const { rows } = await watcher.query<{ pid: number; waits_for: string | null }>(
          `SELECT pid, 'last seen waiting for ' || wait_event_type || ' ' || wait_event AS waits_for
           FROM pg_stat_activity
           WHERE application_name = $1 AND state = 'active'
             AND query_start < clock_timestamp() - $2 * interval '1 millisecond'`,
          [loadName, lookedAtMs],
        );
        for (const { pid, waits_for: waitsFor } of rows) {
          this.#seen.set(pid, await describeWait(watcher, pid, waitsFor));
        }
        await delay(lookedAtMs);
      }
    });
  }

  /** Each session takes every eighth statement; one that is late catches up. */
  async #work(client: Client, began: number, index: number): Promise<void> {
    const pid = await pidOf(client);
    for (let number = index; !this.#end.signal.aborted; number += sessions) {
      const due = began + (number * 1000) / perSecond;
      const early = due - performance.now();
      if (early > 0) await delay(early);
      const [name, text] = statements[number % statements.length] ?? ["", ""];
      this.#seen.delete(pid);
      const sent = performance.now();
      try {
        // Not the same row again and again, and none that two sessions take at once.
        await client.query(text, [(number * 7) % 2000]);
      } catch (error) {
        this.failures.push(`${name}: ${messageOf(error)}`);
      }
      const tookMs = performance.now() - sent;
      this.answered += 1;
      if (tookMs >= tooSlowMs) {
        const seen = this.#seen.get(pid) ?? "it was never seen at work";
        this.tooSlow.push(`${name} took ${Math.round(tookMs)} ms: ${seen}`);
      }
      if (tookMs > this.slowestMs) {
        this.slowestMs = tookMs;
        this.slowest = name;
      }
    }
  }
}

/** One line on what a session waits for: a lock, something else, or its turn on the processor. */
async function describeWait(
  watcher: Client,
  pid: number,
  waitsFor: string | null,
): Promise<string> {
  const blocked = await readBlocked(watcher, pid);
  if (blocked !== undefined) return `it waited for ${describeBlocked(blocked)}`;
  const load = `load average ${loadavg()[0]?.toFixed(1)} on ${cpus().length} cores`;
  return `no lock stood in its way; ${waitsFor ?? "it was running, or waiting for a processor"} (${load})`;
}

async function pidOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  return rows[0]?.pid ?? 0;
}

async function withClient<T>(
  connection: DatabaseConnection,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await connect(connection, "live upgrade");
  try {
    return await work(client);
  } finally {
    await disconnect(client);
  }
}
