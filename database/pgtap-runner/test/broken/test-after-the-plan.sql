BEGIN;
SELECT no_plan();
SELECT pass('one');
SELECT * FROM finish();
\echo ok 2 - after finish()
ROLLBACK;
