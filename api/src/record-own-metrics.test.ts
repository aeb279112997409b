import { afterAll, beforeAll, expect, test } from "vitest";
import { call, startTestApi, type TestApi } from "../testing/api.ts";
import { parseConfiguration } from "./config.ts";
import { Measurements } from "./measurements.ts";
import { openPools, type Pools } from "./pools.ts";
import { recordMetrics } from "./queries/system-metrics.ts";
import { ownMetrics } from "./record-own-metrics.ts";

let api: TestApi;
let pools: Pools;
beforeAll(async () => {
  api = await startTestApi();
  pools = await openPools(parseConfiguration(api.configuration, "test"), () => undefined);
});
afterAll(async () => {
  await pools.end();
  await api.stop();
});

test("a minute of requests becomes rows of system_metrics, which the API shows", async () => {
  const measurements = new Measurements();
  for (const [status, seconds] of [
    [200, 0.1],
    [404, 0.1],
    [503, 0.4],
  ] as const) {
    measurements.record("GET", "/api/database/tasks", status, seconds);
  }
  await recordMetrics(pools.named.background, ownMetrics({ measurements, pools }));
  const { key } = await api.createKey();
  const { body } = await call(`${api.url}/api/database/metrics`, { key });
  expect(body).toMatchObject({
    system_metrics: expect.arrayContaining([
      expect.objectContaining({ metric_name: "requests", metric_value: 3 }),
      expect.objectContaining({ metric_name: "response_time_average", metric_value: 200 }),
      expect.objectContaining({
        metric_category: "error_rate",
        metric_name: "server_errors",
        metric_value: 33.333,
        metric_unit: "percent",
        aggregation_period: "1min",
      }),
      expect.objectContaining({
        metric_name: "pool_connections_in_use",
        dimensions: { pool: "primary", process_id: expect.any(String) },
      }),
    ]),
  });
  // The next minute begins at nothing.
  expect(ownMetrics({ measurements, pools })[0]).toMatchObject({ metric_value: 0 });
});
