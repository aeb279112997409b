BEGIN;
SELECT plan(1);
SELECT pass('fine');
SELECT * FROM finish();
ROLLBACK;
DROP TABLE no_such_table;
