-- What any healthy copy of the database answers, whatever rows are in it: a drill runs it on what it
-- has restored.
BEGIN;
SELECT plan(13);

SELECT ok(EXISTS (SELECT FROM schema_migrations), 'migrations are recorded');
SELECT is_empty(
    $$SELECT conrelid::regclass, conname FROM pg_constraint
      WHERE connamespace = 'public'::regnamespace AND NOT convalidated$$,
    'every constraint is validated');
SELECT is_empty(
    $$SELECT indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE c.relnamespace = 'public'::regnamespace AND NOT (indisvalid AND indisready)$$,
    'every index is valid');
SELECT is_empty(
    $$SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'D'$$,
    'no trigger is switched off');
SELECT ok(bool_and(relrowsecurity AND relforcerowsecurity), 'row security is on, for owners too')
FROM pg_class WHERE oid IN ('api_keys'::regclass, 'api_access_logs'::regclass,
                            'configuration_settings'::regclass, 'audit_logs'::regclass);
SELECT is((SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()),
    'ctm_owner', 'the database belongs to its owner');

SELECT is((SELECT problem::text FROM verify_audit_log()), NULL, 'the audit log is as it was sealed');
SELECT is_empty(
    $$SELECT c.id FROM task_dependencies d LEFT JOIN tasks c ON c.id = d.child_task_id
      WHERE c.id IS NULL$$,
    'every dependency leads to a task');
SELECT lives_ok($$SELECT count(*) FROM active_tasks$$, 'active tasks are listed');
SELECT lives_ok($$SELECT * FROM get_task_statistics()$$, 'statistics are counted');

-- One request of the API's, from its login to the audit log.
SET LOCAL ROLE api_users;
SELECT set_config('app.current_user_id', 'smoke', true);
SELECT lives_ok($$INSERT INTO tasks (title) VALUES ('smoke')$$, 'a user creates a task');
SELECT is((SELECT count(*)::integer FROM tasks WHERE title = 'smoke'), 1, 'and reads it');
RESET ROLE;
SELECT ok(EXISTS (SELECT FROM audit_logs WHERE entity_type LIKE 'task%' AND new_values ->> 'title' = 'smoke'),
    'which is audited');

SELECT * FROM finish();
ROLLBACK;
