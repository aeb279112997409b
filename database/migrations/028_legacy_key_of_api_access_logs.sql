-- ctm: no-transaction
-- A partitioned table's primary key contains its time column: the index for that key, before the rows
-- of api_access_logs become a partition.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS api_access_logs_legacy_pkey
    ON api_access_logs (id, created_at);
