BEGIN;
SELECT no_plan();
SELECT pass('one');
SELECT pass('two');
SELECT * FROM finish();
ROLLBACK;
