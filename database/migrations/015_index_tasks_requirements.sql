-- ctm: no-transaction
-- As documented; no migration of the source makes it.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tasks_requirements_gin
    ON tasks USING GIN (requirements);
