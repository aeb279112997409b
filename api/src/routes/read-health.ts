import type { FastifyInstance } from "fastify";
import { answerError, errorBody, toApiError } from "../answer-error.ts";
import { poolStatistics, type PoolName, type PoolStatistics, type Pools } from "../pools.ts";
import { isConnected } from "../queries/connected.ts";
import { refusals } from "../schemas.ts";
import type { Services } from "../services.ts";
import { apiVersion } from "../version.ts";

export function readHealth(app: FastifyInstance, { pools }: Services): void {
  app.route({
    method: "GET",
    url: "/api/database/health",
    config: { access: "any key" },
    schema: {
      operationId: "readHealth",
      summary: "Tells whether the service and its database work",
      response: {
        ...refusals,
        200: { description: "healthy, or degraded: no replica answers", $ref: "Health#" },
        503: { description: "unhealthy: the database is not connected", $ref: "Health#" },
      },
    },
    handler: async (_request, reply) => {
      const [connected, readonlyConnected] = await Promise.all([
        isConnected(pools.named.priority),
        isConnected(pools.named.readonly),
      ]);
      if (!connected) void reply.code(503);
      return {
        status: !connected ? "unhealthy" : readonlyConnected ? "healthy" : "degraded",
        timestamp: new Date().toISOString(),
        response_time_ms: Math.round(reply.elapsedTime * 1000) / 1000,
        database: {
          connected,
          readonly_connected: readonlyConnected,
          pools: allPoolStatistics(pools),
        },
        version: apiVersion,
      };
    },
    // Without the database no key can be checked: the caller learns only that, as an error that
    // is a health answer too.
    errorHandler: (error, request, reply) => {
      const answer = toApiError(error);
      if (answer.code !== "SERVICE_UNAVAILABLE") {
        answerError(error, request, reply);
        return;
      }
      request.errorCode = answer.code;
      void reply
        .code(503)
        .header("retry-after", answer.retryAfterSeconds ?? 5)
        .send({
          status: "unhealthy",
          timestamp: new Date().toISOString(),
          response_time_ms: Math.round(reply.elapsedTime * 1000) / 1000,
          database: { connected: false },
          version: apiVersion,
          ...errorBody(answer, request.id),
        });
    },
  });
}

export function allPoolStatistics(pools: Pools): Record<PoolName, PoolStatistics> {
  const { primary, readonly, priority, background } = pools.named;
  return {
    primary: poolStatistics(primary),
    readonly: poolStatistics(readonly),
    priority: poolStatistics(priority),
    background: poolStatistics(background),
  };
}
