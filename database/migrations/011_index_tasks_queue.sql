-- ctm: no-transaction
-- The pending queue (highest priority, then oldest); filters by status, or by status and priority, and
-- their totals from the index alone.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tasks_status_priority
    ON tasks (status, priority DESC, created_at, id);
