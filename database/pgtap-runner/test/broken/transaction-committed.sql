BEGIN;
CREATE TABLE left_behind (id int);
SELECT plan(1);
SELECT pass('fine');
SELECT * FROM finish();
COMMIT;
