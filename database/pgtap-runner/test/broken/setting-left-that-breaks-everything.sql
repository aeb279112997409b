BEGIN;
SELECT plan(1);
SELECT pass('fine');
SELECT * FROM finish();
ROLLBACK;
SET statement_timeout = '1ms';
