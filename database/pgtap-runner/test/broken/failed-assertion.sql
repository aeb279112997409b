BEGIN;
SELECT plan(2);
SELECT pass('fine');
SELECT is(1 + 1, 3, 'sums');
SELECT * FROM finish();
ROLLBACK;
