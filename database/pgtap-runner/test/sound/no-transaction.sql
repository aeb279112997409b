SELECT plan(2);
CREATE TABLE kept (id int);
INSERT INTO kept VALUES (1);
SELECT is(count(*)::int, 1, 'the row is there') FROM kept;
SELECT hasnt_table('left_behind', 'nothing of other files is there');
SELECT * FROM finish();
