import type { Pool } from "pg";
import { runStatement, type Run } from "../transaction.ts";

export interface SystemMetric {
  metric_category: string;
  metric_name: string;
  metric_value: number;
  metric_unit: string | null;
  dimensions: Record<string, string>;
}

/** Most metrics of one answer. */
const longestList = 5000;

/** Metrics of the last hour, newest first. */
export async function recentMetrics(
  run: Run,
): Promise<(SystemMetric & { aggregation_period: string; timestamp: Date })[]> {
  return await run({
    name: "recent-metrics",
    text: `SELECT metric_category, metric_name, metric_value::float8, metric_unit, dimensions,
                  aggregation_period, timestamp
           FROM system_metrics WHERE timestamp > now() - interval '1 hour'
           ORDER BY timestamp DESC LIMIT ${longestList}`,
    values: [],
  });
}

/** Adds metrics of the minute that has just passed. */
export async function recordMetrics(pool: Pool, metrics: readonly SystemMetric[]): Promise<void> {
  await runStatement(
    pool,
    {
      name: "record-metrics",
      text: `INSERT INTO system_metrics
               (metric_category, metric_name, metric_value, metric_unit, dimensions,
                aggregation_period)
             SELECT metric_category, metric_name, metric_value, metric_unit, dimensions, '1min'
             FROM jsonb_to_recordset($1::jsonb) AS metric
               (metric_category text, metric_name text, metric_value numeric, metric_unit text,
                dimensions jsonb)`,
      values: [JSON.stringify(metrics)],
    },
    { idempotent: false },
  );
}
