-- red on: v2
-- A service could not insert a task, for it might not write the audit log.
BEGIN;
SELECT plan(2);
SET LOCAL ROLE api_users;
SELECT lives_ok($$INSERT INTO tasks (title) VALUES ('by a service')$$, 'a service inserts a task');
RESET ROLE;
SELECT cmp_ok((SELECT count(*) FROM audit_logs WHERE new_values ->> 'title' = 'by a service'), '=', 1::bigint,
    'and the audit log has it');
SELECT * FROM finish();
ROLLBACK;
