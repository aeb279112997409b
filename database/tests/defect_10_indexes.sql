-- red on: v2
-- The document's composite indexes, and those on JSON, were in no migration.
BEGIN;
SELECT plan(4);
SELECT has_index('tasks', name::name, name || ' is there')
FROM unnest('{idx_tasks_status_priority,idx_tasks_assigned_status,idx_tasks_tags_gin,idx_tasks_requirements_gin}'::text[]) name;
SELECT * FROM finish();
ROLLBACK;
