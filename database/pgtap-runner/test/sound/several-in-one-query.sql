BEGIN\; SELECT plan(1)\; SELECT pass('one');
SELECT * FROM finish();
ROLLBACK;
