-- ctm: no-transaction
-- A metric over time.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_system_metrics_category_name
    ON system_metrics (metric_category, metric_name, timestamp DESC);
