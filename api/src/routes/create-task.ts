import type { FastifyInstance } from "fastify";
import { DatabaseError } from "pg";
import { ApiError } from "../api-error.ts";
import { insertTask, type NewTask } from "../queries/tasks.ts";
import { contextTypes, refusals, uuid } from "../schemas.ts";
import { contextOf, type Services } from "../services.ts";
import { transact } from "../transaction.ts";

const anyList = { type: "array", maxItems: 1000 } as const;
const word = { type: "string", minLength: 1, maxLength: 255 } as const;

export function createTask(app: FastifyInstance, { pools, settings }: Services): void {
  app.route<{ Body: NewTask }>({
    method: "POST",
    url: "/api/database/tasks",
    config: { access: "write:tasks" },
    schema: {
      operationId: "createTask",
      summary: "Creates a task, and a requirement context that records what was asked for",
      body: {
        type: "object",
        additionalProperties: false,
        required: ["title"],
        properties: {
          title: { ...word, pattern: "\\S" },
          description: { type: ["string", "null"], maxLength: 100_000 },
          type: { type: "string", minLength: 1, maxLength: 50, default: "general" },
          priority: { type: "integer", minimum: 0, maximum: 10, default: 0 },
          complexity_score: { type: "integer", minimum: 1, maximum: 10, default: 5 },
          affected_files: anyList,
          requirements: anyList,
          acceptance_criteria: anyList,
          parent_task_id: { ...uuid, type: ["string", "null"] },
          assigned_to: { ...word, type: ["string", "null"] },
          tags: { type: "array", maxItems: 100, items: word },
          estimated_hours: { type: ["number", "null"], minimum: 0, maximum: 999_999.99 },
          metadata: { type: "object", additionalProperties: true },
          contexts: {
            type: "array",
            maxItems: 100,
            description: "Of ours: further contexts, stored with the task.",
            items: {
              type: "object",
              additionalProperties: false,
              required: ["context_type", "context_data"],
              properties: {
                context_type: { type: "string", enum: contextTypes },
                context_data: { type: "object", additionalProperties: true },
              },
            },
          },
          depends_on: {
            type: "array",
            maxItems: 100,
            description: "Of ours: tasks that must be done before this one.",
            items: uuid,
          },
        },
      },
      response: {
        201: {
          description: "The task was created",
          type: "object",
          properties: { message: { type: "string" }, task: { $ref: "Task#" } },
          required: ["message", "task"],
        },
        ...refusals,
      },
    },
    handler: async (request, reply) => {
      const context = contextOf(request, settings);
      const task = await transact(pools.named.primary, context, "write", (run) =>
        insertTask(run, request.body, context.userId),
      ).catch(nameMissingTask);
      void reply.code(201);
      return { message: "Task created", task };
    },
  });
}

/** A foreign key's refusal (23503), in the words of the request. */
function nameMissingTask(error: unknown): never {
  if (!(error instanceof DatabaseError) || error.code !== "23503") throw error;
  const field = error.table === "task_dependencies" ? "depends_on" : "parent_task_id";
  throw new ApiError("VALIDATION_ERROR", `body/${field} names a task that does not exist.`, {
    details: { field: `body/${field}`, problem: "names a task that does not exist" },
  });
}
