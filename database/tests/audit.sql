-- What the audit log records: every change, who made it and from where, only what changed, no secret.
BEGIN;
SELECT plan(39);

SET LOCAL app.current_user_id = 'alice';
SET LOCAL app.api_key_id = 'key-1';
SET LOCAL app.request_id = 'request-1';
SET LOCAL app.client_address = '203.0.113.7';

-- Rows of this transaction.
CREATE TEMPORARY VIEW own_audit AS
SELECT * FROM audit_logs WHERE metadata ->> 'transaction' = pg_current_xact_id()::text;
GRANT SELECT ON own_audit TO PUBLIC;

INSERT INTO tasks (id, title, description) VALUES ('00000000-0000-4000-8000-000000000001', 'one', 'd');
SELECT is(
    (SELECT ROW(action, user_id, ip_address, metadata ->> 'api_key_id', metadata ->> 'request_id',
                metadata ->> 'database_user')::text
     FROM own_audit WHERE entity_type = 'task'),
    format('(create,alice,203.0.113.7,key-1,request-1,%s)', session_user),
    'an insert says who made it, with which key, for which request, and from where');
SELECT is((SELECT new_values ->> 'title' FROM own_audit WHERE entity_type = 'task'), 'one',
    'an insert records the row');

UPDATE tasks SET title = 'two' WHERE id = '00000000-0000-4000-8000-000000000001';
SELECT results_eq(
    $$SELECT old_values, new_values FROM own_audit WHERE entity_type = 'task' AND action = 'update'$$,
    $$SELECT '{"title": "one"}'::jsonb, '{"title": "two"}'::jsonb$$,
    'an update records the changed columns only');
UPDATE tasks SET status = 'completed' WHERE id = '00000000-0000-4000-8000-000000000001';
SELECT is(
    (SELECT array_agg(key ORDER BY key) FROM own_audit, jsonb_object_keys(new_values) key
     WHERE entity_type = 'task' AND action = 'status_change'),
    '{completed_at,status}', 'a change of status is called so, with what it brought about');
UPDATE tasks SET title = 'two', status = 'completed' WHERE id = '00000000-0000-4000-8000-000000000001';
SELECT is((SELECT count(*)::integer FROM own_audit WHERE entity_type = 'task'), 3,
    'an update that changes nothing is not recorded');

INSERT INTO tasks (title) SELECT 'many ' || n FROM generate_series(1, 50) n;
UPDATE tasks SET priority = length(title) % 10 WHERE title LIKE 'many %';
SELECT is((SELECT count(*)::integer FROM own_audit
           WHERE action = 'update' AND new_values ->> 'priority' IS NOT NULL), 50,
    'an update of many rows records each');
SELECT is_empty(
    $$SELECT FROM own_audit JOIN tasks ON tasks.id = entity_id
      WHERE action = 'update' AND new_values ? 'priority' AND (new_values ->> 'priority')::integer <> priority$$,
    'each with its own values');
UPDATE tasks SET id = '00000000-0000-4000-8000-0000000000aa', title = 'renamed'
WHERE id = '00000000-0000-4000-8000-000000000001';
SELECT is((SELECT new_values FROM own_audit
           WHERE action = 'update' AND entity_id = '00000000-0000-4000-8000-000000000001'
             AND new_values ? 'id'),
    '{"id": "00000000-0000-4000-8000-0000000000aa", "title": "renamed"}'::jsonb,
    'a changed id hides no change');

