SELECT plan(1);
CREATE TABLE vacuumed (id int);
VACUUM vacuumed;
CREATE INDEX CONCURRENTLY vacuumed_id ON vacuumed (id);
SELECT has_index('vacuumed', 'vacuumed_id', 'the index is there');
SELECT * FROM finish();
