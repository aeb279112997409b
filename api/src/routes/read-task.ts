import type { FastifyInstance } from "fastify";
import { ApiError } from "../api-error.ts";
import { selectTaskDetails } from "../queries/tasks.ts";
import { refusals, uuid } from "../schemas.ts";
import { contextOf, type Services } from "../services.ts";
import { transact } from "../transaction.ts";

export function readTask(app: FastifyInstance, { pools, settings }: Services): void {
  app.route<{ Params: { id: string } }>({
    method: "GET",
    url: "/api/database/tasks/:id",
    config: { access: "read:tasks" },
    schema: {
      operationId: "readTask",
      summary: "Reads a task with its contexts, deployment scripts, errors and dependencies",
      params: { type: "object", properties: { id: uuid }, required: ["id"] },
      response: {
        200: {
          description: "The task; of each list the first 1,000 entries",
          type: "object",
          properties: { task: { $ref: "TaskDetails#" } },
          required: ["task"],
        },
        404: { description: "TASK_NOT_FOUND", $ref: "Error#" },
        ...refusals,
      },
    },
    handler: async (request) => {
      const { id } = request.params;
      const task = await transact(
        pools.named.primary,
        contextOf(request, settings),
        "read",
        (run) => selectTaskDetails(run, id),
      );
      if (task === undefined) throw taskNotFound(id);
      return { task };
    },
  });
}

export function taskNotFound(id: string): ApiError {
  return new ApiError("TASK_NOT_FOUND", `There is no task ${id}.`, { details: { id } });
}
