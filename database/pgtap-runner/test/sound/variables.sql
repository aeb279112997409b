\set wanted 3
BEGIN;
SELECT plan(:wanted);
SELECT count(*) AS found FROM pg_class WHERE relname = 'pg_class' \gset
SELECT is(:found, 1, 'found by \gset');
\if :found
SELECT pass('taken');
\else
SELECT fail('not taken');
\endif
SELECT is(:'wanted'::text, '3', 'quoted');
SELECT * FROM finish();
ROLLBACK;
