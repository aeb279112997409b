-- What the views and the statistics functions answer.
BEGIN;
SELECT plan(30);

DELETE FROM tasks;
DELETE FROM error_logs;
DELETE FROM webhook_events;
DELETE FROM workflow_states;
TRUNCATE system_metrics;
INSERT INTO tasks (id, title, status, priority, estimated_hours, actual_hours, created_at, completed_at) VALUES
    ('00000000-0000-4000-8000-000000000001', 'a', 'pending', 2, 2, NULL, now(), NULL),
    ('00000000-0000-4000-8000-000000000002', 'b', 'in_progress', 4, 0, 1, now() - interval '2 days', NULL),
    ('00000000-0000-4000-8000-000000000003', 'c', 'completed', 6, 4, 3, now() - interval '1 hour', now()),
    ('00000000-0000-4000-8000-000000000004', 'd', 'failed', 8, NULL, 2, now(), NULL),
    ('00000000-0000-4000-8000-000000000005', 'e', 'cancelled', 0, 1, NULL, now(), NULL);
INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content, status, execution_duration_ms,
                                executed_at, retry_count) VALUES
    ('00000000-0000-4000-8000-000000000003', 'n', 'build', 'c', 'completed', 100, now(), 0),
    ('00000000-0000-4000-8000-000000000003', 'n', 'deploy', 'c', 'failed', 300, now() - interval '2 days', 1),
    ('00000000-0000-4000-8000-000000000001', 'n', 'build', 'c', 'pending', NULL, NULL, 0);
INSERT INTO error_logs (task_id, error_type, error_message, severity, resolved, created_at, resolved_at) VALUES
    ('00000000-0000-4000-8000-000000000003', 'runtime', 'm', 'error', true, now() - interval '1 day 1 hour', now() - interval '1 day'),
    ('00000000-0000-4000-8000-000000000003', 'runtime', 'm', 'critical', false, now(), NULL),
    ('00000000-0000-4000-8000-000000000003', 'network', 'm', 'error', NULL, now() - interval '2 hours', NULL);
INSERT INTO webhook_events (event_type, event_source, event_data, processed, processing_attempts) VALUES
    ('pr_created', 's', '{}', true, 1), ('pr_created', 's', '{}', false, 3), ('pr_created', 's', '{}', false, 0);
INSERT INTO workflow_states (workflow_id, step, status) VALUES ('w', 's', 'running');

SELECT refresh_materialized_views();
SELECT pass('the materialised views are refreshed while they are read');

SELECT is((SELECT ROW(error_count, deployment_script_count, successful_deployments, failed_deployments,
                      avg_deployment_duration_ms::integer)::text
           FROM task_performance_summary WHERE title = 'c'), '(3,2,1,1,200)',
    'three errors and two scripts are three errors and two scripts');
SELECT is((SELECT ROW(error_count, deployment_script_count, successful_deployments, failed_deployments,
                      avg_deployment_duration_ms)::text
           FROM task_performance_summary WHERE title = 'd'), '(0,0,0,0,)', 'a task without any has none');
SELECT is((SELECT accuracy_percentage::integer FROM task_performance_summary WHERE title = 'c'), 75, 'hours taken of hours planned');
SELECT is((SELECT accuracy_percentage FROM task_performance_summary WHERE title = 'b'), NULL, 'of none planned there is no part');
SELECT is((SELECT count(*)::integer FROM task_performance_summary), 5, 'every task is in the summary');
SELECT is((SELECT count(*)::integer FROM task_dependency_tree), 5, 'and in the tree');

SELECT is((SELECT ROW(total, pending, in_progress, completed, failed, cancelled, completion_rate, average_hours,
                      average_completion_seconds, created_last_day, completed_last_day)::text FROM get_task_statistics()),
    '(5,1,1,1,1,1,33.33,2.00,3600.000,4,1)', 'statistics of tasks');
SELECT is((SELECT ROW(total, pending, running, completed, failed, cancelled, skipped, success_rate, average_duration_ms,
                      retried, executed_last_day)::text FROM get_deployment_statistics()),
    '(3,1,0,1,1,0,0,50.00,200.00,1,1)', 'of scripts');
SELECT is((SELECT ROW(total, unresolved, critical, last_hour, last_day, most_frequent_type, average_resolution_seconds)::text
           FROM get_error_statistics()),
    '(3,2,1,1,2,runtime,3600.000)', 'of errors');

SELECT is((SELECT array_agg(title::text ORDER BY title) FROM active_tasks), '{a,b}', 'active tasks are those not ended');
SELECT is((SELECT ROW(task_count, average_priority::integer, estimated_hours, actual_hours)::text
           FROM task_summary WHERE status = 'completed'), '(1,6,4.00,3.00)', 'a line for each status');
