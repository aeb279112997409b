BEGIN;
SELECT plan(3);
SELECT skip('not on this machine', 2);
SELECT pass('three');
SELECT * FROM finish();
ROLLBACK;
