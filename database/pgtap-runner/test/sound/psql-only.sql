\timing on
\set here `echo there`
BEGIN;
SELECT plan(1);
SELECT is(:'here'::text, 'there', 'the shell answered');
SELECT * FROM finish();
ROLLBACK;
