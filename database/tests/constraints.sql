-- Every CHECK: the values that it lets through, and others, each refused by that constraint and no other.
BEGIN;
SELECT plan(5);

INSERT INTO tasks (id, title) VALUES
    ('00000000-0000-4000-8000-000000000001', 'one'), ('00000000-0000-4000-8000-000000000002', 'two');

-- One line for each constraint: a statement with the tested value as %s, values to accept, to refuse.
CREATE TEMPORARY TABLE cases (constraint_name text, statement text, good text[], bad text[]);
INSERT INTO cases VALUES
    ('tasks_status_check', $$INSERT INTO tasks (title, status) VALUES ('t', %s)$$,
     $${'pending','in_progress','completed','failed','cancelled'}$$, $${'running','','Pending'}$$),
    ('tasks_priority_check', $$INSERT INTO tasks (title, priority) VALUES ('t', %s)$$,
     '{0,10,NULL}', '{-1,11}'),
    ('tasks_complexity_score_check', $$INSERT INTO tasks (title, complexity_score) VALUES ('t', %s)$$,
     '{1,10,NULL}', '{0,11}'),
    ('tasks_estimated_hours_check', $$INSERT INTO tasks (title, estimated_hours) VALUES ('t', %s)$$,
     '{0,8.25,NULL}', '{-0.01}'),
    ('tasks_actual_hours_check', $$INSERT INTO tasks (title, actual_hours) VALUES ('t', %s)$$,
     '{0,8.25,NULL}', '{-0.01}'),
    ('task_contexts_context_type_check',
     $$INSERT INTO task_contexts (task_id, context_type, context_data)
       VALUES ('00000000-0000-4000-8000-000000000001', %s, '{}')$$,
     $${'requirement','codebase','ai_interaction','validation','workflow','status_change','completion',
        'dependency_parent','dependency_child','error','performance'}$$, $${'note',''}$$),
    ('workflow_states_status_check',
     $$INSERT INTO workflow_states (workflow_id, step, status) VALUES ('w', 's', %s)$$,
     $${'pending','running','completed','failed','skipped'}$$, $${'in_progress','cancelled'}$$),
    ('workflow_states_retry_count_check',
     $$INSERT INTO workflow_states (workflow_id, step, status, retry_count) VALUES ('w', 's', 'pending', %s)$$,
     '{0,5,NULL}', '{-1}'),
    ('audit_logs_entity_type_check',
     $$INSERT INTO audit_logs (entity_type, entity_id, action) VALUES (%s, uuid_nil(), 'create')$$,
     $${'task','tasks','task_context','task_contexts','workflow_state','workflow_states',
        'task_dependency','task_dependencies','audit_log','audit_logs','performance_metric',
        'performance_metrics','schema_migration','schema_migrations','deployment_script',
        'deployment_scripts','error_log','error_logs','webhook_event','webhook_events','api_key',
        'api_keys','api_access_log','api_access_logs','system_metric','system_metrics',
        'configuration_setting','configuration_settings'}$$, $${'user',''}$$),
    ('audit_logs_action_check',
     $$INSERT INTO audit_logs (entity_type, entity_id, action) VALUES ('task', uuid_nil(), %s)$$,
     $${'create','update','delete','status_change','truncate'}$$, $${'read','INSERT'}$$),
    ('task_dependencies_dependency_type_check',
     $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
       VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', %s)$$,
     $${'blocks','depends_on','related'}$$, $${'needs',''}$$),
    ('task_dependencies_not_itself_check',
     $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
       VALUES ('00000000-0000-4000-8000-000000000001', %s, 'related')$$,
     $${'00000000-0000-4000-8000-000000000002'}$$, $${'00000000-0000-4000-8000-000000000001'}$$),
    ('performance_metrics_metric_type_check',
     $$INSERT INTO performance_metrics (metric_type) VALUES (%s)$$,
     $${'query','task','workflow','system'}$$, $${'database',''}$$),
    ('deployment_scripts_script_type_check',
     $$INSERT INTO deployment_scripts (task_id, script_name, script_content, script_type)
       VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'c', %s)$$,
     $${'build','test','deploy','rollback','migration','validation','cleanup'}$$, $${'other'}$$),
    ('deployment_scripts_environment_check',
     $$INSERT INTO deployment_scripts (task_id, script_name, script_content, script_type, environment)
       VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'c', 'build', %s)$$,
     $${'development','staging','production','testing'}$$, $${'all','live'}$$),
    ('deployment_scripts_status_check',
     $$INSERT INTO deployment_scripts (task_id, script_name, script_content, script_type, status)
       VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'c', 'build', %s)$$,
     $${'pending','running','completed','failed','cancelled','skipped'}$$, $${'in_progress'}$$),
    ('deployment_scripts_retries_check',
     $$INSERT INTO deployment_scripts (task_id, script_name, script_content, script_type, retry_count,
                                       max_retries)
       VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'c', 'build', %s, 3)$$,
     '{0,3}', '{-1,4}'),
    ('deployment_scripts_timeout_seconds_check',
     $$INSERT INTO deployment_scripts (task_id, script_name, script_content, script_type, timeout_seconds)
       VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'c', 'build', %s)$$,
     '{1,300}', '{0,-1}'),
    ('error_logs_error_type_check',
     $$INSERT INTO error_logs (error_message, error_type) VALUES ('m', %s)$$,
     $${'validation','compilation','runtime','network','database','authentication','authorization',
        'timeout','resource','configuration'}$$, $${'other'}$$),
    ('error_logs_severity_check',
     $$INSERT INTO error_logs (error_message, error_type, severity) VALUES ('m', 'runtime', %s)$$,
     $${'debug','info','warning','error','critical','fatal'}$$, $${'low'}$$),
    ('webhook_events_event_type_check',
     $$INSERT INTO webhook_events (event_source, event_data, event_type) VALUES ('s', '{}', %s)$$,
     $${'task_created','task_updated','task_completed','task_failed','deployment_started',
        'deployment_completed','deployment_failed','pr_created','pr_updated','pr_merged','pr_closed',
        'build_started','build_completed','build_failed','test_started','test_completed',
        'test_failed'}$$, $${'push'}$$),
    ('webhook_events_attempts_check',
     $$INSERT INTO webhook_events (event_source, event_data, event_type, processing_attempts,
                                   max_processing_attempts)
       VALUES ('s', '{}', 'pr_created', %s, 3)$$,
     '{0,3}', '{4}'),
    ('api_keys_rate_limit_per_hour_check',
     $$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id, rate_limit_per_hour)
       VALUES ('n', gen_random_uuid(), 'p', 'u', %s)$$,
     '{1,NULL}', '{0,-1}'),
    ('api_keys_rate_limit_per_day_check',
     $$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id, rate_limit_per_day)
       VALUES ('n', gen_random_uuid(), 'p', 'u', %s)$$,
     '{1,NULL}', '{0,-1}'),
    ('api_access_logs_method_check',
     $$INSERT INTO api_access_logs (request_id, endpoint, method) VALUES ('r', '/', %s)$$,
     $${'GET','POST','PUT','PATCH','DELETE','HEAD','OPTIONS'}$$, $${'get','TRACE'}$$),
    ('system_metrics_metric_category_check',
     $$INSERT INTO system_metrics (metric_name, metric_value, metric_category) VALUES ('n', 1, %s)$$,
     $${'database','api','task_processing','deployment','error_rate','performance','security',
        'resource_usage'}$$, $${'query'}$$),
    ('system_metrics_aggregation_period_check',
     $$INSERT INTO system_metrics (metric_name, metric_value, metric_category, aggregation_period)
       VALUES ('n', 1, 'api', %s)$$,
     $${'instant','1min','5min','15min','1hour','1day'}$$, $${'1week'}$$),
    ('configuration_settings_setting_type_check',
     $$INSERT INTO configuration_settings (setting_key, setting_value, setting_type)
       VALUES (gen_random_uuid(), '1', %s)$$,
     $${'string','number','boolean','json','array'}$$, $${'text'}$$),
    ('configuration_settings_environment_check',
     $$INSERT INTO configuration_settings (setting_key, setting_value, setting_type, environment)
       VALUES (gen_random_uuid(), '1', 'number', %s)$$,
     $${'all','development','staging','production','testing'}$$, $${'live'}$$),
    ('configuration_settings_encrypted_check',
     $$INSERT INTO configuration_settings (setting_key, setting_value, setting_type, is_encrypted)
       VALUES (gen_random_uuid(), %s)$$,
     $${"'\"-----BEGIN PGP MESSAGE-----\"', 'encrypted', true", "'\"clear\"', 'string', false",
        "'\"clear\"', 'string', NULL"}$$,
     $${"'\"clear\"', 'encrypted', true", "'\"clear\"', 'encrypted', false",
        "'\"-----BEGIN PGP MESSAGE-----\"', 'string', true", "'{}', 'encrypted', true"}$$),
    ('audit_seals_number_check',
     $$INSERT INTO audit_seals VALUES (%s, 'rows', now(), now(), 0, sha256(''), '', sha256(''), sha256('1'))$$,
     '{1000}', '{0,-1}'),
    ('audit_seals_kind_check',
     $$INSERT INTO audit_seals VALUES (1001, %s, now(), now(), 0, sha256(''), '', sha256(''), sha256('2'))$$,
     $${'rows'}$$, $${'other'}$$),
    ('audit_seals_period_check',
     $$INSERT INTO audit_seals VALUES (1002, 'retention', now(), %s, 0, sha256(''), NULL, sha256(''), sha256('3'))$$,
     '{now()}', $${"now() - interval '1 second'"}$$),
    ('audit_seals_row_count_check',
     $$INSERT INTO audit_seals VALUES (1003, 'rows', now(), now(), %s, sha256(''), NULL, sha256(''), sha256('4'))$$,
     '{0}', '{-1}'),
    ('audit_seals_rows_digest_check',
     $$INSERT INTO audit_seals VALUES (1004, 'rows', now(), now(), 0, %s, '', sha256(''), sha256('5'))$$,
     $${sha256('')}$$, $${'x'}$$),
    ('audit_seals_row_digests_check',
     $$INSERT INTO audit_seals VALUES (1005, 'rows', now(), now(), 1, sha256(''), %s, sha256(''), sha256('6'))$$,
     $${sha256('')}$$, $${'x',''}$$),
    ('audit_seals_previous_digest_check',
     $$INSERT INTO audit_seals VALUES (1006, 'rows', now(), now(), 0, sha256(''), '', %s, sha256('7'))$$,
     $${sha256('')}$$, $${'x'}$$),
    ('audit_seals_digest_check',
     $$INSERT INTO audit_seals VALUES (1007, 'rows', now(), now(), 0, sha256(''), '', sha256(''), %s)$$,
     $${sha256('8')}$$, $${'x'}$$),
    ('task_dependency_turn_only_row_check', $$UPDATE task_dependency_turn SET only_row = %s$$,
     '{true}', '{false}'),
    ('api_rate_limits_scope_check',
     $$INSERT INTO api_rate_limits (api_key_id, scope, short_window, long_window)
       VALUES (gen_random_uuid(), %s, 0, 0)$$,
     $${'requests','query'}$$, $${'other'}$$);

