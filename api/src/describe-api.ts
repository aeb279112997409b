import type { RouteOptions } from "fastify";
import { KeyDirectory } from "./api-key.ts";
import { parseConfiguration } from "./config.ts";
import { Measurements } from "./measurements.ts";
import { openApiDocument } from "./openapi.ts";
import { openPools } from "./pools.ts";
import { RateLimiter } from "./rate-limit.ts";
import { createServer } from "./server.ts";

/** The OpenAPI document of the real server, which is made for this but never connects anywhere. */
export async function describeApi(): Promise<object> {
  const nowhere = { host: "127.0.0.1", port: 1 };
  const role = { user: "nobody", passwordFile: "/nowhere" };
  const settings = parseConfiguration(
    {
      listen: nowhere,
      admin: nowhere,
      logLevel: "silent",
      database: { name: "none", authority: null, primary: nowhere, readonly: nowhere, ...role },
      query: role,
    },
    "none",
  );
  const pools = await openPools(settings, () => undefined);
  const routes: RouteOptions[] = [];
  const server = createServer(
    {
      settings,
      pools,
      keys: new KeyDirectory(pools.named.priority),
      limiter: new RateLimiter(pools.named.priority),
      measurements: new Measurements(),
      access: undefined,
    },
    {
      onAccess: () => undefined,
      onKeyUse: () => undefined,
      onRoute: (route) => {
        if (route.method !== "HEAD") routes.push(route);
      },
    },
  );
  await server.ready();
  await server.close();
  return openApiDocument(routes);
}
