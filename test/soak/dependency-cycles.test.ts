import { setTimeout as delay } from "node:timers/promises";
import { DatabaseError, type Client } from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect, disconnect } from "../../database/runner/connect.ts";
import { makeFreshDatabase } from "../../database/runner/fresh-database.ts";
import { startScratchServer, type ScratchServer } from "../../database/runner/scratch-server.ts";

/*
 * Eight sessions give tasks dependencies at random, new tasks and old ones, in transactions of a few
 * statements under each isolation level. Whatever comes of it must hold no cycle.
 */

const sessions = 8;
const tasks = 12;
const durationMs = 60_000;
/** Refused as a cycle, not serialisable, deadlocked, there already, or its task gone meanwhile. */
const expected = new Set(["23514", "40001", "40P01", "23505", "23503"]);

let server: ScratchServer;
beforeAll(async () => {
  // Deadlocks are meant to happen; a second spent on each would be a second without a try.
  server = await startScratchServer({ settings: { deadlock_timeout: "10ms" } });
  await makeFreshDatabase(server, "cycles");
});
afterAll(async () => server.stop());

const any = <T>(choices: readonly T[]): T => {
  const chosen = choices[Math.floor(Math.random() * choices.length)];
  if (chosen === undefined) throw new Error("there is nothing to choose from");
  return chosen;
};
const anyTask = `(SELECT id FROM tasks ORDER BY random() LIMIT 1)`;
const steps = [
  `INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
   SELECT ${anyTask}, ${anyTask}, (ARRAY['blocks', 'depends_on', 'related'])[1 + (random() * 2)::integer]`,
  // A row of one's own, which is not new.
  `WITH written AS (UPDATE tasks SET priority = (random() * 10)::integer WHERE id = ${anyTask} RETURNING id)
   INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
   SELECT ${anyTask}, id, 'depends_on' FROM written`,
  `WITH task AS (INSERT INTO tasks (title) VALUES ('new') RETURNING id)
   INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
   SELECT ${anyTask}, id, 'depends_on' FROM task`,
  `UPDATE task_dependencies SET dependency_type = 'blocks'
   WHERE id = (SELECT id FROM task_dependencies WHERE dependency_type = 'related' ORDER BY random() LIMIT 1)`,
  `UPDATE task_dependencies SET parent_task_id = child_task_id, child_task_id = parent_task_id
   WHERE id = (SELECT id FROM task_dependencies ORDER BY random() LIMIT 1)`,
  // Room for new ones, and not so many tasks that two sessions seldom meet.
  `DELETE FROM task_dependencies WHERE random() < 0.2`,
  `DELETE FROM tasks WHERE id IN (SELECT id FROM tasks ORDER BY created_at OFFSET ${tasks})`,
];
const levels = ["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

it("no transactions at once make a cycle of dependencies", async () => {
  const outcomes = new Map<string, number>();
  const until = performance.now() + durationMs;
  await withClient((client) =>
    client.query("INSERT INTO tasks (title) SELECT 'old' FROM generate_series(1, $1::integer)", [
      tasks,
    ]),
  );
  const workers = Array.from({ length: sessions }, async () => work(until, outcomes));
  await Promise.all([watch(until), ...workers]);
  console.log(`transactions: ${JSON.stringify(Object.fromEntries(outcomes))}`);
  // Both what is allowed and what is not must have been tried.
  for (const outcome of ["committed", "task_dependencies_no_cycle", "40001"]) {
    expect(outcomes.get(outcome) ?? 0, outcome).toBeGreaterThan(100);
  }
});

async function watch(until: number): Promise<void> {
  await withClient(async (client) => {
    while (performance.now() < until) {
      const { rows } = await client.query(
        "SELECT task_id FROM task_dependency_closure('{blocks,depends_on}', cycles_only => true)",
      );
      expect(rows).toEqual([]);
      await delay(50);
    }
  });
}

async function work(until: number, outcomes: Map<string, number>): Promise<void> {
  await withClient(async (client) => {
    while (performance.now() < until) {
      const outcome = await attempt(client);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  });
}

async function attempt(client: Client): Promise<string> {
  try {
    await client.query(`BEGIN ISOLATION LEVEL ${any(levels)}`);
    for (let left = any([1, 2, 3]); left > 0; left -= 1) await client.query(any(steps));
    await client.query("COMMIT");
    return "committed";
  } catch (error) {
    await client.query("ROLLBACK");
    if (!(error instanceof DatabaseError) || !expected.has(error.code ?? "")) throw error;
    return error.code === "23514" ? (error.constraint ?? "") : (error.code ?? "");
  }
}

async function withClient(action: (client: Client) => Promise<unknown>): Promise<void> {
  const client = await connect(server.database("cycles"), "cycles");
  try {
    await action(client);
  } finally {
    await disconnect(client);
  }
}
