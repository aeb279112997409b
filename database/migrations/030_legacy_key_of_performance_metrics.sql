-- ctm: no-transaction
-- A partitioned table's primary key contains its time column: the index for that key, before the rows
-- of performance_metrics become a partition.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS performance_metrics_legacy_pkey
    ON performance_metrics (id, timestamp);
