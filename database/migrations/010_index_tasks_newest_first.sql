-- ctm: no-transaction
-- The task list, newest first, and with any filter that keeps many rows.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tasks_created_at
    ON tasks (created_at DESC, id DESC);
