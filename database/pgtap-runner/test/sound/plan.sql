BEGIN;
SELECT plan(2);
SELECT pass('one');
SELECT is(1 + 1, 2, 'sums');
SELECT * FROM finish();
ROLLBACK;
