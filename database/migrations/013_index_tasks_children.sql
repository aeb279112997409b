-- ctm: no-transaction
-- The children of a task, for the foreign key too. Most tasks have no parent and are left out.
--
-- Locks: none that keeps readers or writers out; waits for transactions that are older.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tasks_parent_task_id
    ON tasks (parent_task_id) WHERE parent_task_id IS NOT NULL;
