BEGIN;
SELECT plan(2);
SELECT pass('one');
SELECT pg_terminate_backend(pg_backend_pid());
SELECT pass('two');
SELECT * FROM finish();
ROLLBACK;
