-- updated_at, completed_at, and the dependency graph.
BEGIN;
SELECT plan(34);

INSERT INTO tasks (id, title, updated_at, created_at)
SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'task ' || n, now() - interval '1 day',
       now() - interval '1 day'
FROM generate_series(1, 9) n;
CREATE FUNCTION pg_temp.task(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid$$;

-- updated_at
UPDATE tasks SET title = 'changed' WHERE id = pg_temp.task(1);
SELECT is((SELECT updated_at FROM tasks WHERE id = pg_temp.task(1)), now(), 'a changed task is updated now');
SELECT is((SELECT updated_at FROM tasks WHERE id = pg_temp.task(2)), now() - interval '1 day', 'others are not');
INSERT INTO task_contexts (task_id, context_type, context_data, updated_at)
VALUES (pg_temp.task(1), 'workflow', '{}', '2020-01-01');
UPDATE task_contexts SET metadata = '{"a": 1}';
SELECT is((SELECT updated_at FROM task_contexts), now(), 'as is a changed context');
INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content, updated_at)
VALUES (pg_temp.task(1), 'n', 'build', 'c', '2020-01-01');
UPDATE deployment_scripts SET exit_code = 0;
SELECT is((SELECT updated_at FROM deployment_scripts), now(), 'a changed script');
UPDATE configuration_settings SET updated_at = '2020-01-01', setting_value = '3' WHERE setting_key = 'webhook.max_retry_attempts';
SELECT is((SELECT updated_at FROM configuration_settings WHERE setting_key = 'webhook.max_retry_attempts'),
    now(), 'a changed setting, whatever time it is given');
INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id, updated_at)
VALUES ('n', 'h', 'p', 'u', '2020-01-01');
UPDATE api_keys SET last_used_at = now(), usage_count = 1;
SELECT is((SELECT updated_at FROM api_keys WHERE key_hash = 'h'), '2020-01-01'::timestamptz, 'a used key is not changed');
UPDATE api_keys SET key_name = 'm';
SELECT is((SELECT updated_at FROM api_keys WHERE key_hash = 'h'), now(), 'a changed key is');

-- completed_at
UPDATE tasks SET status = 'completed' WHERE id = pg_temp.task(1);
SELECT is((SELECT completed_at FROM tasks WHERE id = pg_temp.task(1)), now(), 'completing a task sets its time');
UPDATE tasks SET title = 'again' WHERE id = pg_temp.task(1);
SELECT is((SELECT completed_at FROM tasks WHERE id = pg_temp.task(1)), now(), 'other changes keep it');
UPDATE tasks SET status = 'in_progress' WHERE id = pg_temp.task(1);
SELECT is((SELECT completed_at FROM tasks WHERE id = pg_temp.task(1)), NULL, 'taking a task up again clears it');
UPDATE tasks SET completed_at = now() WHERE id = pg_temp.task(1);
SELECT is((SELECT completed_at FROM tasks WHERE id = pg_temp.task(1)), NULL,
    'a task that is not completed has no such time');
INSERT INTO tasks (title, status) VALUES ('imported', 'completed');
SELECT is((SELECT completed_at FROM tasks WHERE title = 'imported'), now(), 'a task inserted as completed has one');
INSERT INTO tasks (title, status, completed_at) VALUES ('old', 'completed', '2020-01-01');
SELECT is((SELECT completed_at FROM tasks WHERE title = 'old'), '2020-01-01'::timestamptz, 'its own where it is given');
INSERT INTO tasks (title, completed_at) VALUES ('odd', '2020-01-01');
SELECT is((SELECT completed_at FROM tasks WHERE title = 'odd'), NULL, 'none where it is not completed');

-- Dependencies: 1 -> 2 -> 3, 1 -> 3
INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
VALUES (pg_temp.task(1), pg_temp.task(2), 'depends_on'), (pg_temp.task(2), pg_temp.task(3), 'depends_on'),
       (pg_temp.task(1), pg_temp.task(3), 'depends_on');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES (pg_temp.task(3), pg_temp.task(1), 'depends_on')$$,
    '23514',
    'dependency cycle: 00000000-0000-4000-8000-000000000003 -> 00000000-0000-4000-8000-000000000001 -> 00000000-0000-4000-8000-000000000003',
    'a cycle is refused, and the shortest one named');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES (pg_temp.task(3), pg_temp.task(2), 'blocks')$$,
    '23514', NULL, 'also one of two types');
SELECT lives_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES (pg_temp.task(3), pg_temp.task(1), 'related')$$,
    'related tasks wait for nothing');
SELECT throws_ok(
    $$UPDATE task_dependencies SET dependency_type = 'depends_on' WHERE dependency_type = 'related'$$,
    '23514', NULL, 'unless that is changed');
