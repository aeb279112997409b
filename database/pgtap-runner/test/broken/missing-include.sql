BEGIN;
SELECT plan(1);
\i no-such-file.sql
SELECT pass('fine');
SELECT * FROM finish();
ROLLBACK;
