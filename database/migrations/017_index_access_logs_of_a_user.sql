-- ctm: no-transaction
-- A user's own access log, newest first: the condition of the row security policy is the index's.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_api_access_logs_user_id
    ON api_access_logs (user_id, created_at DESC);
