-- Primary keys, unique keys and foreign keys: which there are, and what each does.
BEGIN;
SELECT plan(30);

SELECT is_empty($$
    SELECT * FROM (VALUES
        ('tasks_pkey', 'PRIMARY KEY (id)'),
        ('task_contexts_pkey', 'PRIMARY KEY (id)'),
        ('workflow_states_pkey', 'PRIMARY KEY (id)'),
        ('task_dependencies_pkey', 'PRIMARY KEY (id)'),
        ('deployment_scripts_pkey', 'PRIMARY KEY (id)'),
        ('error_logs_pkey', 'PRIMARY KEY (id)'),
        ('webhook_events_pkey', 'PRIMARY KEY (id)'),
        ('api_keys_pkey', 'PRIMARY KEY (id)'),
        ('configuration_settings_pkey', 'PRIMARY KEY (id)'),
        -- A partitioned table's key contains its time.
        ('audit_logs_pkey', 'PRIMARY KEY (id, "timestamp")'),
        ('api_access_logs_pkey', 'PRIMARY KEY (id, created_at)'),
        ('system_metrics_pkey', 'PRIMARY KEY (id, "timestamp")'),
        ('performance_metrics_pkey', 'PRIMARY KEY (id, "timestamp")'),
        ('audit_seals_pkey', 'PRIMARY KEY (number)'),
        ('audit_seals_digest_key', 'UNIQUE (digest)'),
        ('task_dependency_turn_pkey', 'PRIMARY KEY (only_row)'),
        ('task_dependency_lanes_pkey', 'PRIMARY KEY (lane)'),
        ('api_rate_limits_pkey', 'PRIMARY KEY (api_key_id, scope)'),
        ('schema_migrations_pkey', 'PRIMARY KEY (version)'),
        ('task_dependencies_parent_child_type_key',
         'UNIQUE (parent_task_id, child_task_id, dependency_type)'),
        ('api_keys_key_hash_key', 'UNIQUE (key_hash)'),
        ('configuration_settings_setting_key_key', 'UNIQUE (setting_key)'),
        ('tasks_parent_task_id_fkey',
         'FOREIGN KEY (parent_task_id) REFERENCES tasks(id) ON DELETE SET NULL'),
        ('task_contexts_task_id_fkey', 'FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE CASCADE'),
        ('workflow_states_task_id_fkey', 'FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE SET NULL'),
        ('task_dependencies_parent_task_id_fkey',
         'FOREIGN KEY (parent_task_id) REFERENCES tasks(id) ON DELETE CASCADE'),
        ('task_dependencies_child_task_id_fkey',
         'FOREIGN KEY (child_task_id) REFERENCES tasks(id) ON DELETE CASCADE'),
        ('deployment_scripts_task_id_fkey',
         'FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE CASCADE'),
        ('error_logs_task_id_fkey', 'FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE SET NULL'),
        ('error_logs_deployment_script_id_fkey',
         'FOREIGN KEY (deployment_script_id) REFERENCES deployment_scripts(id) ON DELETE SET NULL'),
        ('error_logs_workflow_state_id_fkey',
         'FOREIGN KEY (workflow_state_id) REFERENCES workflow_states(id) ON DELETE SET NULL'),
        ('webhook_events_task_id_fkey', 'FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE SET NULL')
    ) AS documented
    EXCEPT
    SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace$$,
    'each key and reference is there');

INSERT INTO tasks (id, title) VALUES
    ('00000000-0000-4000-8000-000000000001', 'parent'), ('00000000-0000-4000-8000-000000000002', 'child');
UPDATE tasks SET parent_task_id = '00000000-0000-4000-8000-000000000001'
WHERE id = '00000000-0000-4000-8000-000000000002';
INSERT INTO task_contexts (id, task_id, context_type, context_data)
VALUES ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000001', 'workflow', '{}');
INSERT INTO workflow_states (id, workflow_id, task_id, step, status)
VALUES ('00000000-0000-4000-8000-000000000004', 'w', '00000000-0000-4000-8000-000000000001', 's', 'pending'),
       ('00000000-0000-4000-8000-000000000005', 'w', NULL, 's', 'pending');
