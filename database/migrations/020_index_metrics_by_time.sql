-- ctm: no-transaction
-- The last hour of all metrics. Missing only where a database was made by hand.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_system_metrics_timestamp
    ON system_metrics (timestamp);