-- Every table, each kind of change.
CREATE TEMPORARY TABLE changes (entity_type text, insert_text text, update_text text, delete_text text);
INSERT INTO changes VALUES
    ('task_context',
     $$INSERT INTO task_contexts (id, task_id, context_type, context_data)
       VALUES (uuid_ns_dns(), '00000000-0000-4000-8000-0000000000aa', 'workflow', '{}')$$,
     $$UPDATE task_contexts SET context_data = '{"a": 1}'$$, 'DELETE FROM task_contexts'),
    ('workflow_state',
     $$INSERT INTO workflow_states (id, workflow_id, step, status) VALUES (uuid_ns_dns(), 'w', 's', 'pending')$$,
     $$UPDATE workflow_states SET step = 't'$$, 'DELETE FROM workflow_states'),
    ('task_dependency',
     $$INSERT INTO task_dependencies (id, parent_task_id, child_task_id)
       SELECT uuid_ns_dns(), '00000000-0000-4000-8000-0000000000aa', id FROM tasks WHERE title = 'many 1'$$,
     $$UPDATE task_dependencies SET dependency_type = 'related'$$, 'DELETE FROM task_dependencies'),
    ('deployment_script',
     $$INSERT INTO deployment_scripts (id, task_id, script_name, script_type, script_content)
       VALUES (uuid_ns_dns(), '00000000-0000-4000-8000-0000000000aa', 'n', 'build', 'c')$$,
     $$UPDATE deployment_scripts SET version = '2'$$, 'DELETE FROM deployment_scripts'),
    ('error_log',
     $$INSERT INTO error_logs (id, error_type, error_message) VALUES (uuid_ns_dns(), 'runtime', 'm')$$,
     $$UPDATE error_logs SET resolved = true$$, 'DELETE FROM error_logs'),
    ('webhook_event',
     $$INSERT INTO webhook_events (id, event_type, event_source, event_data, headers, signature)
       VALUES (uuid_ns_dns(), 'pr_created', 's', '{}', '{"authorization": "s3cret"}', 's3cret')$$,
     $$UPDATE webhook_events SET processed = true$$, 'DELETE FROM webhook_events'),
    ('api_key',
     $$INSERT INTO api_keys (id, key_name, key_hash, key_prefix, user_id)
       VALUES (uuid_ns_dns(), 'n', 's3cret', 'p', 'u')$$,
     $$UPDATE api_keys SET key_hash = 's3cret2', key_name = 'm'$$, 'DELETE FROM api_keys'),
    ('configuration_setting',
     $$INSERT INTO configuration_settings (id, setting_key, setting_value, setting_type, is_sensitive)
       VALUES (uuid_ns_dns(), 'k', '"s3cret"', 'string', true)$$,
     $$UPDATE configuration_settings SET setting_value = '"s3cret2"' WHERE setting_key = 'k'$$,
     $$DELETE FROM configuration_settings WHERE setting_key = 'k'$$),
    ('schema_migration',
     $$INSERT INTO schema_migrations (version, description) VALUES ('999', 'd')$$,
     $$UPDATE schema_migrations SET description = 'e' WHERE version = '999'$$,
     $$DELETE FROM schema_migrations WHERE version = '999'$$),
    ('api_access_log',
     $$INSERT INTO api_access_logs (request_id, endpoint, method)
       VALUES ('r', '/', 'GET'), ('r', '/', 'GET')$$,
     $$UPDATE api_access_logs SET endpoint = '/a'$$, 'DELETE FROM api_access_logs'),
    ('system_metric',
     $$INSERT INTO system_metrics (metric_category, metric_name, metric_value)
       VALUES ('api', 'n', 1), ('api', 'n', 2)$$,
     $$UPDATE system_metrics SET metric_value = 3$$, 'DELETE FROM system_metrics'),
    ('performance_metric',
     $$INSERT INTO performance_metrics (metric_type) VALUES ('query'), ('task')$$,
     $$UPDATE performance_metrics SET metric_value = 3$$, 'DELETE FROM performance_metrics');
DO $$
DECLARE
    change record;
BEGIN
    FOR change IN SELECT * FROM changes LOOP
        EXECUTE change.insert_text;
        EXECUTE change.update_text;
        EXECUTE change.delete_text;
    END LOOP;
END
$$;
SELECT is(array_agg(DISTINCT action::text ORDER BY action::text), '{create,delete,update}',
          format('insert, update and delete of a %s are recorded', changes.entity_type))
FROM changes LEFT JOIN own_audit ON own_audit.entity_type = changes.entity_type
GROUP BY changes.entity_type ORDER BY changes.entity_type;
SELECT is((SELECT old_values -> 'rows' FROM own_audit WHERE entity_type = 'api_access_log' AND action = 'delete'),
    '2', 'a statement on a log is one row that counts');

UPDATE audit_logs SET user_agent = 'x' WHERE entity_type = 'task' AND action = 'create';
SELECT is((SELECT array_agg(action::text) FROM own_audit WHERE entity_type = 'audit_log'), '{update}',
    'a change of the audit log is recorded');
DELETE FROM audit_logs WHERE user_agent = 'x';
SELECT is((SELECT count(*)::integer FROM own_audit WHERE entity_type = 'audit_log' AND action = 'delete'), 1,
    'as is a deletion from it');

