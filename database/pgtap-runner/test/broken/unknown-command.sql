BEGIN;
SELECT plan(1);
\no_such_command
SELECT pass('fine');
SELECT * FROM finish();
ROLLBACK;
