-- What each role does every day, done as that role. What it must not do: row_security.sql, attacks.sql.
BEGIN;
SELECT plan(58);

INSERT INTO tasks (id, title) VALUES
    ('00000000-0000-4000-8000-000000000001', 'one'), ('00000000-0000-4000-8000-000000000002', 'two');
INSERT INTO task_contexts (task_id, context_type, context_data)
VALUES ('00000000-0000-4000-8000-000000000001', 'workflow', '{}');
INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content)
VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'build', 'c');
INSERT INTO workflow_states (workflow_id, step, status) VALUES ('w', 's', 'pending');
INSERT INTO error_logs (error_type, error_message) VALUES ('runtime', 'm');
INSERT INTO webhook_events (event_type, event_source, event_data) VALUES ('pr_created', 's', '{}');
INSERT INTO system_metrics (metric_category, metric_name, metric_value) VALUES ('api', 'n', 1);
INSERT INTO performance_metrics (metric_type) VALUES ('query');
INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 'related');
INSERT INTO api_keys (id, key_name, key_hash, key_prefix, user_id)
VALUES ('00000000-0000-4000-8000-000000000003', 'n', 'h', 'p', 'alice');
INSERT INTO api_access_logs (request_id, endpoint, method, user_id) VALUES ('r', '/', 'GET', 'alice');
INSERT INTO api_rate_limits (api_key_id, scope, short_window, long_window)
VALUES ('00000000-0000-4000-8000-000000000003', 'query', 1, 1);
SET LOCAL app.current_user_id = 'alice';

-- Runs a statement as who logged in so, undoes it, and answers "done" with at least one row, or why not.
CREATE FUNCTION pg_temp.does(role_name text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    touched bigint;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', role_name);
        EXECUTE statement;
        GET DIAGNOSTICS touched = ROW_COUNT;
        RAISE EXCEPTION SQLSTATE 'UNDO1';
    EXCEPTION
        WHEN SQLSTATE 'UNDO1' THEN RETURN CASE touched WHEN 0 THEN 'touches no row' ELSE 'done' END;
        WHEN OTHERS THEN RETURN SQLERRM;
    END;
END
$$;

CREATE TEMPORARY TABLE work (place serial, role_name text, statement text, what text);
INSERT INTO work (role_name, statement, what)
SELECT role_name, statement, what FROM unnest('{api_users,ctm_api}'::text[]) role_name, (VALUES
    ($$INSERT INTO tasks (title) VALUES ('t') RETURNING *$$, 'adds a task'),
    ($$UPDATE tasks SET status = 'completed'$$, 'changes a task'),
    ('SELECT * FROM task_contexts', 'reads contexts'),
    ($$INSERT INTO task_contexts (task_id, context_type, context_data)
       VALUES ('00000000-0000-4000-8000-000000000001', 'status_change', '{}')$$, 'adds a context'),
    ($$UPDATE task_contexts SET metadata = '{"a": 1}'$$, 'changes a context'),
    ('SELECT * FROM workflow_states', 'reads workflow states'),
    ($$INSERT INTO workflow_states (workflow_id, step, status) VALUES ('w', 's', 'pending')$$, 'adds a workflow state'),
    ($$UPDATE workflow_states SET status = 'running'$$, 'changes a workflow state'),
    ($$INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content)
       VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'build', 'c')$$, 'adds a script'),
    ($$UPDATE deployment_scripts SET status = 'running'$$, 'changes a script'),
    ($$INSERT INTO error_logs (error_type, error_message) VALUES ('runtime', 'm')$$, 'adds an error'),
    ('UPDATE error_logs SET resolved = true', 'resolves an error'),
    ($$INSERT INTO webhook_events (event_type, event_source, event_data) VALUES ('pr_created', 's', '{}')$$, 'adds an event'),
    ('UPDATE webhook_events SET processed = true', 'processes an event'),
    ('SELECT headers, signature FROM webhook_events', 'reads what it must check of an event'),
    ($$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
       VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 'depends_on')$$, 'adds a dependency'),
    ('SELECT * FROM task_dependencies', 'reads dependencies'),
    ($$INSERT INTO system_metrics (metric_category, metric_name, metric_value) VALUES ('api', 'n', 1)$$, 'adds a metric'),
    ('SELECT * FROM system_metrics', 'reads metrics'),
    ($$INSERT INTO performance_metrics (metric_type) VALUES ('query')$$, 'adds a measurement'),
    ('SELECT * FROM performance_metrics', 'reads measurements'),
    ('SELECT * FROM get_task_statistics(), get_deployment_statistics(), get_error_statistics()', 'reads statistics')
) AS services (statement, what);
INSERT INTO work (role_name, statement, what) VALUES
    ('ctm_api', $$INSERT INTO api_rate_limits (api_key_id, scope, short_window, long_window)
                  VALUES (gen_random_uuid(), 'requests', 1, 1)$$, 'begins to count a key''s requests'),
    ('ctm_api', 'SELECT * FROM api_rate_limits', 'reads the counters'),
    ('ctm_api', 'UPDATE api_rate_limits SET short_used = short_used + 1', 'counts'),
    ('ctm_api', 'DELETE FROM api_rate_limits', 'forgets old counters'),
    ('authenticated_users',
     'SELECT id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
             allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active, created_at,
             updated_at, metadata FROM api_keys', 'reads all of one''s own key but the hash'),
    ('authenticated_users', 'SELECT * FROM api_access_logs', 'reads one''s own access'),
    ('ctm_query',
     'SELECT id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
             allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active, created_at,
             updated_at, metadata FROM api_keys', 'reads all of a key but the hash'),
    ('ctm_query',
     'SELECT id, request_id, endpoint, method, user_id, api_key_id, ip_address, user_agent, response_status,
             execution_time_ms, rate_limit_remaining, rate_limit_reset, created_at FROM api_access_logs',
     'reads who asked for what'),
    ('ctm_query',
     'SELECT id, task_id, event_type, event_source, event_data, signature_verified, processed, processed_at,
             processing_attempts, max_processing_attempts, next_retry_at, response_status, response_data,
             created_at, metadata FROM webhook_events', 'reads events'),
    ('ctm_query', 'SELECT * FROM get_task_statistics(), get_deployment_statistics(), get_error_statistics()', 'reads statistics'),
    ('readonly_users', 'SELECT * FROM get_task_statistics(), get_deployment_statistics(), get_error_statistics()', 'reads statistics');
SELECT is(pg_temp.does(role_name, statement), 'done', format('%s %s', role_name, what)) FROM work ORDER BY place;

SELECT is_empty(
    $$SELECT role_name, table_name, pg_temp.does(role_name, format('SELECT * FROM %I', table_name))
      FROM unnest('{readonly_users,ctm_query}'::text[]) role_name,
           unnest('{tasks,task_contexts,workflow_states,task_dependencies,audit_logs,performance_metrics,
                    deployment_scripts,error_logs,system_metrics,configuration_settings,schema_migrations}'::text[]) table_name
      WHERE pg_temp.does(role_name, format('SELECT * FROM %I', table_name)) <> 'done'$$,
    'reports and administrators read every other table');
SELECT is(pg_temp.does('readonly_users', 'SELECT * FROM webhook_events'), 'done', 'reports read events as documented');
SELECT is(pg_temp.does('readonly_users',
    'SELECT id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
            allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active, created_at,
            updated_at, metadata FROM api_keys'), 'touches no row', 'and may name all of a key but the hash');

SELECT * FROM finish();
ROLLBACK;
