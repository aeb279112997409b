-- ctm: no-transaction
-- A partitioned table's primary key contains its time column: the index for that key, before the rows
-- of system_metrics become a partition.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS system_metrics_legacy_pkey
    ON system_metrics (id, timestamp);
