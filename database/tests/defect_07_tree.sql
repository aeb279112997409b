-- red on: v2
-- The dependency tree repeated a task at the end of a diamond, so that no unique index stood and it
-- could not be refreshed while it was read; and tasks in a cycle were not in it.
BEGIN;
SELECT plan(4);
INSERT INTO tasks (id, title)
SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'task ' || n FROM generate_series(1, 6) n;
SET LOCAL session_replication_role = replica;
INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
SELECT ('00000000-0000-4000-8000-00000000000' || parent)::uuid, ('00000000-0000-4000-8000-00000000000' || child)::uuid, 'depends_on'
FROM (VALUES (1, 2), (1, 3), (2, 4), (3, 4), (5, 6), (6, 5)) AS edges (parent, child);
SET LOCAL session_replication_role = origin;
REFRESH MATERIALIZED VIEW task_dependency_tree;
SELECT is_empty('SELECT id, root_task_id FROM task_dependency_tree GROUP BY 1, 2 HAVING count(*) > 1',
    'a task stands once below each root');
SELECT is_empty('SELECT id FROM tasks EXCEPT SELECT id FROM task_dependency_tree', 'every task is in the tree');
SELECT lives_ok('REFRESH MATERIALIZED VIEW CONCURRENTLY task_dependency_tree', 'it is refreshed while it is read');
SELECT lives_ok('SELECT refresh_materialized_views()', 'by its function too');
SELECT * FROM finish();
ROLLBACK;