SELECT is((SELECT count(*)::integer FROM task_summary), 5, 'and no other');
SELECT is((SELECT count(*)::integer FROM recent_activity WHERE entity_type = 'task' AND action = 'create'
           AND entity_id = '00000000-0000-4000-8000-000000000001'), 1, 'activity of the last day');
INSERT INTO audit_logs (id, entity_type, entity_id, action, "timestamp")
VALUES (uuid_nil(), 'task', uuid_nil(), 'create', now() - interval '25 hours');
SELECT is((SELECT count(*)::integer FROM recent_activity WHERE id = uuid_nil()), 0, 'and not of the day before');

SELECT is((SELECT array_agg(format('%s %s %s %s %s', component, total, active, failed, status)) FROM system_health_dashboard),
    '{"tasks 5 2 1 failing","deployments 3 1 1 failing","workflows 1 1 0 healthy","errors 3 2 1 failing","webhooks 3 2 1 failing"}',
    'five components and how they are');
INSERT INTO tasks (title, status) SELECT 'x', 'completed' FROM generate_series(1, 95);
SELECT is((SELECT status FROM system_health_dashboard WHERE component = 'tasks'), 'degraded', 'one in twenty is not failing yet');

SELECT is((SELECT value::integer FROM comprehensive_dashboard WHERE section = 'tasks' AND name = 'total'), 100, 'the dashboard has tasks');
SELECT is((SELECT value::integer FROM comprehensive_dashboard WHERE section = 'deployments' AND name = 'failed'), 1, 'scripts');
SELECT is((SELECT value::integer FROM comprehensive_dashboard WHERE section = 'errors' AND name = 'unresolved'), 2, 'and errors');

INSERT INTO system_metrics (metric_category, metric_name, metric_value, metric_unit, "timestamp")
SELECT 'api', 'latency', n, 'ms', now() - n * interval '1 second' FROM generate_series(1, 100) n
UNION ALL SELECT 'api', 'latency', 100000, 'ms', now() - interval '2 hours';
SELECT is((SELECT ROW(samples, minimum::integer, average, maximum::integer, percentile_95, latest::integer)::text
           FROM performance_monitoring),
    (SELECT ROW(100, 1, avg(n::numeric(15,6)), 100, 95.05::double precision, 1)::text FROM generate_series(1, 100) n),
    'a metric''s last hour');

-- Who reads them
CREATE TEMPORARY TABLE readers (role_name text, view_name text);
INSERT INTO readers SELECT role_name, view_name FROM
    unnest('{api_users,readonly_users,ctm_query}'::text[]) role_name,
    unnest('{active_tasks,task_summary,system_health_dashboard,comprehensive_dashboard,performance_monitoring,
             task_dependency_tree,task_performance_summary}'::text[]) view_name;
CREATE FUNCTION pg_temp.reads(role_name text, view_name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', role_name);
        EXECUTE format('SELECT * FROM %I', view_name);
        RAISE EXCEPTION SQLSTATE 'UNDO1';
    EXCEPTION WHEN SQLSTATE 'UNDO1' THEN RETURN 'reads';
        WHEN OTHERS THEN RETURN SQLERRM;
    END;
END
$$;
SELECT is_empty(
    $$SELECT role_name, view_name, pg_temp.reads(role_name, view_name) FROM readers
      WHERE pg_temp.reads(role_name, view_name) <> 'reads'$$,
    'services, reports and administrators read every view');
SELECT is(pg_temp.reads('readonly_users', 'recent_activity'), 'reads', 'reports the activity too');
SELECT is(pg_temp.reads('ctm_query', 'recent_activity'), 'reads', 'as do administrators');
SELECT isnt(pg_temp.reads('api_users', 'recent_activity'), 'reads', 'services do not');
SELECT isnt(pg_temp.reads('authenticated_users', 'active_tasks'), 'reads', 'people read no view');

-- While rows change
SELECT lives_ok('SELECT refresh_materialized_views()', 'a second refresh works like the first');
SELECT is((SELECT count(*)::integer FROM task_performance_summary), 100, 'and shows what came');
SELECT is_empty(
    $$SELECT indrelid::regclass FROM pg_index
      WHERE indrelid IN ('task_dependency_tree'::regclass, 'task_performance_summary'::regclass)
      GROUP BY indrelid HAVING NOT bool_or(indisunique)$$,
    'each has the unique index that this needs');
SELECT is_empty(
    $$SELECT relname FROM pg_class
      WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
        AND relowner = 'ctm_owner'::regrole AND obj_description(oid, 'pg_class') IS NULL
        AND relname NOT LIKE 'schema\_%'$$,
    'every table and view says what it is');

SELECT * FROM finish();
ROLLBACK;
