import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { RouteOptions } from "fastify";
import { KeyDirectory } from "./src/api-key.ts";
import { parseConfiguration } from "./src/config.ts";
import { Measurements } from "./src/measurements.ts";
import { openApiDocument } from "./src/openapi.ts";
import { openPools } from "./src/pools.ts";
import { RateLimiter } from "./src/rate-limit.ts";
import { createServer } from "./src/server.ts";

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

// Run by itself it writes openapi.json anew: node api/describe-api.ts && npx oxfmt api/openapi.json
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = fileURLToPath(new URL("openapi.json", import.meta.url));
  await writeFile(path, `${JSON.stringify(await describeApi(), null, 2)}\n`);
  process.stdout.write(`${path}\n`);
}
