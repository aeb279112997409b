import type { Run } from "../transaction.ts";
import type { TaskStatus } from "../schemas.ts";

/** A task as the API answers it. */
export interface Task {
  id: string;
  title: string;
  status: TaskStatus;
  [column: string]: unknown;
}

const taskColumns = `id, title, description, type, status, priority, complexity_score,
  affected_files, requirements, acceptance_criteria, parent_task_id, assigned_to, tags,
  estimated_hours::float8, actual_hours::float8, created_at, updated_at, completed_at, metadata`;

export interface TaskFilter {
  status?: TaskStatus;
  priority?: number;
  assigned_to?: string;
  search?: string;
}

/** Newest first, or the queue: highest priority first, the oldest of them first. */
export type TaskOrder = "newest" | "queue";

const orders: Record<TaskOrder, string> = {
  newest: "created_at DESC, id DESC",
  queue: "priority DESC, created_at, id",
};

/** One page of the tasks that pass the filter, and how many pass it in all. */
export async function selectTasks(
  run: Run,
  filter: TaskFilter,
  order: TaskOrder,
  page: { limit: number; offset: number },
): Promise<{ tasks: Task[]; total: number }> {
  const values: unknown[] = [];
  const parameter = (value: unknown): string => `$${values.push(value)}`;
  const conditions: string[] = [];
  if (filter.status !== undefined) conditions.push(`status = ${parameter(filter.status)}`);
  if (filter.priority !== undefined) conditions.push(`priority = ${parameter(filter.priority)}`);
  if (filter.assigned_to !== undefined) {
    conditions.push(`assigned_to = ${parameter(filter.assigned_to)}`);
  }
  if (filter.search !== undefined) {
    const pattern = parameter(`%${filter.search.replace(/[\\%_]/g, "\\$&")}%`);
    conditions.push(`(title ILIKE ${pattern} OR description ILIKE ${pattern})`);
  }
  const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  const filterValues = [...values];
  const tasks = await run<Task>({
    text: `SELECT ${taskColumns} FROM tasks${where} ORDER BY ${orders[order]}
           LIMIT ${parameter(page.limit)} OFFSET ${parameter(page.offset)}`,
    values,
  });
  // A page that is neither full nor past the end is the last one: nothing is left to count.
  const isLast = tasks.length < page.limit && (tasks.length > 0 || page.offset === 0);
  if (isLast) return { tasks, total: page.offset + tasks.length };
  const counted = await run<{ total: number }>({
    text: `SELECT count(*)::integer AS total FROM tasks${where}`,
    values: filterValues,
  });
  return { tasks, total: counted[0]?.total ?? 0 };
}

/** Longest list of contexts, scripts, errors or dependencies that one answer carries. */
const longestList = 1000;

function listOf(columns: string, from: string, alias: string): string {
  return `coalesce((SELECT jsonb_agg(to_jsonb(entry) ORDER BY entry.created_at, entry.id)
    FROM (SELECT ${columns} FROM ${from} ORDER BY ${alias}.created_at, ${alias}.id
          LIMIT ${longestList}) AS entry), '[]')`;
}

const detailsText = `
SELECT ${taskColumns},
  ${listOf(
    "c.id, c.context_type, c.context_data, c.created_at, c.updated_at, c.metadata",
    "task_contexts c WHERE c.task_id = tasks.id",
    "c",
  )} AS contexts,
  ${listOf(
    `s.id, s.script_name, s.script_type, s.environment, s.version, s.status, s.execution_order,
     s.retry_count, s.max_retries, s.timeout_seconds, s.executed_at, s.execution_duration_ms,
     s.exit_code, s.created_at, s.updated_at`,
    "deployment_scripts s WHERE s.task_id = tasks.id",
    "s",
  )} AS deployment_scripts,
  ${listOf(
    `e.id, e.error_type, e.error_code, e.error_message, e.severity, e.source_component,
     e.source_file, e.source_line, e.resolved, e.resolved_at, e.created_at`,
    "error_logs e WHERE e.task_id = tasks.id",
    "e",
  )} AS errors,
  ${listOf(
    `d.id, d.dependency_type, d.direction, d.created_at, other.id AS task_id, other.title,
     other.status`,
    `(SELECT id, dependency_type, 'parent' AS direction, parent_task_id AS other_id, created_at
        FROM task_dependencies WHERE child_task_id = tasks.id
      UNION ALL
      SELECT id, dependency_type, 'child', child_task_id, created_at
        FROM task_dependencies WHERE parent_task_id = tasks.id) AS d
     JOIN tasks AS other ON other.id = d.other_id`,
    "d",
  )} AS dependencies
FROM tasks WHERE tasks.id = $1`;

