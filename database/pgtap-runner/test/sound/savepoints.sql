BEGIN;
SELECT plan(2);
SELECT pass('one');
SAVEPOINT here;
CREATE TABLE gone (id int);
ROLLBACK TO here;
SELECT hasnt_table('gone'::name);
SELECT * FROM finish();
ROLLBACK;
