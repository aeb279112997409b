import Fastify, { type FastifyInstance } from "fastify";
import { isConnected } from "./queries/connected.ts";
import type { Services } from "./services.ts";

/**
 * /live, /ready and /metrics for whoever runs the service. No key: the port is for this machine
 * and its monitoring only, and nothing on it tells about tasks, users or keys.
 *
 * @param isDraining true from the moment the process was asked to stop
 */
export function createAdminServer(services: Services, isDraining: () => boolean): FastifyInstance {
  const app = Fastify({ logger: false, forceCloseConnections: true, bodyLimit: 1024 });
  app.get("/live", () => ({ live: true }));
  app.get("/ready", async (_request, reply) => {
    const connected = await isConnected(services.pools.named.priority);
    const ready = connected && !isDraining();
    void reply.code(ready ? 200 : 503);
    return { ready, database_connected: connected, draining: isDraining() };
  });
  app.get("/metrics", (_request, reply) => {
    void reply.type("text/plain; version=0.0.4; charset=utf-8");
    return services.measurements.text();
  });
  return app;
}
