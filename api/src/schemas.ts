/** Shared JSON Schemas: those with an `$id` are components of openapi.json. */

export const uuid = { type: "string", format: "uuid" } as const;
/** For text of a query string: PostgreSQL stores no NUL. (Bodies are searched as they are parsed.) */
export const noNul = "^[^\\u0000]*$";
const time = { type: "string", format: "date-time" } as const;
const timeOrNull = { type: ["string", "null"], format: "date-time" } as const;
const text = { type: "string" } as const;
const textOrNull = { type: ["string", "null"] } as const;
const integer = { type: "integer" } as const;
const integerOrNull = { type: ["integer", "null"] } as const;
const numberOrNull = { type: ["number", "null"] } as const;
const boolean = { type: "boolean" } as const;
/** Whatever JSON is stored. */
const json = {} as const;

export const taskStatuses = ["pending", "in_progress", "completed", "failed", "cancelled"] as const;
export type TaskStatus = (typeof taskStatuses)[number];

export const contextTypes = [
  "requirement",
  "codebase",
  "ai_interaction",
  "validation",
  "workflow",
  "status_change",
  "completion",
  "dependency_parent",
  "dependency_child",
  "error",
  "performance",
] as const;

function object<Properties extends Record<string, object>>(properties: Properties) {
  return { type: "object", properties, required: Object.keys(properties) } as const;
}

const taskProperties = {
  id: uuid,
  title: text,
  description: textOrNull,
  type: text,
  status: { type: "string", enum: taskStatuses },
  priority: integerOrNull,
  complexity_score: integerOrNull,
  affected_files: json,
  requirements: json,
  acceptance_criteria: json,
  parent_task_id: { type: ["string", "null"], format: "uuid" },
  assigned_to: textOrNull,
  tags: json,
  estimated_hours: numberOrNull,
  actual_hours: numberOrNull,
  created_at: timeOrNull,
  updated_at: timeOrNull,
  completed_at: timeOrNull,
  metadata: json,
};

const errorSchema = {
  $id: "Error",
  ...object({
    error: { type: "string", description: "What is wrong, in one sentence." },
    code: { type: "string", description: "Stable; for programs." },
    details: { type: ["object", "null"], additionalProperties: true },
    request_id: { type: "string", description: "Also in the header X-Request-Id and in the logs." },
  }),
} as const;

const taskSchema = { $id: "Task", ...object(taskProperties) } as const;

const taskDetailsSchema = {
  $id: "TaskDetails",
  ...object({
    ...taskProperties,
    contexts: {
      type: "array",
      items: object({
        id: uuid,
        context_type: text,
        context_data: json,
        created_at: timeOrNull,
        updated_at: timeOrNull,
        metadata: json,
      }),
    },
    deployment_scripts: {
      type: "array",
      description: "Without the script itself and its output, which may hold secrets.",
      items: object({
        id: uuid,
        script_name: text,
        script_type: text,
        environment: text,
        version: text,
        status: text,
        execution_order: integerOrNull,
        retry_count: integerOrNull,
        max_retries: integerOrNull,
        timeout_seconds: integerOrNull,
        executed_at: timeOrNull,
        execution_duration_ms: integerOrNull,
        exit_code: integerOrNull,
        created_at: timeOrNull,
        updated_at: timeOrNull,
      }),
    },
    errors: {
      type: "array",
      items: object({
        id: uuid,
        error_type: text,
        error_code: textOrNull,
        error_message: text,
        severity: text,
        source_component: textOrNull,
        source_file: textOrNull,
        source_line: integerOrNull,
        resolved: { type: ["boolean", "null"] },
        resolved_at: timeOrNull,
        created_at: timeOrNull,
      }),
    },
    dependencies: {
      type: "array",
      items: object({
        id: uuid,
        dependency_type: text,
        direction: {
          type: "string",
          enum: ["parent", "child"],
          description: "parent: this task depends on it; child: it depends on this task.",
        },
        task_id: uuid,
        title: text,
        status: text,
        created_at: timeOrNull,
      }),
    },
  }),
} as const;

const paginationSchema = {
  $id: "Pagination",
  ...object({
    page: integer,
    limit: integer,
    total: integer,
    total_pages: integer,
    has_next: boolean,
    has_prev: boolean,
  }),
} as const;

const poolSchema = object({
  total: integer,
  idle: integer,
  waiting: integer,
  min: integer,
  max: integer,
});

const poolsSchema = {
  $id: "Pools",
  type: "object",
  description: "Connections of each pool: open, idle, and callers that wait for one.",
  additionalProperties: poolSchema,
} as const;

const healthSchema = {
  $id: "Health",
  type: "object",
  properties: {
    status: { type: "string", enum: ["healthy", "degraded", "unhealthy"] },
    timestamp: time,
    response_time_ms: { type: "number" },
    database: {
      type: "object",
      properties: { connected: boolean, readonly_connected: boolean, pools: { $ref: "Pools#" } },
      required: ["connected"],
    },
    version: text,
    error: text,
    code: text,
    details: { type: ["object", "null"], additionalProperties: true },
    request_id: text,
  },
  required: ["status", "timestamp", "response_time_ms", "database", "version"],
} as const;

export const sharedSchemas = [
  errorSchema,
  taskSchema,
  taskDetailsSchema,
  paginationSchema,
  poolsSchema,
  healthSchema,
] as const;

/** The answers that every route can give instead of its own. */
export const refusals = {
  400: { description: "VALIDATION_ERROR", $ref: "Error#" },
  401: {
    description: "MISSING_API_KEY, INVALID_API_KEY, INACTIVE_API_KEY, EXPIRED_API_KEY",
    $ref: "Error#",
  },
  403: {
    description:
      "INSUFFICIENT_PERMISSIONS, IP_NOT_ALLOWED, ENDPOINT_NOT_ALLOWED, ACCESS_TOKEN_REQUIRED",
    $ref: "Error#",
  },
  429: { description: "RATE_LIMIT_EXCEEDED", $ref: "Error#" },
  500: { description: "INTERNAL_ERROR", $ref: "Error#" },
  503: { description: "SERVICE_UNAVAILABLE", $ref: "Error#" },
} as const;
