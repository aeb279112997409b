-- The index that serves each query pattern of the document and the API.
--
-- On a few thousand rows, so sequential scans are discouraged and the question is which index can serve.
-- With PGOPTIONS='-c ctm.plan_tasks=1000000' it is asked on a million tasks, of the planner as it is.
BEGIN;
SELECT plan(30);

CREATE TEMPORARY TABLE size AS
SELECT coalesce(nullif(current_setting('ctm.plan_tasks', true), ''), '5000')::integer AS tasks;
SET LOCAL session_replication_role = replica;
INSERT INTO tasks (id, title, description, status, priority, assigned_to, parent_task_id, tags, requirements, created_at)
SELECT md5('task' || n)::uuid,
       (ARRAY['fix', 'add', 'review', 'deploy'])[1 + n % 4] || ' ' || (ARRAY['login', 'search', 'export'])[1 + n % 3] || ' ' || n,
       'Description of ' || md5(n::text),
       CASE WHEN n % 100 < 80 THEN 'completed' WHEN n % 100 < 95 THEN 'pending' ELSE 'failed' END,
       (n::bigint * 7919 % 11)::integer, 'person ' || n::bigint * 31 % 500,
       CASE WHEN n % 20 = 0 THEN md5('task' || n / 2)::uuid END,
       jsonb_build_array('tag' || n % 200), jsonb_build_array(jsonb_build_object('name', 'r' || n % 1000)),
       now() - n * interval '30 seconds'
FROM size, generate_series(1, tasks) n;
INSERT INTO task_contexts (task_id, context_type, context_data)
SELECT id, 'requirement', '{}' FROM tasks LIMIT 20000;
INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content)
SELECT id, 'n', 'build', 'c' FROM tasks LIMIT 20000;
INSERT INTO error_logs (task_id, error_type, error_message, resolved, created_at, resolved_at)
SELECT id, 'runtime', 'm', n % 50 > 0, now() - n * interval '1 minute', CASE WHEN n % 50 > 0 THEN now() - n * interval '1 minute' END
FROM (SELECT id, row_number() OVER () AS n FROM tasks LIMIT 20000) t;
INSERT INTO task_dependencies (parent_task_id, child_task_id)
SELECT lag(id) OVER (ORDER BY id), id FROM tasks LIMIT 20000 OFFSET 1;
INSERT INTO webhook_events (event_type, event_source, event_data, processed)
SELECT 'pr_created', 's', '{}', n % 100 > 0 FROM generate_series(1, 5000) n;
INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id)
SELECT 'n', md5(n::text), 'ctm_' || left(md5(n::text), 16), 'user ' || n FROM generate_series(1, 5000) n;
INSERT INTO api_access_logs (request_id, endpoint, method, user_id, created_at)
SELECT 'r', '/', 'GET', 'user ' || n % 500, now() - n * interval '1 second' FROM generate_series(1, 5000) n;
INSERT INTO system_metrics (metric_category, metric_name, metric_value, "timestamp")
SELECT 'api', 'metric ' || n % 100, n, now() - n * interval '1 minute' FROM generate_series(1, 5000) n;
INSERT INTO audit_logs (entity_type, entity_id, action, user_id, "timestamp")
SELECT 'task', md5('task' || n % 2000)::uuid, 'update', 'user ' || n % 500, now() - n * interval '1 minute' FROM generate_series(1, 5000) n;
SET LOCAL session_replication_role = origin;
ANALYZE tasks, task_contexts, deployment_scripts, error_logs, task_dependencies, webhook_events, api_keys,
    api_access_logs, system_metrics, audit_logs;

CREATE FUNCTION pg_temp.plan_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
        lines := lines || line || E'\n';
    END LOOP;
    RETURN lines;
END
$$;
-- What is discouraged looks dear enough to be compiled.
SET LOCAL jit = off;
SELECT set_config('enable_seqscan', CASE WHEN tasks < 500000 THEN 'off' ELSE 'on' END, true) FROM size;