-- What refuses a statement: the name of the constraint, or null; the statement is undone either way.
CREATE FUNCTION pg_temp.refused_by(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    constraint_name text;
BEGIN
    BEGIN
        EXECUTE statement;
        RAISE EXCEPTION SQLSTATE 'UNDO1';
    EXCEPTION
        WHEN SQLSTATE 'UNDO1' THEN RETURN NULL;
        WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS constraint_name = CONSTRAINT_NAME;
            RETURN coalesce(nullif(constraint_name, ''), SQLERRM);
    END;
END
$$;

SELECT is_empty(
    $$SELECT constraint_name, value, pg_temp.refused_by(format(statement, coalesce(value, 'NULL')))
      FROM cases, unnest(good) value
      WHERE pg_temp.refused_by(format(statement, coalesce(value, 'NULL'))) IS NOT NULL$$,
    'each CHECK lets its values through');

SELECT is_empty(
    $$SELECT constraint_name, value, pg_temp.refused_by(format(statement, coalesce(value, 'NULL')))
      FROM cases, unnest(bad) value
      WHERE pg_temp.refused_by(format(statement, coalesce(value, 'NULL'))) IS DISTINCT FROM constraint_name$$,
    'each CHECK refuses other values');

SELECT is_empty(
    $$SELECT conrelid::regclass, conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
      WHERE connamespace = 'public'::regnamespace AND contype = 'c' AND NOT relispartition
        AND relname NOT LIKE 'schema\_%' AND conname NOT IN (SELECT constraint_name FROM cases)$$,
    'each CHECK of the schema is tested above');

SELECT is_empty(
    $$SELECT conname FROM pg_constraint
      WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f') AND NOT convalidated$$,
    'each constraint holds for the rows of before too');

SELECT is_empty(
    $$SELECT parent.conname, child.conrelid::regclass
      FROM pg_constraint parent
      JOIN pg_inherits ON inhparent = parent.conrelid
      LEFT JOIN pg_constraint child ON child.conrelid = inhrelid AND child.conname = parent.conname
      WHERE parent.contype = 'c' AND child.oid IS NULL$$,
    'the partitions of a log have its constraints');

SELECT * FROM finish();
ROLLBACK;
