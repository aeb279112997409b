import type { FastifyInstance } from "fastify";
import { selectTasks, type TaskFilter, type TaskOrder } from "../queries/tasks.ts";
import { noNul, refusals, taskStatuses } from "../schemas.ts";
import { contextOf, type Services } from "../services.ts";
import { transact } from "../transaction.ts";

interface Query extends TaskFilter {
  page: number;
  limit: number;
  sort: TaskOrder;
}

const wholeNumbers = ["page", "limit", "priority"] as const;

/** Tasks are shared: who may read tasks reads all of them, as documented. */
export function listTasks(app: FastifyInstance, { pools, settings }: Services): void {
  app.route<{ Querystring: Query }>({
    method: "GET",
    url: "/api/database/tasks",
    config: { access: "read:tasks" },
    schema: {
      operationId: "listTasks",
      summary: "Lists tasks",
      querystring: {
        type: "object",
        additionalProperties: false,
        properties: {
          page: { type: "integer", minimum: 1, maximum: 1_000_000, default: 1 },
          limit: { type: "integer", minimum: 1, maximum: 100, default: 20 },
          status: { type: "string", enum: taskStatuses },
          priority: { type: "integer", minimum: 0, maximum: 10 },
          assigned_to: { type: "string", minLength: 1, maxLength: 255, pattern: noNul },
          search: {
            type: "string",
            minLength: 1,
            maxLength: 200,
            pattern: noNul,
            description: "Part of the title or the description, in any case.",
          },
          sort: {
            type: "string",
            enum: ["newest", "queue"],
            default: "newest",
            description: "newest first; or as a queue: highest priority, then oldest, first.",
          },
        },
      },
      response: {
        200: {
          description: "One page of tasks",
          type: "object",
          properties: {
            tasks: { type: "array", items: { $ref: "Task#" } },
            pagination: { $ref: "Pagination#" },
          },
          required: ["tasks", "pagination"],
        },
        ...refusals,
      },
    },
    // A query string holds text; only what is plainly a whole number becomes one.
    preValidation: async (request) => {
      const query: { [name: string]: unknown } = { ...request.query };
      for (const name of wholeNumbers) {
        const value = query[name];
        if (typeof value === "string" && /^-?\d{1,15}$/.test(value)) query[name] = Number(value);
      }
      Object.assign(request.query, query);
    },
    handler: async (request) => {
      const { page, limit, sort, ...filter } = request.query;
      const { tasks, total } = await transact(
        pools.named.primary,
        contextOf(request, settings),
        "read",
        (run) => selectTasks(run, filter, sort, { limit, offset: (page - 1) * limit }),
      );
      const totalPages = Math.ceil(total / limit);
      return {
        tasks,
        pagination: {
          page,
          limit,
          total,
          total_pages: totalPages,
          has_next: page < totalPages,
          has_prev: page > 1,
        },
      };
    },
  });
}
