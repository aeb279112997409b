-- red on: v1
-- The CHECK of audit_logs refused what its own trigger writes, so that no task could be inserted.
BEGIN;
SELECT plan(3);
SELECT lives_ok($$INSERT INTO tasks (title) VALUES ('first')$$, 'a task can be inserted');
SELECT lives_ok($$UPDATE tasks SET status = 'completed' WHERE title = 'first'$$, 'changed');
SELECT lives_ok($$DELETE FROM tasks WHERE title = 'first'$$, 'and deleted');
SELECT * FROM finish();
ROLLBACK;