CREATE TEMPORARY TABLE patterns (place serial, index_pattern text, statement text, what text);
INSERT INTO patterns (index_pattern, statement, what) VALUES
    ('idx_tasks_created_at', 'SELECT * FROM tasks ORDER BY created_at DESC, id DESC LIMIT 20', 'the list of tasks'),
    ('idx_tasks_(created_at|status_priority)', $$SELECT * FROM tasks WHERE status = 'pending' ORDER BY created_at DESC, id DESC LIMIT 20$$, 'the list, by status'),
    ('idx_tasks_status_priority', $$SELECT count(*) FROM tasks WHERE status = 'pending'$$, 'how many of a status'),
    ('idx_tasks_(created_at|priority)', 'SELECT * FROM tasks WHERE priority = 7 ORDER BY created_at DESC, id DESC LIMIT 20', 'the list, by priority'),
    ('idx_tasks_priority', 'SELECT count(*) FROM tasks WHERE priority = 7', 'how many of a priority'),
    ('idx_tasks_(created_at|status_priority)', $$SELECT * FROM tasks WHERE status = 'pending' AND priority = 7 ORDER BY created_at DESC, id DESC LIMIT 20$$, 'the list, by both'),
    ('idx_tasks_status_priority', $$SELECT count(*) FROM tasks WHERE status = 'pending' AND priority = 7$$, 'how many of both'),
    ('idx_tasks_(created_at|assigned_status)', $$SELECT * FROM tasks WHERE assigned_to = 'person 7' ORDER BY created_at DESC, id DESC LIMIT 20$$, 'the tasks of a person'),
    ('idx_tasks_assigned_status', $$SELECT count(*) FROM tasks WHERE assigned_to = 'person 7'$$, 'how many they have'),
    ('idx_tasks_assigned_status', $$SELECT * FROM tasks WHERE assigned_to = 'person 7' AND status = 'pending' ORDER BY created_at DESC, id DESC LIMIT 20$$, 'those of a status'),
    ('idx_tasks_assigned_status', $$SELECT count(*) FROM tasks WHERE assigned_to = 'person 7' AND status = 'pending'$$, 'how many of a status'),
    ('idx_tasks_status_priority', $$SELECT * FROM tasks WHERE status = 'pending' ORDER BY priority DESC, created_at, id LIMIT 20$$, 'the pending queue'),
    ('idx_tasks_(search|created_at)', $$SELECT * FROM tasks WHERE title ILIKE '%export 4321%' OR description ILIKE '%export 4321%' ORDER BY created_at DESC, id DESC LIMIT 20$$, 'the search, for what is rare'),
    ('idx_tasks_search', $$SELECT count(*) FROM tasks WHERE title ILIKE '%export 4321%' OR description ILIKE '%export 4321%'$$, 'how many it finds'),
    ('idx_tasks_parent_task_id', 'SELECT * FROM tasks WHERE parent_task_id = uuid_nil()', 'the parts of a task'),
    ('idx_tasks_tags_gin', $$SELECT count(*) FROM tasks WHERE tags @> '["tag7"]'$$, 'the tasks with a tag'),
    ('idx_tasks_requirements_gin', $$SELECT * FROM tasks WHERE requirements @> '[{"name": "r77"}]'$$, 'those with a requirement'),
    ('idx_task_contexts_task_id', 'SELECT * FROM task_contexts WHERE task_id = uuid_nil()', 'the contexts of a task'),
    ('idx_deployment_scripts_task_id', 'SELECT * FROM deployment_scripts WHERE task_id = uuid_nil() ORDER BY execution_order', 'its scripts'),
    ('idx_error_logs_task_id', 'SELECT * FROM error_logs WHERE task_id = uuid_nil()', 'its errors'),
    ('idx_task_dependencies_child', 'SELECT * FROM task_dependencies WHERE child_task_id = uuid_nil()', 'what it waits for'),
    ('task_dependencies_parent_child_type_key', 'SELECT * FROM task_dependencies WHERE parent_task_id = uuid_nil()', 'what waits for it'),
    ('idx_error_logs_(unresolved|created_at)', 'SELECT * FROM error_logs WHERE NOT resolved ORDER BY created_at DESC LIMIT 20', 'unresolved errors'),
    ('idx_error_logs_resolved_at', $$DELETE FROM error_logs WHERE resolved AND resolved_at < now() - interval '90 days'$$, 'errors to remove'),
    ('idx_webhook_events_waiting', 'SELECT * FROM webhook_events WHERE processed = false ORDER BY created_at LIMIT 50', 'events to process'),
    ('idx_api_keys_key_prefix', $$SELECT * FROM api_keys WHERE key_prefix = 'ctm_c4ca4238a0b92382'$$, 'the lookup of a key'),
    ('user_id_created_at_idx', $$SELECT * FROM api_access_logs WHERE user_id = 'user 7' ORDER BY created_at DESC LIMIT 20$$, 'the access of a user'),
    ('_timestamp_idx', $$SELECT * FROM system_metrics WHERE "timestamp" > now() - interval '1 hour' ORDER BY "timestamp" DESC$$, 'the last hour of metrics'),
    -- On the first day of a month most of it lies in what is older than the months.
    ('metric_category_metric_name_timestam|legacy_idx_system_metrics_category_name', $$SELECT * FROM system_metrics WHERE metric_category = 'api' AND metric_name = 'metric 7' AND "timestamp" > now() - interval '1 day'$$, 'a metric over time'),
    ('entity_type_entity_id_idx', $$SELECT * FROM audit_logs WHERE entity_type = 'task' AND entity_id = md5('task7')::uuid$$, 'the history of a task');
SELECT matches(pg_temp.plan_of(statement), index_pattern, what) FROM patterns ORDER BY place;

SELECT * FROM finish();
ROLLBACK;
