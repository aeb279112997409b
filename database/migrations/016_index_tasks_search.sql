-- ctm: no-transaction
-- The search of the task list: ILIKE with a pattern that begins with % (docs/decisions/0023).
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tasks_search
    ON tasks USING GIN (title gin_trgm_ops, description gin_trgm_ops);
