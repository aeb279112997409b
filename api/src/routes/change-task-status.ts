import type { FastifyInstance } from "fastify";
import { updateTaskStatus } from "../queries/tasks.ts";
import { refusals, taskStatuses, uuid, type TaskStatus } from "../schemas.ts";
import { contextOf, type Services } from "../services.ts";
import { transact } from "../transaction.ts";
import { taskNotFound } from "./read-task.ts";

interface Body {
  status: TaskStatus;
  notes?: string | null;
}

export function changeTaskStatus(app: FastifyInstance, { pools, settings }: Services): void {
  app.route<{ Params: { id: string }; Body: Body }>({
    method: "PATCH",
    url: "/api/database/tasks/:id/status",
    config: { access: "write:tasks" },
    schema: {
      operationId: "changeTaskStatus",
      summary: "Changes a task's status, and adds a status_change context that records it",
      params: { type: "object", properties: { id: uuid }, required: ["id"] },
      body: {
        type: "object",
        additionalProperties: false,
        required: ["status"],
        properties: {
          status: { type: "string", enum: taskStatuses },
          notes: { type: ["string", "null"], maxLength: 10_000 },
        },
      },
      response: {
        200: {
          description: "The status was changed; completed_at is set for completed, else null",
          type: "object",
          properties: { message: { type: "string" }, task: { $ref: "Task#" } },
          required: ["message", "task"],
        },
        404: { description: "TASK_NOT_FOUND", $ref: "Error#" },
        ...refusals,
      },
    },
    handler: async (request) => {
      const { id } = request.params;
      const { status, notes = null } = request.body;
      const context = contextOf(request, settings);
      const task = await transact(pools.named.primary, context, "write", (run) =>
        updateTaskStatus(run, id, { status, notes, changedBy: context.userId }),
      );
      if (task === undefined) throw taskNotFound(id);
      return { message: "Task status changed", task };
    },
  });
}
