BEGIN;
SELECT plan(1);
ROLLBACK;
\echo ok 1 - in no transaction
