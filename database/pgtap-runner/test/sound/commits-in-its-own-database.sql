-- @isolate database
BEGIN;
CREATE TABLE committed (id int);
COMMIT;
BEGIN;
SELECT plan(1);
SELECT has_table('committed'::name);
SELECT * FROM finish();
ROLLBACK;
