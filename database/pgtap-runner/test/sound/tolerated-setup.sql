\set ON_ERROR_STOP off
CREATE LANGUAGE plpgsql;
\set ON_ERROR_STOP on
BEGIN;
SELECT plan(1);
SELECT pass('one');
SELECT * FROM finish();
ROLLBACK;