INSERT INTO deployment_scripts (id, task_id, script_name, script_type, script_content)
VALUES ('00000000-0000-4000-8000-000000000006', '00000000-0000-4000-8000-000000000001', 'n', 'build', 'c'),
       ('00000000-0000-4000-8000-000000000007', '00000000-0000-4000-8000-000000000002', 'n', 'build', 'c');
INSERT INTO error_logs (id, task_id, deployment_script_id, workflow_state_id, error_type, error_message)
VALUES ('00000000-0000-4000-8000-000000000008', '00000000-0000-4000-8000-000000000001',
        '00000000-0000-4000-8000-000000000006', '00000000-0000-4000-8000-000000000005', 'runtime', 'm');
INSERT INTO webhook_events (id, task_id, event_type, event_source, event_data)
VALUES ('00000000-0000-4000-8000-000000000009', '00000000-0000-4000-8000-000000000001', 'pr_created', 's', '{}');
INSERT INTO task_dependencies (id, parent_task_id, child_task_id)
VALUES ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001',
        '00000000-0000-4000-8000-000000000002');
INSERT INTO tasks (id, title) VALUES ('00000000-0000-4000-8000-00000000000b', 'third');
INSERT INTO task_dependencies (id, parent_task_id, child_task_id)
VALUES ('00000000-0000-4000-8000-00000000000c', '00000000-0000-4000-8000-00000000000b',
        '00000000-0000-4000-8000-000000000001');

SELECT throws_ok(
    $$INSERT INTO tasks (title, parent_task_id) VALUES ('t', '00000000-0000-4000-8000-0000000000ff')$$,
    '23503', NULL, 'a task has no parent that does not exist');
SELECT throws_ok(
    $$INSERT INTO task_contexts (task_id, context_type, context_data)
      VALUES ('00000000-0000-4000-8000-0000000000ff', 'workflow', '{}')$$,
    '23503', NULL, 'a context belongs to a task');
SELECT throws_ok(
    $$INSERT INTO workflow_states (workflow_id, task_id, step, status)
      VALUES ('w', '00000000-0000-4000-8000-0000000000ff', 's', 'pending')$$,
    '23503', NULL, 'a workflow state belongs to a task that exists');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id)
      VALUES ('00000000-0000-4000-8000-0000000000ff', '00000000-0000-4000-8000-000000000001')$$,
    '23503', NULL, 'the parent of a dependency exists');
SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id)
      VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-0000000000ff')$$,
    '23503', NULL, 'the child of a dependency exists');
SELECT throws_ok(
    $$INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content)
      VALUES ('00000000-0000-4000-8000-0000000000ff', 'n', 'build', 'c')$$,
    '23503', NULL, 'a script belongs to a task');
SELECT throws_ok(
    $$INSERT INTO error_logs (task_id, error_type, error_message)
      VALUES ('00000000-0000-4000-8000-0000000000ff', 'runtime', 'm')$$,
    '23503', NULL, 'an error names a task that exists');
SELECT throws_ok(
    $$INSERT INTO error_logs (deployment_script_id, error_type, error_message)
      VALUES ('00000000-0000-4000-8000-0000000000ff', 'runtime', 'm')$$,
    '23503', NULL, 'an error names a script that exists');
SELECT throws_ok(
    $$INSERT INTO error_logs (workflow_state_id, error_type, error_message)
      VALUES ('00000000-0000-4000-8000-0000000000ff', 'runtime', 'm')$$,
    '23503', NULL, 'an error names a workflow state that exists');
SELECT throws_ok(
    $$INSERT INTO webhook_events (task_id, event_type, event_source, event_data)
      VALUES ('00000000-0000-4000-8000-0000000000ff', 'pr_created', 's', '{}')$$,
    '23503', NULL, 'an event names a task that exists');

SELECT throws_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id)
      VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002')$$,
    '23505', NULL, 'a dependency stands once');
