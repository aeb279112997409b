-- ctm: no-transaction
-- Access of a period, for statistics and retention. Missing only where a database was made by hand.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_api_access_logs_created_at
    ON api_access_logs (created_at);
