-- ctm: no-transaction
-- The tasks of a person, with or without a status, and their totals.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tasks_assigned_status
    ON tasks (assigned_to, status, created_at);