SELECT lives_ok(
    $$INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 'related')$$,
    'another type of it is another dependency');
INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id) VALUES ('n', 'h', 'p', 'u');
SELECT throws_ok(
    $$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id) VALUES ('n', 'h', 'p', 'u')$$,
    '23505', NULL, 'a key hash stands once');
SELECT throws_ok(
    $$INSERT INTO configuration_settings (setting_key, setting_value, setting_type)
      VALUES ('api.request_timeout_ms', '1', 'number')$$,
    '23505', NULL, 'a setting stands once');
SELECT throws_ok('INSERT INTO task_dependency_turn DEFAULT VALUES', '23505', NULL,
    'the turn to add dependencies is one row');
SELECT throws_ok('INSERT INTO task_dependency_lanes VALUES (0)', '23505', NULL, 'a lane is one row');
SELECT throws_ok(
    $$INSERT INTO tasks (id, title) VALUES ('00000000-0000-4000-8000-000000000001', 't')$$,
    '23505', NULL, 'a task id stands once');
SELECT throws_ok(
    $$INSERT INTO audit_logs (id, entity_type, entity_id, action, "timestamp") VALUES
        ('00000000-0000-4000-8000-000000000001', 'task', uuid_nil(), 'create', now()),
        ('00000000-0000-4000-8000-000000000001', 'task', uuid_nil(), 'create', now())$$,
    '23505', NULL, 'an audit row stands once');

DELETE FROM workflow_states WHERE id = '00000000-0000-4000-8000-000000000005';
SELECT is((SELECT workflow_state_id FROM error_logs WHERE id = '00000000-0000-4000-8000-000000000008'),
    NULL, 'an error stays when its workflow state goes');
DELETE FROM deployment_scripts WHERE id = '00000000-0000-4000-8000-000000000006';
SELECT is((SELECT deployment_script_id FROM error_logs WHERE id = '00000000-0000-4000-8000-000000000008'),
    NULL, 'an error stays when its script goes');
INSERT INTO deployment_scripts (id, task_id, script_name, script_type, script_content)
VALUES ('00000000-0000-4000-8000-000000000006', '00000000-0000-4000-8000-000000000001', 'n', 'build', 'c');

DELETE FROM tasks WHERE id = '00000000-0000-4000-8000-000000000001';
SELECT is((SELECT parent_task_id FROM tasks WHERE id = '00000000-0000-4000-8000-000000000002'),
    NULL, 'a child stays when its parent goes');
SELECT is_empty($$SELECT FROM task_contexts WHERE id = '00000000-0000-4000-8000-000000000003'$$,
    'contexts go with their task');
SELECT is((SELECT ROW(true, task_id) FROM workflow_states WHERE id = '00000000-0000-4000-8000-000000000004'),
    ROW(true, NULL::uuid), 'workflow states stay when their task goes');
SELECT is_empty($$SELECT FROM task_dependencies WHERE id = '00000000-0000-4000-8000-00000000000a'$$,
    'dependencies go with their parent');
SELECT is_empty($$SELECT FROM task_dependencies WHERE id = '00000000-0000-4000-8000-00000000000c'$$,
    'dependencies go with their child');
SELECT is_empty($$SELECT FROM deployment_scripts WHERE id = '00000000-0000-4000-8000-000000000006'$$,
    'scripts go with their task');
SELECT is((SELECT ROW(true, task_id) FROM error_logs WHERE id = '00000000-0000-4000-8000-000000000008'),
    ROW(true, NULL::uuid), 'errors stay when their task goes');
SELECT is((SELECT ROW(true, task_id) FROM webhook_events WHERE id = '00000000-0000-4000-8000-000000000009'),
    ROW(true, NULL::uuid), 'events stay when their task goes');
SELECT is((SELECT count(*)::integer FROM audit_logs
           WHERE action = 'delete' AND entity_id IN ('00000000-0000-4000-8000-000000000001',
               '00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-00000000000a')),
    3, 'what goes with a task is audited like the task');

SELECT * FROM finish();
ROLLBACK;
