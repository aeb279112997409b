import type { FastifyInstance } from "fastify";
import { recentMetrics } from "../queries/system-metrics.ts";
import { refusals } from "../schemas.ts";
import { contextOf, type Services } from "../services.ts";
import { ConnectionLost, transact } from "../transaction.ts";
import { allPoolStatistics } from "./read-health.ts";

export function readMetrics(app: FastifyInstance, { pools, settings }: Services): void {
  app.route({
    method: "GET",
    url: "/api/database/metrics",
    config: { access: "read:metrics" },
    schema: {
      operationId: "readMetrics",
      summary: "Reads pool statistics and the system metrics of the last hour",
      response: {
        200: {
          description: "The statistics of this process's pools; at most the 5,000 newest metrics",
          type: "object",
          properties: {
            timestamp: { type: "string", format: "date-time" },
            pools: { $ref: "Pools#" },
            system_metrics: {
              type: "array",
              items: {
                type: "object",
                properties: {
                  metric_category: { type: "string" },
                  metric_name: { type: "string" },
                  metric_value: { type: "number" },
                  metric_unit: { type: ["string", "null"] },
                  dimensions: {},
                  aggregation_period: { type: ["string", "null"] },
                  timestamp: { type: ["string", "null"], format: "date-time" },
                },
                required: ["metric_category", "metric_name", "metric_value", "timestamp"],
              },
            },
          },
          required: ["timestamp", "pools", "system_metrics"],
        },
        ...refusals,
      },
    },
    handler: async (request) => {
      const context = contextOf(request, settings);
      const read = (pool: keyof typeof pools.named) =>
        transact(pools.named[pool], context, "read", recentMetrics);
      const metrics = await read("readonly").catch((error: unknown) => {
        // Without a replica the primary answers, as it does for everything else.
        if (error instanceof ConnectionLost) return read("primary");
        throw error;
      });
      return {
        timestamp: new Date().toISOString(),
        pools: allPoolStatistics(pools),
        system_metrics: metrics,
      };
    },
  });
}
