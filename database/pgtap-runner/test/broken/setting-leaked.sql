SET search_path = pg_catalog, public;
BEGIN;
SELECT plan(1);
SELECT pass('fine');
SELECT * FROM finish();
ROLLBACK;
