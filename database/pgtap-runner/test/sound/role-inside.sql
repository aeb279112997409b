BEGIN;
SELECT plan(1);
SET LOCAL ROLE pg_monitor;
SELECT is(current_user, 'pg_monitor', 'the role is taken');
SELECT * FROM finish();
ROLLBACK;
