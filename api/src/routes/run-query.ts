import type { FastifyInstance } from "fastify";
import { databaseDeadlines } from "../pools.ts";
import { longestAnswer, runAdminQuery } from "../queries/admin-query.ts";
import { queryBudget } from "../rate-limit.ts";
import { refusals } from "../schemas.ts";
import { contextOf, type Services } from "../services.ts";

interface Body {
  sql: string;
  params?: (string | number | boolean | null)[];
  pool: "primary" | "readonly";
}

/** Time beyond the statement's own limit for connecting and answering. */
const graceMs = 10_000;

/** Reads only, as a role of its own: see queries/admin-query.ts. */
export function runQuery(app: FastifyInstance, { pools, settings, limiter }: Services): void {
  app.route<{ Body: Body }>({
    method: "POST",
    url: "/api/database/query",
    config: { access: "admin" },
    handlerTimeout: databaseDeadlines.adminStatement + graceMs,
    schema: {
      operationId: "runQuery",
      summary: "Runs one reading SQL statement; 10 a minute, 30 s, 1,000 rows, 8 MiB",
      body: {
        type: "object",
        additionalProperties: false,
        required: ["sql"],
        properties: {
          sql: { type: "string", minLength: 1, maxLength: 10_000 },
          params: {
            type: "array",
            maxItems: 100,
            items: { type: ["string", "number", "boolean", "null"] },
            description: "Values of $1, $2 …",
          },
          pool: { type: "string", enum: ["primary", "readonly"], default: "readonly" },
        },
      },
      response: {
        200: {
          description:
            "The rows. Numbers, booleans and JSON are such; all else, bigint and numeric too, is the text that PostgreSQL writes.",
          type: "object",
          properties: {
            rows: {
              type: "array",
              maxItems: longestAnswer,
              items: { type: "object", additionalProperties: true },
            },
            row_count: { type: "integer", description: "Rows in this answer." },
            truncated: { type: "boolean", description: "There are more rows than these." },
            execution_time_ms: { type: "number" },
            fields: {
              type: "array",
              items: {
                type: "object",
                properties: { name: { type: "string" }, data_type: { type: "string" } },
                required: ["name", "data_type"],
              },
            },
          },
          required: ["rows", "row_count", "truncated", "execution_time_ms", "fields"],
        },
        ...refusals,
        400: {
          description: "VALIDATION_ERROR, QUERY_NOT_ALLOWED, QUERY_EXECUTION_ERROR",
          $ref: "Error#",
        },
      },
    },
    handler: async (request) => {
      const { sql, params = [], pool } = request.body;
      const context = contextOf(request, settings);
      const { refusal } = await limiter.take(context.apiKeyId, queryBudget);
      if (refusal !== undefined) throw refusal;
      return await runAdminQuery(
        pools.query[pool],
        { ...context, statementMs: databaseDeadlines.adminStatement },
        sql,
        params,
      );
    },
  });
}
