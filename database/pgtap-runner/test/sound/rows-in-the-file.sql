BEGIN;
SELECT plan(2);
CREATE TABLE loaded (id int, name text);
\copy loaded from stdin
1	one
2	two
\.
COPY loaded FROM STDIN WITH (FORMAT csv);
3,three
\.
SELECT is(count(*)::int, 3, 'three rows') FROM loaded;
SELECT results_eq('SELECT name FROM loaded ORDER BY id', ARRAY['one', 'two', 'three'], 'their names');
SELECT * FROM finish();
ROLLBACK;
