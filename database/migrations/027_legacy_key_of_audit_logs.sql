-- ctm: no-transaction
-- A partitioned table's primary key contains its time column: the index for that key, before the rows
-- of audit_logs become a partition.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS audit_logs_legacy_pkey
    ON audit_logs (id, timestamp);