SELECT throws_ok(
    $$UPDATE task_dependencies SET parent_task_id = pg_temp.task(3), child_task_id = pg_temp.task(1)
      WHERE parent_task_id = pg_temp.task(1) AND child_task_id = pg_temp.task(2)$$,
    '23514', NULL, 'an update cannot close one either');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES (pg_temp.task(5), pg_temp.task(6), 'depends_on'), (pg_temp.task(6), pg_temp.task(7), 'depends_on'),
             (pg_temp.task(7), pg_temp.task(5), 'depends_on')$$,
    '23514', NULL, 'nor can one statement');
SELECT lives_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES (pg_temp.task(3), pg_temp.task(4), 'depends_on'), (pg_temp.task(1), pg_temp.task(4), 'blocks')$$,
    'what closes none is let through');
CREATE FUNCTION pg_temp.cycle_detail() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    text_of_detail text;
BEGIN
    INSERT INTO task_dependencies (parent_task_id, child_task_id) VALUES (pg_temp.task(4), pg_temp.task(2));
    RETURN NULL;
EXCEPTION WHEN check_violation THEN
    GET STACKED DIAGNOSTICS text_of_detail = PG_EXCEPTION_DETAIL;
    RETURN text_of_detail;
END
$$;
SELECT is(pg_temp.cycle_detail(), $$Each task would wait for the one before it: 'task 2', 'task 3', 'task 4'.$$,
    'the detail has the titles');

-- Many at once take the other way.
INSERT INTO tasks (id, title)
SELECT ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid, 'many ' || n FROM generate_series(1, 300) n;
CREATE FUNCTION pg_temp.many(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$SELECT ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid$$;
SELECT lives_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id)
      SELECT pg_temp.many(n), pg_temp.many(n + 1) FROM generate_series(1, 298) n$$,
    'a chain of hundreds is let through');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      SELECT pg_temp.many(n + 1), pg_temp.many(n), 'depends_on' FROM generate_series(1, 298) n$$,
    '23514', NULL, 'hundreds of cycles are refused');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      SELECT pg_temp.many(n), pg_temp.many(300), 'depends_on' FROM generate_series(1, 299) n
      UNION ALL SELECT pg_temp.many(299), pg_temp.many(1), 'depends_on'$$,
    '23514', NULL, 'one among hundreds of others too');

-- Cycles from before: 8 <-> 9, and 7 behind them.
ALTER TABLE task_dependencies DISABLE TRIGGER USER;
INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
VALUES (pg_temp.task(8), pg_temp.task(9), 'depends_on'), (pg_temp.task(9), pg_temp.task(8), 'depends_on'),
       (pg_temp.task(9), pg_temp.task(7), 'depends_on');
ALTER TABLE task_dependencies ENABLE TRIGGER USER;
SELECT lives_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES (pg_temp.task(6), pg_temp.task(8), 'depends_on')$$,
    'a dependency of an old cycle is no new one');
SELECT lives_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id)
      SELECT pg_temp.many(n), pg_temp.many(300) FROM generate_series(1, 298) n$$,
    'nor are hundreds elsewhere');

-- The closure
SELECT is(
    (SELECT array_agg(format('%s %s %s', right(root_task_id::text, 1), right(task_id::text, 1), depth)
                      ORDER BY root_task_id, depth, task_id)
     FROM task_dependency_closure()),
    -- 1 leads to 2, 3, 4; 6 to 8, 9, 7.
    '{"1 1 0","1 2 1","1 3 1","1 4 2","6 6 0","6 8 1","6 9 2","6 7 3"}',
    'each pair of root and task stands once, with the shortest way');
SELECT is(
    (SELECT path FROM task_dependency_closure() WHERE task_id = pg_temp.task(4)),
    ARRAY[pg_temp.task(1), pg_temp.task(3), pg_temp.task(4)], 'the way is named');
SELECT is(
    (SELECT array_agg(right(task_id::text, 1) ORDER BY task_id) FROM task_dependency_closure() WHERE in_cycle),
    '{8,9}', 'tasks in a cycle are marked, those behind it are not');
DELETE FROM task_dependencies WHERE parent_task_id = pg_temp.task(6);
SELECT is(
    (SELECT array_agg(format('%s %s', right(root_task_id::text, 1), right(task_id::text, 1)) ORDER BY task_id)
     FROM task_dependency_closure() WHERE root_task_id <> pg_temp.task(1)),
    '{"8 7","8 8","8 9"}', 'a cycle that no root leads to begins at its smallest task');

-- The materialised view
REFRESH MATERIALIZED VIEW task_dependency_tree;
SELECT is_empty(
    'SELECT id FROM tasks EXCEPT SELECT id FROM task_dependency_tree',
    'every task is in the tree');
SELECT is_empty(
    'SELECT FROM task_dependency_tree GROUP BY id, root_task_id HAVING count(*) > 1',
    'no pair of root and task stands twice');
SELECT is((SELECT count(*)::integer FROM pg_class WHERE oid = 'task_dependency_tree'::regclass AND relispopulated),
    1, 'the tree is there after an installation');

SELECT * FROM finish();
ROLLBACK;
