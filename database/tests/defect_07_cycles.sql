-- red on: v2
-- Nothing kept tasks from waiting for each other.
BEGIN;
SELECT plan(1);
INSERT INTO tasks (id, title)
SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'task ' || n FROM generate_series(1, 2) n;
INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 'depends_on');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'depends_on')$$,
    '23514', NULL, 'a dependency that closes a cycle is refused');
SELECT * FROM finish();
ROLLBACK;