/** A task with its contexts, deployment scripts, errors and dependencies. */
export async function selectTaskDetails(run: Run, id: string): Promise<Task | undefined> {
  const [task] = await run<Task>({ name: "task-details", text: detailsText, values: [id] });
  if (task === undefined) return undefined;
  for (const list of ["contexts", "deployment_scripts", "errors", "dependencies"]) {
    task[list] = [task[list]].flat().map(withUniformTimes);
  }
  return task;
}

/** JSON made by PostgreSQL writes times its own way; the API writes all of them one way. */
function withUniformTimes(entry: unknown): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(entry ?? {}).map(([name, value]) => [
      name,
      name.endsWith("_at") && typeof value === "string" ? new Date(value) : value,
    ]),
  );
}

/** What POST /tasks takes; left-out columns get the table's defaults. */
export interface NewTask {
  title: string;
  description?: string | null;
  type?: string;
  priority?: number;
  complexity_score?: number;
  affected_files?: unknown[];
  requirements?: unknown[];
  acceptance_criteria?: unknown[];
  parent_task_id?: string | null;
  assigned_to?: string | null;
  tags?: string[];
  estimated_hours?: number | null;
  metadata?: object;
  contexts?: { context_type: string; context_data: unknown }[];
  depends_on?: string[];
}

const insertText = `
WITH given AS (
  SELECT * FROM jsonb_to_record($1::jsonb) AS given
    (title text, description text, type text, priority integer, complexity_score integer,
     affected_files jsonb, requirements jsonb, acceptance_criteria jsonb, parent_task_id uuid,
     assigned_to text, tags jsonb, estimated_hours numeric, metadata jsonb)
), task AS (
  INSERT INTO tasks (title, description, type, priority, complexity_score, affected_files,
    requirements, acceptance_criteria, parent_task_id, assigned_to, tags, estimated_hours, metadata)
  SELECT title, description, coalesce(type, 'general'), coalesce(priority, 0),
    coalesce(complexity_score, 5), coalesce(affected_files, '[]'), coalesce(requirements, '[]'),
    coalesce(acceptance_criteria, '[]'), parent_task_id, assigned_to, coalesce(tags, '[]'),
    estimated_hours, coalesce(metadata, '{}')
  FROM given RETURNING *
), contexts AS (
  INSERT INTO task_contexts (task_id, context_type, context_data)
  SELECT task.id, context.context_type, context.context_data
  FROM task, jsonb_to_recordset($2::jsonb) AS context (context_type text, context_data jsonb)
), dependencies AS (
  INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
  SELECT DISTINCT parent, task.id, 'depends_on' FROM task, unnest($3::uuid[]) AS parent
)
SELECT ${taskColumns} FROM task`;

/** Adds a task with its requirement context, further contexts and dependencies, in one statement. */
export async function insertTask(run: Run, task: NewTask, createdBy: string): Promise<Task> {
  const { contexts = [], depends_on: dependsOn = [], ...columns } = task;
  const requirement = {
    context_type: "requirement",
    context_data: {
      title: task.title,
      description: task.description ?? null,
      requirements: task.requirements ?? [],
      acceptance_criteria: task.acceptance_criteria ?? [],
      created_by: createdBy,
    },
  };
  const [created] = await run<Task>({
    name: "insert-task",
    text: insertText,
    values: [JSON.stringify(columns), JSON.stringify([requirement, ...contexts]), dependsOn],
  });
  if (created === undefined) throw new Error("an inserted task was not returned");
  return created;
}

/** Sets a task's status and records the change as a context; undefined when there is no such task. */
export async function updateTaskStatus(
  run: Run,
  id: string,
  change: { status: TaskStatus; notes: string | null; changedBy: string },
): Promise<Task | undefined> {
  // Locked first, so that of two changes at once each records the status that it really replaced;
  // and at the time of the change, for transactions do not get the lock in the order they began in.
  const [before] = await run<{ status: TaskStatus }>({
    name: "lock-task",
    text: "SELECT status FROM tasks WHERE id = $1 FOR UPDATE",
    values: [id],
  });
  if (before === undefined) return undefined;
  const [changed] = await run<Task>({
    name: "change-task-status",
    text: `WITH task AS (
             UPDATE tasks SET status = $2::text,
               completed_at = CASE WHEN $2::text = 'completed' THEN coalesce(completed_at, now()) END
             WHERE id = $1 RETURNING *
           ), context AS (
             INSERT INTO task_contexts (task_id, context_type, context_data, created_at)
             SELECT id, 'status_change', $3::jsonb, clock_timestamp() FROM task
           )
           SELECT ${taskColumns} FROM task`,
    values: [
      id,
      change.status,
      JSON.stringify({
        from: before.status,
        to: change.status,
        notes: change.notes,
        changed_by: change.changedBy,
        changed_at: new Date().toISOString(),
      }),
    ],
  });
  return changed;
}
