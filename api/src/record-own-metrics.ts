import { forgetOldUses } from "./queries/rate-limits.ts";
import { recordMetrics, type SystemMetric } from "./queries/system-metrics.ts";
import { poolStatistics } from "./pools.ts";
import type { Services } from "./services.ts";

const everyMs = 60_000;

/**
 * Once a minute writes what this process did into system_metrics, and forgets uses of keys that no
 * limit looks at any more.
 *
 * @param onError told of a failure; that minute's metrics are lost
 */
export function recordOwnMetrics(
  services: Services,
  onError: (error: unknown) => void,
): { stop: () => void } {
  const { background } = services.pools.named;
  const timer = setInterval(() => {
    void recordMetrics(background, ownMetrics(services))
      .then(() => forgetOldUses(background))
      .catch(onError);
  }, everyMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

/** What happened since the last call, as rows of system_metrics. */
export function ownMetrics({
  measurements,
  pools,
}: Pick<Services, "measurements" | "pools">): SystemMetric[] {
  const { requests, errors, seconds } = measurements.takeInterval();
  const process = { process_id: String(globalThis.process.pid) };
  const metric = (
    category: string,
    name: string,
    value: number,
    unit: string,
    dimensions: Record<string, string> = process,
  ): SystemMetric => ({
    metric_category: category,
    metric_name: name,
    metric_value: Math.round(value * 1000) / 1000,
    metric_unit: unit,
    dimensions,
  });
  return [
    metric("api", "requests", requests, "count"),
    metric("api", "response_time_average", requests === 0 ? 0 : (1000 * seconds) / requests, "ms"),
    metric(
      "error_rate",
      "server_errors",
      requests === 0 ? 0 : (100 * errors) / requests,
      "percent",
    ),
    ...Object.entries(pools.named).flatMap(([pool, connections]) => {
      const { total, idle, waiting } = poolStatistics(connections);
      const dimensions = { ...process, pool };
      return [
        metric("database", "pool_connections_in_use", total - idle, "count", dimensions),
        metric("database", "pool_callers_waiting", waiting, "count", dimensions),
      ];
    }),
  ];
}