SELECT is_empty($$SELECT FROM own_audit WHERE own_audit::text LIKE '%s3cret%'$$,
    'no secret is ever recorded');
SELECT is((SELECT new_values FROM own_audit WHERE entity_type = 'api_key' AND action = 'update'),
    '{"key_hash": "[redacted]", "key_name": "m"}'::jsonb, 'that it changed is');
SELECT is((SELECT new_values -> 'headers' FROM own_audit WHERE entity_type = 'webhook_event' AND action = 'create'),
    '"[redacted]"'::jsonb, 'headers of an event are secret');
UPDATE configuration_settings SET setting_value = '31000' WHERE setting_key = 'api.request_timeout_ms';
SELECT is((SELECT new_values FROM own_audit
           WHERE entity_type = 'configuration_setting' AND new_values -> 'setting_value' = '31000'),
    '{"setting_value": 31000}'::jsonb, 'an ordinary setting is recorded with its value');
UPDATE configuration_settings SET is_sensitive = true, setting_value = '"s3cret3"'
WHERE setting_key = 'api.request_timeout_ms';
UPDATE configuration_settings SET is_sensitive = false, setting_value = '1'
WHERE setting_key = 'api.request_timeout_ms';
SELECT is_empty($$SELECT FROM own_audit WHERE own_audit::text LIKE '%s3cret3%'$$,
    'a setting that becomes or was sensitive is not');

INSERT INTO api_keys (id, key_name, key_hash, key_prefix, user_id) VALUES (uuid_ns_url(), 'n', 'h', 'p', 'u');
UPDATE api_keys SET last_used_at = now(), usage_count = 7;
SELECT is((SELECT array_agg(action::text) FROM own_audit WHERE entity_id = uuid_ns_url()), '{create}',
    'the use of a key is no change of it');

TRUNCATE performance_metrics;
SELECT is((SELECT count(*)::integer FROM own_audit
           WHERE entity_type = 'performance_metric' AND action = 'truncate'), 1,
    'a TRUNCATE is recorded');

SET LOCAL app.client_address = 'nonsense';
SELECT lives_ok($$INSERT INTO tasks (title) VALUES ('address')$$,
    'a malformed address of the client keeps nobody from working');
SELECT is((SELECT ip_address FROM own_audit WHERE new_values ->> 'title' = 'address'), inet_client_addr(),
    'that of the connection is recorded instead');
SET LOCAL app.current_user_id = '';
INSERT INTO tasks (title) VALUES ('nobody');
SELECT is((SELECT user_id FROM own_audit WHERE new_values ->> 'title' = 'nobody'), session_user::varchar,
    'without a user, who logged in is recorded');
SELECT set_config('app.current_user_id', repeat('x', 300), true);
SELECT lives_ok($$INSERT INTO tasks (title) VALUES ('long')$$, 'a long user name is cut, not refused');
SET LOCAL TimeZone = 'Asia/Tokyo';
INSERT INTO tasks (title) VALUES ('zone');
SELECT matches((SELECT new_values ->> 'created_at' FROM own_audit WHERE new_values ->> 'title' = 'zone'),
    '\+00:00$', 'times are recorded in UTC, whatever the session''s zone');

-- As the API, which may not write the log itself.
SET LOCAL SESSION AUTHORIZATION ctm_api;
SELECT lives_ok($$INSERT INTO tasks (title) VALUES ('by the API')$$, 'a service can insert a task');
SELECT throws_ok($$INSERT INTO audit_logs (entity_type, entity_id, action) VALUES ('task', uuid_nil(), 'create')$$,
    '42501', NULL, 'and cannot write the audit log');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT metadata ->> 'database_user' FROM own_audit WHERE new_values ->> 'title' = 'by the API'),
    'ctm_api', 'the role that logged in is recorded');

TRUNCATE audit_logs, tasks, task_contexts, workflow_states, task_dependencies, performance_metrics,
    deployment_scripts, error_logs, webhook_events, api_keys, api_access_logs, system_metrics,
    configuration_settings, schema_migrations CASCADE;
SELECT is((SELECT array_agg(entity_type::text ORDER BY entity_type::text) FROM own_audit WHERE action = 'truncate'),
    '{api_access_log,api_key,audit_log,configuration_setting,deployment_script,error_log,performance_metric,schema_migration,system_metric,task,task_context,task_dependency,webhook_event,workflow_state}',
    'emptying any table is recorded');

SELECT * FROM finish();
ROLLBACK;
