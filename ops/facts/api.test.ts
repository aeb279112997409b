import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readApi } from "./api.ts";

let ready = 200;
let server: Server;
let url: string;
const metrics = `# HELP ctm_api_pool_connections Database connections by pool and state.
# TYPE ctm_api_pool_connections gauge
ctm_api_pool_connections{pool="primary",state="total"} 7
ctm_api_pool_connections{pool="primary",state="idle"} 4
ctm_api_pool_connections{pool="primary",state="waiting"} 2
ctm_api_pool_connections{pool="primary",state="max"} 10
ctm_api_pool_connections{pool="background",state="max"} 2
ctm_api_info{version="0.1.0"} 1
ctm_api_access_log_waiting 0
`;
beforeAll(async () => {
  server = createServer((request, response) => {
    if (request.url === "/ready") response.writeHead(ready);
    response.end(request.url === "/metrics" ? metrics : "{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

test("version and pools come from the admin port", async () => {
  expect(await readApi(url, { timeoutMs: 2_000 })).toEqual({
    version: "0.1.0",
    pools: [
      { name: "primary", busy: 3, max: 10, waiting: 2 },
      { name: "background", busy: 0, max: 2, waiting: 0 },
    ],
  });
});

test("an API that is not ready is a reason, not facts", async () => {
  ready = 503;
  await expect(readApi(url, { timeoutMs: 2_000 })).rejects.toThrow("/ready answers 503");
});
